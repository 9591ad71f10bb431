r"""The Hessian at critical points of deep linear nets: when an eigenvalue is negative, inertia, exact spectra.

With A_i = W_N ⋯ W_{i+1}, B_j = W_{j−1} ⋯ W_1, Z_{ij} = W_{i−1} ⋯ W_{j+1} and r = rank W, the Hessian at a critical
point has a negative eigenvalue iff

    ‖M̂‖ > s_r(Ŵ) > 0    (a larger singular value is left than one that is learnt), or
    B_j Mᵀ A_i ≠ 0 and rank Z_{ij} > r for some i > j.

The derivation (docs/notes/chitour.landscape.md) needs no rank of X or Y. The pair (N, 1) gives the sufficient
condition of Chitour, Liao, Couillet: M ≠ 0 and r_Z = rank W_{N−1} ⋯ W_2 > r.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.analysis.landscape.potential import EPS, Landscape, Matrix, of_problem
from gradlab.analysis.landscape.strata import _checked, pattern_of, ranks, sizes, trivial_pattern


def hessian_values(landscape: Landscape, layers: Sequence[Matrix]) -> tuple[Float[np.ndarray, " P"], float]:
    """All eigenvalues of ∇²L, ascending, and a bound of their rounding."""
    return np.linalg.eigvalsh(landscape.hessian(layers)), landscape.hessian_rounding(layers)


def inversions(landscape: Landscape, learnt: Sequence[int]) -> int:
    """Pairs of a learnt and a larger unlearnt singular value: |{(s, i) : s ∈ 𝒮, i ∉ 𝒮, σ_i > σ_s}|."""
    subset, sigma = _checked(landscape, learnt), landscape.singular_values
    left = [i for i in range(len(sigma)) if i not in subset]
    return sum(bool(_above(sigma, i, s)) for s in subset for i in left)


def _above(sigma: np.ndarray, i: int, s: int) -> bool:
    """σ_i > σ_s beyond their rounding."""
    return bool(sigma[i] - sigma[s] > len(sigma) * EPS * sigma[0])


def is_strict(landscape: Landscape, layers: Sequence[Matrix], tolerance: float = 1e-9) -> bool:
    """Whether theory says that ∇²L has a negative eigenvalue at a critical point; ranks and zeros to ``tolerance``.

    Assumed, unchecked: the point is critical to rounding.
    """
    depth = landscape.depth
    wide = landscape.reduced(layers[0])
    product = landscape.path((wide, *layers[1:]), 1, depth) @ wide
    target = landscape.left[:, : len(landscape.singular_values)] * landscape.singular_values
    target = target @ landscape.right[:, : len(landscape.singular_values)].T
    scale = float(np.linalg.norm(target, 2)) if len(landscape.singular_values) else 1.0
    learnt = np.linalg.svd(product, compute_uv=False)
    rank = int(np.sum(learnt > tolerance * scale))
    largest = float(np.linalg.norm(target - product, 2))
    if largest <= tolerance * scale:
        return False
    if rank and largest > learnt[rank - 1] + tolerance * scale:
        return True
    moment = landscape.residual(layers).T
    size = float(np.linalg.norm(moment, 2))
    for i in range(2, depth + 1):
        for j in range(1, i):
            above, below = landscape.path(layers, i, depth), landscape.path(layers, 0, j - 1)
            reach = np.prod([*sizes(layers)[i:], *sizes(layers)[: j - 1]])
            around = float(np.linalg.norm(below @ moment @ above, 2))
            if around > tolerance * size * reach and ranks(landscape, layers, j, i - 1, tolerance) > rank:
                return True
    return False


def balanced_inertia(landscape: Landscape, learnt: Sequence[int]) -> tuple[int, int, int]:
    """(n₋, n₀, n₊) at points of the trivial pattern (W′ = 0), any data.

    Per pair (s, t) learnt: one +. Per s learnt and i not: one +, and the sign of σ_s − σ_i. Per s and direction
    without target at either end: one +. With two layers besides d_1 − r of either sign per i not learnt. All
    else zero.
    """
    subset, sigma = _checked(landscape, learnt), landscape.singular_values
    known, r = len(sigma), len(subset)
    left = [i for i in range(known) if i not in subset]
    down = inversions(landscape, subset)
    up = sum(_above(sigma, s, i) for s in subset for i in left)
    positive = r * r + r * len(left) + up + r * (landscape.rank + landscape.widths[-1] - 2 * known)
    both = len(left) * (landscape.widths[1] - r) if landscape.depth == 2 else 0
    negative = down + both
    positive += both
    return negative, landscape.size - negative - positive, positive


def known_inertia(problem: Any, vector: Any) -> tuple[int, int, int] | None:
    """(n₋, n₀, n₊) at an equilibrium of a deep linear net under the square loss, where theory counts them: exact.

    None for other problems, other patterns than the trivial one, and where ranks at the point are unclear.
    """
    landscape = of_problem(problem)
    if landscape is None or not len(landscape.singular_values):
        return None
    try:
        learnt, pattern = pattern_of(landscape, landscape.layers(vector))
        if pattern != trivial_pattern(landscape, learnt):
            return None
        return balanced_inertia(landscape, learnt)
    except ValueError:
        return None


def balanced_spectrum(landscape: Landscape, learnt: Sequence[int]) -> Float[np.ndarray, " P"]:
    """All eigenvalues of ∇²L at balanced points of 𝒮 for XXᵀ = 1, ascending, in closed form; N layers.

    2a Σ_j σ_s^{2(N−j)/N} σ_t^{2(j−1)/N} for s, t learnt; 2a σ_s^{(N−2)/N}(σ_s ± σ_i) for s learnt and i not;
    2a σ_s^{2(N−1)/N} for s and each direction without target; ± 2a σ_i, d_1 − r times, for i not learnt if N =
    2; zero otherwise. Raises ValueError where XXᵀ is not the identity.
    """
    second = landscape.inputs @ landscape.inputs.T
    if np.linalg.norm(second - np.eye(len(second))) > 1e-10:
        raise ValueError(
            "the closed spectrum is that of inputs with XXᵀ = 1; use balanced_inertia for others"
        )
    subset, sigma, N = _checked(landscape, learnt), landscape.singular_values, landscape.depth
    left = [i for i in range(len(sigma)) if i not in subset]
    null = landscape.rank + landscape.widths[-1] - 2 * len(sigma)
    values: list[float] = []
    for s in subset:
        for t in subset:
            powers = [sigma[s] ** (2 * (N - j) / N) * sigma[t] ** (2 * (j - 1) / N) for j in range(1, N + 1)]
            values.append(sum(powers))
        for i in left:
            values += [sigma[s] ** ((N - 2) / N) * (sigma[s] + sign * sigma[i]) for sign in (1.0, -1.0)]
        values += [sigma[s] ** (2 * (N - 1) / N)] * null
    if N == 2:
        for i in left:
            values += [sigma[i], -sigma[i]] * (landscape.widths[1] - len(subset))
    values += [0.0] * (landscape.size - len(values))
    return 2.0 * landscape.factor * np.sort(values)


def origin_spectrum(landscape: Landscape) -> Float[np.ndarray, " P"]:
    """All eigenvalues of ∇²L at W = 0, ascending: ± 2a σ_i(YXᵀ), d_1 times each, for two layers; zero for more."""
    values = np.zeros(landscape.size)
    if landscape.depth == 2:
        cross = np.linalg.svd(landscape.targets @ landscape.inputs.T, compute_uv=False)
        signed = np.repeat(np.concatenate([cross, -cross]), landscape.widths[1])
        values[: len(signed)] = 2.0 * landscape.factor * signed
    return np.sort(values)
