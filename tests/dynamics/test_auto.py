"""``solver="auto"``: what it changes to and when, that it says so, and that a resumed run makes the same choices."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import gradlab
from gradlab import Dense, Gaussian, GradientFlow, Problem
from gradlab.dynamics.charts import NormalisedFlow
from gradlab.dynamics.clocks import Clock, LogTime, Time
from gradlab.dynamics.solvers.auto import CHANGES, LIMITS, Auto, Journal, _wish, foreseen, remaining
from gradlab.dynamics.solvers.methods import METHODS
from gradlab.dynamics.solvers.policy import Policy
from gradlab.dynamics.state import start

POLICY = Policy()
ENTER, NEAR, LEAVE = (float(part) for part in (POLICY.enter, POLICY.near, POLICY.leave))
CHANGE, HIGHER = float(POLICY.change), float(POLICY.gain_higher) / NEAR
DENSE, BESIDE, TIGHT = (int(size) for size in (POLICY.dense, POLICY.dense_beside, POLICY.dense_tight))


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_the_stability_limits_are_those_of_the_tableaux(name: str) -> None:
    tableau = METHODS[name]().tableau
    a = np.zeros((tableau.num_stages, tableau.num_stages))
    for i, row in enumerate(tableau.a_lower):
        a[i + 1, : i + 1] = row

    def growth(z: float) -> float:
        return abs(
            1.0 + z * np.asarray(tableau.b_sol) @ np.linalg.solve(np.eye(len(a)) - z * a, np.ones(len(a)))
        )

    inside = [growth(-z) for z in np.linspace(0.0, LIMITS[name], 200)]
    assert max(inside) <= 1.0 + 1e-9
    assert growth(-1.02 * LIMITS[name]) > 1.0


def linear(scale: float) -> tuple[Problem, tuple]:
    keys = jax.random.split(jax.random.key(2), 3)
    inputs = scale * jax.random.normal(keys[0], (30, 4))
    data = gradlab.Data(inputs, inputs @ jax.random.normal(keys[1], (4, 3)) / scale)
    problem = Problem(Dense((4, 5, 3), "identity"), gradlab.Square("mean"), data)
    return problem, problem.network.init(keys[2], Gaussian(0.4))


def test_a_flow_that_is_not_stiff_stays_explicit_and_a_stiff_one_changes_over() -> None:
    solver = Auto(1e-5, 1e-8, explicit="tsit5", stiff="mrkc3")
    mild, steep = linear(0.5), linear(6.0)
    short = gradlab.run(GradientFlow(mild[0]), mild[1], [1.0], solver=solver, refine=False, observables=())
    assert int(short["changes"]) == 0
    assert json.loads(short.attrs["provenance"])["solver_used"] == "tsit5"
    long = gradlab.run(
        GradientFlow(steep[0]), steep[1], [0.5, 30.0], solver=solver, refine=False, observables=()
    )
    assert int(long["changes"]) >= 1
    assert bool(long["stiff"][-1])
    assert float(long["change_stiffness"][0]) > NEAR * LIMITS["tsit5"]
    used = json.loads(long.attrs["provenance"])["solver_used"]
    assert used.startswith("tsit5; from ")
    assert "mrkc3 (h ρ = " in used
    assert "the stability limit of tsit5 is 3.5" in used
    reference = gradlab.run(
        GradientFlow(steep[0]), steep[1], [30.0], solver=gradlab.Adaptive("tsit5", 1e-10), refine=False,
        observables=(),
    )  # fmt: skip
    gap = np.linalg.norm(long["final_weights"].values - reference["final_weights"].values)
    assert gap < 1e-4 * np.linalg.norm(reference["final_weights"].values)
    assert int(long["evaluations"][-1]) < 0.5 * int(reference["evaluations"][-1])


def test_the_wish_follows_the_stiffness_with_hysteresis_and_stops_after_as_many_changes() -> None:
    problem, weights = linear(1.0)
    solver = Auto(1e-5, 1e-8, explicit="tsit5", stiff="mrkc3")
    state = start(GradientFlow(problem), solver, weights)
    limit = LIMITS["tsit5"]
    begun = replace(state.memory, clock=jnp.ones(()), step=jnp.ones(()))

    def at(memory: Journal, stiffness: float, changed: bool, end: float = 1e4) -> Journal:
        spectrum = replace(memory.spectrum, radius=jnp.asarray(stiffness))
        now = Auto(1e-5, 1e-8, explicit="tsit5", stiff="mrkc3", changed=changed)
        here = replace(state, tau=jnp.asarray(2.0), h=jnp.ones(()))
        return _wish(replace(memory, spectrum=spectrum), now, here, jnp.asarray(end))

    stiff, between = 1.01 * ENTER * limit, 0.5 * (NEAR + LEAVE) * limit
    assert not bool(at(begun, between, False).wish)
    # Near the limit only where much remains: more for a pair of higher order than the stiff method's.
    near = 1.01 * NEAR * limit
    assert not bool(at(begun, near, False, end=2.0 + 0.5 * HIGHER * CHANGE / 6.0).wish)
    assert bool(at(begun, near, False, end=2.0 + 2.0 * HIGHER * CHANGE / 6.0).wish)
    # Not before two calls were seen, nor where little remains.
    assert not bool(at(state.memory, stiff, False).wish)
    assert not bool(at(begun, stiff, False, end=3.0).wish)
    memory = at(begun, stiff, False)
    assert bool(memory.wish)
    assert bool(at(memory, between, True).wish)
    for i in range(2 * CHANGES):
        memory = at(memory, 0.9 * LEAVE * limit if i % 2 == 0 else stiff, i % 2 == 0)
    assert int(memory.changes) == CHANGES


@pytest.mark.parametrize("power", [-2.0, 0.0, 0.5, 1.0])
def test_the_steps_that_remain_are_the_integral_of_the_inverse_step(power: float) -> None:
    problem, weights = linear(1.0)
    solver = Auto(1e-5, 1e-8, explicit="tsit5", stiff="mrkc3")
    state = start(GradientFlow(problem), solver, weights)
    step = lambda tau: 0.01 * tau**power  # noqa: E731
    memory = replace(state.memory, clock=jnp.asarray(2.0), step=jnp.asarray(step(2.0)))
    here = replace(state, tau=jnp.asarray(5.0), h=jnp.asarray(step(5.0)))
    exact, _ = scipy.integrate.quad(lambda tau: 1.0 / step(tau), 5.0, 80.0)
    assert float(remaining(memory, POLICY.steepest, here, jnp.asarray(80.0))) == pytest.approx(
        exact, rel=1e-4
    )


def test_the_two_methods_follow_from_tolerance_size_and_symmetry() -> None:
    def names(tolerance, size, symmetric=True, ensemble=False):
        auto = Auto(tolerance).resolve(size, symmetric, ensemble)
        return auto.explicit, auto.stiff

    assert names(1e-9, TIGHT) == ("dopri8", "bdf")
    assert names(1e-9, TIGHT + 1) == ("dopri8", "mrkc5")
    assert names(1e-5, BESIDE) == ("tsit5", "bdf")
    assert names(1e-5, BESIDE + 1) == ("tsit5", "mrkc3")
    assert names(1e-4, 10**5) == ("tsit5", "mrkc3")
    assert names(1e-3, 10**5) == ("tsit5", "mrkc3")
    assert names(1e-2, 10**5) == ("bosh3", "mrkc3")
    assert names(1e-5, DENSE, symmetric=False) == ("tsit5", "bdf")
    assert names(1e-9, DENSE + 1, symmetric=False) == ("dopri8", "")
    assert names(1e-5, 50, ensemble=True) == ("tsit5", "mrkc3")


def test_a_small_stiff_flow_whose_curvature_stays_begins_on_bdf() -> None:
    problem, weights = linear(6.0)
    run = gradlab.run(
        GradientFlow(problem), weights, [0.0, 30.0], solver=Auto(1e-4), refine=False, observables=()
    )
    assert run["change_stiff"][0]
    assert float(run["change_clock"][0]) == 0.0
    explicit = gradlab.run(
        GradientFlow(problem),
        weights,
        [30.0],
        solver=gradlab.Adaptive("bosh3", 1e-4),
        refine=False,
        observables=(),
    )
    assert int(run["evaluations"][-1]) < 0.2 * int(explicit["evaluations"][-1])
    # Not where little time remains, nor where the loss takes its curvature along.
    short = gradlab.run(
        GradientFlow(problem), weights, [0.01], solver=Auto(1e-4), refine=False, observables=()
    )
    assert int(short["changes"]) == 0


def test_nothing_is_measured_while_the_step_still_grows() -> None:
    data = gradlab.Data(jnp.asarray([[1.0, 0.3], [0.5, 1.0]]), jnp.asarray([1.0, 1.0]))
    problem = Problem(Dense((2, 1), "identity"), gradlab.Exponential("mean"), data)
    weights = (jnp.asarray([[0.1, -0.2]]),)
    run = gradlab.run(GradientFlow(problem), weights, [1e5], solver=Auto(1e-4), refine=False, observables=())
    alone = gradlab.run(
        GradientFlow(problem),
        weights,
        [1e5],
        solver=gradlab.Adaptive("tsit5", 1e-5),
        refine=False,
        observables=(),
    )
    assert np.isnan(run["stiffness"][-1])
    assert int(run["changes"]) == 0
    # One evaluation where a call takes up the slope.
    assert int(run["evaluations"][-1]) < 1.1 * int(alone["evaluations"][-1])


@pytest.mark.parametrize("name", ["tsit5", "mrkc3"])
def test_the_explicit_pair_works_to_a_tenth_of_the_tolerance_down_to_a_millionth(name: str) -> None:
    tolerances = np.geomspace(1e-2, 1e-9, 50)
    shares = [float(Auto(x, 1e-3 * x, "tsit5", "mrkc3")._adaptive(name).tolerance) for x in tolerances]
    floors = [float(Auto(x, 1e-3 * x, "tsit5", "mrkc3")._adaptive(name).absolute) for x in tolerances]
    wanted = tolerances if name == "mrkc3" else np.minimum(tolerances, np.maximum(0.1 * tolerances, 1e-6))
    np.testing.assert_allclose(shares, wanted, rtol=1e-12)
    np.testing.assert_allclose(floors, 1e-3 * wanted, rtol=1e-12)
    assert np.all(np.diff(shares) <= 0.0)


def test_an_unsymmetric_large_flow_stays_explicit() -> None:
    problem, weights = linear(1.0)
    run = gradlab.run(
        NormalisedFlow(problem), weights, [0.5], solver=Auto(1e-6, 1e-9, explicit="tsit5", stiff=""), refine=False,
        observables=(),
    )  # fmt: skip
    assert int(run["changes"]) == 0
    assert float(run["stiffness"][-1]) > 0.0


def test_a_radius_that_grows_in_log_loss_time_is_seen_and_the_run_costs_as_much_as_on_bdf() -> None:
    data = gradlab.data.separable(jax.random.key(0), N=20, d=3, margin=0.5)
    problem = Problem(Dense((3, 4, 1), "identity"), gradlab.Exponential("sum"), data)
    weights = problem.network.init(jax.random.key(1), Gaussian(0.3))

    def cost(solver: str) -> int:
        run = gradlab.run(
            GradientFlow(problem), weights, [8.0], clock=gradlab.LogLoss(), solver=solver, refine=False,
            observables=(),
        )  # fmt: skip
        return int(run["evaluations"][-1]) + 2 * problem.size * int(run["jacobians"][-1])

    assert cost("auto") < 1.5 * cost("bdf")


@pytest.mark.parametrize(("clock", "reached"), [(Time(), 100.0), (LogTime(), np.expm1(5.0))])
def test_curvature_that_stays_is_foreseen_in_physical_time(clock: Clock, reached: float) -> None:
    problem, weights = linear(1.0)
    solver = Auto(1e-9).suits(GradientFlow(problem), clock)
    state, end = start(GradientFlow(problem), solver, weights), jnp.asarray(clock.at(np.log1p(reached)))
    got = float(foreseen(clock, solver, state, end, 3.0))
    assert got == pytest.approx(13 * 3.0 * reached / LIMITS["dopri8"], rel=1e-9)


def test_a_run_of_many_records_is_foreseen_to_its_last() -> None:
    problem, weights = linear(6.0)
    records = np.linspace(0.1, 30.0, 40)
    run = gradlab.run(
        GradientFlow(problem), weights, records, solver=Auto(1e-4), refine=False, observables=()
    )
    assert run["change_stiff"][0]
    assert float(run["change_clock"][0]) == 0.0
