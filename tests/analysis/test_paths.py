"""Ridge paths, exponential losses with decay over hundreds of decades, and the local pseudoinverse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from scipy.special import lambertw

import gradlab
from gradlab.analysis.paths import (
    jacobian_distance,
    local_pseudoinverse,
    regularised_exponential,
    regularised_path,
    ridge_path,
)
from gradlab.analysis.solutions import max_margin, minimum_norm, ridge, soudry_constants

LOSSES = ("exponential", "logistic")


def separable(N=12, d=4, seed=0):
    random = np.random.default_rng(seed)
    X, u = random.standard_normal((N, d)), random.standard_normal(d)
    u /= np.linalg.norm(u)
    y = np.where(X @ u >= 0, 1.0, -1.0)
    return X + 0.3 * y[:, None] * u, y


# Ridge ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.1])
def test_the_ridge_path_is_ridge_at_every_decay_with_its_norm_residual_and_freedom(factor):
    random = np.random.default_rng(1)
    X, Y = random.standard_normal((10, 6)), random.standard_normal((10, 2))
    decays = [0.0, 1e-8, 1e-3, 1.0, 50.0]
    path = ridge_path(X, Y, decays, factor)
    for k, decay in enumerate(decays):
        W = ridge(X, Y, decay, factor)
        np.testing.assert_allclose(path.solutions[k], W, atol=1e-13)
        assert path.norm[k] == pytest.approx(np.linalg.norm(W), rel=1e-13)
        assert path.residual[k] == pytest.approx(np.linalg.norm(X @ W.T - Y), rel=1e-13)
        hat = X @ np.linalg.solve(X.T @ X + decay / (2 * factor) * np.eye(6), X.T)
        assert path.freedom[k] == pytest.approx(np.trace(hat), rel=1e-12)


def test_the_ridge_path_of_deficient_rank_ends_in_the_minimum_norm_solution():
    random = np.random.default_rng(2)
    X, Y = random.standard_normal((9, 3)) @ random.standard_normal((3, 7)), random.standard_normal((9, 2))
    path = ridge_path(X, Y, np.append(10.0 ** np.arange(2.0, -300.0, -10.0), 0.0))
    assert (np.diff(path.norm) >= 0.0).all()
    assert (np.diff(path.residual) <= 0.0).all()
    assert path.freedom[-1] == pytest.approx(3.0, rel=1e-14)
    np.testing.assert_allclose(path.solutions[-2], minimum_norm(X, Y), atol=1e-14)
    np.testing.assert_array_equal(path.solutions[-1], path.solutions[-2])


def test_a_small_residual_is_right_to_its_last_digits():
    # N ≤ d: the residual is λ/(s² + λ) of the targets, 1e-20 here, while X W − Y is 1e-16
    X, Y = np.diag([1.0, 2.0]), np.array([[3.0], [4.0]])
    (found,) = ridge_path(X, Y, [1e-20], 0.5).residual
    assert found == pytest.approx(1e-20 * np.hypot(3.0, 1.0), rel=1e-14)


# Exponential losses with decay ------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [0.3, 1.0, 40.0])
def test_one_point_is_lamberts_function(x):
    # λ w = x e^{−xw}: x w = W₀(x²/λ)
    for log_decay in (3.0, 0.0, -20.0, -600.0):
        found = regularised_exponential([[x]], [1.0], log_decay=log_decay)
        exact = float(lambertw(np.exp(2.0 * np.log(x) - log_decay)).real) / x
        assert found.weights[0] == pytest.approx(exact, rel=1e-14)
        assert abs(found.weights[0] - exact) <= found.error + 4e-16 * exact
        assert found.converged
    deep = regularised_exponential([[x]], [1.0], log_decay=-1e6)
    z = x * deep.weights[0]
    assert z + np.log(z) == pytest.approx(1e6 + 2.0 * np.log(x), rel=1e-15)


@pytest.mark.parametrize("loss", LOSSES)
def test_at_moderate_decay_it_is_what_a_general_minimiser_finds(loss):
    X, y = separable()
    A = y[:, None] * X
    each = (lambda m: np.exp(-m)) if loss == "exponential" else (lambda m: np.logaddexp(0.0, -m))
    for decay in (10.0, 0.3, 1e-2):
        found = regularised_exponential(X, y, decay, loss=loss)
        other = scipy.optimize.minimize(
            lambda w, decay=decay: each(A @ w).sum() + decay / 2 * (w @ w), np.zeros(4), tol=1e-12
        )
        np.testing.assert_allclose(found.weights, other.x, atol=1e-6)
        assert found.stationarity < 1e-15
        assert found.inertia == (0, 0, 4)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_dual_gives_the_weights_over_three_hundred_decades_and_beyond(loss):
    X, y = separable()
    logs = [5.0, 0.0, -23.0, -690.0, -1e4, -1e6]
    for found, log_decay in zip(regularised_path(X, y, logs, loss), logs, strict=True):
        combined = X.T @ (y * np.exp(found.log_dual))
        size = max(1.0, abs(log_decay))
        np.testing.assert_allclose(combined, found.weights, rtol=0, atol=1e-14 * size * found.norm)
        tail = -found.margins if loss == "exponential" else -np.logaddexp(0.0, found.margins)
        np.testing.assert_allclose(found.log_dual, tail - log_decay, rtol=0, atol=1e-15 * size)
        assert found.converged
        assert found.error <= 1e-13 * max(found.norm, 1.0)
        assert found.log_decay == log_decay
        curvature = np.exp(found.log_dual) / (1.0 if loss == "exponential" else 1.0 + np.exp(-found.margins))
        hessian = np.eye(4) + (curvature[:, None] * X).T @ X
        np.testing.assert_allclose(found.curvature, np.linalg.eigvalsh(hessian), rtol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_as_decay_vanishes_the_path_is_the_flow_at_time_one_over_decay_times_margin(loss):
    X, y = separable()
    svm = max_margin(X, y)
    constants = soudry_constants(X, y, svm)
    gaps = []
    for log_decay in (-1e3, -1e4, -1e5):
        found = regularised_exponential(X, y, log_decay=log_decay, loss=loss)
        time = -log_decay - np.log(found.margins.min())
        gaps.append(np.linalg.norm(found.weights - time * svm.direction - constants.offset))
        assert svm.margin - found.margin < 10.0 / -log_decay * svm.margin
    assert gaps[0] < 1e-2
    assert gaps[0] / gaps[1] == pytest.approx(10.0, rel=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(10.0, rel=0.05)


def test_the_error_bounds_the_distance_from_a_solution_in_longer_arithmetic():
    X, y = separable(seed=3)
    wide = (y[:, None] * X).astype(np.longdouble)
    for log_decay in (-1.0, -50.0, -5000.0):
        found = regularised_exponential(X, y, log_decay=log_decay)
        w = found.weights.astype(np.longdouble)
        for _ in range(4):  # simplified Newton: the float64 Hessian, residuals in extended precision
            dual = np.exp(-wide @ w - np.longdouble(log_decay))
            hessian = np.eye(4) + (wide.T @ (dual[:, None] * wide)).astype(float)
            w = w + np.linalg.solve(hessian, (wide.T @ dual - w).astype(float))
        missed = float(np.linalg.norm((found.weights - w).astype(float)))
        if np.finfo(np.longdouble).eps < 1e-18:
            assert missed <= found.error
        assert found.error < 1e-13 * found.norm


def test_data_that_are_not_separable_have_a_finite_limit_and_partly_separable_ones_a_part_of_it():
    # e^{w₁} + e^{−2w₁} on the line (w₁ = log 2/3); the second coordinate runs away
    X, y = np.array([[-1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 1.0, 0.0]]), np.ones(4)
    line = regularised_exponential(X[:2, :1], y[:2], log_decay=-2000.0)
    assert line.weights[0] == pytest.approx(np.log(2.0) / 3.0, rel=1e-12)
    assert line.converged
    for found in regularised_path(X, y, [-15.0, -50.0, -690.0]):
        w, tolerance = found.weights, 2.0 * found.error
        assert found.converged
        assert w[1] + np.log(w[1]) == pytest.approx(
            -found.log_decay + np.log1p(np.exp(-w[0] / 2.0)), abs=tolerance
        )
        # 2 e^{−2w₁} − e^{w₁} + e^{−w₁/2 − w₂}/2 = λ w₁, of slope −3.8
        pull = 2.0 * np.exp(-2.0 * w[0]) - np.exp(w[0]) + 0.5 * np.exp(-w[0] / 2.0 - w[1])
        assert pull == pytest.approx(found.decay * w[0], abs=4.0 * tolerance)
        assert w[2] == 0.0
    assert not regularised_exponential(X, y, log_decay=-3000.0).converged
    # turned, the line is one to rounding only: rounding times 1/λ is as large as what pulls along the other direction
    turned = X @ np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    lost = regularised_exponential(turned, y, log_decay=-100.0)
    assert lost.error > 1e3
    assert not lost.converged


def test_misuse_is_answered():
    X, y = separable()
    for given, words in (
        ({}, "either decay or log_decay"),
        ({"decay": 1.0, "log_decay": 0.0}, "either decay or log_decay"),
        ({"decay": 0.0}, "write log_decay"),
        ({"log_decay": np.inf}, "finite number"),
        ({"decay": 1.0, "loss": "square"}, "write 'exponential' or 'logistic'"),
    ):
        with pytest.raises(ValueError, match=words):
            regularised_exponential(X, y, **given)
    with pytest.raises(ValueError, match="labels"):
        regularised_exponential(X, 2.0 * y, 1.0)
    with pytest.raises(ValueError, match="≥ 0"):
        ridge_path(X, y[:, None], [1.0, -1.0])
    with pytest.raises(ValueError, match="expected > 0"):
        ridge_path(X, y[:, None], [1.0], 0.0)


# The local pseudoinverse ------------------------------------------------------------------------------------


def two_layers():
    X = np.random.default_rng(4).standard_normal((3, 2))
    Y = np.sin(X[:, :1])
    problem = gradlab.Problem(gradlab.Dense((2, 4, 1), "tanh"), gradlab.Square(half=True), gradlab.Data(X, Y))
    return problem, problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))


def test_for_a_linear_model_it_is_the_nearest_solution_and_the_limit_of_gradient_flow():
    random = np.random.default_rng(5)
    X, Y, start = (
        random.standard_normal((3, 5)),
        random.standard_normal((3, 2)),
        random.standard_normal((2, 5)),
    )
    problem = gradlab.Problem(gradlab.Dense((5, 2)), gradlab.Square(half=True), gradlab.Data(X, Y))
    found = local_pseudoinverse(problem, (jnp.asarray(start),))
    nearest = start + minimum_norm(X, Y - X @ start.T)
    np.testing.assert_allclose(found.weights[0], nearest, atol=1e-13)
    assert (found.rank, found.gap) == (6, np.inf)
    assert found.residual < 1e-13
    flow = scipy.integrate.solve_ivp(
        lambda t, w: -((X @ w.reshape(2, 5).T - Y).T @ X).ravel(),
        (0, 200),
        start.ravel(),
        rtol=1e-10,
        atol=1e-12,
    )
    np.testing.assert_allclose(flow.y[:, -1].reshape(2, 5), nearest, atol=1e-8)


def test_the_step_solves_the_linearised_problem_inside_the_row_space():
    problem, weights = two_layers()
    found = local_pseudoinverse(problem, weights)
    J = np.asarray(problem.output_jacobian(weights)).reshape(3, -1)
    missing = np.asarray(problem.data.targets - problem.outputs(weights)).ravel()
    np.testing.assert_allclose(J @ found.step, missing, atol=1e-12)
    np.testing.assert_allclose(found.step, np.linalg.lstsq(J, missing, rcond=None)[0], atol=1e-12)
    np.testing.assert_allclose(found.basis.T @ (found.basis @ found.step), found.step, atol=1e-13)
    assert found.rank == 3
    moved = np.asarray(problem.ravel(found.weights)) - np.asarray(problem.ravel(weights))
    np.testing.assert_allclose(moved, found.step, atol=1e-14)


def test_distances_split_into_row_and_null_parts():
    problem, weights = two_layers()
    found = local_pseudoinverse(problem, weights)
    random = np.random.default_rng(6)
    inside, beside = found.basis.T @ random.standard_normal(3), random.standard_normal(problem.size)
    beside -= found.basis.T @ (found.basis @ beside)
    elsewhere = problem.unravel(jnp.asarray(found.start + found.step + inside + beside))
    distance = jacobian_distance(problem, elsewhere, found)
    assert distance.row == pytest.approx(np.linalg.norm(inside), rel=1e-12)
    assert distance.null == pytest.approx(np.linalg.norm(beside), rel=1e-12)
    assert distance.total == pytest.approx(np.hypot(distance.row, distance.null), rel=1e-15)
    there = jacobian_distance(problem, found.weights, found)
    assert there.total < 1e-14
    at_start = jacobian_distance(problem, weights, found)
    assert at_start.row == pytest.approx(np.linalg.norm(found.step), rel=1e-12)
    assert at_start.null < 1e-14
    assert np.isnan(at_start.relative)


def test_a_deficient_jacobian_shows_in_rank_and_gap():
    X = np.array([[1.0, 2.0], [2.0, 4.0], [0.0, 1.0]])
    problem = gradlab.Problem(gradlab.Dense((2, 1)), gradlab.Square(), gradlab.Data(X, [[1.0], [0.0], [1.0]]))
    found = local_pseudoinverse(problem, (jnp.zeros((1, 2)),))
    assert found.rank == 2
    assert found.residual == pytest.approx(
        2.0 / np.sqrt(5.0), rel=1e-12
    )  # (1, 0) against (1, 2): what is across
    repeated = gradlab.Problem(gradlab.Dense((2, 1)), gradlab.Square(), gradlab.Data(X[:2], [[1.0], [2.0]]))
    again = local_pseudoinverse(repeated, (jnp.zeros((1, 2)),))
    assert again.rank == 1
    assert again.gap > 1e14
    classes = gradlab.Problem(
        gradlab.Dense((2, 3)), gradlab.CrossEntropy(), gradlab.Data(X, np.array([0, 1, 2]))
    )
    with pytest.raises(ValueError, match="one-hot"):
        local_pseudoinverse(classes, (jnp.zeros((3, 2)),))
