"""Carry a flow from one record to the next: explicit state in, explicit state and observables out.

Nothing else is carried: a solve restarted from a stored state gives the same bits as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.energy import Energy, balanced, level
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import ATTEMPTS, State, log_time, start
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tangent import Tangent, relative

__all__ = ["ATTEMPTS", "State", "advance", "log_time", "observe", "start"]


def advance(
    flow: Flow,
    clock: Clock,
    solver: Solver,
    stop: Stop,
    observables: Sequence[Any],
    state: State,
    end: Float[Array, ""],
    limit: Any,
    noise: Any = 0.0,
    number: Any = 0,
    look: Any = None,
) -> tuple[State, dict[str, Array]]:
    """Towards clock value ``end``, then the observables there; pure, to be jitted (and vmapped) by the caller.

    Returns before ``end`` if the status is no longer RUNNING, or after ATTEMPTS steps (``limit`` iterations):
    call again with the state returned.

    noise : at ``end`` every chart variable y becomes y (1 ± noise), signs drawn from the record's ``number``: what
    rounding may have done on the way, for the second of two solves; with 0 nothing is changed.

    look : whether the observables are taken, where the caller knows that ``end`` is further than ``limit`` iterations;
        zeros stand for them if not. Many examples take a look as long as a hundred iterations on few.
    """
    moving = flow.flow if isinstance(flow, Kicked) else flow
    state = solver.advance(moving, clock, stop, state, end, limit)
    y = moving.settle(state.y)
    if not moving.discrete:
        # Iterations are shaken in their data. (Signs for a million weights take as long as an iteration.)
        y = tree.shaken(y, jnp.where(state.tau >= end, noise, 0.0), number)
    state = replace(state, y=y)
    state = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)

    def seen() -> dict[str, Array]:
        return observe(flow, observables, state) | solver.seen(state)

    if look is None:
        return state, seen()
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(seen))
    return state, jax.lax.cond(look, seen, lambda: nothing)


def observe(flow: Flow, observables: Sequence[Any], state: State) -> dict[str, Array]:
    """The observables at a state, with the clock, physical time and counts beside them."""
    now = level(flow, state.y) if isinstance(state.energy, Energy) else None
    return noted(shown(flow, observables, state.y, state.u), state, now)


def shown(flow: Flow, observables: Sequence[Any], y: Any, u: Any) -> dict[str, Array]:
    """The observables, and chart variables worth recording, at chart variables y and log(1 + t) = u."""
    weights, t = flow.decode(y), jnp.expm1(u)
    seen = {item.name: item(flow.observed, weights, y, t) for item in observables}
    return seen | {f"chart_{name}": value for name, value in flow.chart(y).items()}


def noted(seen: dict[str, Any], state: Any, now: Any) -> dict[str, Any]:
    """What is ``shown`` at a state, with balance, rounding, clock, physical time and counts; now : ``energy.level``."""
    if now is not None:
        seen |= balanced(state.energy, state.steps, *now)
    if isinstance(state.tangent, Tangent | tree.Plain):
        size = relative(state.tangent, state.y, state.tau)
        seen |= {"rounding": size, "rounding_evaluations": state.tangent.spent}
    if not isinstance(state.erred, tuple):
        seen |= {"erred": state.erred}
    counts = {"step": state.steps, "rejected": state.rejected, "evaluations": state.evaluations}
    counts["jacobians"] = state.jacobians
    t = tree.library(state.u).expm1(state.u)
    return seen | {"tau": state.tau, "t": t, "log_t": log_time(state.u)} | counts
