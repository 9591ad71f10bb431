"""Coefficients of the fourth-order stabilised explicit Runge–Kutta methods, computed from their conditions.

``python -m gradlab.dynamics.solvers.rock4_table src/gradlab/dynamics/solvers/rock4.npz`` writes the table again.
The derivation is in docs/notes/rock4.md.
"""

from __future__ import annotations

import itertools
import math
import sys
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

Vector = Float[np.ndarray, "_"]

#: |R| at the left end and at the right-most ripple (docs/notes/rock4.md compares 0.95, 0.8 and 0.5).
DAMPING = 0.5
#: Stage numbers: all of them up to DENSE, then with ratios up to RATIO, to LARGEST.
SMALLEST, DENSE, RATIO, LARGEST = 5, 80, 1.03, 300
#: Guesses from which Newton's method and the continuation in s start: at s = START, (p₁, q₁, p₂, q₂, k) and (c₂, c₃).
START, UNKNOWNS, NODES = 20, (-1.8, 23.7, 13.1, 8.9, 3.6), (-0.13, 0.38)
#: The error estimate's weight of the tall tree of order four, times its density 24.
SCALE = 0.1

Tree = tuple[Any, ...]


def trees(order: int) -> list[Tree]:
    """Rooted trees with ``order`` nodes, each the sorted tuple of the subtrees at its root."""
    if order == 1:
        return [()]
    found: set[Tree] = set()
    for partition in _partitions(order - 1):
        for branches in itertools.product(*(trees(part) for part in partition)):
            found.add(tuple(sorted(branches)))
    return sorted(found)


def _partitions(total: int, largest: int | None = None) -> list[tuple[int, ...]]:
    largest = total if largest is None else largest
    if total == 0:
        return [()]
    parts = range(min(total, largest), 0, -1)
    return [(part, *rest) for part in parts for rest in _partitions(total - part, part)]


#: The 1, 1, 2, 4, 9 trees of orders one to five, smaller ones first.
TREES: list[Tree] = [tree for order in range(1, 6) for tree in trees(order)]
#: The number of them up to order 3 and up to order 4.
THIRD, FOURTH = 4, 8
_BRANCHES = [[TREES.index(branch) for branch in tree] for tree in TREES]


def nodes(tree: Tree) -> int:
    """The order of a tree: its number of nodes."""
    return 1 + sum(nodes(branch) for branch in tree)


def _density(tree: Tree) -> int:
    """γ(τ): the order times the densities of the subtrees; the exact flow has the weights 1/γ."""
    return nodes(tree) * math.prod(_density(branch) for branch in tree)


def symmetry(tree: Tree) -> int:
    """σ(τ): the number of automorphisms."""
    counts = [len(list(same)) for _, same in itertools.groupby(tree)]
    return math.prod(math.factorial(count) for count in counts) * math.prod(symmetry(b) for b in tree)


EXACT: Vector = np.array([1.0 / _density(tree) for tree in TREES])
SYMMETRY: Vector = np.array([float(symmetry(tree)) for tree in TREES])


def slope_weights(stage: Vector) -> Vector:
    """Weights of h f(g) from those of g (g(∅) = 1): the product of g over the subtrees at the root."""
    return np.array([math.prod(stage[branch] for branch in branches) for branches in _BRANCHES])


class Chain(NamedTuple):
    """The recurrence g_j = μ_j h f(g_{j−1}) + (1 + κ_j) g_{j−1} − κ_j g_{j−2}, and the factor w of degree 4.

    mu, kappa : entries 1 … s − 4. factor : w's coefficients, lowest power of z first, factor[0] = 1.
    length : R = w P is bounded on [−length, 0]. residual : of the defining conditions, in sizes of order 1.
    """

    mu: Vector
    kappa: Vector
    factor: Vector
    length: float
    residual: Vector


def _recurrence(s: int, unknowns: Vector) -> tuple[Vector, Vector]:
    """μ, κ of the polynomials orthogonal for w²/√(1 − x²), in the scaled argument Z = s² (x − a), P_j(Z = 0) = 1.

    Discrete Stieltjes procedure on s + 6 Gauss–Chebyshev nodes, exact for degrees below 2 s + 12. Everything is
    written in v = s² (1 − x), whose small values next to x = 1 keep their digits.
    """
    p1, q1, p2, q2, k = unknowns
    v = 2.0 * s * s * np.sin((np.arange(s + 6) + 0.5) * np.pi / (2 * (s + 6))) ** 2
    factor = ((v - p1) ** 2 + q1**2) * ((v - p2) ** 2 + q2**2)
    weight = (factor / factor.max()) ** 2
    before, now = np.zeros_like(v), np.ones_like(v)
    norm_before, norm, ratio = 1.0, weight.sum(), 1.0
    mu, kappa = np.empty(s - 4), np.empty(s - 4)
    for j in range(s - 4):
        squared = weight * now * now
        centre = squared @ v / norm
        beta = ratio * ratio * norm / norm_before if j else 0.0
        following = centre + k - beta / ratio
        mu[j], kappa[j] = 1.0 / following, beta / (ratio * following)
        before, now = now, ((centre - v) * now - (beta / ratio) * before) / following
        norm_before, norm, ratio = norm, weight @ (now * now), following
    return mu, kappa


