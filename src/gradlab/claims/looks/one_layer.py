"""One linear layer under the square loss: the closed forms of its data, its orbit as matrices, its hypotheses."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import equinox as eqx
import numpy as np

from gradlab.analysis import one_layer
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import at_most
from gradlab.problem.losses import Loss
from gradlab.problem.problem import Problem


class OneLayer(Look):
    """A linear net of one layer under the square loss: its data, and W (C, d) at every record."""

    setting = "a linear net of one layer, the square loss, inputs that are not all zero"

    @classmethod
    def speaks_of(cls, problem: Any) -> bool:
        """Whether it is one linear layer under the square loss."""
        return one_layer.one_layer(problem) is not None

    @cached_property
    def net(self) -> one_layer.OneLayer:
        """Rows X (N, d), Y (N, C), decay, factor, and the singular value decomposition of X."""
        found = one_layer.one_layer(self.problem)
        assert found is not None  # speaks_of
        return found

    @cached_property
    def orbit(self) -> np.ndarray:
        """W at every record, the start first: (records, C, d)."""
        return self.weights.reshape(len(self.weights), self.net.Y.shape[1], self.net.X.shape[1])

    @cached_property
    def last(self) -> np.ndarray:
        """W at the end, (C, d)."""
        return self.end.reshape(self.orbit.shape[1:])

    @cached_property
    def left(self) -> float:
        """What the time of the run leaves of the way from its start to its limit, by the closed form.

        ‖(W(0) − W(∞)) e^{−∇²L T}‖; descent leaves less. The end does not enter: that it is elsewhere is no excuse.
        """
        net, T = self.net, float(self.time[-1])
        curvature = 2.0 * net.factor * net.singular**2 + net.decay
        ahead = (self.slope(self.orbit[0]) @ net.span) / curvature * np.exp(-curvature * T)
        fading = net.beside(self.orbit[0]) * np.exp(-net.decay * T) if net.decay > 0.0 else np.zeros(())
        return float(np.hypot(np.linalg.norm(ahead), np.linalg.norm(fading)))

    def slope(self, W: np.ndarray, loss: Loss | None = None) -> np.ndarray:
        """∇L(W), or that of another loss on the same data, by automatic differentiation."""
        problem = self.problem if loss is None else under(self.problem, loss)
        return np.asarray(problem.gradient((W,))[0])

    def hessian(self, loss: Loss | None = None) -> np.ndarray:
        """∇²L over all C d weights, or that of another loss; it does not depend on W."""
        return np.asarray(
            (self.problem if loss is None else under(self.problem, loss)).hessian((self.orbit[0],))
        )


class NoDecay(OneLayer):
    """Without weight decay."""

    @at_most(0.0, role="hypothesis", exact=True)
    def decay(self) -> float:
        """λ: no weight decay, which would move every component.

        With λ > 0 components beside the span shrink like e^{−λt}, and the limit is that of notes.ridge.
        """
        return self.net.decay


def under(problem: Problem, loss: Loss, decay: float | None = None) -> Problem:
    """The same network and data under another loss of residuals and, where given, another decay."""
    if decay is not None:
        return Problem(problem.network, loss, problem.data, decay)
    return eqx.tree_at(
        lambda one: one.loss, problem, loss
    )  # a tenth of the time: nothing new is to be checked
