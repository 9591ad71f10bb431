"""Networks trained on images over several seeds: one case is a whole experiment, its numbers means with intervals."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.intervals import mean_over
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import Number, at_least, at_most


class Trained(Look):
    """The problem is that of the last network and the last seed; the trajectory holds one number a run."""

    setting = "a network that classifies images, with a test split, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one."""
        split = problem.data.test_inputs is not None
        return problem.loss.labels == "class" and split and not np.any(np.asarray(problem.decay))

    def of(self, name: str) -> np.ndarray:
        """What was recorded under a name."""
        return np.asarray(self.trajectory[name].values, dtype=np.float64)

    @cached_property
    def tested(self) -> int:
        """Examples of a test split."""
        return len(np.asarray(self.problem.data.test_inputs))

    @property
    def grain(self) -> float:
        """What a test error is rounded to."""
        return 1.0 / self.tested

    @cached_property
    def drawn(self) -> np.ndarray:
        """A number of every seed's draw, its first training image say; (seeds,)."""
        return self.of("drawn")

    @cached_property
    def shared(self) -> float:
        """The share of test images that are training images of the same seed."""
        train, test = (np.asarray(one).reshape(len(one), -1) for one in self.splits)
        known = {row.tobytes() for row in train}
        return float(np.mean([row.tobytes() in known for row in test]))

    @property
    def splits(self) -> tuple[Any, Any]:
        """Training and test images."""
        return self.problem.data.inputs, self.problem.data.test_inputs

    @at_most(0.05, role="hypothesis", exact=True)
    def apart(self) -> float:
        """Share of the test images that are training images.

        A test error is one only of images that were not trained on. Sets have a few equal images.
        """
        return self.shared

    @at_least(0.0, role="hypothesis", exact=True)
    def independent(self) -> float:
        """Different draws of the seeds, less the seeds.

        Intervals are over seeds that differ; one seed counted many times has no spread.
        """
        return float(len(np.unique(self.drawn)) - len(self.drawn))

    def paired(self, values: np.ndarray, grain: float = 0.0) -> Number:
        """The mean over seeds, with its interval."""
        return mean_over(values, grain)


def curve(name: str, dim: str, values: np.ndarray, logarithms: bool = False) -> dict[str, Any]:
    """Means over the seeds of values (…, seed) with the ends of their intervals, for ``plots.Means``.

    logarithms : the values are; drawn are geometric means.
    """
    numbers = [mean_over(row) for row in np.asarray(values)]
    rows = np.array([(one.value, one.value - one.error, one.value + one.error) for one in numbers]).T
    made = np.exp(rows) if logarithms else rows
    return {f"{name}{end}": (dim, row) for end, row in zip(("", "_low", "_high"), made, strict=True)}


def best_for_others(log_losses: np.ndarray) -> np.ndarray:
    """For every arm and seed the step with the least mean log loss of the other seeds: (arm, seed).

    ``log_losses`` (arm, step, seed, record). So no step is chosen by the numbers that it is judged by.
    """
    mean = np.nan_to_num(log_losses.mean(axis=-1), nan=np.inf)
    others = [np.delete(mean, seed, axis=-1).sum(axis=-1) for seed in range(mean.shape[-1])]
    return np.argmin(np.stack(others, axis=-1), axis=1)


def passed(curve: np.ndarray, moments: np.ndarray, level: float) -> float:
    """The moment at which a curve first is at a level, by lines between records."""
    i = int(np.argmax(curve <= level))
    if i == 0:
        return float(moments[0])
    share = (curve[i - 1] - level) / (curve[i - 1] - curve[i])
    return float(moments[i - 1] + share * (moments[i] - moments[i - 1]))


def sooner(
    ours: np.ndarray, theirs: np.ndarray, moments: np.ndarray, other_moments: np.ndarray | None = None
) -> float:
    """log10 of the time of our curve over that of theirs, to the lowest level that both reach: nothing is cut off."""
    level = max(float(np.nanmin(ours)), float(np.nanmin(theirs)))
    later = moments if other_moments is None else other_moments
    return float(np.log10(passed(ours, moments, level) / passed(theirs, later, level)))


def mark(weights_and_data: Any) -> float:
    """A number that tells draws apart: a sum of products of what was drawn and fixed random numbers."""
    parts = [np.asarray(one, dtype=np.float64).ravel() for one in weights_and_data]
    return float(sum(np.random.default_rng(1).standard_normal(one.size) @ one for one in parts))
