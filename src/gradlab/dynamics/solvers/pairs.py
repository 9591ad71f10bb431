"""Steps of an embedded explicit pair, its stages in a loop over the tableau: one copy of the field is compiled."""

from __future__ import annotations

from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from gradlab.dynamics import tree
from gradlab.dynamics.tree import Anywhere


class Tableau(NamedTuple):
    """A Butcher tableau as matrices: y_i = y + h Σ_j a_ij k_j at τ + c_i h, the last row giving the step's end.

    error : the weights of the error estimate. fsal : whether the last stage is the next step's first.
    """

    a: Float[np.ndarray, "stages stages"]
    c: Float[np.ndarray, " stages"]
    error: Float[np.ndarray, " stages"]
    fsal: bool


def tableau(stepper: Any) -> Tableau | None:
    """The tableau of an explicit method of diffrax, with a last row for the end of the step; None of other methods."""
    if not isinstance(stepper, diffrax.AbstractERK):
        return None
    given: Any = stepper.tableau
    stages, fsal = given.num_stages, bool(given.fsal)
    size = stages if fsal else stages + 1
    a, c, error = np.zeros((size, size)), np.zeros(size), np.zeros(size)
    for i, row in enumerate(given.a_lower, start=1):
        a[i, :i] = row
    a[size - 1, :stages] = given.b_sol
    c[1:stages], error[:stages] = given.c, given.b_error
    c[size - 1] = 1.0
    return Tableau(a, c, error, fsal)


def stepped(
    table: Tableau,
    field: Any,
    tau: Any,
    h: Any,
    vector: Float[Anywhere, " P"],
    slope: Float[Anywhere, " P"],
) -> tuple[Float[Anywhere, " P"], Float[Anywhere, " P"], Float[Anywhere, " P"]]:
    """(point at τ + h, its estimated error, the field there) of one step; ``slope`` : the field at the point before.

    Of a pair whose last stage is not the next step's first, the field at the end is one evaluation more.
    """
    stages = len(table.c)
    if tree.on_host(vector):
        made = np.zeros((stages, vector.size))
        made[0], point = slope, vector
        for i in range(1, stages):
            point = vector + h * (table.a[i, :i] @ made[:i])
            made[i] = field(tau + table.c[i] * h, point)
        return point, h * (table.error @ made), made[-1]
    a, c = jnp.asarray(table.a), jnp.asarray(table.c)

    def stage(i: Any, carry: Any) -> Any:
        slopes, _ = carry
        # Stages that are not made yet have weight 0 and are 0.
        row = lax.dynamic_index_in_dim(a, i, keepdims=False, allow_negative_indices=False)
        point = vector + h * (row @ slopes)
        moment = tau + lax.dynamic_index_in_dim(c, i, keepdims=False, allow_negative_indices=False) * h
        made = lax.expand_dims(field(moment, point), (0,))
        return lax.dynamic_update_slice(slopes, made, (i, np.int64(0)), allow_negative_indices=False), point

    begun = lax.pad(lax.expand_dims(slope, (0,)), np.float64(0.0), ((0, stages - 1, 0), (0, 0, 0)))
    slopes, after = jax.lax.fori_loop(1, stages, stage, (begun, vector))
    return after, h * (jnp.asarray(table.error) @ slopes), slopes[-1]
