"""The fourth-order stabilised methods: defining conditions, order, the error estimate, round-off, counts."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import gradlab
from gradlab.dynamics.solvers import rock4, rock4_table
from gradlab.dynamics.solvers.stabilised import MARGIN, STRIP
from gradlab.problem.data import linear_regression
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

ALL = range(len(rock4.stages))
#: Unit round-off times the growth of relative errors over a recurrence of 300 stages (of the order of s²).
RECURRENCE = 1.1e-16 * 300**2
GRID_SINE = np.sin(np.pi * np.linspace(0.0, 1.0, 21)[1:-1])


def row(s: int) -> int:
    return int(np.flatnonzero(rock4.stages == s)[0])


def pieces(i: int) -> tuple[np.ndarray, np.ndarray]:
    begin, count = rock4.TABLE.start[i], rock4.stages[i] - 4
    return rock4.TABLE.mu[begin : begin + count], rock4.TABLE.kappa[begin : begin + count]


def on_axis(i: int, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """R(z) and the error estimate of y' = z y, y = 1, h = 1, from the table with numpy alone."""
    base = rock4_table.chain_polynomial(*pieces(i), z)[0]
    slopes: list[np.ndarray] = []
    for j in range(4):
        parts = [a * f for a, f in zip(rock4.TABLE.matrix[i, j], slopes, strict=False)]
        slopes.append(z * (base + sum(parts, np.zeros_like(z))))
    error = rock4.TABLE.error[i]
    return (
        base + rock4.TABLE.matrix[i, 4] @ np.array(slopes),
        error[:4] @ np.array(slopes) + error[4] * (base - 1.0),
    )


