"""memo112.rho-equilibrium: ρ_eq = Σ y_n f_n/Σ f_n² (eq. 6), and what holds where the directions stand still (eq. 8).

What is judged. ρ̇ by automatic differentiation of Π‖W_k‖ along −∇L, at two sizes of the same directions: divided by
ρ^{2−2/L} it is linear in ρ, and its zero is compared with eq. 6. Where V̇_k = 0 (measured), the two sides of eq. 8,
and where ρ = ρ_eq besides, Σ ℓ_n ∂f_n/∂V_k, from f_n and ∂f_n/∂V_k at V. In print: eq. 8 is introduced "assuming Σ
f_n ℓ_n ≠ 0", and used where it is 0; both are looked at, and it holds in both. ρ = 0 is the other equilibrium of eq.
5 for L ≥ 2; ρ_eq is a norm only if Σ y_n f_n > 0. Below ρ_eq the norm grows, above it shrinks.

Settings. Loss Σ(ρf_n − y_n)², ‖x_n‖ = 1, y_n = ±1. Random directions of ReLU (5, 6, 4, 1), convolutional and linear
(6, 3, 1) nets, on random, repeated and deficient inputs. Directions that stand still away from ρ_eq: one weight a
layer, where V_k = ±1 has no choice, and linear nets whose layers are aligned with a whitened regression, at ρ_eq and
at twice ρ_eq. Ends of flows of linear nets on 14 points in 6 dimensions, whose residuals do not vanish.

Tolerances. Rounding: the same sums in another order, a hundred operations of 1e-16 on numbers up to 1e3 times their
sum, and two decades beyond, 1e-9, as in memo112.normalised-flow. The ends of flows are asked where |V̇_k| is below
1e-7 of its terms; what is left of V̇_k is then what is left of eq. 8, one decade is left for terms: 1e-6.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.cases import ensemble, generator, point
from gradlab.claims.looks.polar import LayerRecords, in_chart, relative
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.observe.layers import layer_norms
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense
from gradlab.problem.problem import Problem

STILL, ROUNDING = 1e-7, 1e-14


class Equilibrium(LayerRecords):
    """The last weights, and the same directions at norms ½, 1 and 2 times those of ρ_eq."""

    setting = "one output, the square loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        square = isinstance(problem.loss, Square) and problem.network.outputs == 1
        return square and not np.any(np.asarray(problem.decay) != 0.0)

    @cached_property
    def depth(self) -> int:
        return int(self.layer.max()) + 1

    @cached_property
    def here(self) -> dict[str, np.ndarray]:
        """Derivatives at the last weights."""
        return {name: value[0] for name, value in self.seen(self.end[None]).items()}

    def seen(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        return in_chart(self.problem, vectors)

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(self.problem.data.targets)[:, 0]

    @property
    def sums(self) -> tuple[float, float]:
        """Σ y_n f_n and Σ f_n²."""
        f = self.here["f"]
        return float(self.labels @ f), float(f @ f)

    @property
    def positive(self) -> bool:
        """Whether Σ y_n f_n > 0 beyond rounding: else eq. 6 gives no norm."""
        a, b = self.sums
        return a > 1e-6 * float(np.sqrt(b * len(self.labels)))

    @cached_property
    def paces(self) -> np.ndarray:
        """ρ̇/ρ^{2−2/L} at ½, 1 and 2 times ρ_eq, over 2L Σ|y_n f_n|."""
        a, b = self.sums
        rho = a / b * np.array([0.5, 1.0, 2.0])
        norms = rho ** (1.0 / self.depth)
        directions = self.end / layer_norms(self.layer, self.end)[self.layer]
        found = self.seen(norms[:, None] * directions)["product_dot"] / rho ** (2.0 - 2.0 / self.depth)
        return found / (2.0 * self.depth * float(np.abs(self.labels) @ np.abs(self.here["f"])))

    @cached_property
    def terms(self) -> np.ndarray:
        """Σ_n (|ρf_n| + |y_n|)‖∂f_n/∂V_k‖ of every layer."""
        seen = self.here
        sizes = float(np.prod(seen["rho"])) * np.abs(seen["f"]) + np.abs(self.labels)
        return sizes @ layer_norms(self.layer, seen["jacobian"])

    @cached_property
    def still(self) -> float:
        """max_k ‖V̇_k‖ρ_k²/2ρ relative to the sizes of its terms: by automatic differentiation alone."""
        seen = self.here
        rho = float(np.prod(seen["rho"]))
        return relative(layer_norms(self.layer, seen["v_dot"]) * seen["rho"] ** 2 / (2.0 * rho), self.terms)

    @cached_property
    def sides(self) -> tuple[np.ndarray, np.ndarray, float]:
        """Σ ℓ_n ∂f_n/∂V_k, V_k Σ ℓ_n f_n, and |Σ ℓ_n f_n| over its terms."""
        seen = self.here
        f, residuals = seen["f"], float(np.prod(seen["rho"])) * seen["f"] - self.labels
        along = float(residuals @ f)
        return (
            residuals @ seen["jacobian"],
            along * seen["v"],
            abs(along) / float(np.abs(residuals) @ np.abs(f) or 1.0),
        )

    @at_least(1e-150, role="hypothesis")
    def norms(self) -> float:
        """The least norm of a layer.

        A layer of zeros has no direction.
        """
        return float(np.min(self.lengths))

    @at_most(1e-9, sentence="norm")
    def root(self) -> Number | None:
        """|ρ_0/ρ_eq − 1|, ρ_0 the zero of ρ̇/ρ^{2−2/L} through ½ρ_eq and 2ρ_eq.

        Rounding, see the module's docstring. Nothing is asked where Σ y_n f_n ≤ 0.
        """
        if not self.positive:
            return NOT_ASKED
        low, _, high = self.paces
        return Number(abs((0.5 * high - 2.0 * low) / (high - low) - 1.0), ROUNDING)

    @at_most(1e-9, sentence="norm")
    def rest(self) -> Number | None:
        """|ρ̇| at ρ_eq over the sizes of its terms.

        Rounding, see the module's docstring.
        """
        return Number(abs(float(self.paces[1])), ROUNDING) if self.positive else NOT_ASKED

    @at_least(0.0, sentence="norm")
    def attracts(self) -> Number | None:
        """The lesser of ρ̇ at ½ρ_eq and −ρ̇ at 2ρ_eq, over their terms: ρ_eq is the equilibrium that ρ goes to.

        Eq. 5 gives ½ and 1 times Σ y f/Σ|y f| > 0.
        """
        return Number(float(min(self.paces[0], -self.paces[2])), ROUNDING) if self.positive else NOT_ASKED

    @at_most(1e-6, sentence="directions")
    def eq8(self) -> Number | None:
        """Where V̇_k = 0: ‖Σ ℓ_n ∂f_n/∂V_k − V_k Σ ℓ_n f_n‖ over the sizes of its terms, worst layer.

        See the module's docstring.
        """
        if not self.still <= STILL:
            return NOT_ASKED
        left, right, _ = self.sides
        return Number(relative(layer_norms(self.layer, left - right), self.terms), EPS)

    def both(self) -> bool:
        """Whether V̇_k = 0 and ρ = ρ_eq."""
        a, b = self.sums
        return self.still <= STILL and abs(float(np.prod(self.here["rho"])) * b - a) <= 1e-7 * abs(a)

    @at_most(1e-6, sentence="residual")
    def gradient_of_v(self) -> Number | None:
        """Where V̇_k = 0 and ρ = ρ_eq: ‖Σ ℓ_n ∂f_n/∂V_k‖ over the sizes of its terms, worst layer.

        See the module's docstring.
        """
        return (
            Number(relative(layer_norms(self.layer, self.sides[0]), self.terms), EPS)
            if self.both()
            else NOT_ASKED
        )

    @at_most(1e-6, sentence="residual")
    def along(self) -> Number | None:
        """There: |Σ_n ℓ_n f_n| over Σ_n |ℓ_n f_n|.

        It is ⟨V_k, Σ ℓ_n ∂f_n/∂V_k⟩; asked where residuals are above 1e-3 of the labels, else it is rounding of zero.
        """
        residuals = float(np.prod(self.here["rho"])) * self.here["f"] - self.labels
        seen = self.both() and float(np.abs(residuals) @ np.abs(self.here["f"])) > 1e-3 * float(
            np.abs(self.here["f"]).sum()
        )
        return Number(self.sides[2], EPS) if seen else NOT_ASKED

    @at_least(1e-3, sentence="residual", role="control")
    def elsewhere(self) -> Number | None:
        """Where V̇_k = 0 and ρ is twice ρ_eq: ‖Σ ℓ_n ∂f_n/∂V_k‖ over its terms, worst layer.

        It is |Σ ℓ_n f_n| = Σ y_n f_n there, O(1) of its terms.
        """
        a, b = self.sums
        if not self.still <= STILL or abs(float(np.prod(self.here["rho"])) * b / a - 2.0) > 1e-6:
            return NOT_ASKED
        return Number(relative(layer_norms(self.layer, self.sides[0]), self.terms), EPS)

    def shown(self):
        a, b = self.sums
        rho = a / b * np.linspace(0.02, 2.0, 60)
        norms = rho ** (1.0 / self.depth)
        directions = self.end / layer_norms(self.layer, self.end)[self.layer]
        if not self.positive:
            return {}
        speed = self.seen(norms[:, None] * directions)["product_dot"]
        return {"size": ("point", rho * b / a), "speed": ("point", speed / np.max(np.abs(speed)))}


CHAIN, LINEAR = Dense((1, 1, 1, 1), "identity"), Dense((6, 3, 1), "identity")
NETS = {
    "ReLU": (Dense((5, 6, 4, 1)), 14),
    "convolutional": (Convolutional((1, 4, 4), (2, 3), outputs=1), 6),
    "linear": (LINEAR, 14),
}


def _aligned(rng, factor):
    """Whitened inputs, layers of rank one along Xᵀy: V stands still at every ρ, here at so many times ρ_eq."""
    X = np.linalg.qr(rng.standard_normal((14, 6)))[0]
    labels = rng.permutation(np.resize([1.0, -1.0], 14))
    u, hidden = X.T @ labels / np.linalg.norm(X.T @ labels), rng.standard_normal(3)
    hidden /= np.linalg.norm(hidden)
    rho = factor * float(np.linalg.norm(X.T @ labels))
    layers = (np.sqrt(rho) * np.outer(hidden, u), np.sqrt(rho) * hidden[None])
    problem = Problem(LINEAR, Square(), Data(X, labels[:, None]))
    return problem, problem.ravel(layers)


def _chain(rng, factor):
    """One weight a layer on 14 numbers, at so many times ρ_eq."""
    x = rng.uniform(0.2, 1.0, (14, 1)) * rng.choice([-1.0, 1.0], (14, 1))
    labels = np.sign(x[:, 0]) * np.where(np.arange(14) < 3, -1.0, 1.0)
    rho = factor * float(labels @ x[:, 0]) / float(np.sum(x**2))
    return Problem(CHAIN, Square(), Data(x, labels[:, None])), np.full(3, np.cbrt(rho))


def cases(key, *, nets, rounds, flows):
    """Random directions, directions that stand still by construction, and ends of flows."""
    rng = generator(key)
    for name in nets:
        network, count = NETS[name]
        depth = len(network.layers(network.shapes()))
        for i, kind in enumerate(polar.INPUTS * rounds):
            problem = polar.classified(rng, network, count, kind, Square())
            weights = polar.with_norms(rng, network, np.full(depth, 0.8))
            f = np.asarray(problem.outputs(weights))[:, 0]
            if f @ np.asarray(problem.data.targets)[:, 0] < 0.0:  # the other sign of the last layer
                weights = (*weights[:-1], -weights[-1])
            yield point(
                problem, np.asarray(problem.ravel(weights)), net=name, at=f"{kind} inputs", draw=i // 3 + 1
            )
    for name, made in (("one weight a layer", _chain), ("aligned linear", _aligned)):
        for i in range(2 * rounds + 2):
            factor = (1.0, 2.0)[i % 2]
            problem, vector = made(rng, factor)
            yield point(problem, vector, net=name, at=f"{factor:g} ρ_eq", draw=i // 2 + 1)
    drawn = []
    for i in range(flows):
        problem = polar.classified(rng, LINEAR, 14, "random", Square())
        facts = {"net": "linear", "at": "the end of a flow", "draw": i + 1}
        drawn.append((problem, polar.with_norms(rng, LINEAR, np.full(2, 1.0)), facts))
    yield from ensemble(GradientFlow, drawn, (40.0, 80.0), solver=Adaptive("dopri8", 1e-11))


STUDY = study(
    "memo112.rho-equilibrium",
    Equilibrium,
    cases,
    quick={"nets": tuple(NETS), "rounds": 2, "flows": 6},
    full={"rounds": 8, "flows": 24},
    few={"nets": ("linear",), "rounds": 1, "flows": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "speed",
            "size",
            r"$\dot\rho$ over its largest",
            r"$\rho/\rho_{eq}$",
            by=("net",),
            reference={"rest": 0.0},
        ),
        Panel(
            "rest",
            "case",
            r"$|\dot\rho|$ at $\rho_{eq}$ over its terms",
            "case",
            by=("net",),
            log="y",
            floor=1e-18,
            reference={"tolerance": 1e-9},
        ),
        caption="Left: the rate of the product of the norms, by automatic differentiation, at the directions of each "
        "case: it vanishes at eq. 6's ρ, and at 0. Right: what is left of it there.",
    ),
)
