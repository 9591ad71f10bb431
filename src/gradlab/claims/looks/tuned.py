"""Rules of descent beside each other, each with its own best step: counts of iterations over a grid of steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.tuning import Tuning
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import at_most
from gradlab.laboratory.second import COARSE


def recorded_counts(found: Mapping[str, Tuning]) -> dict[str, Any]:
    """The tunings of several rules as records: counts (rule, level, step) and steps (rule, step), padded with NaN.

    The second look sees a grid half as fine, the steps of even k.
    """
    width = max(len(one.steps) for one in found.values())
    levels = next(iter(found.values())).counts.shape[1]
    counts, steps = np.full((2, len(found), levels, width), np.inf), np.full((len(found), width), np.nan)
    for i, one in enumerate(found.values()):
        counts[0, i, :, : len(one.steps)], steps[i, : len(one.steps)] = one.counts.T, one.steps
        counts[1, i, :, : len(one.steps)] = np.where(one.places % 2 == 0, one.counts.T, np.inf)
    dims = ("rule", "level", "step")
    edges = float(sum(one.edge for one in found.values()))
    return {
        "names": ("rule", np.array(list(found))),
        "steps": (("rule", "step"), steps),
        "counts": (dims, counts[0]),
        f"counts{COARSE}": (dims, counts[1]),
        "edges": ((), edges),
    }


class Compared(Look):
    """Several rules on one problem, each at every step of its grid."""

    @cached_property
    def names(self) -> list[str]:
        """The rules."""
        return [str(one) for one in self.trajectory["names"].values]

    @cached_property
    def grids(self) -> np.ndarray:
        """Step sizes (rule, step), ascending, NaN at the end."""
        return np.asarray(self.trajectory["steps"].values)

    @cached_property
    def counts(self) -> np.ndarray:
        """Iterations until each level is reached and kept, (rule, level, step); infinite where it was not."""
        return np.asarray(self.trajectory["counts"].values)

    @cached_property
    def best(self) -> np.ndarray:
        """Iterations with the best step of each rule and level, (rule, level)."""
        return np.asarray(self.counts.min(axis=2))

    def at(self, name: str) -> np.ndarray:
        """The best of one rule, a number a level."""
        return np.asarray(self.best[self.names.index(name)])

    @at_most(0.5, role="hypothesis", exact=True)
    def edge(self) -> float:
        """Rules whose best step lies at an edge of the grid, after extensions.

        A count: their best step is then not known.
        """
        return float(self.trajectory["edges"].values)
