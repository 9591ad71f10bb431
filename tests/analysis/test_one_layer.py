"""One linear layer: equilibria and the rest of the way to them, for the square and the exponential loss."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.one_layer import LinearExponential, OneLayer, linear_exponential, one_layer
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic, Loss, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

RANDOM = np.random.default_rng(0)
X, Y, SIGNS = RANDOM.standard_normal((6, 3)), RANDOM.standard_normal((6, 2)), np.array([1, -1, 1, -1, 1, 1])
#: Rank two.
FLAT = np.outer(X[:, 0], [1.0, 0.0, 1.0]) + np.outer(X[:, 1], [0.0, 1.0, 0.0])


def regression(loss: Loss, inputs: np.ndarray = X, decay: float = 0.3) -> tuple[Problem, OneLayer]:
    problem = Problem(Dense((3, 2), "identity"), loss, Data(inputs, Y), decay)
    net = one_layer(problem)
    assert net is not None
    return problem, net


@pytest.mark.parametrize(
    "loss", [Square(), Square(half=True), Square("mean"), Square("mean", half=True)], ids=str
)
@pytest.mark.parametrize("inputs", [X, FLAT], ids=["full rank", "rank two"])
def test_the_gradient_vanishes_at_the_ridge_solution_and_rest_is_the_way_to_it(loss, inputs) -> None:
    problem, net = regression(loss, inputs)
    end = net.ridge(net.decay, net.factor)
    assert np.asarray(problem.gradient((end,))[0]) == pytest.approx(0.0, abs=1e-13)
    W = RANDOM.standard_normal((2, 3))
    gradient = np.asarray(problem.gradient((W,))[0])
    assert net.rest(W, gradient) == pytest.approx(float(np.linalg.norm(W - end)), rel=1e-12)
    assert net.rank == np.linalg.matrix_rank(inputs)
    np.testing.assert_array_equal(net.matrix(np.asarray(problem.ravel((W,)))), W)


def test_without_decay_the_limit_is_the_minimum_norm_solution_and_what_no_example_sees() -> None:
    problem, net = regression(Square(), FLAT, decay=0.0)
    W = RANDOM.standard_normal((2, 3))
    limit = net.minimum_norm() + net.beside(W)
    assert np.asarray(problem.gradient((limit,))[0]) == pytest.approx(0.0, abs=1e-12)
    gradient = np.asarray(problem.gradient((W,))[0])
    assert net.rest(W, gradient) == pytest.approx(float(np.linalg.norm(W - limit)), rel=1e-12)


def test_other_nets_and_losses_and_inputs_of_zero_are_none() -> None:
    data, signed = Data(X, Y), Data(X, SIGNS)
    assert one_layer(Problem(Dense((3, 2, 2), "identity"), Square(), data)) is None
    assert one_layer(Problem(Dense((3, 1), "identity"), Logistic(), signed)) is None
    assert one_layer(Problem(Dense((3, 2), "identity"), Square(), Data(0.0 * X, Y))) is None
    assert linear_exponential(Problem(Dense((3, 1), "identity"), Logistic(), signed)) is None


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_the_exponential_equilibrium_is_one_and_its_curvature_the_hessian(reduction: str) -> None:
    problem = Problem(Dense((3, 1), "identity"), Exponential(reduction), Data(X, SIGNS), 0.2)
    net = linear_exponential(problem)
    assert isinstance(net, LinearExponential)
    w = net.equilibrium.weights
    assert np.asarray(problem.gradient((w[None],))[0]) == pytest.approx(0.0, abs=1e-13)
    H = np.asarray(problem.hessian((w[None],)))
    np.testing.assert_allclose(net.decay * net.curvature(w), H, rtol=1e-12)


def test_the_hard_margin_is_none_where_the_data_are_not_separable() -> None:
    network = Dense((1, 1), "identity")
    apart = linear_exponential(Problem(network, Exponential(), Data([[1.0], [-2.0]], [1, -1]), 0.1))
    mixed = linear_exponential(Problem(network, Exponential(), Data([[1.0], [2.0]], [1, -1]), 0.1))
    assert apart is not None
    assert mixed is not None
    assert apart.svm is not None
    assert apart.svm.margin == pytest.approx(1.0)
    assert mixed.svm is None
