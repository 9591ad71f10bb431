"""RKC2 and RKC3: stability polynomials, orders, the running spectral radius, and the work they are counted for."""

from __future__ import annotations

import itertools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
from gradlab import Dense, Gaussian, GradientFlow, Problem
from gradlab.dynamics import tree
from gradlab.dynamics.charts import NormalisedFlow
from gradlab.dynamics.clocks import LogNorm
from gradlab.dynamics.solvers import rkc
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.solvers.multistep import MRKC3, MRKC5
from gradlab.dynamics.solvers.rkc import RKC2, RKC3
from gradlab.dynamics.solvers.stabilised import (
    COLD,
    EVERY,
    MARGIN,
    STRIP,
    WARM,
    Spectrum,
    refresh,
    unknown,
)


def polynomial(z: np.ndarray, stages: int, damping: float) -> np.ndarray:
    """R(z) = 1 − b T_s(w₀) + b T_s(w₀ + w₁ z), from NumPy's Chebyshev series alone."""
    cheb = np.polynomial.chebyshev.Chebyshev.basis(stages)
    w0 = 1.0 + damping / stages**2
    first, second = cheb.deriv(1)(w0), cheb.deriv(2)(w0)
    b = second / first**2
    return 1.0 - b * cheb(w0) + b * cheb(w0 + first / second * z)


@pytest.mark.parametrize("stages", [2, 3, 5, 12, 40])
def test_a_step_of_rkc2_on_a_linear_equation_is_its_stability_polynomial(stages: int) -> None:
    z = -np.linspace(0.0, float(rkc.length(stages)), 401)
    field = lambda t, y: jnp.asarray(z) * y  # noqa: E731
    one = jnp.ones(z.shape)
    after = rkc.rkc2(field, 0.0, one, 1.0, field(0.0, one), jnp.asarray(stages))
    expected = polynomial(z, stages, rkc.DAMPING)
    np.testing.assert_allclose(after, expected, atol=1e-12 * stages**2)
    assert np.all(np.abs(expected) <= 1.0)
    # Second order at the origin: R = 1 + z + z²/2 + O(z³).
    small = -1e-3
    assert abs(polynomial(small, stages, rkc.DAMPING) - np.exp(small)) < 2e-10


def test_the_interval_of_s_stages_is_not_overstated() -> None:
    for damping in (rkc.DAMPING, rkc.EXTRAPOLATED):
        for stages in (2, 3, 7, 30, 100):
            w0, w1, _ = rkc.chebyshev_values(jnp.asarray(stages), damping)
            assert float(rkc.length(stages, damping)) <= float((w0 + 1.0) / w1)
    z = np.geomspace(0.1, 1e7, 200)
    stages = np.asarray(jax.vmap(rkc.enough)(jnp.asarray(z)))
    assert np.all(np.asarray(rkc.length(stages)) >= z)
    assert np.all((stages == 2) | (np.asarray(rkc.length(stages - 1)) < z))


def test_the_extrapolated_polynomial_is_bounded_where_the_undamped_one_is_not() -> None:
    worst = {}
    for damping in (rkc.DAMPING, rkc.EXTRAPOLATED):
        largest = 0.0
        for stages in range(4, 60, 5):
            beta = float(rkc.length(stages, damping))
            z = -np.linspace(1.0, beta, 4001)
            half, whole = polynomial(z / 2, stages, damping), polynomial(z, stages, damping)
            both = (4.0 * half**2 - whole) / 3.0
            largest = max(largest, float(np.max(np.abs(both))))
        worst[damping] = largest
    assert worst[rkc.EXTRAPOLATED] < 0.95
    assert worst[rkc.DAMPING] > 1.0


def test_a_leading_pair_as_far_off_the_axis_as_is_let_pass_is_stable() -> None:
    for stages in (4, 5, 8, 20, 60):
        for damping, three_legs in ((rkc.DAMPING, False), (rkc.EXTRAPOLATED, True)):
            z = (
                -float(rkc.length(stages, damping)) * np.linspace(0.5, 1.0 / MARGIN, 400)
                + 1j * STRIP * stages
            )
            value = polynomial(z, stages, damping)
            both = (4.0 * polynomial(z / 2, stages, damping) ** 2 - value) / 3.0
            assert np.max(np.abs(both if three_legs else value)) < 1.0
            # Not much further: five times as far is not.
            far = polynomial(z.real + 5.0 * z.imag * 1j, stages, damping)
            assert np.max(np.abs(far)) > 1.0


