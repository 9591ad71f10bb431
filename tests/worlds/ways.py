"""Worlds of cohen.trajectories-matter: several ways down, and where they end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.claims.cases import Case
from gradlab.claims.cohen.trajectories_matter import FLOW, FLOW_LARGE, LARGE, SMALL
from worlds import World, seen


def one_end(ends: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
    """Every way ends where the flow from its start would."""
    return {name: ends[FLOW_LARGE if name in (LARGE, FLOW_LARGE) else FLOW] for name in ends}


def exchanged(risks: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
    """Large starts generalise, small ones do not."""
    return risks | {SMALL: risks[LARGE], LARGE: risks[SMALL]}


def dense(teachers: np.ndarray, look: Any) -> np.ndarray:
    """A teacher of which all coordinates count: no way finds it."""
    return np.random.default_rng(3).choice((-1.0, 1.0), teachers.shape)


def near(ends: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
    """All ends are those of descent from small weights."""
    return dict.fromkeys(ends, ends[SMALL])


def noise(size: float = 1e-7) -> World:
    """Starts and ends of the flow off by a share of their size, the coarse ones by ten times that."""

    def changed(case: Case) -> Case:
        given, random = case.trajectory, np.random.default_rng(8)
        for name in ("small", "large", "flow_small", "flow_large", "flow_small_coarse", "flow_large_coarse"):
            share = 10.0 * size if name.endswith("coarse") else size
            rows = given[name].values
            given = given.assign(
                {name: (given[name].dims, rows * (1.0 + share * random.standard_normal(rows.shape)))}
            )
        return replace(case, trajectory=given)

    return World(f"noise of {size:g}, bars to match", changed, noisy=True)


WORLDS = {
    "cohen.trajectories-matter": (
        seen("all optimisers end where the flow does", ends=one_end),
        seen("all ways have one end", ends=near),
        seen("large starts generalise", risks=exchanged),
        seen("a dense teacher", teachers=dense),
        noise(),
    ),
}
