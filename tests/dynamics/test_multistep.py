"""MRKC3 and MRKC5: what they take from the past, their orders, how fast steps may grow, and quasi-steady components."""

from __future__ import annotations

from dataclasses import replace

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
from gradlab import Adaptive, Data, Dense, Gaussian, GradientFlow, Problem
from gradlab.dynamics.solvers.multistep import (
    MRKC3,
    MRKC5,
    Multistep,
    Past,
    none,
    note,
    recall,
    shift_matrix,
)
from gradlab.dynamics.solvers.multistep import bend as _bend
from gradlab.dynamics.solvers.rock4 import ROCK4

METHODS = [MRKC3(), MRKC5()]

# one program, where each of its hundred operations would be one
bend = eqx.filter_jit(_bend)


@pytest.mark.parametrize("degree", [3, 5])
def test_the_past_gives_back_a_polynomial(degree: int) -> None:
    rng = np.random.default_rng(0)
    now, h = 2.0, 0.3
    exact = rng.standard_normal((degree + 1, 4))  # coefficients of θᵏ, θ = (t − now)/h
    times = now - np.cumsum(rng.uniform(0.1, 0.6, degree))
    values = np.stack([((t - now) / h) ** np.arange(degree + 1) @ exact for t in times])
    past = known(values, times)
    found = bend(past, jnp.asarray(now), jnp.asarray(exact[0]), h)
    np.testing.assert_allclose(found, exact[2:], atol=1e-9)
    # Fewer points, a polynomial of lower degree; fewer than three, none.
    short = bend(only(past, 2), now, jnp.asarray(exact[0]), h)
    assert not np.any(np.asarray(short))
    if degree > 3:
        three = np.asarray(bend(only(past, 3), now, jnp.asarray(exact[0]), h))
        cubic = np.polynomial.polynomial.polyfit(
            np.append(0.0, (times[:3] - now) / h), np.vstack([exact[0], values[:3]]), 3
        )
        np.testing.assert_allclose(three[:2], cubic[2:], atol=1e-8)
        # As many points, of which the earliest are left out.
        np.testing.assert_allclose(
            bend(past, jnp.asarray(now), jnp.asarray(exact[0]), h, 3), three, atol=1e-12
        )
        assert not np.any(three[2:])


def known(values, times) -> Past:
    """A past of which every point is known."""
    values = jnp.asarray(values)
    return replace(
        none(values[0], len(times)), values=values, times=jnp.asarray(times), count=jnp.asarray(len(times))
    )


def remember(past: Past, t0, t1, y0) -> Past:
    """The past at t1, after a step from (t0, y0)."""
    return recall(note(past, t0, y0), t1)


def latest_first(past: Past) -> np.ndarray:
    """The ring's points in the order of their times."""
    return np.roll(past.values, -int(past.head), axis=0)


def only(past: Past, count: int) -> Past:
    return replace(past, count=jnp.asarray(count))


def test_the_same_polynomial_on_a_part_of_the_step() -> None:
    coefficients = np.array([0.7, -1.3, 0.2, 0.9])  # of θ² … θ⁵
    part = np.asarray(shift_matrix(5, 0.5, 0.25)) @ coefficients
    theta = np.linspace(-1.0, 2.0, 9)
    whole = np.polynomial.polynomial.polyval(0.5 + 0.25 * theta, [0.0, 0.0, *coefficients])
    fitted = np.polynomial.polynomial.polyfit(theta, whole, 5)
    np.testing.assert_allclose(part, fitted[2:], atol=1e-12)


def test_a_point_much_nearer_than_the_one_before_is_not_remembered() -> None:
    past = none(jnp.zeros(1), 3)
    for t0, t1 in ((0.0, 1.0), (1.0, 2.0), (2.0, 2.1), (2.1, 3.1)):
        past = remember(past, t0, t1, jnp.asarray([10.0 * t0]))
    # 2.0 lies 0.1 before 2.1, the point before it 1.0 before 2.0: it is left out.
    np.testing.assert_allclose(past.times, [2.1, 1.0, 0.0])
    np.testing.assert_allclose(latest_first(past)[:, 0], [21.0, 10.0, 0.0])
    assert int(past.count) == 3
    # Of steps that are short for good only the first is left out.
    for k in range(3):
        past = remember(past, 3.1 + 0.01 * k, 3.11 + 0.01 * k, jnp.zeros(1))
    np.testing.assert_allclose(past.times, [3.12, 3.11, 2.1])


def orbit(t):
    """A solution of ``field``."""
    t = jnp.asarray(t)
    return jnp.stack(
        [1.0 / (1.0 + jnp.exp(-t)), 1.0 / (3.0 + t), 0.5 * (jnp.cos(t) + jnp.sin(t)) + 0.3 * jnp.exp(-t)]
    )


def field(t: jax.Array, y: jax.Array) -> jax.Array:
    """Nonlinear and non-autonomous."""
    return jnp.stack([y[0] * (1.0 - y[0]), -(y[1] ** 2), jnp.cos(t) - y[2]])


