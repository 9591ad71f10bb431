"""Order conditions and orders, stiff references, landing, and fewer evaluations than SciPy's BDF at equal error."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.optimize

from gradlab.dynamics import tree
from gradlab.dynamics.solvers import bdf, newton
from gradlab.dynamics.solvers.differences import ALPHA, ERROR, GAMMA, respaced, shifted


class System(NamedTuple):
    """A right-hand side and its Jacobian, (τ, y) ↦ ..., hashable so that it can be compiled once."""

    rhs: Any
    jacobian: Any


def system(rhs: Any) -> System:
    return System(rhs, jax.jacfwd(rhs, argnums=1))


class Counts(NamedTuple):
    steps: Any
    rejected: Any
    evaluations: Any
    jacobians: Any
    factorisations: Any


def norm(tolerance, absolute):
    def ratio(before, after, error):
        size = jnp.maximum(jnp.linalg.norm(before), jnp.linalg.norm(after))
        return jnp.linalg.norm(error) / (tolerance * size + absolute)

    return ratio


@functools.partial(jax.jit, static_argnames="of")
def begin(of: System, y, end, tolerance, absolute):
    h, slope = bdf.first_step(of.rhs, jnp.zeros(()), y, end, tolerance, norm(tolerance, absolute))
    return bdf.start(y, h, slope)


@functools.partial(jax.jit, static_argnames="of")
def advance(of: System, tau, y, memory, counts, end, tolerance, absolute, fraction=0.03, orders=(1, 5)):
    """From tau to end as the laboratory's loop does; the scratch begins blank, as at a segment border."""

    ratio = norm(tolerance, absolute)

    def go_on(carry):
        return (carry[0] < end) & (carry[4].steps + carry[4].rejected < 20_000)

    def step(carry):
        tau, y, memory, scratch, n = carry
        o = bdf.attempt(of.rhs, of.jacobian, tau, end, y, memory, scratch, tolerance, ratio, orders, fraction)
        cost = (o.evaluations, o.jacobians, o.factorisations)
        n = Counts(*(a + b for a, b in zip(n, (o.accepted, ~o.accepted, *cost), strict=True)))
        return o.tau, o.y, o.memory, o.scratch, n

    tau, y, memory, _, counts = jax.lax.while_loop(go_on, step, (tau, y, memory, bdf.blank(y.size), counts))
    return tau, y, memory, counts


def run(of: System, y, ends, tolerance, absolute=1e-14, orders=(1, 5)):
    """(y at every end, memory at the last, counts) from τ = 0."""

    tau, y = jnp.zeros(()), jnp.asarray(y)
    memory = begin(of, y, jnp.asarray(ends[-1]), tolerance, absolute)
    counts, seen = Counts(*jnp.array([0, 0, 3, 0, 0])), []
    for end in ends:
        tau, y, memory, counts = advance(
            of, tau, y, memory, counts, jnp.asarray(end), tolerance, absolute, orders=orders
        )
        assert tau == end
        seen.append(np.asarray(y))
    return np.array(seen), memory, Counts(*(int(n) for n in counts))


def held(values: np.ndarray, order: int, h: float) -> bdf.Memory:
    """Memory at fixed order and step, from values at τ = 0, −h, −2h, …"""
    differences = np.zeros((8, values.shape[1]))
    for j in range(order + 1):
        signs = [(-1) ** i * math.comb(j, i) for i in range(j + 1)]
        differences[j] = np.asarray(signs) @ values[: j + 1]
    return bdf.Memory(
        jnp.asarray(differences), jnp.asarray(order), jnp.asarray(-(10**6)), jnp.asarray(h, dtype=float)
    )


NONE = Counts(*jnp.zeros(5, dtype=int))

# y = 1/(1 + t), z = y², and a third variable that follows y stiffly without error.
CURVE = system(lambda t, w: jnp.stack([-(w[0] ** 2), -2 * w[0] * w[1], -(w[0] ** 2) - 300.0 * (w[2] - w[0])]))


