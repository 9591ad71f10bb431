"""Closed forms behind the studies of Cohen's slides: scalar layers, W = diag(2, 1), and starts."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gradlab.analysis.linear_nets import balancedness
from gradlab.claims.cases import collect, point
from gradlab.claims.cohen import balanced_preserved, end_to_end, non_strict_saddle, preconditioner
from gradlab.claims.judging import NOT_MET, Verdict
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

HALF = np.diag(np.sqrt([2.0, 1.0]))


def scalar(depth: int, target: float = 3.0, decay: float = 0.0) -> Problem:
    return Problem(Dense.deep_linear((1,) * (depth + 1)), Square(), Data([[1.0]], [[target]]), decay)


def mixed(depth: int, decay: float = 0.0) -> Problem:
    data = Data([[1.0, 0.3], [0.2, -0.7]], [[0.9], [1.3]])
    return Problem(Dense.deep_linear((2,) * depth + (1,)), Square(), data, decay)


def origin(problem: Problem) -> Any:
    return point(problem, np.zeros(problem.size)).look(non_strict_saddle.Origin)


def judged(study: Any, *problems: Problem) -> Verdict:
    return study.judge(collect([("one", study.observed(point(one, np.zeros(one.size)))) for one in problems]))


def spectrum(*layers: np.ndarray) -> Any:
    widths = (layers[0].shape[1], *(layer.shape[0] for layer in layers))
    problem = Problem(
        Dense.deep_linear(widths), Square("mean"), Data(np.eye(widths[0]), np.ones((widths[0], widths[-1])))
    )
    return point(problem, np.concatenate([layer.ravel() for layer in layers])).look(
        preconditioner.Preconditioner
    )


def test_two_scalar_layers_are_strict_and_three_are_not() -> None:
    # (3 − w₂w₁)² has Hessian ±6 at 0, (3 − w₃w₂w₁)² none
    for depth, expected in ((2, [-6.0, 6.0]), (3, [0.0] * 3)):
        look = origin(scalar(depth))
        np.testing.assert_allclose(look.values, expected, atol=1e-14)
        assert look.falls.value == pytest.approx(0.95)


def test_without_targets_or_with_decay_the_origin_is_a_minimum_of_which_nothing_is_said() -> None:
    for problem in (scalar(2, 0.0), scalar(2, decay=0.1)):
        assert judged(non_strict_saddle.STUDY, problem, mixed(2, decay=0.1)).verdict == NOT_MET


def test_kinks_biases_and_single_layers_are_outside() -> None:
    data = scalar(3).data
    for network in (Dense((1, 1, 1), "relu"), Dense((1, 1, 1), "tanh", bias=True), Dense((1, 1))):
        assert not non_strict_saddle.Origin.speaks_of(Problem(network, Square(), data))


def test_the_preconditioner_of_two_layers_of_diag_2_1() -> None:
    # the gains of u_r v_cᵀ are σ_r + σ_c: 4, 3, 3, 2; ⟨W, P[W]⟩/‖W‖² = (4·4 + 1·2)/5, the mean gain is 3
    look = spectrum(HALF, HALF)
    np.testing.assert_allclose(look.gram, np.diag([4.0, 3.0, 3.0, 2.0]), atol=1e-14)
    np.testing.assert_allclose(look.P, look.gram, atol=1e-14)
    assert look.reinforced.value == pytest.approx(18 / 5 / 3)
    assert look.definite.value == pytest.approx((2 - 1) / 4)


def test_a_deficient_rank_is_not_asked_to_be_definite_and_unbalanced_layers_are_told() -> None:
    flat = np.diag([1.0, 0.0])
    assert spectrum(flat, flat).definite is None
    assert spectrum(2.0 * HALF, 0.5 * HALF).balanced > 0.1


@pytest.mark.parametrize("size", [1.0, 0.0])
def test_the_control_has_the_same_product_and_other_layers(size: float) -> None:
    random = np.random.default_rng(0)
    layers = (size * random.normal(size=(3, 4)), size * random.normal(size=(2, 3)))
    others = end_to_end._unbalanced(layers)
    np.testing.assert_allclose(others[1] @ others[0], layers[1] @ layers[0], atol=1e-15)
    assert np.linalg.norm(balancedness(others)[0]) > 0.1


def test_the_scalar_end_to_end_flow_is_a_logistic_curve() -> None:
    # ℓ = (W − 1)²/1 at depth 2: dW/dt = −4 W (W − 1)
    problem = Problem(Dense.deep_linear((1, 1, 1)), Square("mean"), Data([[1.0]], [[1.0]]))
    drawn = [(problem, (np.full((1, 1), 0.5), np.full((1, 1), 0.5)), {"draw": i}) for i in range(2)]
    with jax.enable_x64(True):
        one = next(iter(balanced_preserved.ensemble(balanced_preserved.GradientFlow, drawn, [0.5, 1.0])))
    look = one.look(balanced_preserved.Balanced)
    expected = 1.0 / (1.0 + 3.0 * np.exp(-4.0 * look.time))
    np.testing.assert_allclose(look.products[:, 0, 0], expected, rtol=1e-7)
    assert look.preserved < 1e-12


@pytest.mark.parametrize(
    ("widths", "expected"), [((4, 4, 4), 0.0), ((5, 4, 4), 0.0), ((5, 4, 4, 3), 1.0), ((2, 5, 3), 1.0)]
)
def test_a_padded_identity_is_balanced_where_all_layers_have_one_rank(
    widths: tuple[int, ...], expected: float
) -> None:
    layers = balanced_preserved._start(np.random.default_rng(0), widths, "identity", 0)
    assert balanced_preserved._defect(layers) == expected


@pytest.mark.parametrize("widths", [(1, 1, 1), (5, 4, 4, 3)])
def test_the_defect_of_near_zero_weights_is_of_second_order_and_relative_to_them_of_none(
    widths: tuple[int, ...],
) -> None:
    for values, order in zip(balanced_preserved._near_zero(widths), (2.0, 0.0), strict=True):
        found = balanced_preserved._order(values)
        assert abs(found.value - order) < found.error
