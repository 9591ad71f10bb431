"""Clocks: which time the solver steps in. A clock is a rate dτ/dt > 0; physical log t is always carried along."""

from __future__ import annotations

import abc
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.tree import Anywhere
from gradlab.modules import Module


class Clock(Module):
    """A clock is a τ with dτ/dt = exp(log_rate) > 0; where the rate is not positive the solve ends and says so.

    Examples
    --------
    >>> import gradlab as gl
    >>> isinstance(gl.LogTime(), gl.clocks.Clock), gl.LogTime().at(3.0)
    (True, 3.0)
    """

    #: Whether a step size underflow in this clock means that the orbit has come to rest.
    may_rest: ClassVar[bool] = False
    #: Whether it shows physical time itself: then the field is stepped as it is, without logarithms.
    physical: ClassVar[bool] = False
    #: Whether a gradient field keeps a Jacobian similar to a symmetric one in this clock.
    symmetric: ClassVar[bool] = True

    @property
    def follows(self) -> bool:
        """Whether it follows from physical time alone, so that log(1 + t) is known and not integrated."""
        return type(self).known is not Clock.known

    @abc.abstractmethod
    def log_rate(self, flow: Flow, y: Any, direction: Any, log_scale: Any, u: Any) -> Float[Array, ""]:
        """log dτ/dt at y, where dy/dt = direction · exp(log_scale); NaN or −∞ where the clock stands.

        u = log(1 + t) is the logarithm of physical time.
        """

    def known(self, tau: Any) -> Float[Anywhere, ""] | None:
        """log(1 + t) at τ where the clock alone says it, else None: then it is integrated."""
        return None

    def ahead(self, tau: Any, until: Any) -> Any:
        """How far it is from τ to ``until`` in physical time, in the clock's unit at τ; in τ where t is not known."""
        if self.known(tau) is None:
            return until - tau

        def time(tau: Any) -> Any:
            known: Any = self.known(tau)
            return jnp.expm1(known)

        now, pace = jax.value_and_grad(time)(tau)
        return (time(until) - now) / pace

    def at(self, u: float) -> float:
        """The inverse of :meth:`known`, on the host: τ where log(1 + t) = u."""
        raise ValueError(f"the clock {type(self).__name__} does not follow from physical time alone")

    def refuse(self, flow: Flow) -> str | None:
        """A sentence if the clock cannot serve the flow, else None."""
        return None


class Time(Clock):
    """This clock shows physical time: dτ = dt.

    Examples
    --------
    >>> import gradlab as gl
    >>> round(float(gl.Time().known(1.0)), 6)  # log(1 + t) at τ = 1
    0.693147
    """

    physical: ClassVar[bool] = True

    def log_rate(self, flow: Flow, y: Any, direction: Any, log_scale: Any, u: Any) -> Float[Array, ""]:
        return jnp.zeros(())

    def known(self, tau: Any) -> Float[Anywhere, ""] | None:
        return tree.library(tau).log1p(tau)

    def ahead(self, tau: Any, until: Any) -> Any:
        return until - tau

    def at(self, u: float) -> float:
        return math.expm1(u)


class LogTime(Clock):
    """This clock shows logarithmic time, τ = log(1 + t), in which log t = 10⁶ is reached like any other.

    Examples
    --------
    >>> import gradlab as gl
    >>> float(gl.LogTime().known(1e6))  # log(1 + t) at τ = 10⁶
    1000000.0
    """

    def log_rate(self, flow: Flow, y: Any, direction: Any, log_scale: Any, u: Any) -> Float[Array, ""]:
        return -u

    def known(self, tau: Any) -> Float[Anywhere, ""] | None:
        return tree.library(tau).asarray(tau)

    def ahead(self, tau: Any, until: Any) -> Any:
        span = until - tau
        return tree.library(span).expm1(span)

    def at(self, u: float) -> float:
        return u


class LogLoss(Clock):
    """This clock shows log-loss time, dτ = L dt, in which the gradient flow is dW/dτ = −∇log L.

    Examples
    --------
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> gl.LogLoss().refuse(gl.GradientFlow(problem))[:44]
    'log-loss time needs a loss with a log-risk; '
    """

    def log_rate(self, flow: Flow, y: Any, direction: Any, log_scale: Any, u: Any) -> Float[Array, ""]:
        return flow.observed.log_potential(flow.decode(y))

    def refuse(self, flow: Flow) -> str | None:
        if flow.observed.has_log:
            return None
        loss = type(flow.observed.loss).__name__
        return (
            f"log-loss time needs a loss with a log-risk; {loss} has none: use the clock Time() or ArcLength(), "
            "or give a CustomLoss its log_value"
        )


class ArcLength(Clock):
    """This clock shows the arc length of the weights: dτ = ‖dW‖ (of the chart variables, for flows in a polar chart).

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> start = (np.array([[1.0]]),)
    >>> trajectory = gl.run(gl.GradientFlow(problem), start, [1.0], clock=gl.clocks.ArcLength(), solver="dopri5")
    >>> round(float(trajectory.final_weights[0]), 6)  # from 1 to 1 + 1
    2.0
    """

    may_rest: ClassVar[bool] = True

    def log_rate(self, flow: Flow, y: Any, direction: Any, log_scale: Any, u: Any) -> Float[Array, ""]:
        return log_scale + jnp.log(tree.norm(direction))


class LogNorm(Clock):
    """This clock shows log ‖W‖: dτ = ⟨W, dW⟩/‖W‖²; it stands where the norm does not grow.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> start = (np.array([[1.0]]),)
    >>> trajectory = gl.run(gl.GradientFlow(problem), start, [np.log(2.0)], clock=gl.clocks.LogNorm(), solver="dopri5")
    >>> round(float(trajectory.final_weights[0]), 6)  # from 1 to e^{log 2}
    2.0
    """

    may_rest: ClassVar[bool] = True
    symmetric: ClassVar[bool] = False

    def log_rate(self, flow: Flow, y: Any, direction: Any, log_scale: Any, u: Any) -> Float[Array, ""]:
        growth = tree.inner(y, direction) / tree.inner(y, y)
        return log_scale + jnp.log(jnp.where(growth > 0.0, growth, jnp.nan))

    def refuse(self, flow: Flow) -> str | None:
        if flow.chart_is_identity:
            return None
        return (
            f"the log-norm clock needs weights as chart variables; {type(flow).__name__} has others: use the "
            "clock Time() or LogLoss()"
        )