def constant_steps(method: Multistep, field, exact, T: float, z: float):
    """y(T) by so many equal steps, as a function of their number, with an exact past; the stages are those of z."""

    @jax.jit
    def solve(count):
        h = T / count

        def step(i, carry):
            y, slope, past = carry
            after, _, after_slope, _ = method.stride(field, i * h, y, h, slope, jnp.asarray(z), past)
            return after, after_slope, remember(past, i * h, (i + 1) * h, y)

        times = -h * jnp.arange(1.0, method.degree + 1.0)
        past = known(jax.vmap(exact)(times), times)
        begun = (exact(0.0), field(0.0, exact(0.0)), past)
        return jax.lax.fori_loop(0, count, step, begun)[0]

    return solve


@pytest.mark.parametrize(("method", "order"), [(MRKC3(), 3), (MRKC5(), 5)])
@pytest.mark.parametrize("z", [1.0, 300.0])
def test_the_order_of_convergence(method: Multistep, order: int, z: float) -> None:
    solve = constant_steps(method, field, orbit, 4.0, z)
    errors = [float(jnp.linalg.norm(solve(n) - orbit(4.0))) for n in (80, 160)]
    rates = np.log2(np.asarray(errors[:-1]) / np.asarray(errors[1:]))
    assert np.all(np.abs(rates - order) < 0.15), (rates, errors)


@eqx.filter_jit
def recurrence(method: Multistep, z, growth):
    """Coefficients of y_n, y_{n−1}, … in y_{n+1}, for modes λh in [−z, 0), over steps that grow by ``growth``."""
    q, rates = (
        method.degree,
        jnp.concatenate([jnp.geomspace(1e-4, 1.0, 40), jnp.linspace(0.01, 1.0, 300) * z]),
    )
    times = -jnp.cumsum(growth ** -jnp.arange(1.0, q + 1.0))

    def field(t, y):
        return -rates * y

    def response(points):
        y = points[0] * jnp.ones_like(rates)
        past = known(jnp.outer(points[1:], jnp.ones_like(rates)), times)
        return method.stride(field, 0.0, y, 1.0, field(0.0, y), z, past)[0]

    return jax.vmap(response)(jnp.eye(q + 1))


def amplification(method: Multistep, z: float, growth: float) -> float:
    """The largest root of the recurrence."""
    columns = np.asarray(recurrence(method, jnp.asarray(z), jnp.asarray(growth)))
    q, count = method.degree, columns.shape[1]
    companion = np.zeros((count, q + 1, q + 1))
    companion[:, 0, :] = columns.T
    companion[:, np.arange(1, q + 1), np.arange(q)] = 1.0
    return float(np.max(np.abs(np.linalg.eigvals(companion))))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("z", [8.0, 40.0, 900.0])
def test_errors_do_not_grow_while_steps_grow_by_no_more_than_is_allowed(method: Multistep, z: float) -> None:
    assert amplification(method, z, 1.0) < 1.0 + 1e-9
    # At the very end of the interval, which the stages' margin keeps free, MRKC5 exceeds one by a few thousandths.
    assert amplification(method, z, method.growth) < 1.0 + 5e-3
    assert amplification(method, z, 2.0) > 1.5


@pytest.mark.parametrize("method", METHODS)
def test_quasi_steady_components_are_followed_a_thousand_times_better_than_by_rock4(
    method: Multistep,
) -> None:
    rate = 3000.0

    def field(t, y):
        return -rate * (y - jnp.cos(t)) - jnp.sin(t)

    def exact(t):
        return jnp.cos(jnp.asarray(t))[None]

    def error(solve, count: int) -> float:
        return abs(float(solve(count)[0]) - np.cos(2.0))

    errors = [error(constant_steps(method, field, exact, 2.0, rate * 2.0 / n), n) for n in (20, 40)]
    start, one = exact(0.0), ROCK4(1e-2)

    @jax.jit
    def rock(count):
        h = 2.0 / count

        def step(i, carry):
            y, slope = carry
            y, _, slope, _ = one.stretch(field, i * h, y, h, slope, rate * h)
            return y, slope

        return jax.lax.fori_loop(0, count, step, (start, field(0.0, start)))[0]

    assert errors[1] < min(1e-7, 0.5 * errors[0])
    assert error(rock, 40) > 1e3 * errors[1]


