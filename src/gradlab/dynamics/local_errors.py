"""What the steps of a solve have erred by, as their own estimates say: by how much two solves differ in that.

Estimates are no errors (those of a pair are of the lower order), but the ratio of two solves' says how far apart their
errors are, step by step: where records or the start set the steps it may be any number.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.problem.precision import zeros

#: What is left at a record of the sums that forget.
FORGET = 0.5
#: An estimate below so many roundings says nothing.
GRAIN = 8.0 * float(np.finfo(np.float64).eps)


def unsummed() -> Array:
    """The sums at a start: of y relative to ‖y‖ and of log(1 + t), since the start and of late."""
    return zeros(2, 2)


def added(sums: Any, after: tuple[Any, ...], error: Any, keep: Any) -> Any:
    """The sums with the estimate of a step to (y, u), if it was kept; () where none are kept, or none is estimated."""
    if isinstance(sums, tuple) or error is None:
        return sums
    size = tree.norm(after[0])
    made = jnp.stack([tree.norm(error[0]) / tree.select(size > 0.0, size, 1.0), jnp.abs(error[1])])
    return sums + tree.select(keep & (made > GRAIN), made, 0.0)


def older(sums: Any) -> Any:
    """The sums as they go on from a record."""
    return sums if isinstance(sums, tuple) else sums * np.array([[1.0], [FORGET]])


def ratios(fine: Any, coarse: Any) -> Float[np.ndarray, "... 2"]:
    """How many times the sums of the second solve are those of the first, of y and of log(1 + t).

    The lesser of since the start and of late; NaN where neither says anything, or the first errs by rounding alone.
    """
    if isinstance(fine, tuple) or isinstance(coarse, tuple):
        return np.full(2, np.nan)
    fine, coarse = np.asarray(fine), np.asarray(coarse)
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.where(fine > 0.0, coarse / fine, np.nan)
    return np.fmin(both[..., 0, :], both[..., 1, :])
