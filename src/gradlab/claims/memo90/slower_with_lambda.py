"""memo90.slower-with-lambda: the time until the regularised flow is at its equilibrium, against λ (section 5.2).

What is printed. After eq. 8, of the exponential loss and f of K layers: "hyperbolicity is guaranteed for any value
λ_k > 0: smaller and smaller λ_k imply that the equilibrium is reached at longer and longer times."

What can be asked. The rate at an equilibrium is the least eigenvalue of ∇²L there that no symmetry makes zero; and a
flow from one start is within 1 % of it after a time T. Closed forms: one layer, one example, x²e^{−m} = λm for the
margin m, rate λ(1 + m), which falls with λ. K layers of width one, x = 1, equal weights u: u^{K−2}e^{−u^K} = λ, rates
λ(2 − K + Ku^K) along the diagonal and 2λ across it (K = 2) or more: for K = 2 the first is 2λ log(1/λ), largest at λ
= 1/e; for K = 3 it is zero at the fold, λ = 0.497. So for deep nets less decay is *faster* near the λ at which the
equilibrium appears (docs/notes/memo90.slower-with-lambda.md).

Settings, before any run. λ = λ_c times 0.9, 0.4 and 1e-2, 1e-3, 1e-4, 1e-5. λ_c is ‖Σ y x‖ for one and two layers,
where W = 0 ceases to be stable for two, and 0.497 for three layers on x = 1. One layer (one example; 6 points in d =
3), two layers of width one (one example; 6 points in d = 3), three layers of width one; six draws of x, two of data,
one of the last. Square loss, one layer, 6 points in d = 3 (all directions seen) and 3 points in d = 6. Equilibria by
Newton; flows to their arrival (LSODA at 1e-6) from 0.9 times the equilibrium at λ = 0.4 λ_c; for one example and one
or two layers by quadrature.

Tolerances. Rates are eigenvalues at polished equilibria, right to 1e-9; T is right to 1e-4.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import scipy.integrate
import xarray as xr

from gradlab.analysis.equilibria import minimising
from gradlab.claims.cases import Case, case, generator
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import exponential
from gradlab.claims.studies import section, study
from gradlab.observe.local import local
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

SHARES = np.array([0.9, 0.4, 1e-2, 1e-3, 1e-4, 1e-5])
#: The first share that is small.
SMALL = 2
#: max u e^{−u³}: the fold of three layers.
FOLD = float(3.0 ** (-1.0 / 3.0) * np.exp(-1.0 / 3.0))
NEAR, SPACING = 0.01, 1e-4


class SlowerWithLambda(Look):
    """Equilibria of all λ, (6, P), their rates, and the times T of flows."""

    setting = "a linear net of width one inside, the square or exponential loss, λ > 0"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether there is decay."""
        return isinstance(problem.network, Dense) and float(np.max(np.asarray(problem.decay))) > 0.0

    @property
    def square(self) -> bool:
        """Whether the loss is square."""
        return isinstance(self.problem.loss, Square)

    @property
    def decays(self) -> np.ndarray:
        """λ, (6,), falling; the problem has the last."""
        return float(self.problem.decay) * SHARES / SHARES[-1]

    @cached_property
    def rates(self) -> np.ndarray:
        """Least eigenvalue of ∇²L at every equilibrium, (6,)."""
        found = []
        for decay, vector in zip(self.decays, self.weights, strict=True):
            problem = self.problem
            H = local(problem, vector).hessian + (decay - float(problem.decay)) * np.eye(problem.size)
            found.append(np.linalg.eigvalsh(H)[0])
        return np.asarray(found)

    @property
    def times(self) -> np.ndarray:
        """T, (6,), NaN where there was no flow."""
        return np.asarray(self.trajectory["times"].values, dtype=np.float64)

    def least(self, values: np.ndarray, share: float) -> Number | None:
        """The least ratio of neighbours, each with an error of a share."""
        if np.isnan(values).any():
            return NOT_ASKED
        ratio = float(np.min(values[1:] / values[:-1]))
        return Number(ratio, share * ratio)

    @at_least(3.0, sentence="slower")
    def small(self) -> Number | None:
        """The same a decade for λ ≤ λ_c/100, exponential loss: without bound.

        1/ρ is 1/(λ(1 + m)) or 1/2λ, m = log(1/λ) or so: 5 to 10 a decade.
        """
        return NOT_ASKED if self.square else self.least(1.0 / self.rates[SMALL:], 1e-6)

    @at_least(3.0, sentence="slower")
    def small_later(self) -> Number | None:
        """The same of T.

        As for small.
        """
        return NOT_ASKED if self.square else self.least(self.times[SMALL:], SPACING)

    def shown(self):
        return {
            "λ over λ_c": ("decay", SHARES),
            "relaxation": ("decay", 1.0 / self.rates),
            "reached after": ("decay", self.times),
        }


