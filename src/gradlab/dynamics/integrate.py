"""Carry a flow from one record to the next: explicit state in, explicit state and observables out.

Nothing else is carried: a solve restarted from a stored state gives the same bits as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.descent import Constant, GradientDescent, StochasticGradientDescent
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.methods import IMPLICIT, Adaptive, Descent, Fixed, Solver, method
from gradlab.dynamics.stops import Stop

#: Attempted steps per call of :func:`advance`. A constant of the method: the step size controller restarts
#: there, so it enters the bits of a trajectory. (Iterations do not depend on it.)
ATTEMPTS = 1000

# Controller gains of Söderlind's PI kind, found best for long negative real spectra: it rejects almost never.
PROPORTIONAL, INTEGRAL, SAFETY, SMALLEST, LARGEST = 0.2, 0.3, 0.9, 0.2, 5.0


class State(eqx.Module):
    """All that a solve needs in order to go on.

    tau : the clock (iterations for descent). y : chart variables. u : log(1 + t), t physical time.
    h : the next step size, 0 where it is still to be chosen. steps, rejected, evaluations : counts
    (evaluations of the field; −1 where the method's are not counted). status : index into stops.RESULTS.
    """

    tau: Float[Array, ""]
    y: Any
    u: Float[Array, ""]
    h: Float[Array, ""]
    steps: Int[Array, ""]
    rejected: Int[Array, ""]
    evaluations: Int[Array, ""]
    status: Int[Array, ""]


def start(flow: Flow, weights: Any, tau: float = 0.0) -> State:
    """The state at clock value tau with t = 0."""
    zero, none = jnp.zeros(()), jnp.zeros((), dtype=jnp.int64)
    y = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype=jnp.float64), flow.encode(weights))
    return State(jnp.asarray(tau, dtype=jnp.float64), y, zero, zero, none, none, none, none)


def log_time(u: Float[Array, ""]) -> Float[Array, ""]:
    """log t from u = log(1 + t); −∞ at t = 0, right for any u, however large."""
    # expm1 keeps small t exact; beyond u = 1 the form u + log(1 − e^−u) never overflows.
    small = jnp.log(jnp.expm1(jnp.minimum(u, 1.0)))
    large = u + jnp.log1p(-jnp.exp(-jnp.maximum(u, 1.0)))
    return jnp.where(u < 1.0, small, large)


def _rhs(tau: Any, state: tuple[Any, Any], args: tuple[Flow, Clock]) -> tuple[Any, Any]:
    flow, clock = args
    y, u = state
    direction, log_scale = flow.velocity(jnp.expm1(u), y)
    log_rate = clock.log_rate(flow, y, direction, log_scale)
    return tree.scale(jnp.exp(log_scale - log_rate), direction), jnp.exp(-log_rate - u)


def _watch(flow: Flow, stop: Stop, pair: Any, steps: Any) -> Any:
    """The stop code at a point of the orbit; evaluates only what the stop asks for."""
    y, u = pair
    problem, weights = flow.observed, flow.decode(y)
    gradient_norm = None if stop.gradient_norm is None else problem.gradient_norm(weights)
    return stop.code(problem, weights, gradient_norm, steps, log_time(u))


def _error_ratio(solver: Adaptive, before: Any, after: Any, error: Any) -> Float[Array, ""]:
    (y0, u0), (y1, u1), (ey, eu) = before, after, error
    size = jnp.maximum(tree.norm(y0), tree.norm(y1))
    in_weights = tree.norm(ey) / (solver.tolerance * size + solver.absolute)
    in_time = jnp.abs(eu) / (solver.tolerance * jnp.maximum(1.0, jnp.maximum(u0, u1)))
    return jnp.maximum(in_weights, in_time)


def _first_step(order: int, solver: Adaptive, state: State, slope: Any, span: Any) -> Float[Array, ""]:
    pace = tree.norm(slope[0]) / (tree.norm(state.y) + solver.absolute) + jnp.abs(slope[1])
    guess = 0.1 * solver.tolerance ** (1.0 / (order + 1)) / jnp.where(pace > 0.0, pace, 1.0)
    return jnp.where(jnp.isfinite(guess), jnp.minimum(guess, span), span)


def _cost(stepper: Any, name: str) -> tuple[int, int]:
    """(evaluations at a restart, evaluations per attempted step); zeros where they are not counted."""
    if name in IMPLICIT:
        return 0, 0
    tableau = getattr(stepper, "tableau", None)
    if tableau is None:
        return 0, 1
    return (1, tableau.num_stages - 1) if tableau.fsal else (0, tableau.num_stages)


def _adaptive(flow: Flow, clock: Clock, solver: Adaptive, stop: Stop, state: State, end: Any) -> State:
    stepper = method(solver.name, solver.tolerance)
    terms, args = diffrax.ODETerm(_rhs), (flow, clock)
    pair = (state.y, state.u)
    order: Any = stepper.error_order(terms)
    slope = _rhs(state.tau, pair, args)
    first = _first_step(int(order), solver, state, slope, end - state.tau)
    restart, each = _cost(stepper, solver.name)

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
        ratio = _error_ratio(solver, before, after, error)
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
        code = _watch(flow, stop, kept, steps)
        code = jnp.where(underflow, stops.UNDERFLOW, jnp.where(keep, code, stops.RUNNING))
        state = State(
            tau, kept[0], kept[1], longer, steps, state.rejected + ~keep, state.evaluations + each, code
        )
        inner = jax.tree.map(lambda a, b: jnp.where(keep, a, b), inner_after, inner)
        return state, inner, jnp.where(keep, ratio, previous), attempts + 1, kept

    h = jnp.where(state.h > 0.0, state.h, first)
    spent = jnp.where(state.status == stops.RUNNING, restart, 0)
    begun = eqx.tree_at(lambda s: (s.h, s.evaluations), state, (h, state.evaluations + spent))
    inner = stepper.init(terms, state.tau, end, pair, args)
    final, *_ = jax.lax.while_loop(go_on, attempt, (begun, inner, jnp.ones(()), jnp.zeros((), int), pair))
    return _explain(flow, clock, final)


def _explain(flow: Flow, clock: Clock, state: State) -> State:
    """Turn a step size underflow into its cause: the clock stands, or the field is not finite."""
    direction, log_scale = flow.velocity(jnp.expm1(state.u), state.y)
    log_rate = clock.log_rate(flow, state.y, direction, log_scale)
    stands = clock.may_rest | ~jnp.isfinite(log_rate)
    cause = jnp.where(
        ~tree.finite(direction), stops.NOT_FINITE, jnp.where(stands, stops.CLOCK, stops.UNDERFLOW)
    )
    status = jnp.where(state.status == stops.UNDERFLOW, cause, state.status)
    return eqx.tree_at(lambda s: s.status, state, status)


def _fixed(flow: Flow, clock: Clock, solver: Fixed, stop: Stop, state: State, end: Any) -> State:
    stepper = method(solver.name)
    terms, args = diffrax.ODETerm(_rhs), (flow, clock)
    _, each = _cost(stepper, solver.name)
    span = end - state.tau
    count = jnp.maximum(solver.refinement * jnp.ceil(span / solver.step * (1.0 - 1e-12)), 1.0)
    h = jnp.where(state.h > 0.0, state.h, span / count)

    def go_on(carry: Any) -> Any:
        state, attempts = carry
        return (state.tau < end) & (state.status == stops.RUNNING) & (attempts < ATTEMPTS)

    def step(carry: Any) -> Any:
        state, attempts = carry
        last = end - state.tau < 1.5 * h
        tau = jnp.where(last, end, state.tau + h)
        pair = (state.y, state.u)
        inner = stepper.init(terms, state.tau, tau, pair, args)
        after, *_ = stepper.step(terms, state.tau, tau, pair, args, inner, made_jump=False)
        good = tree.finite(after)
        kept = tree.where(good, after, pair)
        steps = state.steps + good
        tau = jnp.where(good, tau, state.tau)
        code = _watch(flow, stop, kept, steps)
        code = jnp.where(good, code, stops.NOT_FINITE)
        # h is forgotten at a record, where the next interval is cut anew.
        planned = jnp.where(last & good, 0.0, h)
        evaluations = state.evaluations + each
        return State(tau, kept[0], kept[1], planned, steps, state.rejected, evaluations, code), attempts + 1

    final, _ = jax.lax.while_loop(go_on, step, (state, jnp.zeros((), int)))
    return final


def _descend(flow: Any, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
    until = jnp.minimum(end, state.tau + limit)

    def go_on(state: State) -> Any:
        return (state.tau < until) & (state.status == stops.RUNNING)

    def iterate(state: State) -> State:
        # The schedule and the minibatch take the integer k; tau is the same number as a float.
        increment, log_eta = flow.update(state.steps, state.y)
        y = tree.add(state.y, increment)
        u = jnp.logaddexp(state.u, log_eta)
        steps, tau = state.steps + 1, state.tau + 1.0
        good = tree.finite(y)
        code = jnp.where(good, _watch(flow, stop, (y, u), steps), stops.NOT_FINITE)
        return State(tau, y, u, state.h, steps, state.rejected, state.evaluations + 1, code)

    final = jax.lax.while_loop(go_on, iterate, state)
    if isinstance(flow.step, Constant):
        final = eqx.tree_at(lambda s: s.u, final, jnp.log1p(flow.step.step * final.tau))
    return final


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
) -> tuple[State, dict[str, Array]]:
    """Towards clock value ``end``, then the observables there; pure, to be jitted (and vmapped) by the caller.

    Returns before ``end`` if the status is no longer RUNNING, or after ATTEMPTS steps (``limit`` iterations):
    call again with the state returned.
    """
    moving = _unkicked(flow)
    if isinstance(solver, Adaptive):
        state = _adaptive(moving, clock, solver, stop, state, end)
    elif isinstance(solver, Fixed):
        state = _fixed(moving, clock, solver, stop, state, end)
    else:
        state = _descend(moving, clock, stop, state, end, limit)
    state = jax.tree.map(lambda leaf: jax.lax.convert_element_type(leaf, leaf.dtype), state)
    return state, observe(flow, observables, state)


def observe(flow: Flow, observables: Sequence[Any], state: State) -> dict[str, Array]:
    """The observables at a state, with the clock, physical time and counts beside them."""
    weights, t = flow.decode(state.y), jnp.expm1(state.u)
    problem = flow.observed
    seen = {item.name: item(problem, weights, state.y, t) for item in observables}
    seen |= {f"chart_{name}": value for name, value in flow.chart(state.y).items()}
    counts = {"step": state.steps, "rejected": state.rejected, "evaluations": state.evaluations}
    return seen | {"tau": state.tau, "t": t, "log_t": log_time(state.u)} | counts


def choose(flow: Flow, clock: Clock, solver: Solver | str) -> Solver:
    """``"auto"`` resolved, a method's name turned into a solver, and mismatches refused.

    ``auto``: the iteration itself for descent and SGD; the adaptive eighth-order pair for smooth networks;
    fixed steps of Heun's method, a tenth of the inverse sharpness at the start each, for networks with kinks.

    Raises
    ------
    ValueError
        For an adaptive or fixed solver on iterations, for Descent on a continuous flow, for unknown names.
    """
    moving = _unkicked(flow)
    iteration = isinstance(moving, (GradientDescent, StochasticGradientDescent))
    if isinstance(solver, str):
        if solver == "auto":
            continuous = Adaptive() if flow.observed.network.smooth else Fixed()
            return Descent() if iteration else continuous
        solver = Descent() if solver == "descent" else Adaptive(solver)
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
    return solver
