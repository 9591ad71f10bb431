"""First and second derivatives of outputs and potentials, as several claims see them: one program a network.

Compiling is what costs in small problems, so every derivative that a claim compares comes from one program:
at pairs (point, direction) the values, the gradients and the change of the gradients of several functions of the
weights at once, the outputs f_c(x_n) first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gradlab.problem.losses import Loss
from gradlab.problem.networks import Network
from gradlab.problem.problem import Problem


class Scalars(eqx.Module):
    """Functions of the weights that are differentiated beside the outputs: ``log L`` or risks of several losses.

    losses, targets : one risk each, without decay; where there are none, the problem's own log-potential.
    """

    losses: tuple[Loss, ...] = ()
    targets: tuple[Any, ...] = ()

    def __call__(self, problem: Problem, weights: Any, outputs: Float[Array, "N C"]) -> Float[Array, " M"]:
        if not self.losses:
            return problem.log_potential(weights)[None]
        pairs = zip(self.losses, self.targets, strict=True)
        return jnp.stack([loss.risk(outputs, targets) for loss, targets in pairs])


class Differentials(NamedTuple):
    """At every pair: values (pairs, R), gradients (pairs, R, P), their change along the direction (pairs, R, P).

    The R rows are f_0(x_1), f_1(x_1), …, f_C(x_N), then the scalars.
    """

    values: Float[np.ndarray, "pairs R"]
    gradients: Float[np.ndarray, "pairs R P"]
    changes: Float[np.ndarray, "pairs R P"]


def _pair(problem: Problem, scalars: Scalars, vector: Any, direction: Any) -> tuple[Any, Any, Any]:
    def rows(vector: Any) -> Any:
        weights = problem.unravel(vector)
        outputs = problem.outputs(weights)
        values = jnp.concatenate([outputs.reshape(-1), scalars(problem, weights, outputs)])
        return values, values

    gradients, changes, values = jax.jvp(
        jax.jacrev(rows, has_aux=True), (vector,), (direction,), has_aux=True
    )
    return values, gradients, changes


_pairs = eqx.filter_jit(eqx.filter_vmap(_pair, in_axes=(None, None, 0, 0)))


def differentials(problem: Problem, scalars: Scalars, points: Any, directions: Any) -> Differentials:
    """Derivatives by automatic differentiation at weight vectors (pairs, P) along directions (pairs, P)."""
    found = _pairs(problem, scalars, np.asarray(points, np.float64), np.asarray(directions, np.float64))
    return Differentials(*(np.asarray(part) for part in found))


def layer_of(network: Network) -> Int[np.ndarray, " P"]:
    """The layer (0, 1, …) of every entry of the weight vector."""
    layers = network.layers(network.shapes())
    marked = [jax.tree.map(lambda leaf, k=k: np.full(leaf.shape, k), layer) for k, layer in enumerate(layers)]
    return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(network.rebuild(marked))])


def coordinates(problem: Problem, most: int) -> Int[np.ndarray, " m"]:
    """At most so many coordinates of the weights, evenly spaced; fewer where their derivatives would fill memory."""
    size, outputs = problem.size, problem.data.inputs.shape[0] * problem.network.outputs
    # five pairs a coordinate, two arrays of eight bytes: a third of a GiB
    fitting = max(2, int(4e6 / (size * (outputs + 6))))
    return np.unique(np.linspace(0, size - 1, min(most, fitting)).astype(int))
