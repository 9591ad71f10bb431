"""The host's flows at late times are the flows of the laboratory, and its exact steps are steps."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import gradlab as gl
from gradlab.claims.memo90.proposition5 import Proposition5Corrected
from gradlab.claims.problems import late, late_polar, late_runs
from gradlab.claims.problems.kicked import stepped
from gradlab.problem.problem import Problem

SHAPES = (((3, 1), "identity"), ((3, 2, 1), "identity"), ((3, 4, 1), "relu"), ((3, 4, 3, 1), "relu"))


def drawn(widths: tuple[int, ...], activation: str) -> tuple[Problem, np.ndarray]:
    random = np.random.default_rng(len(widths))
    X, y = late.separable(random, 5, 3)
    problem = late.net(widths, X, y, activation)
    return problem, random.standard_normal(problem.size)


@pytest.mark.parametrize(("widths", "activation"), SHAPES)
def test_the_lean_field_is_minus_the_gradient(widths: tuple[int, ...], activation: str) -> None:
    problem, w = drawn(widths, activation)
    with jax.enable_x64(True):
        gradient = np.asarray(problem.ravel(problem.gradient(problem.unravel(w))))
    np.testing.assert_allclose(late.flow(problem)(0.0, w), -gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("widths", "activation"), SHAPES)
def test_its_jacobian_is_its_derivative(widths: tuple[int, ...], activation: str) -> None:
    problem, w = drawn(widths, activation)
    field, h = late.flow(problem), 1e-6 * np.eye(problem.size)
    slope = np.stack([field(0.3, w + one) - field(0.3, w - one) for one in h], axis=1) / 2e-6
    scale = float(np.abs(slope).max())
    np.testing.assert_allclose(late.bending(problem)(0.3, w) / scale, slope / scale, atol=1e-7)


def test_a_run_to_late_times_is_that_of_the_laboratory() -> None:
    problem, w = drawn((3, 2, 1), "identity")
    logs = np.array([-5.0, 8.0])
    host = (
        late.orbit(late.flow(problem), late.bending(problem), w, logs, problem).trajectory["weights"].values
    )
    with jax.enable_x64(True):
        T = float(np.exp(logs[1]) - np.exp(logs[0]))
        seen = gl.run(gl.GradientFlow(problem), problem.unravel(w), [T], solver="dopri8", refine=False)
    np.testing.assert_allclose(host[-1], seen.final_weights.values, rtol=1e-4, atol=1e-4)


def test_the_plain_flow_in_the_polar_chart_is_the_plain_flow() -> None:
    problem, w = drawn((3, 4, 1), "relu")
    y = late_polar.chart(problem, w)
    moved = y + 1e-7 * late_polar.polar_flow(problem, "plain")(0.0, y)
    rho, V, layer = late_polar.polar_parts(problem, moved)
    np.testing.assert_allclose((rho[layer] * V - w) / 1e-7, late.flow(problem)(0.0, w), rtol=1e-4, atol=1e-5)


def test_so_many_exact_steps_are_so_many_steps() -> None:
    random = np.random.default_rng(5)
    features, targets, w = (
        random.standard_normal((3, 6)),
        random.standard_normal(3),
        random.standard_normal((2, 6)),
    )
    kicks = np.stack([random.standard_normal((2, 6)), np.zeros((2, 6))])
    found = stepped(features, targets, w, 0.05, np.array([7, 12]), kicks)
    for i in range(12):
        if i == 7:
            np.testing.assert_allclose(found[0], w, rtol=1e-12)
            w = w + kicks[0]
        w = w - 0.05 * (w @ features.T - targets) @ features
    np.testing.assert_allclose(found[1], w, rtol=1e-12)


def test_a_run_that_leaves_a_saddle_is_told_and_its_neurons_part_as_their_gains_say() -> None:
    # at 100° a neuron on each input is a KKT point; a small third one between them gains 1.29 there, and grows
    problem, best = late_runs.two_inputs(100.0, 3)
    start = np.concatenate([[0.5, 0.5], [-0.5, 0.5], [0.02, 0.2], [0.7, 0.7, 0.2]])
    field, jacobian = late.flow(problem), late.bending(problem)
    seen = late.orbit(field, jacobian, start, late_runs.LOGS, problem, 1e-6, best=best)
    look = Proposition5Corrected(seen.problem, seen.trajectory, seen.facts)
    assert look.leaving()
    assert look.parting() == pytest.approx(1.0, abs=0.2)
    # neurons that part half as fast are told
    weights = seen.trajectory["weights"].values.copy()
    weights[-2] = 0.5 * (
        weights[-2] + weights[-1] * np.linalg.norm(weights[-2]) / np.linalg.norm(weights[-1])
    )
    slower = seen.trajectory.assign(weights=(("record", "weight"), weights))
    assert abs(Proposition5Corrected(seen.problem, slower, seen.facts).parting() - 1.0) > 0.2
    # one neuron that both see, and none beside it that grows, leaves nothing
    alone = late.orbit(
        field,
        jacobian,
        late_runs.one_neuron(np.random.default_rng(0), 3),
        late_runs.LOGS,
        problem,
        1e-6,
        best=best,
    )
    assert not Proposition5Corrected(alone.problem, alone.trajectory, alone.facts).leaving()
