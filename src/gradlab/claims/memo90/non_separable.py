"""memo90.non-separable: the exponential loss on data that no w separates, without decay (equations 61 to 63).

What is printed. With one misclassified point there is a finite equilibrium; in one dimension with two points,
w* = log(x_2/x_1)/(x_1 + x_2), hyperbolic (62, 63). "In general … misclassification errors do not 'regularize' all
components of w but only the ones in the span of the misclassified examples", gradient descent being assumed to
converge to w*. A component counts as regularised where the Hessian at w* is definite: what makes the equilibrium
hyperbolic in (63).

What holds (docs/notes/memo90.non-separable.md; Ji and Telgarsky 2019, section 2). Call the *core* the points that
every weak separator leaves on its border: x_n·v = 0 for all v with x_k·v ≥ 0 for all k. On S = span(core) the risk of
the core has one minimiser, with definite Hessian, and P_S w tends to it from every start; the misclassified points are
in the core, but their span is only part of S. Components in the span of the data beside S diverge like log t, those
beside the data stay.

Settings, before any run. Flows to t = 3e3 (dopri8 at 1e-10). One dimension: 8 pairs of points of size in [0.5, 3],
either the larger. d = 4, N = 12: 6 with one point minus a positive combination of the others, so that the core is
everything and one point is misclassified; 4 the same of rank 3; and 6 whose core of 5 points spans a plane, the other
7 separated. A core is found by linear programming.

Tolerances. Where the core is everything what is left falls like e^{−ρt}, ρ the least curvature at the minimiser, ρt ≥
60 here: 1e-6 is allowed. Beside S the pull is 1/t times constants: P_S w is off by C/t = C·3e-4 and the Hessian beside
S of that size: 1e-2 is allowed for C < 30. Margins of the separated points are log t + O(1): half of log t is asked.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis.one_layer import linear_exponential
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.exponential import ExponentialNet
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.problems.exponential import (
    core,
    curvatures,
    minimiser,
    one_error,
    partly_separable,
    span_basis,
)
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive

T = 3e3
#: Eigenvalues of the Hessian below this part of the largest are no curvature, and singular values of the data none.
NONE = 1e-6


def _beside(basis: np.ndarray) -> np.ndarray:
    """A basis (d, d − r) of the orthogonal complement."""
    left = np.linalg.svd(basis, full_matrices=True)[0] if basis.shape[1] else np.eye(len(basis))
    return left[:, basis.shape[1] :]


class _Shared(ExponentialNet):
    """The core, its span and its minimiser; the Hessian at the end on and beside the spans that matter."""

    setting = "a linear net of one layer and one output, the exponential loss, no decay, data that are not separable"

    @classmethod
    def speaks_of(cls, problem):
        """Whether there is no decay, and a core."""
        net = linear_exponential(problem)
        return net is not None and net.decay == 0.0 and bool(core(net.rows).any())

    @cached_property
    def inner(self) -> np.ndarray:
        """Which points are in the core."""
        return core(self.net.rows)

    @cached_property
    def S(self) -> np.ndarray:
        """A basis of the span of the core."""
        return span_basis(self.net.rows[self.inner])

    @cached_property
    def target(self) -> np.ndarray:
        """The minimiser on S of the core's risk."""
        return minimiser(self.net.rows[self.inner], self.S)

    @cached_property
    def wrong(self) -> np.ndarray:
        """Which points are misclassified at the end."""
        return self.net.rows @ self.end < 0.0

    @cached_property
    def top(self) -> float:
        """The largest eigenvalue of the Hessian, in size."""
        return float(np.linalg.norm(self.second_derivatives, 2))

    @property
    def away(self) -> Number:
        """‖P_S(w − w*)‖ at the end, over 1 + ‖w‖."""
        unit = 1.0 + float(np.linalg.norm(self.end))
        return Number(float(np.linalg.norm(self.S.T @ (self.end - self.target))) / unit, self.apart / unit)

    def part(self, basis: np.ndarray, *, largest: bool) -> Number | None:
        """The least eigenvalue of ∇²L on the span of a basis, or the largest in size, over the largest of all."""
        if not basis.shape[1]:
            return NOT_ASKED
        values = np.linalg.eigvalsh(basis.T @ self.second_derivatives @ basis)
        # in size: what is bent down is not flat
        found = np.abs(values).max() if largest else values[0]
        return Number(float(found) / self.top, EPS * len(self.net.rows) * len(self.end))

    @at_most(1e-9, role="hypothesis", exact=True)
    def rest(self) -> float | None:
        """e^{−ρT}, ρ the least curvature at the minimiser: what is left at the end T where the core is everything.

        The data and the time alone say it, not where the run ended.
        """
        if not self.inner.all():
            return NOT_ASKED
        return float(np.exp(-curvatures(self.net.rows, self.target, self.S)[0] * self.time[-1]))

    @at_most(1e-6, sentence="finite")
    def finite(self) -> Number | None:
        """Distance of the run's end from the minimiser by Newton's method on S, over 1 + ‖w‖; the core is everything.

        The solve, 1e-10 a step, and the rest of the way (module docstring).
        """
        return self.away if self.inner.all() else NOT_ASKED

    def shown(self):
        only, flat = (
            self.part(_beside(basis), largest=True)
            for basis in (span_basis(self.net.rows[self.wrong]), self.S)
        )
        return {
            "beside errors": 0.0 if only is NOT_ASKED else only.value,
            "beside core": 0.0 if flat is NOT_ASKED else flat.value,
        }


