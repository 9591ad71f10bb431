"""The explicit state of a solve, the right-hand side in a clock, and what every step loop shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gradlab.dynamics import energy, local_errors, stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.energy import Energy
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.stabilised import Spectrum, unknown
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tree import Anywhere
from gradlab.modules import Module
from gradlab.problem.precision import put, zeros

#: Attempted steps per call of ``advance``. A constant of the method: the step size controller restarts there, so
#: it enters the bits of a trajectory. (Iterations do not depend on it.)
ATTEMPTS = 1000


class State(Module):
    """All that a solve needs in order to go on.

    tau : the clock (iterations for descent). y : chart variables. u : log(1 + t), t physical time.
    h : the next step size, 0 where it is still to be chosen. steps, rejected, evaluations : counts
    (evaluations: full gradients, a Hessian-vector product as two; jacobians: dense ones). status : index into
    stops.RESULTS. memory : what the solver keeps beside, small and stored with the run. scratch : what it keeps
    but can compute again; dropped at segment borders. energy : the balance of L, an ``Energy``, or nothing.
    tangent : what becomes of rounding, a ``Tangent``, or nothing. erred : sums of the steps' error estimates
    (``local_errors``), or nothing. An ensemble's state carries a leading member axis.
    """

    tau: Float[Anywhere, "..."]
    y: Any
    u: Float[Anywhere, "..."]
    h: Float[Anywhere, "..."]
    steps: Int[Anywhere, "..."]
    rejected: Int[Anywhere, "..."]
    evaluations: Int[Anywhere, "..."]
    jacobians: Int[Anywhere, "..."]
    status: Int[Anywhere, "..."]
    memory: Any = ()
    scratch: Any = ()
    energy: Any = ()
    tangent: Any = ()
    erred: Any = ()

    @property
    def pair(self) -> tuple[Any, ...]:
        """What a step moves: (y, u), and E where the energy is balanced."""
        return (self.y, self.u, self.energy.spent) if isinstance(self.energy, Energy) else (self.y, self.u)

    def settled(self, after: tuple[Any, ...], error: Any, keep: Any, left: Any = 0.0) -> State:
        """With the pair after a step, where ``keep`` holds; left : the part of it that an iteration may leave."""
        kept = tree.where(keep, after, self.pair)
        booked = self.energy
        if isinstance(booked, Energy):
            booked = tree.where(keep, booked.after(self.pair, after, error, left), booked)
        erred = local_errors.added(self.erred, kept, error, keep)
        return replace(self, y=kept[0], u=kept[1], energy=booked, erred=erred)


def start(flow: Flow, solver: Any, weights: Any, tau: float = 0.0, booked: Any = None) -> State:
    """The state at clock value tau with t = 0, with what the solver (a ``Solver``) keeps beside.

    booked : the balance as it begins, where it is known.
    """
    # Arrays are put and not computed: only ``encode`` and the balance are compiled.
    zero, none = put(0.0), put(np.int64(0))
    # What is of NumPy stays so: to put an array takes 25 µs.
    y = jax.tree.map(_double, flow.encode(weights))
    booked = solver.balanced(flow, y) if booked is None else booked
    pair = (y, zero, zero) if isinstance(booked, Energy) else (y, zero)
    memory, scratch = _blind(solver.memory(pair), len(pair)), solver.scratch((y, zero))
    erred = local_errors.unsummed() if solver.estimates else ()
    return State(
        put(np.float64(tau)),
        y,
        zero,
        zero,
        none,
        none,
        none,
        none,
        none,
        memory,
        scratch,
        booked,
        erred=erred,
    )


def _double(leaf: Any) -> Any:
    return put(leaf, jnp.float64) if isinstance(leaf, jax.Array) else np.asarray(leaf, np.float64)


def _blind(memory: Any, parts: int) -> Any:
    """What a solver keeps, its spectral vectors without a component along E, which only sums up."""

    def blind(part: Any) -> Any:
        if not isinstance(part, Spectrum) or parts == 2:
            return part
        y, u, spent = part.vector
        return replace(part, vector=(*unknown((y, u)).vector, zeros(*np.shape(spent))))

    return jax.tree.map(blind, memory, is_leaf=lambda part: isinstance(part, Spectrum))


def log_time(u: Float[Anywhere, ""]) -> Float[Anywhere, ""]:
    """log t from u = log(1 + t); −∞ at t = 0, right for any u, however large."""
    # expm1 keeps small t exact; beyond u = 1 the form u + log(1 − e^−u) never overflows.
    xp = tree.library(u)
    small = xp.log(xp.expm1(xp.minimum(u, 1.0)))
    large = u + xp.log1p(-xp.exp(-xp.maximum(u, 1.0)))
    return tree.where(u < 1.0, small, large)


def rhs(tau: Any, state: tuple[Any, ...], args: tuple[Flow, Clock]) -> tuple[Any, ...]:
    """d(y, u)/dτ, and dE/dτ of three; u stands still where the clock knows it, and is put in by :func:`landed`."""
    flow, clock = args
    y, u, *spent = state
    known = clock.known(tau)
    if clock.physical:
        # No logarithms, of which there is nothing to take off again: half as much to compile of a margin loss.
        moves = (flow.field(tau, y), jnp.zeros(()))
        none = jnp.zeros(())
        return (*moves, energy.rate(flow, y, moves[0], none, none)) if spent else moves
    u = u if known is None else known
    direction, log_scale = flow.velocity(jnp.expm1(u), y)
    log_rate = clock.log_rate(flow, y, direction, log_scale, u)
    pace = jnp.exp(-log_rate - u) if known is None else jnp.zeros(())
    moves = (tree.scale(jnp.exp(log_scale - log_rate), direction), pace)
    return (*moves, energy.rate(flow, y, direction, log_scale, log_rate)) if spent else moves


def along(flow: Flow, clock: Clock, state: State) -> Callable[[Any], Any]:
    """v ↦ J v, J the Jacobian of dy/dτ at a state, by a forward derivative of the field."""

    def slope(y: Any) -> Any:
        return rhs(state.tau, (y, state.u), (flow, clock))[0]

    return lambda vector: jax.jvp(slope, (state.y,), (vector,))[1]


def landed(clock: Clock, tau: Any, pair: tuple[Any, ...]) -> tuple[Any, ...]:
    """The pair (y, u) at τ with u as the clock knows it, whatever follows."""
    known = clock.known(tau)
    return pair if known is None else (pair[0], known, *pair[2:])


def watch(flow: Flow, stop: Stop, pair: Any, steps: Any) -> Any:
    """The stop code at a point of the orbit; evaluates only what the stop asks for."""
    y, u, *_ = pair
    problem, weights = flow.observed, flow.decode(y)
    gradient_norm = None if stop.gradient_norm is None else problem.gradient_norm(weights)
    return stop.code(problem, weights, gradient_norm, steps, log_time(u))


def margin(flow: Flow, stop: Stop, pair: Any) -> Float[Array, ""]:
    """How far a point of the orbit is from the first condition that is met inside a step (``Stop.margin``)."""
    y, u, *_ = pair
    problem, weights = flow.observed, flow.decode(y)
    gradient_norm = None if stop.gradient_norm is None else problem.gradient_norm(weights)
    return stop.margin(problem, weights, gradient_norm, log_time(u))


#: Steps of a search for where a condition is met: beyond, the margin is what rounding or Newton leaves.
TRIES = 60


class Bracket(Module):
    """Where a condition is met: between the present point, with its margin, and a later clock value, with its own.

    end : ∞ where nothing is being located. tries : how many points have been tried.
    """

    now: Float[Array, ""]
    end: Float[Array, ""]
    beyond: Float[Array, ""]
    tries: Int[Array, ""]

    def aim(self, tau: Any) -> Float[Array, ""]:
        """The step to try next: where a straight line meets half of what is near enough, every third the middle."""
        goal = 0.5 * stops.NEAR
        share = (self.now + goal) / (self.now - self.beyond)
        share = tree.select(
            self.tries % 3 == 2, 0.5, jnp.clip(jnp.nan_to_num(share, nan=0.5), 1e-4, 1.0 - 1e-4)
        )
        # Where no shorter step says more, to where it is met.
        last = (self.end - tau <= _shortest(tau)) | (self.tries >= TRIES)
        return tree.select(last, 1.0, share) * (self.end - tau)

    def after(self, before: Any, tau: Any, gap: Any, met: Any, kept: Any) -> tuple[Bracket, Bool[Array, ""]]:
        """The bracket after a step from ``before`` to tau whose end has the margin ``gap``, and whether it is too far.

        met : a located condition is. kept : the step's error is small enough. What is too far is to be undone.
        """
        # Where the condition was met before the step, there is nothing to look for.
        short = tau - before <= _shortest(tau)
        near = (gap >= -stops.NEAR) | short | (self.tries >= TRIES) | (self.now <= 0.0)
        far = kept & met & ~near
        on = kept & ~met
        tried = far | (on & jnp.isfinite(self.end))
        return Bracket(
            tree.select(on, gap, self.now),
            # A step that fails here, shorter than one that did not, begins the search anew.
            tree.select(far, tau, tree.select(kept & (tau < self.end), self.end, jnp.inf)),
            tree.select(far, gap, self.beyond),
            self.tries + tried,
        ), far


def _shortest(tau: Any) -> Any:
    """A step so short that the margin at its end is the rounding of that at its start."""
    return 64.0 * jnp.finfo(tau.dtype).eps * jnp.abs(tau)


def bracket(flow: Flow, stop: Stop, pair: Any) -> Bracket:
    """Nothing is being located yet."""
    far, none, untried = tree.of_each((jnp.asarray(np.inf), jnp.zeros(()), jnp.zeros((), int)), pair[1])
    return Bracket(margin(flow, stop, pair), far, none, untried)


def error_ratio(tolerance: Any, absolute: Any, before: Any, after: Any, error: Any) -> Float[Anywhere, ""]:
    """An error of (y, u) in units of what a step may err by; of y alone where that of u is None, since u is known."""
    (y0, u0, *_), (y1, u1, *_), (ey, eu, *_) = before, after, error
    xp, size = tree.library(u0, u1), tree.norm(y0)
    size = size if y1 is y0 else xp.maximum(size, tree.norm(y1))
    in_weights = tree.norm(ey) / (tolerance * size + absolute)
    if eu is None:
        return in_weights
    in_time = abs(eu) / (tolerance * xp.maximum(1.0, xp.maximum(u0, u1)))
    return xp.maximum(in_weights, in_time)


def explain(flow: Flow, clock: Clock, state: State) -> State:
    """Turn a step size underflow into its cause: the clock stands, or the field is not finite."""

    direction, log_scale = flow.velocity(jnp.expm1(state.u), state.y)
    log_rate = clock.log_rate(flow, state.y, direction, log_scale, state.u)
    stands = clock.may_rest | ~jnp.isfinite(log_rate)
    why = tree.select(stands, stops.CLOCK, stops.UNDERFLOW)
    why = tree.select(~tree.finite(direction), stops.NOT_FINITE, why).astype(state.status.dtype)
    return replace(state, status=tree.select(state.status == stops.UNDERFLOW, why, state.status))
