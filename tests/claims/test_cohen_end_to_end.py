"""Scalar layers, ℓ = (W − 1)²: balanced ones give dW/dt = −4 W (W − 1), a logistic curve."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.cohen.end_to_end import STUDY, observe, unbalanced
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PROBLEM = Problem(Dense.deep_linear((1, 1, 1)), Square("mean"), Data([[1.0]], [[1.0]]))
T = np.linspace(0.0, 1.0, 5)


def logistic(rate: float) -> np.ndarray:
    return 1.0 / (1.0 + 4.0 * np.exp(-rate * T))


def trajectory(product: np.ndarray, other: np.ndarray, lean: float = 1.0) -> xr.Dataset:
    layers = np.stack([lean * np.sqrt(product), np.sqrt(product) / lean], axis=1)
    small = np.full((5, 1), 1e-9)
    return xr.Dataset(
        {
            "t": ("record", T),
            "weights": (("record", "weight"), layers),
            "end_to_end": (("record", "entry"), logistic(4.0)[:, None]),
            "end_to_end_error": (("record", "entry"), small),
            "unbalanced": (("record", "entry"), other[:, None]),
            "unbalanced_error": ("record", small[:, 0]),
        }
    ).assign_attrs(provenance=json.dumps({"flow": "GradientFlow"}))


def judged(seen: xr.Dataset):
    return STUDY.judge(collect([("one", observe(PROBLEM, seen))]))


def test_the_logistic_curve_is_the_end_to_end_flow():
    verdict = judged(trajectory(logistic(4.0), logistic(9.0)))
    assert verdict.verdict == SUPPORTED
    assert {part.id: part.number for part in verdict.parts}["velocity"] < 1e-15


def test_another_curve_refutes():
    verdict = judged(trajectory(logistic(4.01), logistic(9.0)))
    assert (verdict.verdict, verdict.part) == (REFUTED, "orbit")


def test_an_unbalanced_net_that_follows_as_well_refutes_the_control():
    verdict = judged(trajectory(logistic(4.0), logistic(4.01)))
    assert (verdict.verdict, verdict.part) == (REFUTED, "control")


def test_unbalanced_layers_are_outside_the_claim_and_a_run_without_history_decides_nothing():
    verdict = judged(trajectory(logistic(4.0), logistic(9.0), lean=1.1))
    assert (verdict.verdict, verdict.part) == (NOT_MET, "balanced")
    ended = xr.Dataset({"final_weights": ("weight", [1.0, 1.0])})
    assert judged(ended).verdict in (NOT_MET, INCONCLUSIVE)


@pytest.mark.parametrize("size", [1.0, 0.0])
def test_the_control_has_the_same_product_and_other_layers(size):
    rng = np.random.default_rng(0)
    layers = (size * rng.normal(size=(3, 4)), size * rng.normal(size=(2, 3)))
    others = unbalanced(layers)
    np.testing.assert_allclose(others[1] @ others[0], layers[1] @ layers[0], atol=1e-15)
    assert np.linalg.norm(others[1].T @ others[1] - others[0] @ others[0].T) > 0.1