class NonSeparablePrinted(_Shared):
    @property
    def errors(self) -> np.ndarray:
        """A basis of the span of the misclassified points."""
        return span_basis(self.net.rows[self.wrong])

    @property
    def pair(self) -> tuple[float, float] | None:
        """x_1 and x_2 of two points −x_1 < 0 < x_2 on a line."""
        values = np.sort(self.net.rows[:, 0])
        on_a_line = self.net.rows.shape == (2, 1) and values[0] < 0.0 < values[1]
        return (-values[0], values[1]) if on_a_line else None

    @at_least(0.5, role="hypothesis", exact=True)
    def misclassified(self) -> float:
        """Points with w·x_n < 0 at the end.

        A whole number.
        """
        return float(self.wrong.sum())

    @at_least(0.5, role="hypothesis", exact=True)
    def converges(self) -> float:
        """Whether a finite equilibrium exists: every point is in the core (1 if so).

        Gradient descent is assumed to converge.
        """
        return float(self.inner.all())

    @at_most(1e-6, sentence="line")
    def line(self) -> Number | None:
        """|w − log(x_2/x_1)/(x_1 + x_2)| for two points in one dimension.

        As for finite.
        """
        if self.pair is None:
            return NOT_ASKED
        x1, x2 = self.pair
        return Number(abs(float(self.end[0]) - np.log(x2 / x1) / (x1 + x2)), self.apart)

    @at_most(1e-12, sentence="line")
    def slope(self) -> Number | None:
        """|∇²L − (x_1² e^{x_1 w} + x_2² e^{−x_2 w})|/∇²L at the end, for two points in one dimension.

        Two exponentials of order one: rounding is 1e-15.
        """
        if self.pair is None:
            return NOT_ASKED
        (x1, x2), at, curvature = self.pair, float(self.end[0]), float(self.second_derivatives[0, 0])
        printed = x1**2 * np.exp(x1 * at) + x2**2 * np.exp(-x2 * at)
        return Number(abs(curvature - printed) / curvature, EPS)

    @at_least(NONE, sentence="span")
    def within(self) -> Number | None:
        """Least eigenvalue of ∇²L on the span of the misclassified points, over the largest.

        A Hessian of N exponentials of order one; rounding leaves 1e-15.
        """
        return self.part(self.errors, largest=False)

    @at_most(NONE, sentence="span")
    def only(self) -> Number | None:
        """Largest eigenvalue of ∇²L beside the span of the misclassified points, over the largest.

        0 if those components are not regularised; rounding leaves 1e-15.
        """
        return self.part(_beside(self.errors), largest=True)


