"""Two layers of width one: w₂² − w₁² is what is conserved."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.cohen.balanced_preserved import STUDY, defect, identity, observe
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PROBLEM = Problem(Dense.deep_linear((1, 1, 1)), Square("mean"), Data([[1.0]], [[2.0]]))
SIZES = np.linspace(0.5, 1.4, 5)


def judged(first: np.ndarray, second: np.ndarray):
    seen = xr.Dataset(
        {
            "weights": (("record", "weight"), np.stack([first, second], axis=1)),
            "t": ("record", np.arange(5.0)),
        }
    ).assign_attrs(provenance=json.dumps({"flow": "GradientFlow"}))
    return STUDY.judge(collect([("one", observe(PROBLEM, seen))]))


def test_layers_that_stay_equal_support():
    assert judged(SIZES, -SIZES).verdict == SUPPORTED


def test_layers_that_part_refute():
    verdict = judged(SIZES, SIZES * (1.0 + 1e-5 * np.arange(5)))
    assert (verdict.verdict, verdict.part) == (REFUTED, "preserved")


def test_layers_that_start_apart_are_outside_the_claim():
    verdict = judged(SIZES, np.sqrt(1.0 + SIZES**2))
    assert (verdict.verdict, verdict.part, verdict.number) == (NOT_MET, "start", pytest.approx(1.0))


@pytest.mark.parametrize(
    ("widths", "expected"), [((4, 4, 4), 0.0), ((5, 4, 4), 0.0), ((5, 4, 4, 3), 1.0), ((2, 5, 3), 1.0)]
)
def test_a_padded_identity_is_balanced_where_all_layers_have_one_rank(widths, expected):
    assert defect(identity(widths)) == expected


def test_the_defect_of_near_zero_weights_is_of_second_order_and_relative_to_them_of_none():
    parts = {part.id: part for part in judged(SIZES, SIZES).parts}
    for name, order in (("near_zero", 2.0), ("near_zero_relative", 0.0)):
        assert abs(parts[name].number - order) < parts[name].error
