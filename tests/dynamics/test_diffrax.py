"""The stabilised methods as citizens of diffrax: time, terms, types, gradients, counts, dense output, other spectra."""

from __future__ import annotations

import warnings

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.dynamics.solvers.counting import counted
from gradlab.dynamics.solvers.dense import BentHermite, bends
from gradlab.dynamics.solvers.loops import loop
from gradlab.dynamics.solvers.multistep import MRKC3, MRKC5
from gradlab.dynamics.solvers.rkc import RKC2, RKC3
from gradlab.dynamics.solvers.rock4 import ROCK4

EVERY = [RKC2(), RKC3(), MRKC3(), MRKC5(), ROCK4()]
ADAPTIVE = diffrax.PIDController(rtol=1e-6, atol=1e-8, pcoeff=0.1, icoeff=0.3, factormax=1.2)


def named(method: object) -> str:
    return type(method).__name__


def backwards(t, y, args):
    """Stiff and not autonomous, and stable as time runs down."""
    return jnp.stack([30.0 * (y[0] - jnp.sin(t)), jnp.cos(t) * y[1]])


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_time_that_runs_down_is_the_mirrored_field_and_keeps_the_order(method) -> None:
    start = jnp.asarray([jnp.sin(4.0), 1.0])
    mirrored = diffrax.ODETerm(lambda s, y, args: -backwards(4.0 - s, y, args))

    @jax.jit
    def down(step):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(backwards), method, 4.0, 0.0, -step, start, max_steps=None, throw=False
        ).ys[0]

    @jax.jit
    def up(step):
        return diffrax.diffeqsolve(mirrored, method, 0.0, 4.0, step, start, max_steps=None, throw=False).ys[0]

    np.testing.assert_allclose(down(0.05), up(0.05), rtol=1e-11)
    errors = [abs(float(down(4.0 / n)[1]) - np.exp(-np.sin(4.0))) for n in (100, 200)]
    # MRKC3 and MRKC5 have their orders once they have a past: they begin as RKC2 and RKC3, three steps an order lower.
    order = min(method.order(None), 4)
    assert np.log2(errors[0] / errors[1]) > order - 0.4, errors


def test_terms_that_are_no_ode_and_values_that_are_not_real_floats_are_refused() -> None:
    ode = diffrax.ODETerm(lambda t, y, args: -y)
    noise = diffrax.VirtualBrownianTree(0.0, 1.0, 1e-2, (), jax.random.key(0))
    control = diffrax.ControlTerm(lambda t, y, args: y, noise)

    def solve(term, y):
        return diffrax.diffeqsolve(term, MRKC3(), 0.0, 1.0, 0.1, y)

    # diffrax warns of noise and of complex numbers on its own.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for term, name in ((control, "ControlTerm"), (diffrax.MultiTerm(ode, ode), "MultiTerm")):
            with pytest.raises(
                ValueError, match=f"one diffrax.ODETerm and was given {name}: write one ODETerm"
            ):
                solve(term, jnp.asarray(1.0))
        with pytest.raises(
            ValueError, match=r"takes real y, and was given complex128: write y as \(real part"
        ):
            solve(ode, jnp.asarray(1.0 + 1.0j))
    with pytest.raises(ValueError, match="takes floating y and was given int64: write y0 as floats"):
        MRKC3().init(ode, 0.0, 1.0, jnp.asarray(1), None)
    with pytest.raises(ValueError, match="whose evaluations are its tableau's stages times"):
        counted(diffrax.Tsit5(), ADAPTIVE)


