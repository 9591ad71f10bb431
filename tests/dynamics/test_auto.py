"""``solver="auto"``: what it changes to and when, that it says so, and that a resumed run makes the same choices."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
from gradlab import Dense, Gaussian, GradientFlow, Problem
from gradlab.dynamics.charts import NormalisedFlow
from gradlab.dynamics.solvers.auto import CHANGES, DENSE, ENTER, LEAVE, LIMITS, Auto, Journal, _wish
from gradlab.dynamics.solvers.methods import METHODS
from gradlab.dynamics.state import start


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
    data = gradlab.Data.make(inputs, inputs @ jax.random.normal(keys[1], (4, 3)) / scale)
    problem = Problem.make(Dense((4, 5, 3), "identity"), gradlab.Square("mean"), data)
    return problem, problem.network.init(keys[2], Gaussian(0.4))


def test_a_flow_that_is_not_stiff_stays_explicit_and_a_stiff_one_changes_over() -> None:
    solver = Auto(1e-5, 1e-8, explicit="tsit5", stiff="rkc2")
    mild, steep = linear(0.5), linear(6.0)
    short = gradlab.run(GradientFlow(mild[0]), mild[1], [1.0], solver=solver, refine=False, observables=())
    assert int(short["changes"]) == 0
    assert json.loads(short.attrs["provenance"])["solver_used"] == "tsit5"
    long = gradlab.run(
        GradientFlow(steep[0]), steep[1], [0.5, 30.0], solver=solver, refine=False, observables=()
    )
    assert int(long["changes"]) >= 1
    assert bool(long["stiff"][-1])
    assert float(long["change_stiffness"][0]) > ENTER * LIMITS["tsit5"]
    used = json.loads(long.attrs["provenance"])["solver_used"]
    assert used.startswith("tsit5; from ")
    assert "rkc2 (h ρ = " in used
    assert "stability limited tsit5" in used
    reference = gradlab.run(
        GradientFlow(steep[0]), steep[1], [30.0], solver=gradlab.Adaptive("tsit5", 1e-10), refine=False,
        observables=(),
    )  # fmt: skip
    gap = np.linalg.norm(long["final_weights"].values - reference["final_weights"].values)
    assert gap < 1e-4 * np.linalg.norm(reference["final_weights"].values)
    assert int(long["evaluations"][-1]) < 0.5 * int(reference["evaluations"][-1])


def journal(problem: Problem, weights: tuple, solver: Auto) -> Journal:
    return start(GradientFlow(problem), solver, weights).memory


def test_the_wish_follows_the_stiffness_with_hysteresis_and_stops_after_as_many_changes() -> None:
    problem, weights = linear(1.0)
    solver = Auto(1e-5, 1e-8, explicit="tsit5", stiff="rkc2")
    state = start(GradientFlow(problem), solver, weights)
    limit = LIMITS["tsit5"]

    def at(memory: Journal, stiffness: float, changed: bool) -> Journal:
        spectrum = memory.spectrum.__class__(
            memory.spectrum.vector, jnp.asarray(stiffness), memory.spectrum.age
        )
        memory = Journal(spectrum, *(getattr(memory, n) for n in FIELDS[1:]))
        now = Auto(1e-5, 1e-8, explicit="tsit5", stiff="rkc2", changed=changed)
        return _wish(
            memory, now, state.__class__(*(jnp.ones(()) if n == "h" else getattr(state, n) for n in STATE))
        )

    memory = at(state.memory, 0.5 * (ENTER + LEAVE) * limit, False)
    assert not bool(memory.wish)
    memory = at(memory, 1.01 * ENTER * limit, False)
    assert bool(memory.wish)
    memory = at(memory, 0.5 * (ENTER + LEAVE) * limit, True)
    assert bool(memory.wish)
    for i in range(2 * CHANGES):
        memory = at(memory, (0.9 * LEAVE if i % 2 == 0 else 1.1 * ENTER) * limit, i % 2 == 0)
    assert int(memory.changes) == CHANGES


FIELDS = tuple(Journal.__dataclass_fields__)
STATE = ("tau", "y", "u", "h", "steps", "rejected", "evaluations", "jacobians", "status", "memory", "scratch")


def test_the_two_methods_follow_from_tolerance_size_and_symmetry() -> None:
    def names(tolerance, size, symmetric=True, ensemble=False):
        auto = Auto(tolerance).resolve(size, symmetric, ensemble)
        return auto.explicit, auto.stiff

    assert names(1e-9, DENSE) == ("dopri8", "bdf")
    assert names(1e-5, DENSE + 1) == ("tsit5", "rock4")
    assert names(1e-3, 10**5) == ("tsit5", "rkc2")
    assert names(1e-9, 10**5, symmetric=False) == ("dopri8", "")
    assert names(1e-5, 50, ensemble=True) == ("tsit5", "rock4")


def test_an_unsymmetric_large_flow_stays_explicit() -> None:
    problem, weights = linear(1.0)
    run = gradlab.run(
        NormalisedFlow(problem), weights, [0.5], solver=Auto(1e-6, 1e-9, explicit="tsit5", stiff=""), refine=False,
        observables=(),
    )  # fmt: skip
    assert int(run["changes"]) == 0
    assert float(run["stiffness"][-1]) > 0.0
