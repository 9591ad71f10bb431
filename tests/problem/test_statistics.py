"""Condensed problems have the potential, the gradient and the Hessian of the whole ones."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import gradlab
from gradlab.problem.data import Data
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem
from gradlab.problem.statistics import condensed

EPS = np.finfo(np.float64).eps


def whole(N: int, rank: int, depth: int, loss: gradlab.Square, decay: Any = 0.0) -> tuple[Problem, tuple]:
    """A deep linear problem with inputs (N, 5) of that rank, and weights of order one."""
    generator = np.random.default_rng(10 * N + rank + depth)
    inputs = generator.standard_normal((N, rank)) @ generator.standard_normal((rank, 5))
    widths = (*(5, 4, 3, 4, 2)[:depth], 2)
    data = Data(inputs, generator.standard_normal((N, 2)))
    problem = Problem(Dense.deep_linear(widths), loss, data, decay)
    return problem, problem.network.init(jax.random.key(depth), gradlab.init.He())


@pytest.mark.parametrize(
    ("N", "rank", "depth", "loss", "decay"),
    [
        (60, 5, 1, gradlab.Square("sum"), 0.3),
        (60, 5, 4, gradlab.Square("mean", half=True), (0.1, 0.0, 0.2, 0.3)),
        (60, 2, 3, gradlab.Square("mean"), 0.0),
        (4, 2, 2, gradlab.Square("sum", half=True), 0.1),
    ],
)
def test_potential_gradient_and_hessian_are_those_of_all_examples(
    N: int, rank: int, depth: int, loss: gradlab.Square, decay: Any
) -> None:
    problem, weights = whole(N, rank, depth, loss, decay)
    small = condensed(problem)
    assert small.data.inputs.shape[0] == rank + 1 < N
    # Sums of N d terms, each rounded once on either side, and an SVD good to a few eps.
    tolerance = 10 * N * EPS
    np.testing.assert_allclose(small.potential(weights), problem.potential(weights), rtol=tolerance)
    for derivative in ("gradient", "hessian"):
        mine, theirs = (
            np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(getattr(p, derivative)(weights))])
            for p in (small, problem)
        )
        assert np.max(np.abs(mine - theirs)) <= tolerance * np.max(np.abs(theirs)), derivative


def test_fewer_examples_than_directions_stay_what_they_are() -> None:
    problem, _ = whole(3, 3, 2, gradlab.Square())
    assert condensed(problem) is problem


def test_condensing_does_not_square_the_condition_number() -> None:
    problem, _ = whole(60, 5, 1, gradlab.Square())
    scales = np.array([1.0, 1e-3, 1e-6, 1e-9, 1e-12])
    turn = np.linalg.qr(np.asarray(problem.data.inputs)[:5])[0]
    inputs = (np.linalg.qr(np.asarray(problem.data.inputs))[0] * scales) @ turn
    steep = Problem(problem.network, problem.loss, Data(inputs, problem.data.targets))
    values = np.linalg.svd(np.asarray(condensed(steep).data.inputs), compute_uv=False)
    assert np.max(np.abs(values - scales)) <= 10 * EPS * scales[0]
    # A Gram matrix has errors of eps, hence singular values with errors of 1e-8.
    gram = np.sqrt(np.abs(np.linalg.eigvalsh(inputs.T @ inputs)))[::-1]
    assert np.max(np.abs(gram - scales)) > 1e-10


def test_what_cannot_be_condensed_is_refused_in_a_sentence() -> None:
    data = Data(np.ones((4, 2)), np.ones((4, 1)))
    with pytest.raises(ValueError, match="linear networks"):
        condensed(Problem(Dense((2, 3, 1), "relu"), gradlab.Square(), data))
    with pytest.raises(ValueError, match="linear networks"):
        condensed(Problem(Dense((2, 1), "relu", bias=True), gradlab.Square(), data))
    with pytest.raises(ValueError, match="square loss"):
        condensed(Problem(Dense((2, 1)), gradlab.losses.Lp(4), data))
