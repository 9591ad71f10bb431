"""Gradient descent and SGD: the iteration itself, one unit Euler step a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.descent import Constant, GradientDescent, LossScaled
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import State, watch
from gradlab.dynamics.stops import Stop
from gradlab.problem.fused import fused

#: Iterations between two looks at whether all is finite. No bits depend on it: weights that are not finite stay so,
#: and those iterations are then gone through again, one by one.
CHUNK = 100


class Descent(Solver):
    """This is the unit-step Euler method, y ← y + field(k, y): it *is* gradient descent or SGD.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> gl.run(gl.GradientDescent(problem, 0.5), (np.zeros((1, 1)),), [1], solver=gl.solvers.Descent()).result
    'reached the last record'
    """

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
    until = jnp.minimum(end, state.tau + limit)

    def step(k: Any, y: Any, u: Any) -> tuple[Any, Any]:
        # The schedule and the minibatch take the integer k; tau is the same number as a float.
        increment, log_eta = flow.update(k, y)
        # Steps of one size add up to a product, below: u need not be summed.
        return tree.add(y, increment), (u if constant else jnp.logaddexp(u, log_eta))

    def once(state: State) -> State:
        y, u = step(state.steps, state.y, state.u)
        steps, tau = state.steps + 1, state.tau + 1.0
        seen = jnp.log1p(flow.step.step * tau) if constant else u
        code = jnp.where(tree.finite(y), watch(observed, stop, (y, seen), steps), stops.NOT_FINITE)
        return replace(state, tau=tau, y=y, u=u, steps=steps, evaluations=state.evaluations + 1, status=code)

    def chunk(state: State) -> State:
        count = jnp.minimum(until - state.tau, float(CHUNK))
        if stop.steps is not None:
            count = jnp.clip(stop.steps - state.steps, 1, count)
        number = count.astype(state.steps.dtype)

        def body(i: Any, pair: Any) -> Any:
            return step(state.steps + i, *pair)

        y, u = jax.lax.fori_loop(0, number, body, (state.y, state.u))
        good = tree.finite(y)
        steps = state.steps + number
        code = watch(observed, stop, (y, u), steps)
        counted = {"steps": steps, "evaluations": state.evaluations + number, "status": code}
        ahead = replace(state, tau=state.tau + count, y=y, u=u, **counted)
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