def two_steps(method, rate, y):
    """y after two steps of 0.3 on dy/dt = −rate · y, by as many stages as rate · 0.3 asks for."""
    term = diffrax.ODETerm(lambda t, y, args: jax.tree.map(lambda x: -args.astype(x.dtype) * x, y))
    state = method.init(term, 0.0, 0.6, y, rate)
    for t in (0.0, 0.3):
        y, *_, state, _ = method.step(term, t, t + 0.3, y, rate, state, made_jump=False)
    return y


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_gradients_of_both_modes_are_those_of_the_numbers_computed(method) -> None:
    start = jnp.asarray([1.0, 2.0])

    @jax.jit
    def both(rate):
        def total(rate):
            return jnp.sum(two_steps(method, rate, start))

        forward = jax.jvp(total, (rate,), (jnp.ones(()),))[1]
        return jax.grad(total)(rate), forward, total(rate + 1e-5) - total(rate - 1e-5)

    reverse, forward, difference = both(jnp.asarray(20.0))
    assert reverse == pytest.approx(float(forward), rel=1e-10)
    assert reverse == pytest.approx(float(difference) / 2e-5, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("adjoint", [diffrax.RecursiveCheckpointAdjoint(), diffrax.ForwardMode()], ids=named)
def test_a_whole_solve_has_gradients_under_the_default_adjoint_and_in_forward_mode(adjoint) -> None:
    def final(rate):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: -args * jnp.asarray([1.0, 40.0]) * y), RKC2(), 0.0, 1.0, None,
            jnp.ones(2), rate, adjoint=adjoint, max_steps=256,
            stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-6, pcoeff=0.1, icoeff=0.3),
        ).ys[0, 0]  # fmt: skip

    one = jnp.asarray(2.0)
    forward = isinstance(adjoint, diffrax.ForwardMode)
    found = jax.jit(jax.jacfwd(final) if forward else jax.grad(final))(one)
    assert found == pytest.approx(-np.exp(-2.0), rel=1e-2)


def test_in_a_batch_a_solve_that_ends_early_has_the_gradient_it_has_alone() -> None:
    def final(rate, end):
        term = diffrax.ODETerm(lambda t, y, args: -args * y)
        return diffrax.diffeqsolve(term, MRKC3(), 0.0, end, 0.1, jnp.ones(2), rate, max_steps=32).ys[0, 0]

    ends = jnp.asarray([0.5, 2.0])
    slopes = jax.jit(jax.vmap(jax.grad(final), (None, 0)))(jnp.asarray(1.0), ends)
    np.testing.assert_allclose(slopes, -ends * jnp.exp(-ends), rtol=1e-2)


def test_the_loop_has_first_derivatives_in_batches_and_says_that_it_has_no_second() -> None:
    def run(x, count):
        return loop(0, count, lambda i, y: jnp.sin(y) + 0.5 * x * y, x)

    counts, points = jnp.asarray([0, 3, 40]), jnp.asarray([0.3, 0.7, 0.9])
    slopes = jax.vmap(jax.grad(run))(points, counts)
    exact = [
        jax.grad(lambda x, n=n: jax.lax.fori_loop(0, n, lambda i, y: jnp.sin(y) + 0.5 * x * y, x))(x)
        for x, n in zip(points, (0, 3, 40), strict=True)
    ]
    np.testing.assert_allclose(slopes, exact, rtol=1e-12)
    with pytest.raises(ValueError, match="first derivatives only: take the second by differences"):
        jax.jacfwd(jax.jacfwd(run))(points[1], counts[1])


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_single_precision_stays_single_under_strict_promotion_and_empty_states_pass(method) -> None:
    y = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones((), jnp.float64), "c": jnp.ones((0, 3)), "d": None}
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        after = jax.jit(lambda y: two_steps(method, jnp.asarray(0.5), y))(y)
        assert two_steps(method, jnp.asarray(0.5), None) is None
    assert jax.tree.map(jnp.result_type, after) == jax.tree.map(jnp.result_type, y)
    assert after["c"].shape == (0, 3)
    np.testing.assert_allclose(after["a"], np.exp(-0.3), rtol=0.003)
    np.testing.assert_allclose(after["a"], after["b"], rtol=1e-5)


def test_rejected_attempts_are_counted() -> None:
    calls: list[int] = []

    def field(t, y, args):
        jax.debug.callback(lambda: calls.append(1))
        return -jnp.asarray([1.0, 30.0]) * (y - jnp.cos(20.0 * t))

    solver, controller = counted(MRKC3(), ADAPTIVE)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field), solver, 0.0, 0.5, 0.4, jnp.ones(2), stepsize_controller=controller,
        saveat=diffrax.SaveAt(t1=True, controller_state=True, solver_state=True), max_steps=400,
    )  # fmt: skip
    jax.effects_barrier()
    assert int(solution.stats["num_rejected_steps"]) > 1
    total = int(solution.controller_state.evaluations)
    assert total > int(solution.solver_state.evaluations)
    # A Hessian-vector product calls the field once here, and counts as two evaluations.
    products = total - len(calls)
    assert 0 < products < 0.3 * total
    assert 2 * products % 2 == 0


