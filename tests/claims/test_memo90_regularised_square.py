"""(2 − w₁w₂)² + ½ λ ‖w‖² has its minima at w₁w₂ = 2 − λ/2, E = λ/2: the dropped term −2E is −λ, its norm λ."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.equilibria import minimising
from gradlab.claims import teachers
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90 import regularised_square
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = regularised_square.STUDIES


def problem(decay=0.5, hidden=1) -> Problem:
    return Problem(Dense.deep_linear((1, hidden, 1)), Square(), Data([[1.0]], [[2.0]]), decay)


def seen(given, start):
    return regularised_square.observe(given, teachers.resting(minimising.minimum(given, np.asarray(start))))


def verdicts(observed) -> tuple[str, str]:
    together = collect([("one", observed)])
    return PRINTED.judge(together).verdict, CORRECTED.judge(together).verdict


@pytest.mark.parametrize("decay", [0.5, 1e-3])
def test_what_the_printed_formula_leaves_out_is_lambda(decay) -> None:
    found = seen(problem(decay), (1.0, 0.8))
    assert float(found["formula"]) == pytest.approx(1.0, abs=1e-10)
    assert float(found["zeros"]) == 0.0
    assert float(found["origin_least"]) == pytest.approx(decay - 4.0)
    assert verdicts(found) == (REFUTED, SUPPORTED)


def test_two_hidden_units_keep_one_zero() -> None:
    found = seen(problem(hidden=2), (1.0, 0.3, 0.8, 0.5))
    assert (float(found["zeros"]), float(found["rotations"])) == (1.0, 1.0)
    assert verdicts(found) == (REFUTED, SUPPORTED)


def test_an_unexplained_zero_refutes_the_correction() -> None:
    found = seen(problem(), (1.0, 0.8))
    assert verdicts(found.assign(unexplained=1.0)) == (REFUTED, REFUTED)


def test_no_decay_and_no_equilibrium_are_outside_the_claim() -> None:
    assert verdicts(regularised_square.observe(problem(0.0), teachers.resting(np.ones(2)))) == (
        NOT_MET,
        NOT_MET,
    )
    assert verdicts(regularised_square.observe(problem(), teachers.resting(np.ones(2)))) == (NOT_MET, NOT_MET)
