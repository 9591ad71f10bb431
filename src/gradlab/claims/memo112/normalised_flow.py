"""memo112.normalised-flow: the square loss in the variables (ρ_k, V_k), eqs. 2, 3, 4, 5 and 7.

Two tests. The printed right-hand sides, formed from f_n = f(V; x_n) and ∂f_n/∂V_k alone, against d/dt of W_k, ‖W_k‖,
W_k/‖W_k‖ and Π‖W_k‖ by automatic differentiation along −∇L: eqs. 2 and 4 at every recorded W = ρV, eqs. 3, 5, 7,
which are printed for ρ = ρ_k^L, at the same V with all norms set to their geometric mean; where the norms differ
these three must fail (the control). And the printed system itself, integrated in (ρ, V) beside the plain flow of W:
from equal norms literally eqs. 3 and 7, else ρ̇_k = V_kᵀẆ_k and eq. 4. It must trace the same W(t).

Settings. Inputs of unit norm and y_n = ±1, as in section 2.2: random, repeated (with contradicting labels), of rank
two. Twelve deep linear nets (10, 4, 3, 1) on 6 points at 1e-9, twelve ReLU nets (5, 6, 4, 1) on 14 by Heun steps of
5e-4, layer norms 0.7, 1 or 1.4, half of the starts with factors 2, 1, ½ between the layers; to t = 1, plain and
printed from the same starts. Beside them nine points each of five leaky ReLU layers, a convolutional net, one layer,
under the sum, the mean and half the sum of squares.

Tolerances. Pointwise both sides are the same sum in another order: rounding, a hundred operations of 1e-16 each on
numbers up to 1e3 times their sum (random deep nets have |f_n| ≪ ‖∂f_n/∂V_k‖); 1e-9 allows two decades beyond. Orbits,
where the field is smooth: 1e-9 a step, a few hundred steps, one decade for amplification: 1e-6 of ‖W‖. ReLU: a step h
of Heun's method across a kink is off by h|ΔẆ| ≈ 1e-3 (h = 5e-4, |ΔẆ| ≤ 2), and the systems may cross in different
steps; ten such crossings more than come back: 1e-2. A wrong factor or sign in any of the equations shows as O(1).
"""

from functools import cached_property, partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from gradlab.claims.cases import case, generator
from gradlab.claims.looks.flows import Beside
from gradlab.claims.looks.polar import LayerRecords, additions, in_chart, relative
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import polar
from gradlab.claims.studies import section, study
from gradlab.dynamics.charts import NormalisedFlow, Polar
from gradlab.dynamics.flow import Flow
from gradlab.laboratory import at
from gradlab.observe.layers import layer_inner, layer_norms, spread
from gradlab.problem.activations import leaky_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense
from gradlab.problem.problem import Problem

RECORDS = np.linspace(0.0, 1.0, 9)
#: max ρ_k/min ρ_k − 1: below the first a start counts as equal, above the second eqs. 3, 5 and 7 must fail.
EQUAL, UNEQUAL = 1e-9, 0.5
#: Equations of ρ_k and ρ; the others are of vectors, compared by their norm in each layer.
_SCALAR = ("eq3", "eq5")


class PrintedFlow(Flow):
    """Eqs. 3 and 7 where ``equal``, with ρ_k^L for ρ as printed; elsewhere ρ̇_k = V_kᵀẆ_k and eq. 4."""

    problem: Problem
    equal: Bool[Array, "..."]
    chart_is_identity: ClassVar[bool] = False

    @property
    def observed(self) -> Problem:
        return self.problem

    def encode(self, weights: Any) -> Polar:
        return NormalisedFlow(self.problem).encode(weights)

    def decode(self, y: Polar) -> Any:
        return NormalisedFlow(self.problem).decode(y)

    def velocity(self, t: Any, y: Polar) -> tuple[Polar, Any]:
        network, labels = self.problem.network, self.problem.data.targets[:, 0]
        f, pullback = jax.vjp(lambda v: self.problem.outputs(network.rebuild(v))[:, 0], y.directions)
        rho, depth = jnp.prod(y.rho), y.rho.size
        residuals = rho * f - labels
        (slopes,), along = pullback(residuals), jnp.sum(residuals * f)
        eq3 = -2.0 * y.rho ** (depth - 1) * (y.rho**depth * jnp.sum(f**2) - jnp.sum(f * labels))
        radial = jnp.where(self.equal, eq3, -2.0 * rho / y.rho * along)
        factor = jnp.where(self.equal, -2.0 * rho ** ((depth - 2) / depth), -2.0 * rho / y.rho**2)
        turns = [
            jax.tree.map(lambda slope, v, k=k: factor[k] * (slope - along * v), slopes[k], y.directions[k])
            for k in range(depth)
        ]
        return Polar(radial, tuple(turns)), jnp.zeros(())


