"""Examples shared out among devices: the same numbers, to rounding, and really on all of them."""

from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import gradlab as gl
from gradlab.problem.sharding import sharded

SCRIPT = """
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
import gradlab as gl

rng = np.random.default_rng(0)
data = gl.Data(rng.normal(size=(64, 5)), rng.normal(size=(64, 2)), rng.normal(size=(3, 5)), rng.normal(size=(3, 2)))
problem = gl.Problem(gl.Dense((5, 7, 2), "tanh"), gl.Square(), data, decay=0.1)
weights = problem.network.init(jax.random.key(1), gl.init.He())
vector = jax.tree.map(lambda leaf: jax.numpy.cos(leaf), weights)
shared = gl.devices.sharded(problem)
inputs = shared.data.inputs
assert len(inputs.sharding.device_set) == 2, inputs.sharding
assert [shard.data.shape for shard in inputs.addressable_shards] == [(32, 5), (32, 5)]
text = jax.jit(lambda p, w: p.gradient(w)).lower(shared, weights).compile().as_text()
assert "all-reduce" in text  # else one device did all of it

def far(ours, theirs):
    ours, theirs = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (ours, theirs))
    return np.abs(ours - theirs).max() / np.abs(theirs).max()

print(far(shared.gradient(weights), problem.gradient(weights)))
print(far(shared.hessian_operator(weights).mv(vector), problem.hessian_operator(weights).mv(vector)))
print(far(shared.potential(weights), problem.potential(weights)))
print(far(shared.test_risk(weights), problem.test_risk(weights)))
ends = [gl.run(gl.GradientFlow(one), weights, [0.1], solver="tsit5").final_weights.values for one in (shared, problem)]
print(far(*ends))
"""


def test_two_devices_give_the_gradient_and_the_product_of_one_to_rounding() -> None:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # sums of 64 terms in another order: some 64 roundings at most
    assert all(float(line) < 64 * np.finfo(float).eps for line in done.stdout.split()), done.stdout


@pytest.fixture
def problem() -> gl.Problem:
    return gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data(np.ones((3, 1)), np.ones((3, 1))))


def test_what_cannot_be_shared_out_is_told_what_can(problem: gl.Problem) -> None:
    device = jax.devices()[0]
    with pytest.raises(ValueError, match=r"3 examples .* among 2 devices.*multiple of 2.*\[:1\]"):
        sharded(problem, [device, device])
    with pytest.raises(ValueError, match="Problem was expected"):
        sharded(problem.data)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ensemble"):
        sharded(gl.stack([problem, problem]))
    with pytest.raises(ValueError, match="empty list"):
        sharded(problem, [])
