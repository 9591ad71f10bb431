"""Steps of a smooth piece in u = log(1 + t): SciPy's Radau IIA of order 5 with an exact dense Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import Radau

from gradlab.dynamics.filippov.counts import Counts

#: Newton's error as a share of the error tolerance; SciPy's own choice, √tolerance, meets round-off at 1e-10.
NEWTON = 1e-3


class Stepper(Radau):
    """Radau with the error ‖e‖₂ ≤ tolerance ‖y‖₂, a first guess along the tangent, and a Jacobian that may be given."""

    def __init__(
        self,
        velocity: Callable[..., np.ndarray],
        jacobian: Callable[..., np.ndarray],
        u: float,
        y: np.ndarray,
        end: float,
        h: float,
        tolerance: float,
        counts: Counts,
        known: np.ndarray | None = None,
    ) -> None:
        self.counts, self.tolerance, given = counts, tolerance, [known]

        def field(u: float, y: np.ndarray) -> np.ndarray:
            counts.evaluations += 1
            return velocity(u, y)

        def exact(u: float, y: np.ndarray, _: Any = None) -> np.ndarray:
            first, given[0] = given[0], None
            if first is not None:
                return first
            counts.jacobians += 1
            return jacobian(u, y)

        super().__init__(field, u, y, end, rtol=tolerance, atol=0.0, jac=exact, first_step=min(h, end - u))
        self.newton_tol = NEWTON
        # Without a guess Newton would start from y(u), where exp(u + log L) is wrong by exp(h).
        tangent = self.f
        self.sol = lambda v: y[:, None] + tangent[:, None] * (np.asarray(v) - u)
        self._scale()

    def _scale(self) -> None:
        # SciPy's error norm is a root mean square: this makes it ‖e‖₂ / (tolerance ‖y‖₂); y = 0 must not divide 0 by 0
        size = max(float(np.linalg.norm(self.y)), 1e-100)
        self.rtol, self.atol = 0.0, self.tolerance * size / np.sqrt(self.y.size)

    def advance(self) -> bool:
        """One accepted step; False where there is none."""
        # a matrix that became singular or not finite is a failure of the step, not an error of the caller
        before = self.nlu
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                self.step()
        except (ValueError, np.linalg.LinAlgError):
            return False
        if self.status == "failed":
            return False
        self.counts.steps += 1
        # every attempt factorises two matrices, except where the old ones were kept
        self.counts.rejected += max(0, (self.nlu - before) // 2 - 1)
        self._scale()
        return bool(np.isfinite(self.y).all())
