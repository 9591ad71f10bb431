"""Deep linear nets: their matrices along a trajectory, and critical points of F = ‖Y − WX‖² with what they assume."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np

from gradlab.analysis import landscape, linear_nets
from gradlab.analysis.linear_nets import Matrices
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, at_least, at_most
from gradlab.observe.local import values_and_gradients
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def ratio(number: Any, scale: Any) -> float:
    """number/scale, and zero where both are zero: an inequality between them that holds with any factor."""
    if scale:
        return float(number / scale)
    return math.copysign(math.inf, number) if number else 0.0


class LinearNet(Look):
    """A deep linear net: its matrices (W_1, …, W_N) and gradients at every record, first layer first."""

    setting = "a linear net of two layers or more, without bias"
    #: The least number of layers of which the claim speaks.
    least_depth = 2

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether the network is a product of so many matrices."""
        network = linear_nets.matrix_chain(problem)
        return network is not None and bool(network.linear) and len(network.widths) > cls.least_depth

    @property
    def network(self) -> Dense:
        """The net."""
        return self.problem.network

    @property
    def depth(self) -> int:
        """N, the number of layers."""
        return len(self.network.widths) - 1

    @cached_property
    def inputs(self) -> np.ndarray:
        """X as rows, (examples, d)."""
        given = np.asarray(self.problem.data.inputs)
        return given.reshape(len(given), -1)

    @cached_property
    def targets(self) -> np.ndarray:
        """Y as rows, (examples, C)."""
        return np.asarray(self.problem.data.targets)

    @cached_property
    def matrices(self) -> list[Matrices]:
        """The layers at every record."""
        return [linear_nets.layers(self.network, vector) for vector in self.weights]

    @cached_property
    def products(self) -> np.ndarray:
        """W_N ⋯ W_1 at every record, (records, C, d)."""
        return np.stack([np.asarray(linear_nets.end_to_end(layers)) for layers in self.matrices])

    @cached_property
    def slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """L and ∇L at every record by automatic differentiation, (records,) and (records, P)."""
        return values_and_gradients(self.problem, self.weights)

    @cached_property
    def motion(self) -> list[Matrices]:
        """−∇L at every record, layer by layer."""
        return [linear_nets.layers(self.network, -gradient) for gradient in self.slopes[1]]

    @cached_property
    def square_norms(self) -> np.ndarray:
        """Σ_j ‖W_j‖² at every record."""
        return np.array([linear_nets.square_norm(layers) for layers in self.matrices])


class LinearFlow(LinearNet):
    """Without weight decay."""

    @at_most(0.0, role="hypothesis", exact=True)
    def decay(self) -> float:
        """The weight decay.

        The source has none; decay changes what the flow conserves.
        """
        return float(np.max(np.asarray(self.problem.decay)))


class CriticalPoints(Look):
    """A deep linear net under the square loss, at those of the recorded points that are critical to rounding."""

    setting = "a deep linear net under the square loss, without bias or decay, targets that are not all zero"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether it is one, with something to learn."""
        found = landscape.of_problem(problem)
        return found is not None and len(found.singular_values) > 0

    @cached_property
    def landscape(self) -> landscape.Landscape:
        """F, its derivatives, and the singular values of YX⁺X."""
        found = landscape.of_problem(self.problem)
        assert found is not None  # speaks_of
        return found

    @cached_property
    def critical(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (points, P) and F at the points that are critical to rounding."""
        return landscape.critical_to_rounding(self.landscape, self.problem, self.weights)

    @cached_property
    def layers(self) -> list[Matrices]:
        """The layers at the critical points."""
        return [self.landscape.layers(vector) for vector in self.critical[0]]

    def spectrum(self, layers: Matrices) -> tuple[np.ndarray, float]:
        """All eigenvalues of ∇²F, ascending, and a bound of their rounding."""
        return landscape.hessian_values(self.landscape, layers)

    @at_least(1.0, role="hypothesis", exact=True)
    def critical_points(self) -> float:
        """How many of the points are critical to rounding, by automatic differentiation; the others are left out.

        A count: of none nothing is asked.
        """
        return float(len(self.critical[0]))


class ReducedPoints(CriticalPoints):
    """In the setting of the source: X and Y of full rank, distinct singular values."""

    @property
    def excused(self) -> bool:
        """Whether the statement is not made of the case, which shows what fails there: no rank is asked of it."""
        return False

    @at_least(1e-6, role="hypothesis")
    def full_rank(self) -> float | None:
        """The least of σ_min/σ_max of X and of YX⁺X, zero where rows are fewer than ranks.

        Rounding leaves 1e-15 of a deficient rank; the problems of the study have 0.1.
        """
        if self.excused:
            return NOT_ASKED
        sigma, widths = self.landscape.singular_values, self.landscape.widths
        if self.landscape.rank < widths[0] or len(sigma) < widths[-1]:
            return 0.0
        inputs = np.linalg.svd(self.landscape.inputs, compute_uv=False)
        return float(min(sigma[-1] / sigma[0], inputs[widths[0] - 1] / inputs[0]))

    @at_least(1e-3, role="hypothesis")
    def distinct(self) -> float:
        """The least difference of two singular values of YX⁺X over the largest.

        “Two by two distinct”; rounding moves singular values by 1e-15, and points are exact to 1e-13.
        """
        sigma = self.landscape.singular_values
        return float(min(np.min(-np.diff(sigma), initial=np.inf) / sigma[0], 1.0))


class WidePoints(ReducedPoints):
    """And no width below the outputs'."""

    @at_least(0.0, role="hypothesis", exact=True)
    def wide(self) -> float:
        """The least width less d_y.

        The source has min(d_i) = d_y.
        """
        return float(min(self.landscape.widths) - self.landscape.widths[-1])
