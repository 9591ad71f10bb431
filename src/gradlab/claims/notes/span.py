"""notes.span: only the components of w in the span of the data move, and the rest is flat.

Settings, before any run. Inputs have singular values in [1, 3] (√2 times that where points are repeated), so that at
T = 40 (500 steps of descent at η = 1/λ_max) e^{−λ_min T} < 1e-17: the whole motion is seen. Starts are standard normal,
so that the components beside the span are as large as those in it. Flow where N < d (dopri8 at 1e-10), descent
where N > d; at the full budget both everywhere, and more shapes.

Constants. The passage prints the loss Σ(y − w·x)², the velocity 2 Σ E_n x_n and the Hessian Σ x xᵀ: the first two
belong together, the third belongs to ½Σ (under Σ it is 2 Σ x xᵀ). Neither the span nor the zeros depend on it.
"At least" d − N is d − rank X in truth. That the flow fits the data (E_n = 0) if N < d needs independent x_n: it
fails for repeated points with different targets, as in a third of the cases here, and is no part of this claim.
"""

from functools import cached_property, partial

import jax
import numpy as np

from gradlab.claims.cases import ensemble, generator
from gradlab.claims.looks.one_layer import NoDecay
from gradlab.claims.measured import EPS, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import one_layer
from gradlab.claims.studies import section, study
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.losses import Square


class Span(NoDecay):
    """The motion split by the span of the data, and the Hessian, by automatic differentiation over all C d weights."""

    @cached_property
    def motion(self) -> tuple[np.ndarray, np.ndarray]:
        """‖ΔW‖ and ‖ΔW Q‖ at every record after the start, Q the null projector of X."""
        moved = self.orbit[1:] - self.orbit[0]
        norms = [[np.linalg.norm(part) for part in (W, self.net.beside(W))] for W in moved]
        return tuple(np.asarray(norms).T)

    @cached_property
    def values(self) -> np.ndarray:
        """Eigenvalues of ∇²L over its factor: those of Σ x xᵀ, C times."""
        return np.linalg.eigvalsh(self.hessian()) / (2.0 * self.net.factor)

    def zeros(self, less: int) -> Number:
        """Eigenvalues below eps max(N, d) σ_max², the rounding of Σ x xᵀ; doubtful within a factor of four of it."""
        threshold = EPS * self.net.size * self.net.singular[0] ** 2
        doubtful = (self.values > threshold / 4.0) & (self.values < 4.0 * threshold)
        return Number(float(np.sum(self.values <= threshold)) - less, float(np.sum(doubtful)), exact=True)

    def off(self, loss: Square) -> Number:
        """‖∇²L − Σ x xᵀ‖/‖Σ x xᵀ‖ under that loss; two sums of N products may also be rounded alike."""
        printed = np.kron(np.eye(self.net.Y.shape[1]), self.net.X.T @ self.net.X)
        gap = float(np.linalg.norm(self.hessian(loss) - printed) / np.linalg.norm(printed))
        return Number(gap, EPS * self.net.size)

    @at_most(1e-9, sentence="motion")
    def null_motion(self) -> Number:
        """Share of the motion that lies beside the span of the data.

        1 for a motion across the span, √(1 − rank/d) for one that ignores it, 0 for the claim. A step rounds W by eps
        ‖W‖ in any direction: k of them leave k eps ‖W‖/‖ΔW‖, its error, 2e-12 at k = 10⁴, far below the tolerance.
        """
        moved, beside = self.motion
        if not moved.any():
            return Number(np.nan)
        rounding = EPS * (self.steps + self.net.size) * max(np.linalg.norm(W) for W in self.orbit)
        worst = float(np.max(beside[moved > 0] / moved[moved > 0]))
        return Number(worst, float(rounding / moved[moved > 0].min()))

    @at_least(0.0, sentence="zeros")
    def zeros_beyond(self) -> Number:
        """Zero eigenvalues of the Hessian beyond the C(d − N) asserted (beyond 0 if N ≥ d).

        An integer.
        """
        return self.zeros(self.net.Y.shape[1] * max(self.net.X.shape[1] - self.net.X.shape[0], 0))

    @equals(0.0, within=0.0, sentence="zeros")
    def zeros_otherwise(self) -> Number:
        """Zero eigenvalues less C(d − rank X): none elsewhere, none missing.

        An integer; the kernel of Σ x xᵀ is what no x_n sees.
        """
        return self.zeros(self.net.Y.shape[1] * (self.net.X.shape[1] - self.net.rank))

    @at_least(-1e-12, sentence="hessian")
    def semidefinite(self) -> Number:
        """Least eigenvalue of the Hessian over the largest: no direction is unstable.

        Each x xᵀ is semidefinite; eigenvalues are rounded at Cd eps ≈ 1e-14 of the largest.
        """
        # over the size of the largest: over itself, the Hessian of −L would be positive too
        return Number(self.values[0] / np.abs(self.values).max(), EPS * len(self.values))

    @at_most(1e-12, sentence="hessian")
    def hessian_half(self) -> Number:
        """‖∇²L − Σ x xᵀ‖/‖Σ x xᵀ‖ under ½Σ, to which the printed constant belongs.

        A quadratic potential and sums of N products: rounding leaves N eps ≈ 1e-14, relative.
        """
        return self.off(Square(half=True))

    @at_most(1e-12, sentence="hessian", role="print", repaired="hessian_half")
    def hessian_sum(self) -> Number:
        """‖∇²L − Σ x xᵀ‖/‖Σ x xᵀ‖ under the printed loss, Σ.

        Rounding, as for hessian_half; a factor of two is 1.
        """
        return self.off(Square())

    @at_most(1e-12, sentence="motion", role="print")
    def velocity_sum(self) -> float:
        """‖−∇L − 2 Σ E_n x_nᵀ‖ under Σ, over 2‖X‖(‖Y‖ + ‖X‖‖W‖): the printed velocity.

        Rounding, as for hessian_half.
        """
        X, Y, W = self.net.X, self.net.Y, self.orbit[0]
        scale = 2.0 * np.linalg.norm(X) * (np.linalg.norm(Y) + np.linalg.norm(X) * np.linalg.norm(W))
        return float(np.linalg.norm(-self.slope(W, Square()) - 2.0 * (Y - X @ W.T).T @ X) / scale)

    def shown(self):
        moved, beside = self.motion
        inside = np.sqrt(np.maximum(moved**2 - beside**2, 0.0))
        return {
            "inside": ("after", inside),
            "beside": ("after", beside),
            "values": ("eigenvalue", self.values),
        }


