"""KKT residuals of the max-margin problem: zero at its solutions, an upper bound by the flow's own weights."""

from __future__ import annotations

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import lsq_linear, nnls

import gradlab
from gradlab.analysis import kkt
from gradlab.analysis.kkt import kkt_residual
from gradlab.analysis.solutions import max_margin
from gradlab.observe.margins import KKTSlackness, KKTStationarity, RadialMargin, SmoothedMargin
from gradlab.problem.data import separable
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def linear(widths: tuple[int, ...] = (3, 1), loss: Any = None) -> Problem:
    data = separable(jax.random.key(0), N=8, d=3, margin=0.5)
    return Problem(Dense(widths, "identity"), gradlab.Exponential() if loss is None else loss, data)


def classes() -> Problem:
    y = np.arange(9) % 3
    x = 2.0 * np.eye(3)[y] + 0.1 * np.random.default_rng(5).standard_normal((9, 3))
    return Problem(Dense((3, 3), "identity"), gradlab.CrossEntropy(), gradlab.Data(x, y))


def hard_margin(problem: Problem) -> Any:
    return max_margin(np.asarray(problem.data.inputs), np.asarray(problem.data.targets))


def test_the_residual_is_rounding_at_the_hard_margin_solution_and_its_multipliers_are_the_dual() -> None:
    problem = linear()
    solution = hard_margin(problem)
    assert solution.unique_dual
    found = kkt_residual(problem, (jnp.asarray(solution.direction[None]) * 37.0,))
    assert found.residual <= found.rounding
    np.testing.assert_allclose(found.multipliers, solution.alpha, atol=1e-12 * solution.alpha.max())
    assert found.margin == pytest.approx(solution.margin, rel=1e-13)


def test_balanced_factors_of_the_hard_margin_solution_are_a_kkt_point_of_the_deep_net() -> None:
    # Ji and Telgarsky 2019: rank one, aligned, equal norms. Then the margin on the sphere is γ 3^{−3/2}.
    problem = linear((3, 4, 3, 1))
    solution = hard_margin(problem)
    unit = solution.direction / np.linalg.norm(solution.direction)
    u, v = np.ones(4) / 2.0, np.array([0.6, 0.0, 0.8])
    weights = tuple(jnp.asarray(m) for m in (np.outer(u, unit), np.outer(v, u), v[None]))
    found = kkt_residual(problem, weights)
    assert found.residual <= found.rounding
    assert found.margin == pytest.approx(solution.margin * 3.0**-1.5, rel=1e-13)
    skewed = kkt_residual(problem, (2.0 * weights[0], *weights[1:]))
    assert skewed.stationarity > 0.1


@pytest.mark.parametrize("problem", [linear((3, 4, 1)), classes()], ids=["signs", "classes"])
def test_the_multipliers_are_the_best_ones_and_better_than_the_flows_own(problem: Problem) -> None:
    weights = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.3))
    step = jax.jit(lambda w: jax.tree.map(lambda a, g: a - 0.05 * g, w, problem.log_gradient(w)))
    for _ in range(300):
        weights = step(weights)
    found = kkt_residual(problem, weights)
    # The same least squares by another algorithm, from autodiff rows and margins of V.
    V = np.asarray(problem.ravel(weights))
    V = V / np.linalg.norm(V)

    def constraints(vector: Any) -> Any:
        outputs, y = problem.outputs(problem.unravel(vector)), problem.data.targets
        if problem.loss.labels == "sign":
            return y * outputs[:, 0]
        others = (y[:, None] + jnp.arange(1, 3)) % 3
        return (outputs[jnp.arange(9), y][:, None] - jnp.take_along_axis(outputs, others, 1)).reshape(-1)

    m, rows = np.asarray(constraints(V)), np.asarray(jax.jacrev(constraints)(V))
    system = np.vstack([rows.T, np.diag(m - m.min())])
    other = lsq_linear(system, np.append(V, 0.0 * m), bounds=(0.0, np.inf), tol=1e-14)
    assert found.residual == pytest.approx(np.sqrt(2.0 * other.cost), abs=1e-9)
    stationarity = float(KKTStationarity()(problem, weights, None, None))
    slackness = float(KKTSlackness()(problem, weights, None, None))
    assert found.residual <= np.hypot(stationarity, np.sqrt(len(m)) * slackness)
    # the observables by hand, with p from the loss's own derivatives
    total, K = np.linalg.norm(problem.ravel(weights)), sum(problem.network.degrees)
    scaled = total**K * m
    if problem.loss.labels == "sign":
        p = np.exp(-(scaled - scaled.min()))
    else:
        inner = np.exp(-scaled).reshape(9, 2)
        p = (inner / (1.0 + inner.sum(axis=1, keepdims=True))).reshape(-1)
    G = rows.T @ p
    assert stationarity == pytest.approx(np.linalg.norm(V - G / np.linalg.norm(G)), abs=1e-12)
    assert slackness == pytest.approx(np.max(p * (m - m.min())) / np.linalg.norm(G), rel=1e-9)
    assert float(RadialMargin()(problem, weights, None, None)) == pytest.approx(m.min(), rel=1e-12)


