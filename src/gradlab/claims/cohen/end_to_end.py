"""cohen.end-to-end: balanced layers move their product W_{1:N} as −P_W[∇ℓ(W)] does, unbalanced ones do not.

Settings, before any run. Depth 3, widths (5, 4, 4, 3), m = 14, ℓ(W) = (1/m) Σ‖Wx_i − y_i‖²; depth 2, widths (6, 4, 2),
m = 10, ℓ_4 loss (1/m) Σ‖Wx_i − y_i‖_4⁴; in the full budget depth 4 and depth 2 and 3 with the other loss. General,
repeated and rank-deficient data; products of full rank and of rank 1, sizes 0.05, 0.4 and 1, and the zero matrix;
balanced layers in random bases. Beside each runs a control with the same product and unbalanced layers: the first
tripled, the last divided by 3 (for the zero product the last layer zero, the others not). Targets are scaled to make
‖∇ℓ(0)‖₂ = 1, the rate of everything that grows, and the flows run to t = 2.

Tolerances. The layers are solved with 1e-9 relative to their norm an accepted step and a few hundred steps, 1e-7 of
error: their rank is kept by any Runge–Kutta method, since units without weights form a linear invariant subspace.
The matrices of deficient rank do not, and the solver of the end-to-end flow leaves them by its error ε. At N = 2
the zero singular value then grows like e^{2‖∇ℓ‖t}, 55-fold at t = 2 and ‖∇ℓ‖ = 1, 3e3-fold at 2: it is solved with
1e-12 a step. For N ≥ 3 it does not grow, but P_W is only Hölder continuous, of exponent 2/N, and ε enters the field
as ε^{2/N}: with 1e-10 a step (less would cost thousands of steps) 2e-7 at N = 3, 1e-5 at N = 4. 1e-5 relative to the
largest ‖W‖ is asked; coarser solves of both flows give the error bars. The velocity is an identity
at the start (rounding 1e-13 by 1e2 of conditioning); later the drift of the layers, 1e-9, enters as (1e-9)^{2/N},
3e-5 at N = 4: it is measured at the start and the full orbit judges the rest. Control: tripling a layer changes
its share of the velocity ninefold, so O(1) of the motion; 1e-2 is visible.
"""

from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import apply_preconditioner, end_to_end
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.linear_net import LinearFlow, ratio
from gradlab.claims.measured import Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.dynamics.end_to_end import EndToEndFlow
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.observe.local import values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import Lp, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

RECORDS = np.linspace(0.0, 2.0, 9)
#: Relative error a step of the end-to-end flow, at depth 2 and beyond.
PRODUCT_TOLERANCES = (1e-12, 1e-10)


class EndToEnd(LinearFlow):
    """The product of the layers, beside the end-to-end flow and the product of unbalanced layers."""

    @cached_property
    def reference(self):
        """W by the end-to-end flow from the same product, (records, C, d)."""
        return self.trajectory["end_to_end"].values.reshape(self.products.shape)

    @cached_property
    def other(self):
        """The product of unbalanced layers, (records, C, d)."""
        layers = [linear_nets.layers(self.network, v) for v in self.trajectory["unbalanced"].values]
        return np.stack([np.asarray(end_to_end(one)) for one in layers])

    @cached_property
    def scale(self) -> float:
        """The largest ‖W‖ of the three."""
        return float(max(_sizes(paths).max() for paths in (self.products, self.reference, self.other)))

    @at_most(1e-12, role="hypothesis")
    def balanced(self) -> Number:
        """‖(W_{j+1}ᵀW_{j+1} − W_jW_jᵀ)_j‖ at the start, relative to Σ‖W_j‖².

        Balanced layers are made to rounding.
        """
        gap = float(np.linalg.norm(linear_nets.conserved(self.matrices[0])))
        return Number(ratio(gap, self.square_norms[0]), 1e-15)

    @at_most(1e-10)
    def velocity(self) -> float:
        """At the start: ‖dW/dt + P_W[∇ℓ(W)]‖ over ‖P_W[∇ℓ(W)]‖ + ‖dW/dt‖, both by automatic differentiation.

        An identity of exactly balanced layers: rounding, conditioning of the powers allowed for.
        """
        layers, motion, W = self.matrices[0], self.motion[0], self.products[0]
        moved = sum(end_to_end((*layers[:j], motion[j], *layers[j + 1 :])) for j in range(self.depth))
        _, flat = values_and_gradients(_shallow(self.problem), W.reshape(1, -1))
        predicted = -apply_preconditioner(W, flat.reshape(W.shape), self.depth)
        sizes = float(np.linalg.norm(moved) + np.linalg.norm(predicted))
        return ratio(float(np.linalg.norm(moved - predicted)), sizes)

    @at_most(1e-5)
    def orbit(self) -> float:
        """max_t ‖W_N⋯W_1 − W‖_F, W solved by the end-to-end flow, relative to the largest ‖W‖.

        The global errors of both solves, see the module's docstring.
        """
        return ratio(float(_sizes(self.products - self.reference).max()), self.scale)

    @at_least(1e-2, role="control")
    def control(self) -> float:
        """The same distance for unbalanced layers with the same product.

        The unbalanced velocity differs by O(1), see the module's docstring.
        """
        return ratio(float(_sizes(self.other - self.reference).max()), self.scale)

    def shown(self):
        names = ("balanced layers", "unbalanced layers")
        gaps = [
            _sizes(paths - self.reference)[1:] / (self.scale or 1.0) for paths in (self.products, self.other)
        ]
        # an exact zero (the product 0 stays there) is drawn at rounding size
        lines = {name: ("record", np.maximum(gap, 1e-16)) for name, gap in zip(names, gaps, strict=True)}
        return {"t": ("record", self.time[1:]), **lines}