def curve(t: np.ndarray) -> np.ndarray:
    y = 1.0 / (1.0 + t)
    return np.stack([y, y**2, y], axis=-1)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_formula_of_order_k_is_exact_for_polynomials_of_degree_k_and_not_beyond(order: int) -> None:
    def residual(degree: int) -> float:
        # α (y − y⁽⁰⁾) + Σ γ_j ∇ʲy_n − y'(1), spacing one, of tᵈ at τ = 1.
        past = (-np.arange(order + 1.0))[:, None] ** degree
        differences = np.asarray(held(past, order, 1.0).differences)[: order + 1, 0]
        correction = 1.0 - differences.sum()
        return ALPHA[order] * correction + GAMMA[1 : order + 1] @ differences[1:] - degree

    for degree in range(order + 1):
        assert abs(residual(degree)) < 1e-10
    # The first degree missed gives the constant of the error estimate: −C ∇ᵏ⁺¹ tᵏ⁺¹.
    assert residual(order + 1) == pytest.approx(-ERROR[order] * math.factorial(order + 1), rel=1e-10)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_order_of_convergence_is_that_of_the_formula(order: int) -> None:
    errors = []
    for steps in (80, 160):
        h = 1.0 / steps
        memory = held(curve(-h * np.arange(order + 1)), order, h)
        # Nothing is rejected (absolute = 1) and Newton's iteration is carried through to round-off.
        start, end = jnp.asarray(curve(np.zeros(()))), jnp.ones(())
        _, y, _, counts = advance(CURVE, jnp.zeros(()), start, memory, NONE, end, 1.0, 1.0, 1e-13)
        assert int(counts.steps) == steps
        errors.append(np.linalg.norm(y - curve(np.ones(()))))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("order", [1, 3, 5])
def test_changes_of_spacing_and_shifts_keep_the_polynomial(order: int) -> None:
    coefficients = np.random.default_rng(order).normal(size=order + 1)

    def values(at: float, h: float) -> np.ndarray:
        return np.polynomial.polynomial.polyval(at - h * np.arange(order + 1), coefficients)[:, None]

    before = held(values(0.0, 0.5), order, 0.5).differences
    for factor in (0.3, 1.0, 2.0):
        there = np.asarray(respaced(before, jnp.asarray(order), factor))
        np.testing.assert_allclose(there, held(values(0.0, 0.5 * factor), order, 1.0).differences, atol=1e-10)
        there = np.asarray(shifted(before, jnp.asarray(order), factor))
        np.testing.assert_allclose(there, held(values(0.5 * factor, 0.5), order, 1.0).differences, atol=1e-10)


DECAY, SOURCE = -jnp.logspace(-1, 3, 9), jnp.ones(9)


@jax.jit
def corrected(accuracy, c, wanted, noise, fresh):
    """(‖d − exact‖, converged?) for (1 − cλ) d = 1, with accuracy · λ for λ and factors that belong to c = 1."""

    def residual(d):
        return SOURCE - (1.0 - c * DECAY) * d + noise * jnp.sin(1e9 * d + jnp.arange(9.0))

    scratch, *_ = newton.prepare(lambda: jnp.diag(accuracy * DECAY), newton.blank(9), 1.0)
    solved = newton.solve(residual, scratch, c, fresh, jnp.linalg.norm, wanted, 0.0)
    return jnp.linalg.norm(solved.d - SOURCE / (1.0 - c * DECAY)), solved.converged


def test_newtons_iteration_leaves_no_more_than_it_was_asked() -> None:
    for accuracy in (1.0, 0.95, 0.9):
        for c in (1.0, 1.2):
            for wanted in (0.1, 1e-2, 1e-3):
                error, converged = corrected(accuracy, c, wanted, 0.0, False)
                assert converged
                # The quotient of two norms is a mean over the modes, somewhat below the worst of their rates.
                assert error < 2.0 * wanted
    # Four iterations at a rate above 0.1 cannot give twelve digits, and this is said.
    assert not corrected(0.8, 1.2, 1e-12, 0.0, False)[1]


def test_round_off_ends_newtons_iteration_only_with_a_new_jacobian() -> None:
    for noise in (1e-5, 1e-4, 1e-3):
        error, converged = corrected(1.0, 1.0, 1e-12, noise, True)
        assert converged
        assert error < 10 * noise
        assert not corrected(1.0, 1.0, 1e-12, noise, False)[1]


# Robertson's kinetics: rates 0.04, 1e4, 3e7; Σ y = 1.
def _robertson(t: Any, y: Any) -> Any:
    a, b, c = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
    return jnp.stack([b - a, a - b - c, c])


ROBERTSON = system(_robertson)


