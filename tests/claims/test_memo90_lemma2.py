"""½(2 − W_2 W_1)² and e^{−W_2 W_1} with decay: hyperbolic with one hidden unit, never with two."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.equilibria import minimising
from gradlab.claims import teachers
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90 import lemma2
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = lemma2.STUDIES


def problem(loss, hidden=1, decay=0.1) -> Problem:
    targets = [[2.0]] if loss.labels == "real" else [1.0]
    return Problem(Dense.deep_linear((1, hidden, 1)), loss, Data([[1.0]], targets), decay)


def verdicts(observed) -> tuple[str, str]:
    together = collect([("one", observed)])
    return PRINTED.judge(together).verdict, CORRECTED.judge(together).verdict


@pytest.mark.parametrize("loss", [Square(half=True), Exponential()], ids=str)
def test_one_hidden_unit_is_hyperbolic_and_two_are_not(loss) -> None:
    for decay in (0.1, 1e-4):
        one, two = problem(loss, 1, decay), problem(loss, 2, decay)
        found = lemma2.observe(one, teachers.resting(minimising.minimum(one, np.array([1.0, 0.8]))))
        assert verdicts(found) == (SUPPORTED, SUPPORTED)
        found = lemma2.observe(two, teachers.resting(minimising.minimum(two, np.array([1.0, 0.3, 0.8, 0.5]))))
        assert (float(found["zeros"]), float(found["rotations"])) == (1.0, 1.0)
        assert verdicts(found) == (REFUTED, SUPPORTED)


def test_a_lower_minimum_refutes_the_minimum_norm_only() -> None:
    given = problem(Square(half=True))
    end = minimising.minimum(given, np.array([1.0, 0.8]))
    higher = teachers.resting(end, rivals=(("start", "weight"), np.stack([end, 1.1 * end])))
    assert verdicts(lemma2.observe(given, higher)) == (SUPPORTED, SUPPORTED)
    found = lemma2.observe(given, teachers.resting(end)).assign(lower=1.0)
    assert verdicts(found) == (REFUTED, SUPPORTED)


def test_the_origin_and_points_in_motion_are_outside_the_lemma() -> None:
    given = problem(Square(half=True))
    for point in (np.zeros(2), np.ones(2)):
        assert verdicts(lemma2.observe(given, teachers.resting(point))) == (NOT_MET, NOT_MET)
    bare = problem(Square(half=True), decay=0.0)
    assert verdicts(lemma2.observe(bare, teachers.resting(np.ones(2)))) == (NOT_MET, NOT_MET)


def test_a_kink_is_outside_the_lemma() -> None:
    given = Problem(Dense((1, 1, 1), "relu"), Square(half=True), Data([[1.0]], [[2.0]]), 0.1)
    assert float(lemma2.observe(given, teachers.resting(np.zeros(2)))["kink"]) == 1.0