def pendulum(t: jax.Array, y: jax.Array) -> jax.Array:
    """Nonlinear and non-autonomous, smooth."""
    return jnp.stack([-(y[0] ** 3) + jnp.cos(t), jnp.sin(y[0]) - y[1]])


@pytest.mark.parametrize(("method", "order"), [(RKC2(), 2), (RKC3(), 3)])
@pytest.mark.parametrize("z", [1.0, 300.0])
def test_the_order_of_convergence(method, order: int, z: float) -> None:
    start = jnp.asarray([1.0, 0.5])

    @jax.jit
    def solve(count: int) -> jax.Array:
        h = 2.0 / count

        def step(i, carry):
            y, slope = carry
            y, _, slope, _ = method.stretch(pendulum, i * h, y, h, slope, jnp.asarray(z))
            return y, slope

        return jax.lax.fori_loop(0, count, step, (start, pendulum(0.0, start)))[0]

    exact = solve(20000) if order == 2 else solve(4000)
    errors = [float(jnp.linalg.norm(solve(n) - exact)) for n in (40, 80, 160)]
    rates = np.log2(np.asarray(errors[:-1]) / np.asarray(errors[1:]))
    assert np.all(np.abs(rates - order) < 0.15), rates


@pytest.mark.parametrize("method", [RKC2(), RKC3(), MRKC3(), MRKC5()])
def test_evaluations_are_counted_as_they_are_made(method) -> None:
    calls = []

    def field(t, y, args):
        jax.debug.callback(lambda: calls.append(1))
        return -jnp.asarray([1.0, 30.0, 900.0]) * y

    term, y, state = diffrax.ODETerm(field), jnp.ones(3), None
    state = method.init(term, 0.0, 1.0, y, None)
    for i in range(3):
        y, *_, state, _ = method.step(term, 0.1 * i, 0.1 * (i + 1), y, None, state, made_jump=False)
    jax.effects_barrier()
    # A Hessian-vector product evaluates the field once here and counts as two evaluations.
    assert len(calls) == int(state.evaluations) - COLD
    assert float(state.spectrum.radius) == pytest.approx(900.0, rel=1e-3)


def test_the_spectral_radius_is_that_of_the_hessian_and_refreshed_as_stated(small) -> None:
    problem, weights = small
    field = lambda w: tree.scale(-1.0, problem.gradient(w))  # noqa: E731
    exact = float(np.max(np.abs(np.linalg.eigvalsh(problem.hessian(weights)))))
    spectrum, spent = unknown(weights), []
    step = jax.jit(lambda s: refresh(field, weights, s))
    for _ in range(4 * EVERY):
        spectrum, count = step(spectrum)
        spent.append(int(count))
    assert spent[0] == COLD
    assert sorted(set(spent[1:])) == [0, WARM]
    assert spent[EVERY] == WARM
    assert exact * 0.97 < float(spectrum.radius) <= exact * (1 + 1e-12)


def test_an_eigenvalue_that_overtakes_the_kept_one_is_found_by_the_seed() -> None:
    rates = jnp.asarray([61.0, 70.0, 3.0, 1.0])
    kept = Spectrum(jnp.asarray([1.0, 0.0, 0.0, 0.0]), jnp.asarray(61.0), jnp.asarray(EVERY))

    def field(y):
        return -rates * y

    alone, _ = refresh(field, jnp.zeros(4), kept)
    # The residual of an eigenvector is zero: powers never leave it.
    assert float(alone.radius) == pytest.approx(61.0)
    seeded, count = refresh(field, jnp.zeros(4), kept, seed=jnp.asarray([0.5, 1.0, 0.1, 0.3]))
    assert count == WARM
    assert 65.0 < float(seeded.radius) <= 70.0
    unseeded, _ = refresh(field, jnp.zeros(4), kept, seed=jnp.zeros(4))
    assert float(unseeded.radius) == pytest.approx(61.0)


