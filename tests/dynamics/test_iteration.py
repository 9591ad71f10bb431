"""Iterations in chunks are the iterations one by one: the same bits, the same stops, the same last step."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
from gradlab.dynamics import stops
from gradlab.dynamics.clocks import Time
from gradlab.dynamics.solvers.iteration import CHUNK, Descent
from gradlab.dynamics.state import start
from gradlab.laboratory import programs
from gradlab.problem.compiling import QUICKLY
from gradlab.problem.data import Data, linear_regression
from gradlab.problem.fused import fused
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: As the first iterations of what is small are compiled.
quickly = partial(jax.jit, compiler_options=QUICKLY)


def deep(activation: str = "identity") -> tuple[Problem, Any]:
    """A small regression problem and a start."""
    data = linear_regression(jax.random.key(1), N=9, d=4, C=2, noise=0.3)
    problem = Problem(Dense((4, 5, 2), activation), gradlab.Square("mean"), data)
    return problem, problem.network.init(jax.random.key(2), gradlab.init.He())


def scalar(step: Any) -> tuple[Any, Any]:
    """½w² under gradient descent: w is multiplied by 1 − η each time."""
    problem = Problem(Dense((1, 1)), gradlab.Square(half=True), Data([[1.0]], [[0.0]]))
    return gradlab.GradientDescent(problem, step), (jnp.ones((1, 1)),)


def test_a_deep_linear_net_descends_its_written_gradient_bit_for_bit() -> None:
    problem, weights = deep()
    ours = fused(problem)
    assert ours is not problem

    @quickly
    def step(weights: Any) -> Any:
        return jax.tree.map(lambda w, g: w - 0.05 * g, weights, ours.gradient(weights))

    trajectory = gradlab.run(gradlab.GradientDescent(problem, 0.05), weights, [2 * CHUNK + 50])
    for _ in range(2 * CHUNK + 50):
        weights = step(weights)
    assert np.array_equal(trajectory["final_weights"].values, np.asarray(problem.ravel(weights)))


@pytest.mark.parametrize("step", [gradlab.schedules.Constant(0.05), gradlab.schedules.PowerLaw(0.05, 0.5)])
def test_chunks_have_the_bits_and_the_time_of_single_steps(step: Any) -> None:
    problem, weights = deep("tanh")
    flow, end = gradlab.GradientDescent(problem, step), [CHUNK + 37]
    chunks = gradlab.run(flow, weights, end)
    # A stop that is never met makes the loop look at every step.
    single = gradlab.run(flow, weights, end, stop=gradlab.Stop(loss=-1.0))
    for name in ("final_weights", "tau", "t", "step", "evaluations"):
        assert np.array_equal(chunks[name].values, single[name].values), name


def test_divergence_ends_at_the_step_where_it_happens() -> None:
    flow, weights = scalar(3.0)
    # w = (−2)^k: 2^1024 overflows, in the middle of a chunk.
    ended = gradlab.run(flow, weights, [3000])
    assert int(ended["status"][-1]) == stops.NOT_FINITE
    assert (float(ended["tau"][-1]), int(ended["step"][-1])) == (1024.0, 1024)
    members = gradlab.stack([flow, scalar(0.5)[0]])
    both = gradlab.run(members, gradlab.stack([weights, weights]), [1200], members=2)
    assert both["status"].values[-1].tolist() == [stops.NOT_FINITE, stops.RUNNING]
    assert both["tau"].values[-1].tolist() == [1024.0, 1200.0]


def test_stops_hold_at_the_exact_step() -> None:
    flow, weights = scalar(0.1)
    for stop, steps, status in (
        (gradlab.Stop(steps=CHUNK + 3), CHUNK + 3, stops.STEPS),
        (gradlab.Stop(loss=0.5 * 0.9**19.9), 10, stops.LOSS),
        (gradlab.Stop(log_t=np.log(1.55)), 16, stops.LOG_T),
    ):
        ended = gradlab.run(flow, weights, [500], stop=stop)
        assert (int(ended["step"][-1]), int(ended["status"][-1])) == (steps, status)


def test_however_calls_are_cut_no_iteration_is_lost() -> None:
    problem, weights = deep()
    flow, solver = gradlab.GradientDescent(problem, 0.05), Descent()

    @quickly
    def call(state: Any, limit: Any) -> Any:
        return solver.advance(flow, Time(), gradlab.Stop(), state, jnp.asarray(40.0), limit)

    state = start(flow, solver, weights)
    whole = call(state, 1e9)
    while float(state.tau) < 40.0:
        state = call(state, 7.3)  # a limit that follows the clock is no whole number
    assert int(state.steps) == int(whole.steps) == int(whole.evaluations) == 40
    assert all(np.array_equal(mine, yours) for mine, yours in zip(state.y, whole.y, strict=True))


def test_where_iterations_are_compiled_anew_depends_on_their_number_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem, weights = deep("tanh")
    # Weights × examples × 40 iterations have paid for a better compilation: 300 records are made in blocks, 2 are not.
    work = problem.size * len(problem.data.inputs)
    monkeypatch.setattr(programs, "WORTH", 40.0 * work)
    monkeypatch.setattr(programs, "LARGE", 1.0)
    flow, ends = gradlab.GradientDescent(problem, 0.05), []
    for records in ([300], [39, 41, 300], [40, 300], range(1, 301)):
        run = gradlab.run(flow, weights, [float(record) for record in records], observables=[])
        assert int(run["step"][-1]) == 300
        assert json.loads(run.attrs["provenance"])["compiled"] == "quickly, then moderately"
        ends.append(run["final_weights"].values)
    assert all(np.array_equal(ends[0], end) for end in ends[1:])

    calls = []
    monkeypatch.setattr(programs.Program, "__call__", _noted(programs.Program.__call__, calls))
    gradlab.run(flow, weights, [300.0], observables=[], refine=False)
    assert set(calls) == {"quickly", "moderately"}


def _noted(call: Any, calls: list[str]) -> Any:
    def noted(self: Any, way: str, *arguments: Any) -> Any:
        calls.append(way)
        return call(self, way, *arguments)

    return noted