def test_the_methods_start_again_after_a_jump_and_stand_alone_under_diffrax() -> None:
    rates = jnp.asarray([1.0, 30.0, 900.0])
    term = diffrax.ODETerm(lambda t, y, args: -rates * (y - jnp.sin(t)))
    controller = diffrax.PIDController(rtol=1e-6, atol=1e-9, pcoeff=0.1, icoeff=0.3, factormax=1.1)
    for method in METHODS:
        found = diffrax.diffeqsolve(
            term, method, 0.0, 5.0, None, jnp.ones(3), stepsize_controller=controller, max_steps=None
        )  # fmt: skip
        exact = diffrax.diffeqsolve(
            term, diffrax.Tsit5(), 0.0, 5.0, None, jnp.ones(3), max_steps=None,
            stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-12),
        )  # fmt: skip
        assert float(jnp.max(jnp.abs(found.ys[-1] - exact.ys[-1]))) < 1e-5
        # A two-stage method held by stability would take 900·5/2 steps.
        assert int(found.stats["num_steps"]) < 1000
        state = method.init(term, 0.0, 1.0, jnp.ones(3), None)
        for i in range(4):
            *_, state, _ = method.step(
                term, 0.1 * i, 0.1 * (i + 1), jnp.ones(3), None, state, made_jump=False
            )
        jumped = method.step(term, 0.4, 0.5, jnp.ones(3), None, state, made_jump=jnp.asarray(True))[3]
        # The point that the last step began from waits.
        assert int(state.past.count) == min(3, method.degree)
        assert int(jumped.past.count) == 0
        assert state.past.waits
        assert jumped.past.waits


def test_the_past_pays(small_linear_net) -> None:
    problem, weights = small_linear_net

    def final(method: str, tolerance: float):
        seen = gradlab.run(
            GradientFlow(problem), weights, [100.0], solver=Adaptive(method, tolerance), refine=False,
            observables=(),
        )  # fmt: skip
        return seen["final_weights"].values, int(seen["evaluations"][-1])

    exact, _ = final("dopri8", 1e-12)
    (simple, simple_work), (found, work) = final("rkc2", 1e-6), final("mrkc3", 1e-6)
    # Of order three: cheaper by more than its error is larger, to the power of a quarter.
    gain = np.linalg.norm(simple - exact) / np.linalg.norm(found - exact)
    assert work < 0.9 * simple_work * gain**0.25


@pytest.fixture
def small_linear_net():
    keys = jax.random.split(jax.random.key(4), 3)
    inputs = 3.0 * jax.random.normal(keys[0], (40, 4))
    data = Data(inputs, inputs @ jax.random.normal(keys[1], (4, 3)) / 6.0)
    problem = Problem(Dense((4, 5, 5, 3), "identity"), gradlab.Square("mean"), data)
    return problem, problem.network.init(keys[2], Gaussian(0.4))


def test_round_off_of_the_coefficients_stays_that_of_the_points() -> None:
    # Equal points have no bend at all, and points equal but for round-off hardly any.
    y = jnp.full(3, 1.0 / 3.0)
    past = known(jnp.tile(y, (5, 1)), -jnp.arange(1.0, 6.0))
    assert not np.any(np.asarray(bend(past, 0.0, y, 1.0)))
    noisy = replace(past, values=past.values * (1.0 + 1e-16 * jnp.arange(5.0)[:, None]))
    assert float(jnp.max(jnp.abs(bend(noisy, 0.0, y, 1.0)))) < 1e-14


@pytest.mark.parametrize("method", METHODS)
def test_a_rejected_step_leaves_the_past_as_it_was(method: Multistep) -> None:
    term, y = diffrax.ODETerm(lambda t, y, args: -y), jnp.ones(3)
    state = method.init(term, 0.0, 1.0, y, None)
    for i in range(7):
        before, begun, t = state, y, 0.1 * i
        y, _, _, state, _ = method.step(term, t, t + 0.1, y, None, state, made_jump=False)
    again = method.after_rejection(before, state)
    for past in (again.past, before.past):
        shorter = method.step(term, t, t + 0.05, begun, None, replace(state, past=past), made_jump=False)[
            3
        ].past
        np.testing.assert_allclose(shorter.times[:3], [0.5, 0.4, 0.3])
        np.testing.assert_array_equal(latest_first(shorter)[0], before.past.latest)
        assert float(shorter.since) == pytest.approx(0.6)


def test_a_kick_is_not_looked_back_over() -> None:
    inputs = jax.random.normal(jax.random.key(0), (30, 4)) @ jnp.diag(jnp.asarray([8.0, 3.0, 1.0, 0.5]))
    problem = Problem(Dense((4, 3, 1), "tanh"), gradlab.Square("mean"), Data(inputs, jnp.sin(inputs[:, :1])))
    weights = problem.network.init(jax.random.key(1), Gaussian(0.5))
    flow = gradlab.flows.Kicked(GradientFlow(problem), 0.5, 1.0, jax.random.key(2))

    def final(name: str, tolerance: float):
        seen = gradlab.run(
            flow, weights, [4.5], solver=Adaptive(name, tolerance), refine=False, observables=()
        )  # fmt: skip
        return seen["final_weights"].values

    exact = final("dopri8", 1e-11)
    for name in ("mrkc3", "mrkc5"):
        error = np.linalg.norm(final(name, 1e-7) - exact) / np.linalg.norm(exact)
        assert error < 1e-5
    memory = MRKC3().memory(jnp.zeros(2))
    seen = eqx.tree_at(lambda m: m.past.count, memory, jnp.asarray(3))
    assert int(seen.forgotten(jnp.asarray(True)).past.count) == 0
    assert int(seen.forgotten(jnp.asarray(False)).past.count) == 3
