"""chitour.gradient: the gradient of F = ‖Y − WX‖² in the layers of W = W_{H+1} ⋯ W_1.

Printed. F without ½, and dW_j/dt = (ΠW)_{j+1}^{H+1} M (ΠW)_1^{j−1} with the transposes left out, as a slide may. The
field is −∇F/2, a gradient descent of ½‖Y − WX‖²: the factor is a misprint of either (docs/notes/chitour.gradient.md).

Settings, before any run. H = 1, 2, 3 with unequal widths and one net with equal ones, X = I and Y standard normal, of
the reduced form (D_Y 0), and of rank one; besides general X with more points than dimensions and fewer, repeated
points, deficient rank. Four points each: Gaussian weights of scale 1 and 0.3, layers of half the full rank, one
layer zero. No dynamics: the formula is compared with automatic differentiation.

Tolerances. Products of at most six matrices of size at most 14: rounding is below n·eps·S, n the sum of all inner
sizes (γ_n, Higham 2002, §3.5) and S the product of the Frobenius norms. Relative to the gradient S is about 1e3 at
random weights, so 1e-9 leaves a decade and more above (40 · 2e-16 · 1e3 ≈ 1e-11), and nine below a wrong factor.
Points so near a critical one that rounding is more than a tenth of the tolerance are left out.
"""

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.landscape import of_problem
from gradlab.analysis.linear_nets import end_to_end, flat
from gradlab.claims.cases import generator
from gradlab.claims.looks.linear_net import LinearNet, ratio
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

TOLERANCE = 1e-9
#: Entries of the gradient that a case keeps for the figure.
SHOWN = 24


class GradientCorrected(LinearNet):
    """The printed field at every point against −∇F by automatic differentiation; the worst point."""

    setting = "a linear net of two layers or more under the square loss, without bias or decay"

    @classmethod
    def speaks_of(cls, problem):
        """Whether it is one."""
        return of_problem(problem) is not None

    @cached_property
    def fields(self):
        """(−∇F, the field with transposes, without them) at points where rounding does not hide the gradient.

        None instead of the last where the shapes do not fit.
        """
        net, found = linear_net.landscape_of(self.problem), []
        for layers, gradient in zip(self.matrices, self.slopes[1], strict=True):
            if net.gradient_rounding(layers) < 0.1 * TOLERANCE * np.linalg.norm(gradient):
                M = (self.targets - self.inputs @ end_to_end(layers).T).T @ self.inputs
                paths = [
                    (net.path(layers, j + 1, self.depth), net.path(layers, 0, j)) for j in range(self.depth)
                ]
                fits = all(path.shape[0] == path.shape[1] for pair in paths for path in pair)
                bare = flat(tuple(above @ M @ below for above, below in paths)) if fits else None
                found.append((-gradient, flat(tuple(above.T @ M @ below.T for above, below in paths)), bare))
        return found

    def worst(self, gap):
        """The largest of a distance of the field with transposes from −∇F, and the rounding of a quotient."""
        gaps = [gap(field, descent) for descent, field, _ in self.fields]
        return Number(float(np.max(gaps)), EPS) if gaps else NOT_ASKED

    @at_most(1e-12, role="hypothesis")
    def loss(self) -> float:
        """The potential is ‖Y − WX‖² with W the product of the layers, relative to (‖Y‖ + Π‖W_j‖ ‖X‖)².

        Rounding of one evaluation, n·eps ≈ 1e-14, two decades allowed.
        """
        gaps = []
        for value, layers in zip(self.slopes[0], self.matrices, strict=True):
            risk = np.sum((self.targets - self.inputs @ end_to_end(layers).T) ** 2)
            reach = np.prod([np.linalg.norm(layer) for layer in layers]) * np.linalg.norm(self.inputs)
            gaps.append(ratio(abs(value - risk), (np.linalg.norm(self.targets) + reach) ** 2))
        return float(np.max(gaps))  # NaN where one is

    @at_most(TOLERANCE, sentence="field")
    def direction(self) -> Number | None:
        """The printed field is parallel to −∇F: what is left of it across −∇F, relative to its norm.

        Rounding, see the module's docstring.
        """
        return self.worst(_across)

    @at_most(TOLERANCE, sentence="factor")
    def doubled(self) -> Number | None:
        """‖2 × printed field + ∇F‖/‖∇F‖, F without ½, over all layers.

        Rounding, see the module's docstring.
        """
        return self.worst(lambda field, descent: _norm(2.0 * field - descent) / _norm(descent))

    @at_least(0.1, sentence="field", role="control")
    def transposes(self) -> Number | None:
        """Without transposes the products are not parallel to −∇F: what is left across; 1 where they do not fit.

        The two readings of a random square product are unrelated, so O(1) is left; nothing is asked where the two
        readings are one.
        """
        other = [
            (bare, descent)
            for descent, field, bare in self.fields
            if bare is None or not np.allclose(bare, field)
        ]
        if not other:
            return NOT_ASKED
        if any(bare is None for bare, _ in other):
            return Number(1.0, exact=True)
        return Number(float(np.max([_across(*pair) for pair in other])), EPS)

    def shown(self):
        if not self.fields:
            return {}
        descent, field, bare = self.fields[0]
        chosen = np.unique(np.linspace(0, descent.size - 1, SHOWN).astype(int))
        bare = np.full(descent.size, np.nan) if bare is None else bare
        entries = {"autodiff": descent, "with_transposes": field, "without_transposes": bare}
        return {name: ("entry", values[chosen] / np.max(np.abs(descent))) for name, values in entries.items()}


