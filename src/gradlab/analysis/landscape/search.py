"""Critical points of deep linear nets found without theory: roots of ∇L from any start, and what is around."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gradlab.analysis.landscape.potential import EPS, Landscape, Layers, Matrix
from gradlab.observe.local import values_and_gradients
from gradlab.problem.problem import Problem

#: Steps at most: quadratic convergence takes about twenty from afar, degenerate saddles some hundreds.
STEPS = 400
#: Points of one evaluation by automatic differentiation: one program serves all numbers of points.
_ROWS = 16
#: Points count as critical below so many times the bound of the rounding of ∇L: two evaluations that differ by it.
_CRITICAL = 2.0


class Found(NamedTuple):
    """Where the search for ∇L = 0 ended.

    layers : the point. gradient : ‖∇L‖. rounding : a bound of its rounding, there or at layers of norm
        ‖Y‖^{1/N}, whichever is larger (at W = 0 alone nothing would be rounding). converged : gradient ≤ rounding.
    value : L. value_error : ‖∇L‖ ‖W‖, the change of L on a way as long as the weights, and rounding.
    """

    layers: Layers
    gradient: float
    rounding: float
    converged: bool
    value: float
    value_error: float
    steps: int


def approach(landscape: Landscape, layers: Sequence[Matrix], steps: int = STEPS) -> Found:
    """A critical point of any index near a start, by Levenberg–Marquardt on ∇L = 0 with the exact Hessian.

        d = −(H² + μ)⁻¹ H ∇L,   μ = κ ‖∇L‖² / (1 + ‖W‖)²,   κ adapted,

    which decreases ‖∇L‖, not L: saddles attract like minima. It may end at a point where ‖∇L‖ has a least
    value that is not 0; ``converged`` says so. Small nets only: one eigen-decomposition of the dense Hessian a
    step.
    """
    vector, kappa, taken = landscape.flat(layers), 1.0, 0
    gradient = landscape.gradient(landscape.layers(vector))
    norm = float(np.linalg.norm(gradient))
    while taken < steps:
        at = landscape.layers(vector)
        if norm <= 0.01 * _level(landscape, at):
            break
        values, vectors = np.linalg.eigh(landscape.hessian(at))
        largest = float(np.abs(values).max(initial=0.0))
        kept = np.abs(values) > len(values) * EPS * largest
        along = vectors.T @ gradient
        moved = False
        while kappa < 1e16 and kept.any():
            mu = kappa * (norm / (1.0 + float(np.linalg.norm(vector)))) ** 2
            step = -vectors[:, kept] @ (values[kept] * along[kept] / (values[kept] ** 2 + mu))
            trial = vector + step
            there = landscape.gradient(landscape.layers(trial))
            size = float(np.linalg.norm(there))
            if size < norm:
                moved = True
                break
            kappa *= 10.0
        if not moved:
            break
        kappa = max(kappa * 0.1, 1e-8) if size < 0.5 * norm else kappa
        vector, gradient, norm, taken = trial, there, size, taken + 1
    return _found(landscape, vector, norm, taken)


def _level(landscape: Landscape, layers: Sequence[Matrix]) -> float:
    unit = float(np.linalg.norm(landscape.singular_values)) ** (1.0 / landscape.depth)
    usual = [unit * np.eye(*layer.shape) / np.sqrt(min(layer.shape)) for layer in layers]
    return max(landscape.gradient_rounding(layers), landscape.gradient_rounding(usual))


def _found(landscape: Landscape, vector: np.ndarray, norm: float, taken: int) -> Found:
    layers = landscape.layers(vector)
    rounding = _level(landscape, layers)
    error = norm * float(np.linalg.norm(vector)) + landscape.value_rounding(layers)
    return Found(layers, norm, rounding, norm <= rounding, landscape.value(layers), error, taken)


def search(
    landscape: Landscape, rng: np.random.Generator, starts: int, scales: Sequence[float] = (0.3, 1.0, 2.0)
) -> list[Found]:
    """Critical points found from Gaussian starts: entries of scale s σ^{1/N}, σ the root mean square singular
    value.

    ``scales`` are taken in turn; starts whose search did not converge are left out.
    """
    sigma = landscape.singular_values
    unit = float(np.sqrt(np.mean(sigma**2))) ** (1.0 / landscape.depth) if len(sigma) else 1.0
    found = []
    for number in range(starts):
        scale = scales[number % len(scales)] * unit
        widths = np.sqrt(np.asarray(landscape.widths[:-1], dtype=float))
        vector = landscape.flat(
            [
                scale * rng.standard_normal((after, before)) / width
                for after, before, width in zip(
                    landscape.widths[1:], landscape.widths[:-1], widths, strict=True
                )
            ]
        )
        one = approach(landscape, landscape.layers(vector))
        if one.converged:
            found.append(one)
    return found


def extremes(
    landscape: Landscape,
    layers: Sequence[Matrix],
    radius: float,
    rng: np.random.Generator,
    margin: float = np.inf,
    starts: int = 6,
    steps: int = 60,
) -> tuple[float, float]:
    """A low and a high value of L within this distance of a point.

    Both are values that L takes there, no bounds: a critical point with low < L < high is a saddle as far as
    this ball says, and one where none was found may still be one. Sought along the eigenvectors of the least
    and the largest eigenvalue and in random directions that leave alone what is learnt, then by steps of ∓(|H|
    + δ)⁻¹∇L among these, which leave saddles; it ends as soon as both values are farther from L than ``margin``.
    """
    centre, value = landscape.flat(layers), landscape.value(layers)
    _, vectors = np.linalg.eigh(landscape.hessian(layers))
    beside = _beside(landscape, layers)
    drawn = rng.standard_normal((starts, beside.shape[1])) @ beside.T
    directions = [vectors[:, 0], -vectors[:, 0], vectors[:, -1], -vectors[:, -1], *drawn, *(-drawn)]
    sphere = [radius * direction / float(np.linalg.norm(direction)) for direction in directions]
    seen = [landscape.value(landscape.layers(centre + way)) for way in sphere]
    low, high = min(seen), max(seen)
    for way in sphere[4 : 4 + starts]:
        if value - low <= margin:
            low = min(low, _slide(landscape, centre, 0.3 * way, beside, (1.0, value - margin), steps))
        if high - value <= margin:
            high = max(high, -_slide(landscape, centre, 0.3 * way, beside, (-1.0, -value - margin), steps))
    return low, high


def _beside(landscape: Landscape, layers: Sequence[Matrix]) -> Float[np.ndarray, "P q"]:
    """An orthonormal basis of the directions V_j = Π_j V_j Π_{j−1}, Π_j = 1 − W_j⋯W_1 W⁺ W_N⋯W_{j+1}: F_{j−1}
    → F_j.

    All directions, where there are none.
    """
    depth = landscape.depth
    inverse = np.linalg.pinv(landscape.path(layers, 0, depth), rcond=1e-9)
    rests = []
    for j in range(depth + 1):
        learnt = landscape.path(layers, 0, j) @ inverse @ landscape.path(layers, j, depth)
        rests.append(np.eye(len(learnt)) - learnt)
    columns, sizes = [], [layer.size for layer in layers]
    for j in range(depth):
        left, values, _ = np.linalg.svd(np.kron(rests[j + 1], rests[j].T))
        block = np.zeros((landscape.size, int(np.sum(values > 1e-9))))
        block[sum(sizes[:j]) : sum(sizes[: j + 1])] = left[:, : block.shape[1]]
        columns.append(block)
    basis = np.concatenate(columns, axis=1)
    return basis if basis.shape[1] else np.eye(landscape.size)


def _slide(
    landscape: Landscape,
    centre: np.ndarray,
    way: np.ndarray,
    basis: np.ndarray,
    aim: tuple[float, float],
    steps: int,
) -> float:
    """The least of sign·L on a way of saddle-free Newton steps in the ball; aim is the sign and when to stop."""
    sign, goal = aim
    radius = float(np.linalg.norm(way)) / 0.3
    least = sign * landscape.value(landscape.layers(centre + way))
    for _ in range(steps):
        layers = landscape.layers(centre + way)
        values, vectors = np.linalg.eigh(basis.T @ landscape.hessian(layers) @ basis)
        along = vectors.T @ (basis.T @ (sign * landscape.gradient(layers)))
        shift = 1e-6 * float(np.abs(values).max(initial=1e-300))
        step = -basis @ (vectors @ (along / (np.abs(values) + shift)))
        length = float(np.linalg.norm(step))
        if length == 0.0:
            break
        # a tenth of the radius at most, so that the way is seen on which L is left
        trial = way + step * min(1.0, 0.1 * radius / length)
        if np.linalg.norm(trial) > radius:
            break
        way, least = trial, min(least, sign * landscape.value(landscape.layers(centre + trial)))
        if least < goal:
            break
    return least


def critical_to_rounding(
    landscape: Landscape, problem: Problem, vectors: np.ndarray
) -> tuple[Float[np.ndarray, "points P"], Float[np.ndarray, " points"]]:
    """Of some points those that are critical to rounding, by automatic differentiation: their weights, and F."""
    if not len(vectors):
        return vectors, np.zeros(0)
    values, gradients = values_and_gradients(problem, vectors, _ROWS)
    unit = float(np.linalg.norm(landscape.singular_values)) ** (1.0 / landscape.depth)
    usual = [
        unit * np.eye(*layer.shape) / np.sqrt(min(layer.shape)) for layer in landscape.layers(vectors[0])
    ]
    least = landscape.gradient_rounding(usual)
    kept = [
        float(np.linalg.norm(gradient))
        <= _CRITICAL * max(least, landscape.gradient_rounding(landscape.layers(vector)))
        for vector, gradient in zip(vectors, gradients, strict=True)
    ]
    return vectors[kept], values[kept]
