"""Repetitions of a linear net under the square loss that is kicked and descends again."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.looks.look import Look


class KickedLinear(Look):
    """Weights of R repetitions before every kick; the data seen by the features, and what they do not see."""

    setting = "a linear net of one layer and one output, the square loss, no decay"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one layer with one output."""
        network = problem.network
        return bool(network.linear and len(network.widths) == 2 and network.outputs == 1)

    @property
    def features(self) -> np.ndarray:
        """Φ (N, P)."""
        return np.asarray(self.problem.data.inputs)

    @property
    def targets(self) -> np.ndarray:
        """y (N,)."""
        return np.asarray(self.problem.data.targets)[:, 0]

    @cached_property
    def runs(self) -> np.ndarray:
        """Weights (records, R, P)."""
        return self.weights.reshape(len(self.weights), -1, self.features.shape[1])

    @cached_property
    def kicks(self) -> np.ndarray:
        """Kicks (records, R, P)."""
        return np.asarray(self.trajectory["kicks"].values).reshape(self.runs.shape)

    @cached_property
    def unseen(self) -> np.ndarray:
        """A basis (P, P − N) of the null space of the features."""
        right = np.linalg.svd(self.features, full_matrices=True)[2]
        return np.asarray(right[len(self.features) :].T)

    def train(self, record: int) -> np.ndarray:
        """Mean squared training error of every repetition."""
        return np.asarray(np.mean((self.runs[record] @ self.features.T - self.targets) ** 2, axis=1))
