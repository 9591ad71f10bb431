"""A point that lies lower: the witness without which nothing is called a saddle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.analysis.equilibria.rounding import operations
from gradlab.analysis.equilibria.shaking import entrywise
from gradlab.problem.compiling import compiled
from gradlab.problem.problem import Problem

#: Lengths tried: ‖W‖ (or 1) times these.
_LENGTHS = 2.0 ** np.arange(-60.0, 41.0)
#: Candidates whose rounding is measured.
_TRIED = 8


@dataclass(frozen=True)
class Witness:
    """W + t u (+ t² h along a curve): L is lower there by more than rounding.

    Attributes
    ----------
    weights : the point. length : t; u has length 1. difference : L(W + t u) − L(W) < 0, summed example by example.
    rounding : a bound of the error of that difference, less than its size.
    """

    weights: Any
    length: float
    difference: float
    rounding: float


def lower(
    problem: Problem,
    weights: Any,
    directions: Sequence[Float[np.ndarray, " P"]],
    bends: Sequence[Float[np.ndarray, " P"]] | None = None,
) -> Witness | None:
    """The first point W ± t u + t² h that is lower than W by more than rounding, t from short to long, or None."""
    vector, unravel = ravel_pytree(weights)
    flat = np.asarray(vector)
    size = float(np.linalg.norm(flat)) or 1.0
    for k, u in enumerate(directions):
        length = float(np.linalg.norm(u))
        if not length > 0.0:
            continue
        bend = np.zeros(len(flat)) if bends is None else np.asarray(bends[k]) / length**2
        times = size * _LENGTHS
        steps = [s * t * u / length + t * t * bend for t in times for s in (1.0, -1.0)]
        found = np.asarray(_differences(problem, weights, jnp.asarray(np.stack(steps))))
        below = np.flatnonzero(found < 0.0)
        for at in below[_spread(len(below))]:
            _, moves = entrywise(_difference, problem, weights, jnp.asarray(steps[at]))
            rounding = operations(problem, weights) * float(moves)
            if found[at] < -rounding:
                end = unravel(jnp.asarray(flat + steps[at]))
                return Witness(end, float(times[at // 2]), float(found[at]), rounding)
    return None


def _spread(count: int) -> np.ndarray:
    """A few of so many, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, _TRIED)).astype(int)) if count else np.zeros(0, int)


def _difference(problem: Problem, weights: Any, step: Any) -> Array:
    """L(W + s) − L(W), example by example."""
    flat, unravel = ravel_pytree(weights)
    end, data, network = unravel(flat + step), problem.data, problem.network
    each = [problem.loss.per_example(network(w, data.inputs), data.targets) for w in (end, weights)]
    risk = jnp.sum(each[0] - each[1])
    if problem.loss.reduction == "mean":
        risk = risk / data.inputs.shape[0]
    squares = jax.tree.map(lambda a, b: jnp.sum((a - b) * (a + b)), end, weights)
    decays = jnp.broadcast_to(problem.decay, (len(network.layers(weights)),))
    parts = (sum(jax.tree.leaves(layer)) for layer in network.layers(squares))
    held = sum(decay * part for decay, part in zip(decays, parts, strict=True))
    return problem.factor * risk + 0.5 * held


@compiled
def _differences(problem: Problem, weights: Any, steps: Float[Array, "k P"]) -> Float[Array, " k"]:
    return jax.lax.map(lambda step: _difference(problem, weights, step), steps)