def test_an_overtaken_eigenvalue_costs_few_steps() -> None:
    def steps(constant: float) -> int:
        # The second rate exceeds 60 from t = 15 on, 29 always.
        def field(t, y, args):
            return -jnp.stack([constant + 0.0 * t, 30.0 + 2.0 * t, 0.1]) * (y - jnp.sin(0.2 * t))

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field), MRKC3(), 0.0, 60.0, None, jnp.ones(3), max_steps=4000,
            stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-6, pcoeff=0.1, icoeff=0.3, factormax=1.2),
        )  # fmt: skip
        return int(solution.stats["num_steps"])

    # Powers of the kept vector alone take 1.9 times as many.
    assert steps(60.0) < 1.4 * steps(29.0)


@pytest.fixture(scope="module")
def small():
    keys = jax.random.split(jax.random.key(4), 3)
    inputs = 3.0 * jax.random.normal(keys[0], (40, 4))
    data = gradlab.Data(inputs, inputs @ jax.random.normal(keys[1], (4, 3)) / 6.0)
    problem = Problem(Dense((4, 5, 5, 3), "identity"), gradlab.Square("mean"), data)
    return problem, problem.network.init(keys[2], Gaussian(0.4))


@pytest.mark.parametrize("method", [RKC2(), RKC3()])
def test_the_methods_stand_alone_under_diffrax(small, method) -> None:
    problem, weights = small
    field = diffrax.ODETerm(lambda t, w, args: tree.scale(-1.0, problem.gradient(w)))
    times = jnp.asarray([0.0, 1.0, 7.0, 30.0])

    def solve(solver, tolerance):
        return diffrax.diffeqsolve(
            field,
            solver,
            0.0,
            30.0,
            None,
            weights,
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance, pcoeff=0.1, icoeff=0.3),
            max_steps=None,
        )

    ours, reference = solve(method, 1e-6), solve(diffrax.Dopri8(), 1e-11)
    gap = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(ours.ys, reference.ys, strict=True))
    assert gap < 1e-4
    # Stability alone would hold a two-stage method to steps below 2/ρ.
    assert int(ours.stats["num_steps"]) < 30.0 * 0.5 * float(
        np.max(np.linalg.eigvalsh(problem.hessian(weights)))
    )


def balances(weights):
    """W_{k+1}ᵀ W_{k+1} − W_k W_kᵀ."""
    return [b.T @ b - a @ a.T for a, b in itertools.pairwise(weights)]


@pytest.mark.parametrize("name", ["rkc2", "rkc3", "mrkc3", "mrkc5"])
def test_conserved_quantities_drift_no_more_than_the_tolerance(small, name: str) -> None:
    problem, weights = small
    tolerance = 1e-7
    run = gradlab.run(
        GradientFlow(problem), weights, [5.0, 50.0], solver=Adaptive(name, tolerance), refine=False,
        observables=(),
    )  # fmt: skip
    final = problem.unravel(run["final_weights"].values)
    # Each step may err by the tolerance times the norm, twice in a square.
    allowed = 2.0 * int(run["step"][-1]) * tolerance * float(np.linalg.norm(run["final_weights"])) ** 2
    for before, after in zip(balances(weights), balances(final), strict=True):
        assert float(jnp.linalg.norm(after - before)) < allowed


def test_the_cost_grows_like_the_square_root_of_time() -> None:
    data = gradlab.Data(jnp.diag(jnp.asarray([1.0, 2.0, 6.0])), jnp.ones((3, 1)))
    problem = Problem(Dense((3, 1), "identity"), gradlab.Square("sum"), data)
    start = problem.network.init(jax.random.key(0), Gaussian(1.0))
    run = gradlab.run(
        GradientFlow(problem), start, [1e3, 1e4, 1e5, 1e6], solver=Adaptive("rkc2", 1e-5, 1e-8), refine=False,
        observables=("loss",),
    )  # fmt: skip
    work = run["evaluations"].values[1:].astype(float)
    exponents = np.diff(np.log(work)) / np.log(10.0)
    assert np.all(exponents < 0.6), exponents
    assert exponents[-1] > 0.35
    assert float(run["loss"][-1]) < 1e-8


def test_fields_without_a_symmetric_jacobian_are_refused(small) -> None:
    problem, weights = small
    with pytest.raises(ValueError, match="NormalisedFlow is not symmetric: use solver='bdf'"):
        gradlab.run(NormalisedFlow(problem), weights, [1.0], solver="rkc2")
    with pytest.raises(ValueError, match="LogNorm makes the Jacobian unsymmetric: use the clock Time"):
        gradlab.run(GradientFlow(problem), weights, [1.0], clock=LogNorm(), solver="rkc3")
