"""One point: outputs and potential to second order, eigenvalues with bounds, and counts of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis.equilibria import counting
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import Number, at_least, at_most
from gradlab.observe import local
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem


class Point(Look):
    """A problem at the last weights of its trajectory."""

    @cached_property
    def eigen(self) -> counting.Eigenvalues:
        """Outputs, derivatives, eigenvalues and their bound."""
        return counting.eigenvalues(self.problem, self.end)

    @cached_property
    def hessian(self) -> np.ndarray:
        """∇²L by automatic differentiation, (P, P)."""
        return local.automatic_hessian(self.problem, self.end)

    @cached_property
    def values(self) -> np.ndarray:
        """Its eigenvalues, ascending."""
        return np.linalg.eigvalsh(self.hessian)

    @property
    def bound(self) -> float:
        """What rounding can change of an eigenvalue."""
        return self.eigen.bound

    @cached_property
    def scale(self) -> float:
        """‖∇²L‖, 1 where that is zero."""
        return float(np.linalg.norm(self.hessian)) or 1.0

    def distinct(self, less: float = 0.0, *, nonzero: bool = False) -> Number:
        """Distinct eigenvalues, less what is expected; ``nonzero``: zero not counted."""
        return count(counting.distinct(self.values, self.bound, nonzero=nonzero), less)

    def zeros_of_hessian(self, less: float = 0.0) -> Number:
        """Eigenvalues that are zero, less what is expected."""
        return count(counting.kernel(self.values, self.bound), less)

    def below_zero(self) -> Number:
        """Eigenvalues that are negative."""
        return count(counting.below_zero(self.values, self.bound))

    @property
    def examples(self) -> int:
        """N."""
        return int(self.problem.data.inputs.shape[0])

    @cached_property
    def rank(self) -> float:
        """The rank of the inputs, NaN where no gap shows it."""
        return counting.decided_rank(np.asarray(self.problem.data.inputs).reshape(self.examples, -1))


class SmoothPoint(Point):
    """Off the kinks of the activation."""

    @at_most(0.5, role="hypothesis", exact=True)
    def kink(self) -> float:
        """One where the point lies on a kink of the activation, within 1e-6 of its size.

        Second derivatives exist only off the kinks.
        """
        return self.eigen.kink


class PlainPoint(SmoothPoint):
    """Without weight decay, off the kinks."""

    @at_most(0.0, role="hypothesis", exact=True)
    def decay(self) -> float:
        """The largest decay.

        The passage has none here.
        """
        return float(np.max(np.asarray(self.problem.decay)))


class OverparametrisedPoint(PlainPoint):
    """With more weights than examples."""

    @at_least(0.5, role="hypothesis", exact=True)
    def over(self) -> float:
        """Weights less examples: overparametrised.

        A whole number.
        """
        return self.size - self.examples


class SquarePoint(SmoothPoint):
    """Under the square loss."""

    setting = "the square loss"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether the loss is square."""
        return isinstance(problem.loss, Square)


class SquareZero(PlainPoint, SquarePoint):
    """A zero of the square loss."""

    @property
    def bound(self) -> float:
        """What rounding and residuals can change of an eigenvalue."""
        return self.eigen.bound_at_zero

    @at_most(1e-13, role="hypothesis")
    def residual(self) -> Number:
        """‖y − f‖/‖f‖: zero loss.

        f is a chain of sums, right to some dozens of eps of its size; a residual above that would show in the Hessian.
        """
        return Number(residual(self.problem, self.eigen.here.f), exact=True)


def residual(problem: Problem, f: np.ndarray) -> float:
    """‖y − f‖/‖f‖."""
    size, gap = np.linalg.norm(f), np.linalg.norm(np.asarray(problem.data.targets) - f)
    return float(gap / size) if size else (0.0 if gap == 0.0 else float("inf"))


def count(found: counting.Count, less: float = 0.0) -> Number:
    """A count as a number: exact where it was decided, else with the error of what was not."""
    return Number(found.number - less, found.error, exact=True)
