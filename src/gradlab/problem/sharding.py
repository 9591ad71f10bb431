"""Examples shared out among devices: gradients and Hessian-vector products are summed across them by XLA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gradlab.problem.ensembles import unchecked
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: The axis of the mesh, which examples are shared out along.
EXAMPLES = "examples"


@float64
def sharded(problem: Problem, devices: Sequence[jax.Device] | None = None) -> Problem:
    """``sharded`` gives the same problem with its N examples shared out, N/D to each of D devices.

    All else (weights, decay, the test split) is on every device. ``potential``, ``gradient``, ``outputs``,
    ``hessian_operator(weights).mv`` and what is built of them then compute on all devices at once; sums over examples
    are made on each device and added up, so that results differ from those of one device by rounding.

    Parameters
    ----------
    devices : all of JAX's, in its order, unless given. On one machine without accelerator,
        ``XLA_FLAGS=--xla_force_host_platform_device_count=2`` in the environment makes two of it.

    Raises
    ------
    ValueError
        Where N is no multiple of D, or the problem is an ensemble.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0], [2.0]], [[3.0], [1.0]]))
    >>> shared = gl.devices.sharded(problem, jax.devices()[:1])
    >>> float(shared.gradient((np.zeros((1, 1)),))[0][0, 0])  # −(1·3 + 2·1)
    -5.0
    """
    if not isinstance(problem, Problem):
        raise ValueError(
            f"a Problem was expected, not a {type(problem).__name__}: write Problem(network, loss, data)"
        )
    chosen = list(jax.devices() if devices is None else devices)
    if not chosen:
        raise ValueError("devices was an empty list; leave it out for all devices, or give jax.devices()[:1]")
    count = problem.data.inputs.shape[0]
    if problem.data.targets.ndim > (2 if problem.loss.labels == "real" else 1):
        raise ValueError(
            "the problem is an ensemble; its members are shared out as they are: give one problem"
        )
    if count % len(chosen):
        fits = max(n for n in range(1, len(chosen) + 1) if count % n == 0)
        raise ValueError(
            f"{count} examples cannot be shared out evenly among {len(chosen)} devices: give a multiple of "
            f"{len(chosen)} examples, or devices=jax.devices()[:{fits}]"
        )
    mesh = Mesh(np.asarray(chosen), (EXAMPLES,))
    split, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec(EXAMPLES), PartitionSpec()))

    def everywhere(leaf: Any) -> Any:
        return jax.device_put(leaf, whole) if eqx.is_array(leaf) else leaf

    data = jax.tree.map(everywhere, problem.data)
    data = eqx.tree_at(
        lambda data: (data.inputs, data.targets),
        data,
        (jax.device_put(problem.data.inputs, split), jax.device_put(problem.data.targets, split)),
    )
    network, loss, decay = jax.tree.map(everywhere, (problem.network, problem.loss, problem.decay))
    return unchecked(Problem, problem, network=network, loss=loss, data=data, decay=decay)
