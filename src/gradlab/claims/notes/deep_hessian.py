"""notes.deep-hessian: gradient and Hessian of a deep net under the square loss, its kernel, and small initialisation.

What is judged. The printed equations Ẇ = −Σ E ∂f (− λW) and H = Σ ∂f ∂f − E ∂²f (− λ I), against automatic
differentiation of −L and L. The notes define E_n = y_n − f_n before (“λW = Σ E x = Σ (y − Wx) x”) and f_n − y_n after
(“f(x_n; w*) − y_n = ε”); the first is the reading, and ``either`` asks of the other too: no sign of E makes both
right, nor the printed λ in H. Both equations drop the factor 2 of their Σ E², which is taken from the loss, so that
it refutes nothing. Then: H is degenerate at a zero of the loss with N less than the number of weights (one output);
and small initialisation does not guarantee the minimum norm.

The last part is a counterexample: gradient flow from weights of size α, until f interpolates. A limit of least norm
has no part in the kernel of J = ∂f/∂W (otherwise it can be made shorter on the zero set). For one layer that part is
that of W(0), so that in units of ‖W(0)‖ it is at most 1 for every α. For tanh it stays of order one while α → 0, so
that the quotient grows like 1/α. For two weights, f = w₂ tanh(w₁ x), in closed form: the flow from 0 keeps w₂ = sinh
w₁ (x = 1), the least norm has w₂² = ½ w₁ sinh 2w₁ (docs/notes/notes.deep-hessian.md).

Settings, before any run: 4 networks (quick) or 9; formulas at random weights and targets, λ = 0.1 and 0.5, and at the
weights that made the targets, where the kernel is counted; flows at α = 1e-2 and 1e-3, T = 200 (dopri8 at 1e-10),
after which Gauss–Newton goes what rounding leaves of the way.

Tolerances. Formulas: the same sums in another order, 1e-10 of the sum of the norms of the terms; a wrong sign is O(1).
"""

from functools import cached_property

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims.cases import ensemble, generator, point
from gradlab.claims.looks.points import SquarePoint, count, residual
from gradlab.claims.measured import NOT_ASKED, Number, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import teachers
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.observe.local import local
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: ‖y − f‖/‖f‖ at a zero of the loss: f is right to some dozens of eps.
ZERO = 1e-13