def test_robertson_agrees_with_radau_and_keeps_the_mass() -> None:
    ends, y0, tolerance = [0.4, 40.0, 4e4], np.array([1.0, 0.0, 0.0]), 1e-9
    seen, memory, counts = run(ROBERTSON, y0, ends, tolerance)
    reference = scipy.integrate.solve_ivp(
        lambda t, y: np.array(
            [
                1e4 * y[1] * y[2] - 0.04 * y[0],
                0.04 * y[0] - 1e4 * y[1] * y[2] - 3e7 * y[1] ** 2,
                3e7 * y[1] ** 2,
            ]
        ),
        (0, 4e4),
        y0,
        method="Radau",
        t_eval=ends,
        rtol=1e-11,
        atol=1e-15,
    )
    # Every accepted step errs by at most the tolerance and the flow contracts the differences of two orbits.
    assert np.abs(seen - reference.y.T).max() < counts.steps * tolerance
    # Linear invariants are kept by linear multistep methods and by Newton's iteration, up to round-off.
    np.testing.assert_allclose(seen.sum(axis=1), 1.0, atol=1e-13)
    assert counts.jacobians < counts.steps / 10
    assert memory.order >= 3


RATES = -np.logspace(0, 6, 7)
SKEW = np.eye(7) + np.triu(np.random.default_rng(0).normal(size=(7, 7)), 1) / 2
MATRIX = SKEW @ np.diag(RATES) @ np.linalg.inv(SKEW)
LINEAR = system(lambda t, y: jnp.asarray(MATRIX) @ y)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_a_stiff_linear_flow_that_is_not_symmetric_agrees_with_its_exponential(tolerance: float) -> None:
    ends = [1e-6, 1e-3, 1.0, 3.0]
    seen, _, counts = run(LINEAR, np.ones(7), ends, tolerance)
    exact = [SKEW @ (np.exp(t * RATES) * np.linalg.solve(SKEW, np.ones(7))) for t in ends]
    # Local errors are at most tolerance · max‖y‖ and carried on by exp(tA), of norm at most cond(SKEW).
    bound = counts.steps * tolerance * np.linalg.norm(np.ones(7)) * np.linalg.cond(SKEW)
    assert np.linalg.norm(seen - exact, axis=1).max() < bound


def test_every_member_of_a_batch_takes_its_own_steps() -> None:
    # The second has nothing fast in it: with the same first step it needs fewer.
    starts = jnp.stack([jnp.ones(7), jnp.asarray(SKEW[:, 0])])
    memory = jax.vmap(lambda y: bdf.start(y, 1e-8, LINEAR.rhs(0.0, y)))(starts)

    def go(y, memory):
        return advance(LINEAR, jnp.zeros(()), y, memory, NONE, jnp.asarray(1.0), 1e-7, 1e-14)

    _, ends, _, counts = jax.vmap(go)(starts, memory)
    assert counts.steps[1] < 0.8 * counts.steps[0]
    for y, end, steps in zip(starts, ends, counts.steps, strict=True):
        exact = SKEW @ (np.exp(RATES) * np.linalg.solve(SKEW, y))
        assert np.linalg.norm(end - exact) < steps * 1e-7 * np.linalg.norm(y) * np.linalg.cond(SKEW)


def test_short_steps_to_records_lose_neither_step_nor_accuracy() -> None:
    # A burst of records far inside one step, then a long way on: the step planned before is still there.
    burst = list(30.0 + 0.005 * np.arange(1, 101))
    y0, tolerance = np.array([1.0, 0.0, 0.0]), 1e-7
    _, before, n0 = run(ROBERTSON, y0, [30.0], tolerance)
    seen, after, n1 = run(ROBERTSON, y0, [30.0, *burst], tolerance)
    assert n1.steps - n0.steps == 100
    assert n1.rejected == n0.rejected
    assert after.step >= 0.5 * before.step
    assert before.step > 0.5, "the burst must lie within one step"
    straight, _, _ = run(ROBERTSON, y0, [30.5], 1e-10)
    assert np.abs(seen[-1] - straight[-1]).max() < n1.steps * tolerance


def test_the_orders_allowed_are_kept_and_a_changed_point_restarts_at_one() -> None:
    y0 = np.array([1.0, 0.0, 0.0])
    _, memory, _ = run(ROBERTSON, y0, [40.0], 1e-6, orders=(1, 2))
    assert memory.order == 2
    new = jnp.asarray([0.5, 0.0, 0.5])
    again = bdf.refit(
        ROBERTSON.rhs,
        40.0,
        new,
        memory,
        80.0,
        1e-6,
        norm(1e-6, 0.0),
    )
    assert again.order == 1
    assert again.step <= memory.step
    np.testing.assert_array_equal(again.differences[0], new)