class Equations:
    """The five right-hand sides at one point, as printed: |lhs − rhs|, |lhs| and the sizes of the terms of each."""

    def __init__(self, problem: Problem, layer: np.ndarray, seen: dict[str, np.ndarray]) -> None:
        rho_k, f, jacobian, y = (
            seen["rho"],
            seen["f"],
            seen["jacobian"],
            np.asarray(problem.data.targets)[:, 0],
        )
        L, rho, N = rho_k.size, float(np.prod(rho_k)), f.size
        self.norms, slopes = rho_k, np.sqrt(layer_inner(layer, jacobian, jacobian))
        # Sizes of the terms ρf_n and y_n of the residuals, in Σ_n (…) ∂f_n/∂V_k (one a layer) and Σ_n (…) f_n; they
        # do not vanish where the data are interpolated.
        sizes = rho * np.abs(f) + np.abs(y)
        terms, terms_of_f = sizes @ slopes, float(sizes @ np.abs(f))
        pull = (rho * f - y) @ jacobian
        turn = pull - seen["v"] * ((rho * f - y) @ f)
        radial, tangent = 2.0 * rho / rho_k, 2.0 * rho / rho_k**2 * terms
        total = 2.0 * float(np.sum((rho / rho_k) ** 2)) * terms_of_f
        right = {
            "eq2": (seen["w_dot"], -(2.0 / N) * (rho / rho_k)[layer] * pull, radial / N * terms),
            "eq3": (
                seen["rho_dot"],
                -2.0 * rho_k ** (L - 1) * (rho_k**L * (f @ f) - f @ y),
                radial * terms_of_f,
            ),
            "eq4": (seen["v_dot"], -2.0 * (rho / rho_k**2)[layer] * turn, tangent),
            "eq5": (
                seen["product_dot"],
                2.0 * L * rho ** ((2 * L - 2) / L) * (-rho * (f @ f) + f @ y),
                total,
            ),
            "eq7": (seen["v_dot"], -2.0 * rho ** ((L - 2) / L) * turn, tangent),
        }
        self.sides = {}
        for name, (left, printed, size) in right.items():
            of = np.abs if name in _SCALAR else partial(layer_norms, layer)
            self.sides[name] = of(left - printed), of(left), size
        # Rounding of ρf_n − y_n, of some eps (ρ‖x_n‖ + |y_n|).
        lengths = np.linalg.norm(np.asarray(problem.data.inputs).reshape(N, -1), axis=1)
        lost = additions(problem.network) * EPS * (rho * lengths + np.abs(y)) @ slopes
        whole, scalar = relative(lost, terms), relative(np.max(lost), terms_of_f)
        self.rounding = {name: scalar if name in _SCALAR else whole for name in right}
        euler = layer_inner(layer, jacobian, seen["v"]) - f[:, None]
        self.euler = relative(np.max(np.abs(euler)), np.max(slopes))

    def off(self, name: str) -> float:
        """|lhs − rhs| of an equation over the sizes of its terms; vectors by their norm in each layer."""
        gap, _, size = self.sides[name]
        return relative(gap, size)

    def miss(self) -> float:
        """The least |lhs − rhs|/|lhs| of eqs. 3, 5 and 7; a lhs below 1e-6 of its terms counts as 1e-6 of them."""
        sides = (self.sides[name] for name in ("eq3", "eq5", "eq7"))
        return min(relative(gap, np.maximum(left, 1e-6 * size)) for gap, left, size in sides)


