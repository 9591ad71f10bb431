"""Pooled networks: the reference by jax's own convolution and window; redundant layers add no function."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.problem.networks import Pooled


def drawn(network: Pooled) -> Any:
    """Random weights."""
    random = np.random.default_rng(1)
    return jax.tree.map(lambda one: random.standard_normal(one.shape), network.shapes())


def reference(network: Pooled, weights: Any, x: Any) -> Any:
    """The network by jax.lax."""
    h, layers = jnp.asarray(x), list(weights)
    for _ in network.channels:
        layer = layers.pop(0)
        h = jax.lax.conv_general_dilated(
            h, layer["weight"], (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
        )
        h = jnp.maximum(h + layer["bias"][:, None, None], 0.0)
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "SAME")
    h = h.reshape(len(h), -1)
    for i, layer in enumerate(layers):
        h = h @ layer["weight"].T + layer.get("bias", 0.0)
        h = jnp.maximum(h, 0.0) if i + 1 == len(layers) // 2 else h
    return h


@pytest.mark.parametrize("redundant", [False, True])
def test_values_are_those_of_jaxs_convolution_and_window(redundant: bool) -> None:
    network = Pooled((2, 7, 5), (3, 4), 3, 6, 3, redundant=redundant)
    x, weights = np.random.default_rng(2).normal(size=(5, 2, 7, 5)), drawn(network)
    np.testing.assert_allclose(network(weights, x), reference(network, weights, x), rtol=1e-12)


def test_the_tutorials_network_has_its_size() -> None:
    sizes = [
        sum(one.size for one in jax.tree.leaves(Pooled((1, 28, 28), redundant=more).shapes()))
        for more in (0, 1)
    ]
    assert sizes == [1_663_370, 1_663_370 + 512**2 + 10**2]


def test_layers_come_back() -> None:
    network = Pooled((1, 4, 4), (2,), 3, 6, 3, redundant=True)
    weights = drawn(network)
    assert jax.tree.all(jax.tree.map(np.array_equal, network.rebuild(network.layers(weights)), weights))
    with pytest.raises(ValueError, match="has 5 layers; 4 were given"):
        network.rebuild(weights[:-1])


def test_a_dropout_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dropout was 1\.0"):
        Pooled((1, 4, 4), dropout=1.0)
