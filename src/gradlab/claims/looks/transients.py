"""The transient of the norm: ρ(t) = Π‖W_k‖, the sums of eq. 5 along a trajectory, and the time at which it is over."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import jax
import numpy as np
from scipy.interpolate import PchipInterpolator

from gradlab.analysis.norm_dynamics import NormDynamics
from gradlab.claims.looks.polar import LayerRecords
from gradlab.claims.measured import Number
from gradlab.problem.compiling import compiled
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem

#: The transient is over when ρ is this share of Σ y_n f_n/Σ f_n² of its own directions.
END = 0.5


@compiled
def _outputs(problem: Problem, vectors: Any) -> Any:
    return jax.vmap(lambda vector: problem.outputs(problem.unravel(vector))[:, 0])(vectors)


def crossing(times: np.ndarray, values: np.ndarray, level: float) -> Number:
    """The first time at which a recorded quantity passes a level from below, and what interpolation makes of it.

    Infinite, with an infinite bar, where it does not pass; 0 where it was never below. Where it is NaN it is not below.
    """
    passed = np.flatnonzero((values[1:] >= level) & (values[:-1] < level))
    if not passed.size:
        never = bool(np.all(values >= level))
        return Number(0.0 if never else math.inf, 0.0 if never else math.inf)
    i = int(passed[0]) + 1
    unknown = np.flatnonzero(np.isnan(values))
    low, high = max(i - 3, 0, *(unknown[unknown < i] + 1)), min(i + 3, len(times), *unknown[unknown > i])
    smooth = PchipInterpolator(times[low:high], values[low:high])
    found = [one for one in smooth.solve(level, extrapolate=False) if times[i - 1] <= one <= times[i]]
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    straight = times[i - 1] + share * (times[i] - times[i - 1])
    time = float(found[0]) if found else float(straight)
    return Number(time, 0.25 * abs(time - float(straight)))


class Transient(LayerRecords):
    """A flow of the square loss with one output, from a small start."""

    @cached_property
    def rho(self) -> np.ndarray:
        """ρ at every record."""
        return np.prod(self.lengths, axis=1)

    @cached_property
    def outputs(self) -> np.ndarray:
        """g_n = ρf_n at every record, (records, N)."""
        return np.asarray(_outputs(self.problem, self.weights))

    @property
    def labels(self) -> np.ndarray:
        return np.asarray(self.problem.data.targets).reshape(-1)

    @cached_property
    def sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Σ y_n f_n and Σ f_n² at every record."""
        f = self.outputs / self.rho[:, None]
        return f @ self.labels, np.sum(f**2, axis=1)

    @cached_property
    def filled(self) -> np.ndarray:
        """ρ/ρ_eq of the directions of the moment, Σ g²/Σ y g; 0 where Σ y g ≤ 0."""
        pull, power = self.sums
        return np.where(pull > 0.0, self.rho * power / np.where(pull > 0.0, pull, 1.0), 0.0)

    @cached_property
    def duration(self) -> Number:
        """T, the first time at which ρ/ρ_eq rises through ½.

        Where Σ y f rises through zero, as it may soon after the start, ρ_eq does, and ρ/ρ_eq comes down from ∞.
        """
        # −ρ^{−(1−2/L)} (log ρ of two layers) is a straight line in t while ρ is small
        known = np.where(self.sums[0] > 0.0, self.filled, np.nan)
        filled, power = np.maximum(known, 1e-12), 2.0 / self.depth - 1.0
        if self.depth == 1:
            return crossing(self.time, known, END)
        if self.depth == 2:
            return crossing(self.time, np.log(filled), math.log(END))
        return crossing(self.time, -(filled**power), -(END**power))

    @property
    def depth(self) -> int:
        return int(self.layer.max()) + 1

    def reduced(self) -> NormDynamics:
        """Eq. 5 with the sums of the start."""
        pull, power = self.sums
        return NormDynamics(self.depth, float(pull[0]), float(power[0]))

    def at(self, values: np.ndarray, time: float) -> float:
        """A recorded quantity at a time."""
        return float(np.interp(time, self.time, values))


class UndecayedTransient(Transient):
    """Without weight decay."""

    setting = "one output, the square loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is a problem with one output under the square loss, without decay."""
        square = isinstance(problem.loss, Square) and problem.network.outputs == 1
        return square and not np.any(np.asarray(problem.decay) != 0.0)

    @property
    def chain(self) -> bool:
        """Whether every layer is one weight."""
        return self.size == self.depth