class PolarFlow(LayerRecords):
    """The equations at every record, there and at equal norms, and the orbit of the printed system beside the "
    "given."""

    setting = "one output, the square loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is that."""
        square = isinstance(problem.loss, Square) and problem.network.outputs == 1
        return square and not np.any(np.asarray(problem.decay) != 0.0)

    @cached_property
    def points(self) -> tuple[list[Equations], list[Equations]]:
        """At every record, and at the same directions with all norms set to their geometric mean."""
        mean = np.exp(np.mean(np.log(self.lengths), axis=1, keepdims=True))
        vectors = np.concatenate([self.weights, self.weights * (mean / self.lengths)[:, self.layer]])
        seen = in_chart(self.problem, vectors)
        rows = [{name: value[i] for name, value in seen.items()} for i in range(len(vectors))]
        found = [Equations(self.problem, self.layer, row) for row in rows]
        return found[: len(self.weights)], found[len(self.weights) :]

    @cached_property
    def printed(self) -> Beside | None:
        """The orbit of the printed system, which belongs to the sum of squares: t over N for the mean, t/2 for ½."""
        equal = spread(self.lengths[0]) <= EQUAL
        loss, data = self.problem.loss, self.problem.data
        pace = (0.5 if loss.half else 1.0) / (len(data.targets) if loss.reduction == "mean" else 1.0)
        plain = Problem(self.problem.network, Square("sum"), data)
        return self.beside(lambda: PrintedFlow(plain, jnp.asarray(equal)), pace)

    @property
    def within(self) -> float:
        """The tolerance of orbits: of smooth fields, and of fields with kinks."""
        return 1e-6 if self.problem.network.smooth else 1e-2

    def worst(self, name: str, points: list[Equations]) -> Number:
        """The largest defect of an equation, and its rounding."""
        one = max(points, key=lambda point: point.off(name) + point.rounding[name])
        return Number(one.off(name), one.rounding[name])

    @at_least(1e-150, role="hypothesis")
    def norms(self) -> float:
        """The least norm of a layer.

        A layer of zeros has no direction.
        """
        return float(np.min(self.lengths))

    @at_most(1e-8, role="hypothesis")
    def degree_one(self) -> Number:
        """max_{k,n} |⟨V_k, ∂f_n/∂V_k⟩ − f_n| relative to max_n ‖∂f_n/∂V_k‖.

        Euler's identity holds to rounding, or fails by O(1).
        """
        every = [point for points in self.points for point in points]
        rounding = max(point.rounding["eq2"] for point in every)
        return Number(max(point.euler for point in every), rounding)

    @at_most(1e-9, sentence="mean")
    def eq2(self) -> Number:
        """Eq. 2: ‖Ẇ_k − rhs‖ over the sizes of its terms, L the mean.

        Rounding, see the module's docstring.
        """
        return self.worst("eq2", self.points[0])

    @at_most(1e-9, sentence="norm")
    def eq3(self) -> Number:
        """Eq. 3: |ρ̇_k − rhs| over the sizes of its terms, at equal norms.

        Rounding, see the module's docstring.
        """
        return self.worst("eq3", self.points[1])

    @at_most(1e-9, sentence="directions")
    def eq4(self) -> Number:
        """Eq. 4: ‖V̇_k − rhs‖ over the sizes of its terms.

        Rounding, see the module's docstring.
        """
        return self.worst("eq4", self.points[0])

    @at_most(1e-9, sentence="product")
    def eq5(self) -> Number:
        """Eq. 5: |ρ̇ − rhs| over the sizes of its terms, at equal norms.

        Rounding, see the module's docstring.
        """
        return self.worst("eq5", self.points[1])

    @at_most(1e-9, sentence="directions")
    def eq7(self) -> Number:
        """Eq. 7: ‖V̇_k − rhs‖ over the sizes of its terms, at equal norms.

        Rounding, see the module's docstring.
        """
        return self.worst("eq7", self.points[1])

    @at_most(1e-6, sentence="orbit")
    def orbit(self) -> Number | None:
        """max_t ‖W(t) − ρ_kV_k(t)‖/max‖W‖, W by the plain flow, (ρ, V) by the printed one from the same start.

        The solvers' errors, see the module's docstring; 1e-2 for a field with kinks.
        """
        if self.printed is None:
            return NOT_ASKED
        size = np.max(np.linalg.norm(self.weights, axis=1))
        gaps = np.linalg.norm(self.weights[: len(self.printed.weights)] - self.printed.weights, axis=1)
        lost = np.max(np.linalg.norm(self.printed.errors, axis=1))
        return Number(float(np.max(gaps) / size), float(lost / size), self.within)

    @at_most(1e-6, sentence="orbit")
    def unit(self) -> Number | None:
        """max_{k,t} |‖V_k‖ − 1| along the printed flow.

        ρ_k²(‖V_k‖² − 1) is constant under eqs. 3 and 4, so only the solver's errors enter; as for the orbit.
        """
        return (
            NOT_ASKED if self.printed is None else Number(float(np.max(self.printed.unit)), EPS, self.within)
        )

    @at_least(1e-2, sentence="product", role="control")
    def unequal(self) -> Number | None:
        """The least |lhs − rhs|/|lhs| of eqs. 3, 5 and 7 where the norms differ, at the worst record.

        For eq. 5 it is 1 − (geometric over arithmetic mean of ρ_k^{−2}) ≥ 0.03 for 2 to 5 layers of which two differ
        by half.
        """
        found = [point for point in self.points[0] if spread(point.norms) >= UNEQUAL]
        if not found:
            return NOT_ASKED
        worst = max(found, key=Equations.miss)
        return Number(worst.miss(), max(worst.rounding.values()))

    def shown(self):
        if self.printed is None:
            return {}
        norms = np.prod(layer_norms(self.layer, self.printed.weights), axis=1)
        plain = np.prod(self.lengths[: len(norms)], axis=1)
        gaps = np.linalg.norm(self.weights[: len(norms)] - self.printed.weights, axis=1)
        distance = gaps / np.max(np.linalg.norm(self.weights, axis=1))
        numbers = {"rho": plain, "rho_printed": norms, "distance": distance, "time": self.time[: len(norms)]}
        return {name: ("moment", values) for name, values in numbers.items()}


