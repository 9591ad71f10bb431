"""Evaluations of a whole solve under diffrax, those of rejected attempts included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffrax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.modules import Module


class Estimate(Module):
    """An error estimate and what the attempt behind it cost."""

    error: Any
    evaluations: Float[Array, ""]


class Tally(Module):
    """The inner controller's state, and evaluations so far."""

    inner: Any
    evaluations: Float[Array, ""]


class Counting(diffrax.AbstractStepSizeController):
    """A step size controller that adds up what every attempt cost; otherwise the one inside."""

    controller: diffrax.AbstractStepSizeController

    def wrap(self, direction: Any) -> Counting:
        return Counting(self.controller.wrap(direction))

    def init(
        self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, error_order: Any
    ) -> Any:
        end, state = self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)
        return end, Tally(state, jnp.ones(()))

    def adapt_step_size(
        self, t0: Any, t1: Any, y0: Any, y1_candidate: Any, args: Any, y_error: Any, error_order: Any,
        controller_state: Tally,
    ) -> Any:  # fmt: skip
        *decided, state, result = self.controller.adapt_step_size(
            t0, t1, y0, y1_candidate, args, y_error.error, error_order, controller_state.inner
        )
        return *decided, Tally(state, controller_state.evaluations + y_error.evaluations), result


def counted(solver: Any, controller: diffrax.AbstractStepSizeController) -> tuple[Any, Counting]:
    """The pair counts every evaluation: (solver, controller) for ``diffrax.diffeqsolve``.

    diffrax forgets a rejected attempt together with the solver's own count. The controller's state remembers: ask for
    it by ``SaveAt(t1=True, controller_state=True)`` and read ``solution.controller_state.evaluations``. It counts the
    field at the start, every stage of every attempt, and two for each Hessian-vector product; not the two evaluations
    with which diffrax chooses a first step where ``dt0`` is ``None``.

    Parameters
    ----------
    solver : one of gradlab's stabilised methods.
    controller : any step size controller of diffrax.

    Raises
    ------
    ValueError
        For a solver of diffrax's own, whose evaluations follow from its tableau and ``solution.stats``.

    Examples
    --------
    >>> import diffrax
    >>> import jax.numpy as jnp
    >>> import gradlab as gl
    >>> pair = gl.solvers.counted(gl.solvers.RKC2(), diffrax.ConstantStepSize())
    >>> term = diffrax.ODETerm(lambda t, y, args: -y)
    >>> save = diffrax.SaveAt(t1=True, controller_state=True)
    >>> solution = diffrax.diffeqsolve(
    ...     term, pair[0], 0.0, 1.0, 0.5, jnp.ones(2), stepsize_controller=pair[1], saveat=save
    ... )
    >>> int(solution.controller_state.evaluations)  # 1, six products, two steps of two stages
    17
    """
    if not hasattr(solver, "counted"):
        raise ValueError(
            f"counted takes one of gradlab's stabilised methods and was given {type(solver).__name__}, whose "
            "evaluations are its tableau's stages times solution.stats['num_steps']"
        )
    return replace(solver, counted=True), Counting(controller)
