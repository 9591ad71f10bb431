"""A minimum with weight decay: hypotheses that it is one, its eigenvalues counted, its rotations of hidden units."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.equilibria import counting, symmetry
from gradlab.claims.looks.points import SmoothPoint
from gradlab.claims.measured import at_least, at_most


class RegularisedPoint(SmoothPoint):
    """An equilibrium under weight decay, off the kinks of the activation."""

    @cached_property
    def eigen(self) -> counting.Eigenvalues:
        """Derivatives, and eigenvalues with a bound that has how far H moves up to the true equilibrium."""
        return counting.eigenvalues(self.problem, self.end, equilibrium=True)

    @cached_property
    def decay(self) -> float:
        """λ, the least of the layers."""
        return float(np.min(np.asarray(self.problem.decay)))

    @cached_property
    def zeros(self) -> counting.Count:
        """Zero eigenvalues."""
        return counting.kernel(self.eigen.values, self.eigen.bound)

    @cached_property
    def below(self) -> counting.Count:
        """Negative eigenvalues."""
        return counting.below_zero(self.eigen.values, self.eigen.bound)

    @cached_property
    def rotations(self) -> float:
        """The dimension of the orbit of rotations of hidden units; NaN where no gap shows it."""
        tangents = symmetry.rotations(self.problem, self.end)
        if not len(tangents):
            return 0.0
        # the tangents' entries are weights, known up to ‖∇L‖ over the least eigenvalue that is not zero
        sizes = np.abs(self.eigen.values)
        away = self.eigen.noise / float(sizes[sizes > self.eigen.bound].min(initial=np.inf))
        return counting.decided_rank(tangents, 2.0 * np.sqrt(len(tangents)) * away)

    @property
    def unexplained(self) -> counting.Count:
        """Zero eigenvalues beyond the tangents of rotations."""
        return counting.Count(self.zeros.number - self.rotations, self.zeros.error)

    @at_least(1e-300, role="hypothesis", exact=True)
    def decayed(self) -> float:
        """The least decay of a layer.

        λ_k > 0, every one.
        """
        return self.decay

    @at_most(1.0, role="hypothesis", exact=True)
    def rest(self) -> float:
        """‖∇L‖ over the bound of its rounding: an equilibrium.

        At one, what is left of the gradient means nothing in float64.
        """
        return self.eigen.at_rest

    def shown(self) -> dict[str, Any]:
        """λ, the least eigenvalue in units of λ, and the dimension of the orbit of rotations."""
        least = self.eigen.values[0] / self.decay if self.decay else np.nan
        return {"lambda": self.decay, "least": least, "rotations": self.rotations}
