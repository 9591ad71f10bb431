"""Gradient descent, SGD and optimisers: the iteration itself, one unit Euler step a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.descent import Constant, GradientDescent, LossScaled, of_epoch
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.loops import bounds
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import State, watch
from gradlab.dynamics.stops import Stop
from gradlab.problem.fused import fused

#: Iterations between two looks at whether all is finite; the end of an epoch is a look too. No bits depend on it:
#: weights that are not finite stay so, and those iterations are then gone through again, one by one.
CHUNK = 100


class Descent(Solver):
    """This is the unit-step Euler method, y ← y + field(k, y): it *is* gradient descent or SGD.

    Of an :class:`~gradlab.dynamics.optimiser.Optimiser` it keeps the state, ``memory``, as a run stores it.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> gl.run(gl.GradientDescent(problem, 0.5), (np.zeros((1, 1)),), [1], solver=gl.solvers.Descent()).result
    'reached the last record'
    """

    #: What makes an optimiser's state at the start, filled in by the run.
    transformation: Any = None

    def suits(self, flow: Flow, clock: Clock, ensemble: bool = False) -> Descent:
        moving = flow.flow if isinstance(flow, Kicked) else flow
        return Descent(getattr(moving, "transformation", None))

    def memory(self, pair: Any) -> Any:
        if self.transformation is None:
            return ()
        from gradlab.dynamics.optimiser import closed

        return closed(self.transformation.init(pair[0]))

    def refuse(self, flow: Flow, clock: Clock, ensemble: bool = False) -> str | None:
        if flow.discrete:
            return None
        return (
            f"Descent steps iterations and {type(flow).__name__} is continuous: use Adaptive() or Fixed(), or "
            "GradientDescent(problem, step) for the iteration"
        )

    def advance(self, flow: Flow, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
        return iterate(flow, clock, stop, state, end, limit)

    def describe(self) -> str:
        if self.transformation is not None:
            return "Descent: the iteration itself, of an optax transformation"
        return "Descent: the iteration itself (unit-step Euler)"


def iterate(flow: Any, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
    """Iterations until ``end``, a stop, or ``limit`` of them; each ends at the exact step.

    Iterates with a gradient written out by hand where ``problem.fused`` has one. Where the stop asks for nothing but
    a number of steps, nothing is evaluated beside the iteration.
    """
    observed = flow
    if isinstance(flow, GradientDescent) and not isinstance(flow.step, LossScaled):
        flow = eqx.tree_at(lambda flow: flow.problem, flow, fused(flow.problem))
    constant = isinstance(flow.step, Constant)
    # A limit that follows the clock is no whole number; of an iteration there is no part.
    until = jnp.minimum(end, state.tau + jnp.floor(limit))

    def step(going: Any, k: Any, y: Any, u: Any, memory: Any) -> tuple[Any, Any, Any]:
        # The schedule and the minibatch take the integer k; tau is the same number as a float.
        if isinstance(memory, tuple) and not memory:
            increment, log_eta = going.update(k, y)
        else:
            increment, log_eta, memory = going.update(k, y, memory)
        # Steps of one size add up to a product, below: u need not be summed.
        return tree.add(y, increment), (u if constant else jnp.logaddexp(u, log_eta)), memory

    def once(state: State) -> State:
        y, u, memory = step(flow, state.steps, state.y, state.u, state.memory)
        steps, tau = state.steps + 1, state.tau + 1.0
        seen = jnp.log1p(flow.step.step * tau) if constant else u
        good = tree.finite(y) & _sound(state.memory, memory)
        code = tree.select(good, watch(observed, stop, (y, seen), steps), stops.NOT_FINITE)
        counted = {"steps": steps, "evaluations": state.evaluations + 1, "status": code}
        return replace(state, tau=tau, y=y, u=u, memory=memory, **counted)

    def chunk(state: State) -> State:
        going, left = of_epoch(flow, state.steps)
        count = jnp.minimum(until - state.tau, jnp.minimum(float(CHUNK), left))
        if stop.steps is not None:
            count = jnp.clip(stop.steps - state.steps, 1, count)
        number = count.astype(state.steps.dtype)

        def body(i: Any, carry: Any) -> Any:
            return step(going, state.steps + i, *carry)

        y, u, memory = jax.lax.fori_loop(*bounds(0, number), body, (state.y, state.u, state.memory))
        good = tree.finite(y) & _sound(state.memory, memory)
        steps = state.steps + number
        code = watch(observed, stop, (y, u), steps)
        counted = {"steps": steps, "evaluations": state.evaluations + number, "status": code}
        ahead = replace(state, tau=state.tau + count, y=y, u=u, memory=memory, **counted)
        # A while instead of a cond: an ensemble would run both branches of a cond.
        again = jax.lax.while_loop(
            lambda s: ~good & (s.tau < ahead.tau) & (s.status == stops.RUNNING), once, state
        )
        return tree.where(good, ahead, again)

    def go_on(state: State) -> Any:
        return (state.tau < until) & (state.status == stops.RUNNING)

    watched = (stop.loss, stop.log_loss, stop.gradient_norm, stop.log_t)
    free = all(level is None for level in watched)
    final = jax.lax.while_loop(go_on, chunk if free else once, state)
    if constant:
        final = eqx.tree_at(lambda s: s.u, final, jnp.log1p(flow.step.step * final.tau))
    return final


def _sound(before: Any, after: Any) -> Any:
    """Whether the arrays of an optimiser's state that were finite are so still. (Single numbers may be infinite.)"""

    def sound(old: Any, new: Any) -> Any:
        if not new.ndim or not jnp.issubdtype(new.dtype, jnp.inexact):
            return jnp.asarray(True)
        return jnp.all(jnp.isfinite(new) | ~jnp.isfinite(old))

    return jax.tree.reduce(jnp.logical_and, jax.tree.map(sound, before, after), jnp.asarray(True))