RNG = np.random.default_rng(5)
INPUTS, TEACHER = RNG.normal(size=(5, 50)), RNG.normal(size=(5, 5)) / 2
SECOND, CROSS = INPUTS @ INPUTS.T / 50, TEACHER @ INPUTS @ INPUTS.T / 50


def _deep_loss(y: Any) -> Any:
    first, second, third, fourth = y.reshape(4, 5, 5)
    product = fourth @ third @ second @ first
    return jnp.sum((product @ SECOND) * product) - 2 * jnp.sum(product * CROSS)


DEEP = System(lambda t, y: -jax.grad(_deep_loss)(y), lambda t, y: -jax.hessian(_deep_loss)(y))


def test_a_deep_linear_net_takes_fewer_evaluations_than_scipys_bdf_at_equal_error() -> None:
    y0 = 0.35 * RNG.normal(size=100)
    rhs = jax.jit(lambda y: DEEP.rhs(0.0, y))
    jacobian = jax.jit(lambda y: DEEP.jacobian(0.0, y))
    problem = {"fun": lambda t, y: np.asarray(rhs(y)), "jac": lambda t, y: np.asarray(jacobian(y)), "y0": y0}

    def scipys(method: str, end: float, tolerance: float) -> Any:
        return scipy.integrate.solve_ivp(
            t_span=(0.0, end), method=method, rtol=tolerance, atol=0.01 * tolerance, **problem
        )

    for end in (200.0, 2000.0):
        # Radau at 1e-9 errs by a hundredth of what BDF does at 1e-6.
        reference = scipys("Radau", end, 1e-9).y[:, -1]
        theirs = scipys("BDF", end, 1e-6)
        seen, _, ours = run(DEEP, y0, [end], 2e-8)
        error = np.linalg.norm(seen[-1] - reference)
        assert error < np.linalg.norm(theirs.y[:, -1] - reference)
        # A Jacobian is 33 gradients of time.
        assert ours.evaluations + 33 * ours.jacobians < theirs.nfev + 33 * theirs.njev
        assert ours.factorisations < theirs.nlu


SIGNED = np.random.default_rng(0).normal(size=(12, 4)) + 1.5 * np.ones(4)


def _log_risk(y: Any) -> Any:
    return jax.scipy.special.logsumexp(-(SIGNED @ (y[:12].reshape(3, 4).T @ y[12:])))


SLAVED = system(lambda u, y: -jnp.exp(u + _log_risk(y)) * jax.grad(_log_risk)(y))


def _margin(y: np.ndarray) -> float:
    v = y[:12].reshape(3, 4).T @ y[12:]
    return float((SIGNED @ v).min() / np.linalg.norm(v))


def test_the_log_time_flow_of_an_exponential_loss_reaches_t_of_exp_one_million() -> None:
    y0 = 0.5 * np.random.default_rng(1).normal(size=15)
    ends = [1e4, 1e6]
    seen, _, counts = run(SLAVED, y0, ends, 1e-9)
    tighter, _, _ = run(SLAVED, y0, ends, 1e-11)
    margins = np.array([_margin(y) for y in seen])
    np.testing.assert_allclose(margins, [_margin(y) for y in tighter], rtol=1e-9)
    assert counts.steps + counts.rejected < 4000
    assert counts.jacobians < 100
    # The margin tends to the largest one like 1/log t (Soudry et al. 2018, theorem 5).
    # The least-distance problem min ‖v‖, SIGNED v ≥ 1, as non-negative least squares (Lawson & Hanson, ch. 23).
    stacked = np.vstack([SIGNED.T, np.ones(12)])
    separator = SIGNED.T @ scipy.optimize.nnls(stacked, np.array([0.0, 0.0, 0.0, 0.0, 1.0]))[0]
    largest = float((SIGNED @ separator).min() / np.linalg.norm(separator))
    gaps = largest - margins
    assert gaps[0] / gaps[1] == pytest.approx(100.0, rel=0.02)


