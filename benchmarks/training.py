"""Training on images against a loop written by hand in JAX, which does the same and nothing else.

The same net, start, images (random numbers), minibatches (a permutation an epoch), dropout, momentum and arithmetic
(float64), and gradlab's convolution, which is the faster one on a CPU. By hand: one jitted scan over epochs and
minibatches, data on the device. CPU seconds of all threads of the process, and wall seconds, compilation apart, the
least of some turns taken alternately; that both end at the same weights is part of a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics.descent import _DROPOUT, GradientDescent
from gradlab.dynamics.momentum import HeavyBall
from gradlab.laboratory import run
from gradlab.problem.convolutional import convolved
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy
from gradlab.problem.networks import Convolutional, Dense, Pooled
from gradlab.problem.problem import Problem

STEP, MOMENTUM, TURNS = 0.01, 0.9, 2


@dataclass(frozen=True)
class Setting:
    """A net, and how it is trained: on all examples at once (``batch`` None) without momentum, else with it."""

    name: str
    network: Any
    examples: int
    batch: int | None
    iterations: int

    def row(self) -> str:
        """In words."""
        how = "GD, all of" if self.batch is None else f"SGD, momentum, {self.batch} of"
        return f"{self.name}: {how} {self.examples}"


#: The nets of the sources on MNIST and CIFAR-10; quick: small copies, and few iterations of the others.
SETTINGS = {
    "full": (
        Setting("dense 784-128-10", Dense((784, 128, 10)), 2000, None, 40),
        Setting("dense 784-128-10", Dense((784, 128, 10)), 2000, 100, 400),
        Setting("Figure 1's net, 3×32×32", Convolutional((3, 32, 32), (16,) * 5), 500, None, 8),
        Setting("Figure 1's net, 3×32×32", Convolutional((3, 32, 32), (16,) * 5), 1000, 100, 50),
        Setting("MNIST tutorial's net, dropout", Pooled((1, 28, 28), dropout=0.5), 640, 64, 10),
    ),
    "quick": (
        Setting("dense 784-128-10", Dense((784, 128, 10)), 1000, None, 30),
        Setting("dense 784-128-10", Dense((784, 128, 10)), 1000, 100, 200),
        Setting("Figure 1's net, 3×32×32", Convolutional((3, 32, 32), (16,) * 5), 100, None, 15),
        Setting("Figure 1's net, 3×32×32", Convolutional((3, 32, 32), (16,) * 5), 200, 50, 40),
        Setting(
            "tutorial's small copy, dropout", Pooled((1, 8, 8), (4, 8), 3, 64, dropout=0.5), 500, 32, 300
        ),
    ),
}


def outputs(network: Any, weights: Any, x: Any, key: Any) -> Any:
    """The net's outputs as one would write them; key : of dropout."""
    if isinstance(network, Dense):
        for k, matrix in enumerate(weights):
            x = (jax.nn.relu(x) if k else x) @ matrix.T
        return x
    h = x.transpose(0, 2, 3, 1)
    if isinstance(network, Convolutional):
        for kernel in weights[:-1]:
            h = jax.nn.relu(convolved(h, kernel, network.stride))
        return h.transpose(0, 3, 1, 2).reshape(len(h), -1) @ weights[-1].T
    for layer in weights[:-2]:
        h = jax.nn.relu(convolved(h, layer["weight"]) + layer["bias"])
        count, rows, columns, channels = h.shape
        h = h.reshape(count, rows // 2, 2, columns // 2, 2, channels).max((2, 4))
    h = h.transpose(0, 3, 1, 2).reshape(len(h), -1)
    h = jax.nn.relu(h @ weights[-2]["weight"].T + weights[-2]["bias"])
    kept = 1.0 - network.dropout
    h = jnp.where(jax.random.bernoulli(key, kept, h.shape), h / kept, 0.0)
    return h @ weights[-1]["weight"].T + weights[-1]["bias"]


def loop(setting: Setting, data: Data, key: Any) -> Callable[[Any], Any]:
    """All iterations as one jitted program."""
    x, y = jnp.asarray(data.inputs), jnp.asarray(data.targets)
    batches = 1 if setting.batch is None else len(x) // setting.batch
    drops = jax.random.fold_in(key, _DROPOUT)

    def loss(weights: Any, inputs: Any, targets: Any, k: Any) -> Any:
        logs = jax.nn.log_softmax(outputs(setting.network, weights, inputs, jax.random.fold_in(drops, k)))
        return -jnp.mean(jnp.take_along_axis(logs, targets[:, None], axis=1))

    def descended(weights: Any, _: Any) -> tuple[Any, None]:
        gradient = jax.grad(loss)(weights, x, y, 0)
        return jax.tree.map(lambda w, g: w - STEP * g, weights, gradient), None

    def epoch(carry: Any, number: Any) -> tuple[Any, None]:
        order = jax.random.permutation(jax.random.fold_in(key, number), len(x))
        rows = order[: batches * (setting.batch or 0)].reshape(batches, -1)

        def step(carry: Any, given: Any) -> tuple[Any, None]:
            (weights, velocity), (rows, k) = carry, given
            gradient = jax.grad(loss)(weights, x[rows], y[rows], k)
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
            return (jax.tree.map(lambda w, v: w - STEP * v, weights, velocity), velocity), None

        return jax.lax.scan(step, carry, (rows, number * batches + jnp.arange(batches)))

    def trained(weights: Any) -> Any:
        if setting.batch is None:
            return jax.lax.scan(descended, weights, None, setting.iterations)[0]
        still = jax.tree.map(jnp.zeros_like, weights)
        return jax.lax.scan(epoch, (weights, still), jnp.arange(setting.iterations // batches))[0][0]

    return jax.jit(trained)


def clocked(work: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """CPU and wall seconds of a piece of work, and what it gave."""
    begun = time.process_time(), time.perf_counter()
    found = jax.block_until_ready(work())
    return (time.process_time() - begun[0], time.perf_counter() - begun[1]), found


def measured(setting: Setting) -> dict[str, Any]:
    """Seconds of gradlab and of the loop, their ratios, and the relative distance of their weights."""
    random, key = np.random.default_rng(0), jax.random.key(1)
    network = setting.network
    shape = getattr(network, "input_shape", (network.widths[0],) if isinstance(network, Dense) else ())
    data = Data(random.random((setting.examples, *shape)), random.integers(0, 10, setting.examples))

    def drawn(one: Any) -> np.ndarray:
        return np.sqrt(2.0 / np.prod(one.shape[1:])) * random.standard_normal(one.shape)

    start = jax.tree.map(drawn, network.shapes())
    problem = Problem(network, CrossEntropy("mean"), data)
    flow: Any = GradientDescent(problem, STEP)
    if setting.batch is not None:
        flow = HeavyBall(problem, STEP, MOMENTUM, setting.batch, key)
    first, by_hand = jax.tree.map(jnp.asarray, start), loop(setting, data, key)
    end = [float(setting.iterations)]
    works: list[Callable[[], Any]] = [
        lambda: run(flow, start, end, observables=())["final_weights"].values,
        lambda: np.asarray(problem.ravel(by_hand(first))),
    ]
    spent: list[list[tuple[float, float]]] = [[], []]
    ends: list[Any] = [None, None]
    for turn in range(TURNS + 1):
        for i, work in enumerate(works):
            seconds, ends[i] = clocked(work)
            if turn:  # the first compiles
                spent[i].append(seconds)
    cpu, wall = ([min(one[of] for one in each) for each in spent] for of in (0, 1))
    return {
        "net": setting.row(),
        "iterations": setting.iterations,
        "gradlab [CPU s]": cpu[0],
        "by hand [CPU s]": cpu[1],
        "ratio of CPU": cpu[0] / cpu[1],
        "ratio of wall": wall[0] / wall[1],
        "weights apart": float(np.linalg.norm(ends[1] - ends[0]) / np.linalg.norm(ends[0])),
    }


def rows(budget: str, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row a setting."""
    found = []
    for setting in SETTINGS[budget]:
        say(setting.row())
        found.append(measured(setting))
    return found