class DeepHessianCorrected(SquarePoint):
    """The sums at the end, the kernel if that is a zero of the loss, the limit if it was a flow."""

    def velocity_off(self, sign: float) -> Number:
        """‖sign Σ E ∂f − λW + ∇L‖, over the norms of the terms, E = y − f."""
        here = self.eigen.here
        pull, drive = here.decay * self.end, np.einsum("nc,ncp->p", -here.first, here.jacobian)
        # not ‖drive‖: at zero loss it is rounding
        data = float(np.linalg.norm(here.f) + np.linalg.norm(np.asarray(self.problem.data.targets)))
        unit = float(np.linalg.norm(here.jacobian)) * data + float(np.linalg.norm(pull))
        gap = float(np.linalg.norm(sign * drive - pull + self.gradient(self.end)))
        return Number(gap / unit, self.eigen.noise / unit)

    def hessian_off(self, sign: float, decay: float) -> Number:
        """‖Σ ∂f ∂f − sign E ∂²f + decay λI − ∇²L‖, over the norms of the terms."""
        here, held = self.eigen.here, np.diag(self.eigen.here.decay)
        unit = float(sum(np.linalg.norm(part) for part in (here.squares, here.curved, held)))
        gap = float(np.linalg.norm(here.squares + sign * here.curved + decay * held - self.hessian))
        return Number(gap / unit, self.eigen.bound / unit)

    @at_most(1e-10, sentence="velocity")
    def velocity_mended(self) -> Number:
        """Σ E ∂f − λW against −∇L.

        Rounding, 1e-13, relative to the norms of the terms added; a wrong sign is O(1).
        """
        return self.velocity_off(1.0)

    @at_most(1e-10, sentence="hessian")
    def hessian_mended(self) -> Number:
        """Σ ∂f ∂f − E ∂²f + λI against ∇²L.

        Rounding, as for the velocity.
        """
        return self.hessian_off(1.0, 1.0)

    @at_most(0.5, sentence="degenerate")
    def missing(self) -> Number | None:
        """One where H has no zero eigenvalue at a zero of the loss, N C < weights, λ = 0.

        A whole number; its error are eigenvalues that are neither rounding nor clear of it.
        """
        bare = not np.asarray(self.problem.decay).any() and residual(self.problem, self.eigen.here.f) <= ZERO
        if self.layers or not bare or self.examples * self.problem.network.outputs >= self.size:
            return NOT_ASKED
        return count(counting.kernel(self.values, self.eigen.bound_at_zero).short_of(1.0))

    # Flows ------------------------------------------------------------------------------------------------------

    @property
    def layers(self) -> int:
        """Layers of a net that flowed; 0 at a point."""
        return len(self.problem.network.widths) - 1 if len(self.weights) > 1 else 0

    @cached_property
    def limit(self) -> np.ndarray:
        """The zero of the loss that Gauss–Newton reaches from the end."""
        return minimising.interpolant(self.problem, self.end)

    @cached_property
    def left(self) -> float:
        """The size of the limit's part in the kernel of ∂f/∂W; NaN where it is no zero of the loss."""
        if residual(self.problem, local(self.problem, self.limit).f) > ZERO:
            return np.nan
        rows = local(self.problem, self.limit).rows
        apart = self.limit - rows.T @ np.linalg.lstsq(rows.T, self.limit, rcond=None)[0]
        return float(np.linalg.norm(apart))

    @property
    def start(self) -> float:
        """‖W(0)‖."""
        return float(np.linalg.norm(self.weights[0]))

    @at_most(1e-9, role="hypothesis")
    def arrived(self) -> float | None:
        """The rest of the way to a zero of the loss over its size: the flow has arrived.

        In units of ‖W(0)‖ ≥ 1e-3 of the size it is 1e-6, far below what is told apart.
        """
        if not self.layers:
            return NOT_ASKED
        return float(np.linalg.norm(self.limit - self.end) / np.linalg.norm(self.limit))

    @at_most(0.5, sentence="start")
    def guaranteed(self) -> float | None:
        """‖W(0)‖ over the part of the limit in ker J, flows of tanh nets from small weights.

        One or more where the flow does not move that part, as for one layer; half of that.
        """
        tanh = self.layers and self.problem.network.activation.name == "tanh"
        return (self.start / self.left if self.left else np.inf) if tanh else NOT_ASKED

    @at_most(1.0 + 1e-6, sentence="start")
    def one_layer(self) -> float | None:
        """The part of the limit in ker J over ‖W(0)‖, for one linear layer: the start's own.

        1 in theory, less where the start has a part in the span; the solver is run to 1e-10.
        """
        return self.left / self.start if self.layers == 1 else NOT_ASKED

    def shown(self):
        kind = {0: "", 1: "one linear layer"}.get(self.layers, self.problem.network.activation.name + " net")
        return {"kind": kind, "start": self.start, "left": self.left if self.layers else np.nan}


class DeepHessianPrinted(DeepHessianCorrected):
    @at_most(1e-10, sentence="velocity", role="print", repaired="velocity_mended")
    def velocity(self) -> Number:
        """The printed −Σ E ∂f − λW against −∇L.

        Rounding, as for its repaired form.
        """
        return self.velocity_off(-1.0)

    @at_most(1e-10, sentence="hessian", role="print", repaired="hessian_mended")
    def hessian_printed(self) -> Number:
        """The printed Σ ∂f ∂f − E ∂²f − λI against ∇²L.

        Rounding, as for its repaired form.
        """
        return self.hessian_off(1.0, -1.0)

    @at_most(1e-10, sentence="hessian", role="print", repaired="hessian_mended")
    def either(self) -> Number:
        """The worse of both, under the better sign of E, without λ in H.

        Rounding, as for the others.
        """
        both = [max(self.velocity_off(-sign), self.hessian_off(sign, 1.0)) for sign in (1.0, -1.0)]
        return min(both)


