"""Minimum norm, ridge, hard margin and its limit constants, against optimality conditions and flows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate

from gradlab.analysis.solutions import (
    max_margin,
    minimum_norm,
    null_projector,
    rank,
    ridge,
    soudry_constants,
    span_projector,
)

SHAPES = [(5, 9, 5), (12, 4, 4), (6, 6, 6), (10, 8, 3)]  # N, d, rank


def rows_of(N, d, r, seed=0):
    random = np.random.default_rng(seed)
    return (
        random.normal(size=(N, r)) @ random.normal(size=(r, d))
        if r < min(N, d)
        else random.normal(size=(N, d))
    )


def separable(N, d, seed, gap=0.3):
    random = np.random.default_rng(seed)
    X, u = random.normal(size=(N, d)), random.normal(size=d)
    u /= np.linalg.norm(u)
    y = np.where(X @ u >= 0, 1.0, -1.0)
    return X + gap * y[:, None] * u, y


@pytest.mark.parametrize(("N", "d", "r"), SHAPES)
def test_minimum_norm_solves_the_normal_equations_inside_the_span(N, d, r):
    X, Y = rows_of(N, d, r), np.random.default_rng(1).normal(size=(N, 2))
    W = minimum_norm(X, Y)
    assert W.shape == (2, d)
    np.testing.assert_allclose((X @ W.T - Y).T @ X, 0, atol=1e-12)
    np.testing.assert_allclose(W @ null_projector(X), 0, atol=1e-13)
    np.testing.assert_allclose(W, (np.linalg.pinv(X) @ Y).T, atol=1e-12)


@pytest.mark.parametrize(("N", "d", "r"), SHAPES)
@pytest.mark.parametrize("factor", [1.0, 0.5, 0.1])
def test_ridge_makes_the_gradient_of_its_potential_vanish(N, d, r, factor):
    X, Y = rows_of(N, d, r), np.random.default_rng(2).normal(size=(N, 3))
    W = ridge(X, Y, 0.7, factor)
    np.testing.assert_allclose(2 * factor * (X @ W.T - Y).T @ X + 0.7 * W, 0, atol=1e-12)


def test_ridge_tends_to_the_minimum_norm_solution_linearly_in_the_decay():
    X, Y = rows_of(10, 8, 3), np.random.default_rng(2).normal(size=(10, 3))
    limit = minimum_norm(X, Y)
    distances = [np.linalg.norm(ridge(X, Y, decay) - limit) for decay in (1e-3, 1e-4)]
    assert distances[0] / distances[1] == pytest.approx(10, rel=1e-3)
    np.testing.assert_array_equal(ridge(X, Y, 0.0), limit)


@pytest.mark.parametrize(("N", "d", "r"), SHAPES)
def test_projectors_split_the_space_by_the_rank(N, d, r):
    X = rows_of(N, d, r)
    P, Q = span_projector(X), null_projector(X)
    assert rank(X) == r
    np.testing.assert_allclose(P @ P, P, atol=1e-13)
    np.testing.assert_allclose(X @ Q, 0, atol=1e-12)
    np.testing.assert_allclose(X @ P, X, atol=1e-12)
    assert np.trace(P) == pytest.approx(r)


def assert_optimal(X, y, found, tolerance=1e-12):
    """The KKT conditions, computed here anew; they are sufficient for this convex problem."""
    A = y[:, None] * X
    slack = A @ found.direction - 1
    assert slack.min() > -tolerance
    assert found.alpha.min() >= 0
    assert np.linalg.norm(A.T @ found.alpha - found.direction) <= tolerance * np.linalg.norm(found.direction)
    assert np.abs(found.alpha * slack).sum() <= tolerance * found.alpha.sum()
    assert found.kkt_residual <= tolerance
    assert found.gap <= 10 * tolerance
    assert found.margin == pytest.approx(1 / np.linalg.norm(found.direction), rel=1e-14)
    assert found.next_margin >= 1 + 1e-9
    assert np.all(found.alpha[~found.support] == 0)


@pytest.mark.parametrize(("N", "d"), [(3, 10), (20, 2), (40, 5), (30, 30), (100, 8), (1, 4)])
@pytest.mark.parametrize("seed", range(4))
def test_hard_margin_meets_the_kkt_conditions_to_1e12(N, d, seed):
    X, y = separable(N, d, seed)
    found = max_margin(X, y)
    assert_optimal(X, y, found)
    assert found.unique_dual


@pytest.mark.parametrize("seed", range(3))
def test_hard_margin_agrees_with_libsvm(seed):
    from sklearn.svm import SVC

    # SVC has a bias; the data's mirror image makes it vanish without moving the direction
    X, y = separable(25, 4, seed)
    found = max_margin(X, y)
    peer = SVC(kernel="linear", C=1e12, tol=1e-10).fit(np.vstack([X, -X]), np.concatenate([y, -y]))
    np.testing.assert_allclose(
        found.direction, peer.coef_[0], rtol=0, atol=1e-6 * np.linalg.norm(found.direction)
    )


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_hard_margin_scales_with_the_data(scale):
    X, y = separable(30, 4, 3)
    plain, scaled = max_margin(X, y), max_margin(scale * X, y)
    np.testing.assert_allclose(scaled.direction * scale, plain.direction, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(scaled.alpha * scale**2, plain.alpha, rtol=1e-11, atol=1e-13)
    assert_optimal(scale * X, y, scaled)


@pytest.mark.parametrize("gap", [1e-3, 1e-5, 1e-7])
def test_hard_margin_resolves_small_margins(gap):
    X, y = separable(40, 3, 5)
    u = max_margin(X, y).direction
    u /= np.linalg.norm(u)
    X = X - np.outer(X @ u - y * np.maximum(gap, 2 * np.abs(X @ u) - 1), u)
    found = max_margin(X, y)
    assert found.margin >= gap * (1 - 1e-6)
    assert found.kkt_residual < 1e-15 * np.linalg.norm(X, axis=1).max() / found.margin


def test_duplicates_on_the_margin_leave_the_direction_and_take_the_dual_s_uniqueness():
    X, y = separable(20, 4, 1)
    once = max_margin(X, y)
    n = int(once.alpha.argmax())
    twice = max_margin(np.vstack([X, X[n]]), np.append(y, y[n]))
    np.testing.assert_allclose(twice.direction, once.direction, rtol=1e-12)
    assert_optimal(np.vstack([X, X[n]]), np.append(y, y[n]), twice)
    assert not twice.unique_dual
    assert twice.support[n]
    assert twice.support[-1]
    off = int(np.flatnonzero(~once.support)[0])
    assert max_margin(np.vstack([X, X[off]]), np.append(y, y[off])).unique_dual


def test_rank_deficient_data_give_a_direction_in_their_span():
    X, y = separable(30, 3, 2)
    embedded = X @ np.random.default_rng(0).normal(size=(3, 7))
    found = max_margin(embedded, y)
    assert_optimal(embedded, y, found)
    np.testing.assert_allclose(null_projector(embedded) @ found.direction, 0, atol=1e-12)


def test_published_support_vectors_have_the_diagonal_as_their_direction():
    # Fig. 1 of Soudry et al. 2018: margin √2, direction (1, 1)/√2
    X = np.array([[0.5, 1.5], [1.5, 0.5], [-0.5, -1.5], [-1.5, -0.5]])
    found = max_margin(X, np.array([1, 1, -1, -1]))
    np.testing.assert_allclose(found.direction, [0.5, 0.5], rtol=1e-15)
    assert found.margin == pytest.approx(np.sqrt(2), rel=1e-15)
    assert found.support.all()
    assert not found.unique_dual
    constants = soudry_constants(X, np.array([1, 1, -1, -1]), found)
    # by symmetry every α is 1/4·‖ŵ‖² = 1/8, hence w̃ = ŵ log 8
    np.testing.assert_allclose(constants.alpha, 1 / 8, rtol=1e-12)
    np.testing.assert_allclose(constants.offset, np.log(8) * found.direction, rtol=1e-12)


def flow_at(A, log_t, start, weight=1.0):
    """The exponential-loss flow integrated in s = log t from t = 1: dw/ds = Σ a_n e^{s − a_n·w}."""

    def field(s, w):
        return weight * A.T @ np.exp(s - A @ w)

    def jacobian(s, w):
        return -weight * A.T @ (np.exp(s - A @ w)[:, None] * A)

    return scipy.integrate.solve_ivp(
        field, (0.0, log_t), start, method="Radau", jac=jacobian, rtol=1e-11, atol=1e-12
    ).y[:, -1]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize(("N", "d", "seed"), [(12, 3, 0), (3, 6, 1), (25, 2, 2)])
def test_the_flow_approaches_the_limit_constants_from_any_start(N, d, seed, reduction):
    X, y = separable(N, d, seed)
    found = max_margin(X, y)
    constants = soudry_constants(X, y, found, reduction)
    assert constants.residual < 1e-11
    log_t = 18 / constants.rate
    for start in (np.zeros(d), np.random.default_rng(seed).normal(size=d)):
        w = flow_at(y[:, None] * X, log_t, start, 1 / N if reduction == "mean" else 1.0)
        reached = constants.projector @ (w - found.direction * log_t)
        np.testing.assert_allclose(reached, constants.offset, rtol=0, atol=1e-6)


def test_the_approach_to_the_limit_constants_has_the_stated_rate():
    X, y = separable(3, 6, 1)
    found = max_margin(X, y)
    constants = soudry_constants(X, y, found)
    times = np.array([8.0, 12.0]) / constants.rate
    errors = [
        np.linalg.norm(
            constants.projector @ (flow_at(y[:, None] * X, s, np.zeros(6)) - found.direction * s)
            - constants.offset
        )
        for s in times
    ]
    assert -np.diff(np.log(errors))[0] / np.diff(times)[0] == pytest.approx(constants.rate, rel=1e-2)


def test_the_flow_selects_the_stated_dual_where_the_dual_is_not_unique():
    X, y = separable(12, 3, 0)
    n = int(max_margin(X, y).alpha.argmax())
    X, y = np.vstack([X, X[n], X[n]]), np.append(y, [y[n], y[n]])
    found = max_margin(X, y)
    constants = soudry_constants(X, y, found)
    assert not found.unique_dual
    assert constants.alpha[n] == pytest.approx(constants.alpha[-1], rel=1e-12)
    A, log_t = y[:, None] * X, 18 / constants.rate
    reached = constants.projector @ (flow_at(A, log_t, np.zeros(3)) - found.direction * log_t)
    np.testing.assert_allclose(reached, constants.offset, atol=1e-6)


def test_an_idle_point_on_the_margin_is_seen_and_has_no_limit():
    # the third point lies on the margin of the first alone, at no cost
    X, y = np.array([[1.0, 0.0], [1.0, 0.5], [2.0, -3.0]]), np.ones(3)
    found = max_margin(X, y)
    np.testing.assert_allclose(found.direction, [1.0, 0.0], atol=1e-14)
    assert found.unique_dual
    np.testing.assert_array_equal(found.support, [True, True, False])
    with pytest.raises(ValueError, match="has no limit"):
        soudry_constants(X, y, found)
    X = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.5]])
    with pytest.raises(ValueError, match="has no limit"):
        soudry_constants(X, np.ones(3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minimum_norm(np.ones(3), np.ones((3, 1))), "expected non-empty rows"),
        (lambda: minimum_norm(np.ones((3, 2)), np.ones(3)), r"Y\[:, None\]"),
        (lambda: minimum_norm(np.ones((3, 2)), np.ones((4, 1))), "3 rows and Y has 4"),
        (lambda: minimum_norm(np.full((3, 2), np.nan), np.ones((3, 1))), "NaN"),
        (lambda: ridge(np.ones((3, 2)), np.ones((3, 1)), -1.0), "decay is -1"),
        (lambda: ridge(np.ones((3, 2)), np.ones((3, 1)), 1.0, 0.0), "factor is 0"),
        (lambda: max_margin(np.ones((3, 2)), np.array([0, 1, 1])), r"2\*y - 1"),
        (lambda: max_margin(np.ones((3, 2)), np.ones((3, 1))), r"expected \(3,\)"),
        (lambda: max_margin(np.ones((2, 2)), np.array([1, -1])), "not linearly separable"),
        (lambda: max_margin(np.array([[1.0], [0.0]]), np.ones(2)), "row 1 of X is zero"),
        (lambda: soudry_constants(np.eye(2), np.ones(2), reduction="max"), "reduction is 'max'"),
    ],
)
def test_misuse_is_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_overlapping_clouds_are_not_called_separable():
    random = np.random.default_rng(0)
    for _ in range(5):
        X, y = random.normal(size=(40, 3)), random.choice([-1.0, 1.0], size=40)
        with pytest.raises(ValueError, match="not linearly separable"):
            max_margin(X, y)
