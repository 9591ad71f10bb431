r"""Dimensions of the critical set of a deep linear net.

The critical points that have learnt one 𝒮 are a finite union of orbits, one a pattern (see :mod:`strata`), of a Lie
group: base changes g_j in every hidden space, and (g_0, g_N) at inputs and outputs that keep W and M,

    W_1 ↦ g_1 W_1 g_0^{-1},   W_j ↦ g_j W_j g_{j−1}^{-1},   W_N ↦ g_N W_N g_{N−1}^{-1}.

An orbit is a manifold. Its dimension is the rank of the infinitesimal action (:func:`orbit_dimension`), or, by
counting maps between strings, a closed formula (:func:`pattern_dimension`), plus d_1 (d_0 − rank X) for what
W_1 does beside the span of the inputs. An orbit lies in the closure of another iff none of its path ranks is
larger (Kempken 1982, for nilpotent representations of a cycle), so that the dimension of the critical set at a
point, :func:`local_dimension`, is a largest one among finitely many. The kernel of the Hessian is never
smaller. Where they are equal, the critical set is a manifold there with the kernel as its tangent space: it
lies in a manifold of the kernel's dimension, and an analytic subset of full dimension is all of it.

:func:`seen_dimension` knows nothing of this: it counts the directions in which polished neighbours lie.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradlab.analysis.landscape.potential import Landscape, Matrix, of_problem
from gradlab.analysis.landscape.search import approach
from gradlab.analysis.landscape.strata import (
    Pattern,
    _checked,
    end_algebra,
    fits,
    pattern_of,
    patterns,
    trivial_pattern,
)

#: Singular values of an action count as non-zero above this share of the largest; points are exact to 1e-12.
CUT = 1e-8
#: A rank is decided if the singular values on either side of it differ by this factor.
GAP = 1e2
#: Singular values are distinct where neighbours differ by this share of the largest.
DISTINCT = 1e-6
#: Patterns of a stratum that are gone through at most.
MOST = 20_000


class Dimension(NamedTuple):
    """A dimension, and the ratio of singular values across the cut (∞ if none is below), which decides it."""

    value: int
    gap: float

    @property
    def decided(self) -> bool:
        return self.gap >= GAP


def shallow_dimension(landscape: Landscape, learnt: Sequence[int]) -> int:
    """The dimension of the critical manifold of 𝒮 with two layers, in closed form.

    2 r d_1 − r² + (d_1 − r)(null directions) + d_1 (d_0 − rank X): W_2 = [U_𝒮 0] g, W_1 = g^{-1} [S V_𝒮ᵀ; K],
    K free on the inputs without target (or the transpose, for outputs without target).

    Raises
    ------
    ValueError
        For other than two layers, and where inputs *and* outputs without target exist and r < d_1: there the
        critical set crosses itself.
    """
    r, width = len(_checked(landscape, learnt)), landscape.widths[1]
    known = len(landscape.singular_values)
    ins, outs = landscape.rank - known, landscape.widths[-1] - known
    if landscape.depth != 2:
        raise ValueError(f"the closed form is that of two layers, not {landscape.depth}; use local_dimension")
    if ins and outs and r < width:
        raise ValueError("YX⁺X has no full rank: the critical set is no manifold; use local_dimension")
    beside = width * (landscape.widths[0] - landscape.rank)
    return 2 * r * width - r * r + (width - r) * (ins + outs) + beside


def orbit_dimension(landscape: Landscape, layers: Sequence[Matrix]) -> Dimension:
    """The dimension of the orbit of a critical point: a lower bound of that of the critical set.

    Assumed, unchecked: the point is critical to rounding; the singular values of YX⁺X are distinct.
    """
    depth, known = landscape.depth, len(landscape.singular_values)
    first = landscape.reduced(layers[0]) @ landscape.right
    inner = [first, *layers[1:-1], landscape.left.T @ layers[-1]]
    product = inner[0]
    for layer in inner[1:]:
        product = layer @ product
    learnt = [i for i in range(known) if product[i, i] > 0.5 * landscape.singular_values[i]]
    columns = [
        _column(inner, j, row, col)
        for j in range(1, depth)
        for row in range(landscape.widths[j])
        for col in range(landscape.widths[j])
    ]
    ins, outs = landscape.rank, landscape.widths[-1]
    for basis in end_algebra(landscape, learnt):
        moves = [np.zeros_like(layer) for layer in inner]
        moves[0] = moves[0] - inner[0] @ basis[: ins**2].reshape(ins, ins)
        moves[-1] = moves[-1] + basis[ins**2 :].reshape(outs, outs) @ inner[-1]
        columns.append(np.concatenate([move.ravel() for move in moves]))
    found = _rank(np.linalg.svd(np.stack(columns, axis=1), compute_uv=False), CUT)
    beside = landscape.widths[1] * (landscape.widths[0] - landscape.rank)
    return Dimension(found.value + beside, found.gap)


def _column(inner: Sequence[Matrix], j: int, row: int, col: int) -> np.ndarray:
    """What the base change 1 + ε e_row e_colᵀ at vertex j does to the layers."""
    moves = [np.zeros_like(layer) for layer in inner]
    moves[j - 1][row] = inner[j - 1][col]
    moves[j][:, col] = -inner[j][:, row]
    return np.concatenate([move.ravel() for move in moves])


def _rank(values: np.ndarray, cut: float) -> Dimension:
    largest = float(values.max(initial=0.0))
    if largest == 0.0:
        return Dimension(0, np.inf)
    kept = int(np.sum(values > cut * largest))
    below = float(values[kept]) if kept < len(values) else 0.0
    # values below rounding of the largest are no sharper than that
    below = max(below, np.finfo(float).eps * largest) if kept < len(values) else 0.0
    return Dimension(kept, float(values[kept - 1]) / below if below else np.inf)


def _maps(one: tuple[int, int], other: tuple[int, int], cycle: int) -> bool:
    """Whether there is a non-zero map between two strings: a beginning of the one is an end of the other."""
    length = (other[0] + other[1] - 1 - one[0]) % cycle + 1
    return length <= min(one[1], other[1])


def pattern_dimension(landscape: Landscape, learnt: Sequence[int], pattern: Pattern) -> int:
    """The dimension of the orbit of all critical points of 𝒮 with a pattern, in closed form.

    (N − 1) r² + 2r Σ_j f_j for what is learnt and the splitting of the hidden spaces, f_j = d_j − r;
    Σ_{j=0}^{N} f_j² − h − m (f_0 + f_N − m) for the strings, h the number of pairs of strings with a map from
    the first to the second (the dimension of the endomorphisms), m the singular values not learnt; d_1 (d_0 −
    rank X) beside the inputs.
    """
    subset, depth = _checked(landscape, learnt), landscape.depth
    if not fits(landscape, subset, pattern):
        raise ValueError(f"{pattern} is no pattern of stratum {subset} in widths {landscape.widths}")
    r, pairs = len(subset), len(pattern.pairs)
    left = [landscape.rank - r, *(width - r for width in landscape.widths[1:])]
    strings = Counter(pattern.strings(landscape, subset))
    maps = sum(
        count * times
        for one, count in strings.items()
        for other, times in strings.items()
        if _maps(one, other, depth + 1)
    )
    learning = (depth - 1) * r * r + 2 * r * sum(left[1:-1])
    moving = sum(f * f for f in left) - maps - pairs * (left[0] + left[-1] - pairs)
    return learning + moving + landscape.widths[1] * (landscape.widths[0] - landscape.rank)


def _path_ranks(landscape: Landscape, learnt: Sequence[int], pattern: Pattern) -> np.ndarray:
    """How many strings contain each path of 1 to N − 1 arrows, from each vertex of the cycle."""
    depth = landscape.depth
    table = np.zeros((depth + 1, depth), dtype=int)
    for start, size in pattern.strings(landscape, learnt):
        for place in range(size):
            table[(start + place) % (depth + 1), : size - place] += 1
    return table[:, 1:]


def local_dimension(landscape: Landscape, learnt: Sequence[int], pattern: Pattern | None = None) -> int:
    """The dimension of the critical set at the points of 𝒮 with a pattern (trivial if None): exact.

    The largest dimension of the patterns of 𝒮 whose path ranks are nowhere smaller.
    """
    subset = _checked(landscape, learnt)
    pattern = trivial_pattern(landscape, subset) if pattern is None else pattern
    own = _path_ranks(landscape, subset, pattern)
    tables, dimensions = _families(landscape, len(subset))
    return int(dimensions[(tables >= own).all(axis=(1, 2))].max())


def critical_dimension(problem: Any, vector: Any) -> int | None:
    """The dimension of the critical set at an equilibrium of a problem, where theory knows it: exact.

    None for other than deep linear nets under the square loss without decay, for equal singular values of YX⁺X, where
    ranks at the point are unclear, and beyond :data:`MOST` patterns.
    """
    landscape = of_problem(problem)
    if landscape is None or not len(sigma := landscape.singular_values):
        return None
    if np.min(-np.diff(sigma), initial=np.inf) <= DISTINCT * sigma[0]:
        return None
    try:
        learnt, pattern = pattern_of(landscape, landscape.layers(vector))
    except ValueError:
        return None
    return local_dimension(landscape, learnt, pattern) if _few(landscape, len(learnt)) else None


def _few(landscape: Landscape, rank: int) -> bool:
    """Whether a stratum of this rank surely has no more than MOST patterns."""
    depth, known = landscape.depth, len(landscape.singular_values)
    kinds = (
        (depth * (depth - 1) // 2, known - rank),
        (depth, landscape.widths[-1] - known),
        (depth, landscape.rank - known),
    )
    hidden = (max(landscape.widths) - rank + 1) ** ((depth - 1) * (depth - 2) // 2)
    return math.prod(math.comb(many + times - 1, times) for many, times in kinds) * hidden <= MOST


@lru_cache(maxsize=64)
def _families(landscape: Landscape, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Path ranks and dimensions of all patterns of strata of a rank, whatever singular values are learnt."""
    subset = tuple(range(rank))
    every = list(patterns(landscape, subset))
    tables = np.stack([_path_ranks(landscape, subset, one) for one in every])
    return tables, np.array([pattern_dimension(landscape, subset, one) for one in every])


