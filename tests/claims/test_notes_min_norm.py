"""On one point x = (1, 0), y = 2, the limit from (w₁, w₂) is (2, w₂); XXᵀ = diag(1, 0) has no inverse."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes.min_norm import STUDIES, observe
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = STUDIES


def problem(X=((1.0, 0.0),), Y=((2.0,),), decay: float = 0.0) -> Problem:
    return Problem(Dense((2, 1)), Square(half=True), Data(X, Y), decay)


def run(start: list[float], end: list[float]) -> xr.Dataset:
    return xr.Dataset({"weights": (("record", "weight"), np.asarray([start, end]))})


def verdict(study, observed: xr.Dataset) -> tuple[str, str]:
    found = study.judge(collect([("case", observed)]))
    return found.verdict, found.part


def test_the_distance_is_the_null_space_part_and_the_printed_inverse_does_not_exist():
    seen = observe(problem(), run([1.0, 3.0], [2.0, 3.0]))
    assert (float(seen["away"]), float(seen["beside"])) == (3.0, 3.0)
    assert float(seen["limit"]) == pytest.approx(0.0, abs=1e-15)
    assert float(seen["inverse"]) == 0.0
    assert float(seen["ridge"]) == pytest.approx(1.0, abs=1e-6)
    assert verdict(PRINTED, seen) == (REFUTED, "inverse")
    assert verdict(CORRECTED, seen)[0] == SUPPORTED


def test_where_the_points_span_the_printed_formula_is_right():
    seen = observe(
        problem([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[1.0], [2.0], [3.0]]), run([5.0, 5.0], [1.0, 2.0])
    )
    assert float(seen["inverse"]) == pytest.approx(1.0 / 3.0)
    assert verdict(PRINTED, seen)[0] == SUPPORTED
    assert verdict(CORRECTED, seen)[0] == SUPPORTED


def test_a_null_component_that_faded_refutes():
    seen = observe(problem(), run([1.0, 3.0], [2.0, 2.9]))
    assert float(seen["limit"]) == pytest.approx(0.1 / (2.0 + np.sqrt(10.0)))
    assert verdict(CORRECTED, seen)[0] == REFUTED


def test_a_ridge_limit_that_is_another_solution_refutes():
    away = run([0.0, 0.0], [2.0, 0.0]).assign(ridge_decay=1e-4, ridge_weights=("weight", [2.0, 0.001]))
    found = observe(problem(), away)
    assert float(found["ridge"]) == pytest.approx(5.0, rel=1e-3)
    # that point is no equilibrium of the regularised potential, and the error says so
    assert float(found["ridge_error"]) > float(found["ridge"]) - 2.0
    assert verdict(CORRECTED, found.assign(ridge_error=0.0)) == (REFUTED, "ridge")


def test_decay_is_outside_the_claim():
    assert verdict(CORRECTED, observe(problem(decay=0.5), run([0.0, 0.0], [4 / 3, 0.0])))[0] == NOT_MET