@pytest.mark.parametrize("loss", [gradlab.Exponential("mean"), gradlab.Logistic(), gradlab.Logistic("mean")])
def test_the_smoothed_margin_bounds_the_margin_from_below_and_is_right_where_the_loss_underflows(
    loss: Any,
) -> None:
    problem = linear((3, 1), loss)
    w = jnp.asarray(hard_margin(problem).direction[None])
    for scale in (1.0, 30.0, 1e6):
        margin = float(RadialMargin()(problem, (scale * w,), None, None))
        smoothed = float(SmoothedMargin()(problem, (scale * w,), None, None))
        norm = scale * float(jnp.linalg.norm(w))
        loss_sum = 8.0 * np.exp(-norm * margin)
        assert smoothed <= margin * (1.0 + 1e-14)
        assert margin - smoothed <= (np.log(8.0) + loss_sum) / norm + 1e-14
    m = np.asarray(problem.margins((w,)))
    each = np.exp(-m) if isinstance(loss, gradlab.Exponential) else np.log1p(np.exp(-m))
    level = -np.log(each.sum()) if isinstance(loss, gradlab.Exponential) else -np.log(np.expm1(each.sum()))
    value = float(SmoothedMargin()(problem, (w,), None, None))
    assert value == pytest.approx(level / float(jnp.linalg.norm(w)), rel=1e-12)


# Kinks ----------------------------------------------------------------------------------------------------


def crossing() -> tuple[Problem, tuple[Any, Any]]:
    """One neuron a label on e₁ (+) and e₂ (−), balanced: least ‖W‖ with y f ≥ 1 on both, each on the other's kink."""
    problem = Problem(Dense((2, 2, 1), "relu"), gradlab.Exponential(), gradlab.Data(np.eye(2), [1, -1]))
    return problem, (jnp.eye(2), jnp.array([[1.0, -1.0]]))


@pytest.mark.parametrize("signs", [None, np.array([[1, 0], [0, 1]])], ids=["seen by itself", "given"])
def test_the_kkt_residual_vanishes_at_a_known_max_margin_point(signs: Any) -> None:
    problem, weights = crossing()
    at = kkt_residual(problem, weights, signs)
    assert at.residual < 1e-10
    assert at.margin == pytest.approx(0.25)
    np.testing.assert_allclose(at.multipliers, 1.0, atol=1e-9)
    np.testing.assert_array_equal(at.kinks, [[0, 1], [1, 0]])
    off = kkt_residual(problem, (jnp.array([[1.0, 0.3], [0.0, 1.0]]), weights[1]))
    assert off.residual > 0.05
    assert off.angle > 0.05


def test_the_kkt_residual_needs_the_generalised_gradient_at_kinks() -> None:
    # Opposite labels at 60°: the neuron of x₁ is x₁ − (x₁·x₂) x₂, on the kink of x₂ with slope q = x₁·x₂ = ½.
    X = np.array([[1.0, 0.0], [0.5, math.sqrt(0.75)]])
    problem = Problem(Dense((2, 2, 1), "relu"), gradlab.Exponential(), gradlab.Data(X, [1.0, -1.0]))
    first = X - 0.5 * X[::-1]
    size = float(np.linalg.norm(first[0]))
    weights = (jnp.asarray(first), jnp.array([[size, -size]]))
    signs = np.array([[1, 0], [0, 1]])
    at = kkt_residual(problem, weights, signs)
    assert at.residual <= at.rounding < 1e-10
    # w = λ a (x₁ − x₂/2) and, balanced, a = |w|: λ = 1/|x₁ − x₂/2|
    np.testing.assert_allclose(at.multipliers, 1.0 / size, atol=1e-9)
    for side in (1, -1):
        assert kkt_residual(problem, weights, np.where(signs == 0, side, signs)).residual > 0.1