class GradientPrinted(GradientCorrected):
    @at_most(TOLERANCE, sentence="factor", role="print", repaired="doubled")
    def printed(self) -> Number | None:
        """‖printed field + ∇F‖/‖∇F‖, F without ½, over all layers.

        Rounding, see the module's docstring; a factor of two gives ½.
        """
        return self.worst(lambda field, descent: _norm(field - descent) / _norm(descent))


def _norm(vector):
    return float(np.linalg.norm(vector))


def _across(field, descent):
    """‖field − its projection on descent‖/‖field‖; zero where the field is zero."""
    return ratio(_norm(field - ratio(field @ descent, descent @ descent) * descent), _norm(field))


def _points(rng, widths):
    """Gaussian weights of two scales, layers of half the full rank, and one layer zero."""
    full, small, holed = (linear_net.gaussian(rng, widths, scale) for scale in (1.0, 0.3, 1.0))
    singular = [linear_net.low_rank(rng, layer.shape, -(-min(layer.shape) // 2), 1.5) for layer in full]
    hole = int(rng.integers(len(full)))
    return [full, small, singular, [np.zeros_like(w) if j == hole else w for j, w in enumerate(holed)]]


def _targets(rng, count, outputs, kind):
    """Y as rows (N, C): standard normal, Yᵀ = (D_Y 0) with D_Y > 0 diagonal, or of rank one."""
    if kind == "(D_Y 0)":
        return np.eye(count, outputs) * rng.uniform(0.5, 3.0, outputs)
    if kind == "rank one":
        return np.outer(rng.standard_normal(count), rng.standard_normal(outputs))
    return rng.standard_normal((count, outputs))


REDUCED = ((6, 4, 2), (5, 4, 4, 3), (6, 3, 5, 2), (5, 4, 6, 3, 3), (4, 4, 4))
#: Widths, points, and the kinds of X and of Y.
PLANS = (
    *((w, w[0], "identity", y) for w in REDUCED for y in ("normal", "normal", "(D_Y 0)", "rank one")),
    *(
        (widths, count, x, "normal")
        for widths, count in (((5, 4, 4, 3), 14), ((6, 3, 5, 2), 4))
        for x in ("random", "repeated", "deficient")
    ),
)


def cases(key, *, plans, rounds):
    """Every plan, with zero weights as well in every fourth."""
    rng = generator(key)
    for i, (widths, count, x, y) in enumerate(plans * rounds):
        inputs = linear_net.linear_inputs(rng, count, widths[0], x)
        data = Data(inputs, _targets(rng, count, widths[-1], y))
        points = np.stack([flat(layers) for layers in _points(rng, widths)])
        if i % len(plans) % 4 == 3:
            points = np.concatenate([points, np.zeros((1, points.shape[1]))])
        problem = Problem(Dense.deep_linear(widths), Square(), data)
        facts = {"H": len(widths) - 2, "widths": str(widths), "X": x, "points": count, "Y": y, "draw": i}
        yield linear_net.recorded(problem, points, **facts)


ENTRY = "entry of −∇F by automatic differentiation"
FIGURE = Figure(
    Panel(
        "with_transposes",
        "autodiff",
        "entry of the formula",
        ENTRY,
        diagonal=True,
        title="with transposes: half of −∇F",
    ),
    Panel(
        "without_transposes",
        "autodiff",
        "entry of the formula",
        ENTRY,
        diagonal=True,
        title="without (equal widths only)",
    ),
    caption="Entries of the printed gradient against automatic differentiation of F = ‖Y − WX‖², each problem in units "
    "of its largest entry; the grey line is equality.",
)
BUDGETS: dict[str, dict[str, Any]] = {
    "quick": {"plans": PLANS, "rounds": 1},
    "full": {"rounds": 8},
    "few": {"plans": (*PLANS[::6], PLANS[16])},
}
STUDIES = tuple(
    study(name, look, cases, figure=FIGURE, settings=section(__doc__, "Settings"), **BUDGETS)
    for name, look in (
        ("chitour.gradient", GradientPrinted),
        ("chitour.gradient-corrected", GradientCorrected),
    )
)
