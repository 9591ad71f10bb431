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
#: Weights that grow by as many e-foldings, at their present rate, in as much time as has passed leave to infinity.
FOLDS = 1e6
#: On the tail of a loss with a log-risk, log L below this, a growth that quickens does so to the end.
TAIL = -100.0


def _value(flow: Flow, y: Any) -> Float[Array, ""]:
    """L, or log L where there is one."""
    problem, weights = flow.observed, flow.decode(y)
    return problem.log_potential(weights) if problem.has_log else problem.potential(weights)


def _unbounded(flow: Flow, clock: Clock, state: State, value: Any, end: Any) -> Any:
    """Whether the weights leave to infinity before ``end``, judged by the rate r of log ‖y‖ and its own.

    r(τ) = 1/(c (τ* − τ)) where τ* is finite, so that r/r' is what is left. In physical time a loss that is bounded
    below has no such end: there r must be out of all proportion.
    """

    def rate(pair: Any) -> Any:
        velocity, _ = rhs(state.tau, pair, (flow, clock))
        return tree.inner(pair[0], velocity) / jnp.maximum(tree.inner(pair[0], pair[0]), 1e-300)

    pair = (state.y, state.u)
    grows, quickens = jax.jvp(rate, (pair,), (rhs(state.tau, pair, (flow, clock)),))
    sudden = grows * jnp.abs(state.tau) > FOLDS
    if clock.known(state.tau) is not None or not flow.observed.has_log:
        return sudden
    soon = (grows > 0.0) & (quickens * (end - state.tau) > 2.0 * grows)
    return sudden | (soon & (value < TAIL))


def _changes(flow: Flow, clock: Clock, state: State) -> Float[Array, " points"]:
    """How the field changes ahead, relative to itself; NaN beyond the edge of its domain."""
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

    return jax.lax.map(change, steps)


def cause(flow: Flow, clock: Clock, state: State, end: Float[Array, ""]) -> Int[Array, ""]:
    """What holds a solve that gets no nearer to ``end``, as in ``stops.RESULTS``; RUNNING if nothing is seen.

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
    changes = _changes(flow, clock, state)
    near, far, farther = changes[-3], changes[-2], changes[-1]
    jumps = (near > JUMP) & (far < FLAT * near) & (farther < FLAT**2 * near)
    ahead = jnp.where(jumps, stops.KINK, stops.RUNNING)
    ahead = jnp.where(_unbounded(flow, clock, state, value, end), stops.UNBOUNDED, ahead)
    ahead = jnp.where(jnp.any(jnp.isnan(changes)), stops.DOMAIN, ahead)
    return jnp.where(broken, here, ahead)
