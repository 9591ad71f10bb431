"""Gradient descent: microseconds a step, against an autodiff loop, NumPy, PyTorch and the matrix products alone."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gradlab.init import He

import gradlab
from benchmarks.problems import deep_linear
from benchmarks.task import Task, seconds_of
from gradlab import Dense, Problem, Square
from gradlab.problem.problem import stack

ETA = 1e-3


def wide(N: int = 1000) -> Task:
    """MLP 784-128-10, tanh, square loss, full batch of normal inputs: only its shapes matter."""
    rng = np.random.default_rng(0)
    network = Dense((784, 128, 10), "tanh")
    data = gradlab.Data(rng.standard_normal((N, 784)) / 28.0, rng.standard_normal((N, 10)))
    weights = network.init(jax.random.key(0), He())
    return Task("mlp 784-128-10", Problem(network, Square("mean"), data), weights, 1.0, f"N = {N}")


def _ours(task: Task, steps: int) -> float:
    flow = gradlab.GradientDescent(task.problem, ETA)

    def run() -> Any:
        return gradlab.run(flow, task.weights, [steps], observables=())["final_weights"].values

    return seconds_of(run) / steps


def _ensemble(task: Task, steps: int, members: int) -> float:
    network = task.problem.network
    starts = stack([network.init(jax.random.key(k), He()) for k in range(members)])
    flow = stack([gradlab.GradientDescent(task.problem, ETA)] * members)

    def run() -> Any:
        return gradlab.run(flow, starts, [steps], observables=(), members=members)["final_weights"].values

    return seconds_of(run) / steps / members


def _risk(weights: Any, inputs: Any, targets: Any, tanh: bool) -> Any:
    h = inputs
    for k, matrix in enumerate(weights):
        h = h @ matrix.T
        h = jnp.tanh(h) if tanh and k + 1 < len(weights) else h
    return jnp.mean(jnp.sum((h - targets) ** 2, axis=1))


def _loop(task: Task, steps: int, tanh: bool) -> float:
    """The loop anybody would write: jit, fori_loop, grad."""
    data = task.problem.data

    @jax.jit
    def run(weights: Any, inputs: Any, targets: Any) -> Any:
        def step(_: Any, w: Any) -> Any:
            return jax.tree.map(lambda a, b: a - ETA * b, w, jax.grad(_risk)(w, inputs, targets, tanh))

        return jax.lax.fori_loop(0, steps, step, weights)

    return seconds_of(lambda: run(task.weights, data.inputs, data.targets)) / steps


def _numpy(task: Task, steps: int, tanh: bool) -> float:
    """Back-propagation written by hand."""
    inputs, targets = np.array(task.problem.data.inputs), np.array(task.problem.data.targets)
    weights = [np.array(leaf) for leaf in task.weights]

    def run() -> None:
        for _ in range(steps):
            layers = [inputs]
            for k, matrix in enumerate(weights):
                z = layers[-1] @ matrix.T
                layers.append(np.tanh(z) if tanh and k + 1 < len(weights) else z)
            delta = 2.0 / len(inputs) * (layers[-1] - targets)
            for k in reversed(range(len(weights))):
                gradient = delta.T @ layers[k]
                if k:
                    delta = delta @ weights[k]
                    delta = delta * (1.0 - layers[k] ** 2) if tanh else delta
                weights[k] -= ETA * gradient

    return seconds_of(run) / steps


def _torch(task: Task, steps: int) -> float | None:
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    from benchmarks.in_torch import field

    velocity, vector = field(task), torch.tensor(task.vector.copy())

    def run() -> None:
        nonlocal vector
        for _ in range(steps):
            vector = vector + ETA * velocity(None, vector)

    return seconds_of(run) / steps


def products(N: int, widths: tuple[int, ...]) -> float:
    """Seconds of the matrix products of one step alone: no step can be faster.

    Per layer XWᵀ, δᵀX and, but for the first, δW; each in its best layout, by the faster of NumPy and XLA.
    """
    rng, total = np.random.default_rng(0), 0.0
    for k, (d, m) in enumerate(itertools.pairwise(widths)):
        x, w, delta = rng.standard_normal((N, d)), rng.standard_normal((m, d)), rng.standard_normal((N, m))
        pairs = [(x, np.ascontiguousarray(w.T)), (np.ascontiguousarray(delta.T), x)]
        for left, right in [*pairs, (delta, w)] if k else pairs:
            out = np.empty((left.shape[0], right.shape[1]))
            once = max(seconds_of(functools.partial(_many, left, right, out, 1), 5), 1e-7)
            count = int(np.clip(0.02 / once, 1, 1000))
            by_numpy = seconds_of(functools.partial(_many, left, right, out, count), 5) / count
            by_xla = seconds_of(functools.partial(_chain, left, right, count), 5) / count
            total += min(by_numpy, by_xla)
    return total


def _many(left: np.ndarray, right: np.ndarray, out: np.ndarray, count: int) -> None:
    for _ in range(count):
        np.matmul(left, right, out=out)


@jax.jit
def _chain(left: Any, right: Any, count: Any) -> Any:
    """The product again and again, each time with another number in the left factor, so that none is saved."""

    def again(k: Any, carry: Any) -> Any:
        left, out = carry
        return left.at[0, 0].set(out[0, 0] + k), left @ right

    return jax.lax.fori_loop(0, count, again, (left, jnp.zeros((left.shape[0], right.shape[1]))))


def rows(quick: bool, tell: Callable[[str], None] = lambda name: None) -> list[dict[str, Any]]:
    """Microseconds a step (and seed) by problem and method."""
    found: list[dict[str, Any]] = []
    small, large = deep_linear("deep linear 10-10-10-10-10, N = 100", 1.0), wide()
    few = replace(small, name="the same, condensed", problem=gradlab.data.condensed(small.problem))
    for task, tanh, steps in (
        (small, False, 20_000 if quick else 200_000),
        (few, False, 20_000 if quick else 200_000),
        (large, True, 30 if quick else 300),
    ):
        begun = time.perf_counter()
        row: dict[str, Any] = {"problem": task.name, "steps": steps}
        tell(task.name)
        row["gradlab"] = _ours(task, steps)
        row["autodiff loop"] = _loop(task, steps, tanh)
        row["NumPy"] = _numpy(task, min(steps, 3000), tanh)
        row["torch"] = _torch(task, min(steps, 1000))
        row["matrix products alone"] = products(
            task.problem.data.inputs.shape[0], task.problem.network.widths
        )
        if task is not large:
            row["gradlab, 256 seeds, per seed"] = _ensemble(task, 300 if quick else 3000, 256)
        found.append(row | {"seconds": time.perf_counter() - begun})
    return found


def table(found: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Head and body: µs a step."""
    names = list(
        dict.fromkeys(key for row in found for key in row if key not in ("problem", "steps", "seconds"))
    )
    body = [
        [row["problem"], *("–" if row.get(n) is None else f"{1e6 * row[n]:.3g}" for n in names)]
        for row in found
    ]
    return ["µs a step", *names], body
