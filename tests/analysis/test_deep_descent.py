"""Gradient descent on deep linear nets: automatic differentiation, hand-made numbers, the theorem's scaling."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.analysis.deep_descent import deficiency_margin, guarantee, iterates
from gradlab.analysis.linear_nets import balanced_factors


def random_layers(widths: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return tuple(0.7 * rng.standard_normal((after, before)) for before, after in pairwise(widths))


@pytest.mark.parametrize("widths", [(3, 2), (3, 4, 2), (2, 3, 3, 2), (2, 2, 3, 2, 1)])
def test_an_iteration_is_that_of_automatic_differentiation(widths: tuple[int, ...]) -> None:
    layers, target = random_layers(widths), np.random.default_rng(1).standard_normal((widths[-1], widths[0]))
    with jax.enable_x64(True):

        def loss(weights: tuple[jax.Array, ...]) -> jax.Array:
            product = weights[0]
            for layer in weights[1:]:
                product = layer @ product
            return 0.5 * jnp.sum((product - target) ** 2)

        slopes = jax.grad(loss)(tuple(jnp.asarray(layer) for layer in layers))
    seen = iterates([layer[None] for layer in layers], target[None], np.array([0.1]), (0, 1))
    for layer, slope, one in zip(layers, slopes, seen, strict=True):
        np.testing.assert_array_equal(one[0, 0], layer)
        np.testing.assert_allclose(one[1, 0], layer - 0.1 * np.asarray(slope), rtol=1e-13)


def test_a_batch_is_its_members_and_records_do_not_change_it() -> None:
    many = [np.stack([random_layers((2, 3, 2), seed)[j] for seed in range(3)]) for j in range(2)]
    target, steps = np.stack([np.eye(2)] * 3), np.array([0.01, 0.02, 0.03])
    whole = iterates(many, target, steps, (0, 3, 10))
    alone = iterates([layer[1:2] for layer in many], target[1:2], steps[1:2], (10,))
    for layer, one in zip(whole, alone, strict=True):
        np.testing.assert_allclose(layer[2, 1], one[0, 0], rtol=1e-13)


def test_the_margin_is_what_nearer_matrices_keep() -> None:
    rng = np.random.default_rng(2)
    target = np.diag([3.0, 1.0])
    W = target + np.array([[0.1, 0.2], [-0.3, 0.1]])
    c = deficiency_margin(W, target)
    for _ in range(100):
        aside = rng.standard_normal((2, 2))
        other = target + np.linalg.norm(W - target) * aside / np.linalg.norm(aside)
        assert np.linalg.svd(other, compute_uv=False)[-1] >= c
    # and the bound is attained, in the direction of the least singular value
    worst = target - np.linalg.norm(W - target) * np.diag([0.0, 1.0])
    assert np.linalg.svd(worst, compute_uv=False)[-1] == pytest.approx(c)


def test_the_constants_of_two_scalar_layers() -> None:
    # c = 3/4, Φ = 1, N = 2: δ = c²/2048, η = c³/49152
    given = guarantee((np.array([[0.75**0.5]]),) * 2, np.array([[1.0]]))
    assert given.margin == pytest.approx(0.75)
    assert given.allowed == pytest.approx(0.75**2 / 2048)
    assert given.step == pytest.approx(0.75**3 / 49152)
    assert given.holds
    assert given.iterations(np.exp(-1.0)) == pytest.approx(49152 / 0.75**4, abs=1)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_iterations_of_the_theorem_are_free_of_scale(depth: int) -> None:
    target = np.diag([2.0, 1.0])
    found = []
    for scale in (0.1, 1.0, 30.0):
        layers = balanced_factors(scale * (target + 0.2), (2,) * (depth + 1))
        found.append(guarantee(layers, scale * target).iterations(0.01))
    assert found == pytest.approx([found[0]] * 3, rel=1e-9)


def test_without_a_margin_nothing_is_guaranteed_and_one_layer_is_refused() -> None:
    assert not guarantee((np.eye(2), -np.eye(2)), np.eye(2)).holds
    with pytest.raises(ValueError, match="two layers or more"):
        guarantee((np.eye(2),), np.eye(2))
