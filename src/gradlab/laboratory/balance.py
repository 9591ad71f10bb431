"""What a run says of its energy balance: the bar, whether it is violated, and in which words it then ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from gradlab.dynamics.stops import NOT_A_FLOW, RESULTS
from gradlab.laboratory.second import ERRED, FACTOR

#: A balance is violated where it is off by more than this many of its bars, and by this part of E and itself. Over
#: 2 800 numbers of drawn nets (tolerances 0.1 to 1e-8, one solve each) it was off by 1.04 bars at most.
SURE, LEAST = 2.0, 1e-10
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
    off, bar = np.abs(trajectory["balance"].values), trajectory["balance_error"].values
    spent = np.abs(trajectory["dissipated"].values)
    with np.errstate(invalid="ignore"):
        # off + spent bounds the fall of L.
        return np.isfinite(off) & (off > SURE * bar) & (off > LEAST * (off + spent))


def verdicts(trajectory: xr.Dataset, words: list[str]) -> list[str]:
    """How each member ended, in words; a violated balance goes before everything else."""
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
