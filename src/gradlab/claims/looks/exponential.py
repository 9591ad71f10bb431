"""One linear layer under the exponential loss: its closed forms, and with decay the equilibrium that a run ends in."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import equinox as eqx
import numpy as np

from gradlab.analysis.one_layer import LinearExponential, linear_exponential
from gradlab.analysis.paths import RegularisedExponential
from gradlab.analysis.solutions import HardMargin, LimitConstants, soudry_constants
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.laboratory.second import COARSE


class ExponentialNet(Look):
    """Signed rows, and the Hessian at the end."""

    setting = "a linear net of one layer and one output, the exponential loss"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one linear layer under the exponential loss."""
        return linear_exponential(problem) is not None

    @cached_property
    def net(self) -> LinearExponential:
        """Rows y_n x_n (N, d), decay, factor."""
        found = linear_exponential(self.problem)
        assert found is not None  # speaks_of
        return found

    @property
    def apart(self) -> float:
        """How far the ends of the two solves lie apart: a distance may be alike in both, in different directions."""
        name = f"weights{COARSE}"
        return (
            float(np.linalg.norm(self.end - self.trajectory[name].values[-1]))
            if name in self.trajectory
            else 0.0
        )

    @cached_property
    def second_derivatives(self) -> np.ndarray:
        """∇²L at the end, (d, d), by automatic differentiation."""
        return np.asarray(self.problem.hessian(self.tree(self.end)))


class DecayedNet(ExponentialNet):
    """With decay: what the run ends in, and the printed flow there."""

    setting = "a linear net of one layer and one output, the exponential loss, λ > 0"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one linear layer under the exponential loss with decay."""
        net = linear_exponential(problem)
        return net is not None and net.decay > 0.0

    @cached_property
    def solution(self) -> RegularisedExponential:
        """The solution of λw = Σ x_n e^{−w·x_n} by Newton's method."""
        return self.net.equilibrium

    @property
    def ran(self) -> bool:
        """Whether the case is a run, and no point without dynamics."""
        return len(self.weights) > 1

    @at_most(1e-9, role="hypothesis", exact=True)
    def rest(self) -> float | None:
        """e^{−λT} ‖w(0) − w*‖/‖w*‖: the rest of the way at the end T of a run, at most.

        ∇²L ≥ λ: the flow contracts at λ or faster. Start and time alone say it, not where the run ended.
        """
        if not self.ran:
            return NOT_ASKED
        away = float(np.linalg.norm(self.weights[0] - self.solution.weights)) / self.solution.norm
        return float(np.exp(-self.net.decay * self.time[-1])) * away

    def field(self, problem: Any) -> np.ndarray:
        """−∇L/λ of a problem at the end, by automatic differentiation."""
        slope = problem.ravel(problem.gradient(problem.unravel(self.end)))
        return -np.asarray(slope) / self.net.decay

    def off(self, problem: Any) -> Number:
        """‖−∇L(w) − (Σ x_n e^{−w·x_n} − λw)‖ at the end, over the sizes of the terms."""
        # in units of λ, beside which squares of 1e-290 are no numbers
        rows, w, velocity = self.net.rows, self.end, self.field(problem)
        pulls = np.exp(-rows @ w - np.log(self.net.ratio))[:, None] * rows
        scale = float(np.sum(np.linalg.norm(pulls, axis=1)) + np.linalg.norm(w))
        rounding = EPS * (len(pulls) + float(np.max(np.abs(rows @ w))))
        return Number(float(np.linalg.norm(velocity - pulls.sum(axis=0) + w)) / scale, rounding)

    @at_most(1e-11, sentence="equilibrium")
    def velocity(self) -> Number:
        """‖−∇L − (Σ x_n e^{−w·x_n} − λw)‖ at the end, over the sizes of the terms, for λ/2 ‖w‖².

        Exponents of 700 at most, sums of a dozen: 1e-13 by rounding. Near the equilibrium both terms are alike.
        """
        return self.off(self.problem)

    @at_most(1e-6, sentence="equilibrium")
    def limit(self) -> Number | None:
        """Distance of a run's end from the solution of λw = Σ x_n e^{−w·x_n} by Newton's method, over ‖w‖.

        Runs of 40/λ at 1e-10 leave about 1e-9.
        """
        if not self.ran:
            return NOT_ASKED
        away = float(np.linalg.norm(self.end - self.solution.weights))
        return Number(away / self.solution.norm, (self.apart + self.end_apart) / self.solution.norm)

    @at_least(0.5, sentence="stable")
    def positive(self) -> Number:
        """Least eigenvalue of ∇²L at the end over λ: hyperbolic.

        1 or more in theory, 0 for a degenerate Hessian: half parts them; rounding is eps d λ_max, 1e-12 λ here.
        """
        values = np.linalg.eigvalsh(self.second_derivatives / self.net.decay)
        return Number(float(values[0]), EPS * len(values) * float(values[-1]))


class DecayPrinted(DecayedNet):
    """With the penalty that is printed beside the flow, λ‖w‖²."""

    @at_most(1e-11, sentence="equilibrium", role="print", repaired="velocity")
    def velocity_printed(self) -> Number:
        """The same for the printed penalty, λ‖w‖².

        As for velocity; a factor of two in λ is about a half at the equilibrium.
        """
        return self.off(eqx.tree_at(lambda problem: problem.decay, self.problem, 2.0 * self.problem.decay))


def dual_constants(rows: np.ndarray, svm: HardMargin) -> LimitConstants | None:
    """What the dual says of w − ŵ log t; None where a support vector has no weight in any dual solution."""
    try:
        return soudry_constants(rows, np.ones(len(rows)), svm)
    except ValueError:
        return None


def increment(points: np.ndarray, logs: np.ndarray, *, drift: bool) -> np.ndarray:
    """What w = ŵ s + c log s + g + o(1) grows by from the second to the first of the logs s: ŵ times a number.

    With ``drift`` c log s, of support vectors without weight, is taken off by a third point.
    """
    step = points[0] - points[1]
    if not drift:
        return step
    share = np.log(logs[0] / logs[1]) / np.log(logs[1] / logs[2])
    return step - share * (points[1] - points[2])


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """The angle of two vectors in radians, small ones too."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(2.0 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))
