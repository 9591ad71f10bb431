"""The look that all others inherit: a problem, and the weights along its trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from gradlab.laboratory.second import COARSE, FACTOR


class Look:
    """A Look sees one case: a problem, what was recorded of it, and the facts of the case.

    A study's class adds the numbers that are asked. It is made twice a case: of the fine solve and of the coarse one.

    Examples
    --------
    >>> import gradlab as gl
    >>> import xarray as xr
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> look = gl.claims.Look(problem, xr.Dataset({"weights": (("record", "weight"), [[1.0], [2.0]])}), {})
    >>> look.end, float(look.gradient(look.end)[0])  # 2 (2 − 3)
    (array([2.]), -2.0)
    """

    #: What the problem must be for the claim to speak of it, in words; empty where it speaks of every problem.
    setting = ""

    def __init__(self, problem: Any, trajectory: xr.Dataset, facts: Mapping[str, Any]) -> None:
        self.problem, self.trajectory, self.facts = problem, trajectory, facts

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether the claim speaks of this problem."""
        return True

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights at every record, the start first: (records, P); a single row where only an end was kept."""
        kept = self.trajectory["weights" if "weights" in self.trajectory else "final_weights"].values
        return np.atleast_2d(np.asarray(kept, dtype=np.float64))

    @property
    def end(self) -> np.ndarray:
        """The last weights, (P,)."""
        if "final_weights" in self.trajectory:
            return np.asarray(self.trajectory["final_weights"].values, dtype=np.float64)
        return self.weights[-1]

    @cached_property
    def end_apart(self) -> float:
        """FACTOR ‖W − W'‖ of the last weights of both solves: the bar of a distance from the end, whose values may be
        alike by chance; 0 where there was one solve.
        """
        name = "weights" if "weights" in self.trajectory else "final_weights"
        if f"{name}{COARSE}" not in self.trajectory:
            return 0.0
        other = np.atleast_2d(self.trajectory[f"{name}{COARSE}"].values)[-1]
        return FACTOR * float(np.linalg.norm(self.weights[-1] - other))

    @property
    def time(self) -> np.ndarray:
        """Physical time at every record."""
        return np.asarray(self.trajectory["t"].values, dtype=np.float64)

    @property
    def steps(self) -> float:
        """Steps that were taken until the end; the number of records where there were none."""
        given = self.trajectory["step"].values if "step" in self.trajectory else [len(self.weights)]
        return float(np.max(given))

    @property
    def size(self) -> int:
        """P, the number of weights."""
        return int(self.problem.size)

    def tree(self, vector: np.ndarray) -> Any:
        """Weights as the network takes them."""
        return self.problem.unravel(vector)

    def gradient(self, vector: np.ndarray) -> np.ndarray:
        """∇L at a vector of weights, by automatic differentiation: (P,)."""
        return np.asarray(self.problem.ravel(self.problem.gradient(self.tree(vector))))

    def shown(self) -> dict[str, Any]:
        """What the figure needs beside the numbers: scalars, text, or pairs (dim, values)."""
        return {}
