"""What a Probe costs a training loop: processor time of its calls over that of the loop.

python -m benchmarks.probe_overhead [WEIGHTS STEPS]

Processor time and not the clock's, which other processes of the machine move; the probe's is its own thread's.
"""

from __future__ import annotations

import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

import gradlab as gl
from gradlab.checking.probe import due

BATCH, WIDTH = 32, 1000


@jax.jit
def step(weights, x, y):
    """One step of descent of a network of two layers on a batch."""

    def loss(w):
        return jnp.mean((jnp.tanh(x @ w["a"]) @ w["b"] - y) ** 2)

    return jax.tree.map(lambda w, g: w - 0.01 * g, weights, jax.grad(loss)(weights))


def measured(count: int, steps: int) -> str:
    """A line of the table."""
    generator, width = np.random.default_rng(0), max(count // (WIDTH + 1), 1)
    start = {
        "a": jnp.asarray(generator.standard_normal((WIDTH, width)) / 30, jnp.float32),
        "b": jnp.asarray(generator.standard_normal((width, 1)) / 30, jnp.float32),
    }
    x, y = jnp.asarray(generator.standard_normal((BATCH, WIDTH)), jnp.float32), jnp.ones((BATCH, 1))
    jax.block_until_ready(step(start, x, y))
    began, weights = time.process_time(), start
    for _ in range(steps):
        weights = step(weights, x, y)
    jax.block_until_ready(weights)
    loop = time.process_time() - began
    calls, weights = [], start
    with tempfile.TemporaryDirectory() as folder:
        probe = gl.Probe(folder, optimiser="sgd lr=0.01")
        for _ in range(steps):
            jax.block_until_ready(weights)
            time.thread_time()  # the clock's own first call after the step is not the probe's
            began = time.thread_time()
            probe(weights)
            calls.append(time.thread_time() - began)
            weights = step(weights, x, y)
    files = [seconds for number, seconds in enumerate(calls) if due(number)]
    size = sum(leaf.size for leaf in start.values())
    return (
        f"{size} weights, {steps} steps of {1e3 * loop / steps:.2f} ms: {100 * sum(calls) / loop:.1f} %; "
        f"{len(files)} files of {1e3 * float(np.median(files)):.2f} ms"
    )


if __name__ == "__main__":
    wanted = (
        [(int(sys.argv[1]), int(sys.argv[2]))] if len(sys.argv) > 2 else [(1_000_000, 1000), (250_000, 3000)]
    )
    for pair in wanted:
        print(measured(*pair))
