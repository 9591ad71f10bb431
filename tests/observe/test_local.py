"""The second-order picture by the chain rule against automatic differentiation; many points in one program."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gradlab.observe.local import (
    SHAKEN,
    Scalars,
    automatic_hessian,
    coordinates,
    differentials,
    local,
    outputs,
    values_and_gradients,
)
from gradlab.problem.activations import Activation, leaky_relu, polynomial, smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss, Lp, Square
from gradlab.problem.networks import Convolutional, Dense, Network
from gradlab.problem.problem import Problem


class Softplus(Activation):
    """An activation that says its definition and nothing else."""

    name: str = "softplus"
    degree: int | None = None
    smooth: bool = True

    def __call__(self, z: Any) -> Any:
        return jax.nn.softplus(z)


#: The chain rule written out, and the last one by automatic differentiation.
CASES = [
    (Dense((3, 3, 2, 2), "tanh", bias=True), Square("mean")),
    (Dense((3, 2, 1), smooth_relu(0.4)), Logistic()),
    (Dense((3, 4, 1), leaky_relu(0.2)), Exponential("mean")),
    (Dense((3, 2, 2), polynomial((0, 1, 2))), Lp(3)),
    (Dense((3, 2, 3), "gelu"), CrossEntropy()),
    (Dense((3, 2, 1), Softplus()), Square(half=True)),
    (Convolutional((1, 3, 1), (2,), outputs=1, activation="tanh"), Logistic("mean")),
]


def made(network: Network, loss: Loss, seed: int = 3) -> tuple[Problem, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = {
        "real": random.standard_normal((5, network.outputs)),
        "sign": np.array([1, -1, 1, 1, -1]),
        "class": np.arange(5) % network.outputs,
    }[loss.labels]
    data = Data(random.standard_normal((5, *network.input_shape)), targets)
    problem = Problem(network, loss, data, np.linspace(0.1, 0.3, len(network.layers(network.shapes()))))
    return problem, random.standard_normal(problem.size)


@pytest.mark.parametrize(("network", "loss"), CASES, ids=str)
def test_the_chain_rule_is_automatic_differentiation(network: Network, loss: Loss) -> None:
    problem, vector = made(network, loss)
    here, H = local(problem, vector), automatic_hessian(problem, vector)
    np.testing.assert_allclose(here.hessian, H, atol=1e-13 * np.abs(H).max())
    weights = problem.unravel(vector)
    gradient = np.asarray(problem.ravel(problem.gradient(weights)))
    np.testing.assert_allclose(here.gradient, gradient, atol=1e-13 * np.linalg.norm(gradient))
    np.testing.assert_allclose(here.f, problem.outputs(weights), atol=1e-13)
    np.testing.assert_allclose(outputs(problem, vector), problem.outputs(weights), atol=1e-13)
    jacobian = problem.output_jacobian(weights)
    np.testing.assert_allclose(here.jacobian, jacobian, atol=1e-13 * float(np.abs(jacobian).max()))
    assert here.rows.shape == (5 * network.outputs, problem.size)


def test_data_are_shaken_by_a_relative_change_of_random_signs() -> None:
    problem, vector = made(*CASES[0])
    plain = local(problem, vector)
    moved = [local(problem, vector, np.random.default_rng(seed)).hessian - plain.hessian for seed in range(3)]
    sizes = [np.linalg.norm(move) / np.linalg.norm(plain.hessian) for move in moved]
    assert min(sizes) > 0.1 * SHAKEN
    assert max(sizes) < 100.0 * SHAKEN
    assert not np.array_equal(moved[0], moved[1])


@pytest.mark.parametrize("rows", [None, 4])
def test_many_points_are_evaluated_as_one_by_one(rows: int | None) -> None:
    problem, vector = made(*CASES[0])
    vectors = vector + 0.1 * np.arange(6.0)[:, None]
    values, gradients = values_and_gradients(problem, vectors, rows)
    assert (values.shape, gradients.shape) == ((6,), (6, problem.size))
    for point, value, gradient in zip(vectors, values, gradients, strict=True):
        own, slope = problem.value_and_gradient(problem.unravel(point))
        assert value == pytest.approx(float(own), rel=1e-13)
        np.testing.assert_allclose(gradient, problem.ravel(slope), rtol=1e-12, atol=1e-12)


def test_differentials_are_the_jacobian_and_columns_of_the_hessian() -> None:
    network, loss = CASES[1]
    problem, vector = made(network, loss)
    plain = Problem(network, loss, problem.data)
    columns = coordinates(plain, 3)
    assert columns.tolist() == [0, 3, 7]
    directions = np.eye(plain.size)[columns]
    points = np.tile(vector, (3, 1))
    found = differentials(plain, Scalars((loss,), (plain.data.targets,)), points, directions)
    here = local(plain, vector)
    np.testing.assert_allclose(found.gradients[0, :-1], here.rows, atol=1e-13)
    np.testing.assert_allclose(found.gradients[0, -1], here.gradient, atol=1e-13)
    np.testing.assert_allclose(found.changes[:, -1], here.hessian[columns], atol=1e-12)