STILL = {
    "leaky ReLU, 5 layers": (Dense((5, 6, 4, 7, 3, 1), leaky_relu(0.2)), 14, Square("mean")),
    "convolutional ReLU": (Convolutional((1, 4, 4), (2, 3), outputs=1), 6, Square("sum", half=True)),
    "linear, 1 layer": (Dense((10, 1), "identity"), 6, Square("sum")),
}


def cases(key, *, draws, rounds, still):
    """Both systems from the same starts in two architectures, four compiled solves; then points of other nets."""
    rng = generator(key)
    for name in ("linear", "ReLU"):
        drawn = polar.starts(rng, name, draws)
        equal = jnp.asarray([facts["norms"] == "equal" for *_, facts in drawn])
        solver = polar.GROUPS[name].solver
        yield from polar.side_by_side(partial(PrintedFlow, equal=equal), drawn, RECORDS, solver)
    for name in still:
        network, count, loss = STILL[name]
        depth = len(network.layers(network.shapes()))
        for i, kind in enumerate(polar.INPUTS * rounds):
            problem = polar.classified(rng, network, count, kind, loss)
            norms = [rng.uniform(0.5, 2.0, depth) for _ in RECORDS]
            points = [polar.with_norms(rng, network, rho) for rho in norms]
            yield case(problem, at(problem, points, ()), net=name, inputs=kind, draw=i // 3 + 1)


STUDY = study(
    "memo112.normalised-flow",
    PolarFlow,
    cases,
    quick={"draws": 12, "rounds": 1, "still": tuple(STILL)},
    full={"draws": 48, "rounds": 4},
    few={"draws": 2, "still": ("linear, 1 layer",)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "rho_printed",
            "rho",
            r"$\rho(t)$, printed system",
            r"$\rho(t)=\prod_k\|W_k\|$, plain flow",
            by=("net",),
            log="xy",
            diagonal=True,
        ),
        Panel(
            "distance",
            "time",
            r"$\|W-\rho_kV_k\|\,/\,\max\|W\|$",
            "time $t$",
            by=("net",),
            log="y",
            floor=1e-17,
        ),
        caption="The plain flow of W and the printed system for (ρ_k, V_k) from the same starts. Left: product "
        "of the "
        "norms, every record. Right: the distance of the two orbits; for ReLU the steps across kinks set it.",
    ),
)
