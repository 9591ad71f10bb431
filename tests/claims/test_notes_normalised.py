"""notes.normalised: one example, w = (3, 4), where every printed equation can be worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes import normalised
from gradlab.dynamics.charts import NormalisedFlow
from gradlab.dynamics.clocks import LogLoss, Time
from gradlab.laboratory import at
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = normalised.STUDIES


def one_example(loss=None, decay=0.0) -> Problem:
    return Problem(Dense((2, 1), "identity"), loss or Exponential(), Data([[1.0, 0.0]], [1.0]), decay)


def observed(w, **changes):
    problem = one_example()
    trajectory = at(problem, [(np.array([w]),)], ()).assign(changes)
    return normalised.observe(problem, trajectory)


def verdict(study, dataset):
    return study.judge(collect([("one", dataset)]))


def test_the_numbers_of_the_note() -> None:
    seen = observed([3.0, 4.0])
    # e^-3 (0.64, -0.48) for a fifth of it, in units of e^-3/5
    assert float(seen["memo_43"]) == pytest.approx(5.0 * 0.8 * 0.8)
    printed = (np.eye(2) - np.outer([3.0, 4.0], [3.0, 4.0])) / 5.0
    right = np.array([[0.128, -0.096], [-0.096, 0.072]])
    norms = np.linalg.norm(printed) + np.linalg.norm(right)
    assert float(seen["memo_s"]) == pytest.approx(np.linalg.norm(printed - right) / norms)
    assert float(seen["right_43"]) < 1e-14
    # a second case, with an orbit of its own, must not make the first one's tolerances disappear
    apart = {"between_charts": ("record", [0.0]), "between_charts_error": ("record", [0.0])}
    other = observed([3.0, 4.0], **apart, chart_direction_norms=(("record", "layer"), [[1.0]]))
    together = collect([("still", seen), ("flowing", other)])
    assert PRINTED.judge(together).verdict == REFUTED
    assert CORRECTED.judge(together).verdict == SUPPORTED


def test_at_norm_one_the_printed_denominators_are_right_too() -> None:
    seen = observed([0.6, 0.8])
    assert float(seen["memo_43"]) < 1e-14
    assert float(seen["memo_s"]) < 1e-14


def test_an_orbit_that_parts_from_the_plain_one_is_refuted() -> None:
    apart = {"between_charts": ("record", [0.1]), "between_charts_error": ("record", [0.0])}
    seen = observed([3.0, 4.0], **apart, chart_direction_norms=(("record", "layer"), [[1.0]]))
    found = verdict(CORRECTED, seen)
    assert (found.verdict, found.part, found.number) == (REFUTED, "orbit", 0.1)


def test_a_chart_that_leaves_the_sphere_is_refuted() -> None:
    apart = {"between_charts": ("record", [0.0]), "between_charts_error": ("record", [0.0])}
    seen = observed([3.0, 4.0], **apart, chart_direction_norms=(("record", "layer"), [[1.01]]))
    assert verdict(CORRECTED, seen).part == "unit"


@pytest.mark.parametrize(("clock", "kind"), [("Time", Time), ("LogLoss", LogLoss)])
def test_a_plain_run_is_met_by_the_other_flow_at_its_own_records(monkeypatch, clock, kind) -> None:
    asked = {}

    def other(flow, weights, records, **options):
        asked.update(options, flow=flow, weights=weights, records=records)
        return xr.Dataset(
            {
                "weights": (("record", "weight"), [[3.0, 4.0], [3.0, 4.5], [3.0, 6.0]]),
                "weights_error": (("record", "weight"), np.full((3, 2), 1e-9)),
                "chart_direction_norms": (("record", "layer"), np.ones((3, 1))),
            }
        )

    monkeypatch.setattr(normalised, "run", other)
    problem = one_example()
    points = [(np.array([[3.0, 4.0 + i]]),) for i in range(3)]
    plain = at(problem, points, ()).assign(t=("record", [0.0, 1.0, 2.0]), tau=("record", [0.0, 0.1, 0.2]))
    plain.attrs["provenance"] = json.dumps({"flow": "GradientFlow", "clock": clock})
    seen = normalised.observe(problem, plain)
    assert isinstance(asked["flow"], NormalisedFlow)
    assert isinstance(asked["clock"], kind)
    assert asked["records"].tolist() == ([1.0, 2.0] if clock == "Time" else [0.1, 0.2])
    assert asked["weights"][0].tolist() == [[3.0, 4.0]]
    assert float(seen["orbit"]) == pytest.approx(0.5 / np.hypot(3.0, 5.0))


@pytest.mark.parametrize(
    ("loss", "decay"), [(Logistic(), 0.0), (Exponential("mean"), 0.0), (Exponential(), 0.1)]
)
def test_other_losses_and_decay_are_outside(loss, decay) -> None:
    problem = one_example(loss, decay)
    seen = normalised.observe(problem, at(problem, [(np.array([[3.0, 4.0]]),)], ()))
    assert verdict(CORRECTED, seen).verdict == NOT_MET


def test_a_layer_of_degree_two_is_outside() -> None:
    data = Data([[1.0, 0.5], [0.3, 1.0]], [1.0, 1.0])
    problem = Problem(Dense((2, 2, 1), "squared_relu"), Exponential(), data)
    weights = (np.array([[1.0, 0.5], [0.2, 1.0]]), np.array([[1.0, 2.0]]))
    found = verdict(CORRECTED, normalised.observe(problem, at(problem, [weights], ())))
    assert (found.verdict, found.part) == (NOT_MET, "degree")
