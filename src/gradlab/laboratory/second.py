"""The second of two solves: what is kept of it, and the twin of what has no coarser version.

A flow is solved twice, the second time coarser; an iteration, and a point without dynamics, are taken a second time
with their data shaken by rounding. What is measured on both, by the same method, differs by what the first is off.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import xarray as xr

#: The end of the names of what the second solve gave, beside what the first did: ``weights`` and ``weights_coarse``.
COARSE = "_coarse"


def second(trajectory: xr.Dataset) -> xr.Dataset | None:
    """The trajectory as the second solve gave it: each ``<name>_coarse`` in place of ``<name>``; None without one."""
    names = [str(name) for name in trajectory.data_vars]
    given = {name.removesuffix(COARSE): trajectory[name] for name in names if name.endswith(COARSE)}
    if not given:
        return None
    return trajectory.drop_vars([f"{name}{COARSE}" for name in given]).assign(given)


def shaken(tree: Any, seed: int = 0) -> Any:
    """Every float64 number x of a tree as x (1 ± 2⁻⁵²), signs drawn from a seed: the same thing, rounded otherwise."""
    random = np.random.default_rng(seed)

    def shake(leaf: Any) -> Any:
        if not hasattr(leaf, "dtype") or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        values = np.asarray(leaf)
        if values.dtype != np.float64:
            return leaf
        signs = random.integers(0, 2, size=values.shape) * 2.0 - 1.0
        moved = values * (1.0 + np.finfo(np.float64).eps * signs)
        return moved if isinstance(leaf, np.ndarray) else jax.numpy.asarray(moved)

    return jax.tree.map(shake, tree)
