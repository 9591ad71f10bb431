"""What a Probe costs a training loop: processor time of its calls, and with what its thread writes, over the loop's.

python -m benchmarks.probe_overhead [WEIGHTS STEPS]

Processor time and not the clock's, which other processes of the machine move. What the loop waits for is measured while
files of the steps before are being written; what there is in all, while the loop stands still.
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
    calls = followed(start, x, y, steps, time.thread_time, wait=False)
    whole = followed(start, x, y, steps, time.process_time, wait=True)
    size = sum(leaf.size for leaf in start.values())
    files = [seconds for number, seconds in enumerate(calls) if due(number)]
    written = [seconds for number, seconds in enumerate(whole) if due(number)]
    return (
        f"{size} weights, {steps} steps of {1e3 * loop / steps:.2f} ms: the loop waits "
        f"{100 * sum(calls) / loop:.2f} %, {1e3 * float(np.median(files)):.2f} ms a file; "
        f"in all {100 * sum(whole) / loop:.2f} %, {len(files)} files of "
        f"{1e3 * float(np.median(written)):.2f} ms"
    )


def followed(weights, x, y, steps, clock, wait):
    """(steps,), the time of each call of a Probe; with ``wait`` until its file is written."""
    calls = []
    with tempfile.TemporaryDirectory() as folder:
        probe = gl.Probe(folder, optimiser="sgd lr=0.01")
        for number in range(steps):
            jax.block_until_ready(weights)
            clock()  # the clock's own first call after the step is not the probe's
            began = clock()
            probe(weights)
            if wait and due(number):
                probe.kept  # noqa: B018  # waits
            calls.append(clock() - began)
            weights = step(weights, x, y)
        probe.kept  # noqa: B018
    return calls


if __name__ == "__main__":
    wanted = (
        [(int(sys.argv[1]), int(sys.argv[2]))] if len(sys.argv) > 2 else [(1_000_000, 1000), (250_000, 3000)]
    )
    for pair in wanted:
        print(measured(*pair))
