"""memo90.jacobian: the flow's Jacobian is minus the Hessian of L, and the printed sums over examples are it.

What is judged. Eq. 5 (with H_ij = −∂²L/∂W_i∂W_j, symmetric), eqs. 6 and 31 (the field), eqs. 7 and 32 (its Jacobian)
under the exponential loss; for the square loss eqs. 27 and 28, the latter before E_n = 0 is used. For the losses that
the memo's section 4 also names (and ℓ_p, which the library has) the same sums with their own ℓ' and ℓ'' for −y e^{−yf}
and e^{−yf}. Not judged: signs of eigenvalues, and eqs. 15, 18, 25, 36, where a factor of two is dropped.

How. Sums are assembled in NumPy from closed forms of ℓ', ℓ'' and from ∂f, ∂²f; −∇²L is a forward derivative of the
gradient of the risk, not of the sum. Independently of second derivatives, the field is differenced: (F(W + hq) −
F(W − hq))/2h for coordinates q (some, in a large net), h = 1e-4 of the size of a weight, improved with h/2. Eq. 5 as
dynamics: where the field rests (Σ(y − f)² = 0, targets made by the net itself) the flow from W ± hq is followed to
t = 2/‖H‖ beside δẆ = Hδ, H the printed sum, both by the same Runge–Kutta steps, so that nothing but the nonlinearity
parts them.

Settings, before any run. Eight architectures, dense with and without biases, convolutional, residual; with one output
(square, half its mean, ℓ₄, exponential, logistic) or several (square, ℓ₃, cross-entropy); six random, repeated or
rank-one inputs; weights of He's size, three points each. The full budget has 22 architectures, every activation with
both kinds of output, and four draws of everything. Points whose two stencils differ by more than 1e-5 have a kink
inside (ReLU) and are passed over; away from kinks the stencils differ by h² ∂³F/8.

Tolerances. Units are the norms of the two sums (∂f∂fᵀ and ∂²f) added, so that no cancellation inflates a number.
Sums and automatic differentiation differ by rounding: 1e-10. Differences err by a third of the stencils' change and
eps‖F‖/h ≈ 1e-12: 1e-5, the threshold of a kink.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import xarray as xr

from gradlab.claims.cases import case, generator
from gradlab.claims.looks import Look
from gradlab.claims.looks.field_points import ONE_OUTPUT, SEVERAL_OUTPUTS, FieldPoint
from gradlab.claims.measured import NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net, teachers
from gradlab.claims.studies import section, study
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense, Residual
from gradlab.problem.problem import Problem

EXACT, DIFFERENCED = 1e-10, 1e-5
#: Records of a case that are looked at, at most; entries of the Jacobian that it keeps for the figure.
LOOKED_AT, SHOWN = 4, 16


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values))


class Jacobian(Look):
    """The printed sums at a few points of the trajectory against two other ways to the same derivatives."""

    #: How a point is looked at.
    point = FieldPoint

    @cached_property
    def kept(self) -> list[FieldPoint]:
        """The points that are looked at, without a kink within the stencil."""
        rows = np.unique(np.linspace(0, len(self.weights) - 1, LOOKED_AT).astype(int))
        found = [self.point(self.problem, self.weights[i]) for i in rows]
        return [
            one for one in found if one.unit > 0.0 and 3.0 * one.differenced()[1] / one.unit <= DIFFERENCED
        ]

    def worst(self, number: Callable[[FieldPoint], float]) -> Number:
        """The largest over the points, with the rounding of a sum."""
        if not self.kept or not np.isfinite(self.weights).all():
            return Number(np.nan)
        return Number(max(map(number, self.kept)), max(one.rounding for one in self.kept))

    @at_most(0.0, role="hypothesis", exact=True)
    def decay(self) -> float:
        """The largest decay.

        Eqs. 7 and 32 have none.
        """
        return float(np.max(np.asarray(self.problem.decay)))

    @at_least(0.5, role="hypothesis", exact=True)
    def differentiable(self) -> float:
        """Looked-at points without a kink within the stencil.

        One point at least; a kink shows as stencils that differ, see the module's docstring.
        """
        return len(self.kept)

    @at_most(EXACT, sentence="gradient")
    def velocity(self) -> Number:
        """‖Σ ℓ'∂f + F‖: eqs. 6, 27, 31 are F = −∇L.

        The same sum in another order: rounding, see the module's docstring.
        """
        return self.worst(lambda one: _norm(one.field_sum - one.field) / (one.field_unit or 1.0))

    @at_most(EXACT, sentence="jacobian")
    def formula(self) -> Number:
        """‖sum of eqs. 7, 28, 32 + ∇²L‖ (automatic differentiation).

        The same sum in another order: rounding, see the module's docstring.
        """
        return self.worst(lambda one: _norm(one.sum - one.jacobian) / one.unit)

    @at_most(EXACT, sentence="symmetric")
    def symmetric(self) -> Number:
        """‖H − Hᵀ‖, derivatives taken in the two orders.

        The same sum in another order: rounding, see the module's docstring.
        """

        def gap(one: FieldPoint) -> float:
            square = one.jacobian[:, one.chosen]
            return _norm(square - square.T) / one.unit

        return self.worst(gap)

    @at_most(DIFFERENCED, sentence="jacobian")
    def differences(self) -> Number:
        """‖∂F/∂W − sum of eqs. 7, 28, 32‖, the field F differenced.

        Truncation and rounding of the stencil, see the module's docstring; a factor of two would be O(1).
        """
        found = [one.differenced() for one in self.kept]
        pairs = list(zip(self.kept, found, strict=True))
        numbers = [_norm(rows - one.sum) / one.unit for one, (rows, _) in pairs]
        errors = [
            change / one.unit + one.rounding * one.field_unit / (one.h * one.unit)
            for one, (_, change) in pairs
        ]
        return Number(max(numbers, default=np.nan), max(errors, default=0.0))

    @at_most(DIFFERENCED, sentence="perturbation")
    def perturbation(self) -> Number | None:
        """Eq. 5 at rest: distance of the flow's (W⁺ − W⁻)/2h from δ, δẆ = Hδ, relative to ‖δ(0)‖.

        h² ∂³F, less by Richardson's rule; a factor of two in H would be O(1) at t = 2/‖H‖. Asked where the flow rests
        and every weight is looked at.
        """
        rest = next((one for one in self.kept if one.at_rest), None)
        return NOT_ASKED if rest is None else Number(*rest.perturbed())

    def shown(self):
        """The largest entries of the differenced Jacobian, of the sum and of its first part, in one unit."""
        kind = {"Square": "square", "Exponential": "exponential"}.get(
            type(self.problem.loss).__name__, "others"
        )
        if not self.kept:
            return {"kind": kind}
        last = self.kept[-1]
        found, _ = last.differenced()
        chosen = np.argsort(-np.abs(found), axis=None)[:: max(1, found.size // SHOWN)][:SHOWN]
        unit = float(np.max(np.abs(found))) or 1.0
        entries = {"field_entries": found, "sum_entries": last.sum, "squares_entries": last.squares}
        return {"kind": kind} | {
            name: ("entry", rows.ravel()[chosen] / unit) for name, rows in entries.items()
        }


_CUBIC = polynomial((0.0, 1.0, 0.5, 0.25))
#: Name, network; with one output or more, as the quick budget has them.
QUICK = (
    ("linear, 1 layer", Dense((10, 1), "identity")),
    ("deep linear", Dense((5, 3, 2), "identity")),
    ("tanh", Dense((5, 4, 1), "tanh")),
    ("sigmoid, biases", Dense((4, 3, 3), "sigmoid", bias=True)),
    ("polynomial", Dense((5, 4, 1), _CUBIC)),
    ("ReLU", Dense((4, 4, 3, 1), "relu")),
    ("convolutional tanh", Convolutional((1, 4, 4), (2,), outputs=1, activation="tanh")),
    ("residual smooth ReLU", Residual(4, 3, 1, 3, smooth_relu(0.5))),
)
#: The same with the other number of outputs, and what the library has besides.
FULL = (
    ("linear, 1 layer, 3 outputs", Dense((10, 3), "identity")),
    ("deep linear, 1 output", Dense((5, 3, 1), "identity")),
    ("tanh, 3 outputs", Dense((4, 3, 2, 3), "tanh")),
    ("sigmoid, biases, 1 output", Dense((4, 3, 1), "sigmoid", bias=True)),
    ("GELU", Dense((5, 4, 1), "gelu")),
    ("GELU, 3 outputs", Dense((5, 4, 3), "gelu")),
    ("polynomial, 3 outputs", Dense((5, 4, 3), _CUBIC)),
    ("ReLU, 3 outputs", Dense((4, 4, 3, 3), "relu")),
    ("leaky ReLU", Dense((5, 3, 3), "leaky_relu")),
    ("leaky ReLU, 1 output", Dense((5, 3, 1), "leaky_relu")),
    ("convolutional ReLU, 3 outputs", Convolutional((1, 4, 4), (2,), outputs=3)),
    ("residual ReLU, 1 output", Residual(4, 3, 1, 1)),
    ("squared ReLU", Dense((5, 4, 1), "squared_relu")),
    ("squared ReLU, 3 outputs", Dense((5, 4, 3), "squared_relu")),
)
KINDS = ("random", "repeated", "rank one")


def _inputs(rng, size, kind):
    if kind == "rank one":
        return np.outer(rng.standard_normal(6), rng.standard_normal(size))
    return linear_net.linear_inputs(rng, 6, size, kind)


def _targets(rng, loss, outputs):
    """Those of the net itself under a square loss, so that it rests; random ones otherwise."""
    count, size = outputs.shape
    if loss.labels == "real":
        return outputs if isinstance(loss, Square) else rng.standard_normal((count, size))
    return (
        np.where(rng.standard_normal(count) > 0.0, 1.0, -1.0) if size == 1 else rng.integers(size, size=count)
    )


def cases(key, *, networks, draws):
    """Every loss of its kind on every architecture; the first point is the one at which square losses rest."""
    rng = generator(key)
    for i, (name, network) in enumerate(networks * draws):
        for j, loss in enumerate(ONE_OUTPUT if network.outputs == 1 else SEVERAL_OUTPUTS):
            kind = KINDS[(i + j) % 3]
            x = _inputs(rng, int(np.prod(network.input_shape)), kind)
            looked_at = np.stack([teachers.weights(rng, network) for _ in range(3)])
            # the teacher's outputs, by the program that is needed anyway
            blank = Problem(network, Square(), Data(x, np.zeros((6, network.outputs))))
            targets = _targets(rng, loss, FieldPoint(blank, looked_at[0]).f)
            seen = xr.Dataset({"weights": (("record", "weight"), looked_at)})
            words = (
                f"{type(loss).__name__} ({loss.reduction}{', half' if getattr(loss, 'half', False) else ''})"
            )
            facts = {"net": name, "loss": words, "inputs": kind, "draw": i // len(networks) + 1}
            yield case(Problem(network, loss, Data(x, targets)), seen, **facts)


_AXES = ("entry of the sum over examples", "entry of ∂F/∂W, differenced")
STUDY = study(
    "memo90.jacobian",
    Jacobian,
    cases,
    quick={"networks": QUICK, "draws": 1},
    full={"networks": QUICK + FULL, "draws": 4},
    few={"networks": QUICK[2:3]},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "sum_entries",
            "field_entries",
            *_AXES,
            by=("kind",),
            diagonal=True,
            title="both terms, as printed",
        ),
        Panel("squares_entries", "field_entries", *_AXES, by=("kind",), diagonal=True, title="without ∂²f"),
        caption="Entries of the Jacobian of the flow by differences of the field against eqs. 7, 28 and 32, each "
        "problem in units of its largest entry; the line is equality. Right: the first term alone, which misses the "
        "rest.",
    ),
)
