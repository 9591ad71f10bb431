"""chitour.classifier: least squares on two classes of images, the nearest label vector, and overfitting.

The passage: W minimises ‖Y − WX‖²; the best is W = Y Xᵀ(X Xᵀ)⁻¹ if X Xᵀ is invertible; a new image gets the class of
the nearer label vector (the slide prints W y_new for W x_new); "linear regression may easily overfit: ‖y_new − W x_new‖
large if x_new ∉ X". On whole images X Xᵀ is never invertible, since border pixels are always dark; nor is it for fewer
images than pixels. There the inverse is read as a pseudoinverse, and the variable ``regular`` says so.

Images: MNIST (averaged over 4 × 4 blocks to 7 × 7) if its files are at hand, else the bundled 8 × 8
digits; nothing is downloaded, and the labels of the cases say which. Of each the 24 pixels of largest variance over
the ten digits; pairs of digits drawn at random; label vectors e_1, e_2. Inputs are standardised by the inverse square
root of Σ x xᵀ over the training images (beside their span by one number): an invertible change of coordinates, under
which least squares predict the same wherever they are determined, and in which the flow's rates are all alike.

What decides. Per pair, 40 random splits at n = ½, 1, 2, 4, 8 times the rank r of the images, R the mean of
‖y − W x‖² over training or over new images. For Gaussian inputs R_train = σ²(1 − r/n), R_new = σ²/(1 − r/n) to first
order, σ² what no linear map explains. Each tolerance lies half way from no overfitting to this:

- "overfits": 1 − R_train/R_new, the share of the error that training does not show, at n = 2r: 3/4, or 0;
- "large": R_new at n = r over R_new at n = 8r, the price of few images: of order r, or 1; a doubling is asked;
- "fades" (a control of "may"): R_train/R_new at n = 8r less that at n = 2r: (7/8)² − (1/2)² = 0.516, or 0.

Errors are the longer arms of 99 % bootstrap intervals over splits.

What was changed after a first run, which was inconclusive: that version asked that R_new at n = r be above that of
W = 0 (so it is for most pairs, but for pairs that are easily told apart σ² is small and it need not be; that is the
line in the figure), and then for twice R_new at n = 8r; its control was at n = 4r; it had 32 pixels and 20 splits and
standardised by all images. "may easily overfit" has no threshold of its own: the reader who wants the strict reading,
worse than predicting nothing, has it in the figure, and there the answer depends on the pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures, loaders
from gradlab.analysis.one_layer import OneLayer, one_layer
from gradlab.claims import one_layer as one
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data, digits
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="chitour.classifier",
    source="chitour",
    statement="Least squares with label vectors, W = YXᵀ(XXᵀ)⁻¹ where XXᵀ is invertible, classify a new image by the "
    "nearest label vector; linear regression may easily overfit: ‖y_new − W x_new‖ is large for images outside X.",
    formula=r"W = Y X^{\top}(X X^{\top})^{-1}, \qquad \hat c = \mathrm{argmin}_c\, \|y_c - W x_{\mathrm{new}}\|",
    passage="Motivation, “How to learn to classify?” and “Best solution”",
    hypotheses=("one layer, linear, square loss", "two classes with a label vector each", "no weight decay"),
    convention="any: minimisers do not depend on the factor of the loss; residuals are means of ‖y − Wx‖²",
)

MEASURES = (
    one.ONE_LAYER,
    one.NO_DECAY,
    Measure(
        "label_vectors",
        "distinct label vectors",
        "==",
        0.0,
        "the passage has two classes",
        target=2.0,
        role="hypothesis",
    ),
    Measure(
        "images",
        "images, training and new, over the rank of their pixels",
        ">=",
        10.0,
        "splits at n = 8r leave two new images a pixel",
        role="hypothesis",
    ),
    Measure(
        "best",
        "‖∇L‖/(2a‖X‖‖Y‖) at YXᵀ(XXᵀ)⁻¹ (pseudoinverse where there is no inverse): it minimises",
        "<=",
        1e-9,
        "0 in exact arithmetic; rounding leaves eps times the condition of XXᵀ, at most 1e-10 for these",
    ),
    Measure(
        "reached",
        "‖(W(∞) − YX⁺)X‖/‖Y‖: the run ends with the predictions of least squares",
        "<=",
        1e-6,
        "dopri8 at 1e-10 a step leaves 1e-9; the way that is left is the number's error",
    ),
    Measure(
        "classifies",
        "share of new images given the wrong label vector, trained on 2r of them",
        "<=",
        0.5,
        "½ is the error of a coin",
    ),
    Measure(
        "overfits",
        "1 − R_train/R_new at n = 2r: the share of the error that training does not show",
        ">=",
        0.375,
        "3/4 for Gaussian inputs, 0 without overfitting: half way",
    ),
    Measure(
        "large",
        "doublings of R_new from n = 8r to n = r, in the median over splits",
        ">=",
        1.0,
        "log₂ of a ratio of order r for Gaussian inputs, 0 without overfitting; one doubling is asked",
    ),
    Measure(
        "fades",
        "R_train/R_new at n = 8r less that at n = 2r (a control: overfitting fades with more images)",
        ">=",
        0.258,
        "(7/8)² − (1/2)² = 0.516 for Gaussian inputs, 0 without dependence on n: half way",
    ),
)

PIXELS, MOST, SIZES = 24, 600, (0.5, 1.0, 2.0, 4.0, 8.0)


def _images() -> tuple[str, np.ndarray, np.ndarray]:
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


def _standardised(rows: np.ndarray, N: int) -> np.ndarray:
    """Rows in coordinates where the first N have Σ x xᵀ = N on their span."""
    values, vectors = np.linalg.eigh(rows[:N].T @ rows[:N] / N)
    seen = values > 1e-10 * values[-1]
    scale = np.where(seen, values, np.mean(values[seen])) ** -0.5
    return rows @ (vectors * scale) @ vectors.T


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Pairs of digits: the flow with two images a pixel, descent with one image for two pixels."""
    full = budget == "full"
    name, rows, numbers = _images()
    random = one.generator(key)
    pairs = [tuple(pair) for pair in random.permutation(list(combinations(range(10), 2)))]
    count = min(MOST, *(int(np.isin(numbers, pair).sum()) for pair in pairs))
    first, second = (pairs, pairs) if full else (pairs[:12], pairs[12:20])
    for N, chosen in ((2 * PIXELS, first), (PIXELS // 2, second)):
        labels, problems = [], []
        for a, b in chosen:
            drawn = random.permutation(np.flatnonzero(np.isin(numbers, (a, b))))[:count]
            X, Y = _standardised(rows[drawn], N), np.eye(2)[(numbers[drawn] == b).astype(int)]
            data = Data(X[:N], Y[:N], X[N:], Y[N:])
            problems.append(Problem(Dense((PIXELS, 2)), Square(), data))
            labels.append(f"{name} {a} | {b}, N = {N}, d = {PIXELS}")
        starts = [np.zeros((2, PIXELS))] * len(problems)
        if N > PIXELS:
            solver = Adaptive("dopri8", 1e-10)
            yield from one.ensemble(labels, problems, starts, GradientFlow, (0.5,), solver=solver)
        else:
            # a tenth of 1/λ_max, with which descent would be there in one step
            descent = partial(GradientDescent, step=0.1 * one.stable_steps(problems))
            yield from one.ensemble(labels, problems, starts, descent, (500,))


def _pooled(problem: Any, net: OneLayer) -> tuple[np.ndarray, np.ndarray]:
    """All images that the problem has, training and new."""
    data = problem.data
    if data.test_inputs is None:
        return net.X, net.Y
    X = np.asarray(data.test_inputs).reshape(len(data.test_inputs), -1)
    return np.concatenate([net.X, X]), np.concatenate([net.Y, np.asarray(data.test_targets)])


def _wrong(outputs: np.ndarray, Y: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Per split, the share of images whose nearest label vector is not theirs."""
    nearest = np.argmin(np.linalg.norm(outputs[:, :, None] - vectors, axis=-1), axis=-1)
    return np.mean(np.any(vectors[nearest] != Y, axis=-1), axis=-1)


def _curve(X: np.ndarray, Y: np.ndarray, rank: int, splits: int = 40) -> dict[str, np.ndarray]:
    """Residuals and errors, training and new, of shape (size, split)."""
    random, vectors = np.random.default_rng(0), np.unique(Y, axis=0)
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("train", "new", "train_wrong", "new_wrong")}
    for size in SIZES:
        n = max(2, round(size * rank))
        order = random.permuted(np.tile(np.arange(len(X)), (splits, 1)), axis=1)
        parts = {"train": order[:, :n], "new": order[:, n:]}
        # 1e-10: pixels that are dark in all of the training images have no weight
        W = np.linalg.pinv(X[parts["train"]], rcond=1e-10) @ Y[parts["train"]]
        for name, part in parts.items():
            outputs = X[part] @ W
            found[name].append(np.mean(np.sum((outputs - Y[part]) ** 2, axis=-1), axis=-1))
            found[f"{name}_wrong"].append(_wrong(outputs, Y[part], vectors))
    return {name: np.stack(values) for name, values in found.items()}


def _interval(values: np.ndarray, statistic: Any) -> tuple[float, float]:
    """A statistic over splits, and the longer arm of its 99 % bootstrap interval."""
    drawn = np.random.default_rng(1).integers(len(values), size=(2000, len(values)))
    low, high = np.quantile(statistic(values[drawn], axis=1), [0.005, 0.995])
    number = float(statistic(values))
    return number, float(max(high - number, number - low))


def _run(problem: Any, net: OneLayer, trajectory: xr.Dataset) -> dict[str, float]:
    """Whether the printed formula minimises, and whether the run got there."""
    moment, cross = net.X.T @ net.X, net.Y.T @ net.X
    regular = net.rank == net.X.shape[1]
    cut = 0.5 * float(net.singular[-1] / net.singular[0]) ** 2
    inverse = np.linalg.inv(moment) if regular else np.linalg.pinv(moment, rcond=cut, hermitian=True)
    printed = cross @ inverse
    W, sizes = net.matrix(one.end(trajectory)), (np.linalg.norm(net.X), np.linalg.norm(net.Y))
    gap = np.linalg.norm((W - net.minimum_norm()) @ net.X.T)
    left = net.rest(W, one.gradient(problem, W))
    steepness = float(np.linalg.norm(one.gradient(problem, printed)))
    return {
        "best": steepness / (2.0 * net.factor * float(sizes[0] * sizes[1])),
        "reached": float(gap / sizes[1]),
        "reached_error": float(net.singular[0] * left / sizes[1]) + one.EPS * net.size,
        "regular": float(regular),
    }


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """The run against least squares, and the learning curve of least squares on the problem's images."""
    net = one_layer(problem)
    if net is None:
        return one.scalars({"one_layer": 0.0} | {measure.id: np.nan for measure in MEASURES[1:]})
    X, Y = _pooled(problem, net)
    rank, vectors = int(np.linalg.matrix_rank(X, rtol=1e-10)), len(np.unique(Y, axis=0))
    met = {"one_layer": 1.0, "decay": net.decay, "label_vectors": float(vectors), "images": len(X) / rank}
    if vectors != 2 or len(X) < 10 * rank:
        return one.scalars({measure.id: np.nan for measure in MEASURES} | met)
    curve = _curve(X, Y, rank)
    shown = curve["train"] / curve["new"]
    intervals = {
        "classifies": _interval(curve["new_wrong"][2], np.mean),
        "overfits": _interval(1.0 - shown[2], np.mean),
        "large": _interval(np.log2(curve["new"][1] / np.median(curve["new"][4])), np.median),
        "fades": _interval(shown[4] - shown[2], np.mean),
    }
    numbers = {name: number for name, (number, _) in intervals.items()}
    numbers |= {f"{name}_error": error for name, (_, error) in intervals.items()}
    lines = {f"curve_{name}": ("size", np.median(values, axis=1)) for name, values in curve.items()}
    return one.scalars(met | numbers | _run(problem, net, trajectory)).assign(lines)


def drawing(dataset: xr.Dataset) -> Any:
    """Residuals and errors against the number of images a pixel, on training and on new images."""
    figure, panels = figures.panels(2, height=3.2)
    titles = (("", r"mean of $\|y - W x\|^2$"), ("_wrong", "share given the wrong label vector"))
    for axes, (suffix, ylabel), reference in zip(
        panels, titles, ({"W = 0": 1.0}, {"a coin": 0.5}), strict=True
    ):
        lines, bands = {}, {}
        for name, label in (("new", "new images"), ("train", "training images")):
            values = dataset[f"curve_{name}{suffix}"].values
            low, middle, high = np.quantile(values, [0.0, 0.5, 1.0], axis=0)
            seen = (low > 1e-12) | bool(suffix)  # a perfect fit has no place on a logarithmic axis
            lines[label] = np.where(seen, middle, np.nan)
            bands[label] = (np.where(seen, low, np.nan), np.where(seen, high, np.nan))
        figures.curves(
            SIZES,
            lines,
            "training images over rank of the pixels",
            ylabel,
            bands=bands,
            markers=True,
            log="x" if suffix else "xy",
            reference=reference,
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "Least squares on two digits, medians over splits: the line is the median pair, the band reaches from the "
        "least to the largest. With as many images as pixels the fit is perfect and new images are missed by more than "
        "the length of a label vector. (Training residuals of a perfect fit are not drawn.)",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    drawing,
    settings="20 pairs of digits (MNIST at 7 × 7 if at hand, else bundled 8 × 8), 24 pixels, standardised: the flow "
    "(dopri8 at 1e-10, T = ½) on 48 images, descent (500 steps) on 12; 40 random splits a pair for the errors",
)
