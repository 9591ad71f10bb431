"""Studies of single points against closed forms and counterexamples that fit on a line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import xarray as xr

from gradlab.analysis.equilibria import minimising
from gradlab.claims.cases import Case, case, point
from gradlab.claims.judging import NOT_MET, REFUTED, SUPPORTED
from gradlab.claims.looks.field_points import FieldPoint
from gradlab.claims.memo90 import (
    cross_layer,
    gauss_newton,
    jacobian,
    lemma2,
    regularised_square,
    theorem4,
)
from gradlab.claims.notes import deep_hessian
from gradlab.claims.problems import teachers
from gradlab.claims.studies import Study
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic, Loss, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def one(problem: Problem, vector: Any) -> Case:
    return point(problem, np.asarray(vector, dtype=np.float64), net="by hand")


def judged(study: Study, *given: Case) -> str:
    return study.judge(study.measure(given)).verdict


def product(loss: Loss, hidden: int = 1, decay: Any = 0.0, target: float = 1.0) -> Problem:
    """f = W_2 W_1 on x = 1."""
    targets = [[target]] if loss.labels == "real" else [target]
    return Problem(Dense.deep_linear((1, hidden, 1)), loss, Data([[1.0]], targets), decay)


# memo90.gauss-newton ------------------------------------------------------------------------------------------


def test_one_example_has_one_eigenvalue_besides_zero() -> None:
    printed, corrected = gauss_newton.STUDIES
    given = one(product(Square()), (1.0, 1.0))
    assert given.look(printed.look).values == pytest.approx([0.0, 4.0], abs=1e-15)
    assert given.look(printed.look).beyond.value == 1.0
    for study in (printed, corrected):
        assert judged(study, given) == SUPPORTED
        assert judged(study, one(product(Square(), decay=0.1), (1.0, 1.0))) == NOT_MET
        assert judged(study, one(product(Square()), (1.0, 1.001))) == NOT_MET


def test_a_dead_net_has_only_zeros_and_that_is_decided() -> None:
    dead = Problem(Dense((1, 2, 1), "relu"), Square(), Data([[1.0]], [[0.0]]))
    look = one(dead, (-1.0, -2.0, 0.5, 0.5)).look(gauss_newton.GaussNewtonCorrected)
    assert (look.kernel.value, look.kernel.error) == (1.0, 0.0)
    assert (look.negative.value, look.negative.error) == (0.0, 0.0)


# memo90.cross-layer -------------------------------------------------------------------------------------------


def test_equation_46_by_hand() -> None:
    vector = np.array([2.0, 0.5])
    expected = np.exp(-1.0) * np.diag([0.25, 4.0])
    assert cross_layer.printed(product(Exponential()), vector) == pytest.approx(expected, abs=1e-16)
    for study in cross_layer.STUDIES:
        assert judged(study, one(product(Exponential()), vector)) == SUPPORTED
        assert judged(study, one(product(Logistic()), vector)) == NOT_MET
        assert judged(study, one(product(Exponential(), target=-1.0), vector)) == NOT_MET


@pytest.mark.parametrize(
    ("rank", "hidden", "expected"), [(1, 5, 4), (2, 10, 7), (3, 2, 6), (4, 1, 5), (1, 1, 2)]
)
def test_the_law_by_hand(rank: int, hidden: int, expected: int) -> None:
    assert cross_layer.law(rank, hidden) == expected


def test_many_examples_keep_the_bound() -> None:
    """Five units on one input have four eigenvalues besides zero, whatever N."""
    vector = [0.3, 0.9, -0.4, 0.7, 0.2, 1.0, 0.8, -0.1, 0.5, 0.6]
    x = np.linspace(0.5, 2.0, 6)[:, None]
    given = one(Problem(Dense.deep_linear((1, 5, 1)), Exponential(), Data(x, np.ones(6))), vector)
    printed, _ = cross_layer.STUDIES
    assert given.look(printed.look).distinct().value == 4.0
    assert judged(printed, given) == REFUTED


# memo90.theorem4 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "examples", "expected"),
    [
        ((1, 2, 1), 1, 1),
        ((1, 2, 1), 2, 0),
        ((2, 3, 4, 1), 3, 9),
        ((5, 3, 1), 4, 11),
        ((4, 2, 2), 8, -8),
        ((3, 3, 1, 8), 5, 4),
        ((3, 3, 1, 8), 9, 0),
    ],
)
def test_the_border_by_hand(widths: tuple[int, ...], examples: int, expected: int) -> None:
    assert theorem4.border(widths, examples) == expected


def teacher(widths: tuple[int, ...], examples: int, activation: str = "tanh") -> tuple[Problem, np.ndarray]:
    return teachers.teacher(np.random.default_rng(4), Dense(widths, activation), Square(half=True), examples)


@pytest.mark.parametrize(
    ("widths", "examples", "zeros"),
    # 4 weights and 1 residual; fewer than residuals; rank 8 + n − 1 in a bottleneck of one unit, of 20 weights
    [((1, 2, 1), 1, 3), ((2, 2, 2), 9, 0), ((3, 3, 1, 8), 5, 8), ((3, 3, 1, 8), 9, 4), ((3, 3, 1, 8), 16, 0)],
)
def test_zeros_of_the_hessian(widths: tuple[int, ...], examples: int, zeros: int) -> None:
    look = one(*teacher(widths, examples)).look(theorem4.Theorem)
    assert look.zero == (zeros, 0.0)


def test_residuals_kinks_and_one_layer_are_outside_the_theorem() -> None:
    problem, vector = teacher((1, 2, 1), 1)
    study = theorem4.STUDY
    assert judged(study, one(problem, 1.01 * vector)) == NOT_MET
    rectified, _ = teacher((1, 2, 1), 1, "relu")
    assert judged(study, one(rectified, np.zeros(4))) == NOT_MET
    assert judged(study, one(*teacher((2, 1), 1))) == NOT_MET


# Regularised minima -------------------------------------------------------------------------------------------


def test_one_hidden_unit_is_hyperbolic_and_two_are_not() -> None:
    printed, corrected = lemma2.STUDIES
    for loss in (Square(half=True), Exponential()):
        for decay in (0.1, 1e-4):
            single, double = (product(loss, hidden, decay, target=1.0) for hidden in (1, 2))
            found = one(single, minimising.minimum(single, np.array([1.0, 0.8])))
            assert [judged(study, found) for study in (printed, corrected)] == [SUPPORTED, SUPPORTED]
            found = one(double, minimising.minimum(double, np.array([1.0, 0.3, 0.8, 0.5])))
            assert found.look(printed.look).kernel.value == 1.0
            assert [judged(study, found) for study in (printed, corrected)] == [REFUTED, SUPPORTED]


def test_only_a_minimum_with_decay_is_asked() -> None:
    given, bare = product(Square(), decay=0.1), product(Square())
    for study in (*lemma2.STUDIES, *regularised_square.STUDIES):
        assert judged(study, one(given, np.ones(2))) == NOT_MET
        assert judged(study, one(bare, np.ones(2))) == NOT_MET


@pytest.mark.parametrize("decay", [0.5, 1e-3])
def test_what_equation_29_leaves_out_is_lambda(decay: float) -> None:
    """(2 − w₁w₂)² + ½ λ ‖w‖² has its minima at w₁w₂ = 2 − λ/2, E = λ/2: the dropped −2E is −λ, its norm λ."""
    problem = product(Square(), decay=decay, target=2.0)
    given = one(problem, minimising.minimum(problem, np.array([1.0, 0.8])))
    printed, corrected = regularised_square.STUDIES
    look = given.look(printed.look)
    assert (look.left_out, look.zeros.number) == (pytest.approx(1.0, abs=1e-10), 0.0)
    assert [judged(study, given) for study in (printed, corrected)] == [REFUTED, SUPPORTED]


# memo90.jacobian ----------------------------------------------------------------------------------------------


def records(problem: Problem, *vectors: Any) -> Case:
    return case(problem, xr.Dataset({"weights": (("record", "weight"), np.stack(vectors))}), net="by hand")


def test_one_weight_under_the_exponential_loss() -> None:
    given = Problem(Dense((1, 1), "identity"), Exponential(), Data([[2.0]], [1.0]))
    found = FieldPoint(given, np.array([0.5]))
    assert found.field == pytest.approx([2.0 * np.exp(-1.0)])
    assert found.jacobian == pytest.approx(np.array([[-4.0 * np.exp(-1.0)]]))
    assert found.sum == pytest.approx(found.jacobian, rel=1e-14)
    assert found.differenced()[0] == pytest.approx(found.jacobian, rel=1e-9)


def test_the_derivative_compared_is_the_problems_hessian() -> None:
    x = [[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7]]
    vector = np.array([0.7, -0.4, 0.2, 1.1, 0.9, -1.3])
    given = Problem(Dense((2, 2, 1), "tanh"), Exponential(), Data(x, [1.0, -1.0, 1.0]))
    hessian = np.asarray(given.hessian(given.unravel(vector)))
    assert -FieldPoint(given, vector).jacobian == pytest.approx(hessian, abs=1e-14)
    beside = Problem(Dense((2, 2, 1), "relu"), Exponential(), given.data)
    kinked = records(beside, np.array([1e-7, 0.0, 0.0, 1e-7, 0.9, -1.3]))
    assert judged(jacobian.STUDY, kinked) == NOT_MET
    assert (
        judged(jacobian.STUDY, records(Problem(given.network, given.loss, given.data, 0.1), vector))
        == NOT_MET
    )


# notes.deep-hessian -------------------------------------------------------------------------------------------


def test_the_signs_by_hand() -> None:
    """½(3 − w₂w₁)² + ½ ‖w‖² at (1, 2): E = 1, −∇L = (2, 1) − (1, 2)."""
    look = one(product(Square(half=True), decay=1.0, target=3.0), (1.0, 2.0)).look(
        deep_hessian.DeepHessianPrinted
    )
    # speeds: ‖J‖ (|f| + |y|) + λ‖w‖; the printed velocity misses by twice (2, 1)
    assert look.velocity.value == pytest.approx(2.0 * np.sqrt(5.0) / (5.0 * np.sqrt(5.0) + np.sqrt(5.0)))
    # the printed Hessian misses by twice the identity; the parts have norms 5, √2, √2
    assert look.hessian_printed.value == pytest.approx(2.0 * np.sqrt(2.0) / (5.0 + 2.0 * np.sqrt(2.0)))
    assert (look.velocity_mended.value, look.hessian_mended.value) == (0.0, 0.0)
    assert look.either.value > 0.1


def test_the_flow_from_zero_ends_on_sinh_and_not_at_the_least_norm() -> None:
    given = Problem(Dense((1, 1, 1), "tanh"), Square(half=True), Data([[1.0]], [[1.0]]))

    def quotient(end: np.ndarray) -> float:
        return float(records(given, 1e-3 * end, end).look(deep_hessian.DeepHessianCorrected).guaranteed)

    z = scipy.optimize.brentq(lambda z: np.sinh(z) * np.tanh(z) - 1.0, 0.1, 3.0)
    least = scipy.optimize.brentq(lambda z: 0.5 * z * np.sinh(2 * z) * np.tanh(z) ** 2 - 1.0, 0.1, 3.0)
    limit, shortest = np.array([z, np.sinh(z)]), np.array([least, 1.0 / np.tanh(least)])
    assert shortest @ shortest < limit @ limit
    assert quotient(limit) < 1e-2
    assert quotient(shortest) > 1e8
