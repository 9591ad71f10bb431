"""Deep linear networks: their product, what gradient flow conserves, and the preconditioner of the product.

Weights are tuples (W_1, …, W_N), W_k (d_k, d_{k−1}), first layer first; the end-to-end matrix is
W = W_N ⋯ W_1 (C, d). Functions take NumPy or JAX arrays (traced ones too) and answer in kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float

from gradlab.dynamics.end_to_end import precondition
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

Matrix = Float[Array | np.ndarray, "C d"]
Matrices = tuple[Float[np.ndarray, "_ _"], ...]


def _matrices(weights: Sequence[Any]) -> tuple[Any, ...]:
    layers = tuple(weights)
    if not layers or any(getattr(layer, "ndim", None) != 2 for layer in layers):
        raise ValueError("weights are not a sequence of matrices (W_1, …, W_N); give layers without bias")
    for number, (first, second) in enumerate(pairwise(layers), start=1):
        if second.shape[1] != first.shape[0]:
            raise ValueError(
                f"W_{number} {first.shape} and W_{number + 1} {second.shape} do not compose; give W_1 first, "
                "each W_k of shape (d_k, d_{k-1})"
            )
    return layers


def end_to_end(weights: Sequence[Any]) -> Matrix:
    """The product W = W_N ⋯ W_1 (C, d) of the layers, first layer first."""
    return reduce(lambda product, layer: layer @ product, _matrices(weights))


def balancedness(weights: Sequence[Any]) -> list[Any]:
    """The N − 1 matrices W_{j+1}ᵀ W_{j+1} − W_j W_jᵀ (d_j, d_j), conserved by gradient flow without decay.

    All zero: the weights are *balanced* (Arora, Cohen, Hazan 2018, Theorem 1). Empty for one layer.
    """
    layers = _matrices(weights)
    return [second.T @ second - first @ first.T for first, second in pairwise(layers)]


def _check_depth(depth: int) -> int:
    if depth != int(depth) or depth < 1:
        raise ValueError(f"depth is {depth}; expected a whole number of layers ≥ 1")
    return int(depth)


def _check_matrix(W: Any) -> None:
    if getattr(W, "ndim", None) != 2:
        raise ValueError(
            f"W is no matrix (shape {getattr(W, 'shape', None)}); give the end-to-end matrix (C, d)"
        )


def _full_svd(W: Any) -> tuple[Any, Any, Any, Any, Any]:
    """The array module of W, the full U (C, C), the singular values padded to C and to d, and V (d, d)."""
    _check_matrix(W)
    xp = W.__array_namespace__()
    left, values, right = xp.linalg.svd(W, full_matrices=True)
    # A singular value of rounding size would enter as eps^{2/N}, by no means small: it is taken as the zero
    # that a rank-deficient W has.
    values = xp.where(values > max(W.shape) * xp.finfo(values.dtype).eps * values[0], values, 0.0)
    rows, columns = W.shape
    padded = xp.concat([values, xp.zeros(max(rows, columns) - values.shape[0], dtype=values.dtype)])
    return xp, left, padded[:rows], padded[:columns], right.T


def balanced_factors(matrix: Matrix, widths: Sequence[int]) -> tuple[Float[np.ndarray, "_ _"], ...]:
    """Balanced layers whose product is exactly ``matrix`` (C, d), for ``widths`` = (d, d_1, …, C).

    From matrix = U S Vᵀ: W_N = U S^{1/N}, W_k = S^{1/N}, W_1 = S^{1/N} Vᵀ, padded with zeros (Procedure 1 of
    Arora, Cohen, Golowich, Hu 2019 without the draw). Product and balancedness hold to rounding.
    Raises ValueError if a hidden width is below the rank of ``matrix``.
    """
    target, sizes = np.asarray(matrix, dtype=np.float64), tuple(int(width) for width in widths)
    if target.ndim != 2 or len(sizes) < 2 or target.shape != (sizes[-1], sizes[0]):
        raise ValueError(
            f"matrix has shape {target.shape} and widths are {sizes}; expected (widths[-1], widths[0])"
        )
    depth = len(sizes) - 1
    if depth == 1:
        return (target,)
    left, values, right = np.linalg.svd(target, full_matrices=False)
    kept = int(np.sum(values > max(target.shape) * np.finfo(np.float64).eps * values[0]))
    if min(sizes[1:-1]) < kept:
        raise ValueError(
            f"a hidden width of {sizes} is below the rank {kept} of the matrix; widen the hidden layers"
        )
    root = values[:kept] ** (1 / depth)
    layers = [np.zeros((after, before)) for before, after in pairwise(sizes)]
    layers[0][:kept] = root[:, None] * right[:kept]
    layers[-1][:, :kept] = left[:, :kept] * root
    for layer in layers[1:-1]:
        layer[:kept, :kept] = np.diag(root)
    return tuple(layers)


def apply_preconditioner(W: Matrix, G: Matrix, depth: int) -> Matrix:
    """P_W[G] = Σ_{j=1}^{N} (W Wᵀ)^{(N−j)/N} G (Wᵀ W)^{(j−1)/N} (C, d), without forming P_W.

    Balanced gradient flow of the layers moves their product by dW/dt = −P_W[∇L(W)] (Arora, Cohen, Hazan
    2018, Theorem 1, flow form without decay). Uses 0⁰ = 1. In the bases of W's singular vectors it is the
    entrywise product with the eigenvalues of :func:`preconditioner_spectrum`. The sum itself is the one that
    the end-to-end flow uses.
    """
    _check_matrix(W)
    if G.shape != W.shape:
        raise ValueError(f"G has shape {G.shape}; expected that of W, {W.shape}")
    return precondition(W, G, _check_depth(depth))


def _power(xp: Any, values: Any, exponent: int, depth: int) -> Any:
    """The values s^{2 exponent / depth}, with s⁰ = 1 at s = 0 too."""
    return values ** (2 * exponent / depth) if exponent else xp.ones_like(values)


def _eigenvalues(xp: Any, rows: Any, columns: Any, depth: int) -> Any:
    """Σ_j s_r^{2(N−j)/N} s_c^{2(j−1)/N} for every pair (r, c) of singular values padded to C and d (C, d)."""
    n = _check_depth(depth)
    terms = (
        _power(xp, rows, n - j, n)[:, None] * _power(xp, columns, j - 1, n)[None, :] for j in range(1, n + 1)
    )
    return reduce(lambda total, term: total + term, terms)


def preconditioner(W: Matrix, depth: int) -> Float[Array | np.ndarray, "Cd Cd"]:
    """The matrix P_W = Σ_{j=1}^{N} (Wᵀ W)^{(j−1)/N} ⊗ (W Wᵀ)^{(N−j)/N} (Cd, Cd) for column-major vec.

    vec(P_W[G]) = P_W vec(G) with vec(G) = G.T.reshape(-1): the columns of G one after another. Symmetric,
    positive semidefinite; positive definite if W has full rank. Source: Arora, Cohen, Hazan 2018, Claim 1.
    """
    xp, left, rows, columns, right = _full_svd(W)
    n = _check_depth(depth)
    terms = (
        xp.kron(
            (right * _power(xp, columns, j - 1, n)) @ right.T,
            (left * _power(xp, rows, n - j, n)) @ left.T,
        )
        for j in range(1, n + 1)
    )
    return reduce(lambda total, term: total + term, terms)


class Spectrum(NamedTuple):
    """Eigenvalues (Cd,) and orthonormal eigenvectors, the columns of (Cd, Cd), in column-major vec order."""

    eigenvalues: Float[Array | np.ndarray, " Cd"]
    eigenvectors: Float[Array | np.ndarray, "Cd Cd"]


def preconditioner_spectrum(W: Matrix, depth: int) -> Spectrum:
    """The eigenvalues and eigenvectors of P_W in closed form, from W = Σ s_r u_r v_rᵀ.

    vec(u_r v_cᵀ) has the eigenvalue Σ_{j=1}^{N} s_r^{2(N−j)/N} s_c^{2(j−1)/N}, singular values padded with
    zeros (Arora, Cohen, Hazan 2018, Claim 1). Entry r + C c belongs to the pair (r, c); singular values
    descend, so entry 0 is the largest: N s_1^{2(N−1)/N}. Directions already taken are preferred.
    """
    xp, left, rows, columns, right = _full_svd(W)
    values = _eigenvalues(xp, rows, columns, depth)
    return Spectrum(values.T.reshape(-1), xp.kron(right, left))


# Weight vectors and what they conserve -----------------------------------------------------------------------


def matrix_chain(problem: Problem) -> Dense | None:
    """The network, if its layers are a chain of matrices; no claim on W_N ⋯ W_1 has a meaning otherwise."""
    network = problem.network
    return network if isinstance(network, Dense) and not network.bias else None


def layers(network: Dense, vector: np.ndarray) -> Matrices:
    """(W_1, …, W_N) of a weight vector (P,), in the order of ``Problem.ravel``, of a chain of matrices."""
    sizes = [(after, before) for before, after in pairwise(network.widths)]
    ends = np.cumsum([rows * columns for rows, columns in sizes])[:-1]
    parts = np.split(np.asarray(vector, dtype=np.float64), ends)
    return tuple(part.reshape(size) for part, size in zip(parts, sizes, strict=True))


def flat(matrices: Matrices) -> np.ndarray:
    """The weight vector of layers."""
    return np.concatenate([matrix.ravel() for matrix in matrices])


def conserved(matrices: Matrices) -> np.ndarray:
    """All entries of W_{j+1}ᵀW_{j+1} − W_jW_jᵀ, j = 1, …, N − 1, one after another."""
    return np.concatenate([defect.ravel() for defect in balancedness(matrices)])


def conserved_rate(matrices: Matrices, motion: Matrices) -> np.ndarray:
    """d/dt of :func:`conserved` where the layers move with velocity ``motion``."""
    pairs = zip(pairwise(matrices), pairwise(motion), strict=True)
    return np.concatenate(
        [
            (up.T @ second + second.T @ up - down @ first.T - first @ down.T).ravel()
            for (first, second), (down, up) in pairs
        ]
    )


def square_norm(matrices: Matrices) -> float:
    """Σ_j ‖W_j‖_F²."""
    return float(sum(np.sum(matrix**2) for matrix in matrices))
