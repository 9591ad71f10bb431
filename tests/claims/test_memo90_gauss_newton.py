"""f = w₁w₂ at (1, 1), y = 1: ∇²L = 2 (1, 1)(1, 1)ᵀ has the eigenvalues 0 and 4, two of them for one example."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.claims import teachers
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90 import gauss_newton
from gradlab.observe.local import automatic_hessian
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = gauss_newton.STUDIES


def verdicts(decay=0.0, vector=(1.0, 1.0)) -> tuple[str, str]:
    problem = Problem(Dense.deep_linear((1, 1, 1)), Square(), Data([[1.0]], [[1.0]]), decay)
    together = collect([("one", gauss_newton.observe(problem, teachers.resting(np.asarray(vector))))])
    return PRINTED.judge(together).verdict, CORRECTED.judge(together).verdict


def test_one_example_has_two_eigenvalues() -> None:
    problem = Problem(Dense.deep_linear((1, 1, 1)), Square(), Data([[1.0]], [[1.0]]))
    seen = gauss_newton.observe(problem, teachers.resting(np.ones(2)))
    assert (float(seen["all_distinct"]), float(seen["some_distinct"])) == (2.0, 1.0)
    assert verdicts() == (REFUTED, SUPPORTED)


@pytest.mark.parametrize("other", [{"decay": 0.1}, {"vector": (1.0, 1.001)}])
def test_decay_and_residuals_are_outside_the_claim(other) -> None:
    assert verdicts(**other) == (NOT_MET, NOT_MET)


def test_a_wrong_factor_refutes_both(monkeypatch) -> None:
    right = automatic_hessian
    monkeypatch.setattr(gauss_newton, "automatic_hessian", lambda *given: 2.0 * right(*given))
    assert verdicts() == (REFUTED, REFUTED)
