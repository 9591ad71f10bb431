"""Widths (1, 2, 1), one example: N_1 N_0 = 2 > 1 · min(2, 1), four weights, one residual, three zeros."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.equilibria import counting
from gradlab.claims import teachers
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90 import theorem4
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def case(widths=(1, 2, 1), examples=1, activation="tanh") -> tuple[Problem, np.ndarray]:
    rng = np.random.default_rng(4)
    return teachers.teacher(rng, Dense(widths, activation), Square(half=True), examples)


def judged(problem, vector):
    return theorem4.STUDY.judge(collect([("one", theorem4.observe(problem, teachers.resting(vector)))]))


@pytest.mark.parametrize(
    ("widths", "examples", "expected"),
    [((1, 2, 1), 1, 1), ((1, 2, 1), 2, 0), ((2, 3, 4, 1), 3, 9), ((5, 3, 1), 4, 11), ((4, 2, 2), 8, -8)],
)
def test_the_border_by_hand(widths, examples, expected) -> None:
    assert theorem4.border(widths, examples) == expected


def test_four_weights_and_one_residual_have_three_zeros() -> None:
    problem, vector = case()
    seen = theorem4.observe(problem, teachers.resting(vector))
    assert float(seen["zeros"]) == 3.0
    assert judged(problem, vector).verdict == SUPPORTED


def test_below_the_border_a_tanh_net_has_none() -> None:
    problem, vector = case(examples=4)
    seen = theorem4.observe(problem, teachers.resting(vector))
    assert float(seen["width"]) < 0.0
    assert float(seen["control"]) == float(seen["zeros"]) == 0.0


@pytest.mark.parametrize(
    ("count", "expected"), [((0.0, 0.0), REFUTED), ((0.5, 0.5), INCONCLUSIVE), ((1.0, 0.0), SUPPORTED)]
)
def test_a_kernel_that_is_missing_refutes(monkeypatch, count, expected) -> None:
    monkeypatch.setattr(counting, "kernel_at_zero", lambda *_: counting.Count(*count))
    assert judged(*case()).verdict == expected


def test_residuals_and_kinks_are_outside_the_theorem() -> None:
    problem, vector = case()
    assert judged(problem, 1.01 * vector).verdict == NOT_MET
    rectified, _ = case(activation="relu")
    assert judged(rectified, np.zeros(4)).verdict == NOT_MET
    shallow, end = case(widths=(2, 1))
    assert judged(shallow, end).verdict == NOT_MET
