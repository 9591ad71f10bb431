"""What a run says of its energy balance: the bar, whether it is violated, and in which words it then ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from gradlab.dynamics.energy import EPS, Energy
from gradlab.dynamics.stops import NOT_A_FLOW, RESULTS, RISES
from gradlab.laboratory.second import ERRED, FACTOR

#: A balance is violated where it is off by more than this many of its bars, and by this part of E and itself. Over
#: 2 800 numbers of drawn nets (tolerances 0.1 to 1e-8, one solve each) it was off by 1.04 bars at most.
SURE, LEAST = 2.0, 1e-10
#: Above this tolerance a solve whose loss rises does not accuse the field: a step may be off by many of the lengths on
#: which the loss changes by a factor. (Of 80 drawn nets with logarithmic tails BDF strayed in fifteen at
#: 0.3, in one at 0.01, in none at 1e-3; six of 320 solves of ``auto`` at 0.01 and above.)
LOOSE = 1e-3
#: What a record holds for its bars alone.
HIDDEN = ("balance_doubt", "loss_grain", ERRED)


def with_bar(row: dict[str, Any], other: dict[str, Any] | None = None) -> dict[str, Any]:
    """A record with ``balance_error``: what the steps may err by and, of two solves, FACTOR times their distance.

    What only bars are made of is dropped.
    """
    rest = {name: value for name, value in row.items() if name not in HIDDEN}
    if "balance_doubt" not in row:
        return rest
    error = np.asarray(row["balance_doubt"])
    if other is not None:
        error = error + FACTOR * np.abs(np.asarray(row["balance"]) - np.asarray(other["balance"]))
    return rest | {"balance_error": error}


def violated(trajectory: xr.Dataset) -> np.ndarray:
    """Whether L(0) − L − ∫ ‖∇L‖² dt is surely not 0, at each record (and member); all False without a balance."""
    if "balance" not in trajectory:
        return np.zeros(trajectory.sizes.get("record", 1), dtype=bool)
    off, bar = np.abs(trajectory.variables["balance"].values), trajectory.variables["balance_error"].values
    spent = np.abs(trajectory.variables["dissipated"].values)
    with np.errstate(invalid="ignore"):
        # off + spent bounds the fall of L.
        return np.isfinite(off) & (off > SURE * bar) & (off > LEAST * (off + spent))


def verdicts(trajectory: xr.Dataset, words: list[str], begun: Any, tolerance: Any) -> list[str]:
    """How each member ended, in words; a loss that rises goes before a violated balance, and that before all else.

    begun : the balance at the start. tolerance : of the steps (of each member); None where they are of a given size.
    """
    words = _on_balance(trajectory, words)
    if not isinstance(begun, Energy):
        return words
    seen = trajectory.variables
    rises = -(seen["balance"].values + seen["dissipated"].values)
    most = np.max(np.where(np.isnan(rises), 0.0, rises), axis=0)
    first, grain = np.asarray(begun.first), np.asarray(begun.grain)
    # Twice what it began at, and no rounding: that is no matter of bars.
    given = np.asarray(np.inf if tolerance is None else tolerance)
    risen = (given > LOOSE) & (most > np.abs(first) + np.sqrt(EPS) * grain)
    each = (np.atleast_1d(a) for a in np.broadcast_arrays(risen, first, first + most, given))
    return [_risen(*numbers) if off else word for word, off, *numbers in zip(words, *each, strict=True)]


def _risen(low: float, high: float, tolerance: float) -> str:
    less = (
        "smaller steps tell"
        if np.isinf(tolerance)
        else f"a tolerance of {LOOSE:g} or less for {tolerance:g} tells"
    )
    return (
        f"{RESULTS[RISES]}: from {low:.4g} to {high:.4g}, where that of a gradient flow falls; either the steps are "
        f"too long and have lost the orbit, or the gradient is wrong: {less} which"
    )


def _on_balance(trajectory: xr.Dataset, words: list[str]) -> list[str]:
    seen = violated(trajectory)
    if not seen.any():
        return words
    seen = seen.reshape(len(seen), -1)
    names = ("balance", "dissipated", "balance_error")
    off, spent, bar = (np.asarray(trajectory[name].values).reshape(seen.shape) for name in names)
    return [_said(seen[:, i], off[:, i], spent[:, i], bar[:, i], word) for i, word in enumerate(words)]


def _said(seen: np.ndarray, off: np.ndarray, spent: np.ndarray, bar: np.ndarray, word: str) -> str:
    if not seen.any():
        return word
    last = int(np.flatnonzero(seen)[-1])
    fell = off[last] + spent[last]
    return (
        f"{RESULTS[NOT_A_FLOW]}: it fell by {fell:.4g} and ∫ ‖∇L‖² dt is {spent[last]:.4g}, "
        f"{abs(off[last]):.2g} ± {bar[last]:.1g} apart (a gradient that is wrong, rounded, random, or jumps)"
    )
