"""chitour.reduction: X = I and Y = (D_Y 0) "up to SVD and computations", for the landscape and for the dynamics.

Printed. "Up to SVD and computations, can assume X = Id, Y = (D_Y 0), D_Y diagonal > 0", X and Y of full rank, before
the landscape and before the gradient dynamics alike.

The computations. X = U S Vᵀ and YV = P (D_Y 0) Qᵀ give F(W) = ‖(D_Y 0) − Ŵ‖² + ‖Y‖² − ‖YV‖² with W_1 = Ŵ_1QᵀS⁻¹Uᵀ,
W_{H+1} = PŴ_{H+1}: a linear change of the weights, so that critical points, values (up to the constant) and signatures
are the same. Gradient flow is invariant under it only if it is orthogonal, XXᵀ = 1 (or a multiple of it, all layers
scaled alike): else the reduced flow is the flow of F in another metric, with other conserved quantities and another
limit (docs/notes/chitour.reduction.md; docs/proofs/chitour.reduction.py).

Settings, before any run. ½F; widths 3-3-2, 4-3-2, 3-3-3-2; 8 examples, X Gaussian, or with orthonormal rows
("orthonormal"). The critical points of all strata of the reduced problem, carried over; flows from Gaussian starts of
size 0.7 to t = 2, and the reduced flow from the same start, carried over.

Tolerances. Points carried over are critical to rounding, times the condition of X, 1e-9; counts by a factor of a
thousand. Orbits, dopri8 at 1e-10: 1e-6 of the motion.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis import landscape, linear_nets
from gradlab.analysis.equilibria.inertia import inertia
from gradlab.claims.cases import case, ensemble, generator
from gradlab.claims.looks.linear_net import LinearFlow
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

POINTS, FLOW = "critical points", "flow"


class _Reduced(LinearFlow):
    """The problem, its reduced form, and points or an orbit of both."""

    setting = "a deep linear net under the square loss, X of full row rank"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one."""
        if not (super().speaks_of(problem) and isinstance(problem.loss, Square)):
            return False
        x = np.asarray(problem.data.inputs)
        return bool(np.linalg.matrix_rank(x) == x.shape[1])

    @cached_property
    def reduction(self) -> linear_net.Reduction:
        """The reduced problem, and the way to it."""
        return linear_net.reduction(self.problem)

    @cached_property
    def orthonormal(self) -> bool:
        """Whether XXᵀ = 1."""
        return str(self.facts["X"]) == "orthonormal"

    @cached_property
    def both(self) -> tuple[landscape.Landscape, landscape.Landscape]:
        """F of the problem and of the reduced one."""
        return linear_net.landscape_of(self.problem), linear_net.landscape_of(self.reduction.problem)

    @cached_property
    def carried(self) -> list[linear_nets.Matrices]:
        """The reduced problem's layers that belong to the points."""
        return [self.reduction.reduced(layers) for layers in self.matrices]

    @at_most(1e-9, sentence="landscape")
    def critical(self) -> Number | None:
        """‖∇F‖ at the reduced problem's critical points, carried over, over ‖Y‖ ‖X‖ ‖W‖^H; the largest.

        Rounding, times the condition of X.
        """
        if self.facts["kind"] != POINTS:
            return NOT_ASKED
        size = np.linalg.norm(self.targets) * np.linalg.norm(self.inputs)
        norms = np.maximum(1.0, self.square_norms) ** (0.5 * (self.depth - 1))
        worst = np.max(np.linalg.norm(self.slopes[1], axis=1) / (size * norms))
        return Number(float(worst), self.size * EPS)

    @at_most(1e-10, sentence="landscape")
    def values(self) -> Number | None:
        """|F − the reduced F − its constant| over ½‖Y‖², at the worst point.

        Rounding.
        """
        if self.facts["kind"] != POINTS:
            return NOT_ASKED
        here, there = self.both
        gaps = [
            here.value(own) - there.value(other) - here.factor * self.reduction.constant
            for own, other in zip(self.matrices, self.carried, strict=True)
        ]
        scale = here.factor * float(np.sum(self.targets**2))
        return Number(float(np.abs(gaps).max()) / scale, 10.0 * self.size * EPS)

    @at_most(0.5, sentence="landscape")
    def signatures(self) -> Number | None:
        """Points at which the Hessians of both have other numbers of positive, zero or negative eigenvalues.

        A count; its error are points at which one is not decided.
        """
        if self.facts["kind"] != POINTS:
            return NOT_ASKED
        wrong = unknown = 0
        for pair in zip(self.matrices, self.carried, strict=True):
            signs = [inertia(*landscape.hessian_values(*one)) for one in zip(self.both, pair, strict=True)]
            decided = all(one.decided for one in signs)
            counts = [(one.negative, one.zero, one.positive) for one in signs]
            unknown += not decided
            wrong += decided and counts[0] != counts[1]
        return Number(float(wrong), float(unknown), exact=True)

    @cached_property
    def apart(self) -> Number:
        """The largest distance of the flow from the reduced flow, carried over, over the largest motion."""
        own, other = self.weights, self.trajectory["carried"].values
        moved = np.linalg.norm(own - own[0], axis=1).max()
        return Number(float(np.linalg.norm(own - other, axis=1).max() / moved), self.steps * EPS)

    def shown(self):
        flows = self.facts["kind"] == FLOW
        return {"distance": self.apart.value if flows else self.critical.value}


