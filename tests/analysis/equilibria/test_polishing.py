"""Polishing: quadratic where it should be, saddles kept, kernels untouched, and honest about rounding."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradlab.losses import CustomLoss

import gradlab
from gradlab import Data, Dense, Exponential, Function, Square
from gradlab.analysis.equilibria.polishing import minres, polish
from gradlab.analysis.equilibria.rounding import gradient_rounding
from gradlab.problem.problem import Problem


def chain() -> Problem:
    """½(w₂ w₁ − 1)²: a hyperbola of minima and a saddle at the origin."""
    return Problem(Dense.deep_linear((1, 1, 1)), Square(half=True), Data([[1.0]], [[1.0]]))


def weights(*values: float) -> tuple[np.ndarray, ...]:
    return tuple(np.array([[value]]) for value in values)


def regression(widths: tuple[int, ...]) -> Problem:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((8, 3)) @ np.diag([1.0, 1.0, 0.0])  # the third coordinate is never seen
    return Problem(Dense.deep_linear(widths), Square(), Data(X, generator.standard_normal((8, 2))))


def test_least_squares_is_reached_by_the_step_of_least_norm() -> None:
    problem = regression((3, 2))
    X, Y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    start = np.random.default_rng(1).standard_normal((2, 3))
    found = polish(problem, (start,))
    seen = np.linalg.pinv(X) @ X
    exact = start + (np.linalg.pinv(X) @ Y).T - start @ seen
    assert found.converged
    assert found.gradient <= found.rounding < 1e-11
    np.testing.assert_allclose(found.weights[0], exact, atol=1e-13)
    assert found.moved == pytest.approx(np.linalg.norm(exact - start), rel=1e-10)


def test_the_order_of_convergence_to_a_manifold_of_minima_is_two() -> None:
    problem = chain()
    sizes = [polish(problem, weights(1.6, 0.55), steps=steps).gradient for steps in range(7)]
    sizes = [size for size in sizes if size > 1e-13]
    logs = np.log(sizes)
    assert (logs[-1] - logs[-2]) / (logs[-2] - logs[-3]) == pytest.approx(2.0, abs=0.15)
    found = polish(problem, weights(1.6, 0.55))
    assert found.converged
    assert float(found.weights[0][0, 0] * found.weights[1][0, 0]) == pytest.approx(1.0, abs=1e-14)
    assert polish(problem, found.weights).moved <= 1e-14


def test_a_saddle_is_kept() -> None:
    found = polish(chain(), weights(0.2, -0.1))
    assert found.converged
    assert found.moved == pytest.approx(np.hypot(0.2, 0.1), rel=1e-12)
    origin = polish(chain(), weights(0.0, 0.0))
    assert (origin.converged, origin.steps, origin.gradient) == (True, 0, 0.0)


def _quartic(w: Any, x: Any) -> Any:
    return ((w[0] - 1.0) ** 4 + w[1] ** 4 + w[2] ** 2)[None] * jnp.ones((x.shape[0], 1))


def _value(f: Any, y: Any) -> Any:
    return f[:, 0]


def test_a_degenerate_equilibrium_is_still_reached() -> None:
    network = Function(_quartic, lambda key: jnp.zeros(3), input_shape=1, outputs=1)
    problem = Problem(network, CustomLoss(_value), Data([[1.0]], [[0.0]]))
    found = polish(problem, np.array([1.3, 0.2, 0.5]))
    assert found.converged
    # rounding^{1/3}: the gradient is cubic in the distance
    np.testing.assert_allclose(found.weights, [1.0, 0.0, 0.0], atol=1e-4)


def test_the_matrix_free_road_finds_the_same_manifold_by_steps_as_short() -> None:
    problem = regression((3, 3, 2))
    start = polish(problem, problem.network.init(jax.random.key(0), gradlab.Gaussian(0.5))).weights
    generator = np.random.default_rng(4)
    near = tuple(np.asarray(leaf) + 1e-4 * generator.standard_normal(leaf.shape) for leaf in start)
    dense, free = polish(problem, near, dense=True), polish(problem, near, dense=False)
    assert dense.converged
    assert free.converged
    apart = np.linalg.norm(np.asarray(problem.ravel(free.weights)) - np.asarray(problem.ravel(dense.weights)))
    # along the manifold of minima the two may end apart, but by less than the way there
    assert apart <= 0.5 * dense.moved
    assert free.moved == pytest.approx(dense.moved, rel=0.2)
    assert float(problem.potential(free.weights)) == pytest.approx(
        float(problem.potential(dense.weights)), rel=1e-13
    )


def test_minres_gives_the_solution_of_least_norm_of_a_singular_indefinite_system() -> None:
    generator = np.random.default_rng(5)
    Q = np.linalg.qr(generator.standard_normal((12, 12)))[0]
    A = (Q * np.array([3.0, 2.0, 1.0, -0.5, -4.0, 0.1, 0.02, 5.0, 0.0, 0.0, 0.0, 0.0])) @ Q.T
    right = A @ generator.standard_normal(12)
    found, size = minres(lambda v: A @ v, right, 1e-13, 200)
    np.testing.assert_allclose(found, np.linalg.pinv(A, rcond=1e-10) @ right, atol=1e-9)
    assert 0.2 <= size / 5.0 <= 1.5
    off = Q[:, -1]
    np.testing.assert_allclose(minres(lambda v: A @ v, off, 1e-13, 200)[0], 0.0, atol=1e-9)


def test_rounding_bounds_the_error_of_the_gradient_and_is_not_absurd() -> None:
    problem = regression((3, 4, 2))
    X, Y = (np.asarray(part, dtype=np.longdouble) for part in (problem.data.inputs, problem.data.targets))
    for seed in range(5):
        start = problem.network.init(jax.random.key(seed), gradlab.Gaussian(1.0))
        A, B = (np.asarray(layer, dtype=np.longdouble) for layer in start)
        rest = X @ A.T @ B.T - Y
        exact = np.concatenate([(2 * B.T @ rest.T @ X).ravel(), (2 * rest.T @ (X @ A.T)).ravel()])
        error = float(np.linalg.norm(np.asarray(problem.ravel(problem.gradient(start))) - exact))
        noise, bound = gradient_rounding(problem, start)
        assert error <= bound
        assert noise / 30.0 <= error


def test_weights_that_run_to_infinity_are_no_equilibrium() -> None:
    problem = Problem(Dense((2, 1), "identity"), Exponential(), Data([[1.0, 0.5], [-1.0, 0.5]], [1.0, -1.0]))
    far = polish(problem, (np.array([[900.0, 0.0]]),))
    assert far.gradient == 0.0
    assert not far.converged
    assert "underflows" in far.why
    near = polish(problem, (np.array([[1.0, 0.0]]),), steps=20)
    assert not near.converged
    assert "not enough" in near.why


def test_bad_weights_are_refused_in_a_sentence() -> None:
    problem = chain()
    with pytest.raises(ValueError, match="float32, whose rounding hides kernels"):
        polish(problem, tuple(np.ones((1, 1), np.float32) for _ in range(2)))
    with pytest.raises(ValueError, match=r"weights\[1\] contains NaN"):
        polish(problem, weights(1.0, np.nan))
    with pytest.raises(ValueError, match="expected"):
        polish(problem, weights(1.0))