#: Widths, activation, examples.
QUICK = (
    ((4, 3, 1), "tanh", 4),
    ((4, 3, 2), "identity", 3),
    ((3, 3, 2, 1), "sigmoid", 4),
    ((4, 4, 1), "relu", 4),
)
FULL = (
    ((4, 3, 1), "gelu", 4),
    ((5, 4, 3, 1), "identity", 4),
    ((4, 4, 2), "tanh", 5),
    ((4, 4, 3, 1), "relu", 6),
    ((4, 4, 2), "leaky_relu", 5),
)
FLOWS = (((1, 1, 1), "tanh", 1), ((6, 1), "identity", 3))
MORE_FLOWS = (((5, 2, 1), "identity", 2), ((2, 3, 1), "tanh", 2))
SCALES, END = (1e-2, 1e-3), 200.0


def cases(key, *, networks, flows, draws, flow_draws):
    """Formulas at random points, kernels at zeros of the loss, flows from small weights."""
    rng = generator(key)
    for widths, activation, examples in networks:
        network = Dense(widths, activation)
        for i in range(draws):
            facts = {"net": f"{activation} {widths}", "draw": i + 1}
            base, vector = teachers.teacher(rng, network, Square(half=True), examples)
            yield point(base, vector, at="zero loss", **facts)
            y = rng.standard_normal((examples, widths[-1]))
            decay = (0.1, 0.5)[i % 2]
            problem = Problem(network, Square(half=True), Data(base.data.inputs, y), decay)
            yield point(problem, teachers.weights(rng, network), at=f"λ = {decay}", **facts)
    for widths, activation, examples in flows:
        drawn = list(_flows(rng, widths, activation, examples, flow_draws))
        yield from ensemble(GradientFlow, drawn, np.asarray([0.0, END]), solver=Adaptive("dopri8", 1e-10))


def _flows(rng, widths, activation, examples, draws):
    network = Dense(widths, activation)
    for i in range(draws):
        x = rng.standard_normal((examples, widths[0])) if widths[0] > 1 else np.ones((1, 1))
        y = rng.uniform(0.8, 2.5, (examples, 1)) * rng.choice((-1.0, 1.0), (examples, 1))
        problem = Problem(network, Square(half=True), Data(x, y))
        direction = rng.standard_normal(problem.size)
        for scale in SCALES:
            start = linear_nets.layers(network, scale * direction / np.linalg.norm(direction))
            yield (
                problem,
                start,
                {"net": f"{activation} {widths}", "at": f"flow from {scale:g}", "draw": i + 1},
            )


def _misses(name: str, ylabel: str) -> Panel:
    return Panel(name, "case", ylabel, "case", log="y", floor=1e-17)


_LEFT = Panel("left", "start", "part of the limit in ker ∂f/∂W", "‖W(0)‖", by=("kind",), log="xy")
_CAPTION = (
    "Left: the Hessian {}, against automatic differentiation, relative. Right: what is left in the kernel of ∂f/∂W, "
    "zero for a limit of least norm, against the size of the start."
)
BUDGETS = {
    "quick": {"networks": QUICK, "flows": FLOWS, "draws": 2, "flow_draws": 2},
    "full": {"networks": QUICK + FULL, "flows": FLOWS + MORE_FLOWS, "draws": 6, "flow_draws": 6},
    "few": {"networks": QUICK[:1], "draws": 2, "flow_draws": 1},
}
STUDIES = tuple(
    study(
        name,
        look,
        cases,
        figure=Figure(_misses(measure, "difference from autodiff"), _LEFT, caption=_CAPTION.format(words)),
        settings=section(__doc__, "Settings"),
        **BUDGETS,
    )
    for name, look, measure, words in (
        ("notes.deep-hessian", DeepHessianPrinted, "hessian_printed", "as printed"),
        ("notes.deep-hessian-corrected", DeepHessianCorrected, "hessian_mended", "with signs mended"),
    )
)