class ReductionPrinted(_Reduced):
    @at_most(1e-6, sentence="dynamics")
    def dynamics(self) -> Number | None:
        """The distance of the flow from the reduced flow, carried over, over the motion.

        1e-10 a step, some hundred steps.
        """
        return self.apart if self.facts["kind"] == FLOW else NOT_ASKED


class ReductionCorrected(_Reduced):
    @at_most(1e-6, sentence="dynamics")
    def same(self) -> Number | None:
        """The same where XXᵀ = 1.

        As above.
        """
        return self.apart if self.facts["kind"] == FLOW and self.orthonormal else NOT_ASKED

    @at_least(1e-3, sentence="other")
    def general(self) -> Number | None:
        """The same where it is not.

        Of the order of the spread of the singular values of X; a thousand times what is granted where they agree.
        """
        return self.apart if self.facts["kind"] == FLOW and not self.orthonormal else NOT_ASKED


WIDTHS = ((3, 3, 2), (4, 3, 2), (3, 3, 3, 2))
EXAMPLES, T = 8, np.linspace(0.0, 2.0, 9)


def cases(key, *, widths, draws):
    """Critical points and flows of general problems and of such with XXᵀ = 1."""
    rng = generator(key)
    for shape in widths:
        made = [
            (kind, i, _problem(rng, shape, kind)) for kind in ("general", "orthonormal") for i in range(draws)
        ]
        for kind, i, problem in made[:: max(draws, 1)]:
            reduction = linear_net.reduction(problem)
            points = linear_net.stratum_points(linear_net.landscape_of(reduction.problem), rng)
            over = [
                linear_nets.flat(reduction.original(linear_nets.layers(problem.network, p))) for p in points
            ]
            yield linear_net.recorded(problem, np.stack(over), kind=POINTS, X=kind, **_facts(shape, i))
        drawn = [
            (problem, linear_net.gaussian(rng, shape, 0.7), {"kind": FLOW, "X": kind, **_facts(shape, i)})
            for kind, i, problem in made
        ]
        yield from _side_by_side(drawn)


def _facts(shape, i):
    return {"widths": "-".join(map(str, shape)), "draw": i + 1}


def _problem(rng, shape, kind):
    x = rng.standard_normal((EXAMPLES, shape[0]))
    if kind == "orthonormal":
        x = np.linalg.qr(x)[0]
    y = rng.standard_normal((EXAMPLES, shape[-1]))
    return Problem(Dense.deep_linear(shape), Square(half=True), Data(x, y))


def _side_by_side(drawn):
    """The flow and the reduced flow, carried over."""
    reductions = [linear_net.reduction(problem) for problem, *_ in drawn]
    there = [
        (reduction.problem, reduction.reduced(start), facts)
        for reduction, (_, start, facts) in zip(reductions, drawn, strict=True)
    ]
    solver = Adaptive("dopri8", 1e-10)
    own = ensemble(GradientFlow, drawn, T, solver=solver)
    other = ensemble(GradientFlow, there, T, solver=solver)
    for reduction, one, two in zip(reductions, own, other, strict=True):
        network, found = one.problem.network, {}
        for side in ("", "_coarse"):
            rows = [linear_nets.layers(network, row) for row in two.trajectory[f"weights{side}"].values]
            over = np.stack([linear_nets.flat(reduction.original(layers)) for layers in rows])
            found[f"carried{side}"] = (one.trajectory["weights"].dims, over)
        yield case(one.problem, one.trajectory.assign(found), **one.facts)


FIGURE = Figure(
    Panel("distance", "case", "distance, relative", "case", by=("kind", "X"), log="y", floor=1e-17),
    caption="Critical points: the gradient at what the reduced problem's points are carried to. Flows: the distance "
    "of the flow from the reduced flow, carried over; they agree where XXᵀ = 1, and nowhere else.",
)
STUDIES = tuple(
    study(
        name,
        look,
        cases,
        quick={"widths": WIDTHS, "draws": 3},
        full={"widths": (*WIDTHS, (5, 4, 4, 3), (2, 2, 2, 2, 2)), "draws": 10},
        few={"widths": WIDTHS[:1], "draws": 1},
        settings=section(__doc__, "Settings"),
        figure=FIGURE,
    )
    for name, look in (
        ("chitour.reduction", ReductionPrinted),
        ("chitour.reduction-corrected", ReductionCorrected),
    )
)
