"""The hyperbola w₂w₁ = 3 and the point 0 are normally hyperbolic; two crossing lines are not."""

from __future__ import annotations

import numpy as np

from gradlab.claims.chitour import normal_hyperbolicity
from gradlab.claims.chitour._critical import dataset
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, Case
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

STUDY = normal_hyperbolicity.STUDY


def scalar(depth: int) -> Problem:
    data = Data(np.ones((1, 1)), np.array([[3.0]]))
    return Problem(Dense.deep_linear((1,) * (depth + 1)), Square(), data)


def judged(problem: Problem, points, **more: float):
    trajectory = dataset(np.asarray(points, dtype=float), **more)
    return STUDY.judge(STUDY.measure([Case("one", problem, trajectory)]))


def test_the_hyperbola_and_the_origin_support():
    assert judged(scalar(2), [[0.0, 0.0], [1.0, 3.0], [1.5, 2.0]]).verdict == SUPPORTED


def test_three_layers_are_outside_unless_marked_as_a_control_that_must_fail():
    origin = [[0.0, 0.0, 0.0]]
    verdict = judged(scalar(3), origin)
    assert (verdict.verdict, verdict.part) == (NOT_MET, "setting")
    verdict = judged(scalar(3), origin, control=1.0)
    assert verdict.verdict == SUPPORTED
    assert next(part for part in verdict.parts if part.id == "control").number == 2.0
    verdict = judged(scalar(3), [[1.0, 1.0, 3.0]], control=1.0)
    assert (verdict.verdict, verdict.part) == (REFUTED, "control")


def test_a_wrong_dimension_refutes(monkeypatch):
    monkeypatch.setattr(normal_hyperbolicity, "shallow_dimension", lambda *_: 2)
    verdict = judged(scalar(2), [[1.0, 3.0]])
    assert (verdict.verdict, verdict.part, verdict.number) == (REFUTED, "nullity", 1.0)


def test_a_nullity_without_a_gap_is_inconclusive(monkeypatch):
    monkeypatch.setattr(normal_hyperbolicity, "hessian_values", lambda *_: (np.array([1e-10, 1.0]), 1e-11))
    assert judged(scalar(2), [[1.0, 3.0]]).verdict == INCONCLUSIVE


def test_points_that_are_not_critical_do_not_count():
    verdict = judged(scalar(2), [[0.5, 0.5]])
    assert (verdict.verdict, verdict.part) == (NOT_MET, "points")
