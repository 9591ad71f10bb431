"""One weight, two examples with contradicting labels: L = e^{−w} + e^{w} + λw²/2 rests at 0 with H = 2 + λ."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes.hartman_grobman import STUDY, observe
from gradlab.claims.teachers import resting
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def problem(inputs=((1.0,), (1.0,)), labels=(1.0, -1.0), network=None, decay=0.5) -> Problem:
    data = Data(np.asarray(inputs), np.asarray(labels))
    return Problem(network or Dense((1, 1)), Exponential(), data, decay)


def verdict(observed) -> tuple[str, str]:
    found = STUDY.judge(collect([("case", observed)]))
    return found.verdict, found.part


@pytest.fixture(scope="module")
def seen():
    return observe(problem(), resting(np.zeros(1)))


def test_at_a_sink_the_conjugacy_holds(seen):
    assert verdict(seen)[0] == SUPPORTED
    assert float(seen["condition"]) == 1.0
    assert float(seen["defect"]) < 1e-9 < 1e-3 < float(seen["identity"])


def test_a_map_that_does_not_commute_refutes(seen):
    assert verdict(seen.assign(defect=1e-3)) == (REFUTED, "defect")
    assert verdict(seen.assign(defect_error=1e-3)) == (INCONCLUSIVE, "defect")


def test_two_points_with_one_image_refute(seen):
    assert verdict(seen.assign(separation=0.0)) == (REFUTED, "separation")


def test_zero_eigenvalues_and_points_that_move_are_outside_the_theorem():
    flat = problem(((1.0, 0.0), (1.0, 0.0)), network=Dense((2, 1)), decay=0.0)
    assert verdict(observe(flat, resting(np.zeros(2))))[0] == NOT_MET
    assert verdict(observe(problem(), resting(np.ones(1))))[0] == NOT_MET


def test_a_net_with_kinks_is_outside_the_theorem():
    kinked = problem(network=Dense((1, 1, 1), "relu"))
    assert verdict(observe(kinked, resting(np.array([0.3, 0.3]))))[0] == NOT_MET
