"""On one point x = (1, 0), y = 2 the ridge equilibrium is (2/(1 + λ/2a), 0)."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes.ridge import STUDY, observe
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

X, Y = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], [[1.0], [2.0], [3.0]]


def problem(decay: float = 1.5, **loss) -> Problem:
    """Σ x xᵀ = diag(3, 0) and Σ y x = (6, 0): under a, the equilibrium is (6/(3 + λ/2a), 0)."""
    return Problem(Dense((2, 1)), Square(**loss), Data(X, Y), decay)


def ended(first: float, second: float = 0.0) -> xr.Dataset:
    return xr.Dataset({"final_weights": ("weight", np.asarray([first, second]))})


def verdict(observed: xr.Dataset) -> tuple[str, str]:
    found = STUDY.judge(collect([("case", observed)]))
    return found.verdict, found.part


@pytest.mark.parametrize(
    ("loss", "shift"), [({"half": True}, 1.5), ({}, 0.75), ({"reduction": "mean"}, 2.25)], ids=str
)
def test_each_loss_has_its_own_constant(loss, shift):
    seen = observe(problem(**loss), ended(6.0 / (3.0 + shift)))
    assert float(seen["limit"]) == pytest.approx(0.0, abs=1e-12)
    assert verdict(seen)[0] == SUPPORTED
    assert float(seen["half"]) == pytest.approx(0.0, abs=1e-12)
    assert float(seen["sum"]) == pytest.approx(1.0)
    assert float(seen["mean"]) == pytest.approx((4 / 3 - 6 / 5.25) / (1.6 - 4 / 3))
    assert float(seen["to_printed"]) == pytest.approx(abs(6 / (3 + shift) - 4 / 3) / (1.6 - 4 / 3), abs=1e-12)


def test_a_limit_at_another_constant_is_not_taken_for_an_unfinished_run():
    # the equilibrium of the printed loss Σ, claimed of a run under ½Σ whose own gradient there is not zero
    seen = observe(problem(half=True), ended(6.0 / 3.75))
    assert float(seen["limit"]) == pytest.approx(1.0)
    assert verdict(seen) == (INCONCLUSIVE, "limit")


def test_a_finished_run_somewhere_else_refutes():
    seen = observe(problem(half=True), ended(4.0 / 3.0)).assign(limit=1.0, limit_error=0.0)
    assert verdict(seen) == (REFUTED, "limit")


def test_an_unfinished_run_decides_nothing():
    assert verdict(observe(problem(half=True), ended(4.0 / 3.0, 0.1))) == (INCONCLUSIVE, "limit")


def test_the_least_eigenvalue_is_the_decay_beside_the_span():
    seen = observe(problem(decay=1e-8, half=True), ended(6.0 / (3.0 + 1e-8)))
    assert float(seen["positive"]) == pytest.approx(1.0, abs=1e-6)
    assert verdict(seen)[0] == SUPPORTED


def test_two_points_cannot_tell_the_mean_from_half_the_sum():
    two = Problem(Dense((2, 1)), Square(half=True), Data(X[:2], Y[:2]), 1.0)
    seen = observe(two, ended(3.0 / 3.0))
    assert float(seen["mean"]) == pytest.approx(0.0, abs=1e-12)
    assert verdict(seen)[0] == SUPPORTED


def test_no_decay_is_outside_the_claim():
    assert verdict(observe(problem(decay=0.0, half=True), ended(2.0)))[0] == NOT_MET
