"""notes.learning-rate: which rates γ(t) lead to the minimum, and which do so although there is noise.

Printed. ẋ + γ(t)x = 0 has x = x_0 e^{−∫γ}; convergence needs ∫γ → ∞, robustness against noise u in ẋ + γ(t)(x + u) = 0
needs γ → 0 too; memo 90 adds that γ(t)ε(t) → 0 is needed, with γ_n for the discrete process.

Reading. γ = c/(1 + t)^a: the borders are a = 1 and a = 0. Without noise as the equation, and as gradient descent on
½x² with steps γ_n. With noise as SGD on ½(x − y_n)², y_n = ±1 with mean zero, so that u = −y_n; 255 or 2 047 weights
see noises that are uncorrelated (rows of a Hadamard matrix). In steps of discrete time E x² obeys
v ← (1 − γ_n)² v + γ_n². Noise has mean zero: a constant u is eliminated by no rate, x → −u (a control). The noise of
discretisation itself, e = O(γ x), vanishes with x: a constant step below 2 converges, and is among the cases.
Not asked: rates and noises that are spikes or ever faster, with which, in continuous time, neither γ → 0 nor
γε → 0 is needed (γ = 1/(1 + t), γε = sin t²).

Settings, before any run: c = ½ and 0.9; a from 0 to 2; without noise until ∫γ = 20 or t = 10⁶ (10⁵ steps), SciPy's
DOP853 at 1e-12 and 1e-10; with noise 20 000 steps from x = 1, records at 200 and at the end.

Tolerances. The equation: 1e-12 a step, some 500 steps. The rate of decay d log|x|/d log t over the last decade, in
units of c, is 1 at a = 1, more below, and tends to 0 above: half way. Mean squares over P weights are right to
2.6 √(2/P) = 0.23 or 0.08 (99 %); floor, shrinking and vanishing are asked half way from what noise does to nothing.

Changed after a first run of the full budget: 2 047 weights in place of 255, which left ±0.8 at a = ⅛.
"""

from functools import cached_property

import jax
import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.linalg import hadamard

from gradlab.claims.cases import case
from gradlab.claims.looks import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import GradientDescent, PowerLaw, StochasticGradientDescent
from gradlab.laboratory.running import run
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

EQUATION, DESCENT, NOISE, BIAS = "equation", "descent", "SGD", "constant noise"


def integral(a: float, c: float, t: np.ndarray | float) -> np.ndarray:
    """∫_0^t c/(1 + s)^a ds."""
    grown = np.log1p(np.asarray(t, dtype=np.float64))
    return c * (grown if a == 1.0 else np.expm1((1.0 - a) * grown) / (1.0 - a))


def mean_square(a: float, c: float, steps: int) -> np.ndarray:
    """E x² after every step of SGD from x = 1, (steps + 1,)."""
    rates, seen = c * (1.0 + np.arange(steps)) ** -a, [1.0]
    for rate in rates:
        seen.append((1.0 - rate) ** 2 * seen[-1] + rate**2)
    return np.asarray(seen)