def chain_polynomial(mu: Vector, kappa: Vector, z: Any, derivatives: int = 0) -> list[Any]:
    """The last polynomial of the recurrence at z, and its derivatives."""
    z = np.asarray(z, dtype=np.result_type(z, float))
    before = [np.zeros_like(z) for _ in range(derivatives + 1)]
    now = [np.ones_like(z), *before[1:]]
    for m, k in zip(mu, kappa, strict=True):
        slope = [m * (z * now[d] + (d * now[d - 1] if d else 0.0)) for d in range(derivatives + 1)]
        following = [slope[d] + (1.0 + k) * now[d] - k * before[d] for d in range(derivatives + 1)]
        before, now = now, following
    return now


def stability(mu: Vector, kappa: Vector, factor: Vector, z: Any, derivatives: int = 0) -> list[Any]:
    """R = w P at z and its derivatives (Leibniz)."""
    p = chain_polynomial(mu, kappa, z, derivatives)
    w = [
        np.polynomial.Polynomial(factor).deriv(d)(np.asarray(z, dtype=float)) for d in range(derivatives + 1)
    ]
    return [
        np.asarray(sum(math.comb(n, i) * p[i] * w[n - i] for i in range(n + 1)))
        for n in range(derivatives + 1)
    ]


def _factor(unknowns: Vector) -> Vector:
    p1, q1, p2, q2, k = unknowns
    first = np.array([(k + p1) ** 2 + q1**2, 2.0 * (k + p1), 1.0])
    second = np.array([(k + p2) ** 2 + q2**2, 2.0 * (k + p2), 1.0])
    product = np.convolve(first, second)
    return np.asarray(product / product[0])


def chain(s: int, unknowns: Vector, damping: float) -> Chain:
    """The method that belongs to the five unknowns, with the residual of its five conditions.

    Unknowns: zeros of w at x = 1 − (p ± i q)/s², and z = 0 at x = a = 1 + k/s². Conditions: R″, R‴, R⁗ over the
    powers of R′ at a are 1; |R(−ℓ)| = damping; the right-most ripple = damping.
    """
    mu, kappa = _recurrence(s, unknowns)
    factor = _factor(unknowns)
    _, *derivative = (float(d) for d in stability(mu, kappa, factor, 0.0, 4))
    scale = derivative[0]
    left = -unknowns[4] - 2.0 * s * s
    end = float(stability(mu, kappa, factor, left)[0])
    ripple = _right_most_ripple(s, mu, kappa, factor, float(unknowns[4]), end)
    orders = [derivative[n] / scale ** (n + 1) - 1.0 for n in (1, 2, 3)]
    sizes = [math.log(abs(end) / damping), math.log(abs(ripple) / damping)]
    # From Z to z = scale · Z: R(z) = 1 + z + z²/2 + …
    return Chain(mu / scale, kappa, factor / scale ** np.arange(5), -left * scale, np.array(orders + sizes))


def _right_most_ripple(s: int, mu: Vector, kappa: Vector, factor: Vector, k: float, end: float) -> float:
    """The extremum of R left of its right-most zero; R at the left end if there is none (s = 5)."""
    z = -k - 2.0 * s * s * np.sin(np.linspace(0.0, min(16.0 / s, np.pi), 400) / 2.0) ** 2
    values, slopes = stability(mu, kappa, factor, z, 1)
    first = int(np.argmax(values < 0.0))
    if values[first] >= 0.0:
        return end
    turned = slopes[first:] * slopes[first] < 0.0
    if not turned.any():
        return end
    place = z[first + int(np.argmax(turned))]
    for _ in range(5):
        _, slope, bend = (float(d) for d in stability(mu, kappa, factor, place, 2))
        place -= slope / bend
    return float(stability(mu, kappa, factor, place)[0])


