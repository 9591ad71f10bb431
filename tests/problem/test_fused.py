"""Gradients written out by hand are the differentiated ones to rounding, for one problem and for ensembles."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
from gradlab.problem.data import Data
from gradlab.problem.fused import Fused, fused
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

EPS = np.finfo(np.float64).eps
_gradient = eqx.filter_jit(lambda problem, weights: problem.gradient(weights))


def made(N: int, network: Dense, loss: Any, decay: Any = 0.0, seed: int = 0) -> tuple[Problem, Any]:
    """Random data and weights of order one."""
    generator = np.random.default_rng(seed)
    inputs = generator.standard_normal((N, network.widths[0]))
    targets = generator.standard_normal((N, network.outputs))
    if loss.labels == "class":
        targets = generator.integers(0, network.outputs, N)
    problem = Problem(network, loss, Data(inputs, targets), decay)
    weights = jax.tree.map(
        lambda leaf: jnp.asarray(generator.standard_normal(leaf.shape) / np.sqrt(leaf.shape[-1])),
        network.shapes(),
    )
    return problem, weights


CASES = {
    "a tiny chain": (12, Dense.deep_linear((5, 4, 3, 5, 6)), gradlab.Square("mean", half=True), 0.1),
    "towards one output": (12, Dense.deep_linear((5, 4, 3, 1)), gradlab.Square(), (0.3, 0.0, 0.2)),
    "one layer": (7, Dense((5, 2)), gradlab.Square("mean"), 0.2),
    "a wide chain": (300, Dense.deep_linear((20, 30, 20)), gradlab.Square("mean"), 0.0),
    "many examples, three layers": (
        800,
        Dense((50, 30, 20, 3), "tanh", bias=True),
        gradlab.CrossEntropy("mean"),
        (0.1, 0.0, 0.2),
    ),
    "a large ReLU network": (800, Dense((50, 30, 2)), gradlab.Square(), 0.1),
}


def gap(a: Any, b: Any) -> float:
    """Largest difference over the largest number."""
    mine, theirs = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(t)]) for t in (a, b))
    return float(np.max(np.abs(mine - theirs)) / np.max(np.abs(theirs)))


@pytest.mark.parametrize("name", CASES)
def test_the_written_gradient_is_the_differentiated_one_to_rounding(name: str) -> None:
    problem, weights = made(*CASES[name])
    ours = fused(problem)
    assert isinstance(ours, Fused)
    longest = max(problem.data.inputs.shape[0], *problem.network.widths)
    # Sums of so many terms in another order: random roundings add up like the root of their number.
    assert gap(_gradient(ours, weights), problem.gradient(weights)) <= 4 * EPS * np.sqrt(longest)


def test_a_minibatch_factor_multiplies_the_risk_and_not_the_decay() -> None:
    problem, weights = made(12, Dense.deep_linear((5, 4, 5)), gradlab.Square(), 0.3)
    batch = problem.minibatch(jnp.arange(6))
    assert batch.factor == 2.0
    assert gap(fused(batch).gradient(weights), batch.gradient(weights)) <= 10 * EPS


@pytest.mark.parametrize("name", ["a tiny chain", "towards one output"])
def test_ensembles_have_their_members_gradients(name: str) -> None:
    members = [made(*CASES[name], seed=seed) for seed in range(3)]
    problems, weights = (gradlab.stack(part) for part in zip(*members, strict=True))
    together = jax.jit(jax.vmap(lambda p, w: fused(p).gradient(w)))(problems, weights)
    for index, (problem, own) in enumerate(members):
        mine = jax.tree.map(lambda leaf, index=index: leaf[index], together)
        assert gap(mine, problem.gradient(own)) <= 10 * EPS


def test_where_nothing_is_gained_the_problem_stays_the_same() -> None:
    for network, loss in (
        (Dense((4, 6, 2)), gradlab.Square()),
        (Dense.deep_linear((20, 20, 20)), gradlab.Square()),
        (Dense.deep_linear((4, 3, 2)), gradlab.losses.Lp(4)),
    ):
        problem, _ = made(3, network, loss)
        assert fused(problem) is problem


def test_other_weights_than_the_networks_are_refused() -> None:
    problem, _ = made(*CASES["a tiny chain"])
    with pytest.raises(ValueError, match="weights"):
        fused(problem).gradient((jnp.ones((3, 3)),))
