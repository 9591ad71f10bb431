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
from gradlab.problem.ensembles import unchecked
from gradlab.problem.fused import Fused, Single, fused, in_parts, in_precision
from gradlab.problem.networks import Convolutional, Dense, Pooled
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


IMAGES = {
    "strided": Convolutional((3, 32, 32), (16, 16), 3, 2),
    "pooled": Pooled((1, 28, 28), (8, 16), 5, 20),
}


def pictures(network: Any, count: int, decay: Any = 0.0) -> tuple[Problem, Any]:
    """Random images of ten classes."""
    generator = np.random.default_rng(1)
    inputs = generator.random((count, *network.input_shape))
    problem = Problem(
        network, gradlab.CrossEntropy("mean"), Data(inputs, generator.integers(0, 10, count)), decay
    )
    weights = jax.tree.map(
        lambda leaf: jnp.asarray(generator.standard_normal(leaf.shape) / np.sqrt(np.prod(leaf.shape[1:]))),
        network.shapes(),
    )
    return problem, weights


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("count", [120, 121])  # equal blocks, and a remainder
def test_convolutions_in_blocks_of_examples_have_the_same_gradient(name: str, count: int) -> None:
    problem, weights = pictures(IMAGES[name], count, 0.1)
    written = in_parts(problem)
    assert isinstance(written, Fused)
    assert gap(_gradient(written, weights), _gradient(problem, weights)) <= 1e3 * EPS
    value, gradient = written.value_and_gradient(weights)
    np.testing.assert_allclose(value, problem.potential(weights), rtol=1e-14)
    assert gap(gradient, _gradient(problem, weights)) <= 1e3 * EPS
    few, start = pictures(IMAGES[name], 5)
    assert in_parts(few) is few  # five images fit a cache
    assert gap(_gradient(few, start), _gradient(fused(few), start)) == 0.0


@pytest.mark.parametrize("name", [*CASES, *IMAGES])
def test_gradients_in_single_precision_are_those_to_its_rounding_and_in_no_better(name: str) -> None:
    problem, weights = pictures(IMAGES[name], 60, 0.1) if name in IMAGES else made(*CASES[name])
    narrow = in_precision(problem, "float32")
    assert isinstance(narrow, Single)
    assert in_precision(problem, "float64") is problem
    found = _gradient(narrow, weights)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype("float64")}
    assert 1e-9 < gap(found, _gradient(problem, weights)) < 1e-5
    np.testing.assert_array_equal(narrow.potential(weights), problem.potential(weights))
    # The decay's part is float64: of zero data it is all there is.
    silent = unchecked(Single, problem, factor=0.0, decay=jnp.asarray(0.3))
    assert gap(_gradient(silent, weights), jax.tree.map(lambda leaf: 0.3 * leaf, weights)) <= 4 * EPS