class LearningRate(Look):
    """One rate and one kind of noise."""

    setting = "a linear net of one layer with one input, under the square loss"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one."""
        network = problem.network
        if not (isinstance(network, Dense) and isinstance(problem.loss, Square)):
            return False
        return network.linear and network.widths[0] == 1

    @cached_property
    def kind(self) -> str:
        """Equation, descent, SGD or constant noise."""
        return str(self.facts["kind"])

    @cached_property
    def a(self) -> float:
        """The exponent of the rate."""
        return float(self.facts["a"])

    @cached_property
    def c(self) -> float:
        """The rate at the start."""
        return float(self.facts["c"])

    @cached_property
    def quiet(self) -> bool:
        """Whether there is no noise."""
        return self.kind in (EQUATION, DESCENT)

    @cached_property
    def squares(self) -> np.ndarray:
        """The mean square of the weights at every record."""
        return np.mean(self.weights**2, axis=1)

    @cached_property
    def sampling(self) -> float:
        """By what share the mean square of weights with uncorrelated noises may miss its expectation (99 %)."""
        return 2.6 * float(np.sqrt(2.0 / self.weights.shape[1]))

    @cached_property
    def decay(self) -> float:
        """−Δ log|x|/Δ log(1 + n) over the last decade of steps or of time, in units of c."""
        t = self.trajectory["at"].values
        first = int(np.searchsorted(t, 0.1 * t[-1]))
        fallen = 0.5 * np.log(self.squares[first] / self.squares[-1])
        return float(fallen / np.log((1.0 + t[-1]) / (1.0 + t[first])) / self.c)

    @at_most(1e-12, role="hypothesis", exact=True)
    def mean_zero(self) -> float | None:
        """The largest mean of the noise that a weight sees, where there is noise.

        Sums of ±1.
        """
        if self.kind != NOISE:
            return NOT_ASKED
        return float(np.abs(np.asarray(self.problem.data.targets).mean(axis=0)).max())

    @at_most(1e-8, sentence="solution")
    def solution(self) -> Number | None:
        """|log|x(t)/x_0| + ∫γ| over max(1, ∫γ), at the worst record of the equation.

        DOP853 at 1e-12 a step, some 500 steps.
        """
        if self.kind != EQUATION:
            return NOT_ASKED
        expected = integral(self.a, self.c, self.time)
        fallen = np.log(np.abs(self.weights[:, 0] / self.weights[0, 0]))
        return Number(float(np.max(np.abs(fallen + expected) / np.maximum(1.0, expected))), 10.0 * EPS)

    @at_least(0.5, sentence="convergence")
    def arrives(self) -> Number | None:
        """Where ∫γ = ∞: d log|x|/d log t over the last decade, in units of −c.

        1 or more for a ≤ 1, and 0 if x kept a part of its start: half way.
        """
        return Number(self.decay, EPS * self.steps) if self.quiet and self.a <= 1.0 else NOT_ASKED

    @at_most(0.5, sentence="convergence")
    def stops(self) -> Number | None:
        """Where ∫γ is finite: the same.

        It tends to 0; at a = 1.25 it is 0.04 at t = 10⁶ and 0.08 after 10⁵ steps.
        """
        return Number(self.decay, EPS * self.steps) if self.quiet and self.a > 1.0 else NOT_ASKED

    @equals(1.0, within=1e-6, sentence="convergence")
    def short(self) -> Number | None:
        """Where ∫γ is finite: the end, less what is still to come, over x_0 e^{−∫_0^∞ γ}.

        As for the solution, times ∫γ ≤ 4.
        """
        if self.kind != EQUATION or self.a <= 1.0:
            return NOT_ASKED
        whole = self.c / (self.a - 1.0)
        rest = whole - float(integral(self.a, self.c, self.time[-1]))
        limit = self.weights[-1, 0] / self.weights[0, 0] * np.exp(-rest)
        return Number(float(limit * np.exp(whole)), 10.0 * EPS)

    @equals(1.0, within=0.5, sentence="robustness")
    def expected(self) -> Number | None:
        """The mean square at the end over its expectation, by the recursion.

        Sampling leaves 0.23; half is what a noise of another strength, or one averaged away, passes.
        """
        if self.kind != NOISE:
            return NOT_ASKED
        ratio = self.squares[-1] / mean_square(self.a, self.c, int(self.steps))[-1]
        return Number(float(ratio), self.sampling * max(1.0, float(ratio)))

    @at_least(0.5, sentence="robustness")
    def floor(self) -> Number | None:
        """The mean square under a constant rate over that of the noise's balance, γ/(2 − γ): it does not vanish.

        1 if noise stays, 0 if it is eliminated: half way.
        """
        if self.kind != NOISE or self.a > 0.0:
            return NOT_ASKED
        ratio = float(self.squares[-1]) * (2.0 - self.c) / self.c
        return Number(ratio, self.sampling * max(1.0, ratio))

    @at_least(0.5, sentence="robustness")
    def shrinks(self) -> Number | None:
        """Under a rate that falls, with ∫γ = ∞: −d log(mean square)/d log n over two decades, in units of a.

        1 if the noise is eliminated like γ/2, 0 if it stays: half way.
        """
        if self.kind != NOISE or not 0.0 < self.a <= 1.0:
            return NOT_ASKED
        n = self.trajectory["at"].values
        first = int(np.searchsorted(n, 0.01 * n[-1]))
        over = self.a * np.log(n[-1] / n[first])
        return Number(
            float(np.log(self.squares[first] / self.squares[-1]) / over), float(2.0 * self.sampling / over)
        )

    @at_most(0.5, sentence="product")
    def product(self) -> Number | None:
        """Where noise is eliminated: γ_n ε_n of the last step, root mean square, over that of the first.

        Read off the weights, x_n − x_{n+1} − γ_n x_n: (1 + n)^{−a}, 0.08 at a = ¼; 1 if γε did not fall.
        """
        if self.kind != NOISE or not 0.0 < self.a <= 1.0:
            return NOT_ASKED
        rates = np.diff(self.time)
        pushed = [
            float(np.sqrt(np.mean((self.weights[k] - self.weights[k + 1] - rates[k] * self.weights[k]) ** 2)))
            for k in (0, len(rates) - 1)
        ]
        return Number(pushed[1] / pushed[0], EPS * self.steps)

    @at_most(0.1, role="control")
    def constant(self) -> Number | None:
        """|x + u| at the end under a constant noise u = 1 and γ → 0: no rate eliminates it, though γu → 0.

        e^{−2c√n} is left; 1 if it were eliminated.
        """
        return Number(float(np.abs(self.end + 1.0).max()), 10.0 * EPS) if self.kind == BIAS else NOT_ASKED

    def shown(self):
        last = self.squares[-1] if self.kind in (NOISE, BIAS) else np.nan
        rate = self.decay if self.quiet else np.nan
        return {"exponent": self.a, "last": float(last), "slope": float(rate)}


def _problem(targets: np.ndarray) -> Problem:
    targets = np.atleast_2d(targets)
    network = Dense((1, targets.shape[1]), "identity")
    return Problem(network, Square("mean", half=True), Data(np.ones((len(targets), 1)), targets))


def _solved(a: float, c: float, rtol: float, ends: np.ndarray) -> np.ndarray:
    def field(t: float, x: np.ndarray) -> np.ndarray:
        return -c * (1.0 + t) ** -a * x

    found = solve_ivp(field, (0.0, ends[-1]), [1.0], "DOP853", ends, rtol=rtol, atol=0.0)
    return found.y[0][:, None]


def _end(a: float, c: float, longest: float) -> float:
    """Where ∫γ = 20, at most ``longest``."""
    grid = np.geomspace(1.0, longest, 400)
    return float(grid[min(int(np.searchsorted(integral(a, c, grid), 20.0)), len(grid) - 1)])


def cases(key, *, rates, exponents, steps, weights):
    """The equation, descent, SGD and constant noise, over rates and exponents."""
    still = _problem(np.zeros((1, 1)))
    noise = _problem(hadamard(weights + 1)[:, 1:].astype(np.float64))
    bias = _problem(-np.ones((1, 1)))
    facts = [{"a": a, "c": c} for c in rates for a in exponents]
    for one in facts:
        t = np.concatenate([[0.0], np.geomspace(1.0, _end(**one, longest=1e6), 61)])
        fine, coarse = (_solved(**one, rtol=rtol, ends=t) for rtol in (1e-12, 1e-10))
        rows = {"weights": (("record", "weight"), fine), "weights_coarse": (("record", "weight"), coarse)}
        yield case(still, xr.Dataset({**rows, "t": ("record", t), "at": ("record", t)}), kind=EQUATION, **one)
    for one in facts:
        until = int(np.ceil(_end(**one, longest=1e5)))
        yield _iterated(GradientDescent(still, PowerLaw(one["c"], one["a"])), until, DESCENT, one)
    for one in facts:
        if one["a"] <= 1.0:
            key, drawn = jax.random.split(key)
            flow = StochasticGradientDescent(noise, PowerLaw(one["c"], one["a"]), batch=1, key=drawn)
            yield _iterated(flow, steps, NOISE, one)
    for c in rates:
        yield _iterated(GradientDescent(bias, PowerLaw(c, 0.5)), 1000, BIAS, {"a": 0.5, "c": c})


def _iterated(flow, until, kind, facts):
    """From x = 1 until a step, records a twentieth of a decade apart, and the steps beside the first and the last."""
    at = np.unique(
        np.concatenate([[1], np.geomspace(1, until, 81).round(), [max(until - 1, 1), until]])
    ).astype(int)
    start = (np.ones((flow.problem.network.widths[1], 1)),)
    seen = run(flow, start, at, keep="all", observables=())
    seen = seen.assign(at=("record", np.concatenate([[0], at])))
    return case(flow.problem, seen, kind=kind, **facts)


STUDY = study(
    "notes.learning-rate",
    LearningRate,
    cases,
    quick={
        "rates": (0.5, 0.9),
        "exponents": (0.0, 0.25, 0.5, 1.0, 1.25, 1.5),
        "steps": 20_000,
        "weights": 255,
    },
    full={
        "exponents": (0.0, 0.125, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5, 2.0),
        "steps": 100_000,
        "weights": 2047,
    },
    few={"rates": (0.9,), "exponents": (0.0, 0.5, 1.25), "steps": 5_000},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "slope", "exponent", r"$-d\,\log|x|/d\,\log t$ over $c$", "exponent $a$", by=("kind",), log="y"
        ),
        Panel("last", "exponent", "mean square at the end", "exponent $a$", by=("kind",), log="y"),
        caption="Left, without noise: the rate of decay over the last decade. At a = 1 it is 1; above, the solution "
        "stops short of the minimum. Right, with noise: what is left of it at the end. A constant rate keeps it, and a "
        "constant noise is kept by every rate.",
    ),
)
