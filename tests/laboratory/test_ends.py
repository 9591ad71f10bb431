"""Runs that end: arrival at kinks and sliding along them, crawls that are ended, failures that name their cause."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.dynamics import stops
from gradlab.dynamics.clocks import LogLoss, Time
from gradlab.dynamics.ending import cause
from gradlab.dynamics.state import start
from gradlab.laboratory.ending import HOPELESS, MANY, WINDOW, Pace
from gradlab.problem.precision import float64

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dynamics"))

from sliding_reference import straight_pieces

N, WIDTH = 12, 3


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((N, WIDTH))
    targets = inputs @ random.standard_normal(WIDTH) + random.laplace(size=N)
    return inputs, targets, 2.0 * random.standard_normal(WIDTH)


def kinked(kind: str, inputs: Any, targets: Any) -> tuple[gl.Problem, Any, Any, Any]:
    """A problem of one layer; its kinks x·w = b, and the slopes of the risk in x·w − b below and above them."""
    one = np.ones(N)
    if kind == "hinge":
        signs = np.sign(targets)
        problem = gl.Problem(gl.Dense((WIDTH, 1)), gl.losses.Hinge("mean"), gl.Data(inputs, signs))
        return problem, signs, np.where(signs > 0, -1.0, 0.0) / N, np.where(signs > 0, 0.0, 1.0) / N
    data = gl.Data(inputs, targets[:, None])
    if kind == "quantile":
        problem = gl.Problem(gl.Dense((WIDTH, 1)), gl.losses.Quantile(0.8), data)
        return problem, targets, -0.8 * one, 0.2 * one
    problem = gl.Problem(gl.Dense((WIDTH, 1)), gl.losses.Lp(1, "mean"), data)
    return problem, targets, -one / N, one / N


@pytest.mark.parametrize("kind", ["least absolute deviations", "quantile", "hinge"])
def test_the_flow_arrives_at_kinks_and_slides_as_the_element_of_least_norm_says(kind: str) -> None:
    times = np.array([0.3, 1.0, 2.0, 4.0, 8.0, 20.0, 100.0])
    for seed in (0, 3):
        inputs, targets, first = drawn(seed)
        problem, b, below, above = kinked(kind, inputs, targets)
        run = gl.run(gl.GradientFlow(problem), (first[None],), times, keep="all", observables=["loss"])
        assert run.result == "reached the last record"
        exact = straight_pieces(inputs, b, below, above, first, times)
        error = np.abs(run.weights.values[1:] - exact)
        # what ε makes, and nothing of steps that do not see a kink let go
        assert error.max() < 1e-7
        assert np.all(error <= run.weights_error.values[1:])
        losses = [float(problem.potential((row[None],))) for row in exact]
        assert np.all(np.abs(run.loss.values[1:] - losses) <= run.loss_error.values[1:])


def test_l_1_5_arrives_in_finite_time_and_stays() -> None:
    problem = gl.Problem(gl.Dense((1, 1)), gl.losses.Lp(1.5), gl.Data([[1.0]], [[0.0]]))
    times = np.array([1.0, 1.3, 2.0, 100.0])
    run = gl.run(gl.GradientFlow(problem), (np.array([[1.0]]),), times, keep="all")
    error = np.abs(run.weights.values[1:, 0] - np.maximum(1.0 - 0.75 * times, 0.0) ** 2)
    assert np.all(error <= np.nan_to_num(run.weights_error.values[1:, 0], nan=1e-12))
    assert error.max() < 1e-8


def test_least_absolute_deviations_of_a_relu_net_keep_their_balance() -> None:
    inputs, targets, _ = drawn(1)
    problem = gl.Problem(
        gl.Dense((WIDTH, 2, 1), "relu"), gl.losses.Lp(1, "mean"), gl.Data(inputs[:4], targets[:4, None])
    )
    first = problem.network.init(jax.random.key(2), gl.init.He())
    run = gl.run(gl.GradientFlow(problem), first, [1.0, 10.0], keep="all", observables=["loss"])
    assert run.result == "reached the last record"

    def balance(row: np.ndarray) -> np.ndarray:
        return np.sum(row[:6].reshape(2, 3) ** 2, axis=1) - row[6:] ** 2

    # every neuron's, through crossings and sliding
    scale = 4.0 * np.abs(run.weights.values).max() * np.abs(run.weights_error.values[-1]).sum()
    assert np.all(np.abs(balance(run.weights.values[-1]) - balance(run.weights.values[0])) <= scale + 1e-7)
    assert run.loss.values[-1] < run.loss.values[0]


# Crawls ----------------------------------------------------------------------------------------------------


def test_a_crawl_at_a_kink_nobody_declared_is_ended_in_words() -> None:
    loss = gl.losses.CustomLoss(lambda f, y: jnp.abs(f - y).sum(axis=1))
    problem = gl.Problem(gl.Dense((1, 1)), loss, gl.Data(np.ones((3, 1)), [[0.0], [1.0], [5.0]]))
    run = gl.run(gl.GradientFlow(problem), (np.array([[4.0]]),), [1.0, 10.0], solver="tsit5", keep="all")
    assert run.result.startswith("ended: crawls at a kink at t = 3.0")
    assert int(run.step[-1]) + int(run.rejected[-1]) < 4 * WINDOW
    assert run.weights.values[1, 0] == pytest.approx(3.0, abs=1e-6)
    # what was reached has no second opinion
    assert np.isnan(run.loss_error.values[-1])
    assert np.isnan(run.final_weights_error.values).all()


def stepped(pace: Pace, state: Any, moves: Any, attempts: int) -> Any:
    """A state that has gone on by so much in so many attempts, as judged."""
    state = replace(
        state, tau=state.tau + moves, steps=state.steps + attempts, h=jnp.asarray(moves / attempts)
    )
    return pace.judged(state)


@float64
def test_stiff_flows_that_move_on_steadily_are_no_crawl() -> None:
    data = gl.Data(np.diag([1.0, 100.0]), np.ones((2, 1)))
    flow = gl.GradientFlow(gl.Problem(gl.Dense((2, 1)), gl.Square("mean"), data))
    solver, stop, end = gl.Adaptive("tsit5"), gl.Stop(loss=1e-20), np.float64(1e9)
    state = start(flow, solver, (np.array([[3.0, 2.0]]),))
    pace = Pace(flow, Time(), solver, stop, state, end)
    for _ in range(5):
        # at the end of its stability interval: far more than MANY, and HOPELESS, attempts remain
        state = stepped(pace, state, WINDOW * 2e-4, WINDOW)
        assert int(state.status) == stops.RUNNING
    assert float(end / 2e-4) > HOPELESS > MANY
    # without a condition that may stop it before, that is said
    endless = Pace(flow, Time(), solver, gl.Stop(), state, end)
    for _ in range(2):
        state = stepped(endless, state, WINDOW * 2e-4, WINDOW)
    assert int(state.status) == stops.CRAWL


@float64
def test_a_pace_that_grows_is_no_crawl_at_a_kink() -> None:
    problem = gl.Problem(gl.Dense((1, 1)), gl.losses.Lp(1), gl.Data([[1.0]], [[0.0]]))
    flow, solver = gl.GradientFlow(problem), gl.Adaptive("tsit5")
    state = start(flow, solver, (np.array([[1e-9]]),))
    pace = Pace(flow, Time(), solver, gl.Stop(), state, np.float64(1.0))
    for size in (1e-7, 1e-6, 1e-5):
        state = stepped(pace, state, size, WINDOW)
        assert int(state.status) == stops.RUNNING


# Causes ----------------------------------------------------------------------------------------------------


def looked_at(problem: gl.Problem, weights: Any, clock: Any = None, end: float = 10.0, **changes: Any) -> int:
    flow = gl.GradientFlow(problem)
    state = replace(
        start(flow, gl.Adaptive("tsit5"), weights, 1.0), **{k: jnp.asarray(v) for k, v in changes.items()}
    )
    return int(cause(flow, clock or Time(), state, jnp.asarray(end)))


def scalar(apply: Any, loss: Any = None, target: float = 0.0) -> gl.Problem:
    function = gl.Function(apply, lambda key: np.ones(1), input_shape=1, outputs=1)
    return gl.Problem(function, loss or gl.Square(), gl.Data([[1.0]], [[target]]))


@float64
def test_what_holds_a_solve_is_seen_in_its_field() -> None:
    steep = scalar(lambda w, x: 1e4 * x @ w, target=1.0)
    assert looked_at(steep, np.array([0.3]), h=1e-8) == stops.RUNNING
    for kink in (
        scalar(lambda w, x: jnp.abs(x @ w) + 0.0, target=-1.0),
        scalar(lambda w, x: jnp.where(x @ w > 0, x @ w, -0.2 * (x @ w)), target=-1.0),
        scalar(lambda w, x: jnp.maximum(x @ w, -2.0 * (x @ w)), target=-1.0),
    ):
        assert looked_at(kink, np.array([1e-9]), h=1e-9) == stops.KINK
        assert looked_at(kink, np.array([1.0]), h=1e-4) == stops.RUNNING
    falls = gl.losses.CustomLoss(lambda f, y: f[:, 0])
    assert looked_at(scalar(lambda w, x: x @ jnp.log(w), falls), np.array([1e-9]), h=1e-18) == stops.DOMAIN
    assert looked_at(scalar(lambda w, x: x @ jnp.log(w), falls), np.array([-1.0])) == stops.DOMAIN
    assert looked_at(scalar(lambda w, x: jnp.exp(x @ w)), np.array([400.0])) == stops.OVERFLOW
    assert looked_at(scalar(lambda w, x: -x @ w**3, falls), np.array([1e9]), h=1e-16) == stops.UNBOUNDED


@float64
def test_log_loss_time_of_three_layers_ends_and_that_of_two_does_not() -> None:
    for depth, answer in ((3, stops.UNBOUNDED), (2, stops.RUNNING)):
        net = gl.Dense((1,) * (depth + 1), "identity")
        problem = gl.Problem(net, gl.Exponential(), gl.Data([[1.0]], [1]))
        weights = tuple(np.array([[12.0]]) for _ in range(depth))
        assert looked_at(problem, weights, LogLoss(), 40.0, h=1e-5) == answer


def test_words_say_where_and_what_to_write() -> None:
    row = {"t": 0.0, "log_t": -np.inf, "tau": 0.0, "step": 0.0}
    assert stops.words(stops.OVERFLOW, row).startswith("failed: overflow at the start: ")
    row = {"t": np.inf, "log_t": 1404.9, "tau": 5.838, "step": 9.0}
    assert "at clock value 5.838, log t = 1404.9: " in stops.words(stops.UNBOUNDED, row)
    assert stops.words(stops.RUNNING, row) == "reached the last record"
    assert len(set(stops.RESULTS)) == len(stops.RESULTS) == stops.RISES + 1


def test_softening_is_refused_where_a_kink_would_stay() -> None:
    function = gl.Function(
        lambda w, x: jnp.abs(x @ w), lambda key: np.ones(1), input_shape=1, outputs=1, smooth=False
    )
    problem = gl.Problem(function, gl.losses.Lp(1), gl.Data([[1.0]], [[0.0]]))
    with pytest.raises(ValueError, match="not in this Function: use Fixed"):
        gl.run(gl.GradientFlow(problem), np.ones(1), [1.0], solver="softening")
    smooth = gl.Problem(gl.Dense((1, 1)), gl.losses.Lp(1), gl.Data([[1.0]], [[0.0]]))
    with pytest.raises(ValueError, match="not for WeightNormalisation"):
        gl.run(gl.flows.WeightNormalisation(smooth), (np.ones((1, 1)),), [1.0], solver="softening")
