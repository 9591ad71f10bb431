"""Worlds of the studies that compare iterations: other steps, other starts, other names of the same counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.claims.cases import Case
from gradlab.laboratory.second import COARSE
from gradlab.problem.losses import Lp
from gradlab.problem.problem import Problem
from worlds import World, seen


def jitter(*names: str, size: float = 0.01) -> World:
    """True but noisy: every count off by a share at random, on the coarse grid by ten times that."""

    def changed(case: Case) -> Case:
        given, random = case.trajectory, np.random.default_rng(3)
        for name in names:
            for side, share in (("", size), (COARSE, 10.0 * size)):
                values = given[f"{name}{side}"]
                noise = 1.0 + share * random.uniform(-1.0, 1.0, values.shape)
                given = given.assign({f"{name}{side}": (values.dims, values.values * noise)})
        return replace(case, trajectory=given)

    return World(f"counts off by {size:g}", changed, noisy=True)


def called(p: float, other: float) -> World:
    """What was run at one p is said to be of another."""

    def changed(case: Case) -> Case:
        if case.facts["p"] != p:
            return case
        problem = Problem(case.problem.network, Lp(other, "mean"), case.problem.data)
        return replace(case, problem=problem, facts={**case.facts, "p": other})

    return World(f"p = {p:g} called {other:g}", changed)


# Acceleration -----------------------------------------------------------------------------------------------


def plain_starts() -> World:
    """The rule's counts from a start and steps that are made for nothing."""

    def change(counts: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
        return counts | {"rule": counts["plain"], "landed": counts["plain"]}

    return seen("the rule from a plain start", counts=change)


def tuned_descent() -> World:
    """Descent that is not bound by the first residual: as fast as the rule, and half as fast again."""

    def change(counts: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
        return counts | {"descent": 1.5 * counts["landed"]}

    return seen("descent with a step for every residual", counts=change)


def concave() -> World:
    """A loss that is not convex."""
    return seen("a loss that is not convex", bends=lambda values, look: values - 1e-3)


# Ethanol ----------------------------------------------------------------------------------------------------


def one_step() -> World:
    """Every depth at the step that is best for one layer."""

    def change(counts: np.ndarray, look: Any) -> np.ndarray:
        mine = look.grids[0][np.argmin(counts[0, -1])]
        kept = [np.nanargmin(np.abs(np.log(row / mine))) for row in look.grids]
        found = np.full(counts.shape, np.inf)
        for i, k in enumerate(kept):
            found[i, :, k] = counts[i, :, k]
        # what is as slow as not to be counted there
        return np.where(np.isfinite(found), found, 100.0 * counts.min(axis=2, keepdims=True))

    return seen("the step of one layer for every depth", counts=change)


def exchanged() -> World:
    """One layer and two under each other's name."""
    order = {"N = 1": "N = 2", "N = 2": "N = 1"}
    return seen("one layer called two", names=lambda names, look: [order.get(one, one) for one in names])


def twice_as_slow() -> World:
    """Deeper nets take four iterations for each."""

    def change(best: np.ndarray, look: Any) -> np.ndarray:
        factor = np.array([1.0 if name == "N = 1" else 4.0 for name in look.names])
        return best * factor[:, None]

    return seen("deeper nets four times as slow", best=change)


def convexified() -> World:
    """Two layers whose loss is convex."""

    def change(bend: np.ndarray, look: Any) -> np.ndarray:
        values, vectors = np.linalg.eigh(bend)
        return (vectors * np.abs(values)) @ vectors.T

    return seen("a convex loss of two layers", bend=change)


def leaking_product() -> World:
    """Factors whose product is not the optimum."""
    return seen("a product off by 1e-6", factored=lambda w, look: w + 1e-6)


# Starts -----------------------------------------------------------------------------------------------------


def renamed(**others: str) -> World:
    """Starts under another's name."""

    def change(counts: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
        return counts | {name: counts[other] for name, other in others.items()}

    said = ", ".join(f"{name} = {other}" for name, other in others.items())
    return seen(f"starts renamed: {said}", counts=change)


def least_step() -> World:
    """Balanced starts at the least step of the grid only."""

    def change(counts: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
        rows = np.full(counts["balanced"].shape, np.inf)
        rows[:, 0] = counts["balanced"][:, 0]
        return counts | {"balanced": rows}

    return seen("balanced starts at the least step", counts=change)


WORLDS = {
    "cohen.acceleration": (
        plain_starts(),
        tuned_descent(),
        concave(),
        called(2.0, 4.0),
        jitter("descent", "rule", "landed"),
    ),
    "cohen.uci": (
        one_step(),
        exchanged(),
        twice_as_slow(),
        called(2.0, 4.0),
        convexified(),
        leaking_product(),
        jitter("counts"),
    ),
    "arora19.fig2": (
        renamed(balanced="layers"),
        renamed(balanced="layers", layers="balanced"),
        least_step(),
        jitter("layers", "balanced", "same"),
    ),
}
