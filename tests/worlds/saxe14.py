"""Worlds of the studies of the modes of linear nets: other curves, other clocks, other data."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.claims.cases import Case
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem
from worlds import World, cut_short, drift, noisy, orbit, seen, told, uneven_layers


def faster(share: float = 1e-3) -> World:
    """A flow whose clock runs a share faster: τ is another."""
    return seen(f"a clock faster by {share:g}", time=lambda time, look: (1.0 - share) * time)


def turned_modes(rows: np.ndarray, case: Case) -> np.ndarray:
    """Weights a thousandth aside along a fixed direction, growing with time."""
    aside = np.random.default_rng(6).standard_normal(rows.shape[1])
    return rows + 1e-3 * np.linspace(0.0, 1.0, len(rows))[:, None] * aside


def by_sum(problem: Any) -> Any:
    """The same problem with the other reduction: τ is another."""
    other = "sum" if problem.loss.reduction == "mean" else "mean"
    return Problem(problem.network, Square(other, half=True), problem.data)


def swapped(seeds: np.ndarray, look: Any) -> np.ndarray:
    """Every mode grows from what another one has."""
    return seeds[::-1]


WORLDS = {
    "saxe14.mode-dynamics": (
        faster(),
        uneven_layers(),
        drift(1e-3),
        orbit("modes that mix by a thousandth", turned_modes),
        told("the mean called the sum", by_sum),
        noisy(1e-11),
    ),
    "saxe14.random-start": (
        faster(0.05),
        seen("seeds that are exchanged", seeds=swapped, growing=lambda p, look: p[::-1]),
        seen("seeds four times as large", seeds=lambda s, look: 4.0 * s, growing=lambda p, look: 2.0 * p),
        cut_short(),
        noisy(1e-8),
    ),
}
