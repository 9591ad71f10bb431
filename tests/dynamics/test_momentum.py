"""Momentum: optax's bits, a step for every member, dropout anew at every iteration, killed and resumed."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
import pytest

import gradlab
from gradlab.dynamics.descent import Geometric, drawn_problem
from gradlab.dynamics.momentum import HeavyBall
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy
from gradlab.problem.networks import Dense, Pooled
from gradlab.problem.problem import Problem, stack
from gradlab.store.run import Identity, Run, environment

KEY = jax.random.key(3)


def pictures(network: Any) -> tuple[Problem, Any]:
    """Twelve random images of three classes, and a start."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(12, *network.input_shape)), random.integers(0, 3, 12)
    start = jax.tree.map(lambda one: 0.5 * random.standard_normal(one.shape), network.shapes())
    return Problem(network, CrossEntropy("mean"), Data(x, y)), start


def test_it_is_optaxs_heavy_ball_for_every_member_with_a_step_of_its_own() -> None:
    problem, start = pictures(Dense((4, 5, 3), "tanh"))
    steps, past = np.array([0.05, 0.2]), np.array([0.9, 0.5])
    keys = jax.random.split(KEY, 2)
    flow = HeavyBall(stack([problem] * 2), steps, past, 4, keys)
    weights = jax.tree.map(lambda one: np.stack([one, one]), start)
    seen = gradlab.run(flow, weights, [40.0], members=2, observables=())
    for i in (0, 1):
        single = gradlab.Optimiser(problem, optax.sgd(steps[i], momentum=past[i]), 4, keys[i], "epoch")
        other = gradlab.run(single, start, [40.0], observables=())
        np.testing.assert_allclose(seen["final_weights"].isel(member=i), other["final_weights"], rtol=1e-12)


def test_dropout_is_another_at_every_iteration_and_none_where_one_looks() -> None:
    network = Pooled((1, 4, 4), (2,), 3, 6, 3, dropout=0.5)
    problem, start = pictures(network)
    whole = np.asarray(problem.outputs(start))
    thinned = [np.asarray(drawn_problem(problem, KEY, k, None, "epoch").outputs(start)) for k in (0, 0, 1)]
    np.testing.assert_array_equal(thinned[0], thinned[1])
    assert np.abs(thinned[0] - thinned[2]).max() > 1e-3
    assert np.abs(thinned[0] - whole).max() > 1e-3
    # the last layer is linear in the units, which are right on the average
    mean = np.mean([problem.thinned(jax.random.key(k)).outputs(start) for k in range(400)], axis=0)
    assert np.abs(mean - whole).max() < 0.2 * np.abs(whole).max()


def test_a_run_killed_in_mid_training_goes_on_to_the_same_bits(tmp_path: Any, monkeypatch: Any) -> None:
    problem, start = pictures(Pooled((1, 4, 4), (2,), 3, 6, 3, dropout=0.5, redundant=True))
    flow = HeavyBall(problem, Geometric(0.05, 0.95, 3), 0.9, 4, KEY)
    records = [float(k) for k in range(3, 99, 3)]
    seeing: dict[str, Any] = {"keep": "all", "observables": ("risk",)}
    whole = gradlab.run(flow, start, records, **seeing)
    append, calls = Run.append, []

    def cut(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return append(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", cut)
        with Run.create(tmp_path, Identity(environment())) as store, pytest.raises(KeyboardInterrupt):
            gradlab.run(flow, start, records, store=store, **seeing)
    with Run.open(store.path, write=True) as store:
        assert 0 < store.segments < 16
        resumed = gradlab.run(flow, start, records, store=store, **seeing)
    for name in ("weights", "risk", "t", "final_weights"):
        np.testing.assert_array_equal(resumed[name].values, whole[name].values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"momentum": 1.0}, r"momentum is a number in \[0, 1\); 1\.0 was given"),
        ({"batch": 4}, "drawn by a key"),
        ({"step": gradlab.schedules.LossScaled(0.1)}, "momentum takes a number or a Schedule"),
    ],
)
def test_what_cannot_be_run_is_said(given: Any, message: str) -> None:
    problem, _ = pictures(Dense((4, 3)))
    with pytest.raises(ValueError, match=message):
        HeavyBall(problem, **({"step": 0.1} | given))


def test_dropout_without_a_key_is_said() -> None:
    problem, _ = pictures(Pooled((1, 4, 4), (2,), 3, 6, 3, dropout=0.5))
    with pytest.raises(ValueError, match="dropout are drawn by a key"):
        HeavyBall(problem, 0.1)
    with pytest.raises(ValueError, match="dropout are drawn by a key"):
        gradlab.Optimiser(problem, optax.sgd(0.1))
