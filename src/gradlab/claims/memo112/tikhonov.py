"""memo112.tikhonov and memo112.fig2: the transient as Ivanov and Tikhonov regularisation, and λ ≈ 1/T of linear nets.

What is judged. *Ivanov.* At every ρ of the way the loss is compared with the least loss under ‖w‖ ≤ ρ. For a linear
net with one output W_L⋯W_1 = w, ‖w‖ ≤ Π‖W_k‖, and the minimiser under ρ ≤ C is that of least squares in the ball ‖w‖
≤ C, of the ridge path. "Similar" is read as: when the transient is over the loss has fallen by nine tenths or more of
what the ball allows. From a random start V turns first: the share is small at t = 0, and it is the limit ρ(0) → 0
that lets V arrive before ρ does. *Tikhonov.* The minimiser in the ball is that of Σ(g − y)² + λ‖w‖² with its
multiplier λ ≥ 0: the equivalence is convex duality in w. (In the layers, with Σ λ‖W_k‖² for ‖w‖², it is lost from
three layers on: Lλρ^{2/L} is concave in ρ and no λ has a small minimiser.) With V at rest λ = a/ρ − b; that is figure
2's λ. *Linear.* One layer from w = 0: each singular direction has the factor 1 − e^{−2s²t}, ridge has s²/(s² + λ).
With λ = 1/2t (for Σ(g − y)²; 1/t for half of it; T iterations of step η are t = ηT) their ratio lies between 1 and
1.2985 for every s and t: "≈" is taken as within 30 %. No one λ serves all directions: solved for one, λ =
s²/(e^{2s²t} − 1), which is 1/2t for s²t ≪ 1 and exponentially small for s²t ≫ 1.

Settings. Loss Σ(g − y)². One layer, 6 × 8 data with singular values over two decades, from 0, by gradlab's flow, to
twelve times over five decades. Linear nets (6, 4, 4, 1) on 14 points of two classes, ρ(0) = 1e-6 (and from 0.5, the
control); chains of 2, 3 and 4 layers for figure 2.

Tolerances. The ratio 1.2985 is that of (1 − e^{−x})(1 + x)/x; the solver's 1e-10. Minimum norm: what e^{−2s²t} has
left of the slowest direction, below 1e-9 at the last time.
"""

from functools import cached_property
from typing import Any

import numpy as np
import scipy.optimize

from gradlab.analysis.one_layer import one_layer
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.transients import Transient
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import transients
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class Balls:
    """Least squares in balls ‖w‖ ≤ C and with penalties λ‖w‖², of one output, by singular values."""

    def __init__(self, problem: Any) -> None:
        self.X = np.asarray(problem.data.inputs).reshape(len(problem.data.inputs), -1)
        self.labels = np.asarray(problem.data.targets)[:, 0]
        left, self.s, self.right = np.linalg.svd(self.X, full_matrices=False)
        self.c = left.T @ self.labels
        self.keep = self.s > 1e-10 * self.s[0]

    def coefficients(self, decay: float) -> np.ndarray:
        """Of the minimiser of Σ(x·w − y)² + λ‖w‖² in the right singular vectors; least norm at λ = 0."""
        s, c = self.s[self.keep], self.c[self.keep]
        return np.asarray(s * c / (s**2 + decay))

    def loss(self, coefficients: np.ndarray) -> float:
        """Σ(x·w − y)²."""
        w = self.right[self.keep].T @ coefficients
        return float(np.sum((self.X @ w - self.labels) ** 2))

    def multiplier(self, radius: float) -> float:
        """λ ≥ 0 of the minimiser in the ball."""
        if np.linalg.norm(self.coefficients(0.0)) <= radius:
            return 0.0
        high = float(np.linalg.norm(self.s * self.c)) / radius

        def excess(x: float) -> float:
            return float(np.log(np.linalg.norm(self.coefficients(np.exp(x))) / radius))

        return float(
            np.exp(scipy.optimize.brentq(excess, np.log(high) - 80.0, np.log(high) + 1e-9, xtol=1e-14))
        )


