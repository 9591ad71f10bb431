"""Exact steps are the matrix exponential, and k iterations at once are k iterations."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

import gradlab
from gradlab.dynamics import stops
from gradlab.dynamics.clocks import Clock, LogTime, Time
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.exact import Exact, exact, flow_exactly, iterate_exactly, quadratic
from gradlab.dynamics.state import State, start
from gradlab.problem.data import Data
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

EPS = np.finfo(np.float64).eps
_exact = eqx.filter_jit(exact)


def linear(
    N: int = 12, d: int = 5, loss: Any = None, decay: Any = 0.0, bias: bool = False
) -> tuple[Problem, tuple]:
    """A linear problem with two outputs, and weights of order one."""
    generator = np.random.default_rng(d + N)
    data = Data(generator.standard_normal((N, d)), generator.standard_normal((N, 2)))
    problem = Problem(Dense((d, 2), bias=bias), loss or gradlab.Square(half=True), data, decay)
    weights = jax.tree.map(
        lambda leaf: jnp.asarray(generator.standard_normal(leaf.shape)), problem.network.shapes()
    )
    return problem, weights


def polynomial() -> tuple[Problem, tuple]:
    """sin(8πx) by a polynomial of degree 39 on 9 Chebyshev points: memo90, figure 4, first pair.

    The printed step 0.2 is stable for a mean: 2/(s₁²/9) = 0.65 with ½ (the convention taken), 0.33 without.
    """
    x = np.cos((2 * np.arange(9) + 1) * np.pi / 18)
    data = Data(x[:, None] ** np.arange(40), np.sin(8 * np.pi * x)[:, None])
    problem = Problem(Dense((40, 1)), gradlab.Square("mean", half=True), data)
    return problem, (jnp.asarray(0.45 * np.random.default_rng(0).standard_normal((1, 40))),)


def condition(problem: Problem) -> float:
    """s₁/s_r of the inputs."""
    values = np.linalg.svd(np.asarray(problem.data.inputs), compute_uv=False)
    return float(values[0] / values[values > 1e-12 * values[0]][-1])


def by_exponential(problem: Problem, weights: Any, duration: float) -> np.ndarray:
    """exp of the affine field's matrix, from derivatives of the potential."""
    flat, zero = np.asarray(problem.ravel(weights)), problem.unravel(np.zeros(problem.size))
    matrix = np.zeros((flat.size + 1, flat.size + 1))
    matrix[:-1, :-1] = -np.asarray(problem.hessian(zero))
    matrix[:-1, -1] = -np.asarray(problem.ravel(problem.gradient(zero)))
    return (expm(duration * matrix) @ np.append(flat, 1.0))[:-1]


def by_iteration(problem: Problem, weights: Any, step: float, k: int) -> np.ndarray:
    """k iterations of one layer without bias in extended precision (64 bits), where the machine has it."""
    x, y, w = (np.asarray(part, np.longdouble) for part in (*_examples(problem), weights[0]))
    scale = (1 if problem.loss.half else 2) / np.longdouble(len(x) if problem.loss.reduction == "mean" else 1)
    eta, decay = np.longdouble(step), np.longdouble(np.reshape(problem.decay, ()))
    for _ in range(k):
        w = w - eta * (scale * ((w @ x.T - y.T) @ x) + decay * w)
    return w


def _examples(problem: Problem) -> tuple[Any, Any]:
    return problem.data.inputs, problem.data.targets


def carried(
    flow: Flow, weights: Any, ends: Any, clock: Clock | None = None, stop: Any = None, solver: Any = None
) -> list[State]:
    """The states at those clock values."""
    solver, states = solver or Exact(), []
    state = start(flow, solver, weights)
    for end in ends:
        state = _exact(flow, clock or Time(), solver, stop or gradlab.Stop(), state, jnp.asarray(end))
        states.append(state)
    return states


@pytest.mark.parametrize(
    ("N", "d", "loss", "decay", "bias"),
    [
        (12, 5, gradlab.Square(half=True), 0.0, False),
        (12, 5, gradlab.Square("mean"), 0.3, True),
        (3, 5, gradlab.Square("sum"), (0.2,), False),
        (3, 5, gradlab.Square("mean", half=True), 0.0, False),
    ],
)
def test_the_flow_is_the_matrix_exponential(N: int, d: int, loss: Any, decay: Any, bias: bool) -> None:
    problem, weights = linear(N, d, loss, decay, bias)
    for duration in (1e-9, 0.3, 7.0):
        got = np.asarray(problem.ravel(flow_exactly(problem, weights, duration)))
        expected = by_exponential(problem, weights, duration)
        # SciPy's scaling and squaring loses some eps ‖H Δ‖; the exact step some eps κ.
        size = np.linalg.norm(np.asarray(problem.hessian(weights)), 2) * duration
        tolerance = 20 * EPS * (size + condition(problem))
        assert np.max(np.abs(got - expected)) <= tolerance * np.max(np.abs(expected)), duration


