"""Diagonal scaling: D H D has the inertia of H (Sylvester), and entries of one size."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

#: An entry that is all rounding is scaled as if its error were this part of one, and does not drown the others.
SHARE = 1e-10
_ROUNDS = 30


def equilibrated(H: Float[np.ndarray, "P P"], error: Float[np.ndarray, "P P"]) -> Float[np.ndarray, " P"]:
    """Powers of two d such that the largest entry of every row of |H_ij| d_i d_j is of size one (Ruiz 2001).

    Rows whose entries are no larger than their errors are scaled by these, over ``SHARE``. Rows of zeros that are
    exact get the geometric mean of the others. Powers of two: nothing is rounded.
    """
    size = np.maximum(np.abs(H), error / SHARE)
    d = np.ones(len(H))
    there = size.max(axis=1, initial=0.0) > 0.0
    if not there.any():
        return d
    part = size[np.ix_(there, there)]
    exponents = np.where(part > 0.0, np.log2(np.where(part > 0.0, part, 1.0)), -np.inf)
    logs = np.zeros(len(part))
    for _ in range(_ROUNDS):
        rows = (exponents + logs[:, None] + logs).max(axis=1)
        logs -= 0.5 * rows
        if np.abs(rows).max() < 0.5:
            break
    d[there] = 2.0 ** np.round(logs)
    d[~there] = 2.0 ** np.round(logs.mean())
    return d
