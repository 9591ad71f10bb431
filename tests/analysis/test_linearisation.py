"""The linear flow against the matrix exponential; virtual data and the mapping of one unit against their identities."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from gradlab.analysis.linearisation import (
    LinearFlow,
    linearise,
    one_layer_mapping,
    scales,
    unit,
    virtual_data,
)
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

RNG = np.random.default_rng(5)


def flow(values, drift) -> tuple[LinearFlow, np.ndarray]:
    """A linear flow with these eigenvalues, and its Hessian."""
    vectors = np.linalg.qr(RNG.standard_normal((len(values), len(values))))[0]
    parts = (RNG.standard_normal(len(values)), np.asarray(values), vectors, np.asarray(drift))
    return LinearFlow(*map(jnp.asarray, parts)), (vectors * values) @ vectors.T


def test_the_linear_flow_is_the_matrix_exponential_for_positive_zero_and_negative_eigenvalues():
    linear, hessian = flow([-0.7, 0.0, 1e-18, 3.0], [0.3, -1.0, 0.5, 2.0])
    centre, drift = np.asarray(linear.centre), np.asarray(linear.vectors @ linear.drift)
    start = RNG.standard_normal((2, 4))
    # the inhomogeneous equation as a homogeneous one of size five
    generator = np.zeros((5, 5))
    generator[:4, :4], generator[:4, 4] = -hessian, -drift
    for time in (0.0, 0.4, 5.0):
        step = expm(generator * time)
        expected = centre + (start - centre) @ step[:4, :4].T + step[:4, 4]
        np.testing.assert_allclose(linear(time, jnp.asarray(start)), expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            linear.decay(time, jnp.asarray(start)), start @ expm(-hessian * time), atol=1e-13
        )


def test_the_flow_at_a_zero_eigenvalue_moves_by_minus_the_drift_times_t():
    linear, _ = flow([0.0, 0.0], [2.0, -1.0])
    moved = linear(3.0, linear.centre) - linear.centre
    np.testing.assert_allclose(moved @ linear.vectors, [-6.0, 3.0], rtol=1e-14)


def test_the_linear_flow_is_the_flow_of_a_quadratic_potential():
    x, y = RNG.standard_normal((3, 4)), RNG.standard_normal((3, 1))
    problem = Problem(Dense((4, 1)), Square(half=True), Data(x, y), 0.1)
    start = RNG.standard_normal((1, 4))
    linear = linearise(problem, (start,))
    limit = np.linalg.solve(x.T @ x + 0.1 * np.eye(4), x.T @ y)[:, 0]
    np.testing.assert_allclose(linear(1e5, linear.centre), limit, rtol=1e-12)


def test_the_result_computes_in_double_precision_whatever_jax_is_set_to():
    problem = Problem(Dense((2, 1)), Square(half=True), Data([[1.0, 2.0], [0.5, 0.1]], [[1.0], [0.3]]), 0.1)
    start = np.array([0.1, 1.0 / 3.0])
    with jax.enable_x64(True):
        linear = linearise(problem, (np.zeros((1, 2)),))
        expected = np.asarray(linear(0.7, start)), np.asarray(linear.decay(0.7, start))
    with jax.enable_x64(False):
        other = linearise(problem, (np.zeros((1, 2)),))
        found = np.asarray(other(0.7, start)), np.asarray(other.decay(0.7, start))
    assert [one.dtype for one in found] == [np.float64, np.float64]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("loss", [Square(), Square("mean", half=True)], ids=str)
def test_virtual_data_have_the_residuals_the_gradient_and_at_zero_loss_the_hessian(loss):
    network, inputs = Dense((2, 3, 2), "tanh"), RNG.standard_normal((3, 2))
    vector = RNG.standard_normal(12)
    at_zero = Problem(network, loss, Data(inputs, np.zeros((3, 2))))
    weights = at_zero.unravel(jnp.asarray(vector))
    for offset, same in ((0.0, True), (0.5, False)):
        data = Data(inputs, np.asarray(at_zero.outputs(weights)) + offset)
        problem = Problem(network, loss, data, 0.05)
        virtual, point = virtual_data(problem, weights), (jnp.asarray(vector)[None],)
        np.testing.assert_allclose(virtual.potential(point), problem.potential(weights), rtol=1e-13)
        gradient = problem.ravel(problem.gradient(weights))
        np.testing.assert_allclose(virtual.ravel(virtual.gradient(point)), gradient, atol=1e-13)
        gap = np.abs(np.asarray(virtual.hessian(point) - problem.hessian(weights))).max()
        assert (gap < 1e-13) == same


def test_virtual_data_are_of_losses_of_residuals_and_of_one_decay():
    data = Data([[1.0, 2.0]], [1.0])
    with pytest.raises(ValueError, match="no loss of residuals"):
        virtual_data(Problem(Dense((2, 1)), Logistic(), data), (np.ones((1, 2)),))
    two = Problem(Dense.deep_linear((2, 1, 1)), Square(), Data([[1.0, 2.0]], [[1.0]]), [0.1, 0.2])
    with pytest.raises(ValueError, match="one decay"):
        virtual_data(two, (np.ones((1, 2)), np.ones((1, 1))))


def test_scales_solve_their_equation_and_only_where_it_has_a_solution():
    a, s = np.array([-3.0, 0.0, 0.3, 0.5, 2.0]), np.array([1.0, 2.0, 1.0, np.nan, 1.0])
    c = scales(a, s)
    np.testing.assert_allclose((c * np.exp(-a * c))[:3], s[:3], rtol=1e-14)
    # 2 · 1 > 1/e: the maximum of c e^{−2c} is 1/2e
    assert np.isnan(c[3:]).all()


@pytest.mark.parametrize("image", [None, 0.0])
def test_a_mapped_unit_has_the_hessian_of_the_unit(image):
    x, w = RNG.standard_normal((3, 4)), np.array([0.3, -0.2, 0.5, 0.1])
    y = np.where(x @ w > 0.0, 1.0, -1.0)
    problem = Problem(unit("tanh", 4), Exponential(), Data(x, y))
    found = one_layer_mapping(problem, w, None if image is None else np.zeros(4))
    assert found.why == ""
    assert found.real.all()
    linear = found.problem.hessian((found.weights[None],))
    np.testing.assert_allclose(linear, problem.hessian(w), rtol=1e-12, atol=1e-15)


def test_a_unit_on_the_wrong_side_has_no_real_root():
    # tanh at z = −2 with y = 1: f'² − f'' < 0
    problem = Problem(unit("tanh", 1), Exponential(), Data([[1.0]], [1.0]))
    found = one_layer_mapping(problem, np.array([-2.0]))
    slope = 1.0 - np.tanh(2.0) ** 2
    np.testing.assert_allclose(found.radicand, slope**2 - 2.0 * np.tanh(2.0) * slope, rtol=1e-12)
    assert found.problem is None
    assert "not real for 1 of 1" in found.why
    assert float(problem.hessian(np.array([-2.0]))[0, 0]) < 0.0


def test_the_mapping_is_of_one_unit_under_the_exponential_loss():
    problem = Problem(Dense((1, 1)), Exponential(), Data([[1.0]], [1.0]))
    with pytest.raises(ValueError, match="one unit under Exponential"):
        one_layer_mapping(problem, np.ones(1))
