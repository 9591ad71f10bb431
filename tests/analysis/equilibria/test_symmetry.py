"""Orbits: generators leave the potential alone, and their rank is the dimension that theory counts."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradlab.activations import polynomial

from gradlab import CrossEntropy, Data, Square
from gradlab.analysis.equilibria.symmetry import rotations, symmetry_orbit
from gradlab.problem.networks import Convolutional, Dense, Function, Network, Residual
from gradlab.problem.problem import Problem

GENERATOR = np.random.default_rng(0)
X = GENERATOR.standard_normal((12, 16))
Y = GENERATOR.standard_normal((12, 3))
CLASSES = np.arange(12) % 3


def problem(network: Network, decay: Any = 0.0, loss: Any = None) -> tuple[Problem, Any]:
    targets = CLASSES if isinstance(loss, CrossEntropy) else Y[:, : network.outputs]
    made = Problem(network, loss or Square(), Data(X, targets), decay)
    generator = np.random.default_rng(1)
    return made, jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape), network.shapes())


#: (network, loss, decay, dimension): hidden width h of linear layers adds h² without decay and h(h−1)/2 with it.
CASES = [
    # one B = v nᵀ with nᵀW₂ = 0 and W₃ v = 0 moves nothing
    (Dense.deep_linear((16, 3, 4, 3)), None, 0.0, 9 + 16 - 1),
    (Dense.deep_linear((16, 3, 4, 3)), None, 0.1, 3 + 6),
    (Dense.deep_linear((16, 3, 4, 3)), None, (0.0, 0.2, 0.0), 3 + 6),
    (Dense((16, 5, 3), "identity", bias=True), None, 0.0, 25 + 5),
    (Dense((16, 5, 4, 3), "relu"), None, 0.0, 9),
    (Dense((16, 5, 4, 3), "relu"), None, 0.1, 0),
    (Dense((16, 5, 3), "squared_relu", bias=True), None, 0.0, 5),
    (Dense((16, 5, 1), polynomial((0, 0, 1))), None, 0.0, 5 + 10),
    (Dense((16, 5, 3), "tanh"), None, 0.0, 0),
    (Dense((16, 5, 3), "tanh", bias=True), CrossEntropy(), 0.0, 6),
    (Dense((16, 5, 3), "tanh"), CrossEntropy(), (0.0, 0.1), 0),
    (Convolutional((1, 4, 4), (3, 2), outputs=3, activation="relu"), None, 0.0, 5),
    (Convolutional((1, 4, 4), (3, 2), outputs=3, activation="identity"), None, 0.0, 9 + 4),
    (Residual(16, 4, 2, 3, "relu"), None, 0.0, 4),
    (Residual(16, 4, 2, 3, "identity"), None, 0.1, 6),
]


@pytest.mark.parametrize(("network", "loss", "decay", "dimension"), CASES)
def test_the_orbit_has_the_dimension_of_its_group_and_the_gradient_is_orthogonal_to_it(
    network: Network, loss: Any, decay: Any, dimension: int
) -> None:
    made, weights = problem(network, decay, loss)
    orbit = symmetry_orbit(made, weights)
    assert (orbit.dimension, orbit.decided) == (dimension, True)
    assert sum(orbit.parts.values()) == dimension
    np.testing.assert_allclose(orbit.tangent.T @ orbit.tangent, np.eye(dimension), atol=1e-12)
    gradient = np.asarray(made.ravel(made.gradient(weights)))
    assert np.abs(gradient @ orbit.tangent).max(initial=0.0) <= 1e-13 * np.linalg.norm(gradient)


def test_a_symmetry_of_the_network_leaves_all_outputs_alone_whatever_decay_says() -> None:
    made, weights = problem(Dense((16, 5, 4, 3), "squared_relu"), 0.1)
    orbit = symmetry_orbit(made, weights, "network")
    assert (orbit.dimension, symmetry_orbit(made, weights).dimension) == (9, 0)
    J = np.asarray(made.output_jacobian(weights)).reshape(-1, made.size)
    assert np.abs(J @ orbit.tangent).max() <= 1e-13 * np.linalg.norm(J, 2)


def test_the_orbit_shrinks_where_weights_vanish() -> None:
    made, weights = problem(Dense.deep_linear((16, 3, 3)))
    assert symmetry_orbit(made, weights).dimension == 9
    first, second = weights
    assert symmetry_orbit(made, (0.0 * first, 0.0 * second)).dimension == 0
    # one neuron neither fed nor read: its own rescaling moves nothing
    first, second = first.copy(), second.copy()
    first[2], second[:, 2] = 0.0, 0.0
    assert symmetry_orbit(made, (first, second)).dimension == 9 - 1


def test_a_functions_symmetries_are_not_known_and_misuse_is_refused() -> None:
    network = Function(lambda w, x: x @ w, lambda key: jnp.zeros(16), input_shape=16, outputs=1)
    assert symmetry_orbit(*problem(network)).dimension == 0
    made, weights = problem(Dense((16, 2, 3), "tanh"))
    with pytest.raises(ValueError, match="'potential' or 'network'"):
        symmetry_orbit(made, weights, "loss")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="float32"):
        symmetry_orbit(made, jax.tree.map(lambda a: a.astype(np.float32), weights))


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (Dense.deep_linear((3, 3, 2, 1)), 3 + 1),
        (Dense((3, 4, 1), "relu"), 2),  # units 0 and 2 see all examples, 1 and 3 none
        (Dense((3, 4, 1), "tanh"), 0),
        (Dense((3, 4, 1), "relu", bias=True), 0),
        (Dense.deep_linear((3, 1, 1)), 0),
    ],
    ids=str,
)
def test_rotations_are_tangents_of_equal_potential(network: Dense, count: int) -> None:
    generator = np.random.default_rng(0)
    data = Data(np.abs(generator.standard_normal((3, 3))), generator.standard_normal((3, 1)))
    made = Problem(network, Square(), data, 0.3)
    vector = generator.standard_normal(made.size)
    if network.activation.name == "relu" and not network.bias:
        vector[:12] = (np.abs(vector[:12].reshape(4, 3)) * np.array([[1.0], [-1.0], [1.0], [-1.0]])).ravel()
    tangents = rotations(made, vector)
    assert tangents.shape == (count, made.size)
    gradient = np.asarray(made.ravel(made.gradient(made.unravel(vector))))
    assert tangents @ gradient == pytest.approx(0.0, abs=1e-12)
    assert tangents @ vector == pytest.approx(0.0, abs=1e-12)
