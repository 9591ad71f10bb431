"""The map of memo90 eq. 47 between two linear flows, and between the flows at two hyperbolic equilibria."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.analysis.conjugacy import FINE, Conjugacy


@dataclass(frozen=True)
class PowerMap:
    """h_i(x) = sgn(x_i)|x_i|^{ν_i/μ_i} (memo90 eq. 47): e^{−νt} h(x) = h(e^{−μt} x), exactly.

    mu, nu : eigenvalues of the two linear flows, of one sign for every i.
    """

    mu: Float[np.ndarray, " P"]
    nu: Float[np.ndarray, " P"]

    @property
    def exponents(self) -> Float[np.ndarray, " P"]:
        """ν_i/μ_i."""
        return self.nu / self.mu

    def __call__(self, x: Float[np.ndarray, "... P"]) -> Float[np.ndarray, "... P"]:
        """h(x)."""
        return np.sign(x) * np.abs(x) ** self.exponents

    @property
    def inverse(self) -> PowerMap:
        """The map back, with μ and ν exchanged."""
        return PowerMap(self.nu, self.mu)

    @property
    def differentiable(self) -> int | None:
        """k such that h is C^k and no more at 0; None where it is smooth: every exponent an odd whole number."""
        odd = (self.exponents % 2.0) == 1.0
        orders = np.ceil(self.exponents[~odd]).astype(int) - 1
        return int(orders.min()) if orders.size else None

    @property
    def diffeomorphism(self) -> bool:
        """Whether h and its inverse are continuously differentiable: iff μ = ν."""
        return bool(np.array_equal(self.mu, self.nu))


def power_map(mu: Any, nu: Any) -> PowerMap:
    """The conjugacy of dx/dt = −μx to dy/dt = −νy, coordinate by coordinate (memo90 eq. 47).

    Raises
    ------
    ValueError
        For lists of different lengths, zeros, or signs that do not match: no conjugacy exists then.
    """
    first, second = (np.atleast_1d(np.asarray(given, dtype=np.float64)) for given in (mu, nu))
    if first.shape != second.shape or first.ndim != 1 or not (np.isfinite(first) & np.isfinite(second)).all():
        raise ValueError(
            f"mu has shape {first.shape}, nu {second.shape}: give two lists of as many finite eigenvalues"
        )
    if not (first * second > 0.0).all():
        raise ValueError(
            "an eigenvalue is zero or its sign differs from its partner's, and flows with other dimensions of stable "
            "and unstable spaces are not conjugate; order both lists, or add weight decay"
        )
    return PowerMap(first, second)


# Between two equilibria ------------------------------------------------------------------------------------------

#: The share of the second ball that the image of the first is scaled to.
SHARE = 0.9


@dataclass(frozen=True)
class Between:
    """k = h_2⁻¹ ∘ (c · power map) ∘ h_1, which conjugates the nonlinear flows φ, ψ at two equilibria: k∘φ_t = ψ_t∘k.

    first, second : their conjugacies, both sinks or both sources. scale : c > 0, which commutes with the linear flow
    and brings the image into the second ball.
    """

    first: Conjugacy
    second: Conjugacy
    power: PowerMap
    scale: float

    def __call__(self, x: Float[np.ndarray, "B P"], tolerance: float = FINE) -> Float[np.ndarray, "B P"]:
        """k of displacements from the first equilibrium: displacements from the second."""
        image = self.scale * self.power(self.first.image(x, tolerance))
        return self.second.preimage(image, tolerance)

    def mismatch(self, x: Float[np.ndarray, "B P"], times: Any, tolerance: float = FINE) -> float:
        """max ‖k(φ_t(x)) − ψ_t(k(x))‖/‖ψ_t(k(x))‖ over samples and times; ask a second tolerance for its error."""
        each = np.atleast_1d(np.asarray(times, dtype=np.float64))
        when = np.repeat(each, len(x))
        moved = self.first.flow(np.tile(x, (each.size, 1)), when, tolerance)
        images = self(np.concatenate([x, moved]), tolerance)
        expected = self.second.flow(np.tile(images[: len(x)], (each.size, 1)), when, tolerance)
        return float(
            np.max(np.linalg.norm(images[len(x) :] - expected, axis=1) / np.linalg.norm(expected, axis=1))
        )


def between(first: Conjugacy, second: Conjugacy, power: PowerMap | None = None) -> Between:
    """The conjugacy of the flows at two equilibria, eigenvalues paired in ascending order unless ``power`` is given.

    Raises
    ------
    ValueError
        For other dimensions of stable and unstable spaces, and at saddles, where the inverse is not built.
    """
    if "saddle" in (first.kind, second.kind):
        raise ValueError(
            "one of the equilibria is a saddle, where the inverse is not built: give two sinks or sources"
        )
    power = power_map(first.values, second.values) if power is None else power
    reach = float(np.sqrt(np.sum(first.radius ** (2.0 * power.exponents))))
    return Between(first, second, power, SHARE * second.radius / reach if reach else 0.0)
