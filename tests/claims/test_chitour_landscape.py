"""(3 − w₂w₁)² has an isolated saddle; (3 − w₃w₂w₁)² a saddle without negative eigenvalue."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.equilibria.inertia import inertia
from gradlab.claims.chitour import landscape
from gradlab.claims.chitour._critical import dataset
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, Case
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = landscape.STUDIES


def scalar(depth: int, target: float = 3.0) -> Problem:
    data = Data(np.ones((1, 1)), np.array([[target]]))
    return Problem(Dense.deep_linear((1,) * (depth + 1)), Square(), data)


def judged(study, problem: Problem, points):
    return study.judge(study.measure([Case("one", problem, dataset(np.asarray(points, dtype=float)))]))


def test_the_isolated_saddle_refutes_the_printed_dimension_and_nothing_else():
    verdict = judged(PRINTED, scalar(2), [[0.0, 0.0], [1.0, 3.0]])
    assert (verdict.verdict, verdict.part, verdict.number) == (REFUTED, "dimension", 0.0)
    assert [part.id for part in verdict.parts if part.verdict != SUPPORTED] == ["dimension"]
    assert judged(CORRECTED, scalar(2), [[0.0, 0.0], [1.0, 3.0]]).verdict == SUPPORTED


def test_with_three_layers_the_origin_is_a_saddle_without_negative_eigenvalue():
    points = [[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [1.0, 1.0, 3.0]]
    for study in (PRINTED, CORRECTED):
        assert judged(study, scalar(3), points).verdict == SUPPORTED
    verdict = judged(CORRECTED, scalar(3), points[1:])
    assert (verdict.verdict, verdict.part) == (REFUTED, "nonstrict")


def test_points_that_are_not_critical_do_not_count():
    verdict = judged(PRINTED, scalar(2), [[0.5, 0.5]])
    assert (verdict.verdict, verdict.part) == (NOT_MET, "points")


def test_a_target_of_zero_is_outside_the_hypotheses():
    assert judged(PRINTED, scalar(2, 0.0), [[0.0, 0.0]]).verdict == NOT_MET


def test_a_definite_hessian_refutes_a_saddle_and_a_flat_one_leaves_it_open():
    definite, flat = inertia([0.0, 1.0], 1e-12), inertia([0.0, 0.0], 1e-12)
    assert landscape._sides(0.0, 1e9, definite, 1.0) == (0.0, 1e9)
    assert np.isnan(landscape._sides(0.0, 1e9, flat, 1.0)[0])
    assert landscape._least([1e9, 0.0, np.nan]) == 0.0
    assert np.isnan(landscape._least([1e9, np.nan]))


def test_what_was_not_seen_is_inconclusive(monkeypatch):
    monkeypatch.setattr(landscape, "extremes", lambda *_: (9.0, 9.0))
    verdict = judged(PRINTED, scalar(3), [[0.0, 0.0, 0.0]])
    assert (verdict.verdict, verdict.part) == (INCONCLUSIVE, "lower")


def test_a_wrong_criterion_is_refuted(monkeypatch):
    monkeypatch.setattr(landscape, "is_strict", lambda *_: False)
    verdict = judged(CORRECTED, scalar(2), [[0.0, 0.0]])
    assert (verdict.verdict, verdict.part) == (REFUTED, "criterion")
    assert verdict.number == pytest.approx(1.0)
