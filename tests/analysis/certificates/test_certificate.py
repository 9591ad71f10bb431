"""What is proved is true where the truth is known, false statements are not proved, and refusals say why."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import scipy.optimize
from flint import arb

from gradlab.analysis.certificates import Certificate, certify
from gradlab.analysis.certificates.balls import arithmetic, middles, vector
from gradlab.analysis.certificates.certificate import rounded
from gradlab.analysis.certificates.enclosure import enclosure
from gradlab.analysis.certificates.existence import radii
from gradlab.analysis.equilibria.polishing import polish
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.initialisation import Factorised, Gaussian
from gradlab.problem.losses import CrossEntropy, Logistic, Square
from gradlab.problem.networks import Dense, Residual
from gradlab.problem.problem import Problem

DRAW = np.random.default_rng(0)
X = DRAW.standard_normal((8, 2))
CURVE = np.sin(X[:, :1]) + 0.5 * X[:, 1:] ** 2
SIGNS = np.array([1.0, -1, 1, 1, -1, -1, 1, -1])


def polished(problem: Problem, weights: Any) -> Any:
    result = polish(problem, weights)
    assert result.converged, result.why
    return result.weights


def descended(problem: Problem, weights: Any) -> Any:
    """Polished after long descent: a minimum, not the next saddle."""

    @jax.jit
    def run(start: Any) -> Any:
        def step(_: Any, w: Any) -> Any:
            return jax.tree.map(lambda a, g: a - 0.2 * g, w, problem.gradient(w))

        return jax.lax.fori_loop(0, 50_000, step, jax.tree.map(jax.numpy.asarray, start))

    return polished(problem, run(weights))


def stepped(problem: Problem, start: np.ndarray) -> Any:
    """Ten Newton steps on the midpoints of balls, which need no compilation."""
    with arithmetic(128):
        form, point = enclosure(problem), np.asarray(start, dtype=float)
        for _ in range(10):
            here = vector(point)
            point = point - np.linalg.solve(middles(form.hessian(here)), middles(form.gradient(here)))
    return problem.unravel(point)


def moved(problem: Problem, weights: Any, distance: float) -> Any:
    """Every weight moved by ± distance."""
    signs = np.sign(np.random.default_rng(9).standard_normal(problem.size))
    return problem.unravel(np.asarray(problem.ravel(weights)) + distance * signs)


def chain(decay: float = 0.25, activation: str = "identity") -> Problem:
    """½(w_2 w_1 − 1)² + ½ decay (w_1² + w_2²): minimum at w_1 = w_2 = √(1 − decay), saddle at 0."""
    return Problem(Dense((1, 1, 1), activation), Square(half=True), Data([[1.0]], [[1.0]]), decay)


def curve(decay: float = 0.01) -> Problem:
    return Problem(Dense((2, 3, 1), "tanh"), Square("mean"), Data(X, CURVE), decay)


@pytest.fixture(scope="module")
def minimum() -> tuple[Problem, Any, Certificate]:
    problem = curve()
    weights = problem.network.init(jax.random.key(0), Gaussian(1.0))
    weights = descended(problem, weights)
    return problem, weights, certify(problem, weights)


# Proofs ----------------------------------------------------------------------------------------------------


def test_the_ball_contains_the_root_that_is_known_in_closed_form() -> None:
    problem = chain()
    for distance in (0.0, 1e-9, 1e-4):
        weights = problem.unravel(np.sqrt(0.75) + distance * np.array([1.0, -1.0]))
        found = certify(problem, weights)
        assert found.proved, found.why
        assert (found.kind, found.index, found.kernel, found.positive) == ("minimum", 0, 0, 2)
        with arithmetic(200):
            root, reach = (arb(3) / 4).sqrt(), arb(found.radius)
            for w in np.asarray(problem.ravel(weights)):
                assert abs(arb(float(w)) - root) < reach
        assert found.radius < 3 * distance + 1e-15
        # the saddle at 0 is an equilibrium too, and so cannot be within R
        assert found.radius <= found.uniqueness < np.sqrt(0.75) + distance
        # with w² = 1 − λ the Hessian is [[1, 1 − 2λ], [1 − 2λ, 1]], eigenvalues 2λ and 2 − 2λ
        assert found.eigenvalues is not None
        assert np.all(found.eigenvalues.lower <= [0.5, 1.5])
        assert np.all(found.eigenvalues.upper >= [0.5, 1.5])
        assert found.gap <= 0.5


def test_a_tanh_net_with_decay_has_a_proved_hyperbolic_minimum(
    minimum: tuple[Problem, Any, Certificate],
) -> None:
    problem, weights, found = minimum
    assert found.proved, found.why
    assert (found.index, found.kernel, found.positive) == (0, 0, problem.size)
    assert found.radius < 1e-12 < found.uniqueness
    values = np.linalg.eigvalsh(np.asarray(problem.hessian(weights)))
    assert found.eigenvalues is not None
    np.testing.assert_allclose(0.5 * (found.eigenvalues.lower + found.eigenvalues.upper), values, atol=1e-12)
    assert 0 < found.gap <= values[0] + 1e-12
    assert "strict local minimum" in found.statement


def test_logistic_regression_with_decay_has_a_proved_minimum_that_is_global() -> None:
    problem = Problem(Dense((2, 1)), Logistic("mean"), Data(X, SIGNS), 0.1)
    found = certify(problem, stepped(problem, np.zeros(2)))
    assert found.proved, found.why
    assert (found.index, found.positive) == (0, 2)
    assert found.gap >= 0.1 - 1e-12  # convex + ½ · 0.1 ‖w‖²


def test_a_minimum_of_one_unit_is_a_saddle_of_index_two_among_three() -> None:
    # zero units see the gradient g of the outer weight only: their Hessian is [[λ, g], [gᵀ, λ]], index 1 each
    small = Problem(Dense((2, 1, 1), "tanh"), Square("mean"), Data(X, CURVE), 0.01)

    def loss(w: np.ndarray) -> float:
        return np.mean((w[2] * np.tanh(X @ w[:2]) - CURVE[:, 0]) ** 2) + 0.005 * w @ w

    a, c = map(np.asarray, stepped(small, scipy.optimize.minimize(loss, [0.2, 1.0, 0.8]).x))
    problem = curve()
    weights = (np.concatenate([a, np.zeros((2, 2))]), np.concatenate([c, np.zeros((1, 2))], axis=1))
    found = certify(problem, weights)
    assert found.proved, found.why
    assert found.kind == "saddle"
    assert found.index == 2 + certify(small, (a, c)).index >= 2
    values = np.linalg.eigvalsh(np.asarray(problem.hessian(weights)))
    assert found.index == int(np.sum(values < 0))


def test_the_origin_of_a_linear_net_of_two_layers_is_a_saddle_exactly() -> None:
    # L = ½‖W_2W_1 − Φ‖²: the Hessian at 0 pairs dW_1 and dW_2 through Φ, eigenvalues ± σ_i(Φ), each three times
    problem = Problem(Dense.deep_linear((2, 3, 2)), Square(half=True), Data(np.eye(2), np.diag([2.0, 0.5])))
    found = certify(problem, problem.unravel(np.zeros(12)))
    assert found.proved, found.why
    assert (found.kind, found.index, found.positive, found.radius) == ("saddle", 6, 6, 0.0)
    assert found.eigenvalues is not None
    expected = np.repeat([-2.0, -0.5, 0.5, 2.0], 3)
    assert np.all((found.eigenvalues.lower <= expected) & (expected <= found.eigenvalues.upper))


TARGET = np.array([[1.0, 0.3], [-0.2, 0.7]])


@pytest.mark.parametrize(("widths", "kernel"), [((2, 2, 2), 4), ((2, 3, 2), 8), ((2, 2, 2, 2), 8)])
def test_a_linear_net_has_a_proved_manifold_of_minima(widths: tuple[int, ...], kernel: int) -> None:
    problem = Problem(Dense.deep_linear(widths), Square(half=True), Data(np.eye(2), TARGET.T))
    weights = problem.network.init(None, Factorised(TARGET))
    found = certify(problem, weights)
    assert found.proved, found.why
    # P − 4 of the weights do not matter: the product is a submersion onto the 2 × 2 matrices
    assert (found.kind, found.index, found.kernel, found.positive) == (
        "minimum modulo symmetry",
        0,
        kernel,
        4,
    )
    assert found.symmetry == {"general linear": kernel}
    assert found.radius < 1e-13


def test_with_decay_the_manifold_is_an_orbit_of_rotations() -> None:
    # balanced factors of Φ with its singular values lowered by λ: U(S − λ)Vᵀ
    left, values, right = np.linalg.svd(TARGET)
    problem = Problem(Dense.deep_linear((2, 3, 2)), Square(half=True), Data(np.eye(2), TARGET.T), 0.125)
    found = certify(problem, problem.network.init(None, Factorised(left @ np.diag(values - 0.125) @ right)))
    assert found.proved, found.why
    # the third hidden unit is 0: rotations that mix it with the others, and those two with each other
    assert (found.index, found.kernel, found.positive) == (0, 3, 9)
    assert found.symmetry == {"rotation": 3}


def test_a_decay_that_breaks_the_symmetry_is_told_from_none_down_to_rounding() -> None:
    left, values, right = np.linalg.svd(TARGET)
    for decay in (1e-6, 1e-12, 1e-16):
        problem = Problem(Dense.deep_linear((2, 2, 2)), Square(half=True), Data(np.eye(2), TARGET.T), decay)
        weights = problem.network.init(None, Factorised(left @ np.diag(values - decay) @ right))
        found = certify(problem, weights)
        # never 4, the kernel without decay: SO(2) is all that is left, however small the decay
        assert (found.proved, found.kernel) == ((True, 1) if decay > 1e-15 else (False, -1))
        assert found.proved or "explain 1" in found.why


def test_rescalings_mixings_and_shifts_explain_their_kernels() -> None:
    teacher = (np.array([[1.0, 0.5], [-0.3, 0.8]]), np.array([[1.0, -0.6]]))
    taught = (X @ teacher[0].T) ** 2 @ teacher[1].T
    squares = Problem(Dense((2, 2, 1), polynomial((0, 0, 1))), Square("mean"), Data(X, taught))
    found = certify(squares, teacher)
    assert found.proved, found.why
    assert found.kernel == 3  # Σ a_i (w_i·x)² is one of 3 quadratic forms, of 6 weights
    assert found.symmetry == {"rescaling": 2, "mixing": 1}
    # every input once in every class: the best outputs are equal, W = 0
    classes = Data(np.repeat(X, 3, axis=0), np.tile([0, 1, 2], 8))
    softmax = Problem(Dense((2, 3), bias=True), CrossEntropy("mean"), classes)
    found = certify(softmax, softmax.unravel(np.zeros(9)))
    assert found.proved, found.why
    assert (found.index, found.kernel, found.positive) == (0, 3, 6)


def test_a_wide_tanh_net_has_a_proved_manifold_of_zero_loss() -> None:
    problem = Problem(Dense((2, 6, 1), "tanh"), Square("mean"), Data(X[:4], CURVE[:4]))
    first = np.asarray(problem.network.init(jax.random.key(3), Gaussian(1.0))[0])
    second = np.linalg.lstsq(np.tanh(X[:4] @ first.T), CURVE[:4], rcond=None)[0].T
    found = certify(problem, (first, second))
    assert found.proved, found.why
    assert found.kind == "minimum of a manifold of zero loss"
    assert (found.index, found.kernel, found.positive) == (0, 18 - 4, 4)


def test_a_relu_net_is_certified_away_from_its_kinks_only() -> None:
    problem = chain(activation="relu")
    found = certify(problem, problem.unravel(np.full(2, np.sqrt(0.75))))
    assert found.proved, found.why
    assert found.positive == 2
    refused = certify(problem, problem.unravel(np.zeros(2)))
    assert not refused.proved
    assert "kink" in refused.why


# False statements and refusals -----------------------------------------------------------------------------


def test_a_moved_point_is_not_proved_to_be_where_it_is(minimum: tuple[Problem, Any, Certificate]) -> None:
    problem, weights, _ = minimum
    assert certify(problem, weights, within=1e-9).proved
    for distance in (1e-3, 1e-6):
        refused = certify(problem, moved(problem, weights, distance), within=0.9 * distance)
        assert not refused.proved
        assert refused.why
        assert refused.statement == ""


def test_a_wrong_index_is_not_proved(minimum: tuple[Problem, Any, Certificate]) -> None:
    problem, weights, _ = minimum
    refused = certify(problem, weights, index=1)
    assert not refused.proved
    assert "index is 0" in refused.why
    assert certify(problem, weights, index=0).proved


def test_no_equilibrium_is_found_where_there_is_none(minimum: tuple[Problem, Any, Certificate]) -> None:
    problem, weights, _ = minimum
    refused = certify(problem, moved(problem, weights, 0.3))
    assert not refused.proved
    assert "polish" in refused.why


def test_a_degenerate_origin_is_refused() -> None:
    problem = Problem(Dense.deep_linear((2, 2, 2, 2)), Square(), Data(np.eye(2), TARGET.T))
    refused = certify(problem, problem.unravel(np.zeros(12)))
    assert not refused.proved
    assert "12 of 12" in refused.why


def test_a_kernel_that_no_symmetry_explains_is_refused() -> None:
    # ½ (w_2 w_1 − 1)² with decay 1: L = ½ + ½ (w_1 − w_2)² + ½ w_1² w_2² is flat to second order along w_1 = w_2 at 0
    refused = certify(chain(decay=1.0), (np.zeros((1, 1)), np.zeros((1, 1))))
    assert not refused.proved
    assert "1 of 2" in refused.why


def test_a_network_without_formula_and_a_point_that_is_not_finite_are_refused() -> None:
    residual = Problem(Residual(2, 3, 1, 1, "tanh"), Square(), Data(X, CURVE))
    assert "Dense" in certify(residual, residual.unravel(np.ones(residual.size))).why
    problem = curve()
    assert "finite" in certify(problem, problem.unravel(np.full(9, np.nan))).why


def test_misuse_is_an_error() -> None:
    problem = chain()
    with pytest.raises(ValueError, match="precision"):
        certify(problem, problem.unravel(np.ones(2)), precision=20)
    with pytest.raises(ValueError, match="within"):
        certify(problem, problem.unravel(np.ones(2)), within=0.0)
    with pytest.raises(ValueError):
        certify(problem, (np.ones((1, 1)),))


# Radii -----------------------------------------------------------------------------------------------------


def test_the_radii_are_the_roots_of_the_radii_polynomial() -> None:
    # Z(r) = Z0 + Z2 r: the least r is the smaller root of Y + (Z0 − 1) r + Z2 r², and Z(R) = 1 at (1 − Z0)/Z2
    Y, Z0, Z2 = 1e-6, 0.1, 50.0
    with arithmetic(128):
        found = radii(Y, Z0, lambda r: Z0 + Z2 * r)
        refused = radii(0.01, Z0, lambda r: Z0 + Z2 * r)  # (1 − Z0)² < 4 Y Z2: no root
    least = ((1 - Z0) - np.sqrt((1 - Z0) ** 2 - 4 * Y * Z2)) / (2 * Z2)
    assert found.existence is not None
    assert least <= found.existence < 1.01 * least
    assert 0.8 * (1 - Z0) / Z2 <= found.uniqueness < (1 - Z0) / Z2
    assert refused.existence is None


def test_printed_radii_are_rounded_to_the_safe_side() -> None:
    assert rounded(1.01e-9, "up") == "1.1e-9"
    assert rounded(1.09e-9, "down") == "1.0e-9"
    assert rounded(0.0, "up") == "0"