class NonSeparableCorrected(_Shared):
    @at_most(0.5, sentence="core")
    def outside(self) -> Number:
        """Misclassified points that are not in the core.

        A whole number, at late times.
        """
        return Number(float(np.sum(self.wrong & ~self.inner)), exact=True)

    @at_most(1e-2, sentence="finite")
    def limit(self) -> Number:
        """Distance of P_S w at the end from the minimiser on S of the core's risk, over 1 + ‖w‖.

        C/t with C < 30 (module docstring); where the core is everything it is that of finite.
        """
        return self.away

    @at_least(NONE, sentence="finite")
    def definite(self) -> Number | None:
        """Least eigenvalue of ∇²L on S, over the largest.

        A Hessian of exponentials of order one; rounding leaves 1e-15.
        """
        return self.part(self.S, largest=False)

    @at_most(1e-2, sentence="core")
    def flat(self) -> Number | None:
        """Largest eigenvalue of ∇²L beside S, over the largest.

        C/t with C < 30.
        """
        return self.part(_beside(self.S), largest=True)

    @at_least(0.5, sentence="diverges")
    def diverges(self) -> float | None:
        """Least margin of a point that is not in the core, over log t.

        1 + O(1/log t): half of it is asked at log t = 8.
        """
        outer = self.net.rows[~self.inner] @ self.end
        return float(outer.min() / self.trajectory["log_t"].values[-1]) if len(outer) else NOT_ASKED

    @at_most(1e-10, sentence="stays")
    def stays(self) -> float | None:
        """Change of w beside the span of the data, over 1 + ‖w‖.

        No force acts there: rounding of the steps only.
        """
        empty = _beside(span_basis(self.net.rows))
        if not empty.shape[1]:
            return NOT_ASKED
        moved = float(np.linalg.norm(empty.T @ (self.end - self.weights[0])))
        return moved / (1.0 + float(np.linalg.norm(self.end)))


def cases(key, *, lines, errors, plane, partly, draws):
    """Problems on a line, and in four dimensions."""
    random = generator(key)
    for i in range(draws):
        pairs = zip(*random.uniform(0.5, 3.0, (2, lines)), strict=True)
        yield from _runs(random, [("line", np.array([[-a], [b]])) for a, b in pairs], i)
        members = [("one error", one_error(random, 12, 4, 4)) for _ in range(errors)]
        members += [("rank 3", one_error(random, 12, 4, 3)) for _ in range(plane)]
        members += [("partly separable", partly_separable(random)) for _ in range(partly)]
        yield from _runs(random, members, i)


def _runs(random, members, i):
    signs = [np.where(random.uniform(size=len(rows)) < 0.5, -1.0, 1.0) for _, rows in members]
    drawn = [
        (
            exponential.linear((rows * own[:, None], own)),
            (random.standard_normal((1, rows.shape[1])),),
            {"data": kind, "draw": f"{i}.{j + 1}"},
        )
        for j, ((kind, rows), own) in enumerate(zip(members, signs, strict=True))
    ]
    yield from ensemble(GradientFlow, drawn, (T,), solver=Adaptive("dopri8", 1e-10))


def _panel(name, ylabel, **reference):
    return Panel(name, "case", ylabel, "case", by=("data",), log="y", floor=1e-17, reference=reference)


FIGURE = Figure(
    _panel("beside errors", "curvature beside the misclassified points", nothing=NONE),
    _panel("beside core", "curvature beside the span of the core", tolerance=1e-2),
    caption="Largest eigenvalue of the Hessian, relative. Left: at the equilibrium it does not vanish beside the span "
    "of the misclassified points, as the print has it. Right: it does beside the span of the core (1/t, or rounding).",
)
BUDGETS = {
    "quick": {"lines": 8, "errors": 6, "plane": 4, "partly": 6, "draws": 1},
    "full": {"draws": 5},
    "few": {"lines": 2, "errors": 1, "plane": 1, "partly": 2},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.non-separable", NonSeparablePrinted),
        ("memo90.non-separable-corrected", NonSeparableCorrected),
    )
)
