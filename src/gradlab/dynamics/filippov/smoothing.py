"""The second road: a smooth activation of degree one, σ_ε → σ, integrated without events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.dynamics import stops
from gradlab.dynamics.filippov.advance import Look, Memory, Outcome, refuse_beyond, slope, supports, unwatched
from gradlab.dynamics.filippov.counts import Counts
from gradlab.dynamics.filippov.modes import program
from gradlab.problem.network import Network, batch, count, drawn
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Accepted steps of one call.
STEPS = 50_000


class Smoothed(Network):
    """f(x) = W_2 σ_ε(W_1, x), σ_ε(w, x) = (1+α)/2 z + (1−α)/2 √(z² + ε²‖w‖²‖x‖²), z = w·x, of degree one in w.

    |σ_ε − σ| ≤ (1−α)/2 ε‖w‖‖x‖, and it is smooth wherever w ≠ 0 (where w = 0 its gradient is taken as (1+α)/2 x).
    """

    epsilon: Float[Array, ""]
    widths: tuple[int, ...] = eqx.field(static=True)
    alpha: float = eqx.field(static=True)
    input_shape: tuple[int, ...] = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    degrees: tuple[int | None, ...] | None = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, epsilon: Any, widths: tuple[int, ...], alpha: float) -> None:
        self.epsilon, self.widths, self.alpha = epsilon, widths, alpha
        self.input_shape, self.outputs = widths[:1], widths[-1]
        self.degrees, self.smooth = (1, 1), True

    def __call__(self, weights: Any, x: Float[Array, "N ..."]) -> Float[Array, "N C"]:
        self.check(weights)
        first, second = weights
        x = batch(self, x)
        x = x.reshape(x.shape[0], -1)
        z = x @ first.T
        square = z**2 + self.epsilon**2 * jnp.sum(x**2, axis=1)[:, None] * jnp.sum(first**2, axis=1)
        # Two wheres: √0 must not be differentiated.
        root = jnp.where(square > 0.0, jnp.sqrt(jnp.where(square > 0.0, square, 1.0)), 0.0)
        return (0.5 * (1.0 + self.alpha) * z + 0.5 * (1.0 - self.alpha) * root) @ second.T

    def layers(self, weights: Any) -> tuple[Any, ...]:
        return tuple(weights)

    def rebuild(self, layers: Sequence[Any]) -> tuple[Any, ...]:
        return count(self, layers, 2)

    def shapes(self) -> Any:
        d, m, C = self.widths
        return (jax.ShapeDtypeStruct((m, d), np.float64), jax.ShapeDtypeStruct((C, m), np.float64))

    def init(self, key: Any, scheme: Any) -> Any:
        return drawn(self, key, scheme)


@float64
def smoothed(problem: Problem, epsilon: float) -> Problem:
    """The problem with its ReLU or leaky ReLU made smooth on the scale ε ‖w‖‖x‖ of its pre-activations.

    Raises
    ------
    ValueError
        For a problem that :func:`supports` refuses, or an ε that is not in (0, 1].
    """
    if refusal := supports(problem):
        raise ValueError(refusal)
    if not 0.0 < epsilon <= 1.0:
        raise ValueError(f"epsilon was {epsilon}; give a number in (0, 1], e.g. 1e-7")
    network: Any = problem.network
    smooth = Smoothed(jnp.asarray(epsilon), network.widths, slope(problem))
    return eqx.tree_at(lambda problem: problem.network, problem, smooth)


@float64
def advance_smoothed(
    problem: Problem,
    weights: Any,
    u: float,
    end: float,
    tolerance: float = 1e-10,
    epsilon: float = 1e-7,
    memory: Memory | None = None,
    look: Look = unwatched,
) -> Outcome:
    """Gradient flow of the smoothed net from u = log(1 + t) to ``end``: Filippov's solution up to O(ε).

    Nothing is known here of sides, sliding or events: one smooth stiff flow, whose weights are those of the net.
    Error ∝ ε, estimated by a second solve at ε/2 (:func:`extrapolated`).

    Parameters
    ----------
    memory : only its step size is read and given back; its signs are those of the pre-activations. look : called
        after every accepted step, ends the solve where it returns another code than RUNNING.

    Raises
    ------
    ValueError
        As :func:`smoothed`, and for times or a tolerance that cannot be served.
    """
    refuse_beyond(problem, u, end, tolerance)
    smooth = smoothed(problem, epsilon)
    velocity, jacobian = program("velocity", smooth, None), program("jacobian", smooth, None)
    y, counts, status = np.array(problem.ravel(weights)), Counts(), stops.RUNNING
    h = 0.0 if memory is None else float(memory.h)
    if end > u:
        h = h or min(1e-3, end - u)
        # SciPy's integrators are half a second of imports, which only such nets pay
        from gradlab.dynamics.filippov.stepping import Stepper

        solver = Stepper(velocity, jacobian, u, y, end, h, tolerance, counts)
        while u < end and status == stops.RUNNING:
            planned = solver.h_abs
            if not solver.advance() or counts.steps > STEPS:
                status = stops.UNDERFLOW if np.isfinite(solver.f).all() else stops.NOT_FINITE
                break
            u, y, h = float(solver.t), solver.y, float(max(planned, solver.h_abs))
            status = look(u, y, counts.steps)
    reached = problem.unravel(jnp.asarray(y))
    inputs = np.asarray(problem.data.inputs).reshape(problem.data.inputs.shape[0], -1)
    signs = np.where(np.asarray(reached[0]) @ inputs.T > 0.0, 1, -1).astype(np.int8)
    costs = (counts.evaluations, counts.jacobians, counts.steps, counts.rejected)
    return Outcome(reached, u, Memory(signs, h), *costs, (), float("nan"), status)


@float64
def extrapolated(whole: Outcome, half: Outcome) -> tuple[Any, float]:
    """2 W(ε/2) − W(ε) and ‖W(ε/2) − W(ε)‖/‖W‖, which bounds the error of both where the error is C ε + o(ε).

    The bound is half the error at ε itself, and all of that at ε/2.
    """
    weights = jax.tree.map(lambda a, b: 2.0 * b - a, whole.weights, half.weights)
    gaps = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), whole.weights, half.weights)
    sizes = jax.tree.map(lambda b: jnp.sum(b**2), half.weights)
    return weights, float(jnp.sqrt(sum(jax.tree.leaves(gaps)) / sum(jax.tree.leaves(sizes))))
