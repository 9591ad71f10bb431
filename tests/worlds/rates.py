"""Worlds of the studies of learning rates, of directions on the sphere, and of the notes' summary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import Case
from worlds import World, noisy, orbit, seen
from worlds.exponential import turned, turned_orbit
from worlds.points import TURNED, other_hessian, rounded, shifted


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


def other_limit(variable: str, by: float = 0.05) -> World:
    """Weights that a case keeps beside its own are turned."""

    def change(case: Case) -> Case:
        given = case.trajectory
        for name in (variable, f"{variable}_coarse"):
            if name in given:
                given = given.assign({name: (given[name].dims, turned(given[name].values, by))})
        return replace(case, trajectory=given)

    return World(f"{variable} turned by {by:g}", change)


def margin_on_sphere() -> World:
    """At a held norm the minimum is the hard-margin direction."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        if case.facts["cell"] != "exponential, one layer, norm held":
            return rows
        a = np.asarray(case.problem.data.inputs) * np.asarray(case.problem.data.targets).reshape(-1, 1)
        direction = max_margin(a, np.ones(len(a))).direction
        return np.linalg.norm(rows, axis=1, keepdims=True) * direction / np.linalg.norm(direction)

    return orbit("the hard-margin direction at a held norm", change)


def moved_minima() -> World:
    """Regularised minima moved by a hundredth."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        aside = np.random.default_rng(5).standard_normal(rows.shape)
        moved = rows + 0.01 * np.linalg.norm(rows) * aside / np.linalg.norm(aside)
        return rows if "other" in case.trajectory else moved

    return orbit("minima moved by a hundredth", change)


def one_solution() -> World:
    """Both starts lead to one solution."""

    def change(case: Case) -> Case:
        given = case.trajectory
        if "other" not in given:
            return case
        for side in ("", "_coarse"):
            if f"other{side}" in given:
                values = given[f"weights{side}"].values[-2:]
                given = given.assign({f"other{side}": (given["other"].dims, values)})
        return replace(case, trajectory=given)

    return World("both starts lead to one solution", change)


SUMMARY = (
    turned_orbit(0.05),
    other_limit("other"),
    margin_on_sphere(),
    other_hessian(
        "a Hessian without its least eigenvalue",
        lambda H, _: H - np.linalg.eigvalsh(H)[0] * np.eye(len(H)),
    ),
    noisy(1e-9),
)
WORLDS = {
    "notes.summary": SUMMARY,
    "notes.summary-corrected": (*SUMMARY, moved_minima(), one_solution()),
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
