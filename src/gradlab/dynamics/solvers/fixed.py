"""Equal steps between records, with no error estimate: for fields that are not smooth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.methods import cost, method
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import ATTEMPTS, State, along, bracket, landed, margin, rhs, watch
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tangent import with_look
from gradlab.problem.precision import number


class Fixed(Solver):
    """This takes equal steps no longer than ``step`` between records; the coarser version has half as many.

    For fields that are not smooth (ReLU), where an embedded error estimate means nothing.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> euler = gl.solvers.Fixed("euler", 0.5, refinement=1.0)
    >>> trajectory = gl.run(gl.GradientFlow(problem), (np.zeros((1, 1)),), [1.5], solver=euler, refine=False)
    >>> round(float(trajectory.final_weights[0]), 6)  # 3 (1 − 2⁻³)
    2.625
    """

    estimates: ClassVar[bool] = True

    name: str = eqx.field(static=True, default="heun")
    step: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-2)
    refinement: Float[Array, "..."] | float = eqx.field(converter=number, default=2.0)

    def __check_init__(self) -> None:
        method(self.name)

    def coarser(self) -> Fixed:
        """Half as many steps between records."""
        return Fixed(self.name, self.step, 0.5 * self.refinement)

    def advance(self, flow: Flow, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
        return fixed(flow, clock, self, stop, state, end)

    def describe(self) -> str:
        return f"Fixed {self.name}, {float(self.refinement):g} steps per {float(self.step):g}"


def fixed(flow: Flow, clock: Clock, solver: Fixed, stop: Stop, state: State, end: Any) -> State:
    stepper = method(solver.name)
    terms, args = diffrax.ODETerm(rhs), (flow, clock)
    each = cost(stepper, solver.name)
    span = end - state.tau
    count = jnp.maximum(solver.refinement * jnp.ceil(span / solver.step * (1.0 - 1e-12)), 1.0)
    h = tree.select(state.h > 0.0, state.h, span / count)

    def go_on(carry: Any) -> Any:
        state, attempts, _ = carry
        return (state.tau < end) & (state.status == stops.RUNNING) & (attempts < ATTEMPTS)

    def step(carry: Any) -> Any:
        state, attempts, event = carry
        last = end - state.tau < 1.5 * h
        tau = tree.select(last, end, state.tau + h)
        if stop.located:
            seeking = jnp.isfinite(event.end)
            tau = tree.select(seeking, state.tau + event.aim(state.tau), tau)
        pair = state.pair
        inner = stepper.init(terms, state.tau, tau, pair, args)
        after, error, *_ = stepper.step(terms, state.tau, tau, pair, args, inner, made_jump=False)
        good = tree.finite(after[:2])
        after, keep = landed(clock, tau, after), good
        if stop.located:
            gap = margin(flow, stop, after)
            event, far = event.after(state.tau, tau, gap, gap <= 0.0, good)
            keep = good & ~far
        steps = state.steps + keep
        tau = tree.select(keep, tau, state.tau)
        code = watch(flow, stop, after, steps)
        code = tree.select(good, tree.select(keep, code, stops.RUNNING), stops.NOT_FINITE)
        # h is forgotten at a record, where the next interval is cut anew.
        planned = tree.select(last & keep, 0.0, h)
        evaluations = state.evaluations + each
        moved = replace(
            state.settled(after, error, keep),
            tau=tau,
            h=planned,
            steps=steps,
            evaluations=evaluations,
            status=code,
        )
        return with_look(moved, along(flow, clock, moved)), attempts + 1, event

    event = bracket(flow, stop, (state.y, state.u)) if stop.located else None
    final, *_ = jax.lax.while_loop(go_on, step, (state, tree.of_each(jnp.zeros((), int), state.tau), event))
    return final
