"""The unit-step Euler method of the descent field *is* gradient descent and SGD, bit for bit."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
from gradlab.problem.compiling import QUICKLY
from gradlab.problem.data import Data, gaussian_clouds, linear_regression
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: As the first iterations of what is small are compiled.
quickly = partial(jax.jit, compiler_options=QUICKLY)


def regression(widths: tuple[int, ...], activation: str) -> tuple[Problem, tuple]:
    """A small regression problem and a start."""
    data = linear_regression(jax.random.key(1), N=9, d=widths[0], C=widths[-1], noise=0.3)
    network = Dense(widths, activation)
    problem = Problem(network, gradlab.Square("mean"), data)
    return problem, network.init(jax.random.key(2), gradlab.init.He())


def test_gradient_descent_equals_a_hand_written_loop_bit_for_bit() -> None:
    problem, start = regression((4, 6, 2), "relu")
    inputs, targets = problem.data.inputs, problem.data.targets

    def loss(weights: tuple) -> jax.Array:
        hidden = jax.nn.relu(inputs @ weights[0].T)
        return jnp.mean(jnp.sum((hidden @ weights[1].T - targets) ** 2, axis=1))

    @quickly
    def step(weights: tuple) -> tuple:
        return jax.tree.map(lambda w, g: w - 0.05 * g, weights, jax.grad(loss)(weights))

    weights = start
    for _ in range(200):
        weights = step(weights)
    flow = gradlab.GradientDescent(problem, 0.05)
    trajectory = gradlab.run(flow, start, [50, 120, 200])
    assert trajectory["step"].values.tolist() == [0, 50, 120, 200]
    assert np.array_equal(trajectory["final_weights"].values, np.asarray(problem.ravel(weights)))
    np.testing.assert_allclose(trajectory["t"].values, 0.05 * np.array([0, 50, 120, 200]), rtol=1e-14)


@pytest.mark.parametrize("sampling", ["replacement", "epoch"])
def test_sgd_equals_a_hand_written_loop_bit_for_bit(sampling: Any) -> None:
    problem, start = regression((4, 6, 2), "tanh")
    inputs, targets = problem.data.inputs, problem.data.targets
    key = jax.random.key(7)

    def loss(weights: tuple, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.sum((jnp.tanh(x @ weights[0].T) @ weights[1].T - y) ** 2, axis=1))

    @quickly
    def step(weights: tuple, k: jax.Array) -> tuple:
        if sampling == "epoch":  # three minibatches of three
            order = jax.random.permutation(jax.random.fold_in(key, k // 3), 9)
            batch = jax.lax.dynamic_slice(order, (k % 3 * 3,), (3,))
        else:
            batch = jax.random.randint(jax.random.fold_in(key, k), (3,), 0, inputs.shape[0])
        gradient = jax.grad(loss)(weights, inputs[batch], targets[batch])
        return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradient)

    weights = start
    for k in range(100):
        weights = step(weights, jnp.asarray(k))
    flow = gradlab.StochasticGradientDescent(problem, 0.1, 3, key, sampling)
    trajectory = gradlab.run(flow, start, [37, 100])
    assert np.array_equal(trajectory["final_weights"].values, np.asarray(problem.ravel(weights)))


def test_an_epoch_uses_every_example_once() -> None:
    problem, _ = regression((4, 2), "identity")
    flow = gradlab.StochasticGradientDescent(problem, 0.1, 3, jax.random.key(3), "epoch")
    for epoch in range(3):
        drawn = np.concatenate([np.asarray(flow.indices(jnp.asarray(3 * epoch + j))) for j in range(3)])
        assert sorted(drawn.tolist()) == list(range(9))


def test_the_expected_minibatch_gradient_is_the_gradient() -> None:
    for reduction in ("sum", "mean"):
        data = linear_regression(jax.random.key(1), N=4, d=3, C=1)
        problem = Problem(Dense((3, 1), "identity"), gradlab.Square(reduction), data)
        weights = (jnp.ones((1, 3)),)
        singles = [problem.minibatch(jnp.asarray([n])).gradient(weights)[0] for n in range(4)]
        np.testing.assert_allclose(np.mean(singles, axis=0), problem.gradient(weights)[0], rtol=1e-12)


def test_schedules_and_time_add_up() -> None:
    problem, start = regression((4, 2), "identity")
    flow = gradlab.GradientDescent(problem, gradlab.schedules.PowerLaw(0.01, 0.5, 2.0))
    trajectory = gradlab.run(flow, start, [10])
    expected = sum(0.01 / (1 + k / 2.0) ** 0.5 for k in range(10))
    assert float(trajectory["t"].values[-1]) == pytest.approx(expected, rel=1e-13)


def test_the_loss_scaled_step_is_euler_in_log_loss_time() -> None:
    data = gaussian_clouds(jax.random.key(0), N=8, d=3, separation=3.0, labels="sign")
    problem = Problem(Dense((3, 1), "identity"), gradlab.Exponential("sum"), data)
    start = (jnp.full((1, 3), 0.1),)
    gd = gradlab.run(gradlab.GradientDescent(problem, gradlab.schedules.LossScaled(0.01)), start, [100])
    euler = gradlab.run(
        gradlab.GradientFlow(problem),
        start,
        [1.0],
        clock=gradlab.LogLoss(),
        solver=gradlab.solvers.Fixed("euler", 0.01, 1.0),
        refine=False,
    )
    np.testing.assert_allclose(gd["final_weights"], euler["final_weights"], rtol=1e-12)


def test_misuse_is_one_sentence() -> None:
    problem, start = regression((4, 2), "identity")
    with pytest.raises(ValueError, match="iteration"):
        gradlab.run(gradlab.GradientDescent(problem, 0.1), start, [5], solver=gradlab.Adaptive())
    with pytest.raises(ValueError, match="GradientDescent"):
        gradlab.run(gradlab.GradientFlow(problem), start, [5], solver="descent")
    with pytest.raises(ValueError, match="positive"):
        gradlab.GradientDescent(problem, -0.1)
    with pytest.raises(ValueError, match="log-risk"):
        gradlab.GradientDescent(problem, gradlab.schedules.LossScaled(0.1))
    with pytest.raises(ValueError, match="takes no clock"):
        gradlab.run(gradlab.GradientDescent(problem, 0.1), start, [5], clock=gradlab.clocks.ArcLength())
    assert isinstance(problem.data, Data)


def test_numbers_are_doubles_where_x64_is_off() -> None:
    with jax.enable_x64(False):
        flow_step = gradlab.schedules.Constant(0.02).step
        tolerance = gradlab.Adaptive("tsit5", 1e-9).tolerance
        loss = gradlab.Stop(loss=0.1).loss
    assert [float(value) for value in (flow_step, tolerance, loss)] == [0.02, 1e-9, 0.1]
