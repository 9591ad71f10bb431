"""Worlds of the studies of learning rates and of directions on the sphere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.claims.cases import Case
from worlds import World, noisy, orbit, seen
from worlds.points import TURNED, rounded, shifted


def kept_start(share: float = 1e-2) -> World:
    """A part of the start is never forgotten."""
    return orbit(f"{share:g} of the start is kept", lambda rows, case: rows + share * rows[:1])


def faster(factor: float = 1.001) -> World:
    """Every rate is larger than the study is told."""
    return orbit(
        f"rates {factor:g} times as large", lambda rows, case: np.sign(rows) * np.abs(rows) ** factor
    )


def of_noise(name: str, change: object) -> World:
    """Orbits that see noise are changed, the others left."""

    def changed(rows: np.ndarray, case: Case) -> np.ndarray:
        return change(rows) if case.facts["kind"] == "SGD" else rows  # type: ignore[operator]

    return orbit(name, changed)


def other_exponent() -> World:
    """The rates fall more slowly than the study is told."""

    def change(case: Case) -> Case:
        return replace(case, facts={**case.facts, "a": case.facts["a"] + 0.5})

    return World("exponents that are told larger by a half", change)


def goes_on() -> World:
    """Orbits without noise fall like 1/t beside what the equation says."""

    def changed(rows: np.ndarray, case: Case) -> np.ndarray:
        return rows if case.facts["kind"] == "SGD" else rows / (1.0 + case.trajectory["at"].values)[:, None]

    return orbit("orbits that fall on like 1/t", changed)


def averages(rows: np.ndarray) -> np.ndarray:
    """The mean over all records so far."""
    return np.cumsum(rows, axis=0) / np.arange(1, len(rows) + 1)[:, None]


def turned_slope(angle: float = 1e-3) -> World:
    """A gradient that is turned against the true one."""

    def change(slope: np.ndarray, look: Any) -> np.ndarray:
        aside = np.random.default_rng(3).standard_normal(slope.shape)
        aside -= slope * (aside @ slope) / (slope @ slope)
        return slope + angle * np.linalg.norm(slope) * aside / np.linalg.norm(aside)

    return seen(f"a gradient turned by {angle:g}", slope=change)


SLOPES = (turned_slope(), seen("a gradient that points downhill", slope=lambda slope, look: -slope))

WORLDS = {
    "notes.normalised-hessian": (
        *SLOPES,
        seen("one exponential only", shares=lambda shares, look: np.eye(len(shares))[-1]),
        rounded(),
    ),
    "notes.normalised-hessian-corrected": (*SLOPES, TURNED, shifted(), rounded()),
    "notes.learning-rate": (
        kept_start(),
        faster(),
        other_exponent(),
        goes_on(),
        of_noise("noise half as strong again", lambda rows: 1.5 * rows),
        of_noise("averages in place of the weights", averages),
        of_noise("noise that fades by itself", lambda rows: rows * np.linspace(1.0, 0.1, len(rows))[:, None]),
        noisy(1e-9),
    ),
}