def test_two_steps_of_the_flow_are_one_and_none_is_none() -> None:
    problem, weights = linear(3, 5, decay=0.1)
    once = flow_exactly(problem, weights, 3.0)[0]
    twice = flow_exactly(problem, flow_exactly(problem, weights, 1.0), 2.0)[0]
    np.testing.assert_allclose(twice, once, rtol=0, atol=100 * EPS * condition(problem))
    np.testing.assert_allclose(flow_exactly(problem, weights, 0.0)[0], weights[0], rtol=0, atol=20 * EPS)


def test_long_flows_end_at_the_minimum_norm_solution_plus_the_kernel_of_the_start() -> None:
    generator = np.random.default_rng(3)
    x = generator.standard_normal((9, 3)) @ generator.standard_normal((3, 6))
    y = generator.standard_normal((9, 1))
    problem = Problem(Dense((6, 1)), gradlab.Square(), Data(x, y))
    weights = (jnp.asarray(generator.standard_normal((1, 6))),)
    inverse = np.linalg.pinv(x, rcond=1e-10)
    limit = (inverse @ y).T + np.asarray(weights[0]) @ (np.eye(6) - inverse @ x)
    # Singular values that rounding made of zeros would pull the weights to 1/eps.
    for duration in (1e10, 1e300, np.inf):
        np.testing.assert_allclose(flow_exactly(problem, weights, duration)[0], limit, rtol=0, atol=1e-13)
    last = carried(gradlab.GradientFlow(problem), weights, [5.0, 2000.0], LogTime())[-1]
    np.testing.assert_allclose(last.y[0], limit, rtol=0, atol=1e-13)
    assert float(last.u) == 2000.0
    # k = 2^40 iterations are even, 2^40 + 1 odd; nothing oscillates below ηh = 1.
    step = 0.4 / np.linalg.norm(x, 2) ** 2
    np.testing.assert_allclose(iterate_exactly(problem, weights, step, 2.0**40)[0], limit, rtol=0, atol=1e-13)


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("relative", [0.3, 1.0, 1.7, 2.0, 2.02])
def test_iterations_at_once_are_the_iterations(relative: float, decay: float) -> None:
    for shape in ((12, 5), (3, 5)):
        problem, weights = linear(*shape, decay=decay)
        sharpness = np.linalg.norm(np.asarray(problem.hessian(weights)), 2)
        step = relative / sharpness
        for k in (1, 2, 7, 400):
            got = np.asarray(iterate_exactly(problem, weights, step, k)[0])
            expected = by_iteration(problem, weights, step, k)
            # κ eps from the SVD; k eps of relative error from 1 − ηh where it does not contract.
            tolerance = 20 * EPS * (condition(problem) + k)
            assert np.max(np.abs(got - expected)) <= tolerance * np.max(np.abs(expected)), (shape, k)


def test_the_polynomial_regression_of_memo90_figure_4_at_once_is_the_iterated_one() -> None:
    problem, weights = polynomial()
    got = np.asarray(iterate_exactly(problem, weights, 0.2, 100_000)[0])
    expected = by_iteration(problem, weights, 0.2, 100_000)
    # The reference's own errors: 1e5 half-ulps of 64 bits, 5e-15, beside κ eps, 5e-14.
    assert np.max(np.abs(got - expected)) <= EPS * condition(problem) * np.max(np.abs(expected))
    descent = gradlab.run(gradlab.GradientDescent(problem, 0.2), weights, [100_000])
    ours = descent["final_weights"].values
    # Worst case of the iteration's own rounding in the kernel: half an ulp each time.
    assert np.max(np.abs(got - ours)) <= 0.5 * 1e5 * EPS * np.max(np.abs(ours))


def test_divergent_steps_overflow_where_the_iteration_does() -> None:
    problem, weights = linear(12, 1)
    sharpness = float(problem.hessian(weights)[0, 0])
    step, k = 3.0 / sharpness, 1020
    near = iterate_exactly(problem, weights, step, k)[0]
    np.testing.assert_allclose(near, by_iteration(problem, weights, step, k), rtol=20 * EPS * k)
    # q = −2: 2^1030 overflows.
    state = carried(gradlab.GradientDescent(problem, step), weights, [1030.0, 2000.0])
    assert [int(s.status) for s in state] == [stops.NOT_FINITE] * 2
    assert float(state[1].tau) == 1030.0
    by_hand = gradlab.run(gradlab.GradientDescent(problem, step), weights, [1030])
    assert int(by_hand["status"][-1]) == stops.NOT_FINITE


