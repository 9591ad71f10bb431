"""memo90.fig4: polynomial regression with kicks; all 10 000 000 iterations of all repetitions, exactly.

What is printed. y = W Φ(X), sin(8πx) on [−1, 1], 9 training points, 100 test points; full gradient descent of step
0.2. First pair: Chebyshev nodes, degree 39, 10 000 000 iterations, "weights were perturbed every 120,000 iterations
and Gradient Descent was allowed to converge to zero training error (up to machine precision) after each
perturbation", Gaussian noise of standard deviation 0.45, stopped at 5 000 000; averages of 29 repetitions. Second
pair: degree 30, 250 000 iterations, 30 repetitions, no kicks.

What is not printed. The convention of the loss: with monomials the largest eigenvalue of ΦΦᵀ is 27.5, and step 0.2
is stable for the mean of squares (η·2λ/N = 1.22) and half of it (0.61), for the sum (11.0) and half of it (5.5) it
is not; both stable ones are run. The points of the second pair: nine equidistant ones are multiples of the sine's
period, all targets being 0; Chebyshev nodes are taken too. The start: Gaussian of standard deviation 0.1. Test
points: equidistant.

What holds (docs/notes/memo90.perturb-square.md). The least eigenvalue of ΦΦᵀ is 5.2e-4: in 120 000 iterations a
kick's part there shrinks to 0.062 (mean) or 0.25 (half) of itself; the training error before the next kick is far
above machine precision. It reaches it after the kicks have stopped. The part of w that the features do not see adds
up the kicks.

Settings. As printed: 41 kicks; each repetition has a twin with the opposite kicks, so that what is linear in them
cancels in the mean of the test error (29 twins).

Tolerances. Machine precision: an error of w of eps ‖w‖ is 1e-28 of mean squares; 1e-20 is asked. Rates of growth are
those of a sum of 41 Gaussian vectors in 31 directions: relative standard deviation (2/31·29)^{1/2} = 0.05 over 29
repetitions: 0.2 is four of them. What is quadratic in the test error has two effective directions, 0.56 and 0.42 of
the trace: a mean of 29 is off by a factor of 4 once in 10⁸ draws, and by 2 once in 10⁵ (which it was at seed 4, after
0.6 had been asked of |ratio − 1|). After the stop the norm moves by what the last kick has left in the slow direction:
below a hundredth.
"""

from functools import cached_property

import numpy as np

from gradlab import figures
from gradlab.claims.cases import generator
from gradlab.claims.looks.kicked import KickedLinear
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.problems.kicked import kicked
from gradlab.claims.studies import section, study

STEP, SIGMA, EVERY, STOP, END = 0.2, 0.45, 120_000, 5_000_000, 10_000_000
TEST = np.linspace(-1.0, 1.0, 100)
RATES = {"mean": 2.0 / 9.0, "half mean": 1.0 / 9.0}


def target(x: np.ndarray) -> np.ndarray:
    """sin(8πx)."""
    return np.sin(8.0 * np.pi * x)