class Regularised(Transient):
    """A flow of a linear net with one output, its layers multiplied."""

    setting = "a linear net with one output under the square loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        net, square = problem.network, isinstance(problem.loss, Square) and not problem.loss.half
        linear = isinstance(net, Dense) and net.linear and net.outputs == 1
        return linear and square and not np.any(np.asarray(problem.decay))

    @cached_property
    def ridge(self) -> Balls:
        return Balls(self.problem)

    @cached_property
    def balls(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At every record: what the loss fell by, what it may fall by in ‖w‖ ≤ ρ, and the multiplier there."""
        whole = float(self.labels @ self.labels)
        fallen = whole - np.sum((self.outputs - self.labels) ** 2, axis=1)
        multipliers = np.array([self.ridge.multiplier(float(rho)) for rho in self.rho])
        allowed = np.array(
            [whole - self.ridge.loss(self.ridge.coefficients(float(one))) for one in multipliers]
        )
        return fallen, allowed, multipliers

    @property
    def one(self) -> bool:
        return self.depth == 1

    @property
    def small(self) -> bool:
        return not self.one and self.rho[0] < 1e-3

    def share(self, time: float) -> Number:
        """fallen/allowed at a time."""
        fallen, allowed, _ = self.balls
        late = self.duration.error / self.duration.value if time > 0.0 else 0.0
        return Number(self.at(fallen / allowed, time), late)

    @cached_property
    def filters(self) -> tuple[np.ndarray, np.ndarray]:
        """What the flow has reached of every direction, (records, r), and s²t."""
        found = self.weights[1:] @ self.ridge.right[self.ridge.keep].T / self.ridge.coefficients(0.0)
        return found, self.ridge.s[self.ridge.keep] ** 2 * self.time[1:, None]

    @at_least(0.9, sentence="ivanov")
    def ivanov(self) -> Number | None:
        """(L(0) − L)/(L(0) − min in ‖w‖ ≤ ρ) at T, of nets from ρ(0) ≈ 0.

        See the module's docstring.
        """
        return self.share(self.duration.value) if self.small else NOT_ASKED

    @at_most(
        1.0 + 1e-6,
        sentence="ivanov",
        changed="1e-9 forgot that the fall of the loss is 1e-6 of it at the start",
    )
    def ball(self) -> Number | None:
        """The largest such share along the way, of nets from ρ(0) ≈ 0.

        1 at most, since ‖W_L⋯W_1‖ ≤ Π‖W_k‖; rounding.
        """
        if not self.small:
            return NOT_ASKED
        fallen, allowed, _ = self.balls
        return Number(float(np.max(fallen / allowed)), 1e-8)

    @at_most(0.8, sentence="ivanov", role="control")
    def large(self) -> Number | None:
        """The same at the start of nets from ρ(0) = 0.5: V is random there, and far from the minimiser in the ball.

        Random directions have a tenth of the largest Σ y f.
        """
        return NOT_ASKED if self.one or self.small else self.share(0.0)

    @at_most(1e-9, sentence="tikhonov")
    def duality(self) -> Number | None:
        """max_t |‖w_λ‖/ρ − 1|, w_λ the minimiser of Σ(g − y)² + λ‖w‖² with the multiplier of the ball ‖w‖ ≤ ρ.

        By a root in log λ to 1e-14; asked while ρ is below the norm of the interpolant.
        """
        if not self.small:
            return NOT_ASKED
        inside = self.balls[2] > 0.0
        norms = [float(np.linalg.norm(self.ridge.coefficients(float(one)))) for one in self.balls[2][inside]]
        return Number(float(np.max(np.abs(np.array(norms) / self.rho[inside] - 1.0))), 1e-12)

    @at_least(0.0, sentence="tikhonov")
    def penalty(self) -> Number | None:
        """The least λ of the ball along the transient, of nets from ρ(0) ≈ 0, over ‖Xᵀy‖.

        λ ≥ 0: a penalty.
        """
        if not self.small:
            return NOT_ASKED
        until = self.time <= self.duration.value
        return Number(
            float(np.min(self.balls[2][until]) / np.linalg.norm(self.ridge.s * self.ridge.c)), 1e-12
        )

    @at_most(0.2985, sentence="linear")
    def one_over_t(self) -> Number | None:
        """Of one layer: max |(flow's factor)/(ridge's at λ = 1/2t) − 1|, every direction, every time.

        The largest of (1 − e^{−x})(1 + x)/x − 1 over x = 2s²t is 0.29843.
        """
        if not self.one:
            return NOT_ASKED
        found, x = self.filters
        return Number(float(np.max(np.abs(found * (1.0 + 2.0 * x) / (2.0 * x) - 1.0))), 1e-9)

    @at_most(1e-6, sentence="linear", changed="1e-7 was below what BDF at 1e-10 is right to, a few 1e-7")
    def exactly(self) -> Number | None:
        """Of one layer: max |flow's factor − (1 − e^{−2s²t})|.

        The closed form, and the solver's 1e-10 a step.
        """
        if not self.one:
            return NOT_ASKED
        found, x = self.filters
        return Number(float(np.max(np.abs(found + np.expm1(-2.0 * x)))), 1e-12)

    @at_most(1e-6, sentence="minimum")
    def minimum_norm(self) -> Number | None:
        """Of one layer from zero: ‖w − w*‖/‖w*‖ at the end, w* the interpolant of least norm.

        See the module's docstring.
        """
        if not self.one:
            return NOT_ASKED
        net = one_layer(self.problem)
        wanted = net.minimum_norm().ravel() if net is not None else np.full(self.size, np.nan)
        return Number(float(np.linalg.norm(self.end - wanted) / np.linalg.norm(wanted)), 1e-12)

    def shown(self):
        grid = np.linspace(0.02, 2.0, 80)
        if self.one:
            found, x = self.filters
            return {"x": ("sample", 2.0 * x.ravel()), "factor": ("sample", found.ravel())}
        fallen, allowed, multipliers = self.balls
        scaled = self.time / (self.duration.value or 1.0)
        numbers = {
            "share": np.interp(grid, scaled, fallen / allowed),
            "multiplier": np.interp(grid, scaled, multipliers),
        }
        numbers |= {"norm": np.interp(grid, scaled, self.rho), "t": grid}
        return {name: ("moment", values) for name, values in numbers.items()}


class Equivalent(Transient):
    """λ(t) = a/ρ − b of a chain, beside ρ(t)."""

    setting = "a chain of one weight a layer under the square loss"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        return isinstance(problem.loss, Square) and problem.size == len(problem.network.widths) - 1

    @cached_property
    def decay(self) -> np.ndarray:
        """λ(t) = a/ρ − b."""
        return self.reduced().decay(self.rho)

    @at_most(1e-6, sentence="lambda")
    def stationary(self) -> Number:
        """max_t |ρ_λ/ρ − 1|, ρ_λ the minimiser of Σ(ρf_n − y_n)² + λρ² at that λ, by a root of its slope.

        ρ_λ = a/(b + λ): rounding, and the solver's drift of f.
        """
        f = self.outputs / self.rho[:, None]
        found = (f @ self.labels) / (np.sum(f**2, axis=1) + self.decay)
        return Number(float(np.max(np.abs(found / self.rho - 1.0))), 1e-12)

    @at_least(0.0, sentence="lambda")
    def falls(self) -> Number:
        """The least fall of log λ between records, while λ > 1e-3 b.

        λ falls along the flow, as ρ rises.
        """
        kept = self.decay > 1e-3 * float(self.sums[1][0])
        return Number(float(np.min(-np.diff(np.log(self.decay[kept])))), 1e-12)

    @at_most(1e-6, sentence="norm")
    def curve(self) -> Number:
        """max_t |ρ − ρ of eq. 5|/ρ_eq.

        The solver's 1e-10 a step, amplified by up to 1e3.
        """
        norm = self.reduced()
        return Number(
            float(np.max(np.abs(self.rho - norm.at(float(self.rho[0]), self.time))) / norm.equilibrium), 1e-13
        )

    def shown(self):
        scale = self.time * float(self.sums[0][0])
        values = {"at": scale, "rho": self.rho / self.reduced().equilibrium}
        values["lam"] = np.maximum(self.decay, 1e-6) / float(self.sums[1][0])
        return {name: ("record", value) for name, value in values.items()}


LINEAR = Dense((6, 4, 4, 1), "identity")


def cases(key, *, layers, draws, sizes):
    """One layer from zero; nets of three layers from small and large starts."""
    rng, drawn = generator(key), []
    for i in range(layers):
        left, right = (np.linalg.qr(rng.standard_normal((n, 6)))[0] for n in (6, 8))
        X = left * np.geomspace(2.0, 0.05, 6) @ right.T
        problem = Problem(Dense((8, 1), "identity"), Square(), Data(X, np.resize([1.0, -1.0], 6)[:, None]))
        drawn.append((problem, (np.zeros((1, 8)),), {"net": "one layer", "ρ(0)": 0.0, "draw": i + 1}))
    yield from ensemble(GradientFlow, drawn, np.geomspace(0.02, 5e3, 12), solver=Adaptive("bdf", 1e-10))
    drawn = []
    for i in range(draws):
        problem, start = transients.classes(rng, LINEAR, 14), transients.equal(rng, LINEAR, 1.0)
        for size in sizes:
            scaled = tuple(np.cbrt(size) * one for one in start)
            drawn.append((problem, scaled, {"net": "three layers", "ρ(0)": size, "draw": i + 1}))
    times = np.concatenate([np.linspace(0.0, 12.0, 161)[1:], np.linspace(12.0, 24.0, 41)[1:]])
    yield from ensemble(GradientFlow, drawn, times, solver=Adaptive("dopri8", 1e-9))


def chains(key, *, depths, draws):
    """Chains from ρ(0) = 1e-2, two to four layers."""
    rng = generator(key)
    for depth in depths:
        drawn = []
        for i in range(draws):
            problem = transients.chain_problem(rng, depth)
            drawn.append((problem, transients.chained(depth, 1e-2), {"L": depth, "draw": i + 1}))
        yield from ensemble(
            GradientFlow, drawn, np.linspace(0.0, 3.0, 61)[1:], solver=Adaptive("dopri8", 1e-10)
        )


STUDIES = (
    study(
        "memo112.tikhonov",
        Regularised,
        cases,
        quick={"layers": 8, "draws": 6, "sizes": (1e-6, 0.5)},
        full={"layers": 24, "draws": 24},
        few={"layers": 1, "draws": 1},
        settings=section(__doc__, "Settings"),
        figure=Figure(
            Panel("share", "t", "loss fallen / ball's", "$t/T$", by=("ρ(0)",), lines=True, each=1),
            Panel(
                "multiplier",
                "t",
                r"$\lambda$ of the ball",
                "$t/T$",
                by=("ρ(0)",),
                lines=True,
                each=1,
                log="y",
            ),
            Panel("factor", "x", "share of a direction reached", "$2s^2t$", by=("net",), log="xy"),
            caption="Left: what the loss of linear nets has fallen by, over what it may fall by at that norm. "
            "Right: the "
            "Tikhonov parameter of that norm. Below: one layer from 0; ridge with λ = 1/2t would give x/(1 + x).",
        ),
    ),
    study(
        "memo112.fig2",
        Equivalent,
        chains,
        quick={"depths": (2, 3, 4), "draws": 8},
        full={"depths": (2, 3, 4, 6), "draws": 20},
        few={"depths": (3,), "draws": 2},
        settings=section(__doc__, "Settings"),
        figure=Figure(
            Panel(
                "lam",
                "at",
                r"$\lambda=a/\rho-b$, in units of $b$",
                "$at$",
                by=("L",),
                lines=True,
                each=1,
                log="y",
            ),
            Panel("rho", "at", r"$\rho/\rho_{eq}$", "$at$", by=("L",), lines=True, each=1),
            caption="Figure 2 again, from flows of chains from ρ(0) = 1e-2: the λ with which ρ minimises Σ(ρf − "
            "y)² + λρ², "
            "and ρ, of two, three and four layers.",
        ),
    ),
)
