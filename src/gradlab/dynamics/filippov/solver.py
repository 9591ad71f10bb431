"""The two roads along a non-smooth gradient flow as solvers of a run: events and sliding, or smoothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gradlab.dynamics import stops
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.filippov.advance import Memory, advance, supports
from gradlab.dynamics.filippov.smoothing import advance_smoothed
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import State, watch
from gradlab.dynamics.stops import Stop
from gradlab.modules import Module
from gradlab.problem.problem import Problem

#: Kinks (neurons × examples) up to which ``auto`` follows every one of them.
KINKS = 2000

_code = eqx.filter_jit(watch)


class Course(Module):
    """What either road keeps: sides of the kinks (0 sliding), step size, events, ∫ share of sliding neurons du."""

    signs: Int[Array, "m N"]
    h: Float[Array, ""]
    begun: Int[Array, ""]
    events: Int[Array, ""]
    sliding: Float[Array, ""]


class Filippov(Solver):
    """This gives Filippov's solution of the gradient flow of a two-layer (leaky) ReLU net, by events, with sliding.

    Runs on the host, in u = log(1 + t), so that any time can be reached; clocks Time() and LogTime(). Its error
    bar is not a coarser tolerance but the distance from an independent second road (:class:`Smoothing`).
    docs/notes/filippov.md has the notion of solution.

    Parameters
    ----------
    tolerance : local error relative to the norm of all weights, 1e-12 to 1e-2.
    epsilon : of the second road; its error is of first order in it.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[1.0]]))
    >>> start = (np.array([[1.0]]), np.array([[1.0]]))
    >>> gl.run(gl.GradientFlow(problem), start, [1.0], solver=gl.solvers.Filippov(1e-6), refine=False).result
    'reached the last record'
    """

    hosted: ClassVar[bool] = True

    tolerance: float = eqx.field(static=True, default=1e-9)
    epsilon: float = eqx.field(static=True, default=1e-7)
    shape: tuple[int, int] = eqx.field(static=True, default=(0, 0))

    def coarser(self) -> Smoothing:
        """The other road."""
        return Smoothing(self.tolerance, self.epsilon, self.shape)

    def refuse(self, flow: Flow, clock: Clock, ensemble: bool = False) -> str | None:
        return super().refuse(flow, clock, ensemble) or _refusal(flow, clock, ensemble)

    def suits(self, flow: Flow, clock: Clock, ensemble: bool = False) -> Filippov:
        """With the shape of the flow's kinks."""
        if (reason := self.refuse(flow, clock, ensemble)) is not None:
            raise ValueError(reason)
        return type(self)(self.tolerance, self.epsilon, _kinks(flow.observed))

    def balanced(self, flow: Flow, y: Any) -> Any:
        """None: what slides is moved by a mean of gradients, on the host."""
        return ()

    def memory(self, pair: Any) -> Course:
        none = jnp.zeros((), dtype=jnp.int64)
        return Course(jnp.zeros(self.shape, dtype=jnp.int8), jnp.zeros(()), none, none, jnp.zeros(()))

    def carry(
        self, flow: Flow, clock: Clock, stop: Stop, state: State, end: float, tell: Callable[[float], None]
    ) -> State:
        if int(state.status) != stops.RUNNING or float(state.tau) >= end:
            return state
        course: Course = state.memory
        known: Any = clock.known(jnp.asarray(end, dtype=jnp.float64))
        memory = Memory(np.asarray(course.signs), float(course.h)) if int(course.begun) else None
        problem, u, goal = flow.observed, float(state.u), float(known)
        levels = (stop.loss, stop.log_loss, stop.gradient_norm, stop.steps, stop.log_t)
        watched = any(level is not None for level in levels)

        def look(u: float, y: np.ndarray, steps: int) -> int:
            tell(clock.at(u))
            if not watched:
                return stops.RUNNING
            pair = (problem.unravel(jnp.asarray(y)), jnp.asarray(u))
            return int(_code(flow, stop, pair, state.steps + steps))

        outcome = self._road(problem, state.y, u, goal, memory, look)
        arrived = outcome.status == stops.RUNNING
        slid = outcome.sliding_time if np.isfinite(outcome.sliding_time) else 0.0
        after = Course(
            jnp.asarray(np.asarray(outcome.memory.signs), dtype=jnp.int8).reshape(self.shape),
            jnp.asarray(outcome.memory.h, dtype=jnp.float64),
            jnp.asarray(1, dtype=jnp.int64),
            course.events + len(outcome.events),
            course.sliding + slid,
        )
        tau = jnp.asarray(end if arrived else clock.at(outcome.u), dtype=jnp.float64)
        return replace(
            state,
            tau=tau,
            y=outcome.weights,
            u=jnp.asarray(goal if arrived else outcome.u, dtype=jnp.float64),
            steps=state.steps + outcome.steps,
            rejected=state.rejected + outcome.rejected,
            evaluations=state.evaluations + outcome.evaluations,
            jacobians=state.jacobians + outcome.jacobians,
            status=jnp.asarray(outcome.status, dtype=jnp.int64),
            memory=after,
        )

    def _road(self, problem: Problem, weights: Any, u: float, goal: float, memory: Any, look: Any) -> Any:
        return advance(problem, weights, u, goal, memory, self.tolerance, look)

    def seen(self, state: State) -> dict[str, Array]:
        """The number of events, and the share of neuron-time (in log time) spent sliding."""
        course: Course = state.memory
        return {"events": course.events, "sliding": course.sliding / jnp.where(state.u > 0.0, state.u, 1.0)}

    def describe(self) -> str:
        return f"Filippov, tolerance {self.tolerance:g}; error: distance from smoothing at {self.epsilon:g}"


class Smoothing(Filippov):
    """The same flow with its kinks smoothed on the scale ε ‖w‖‖x‖: no modes, no events, one stiff smooth flow."""

    def coarser(self) -> Smoothing:
        """Ten times the ε and the tolerance."""
        return Smoothing(min(10.0 * self.tolerance, 1e-2), min(10.0 * self.epsilon, 1.0), self.shape)

    def _road(self, problem: Problem, weights: Any, u: float, goal: float, memory: Any, look: Any) -> Any:
        return advance_smoothed(problem, weights, u, goal, self.tolerance, self.epsilon, memory, look)

    def describe(self) -> str:
        return f"Smoothing of kinks, epsilon {self.epsilon:g}, tolerance {self.tolerance:g}"


def _kinks(problem: Problem) -> tuple[int, int]:
    network: Any = problem.network
    return network.widths[1], len(problem.data.inputs)


def _refusal(flow: Flow, clock: Clock, ensemble: bool) -> str | None:
    if not isinstance(flow, GradientFlow):
        return (
            f"the event-driven solver follows the plain gradient flow, not {type(flow).__name__}: use "
            "GradientFlow(problem), or Fixed('heun', step)"
        )
    reason = supports(flow.observed)
    if reason is not None:
        return reason
    if clock.known(jnp.zeros(())) is None:
        return (
            f"the event-driven solver steps in physical time; the clock {type(clock).__name__} was given: use "
            "Time() or LogTime(), or Fixed('heun', step)"
        )
    if ensemble:
        return (
            "the event-driven solver takes one member a time: run them one by one, or use Fixed('heun', step)"
        )
    return None


def serves(flow: Flow, clock: Clock, ensemble: bool) -> bool:
    """Whether ``auto`` chooses it: where it can serve and the kinks are not too many to be followed."""
    return Filippov().refuse(flow, clock, ensemble) is None and int(np.prod(_kinks(flow.observed))) <= KINKS
