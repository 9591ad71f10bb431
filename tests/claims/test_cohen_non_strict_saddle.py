"""(3 − w₂w₁)² has Hessian ±6 at 0, (3 − w₃w₂w₁)² none; with Y = 0 the origin is no saddle."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, Case
from gradlab.claims.cohen import non_strict_saddle
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

STUDY = non_strict_saddle.STUDY


def scalar(depth: int, target: float = 3.0, decay: float = 0.0) -> Problem:
    data = Data(np.ones((1, 1)), np.array([[target]]))
    return Problem(Dense.deep_linear((1,) * (depth + 1)), Square(), data, decay)


def observed(problem: Problem) -> xr.Dataset:
    return STUDY.measure([Case("one", problem, xr.Dataset())])


def test_two_layers_are_strict_and_three_are_not():
    for depth in (2, 3):
        numbers = observed(scalar(depth))
        assert STUDY.judge(numbers).verdict == SUPPORTED
        assert float(numbers["falls"].item()) == pytest.approx(0.95)
        expected = [-1.0, 1.0] if depth == 2 else [0.0] * 3
        np.testing.assert_allclose(numbers["values"].values[0], expected, atol=1e-14)


def test_without_targets_the_origin_is_a_minimum_and_the_claim_says_nothing():
    verdict = STUDY.judge(observed(scalar(3, 0.0)))
    assert (verdict.verdict, verdict.part) == (NOT_MET, "slope")


def test_weight_decay_biases_kinks_and_single_layers_are_outside():
    given = scalar(3)
    others = [
        scalar(3, decay=0.1),
        Problem(Dense((1, 1, 1), "relu"), Square(), given.data),
        Problem(Dense((1, 1, 1), "tanh", bias=True), Square(), given.data),
        Problem(Dense((1, 1)), Square(), given.data),
    ]
    for problem in others:
        assert STUDY.judge(observed(problem)).verdict == NOT_MET


def test_a_wrong_spectrum_and_a_minimum_are_refuted():
    numbers = observed(scalar(2))
    verdict = STUDY.judge(numbers.assign(strict=("case", [0.0])))
    assert (verdict.verdict, verdict.part) == (REFUTED, "strict")
    verdict = STUDY.judge(numbers.assign(falls=("case", [-1.0])))
    assert (verdict.verdict, verdict.part) == (REFUTED, "falls")
