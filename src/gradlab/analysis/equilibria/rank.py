"""Numerical rank with the gap that says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Float

from gradlab.analysis.equilibria.inertia import inertia
from gradlab.analysis.equilibria.rounding import EPS

#: A product of rows · columns · the smaller of them beyond which singular values come from a Gram matrix.
COSTLY = 2e10


@dataclass(frozen=True)
class Rank:
    """rank : of a matrix (M, P), or the best guess. decided, why : whether a gap of singular values says so.

    angle : a bound of the angle to the true subspaces: the error over the least singular value kept.
    range : orthonormal basis (M, rank) of the columns. kernel : orthonormal basis (P, P − rank) of what it sends to 0.
    """

    rank: int
    range: Float[np.ndarray, "M rank"]
    kernel: Float[np.ndarray, "P nullity"]
    decided: bool
    why: str
    angle: float = 0.0


def rank(matrix: Float[np.ndarray, "M P"], within: float = 0.0) -> Rank:
    """The rank, from singular values that count as zero up to max(M, P)·eps·‖matrix‖ + ``within``.

    ``within`` bounds the 2-norm of the error of the matrix itself. Decided by the rule of
    :func:`~gradlab.analysis.equilibria.inertia.inertia`. Where the SVD would take minutes, eigenvalues of the smaller
    Gram matrix are taken instead: singular values below 1e-5 of the largest are then not told from zero, and the
    answer may be undecided.
    """
    M, P = matrix.shape
    if not M or not P or not np.abs(matrix).max() > within:
        return Rank(0, np.zeros((M, 0)), np.eye(P), True, f"the whole matrix is zero within {within:.1e}")
    if M * P * min(M, P) > COSTLY:
        return _by_gram(matrix, within)
    left, values, right = scipy.linalg.svd(matrix, full_matrices=True, lapack_driver="gesdd")
    error = max(M, P) * EPS * float(values[0]) + within
    count = inertia(values, error)
    kept = count.positive
    angle = error / float(values[kept - 1]) if kept else 0.0
    return Rank(kept, left[:, :kept], right[kept:].T, count.decided, count.why, angle)


def _by_gram(matrix: np.ndarray, within: float) -> Rank:
    M, P = matrix.shape
    gram = matrix @ matrix.T if M <= P else matrix.T @ matrix
    values, vectors = np.linalg.eigh(gram)
    size = float(np.sqrt(values[-1]))
    count = inertia(values, max(M, P) * EPS * size**2 + 2.0 * size * within + within**2)
    kept = vectors[:, values > count.threshold] if count.positive else vectors[:, :0]
    roots = np.sqrt(values[values > count.threshold]) if count.positive else np.ones(0)
    across = (matrix.T @ kept if M <= P else matrix @ kept) / roots
    range_, rows = (kept, across) if M <= P else (across, kept)
    kernel = np.linalg.qr(rows, mode="complete")[0][:, rows.shape[1] :]
    angle = float(max(M, P) * EPS * size + within) * size / float(roots.min()) ** 2 if len(roots) else 0.0
    return Rank(count.positive, range_, kernel, count.decided, count.why, angle)
