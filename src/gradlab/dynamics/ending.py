"""Why a solve gets no further: overflow, the edge of a domain, weights without bound, a kink."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.state import State, rhs

#: Points ahead at which the field is looked at: the step h times 8ᵏ, k from FIRST.
FIRST, POINTS = -2, 7
#: A field that changes by JUMP of itself and over eight times the way by less than FLAT times as much is no smooth one.
JUMP, FLAT = 0.05, 4.0
#: Weights that would grow by more e-foldings than this, at their present rate, overflow before the end.
FOLDS = 700.0


def _value(flow: Flow, y: Any) -> Float[Array, ""]:
    """L, or log L where there is one."""
    problem, weights = flow.observed, flow.decode(y)
    return problem.log_potential(weights) if problem.has_log else problem.potential(weights)


def _changes(flow: Flow, clock: Clock, state: State) -> tuple[Float[Array, " points"], Float[Array, ""]]:
    """How the field changes ahead, relative to itself, and the rate of log ‖y‖ here."""
    pair = (state.y, state.u)
    velocity, pace = rhs(state.tau, pair, (flow, clock))
    size = tree.norm(velocity)
    least = 16.0 * jnp.finfo(jnp.float64).eps * jnp.maximum(jnp.abs(state.tau), 1e-300)
    steps = jnp.maximum(state.h, least) * 8.0 ** jnp.arange(FIRST, FIRST + POINTS)

    def change(step: Any) -> Any:
        there = (tree.add(state.y, tree.scale(step, velocity)), state.u + step * pace)
        ahead, _ = rhs(state.tau + step, there, (flow, clock))
        # The derivative of a logarithm is finite where the logarithm is not.
        edge = jnp.isnan(_value(flow, there[0]))
        changed = tree.norm(tree.add(ahead, tree.scale(-1.0, velocity))) / jnp.where(size > 0.0, size, 1.0)
        return jnp.where(edge, jnp.nan, changed)

    rate = tree.inner(state.y, velocity) / jnp.maximum(tree.inner(state.y, state.y), 1e-300)
    return jax.lax.map(change, steps), rate


def cause(flow: Flow, clock: Clock, state: State, end: Float[Array, ""]) -> Int[Array, ""]:
    """The code in ``stops.RESULTS`` of what holds a solve that gets no nearer to clock value ``end``; RUNNING if nothing
    is seen.

    The field is looked at where it is and along a straight line ahead, from 1/64 of a step to 512 steps away. At a
    kink it changes by a jump, which is the same over any distance; where it is merely steep the change grows with it.
    """
    value = _value(flow, state.y)
    direction, log_scale = flow.velocity(jnp.expm1(state.u), state.y)
    # log 0 is −∞ and no overflow
    large = (value == jnp.inf) | (log_scale == jnp.inf)
    for leaf in jax.tree.leaves((direction, flow.observed.outputs(flow.decode(state.y)))):
        large = large | jnp.any(jnp.isinf(leaf))
    broken = ~tree.finite(direction) | jnp.isnan(value) | (value == jnp.inf) | ~jnp.isfinite(log_scale)
    here = jnp.where(large, stops.OVERFLOW, stops.DOMAIN)
    changes, rate = _changes(flow, clock, state)
    near, far, farther = changes[-3], changes[-2], changes[-1]
    jumps = (near > JUMP) & (far < FLAT * near) & (farther < FLAT**2 * near)
    ahead = jnp.where(jumps, stops.KINK, stops.RUNNING)
    ahead = jnp.where(rate * (end - state.tau) > FOLDS, stops.UNBOUNDED, ahead)
    ahead = jnp.where(jnp.any(jnp.isnan(changes)), stops.DOMAIN, ahead)
    return jnp.where(broken, here, ahead)
