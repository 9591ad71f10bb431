"""The flow of a loss with kinks: BDF along the loss softened there, |z| as √(z² + ε²)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, Float

from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.state import State
from gradlab.dynamics.stops import Stop
from gradlab.problem.kinked import softened, softens
from gradlab.problem.precision import number


class Softening(Adaptive):
    """This follows the gradient flow of a loss with kinks to where it arrives, and along the kinks as it slides.

    BDF steps along the loss softened on a scale ε; as ε → 0 that is Filippov's flow, which for a convex loss of a
    linear network is −(the element of least norm of the subdifferential). An orbit is about ε off, ε^(2/3) behind a
    kink that lets it go; the error bar compares with ten times the ε and the tolerance. Observables are those of the
    loss itself.

    Parameters
    ----------
    tolerance, absolute : as for ``Adaptive``.
    epsilon : scale of the softened kinks, relative to the largest target (to 1 for margins); to the inputs' length, of
        the kinks of a ReLU.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.Data(np.ones((3, 1)), np.array([[0.0], [1.0], [5.0]]))
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.losses.Lp(1), data)
    >>> run = gl.run(gl.GradientFlow(problem), (np.array([[4.0]]),), [2.0, 10.0], solver=gl.solvers.Softening())
    >>> run.loss.values.round(6).tolist()  # w = 4 − t, which rests at the median from t = 3 on
    [8.0, 6.0, 5.0]
    """

    #: Most of what it errs by is not that of its steps.
    estimates: ClassVar[bool] = False
    #: With a Jacobian from within a softened kink, 1/ε large, Newton's corrections are so small that they seem to have
    #: converged where the orbit has left it: errors of up to 10⁵ tolerances. From outside it is as wrong the other way.
    renews: ClassVar[bool] = True

    name: str = eqx.field(static=True, default="bdf")
    tolerance: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-10)
    absolute: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-15)
    epsilon: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-9)

    def coarser(self) -> Softening:
        """Ten times the ε and the tolerance."""
        wider = replace(self, epsilon=10.0 * self.epsilon)
        return replace(wider, tolerance=10.0 * self.tolerance, absolute=10.0 * self.absolute, least=1.0)

    def compared(self) -> Softening:
        """Two steps or more between records."""
        return replace(self, least=2.0)

    def refuse(self, flow: Flow, clock: Clock, ensemble: bool = False) -> str | None:
        if type(flow) is not GradientFlow:
            return (
                f"kinks are softened for the plain gradient flow, not for {type(flow).__name__}: use "
                "GradientFlow(problem), or Fixed('heun', step)"
            )
        if not softens(flow.problem):
            return (
                "kinks are softened in losses and in Dense networks of (leaky) ReLU, not in this "
                f"{type(flow.problem.network).__name__}: use Fixed('heun', step)"
            )
        return None

    def advance(self, flow: Flow, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
        """Steps the flow of the softened problem; what is observed is the problem itself."""
        soft = GradientFlow(flow.observed, softened(flow.observed, self.epsilon))
        return super().advance(soft, clock, stop, state, end, limit)

    def balanced(self, flow: Flow, y: Any) -> Any:
        """Nothing: the loss that is stepped is not the one that is observed."""
        return ()

    def describe(self) -> str:
        return f"Softening of kinks, epsilon {float(self.epsilon):.3g}, by bdf, tolerance {float(self.tolerance):g}"
