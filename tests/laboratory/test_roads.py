"""What ``run`` chooses by itself, and what it records of it: exact steps, few examples, events, the radial chart."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradlab.solvers import Filippov, Fixed

import gradlab
from gradlab import Adaptive, Data, Dense, Exponential, Gaussian, GradientFlow, LogTime, Problem
from gradlab.dynamics.homogeneous import HomogeneousFlow
from gradlab.laboratory.running import _prepare
from gradlab.problem.data import separable


def used(run) -> str:
    return json.loads(run.attrs["provenance"])["solver_used"]


def regression(widths: tuple[int, ...], examples: int) -> tuple[Problem, tuple]:
    keys = jax.random.split(jax.random.key(1), 3)
    inputs = jax.random.normal(keys[0], (examples, widths[0]))
    targets = jax.random.normal(keys[1], (examples, widths[-1]))
    problem = Problem(Dense(widths, "identity"), gradlab.Square("mean"), Data(inputs, targets), 0.01)
    return problem, problem.network.init(keys[2], Gaussian(0.5))


def test_a_quadratic_potential_is_stepped_exactly_unless_stops_are_watched() -> None:
    problem, start = regression((3, 2), 7)
    run = gradlab.run(GradientFlow(problem), start, [1.0, 100.0])
    assert used(run).startswith("Exact")
    assert int(run["evaluations"][-1]) <= 3
    slow = gradlab.run(GradientFlow(problem), start, [1.0, 100.0], solver=Adaptive("dopri8", 1e-12))
    np.testing.assert_allclose(run["final_weights"], slow["final_weights"], rtol=1e-9, atol=1e-12)
    watched = gradlab.run(GradientFlow(problem), start, [100.0], stop=gradlab.Stop(steps=3), refine=False)
    assert watched.attrs["result"] == "stopped: step count reached"


def test_a_deep_linear_net_steps_on_condensed_examples_and_is_observed_on_its_own() -> None:
    problem, start = regression((3, 4, 2), 60)
    drive, _ = _prepare(GradientFlow(problem), start, gradlab.Time(), "auto", gradlab.Stop(), ("loss",), None)
    assert drive.flow.stepped.data.inputs.shape[0] == 4
    assert drive.flow.observed.data.inputs.shape[0] == 60
    auto = gradlab.run(GradientFlow(problem), start, [5.0], observables=("loss",))
    plain = gradlab.run(GradientFlow(problem), start, [5.0], solver="dopri8", observables=("loss",))
    np.testing.assert_allclose(auto["loss"], plain["loss"], rtol=1e-8)


@pytest.fixture(scope="module")
def late():
    data = separable(jax.random.key(0), 8, 3, 0.3)
    problem = Problem(Dense((3, 4, 1), "identity"), Exponential("mean"), data)
    start = problem.network.init(jax.random.key(1), Gaussian(0.5))
    seen = ("radial_margin", "kkt_stationarity", "log_loss")
    return problem, gradlab.run(
        GradientFlow(problem), start, [1.0, 1e2, 1e6], clock=LogTime(), observables=seen
    )


def test_the_radial_chart_is_handed_over_to_and_reaches_log_t_1e6(late) -> None:
    problem, run = late
    assert run.attrs["result"] == "reached the last record"
    separated = run["radial_margin"].values > 0.0
    # Handed over at the first record at which the data are separated, and never back.
    np.testing.assert_array_equal(run["chart_polar"].values, separated.astype(float))
    assert run["chart_polar"].values[0] == 0.0
    np.testing.assert_allclose(run["log_t"].values[-1], 1e6, rtol=1e-15)
    # Errors stated are below 1e-9, and the limit is approached like 1/log t: t L ‖W‖² tends to a constant.
    assert float(run["radial_margin_error"][-1]) < 1e-9
    growth = run["log_loss"].values[-1] + 1e6 + 2.0 * run["chart_log_norm"].values[-1]
    earlier = run["log_loss"].values[-2] + 100.0 + 2.0 * run["chart_log_norm"].values[-2]
    assert abs(growth - earlier) < 1.0
    assert 0.0 < float(run["kkt_stationarity"][-1]) < float(run["kkt_stationarity"][-2]) < 0.2
    assert HomogeneousFlow(problem).observed is problem


def relu(widths: tuple[int, ...] = (2, 3, 1)) -> tuple[Problem, tuple]:
    inputs = jax.random.normal(jax.random.key(3), (6, 2))
    data = Data(inputs, jnp.where(inputs[:, 0] > 0.0, 1.0, -1.0))
    problem = Problem(Dense(widths, "relu"), Exponential("mean"), data)
    return problem, problem.network.init(jax.random.key(4), Gaussian(0.5))


def test_a_two_layer_relu_net_goes_by_events_with_smoothing_as_its_error() -> None:
    problem, start = relu()
    run = gradlab.run(GradientFlow(problem), start, [0.5, 2.0], clock=LogTime(), observables=("loss",))
    assert used(run).startswith("Filippov")
    assert run["events"].dims == ("record",)
    assert np.all((run["sliding"].values >= 0.0) & (run["sliding"].values <= 1.0))
    # The second road is off by the order of its ε = 1e-7.
    assert 0.0 < float(run["loss_error"][-1]) < 1e-6
    assert float(run["loss"][-1]) < float(run["loss"][0])


def test_what_events_cannot_follow_is_refused_by_name_and_auto_goes_by_equal_steps() -> None:
    problem, start = relu((2, 3, 3, 1))
    with pytest.raises(ValueError, match=r"two layers.*Fixed\('heun', step\)"):
        gradlab.run(GradientFlow(problem), start, [0.1], solver=Filippov())
    with pytest.raises(ValueError, match="LogLoss was given"):
        gradlab.run(GradientFlow(relu()[0]), relu()[1], [0.1], solver="filippov", clock=gradlab.LogLoss())
    drive, _ = _prepare(GradientFlow(problem), start, gradlab.Time(), "auto", gradlab.Stop(), (), None)
    assert isinstance(drive.solver, Fixed)
    line, weights = regression((3, 2), 7)
    fading = gradlab.GradientDescent(line, gradlab.schedules.PowerLaw(0.1, 0.5))
    with pytest.raises(ValueError, match="exact steps of descent need a constant step"):
        gradlab.run(fading, weights, [5], solver="exact")
