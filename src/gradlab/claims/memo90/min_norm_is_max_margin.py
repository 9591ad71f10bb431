"""memo90.min-norm-is-max-margin: whether the solution of least norm has the largest margin, under both losses.

What is printed. "In all cases, the minimum norm solution is the maximum margin solution": under exponential-type
losses the limit of w/‖w‖, under the square loss the limit of w from zero. With a_n = y_n x_n these are argmin ‖w‖
with a_n·w ≥ 1, and argmin ‖w‖ with a_n·w = 1. The first is the largest margin. The second sets all margins equal, and
is that only where no multiplier of its equations is negative (docs/notes/memo90.min-norm-is-max-margin.md): cos ∠ =
‖ŵ‖/‖X⁺y‖ always.

Settings, before any run. N = 5 points in d = 8: random, orthogonal of different lengths, nearly orthogonal, one far
away, one repeated, one on the margin without dual weight. Square loss: the flow from zero for 1e8 units of time,
exactly. Exponential loss: the flow from normal starts to log t = 1000, for draws whose constant converges
(notes.srebro).

The largest margin is found twice, by non-negative least squares, and by trying every set of points that could carry
it: pinv(A_S) 1 has the largest margin for the right S, and no more for any other.

Tolerances. Both margins come from solves of condition 1e4 at most: 1e-12, relative; 1e-9 is allowed. A margin short by
δ is a direction off by √(2δ): that of a flow, which is right to 1e-5 of w (notes.srebro), 1e-10: 1e-8 is allowed.
"""

from functools import cached_property
from itertools import chain, combinations

import numpy as np

from gradlab.analysis.one_layer import linear_exponential, one_layer
from gradlab.analysis.solutions import HardMargin, max_margin, minimum_norm
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.exponential import increment
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential, interpolated
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.exact import Exact
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem

#: Multipliers this near to zero, relative to the largest, are neither sign.
DOUBTFUL = 1e-4


def _rows(problem):
    """Signed rows, None where the problem is neither."""
    net = linear_exponential(problem)
    if net is not None:
        return net.rows
    other = one_layer(problem)
    if other is None or other.Y.shape[1] > 1 or not np.allclose(np.abs(other.Y), 1.0, rtol=0.0, atol=1e-9):
        return None
    return other.X * np.sign(other.Y)


