"""Two layers of width one, X = 1, Y = 3, W = (2, ½): the printed field is (1, 4), −∇F is (2, 8)."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.chitour import gradient
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = gradient.STUDIES


def problem(widths=(1, 1, 1), activation="identity", **loss) -> Problem:
    data = Data(np.eye(widths[0]), 3.0 * np.eye(widths[0], widths[-1]))
    return Problem(Dense(widths, activation), Square(**loss), data)


def records(*points) -> xr.Dataset:
    return xr.Dataset({"weights": (("record", "weight"), np.array(points, dtype=float))})


def verdicts(observed: xr.Dataset) -> tuple[str, str]:
    together = collect([("one", observed)])
    return PRINTED.judge(together).verdict, CORRECTED.judge(together).verdict


def test_the_printed_field_is_half_of_the_gradient():
    seen = gradient.observe(problem(), records([2.0, 0.5]))
    assert float(seen["printed"]) == pytest.approx(0.5, abs=1e-15)
    assert float(seen["doubled"]) == pytest.approx(0.0, abs=1e-15)
    np.testing.assert_allclose(seen["printed"], 0.5)
    assert verdicts(seen) == (REFUTED, SUPPORTED)


def test_products_that_are_symmetric_ask_nothing_of_the_transposes():
    seen = gradient.observe(problem(), records([2.0, 0.5]))
    assert (float(seen["transposes"]), float(seen["transposes_tolerance"])) == (0.0, -1.0)


def test_without_transposes_a_square_net_misses_and_others_have_no_product():
    points = np.random.default_rng(0).normal(size=(2, 27))
    square = gradient.observe(problem((3, 3, 3, 3)), records(*points))
    assert float(square["transposes"]) > 0.5
    other = gradient.observe(problem((3, 2, 1)), records(*points[:, :8]))
    assert float(other["transposes"]) == 1.0
    assert verdicts(square) == verdicts(other) == (REFUTED, SUPPORTED)


def test_zero_weights_and_a_converged_point_do_not_hide_the_others():
    seen = gradient.observe(problem(), records([0.0, 0.0], [2.0, 1.5], [2.0, 0.5]))
    assert float(seen["printed"]) == pytest.approx(0.5)
    assert verdicts(seen) == (REFUTED, SUPPORTED)


@pytest.mark.parametrize("other", [{"half": True}, {"reduction": "mean"}, {"activation": "tanh"}])
def test_another_potential_is_outside_the_claim(other):
    widths = (2, 1, 1)
    seen = gradient.observe(problem(widths, **other), records([2.0, 0.7, 0.5]))
    assert verdicts(seen) == (NOT_MET, NOT_MET)


def test_a_wrong_gradient_would_refute_both(monkeypatch):
    right = gradient.values_and_gradients

    def wrong(problem, vectors):
        values, gradients = right(problem, vectors)
        return values, gradients * [1.0, 1.001]

    monkeypatch.setattr(gradient, "values_and_gradients", wrong)
    assert verdicts(gradient.observe(problem(), records([2.0, 0.5]))) == (REFUTED, REFUTED)