class _Shared(KickedLinear):
    setting = "polynomial regression of sin(8πx) by descent"

    @property
    def kicked(self) -> bool:
        """Whether it is of the first pair."""
        return bool(np.any(self.kicks))

    @property
    def marks(self) -> np.ndarray:
        """Iterations."""
        return self.trajectory["mark"].values

    @property
    def last(self) -> int:
        """The record at which the kicks have stopped."""
        return int(np.argmin(np.abs(self.marks - STOP)))

    @property
    def test_features(self) -> np.ndarray:
        """Φ of the test points."""
        return np.vander(TEST, self.features.shape[1], increasing=True)

    def test(self, record: int) -> np.ndarray:
        """Mean squared test error of every repetition."""
        return np.mean((self.runs[record] @ self.test_features.T - target(TEST)) ** 2, axis=1)

    @property
    def count(self) -> int:
        """Kicks."""
        return int(np.sum(np.any(self.kicks[:, 0] != 0.0, axis=1)))

    @at_most(0.2, sentence="grows")
    def walk(self) -> Number | None:
        """|growth of the mean of ‖P w‖² by the end over σ² (P − N) times the number of kicks − 1|, P on what the
        features do not see.

        See the module's docstring.
        """
        if not self.kicked:
            return NOT_ASKED
        size = np.mean(np.sum((self.runs @ self.unseen) ** 2, axis=2), axis=1)
        said = SIGMA**2 * self.unseen.shape[1] * self.count
        return Number(abs(float(size[-1] - size[0]) / said - 1.0), 1e-9)

    @cached_property
    def growth(self) -> float:
        """Growth of the mean test error by the kicks: of a repetition and its twin, less the same without kicks."""
        _, values, right = np.linalg.svd(self.features, full_matrices=True)
        gap = 1.0 - RATES[str(self.facts["loss"])] * STEP * values**2
        starts = self.runs[0]
        still = (
            starts
            + ((starts @ right[: len(values)].T - self.limit) * (gap ** (END - self.marks[0]) - 1.0))
            @ right[: len(values)]
        )
        without = np.mean((still @ self.test_features.T - target(TEST)) ** 2, axis=1)
        return float(np.mean(self.test(-1) - without))

    @at_most(1.4, sentence="grows", changed="the logarithm, of a factor of 4, in place of |ratio − 1| ≤ 0.6")
    def test_error(self) -> Number | None:
        """|log| of the growth of the mean test error by the kicks, twins together, over its expectation.

        The expectation is σ² tr(Pᵀ M P) times the number of kicks, M the mean of φφᵀ over the test points: positive.
        See the module's docstring.
        """
        if not self.kicked:
            return NOT_ASKED
        said = SIGMA**2 * np.sum((self.test_features @ self.unseen) ** 2) / len(TEST) * self.count
        ratio = self.growth / said
        return Number(abs(float(np.log(ratio))) if ratio > 0.0 else np.inf, 1e-6)

    @at_most(1e-3, sentence="grows")
    def adds_up(self) -> Number | None:
        """|growth of the mean test error over that of the sum of its kicks, the part that features do not see, − 1|.

        What features see has shrunk to 1e-15 when the error is taken; the mean with the twin has no linear term.
        """
        if not self.kicked:
            return NOT_ASKED
        summed = self.kicks.sum(axis=0) @ self.unseen
        own = np.mean((summed @ (self.test_features @ self.unseen).T) ** 2)
        return Number(abs(float(self.growth / own) - 1.0), 1e-6)

    @property
    def limit(self) -> np.ndarray:
        """The limit of the coefficients along the right singular vectors."""
        left, values, _ = np.linalg.svd(self.features, full_matrices=False)
        return (left.T @ self.targets) / values

    @at_most(1e-20, sentence="stops")
    def at_the_end(self) -> Number | None:
        """Mean training error at iteration 10 000 000, after 5 000 000 without kicks.

        Machine precision, see the module's docstring.
        """
        return Number(float(np.mean(self.train(-1))), 1e-26) if self.kicked else NOT_ASKED

    @at_most(0.01, sentence="stops")
    def norm_after(self) -> Number | None:
        """Relative change of the mean norm from iteration 5 000 000 on.

        See the module's docstring.
        """
        if not self.kicked:
            return NOT_ASKED
        norms = np.mean(np.linalg.norm(self.runs, axis=2), axis=1)
        return Number(abs(float(norms[-1] / norms[self.last] - 1.0)), 1e-9)

    @at_most(0.05, sentence="stops")
    def test_after(self) -> Number | None:
        """Relative change of the mean test error from iteration 5 000 000 on.

        Twice that of the norm and a little.
        """
        if not self.kicked:
            return NOT_ASKED
        means = [float(np.mean(self.test(i))) for i in (self.last, -1)]
        return Number(abs(means[1] / means[0] - 1.0), 1e-9)

    @at_most(0.05, sentence="unperturbed")
    def falls(self) -> Number | None:
        """Mean training error at the end over that at the start, without kicks.

        Converging: the slowest direction has still a share left that λ says; a twentieth is asked.
        """
        if self.kicked:
            return NOT_ASKED
        return Number(float(np.mean(self.train(-1)) / np.mean(self.train(0))), 1e-12)

    @at_most(1.0 + 1e-6, sentence="unperturbed")
    def bounded(self) -> Number | None:
        """Largest ‖w‖ without kicks over the norm of the interpolant of least norm plus that of the start.

        Descent moves every component monotonically towards the limit.
        """
        if self.kicked:
            return NOT_ASKED
        most = np.linalg.norm(self.runs, axis=2).max(axis=0)
        bound = np.linalg.norm(self.limit) + np.linalg.norm(self.runs[0], axis=1)
        return Number(float(np.max(most / bound)), 1e-9)

    def shown(self):
        return {
            "iteration": ("record", self.marks),
            "train": ("record", np.maximum([np.mean(self.train(i)) for i in range(len(self.runs))], 1e-32)),
            "test error": ("record", np.array([np.mean(self.test(i)) for i in range(len(self.runs))])),
            "norm": ("record", np.mean(np.linalg.norm(self.runs, axis=2), axis=1)),
        }


class Fig4Printed(_Shared):
    @at_most(1e-20, sentence="returns")
    def returns(self) -> Number | None:
        """Largest mean training error just before a kick, the first ten left out.

        Machine precision, see the module's docstring.
        """
        if not self.kicked:
            return NOT_ASKED
        before = np.flatnonzero(np.any(self.kicks[:, 0] != 0.0, axis=1))[10:]
        return Number(float(np.max([np.mean(self.train(int(i))) for i in before])), 1e-26)