def solve_chain(s: int, guess: Vector, damping: float) -> tuple[Vector, Chain]:
    """Newton's method on the five conditions, differenced Jacobian.

    Raises
    ------
    ArithmeticError
        If it does not converge.
    """
    unknowns = np.array(guess, dtype=float)
    for _ in range(25):
        residual = chain(s, unknowns, damping).residual
        steps = np.diag(1e-5 * np.maximum(1.0, np.abs(unknowns)))
        columns = [
            (chain(s, unknowns + e, damping).residual - chain(s, unknowns - e, damping).residual)
            / (2.0 * e.sum())
            for e in steps
        ]
        change = np.linalg.solve(np.stack(columns, axis=1), -residual)
        unknowns = unknowns + change
        if np.max(np.abs(change) / np.maximum(1.0, np.abs(unknowns))) < 1e-8:
            return unknowns, chain(s, unknowns, damping)
    raise ArithmeticError(f"no stability polynomial of degree {s} from the guess {guess}")


def smallest_chain(damping: float) -> Chain:
    """Five stages: R = 1 + z + … + z⁴/24 + c z⁵ has one number free, which makes its local maximum the damping."""
    c, z = 0.0044, -4.1
    for _ in range(25):
        terms = z ** np.arange(5) / np.array([math.factorial(n) for n in range(5)])
        value = terms.sum() + c * z**5 - damping
        slope = terms[:4].sum() + 5.0 * c * z**4
        bend = terms[:3].sum() + 20.0 * c * z**3
        change = np.linalg.solve([[z**5, slope], [5.0 * z**4, bend]], [-value, -slope])
        c, z = c + float(change[0]), z + float(change[1])
    whole = np.polynomial.Polynomial([1.0, 1.0, 1.0 / 2.0, 1.0 / 6.0, 1.0 / 24.0, c])
    zeros = whole.roots()
    real = float(zeros[np.argmin(np.abs(zeros.imag))].real)
    # Deflation from the lowest power upwards: whole = (1 − z/real) · factor.
    factor = np.zeros(5)
    for n in range(5):
        factor[n] = whole.coef[n] + (factor[n - 1] / real if n else 0.0)
    ends = (whole + damping).roots()
    length = -float(ends[np.argmin(np.abs(ends.imag))].real)
    return Chain(np.array([-1.0 / real]), np.zeros(1), factor, length, np.array([value, slope]))


def chain_weights(mu: Vector, kappa: Vector) -> list[Vector]:
    """B-series weights, on TREES, of the recurrence stages g_0 … g_{s−4}."""
    stages = [np.zeros(len(TREES))]
    for j, (m, k) in enumerate(zip(mu, kappa, strict=True)):
        before = stages[j - 1] if j else stages[0]
        stages.append(m * slope_weights(stages[j]) + (1.0 + k) * stages[j] - k * before)
    return stages


def compose(start: Vector, nodes_: Vector, matrix: np.ndarray, weights: Vector) -> tuple[Vector, np.ndarray]:
    """Weights of the finishing stages put behind a method with the weights ``start``, and of their slopes."""
    slopes = np.zeros((0, len(TREES)))
    for i, node in enumerate(nodes_):
        row = np.append(node - matrix[i, 1:i].sum(), matrix[i, 1:i])[:i]
        slopes = np.vstack([slopes, slope_weights(start + row @ slopes)])
    return start + weights @ slopes, slopes


class Finish(NamedTuple):
    """The four finishing stages: nodes c (c₁ = 0), matrix a, weights b, and the error's combination.

    The error is Σ_i error_i h f(K_i) + error_5 (g_{s−4} − y). residual : order-5 coefficients over σ, norm.
    """

    nodes: Vector
    matrix: np.ndarray
    weights: Vector
    error: Vector
    residual: float


def _targets(p: Vector) -> Vector:
    """Σb, Σbc, Σbc², Σbc³, bAc, Σbc(Ac), bAc², bAAc that make the composed method exact to order 4."""
    e = EXACT - p
    p1, p2, p11, p21 = p[0], p[1], p[2], p[3]
    b0 = e[0]
    b1 = e[1] - p1 * b0
    b2 = e[2] - p1**2 * b0 - 2.0 * p1 * b1
    b3 = e[4] - p1**3 * b0 - 3.0 * p1**2 * b1 - 3.0 * p1 * b2
    ba = e[3] - p2 * b0 - p1 * b1
    bca = e[5] - p1 * p2 * b0 - (p1**2 + p2) * b1 - p1 * (b2 + ba)
    bac = e[6] - p11 * b0 - p1**2 * b1 - 2.0 * p1 * ba
    baa = e[7] - p21 * b0 - p2 * b1 - p1 * ba
    return np.array([b0, b1, b2, b3, ba, bca, bac, baa])


