"""Trajectories of the gradient flow: whether they are, measured; and the orbit of another flow from the same start."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.claims.looks.look import Look
from gradlab.claims.measured import NOT_ASKED, Number, at_most
from gradlab.dynamics.flow import Flow, descent_direction
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from gradlab.observe.observables import Observable
from gradlab.problem.compiling import MODERATELY, compiled
from gradlab.problem.problem import Problem

#: Steps from a record to the next, at most; the error of one of Euler's, over the longest way, and where rest begins.
MOST, STEP, REST = 50000, 1e-2, 1e-3
#: Physical time up to which another flow is run beside a given trajectory.
HORIZON = 1e6


@eqx.filter_jit
def _field(problem: Problem, u: Any, vector: Any) -> Any:
    """dW/du, u = log(1 + t): (1 + t)(−∇L), whose factors may over- and underflow where it does not."""
    direction, log_scale = descent_direction(problem, problem.unravel(vector))
    return jnp.exp(u + log_scale) * problem.ravel(direction)


@compiled
def _speeds(problem: Problem, vectors: Any, ends: Any) -> Any:
    """‖dW/du‖ at the records with u of the next one: no less than ‖∇L‖ Δt."""
    return jax.vmap(lambda v, u: jnp.linalg.norm(_field(problem, u, v)))(vectors, ends)


@partial(compiled, options=MODERATELY)
def _followed(problem: Problem, vectors: Any, begins: Any, ends: Any, allowed: Any) -> Any:
    """The gradient flow from every record to the time of the next one, by midpoint steps of which Euler's err so much.

    NaN where MOST steps do not arrive.
    """

    def follow(start: Any, begin: Any, end: Any) -> Any:
        def going(state: Any) -> Any:
            u, _, _, count = state
            return (u < end) & (count < MOST)

        def step(state: Any) -> Any:
            u, v, h, count = state
            h = jnp.minimum(h, end - u)
            first = _field(problem, u, v)
            second = _field(problem, u + h / 2.0, v + h / 2.0 * first)
            error = h * jnp.linalg.norm(second - first)
            good = error <= allowed
            factor = jnp.clip(0.9 * jnp.sqrt(allowed / error), 0.1, 4.0)
            after = jnp.where(h >= end - u, end, u + h)
            return jnp.where(good, after, u), jnp.where(good, v + h * second, v), h * factor, count + 1

        u, v, _, _ = jax.lax.while_loop(going, step, (begin, start, (end - begin) / 16.0, 0))
        return jnp.where(u >= end, v, jnp.nan)

    return jax.lax.map(lambda given: follow(*given), (vectors, begins, ends))


class Beside(NamedTuple):
    """Weights of another flow at the first records, (m, P), their errors, and how far ‖V_k‖ is from one, (m,)."""

    weights: np.ndarray
    errors: np.ndarray
    unit: np.ndarray


class Unit(Observable):
    """max_k |‖V_k‖ − 1| of a flow in the chart (ρ_k, V_k)."""

    name: str = eqx.field(static=True, default="unit")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Any:
        norms = [jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(v))) for v in y.directions]
        return jnp.max(jnp.abs(jnp.stack(norms) - 1.0))


class FlowRecords(Look):
    """A trajectory, or points without dynamics, of which nothing is asked that a flow would have to show."""

    @cached_property
    def log_time(self) -> np.ndarray:
        """log(1 + t) at every record; none where nothing flows."""
        if "weights" not in self.trajectory or "t" not in self.trajectory:
            return np.zeros(0)
        if "log_t" in self.trajectory:
            return np.logaddexp(0.0, np.asarray(self.trajectory["log_t"].values, dtype=np.float64))
        return np.log1p(self.time)

    @property
    def flows(self) -> bool:
        """Whether the records lie along a time."""
        return self.log_time.size > 1 and bool(np.any(np.diff(self.log_time) > 0.0))

    @at_most(0.05, role="hypothesis")
    def gradient_flow(self) -> Number | None:
        """How far each record lies from where dW/dt = −∇L arrives from the one before, relative to the longest way.

        It tells flows from what is none, whatever the clock and the chart: momentum, another pace of a layer, noise or
        a step that is not small miss by tenths; a solver at tolerance 1e-4, and a midpoint rule whose steps are held so
        short that Euler's are off by 1e-2 of the way, by less. What is finer is for the parts to see.
        """
        if not self.flows:
            return NOT_ASKED
        begins, ends, starts = self.log_time[:-1], self.log_time[1:], self.weights[:-1]
        ways = np.linalg.norm(self.weights[1:] - starts, axis=1)
        # from rest to rest nothing is followed: there a field is stiff, and what moves is the solver's error
        moving = np.maximum(ways, np.asarray(_speeds(self.problem, starts, ends))) > REST * ways.max()
        if not moving.any():
            return NOT_ASKED
        # all records, for one program a problem: those that rest arrive at once
        given, longest = (self.problem, starts, begins, np.where(moving, ends, begins)), ways.max()
        fine, coarse = (np.asarray(_followed(*given, share * STEP * longest)) for share in (0.25, 1.0))
        longest = max(longest, float(np.max(np.linalg.norm(fine - starts, axis=1)[moving])))
        missed, change = (
            float(np.max(np.linalg.norm(fine - other, axis=1)[moving])) / longest
            for other in (self.weights[1:], coarse)
        )
        return Number(missed, change)

    def beside(self, flow: Callable[[], Flow], pace: float = 1.0) -> Beside | None:
        """The orbit of another flow from the same start: the one that was run beside, or run here, t times ``pace``."""
        if "beside_weights" in self.trajectory:
            given = self.trajectory["beside_weights"].values
            return Beside(given, np.zeros_like(given), self.trajectory["beside_unit"].values)
        if not self.flows:
            return None
        count = int(np.searchsorted(self.log_time, np.log1p(HORIZON)))
        if count < 2:
            return None
        # across kinks an adaptive solve at this tolerance takes steps without end
        solver: Any = Adaptive("dopri8", 1e-10) if self.problem.network.smooth else "auto"
        times = pace * np.expm1(self.log_time[:count] - self.log_time[0])
        seen = run(
            flow(), self.tree(self.weights[0]), times[1:], solver=solver, observables=(Unit(),), keep="all"
        )
        return Beside(seen["weights"].values, seen["weights_error"].values, seen["unit"].values)
