"""Steps of the variable-order BDF method with the exact dense Jacobian, from a state towards the next record."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers import bdf
from gradlab.dynamics.state import State, bracket, error_ratio, landed, margin, rhs, watch
from gradlab.dynamics.stops import Stop

if TYPE_CHECKING:
    from gradlab.dynamics.solvers.methods import Adaptive

#: A change of the weights from outside, as a part of the tolerance, after which the differences are still good.
NEGLIGIBLE = 0.01


class _Unknowns:
    """The unknowns as one vector: y and log(1 + t), the latter 0 where the clock knows it."""

    def __init__(self, flow: Flow, clock: Clock, solver: Adaptive, state: State) -> None:
        self.args, self.solver = (flow, clock), solver
        self.u = None if clock.known(state.tau) is None else state.u
        u = state.u if self.u is None else jnp.zeros_like(state.u)
        self.vector, self.unravel = ravel_pytree((state.y, u))

    def pair(self, vector: Any) -> tuple[Any, Any]:
        y, u = self.unravel(vector)
        return y, u if self.u is None else self.u

    @functools.cached_property
    def slope(self) -> Any:
        """The field as a function of (τ, vector); traced once for all its uses."""
        return jax.jit(lambda tau, vector: ravel_pytree(rhs(tau, self.pair(vector), self.args))[0])

    def jacobian(self, tau: Any, vector: Any) -> Any:
        return jax.jacfwd(self.slope, argnums=1)(tau, vector)

    def ratio(self, before: Any, after: Any, error: Any) -> Any:
        # As vectors: the norm over all leaves is that of one.
        def halves(at: Any) -> tuple[Any, Any]:
            return at[:-1], at[-1] if self.u is None else self.u

        off, solver = (error[:-1], error[-1]), self.solver
        return error_ratio(solver.tolerance, solver.absolute, halves(before), halves(after), off)


def implicit(
    flow: Flow, clock: Clock, solver: Adaptive, stop: Stop, state: State, end: Any, most: Any
) -> State:
    """At most ``most`` attempted steps towards ``end``; a Jacobian is evaluated only where the old one fails."""
    unknowns = _Unknowns(flow, clock, solver, state)

    def go_on(carry: Any) -> Any:
        state, _, attempts, _ = carry
        return (state.tau < end) & (state.status == stops.RUNNING) & (attempts < most)

    def attempt(carry: Any) -> Any:
        state, vector, attempts, event = carry
        longest = jnp.where(attempts == 0, (end - state.tau) / solver.least, jnp.inf)
        until = end
        if stop.located:
            # A step to where the condition may be met, as to a record.
            until = jnp.where(jnp.isfinite(event.end), state.tau + event.aim(state.tau), end)
        outcome = bdf.attempt(
            unknowns.slope,
            unknowns.jacobian,
            state.tau,
            until,
            vector,
            state.memory,
            state.scratch,
            solver.tolerance,
            unknowns.ratio,
            # The first step from a record leaves room for another.
            longest=longest,
        )
        y, u = landed(clock, outcome.tau, unknowns.pair(outcome.y))
        undone: Any = jnp.asarray(False)
        if stop.located:
            # Not accepted: the present point once more, from where the search goes on with a shorter step.
            gap = margin(flow, stop, (y, u))
            event, undone = event.after(state.tau, outcome.tau, gap, gap <= 0.0, jnp.asarray(True))
        accepted = outcome.accepted & ~undone
        steps = state.steps + accepted
        code = watch(flow, stop, (y, u), steps)
        underflow = ~outcome.accepted & (outcome.tau + outcome.memory.step == outcome.tau)
        tau, y, u, memory, vector = tree.where(
            undone,
            (state.tau, state.y, state.u, state.memory, vector),
            (outcome.tau, y, u, outcome.memory, outcome.y),
        )
        state = replace(
            state,
            tau=tau,
            y=y,
            u=u,
            h=memory.step,
            steps=steps,
            # The same step once more with a new Jacobian is no rejection of the step.
            rejected=state.rejected + (~outcome.accepted & ~outcome.stuck),
            evaluations=state.evaluations + outcome.evaluations,
            jacobians=state.jacobians + outcome.jacobians,
            status=jnp.where(underflow, stops.UNDERFLOW, jnp.where(accepted, code, stops.RUNNING)),
            memory=memory,
            scratch=outcome.scratch,
        )
        return state, vector, attempts + 1, event

    running = (state.status == stops.RUNNING) & (state.tau < end)
    # A first step, or weights changed since the last one by a kick or another method: order one. A change far below
    # the tolerance, a chart settling, only moves the differences along.
    shift = jnp.linalg.norm(state.memory.differences[0] - unknowns.vector)
    far = shift > NEGLIGIBLE * solver.tolerance * jnp.linalg.norm(unknowns.vector)
    anew = running & ((state.h == 0.0) | (state.memory.step == 0.0) | far)

    def restart() -> bdf.Memory:
        h, slope = bdf.first_step(
            unknowns.slope, state.tau, unknowns.vector, end, solver.tolerance, unknowns.ratio
        )
        return bdf.start(unknowns.vector, h, slope)

    def go_along() -> bdf.Memory:
        differences = state.memory.differences.at[0].set(unknowns.vector)
        return eqx.tree_at(lambda m: m.differences, state.memory, differences)

    memory = jax.lax.cond(anew, restart, go_along)
    begun = replace(state, memory=memory, evaluations=state.evaluations + jnp.where(anew, 2, 0))
    event = bracket(flow, stop, (state.y, state.u)) if stop.located else None
    carried = (begun, unknowns.vector, jnp.zeros((), int), event)
    final, *_ = jax.lax.while_loop(go_on, attempt, carried)
    return final
