"""Steps of the variable-order BDF method with the exact dense Jacobian, from a state towards the next record."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gradlab.dynamics import energy, stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers import bdf
from gradlab.dynamics.state import State, along, bracket, error_ratio, landed, margin, rhs, watch
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tangent import IMPLICIT, with_look

if TYPE_CHECKING:
    from gradlab.dynamics.solvers.methods import Adaptive

#: A change of the weights from outside, as a part of the tolerance, after which the differences are still good.
NEGLIGIBLE = 0.01


class _Unknowns:
    """The unknowns as one vector: y and log(1 + t), the latter 0 where the clock knows it; behind them E, if balanced.

    E is no unknown: its step follows from theirs.
    """

    def __init__(self, flow: Flow, clock: Clock, solver: Adaptive, state: State) -> None:
        self.args, self.solver = (flow, clock), solver
        self.u = None if clock.known(state.tau) is None else state.u
        u = state.u if self.u is None else jnp.zeros_like(state.u)
        spent = state.pair[2:]
        self.vector, self.unravel = ravel_pytree((state.y, u, *spent))
        self.size = self.vector.size - len(spent)
        self.summed = self.dissipated if spent else None

    def pair(self, vector: Any) -> tuple[Any, ...]:
        y, u, *spent = self.unravel(vector)
        return (y, u if self.u is None else self.u, *spent)

    @functools.cached_property
    def slope(self) -> Any:
        """The field as a function of (τ, vector); traced once for all its uses."""
        return jax.jit(lambda tau, vector: ravel_pytree(rhs(tau, self.pair(vector), self.args))[0])

    def jacobian(self, tau: Any, vector: Any) -> Any:
        rest = vector[self.size :]

        def slope(unknowns: Any) -> Any:
            return self.slope(tau, jnp.concatenate([unknowns, rest]))[: self.size]

        return jax.jacfwd(slope)(vector[: self.size])

    def dissipated(self, tau: Any, unknowns: Any, slope: Any) -> Any:
        one = jnp.zeros(1)
        pairs = (self.unravel(jnp.concatenate([part, one]))[:2] for part in (unknowns, slope))
        return dissipation(*self.args, tau, *pairs)[None]

    def ratio(self, before: Any, after: Any, error: Any) -> Any:
        # As vectors, without E: the norm over all leaves is that of one.
        n = self.size - 1
        first, last = ((at[:n], at[n] if self.u is None else self.u) for at in (before, after))
        return error_ratio(self.solver.tolerance, self.solver.absolute, first, last, (error[:n], error[n]))


def dissipation(flow: Flow, clock: Clock, tau: Any, pair: Any, slope: Any) -> Any:
    """dE/dτ where (y, log(1 + t)) move by this slope: no evaluation of the field."""
    (y, u), (moves, pace) = pair, slope
    if (known := clock.known(tau)) is not None:
        log_rate = clock.log_rate(flow, y, moves, 0.0, known)
    else:
        log_rate = -jnp.log(pace) - u
    return energy.rate(flow, y, moves, log_rate, log_rate)


def implicit(
    flow: Flow, clock: Clock, solver: Adaptive, stop: Stop, state: State, end: Any, most: Any
) -> State:
    """At most ``most`` attempted steps towards ``end``; a Jacobian is evaluated only where the old one fails."""
    # The spacing of the differences at most.
    widest = (end - state.tau) / solver.least
    unknowns = _Unknowns(flow, clock, solver, state)

    def go_on(carry: Any) -> Any:
        state, _, attempts, _ = carry
        return (state.tau < end) & (state.status == stops.RUNNING) & (attempts < most)

    def attempt(carry: Any) -> Any:
        state, vector, attempts, event = carry
        longest = tree.select(attempts == 0, (end - state.tau) / solver.least, jnp.inf)
        until = end
        if stop.located:
            # A step to where the condition may be met, as to a record.
            until = tree.select(jnp.isfinite(event.end), state.tau + event.aim(state.tau), end)
        outcome = bdf.attempt(
            unknowns.slope,
            unknowns.jacobian,
            state.tau,
            until,
            vector,
            state.memory,
            replace(state.scratch, valid=jnp.asarray(False)) if solver.renews else state.scratch,
            solver.tolerance,
            unknowns.ratio,
            # The first step from a record leaves room for another.
            longest=longest,
            summed=unknowns.summed,
            widest=widest,
        )
        pair = landed(clock, outcome.tau, unknowns.pair(outcome.y))
        y, u = pair[:2]
        undone: Any = jnp.asarray(False)
        if stop.located:
            # Not accepted: the present point once more, from where the search goes on with a shorter step.
            gap = margin(flow, stop, (y, u))
            event, undone = event.after(state.tau, outcome.tau, gap, gap <= 0.0, jnp.asarray(True))
        accepted = outcome.accepted & ~undone
        steps = state.steps + accepted
        code = watch(flow, stop, (y, u), steps)
        underflow = ~outcome.accepted & (outcome.tau + outcome.memory.step == outcome.tau)
        tau, memory, vector = tree.where(
            undone,
            (state.tau, state.memory, vector),
            (outcome.tau, outcome.memory, outcome.y),
        )
        state = replace(
            state.settled(pair, unknowns.unravel(outcome.estimate), accepted, solver.left),
            tau=tau,
            h=memory.step,
            steps=steps,
            # The same step once more with a new Jacobian is no rejection of the step.
            rejected=state.rejected + (~outcome.accepted & ~outcome.stuck),
            evaluations=state.evaluations + outcome.evaluations,
            jacobians=state.jacobians + outcome.jacobians,
            status=tree.select(underflow, stops.UNDERFLOW, tree.select(accepted, code, stops.RUNNING)),
            memory=memory,
            scratch=outcome.scratch,
        )
        weights = unknowns.size - 1
        y, moved = (memory.differences[row, :weights] for row in (0, 1))
        left = bdf.left(y, moved, solver.tolerance, state.scratch.left)
        state = with_look(state, along(flow, clock, state), IMPLICIT, left)
        return state, vector, attempts + 1, event

    running = (state.status == stops.RUNNING) & (state.tau < end)
    # A first step, or weights changed since the last one by a kick or another method: order one. A change far below
    # the tolerance, a chart settling, only moves the differences along.
    moved = (state.memory.differences[0] - unknowns.vector)[: unknowns.size]
    shift = jnp.linalg.norm(moved)
    far = shift > NEGLIGIBLE * solver.tolerance * jnp.linalg.norm(unknowns.vector[: unknowns.size])
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
    memory = tree.where(running, bdf.narrowed(memory, tree.select(running, widest, 1.0)), memory)
    begun = replace(state, memory=memory, evaluations=state.evaluations + tree.select(anew, 2, 0))
    event = bracket(flow, stop, (state.y, state.u)) if stop.located else None
    none = tree.of_each(jnp.zeros((), int), state.tau)
    return jax.lax.while_loop(go_on, attempt, (begun, unknowns.vector, none, event))[0]
