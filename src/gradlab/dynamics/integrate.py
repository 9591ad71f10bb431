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
from gradlab.dynamics.descent import GradientDescent, StochasticGradientDescent
from gradlab.dynamics.energy import Energy, balance
from gradlab.dynamics.filippov.solver import Filippov
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.adaptive import adaptive
from gradlab.dynamics.solvers.auto import Auto, automatic
from gradlab.dynamics.solvers.exact import Exact, exact
from gradlab.dynamics.solvers.fixed import fixed
from gradlab.dynamics.solvers.implicit import implicit
from gradlab.dynamics.solvers.iteration import iterate
from gradlab.dynamics.solvers.methods import STABILISED, Adaptive, Descent, Fixed, Solver
from gradlab.dynamics.state import ATTEMPTS, State, log_time, start
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tangent import Tangent, relative

__all__ = ["ATTEMPTS", "State", "advance", "choose", "log_time", "observe", "start"]


def _unkicked(flow: Flow) -> Flow:
    return flow.flow if isinstance(flow, Kicked) else flow


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
) -> tuple[State, dict[str, Array]]:
    """Towards clock value ``end``, then the observables there; pure, to be jitted (and vmapped) by the caller.

    Returns before ``end`` if the status is no longer RUNNING, or after ATTEMPTS steps (``limit`` iterations):
    call again with the state returned.

    noise : at ``end`` every chart variable y becomes y (1 ± noise), signs drawn from the record's ``number``: what
    rounding may have done on the way, for the second of two solves; with 0 nothing is changed.
    """
    moving = _unkicked(flow)
    if isinstance(solver, Auto):
        state = automatic(moving, clock, solver, stop, state, end)
    elif isinstance(solver, Adaptive) and solver.name == "bdf":
        state = implicit(moving, clock, solver, stop, state, end, ATTEMPTS)
    elif isinstance(solver, Adaptive):
        state = adaptive(moving, clock, solver, stop, state, end, ATTEMPTS)
    elif isinstance(solver, Exact):
        state = exact(moving, clock, solver, stop, state, end, limit)
    elif isinstance(solver, Fixed):
        state = fixed(moving, clock, solver, stop, state, end)
    else:
        state = iterate(moving, clock, stop, state, end, limit)
    there = jnp.where(state.tau >= end, noise, 0.0)
    state = replace(state, y=tree.shaken(moving.settle(state.y), there, number))
    state = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)
    seen = observe(flow, observables, state)
    if isinstance(solver, Auto):
        seen |= {"stiff": jnp.asarray(solver.changed), "stiffness": state.memory.stiffness}
    return state, seen


def observe(flow: Flow, observables: Sequence[Any], state: State) -> dict[str, Array]:
    """The observables at a state, with the clock, physical time and counts beside them."""
    weights, t = flow.decode(state.y), jnp.expm1(state.u)
    problem = flow.observed
    seen = {item.name: item(problem, weights, state.y, t) for item in observables}
    seen |= {f"chart_{name}": value for name, value in flow.chart(state.y).items()}
    if isinstance(state.energy, Energy):
        seen |= balance(flow, state.y, state.energy, state.steps)
    if isinstance(state.tangent, Tangent):
        size = relative(state.tangent, state.y, state.tau)
        seen |= {"rounding": size, "rounding_evaluations": state.tangent.spent}
    counts = {"step": state.steps, "rejected": state.rejected, "evaluations": state.evaluations}
    counts["jacobians"] = state.jacobians
    return seen | {"tau": state.tau, "t": t, "log_t": log_time(state.u)} | counts


def choose(flow: Flow, clock: Clock, solver: Solver | str) -> Solver:
    """``"auto"`` resolved, a method's name turned into a solver, and mismatches refused.

    ``auto``: the iteration itself for descent and SGD; :class:`Auto` for smooth networks; for networks with kinks
    fixed steps of Heun's method, a tenth of the inverse sharpness at the start each. Where they apply, ``run``
    takes exact steps, the radial chart or events instead.

    Raises
    ------
    ValueError
        For an adaptive or fixed solver on iterations, for Descent on a continuous flow, for unknown names.
    """
    moving = _unkicked(flow)
    iteration = isinstance(moving, (GradientDescent, StochasticGradientDescent))
    if isinstance(solver, str):
        if solver == "auto":
            continuous = Auto() if flow.observed.network.smooth else Fixed()
            return Descent() if iteration else continuous
        solver = named(solver)
    if isinstance(solver, Exact):
        reason = solver.refuse(moving, clock)
        if reason is not None:
            raise ValueError(reason)
        return solver
    if iteration and not isinstance(solver, Descent):
        raise ValueError(
            f"{type(moving).__name__} is an iteration and {type(solver).__name__} integrates continuous flows: "
            "use Descent(), or GradientFlow for the continuous flow"
        )
    if isinstance(solver, Descent) and not iteration:
        raise ValueError(
            f"Descent steps iterations and {type(moving).__name__} is continuous: use Adaptive() or Fixed(), or "
            "GradientDescent(problem, step) for the iteration"
        )
    if isinstance(solver, Adaptive) and solver.name in STABILISED:
        refuse_unsymmetric(moving, clock, solver.name)
    return solver


def named(name: str) -> Solver:
    """A solver by its name: ``descent``, ``exact``, ``filippov``, or one of ``Adaptive``'s."""
    others = {"descent": Descent, "exact": Exact, "filippov": Filippov}
    return others[name]() if name in others else Adaptive(name)


def refuse_unsymmetric(flow: Flow, clock: Clock, name: str) -> None:
    """ValueError where a stabilised method would meet a Jacobian that is not symmetric in a flat metric."""
    if not flow.symmetric:
        raise ValueError(
            f"{name} is stable on the negative real axis only and the Jacobian of {type(flow).__name__} is not "
            "symmetric: use solver='bdf' (up to a thousand weights), 'dopri8', or GradientFlow in the plain chart"
        )
    if not clock.symmetric:
        raise ValueError(
            f"{name} is stable on the negative real axis only and the clock {type(clock).__name__} makes the "
            "Jacobian unsymmetric: use the clock Time() or LogTime(), or solver='dopri8'"
        )