SHAPES = ((6, 10, 2), (14, 5, 2), (8, 20, 3), (20, 8, 1), (9, 9, 2))
RECORDS, STEPS = (0.1, 1.0, 10.0, 40.0), (1, 10, 100, 500)


def cases(key, *, shapes, draws, both):
    """The flow where N < d and descent where N > d, or both everywhere."""
    for i, shape in enumerate(shapes):
        drawn = one_layer.problems(generator(jax.random.fold_in(key, i)), shape, draws)
        if both or shape[0] < shape[1]:
            yield from ensemble(GradientFlow, drawn, RECORDS, solver=Adaptive("dopri8", 1e-10))
        if both or shape[0] > shape[1]:
            steps = one_layer.stable_steps(problem for problem, *_ in drawn)
            yield from ensemble(partial(GradientDescent, step=steps), drawn, STEPS)


STUDY = study(
    "notes.span",
    Span,
    cases,
    quick={"shapes": SHAPES[:2], "draws": 24, "both": False},
    full={"shapes": SHAPES, "draws": 48, "both": True},
    few={"draws": 3},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "beside",
            "inside",
            r"motion beside it, $\|\Delta W Q\|$",
            r"motion in the span, $\|\Delta W P\|$",
            log="xy",
            floor=1e-18,
            reference={"tolerance, for a unit motion": 1e-9},
        ),
        Panel(
            "values",
            None,
            r"eigenvalue of $\sum x x^{\top}$",
            "eigenvalue, in order",
            by=("shape", "kind"),
            log="y",
            floor=1e-17,
        ),
        caption="Left: how far the weights moved in the span of the data and beside it, at each record. Right: spectra "
        "of the Hessian over all C d weights, one problem of a kind; zeros are drawn at 1e-17.",
    ),
)