def test_dense_output_of_mrkc5_is_exact_for_quintics_and_cubic_without_a_past() -> None:
    quintic = np.polynomial.Polynomial([0.3, -1.0, 0.7, 0.4, -0.2, 0.9])
    thetas, h = jnp.asarray([-0.8, -2.1]), 0.5
    ends = {"y0": quintic(0.0), "y1": quintic(1.0), "k0": quintic.deriv()(0.0), "k1": quintic.deriv()(1.0)}
    ends = {name: jnp.asarray([value]) for name, value in ends.items()}
    earlier = jnp.asarray(quintic(np.asarray(thetas)))[:, None]
    inside = np.linspace(0.0, 1.0, 7)

    def off(count: int) -> float:
        bend = bends(*ends.values(), thetas, earlier, count)
        path = BentHermite(t0=2.0, t1=2.0 + h, bend=bend, **ends)
        return max(abs(float(path.evaluate(2.0 + h * x)[0]) - quintic(x)) for x in inside)

    assert off(2) < 1e-14
    assert off(1) > 1e-3
    assert off(0) > off(1)


def test_dense_output_of_mrkc5_errs_inside_a_step_as_at_its_ends() -> None:
    term = diffrax.ODETerm(lambda t, y, args: jnp.stack([jnp.cos(t) - y[0], -20.0 * (y[1] - jnp.sin(t))]))
    path = diffrax.diffeqsolve(
        term,
        MRKC5(),
        0.0,
        6.0,
        0.1,
        jnp.asarray([0.5, -0.05]),
        max_steps=64,
        saveat=diffrax.SaveAt(dense=True),
    )

    def error(t):
        return jax.vmap(path.evaluate)(t)[:, 0] - 0.5 * (jnp.cos(t) + jnp.sin(t))

    ends = jnp.linspace(2.0, 6.0, 41)
    at_ends = error(ends)
    between = error(0.5 * (ends[1:] + ends[:-1])) - 0.5 * (at_ends[1:] + at_ends[:-1])
    # A cubic would err by h⁴/384, 3e-7, beside its ends.
    assert float(jnp.max(jnp.abs(between))) < 1e-8


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_another_spectrum_is_noticed_with_constant_steps_and_avoided_by_controllers(method) -> None:
    turning, growing = jnp.asarray([[-1.0, 20.0], [-20.0, -1.0]]), jnp.diag(jnp.asarray([20.0, 1.0]))
    falling = -jnp.diag(jnp.asarray([20.0, 1.0]))
    term = diffrax.ODETerm(lambda t, y, args: args @ y)

    @jax.jit
    def constant(matrix):
        solution = diffrax.diffeqsolve(
            term, method, 0.0, 4.0, 1.0, jnp.asarray([0.3, 1.0]), matrix, throw=False, max_steps=8
        )
        return solution.result == diffrax.RESULTS.successful, solution.stats["num_steps"]

    assert constant(falling)[0]
    for matrix in (turning, growing):
        good, steps = constant(matrix)
        assert not good
        assert steps == 1
    assert not constant(jnp.full((2, 2), jnp.nan))[0]


def test_a_controller_takes_a_turning_field_at_the_steps_of_an_explicit_method() -> None:
    turning = jnp.asarray([[-1.0, 20.0], [-20.0, -1.0]])
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: turning @ y), ROCK4(1e-5), 0.0, 2.0, None, jnp.asarray([1.0, 0.0]),
        stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-7), max_steps=2000,
    )  # fmt: skip
    exact = np.exp(-2.0) * np.asarray([np.cos(40.0), -np.sin(40.0)])
    np.testing.assert_allclose(solution.ys[0], exact, atol=1e-4)
