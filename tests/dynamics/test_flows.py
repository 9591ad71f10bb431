"""One orbit, many charts and clocks; the end-to-end flow follows the deep one when it is balanced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
from gradlab.dynamics.end_to_end import product
from gradlab.problem.data import linear_regression, separable
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

TIGHT = gradlab.Adaptive("dopri8", 1e-11)


def margin_problem(widths: tuple[int, ...] = (3, 4, 1), activation: str = "tanh") -> Problem:
    data = separable(jax.random.key(0), N=8, d=3, margin=0.5)
    return Problem(Dense(widths, activation), gradlab.Exponential("sum"), data)


def test_the_normalised_flow_traces_the_plain_orbit() -> None:
    problem = margin_problem((3, 4, 3, 1), "smooth_relu")
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    plain = gradlab.run(gradlab.GradientFlow(problem), start, [0.5, 2.0], solver=TIGHT)
    polar = gradlab.run(gradlab.flows.NormalisedFlow(problem), start, [0.5, 2.0], solver=TIGHT)
    np.testing.assert_allclose(polar["final_weights"], plain["final_weights"], atol=1e-9)
    np.testing.assert_allclose(polar["chart_rho"], plain["layer_norms"], atol=1e-9)
    np.testing.assert_allclose(polar["chart_direction_norms"], 1.0, atol=1e-9)


def test_the_orbit_does_not_depend_on_the_clock() -> None:
    problem = margin_problem()
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    plain = gradlab.run(gradlab.GradientFlow(problem), start, [3.0], solver=TIGHT)
    t_end, end = float(plain["t"][-1]), plain["final_weights"].values
    for clock in (gradlab.LogLoss(), gradlab.clocks.ArcLength(), gradlab.clocks.LogNorm()):
        stop = gradlab.Stop(log_t=float(np.log(1.5 * t_end)))
        other = gradlab.run(
            gradlab.GradientFlow(problem),
            start,
            np.linspace(0.01, 30, 4000),
            clock=clock,
            solver=TIGHT,
            stop=stop,
            keep="all",
            refine=False,
        )
        # Interpolate the orbit to physical time t_end by the polynomial through the nine nearest records.
        t, orbit = other["t"].values, other["weights"].values
        assert t[-1] >= t_end, other.attrs["result"]
        near = np.argsort(np.abs(t - t_end))[:9]
        coefficients = np.polynomial.polynomial.polyfit((t[near] - t_end) / np.ptp(t[near]), orbit[near], 8)
        np.testing.assert_allclose(coefficients[0], end, atol=2e-8)


def test_log_time_is_right_where_time_overflows() -> None:
    # One example, one weight: dw/dt = x e^{-wx}, so e^{wx} = 1 + x² t exactly from w = 0.
    data = gradlab.Data(jnp.asarray([[2.0]]), jnp.asarray([1.0]))
    problem = Problem(Dense((1, 1), "identity"), gradlab.Exponential("sum"), data)
    trajectory = gradlab.run(
        gradlab.GradientFlow(problem),
        (jnp.zeros((1, 1)),),
        [1e-3, 1.0, 400.0, 1000.0],
        clock=gradlab.LogLoss(),
        keep="all",
    )
    w, log_t = trajectory["weights"].values[:, 0], trajectory["log_t"].values
    # dw/dτ = x in log-loss time.
    np.testing.assert_allclose(w, 2.0 * trajectory["tau"].values, rtol=1e-12)
    exact = 2.0 * w[1:] + np.log1p(-np.exp(-2.0 * w[1:])) - np.log(4.0)
    assert np.all(np.abs(log_t[1:] - exact) <= trajectory["log_t_error"].values[1:])
    np.testing.assert_allclose(log_t[1:], exact, rtol=1e-7)
    assert log_t[-1] > 3000
    assert log_t[0] == -np.inf
    assert np.all(trajectory["log_t_error"].values[1:] >= 0)


def test_the_end_to_end_flow_follows_the_balanced_deep_flow_and_no_other() -> None:
    data = linear_regression(jax.random.key(3), N=12, d=4, C=3, noise=0.1)
    deep = Problem(Dense((4, 4, 4, 3), "identity"), gradlab.Square("mean"), data)
    shallow = Problem(Dense((4, 3), "identity"), gradlab.Square("mean"), data)
    matrix = jax.random.normal(jax.random.key(4), (3, 4)) * 0.4
    balanced = deep.network.init(None, gradlab.init.Factorised(matrix))
    flow = gradlab.flows.EndToEndFlow(shallow, 3)
    shallow_run = gradlab.run(flow, (matrix,), [1.0, 5.0], solver=TIGHT)
    deep_run = gradlab.run(gradlab.GradientFlow(deep), balanced, [1.0, 5.0], solver=TIGHT)
    end = product(deep.unravel(jnp.asarray(deep_run["final_weights"].values)))
    np.testing.assert_allclose(np.ravel(end), shallow_run["final_weights"].values, atol=1e-9)
    # The same product, unbalanced: scale one factor up and its neighbour down.
    tilted = (balanced[0] * 3.0, balanced[1] / 3.0, balanced[2])
    tilted_run = gradlab.run(gradlab.GradientFlow(deep), tilted, [1.0], solver=TIGHT)
    off = product(deep.unravel(jnp.asarray(tilted_run["final_weights"].values)))
    early = gradlab.run(flow, (matrix,), [1.0], solver=TIGHT)["final_weights"].values
    assert np.max(np.abs(np.ravel(off) - early)) > 1e-2
    np.testing.assert_allclose(product(flow.lift((matrix,), (4, 4))), matrix, atol=1e-13)


def test_weight_normalisation_conserves_the_length_of_v_and_descends() -> None:
    problem = margin_problem((3, 4, 1), "smooth_relu")
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    run = gradlab.run(gradlab.flows.WeightNormalisation(problem), start, [1.0, 4.0], solver=TIGHT)
    np.testing.assert_allclose(run["chart_direction_norms"], 1.0, atol=1e-9)
    assert np.all(np.diff(run["loss"].values) < 0)


def test_the_unit_norm_penalty_is_the_printed_equation() -> None:
    # memo90 eqs. 48–49 written out for a two-layer linear net, degree one in each layer.
    problem = margin_problem((3, 4, 1), "identity")
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    flow = gradlab.flows.UnitNormPenalty(problem, jnp.asarray([0.3, 0.2]))
    y = flow.encode(start)
    field = flow.field(0.0, y)
    rho, (v1, v2) = np.asarray(y.rho), [np.asarray(v) for v in y.directions]
    x, labels = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    tilde = labels * (x @ v1.T @ v2.T)[:, 0]
    weight = np.exp(-rho[0] * rho[1] * tilde)
    np.testing.assert_allclose(field.rho, [rho[1] * weight @ tilde, rho[0] * weight @ tilde], rtol=1e-12)
    gradient_v2 = (weight * labels) @ (x @ v1.T)
    np.testing.assert_allclose(
        field.directions[1][0], rho[0] * rho[1] * gradient_v2 - 2 * 0.2 * v2[0], rtol=1e-12
    )


def test_the_field_of_a_margin_loss_never_underflows_in_log_loss_time() -> None:
    problem = margin_problem((3, 1), "identity")
    flow = gradlab.GradientFlow(problem)
    weights = (1e4 * jnp.ones((1, 3)),)
    direction, log_scale = flow.velocity(0.0, weights)
    assert np.all(np.isfinite(direction[0]))
    assert np.linalg.norm(direction[0]) > 0.1
    assert abs(float(log_scale)) > 1000


def _careless(outputs: Any, targets: Any) -> Any:
    """log(1 + e^−m) as it is often written, log(1 + e^m) − m: rounding alone from m = 37 on."""
    margins = targets * outputs[:, 0]
    return jnp.logaddexp(0.0, margins) - margins


def _careful(outputs: Any, targets: Any) -> Any:
    return gradlab.Logistic("mean").log_per_example(outputs, targets)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("name", ["exponential", "logistic", "cross-entropy", "own", "own, decay"])
def test_the_field_in_physical_time_is_the_direction_times_the_speed(name: str, size: float) -> None:
    """Without logarithms: right relative to itself however small, or a loss of one's own keeps its logarithm."""
    rng = np.random.default_rng(2)
    inputs = np.abs(rng.standard_normal((7, 3))) + np.array([2.0, 0.0, 0.0])
    signs, classes = np.ones(7), np.zeros(7, dtype=int)
    own = gradlab.losses.CustomLoss(_careless, _careful, "mean", "sign")
    losses = {
        "exponential": (gradlab.Exponential("mean"), signs),
        "logistic": (gradlab.Logistic("mean"), signs),
        "cross-entropy": (gradlab.CrossEntropy("mean"), classes),
        "own": (own, signs),
        "own, decay": (own, signs),
    }
    loss, targets = losses[name]
    outputs = 3 if name == "cross-entropy" else 1
    decay = 1e-3 if name == "own, decay" else 0.0
    problem = gradlab.Problem(
        gradlab.Dense((3, outputs), "identity"), loss, gradlab.Data(inputs, targets), decay
    )
    # Margins of two sizes or more.
    weights = (
        size * np.concatenate([np.ones((1, 3)), np.zeros((outputs - 1, 3))]) * np.array([1.0, 0.1, 0.0]),
    )
    flow = gradlab.GradientFlow(problem)
    with jax.enable_x64(True):
        direction, log_scale = flow.velocity(0.0, weights)
        expected = np.exp(float(log_scale)) * np.asarray(direction[0])
        (field,) = flow.field(0.0, weights)
    assert np.abs(expected).max() > 0.0
    np.testing.assert_allclose(field, expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())


