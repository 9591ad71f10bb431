"""Verified eigenvalues of a symmetric matrix of balls: their signs, exactly, and an enclosure of each.

Approximate eigenvectors Q (float64) make M = Qᵀ H Q nearly diagonal; everything else is a bound in ball arithmetic.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gradlab.analysis.certificates.balls import (
    Ball,
    BallMatrix,
    identity,
    matrix,
    middles,
    norm,
    row_sums,
)


class Signs(NamedTuple):
    """How many eigenvalues are certainly negative, certainly positive, and undecided."""

    negative: int
    positive: int
    undecided: int


def _congruent(values: BallMatrix) -> tuple[BallMatrix, Float[np.ndarray, "n n"]]:
    """M = Qᵀ H Q and Q, the eigenvectors of the midpoint in float64."""
    middle = middles(values)
    vectors = np.linalg.eigh(0.5 * (middle + middle.T))[1]
    exact = matrix(vectors)
    return exact.transpose() * values * exact, vectors


def signs(values: BallMatrix) -> Signs:
    """The inertia of every symmetric matrix within ``values`` (n, n), as far as it can be proved.

    M = Qᵀ H Q. If |M_ii| > Σ_{j≠i} |M_ij| for every i, M is nonsingular, hence Q is, M and H have the same inertia
    (Sylvester), and it is that of the diagonal (Gershgorin, the rows' disks moved to their centres). A row that fails
    makes the whole answer undecided in that row; ``undecided == 0`` is the proof.
    """
    congruent, _ = _congruent(values)
    negative = positive = 0
    for i, total in enumerate(row_sums(congruent)):
        centre = congruent[i, i]
        off = total - centre.abs_upper()  # of exact numbers, rounded: still a ball around Σ_{j≠i}
        if centre > off:
            positive += 1
        elif -centre > off:
            negative += 1
    return Signs(negative, positive, values.nrows() - negative - positive)


class Enclosed(NamedTuple):
    """Ascending bounds: eigenvalue number i of every matrix within lies in [lower_i, upper_i]."""

    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]


def enclosed_eigenvalues(values: BallMatrix) -> Enclosed:
    """An enclosure of every eigenvalue of every symmetric matrix within ``values``, counted in ascending order.

    With M = Qᵀ H Q = D + E: Weyl gives |λ_i(M) − d_i| ≤ ‖E‖ ≤ the largest row sum of |E|, and Ostrowski
    λ_i(M) = θ_i λ_i(H) with |θ_i − 1| ≤ ‖Qᵀ Q − I‖. Infinite where Q is not nearly orthogonal.
    """
    congruent, vectors = _congruent(values)
    size = values.nrows()
    exact = matrix(vectors)
    crooked = norm(exact.transpose() * exact - identity(size))
    diagonal: list[Ball] = [congruent[i, i] for i in range(size)]
    centres = middles(diagonal)
    for i in range(size):
        congruent[i, i] = diagonal[i] - matrix(centres[i : i + 1, None])[0, 0]
    spread = norm(congruent)
    if not (crooked < 0.5 and np.isfinite(spread)):
        return Enclosed(np.full(size, -np.inf), np.full(size, np.inf))
    ordered = np.sort(centres)
    low, high = np.nextafter(ordered - spread, -np.inf), np.nextafter(ordered + spread, np.inf)
    # Division by θ in [1 − crooked, 1 + crooked]; four roundings of float64 are within the factor 1 ± 1e-15.
    grow, shrink = (1 + 1e-15) / (1.0 - crooked), (1 - 1e-15) / (1.0 + crooked)
    return Enclosed(
        np.where(low < 0, low * grow, low * shrink),
        np.where(high > 0, high * grow, high * shrink),
    )