class _Shared(Look):
    """Signed rows, the largest margin, and the direction in which the run ends."""

    setting = (
        "a linear net of one layer and one output, the exponential loss, or the square loss on labels ±1"
    )

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is one linear layer on two classes."""
        return _rows(problem) is not None

    @cached_property
    def rows(self) -> np.ndarray:
        """a_n = y_n x_n, (N, d)."""
        rows = _rows(self.problem)
        assert rows is not None  # speaks_of
        return rows

    @property
    def square(self) -> bool:
        """Whether the loss is square."""
        return isinstance(self.problem.loss, Square)

    @cached_property
    def svm(self) -> HardMargin:
        """argmin ‖w‖ with a_n·w ≥ 1."""
        return max_margin(self.rows, np.ones(len(self.rows)))

    @cached_property
    def largest(self) -> float:
        """The largest margin, over all sets of points that could carry it."""
        N, best = len(self.rows), 0.0
        for some in chain.from_iterable(combinations(range(N), size) for size in range(1, N + 1)):
            w = minimum_norm(self.rows[list(some)], np.ones((len(some), 1)))[0]
            best = max(best, float(np.min(self.rows @ w) / np.linalg.norm(w)))
        return best

    @cached_property
    def interpolant(self) -> np.ndarray:
        """X⁺y: argmin ‖w‖ with a_n·w = 1."""
        return minimum_norm(self.rows, np.ones((len(self.rows), 1)))[0]

    @property
    def multipliers(self) -> np.ndarray:
        """α with X⁺y = Σ α_n a_n, of least norm."""
        return minimum_norm(self.rows.T, self.interpolant[:, None])[0]

    @cached_property
    def direction(self) -> np.ndarray:
        """Where w/‖w‖ goes: the end under the square loss, what the second half adds under the exponential one."""
        if self.square:
            return self.end
        logs = self.trajectory["log_t"].values
        late = [int(np.argmin(np.abs(logs - share * logs[-1]))) for share in (1.0, 0.5)]
        return increment(self.weights[late], logs[late], drift=False)

    def short(self, w: np.ndarray) -> float:
        """1 − the margin of w over the largest."""
        return 1.0 - float(np.min(self.rows @ w) / np.linalg.norm(w)) / self.largest

    @at_most(
        1e-12,
        role="hypothesis",
        changed="Asked after a first run to t = 1e4, too short where one point is far away; runs go to 1e8.",
    )
    def unfinished(self) -> Number | None:
        """e^{−2 s² T}, s the least singular value that is not zero: what a run under the square loss leaves of its way.

        Far below what is asked of its end.
        """
        if not self.square:
            return NOT_ASKED
        values = np.linalg.svd(self.rows, compute_uv=False)
        least = float(values[values > 1e-12 * values[0]][-1])
        return Number(float(np.exp(-2.0 * least**2 * self.trajectory["t"].values[-1])), exact=True)

    @at_most(1e-9, sentence="exponential")
    def least_norm(self) -> Number | None:
        """|1/‖ŵ‖ over the largest margin − 1|, ŵ = argmin ‖w‖ with y_n w·x_n ≥ 1, the largest margin found without it.

        Two solves, see the module's docstring.
        """
        if self.square:
            return NOT_ASKED
        return Number(abs(self.svm.margin / self.largest - 1.0), 1e3 * EPS)

    @at_most(1e-8, sentence="exponential")
    def limit(self) -> Number | None:
        """1 − the margin of a flow's direction over the largest, under the exponential loss.

        See the module's docstring.
        """
        return NOT_ASKED if self.square else Number(self.short(self.direction), 1e3 * EPS)

    def shown(self):
        ratio = np.linalg.norm(self.svm.direction) / np.linalg.norm(self.interpolant)
        least = self.multipliers.min() / np.abs(self.multipliers).max()
        seen = (1.0 - self.short(self.direction), ratio, least) if self.square else (np.nan,) * 3
        return dict(zip(("margin", "ratio", "least multiplier"), map(float, seen), strict=True))


class MinNormIsMaxMarginPrinted(_Shared):
    @at_most(1e-8, sentence="square")
    def interpolates(self) -> Number | None:
        """1 − the margin of the flow's end from zero under the square loss, over the largest.

        As for limit.
        """
        return Number(self.short(self.direction), 1e3 * EPS) if self.square else NOT_ASKED


class MinNormIsMaxMarginCorrected(_Shared):
    @property
    def sign(self) -> int:
        """Of the least multiplier; 0 where it is doubtful, but for a point that comes twice or has none by design."""
        least = float(self.multipliers.min() / np.abs(self.multipliers).max())
        return 0 if 1e-9 < abs(least) < DOUBTFUL else (1 if least > -1e-9 else -1)

    @at_most(1e-9, sentence="cosine")
    def cosine(self) -> Number | None:
        """|cos ∠(w, ŵ) − ‖ŵ‖/‖X⁺y‖|, w the end of the flow under the square loss.

        Rounding of solves of condition 1e4.
        """
        if not self.square:
            return NOT_ASKED
        w, best = self.direction, self.svm.direction
        cosine = float(w @ best / np.linalg.norm(w) / np.linalg.norm(best))
        ratio = float(np.linalg.norm(best) / np.linalg.norm(self.interpolant))
        return Number(abs(cosine - ratio), 1e3 * EPS)

    @at_most(1e-8, sentence="square")
    def reached(self) -> Number | None:
        """1 − the margin of the end over the largest, where no multiplier is negative.

        As for limit.
        """
        return Number(self.short(self.direction), 1e3 * EPS) if self.square and self.sign > 0 else NOT_ASKED

    @at_least(1e-8, sentence="square")
    def missed(self) -> Number | None:
        """The same where one is negative: the margin is not the largest.

        A multiplier of −1e-4 loses its square, beyond rounding.
        """
        return Number(self.short(self.direction), 1e3 * EPS) if self.square and self.sign < 0 else NOT_ASKED


N, D, LOG_T = 5, 8, 1000.0


def cases(key, *, draws, flows):
    """Square loss on every kind; exponential loss on those whose flow has a constant that converges."""
    random = generator(key)
    kinds = [(kind, draw) for draw in range(1, draws + 1) for kind in interpolated.KINDS]
    drawn = []
    for kind, draw in kinds:
        x, y = interpolated.labelled(random, kind, N, D)
        problem = Problem(exponential.linear((x, y)).network, Square(), Data(x, y[:, None]))
        drawn.append((problem, (np.zeros((1, D)),), {"loss": "square", "data": kind, "draw": draw}))
    yield from ensemble(GradientFlow, drawn, (1e8,), solver=Exact())
    drawn = []
    for draw in range(1, flows + 1):
        kind = ("random", "orthogonal", "one far away")[draw % 3]

        def points(kind=kind):
            x, y = interpolated.labelled(random, kind, N, D)
            return 2.0 * x, y

        problem = exponential.linear(exponential.regular(points, longest=2.0))
        start = random.standard_normal((1, D))
        drawn.append((problem, (start,), {"loss": "exponential", "data": kind, "draw": draw}))
    problems = [problem for problem, *_ in drawn]
    yield from ensemble(GradientFlow, drawn, **exponential.to_log_time(problems, LOG_T))


FIGURE = Figure(
    Panel(
        "margin",
        "ratio",
        "margin over the largest, square loss",
        r"$\|\hat w\|/\|X^{+}y\|$",
        by=("data",),
        diagonal=True,
    ),
    Panel(
        "margin",
        "least multiplier",
        "margin over the largest, square loss",
        "least multiplier over the largest",
        by=("data",),
    ),
    caption="Left: the margin of X⁺y, relative to the largest, is the ratio of the norms (the line). Right: it is the "
    "largest where no multiplier of X⁺y is negative, and only there.",
)
BUDGETS = {
    "quick": {"draws": 4, "flows": 6},
    "full": {"draws": 20, "flows": 12},
    "few": {"draws": 1, "flows": 2},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.min-norm-is-max-margin", MinNormIsMaxMarginPrinted),
        ("memo90.min-norm-is-max-margin-corrected", MinNormIsMaxMarginCorrected),
    )
)
