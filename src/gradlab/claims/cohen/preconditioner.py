"""cohen.preconditioner: the matrix P_W of the end-to-end dynamics is positive semidefinite, definite where W has
full rank, and its eigenvalues favour the directions that W already has.

Settings, before any run. W square, wide, tall, one row, one column; depth 1 to 4, hidden widths unequal; full
rank, ranks below, W = 0, all singular values equal, and singular values down to 1e-3. The weights are
balanced layers of W, in random bases, hence W is their product with its rounding. No dynamics.

Tolerances. P_W is formed densely (at most 25 × 25) in two ways: from its definition, by powers of WWᵀ and
WᵀW, and as JJᵀ, J the derivative of the product in its layers, which is what gradient flow does and uses no
power. JJᵀ is semidefinite by construction: that is asked of the definition. A zero singular value carries
rounding, 1e-16, and enters as (1e-16)^{2/N} ≤ 1e-8 at N = 4 where it is not cut off; the library cuts it off.
Compared with JJᵀ, whose entries are products of layers, all is rounding: 1e-16 × 25 × 10, with three decades
allowed, 1e-10 of the largest eigenvalue.
"""

from functools import cached_property

import numpy as np

from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import conserved, end_to_end, preconditioner_spectrum
from gradlab.claims.cases import generator, point
from gradlab.claims.looks.linear_net import LinearNet, ratio
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most, equals
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.problems import linear_net
from gradlab.claims.studies import section, study
from gradlab.problem.losses import Square

ROUNDING = 1e-10


class Preconditioner(LinearNet):
    """P_W at one point, from its definition and as JJᵀ, with the spectrum that the source prints."""

    setting = "a linear net without bias"
    least_depth = 1

    @cached_property
    def layers(self):
        """W_1, …, W_N."""
        return linear_nets.layers(self.network, self.end)

    @cached_property
    def W(self):
        """Their product (k, d)."""
        return np.asarray(end_to_end(self.layers))

    @cached_property
    def P(self):
        """P_W from its definition, (kd, kd)."""
        return np.asarray(linear_nets.preconditioner(self.W, self.depth))

    @cached_property
    def gram(self):
        """JJᵀ (kd, kd), J the derivative of vec(W_N⋯W_1), columns stacked, in the entries of all layers."""
        return _gram(self.layers)

    @cached_property
    def values(self):
        """Eigenvalues of JJᵀ, ascending."""
        return np.linalg.eigvalsh(self.gram)

    @property
    def top(self) -> float:
        """The largest of them, in size."""
        return float(np.abs(self.values).max())

    @cached_property
    def printed(self):
        """Eigenvalues and eigenvectors vec(u_r v_cᵀ) in closed form."""
        return preconditioner_spectrum(self.W, self.depth)

    @cached_property
    def singular(self):
        """Singular values of W, descending."""
        return np.linalg.svd(self.W, compute_uv=False)

    @cached_property
    def gains(self):
        """⟨u_r v_cᵀ, JJᵀ[u_r v_cᵀ]⟩, (k, d)."""
        vectors = self.printed.eigenvectors
        return np.einsum("ip,ij,jp->p", vectors, self.gram, vectors).reshape(self.W.shape[::-1]).T

    @property
    def rank(self) -> int:
        """The rank of W, to rounding."""
        return int(np.sum(self.singular > max(self.W.shape) * EPS * self.singular[0]))

    def over_top(self, number) -> Number:
        """Over the largest eigenvalue of JJᵀ, with the rounding of a dense eigendecomposition."""
        return Number(ratio(float(number), self.top), 4.0 * self.W.size * EPS)

    @at_most(1e-12, role="hypothesis")
    def balanced(self) -> float:
        """‖(W_{j+1}ᵀW_{j+1} − W_jW_jᵀ)_j‖ relative to Σ‖W_j‖².

        Balanced layers are made to rounding.
        """
        gap = np.linalg.norm(conserved(self.layers)) if self.depth > 1 else 0.0
        return ratio(float(gap), linear_nets.square_norm(self.layers))

    @at_most(ROUNDING, sentence="semidefinite")
    def formula(self) -> float:
        """‖P_W − JJᵀ‖ relative to its largest eigenvalue, J = ∂vec(W_N⋯W_1)/∂(W_1, …, W_N).

        Rounding of dense products and of one eigendecomposition, see the module's docstring.
        """
        return ratio(float(np.linalg.norm(self.P - self.gram, 2)), self.top)

    @at_least(-ROUNDING, sentence="semidefinite")
    def semidefinite(self) -> Number:
        """λ_min(P_W)/λ_max.

        Rounding, as for formula.
        """
        return self.over_top(np.linalg.eigvalsh(self.P)[0])

    @at_least(-ROUNDING, sentence="definite")
    def definite(self) -> Number | None:
        """(λ_min(P_W) − σ_min(W)^{2(N−1)/N})/λ_max at full rank, σ_min the least of min(k, d): a positive bound below.

        Rounding, as for formula.
        """
        if self.rank < min(self.W.shape):
            return NOT_ASKED
        return self.over_top(
            np.linalg.eigvalsh(self.P)[0] - self.singular[-1] ** (2.0 * (self.depth - 1) / self.depth)
        )

    @equals(0.0, within=0.5, sentence="spectrum")
    def kernel(self) -> Number:
        """The dimension of the kernel of JJᵀ less (k − r)(d − r), r = rank W (zero at depth 1).

        A whole number; its error are eigenvalues within a thousand of the border.
        """
        k, d = self.W.shape
        border = ROUNDING * self.top
        expected = (k - self.rank) * (d - self.rank) if self.depth > 1 else 0
        doubtful = np.sum((self.values > 1e-3 * border) & (self.values < 1e3 * border))
        return Number(float(np.sum(self.values <= border) - expected), float(doubtful), exact=True)

    @at_most(ROUNDING, sentence="spectrum")
    def eigenvalues(self) -> float:
        """Eigenvalues of JJᵀ against the closed form, over λ_max.

        Rounding, as for formula.
        """
        gap = np.max(np.abs(np.sort(self.printed.eigenvalues) - self.values))
        return ratio(float(gap), self.top)

    @at_most(ROUNDING, sentence="spectrum")
    def eigenvectors(self) -> float:
        """‖JJᵀ vec(u_r v_cᵀ) − λ_rc vec(u_r v_cᵀ)‖ over λ_max, the worst pair.

        Rounding, as for formula.
        """
        values, vectors = self.printed
        gap = np.max(np.linalg.norm(self.gram @ vectors - vectors * values, axis=0))
        return ratio(float(gap), self.top)

    @at_least(-ROUNDING, sentence="reinforces")
    def monotone(self) -> Number:
        """The least increase of ⟨u_r v_cᵀ, P_W[u_r v_cᵀ]⟩ to the next larger σ_r or σ_c, over λ_max.

        Rounding, as for formula.
        """
        # singular values descend, so gains must not increase along either index
        steps = [
            -np.diff(self.gains, axis=0).ravel(),
            -np.diff(self.gains, axis=1).ravel(),
            [self.top],
        ]
        return self.over_top(np.min(np.concatenate(steps)))

    @at_least(1.0 - ROUNDING, sentence="reinforces")
    def reinforced(self) -> Number | None:
        """The gain along W, ⟨W, P_W[W]⟩/‖W‖², over the mean gain tr P_W/(k d).

        Chebyshev's sum inequality: one where all singular values are equal, k = d, or N = 1, else more.
        """
        along = self.W.ravel(order="F")
        mean = float(np.trace(self.gram)) / self.W.size
        if not (mean > 0.0 and np.any(self.W)):
            return NOT_ASKED
        return Number(float(along @ self.gram @ along) / float(along @ along) / mean, 4.0 * self.W.size * EPS)

    def shown(self):
        pairs = np.diag(self.gains)
        scales = [max(float(one[0]), 1e-300) for one in (self.singular, pairs)]
        sigma = np.where(self.singular > 1e-8 * scales[0], self.singular / scales[0], np.nan)
        return {"depth": self.depth, "sigma": ("pair", sigma), "gain": ("pair", pairs / scales[1])}


