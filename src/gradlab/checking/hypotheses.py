"""Hypotheses with their measured values: what theorems assume, checkpoint by checkpoint, or that it is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Assumption:
    """One thing a theorem assumes.

    Attributes
    ----------
    name : what, in a few words.
    values : (T,), the measured number at each checkpoint; NaN where it is not known.
    relation, bound : ``<=`` or ``>=``, and (T,) what it is held against.
    words : of a value and its bound, a few words with the number: "separable, margin 0.12".
    remedy : what would have to change for it to hold.
    unknown : where values are NaN, what is missing and how to give it.
    note : words after those. momentary : whether it is of a moment, asked where a theorem speaks and not before.
    """

    name: str
    values: np.ndarray
    relation: str
    bound: np.ndarray
    words: Callable[[float, float], str]
    remedy: str
    unknown: str = ""
    note: str = ""
    momentary: bool = False

    @property
    def status(self) -> np.ndarray:
        """(T,): 1 where it holds, 0 where not, −1 where it is not known."""
        with np.errstate(invalid="ignore"):
            held = self.values <= self.bound if self.relation == "<=" else self.values >= self.bound
        return np.where(np.isnan(self.values), -1, held.astype(int))

    def decisive(self, where: np.ndarray) -> int | None:
        """The checkpoint among those given at which it fails first; if always or never, nearest to its bound."""
        status = self.status
        known = [int(i) for i in where if status[i] >= 0]
        if not known:
            return None
        broken = [i for i in known if status[i] == 0]
        if broken and len(broken) < len(known):
            return broken[0]
        gap = np.abs(self.bound - self.values)
        return min(known, key=lambda i: gap[i] if np.isfinite(gap[i]) else np.inf)

    def said(self, where: np.ndarray) -> str:
        """The words at the decisive checkpoint."""
        at = self.decisive(where)
        return (
            self.unknown
            if at is None
            else self.words(float(self.values[at]), float(self.bound[at])) + self.note
        )


def always(
    count: int,
    name: str,
    value: float,
    relation: str,
    bound: float,
    words: Callable[[float, float], str],
    remedy: str,
    unknown: str = "",
    note: str = "",
) -> Assumption:
    """A hypothesis whose number is the same at all checkpoints."""
    every = np.full(count, float(value))
    return Assumption(name, every, relation, np.full(count, float(bound)), words, remedy, unknown, note)


def filled_in(values: np.ndarray) -> np.ndarray:
    """What is known at some checkpoints only, taken for the others from the one before, or else the next."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return values
    before = np.searchsorted(known, np.arange(len(values)), side="right") - 1
    return values[known[np.maximum(before, 0)]]


def short(value: float) -> str:
    """A number for a sentence: three digits at most."""
    if not np.isfinite(value):
        return "∞" if value > 0 else ("−∞" if value < 0 else "unknown")
    text = f"{value:.3g}" if abs(value) >= 0.01 or value == 0.0 else f"{value:.2g}"
    text = f"−{text[1:]}" if text.startswith("-") else text
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
