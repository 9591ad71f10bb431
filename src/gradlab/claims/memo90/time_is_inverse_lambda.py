"""memo90.time-is-inverse-lambda: the time of descent against the decay of the regularised problem.

What is printed. "As the number of iterations can be considered the inverse of a virtual regularization parameter,
less regularization is enforced … as the number of iterations increase." And of the expected risk: if its minimum
occurs at a finite number of iterations, "it corresponds to an equivalent optimum non-zero regularization parameter
λ".

What can be asked. For ½Σ(y − w·x)² + λ/2 ‖w‖² (for Σ read 2t) the flow from zero and ridge give a component of X⁺y
the shares 1 − e^{−x} and x/(x + λt), x = s²t. With λ = 1/t their ratio is between 1 and max (1 − e^{−x})(1 + x)/x =
1.2985, and their difference at most 0.2036: this is taken for "can be considered the inverse". No λ gives w(t)
itself: component by component it would have to be s²/(e^{s²t} − 1), 1/t early and e^{−s²t} late. For the exponential
loss ‖w‖ is ‖ŵ‖ log t on one path and ‖ŵ‖ log 1/λ, less a log of the log, on the other. Of the best time:
docs/notes/memo90.time-is-inverse-lambda.md.

Settings, before any run. Square loss: 10 problems of three kinds (full rank, deficient rank, repeated points), N =
14, d = 5; 12 with two singular values √2 and 1 in which a large component fits too little and a small one too much; 4
with equal singular values. Closed steps at 33 times, 1e-3 to 1e3 over s_max²; expected risk ‖w − β‖² (inputs of unit
covariance), the least over all times and all decays, from the best of 600. Exponential loss: 4 runs to log t = 1000,
λ = 1/t.

Tolerances. Closed steps are rounded at 1e-14: the ratio, taken where a share is above 1e-6, at 1e-8. At log t = s the
two norms differ by (log s)/s = 0.7 % and O(1/s); directions by O(1/s): 2 % and 0.02 are allowed. Stopping gains g_t
of the risk; a decay that "corresponds" gains something: a thousandth of g_t is asked, where g_t is above 1e-6 of the
risk.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from gradlab.analysis.one_layer import linear_exponential, one_layer
from gradlab.analysis.paths import regularised_exponential
from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.exponential import angle
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential, interpolated
from gradlab.claims.problems import one_layer as families
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.exact import Exact
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: max (1 − e^{−x})(1 + x)/x and max e^{−x} − 1/(1 + x), in size.
RATIO, APART = 1.29843, 0.20364
SEEN, GRID = 1e-6, 600
LOG_T = 1000.0
#: Variance of the labels' noise in the mean over draws.
NOISE = 0.3


class _Shared(Look):
    """The orbit in components of the data, beside ridge or the regularised exponential path."""

    setting = "a linear net of one layer and one output, ½Σ or the exponential loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether there is no decay, one output and such a loss."""
        if problem.network.outputs != 1 or np.any(np.asarray(problem.decay) > 0.0):
            return False
        half = isinstance(problem.loss, Square) and problem.loss.half
        return (half and one_layer(problem) is not None) or linear_exponential(problem) is not None

    @property
    def square(self) -> bool:
        """Whether the loss is square."""
        return isinstance(self.problem.loss, Square)

    @cached_property
    def net(self) -> Any:
        """Data and constants."""
        return one_layer(self.problem) if self.square else linear_exponential(self.problem)

    @cached_property
    def s2(self) -> np.ndarray:
        """Squares of the singular values, (r,)."""
        return np.asarray(self.net.singular**2)

    @cached_property
    def whole(self) -> np.ndarray:
        """X⁺y in components, (r,)."""
        return np.asarray(self.net.minimum_norm()[0] @ self.net.span)

    @cached_property
    def shares(self) -> np.ndarray:
        """Components of w(t) over those of X⁺y, (records, r)."""
        return np.asarray((self.weights[1:] @ self.net.span) / self.whole)

    @cached_property
    def ridge(self) -> np.ndarray:
        """The same of ridge at λ = 1/t."""
        return np.asarray(self.s2 / (self.s2 + 1.0 / self.time[1:, None]))

    @cached_property
    def regularised(self) -> np.ndarray:
        """The end of the path at λ = 1/t under the exponential loss."""
        log_t = float(self.trajectory["log_t"].values[-1])
        return regularised_exponential(self.net.rows, np.ones(len(self.net.rows)), log_decay=-log_t).weights

    def paths(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the components of X⁺y in the flow at times x, and in ridge at λ = 1/x."""
        return -np.expm1(-self.s2 * x[:, None]), self.s2 / (self.s2 + 1.0 / x[:, None])

    def least_on_paths(self, risk: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """The least of a risk of shares over all times, and over all decays: of a grid, then beside its best point."""
        logs = np.log(np.geomspace(1e-4, 1e6, GRID) / self.s2[0])
        found = []
        for path in (0, 1):
            values = risk(self.paths(np.exp(logs))[path])
            best = int(values.argmin())
            beside = logs[max(best - 1, 0)], logs[min(best + 1, GRID - 1)]

            def at(log_x: float, path: int = path) -> float:
                return float(risk(self.paths(np.exp([log_x]))[path])[0])

            refined = minimize_scalar(at, bounds=beside, method="bounded", options={"xatol": 1e-9})
            found.append(min(float(values[best]), float(refined.fun)))
        return found[0], found[1]

    @cached_property
    def gains(self) -> tuple[float, float]:
        """What the best time and the best decay gain of the risk ‖w − β‖² of X⁺y, over that risk."""
        beta = np.asarray(self.trajectory["beta"].values) @ self.net.span
        beside = float(np.sum(np.asarray(self.trajectory["beta"].values) ** 2) - beta @ beta)
        rest = float(np.sum((self.whole - beta) ** 2)) + max(beside, 0.0)
        first, second = self.least_on_paths(lambda share: np.sum((share * self.whole - beta) ** 2, axis=1))
        by_time, by_decay = (max(0.0, rest - one - max(beside, 0.0)) / rest for one in (first, second))
        return by_time, by_decay

    @cached_property
    def mean_gains(self) -> tuple[float, float]:
        """The same in the mean over noise of the labels, of variance NOISE, β fixed."""
        beta = np.asarray(self.trajectory["beta"].values) @ self.net.span
        rest = float(np.sum(NOISE / self.s2))
        first, second = self.least_on_paths(
            lambda share: np.sum((1.0 - share) ** 2 * beta**2 + share**2 * NOISE / self.s2, axis=1)
        )
        return (rest - first) / rest, (rest - second) / rest

    @at_most(1e-12, role="hypothesis", exact=True)
    def small(self) -> float | None:
        """‖w(0)‖ under the square loss.

        "If gradient descent starts with small weights": zero here.
        """
        return float(np.linalg.norm(self.weights[0])) if self.square else NOT_ASKED

    @at_most(RATIO + 1e-5, sentence="inverse")
    def most(self) -> Number | None:
        """Largest share of a component in w(t) over that in ridge at λ = 1/t.

        1.2985 at s²t = 1.79.
        """
        seen = self.square and self.ridge > SEEN
        return Number(float(np.max((self.shares / self.ridge)[seen])), 1e-8) if self.square else NOT_ASKED

    @at_least(1.0 - 1e-7, sentence="inverse")
    def least(self) -> Number | None:
        """The least.

        1, as s²t → 0 and ∞; rounding is 1e-8 where a share is above 1e-6.
        """
        seen = self.square and self.ridge > SEEN
        return Number(float(np.min((self.shares / self.ridge)[seen])), 1e-8) if self.square else NOT_ASKED

    @at_most(APART + 1e-5, sentence="inverse")
    def apart(self) -> Number | None:
        """Largest ‖w(t) − w_{1/t}‖/‖X⁺y‖.

        0.2036 at s²t = 2.51, where all singular values are equal.
        """
        if not self.square:
            return NOT_ASKED
        gaps = np.linalg.norm((self.shares - self.ridge) * self.whole, axis=1)
        return Number(float(gaps.max() / np.linalg.norm(self.whole)), 1e-10)

    @at_most(0.02, sentence="inverse")
    def norms(self) -> Number | None:
        """|‖w(t)‖/‖w_{1/t}‖ − 1| at log t = 1000 under the exponential loss.

        (log s)/s and O(1/s), see the module's docstring.
        """
        if self.square:
            return NOT_ASKED
        return Number(abs(float(np.linalg.norm(self.end) / np.linalg.norm(self.regularised)) - 1.0), 1e-5)

    @at_most(0.02, sentence="inverse")
    def directions(self) -> Number | None:
        """The angle between the two, in radians.

        O(1/s), see the module's docstring.
        """
        return NOT_ASKED if self.square else Number(angle(self.end, self.regularised), 1e-5)

    @at_least(
        0.0,
        sentence="less",
        changed="First over all records, with rounding granted: where ‖w‖ has arrived it decided nothing.",
    )
    def growing(self) -> Number:
        """Least growth of ‖w(t)‖ from record to record, over ‖w‖ at the end.

        Positive until ‖w‖ has arrived to 1e-9, beyond which rounding decides. From a start that is not small ‖w‖ may
        fall at first: of the exponential loss the second half of the records is asked.
        """
        norms = np.linalg.norm(self.weights, axis=1)
        late = norms if self.square else norms[len(norms) // 2 :]
        # of the largest, not of the last: a norm that falls at the end has not arrived
        there = late >= (1.0 - 1e-9) * late.max()
        grown = np.diff(late)[~(there[:-1] & there[1:])]
        return Number(float(np.min(grown) / norms[-1]) if grown.size else 0.0, EPS)

    def shown(self):
        nothing = np.full((33, 1), np.nan)
        x = self.time[1:, None] * self.s2 if self.square else nothing
        gains = self.gains if self.square else (np.nan, np.nan)
        # of all components the slowest, so that every problem has as many
        ratio = (self.shares / self.ridge)[:, -1] if self.square else nothing[:, 0]
        return {
            "x": ("after", x[:, -1]),
            "over ridge": ("after", ratio),
            "gain of stopping": gains[0],
            "gain of decay": gains[1],
        }


class TimeIsInverseLambdaPrinted(_Shared):
    @at_least(1e-3, sentence="best")
    def best(self) -> Number | None:
        """What the best decay gains of the risk over what the best time gains, where that is above 1e-6 of the risk.

        0 where the best decay is 0; minima are found to rounding of the risk, 1e-9 of a gain.
        """
        if not self.square or self.gains[0] < 1e-6:
            return NOT_ASKED
        return Number(self.gains[1] / self.gains[0], 1e-6)


class TimeIsInverseLambdaCorrected(_Shared):
    @at_most(1e-6, sentence="component")
    def component(self) -> Number | None:
        """Largest |share of w(t)/share of ridge at λ = s²/(e^{s²t} − 1) − 1|, a λ for each component.

        Rounding of shares above 1e-6.
        """
        if not self.square:
            return NOT_ASKED
        x = self.s2 * self.time[1:, None]
        with np.errstate(over="ignore"):
            own = self.s2 / (self.s2 + self.s2 / np.expm1(x))
        return Number(float(np.max(np.abs(self.shares / own - 1.0)[self.ridge > SEEN])), 1e-8)

    @at_least(1e-6, sentence="best")
    def mean_time(self) -> Number | None:
        """What the best time gains of the risk in the mean over the labels' noise.

        Late, variance falls and bias is of second order: it is positive for every noise.
        """
        return Number(self.mean_gains[0], 1e-9) if self.square else NOT_ASKED

    @at_least(1e-6, sentence="best")
    def mean_decay(self) -> Number | None:
        """What the best decay gains in that mean.

        Positive for every noise (Hoerl and Kennard 1970).
        """
        return Number(self.mean_gains[1], 1e-9) if self.square else NOT_ASKED

    @at_most(
        1e-3,
        sentence="equal",
        changed="The least of a grid of 600 at first, which misses 3e-3 of a gain of 1e-4 where it is late.",
    )
    def alike(self) -> Number | None:
        """|gain of the best decay − gain of the best time|, over the latter, where all singular values are equal.

        One path, differently timed: minima are found to rounding of the risk, 1e-9 of a gain; a thousandth is asked.
        """
        if not self.square or np.ptp(self.s2) > 1e-9 * self.s2[0] or self.gains[0] < 1e-6:
            return NOT_ASKED
        return Number(abs(self.gains[1] - self.gains[0]) / self.gains[0], 1e-9)


def _turned(random, singular, N, d):
    left = np.linalg.qr(random.standard_normal((N, len(singular))))[0]
    right = np.linalg.qr(random.standard_normal((d, len(singular))))[0]
    return left * singular, right


N, D = 14, 5


def cases(key, *, drawn, opposed, equal, flows):
    """Problems under the square loss as one program; runs under the exponential loss as another."""
    random = generator(key)
    members = []
    for i in range(drawn):
        kind = families.KINDS[i % 3]
        X, _ = families.draw(random, kind, N, D, 1)
        beta = random.standard_normal(D)
        y = X @ beta + random.standard_normal(N)
        members.append((kind, X, y, beta))
    for _ in range(opposed):
        left, right = _turned(random, np.sqrt([2.0, 1.0]), N, D)
        whole = random.uniform(0.8, 1.2, 2)
        members.append(("two components", left @ right.T, left @ whole, right @ ([1.5, 0.9] * whole)))
    for _ in range(equal):
        left, right = _turned(random, np.ones(D), N, D)
        beta = right @ random.standard_normal(D)
        X = left @ right.T
        members.append(("equal singular values", X, X @ beta + random.standard_normal(N), beta))
    triples, betas = [], []
    for i, (kind, X, y, beta) in enumerate(members):
        problem = Problem(Dense((D, 1), "identity"), Square(half=True), Data(X, y[:, None]))
        triples.append((problem, (np.zeros((1, D)),), {"loss": "square", "data": kind, "draw": i + 1}))
        betas.append(beta)
    times = np.geomspace(1e-3, 1e3, 33)
    for one, beta in zip(ensemble(GradientFlow, triples, times, solver=Exact()), betas, strict=True):
        yield case(one.problem, one.trajectory.assign(beta=("weight", beta)), **one.facts)
    runs = []
    for i in range(flows):
        kind = ("random", "orthogonal")[i % 2]

        def points(kind=kind):
            x, y = interpolated.labelled(random, kind, 5, 8)
            return 2.0 * x, y

        problem = exponential.linear(exponential.regular(points, longest=2.0))
        facts = {"loss": "exponential", "data": kind, "draw": i + 1}
        runs.append((problem, (0.01 * random.standard_normal((1, 8)),), facts))
    yield from ensemble(GradientFlow, runs, **exponential.to_log_time([one for one, *_ in runs], LOG_T))


FIGURE = Figure(
    Panel(
        "over ridge",
        "x",
        r"share in $w(t)$ over share in ridge at $1/t$",
        r"$s^2t$, the slowest component",
        by=("data",),
        log="x",
    ),
    Panel(
        "gain of decay",
        "gain of stopping",
        "gain of the best decay",
        "gain of the best time, of the risk",
        by=("data",),
        log="xy",
        floor=1e-8,
        diagonal=True,
    ),
    caption="Left: the time as an inverse decay is right within a factor of 1.2985 of each component. Right: what the "
    "best time and the best decay gain of the expected risk; zero is drawn at 1e-8.",
)
BUDGETS = {
    "quick": {"drawn": 10, "opposed": 12, "equal": 4, "flows": 4},
    "full": {"drawn": 60, "opposed": 30, "equal": 15, "flows": 12},
    "few": {"drawn": 3, "opposed": 2, "equal": 2, "flows": 2},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.time-is-inverse-lambda", TimeIsInverseLambdaPrinted),
        ("memo90.time-is-inverse-lambda-corrected", TimeIsInverseLambdaCorrected),
    )
)
