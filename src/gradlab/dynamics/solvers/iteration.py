"""Gradient descent and SGD: the iteration itself, one unit Euler step a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.descent import Constant
from gradlab.dynamics.state import State, watch
from gradlab.dynamics.stops import Stop


def iterate(flow: Any, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
    until = jnp.minimum(end, state.tau + limit)

    def go_on(state: State) -> Any:
        return (state.tau < until) & (state.status == stops.RUNNING)

    def once(state: State) -> State:
        # The schedule and the minibatch take the integer k; tau is the same number as a float.
        increment, log_eta = flow.update(state.steps, state.y)
        y = tree.add(state.y, increment)
        u = jnp.logaddexp(state.u, log_eta)
        steps, tau = state.steps + 1, state.tau + 1.0
        good = tree.finite(y)
        code = jnp.where(good, watch(flow, stop, (y, u), steps), stops.NOT_FINITE)
        return replace(state, tau=tau, y=y, u=u, steps=steps, evaluations=state.evaluations + 1, status=code)

    final = jax.lax.while_loop(go_on, once, state)
    if isinstance(flow.step, Constant):
        final = eqx.tree_at(lambda s: s.u, final, jnp.log1p(flow.step.step * final.tau))
    return final