class SlowerWithLambdaPrinted(SlowerWithLambda):
    @at_least(1.0, sentence="slower")
    def slower(self) -> Number | None:
        """Least growth of the relaxation time 1/ρ from one λ to the next smaller, exponential loss.

        1 if it does not fall; eigenvalues are right to 1e-9.
        """
        return NOT_ASKED if self.square else self.least(1.0 / self.rates, 1e-6)

    @at_least(1.0, sentence="slower")
    def later(self) -> Number | None:
        """Least growth of the time T until the flow is within 1 % of its equilibrium, likewise.

        T is right to 1e-4.
        """
        return NOT_ASKED if self.square else self.least(self.times, SPACING)


class SlowerWithLambdaCorrected(SlowerWithLambda):
    @at_least(1.0, sentence="slower")
    def one_layer(self) -> Number | None:
        """Least growth of 1/ρ from one λ to the next smaller, one layer, exponential loss, every λ.

        1 if it does not fall; eigenvalues are right to 1e-9.
        """
        if self.square or len(self.problem.network.widths) > 2:
            return NOT_ASKED
        return self.least(1.0 / self.rates, 1e-6)

    @at_most(1e-8, sentence="closed")
    def closed(self) -> Number | None:
        """Largest |ρ/closed form − 1| for one example: λ(1 + m), or the lesser of λ(2 − K + Ku^K) and 2λ (K λ, K = 3).

        Eigenvalues are right to 1e-9.
        """
        x = np.asarray(self.problem.data.inputs)
        if self.square or x.shape != (1, 1):
            return NOT_ASKED
        K, wanted = len(self.problem.network.widths) - 1, []
        for decay, vector in zip(self.decays, self.weights, strict=True):
            m = abs(float(np.prod(vector)) * float(x[0, 0]))
            across = {1: np.inf, 2: 2.0, 3: 2.0}[K]
            wanted.append(decay * min(1.0 + m if K == 1 else 2.0 - K + K * m, across))
        return Number(float(np.max(np.abs(self.rates / np.asarray(wanted) - 1.0))), 1e-10)

    @at_most(1.0, sentence="square")
    def bounded(self) -> Number | None:
        """1/ρ times 2 s_min² at the least λ under the square loss, where the data see every direction: bounded.

        ρ = 2s² + λ: below 1.
        """
        if not self.square:
            return NOT_ASKED
        values = np.linalg.svd(np.asarray(self.problem.data.inputs), compute_uv=False)
        if len(values) < self.size:
            return NOT_ASKED
        return Number(2.0 * float(values[-1]) ** 2 / float(self.rates[-1]), 1e-12, tolerance=1.0 + 1e-9)


def _time(problem: Problem, start: np.ndarray, end: np.ndarray) -> float:
    """T of the flow from a start, by LSODA at 1e-6."""

    def arrived(_: float, w: np.ndarray) -> float:
        return float(np.linalg.norm(w - end) / np.linalg.norm(end)) - NEAR

    arrived.terminal = True  # type: ignore[attr-defined]  # how SciPy is told to stop at an event
    found = scipy.integrate.solve_ivp(
        lambda _, w: -local(problem, w).gradient,
        (0.0, 100.0 / float(problem.decay)),
        start,
        "LSODA",
        rtol=1e-6,
        atol=1e-9,
        events=arrived,
    )
    return float(found.t_events[0][0]) if len(found.t_events[0]) else float("nan")


def _quadratures(problems: list[Problem], ends: list[np.ndarray]) -> np.ndarray:
    """T of one example and balanced layers, ∫ du/u' with u' = x u^{K−1}e^{−xu^K} − λu."""
    network: Any = problems[0].network
    x, K, found = float(problems[0].data.inputs[0, 0]), len(network.widths) - 1, []
    begin = 0.9 * float(ends[1][0])
    for problem, end in zip(problems, ends, strict=True):
        decay, rest = float(problem.decay), float(end[0])
        until = rest * (1.0 - np.sign(rest - begin) * NEAR)

        def slowness(u: float, decay: float = decay) -> float:
            return float(1.0 / (x * u ** (K - 1) * np.exp(-x * u**K) - decay * u))

        found.append(scipy.integrate.quad(slowness, begin, until, limit=400)[0])
    return np.asarray(found)