def test_an_equilibrium_of_an_unstable_step_stays() -> None:
    problem = Problem(Dense((1, 1)), gradlab.Square(half=True), Data([[1.0]], [[2.0]]))
    assert float(iterate_exactly(problem, (jnp.full((1, 1), 2.0),), 5.0, 10_000)[0][0, 0]) == 2.0


def test_records_land_on_time_and_count_what_they_cost() -> None:
    problem, weights = linear(12, 5)
    flow = carried(gradlab.GradientFlow(problem), weights, [0.5, 0.5, 2.0])
    assert [float(state.tau) for state in flow] == [0.5, 0.5, 2.0]
    assert np.array_equal(flow[0].y[0], flow[1].y[0])
    assert int(flow[2].evaluations) == int(flow[2].jacobians) == int(flow[2].steps) == 2
    np.testing.assert_allclose(np.expm1(float(flow[2].u)), 2.0, rtol=4 * EPS)
    step = 0.01
    descent = carried(gradlab.GradientDescent(problem, step), weights, [10.0, 1e7])
    assert [int(state.steps) for state in descent] == [10, 10_000_000]
    assert int(descent[1].evaluations) == 2
    np.testing.assert_allclose(np.expm1(float(descent[1].u)), 1e7 * step, rtol=20 * EPS)


def test_stops_hold_at_records_and_a_step_count_exactly() -> None:
    problem, weights = linear(12, 5)
    flow = gradlab.GradientDescent(problem, 0.01)
    counted = carried(flow, weights, [10.0, 100.0], stop=gradlab.Stop(steps=37))[-1]
    assert (int(counted.steps), int(counted.status)) == (37, stops.STEPS)
    np.testing.assert_allclose(counted.y[0], iterate_exactly(problem, weights, 0.01, 37)[0], rtol=1e-13)
    level = float(problem.potential(iterate_exactly(problem, weights, 0.01, 50)))
    seen = carried(flow, weights, [40.0, 60.0, 80.0], stop=gradlab.Stop(loss=level))
    assert [float(state.tau) for state in seen] == [40.0, 60.0, 60.0]


def test_the_mirrored_factorisation_differs_by_rounding() -> None:
    problem, weights = polynomial()
    flow = gradlab.GradientFlow(problem)
    assert Exact().coarser() == Exact(mirrored=True)
    ours, other = (carried(flow, weights, [2e4], solver=s)[0].y[0] for s in (Exact(), Exact().coarser()))
    gap = float(jnp.max(jnp.abs(ours - other)))
    assert 0.0 < gap <= EPS * condition(problem) * float(jnp.max(jnp.abs(ours)))


def test_ensembles_move_as_their_members_do() -> None:
    made = [linear(12, 5), linear(12, 5, decay=0.3)]
    problems, weights = (gradlab.stack(part) for part in zip(*made, strict=True))
    together = jax.vmap(lambda p, w: flow_exactly(p, w, 0.7))(problems, weights)[0]
    for index, (problem, own) in enumerate(made):
        np.testing.assert_allclose(together[index], flow_exactly(problem, own, 0.7)[0], rtol=1e-12)


def test_what_is_not_quadratic_is_refused_in_a_sentence() -> None:
    problem, _ = linear()
    data, square = problem.data, gradlab.Square()
    assert quadratic(problem) is None
    assert "one layer" in str(quadratic(Problem(Dense((5, 3, 2), "identity"), square, data)))
    assert "square loss" in str(quadratic(Problem(Dense((5, 2)), gradlab.losses.Lp(4), data)))
    solver = Exact()
    assert solver.refuse(gradlab.GradientFlow(problem), LogTime()) is None
    assert solver.refuse(gradlab.GradientDescent(problem, 0.1), Time()) is None
    assert "clock" in str(solver.refuse(gradlab.GradientFlow(problem), gradlab.clocks.ArcLength()))
    schedule = gradlab.GradientDescent(problem, gradlab.schedules.PowerLaw(0.1, 0.5))
    assert "constant" in str(solver.refuse(schedule, Time()))
    key = jax.random.key(0)
    assert "Stochastic" in str(solver.refuse(gradlab.StochasticGradientDescent(problem, 0.1, 2, key), Time()))
