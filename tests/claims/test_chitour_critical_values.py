"""Widths one, Y = 3: the critical values of (3 − w₂w₁)² are 0 and 9, those of half of it 0 and 4.5."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.claims.chitour import critical_values
from gradlab.claims.chitour._critical import dataset, reduced
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, Case
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = critical_values.STUDIES


def scalar(half: bool) -> Problem:
    return Problem(Dense.deep_linear((1, 1, 1)), Square(half=half), Data(np.ones((1, 1)), np.array([[3.0]])))


def judged(study, problem: Problem, points) -> object:
    return study.judge(study.measure([Case("one", problem, dataset(np.asarray(points, dtype=float)))]))


def test_the_printed_list_is_missed_by_half_the_largest_value():
    verdict = judged(PRINTED, scalar(half=False), [[0.0, 0.0]])
    assert (verdict.verdict, verdict.part) == (REFUTED, "half_listed")
    assert verdict.number == pytest.approx(0.5)


def test_the_corrected_list_is_met_with_and_without_the_half():
    for half in (False, True):
        verdict = judged(CORRECTED, scalar(half), [[0.0, 0.0], [1.0, 3.0]])
        assert verdict.verdict == SUPPORTED


def test_with_the_half_in_front_the_printed_claim_says_nothing():
    verdict = judged(PRINTED, scalar(half=True), [[0.0, 0.0]])
    assert (verdict.verdict, verdict.part) == (NOT_MET, "factor")


def test_points_that_are_not_critical_are_left_out():
    problem = scalar(half=False)
    one = critical_values.observe(problem, dataset(np.array([[0.5, 0.5]])))
    other = critical_values.observe(problem, dataset(np.array([[0.0, 0.0]])))
    assert other.sizes["point"] == one.sizes["point"] + 1


def test_a_value_in_no_list_refutes():
    values, errors = np.array([0.0, 0.7, 1.0]), np.full(3, 1e-12)
    listed, attained = critical_values._distances(values, errors, np.array([0.0, 1.0]))
    assert listed == pytest.approx([0.3, 1e-12])
    assert attained == pytest.approx([0.0, 1e-12])
    _, attained = critical_values._distances(values[:1], errors[:1], np.array([0.0, 1.0]))
    assert attained[0] == 1.0


def test_other_losses_and_networks_are_not_judged():
    rng = np.random.default_rng(0)
    given = reduced(rng, (3, 2, 2))
    other = Problem(Dense((3, 2, 2), "tanh"), Square(), given.data)
    assert judged(CORRECTED, other, np.zeros((1, 10))).verdict == NOT_MET