def _swept(problem: Problem, start: np.ndarray, critical: float) -> tuple[list[Problem], list[np.ndarray]]:
    """The problem at every λ, and its equilibria, each from the one before."""
    problems: list[Problem] = []
    ends: list[np.ndarray] = []
    middle = minimising.minimum(_with(problem, 0.5 * critical), start)
    for decay in SHARES * critical:
        problems.append(_with(problem, float(decay)))
        ends.append(minimising.minimum(problems[-1], middle if len(ends) < SMALL else ends[-1]))
    return problems, ends


def _with(problem: Problem, decay: float) -> Problem:
    return Problem(problem.network, problem.loss, problem.data, decay)


def _exponential(random: np.random.Generator, widths: tuple[int, ...], alone: bool) -> Any:
    """A problem, weights that fit, and λ_c."""
    K, d = len(widths) - 1, widths[0]
    if alone:
        x, y = np.array([[1.0 if K > 2 else random.uniform(0.5, 2.0)]]), np.ones(1)
    else:
        x, y = exponential.split(random, 6, d, d)
    pull = y @ x
    critical = FOLD if K > 2 else float(np.linalg.norm(pull))
    first = pull / np.linalg.norm(pull)
    start = np.concatenate([first, np.ones(K - 1)]) if K < 3 else np.ones(3)
    return Problem(Dense(widths, "identity"), Exponential("sum"), Data(x, y)), start, critical


def cases(key: Any, *, draws: int) -> Iterator[Case]:
    """Flows and equilibria under the exponential loss, equilibria under the square loss."""
    random = generator(key)
    families = (
        ("one layer, one example", (1, 1), True, draws),
        ("one layer", (3, 1), False, max(1, draws // 3)),
        ("two layers, one example", (1, 1, 1), True, draws),
        ("two layers", (3, 1, 1), False, max(1, draws // 3)),
        ("three layers, one example", (1, 1, 1, 1), True, 1),
    )
    for name, widths, alone, count in families:
        swept = []
        for _ in range(count):
            problem, start, critical = _exponential(random, widths, alone)
            swept.append(_swept(problem, start, critical))
        if alone and len(widths) < 4:
            for i, (problems, ends) in enumerate(swept):
                yield _case(problems, ends, {"times": _quadratures(problems, ends)}, name, i)
            continue
        for i, (problems, ends) in enumerate(swept):
            runs = [_time(one, 0.9 * ends[1], end) for one, end in zip(problems, ends, strict=True)]
            yield _case(problems, ends, {"times": np.asarray(runs)}, name, i)
    for name, N, d in (("one layer, N > d", 6, 3), ("one layer, N < d", 3, 6)):
        for i in range(draws // 2):
            data = Data(random.standard_normal((N, d)), random.standard_normal((N, 1)))
            problem = Problem(Dense((d, 1), "identity"), Square(), data)
            problems, ends = _swept(problem, random.standard_normal(d), 1.0)
            yield _case(problems, ends, {"times": np.full(len(SHARES), np.nan)}, name, i)


def _case(
    problems: list[Problem], ends: list[np.ndarray], times: dict[str, np.ndarray], name: str, i: int
) -> Case:
    found: dict[str, Any] = {"weights": (("record", "weight"), np.stack(ends))}
    found |= {key: ("decay", values) for key, values in times.items()}
    return case(problems[-1], xr.Dataset(found), net=name, draw=i + 1)


FIGURE = Figure(
    Panel(
        "relaxation", "λ over λ_c", r"relaxation time $1/\rho$", r"$\lambda/\lambda_c$", by=("net",), log="xy"
    ),
    Panel(
        "reached after",
        "λ over λ_c",
        "time to within 1 %",
        r"$\lambda/\lambda_c$",
        by=("net",),
        log="xy",
    ),
    caption="Left: relaxation times at the equilibrium, without bound for small λ but for the square loss where the "
    "data see every direction; near λ_c those of deep nets fall. Right: times of flows from one start.",
)
BUDGETS = {"quick": {"draws": 6}, "full": {"draws": 16}, "few": {"draws": 2}}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("memo90.slower-with-lambda", SlowerWithLambdaPrinted),
        ("memo90.slower-with-lambda-corrected", SlowerWithLambdaCorrected),
    )
)