def test_corrections_mend_a_jacobian_that_is_off_in_few_directions() -> None:
    rng = np.random.default_rng(3)
    old = -np.diag(np.geomspace(1.0, 1e3, 30))
    directions = np.linalg.qr(rng.normal(size=(30, 3)))[0]
    matrix = old - directions @ np.diag([5.0, 7.0, 9.0]) @ directions.T
    wanted = rng.normal(size=30)
    c = 0.1
    begun = newton.blank(30)
    scratch, *_ = newton.prepare(lambda: jnp.asarray(old), begun, c)

    def solved(scratch: Any, target: Any) -> Any:
        return newton.solve(
            lambda d: target - (d - c * jnp.asarray(matrix) @ d),
            scratch, c, jnp.asarray(False), lambda x: jnp.linalg.norm(x), 1e-2, 0.0,
        )  # fmt: skip

    first = solved(scratch, jnp.asarray(wanted))
    exact = np.linalg.solve(np.eye(30) - c * matrix, wanted)
    assert bool(first.converged)
    assert np.linalg.norm(first.d - exact) < 1e-2
    # The plain iteration, of matrix I − M⁻¹A, needs more.
    start, M = np.zeros(30), np.eye(30) - c * old
    needed = 0
    while np.linalg.norm(start - exact) > 1e-2:
        start = start + np.linalg.solve(M, wanted - (np.eye(30) - c * matrix) @ start)
        needed += 1
    assert int(first.iterations) < needed
    # What was learnt serves the next step: its first correction is nearer.
    kept = eqx.tree_at(lambda s: s.pairs, scratch, first.pairs)
    target = rng.normal(size=30)
    plain, solution = np.linalg.solve(M, target), np.linalg.solve(np.eye(30) - c * matrix, target)
    mended = np.asarray(first.pairs.mended(jnp.asarray(plain)))
    assert np.linalg.norm(mended - solution) < 0.7 * np.linalg.norm(plain - solution)
    assert int(solved(kept, jnp.asarray(target)).iterations) <= int(
        solved(scratch, jnp.asarray(target)).iterations
    )
    # With other factors or another c nothing is kept.
    other, *_ = newton.prepare(lambda: jnp.asarray(old), kept, 1.1 * c)
    assert not np.any(np.asarray(other.pairs.images))


def test_newer_pairs_overrule_older_ones() -> None:
    none = newton.blank(8).pairs
    e = jnp.eye(8)
    pairs = none.learnt(e[0], 2.0 * e[0], True).learnt(e[1], 4.0 * e[1], True)
    np.testing.assert_allclose(pairs.mended(e[0] + e[1] + e[2]), 0.5 * e[0] + 0.25 * e[1] + e[2])
    pairs = pairs.learnt(e[0], 5.0 * e[0], True)
    np.testing.assert_allclose(pairs.mended(e[0] + e[1]), 0.2 * e[0] + 0.25 * e[1])
    untouched = pairs.learnt(e[3], e[3] * jnp.nan, False)
    np.testing.assert_array_equal(untouched.mended(e[0]), pairs.mended(e[0]))


@pytest.mark.parametrize(
    ("of", "start"), [(CURVE, np.ones(3)), (ROBERTSON, np.eye(3)[0]), (LINEAR, np.ones(7))]
)
def test_on_the_host_the_same_attempts_are_made(of: System, start: np.ndarray) -> None:
    """With NumPy's numbers, field and Jacobian: accepted, rejected and of the same order, to what rounding leaves."""
    end, tolerance = np.float64(5.0), 1e-7
    ratio = norm(tolerance, 1e-14)

    def rates(tau: Any, y: Any) -> Any:
        return np.asarray(of.rhs(tau, y))

    def ratios(before: Any, after: Any, error: Any) -> Any:
        return np.float64(ratio(before, after, error))

    def jacobian(tau: Any, y: Any) -> Any:
        return np.asarray(of.jacobian(tau, y))

    attempt = jax.jit(
        lambda tau, y, memory, scratch: bdf.attempt(
            of.rhs, of.jacobian, tau, end, y, memory, scratch, tolerance, ratio
        )
    )
    memory = tree.numbers(begin(of, jnp.asarray(start), end, tolerance, 1e-14))
    state = np.float64(0.0), start, memory, tree.numbers(bdf.blank(start.size))
    seen = []
    while state[0] < end and len(seen) < 300:
        # one attempt from the same state either way
        theirs = attempt(*state)
        ours = bdf.attempt(rates, jacobian, state[0], end, *state[1:], tolerance, ratios)
        assert not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(ours))
        assert (bool(ours.accepted), bool(ours.stuck)) == (bool(theirs.accepted), bool(theirs.stuck))
        assert int(ours.memory.order) == int(theirs.memory.order)
        np.testing.assert_allclose(ours.y, theirs.y, rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(ours.tau, theirs.tau, rtol=1e-13)
        np.testing.assert_allclose(ours.memory.step, theirs.memory.step, rtol=1e-5)
        seen.append((bool(ours.accepted), int(ours.memory.order)))
        state = ours.tau, ours.y, ours.memory, ours.scratch
    assert state[0] == end or len(seen) == 300
    assert len({order for _, order in seen}) > 2
