"""memo90.jacobian: a Jacobian worked out by hand, and sums that are wrong on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90 import jacobian
from gradlab.laboratory import at
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Loss, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

X = np.array([[1.0, 2.0], [-1.0, 0.5], [0.3, -0.7]])
SIGNS = np.array([1.0, -1.0, 1.0])
WEIGHTS = (np.array([[0.7, -0.4], [0.2, 1.1]]), np.array([[0.9, -1.3]]))


def problem(loss, targets=SIGNS, activation="tanh", decay=0.0) -> Problem:
    return Problem(Dense((2, 2, 1), activation), loss, Data(X, targets), decay)


def verdict(given, *weights):
    seen = jacobian.observe(given, at(given, weights or (WEIGHTS,), ()))
    return jacobian.STUDY.judge(collect([("one", seen)]))


def test_one_weight_under_the_exponential_loss() -> None:
    given = Problem(Dense((1, 1), "identity"), Exponential(), Data([[2.0]], [1.0]))
    point = jacobian._Point(given, np.array([0.5]))
    assert point.field == pytest.approx([2.0 * np.exp(-1.0)])
    assert point.jacobian == pytest.approx(np.array([[-4.0 * np.exp(-1.0)]]))
    assert point.sum == pytest.approx(point.jacobian, rel=1e-14)
    assert point.differenced()[0] == pytest.approx(point.jacobian, rel=1e-9)


def test_the_derivative_compared_is_the_problems_hessian() -> None:
    given = problem(Exponential())
    point = jacobian._Point(given, np.asarray(given.ravel(WEIGHTS)))
    assert -point.jacobian == pytest.approx(np.asarray(given.hessian(WEIGHTS)), abs=1e-14)
    assert verdict(given).verdict == SUPPORTED


@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0])
def test_a_sum_with_another_factor_is_refuted_by_both_ways(monkeypatch, factor) -> None:
    right = Loss.slopes
    monkeypatch.setattr(Loss, "slopes", lambda *a: tuple(factor * part for part in right(*a)))
    found = {part.id: part.verdict for part in verdict(problem(Exponential())).parts}
    assert {name for name, kind in found.items() if kind == REFUTED} == {"velocity", "formula", "differences"}


def test_a_sum_without_second_derivatives_of_the_net_is_refuted(monkeypatch) -> None:
    right = Loss.slopes
    monkeypatch.setattr(Loss, "slopes", lambda *a: (0.0 * right(*a)[0], right(*a)[1]))
    found = {part.id: part.verdict for part in verdict(problem(Exponential())).parts}
    assert (found["formula"], found["differences"]) == (REFUTED, REFUTED)


def test_a_perturbation_of_a_resting_net_follows_its_linear_system() -> None:
    silent = problem(Square(), np.zeros((3, 1)))
    given = problem(Square(), np.asarray(silent.outputs(WEIGHTS)))
    point = jacobian._Point(given, np.asarray(given.ravel(WEIGHTS)))
    assert point.at_rest()
    gap, error = point.perturbed()
    assert gap + error < 1e-6
    right = point.sum
    for wrong in (2.0 * right, -right):
        point.sum = wrong
        assert point.perturbed()[0] > 0.1


def test_a_point_beside_a_kink_and_decay_are_outside() -> None:
    beside = (np.array([[1e-7, 0.0], [0.0, 1e-7]]), WEIGHTS[1])
    found = verdict(problem(Exponential(), activation="relu"), beside)
    assert (found.verdict, found.part) == (NOT_MET, "differentiable")
    assert verdict(problem(Exponential(), decay=0.1)).part == "plain"
