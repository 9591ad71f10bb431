"""Two layers of widths (2, 2, 1): orbits, steps and sweeps made by hand, and spoilt."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.chitour.invariants import STUDY, observe
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

X = np.array([[1.0, 0.5], [-0.3, 2.0], [0.2, 0.1]])
Y = np.array([[1.0], [2.0], [-1.0]])
START = np.array([0.8, -0.2, 0.3, 0.5, 0.4, 0.9])


def problem(activation: str = "identity", decay: float = 0.0) -> Problem:
    return Problem(Dense((2, 2, 1), activation), Square(), Data(X, Y), decay)


def gradient(vector: np.ndarray) -> np.ndarray:
    """∇‖Y − X (W₂W₁)ᵀ‖², by hand."""
    first, second = vector[:4].reshape(2, 2), vector[4:].reshape(1, 2)
    moment = 2.0 * (X @ (second @ first).T - Y).T @ X
    return np.concatenate([(second.T @ moment).ravel(), (moment @ first.T).ravel()])


def flow(steps: int = 4000, until: float = 0.4) -> np.ndarray:
    """The midpoint rule: its error, 1e-9, is far below the tolerance."""
    points, h = [START], until / steps
    for _ in range(steps):
        middle = points[-1] - 0.5 * h * gradient(points[-1])
        points.append(points[-1] - h * gradient(middle))
    return np.array(points[:: steps // 4])


def descent(eta: float, steps: int) -> np.ndarray:
    point = START
    for _ in range(steps):
        point = point - eta * gradient(point)
    return point


def trajectory(weights: np.ndarray, once=lambda eta: descent(eta, 1)) -> xr.Dataset:
    etas = 4e-3 * 2.0 ** -np.arange(5)
    seen = xr.Dataset(
        {
            "weights": (("record", "weight"), weights),
            "sweep_eta": ("eta", etas),
            "sweep_once": (("eta", "weight"), np.array([once(eta) for eta in etas])),
            "sweep_end": (
                ("eta", "weight"),
                np.array([descent(eta, 16 * 2**i) for i, eta in enumerate(etas)]),
            ),
        }
    )
    return seen.assign_attrs(provenance=json.dumps({"flow": "GradientFlow"}))


def judged(seen: xr.Dataset, of: Problem | None = None):
    return STUDY.judge(collect([("one", observe(of or problem(), seen))]))


def test_a_flow_and_descents_made_by_hand_support():
    verdict = judged(trajectory(flow()))
    assert verdict.verdict == SUPPORTED
    numbers = {part.id: part.number for part in verdict.parts}
    assert numbers["step_order"] == pytest.approx(2.0, abs=1e-4)
    assert numbers["time_order"] == pytest.approx(1.0, abs=0.02)


def test_a_flow_that_drifts_refutes():
    weights = flow()
    weights[-1, :4] *= 1.0 + 1e-4
    verdict = judged(trajectory(weights))
    assert (verdict.verdict, verdict.part) in {(REFUTED, "drift"), (REFUTED, "norms")}


def test_a_step_that_is_not_along_the_gradient_refutes():
    verdict = judged(trajectory(flow(), lambda eta: START - eta * gradient(START) * np.arange(1.0, 7.0)))
    refuted = {part.id for part in verdict.parts if part.verdict == REFUTED}
    assert refuted == {"step", "step_order"}


def test_descent_decay_and_tanh_are_outside_the_claim():
    seen = trajectory(flow())
    assert judged(seen.assign_attrs(provenance='{"flow": "GradientDescent"}')).verdict == NOT_MET
    assert judged(seen, problem(decay=0.1)).verdict == NOT_MET
    assert judged(seen, problem("tanh")).verdict == NOT_MET