@pytest.mark.parametrize("activation", ["relu", gradlab.activations.leaky_relu(0.2)], ids=["relu", "leaky"])
@pytest.mark.parametrize("labels", ["sign", "class"])
def test_off_the_kinks_margins_and_gradients_are_those_of_automatic_differentiation(
    labels: str, activation: Any
) -> None:
    X = np.random.default_rng(2).standard_normal((7, 3))
    outputs, y = (1, np.where(X[:, 0] > 0, 1.0, -1.0)) if labels == "sign" else (3, np.arange(7) % 3)
    loss = gradlab.Logistic() if labels == "sign" else gradlab.CrossEntropy()
    problem = Problem(Dense((3, 5, outputs), activation), loss, gradlab.Data(X, y))
    weights = problem.network.init(jax.random.key(3), gradlab.init.He())
    here, reference = kkt._of_kinks(problem, weights, None), kkt._smooth(problem, weights)
    assert len(here.of) == 0
    np.testing.assert_array_equal(here.kept, reference.kept)
    np.testing.assert_allclose(here.margins, reference.margins, atol=1e-14)
    np.testing.assert_allclose(here.rows, reference.rows, atol=1e-14)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_multipliers_and_slopes_are_the_best_over_all_corners_of_the_subdifferential(noise: float) -> None:
    # the independent form: λ_n h_n = Σ_v λ_nv h_nv over the 2^k corners v of the box of slopes [α, 1]^k
    rng, alpha, P, of = np.random.default_rng(11), 0.2, 20, np.array([0, 0, 2, 3])
    rows, adds, slack = (
        rng.standard_normal((6, P)),
        rng.standard_normal((4, P)),
        np.array([0, 0.1, 0, 0, 0.5, 0]),
    )
    none = np.zeros((0, 2), int)
    given = kkt._Constraints(np.ones(6, bool), slack + 1.0, rows, adds, of, alpha, none)
    inside = rows[[0, 2, 3, 5]].sum(axis=0) + (1.0 - alpha) * np.array([0.3, 0.6, 0.5, 1.0]) @ adds
    V = inside / np.linalg.norm(inside) + noise * rng.standard_normal(P) / math.sqrt(P)
    corners, owner = [], []
    for k, row in enumerate(rows):
        own = adds[of == k]
        for choice in itertools.product((0.0, 1.0 - alpha), repeat=len(own)):
            corners.append(row + np.asarray(choice) @ own)
            owner.append(k)
    system = np.vstack([np.array(corners).T, np.diag(slack)[:, owner]])
    best = nnls(system, np.append(V, np.zeros(6)))[1]
    mu, up = kkt._least_squares(given, V, slack)
    assert (up >= 0.0).all()
    assert (up <= (1.0 - alpha) * mu[of]).all()
    residual = math.hypot(np.linalg.norm(V - rows.T @ mu - adds.T @ up), np.linalg.norm(mu * slack))
    # the finite weight of the ties, 1e4, leaves about 1e-8 in each product of multiplier and slope
    assert residual == pytest.approx(best, abs=1e-6)
    without = nnls(np.vstack([rows.T, np.diag(slack)]), np.append(V, np.zeros(6)))[1]
    assert without > best + 0.1


def test_sides_of_the_wrong_shape_or_of_a_smooth_net_are_refused() -> None:
    problem, weights = crossing()
    with pytest.raises(ValueError, match=r"signs have shape \(3, 2\); expected \(2, 2\)"):
        kkt_residual(problem, weights, np.ones((3, 2)))
    with pytest.raises(ValueError, match="leave them out"):
        kkt_residual(linear(), (jnp.ones((1, 3)),), np.ones((1, 8)))


def test_unseparated_data_and_other_problems_are_refused() -> None:
    problem = linear()
    with pytest.raises(ValueError, match="least margin"):
        kkt_residual(problem, (-jnp.ones((1, 3)),))
    assert float(KKTStationarity()(problem, (-jnp.ones((1, 3)),), None, None)) == np.inf
    data = separable(jax.random.key(0), N=8, d=3, margin=0.5)
    biased = Problem(Dense((3, 4, 1), "tanh"), gradlab.Exponential(), data)
    with pytest.raises(ValueError, match="homogeneous"):
        kkt_residual(biased, biased.network.init(jax.random.key(0), gradlab.init.He()))
    square = Problem(Dense((3, 1)), gradlab.Square(), gradlab.Data(np.eye(3), np.ones((3, 1))))
    with pytest.raises(ValueError, match="margin loss"):
        kkt_residual(square, (jnp.ones((1, 3)),))
    for item in (KKTStationarity(), KKTSlackness(), RadialMargin(), SmoothedMargin()):
        assert item.refuse(problem) is None
        assert "homogeneous" in (item.refuse(biased) or "")