def _gram(layers):
    total = np.zeros((layers[-1].shape[0] * layers[0].shape[1],) * 2)
    for j, layer in enumerate(layers):
        above = end_to_end(layers[j + 1 :]) if j + 1 < len(layers) else np.eye(layer.shape[0])
        below = end_to_end(layers[:j]) if j else np.eye(layer.shape[1])
        derivative = np.kron(below.T, above)
        total = total + derivative @ derivative.T
    return total


#: Widths from the inputs to the outputs, depth 1 to 4: square, wide, tall, one row, one column.
WIDTHS = (
    (4, 4),
    (4, 5, 4),
    (5, 3, 3),
    (2, 4, 5),
    (5, 4, 4, 3),
    (4, 4, 4, 4),
    (2, 3, 4, 5),
    (6, 2, 1),
    (1, 2, 3, 5),
    (3, 4, 5, 3, 3),
    (4, 4, 4, 4, 4),
)
_PRODUCTS = ("full rank", "graded", "equal", "deficient")


def _matrix(rng, shape, kind):
    full = min(shape)
    left, right = linear_net.rotation(rng, shape[0])[:, :full], linear_net.rotation(rng, shape[1])[:, :full]
    values = {
        "full rank": rng.uniform(0.3, 2.0, full),
        "graded": np.geomspace(1.0, 1e-3, full) if full > 1 else np.ones(1),
        "equal": np.full(full, 0.7),
        "deficient": np.where(np.arange(full) < full // 2, 1.3, 0.0),
    }
    return (left * np.sort(values[kind])[::-1]) @ right.T


def cases(key, *, shapes, draws):
    """Products of every kind, of every shape."""
    rng = generator(key)
    for number in range(draws):
        for widths in shapes:
            problem = linear_net.regression(rng, widths, Square("mean"), 6)
            for kind in _PRODUCTS:
                W = _matrix(rng, (widths[-1], widths[0]), kind)
                layers = linear_net.balanced(rng, W, widths) if len(widths) > 2 else (W,)
                yield point(problem, linear_nets.flat(layers), widths=str(widths), kind=kind, draw=number)


STUDY = study(
    "cohen.preconditioner",
    Preconditioner,
    cases,
    quick={"shapes": WIDTHS, "draws": 1},
    full={"draws": 10},
    few={"shapes": WIDTHS[3:6:2]},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "gain",
            "sigma",
            r"gain of $u_r v_r^T$ over the largest",
            r"$\sigma_r$ over the largest",
            by=("depth",),
            log="xy",
        ),
        Panel("reinforced", "depth", "gain along W over the mean gain", "depth N", by=("kind",)),
        caption="Gains of P_W. Left: a direction u_r v_rᵀ is amplified like σ_r^{2(N−1)/N}, a colour for every depth. "
        "Right: movement along W itself gains more than the average direction, unless all singular values of a square "
        "W are equal.",
    ),
)