def taylor(i: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of R and of the error estimate up to z⁴, by truncated power series."""

    def times_z(p: np.ndarray) -> np.ndarray:
        return np.append(0.0, p[:-1])

    before, base = np.zeros(5), np.eye(5)[0]
    for m, k in zip(*pieces(i), strict=True):
        before, base = base, m * times_z(base) + (1.0 + k) * base - k * before
    slopes = np.zeros((4, 5))
    for j in range(4):
        slopes[j] = times_z(base + rock4.TABLE.matrix[i, j, :j] @ slopes[:j])
    error = rock4.TABLE.error[i]
    return base + rock4.TABLE.matrix[i, 4] @ slopes, error[:4] @ slopes + error[4] * (base - np.eye(5)[0])


def test_every_polynomial_agrees_with_the_exponential_to_order_four() -> None:
    exponential = np.array([1.0, 1.0, 1 / 2, 1 / 6, 1 / 24])
    assert max(np.max(np.abs(taylor(i)[0] / exponential - 1.0)) for i in ALL) < RECURRENCE


def test_the_polynomials_have_the_damping_at_the_left_end_and_stay_below_one_on_the_way() -> None:
    for i in ALL:
        length, s = rock4.lengths[i], rock4.stages[i]
        # Chebyshev spacing, forty points a zero.
        z = -length * np.sin(np.linspace(0.0, np.pi / 2, 40 * s)) ** 2
        value, _ = on_axis(i, z)
        assert abs(abs(value[-1]) - rock4_table.DAMPING) < 1e-8
        assert np.all(np.abs(value[1:]) < 1.0)
        # Ripples between the two that are prescribed differ from them by the error of the asymptotics, < 1 %.
        assert np.max(np.abs(value[z < -1.0])) < 1.01 * rock4_table.DAMPING


def test_a_leading_pair_as_far_off_the_axis_as_is_let_pass_is_stable() -> None:
    for i in ALL:
        z = -rock4.lengths[i] * np.linspace(0.3, 1.0 / MARGIN, 400) + 1j * STRIP * rock4.stages[i]
        assert np.max(np.abs(on_axis(i, z)[0])) < 1.0


def test_intervals_grow_and_the_largest_are_0_317_s_squared() -> None:
    assert np.all(np.diff(rock4.lengths) > 0.0)
    assert rock4.stages[0] == 5
    assert rock4.stages[-1] >= 300
    assert rock4.lengths[-1] / rock4.stages[-1] ** 2 > 0.317


def test_the_table_is_what_its_generator_computes() -> None:
    fresh = rock4_table.table(rock4_table.methods([18, 20, 21]))
    for k, s in enumerate((18, 20, 21)):
        i = row(s)
        for name in ("matrix", "nodes", "error", "lengths"):
            # c₂ and c₃ are found to 1e-7, and some row of the tableau is a hundred times more sensitive.
            np.testing.assert_allclose(getattr(rock4.TABLE, name)[i], fresh[name][k], atol=1e-5, rtol=1e-9)
    begin = fresh["start"][1]
    np.testing.assert_allclose(pieces(row(20))[0], fresh["mu"][begin : begin + 16], rtol=1e-9)
    np.testing.assert_allclose(pieces(row(20))[1], fresh["kappa"][begin : begin + 16], rtol=1e-9)


def test_a_linear_step_multiplies_by_the_polynomial_of_the_definition() -> None:
    _, chain = rock4_table.solve_chain(20, np.array(rock4_table.UNKNOWNS), rock4_table.DAMPING)
    assert np.max(np.abs(chain.residual)) < 1e-10
    z = -chain.length * np.linspace(0.0, 1.0, 301)
    defined = rock4_table.stability(chain.mu, chain.kappa, chain.factor, z)[0]
    field = lambda t, y: z * y  # noqa: E731
    y1, *_ = rock4.step(field, 0.0, jnp.ones(301), 1.0, jnp.asarray(z), row(20))
    # Newton's last change is below 1e-8, its square decides.
    np.testing.assert_allclose(y1, defined, atol=1e-10)


def test_the_error_estimate_of_a_decaying_mode_is_smaller_than_the_mode_for_every_s() -> None:
    for i in ALL:
        z = -rock4.lengths[i] * np.sin(np.linspace(0.0, np.pi / 2, 40 * rock4.stages[i])) ** 2
        assert np.max(np.abs(on_axis(i, z)[1])) < 1.0


def test_the_error_estimate_begins_with_z_to_the_fourth_for_every_s() -> None:
    for i in ALL:
        error = taylor(i)[1]
        assert np.max(np.abs(error[:4])) < RECURRENCE
        assert error[4] == pytest.approx(rock4_table.SCALE / 24.0, rel=1e-8)


def tableau(i: int) -> tuple[np.ndarray, np.ndarray]:
    """The method as one explicit Butcher tableau: rows of A for the s stages, and b."""
    s = int(rock4.stages[i])
    mu, kappa = pieces(i)
    rows = [np.zeros(s)]
    for j in range(s - 4):
        before = rows[j - 1] if j else rows[0]
        rows.append(mu[j] * np.eye(s)[j] + (1.0 + kappa[j]) * rows[j] - kappa[j] * before)
    base = rows[-1]
    for r in range(1, 5):
        rows.append(base + np.concatenate([np.zeros(s - 4), rock4.TABLE.matrix[i, r]]))
    return np.stack(rows[:s]), rows[s]


@pytest.mark.parametrize("s", [5, 6, 9, 31])
def test_the_composed_method_satisfies_the_eight_order_conditions(s: int) -> None:
    a, b = tableau(row(s))
    c = a.sum(axis=1)
    found = [b.sum(), b @ c, b @ c**2, b @ a @ c, b @ c**3, b @ (c * (a @ c)), b @ a @ c**2, b @ a @ a @ c]
    wanted = [1, 1 / 2, 1 / 3, 1 / 6, 1 / 4, 1 / 8, 1 / 12, 1 / 24]
    np.testing.assert_allclose(found, wanted, atol=RECURRENCE)


@jax.jit
def curved(t: jax.Array, y: jax.Array) -> jax.Array:
    """Nonlinear, non-autonomous, no symmetry."""
    return jnp.stack(
        [-y[0] * y[1] + jnp.cos(t), y[0] ** 2 - y[1] * jnp.exp(-t), jnp.sin(y[0] + 2.0 * t) - y[2] ** 2]
    )


@jax.jit
def diffusion(t: jax.Array, y: jax.Array) -> jax.Array:
    """Stiff: ρ = 1600, with a cubic term and a source that moves, zero at the ends as y is there."""
    padded = jnp.pad(y, 1)
    second = padded[2:] - 2.0 * y + padded[:-2]
    return 400.0 * second - y**3 + jnp.cos(3.0 * t) * GRID_SINE


@functools.partial(jax.jit, static_argnames="field")
def march(field, y, h, count, i):
    def one(_, carry):
        t, y, slope, total = carry
        y1, error, slope, _ = rock4.step(field, t, y, h, slope, i)
        return t + h, y1, slope, total + jnp.linalg.norm(error)

    begun = (jnp.zeros(()), y, field(jnp.zeros(()), y), jnp.zeros(()))
    return jax.lax.fori_loop(0, count, one, begun)


@pytest.mark.parametrize("s", [5, 7, 20, 50])
def test_the_order_of_convergence_is_four_and_of_the_estimate_in_sum_three(s: int) -> None:
    start, i = jnp.array([1.0, 0.5, 0.2]), row(s)
    counts = (20, 40)
    reference = march(curved, start, 1.0 / 800, 800, row(7))[1]
    ends = [march(curved, start, 1.0 / n, n, i) for n in counts]
    errors = [float(jnp.linalg.norm(end[1] - reference)) for end in ends]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.15)
    assert np.log2(ends[0][3] / ends[1][3]) == pytest.approx(3.0, abs=0.15)


def test_the_order_is_four_on_a_stiff_problem() -> None:
    start, counts, i = jnp.asarray(GRID_SINE), (32, 64), row(20)
    assert 20.0 < 1600.0 * 0.5 / counts[0] < rock4.lengths[i]
    reference = march(diffusion, start, 0.5 / 800, 800, row(7))[1]
    errors = [float(jnp.linalg.norm(march(diffusion, start, 0.5 / n, n, i)[1] - reference)) for n in counts]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.15)


def test_cubic_sources_are_integrated_exactly_by_every_method_on_any_pytree() -> None:
    def field(t, y):
        return {"a": jnp.broadcast_to(1.0 + t + t**2 + t**3, (2,)), "b": (-2.0 * t**3,)}

    def one(i):
        y = {"a": jnp.zeros(2), "b": (jnp.ones(()),)}
        return rock4.step(field, 0.5, y, 1.0, field(jnp.asarray(0.5), y), i)

    y1, _, slope, spent = jax.jit(jax.vmap(one))(jnp.arange(len(rock4.stages)))
    primitive = np.polynomial.Polynomial([0.0, 1.0, 1 / 2, 1 / 3, 1 / 4])
    np.testing.assert_allclose(y1["a"], primitive(1.5) - primitive(0.5), rtol=RECURRENCE)
    np.testing.assert_allclose(y1["b"][0], 1.0 - (1.5**4 - 0.5**4) / 2, rtol=RECURRENCE)
    np.testing.assert_allclose(slope["b"][0], -2.0 * 1.5**3)
    assert np.all(np.asarray(spent) == rock4.stages)


@pytest.mark.parametrize("s", [5, 6, 12])
def test_the_count_of_evaluations_is_exact(s: int) -> None:
    def counting(t, y):
        jax.debug.callback(calls.append, t)
        return -y

    calls: list[float] = []
    *_, spent = rock4.step(counting, 0.0, jnp.ones(1), 0.1, -jnp.ones(1), row(s))
    jax.effects_barrier()
    assert len(calls) == int(spent) == s
    assert max(calls) <= 0.1 + 1e-15
    assert max(calls) == pytest.approx(0.1)


def test_a_linear_net_follows_its_exact_solution() -> None:
    data = linear_regression(jax.random.key(3), N=40, d=6, C=2, noise=0.2)
    problem = Problem(Dense((6, 2), "identity"), gradlab.Square("mean"), data)
    x, y = np.asarray(data.inputs), np.asarray(data.targets)
    hessian = 2 * x.T @ x / len(x)
    equilibrium = np.linalg.solve(hessian, 2 * x.T @ y / len(x)).T
    start = np.asarray(jax.random.normal(jax.random.key(9), (2, 6)))
    rates, time, count = np.linalg.eigvalsh(hessian), 30.0, 60
    h = time / count
    i = int(rock4.index(h * rates[-1], 1e-6))
    rhs = lambda t, w: -problem.gradient((w,))[0]  # noqa: E731
    w = march(rhs, jnp.asarray(start), h, count, i)[1]
    exact = equilibrium + (start - equilibrium) @ scipy.linalg.expm(-time * hessian)
    # In the eigenvectors the method multiplies by R(−hλ)ⁿ where the flow multiplies by exp(−n h λ).
    worst = np.max(np.abs(on_axis(i, -h * rates)[0] ** count - np.exp(-time * rates)))
    bound = worst * np.linalg.norm(start - equilibrium) + count * 1.1e-16 * rock4.lengths[i] ** 4
    assert 0.0 < np.linalg.norm(np.asarray(w) - exact) <= bound
    assert bound < 1e-4


def test_round_off_is_capped_at_its_share_of_the_tolerance() -> None:
    for tolerance in (1e-2, 1e-4, 1e-6, 1e-8):
        last = int(rock4.index(1e9, tolerance))
        noise = rock4.lengths**4 / rock4.GROWTH * rock4.ROUNDING
        assert noise[last] <= 0.02 * tolerance < noise[last + 1]
        assert float(rock4.limit(tolerance)) == rock4.lengths[last]
        for z in (0.0, 5.0, 100.0, float(rock4.limit(tolerance))):
            chosen = int(rock4.index(z, tolerance))
            assert chosen == min(np.searchsorted(rock4.lengths, z), last)
    # Where even five stages are too many the method is the smallest there is.
    assert int(rock4.index(100.0, 0.0)) == 0


def test_the_last_four_stages_amplify_by_less_than_the_cap_assumes() -> None:
    for i in ALL[1:]:
        slopes: list[float] = []
        z = -rock4.lengths[i]
        for j in range(4):
            slopes.append(
                z * (1.0 + sum(a * f for a, f in zip(rock4.TABLE.matrix[i, j], slopes, strict=False)))
            )
        growth = 1.0 + rock4.TABLE.matrix[i, 4] @ np.array(slopes)
        assert rock4.lengths[i] ** 4 / 130.0 < growth < rock4.lengths[i] ** 4 / rock4.GROWTH


def test_measured_round_off_is_of_the_size_that_the_cap_assumes() -> None:
    # A diagonal field hides it: there every error is relative to a component that has died out.
    rng = np.random.default_rng(0)
    size, i = 60, row(40)
    turn = np.linalg.qr(rng.standard_normal((size, size)))[0]
    rates = -rock4.lengths[i] * np.linspace(0.0, 1.0, size)
    matrix, centre = jnp.asarray((turn * rates) @ turn.T), jnp.asarray(rng.standard_normal(size))
    field = lambda t, y: matrix @ (y - centre)  # noqa: E731
    slow = np.where(rates < -2.0, 0.0, 1.0)
    start = centre + turn @ slow
    y1, *_ = rock4.step(field, 0.0, start, 1.0, field(0.0, start), i)
    noise = np.linalg.norm(y1 - centre - turn @ (on_axis(i, rates)[0] * slow)) / np.linalg.norm(start)
    assumed = rock4.lengths[i] ** 4 / rock4.GROWTH * rock4.ROUNDING
    assert 0.01 * assumed < noise < 10.0 * assumed
