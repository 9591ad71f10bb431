"""Weight vectors layer by layer."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gradlab.observe.layers import layer_inner, layer_norms, layer_of, spread
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense, Network, Residual
from gradlab.problem.problem import Problem

NETWORKS = [
    Dense((3, 4, 2), "tanh", bias=True),
    Convolutional((1, 4, 4), (3,), outputs=2),
    Residual(3, 4, 2, 2),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: type(network).__name__)
def test_norms_of_layers_are_those_of_the_network(network: Network) -> None:
    inputs = np.ones((2, *network.input_shape))
    problem = Problem(network, Square(), Data(inputs, np.ones((2, network.outputs))))
    random = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: random.standard_normal(leaf.shape), network.shapes())
    layer, vector = layer_of(network), np.asarray(problem.ravel(weights))
    parts = network.layers(weights)
    expected = [np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(part))) for part in parts]
    np.testing.assert_allclose(layer_norms(layer, vector), expected, rtol=1e-14)
    assert float(np.sum(layer_inner(layer, vector, 2.0 * vector))) == pytest.approx(
        2.0 * float(vector @ vector)
    )


def test_the_spread_is_zero_for_equal_norms_and_infinite_where_a_layer_is_zero() -> None:
    assert spread([[2.0, 2.0], [1.0, 3.0], [0.0, 1.0]]).tolist() == [0.0, 2.0, np.inf]
