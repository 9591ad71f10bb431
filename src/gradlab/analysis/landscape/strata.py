r"""Strata of the critical set of a deep linear net, and critical points of each, exact to rounding.

At a critical point W = Π_𝒮 Ŷ (in the reduced form of :mod:`potential`): the singular values in a subset 𝒮 are
learnt, |𝒮| = r ≤ all widths, and L = a (‖Y‖² − Σ_{i∈𝒮} σ_i²). Every hidden space splits, R^{d_j} = E_j ⊕ F_j,
E_j the r-dimensional image of what is learnt, and every layer is diag(learnt, W′_j). What is left, the maps
W′_j : F_{j−1} → F_j with F_0 = V_𝒮^⊥, F_N = U_𝒮^⊥, and M′ᵀ : F_N → F_0, form a cycle of N + 1 arrows in which
every path of N arrows is zero. Such a representation is a direct sum of strings: each basis vector is mapped
to the next one along the cycle, at most N − 1 times. A :class:`Pattern` says which strings there are, hence
all ranks of partial products; the groups of base changes in the hidden spaces and of those at the ends that
keep W and M act on what belongs to one pattern, transitively.

Derivation: docs/notes/chitour.landscape.md. Compare Achour, Malgouyres, Gerchinovitz 2024 (arXiv 2107.13289), who
parametrise critical points for XXᵀ and Y of full rank, and Baldi and Hornik 1989 for two layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations, combinations_with_replacement
from math import comb
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.analysis.landscape.potential import Landscape, Layers, Matrix

#: Subsets that :func:`critical_values` will list.
MOST = 1 << 16


@dataclass(frozen=True)
class Pattern:
    """The strings of what is not learnt; vertices 0 (inputs), 1, …, N − 1 (hidden), N (outputs).

    Attributes
    ----------
    pairs : (s, e) for each singular value not learnt, in descending order: its left vector is reached from
        vertex s, its right vector reaches vertex e, s − e ≥ 2; (N, 0) reaches nothing.
    outputs : s ∈ 1, …, N for each output direction in which there is no target.
    inputs : e ∈ 0, …, N − 1 for each input direction in which there is no target.
    hidden : (s, e), 1 ≤ s < e ≤ N − 1, for strings inside the hidden layers.
    """

    pairs: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...] = ()
    inputs: tuple[int, ...] = ()
    hidden: tuple[tuple[int, int], ...] = ()

    def segments(self, depth: int) -> list[tuple[int, int]]:
        """The intervals of vertices that strings run through without passing from outputs to inputs."""
        ends = [(s, depth) for s, _ in self.pairs] + [(0, e) for _, e in self.pairs]
        return [*ends, *((s, depth) for s in self.outputs), *((0, e) for e in self.inputs), *self.hidden]

    def strings(self, landscape: Landscape, learnt: Sequence[int]) -> list[tuple[int, int]]:
        """(first vertex, number of vertices) of every string along the cycle 0, …, N, 0, …, single ones too."""
        depth = landscape.depth
        found = [(s, depth - s + 1 + e + 1) for s, e in self.pairs]
        found += [(s, depth - s + 1) for s in self.outputs] + [(0, e + 1) for e in self.inputs]
        found += [(s, e - s + 1) for s, e in self.hidden]
        for j in range(1, depth):
            room = landscape.widths[j] - len(learnt)
            used = sum(s <= j <= e for s, e in self.segments(depth))
            found += [(j, 1)] * (room - used)
        return found


def _counts(landscape: Landscape, learnt: Sequence[int]) -> tuple[int, int, int]:
    """How many pairs, outputs and inputs a pattern has."""
    known = len(landscape.singular_values)
    return known - len(learnt), landscape.widths[-1] - known, landscape.rank - known


def _checked(landscape: Landscape, learnt: Sequence[int]) -> tuple[int, ...]:
    subset = tuple(sorted(int(i) for i in learnt))
    known = len(landscape.singular_values)
    if len(set(subset)) != len(subset) or (subset and not (subset[0] >= 0 and subset[-1] < known)):
        raise ValueError(
            f"learnt is {tuple(learnt)}; expected distinct numbers of singular values, 0 to {known - 1}"
        )
    if len(subset) > min(landscape.widths):
        raise ValueError(
            f"{len(subset)} singular values do not fit through widths {landscape.widths}; learn fewer"
        )
    return subset


def strata(landscape: Landscape) -> Iterator[tuple[int, ...]]:
    """All subsets 𝒮 of the non-zero singular values (numbers from 0, the largest) with |𝒮| ≤ every width."""
    known = len(landscape.singular_values)
    for count in range(min(known, *landscape.widths) + 1):
        yield from combinations(range(known), count)


def value_of(landscape: Landscape, learnt: Sequence[int]) -> float:
    """L at critical points that have learnt 𝒮: a (‖Y − YX⁺X‖² + Σ_{i∉𝒮} σ_i²)."""
    kept = np.delete(landscape.singular_values, list(_checked(landscape, learnt)))
    return float(landscape.factor * (landscape.floor + np.sum(kept**2)))


def critical_values(landscape: Landscape) -> Float[np.ndarray, " subsets"]:
    """All critical values, one for each subset, ascending; ValueError beyond 65 536 subsets."""
    known = len(landscape.singular_values)
    if sum(comb(known, count) for count in range(min(known, *landscape.widths) + 1)) > MOST:
        raise ValueError(f"{known} singular values have more than {MOST} subsets; take fewer outputs")
    return np.sort([value_of(landscape, subset) for subset in strata(landscape)])


def trivial_pattern(landscape: Landscape, learnt: Sequence[int]) -> Pattern:
    """Nothing but what is learnt: all W′_j = 0, the ranks of balanced points."""
    pairs, outputs, inputs = _counts(landscape, learnt)
    depth = landscape.depth
    return Pattern(((depth, 0),) * pairs, (depth,) * outputs, (0,) * inputs)


def fits(landscape: Landscape, learnt: Sequence[int], pattern: Pattern) -> bool:
    """Whether the pattern is one of this stratum: its numbers, s − e ≥ 2, and room in every hidden layer."""
    depth, counts = landscape.depth, _counts(landscape, learnt)
    if (len(pattern.pairs), len(pattern.outputs), len(pattern.inputs)) != counts:
        return False
    proper = (
        all(1 <= s <= depth and 0 <= e < depth and s - e >= 2 for s, e in pattern.pairs)
        and all(1 <= s <= depth for s in pattern.outputs)
        and all(0 <= e < depth for e in pattern.inputs)
        and all(1 <= s < e < depth for s, e in pattern.hidden)
    )
    return proper and all(
        sum(s <= j <= e for s, e in pattern.segments(depth)) <= landscape.widths[j] - len(learnt)
        for j in range(1, depth)
    )


def random_pattern(landscape: Landscape, learnt: Sequence[int], rng: np.random.Generator) -> Pattern:
    """A random pattern of the stratum: each string drawn among those for which there is still room."""
    depth = landscape.depth
    room = np.asarray(landscape.widths) - len(learnt)
    pairs, outputs, inputs = _counts(landscape, learnt)

    def drawn(options: Sequence[tuple[tuple[int, int], ...]]) -> tuple[tuple[int, int], ...]:
        free = [
            option
            for option in options
            if all(sum(s <= j <= e for s, e in option) <= room[j] for j in range(1, depth))
        ]
        chosen = free[int(rng.integers(len(free)))]
        for s, e in chosen:
            room[max(s, 1) : min(e, depth - 1) + 1] -= 1
        return chosen

    ends = [((s, depth), (0, e)) for s in range(2, depth + 1) for e in range(s - 1)]
    of_pairs = tuple((one[0][0], one[1][1]) for one in (drawn(ends) for _ in range(pairs)))
    of_outputs = tuple(drawn([((s, depth),) for s in range(1, depth + 1)])[0][0] for _ in range(outputs))
    of_inputs = tuple(drawn([((0, e),) for e in range(depth)])[0][1] for _ in range(inputs))
    inside = [((s, e),) for s in range(1, depth) for e in range(s + 1, depth)]
    hidden = [one for _ in range(max(landscape.widths)) for one in drawn([(), *inside])]
    return Pattern(of_pairs, of_outputs, of_inputs, tuple(hidden))


def patterns(landscape: Landscape, learnt: Sequence[int]) -> Iterator[Pattern]:
    """All patterns of the stratum, up to the order of equal kinds of strings."""
    depth, (pairs, outputs, inputs) = landscape.depth, _counts(landscape, _checked(landscape, learnt))
    ends = [(s, e) for s in range(2, depth + 1) for e in range(s - 1)]
    inside = [(s, e) for s in range(1, depth) for e in range(s + 1, depth)]
    for one in combinations_with_replacement(ends, pairs):
        for two in combinations_with_replacement(range(1, depth + 1), outputs):
            for three in combinations_with_replacement(range(depth), inputs):
                pattern = Pattern(one, two, three)
                if fits(landscape, learnt, pattern):
                    yield from _with_hidden(landscape, learnt, pattern, inside)


def _with_hidden(
    landscape: Landscape, learnt: Sequence[int], pattern: Pattern, inside: Sequence[tuple[int, int]]
) -> Iterator[Pattern]:
    yield pattern
    for number, segment in enumerate(inside):
        longer = replace(pattern, hidden=(*pattern.hidden, segment))
        if fits(landscape, learnt, longer):
            yield from _with_hidden(landscape, learnt, longer, inside[number:])


def rank_of_path(landscape: Landscape, learnt: Sequence[int], pattern: Pattern, first: int, last: int) -> int:
    """The rank of W_last ⋯ W_{first+1}, the product from vertex first to vertex last."""
    if first == last:
        return landscape.widths[first]
    return len(learnt) + sum(s <= first and last <= e for s, e in pattern.segments(landscape.depth))


def sizes(layers: Sequence[Matrix]) -> list[float]:
    """Spectral norms, none below 1e-6 of the largest: what is 1e-9 of that again is rounding of the point."""
    norms = [float(np.linalg.norm(layer, 2)) for layer in layers]
    return [max(norm, 1e-6 * max(norms)) for norm in norms]


def ranks(
    landscape: Landscape, layers: Sequence[Matrix], first: int, last: int, tolerance: float = 1e-9
) -> int:
    """The rank of W_last ⋯ W_{first+1} at given layers, singular values counted above tolerance · Π :func:`sizes`."""
    product = landscape.path(layers, first, last)
    scale = float(np.prod(sizes(layers)[first:last]))
    return int(np.sum(np.linalg.svd(product, compute_uv=False) > tolerance * scale)) if scale > 0.0 else 0


def pattern_of(landscape: Landscape, layers: Sequence[Matrix]) -> tuple[tuple[int, ...], Pattern]:
    """The learnt 𝒮 and the pattern of any critical point, read from the ranks of partial products.

    Assumed, unchecked: the point is critical to rounding, the singular values of YX⁺X are distinct. Ranks count
    singular values above 1e-9 of the factors' norms.

    Raises
    ------
    ValueError
        If the ranks fit no pattern: the point is not critical, or a rank is not clear.
    """
    depth, sigma = landscape.depth, landscape.singular_values
    inner = (landscape.reduced(layers[0]) @ landscape.right, *layers[1:-1], landscape.left.T @ layers[-1])
    product = reduce(lambda whole, layer: layer @ whole, inner)
    subset = tuple(i for i in range(len(sigma)) if product[i, i] > 0.5 * sigma[i])
    back = np.zeros((landscape.rank, landscape.widths[-1]))
    for i in range(len(sigma)):
        back[i, i] = 0.0 if i in subset else sigma[i]
    cycle = (*inner, back)
    # Ŵ_1 is rounded like W_1, whose part beside the inputs may be all there is
    reach = [*sizes(inner), float(np.linalg.norm(back, 2))]
    reach[0] = max(reach[0], float(np.linalg.norm(landscape.inputs, 2)) * sizes(layers)[0])
    counts = {}
    for start in range(depth + 1):
        counts[start, 0] = [landscape.rank, *landscape.widths[1:]][start] - len(subset)
        whole, scale = np.eye(cycle[start].shape[1]), 1.0
        for length in range(1, depth):
            arrow = (start + length - 1) % (depth + 1)
            whole, scale = cycle[arrow] @ whole, scale * reach[arrow]
            values = np.linalg.svd(whole, compute_uv=False)
            through = start + length <= depth
            rank = int(np.sum(values > 1e-9 * scale)) if scale > 0.0 else 0
            counts[start, length] = rank - (len(subset) if through else 0)
    return subset, _read(landscape, subset, counts)


def _read(landscape: Landscape, subset: tuple[int, ...], counts: dict[tuple[int, int], int]) -> Pattern:
    """The pattern whose strings contain each path as often as counted."""
    depth = landscape.depth

    def contain(start: int, length: int) -> int:
        return counts.get((start % (depth + 1), length), 0)

    found: list[list[Any]] = [[], [], [], []]
    for start in range(depth + 1):
        for length in range(depth):
            times = contain(start, length) - contain(start, length + 1)
            times += contain(start - 1, length + 2) - contain(start - 1, length + 1)
            end = start + length
            if end > depth:
                found[0] += [(start, end - depth - 1)] * times
            elif end == depth:
                found[1] += [start] * times
            elif start == 0:
                found[2] += [end] * times
            elif end > start:
                found[3] += [(start, end)] * times
    pattern = Pattern(*map(tuple, found))
    if not fits(landscape, subset, pattern):
        raise ValueError(
            f"the ranks at this point fit no pattern of stratum {subset}; polish it, or its ranks are unclear"
        )
    return pattern


def balanced_point(landscape: Landscape, learnt: Sequence[int]) -> Layers:
    """The point of the stratum with W′ = 0 and, for XXᵀ = 1, balanced layers."""
    return point(landscape, learnt)


def point(
    landscape: Landscape,
    learnt: Sequence[int],
    pattern: Pattern | None = None,
    rng: np.random.Generator | None = None,
) -> Layers:
    """A critical point that has learnt 𝒮 with the ranks of a pattern; critical to rounding.

    Parameters
    ----------
    pattern : the strings of what is not learnt; trivial if None.
    rng : draws a random element of what has this pattern: base changes of condition e at most in every hidden
        space, random base changes at inputs and outputs that keep W and M, and what W_1 does beside the span of the
        inputs. Without it the strings are unit vectors.

    Raises
    ------
    ValueError
        If 𝒮 does not fit through the widths or the pattern does not fit the stratum.
    """
    subset = _checked(landscape, learnt)
    pattern = trivial_pattern(landscape, subset) if pattern is None else pattern
    if not fits(landscape, subset, pattern):
        raise ValueError(
            f"{pattern} has not the numbers or the room of stratum {subset} in widths {landscape.widths}"
        )
    layers = _in_bases(landscape, subset, pattern)
    free = None
    if rng is not None:
        layers = _moved_ends(landscape, subset, layers, rng)
        layers = _turned(landscape, layers, rng)
        free = rng.standard_normal((landscape.widths[1], landscape.widths[0]))
    layers[0] = landscape.original(layers[0] @ landscape.right.T, free)
    layers[-1] = landscape.left @ layers[-1]
    return tuple(layers)


def _in_bases(landscape: Landscape, subset: tuple[int, ...], pattern: Pattern) -> list[Matrix]:
    """Layers between singular vectors at the ends and unit vectors in hidden layers."""
    depth, sigma = landscape.depth, landscape.singular_values
    sizes = [landscape.rank, *landscape.widths[1:]]
    layers = [np.zeros((sizes[j + 1], sizes[j])) for j in range(depth)]
    for place, index in enumerate(subset):
        at = [index, *([place] * (depth - 1)), index]
        for j, layer in enumerate(layers):
            layer[at[j + 1], at[j]] = sigma[index] ** (1.0 / depth)
    unlearnt = [i for i in range(len(sigma)) if i not in subset]
    null_out = range(len(sigma), landscape.widths[-1])
    null_in = range(len(sigma), landscape.rank)
    strings = [
        *((s, depth, i) for (s, _), i in zip(pattern.pairs, unlearnt, strict=True)),
        *((0, e, i) for (_, e), i in zip(pattern.pairs, unlearnt, strict=True)),
        *((s, depth, i) for s, i in zip(pattern.outputs, null_out, strict=True)),
        *((0, e, i) for e, i in zip(pattern.inputs, null_in, strict=True)),
        *((s, e, -1) for s, e in pattern.hidden),
    ]
    used = [len(subset)] * (depth + 1)
    size = float(np.mean(sigma)) ** (1.0 / depth) if len(sigma) else 1.0
    for start, end, index in strings:
        at = []
        for vertex in range(start, end + 1):
            if vertex in (0, depth):
                at.append(index)
            else:
                at.append(used[vertex])
                used[vertex] += 1
        for step in range(end - start):
            layers[start + step][at[step + 1], at[step]] = size
    return layers


def _moved_ends(
    landscape: Landscape, subset: tuple[int, ...], layers: list[Matrix], rng: np.random.Generator
) -> list[Matrix]:
    """Base changes (g_0, g_N) of inputs and outputs with g_N W = W g_0 and Mᵀ g_N = g_0 Mᵀ, near the identity."""
    basis = end_algebra(landscape, subset)
    mixed = rng.standard_normal(len(basis)) @ basis.reshape(len(basis), -1)
    ins, outs = landscape.rank, landscape.widths[-1]
    step_in, step_out = mixed[: ins**2].reshape(ins, ins), mixed[ins**2 :].reshape(outs, outs)
    # below one half in norm: the changes are invertible, of condition 3 at most
    scale = 0.5 / max(float(np.linalg.norm(step_in, 2)), float(np.linalg.norm(step_out, 2)), 1e-300)
    change_in, change_out = np.eye(ins) + scale * step_in, np.eye(outs) + scale * step_out
    first = np.linalg.solve(change_in.T, layers[0].T).T
    return [first, *layers[1:-1], change_out @ layers[-1]]


def end_algebra(landscape: Landscape, subset: Sequence[int]) -> Float[np.ndarray, "k m"]:
    """A basis (rows) of the (X_0, X_N) with X_N W = W X_0 and Mᵀ X_N = X_0 Mᵀ, in bases of singular vectors."""
    sigma, ins, outs = landscape.singular_values, landscape.rank, landscape.widths[-1]
    learnt, left = np.zeros((outs, ins)), np.zeros((outs, ins))
    for i, value in enumerate(sigma):
        (learnt if i in subset else left)[i, i] = value / sigma[0]
    one_in, one_out = np.eye(ins), np.eye(outs)
    # row-major vec: vec(A X B) = (A ⊗ Bᵀ) vec X
    equations = np.block(
        [
            [-np.kron(learnt, one_in), np.kron(one_out, learnt.T)],
            [-np.kron(one_in, left), np.kron(left.T, one_out)],
        ]
    )
    _, values, right = np.linalg.svd(equations)
    known = int(np.sum(values > 1e-10 * max(values.max(initial=0.0), 1.0)))
    return right[known:]


def _turned(landscape: Landscape, layers: list[Matrix], rng: np.random.Generator) -> list[Matrix]:
    """A base change of condition e at most in every hidden space."""
    turned = list(layers)
    for j in range(1, landscape.depth):
        width = landscape.widths[j]
        one, other = (np.linalg.qr(rng.standard_normal((width, width)))[0] for _ in range(2))
        scales = np.exp(rng.uniform(-0.5, 0.5, width))
        turned[j - 1] = (one * scales) @ other.T @ turned[j - 1]
        turned[j] = turned[j] @ (other / scales) @ one.T
    return turned