class Fig4Corrected(_Shared):
    @at_most(0.2, sentence="returns")
    def left(self) -> Number | None:
        """|mean training error before the last kick over what the kicks leave in theory − 1|: 4 standard deviations
        of 29 repetitions at most are 1.

        Σ_j λ_j σ² q_j/(1 − q_j)/N, q_j = (1 − η c λ_j)^{2·120 000}, dominated by one direction: relative standard
        deviation (2/29)^{1/2} = 0.26 before a kick; over the last 20 kicks together, nearly independent, 0.06: 0.2
        is asked of their mean.
        """
        if not self.kicked:
            return NOT_ASKED
        before = np.flatnonzero(np.any(self.kicks[:, 0] != 0.0, axis=1))[-20:]
        values = np.linalg.svd(self.features, compute_uv=False) ** 2
        q = (1.0 - RATES[str(self.facts["loss"])] * STEP * values) ** (2 * EVERY)
        said = SIGMA**2 * float(np.sum(values * q / (1.0 - q))) / len(self.features)
        found = float(np.mean([np.mean(self.train(int(i))) for i in before]))
        return Number(abs(found / said - 1.0), 1e-6)

    @at_least(1e-12, sentence="returns")
    def above(self) -> Number | None:
        """Least mean training error just before a kick, the first left out.

        1e-8 in theory: far above machine precision.
        """
        if not self.kicked:
            return NOT_ASKED
        before = np.flatnonzero(np.any(self.kicks[:, 0] != 0.0, axis=1))[1:]
        return Number(float(np.min([np.mean(self.train(int(i))) for i in before])), 1e-20)


def cases(key, *, repeats, draws):
    """Both pairs under both stable conventions."""
    random = generator(key)
    nodes = np.cos((2.0 * np.arange(1, 10) - 1.0) * np.pi / 18.0)
    for i in range(draws):
        for loss, factor in RATES.items():
            features = np.vander(nodes, 40, increasing=True)
            marks = np.concatenate([np.arange(EVERY, STOP, EVERY), np.linspace(STOP, END, 11).astype(int)])
            half = SIGMA * random.standard_normal((len(marks), repeats, 40)) * (marks < STOP)[:, None, None]
            start = 0.1 * random.standard_normal((repeats, 40))
            yield kicked(
                features,
                target(nodes),
                np.vstack([start, start]),
                factor * STEP,
                marks,
                np.concatenate([half, -half], axis=1),
                pair="kicks, degree 39",
                loss=loss,
                draw=i + 1,
            )
            for points, x in (("Chebyshev", nodes), ("equidistant", np.linspace(-1.0, 1.0, 9))):
                marks = np.concatenate([[0], np.geomspace(10, 250_000, 20).astype(int)])
                start = 0.1 * random.standard_normal((30, 31))
                yield kicked(
                    np.vander(x, 31, increasing=True),
                    target(x),
                    start,
                    factor * STEP,
                    marks,
                    np.zeros((len(marks), 30, 31)),
                    pair=f"no kicks, degree 30, {points}",
                    loss=loss,
                    draw=i + 1,
                )


def drawn_kicks(dataset, verdict):
    """Training and test error, and the norm, of the first pair, a curve a convention of the loss."""
    figure, axes = figures.panels(3, height=3.0)
    rows: dict[str, int] = {}
    for i, name in enumerate(dataset["pair"].values.tolist()):
        if name.startswith("kicks"):
            rows.setdefault(str(dataset["loss"].values[i]), i)
    x = dataset["iteration"].values[next(iter(rows.values()))] / 1e6
    for place, name, label in zip(
        axes, ("train", "test error", "norm"), ("training error", "test error", r"$\|w\|$"), strict=True
    ):
        found = {loss: dataset[name].values[i] for loss, i in rows.items()}
        figures.curves(
            x, found, "iterations [million]", label, log="y" if name == "train" else "", axes=place
        )
    said = "The first pair: means over 29 repetitions and their twins, before each kick (every 120 000 iterations, "
    return figures.with_caption(
        figure, said + "until 5 million), for the two conventions under which step 0.2 is stable."
    )


BUDGETS = {
    "quick": {"repeats": 29, "draws": 4},
    "full": {"repeats": 29, "draws": 20},
    "few": {"repeats": 29, "draws": 1},
}
STUDIES = tuple(
    study(name, look, cases, figure=drawn_kicks, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (("memo90.fig4", Fig4Printed), ("memo90.fig4-corrected", Fig4Corrected))
)
