"""½(3 − w₂w₁)² + ½ ‖w‖² at (1, 2): E = 1, −∇L = (2, 1) − (1, 2); and sinh z tanh z = 1 against the least norm."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

from gradlab.analysis.equilibria import counting
from gradlab.claims import teachers
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes import deep_hessian
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = deep_hessian.STUDIES


def problem(decay=1.0, target=3.0, activation="identity") -> Problem:
    return Problem(Dense((1, 1, 1), activation), Square(half=True), Data([[1.0]], [[target]]), decay)


def flow(start, end):
    path = np.stack([start, end])
    seen = teachers.resting(end, weights=(("record", "weight"), path))
    return seen.assign_attrs(provenance='{"flow": "GradientFlow"}')


def verdicts(observed) -> tuple[str, str]:
    together = collect([("one", observed)])
    return PRINTED.judge(together).verdict, CORRECTED.judge(together).verdict


def test_the_signs_by_hand() -> None:
    given, vector = problem(), np.array([1.0, 2.0])
    found = counting.eigenvalues(given, vector)
    numbers = deep_hessian.formulas(given, found)
    # speeds: ‖J‖ (|f| + |y|) + λ‖w‖; the printed velocity misses by twice (2, 1)
    assert numbers["velocity"] == pytest.approx(2.0 * np.sqrt(5.0) / (5.0 * np.sqrt(5.0) + np.sqrt(5.0)))
    # the printed Hessian misses by twice the identity; the parts have norms 5, √2, √2
    assert numbers["hessian"] == pytest.approx(2.0 * np.sqrt(2.0) / (5.0 + 2.0 * np.sqrt(2.0)))
    assert numbers["velocity_mended"] == pytest.approx(0.0, abs=1e-16)
    assert numbers["hessian_mended"] == pytest.approx(0.0, abs=1e-16)
    assert numbers["either"] > 0.1
    assert verdicts(deep_hessian.observe(given, teachers.resting(vector))) == (REFUTED, SUPPORTED)


def test_the_flow_from_zero_ends_on_sinh_and_not_at_the_least_norm() -> None:
    z = scipy.optimize.brentq(lambda z: np.sinh(z) * np.tanh(z) - 1.0, 0.1, 3.0)
    given, limit = problem(0.0, 1.0, "tanh"), np.array([z, np.sinh(z)])
    found = deep_hessian.observe(given, flow(1e-3 * limit, limit))
    assert float(found["left"]) > 0.2
    assert verdicts(found)[1] == SUPPORTED
    least = scipy.optimize.brentq(lambda z: 0.5 * z * np.sinh(2 * z) * np.tanh(z) ** 2 - 1.0, 0.1, 3.0)
    shortest = np.array([least, 1.0 / np.tanh(least)])
    assert shortest @ shortest < limit @ limit
    found = deep_hessian.observe(given, flow(1e-3 * shortest, shortest))
    assert float(found["left"]) < 1e-12
    assert verdicts(found)[1] == INCONCLUSIVE or verdicts(found)[1] == REFUTED


def test_a_kernel_that_is_missing_refutes(monkeypatch) -> None:
    given, vector = problem(0.0, 2.0), np.array([1.0, 2.0])
    assert verdicts(deep_hessian.observe(given, teachers.resting(vector)))[1] == SUPPORTED
    monkeypatch.setattr(counting, "kernel_at_zero", lambda *_: counting.Count(0.0, 0.0))
    assert verdicts(deep_hessian.observe(given, teachers.resting(vector)))[1] == REFUTED


def test_other_losses_are_outside_the_claim() -> None:
    other = Problem(Dense((1, 1, 1), "tanh"), Exponential(), Data([[1.0]], [1.0]))
    assert verdicts(deep_hessian.observe(other, teachers.resting(np.ones(2)))) == (NOT_MET, NOT_MET)
