"""Optimisers of optax: the iterations of a plain loop, bit for bit, with their state stored and resumed."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradlab
from gradlab.dynamics.descent import draw
from gradlab.dynamics.solvers.iteration import CHUNK
from gradlab.problem.compiling import QUICKLY
from gradlab.problem.data import Data, linear_regression
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem
from gradlab.store.run import Identity, Run, environment

#: As iterations are compiled; jax's own default compiles otherwise, and rounds so.
quickly = partial(jax.jit, compiler_options=QUICKLY)

KNOWN = {
    "momentum": optax.sgd(0.02, momentum=0.9),
    "nesterov": optax.sgd(0.02, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.01),
    "adagrad": optax.adagrad(0.1),
    "adadelta": optax.adadelta(1.0),
    "rmsprop": optax.rmsprop(0.003, momentum=0.5),
    "scheduled, clipped": optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.05, 200))
    ),
    "noisy": optax.chain(optax.add_noise(0.01, 0.55, jax.random.key(5)), optax.sgd(0.02)),
}


def deep(activation: str = "tanh") -> tuple[Problem, Any]:
    data = linear_regression(jax.random.key(1), N=9, d=4, C=2, noise=0.3)
    problem = Problem(Dense((4, 5, 2), activation), gradlab.Square("mean"), data)
    return problem, problem.network.init(jax.random.key(2), gradlab.init.He())


def scalar(target: float = 3.0) -> tuple[Problem, Any]:
    """½ (w − target)², from w = 0."""
    problem = Problem(Dense((1, 1)), gradlab.Square(half=True), Data([[1.0]], [[target]]))
    return problem, (jnp.zeros((1, 1)),)


def looped(problem: Problem, transformation: Any, weights: Any, count: int) -> np.ndarray:
    """The weights after a loop as one writes it with optax."""

    @quickly
    def step(weights: Any, state: Any) -> Any:
        updates, state = transformation.update(problem.gradient(weights), state, weights)
        return optax.apply_updates(weights, updates), state

    state = transformation.init(weights)
    for _ in range(count):
        weights, state = step(weights, state)
    return np.asarray(problem.ravel(weights))


@pytest.mark.parametrize("name", KNOWN)
def test_a_run_is_the_loop_one_writes_by_hand(name: str) -> None:
    problem, start = deep()
    count = CHUNK + 20
    run = gradlab.run(gradlab.Optimiser(problem, KNOWN[name]), start, [3, count], observables=["loss"])
    # Where XLA fuses otherwise inside the loop it rounds otherwise, once a step.
    expected = looped(problem, KNOWN[name], start, count)
    np.testing.assert_allclose(run["final_weights"].values, expected, rtol=0.0, atol=1e-13)
    assert run["step"].values.tolist() == run["evaluations"].values.tolist() == [0, 3, count]
    assert run["t"].values.tolist() == pytest.approx([0.0, 3.0, count], rel=1e-14)
    assert float(run["loss"][-1]) == pytest.approx(
        float(problem.potential(problem.unravel(expected))), rel=1e-12
    )


def test_heavy_ball_on_a_parabola_is_its_recursion() -> None:
    problem, start = scalar()
    run = gradlab.run(
        gradlab.Optimiser(problem, optax.sgd(0.5, momentum=0.5)), start, [1, 2, 3, 40], keep="all"
    )
    w, v, found = 0.0, 0.0, [0.0]
    for _ in range(40):
        v = 0.5 * v + (w - 3.0)
        w -= 0.5 * v
        found.append(w)
    np.testing.assert_allclose(run["weights"][:, 0], [found[k] for k in (0, 1, 2, 3, 40)], rtol=1e-14)


def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(tmp_path: Any, monkeypatch: Any) -> None:
    problem, start = deep()
    flow = gradlab.Optimiser(problem, KNOWN["noisy"], batch=3, key=jax.random.key(7), sampling="epoch")
    adam = gradlab.Optimiser(problem, optax.adam(0.01), batch=3, key=jax.random.key(7))
    for number, moving in enumerate((flow, adam)):
        records = [float(k) for k in range(4, 132, 4)]
        whole = gradlab.run(moving, start, records, keep="all")
        identity = Identity({"number": number, **environment()})
        append, calls = Run.append, []

        def cut(self: Any, *arguments: Any, append: Any = append, calls: Any = calls) -> Any:
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return append(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Run, "append", cut)
            with Run.create(tmp_path, identity) as store, pytest.raises(KeyboardInterrupt):
                gradlab.run(moving, start, records, keep="all", store=store)
            path = store.path
        with Run.open(path, write=True) as store:
            assert 0 < store.segments < 16
            resumed = gradlab.run(moving, start, records, keep="all", store=store)
        for name in ("weights", "loss", "step", "final_weights"):
            np.testing.assert_array_equal(resumed[name].values, whole[name].values)


def test_records_and_stops_do_not_change_the_bits() -> None:
    problem, start = deep()
    flow = gradlab.Optimiser(problem, optax.adam(0.01))
    once = gradlab.run(flow, start, [CHUNK + 37])
    many = gradlab.run(flow, start, [1, 17, CHUNK, CHUNK + 37])
    watched = gradlab.run(flow, start, [CHUNK + 37], stop=gradlab.Stop(loss=-1.0))
    for other in (many, watched):
        np.testing.assert_array_equal(once["final_weights"], other["final_weights"])
    stopped = gradlab.run(flow, start, [1000], stop=gradlab.Stop(steps=12))
    assert int(stopped["step"][-1]) == 12
    assert stopped.result == "stopped: step count reached"


def test_minibatches_are_those_of_sgd() -> None:
    problem, start = deep()
    key = jax.random.key(3)
    ours = gradlab.run(gradlab.Optimiser(problem, optax.sgd(0.05), batch=4, key=key), start, [60])
    theirs = gradlab.run(gradlab.StochasticGradientDescent(problem, 0.05, 4, key), start, [60])
    np.testing.assert_allclose(ours["final_weights"], theirs["final_weights"], rtol=0.0, atol=1e-14)
    assert set(np.asarray(draw(key, 0, 9, 4, "epoch")).tolist()) < set(range(9))


def test_a_line_search_gets_the_value_it_asks_for() -> None:
    problem, start = scalar()
    run = gradlab.run(gradlab.Optimiser(problem, optax.lbfgs()), start, [5])
    assert run.result == "reached the last record"
    assert float(run["final_weights"][0]) == pytest.approx(3.0, abs=1e-12)


def test_members_run_as_alone() -> None:
    problem, start = deep()
    starts = [jax.tree.map(lambda w, k=k: (1.0 + k) * w, start) for k in range(3)]
    made = [gradlab.Optimiser(problem, KNOWN["adam"]) for _ in starts]
    whole = gradlab.problem.problem.stack
    together = gradlab.run(whole(made), whole(starts), [50], members=3)
    for k, begun in enumerate(starts):
        alone = gradlab.run(made[k], begun, [50])
        np.testing.assert_allclose(together["final_weights"][k], alone["final_weights"], rtol=0.0, atol=1e-12)


def test_a_second_look_is_the_iteration_with_everything_rounded_otherwise() -> None:
    problem, start = deep()
    run = gradlab.run(gradlab.Optimiser(problem, optax.adam(0.01)), start, [30], refine=True)
    assert 0.0 < float(run["final_weights_error"].max()) < 1e-10


def test_what_is_not_finite_ends_the_run_at_its_step() -> None:
    problem, start = scalar()
    run = gradlab.run(gradlab.Optimiser(problem, optax.sgd(1e3, momentum=0.9)), start, [CHUNK * 3])
    assert run.result.startswith("failed: the field is not finite")
    assert CHUNK // 2 < int(run["step"][-1]) < 2 * CHUNK
    # The square of this gradient is infinite: Adam would stand still for ever.
    problem, start = scalar(1e200)
    run = gradlab.run(gradlab.Optimiser(problem, optax.adam(0.1)), start, [10])
    assert run.result.startswith("failed: the field is not finite")
    assert int(run["step"][-1]) == 1


def test_what_is_no_optimiser_is_refused_in_a_sentence() -> None:
    problem, start = deep()
    with pytest.raises(ValueError, match=r"an optax.GradientTransformation, not 0.1: write optax.adam"):
        gradlab.Optimiser(problem, 0.1)
    with pytest.raises(ValueError, match="are drawn by a key"):
        gradlab.Optimiser(problem, optax.adam(0.1), batch=3)
    with pytest.raises(ValueError, match="at least one example"):
        gradlab.Optimiser(problem, optax.adam(0.1), batch=0, key=jax.random.key(0))
    flow = gradlab.Optimiser(problem, optax.adam(0.1))
    with pytest.raises(ValueError, match="takes no clock"):
        gradlab.run(flow, start, [1], clock=gradlab.LogTime())
    with pytest.raises(ValueError, match="use Descent"):
        gradlab.run(flow, start, [1], solver="tsit5")
