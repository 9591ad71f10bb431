"""f = w₂w₁x at (2, ½), x = y = 1: ∇²L = e⁻¹ ((¼, 0), (0, 4)); and five units on one input have four eigenvalues."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.claims import teachers
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90 import cross_layer
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = cross_layer.STUDIES


def verdicts(problem, vector) -> tuple[str, str]:
    together = collect([("one", cross_layer.observe(problem, teachers.resting(vector)))])
    return PRINTED.judge(together).verdict, CORRECTED.judge(together).verdict


def pair(loss=None, label=1.0) -> Problem:
    return Problem(Dense.deep_linear((1, 1, 1)), loss or Exponential(), Data([[1.0]], [label]))


def many() -> tuple[Problem, np.ndarray]:
    x = np.linspace(0.5, 2.0, 6)[:, None]
    vector = np.array([0.3, 0.9, -0.4, 0.7, 0.2, 1.0, 0.8, -0.1, 0.5, 0.6])
    return Problem(Dense.deep_linear((1, 5, 1)), Exponential(), Data(x, np.ones(6))), vector


def test_equation_46_by_hand() -> None:
    vector = np.array([2.0, 0.5])
    expected = np.exp(-1.0) * np.diag([0.25, 4.0])
    assert cross_layer.printed(pair(), pair().network, vector) == pytest.approx(expected, abs=1e-16)
    seen = cross_layer.observe(pair(), teachers.resting(vector))
    assert float(seen["formula"]) <= 1e-15
    assert float(seen["broken"]) == 1.0
    assert verdicts(pair(), vector) == (SUPPORTED, SUPPORTED)


@pytest.mark.parametrize(
    ("rank", "hidden", "expected"), [(1, 5, 4), (2, 10, 7), (3, 2, 6), (4, 1, 5), (1, 1, 2)]
)
def test_the_law_by_hand(rank, hidden, expected) -> None:
    assert cross_layer.law(rank, hidden) == expected


def test_many_examples_keep_the_bound() -> None:
    problem, vector = many()
    seen = cross_layer.observe(problem, teachers.resting(vector))
    assert (float(seen["distinct"]), float(seen["over"])) == (4.0, 4.0)
    assert verdicts(problem, vector) == (REFUTED, SUPPORTED)


def test_a_wrong_law_and_a_wrong_formula_refute(monkeypatch) -> None:
    problem, vector = many()
    monkeypatch.setattr(cross_layer, "law", lambda *_: 5)
    assert verdicts(problem, vector) == (REFUTED, REFUTED)
    monkeypatch.undo()
    right = cross_layer.printed
    monkeypatch.setattr(cross_layer, "printed", lambda *given: 1.001 * right(*given))
    assert verdicts(pair(), np.array([2.0, 0.5])) == (REFUTED, REFUTED)


def test_other_losses_and_unseparated_data_are_outside_the_claim() -> None:
    assert verdicts(pair(Logistic()), np.array([2.0, 0.5])) == (NOT_MET, NOT_MET)
    assert verdicts(pair(label=-1.0), np.array([2.0, 0.5])) == (NOT_MET, NOT_MET)
