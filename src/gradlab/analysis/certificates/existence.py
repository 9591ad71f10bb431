"""Newton–Kantorovich in ball arithmetic: a zero exists within r of a point, and it is the only one within R.

For F: ℝⁿ → ℝⁿ and any matrix A, T(x) = x − A F(x). On the box B_r(x̄) of the maximum norm let

    Y = ‖A F(x̄)‖,   Z(r) ≥ sup_{x ∈ B_r} ‖I − A DF(x)‖.

If Y + Z(r) r ≤ r and Z(r) < 1, T maps B_r into itself and contracts: F has exactly one zero in B_r. Wherever
Z(R) < 1, A and all DF(x), x ∈ B_R, are nonsingular, and there is at most one zero in B_R. Only DF is evaluated on a
box, F on a point: this is the mean-value form, and its overestimation enters Z multiplied by r. (Kantorovich; Krawczyk
1969; the radii are those of the radii polynomial Y + (Z(r) − 1) r < 0 of Day, Lessard, Mischaikow, SIAM J. Numer.
Anal. 45, 2007.) Derivation, and what becomes of it modulo a symmetry: docs/notes/certificates.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gradlab.analysis.certificates.balls import (
    Ball,
    BallMatrix,
    Refusal,
    ball,
    column,
    from_rows,
    identity,
    matrix,
    middles,
    norm,
    row_sums,
    vector,
)
from gradlab.analysis.certificates.enclosure import Enclosure
from gradlab.analysis.certificates.generators import Gauge

#: Trials of a radius; each costs one Hessian on a box and one product of matrices.
_TRIALS = 12
#: The largest radius that is tried: a constant Hessian passes at every one.
_LARGEST = 1e6


class Radii(NamedTuple):
    """``existence`` r, ``uniqueness`` R ≥ r, ``contraction`` Z(r); r is None with a sentence where there is none."""

    existence: float | None
    uniqueness: float
    contraction: float
    why: str


def radii(residual: float, at_point: float, contraction: Callable[[float], float]) -> Radii:
    """The least r and the largest R that a few trials find; every bound was computed outwards.

    ``residual`` is Y, ``at_point`` Z(0), ``contraction`` the function r ↦ Z(r), infinite where it is not defined.
    """
    if not (math.isfinite(residual) and at_point < 1):
        return Radii(None, 0.0, at_point, "singular")
    r, Z = 0.0, at_point
    for _ in range(_TRIALS):
        Z = contraction(r) if r else at_point
        if not Z < 1:
            break
        if ball(residual) + ball(Z) * ball(r) <= ball(r):
            return Radii(r, _uniqueness(r, at_point, contraction), Z, "")
        r = residual / (1 - Z) * (1 + 2.0**-8)
        if r > _LARGEST:
            break
    return Radii(None, 0.0, Z, "residual")


def _uniqueness(least: float, at_point: float, contraction: Callable[[float], float]) -> float:
    """Some R ≥ r with Z(R) < 1, within a quarter of the largest such R that the evaluation on boxes can see."""
    good, bad, trial = least, math.inf, max(1e-2, 2 * least)
    for _ in range(_TRIALS):
        Z = contraction(trial)
        if Z < 1:
            good = max(good, trial)
        else:
            bad = min(bad, trial)
        if bad <= 1.25 * good or good >= _LARGEST:
            break
        # Z grows about linearly: the secant says where it reaches 1
        slope = (Z - at_point) / trial
        secant = 0.9 * (1 - at_point) / slope if 0 < slope < math.inf else math.nan
        if not good < secant < bad:
            factor = 10.0 if Z < 1 else 0.1
            secant = math.sqrt(good * bad) if good > 0 and bad < math.inf else factor * trial
        trial = min(max(secant, least), _LARGEST)
        if trial <= least:
            break
    return good


class Bordered:
    """F(x, μ) = (∇L(x) + T̄ μ, T̄ᵀ(x − x̄)): an equilibrium, gauged against the symmetries that T̄ (P, k) spans.

    By invariance μ = 0 at every zero where T(x)ᵀ T̄ is nonsingular; without symmetry (k = 0) F is ∇L. DF = K(x) =
    [[∇²L(x), T̄], [T̄ᵀ, 0]] does not depend on μ.
    """

    def __init__(self, form: Enclosure, point: Float[np.ndarray, " P"], gauge: Gauge) -> None:
        self.form, self.point, self.gauge = form, point, gauge
        self._border = matrix(gauge.tangent).tolist() if gauge.dimension else []
        self.at_point = self.bordered(form.hessian(vector(point)))
        self._identity = identity(form.size + gauge.dimension)
        self._inverse = _approximate_inverse(middles(self.at_point))

    def bordered(self, hessian: BallMatrix) -> BallMatrix:
        """K around a given Hessian."""
        k = self.gauge.dimension
        if not k:
            return hessian
        rows = [[*row, *border] for row, border in zip(hessian.tolist(), self._border, strict=True)]
        corner = [ball(0.0)] * k
        rows += [[*(border[a] for border in self._border), *corner] for a in range(k)]
        return from_rows(rows)

    @property
    def invertible(self) -> bool:
        """Whether float64 found an approximate inverse A of K at the point at all."""
        return self._inverse is not None

    def residual(self) -> float:
        """Y = ‖A F(x̄, 0)‖."""
        value: list[Ball] = [*self.form.gradient(vector(self.point)), *[ball(0.0)] * self.gauge.dimension]
        return norm((self._inverse * column(value)).entries())

    def contraction(self, radius: float) -> float:
        """Z(r) = ‖I − A K(B_r)‖; infinite where a kink is within the box."""
        try:
            K = self.bordered(self.form.hessian(vector(self.point, radius))) if radius else self.at_point
        except Refusal:
            return math.inf
        return norm(self._identity - self._inverse * K)

    def multipliers_vanish(self, radius: float) -> bool:
        """Whether T(x)ᵀ T̄ is nonsingular for every x in the box, so that every zero in it has μ = 0."""
        k = self.gauge.dimension
        if not k:
            return True
        pairing = from_rows(self.gauge.pairing(vector(self.point, radius)))
        inverse = _approximate_inverse(middles(pairing))
        return inverse is not None and norm(identity(k) - inverse * pairing) < 1


def _approximate_inverse(values: Float[np.ndarray, "n n"]) -> BallMatrix | None:
    """An inverse in float64, taken as exact; None where there is none."""
    if not np.isfinite(values).all():
        return None
    try:
        inverse = np.linalg.inv(values)
    except np.linalg.LinAlgError:
        return None
    return matrix(inverse) if np.isfinite(inverse).all() else None


class Interpolation:
    """G(u) = F(x̄ + A u), F = outputs − targets (NC numbers), A (P, NC) a right inverse of its Jacobian at x̄."""

    def __init__(
        self, form: Enclosure, point: Float[np.ndarray, " P"], inverse: Float[np.ndarray, "P NC"]
    ) -> None:
        self.form, self.point = form, point
        self._inverse = matrix(inverse)
        #: how far x̄ + A u is from x̄, weight by weight, for ‖u‖ ≤ 1
        self._reach = row_sums(self._inverse)
        self._identity = identity(inverse.shape[1])

    def box(self, radius: float) -> list[Ball]:
        """The smallest box around {x̄ + A u: ‖u‖ ≤ radius}."""
        side = ball(0.0, radius)
        return [ball(x) + reach * side for x, reach in zip(self.point, self._reach, strict=True)]

    def residual(self) -> float:
        """Y = ‖G(0)‖."""
        outputs = self.form.outputs(vector(self.point))
        return norm(
            [
                f - ball(y)
                for row, target in zip(outputs, self.form.targets, strict=True)
                for f, y in zip(row, target, strict=True)
            ]
        )

    def contraction(self, radius: float) -> float:
        """Z(ρ) = sup ‖I − ∂F(x̄ + A u) A‖ over ‖u‖ ≤ ρ."""
        try:
            jacobian = self.form.jacobian(self.box(radius))
        except Refusal:
            return math.inf
        return norm(self._identity - jacobian * self._inverse)
