"""cohen.balanced-preserved: W_{j+1}ᵀW_{j+1} = W_jW_jᵀ stays true along gradient flow, and which starts have it.

Settings, before any run. ℓ(W) = (1/m) Σ‖Wx_i − y_i‖². Widths (5, 4, 4, 3), m = 14, general, repeated and
rank-deficient data: balanced layers, in random bases, of products of every rank from 1 to 3 and of sizes 0.1,
0.5, 1. Widths (4, 4, 4), m = 14: the identity in every layer, and Gaussian entries of scale 1e-3. To t = 6,
by when the near-zero starts have left zero (they grow like e^{2σt}, σ ≈ 1 the largest singular value of Σ y
xᵀ/m). At initialisation alone: Gaussian entries of scales 0.1 to 1e-4, 128 independent draws each.

Tolerances. Errors of the flow: 1e-9 relative to ‖W‖ an accepted step, a few hundred steps, without
amplification: 1e-7, one decade allowed; 1e-6 of max‖W‖². Orders in the scale are exact in distribution; with
128 draws a scale, four scales a decade apart and a spread of 0.4 in the logarithm (1.5 for layers of width
one), the fitted slope has standard error 0.4/√128/(√5 ln 10) ≈ 0.007 (0.026); the error bar is three of those
as measured. 0.15, as everywhere.
"""

from functools import cache, cached_property
from itertools import pairwise

import numpy as np

from gradlab.analysis.linear_nets import balancedness, square_norm
from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.linear_net import LinearFlow, ratio
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.dynamics.flow import GradientFlow
from gradlab.problem.losses import Square

SCALES = np.array([1e-1, 1e-2, 1e-3, 1e-4])
DRAWS = 128
NEAR_ZERO = 1e-3
RECORDS = np.linspace(0.0, 6.0, 13)


class Balanced(LinearFlow):
    """The defect δ = max_j ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖_F along the flow, and of Gaussian weights of many scales."""

    @cached_property
    def defects(self):
        """δ at every record."""
        return np.array([_defect(layers) for layers in self.matrices])

    @cached_property
    def drawn(self):
        """Defects of Gaussian weights of the same widths, absolute and over Σ‖W‖²: two of (SCALES, DRAWS)."""
        return _near_zero(self.network.widths)

    @at_most(1e-3, role="hypothesis")
    def start(self) -> Number:
        """δ at the start.

        Zero up to rounding, or approximately, as near-zero weights of scale 1e-3 have it with room to spare.
        """
        return Number(self.defects[0], self.network.widths[0] * EPS * self.square_norms[0])

    @at_most(1e-6, sentence="preserved")
    def preserved(self) -> float:
        """What δ gains along the flow, relative to max_t Σ‖W_j‖².

        The global error of the flow, see the module's docstring.
        """
        return ratio(self.defects.max() - self.defects[0], self.square_norms.max())

    @equals(2.0, within=0.15, sentence="near_zero")
    def near_zero(self) -> Number:
        """The order in the scale s of the defect of Gaussian weights N(0, s²).

        The defect is quadratic in the weights.
        """
        return _order(self.drawn[0])

    @equals(0.0, within=0.15, sentence="near_zero")
    def near_zero_relative(self) -> Number:
        """The order in s of the defect relative to Σ‖W_j‖²: it does not become small.

        Both are quadratic in the weights.
        """
        return _order(self.drawn[1])

    @at_most(0.0, sentence="identity", exact=True)
    def identity(self) -> float | None:
        """δ of layers that start at the identity, square ones.

        IᵀI = IIᵀ, without rounding.
        """
        return self.defects[0] if self.facts.get("layers") == "identity" else NOT_ASKED

    def shown(self):
        relative = self.defects / np.where(self.square_norms > 0.0, self.square_norms, 1.0)
        return {
            "t": ("record", self.time),
            "relative_defect": ("record", np.maximum(relative, 1e-18)),
            "scale": ("step", SCALES),
            "scale_defect": ("step", self.drawn[0].mean(axis=1)),
        }


def _defect(layers):
    return float(np.max([np.linalg.norm(gap) for gap in balancedness(layers)]))


@cache
def _near_zero(widths):
    """The defect, absolute and relative to Σ‖W‖², of independent Gaussian draws."""
    rng = np.random.default_rng(0)
    draws = [[linear_net.gaussian(rng, widths, scale) for _ in range(DRAWS)] for scale in SCALES]
    absolute = np.array([[_defect(layers) for layers in row] for row in draws])
    return absolute, absolute / np.array([[square_norm(layers) for layers in row] for row in draws])


def _order(values) -> Number:
    """The fitted order in SCALES of values (SCALES, DRAWS), and three standard errors of it."""
    x, y = np.log(SCALES), np.log(values)
    centred = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    error = np.sqrt(np.sum(centred**2 * np.var(y, axis=1, ddof=1) / values.shape[1]))
    return Number(float(centred @ y.mean(axis=1)), 3.0 * float(error))


def _start(rng, widths, kind, index):
    """Balanced layers of a product whose rank and size go round with ``index``; identity; near-zero weights."""
    if kind == "identity":
        return tuple(np.eye(after, before) for before, after in pairwise(widths))
    if kind == "near zero":
        return linear_net.gaussian(rng, widths, NEAR_ZERO)
    rank, size = 1 + index % min(widths[0], widths[-1]), (0.1, 0.5, 1.0)[index % 3]
    return linear_net.balanced(rng, linear_net.low_rank(rng, (widths[-1], widths[0]), rank, size), widths)


def cases(key, *, plans):
    """Widths and kinds of starts, data of every kind two at a time."""
    rng = generator(key)
    for widths, kinds, repeats in plans:
        starts = kinds * repeats
        data = [("random", "repeated", "deficient")[i // 2 % 3] for i in range(len(starts))]
        problems = [linear_net.regression(rng, widths, Square("mean"), 14, x) for x in data]
        weights = [_start(rng, widths, kind, i // 2) for i, kind in enumerate(starts)]
        facts = [{"layers": k, "widths": str(widths), "X": data[i], "draw": i} for i, k in enumerate(starts)]
        yield from ensemble(GradientFlow, zip(problems, weights, facts, strict=True), RECORDS)


QUICK = (((5, 4, 4, 3), ("balanced",), 24), ((4, 4, 4), ("identity", "near zero"), 6))
FULL = (((6, 3, 5, 2), ("balanced",), 48), ((4, 4, 4, 4, 4), ("identity", "balanced"), 12))

STUDY = study(
    "cohen.balanced-preserved",
    Balanced,
    cases,
    quick={"plans": QUICK},
    full={"plans": QUICK + FULL},
    few={"plans": (((4, 4, 4), ("identity", "near zero", "balanced"), 1),)},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "scale_defect",
            "scale",
            "mean defect at the start",
            "scale s of Gaussian weights",
            by=("widths",),
            log="xy",
        ),
        Panel("relative_defect", "t", "defect / Σ‖W‖²", "t", by=("layers",), log="y"),
        caption="The largest ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖. Near-zero weights are balanced in absolute terms only (left, "
        "order 2); the flow keeps the absolute defect, so they become balanced relative to their size as they grow "
        "(right; zeros are drawn at 1e-18).",
    ),
)
