"""Deep linear nets: regressions, layers of given product, scale or rank, and critical points of every stratum."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from gradlab.analysis import landscape
from gradlab.analysis.landscape import Landscape, Pattern
from gradlab.analysis.linear_nets import Matrices, balanced_factors
from gradlab.claims.cases import Case, case
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

# Data -------------------------------------------------------------------------------------------------------


def linear_inputs(rng: np.random.Generator, count: int, dimension: int, kind: str = "random") -> np.ndarray:
    """X (N, d): standard normal, ``"repeated"`` (a third of the points, each several times), ``"deficient"``
    (rank ⌈min(N, d)/2⌉) or ``"identity"`` (N = d).
    """
    if kind == "identity":
        return np.eye(dimension)
    full = rng.standard_normal((count, dimension))
    if kind == "repeated":
        return full[np.arange(count) % max(1, min(count, dimension) // 2)]
    if kind == "deficient":
        rank = -(-min(count, dimension) // 2)
        return full[:, :rank] @ rng.standard_normal((rank, dimension)) / np.sqrt(rank)
    return full


def regression(
    rng: np.random.Generator, widths: Sequence[int], loss: Loss, count: int, kind: str = "random"
) -> Problem:
    """A deep linear net on targets ΦX + 0.1 · normal, with Φ standard normal over √d."""
    x = linear_inputs(rng, count, widths[0], kind)
    phi = rng.standard_normal((widths[-1], widths[0])) / np.sqrt(widths[0])
    y = x @ phi.T + 0.1 * rng.standard_normal((len(x), widths[-1]))
    return Problem(Dense.deep_linear(widths), loss, Data(x, y))


def distinct_values(rng: np.random.Generator, count: int) -> np.ndarray:
    """Distinct singular values, descending: steps between 0.3 and 0.9, the least as well."""
    return np.cumsum(rng.uniform(0.3, 0.9, count))[::-1]


def reduced(
    rng: np.random.Generator,
    widths: Sequence[int],
    turned: bool = False,
    values: np.ndarray | None = None,
    half: bool = False,
) -> Problem:
    """X = 1 and Y = (D_Y 0), or the same in random orthonormal bases."""
    sigma = distinct_values(rng, min(widths[0], widths[-1])) if values is None else values
    targets = np.zeros((widths[-1], widths[0]))
    targets[np.arange(len(sigma)), np.arange(len(sigma))] = sigma
    if turned:
        targets = rotation(rng, widths[-1]) @ targets @ rotation(rng, widths[0])
    data = Data(np.eye(widths[0]), targets.T)
    return Problem(Dense.deep_linear(tuple(widths)), Square(half=half), data)


class Reduction(NamedTuple):
    """F of a problem with X of full row rank as ‖(D_Y 0) − Ŵ‖² plus a constant, by singular value decompositions.

    With X = U S Vᵀ and YV = P (D_Y 0) Qᵀ: W_1 = Ŵ_1 Qᵀ S⁻¹ Uᵀ, W_{H+1} = P Ŵ_{H+1}, the layers between are the same.
    """

    problem: Problem
    into: np.ndarray
    out: np.ndarray
    constant: float

    def original(self, layers: Matrices) -> Matrices:
        """The layers of the given problem from those of the reduced one."""
        first, *between, last = (np.asarray(layer) for layer in layers)
        return (first @ self.into, *between, self.out @ last)

    def reduced(self, layers: Matrices) -> Matrices:
        """The layers of the reduced problem from those of the given one."""
        first, *between, last = (np.asarray(layer) for layer in layers)
        return (np.linalg.solve(self.into.T, first.T).T, *between, self.out.T @ last)


def reduction(problem: Problem) -> Reduction:
    """The reduced problem of a deep linear net under the square loss, and the way there and back."""
    x, y = np.asarray(problem.data.inputs).T, np.asarray(problem.data.targets).T
    U, s, V = np.linalg.svd(x, full_matrices=False)
    seen = y @ V.T
    P, sigma, Q = np.linalg.svd(seen)
    targets = np.zeros_like(seen)
    targets[np.arange(len(sigma)), np.arange(len(sigma))] = sigma
    made = Problem(problem.network, problem.loss, Data(np.eye(len(x)), targets.T))
    return Reduction(made, Q @ (U / s).T, P, float(np.sum(y**2) - np.sum(seen**2)))


# Layers -----------------------------------------------------------------------------------------------------


def gaussian(rng: np.random.Generator, widths: Sequence[int], scale: float) -> Matrices:
    """Independent entries N(0, scale²)."""
    return tuple(scale * rng.standard_normal((after, before)) for before, after in pairwise(widths))


def low_rank(rng: np.random.Generator, shape: tuple[int, int], rank: int, scale: float = 1.0) -> np.ndarray:
    """A random matrix of that rank with spectral norm ``scale``."""
    matrix = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    size = np.linalg.norm(matrix, 2) if rank else 0.0
    return scale * matrix / size if size else np.zeros(shape)


def rotation(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def balanced(rng: np.random.Generator, matrix: np.ndarray, widths: Sequence[int]) -> Matrices:
    """Balanced layers of a given product, in random bases of every hidden space."""
    plain = balanced_factors(matrix, widths)
    turns = [np.eye(widths[0]), *(rotation(rng, width) for width in widths[1:-1]), np.eye(widths[-1])]
    return tuple(
        after @ layer @ before.T for layer, (before, after) in zip(plain, pairwise(turns), strict=True)
    )


def recorded(problem: Problem, vectors: np.ndarray, **facts: Any) -> Case:
    """A case without dynamics: points (records, P) of one problem, each looked at for itself."""
    return case(problem, xr.Dataset({"weights": (("record", "weight"), vectors)}), **facts)


# Critical points --------------------------------------------------------------------------------------------


def landscape_of(problem: Problem) -> Landscape:
    """The landscape of a problem of these families."""
    found = landscape.of_problem(problem)
    assert found is not None  # a deep linear net under the square loss
    return found


def stratum_points(found: Landscape, rng: np.random.Generator) -> np.ndarray:
    """Critical points of every stratum, (points, P): of the trivial pattern, with r_Z = r and with r_Z > r."""
    return np.stack(
        [
            found.flat(landscape.point(found, learnt, pattern, rng if number else None))
            for learnt in landscape.strata(found)
            for number, pattern in enumerate(_patterns(found, learnt, rng))
        ]
    )


def _patterns(found: Landscape, learnt: tuple[int, ...], rng: np.random.Generator) -> Iterable[Pattern]:
    """The trivial pattern, and random ones with r_Z = r and with r_Z > r where the widths allow either."""
    yield landscape.trivial_pattern(found, learnt)
    for more in (False, True):
        for _ in range(50):
            drawn = landscape.random_pattern(found, learnt, rng)
            rank = landscape.rank_of_path(found, learnt, drawn, 1, found.depth - 1)
            if (rank > len(learnt)) == more:
                yield drawn
                break
