"""½(2 − W_2 W_1)² + ½ λ ‖W‖²: degenerate at W_2 W_1 = 2, hyperbolic with decay for one hidden unit only."""

from __future__ import annotations

import numpy as np

from gradlab.analysis.equilibria import minimising
from gradlab.claims import teachers
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes.regularise_to_hyperbolic import STUDY, observe
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def problem(hidden=1, decay=0.1) -> Problem:
    data = Data([[1.0]], [[2.0]])
    return Problem(Dense.deep_linear((1, hidden, 1)), Square(half=True), data, decay)


def seen(given):
    start = np.linspace(1.0, 0.8, given.size)
    return observe(given, teachers.resting(minimising.minimum(given, start)))


def verdict(observed) -> str:
    return STUDY.judge(collect([("one", observed)])).verdict


def test_a_degenerate_minimum_becomes_hyperbolic() -> None:
    found = seen(problem())
    # at w = √1.9 the eigenvalues are 2w² and 2λ
    assert (float(found["before"]), float(found["after"])) == (1.0, 0.0)
    assert abs(float(found["least"]) - 2.0) < 1e-12
    assert verdict(found) == SUPPORTED


def test_two_hidden_units_keep_their_zero() -> None:
    found = seen(problem(hidden=2))
    assert (float(found["zeros"]), float(found["kept"])) == (1.0, 0.0)
    assert verdict(found) == SUPPORTED
    assert verdict(found.assign(kept=1.0)) == REFUTED


def test_a_zero_that_stays_refutes() -> None:
    assert verdict(seen(problem()).assign(after=1.0)) == REFUTED
    assert verdict(seen(problem()).assign(before=0.0)) == REFUTED


def test_large_residuals_no_decay_and_motion_are_outside_the_claim() -> None:
    assert verdict(seen(problem(decay=1.0))) == NOT_MET
    assert verdict(observe(problem(decay=0.0), teachers.resting(np.ones(2)))) == NOT_MET
    assert verdict(observe(problem(), teachers.resting(np.ones(2)))) == NOT_MET