def _neighbours(
    landscape: Landscape, layers: Sequence[Matrix], rng: np.random.Generator, radius: float, samples: int
) -> list[tuple[np.ndarray, tuple[Matrix, ...]]]:
    """Polished random neighbours: their displacements and layers; those that went elsewhere are left out."""
    start = landscape.flat(layers)
    reach = radius * max(1.0, float(np.linalg.norm(start)))
    kept = []
    for _ in range(samples):
        direction = rng.standard_normal(start.size)
        found = approach(landscape, landscape.layers(start + reach * direction / np.linalg.norm(direction)))
        way = landscape.flat(found.layers) - start
        if found.converged and np.linalg.norm(way) <= 2.0 * reach:
            kept.append((way, found.layers))
    return kept


def seen_dimension(
    landscape: Landscape,
    layers: Sequence[Matrix],
    rng: np.random.Generator,
    radius: float = 1e-5,
) -> Dimension:
    """The number of directions in which polished random neighbours of a critical point lie.

    P + 2 neighbours at distance ``radius`` (relative); their displacements have singular values of the order of the
    radius along a tangent space of the critical set and of its square across it. The cut is the geometric
    middle; the gap says whether there is anything between. Where the critical set crosses itself this is the
    span of its branches.
    """
    ways = [way for way, _ in _neighbours(landscape, layers, rng, radius, landscape.size + 2)]
    if len(ways) < landscape.size:
        return Dimension(0, 0.0)
    reach = radius * max(1.0, float(np.linalg.norm(landscape.flat(layers))))
    values = np.linalg.svd(np.stack(ways) / reach, compute_uv=False)
    kept = int(np.sum(values > np.sqrt(radius)))
    above = float(values[kept - 1]) if kept else 1.0
    below = float(values[kept]) if kept < len(values) else 0.0
    return Dimension(kept, above / below if below else np.inf)
