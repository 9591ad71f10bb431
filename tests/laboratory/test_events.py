"""The time of a stop is located inside the step, and has an error bar."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.dynamics import stops
from gradlab.laboratory.located import _blur


def one_point() -> tuple[gl.Problem, Any]:
    """w = log(1 + t), L = ‖∇L‖ = 1/(1 + t)."""
    problem = gl.Problem(
        gl.Dense((1, 1), "identity"), gl.Exponential("sum"), gl.Data(np.ones((1, 1)), np.ones(1))
    )
    return problem, problem.unravel(np.zeros(1))


STOPS = {
    "loss": {"loss": 0.01},
    "log_loss": {"log_loss": np.log(0.01)},
    "gradient_norm": {"gradient_norm": 0.01},
    "log_t": {"log_t": np.log(99.0)},
}
CLOCKS = {"time": (gl.Time(), 1e4), "log time": (gl.LogTime(), 9.0), "log loss": (gl.LogLoss(), 20.0)}


def stopped(solver: Any, clock: str = "time", **levels: float) -> Any:
    problem, start = one_point()
    told, last = CLOCKS[clock]
    return gl.run(
        gl.GradientFlow(problem),
        start,
        [last],
        clock=told,
        solver=solver,
        stop=gl.Stop(**levels),
        observables=["loss"],
    )


@pytest.mark.parametrize("kind", STOPS)
@pytest.mark.parametrize(
    ("method", "clock"),
    [("auto", "log time"), ("tsit5", "time"), ("dopri8", "log loss"), ("bdf", "time"), ("mrkc3", "time")],
)
def test_a_hitting_time_is_within_its_bar(kind: str, method: str, clock: str) -> None:
    solver = gl.solvers.Auto(1e-7) if method == "auto" else gl.Adaptive(method, 1e-7)
    run = stopped(solver, clock, **STOPS[kind])
    assert run.result.startswith("stopped: ")
    t, bar = float(run.t[-1]), float(run.t_error[-1])
    assert 0.0 < bar < 0.01 * t
    assert abs(t - 99.0) <= bar
    assert float(run.log_t_error[-1]) == pytest.approx(bar / t, rel=1e-2, abs=1e-12)


def test_the_time_of_a_stop_is_right_to_the_order_of_the_method() -> None:
    # In physical time: in log time w is log(1 + t) itself, which every method follows exactly.
    problem, start = one_point()

    def off(step: float) -> float:
        solver, stop = gl.solvers.Fixed("heun", step), gl.Stop(loss=0.05)
        run = gl.run(gl.GradientFlow(problem), start, [30.0], solver=solver, stop=stop, observables=["loss"])
        error = abs(float(run.t[-1]) - 19.0)
        assert error <= float(run.t_error[-1])
        return error

    assert np.log2(off(0.2) / off(0.1)) == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("solver", ["exact", "auto"])
def test_a_quadratic_potential_is_stopped_in_time(solver: str) -> None:
    problem = gl.Problem(
        gl.Dense((1, 1), "identity"), gl.Square("sum"), gl.Data(np.ones((1, 1)), np.ones((1, 1)))
    )
    run = gl.run(
        gl.GradientFlow(problem), (jnp.zeros((1, 1)),), [100.0], solver=solver, stop=gl.Stop(loss=1e-6),
        observables=["loss"],
    )  # fmt: skip
    assert abs(float(run.t[-1]) - np.log(1e6) / 4.0) <= float(run.t_error[-1]) < 1e-6


def test_what_holds_at_the_start_ends_the_run_with_its_first_step() -> None:
    run = stopped(gl.Adaptive("tsit5", 1e-6), loss=2.0)
    assert int(run.step[-1]) <= 1
    assert run.result == "stopped: loss reached"


def test_each_member_of_an_ensemble_has_its_own_time() -> None:
    problem, _ = one_point()
    starts = [(jnp.asarray([[w]]),) for w in (0.0, 1.0, 2.0)]
    flows = [gl.GradientFlow(problem)] * 3
    run = gl.run(
        gl.stack(flows), gl.stack(starts), [1.0, 50.0, 1e4], members=3, solver=gl.Adaptive("tsit5", 1e-7),
        stop=gl.Stop(loss=0.01), observables=["loss"],
    )  # fmt: skip
    true = 100.0 - np.exp([0.0, 1.0, 2.0])
    assert np.all(np.abs(run.t.values[-1] - true) <= run.t_error.values[-1])
    assert np.all(run.t_error.values[-1] > 0.0)


def test_the_bar_of_what_meets_a_level_blurs_the_moment() -> None:
    status, row = np.asarray(stops.LOSS), {"loss": np.asarray(2e-28), "gradient_norm": np.asarray(1.0)}
    errors = {"loss_error": np.asarray(8e-29), "gradient_norm_error": np.asarray(1.0)}
    assert _blur(status, row, errors) == pytest.approx(0.4)
    assert _blur(status, row, errors | {"loss_error": np.asarray(2e-28)}) == np.inf
    assert _blur(status, row | {"log_loss": np.asarray(-64.0)}, errors) == 0.0
    assert _blur(np.asarray(stops.LOG_T), row, errors) == 0.0
