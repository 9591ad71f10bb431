"""Exact steps on quadratic potentials, through eigenvectors: flow for any time, any number of iterations at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock, LogTime, Time
from gradlab.dynamics.descent import Constant, GradientDescent
from gradlab.dynamics.energy import EPS, ROUNDED, Energy
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import State, bracket, margin, watch
from gradlab.dynamics.stops import Stop
from gradlab.modules import Module
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Below it 1 − x/2 is the series of (1 − e⁻ˣ)/x to x²/6 < 2e-17.
_SMALL = 1e-8


class Exact(Solver):
    """Quadratic potentials go from record to record in one step each; rounding is the only error.

    For the gradient flow in time or logarithmic time, and for gradient descent with a constant step. Stops are
    checked at records only; those of a flow are then located before (of descent, ``steps`` is met exactly). Each record
    counts as one evaluation and one dense factorisation.

    Parameters
    ----------
    mirrored : factorise the inputs with examples and features in reverse order, which is the same step with other
        rounding errors.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> trajectory = gl.run(gl.GradientFlow(problem), (np.zeros((1, 1)),), [1.0], solver=gl.solvers.Exact())
    >>> bool(abs(float(trajectory.final_weights[0]) - 3.0 * (1.0 - np.exp(-1.0))) < 1e-12)
    True
    """

    rounds_only: ClassVar[bool] = True

    mirrored: bool = eqx.field(static=True, default=False)

    def coarser(self) -> Exact:
        """The same step by another factorisation; a run shakes data and weights by rounding as well."""
        return Exact(not self.mirrored)

    def refuse(self, flow: Flow, clock: Clock, ensemble: bool = False) -> str | None:
        """A sentence if this flow has no exact steps in this clock, else None."""
        if isinstance(flow, GradientDescent):
            if not isinstance(flow.step, Constant):
                return (
                    f"exact steps of descent need a constant step; {type(flow.step).__name__} was given: "
                    "use Descent()"
                )
        elif type(flow) is not GradientFlow:
            return (
                f"exact steps are for GradientFlow and GradientDescent; {type(flow).__name__} was given: "
                "use solver='auto'"
            )
        elif not isinstance(clock, Time | LogTime):
            return (
                f"exact steps need the clock Time() or LogTime(); {type(clock).__name__} was given: "
                "change the clock, or use Adaptive()"
            )
        return quadratic(flow.problem) or overflow(flow.problem)

    def advance(self, flow: Flow, clock: Clock, stop: Stop, state: State, end: Any, limit: Any) -> State:
        return exact(flow, clock, self, stop, state, end)

    def describe(self) -> str:
        return "Exact: through the eigenvectors of the quadratic potential"


def quadratic(problem: Problem) -> str | None:
    """Why the potential is not (known to be) quadratic, in a sentence, or None where it is."""
    network, loss = problem.network, problem.loss
    if not isinstance(network, Dense) or len(network.widths) != 2:
        shape = f"widths {network.widths}" if isinstance(network, Dense) else type(network).__name__
        return (
            f"exact steps need a linear network of one layer; this one has {shape}: write Dense((d, C)), or use "
            "another solver"
        )
    if not isinstance(loss, Square):
        return f"exact steps need the square loss; {type(loss).__name__} was given: use Square(), or another solver"
    return None


def overflow(problem: Problem) -> str | None:
    """A sentence where the curvature or the pull of a quadratic potential is beyond the largest number, else None."""

    def size(values: Any) -> Any:
        values = np.abs(np.asarray(values, dtype=np.float64))
        largest = np.max(values, initial=0.0)
        return largest * np.sqrt(np.sum((values / largest) ** 2)) if largest > 0.0 else largest

    inputs, targets = size(problem.data.inputs), size(problem.data.targets)
    with np.errstate(over="ignore"):
        sizes = 2.0 * np.array([inputs * inputs, inputs * targets, targets * targets])
    if np.all(np.isfinite(sizes)):
        return None
    return (
        f"the Hessian of this problem overflows: its inputs have norm {inputs:.2g}, its targets {targets:.2g}, and "
        "products of two are beyond 1.8e308: divide inputs or targets by a constant"
    )


class _Spectrum(Module):
    """∇L(W) = (Z h − b) Vᵀ + λ (W − Z Vᵀ), Z = W V: eigenvalues h, right singular vectors V of the inputs."""

    eigenvalues: Float[Array, " r"]
    pull: Float[Array, "C r"]
    vectors: Float[Array, "r D"]
    decay: Float[Array, ""]


def _spectrum(problem: Problem, mirrored: bool) -> _Spectrum:
    data = problem.data
    network: Any = problem.network
    count = data.inputs.shape[0]
    inputs = data.inputs.reshape(count, -1)
    if network.bias:
        inputs = jnp.concatenate([inputs, jnp.ones((count, 1))], axis=1)
    if mirrored:
        left, values, right = jnp.linalg.svd(inputs[::-1, ::-1], full_matrices=False)
        left, right = left[::-1], right[:, ::-1]
    else:
        left, values, right = jnp.linalg.svd(inputs, full_matrices=False)
    # What rounding made of a zero singular value is a zero: over long times it would pull the weights to 1/eps.
    floor = np.finfo(np.float64).eps * max(inputs.shape) * values[0]
    values = jnp.where(values > floor, values, 0.0)
    scale = _scale(problem)
    decay = jnp.reshape(problem.decay, ())
    pull = scale * values * (data.targets.T @ left)
    return _Spectrum(scale * values**2 + decay, pull, right, decay)


def _scale(problem: Problem) -> float:
    """c: the Hessian is c XᵀX + λ."""
    loss: Any = problem.loss
    count = problem.data.inputs.shape[0]
    return (1.0 if loss.half else 2.0) * problem.factor / (count if loss.reduction == "mean" else 1)


def _coordinates(spectrum: _Spectrum, layer: Any) -> tuple[Any, Any]:
    """(Z, what of the weights is orthogonal to all inputs, or None where nothing can be)."""
    matrix = (
        jnp.concatenate([layer["weight"], layer["bias"][:, None]], axis=1)
        if isinstance(layer, dict)
        else layer
    )
    vectors = spectrum.vectors
    inner = matrix @ vectors.T
    if vectors.shape[0] >= vectors.shape[1]:
        return inner, None
    rest = matrix - inner @ vectors
    # A second projection, without which the rest keeps eps ‖W‖ of the other directions.
    return inner, rest - (rest @ vectors.T) @ vectors


def _stepped(
    problem: Problem, weights: Any, motion: Callable[[Any, Any, Any], Any], mirrored: bool = False
) -> Any:
    """Weights after ``motion(h, b, z)``, the motion of dz/dt = b − h z in each eigendirection."""
    spectrum = _spectrum(problem, mirrored)
    (layer,) = problem.network.layers(weights)
    inner, rest = _coordinates(spectrum, layer)
    moved = motion(spectrum.eigenvalues, spectrum.pull, inner) @ spectrum.vectors
    if rest is not None:
        moved = moved + motion(spectrum.decay, jnp.zeros(()), rest)
    if isinstance(layer, dict):
        return problem.network.rebuild(({"weight": moved[:, :-1], "bias": moved[:, -1]},))
    return problem.network.rebuild((moved,))


def _flowed(h: Any, b: Any, z: Any, duration: Any, log_duration: Any) -> Any:
    """e^(−hΔ) z + (1 − e^(−hΔ))/h · b, for Δ beyond 10³⁰⁸ by its logarithm."""
    positive = jnp.where(h > 0.0, h, 1.0)
    x = jnp.where(jnp.isfinite(duration), positive * duration, jnp.exp(jnp.log(positive) + log_duration))
    x = jnp.where(h > 0.0, x, 0.0)
    short = jnp.where(b == 0.0, 0.0, b * duration * (1.0 - 0.5 * x))
    return jnp.exp(-x) * z + jnp.where(x > _SMALL, -jnp.expm1(-x) * (b / positive), short)


def _dissipated(problem: Problem, weights: Any, log_duration: Any, mirrored: bool) -> tuple[Any, Any]:
    """(∫ ‖∇L‖² dt over Δ, its error): Σ r² (1 − e^(−2hΔ))/2h with r = b − h z, each rounded by eps (h₁‖W‖ + ‖b‖₁)."""
    spectrum = _spectrum(problem, mirrored)
    (layer,) = problem.network.layers(weights)
    inner, rest = _coordinates(spectrum, layer)
    inputs = jnp.sqrt(jnp.max(spectrum.eigenvalues - spectrum.decay, initial=0.0))
    network_scale = jnp.sqrt(_scale(problem)) * jnp.linalg.norm(problem.data.targets)
    rounded = ROUNDED * EPS * (jnp.max(spectrum.eigenvalues) * tree.norm(weights) + inputs * network_scale)

    def spent(h: Any, pull: Any) -> tuple[Any, Any]:
        positive = jnp.where(h > 0.0, h, 1.0)
        x = 2.0 * jnp.exp(jnp.minimum(jnp.log(positive) + log_duration, 700.0))
        # Roots first: squares of a pull may overflow, and 1/h underflow, where their product does neither.
        root = jnp.where(h > 0.0, jnp.sqrt(-0.5 * jnp.expm1(-x)), 0.0)
        scaled = root * (pull / jnp.sqrt(positive))
        return jnp.sum(scaled * scaled), jnp.sum(
            2.0 * jnp.abs(scaled) * root * (rounded / jnp.sqrt(positive))
        )

    value, error = spent(spectrum.eigenvalues, spectrum.pull - inner * spectrum.eigenvalues)
    if rest is None:
        return value, error
    more, wrong = spent(spectrum.decay, spectrum.decay * rest)
    return value + more, error + wrong


def _iterated(h: Any, b: Any, z: Any, eta: Any, k: Any) -> Any:
    """q^k z + (1 − q^k)/h · b with q = 1 − ηh, of either sign and any size."""
    x = eta * h
    # ηh − 1 is exact for ηh in [1, 2].
    exponent = jnp.where(k > 0, k * jnp.where(x < 1.0, jnp.log1p(-x), jnp.log(jnp.abs(x - 1.0))), 0.0)
    sign = jnp.where((x > 1.0) & (k % 2 == 1), -1.0, 1.0)
    positive = jnp.where(h > 0.0, h, 1.0)
    gone = jnp.where(sign > 0.0, -jnp.expm1(exponent), 1.0 + jnp.exp(exponent))
    phi = jnp.where(k * x > _SMALL, gone / positive, k * eta * (1.0 - 0.5 * (k - 1) * x))
    stable = sign * jnp.exp(exponent) * z + phi * b
    # q^k may overflow where its product with the distance from equilibrium does not: two halves.
    half, target = jnp.exp(0.5 * exponent), b / positive
    gap = z - target
    unstable = target + sign * half * (half * jnp.where(gap == 0.0, 0.0, gap))
    unstable = jnp.where(gap == 0.0, z, unstable)
    return jnp.where(x <= 2.0, stable, unstable)


@float64
@eqx.filter_jit
def flow_exactly(problem: Problem, weights: Any, duration: Any) -> Any:
    """The gradient flow of a quadratic potential after the physical time Δ: W + Δ φ₁(−HΔ)(−∇L(W)).

    With the singular values s and vectors V of the inputs X (never of XᵀX), c = 2 for ``Square()``, halved by
    ``half``, divided by N for a mean, and h = c s² + λ, each component along V moves as
    z(Δ) = e^(−hΔ) z + (1 − e^(−hΔ))/h · c s Uᵀy, and what is orthogonal to all inputs shrinks by e^(−λΔ).

    Assumes :func:`quadratic`, unchecked. Any Δ ≥ 0 is in order: a direction with h = 0 does not move, and a large
    hΔ gives the equilibrium. Singular values below eps · max(N, d) · s₁ count as 0.

    Errors: that of the inputs' SVD is a perturbation of X by a few eps · s₁, which changes component i by a relative
    (2/e + 1) κ_i eps at most, κ_i = s₁/s_i (not squared), and by nothing that grows with Δ; the rest is a few eps of
    ‖W‖ and of the component's own limit.
    """
    duration = jnp.asarray(duration, jnp.float64)
    return _stepped(problem, weights, lambda h, b, z: _flowed(h, b, z, duration, jnp.log(duration)))


@float64
@eqx.filter_jit
def iterate_exactly(problem: Problem, weights: Any, step: Any, k: Any) -> Any:
    """k iterations w ← w − η∇L(w) on a quadratic potential at once.

    As :func:`flow_exactly` with q = 1 − ηh, z_k = q^k z + (1 − q^k)/h · c s Uᵀy, where q^k = ±exp(k log|q|) and
    (1 − q^k)/h is kη where h → 0. A direction with ηh > 2 diverges and overflows as the iteration does.

    Assumes :func:`quadratic`, unchecked, and a whole number k < 2⁵³.

    Errors: as for the flow, and k eps |q|^k of relative error where ηh is between 1 and 2 or above, from the rounding
    of ηh − 1 (the same that one rounding an iteration makes). Compared with the iterated result, the *iteration* has
    the larger errors: k eps/2 · ‖W‖ at most where nothing contracts, eps ‖W‖/(ηh) at most where h > 0, and
    eps κ_i² times the residual at equilibrium.
    """
    eta, count = jnp.asarray(step, jnp.float64), jnp.asarray(k, jnp.float64)
    return _stepped(problem, weights, lambda h, b, z: _iterated(h, b, z, eta, count))


def exact(flow: Any, clock: Clock, solver: Exact, stop: Stop, state: State, end: Any) -> State:
    """One step to ``end``, however far. Stops are checked there and nowhere else."""

    def moved(state: State) -> State:
        if isinstance(flow, GradientDescent):
            count = end - state.tau
            if stop.steps is not None:
                count = jnp.clip(stop.steps - state.steps, 1, count)
            eta, tau = flow.step.step, state.tau + count
            y = _stepped(
                flow.problem, state.y, lambda h, b, z: _iterated(h, b, z, eta, count), solver.mirrored
            )
            u, steps = jnp.log1p(eta * tau), state.steps + count.astype(state.steps.dtype)
        else:

            def reached(goal: Any) -> tuple[Any, Any]:
                log_duration = _log_duration(clock, state.tau, goal)
                duration = jnp.exp(log_duration) if isinstance(clock, LogTime) else goal - state.tau
                y = _stepped(
                    flow.problem,
                    state.y,
                    lambda h, b, z: _flowed(h, b, z, duration, log_duration),
                    solver.mirrored,
                )
                return y, jnp.logaddexp(state.u, log_duration)

            (y, u), tau, steps = reached(end), end, state.steps + 1
            if stop.located:
                tau, (y, u) = _located(flow, stop, state, end, (y, u), reached)
            if isinstance(state.energy, Energy):
                spent, error = _dissipated(
                    flow.problem, state.y, _log_duration(clock, state.tau, tau), solver.mirrored
                )
                booked = state.energy
                booked = replace(booked, spent=booked.spent + spent, doubt=booked.doubt + error)
                state = replace(state, energy=booked)
        code = jnp.where(tree.finite(y), watch(flow, stop, (y, u), steps), stops.NOT_FINITE)
        counted = replace(state, evaluations=state.evaluations + 1, jacobians=state.jacobians + 1)
        changed = replace(counted, tau=tau, y=y, u=u, steps=steps, status=code)
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), changed, state)

    going = (state.tau < end) & (state.status == stops.RUNNING)
    return jax.lax.cond(going, moved, lambda state: state, state)


def _located(
    flow: Any, stop: Stop, state: State, end: Any, there: Any, reached: Callable[[Any], Any]
) -> tuple[Any, Any]:
    """(clock value, pair) where a condition is met between the state and ``end``, or there."""
    begun = bracket(flow, stop, (state.y, state.u))
    gap = margin(flow, stop, there)
    begun = replace(begun, end=end, beyond=gap)

    def go_on(carry: Any) -> Any:
        event, *_ = carry
        wide = event.end - state.tau > 4.0 * jnp.finfo(end.dtype).eps * jnp.abs(event.end)
        return (begun.now > 0.0) & (event.beyond < -stops.NEAR) & (event.tries < 100) & wide

    def look(carry: Any) -> Any:
        event, low, pair = carry
        tau = low + event.aim(low)
        new = reached(tau)
        gap = margin(flow, stop, new)
        met = gap <= 0.0
        event = replace(
            event,
            now=jnp.where(met, event.now, gap),
            end=jnp.where(met, tau, event.end),
            beyond=jnp.where(met, gap, event.beyond),
            tries=event.tries + 1,
        )
        return event, jnp.where(met, low, tau), tree.where(met, new, pair)

    event, _, pair = jax.lax.while_loop(go_on, look, (begun, state.tau, there))
    return event.end, pair


def _log_duration(clock: Clock, tau: Any, end: Any) -> Float[Array, ""]:
    """log Δ of physical time between two clock values."""
    if isinstance(clock, LogTime):
        return end + jnp.log(-jnp.expm1(tau - end))
    return jnp.log(end - tau)
