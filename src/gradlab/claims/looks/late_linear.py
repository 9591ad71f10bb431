"""One layer at late times of the exponential loss, beside the hard margin and its dual."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.solutions import HardMargin, LimitConstants, max_margin
from gradlab.claims.looks.exponential import angle, dual_constants
from gradlab.claims.looks.late import LateNet


class LateLinear(LateNet):
    """w(t) = ŵ log t + w̃ + o(1), with what the dual says of w̃."""

    setting = "one linear layer, one output, the exponential loss, no decay, separable data"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one layer."""
        return super().speaks_of(problem) and len(problem.network.widths) == 2

    @cached_property
    def rows(self) -> np.ndarray:
        """y_n x_n."""
        signs = np.asarray(self.problem.data.targets)
        return np.asarray(signs[:, None] * np.asarray(self.problem.data.inputs))

    @cached_property
    def svm(self) -> HardMargin:
        """ŵ and its dual."""
        return max_margin(self.rows, np.ones(len(self.rows)))

    @cached_property
    def dual(self) -> LimitConstants | None:
        """P w̃; None where a support vector has no weight."""
        return dual_constants(self.rows, self.svm)

    @cached_property
    def losses(self) -> np.ndarray:
        """log(1/L) at every record."""
        m = self.weights @ self.rows.T
        low = m.min(axis=1)
        return np.asarray(low - np.log(np.exp(low[:, None] - m).sum(axis=1)))

    @cached_property
    def angles(self) -> np.ndarray:
        """Angle of w to ŵ at every record after the start."""
        return np.array([angle(row, self.svm.direction) for row in self.weights[1:]])

    @cached_property
    def gaps(self) -> np.ndarray:
        """1 − (least margin of w/‖w‖)/γ at every record after the start."""
        w = self.weights[1:]
        # in units in which nothing cancels: w − ŵ log t, of order one
        s = self.logs[1:, None]
        rest = w - self.svm.direction * s
        least = np.min(s + (s * (self.rows @ self.svm.direction - 1.0)) + rest @ self.rows.T, axis=1)
        norm = float(np.linalg.norm(self.svm.direction))
        u = self.svm.direction / norm
        along = norm * self.logs[1:] + rest @ u
        beside = np.linalg.norm(rest - np.outer(rest @ u, u), axis=1)
        # ‖w‖ − along = beside²/(‖w‖ + along)
        longer = beside**2 / (np.hypot(along, beside) + along)
        missing = norm * self.logs[1:] + rest @ u + longer - norm * least
        return np.asarray(missing / np.hypot(along, beside))

    def offset_beside(self) -> float:
        """‖w̃ − (w̃·û)û‖ of P w̃ and of what the start has beside the support vectors; 0 where the dual says
        nothing."""
        if self.dual is None:
            return 0.0
        u = self.svm.direction / np.linalg.norm(self.svm.direction)
        inside = self.dual.offset - (self.dual.offset @ u) * u
        beside = self.weights[0] - self.dual.projector @ self.weights[0]
        return float(np.hypot(np.linalg.norm(inside), np.linalg.norm(beside)))

    @property
    def group(self) -> str:
        """The kind of data, for a figure: ``generic``, or in what they are special."""
        kind = str(self.facts.get("data", "generic"))
        return kind if kind in ("equal weights", "idle", "one example", "toy") else "generic"

    def at(self, log_t: float) -> int:
        """The record nearest to a log t, counted among those after the start."""
        return int(np.argmin(np.abs(self.logs[1:] - log_t)))
