"""Steps of an embedded pair with step size control, from a state towards the next record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.methods import Adaptive, cost, method
from gradlab.dynamics.state import ATTEMPTS, State, error_ratio, explain, rhs, watch
from gradlab.dynamics.stops import Stop

# Controller gains of Söderlind's PI kind, found best for long negative real spectra: it rejects almost never.
PROPORTIONAL, INTEGRAL, SAFETY, SMALLEST, LARGEST = 0.2, 0.3, 0.9, 0.2, 5.0


def _first_step(order: int, solver: Adaptive, state: State, slope: Any, span: Any) -> Float[Array, ""]:
    pace = tree.norm(slope[0]) / (tree.norm(state.y) + solver.absolute) + jnp.abs(slope[1])
    guess = 0.1 * solver.tolerance ** (1.0 / (order + 1)) / jnp.where(pace > 0.0, pace, 1.0)
    return jnp.where(jnp.isfinite(guess), jnp.minimum(guess, span), span)


def adaptive(flow: Flow, clock: Clock, solver: Adaptive, stop: Stop, state: State, end: Any) -> State:
    stepper = method(solver.name, solver.tolerance)
    terms, args = diffrax.ODETerm(rhs), (flow, clock)
    pair = (state.y, state.u)
    order: Any = stepper.error_order(terms)
    slope = rhs(state.tau, pair, args)
    first = _first_step(int(order), solver, state, slope, end - state.tau)
    restart, each = cost(stepper, solver.name)

    def go_on(carry: Any) -> Any:
        state, _, _, attempts, _ = carry
        return (state.tau < end) & (state.status == stops.RUNNING) & (attempts < ATTEMPTS)

    def attempt(carry: Any) -> Any:
        state, inner, previous, attempts, before = carry
        remaining = end - state.tau
        last = remaining <= 1.01 * state.h
        h = jnp.where(last, remaining, state.h)
        tau = jnp.where(last, end, state.tau + h)
        after, error, _, inner_after, _ = stepper.step(
            terms, state.tau, tau, before, args, inner, made_jump=False
        )
        ratio = error_ratio(solver.tolerance, solver.absolute, before, after, error)
        keep = tree.finite(after) & (ratio <= 1.0)
        ratio = jnp.where(jnp.isfinite(ratio), jnp.maximum(ratio, 1e-10), 1e10)
        factor = SAFETY * ratio ** (-(PROPORTIONAL + INTEGRAL) / order) * previous ** (PROPORTIONAL / order)
        factor = jnp.clip(factor, SMALLEST, jnp.where(keep, LARGEST, SAFETY))
        # A step cut short by a record says nothing against the longer one planned before it.
        longer = jnp.where(keep & last, jnp.maximum(state.h, h * factor), h * factor)
        underflow = (~keep) & (state.tau + SMALLEST * h == state.tau)
        steps = state.steps + keep
        kept = tree.where(keep, after, before)
        tau = jnp.where(keep, tau, state.tau)
        code = watch(flow, stop, kept, steps)
        code = jnp.where(underflow, stops.UNDERFLOW, jnp.where(keep, code, stops.RUNNING))
        state = replace(
            state,
            tau=tau,
            y=kept[0],
            u=kept[1],
            h=longer,
            steps=steps,
            rejected=state.rejected + ~keep,
            evaluations=state.evaluations + each,
            status=code,
        )
        inner = jax.tree.map(lambda a, b: jnp.where(keep, a, b), inner_after, inner)
        return state, inner, jnp.where(keep, ratio, previous), attempts + 1, kept

    h = jnp.where(state.h > 0.0, state.h, first)
    spent = jnp.where(state.status == stops.RUNNING, restart, 0)
    begun = eqx.tree_at(lambda s: (s.h, s.evaluations), state, (h, state.evaluations + spent))
    inner = stepper.init(terms, state.tau, end, pair, args)
    final, *_ = jax.lax.while_loop(go_on, attempt, (begun, inner, jnp.ones(()), jnp.zeros((), int), pair))
    return explain(flow, clock, final)