def _finish(p: Vector, c2: float, c3: float) -> Finish:
    """The eight conditions solved for given c₂, c₃; c₄ enters the last one linearly."""
    b0, b1, b2, b3, ba, bca, bac, baa = _targets(p)
    tall = bac - c2 * ba
    c4 = (tall * bca - baa * (b3 - c2 * b2)) / (tall * ba - baa * (b2 - c2 * b1))
    c = np.array([0.0, c2, c3, c4])
    b = np.linalg.solve(np.vander(c, 4, increasing=True).T, [b0, b1, b2, b3])
    inner3 = (bca - c4 * ba) / (b[2] * (c3 - c4))
    inner4 = (bca - c3 * ba) / (b[3] * (c4 - c3))
    a = np.zeros((4, 4))
    a[2, 1] = inner3 / c2
    a[3, 2] = (bac - c2 * ba) / (b[3] * c3 * (c3 - c2))
    a[3, 1] = (inner4 - a[3, 2] * c3) / c2
    a[:, 0] = c - a.sum(axis=1)
    composed, slopes = compose(p, c, a, b)
    rows = np.column_stack([slopes[:, :THIRD].T, p[:THIRD]])
    kernel = np.linalg.svd(rows)[2][-1]
    tallest = slopes[:, FOURTH - 1] @ kernel[:4] + p[FOURTH - 1] * kernel[4]
    return Finish(
        c,
        a,
        b,
        SCALE * kernel / (24.0 * tallest),
        float(np.linalg.norm(((composed - EXACT) / SYMMETRY)[FOURTH:])),
    )


def solve_finish(p: Vector, guess: tuple[float, float]) -> tuple[tuple[float, float], Finish]:
    """c₂, c₃ of the least order-5 residual near the guess: pattern search (the minimum is flat, its value counts)."""
    place, best, step = guess, _finish(p, *guess), 0.02
    while step > 1e-7:
        around = [(place[0] + dx * step, place[1] + dy * step) for dx, dy in _COMPASS]
        trials = [(trial.residual, at, trial) for at in around for trial in [_finish(p, *at)]]
        least = min(trials, key=lambda item: item[0])
        if least[0] < best.residual:
            place, best = least[1], least[2]
        else:
            step *= 0.5
    return place, best


_COMPASS = [(x, y) for x in (-1.0, 0.0, 1.0) for y in (-1.0, 0.0, 1.0) if x or y]


def stage_numbers() -> list[int]:
    """All from SMALLEST to DENSE, then each at most RATIO times the one before, to LARGEST."""
    numbers = list(range(SMALLEST, DENSE + 1))
    while numbers[-1] < LARGEST:
        numbers.append(min(LARGEST, int(numbers[-1] * RATIO)))
    return numbers


def methods(numbers: list[int], damping: float = DAMPING) -> dict[int, tuple[Chain, Finish]]:
    """The methods with these stage numbers, by continuation in s from START downwards and upwards."""
    found: dict[int, tuple[Chain, Finish]] = {}
    down = range(START, min(START, *numbers) - 1, -1)
    up = sorted({*range(START, min(40, max(numbers)) + 1), *numbers})
    for order in (down, [s for s in up if s >= START]):
        unknowns, place = np.array(UNKNOWNS), NODES
        for s in order:
            if s == SMALLEST:
                links = smallest_chain(damping)
            else:
                unknowns, links = solve_chain(s, unknowns, damping)
            place, finish = solve_finish(chain_weights(links.mu, links.kappa)[-1], place)
            found[s] = (links, finish)
    return {s: found[s] for s in sorted(numbers)}


def table(found: dict[int, tuple[Chain, Finish]]) -> dict[str, np.ndarray]:
    """The arrays that :mod:`rock4` reads: rows a stage number; μ, κ end to end, ``start`` where each begins."""
    chains = [links for links, _ in found.values()]
    finishes = [finish for _, finish in found.values()]
    ends = np.cumsum([len(links.mu) for links in chains])
    last = [1.0 - chain_weights(links.mu, links.kappa)[-1][0] for links in chains]
    return {
        "stages": np.array(list(found), dtype=np.int64),
        "lengths": np.array([links.length for links in chains]),
        "start": np.array([0, *ends[:-1]], dtype=np.int64),
        "mu": np.concatenate([links.mu for links in chains]),
        "kappa": np.concatenate([links.kappa for links in chains]),
        "matrix": np.stack([np.vstack([finish.matrix, finish.weights]) for finish in finishes]),
        "nodes": np.stack([np.append(f.nodes, c) for f, c in zip(finishes, last, strict=True)]),
        "error": np.stack([finish.error for finish in finishes]),
    }


def main(arguments: list[str]) -> None:
    """Compute everything and write it to the path given.

    Raises
    ------
    ValueError
        If not exactly one path is given.
    """
    if len(arguments) != 1:
        raise ValueError(
            f"got {len(arguments)} arguments, expected the path of the table to write, rock4.npz"
        )
    np.savez_compressed(arguments[0], **table(methods(stage_numbers())))  # type: ignore[arg-type]  # NumPy stubs: allow_pickle


if __name__ == "__main__":
    main(sys.argv[1:])