def test_clocks_that_cannot_serve_are_refused() -> None:
    data = linear_regression(jax.random.key(3), N=5, d=3, C=1)
    problem = Problem(Dense((3, 1), "identity"), gradlab.Square("mean"), data)
    start = (jnp.ones((1, 3)),)
    with pytest.raises(ValueError, match="log-risk"):
        gradlab.run(gradlab.GradientFlow(problem), start, [1.0], clock=gradlab.LogLoss())
    with pytest.raises(ValueError, match="chart variables"):
        gradlab.run(gradlab.flows.NormalisedFlow(problem), start, [1.0], clock=gradlab.clocks.LogNorm())


def test_a_clock_that_comes_to_rest_is_a_result() -> None:
    data = linear_regression(jax.random.key(3), N=5, d=3, C=1)
    problem = Problem(Dense((3, 1), "identity"), gradlab.Square("mean"), data)
    run = gradlab.run(
        gradlab.GradientFlow(problem),
        (jnp.ones((1, 3)),),
        [100.0],
        clock=gradlab.clocks.ArcLength(),
        refine=False,
    )
    assert "clock stands still" in run.attrs["result"]
    assert float(run["gradient_norm"][-1]) < 1e-6


def test_kicks_come_at_their_times_and_do_not_depend_on_the_records() -> None:
    data = linear_regression(jax.random.key(3), N=3, d=5, C=1)
    problem = Problem(Dense((5, 1), "identity"), gradlab.Square("sum"), data)
    start = (jnp.zeros((1, 5)),)
    flow = gradlab.flows.Kicked(
        gradlab.GradientDescent(problem, 0.01), 1.0, 100.0, jax.random.key(5), 300.0, "norm"
    )
    coarse = gradlab.run(flow, start, [450])
    fine = gradlab.run(flow, start, [100, 101, 200, 300, 450])
    assert np.array_equal(coarse["final_weights"], fine["final_weights"])
    assert float(fine["loss"][2]) > 10 * float(fine["loss"][1])
    unkicked = gradlab.run(flow.flow, start, [450])
    assert np.max(np.abs(unkicked["final_weights"].values - fine["final_weights"].values)) > 0.1


def test_controlled_norms_follow_their_drive_whatever_the_data_say() -> None:
    problem = margin_problem((3, 4, 3, 1), "smooth_relu")
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    first = np.asarray([np.linalg.norm(layer) for layer in start])
    flow = gradlab.flows.ControlledNorm(problem, target=2.0, rate=0.7)
    seen = gradlab.run(flow, start, [0.5, 2.0], solver=TIGHT)
    wanted = 2.0 + (first - 2.0) * np.exp(-0.7 * np.array([[0.0], [0.5], [2.0]]))
    np.testing.assert_allclose(seen["layer_norms"], wanted, atol=1e-9)


def test_at_the_norms_of_the_plain_flow_directions_turn_as_they_do_there() -> None:
    problem = margin_problem((3, 4, 1))
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    plain, held = gradlab.flows.NormalisedFlow(problem), gradlab.flows.ControlledNorm(problem, 1.0, 0.0)
    fields = [flow.field(0.0, flow.encode(start)) for flow in (plain, held)]
    for one, other in zip(*(jax.tree.leaves(field.directions) for field in fields), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    np.testing.assert_array_equal(fields[1].rho, 0.0)
