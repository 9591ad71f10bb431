"""On one point in the plane, x = (1, 0), the second weight stands still and the Hessian is diag(1, 0)."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes.span import STUDY, observe
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def problem(decay: float = 0.0, **loss) -> Problem:
    return Problem(Dense((2, 1)), Square(**loss), Data([[1.0, 0.0]], [[2.0]]), decay)


def flow(second: float = 1.0) -> xr.Dataset:
    """The exact flow of ½(w₁ − 2)² from (1, 1), its second weight ending elsewhere."""
    t = np.asarray([0.0, 1.0, 40.0])
    weights = np.stack([2.0 - np.exp(-t), 1.0 + (second - 1.0) * t / 40.0], axis=1)
    return xr.Dataset({"weights": (("record", "weight"), weights), "step": ("record", [0, 10, 20])})


def verdict(*observed: xr.Dataset) -> str:
    return STUDY.judge(collect((str(i), one) for i, one in enumerate(observed))).verdict


def test_the_numbers_of_one_point():
    seen = observe(problem(half=True), flow())
    assert float(seen["null_motion"]) == 0.0
    assert (float(seen["zeros_beyond"]), float(seen["zeros_otherwise"]), float(seen["asserted"])) == (0, 0, 1)
    assert float(seen["hessian_half"]) == pytest.approx(0.0, abs=1e-15)
    assert float(seen["hessian_sum"]) == pytest.approx(1.0)
    assert verdict(seen) == SUPPORTED


@pytest.mark.parametrize("loss", [{"half": True}, {}, {"reduction": "mean", "half": True}])
def test_the_claim_holds_whatever_the_loss_is_multiplied_by(loss):
    assert verdict(observe(problem(**loss), flow())) == SUPPORTED


def test_motion_beside_the_span_refutes():
    seen = observe(problem(half=True), flow(second=1.0 + 1e-6))
    assert float(seen["null_motion"]) == pytest.approx(1e-6, rel=1e-3)
    assert verdict(seen) == REFUTED


def test_a_run_that_kept_no_history_decides_nothing():
    ended = xr.Dataset({"final_weights": ("weight", [2.0, 1.0])})
    assert np.isnan(float(observe(problem(half=True), ended)["null_motion"]))


def test_decay_and_depth_are_outside_the_claim():
    assert verdict(observe(problem(decay=0.1, half=True), flow())) == NOT_MET
    deep = Problem(Dense((2, 2, 1), "identity"), Square(), Data([[1.0, 0.0]], [[2.0]]))
    assert verdict(observe(deep, flow())) == NOT_MET
