"""Starts near zero: inputs of unit norm, labels ±1, equal layer norms; and chains of one weight a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.claims.problems import paired, polar
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss, Square
from gradlab.problem.networks import Dense, Network
from gradlab.problem.problem import Problem


def chain(depth: int) -> Dense:
    """One weight a layer: V_k = ±1 cannot turn, and eq. 5 with constant sums is exact."""
    return Dense((1,) * (depth + 1), "identity")


def chain_problem(rng: np.random.Generator, depth: int, count: int = 8, loss: Loss | None = None) -> Problem:
    """A chain on numbers x_n in (0.3, 1) with signs, of which one in eight has the other label: residuals stay."""
    x = rng.uniform(0.3, 1.0, (count, 1)) * rng.choice([-1.0, 1.0], (count, 1))
    labels = np.sign(x) * np.where(np.arange(count) % 8 == 7, -1.0, 1.0)[:, None]
    given = Square() if loss is None else loss
    return Problem(chain(depth), given, Data(x, labels if given.labels == "real" else labels[:, 0]))


def chained(depth: int, product: float) -> Any:
    """Weights of a chain with equal norms and that product."""
    return tuple(np.full((1, 1), product ** (1.0 / depth)) for _ in range(depth))


def classes(rng: np.random.Generator, network: Network, count: int, loss: Loss | None = None) -> Problem:
    """Two clouds on the sphere with labels ±1, not far apart: a small classification of which every net learns some."""
    size = int(np.prod(network.input_shape))
    labels = np.resize([1.0, -1.0], count)
    x = polar.unit_inputs(rng, count, size, "random") + 0.7 * labels[:, None] * polar.unit_inputs(
        rng, 1, size, "random"
    )
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    given = Square() if loss is None else loss
    return Problem(network, given, Data(x, labels[:, None] if given.labels == "real" else labels))


def of_digits(rng: np.random.Generator, network: Network, count: int) -> Problem:
    """Bundled digits on the sphere, odd or even as ±1, under the square loss."""
    pool = paired.pool("digits")
    rows = rng.permutation(len(pool.inputs))[:count]
    labels = 2.0 * pool.truth("odd or even")[rows] - 1.0
    return Problem(network, Square(), Data(pool.inputs[rows], labels[:, None]))


def equal(rng: np.random.Generator, network: Network, product: float) -> Any:
    """Gaussian directions, all layers of one norm, with that product of the norms."""
    depth = len(network.layers(network.shapes()))
    return polar.with_norms(rng, network, np.full(depth, product ** (1.0 / depth)))
