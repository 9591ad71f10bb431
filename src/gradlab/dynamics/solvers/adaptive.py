"""Steps of an embedded pair with step size control, from a state towards the next record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import diffrax
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.control import (
    CHEBYSHEV,
    EXPLICIT,
    LARGEST,
    SMALLEST,
    following,
    longer,
    planned,
)
from gradlab.dynamics.solvers.multistep import Multistep
from gradlab.dynamics.solvers.pairs import stepped, tableau
from gradlab.dynamics.solvers.stabilised import Stabilised
from gradlab.dynamics.state import State, along, bracket, error_ratio, landed, margin, rhs, watch
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tangent import with_look

if TYPE_CHECKING:
    from gradlab.dynamics.solvers.methods import Adaptive

#: The first step, in parts of one that would err by about the tolerance.
FIRST = 0.1


def first_size(order: int, solver: Any, y: Any, slope: Any, span: Any) -> Any:
    """The first step's size, by how fast (y, u) moves, of which ``slope`` is the rate."""
    pace = tree.norm(slope[0]) / (tree.norm(y) + solver.absolute) + abs(slope[1])
    xp = tree.library(pace, solver.tolerance)
    share = FIRST * (1.0 + 9.0 * solver.eager)
    guess = share * solver.tolerance ** (1.0 / (order + 1)) / tree.where(pace > 0.0, pace, 1.0)
    return tree.where(xp.isfinite(guess), xp.minimum(guess, span), span)


class _Method:
    """A diffrax solver as the loop sees it: how it begins, steps, is restored after a rejection, and is counted."""

    def __init__(self, solver: Adaptive, args: tuple[Flow, Clock]) -> None:
        self.stepper: Any = solver.stepper
        self.terms, self.args = diffrax.ODETerm(rhs), args
        self.order: Any = self.stepper.error_order(self.terms)
        self.stabilised = isinstance(self.stepper, Stabilised)
        self.gains = CHEBYSHEV if self.stabilised else EXPLICIT
        self.largest = self.stepper.growth if isinstance(self.stepper, Multistep) else LARGEST
        # The slope at the start is evaluated whatever the method, and shared with a first-same-as-last one.
        self.each = solver.each
        self.restart = 1 if self.each else 0
        self.table = tableau(self.stepper)

    def begin(self, state: State, end: Any) -> tuple[Any, Any]:
        """(inner state, slope at the start)."""
        pair = state.pair
        if self.stabilised:
            memory = state.memory
            if isinstance(self.stepper, Multistep):
                # A step size still to be chosen: the start, or weights changed from outside (a kick).
                memory = memory.forgotten(state.h == 0.0)
            inner = self.stepper.init(self.terms, state.tau, end, pair, self.args, memory)
            return inner, inner.slope
        if self.table is not None:
            vector, self.unravel = ravel_pytree(pair)
            # Traced once for all its uses.
            self.field = jax.jit(lambda tau, at: ravel_pytree(rhs(tau, self.unravel(at), self.args))[0])
            flat = self.field(state.tau, vector)
            return flat, self.unravel(flat)
        inner = self.stepper.init(self.terms, state.tau, end, pair, self.args)
        return inner, rhs(state.tau, pair, self.args)

    def step(self, tau: Any, after: Any, pair: Any, inner: Any) -> tuple[Any, Any, Any, Any]:
        """(pair, error, inner state, evaluations) of one attempt."""
        if self.table is not None:
            vector = ravel_pytree(pair)[0]
            new, error, slope = stepped(self.table, self.field, tau, after - tau, vector, inner)
            return self.unravel(new), self.unravel(error), slope, self.each
        new, error, _, inner_after, _ = self.stepper.step(
            self.terms, tau, after, pair, self.args, inner, made_jump=False
        )
        spent = inner_after.evaluations - inner.evaluations if self.stabilised else self.each
        return new, error, inner_after, spent

    def noted(self, inner: Any, error: Any) -> Any:
        """The inner state with the error as it is judged."""
        if not self.stabilised:
            return inner
        # Stages follow the spectrum of the flow: E has none.
        return replace(inner, error=(*error[:2], *(jnp.zeros_like(part) for part in error[2:])))

    def settle(self, keep: Any, before: Any, after: Any) -> Any:
        """The inner state after an attempt that was kept, or not."""
        if self.stabilised:
            before = self.stepper.after_rejection(before, after)
        return jax.tree.map(lambda a, b: tree.select(keep, a, b), after, before)


def adaptive(
    flow: Flow, clock: Clock, solver: Adaptive, stop: Stop, state: State, end: Any, most: Any
) -> State:
    """At most ``most`` attempted steps towards ``end``."""
    method = _Method(solver, (flow, clock))

    def go_on(carry: Any) -> Any:
        state, _, _, attempts, _ = carry
        return (state.tau < end) & (state.status == stops.RUNNING) & (attempts < most)

    def attempt(carry: Any) -> Any:
        state, inner, previous, attempts, event = carry
        before = state.pair
        h, last, cut = planned(state.tau, end, state.h, solver.least, attempts)
        if stop.located:
            seeking = jnp.isfinite(event.end)
            h = tree.select(seeking, event.aim(state.tau), h)
            last, cut = last & ~seeking, cut | seeking
        tau = tree.select(last, end, state.tau + h)
        after, error, inner_after, spent = method.step(state.tau, tau, before, inner)
        after = landed(clock, tau, after)
        # What is put in has no error, whatever a method that looks back makes of its standing still.
        error = error if clock.known(tau) is None else (error[0], jnp.zeros(()), *error[2:])
        inner_after = method.noted(inner_after, error)
        ratio = error_ratio(solver.tolerance, solver.absolute, before, after, error)
        keep = tree.finite(after[:2]) & (ratio <= 1.0)
        ratio, factor = following(ratio, previous, keep, method.order, method.gains, method.largest)
        next_h = longer(state.h, h, factor, keep, cut)
        underflow = (~keep) & (state.tau + SMALLEST * h == state.tau)
        passed = keep
        if stop.located:
            gap = margin(flow, stop, after)
            event, far = event.after(state.tau, tau, gap, gap <= 0.0, keep)
            keep = keep & ~far
        steps = state.steps + keep
        code = watch(flow, stop, after, steps)
        code = tree.select(underflow, stops.UNDERFLOW, tree.select(keep, code, stops.RUNNING))
        state = replace(
            state.settled(after, error, keep, solver.left),
            tau=tree.select(keep, tau, state.tau),
            h=next_h,
            steps=steps,
            rejected=state.rejected + ~passed,
            evaluations=state.evaluations + spent,
            status=code,
        )
        inner = method.settle(keep, inner, inner_after)
        state = with_look(state, along(flow, clock, state))
        return state, inner, tree.select(keep, ratio, previous), attempts + 1, event

    inner, slope = method.begin(state, end)
    first = first_size(int(method.order), solver, state.y, slope, end - state.tau)
    h = tree.select(state.h > 0.0, state.h, first)
    spent = tree.select(state.status == stops.RUNNING, method.restart, 0)
    begun = replace(state, h=h, evaluations=state.evaluations + spent)
    event = bracket(flow, stop, (state.y, state.u)) if stop.located else None
    carried = (begun, *tree.of_each((inner, jnp.ones(()), jnp.zeros((), int)), state.tau), event)
    final, inner, *_ = jax.lax.while_loop(go_on, attempt, carried)
    if method.stabilised:
        final = replace(final, memory=method.stepper.remembered(inner))
    return final
