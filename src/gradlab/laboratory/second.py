"""The second of two solves: what is kept of it, and the twin of what has no coarser version.

A flow is solved twice, the second time coarser: its local errors are about ten times those of the first, whether the
tolerance sets the steps or the records do, and its weights are shaken by rounding at every record, so that what the
flow makes of rounding shows. An iteration, and a point without dynamics, are taken a second time with their data shaken
by rounding. What is measured on both, by the same method, differs by what the first is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab.observe.observables import Observable

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


EPS = float(np.finfo(np.float64).eps)
#: Rounding errors of one step, in units of eps relative to the chart variables.
ROUNDED = 2.0
#: Bars are this multiple of the distance of the two solves, whose local errors are ten times apart: the coarse one may
#: err by less than twice as much as the fine one, or by anything above 1.4 times, before a bar is too small.
FACTOR = 2.5
#: What is kept of a bar at the next record, where nothing slows down.
KEPT = 0.7


def rounding(steps: Any) -> np.ndarray:
    """What rounding does to the chart variables in so many steps, relatively: a walk of ROUNDED eps a step."""
    return ROUNDED * EPS * np.sqrt(1.0 + np.asarray(steps))


@dataclass(frozen=True)
class Noise:
    """How far rounding may have moved the chart variables on the way to a record, relatively, and its number."""

    amount: np.ndarray
    number: int

    def none(self) -> Noise:
        """Nothing."""
        return replace(self, amount=np.zeros_like(self.amount))


def gap(ours: Any, theirs: Any) -> np.ndarray:
    """|ours − theirs|, 0 where both are the same infinity (a KKT residual before the data are separated)."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    same = ours == theirs
    return np.abs(np.where(same, 0.0, ours) - np.where(same, 0.0, theirs))


def bar(ours: Any, theirs: Any, steps: Any, item: Observable, exact: bool = False) -> np.ndarray:
    """The error bar of an observable after so many steps: FACTOR times the distance of the two solves, and rounding.

    Rounding is relative to the value itself; to the largest weight, of weights. Where nothing is left, the value
    being 0 in both solves, the error is unknown: NaN. (But what takes few values only, and iterations, ``exact``,
    may agree.)
    """
    ours = np.asarray(ours)
    distance = gap(ours, theirs)
    if exact:
        return distance
    size = np.abs(ours)
    if item.name == "weights":
        size = np.max(size, axis=-1, keepdims=True, initial=0.0)
    lead = np.shape(steps)
    spread = rounding(steps).reshape(lead + (1,) * (ours.ndim - len(lead)))
    if item.stepwise or ours.dtype.kind != "f":
        return distance
    with np.errstate(invalid="ignore"):
        error = FACTOR * distance + spread * size
    return np.where(error > 0.0, error, np.nan)


def unseconded(error: Any, lost: Any) -> np.ndarray:
    """The bars, NaN of the members that are lost."""
    error = np.asarray(error)
    where = np.reshape(lost, np.shape(lost) + (1,) * (error.ndim - np.ndim(lost)))
    return np.where(where, np.nan, error) if np.any(lost) and error.dtype.kind == "f" else error


def unknown_where(errors: dict[str, Any], lost: Any) -> dict[str, Any]:
    """A record's bars, and what stands among them, with NaN for the bars of the members that are lost."""
    return {
        key: unseconded(value, lost) if key.endswith("_error") else value for key, value in errors.items()
    }


def remembered(name: str, error: np.ndarray, rows: Sequence[dict[str, Any]]) -> np.ndarray:
    """A bar that does not close where the two solves only cross: a part of the one before, as far as things move on.

    rows : the two records before and this one. The bar before counts KEPT times, and less as the observable's rate
    of change has fallen since: errors of a flow that comes to rest fall with its speed. Where the clock stands, since
    a member has stopped, the bar is the one before.
    """
    if len(rows) < 2 or f"{name}_error" not in rows[-2]:
        return error
    before = np.asarray(rows[-2][f"{name}_error"])

    def spread(tau: Any) -> np.ndarray:
        return np.reshape(tau, np.shape(tau) + (1,) * (error.ndim - np.ndim(tau)))

    def rate(i: int) -> Any:
        span = spread(np.asarray(rows[i]["tau"]) - np.asarray(rows[i - 1]["tau"]))
        return gap(rows[i][name], rows[i - 1][name]) / span

    stands = spread(np.asarray(rows[-1]["tau"]) == np.asarray(rows[-2]["tau"]))
    if len(rows) > 2:
        with np.errstate(all="ignore"):
            slower = np.nan_to_num(np.minimum(rate(-1) / rate(-2), 1.0), nan=0.0)
            error = np.fmax(error, KEPT * slower * before)
    return np.where(stands, before, error)


def bars(
    rows: Sequence[dict[str, Any]],
    other: dict[str, Any],
    observables: Sequence[Observable],
    exact: bool,
    known: bool,
) -> dict[str, Any]:
    """``<name>_error`` of every observable at a record, and of ``t`` and ``log_t``; ``<name>_coarse`` beside weights.

    rows : this record, behind at most two before it; the first of all is given and has no errors. exact : an
    iteration, whose bars are the distances. known : the clock alone says what time it is.
    """
    seen = rows[-1]
    steps = np.asarray(seen["step"])
    errors = {}
    for item in observables:
        error = bar(seen[item.name], other[item.name], steps, item, exact)
        plain = exact or item.stepwise or error.dtype.kind != "f"
        errors[f"{item.name}_error"] = error if plain else remembered(item.name, error, rows)
    for name in ("t", "log_t"):
        ours, theirs = np.asarray(seen[name]), np.asarray(other[name])
        # log t is −∞ at the start, in both.
        finite = np.isfinite(ours) & np.isfinite(theirs)
        floor = (
            0.0
            if known
            else rounding(steps) * np.maximum(np.abs(np.where(finite, ours, 0.0)), name == "log_t")
        )
        off = FACTOR * np.abs(np.where(finite, ours, 0.0) - np.where(finite, theirs, 0.0)) + floor
        error = np.where(finite | (ours == theirs), off, np.inf)
        if len(rows) > 1 and f"{name}_error" in rows[-2]:
            # A member that has stopped keeps the error of the time at which it did.
            stands = np.asarray(seen["tau"]) == np.asarray(rows[-2]["tau"])
            error = np.where(stands, rows[-2][f"{name}_error"], error)
        errors[f"{name}_error"] = error
    if len(rows) == 1:
        errors = {name: np.zeros_like(error) for name, error in errors.items()}
    if any(item.name == "weights" for item in observables):
        names = [item.name for item in observables] + [name for name in ("log_t", "t") if name in other]
        errors |= {f"{name}{COARSE}": np.asarray(other[name]) for name in names}
    return errors
