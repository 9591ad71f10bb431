"""Saddles are called so with a point that lies lower; inertias that are known exactly are never decided wrongly."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from benchmarks.inertia import FAMILIES, Case, judged

import gradlab as gl
from gradlab.analysis.equilibria import signature
from gradlab.analysis.equilibria.witness import lower

X = np.random.default_rng(8).standard_normal((40, 2))


@pytest.mark.parametrize("number", range(len(FAMILIES)), ids=[family.__name__ for family, _ in FAMILIES])
def test_known_inertias_are_never_decided_wrongly(number: int) -> None:
    rng = np.random.default_rng(100 + number)
    outcomes = [judged(FAMILIES[number][0](rng)) for _ in range(6)]
    assert [one for one in outcomes if one.wrong] == []
    # and what says nothing promises nothing: most are decided
    assert sum(one.silent for one in outcomes) <= 2


def test_a_wrong_word_would_be_seen() -> None:
    family = next(family for family, _ in FAMILIES if family.__name__ == "strata")
    case = family(np.random.default_rng(0))
    assert case.inertia is not None
    false = case._replace(inertia=(case.inertia[0] + 1, case.inertia[1], case.inertia[2] - 1))
    assert judged(false).wrong
    assert judged(Case(case.name, case.problem, case.weights, case.inertia, "maximum")).wrong


@pytest.mark.parametrize("units", [1.0, 1e-3, 1e3, 1e-7])
def test_a_saddle_of_two_equal_neurons_comes_with_a_lower_point_in_any_units(units: float) -> None:
    targets = np.tanh(X @ np.array([[1.5, 0.3], [-0.7, 1.8]]).T) @ np.array([[1.2], [-0.9]])
    scale = np.array([1.0, units])
    problem = gl.Problem(gl.Dense((2, 2, 1), "tanh"), gl.Square("mean"), gl.Data(X * scale, targets))
    first = np.array([[0.61851917, -0.2285344], [0.61851917, -0.2285344]]) / scale
    found = gl.classify(problem, (first, np.array([[1.11525058, 1.11525058]])))
    assert found.kind == "strict saddle"
    assert found.witness is not None
    assert found.witness.difference < -found.witness.rounding < 0.0
    gap = float(problem.potential(found.witness.weights)) - float(problem.potential(found.weights))
    assert gap == pytest.approx(found.witness.difference, abs=1e-15)
    assert "L is lower by" in found.why


def test_saturated_units_are_not_taken_for_zeros() -> None:
    # 1 − tanh² is 3e-17 and below: as computed it is 0 or eps, and what it decides is rounding
    for bias in (19.0, 40.0):
        data = gl.Data(np.c_[X, np.full(40, bias)], np.ones((40, 1)))
        problem = gl.Problem(gl.Dense((3, 1, 1), "tanh"), gl.Square("mean"), data)
        found = gl.classify(problem, (np.array([[0.3, 0.2, 1.0]]), np.array([[1.0]])))
        assert found.kind in ("minimum", "undecided")  # the loss is zero within rounding
        assert found.inertia is None or not found.inertia.decided


def test_nothing_is_lower_than_a_minimum_and_rounding_is_no_descent() -> None:
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square(), gl.Data(X, X @ [[1.0], [2.0]] + 1e3))
    found = gl.classify(problem, (np.zeros((1, 2)),))
    assert lower(problem, found.weights, list(np.eye(2))) is None
    assert lower(problem, (np.zeros((1, 2)),), [np.array([1.0, 2.0])]) is not None


def cubic(w: Any, x: Any) -> Any:
    return (x[:, 0] * w[0] ** 2 + x[:, 1] * w[1] ** 3 + x[:, 2] * (w[1] + w[0]) ** 2)[:, None]


def test_a_cubic_beneath_a_small_curvature_is_no_saddle() -> None:
    # a x² + c y³ + ε (x + y)²: a minimum for ε > 0 however small, a non-strict saddle for ε = 0
    network = gl.Function(cubic, lambda key: jnp.zeros(2), input_shape=3, outputs=1)
    loss = gl.losses.CustomLoss(_first)
    for small, kinds in (
        (1e-12, ("minimum", "undecided")),
        (1e-17, ("minimum", "undecided")),
        (0.0, ("non-strict saddle",)),
    ):
        problem = gl.Problem(network, loss, gl.Data([[1.0, 1.0, small]], [[0.0]]))
        found = gl.classify(problem, np.zeros(2))
        assert found.kind in kinds
        assert (found.witness is not None) == (found.kind == "non-strict saddle")


def _first(f: Any, y: Any) -> Any:
    return f[:, 0]


def test_a_branch_and_a_classification_count_alike() -> None:
    data = gl.Data(X * [1.0, 1e-7], X @ [[1.0], [1.0]])
    problem = gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), data, 0.0)
    start = (np.array([[1.0, 1e7]]),)
    station = gl.equilibria.follow(problem, start, [0.0]).stations[0]
    found = gl.classify(problem, start)
    assert str(station.inertia) == str(found.inertia)
    assert found.kind == "minimum"


@pytest.mark.parametrize("units", [1.0, 1e-8])
def test_the_origin_of_two_linear_layers_in_raw_units_has_a_lower_point_far_away(units: float) -> None:
    labels = np.where(X[:, 0] + np.random.default_rng(1).standard_normal(40) > 0.0, 1.0, -1.0)
    problem = gl.Problem(gl.Dense((2, 2, 1), "identity"), gl.Logistic(), gl.Data(X * units, labels))
    found = gl.classify(problem, (np.zeros((2, 2)), np.zeros((1, 2))))
    assert found.kind == "strict saddle"
    assert found.witness is not None


def test_beyond_the_weights_whose_entries_have_bounds_of_their_own_signs_are_told_by_norm() -> None:
    data = gl.Data(np.random.default_rng(2).standard_normal((50, 20)), np.ones((50, 1)))
    problem = gl.Problem(gl.Dense((20, 30, 1), "tanh"), gl.Square("mean"), data, 0.01)
    assert problem.size > signature.ENTRYWISE
    found = gl.classify(problem, tuple(np.zeros(a.shape) for a in problem.network.shapes()))
    # λ + [[0, −2 m/N], [−2 mᵀ/N, 0]] a unit: 30 negative eigenvalues where 2 |m|/N > λ
    assert (found.kind, found.hyperbolic) == ("strict saddle", True)
    assert found.inertia is not None
    assert (found.inertia.negative, found.inertia.zero) == (30, 0)
