"""Linear nets under the square loss that are kicked: what is left of each kick, and repetitions that descend again."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.claims.looks.linear_net import LinearNet
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem

#: Eigenvalues below this part of the largest are zeros of symmetries and of what no example sees.
ZERO = 1e-7


class Kicked(LinearNet):
    """The kicks of a run, the motion of the product after each, and the spectrum of ∇²L at the records."""

    setting = "a linear net under the square loss"
    least_depth = 1

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one."""
        return isinstance(problem.loss, Square) and super().speaks_of(problem)

    @cached_property
    def regular(self) -> float:
        """λ, the least of the layers."""
        return float(np.min(np.asarray(self.problem.decay)))

    @cached_property
    def kicks(self) -> np.ndarray:
        """The kick after every record, (records, P); zeros where there was none."""
        return self.trajectory["kick"].values if "kick" in self.trajectory else np.zeros_like(self.weights)

    @cached_property
    def struck(self) -> np.ndarray:
        """Records that a kick follows."""
        return np.flatnonzero(np.linalg.norm(self.kicks, axis=1)[:-1] > 0.0)

    def relative(self, moved: np.ndarray) -> np.ndarray:
        """‖moved‖ by each kick, in units of it."""
        sizes = np.linalg.norm(self.kicks[self.struck], axis=1)
        return np.linalg.norm(moved.reshape(len(sizes), -1), axis=1) / sizes

    @cached_property
    def moved(self) -> np.ndarray:
        """Motion of the product after each kick, (kicks, C, d)."""
        return self.products[self.struck + 1] - self.products[self.struck]

    @property
    def rounding(self) -> float:
        """That of a difference of two products, in units of the least kick."""
        sizes = np.linalg.norm(self.kicks[self.struck], axis=1)
        return float(EPS * self.size * np.abs(self.products).max() / sizes.min())

    def worst(self, moved: np.ndarray) -> Number:
        """The largest of a motion after each kick."""
        return Number(float(self.relative(moved).max()), self.rounding)

    def least(self) -> Number:
        """The least change of the product by a kick."""
        return Number(float(self.relative(self.moved).min()), self.rounding)

    @cached_property
    def spectra(self) -> np.ndarray:
        """Eigenvalues of ∇²L at every record after the start."""
        hessians = [np.asarray(self.problem.hessian(self.tree(w))) for w in self.weights[1:]]
        return np.linalg.eigvalsh(np.stack(hessians))

    @property
    def meant(self) -> bool:
        """Whether the run is one that should be kicked."""
        return True

    @at_least(0.5, role="hypothesis", exact=True)
    def kicked(self) -> float | None:
        """Kicks that the run has.

        A whole number.
        """
        return float(len(self.struck)) if self.meant else NOT_ASKED

    @at_least(0.5, role="hypothesis", exact=True)
    def degenerate(self) -> float | None:
        """Directions of the inputs that no example sees, without decay.

        A whole number.
        """
        bare = self.meant and not self.regular
        return NOT_ASKED if not bare else float(self.inputs.shape[1] - np.linalg.matrix_rank(self.inputs))

    @at_least(25.0, role="hypothesis")
    def settled(self) -> float | None:
        """Time between records times the least non-zero curvature at them: the flow has settled between kicks.

        e^{−25} is 1e-11 of a kick. Whether the run is at rest does not enter: where it is not, that is no excuse.
        """
        if not self.meant:
            return NOT_ASKED
        sizes = np.abs(self.spectra)
        kept = sizes[sizes > ZERO * sizes.max(axis=1, keepdims=True)]
        return float(kept.min() * np.diff(self.time).min())


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
