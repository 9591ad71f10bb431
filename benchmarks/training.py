"""Training on images against a loop written by hand in JAX: ``uv run --group bench python -m benchmarks.training``.

The same net, data, minibatches (a permutation an epoch), momentum and arithmetic (float64). By hand: one jitted scan
over the iterations, the permutation drawn once an epoch, data on the device; once with
``jax.lax.conv_general_dilated`` and once with gradlab's convolution. CPU seconds of all threads of the process,
compilation apart, the least of some turns taken alternately; weights at the end are compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics.momentum import HeavyBall
from gradlab.laboratory import run
from gradlab.problem.convolutional import convolved
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy
from gradlab.problem.networks import Convolutional, Dense
from gradlab.problem.problem import Problem

STEP, MOMENTUM, TURNS = 0.01, 0.9, 2


def lax_convolved(h: Any, kernel: Any, stride: int) -> Any:
    """Cross-correlation by XLA's own convolution, channels last."""
    return jax.lax.conv_general_dilated(
        h, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC")
    )


def by_hand(network: Any, convolution: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The net's outputs as one would write them."""

    def outputs(weights: Any, x: Any) -> Any:
        if isinstance(network, Dense):
            h = x
            for k, matrix in enumerate(weights):
                h = (jax.nn.relu(h) if k else h) @ matrix.T
            return h
        h = x.transpose(0, 2, 3, 1)
        for kernel in weights[:-1]:
            h = jax.nn.relu(convolution(h, kernel, network.stride))
        return h.transpose(0, 3, 1, 2).reshape(len(h), -1) @ weights[-1].T

    return outputs


def loop(outputs: Callable[..., Any], data: Data, batch: int, key: Any, epochs: int) -> Callable[[Any], Any]:
    """Epochs of momentum as one jitted program."""
    x, y = jnp.asarray(data.inputs), jnp.asarray(data.targets)
    batches = len(x) // batch

    def loss(weights: Any, rows: Any) -> Any:
        logs = jax.nn.log_softmax(outputs(weights, x[rows]))
        return -jnp.mean(jnp.take_along_axis(logs, y[rows][:, None], axis=1))

    def epoch(carry: Any, number: Any) -> tuple[Any, None]:
        order = jax.random.permutation(jax.random.fold_in(key, number), len(x))

        def step(carry: Any, rows: Any) -> tuple[Any, None]:
            weights, velocity = carry
            gradient = jax.grad(loss)(weights, rows)
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
            return (jax.tree.map(lambda w, v: w - STEP * v, weights, velocity), velocity), None

        return jax.lax.scan(step, carry, order[: batches * batch].reshape(batches, batch))

    def trained(weights: Any) -> Any:
        still = jax.tree.map(jnp.zeros_like, weights)
        return jax.lax.scan(epoch, (weights, still), jnp.arange(epochs))[0][0]

    return jax.jit(trained)


def cases() -> Sequence[tuple[str, Any, int, int, int]]:
    """Name, net, examples, batch, epochs."""
    return (
        ("Figure 1's net, 3×32×32", Convolutional((3, 32, 32), (16,) * 5), 1000, 100, 1),
        ("the same, all examples at once", Convolutional((3, 32, 32), (16,) * 5), 500, 500, 3),
        ("small copy, 1×8×8", Convolutional((1, 8, 8), (8, 16)), 1000, 20, 10),
        ("dense 784-128-10", Dense((784, 128, 10)), 2000, 100, 10),
        ("dense 64-32-10", Dense((64, 32, 10)), 1000, 20, 20),
    )


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of a piece of work, and what it gave."""
    begun = time.process_time()
    found = jax.block_until_ready(work())
    return time.process_time() - begun, found


def measured(network: Any, count: int, batch: int, epochs: int) -> tuple[list[float], float]:
    """CPU seconds of gradlab and of both loops; the largest relative distance of their weights."""
    random, key = np.random.default_rng(0), jax.random.key(1)
    shape = network.input_shape
    data = Data(random.random((count, *shape)), random.integers(0, 10, count))
    start = jax.tree.map(
        lambda one: np.sqrt(2.0 / np.prod(one.shape[1:])) * random.standard_normal(one.shape),
        network.shapes(),
    )
    problem = Problem(network, CrossEntropy("mean"), data)
    flow = HeavyBall(problem, STEP, MOMENTUM, batch, key)
    iterations = float(epochs * (count // batch))
    first = jax.tree.map(jnp.asarray, start)
    loops = [loop(by_hand(network, one), data, batch, key, epochs) for one in (lax_convolved, convolved)]
    works: list[Callable[[], Any]] = [
        lambda: run(flow, start, [iterations], observables=())["final_weights"].values,
        *(lambda one=one: np.asarray(problem.ravel(one(first))) for one in loops),
    ]
    rows: list[list[float]] = [[], [], []]
    ends: list[Any] = [None] * 3
    for turn in range(TURNS + 1):
        for i, work in enumerate(works):
            spent, ends[i] = seconds(work)
            if turn:  # the first compiles
                rows[i].append(spent)
    apart = max(float(np.linalg.norm(one - ends[0]) / np.linalg.norm(ends[0])) for one in ends[1:])
    return [min(row) for row in rows], apart


def main() -> None:
    """Print the table."""
    jax.config.update("jax_enable_x64", True)
    print("| net | iterations | gradlab | hand, XLA's convolution | hand, same convolution | weights apart |")
    print("|---|---|---|---|---|---|")
    for name, network, count, batch, epochs in cases():
        (ours, plain, same), apart = measured(network, count, batch, epochs)
        number = epochs * (count // batch)
        print(
            f"| {name}, batch {batch} of {count} | {number} | {ours:.2f} s | {plain:.2f} s ({ours / plain:.2f}) "
            f"| {same:.2f} s ({ours / same:.2f}) | {apart:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
