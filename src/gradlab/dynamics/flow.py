"""Flow: a vector field and a chart. The gradient flow dW/dt = −∇L(W) has the identity chart."""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.modules import Module
from gradlab.problem.problem import Problem


class Flow(Module):
    """A flow says how weights move: ``dy/dt = direction · exp(log_scale)`` in the chart y.

    The factor exp(log_scale) is kept apart because it underflows long before the direction does: on an
    exponential loss, −∇L = −L ∇log L with L = 10⁻¹⁰⁰⁰.

    Examples
    --------
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> gl.GradientFlow(problem).discrete, gl.GradientDescent(problem, 0.1).discrete
    (False, True)
    """

    #: True for iterations: one step of the solver is one iteration, and t is Σ η.
    discrete: ClassVar[bool] = False
    #: Whether the Jacobian of the field in this chart is symmetric (a gradient field, flat metric).
    symmetric: ClassVar[bool] = False

    #: Whether y is the weights themselves.
    chart_is_identity: ClassVar[bool] = True
    #: Whether a potential falls at a rate that follows from the field alone (:meth:`dissipation`).
    dissipates: ClassVar[bool] = False

    @abc.abstractmethod
    def encode(self, weights: Any) -> Any:
        """Weights of the observed problem → chart variables y."""

    @abc.abstractmethod
    def decode(self, y: Any) -> Any:
        """Chart variables y → weights of the observed problem."""

    @abc.abstractmethod
    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        """(direction, log_scale): dy/dt = direction · exp(log_scale)."""

    @property
    @abc.abstractmethod
    def observed(self) -> Problem:
        """The problem whose weights ``decode`` gives."""

    @property
    def unknowns(self) -> int:
        """How many numbers are stepped: of what has no variables of its own, the weights."""
        return self.observed.size

    @property
    def reduction(self) -> str:
        """What is stepped in place of all weights on all examples, in words; ``none``."""
        return "none"

    def field(self, t: Any, y: Any) -> Any:
        """dy/dt, which may underflow where :meth:`velocity` does not."""
        direction, log_scale = self.velocity(t, y)
        return tree.scale(jnp.exp(log_scale), direction)

    def potential(self, y: Any) -> Float[Array, ""]:
        """What the flow lowers: the potential of the observed problem."""
        return self.observed.potential(self.decode(y))

    def dissipation(self, y: Any, direction: Any, log_scale: Any) -> tuple[Any, Any]:
        """(g, l): the potential falls by −dL/dt = g exp(l) along dy/dt = direction · exp(log_scale), if that is right.

        From the field as it is stepped, not from the potential; asked for where :attr:`dissipates` says so. In a flat
        chart it is the square of the speed.
        """
        return tree.inner(direction, direction), 2.0 * log_scale

    def settle(self, y: Any) -> Any:
        """The same weights in better chart variables, asked for at every record; y itself unless overridden."""
        return y

    def chart(self, y: Any) -> dict[str, Array]:
        """Chart variables worth recording, by name; each a scalar or a vector over layers."""
        return {}


def descent_direction(problem: Problem, weights: Any) -> tuple[Any, Float[Array, ""]]:
    """(−∇log L, log L) where the loss has a log-risk, else (−∇L, 0); their product is −∇L."""
    if problem.has_log:
        log_value, gradient = problem.log_value_and_gradient(weights)
        return tree.scale(-1.0, gradient), log_value
    return tree.scale(-1.0, problem.gradient(weights)), jnp.zeros(())


class GradientFlow(Flow):
    """Gradient flow moves the weights by dW/dt = −∇L(W), L = risk + ½ Σ λ_k ‖W_k‖² (memo90 eq. 3).

    ``stepped`` : another problem with the same potential and a cheaper gradient to step by, e.g. the one on
    condensed examples (``problem.statistics.condensed``); what is observed is always ``problem``.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> trajectory = gl.run(gl.GradientFlow(problem), (np.zeros((1, 1)),), [1.0])
    >>> round(float(trajectory.final_weights[0]), 6)  # 3 (1 − 1/e)
    1.896362
    """

    problem: Problem
    stepped: Problem | None = None
    symmetric: ClassVar[bool] = True
    dissipates: ClassVar[bool] = True

    @property
    def observed(self) -> Problem:
        return self.problem

    @property
    def reduction(self) -> str:
        if self.stepped is None or self.stepped is self.problem:
            return "none"
        few, whole = len(self.stepped.data.inputs), len(self.problem.data.inputs)
        return f"sufficient statistics: {few} virtual examples in place of {whole}"

    def encode(self, weights: Any) -> Any:
        return weights

    def decode(self, y: Any) -> Any:
        return y

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        return descent_direction(self.problem if self.stepped is None else self.stepped, y)

    def field(self, t: Any, y: Any) -> Any:
        problem = self.problem if self.stepped is None else self.stepped
        return tree.scale(-1.0, problem.gradient(y)) if problem.loss.relative else super().field(t, y)