def _sizes(paths):
    return np.linalg.norm(paths, axis=(1, 2))


def _shallow(problem):
    """The depth-one problem of the same loss and data: ℓ as a function of the product."""
    widths = problem.network.widths
    return Problem(Dense.deep_linear((widths[0], widths[-1])), problem.loss, problem.data, problem.decay)


def _unbalanced(layers):
    """Matrices of the same product: the first tripled, the last divided by 3; for the product 0, ones at rest only
    in their last layer.
    """
    if not np.any(end_to_end(layers)):
        return (*(np.eye(*layer.shape) for layer in layers[:-1]), np.zeros_like(layers[-1]))
    return (3.0 * layers[0], *layers[1:-1], layers[-1] / 3.0)


def _problem(rng, widths, loss, count, x):
    """A regression whose targets are scaled to give ∇ℓ at W = 0, −(p/m) Σ y^{p−1} xᵀ, the spectral norm 1."""
    drawn = linear_net.regression(rng, widths, loss, count, x)
    inputs, targets = np.asarray(drawn.data.inputs), np.asarray(drawn.data.targets)
    power = loss.p - 1.0 if isinstance(loss, Lp) else 1.0
    slope = (power + 1.0) / count * (np.sign(targets) * np.abs(targets) ** power).T @ inputs
    return Problem(drawn.network, loss, Data(inputs, targets / np.linalg.norm(slope, 2) ** (1.0 / power)))


def _start(rng, widths, index):
    """Balanced layers of a product: full rank twice, rank one, full rank of another size, …, zero at last."""
    shape, size = (widths[-1], widths[0]), (0.4, 1.0, 0.05)[index % 3]
    rank = 0 if index % 12 == 11 else 1 if index % 4 == 2 else min(shape)
    layers = linear_net.balanced(rng, linear_net.low_rank(rng, shape, rank, size), widths)
    return f"W(0) of rank {rank}" + (f" and norm {size}" if rank else ""), layers


def _beside(one, product, control):
    """A case with the two other orbits, as each of its two solves gave them."""
    names = {"end_to_end": product, "unbalanced": control}
    more = {
        f"{name}{side}": (("record", f"{name} entry"), seen.trajectory[f"weights{side}"].values)
        for name, seen in names.items()
        for side in ("", "_coarse")
    }
    return replace(one, trajectory=one.trajectory.assign(more))


def cases(key, *, plans, starts):
    """Balanced layers, the same products by the end-to-end flow, and unbalanced layers."""
    rng = generator(key)
    for widths, count, loss in plans:
        depth = len(widths) - 1
        data = [("random", "random", "repeated", "deficient")[i // 3] for i in range(12)]
        problems = [_problem(rng, widths, loss, count, x) for x in data]
        words, layers = zip(*(_start(rng, widths, i) for i in range(12)), strict=True)
        facts = [
            {"depth": depth, "loss": type(loss).__name__, "X": x, "start": w}
            for x, w in zip(data, words, strict=True)
        ]
        which = [(problems[i], layers[i], facts[i] | {"draw": i}) for i in range(0, 12, 12 // starts)]
        control = [(problem, _unbalanced(start), told) for problem, start, told in which]
        seen = list(ensemble(GradientFlow, which + control, RECORDS))
        flows = ensemble(
            partial(EndToEndFlow, depth=depth),
            [(_shallow(problem), (end_to_end(start),), told) for problem, start, told in which],
            RECORDS,
            solver=Adaptive("dopri8", PRODUCT_TOLERANCES[depth > 2]),
        )
        for one, product, other in zip(seen[: len(which)], flows, seen[len(which) :], strict=True):
            yield _beside(one, product, other)


QUICK = (((5, 4, 4, 3), 14, Square("mean")), ((6, 4, 2), 10, Lp(4.0, "mean")))
FULL = (
    ((6, 3, 5, 2), 4, Lp(4.0, "mean")),
    ((6, 4, 2), 10, Square("mean")),
    ((5, 3, 4, 4, 3), 14, Square("mean")),
    ((5, 6, 4, 4, 3), 14, Lp(4.0, "mean")),
)

STUDY = study(
    "cohen.end-to-end",
    EndToEnd,
    cases,
    quick={"plans": QUICK, "starts": 12},
    full={"plans": QUICK + FULL},
    few={"starts": 2},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "balanced layers",
            "t",
            "distance, balanced layers",
            "t",
            by=("depth",),
            log="y",
        ),
        Panel(
            "unbalanced layers",
            "t",
            "distance, unbalanced layers",
            "t",
            by=("depth",),
            log="y",
        ),
        caption="The product of the layers against dW/dt = −P_W[∇ℓ(W)]: balanced layers follow it, unbalanced ones of "
        "the same product do not (some cases of each depth, relative to the largest ‖W‖).",
    ),
)
