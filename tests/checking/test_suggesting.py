"""What theory suggests: each number against the run continued, or theory is silent and says why."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import gradlab as gl
from gradlab.checking.assumed import Assumed
from gradlab.checking.run import gathered
from gradlab.checking.suggesting import PART, Suggestion, suggested
from gradlab.problem.precision import float64


def descended(
    problem: Any, weights: Any, rate: float, steps: int, momentum: float = 0.0
) -> tuple[dict[int, Any], Any]:
    """Weights by step, every one of the first six and each tenth."""
    run, speed = {}, jax.tree.map(lambda w: 0.0 * np.asarray(w), weights)
    for step in range(steps):
        if step < 6 or step % 10 == 0 or step == steps - 1:
            run[step] = weights
        gradient = problem.gradient(weights)
        speed = jax.tree.map(lambda v, g: momentum * v - rate * np.asarray(g), speed, gradient)
        weights = jax.tree.map(lambda w, v: np.asarray(w) + v, weights, speed)
    return run, weights


@float64
def told(problem: Any, run: Any, words: str) -> dict[str, Suggestion]:
    return {one.title: one for one in suggested(Assumed(gathered(problem, run, words)))}


def linear(loss: Any, data: Any) -> Any:
    d = data.inputs.shape[1]
    return gl.Problem(gl.Dense((d, 1)), loss, data)


def test_steps_to_a_loss_of_least_squares_are_those_that_it_takes() -> None:
    problem = linear(gl.Square("mean"), gl.data.linear_regression(0, N=5, d=3))
    run, weights = descended(problem, (np.zeros((1, 3)),), 0.05, 21)
    found = told(problem, run, "gd lr=0.05")["steps to a loss"]
    least = float(problem.risk((np.linalg.lstsq(problem.data.inputs, problem.data.targets)[0].T,)))
    goal = least + PART * (float(problem.risk(run[20])) - least)
    more, weights = 0, run[20]
    while float(problem.risk(weights)) > goal:
        weights = tuple(w - 0.05 * g for w, g in zip(weights, problem.gradient(weights), strict=True))
        more += 1
    assert more - 1 <= found.value <= more
    assert found.low < found.value < found.high < 1.01 * found.low


def test_the_largest_step_is_where_descent_starts_to_swing() -> None:
    problem = linear(gl.Square("mean"), gl.data.linear_regression(0, N=5, d=3))
    run, _ = descended(problem, (np.zeros((1, 3)),), 0.05, 21)
    found = told(problem, run, "gd lr=0.05")["largest step"]
    for factor, falls in ((0.99, True), (1.01, False)):
        values = [
            float(problem.risk(w)) for w in descended(problem, run[20], factor * found.value, 201)[0].values()
        ]
        assert (values[-1] <= values[0]) is falls
    assert found.low <= found.value == found.high


def test_where_a_rate_is_proved_its_bound_is_told() -> None:
    data = gl.Data(np.eye(2), np.diag([1.2, 0.9]))
    problem = gl.Problem(gl.Dense.deep_linear((2, 2, 2)), gl.Square("sum", half=True), data)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    weights = (turn, turn.T)
    rate = 0.9 * gl.flows.arora_certificate(problem, weights).largest_step
    certificate = gl.flows.arora_certificate(problem, weights, step=rate)
    run, _ = descended(problem, weights, rate, 12)
    found = told(problem, run, f"gd lr={rate!r}")["steps to a loss"]
    assert found.high == pytest.approx(certificate.iterations(PART * float(problem.risk(run[11]))), rel=1e-6)
    assert found.low == 11


def test_the_transient_is_that_of_equation_5_where_directions_have_no_choice() -> None:
    data = gl.Data(np.array([[1.0], [2.0]]), np.array([[2.0], [4.0]]))
    problem = gl.Problem(gl.Dense.deep_linear((1, 1, 1)), gl.Square("mean"), data)
    run, weights = descended(problem, (np.array([[0.05]]), np.array([[0.05]])), 1e-3, 30)
    found = told(problem, run, "gd lr=0.001")["transient left"]
    more, weights = 0, run[29]
    while float(weights[0][0, 0] * weights[1][0, 0]) < 1.0:  # ρ_eq = 2
        weights = tuple(
            w - 1e-3 * np.asarray(g) for w, g in zip(weights, problem.gradient(weights), strict=True)
        )
        more += 1
    assert found.value == pytest.approx(more, rel=0.01)
    assert "of ρ_eq = 2" in found.words


def test_the_margin_to_be_gained_is_what_the_largest_is_above() -> None:
    data = gl.data.separable(0, N=8, d=3, margin=1.0)
    problem = linear(gl.Logistic("mean"), data)
    run, _ = descended(problem, (np.zeros((1, 3)),), 0.2, 101)
    found = told(problem, run, "gd lr=0.2")["margin to be gained"]
    w = run[100][0][0] / np.linalg.norm(run[100][0])
    reached = float(np.min(np.asarray(data.targets).ravel() * (np.asarray(data.inputs) @ w)))
    svm = gl.solutions.max_margin(np.asarray(data.inputs), np.asarray(data.targets).ravel())
    assert found.value == pytest.approx(svm.margin - reached, abs=1e-9)
    assert found.low <= found.value <= found.high


def test_where_hypotheses_fail_theory_is_silent_and_says_which() -> None:
    data = gl.data.separable(0, N=6, d=3, margin=1.0)
    problem = gl.Problem(gl.Dense((3, 3, 1)), gl.Logistic("mean"), data)
    weights = problem.network.init(jax.random.key(1), gl.init.He())
    run, _ = descended(problem, weights, 0.1, 12, momentum=0.9)
    found = told(problem, run, "sgd lr=0.1 momentum=0.9")
    assert all(one.silent and one.words.startswith("theory is silent: ") for one in found.values())
    assert "momentum 0.9" in found["largest step"].words
    assert "the loss is Logistic" in found["transient left"].words
    record = gl.check(problem, run, "sgd lr=0.1 momentum=0.9").record()["suggestions"]
    assert [one["value"] for one in record] == [None] * 4
    assert all(one["source"] and one["equation"] for one in record)
