"""Carry a two-layer net with kinks along its gradient flow, from event to event, in u = log(1 + t)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics import stops
from gradlab.dynamics.filippov.counts import Counts
from gradlab.dynamics.filippov.events import OUTSIDE, Event, Watch
from gradlab.dynamics.filippov.modes import Mode, Surfaces, jumps, mode, program, surfaces
from gradlab.dynamics.filippov.sliding import interior, resolve
from gradlab.modules import Module
from gradlab.problem.activations import LeakyReLU
from gradlab.problem.dense import Dense
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

if TYPE_CHECKING:
    from gradlab.dynamics.filippov.stepping import Stepper

#: Accepted steps of one call, events (beside one for every pair) within CROWDED parts of u, and rejections within
#: one piece, after which a solve is given up.
STEPS, CROWD, CROWDED, REJECTIONS = 20_000, 200, 1e-6, 1000
#: The part of the error tolerance (in the norm of all weights) by which a kink must be passed to count as passed.
HYSTERESIS = 0.01
#: The step after an event, as a part of the one before.
RESTART = 0.1
#: Without a log-risk the field is multiplied by exp(u).
LARGEST_U = 600.0

INSTEAD = "use Fixed('heun', step)"


class Memory(Module):
    """What a restart needs beside the weights: sides (m, N) ∈ {−1, 0, 1}, 0 for sliding pairs, and the step size."""

    signs: np.ndarray
    h: float


class Outcome(Module):
    """Where a solve stands and what it cost.

    weights, u, memory : the state reached. evaluations : of the field (multipliers count too); jacobians : dense
    ones. steps, rejected : accepted and rejected. events : the changes of mode, in order. sliding_time : ∫ (share
    of neurons that slide) du. status : an index into ``stops.RESULTS``; RUNNING where ``end`` was reached.
    """

    weights: Any
    u: float
    memory: Memory
    evaluations: int
    jacobians: int
    steps: int
    rejected: int
    events: tuple[Event, ...]
    sliding_time: float
    status: int


#: u = log(1 + t), the weights as one vector and the accepted steps so far → a status: RUNNING, or why to stop.
Look = Callable[[float, np.ndarray, int], int]


def unwatched(u: float, y: np.ndarray, steps: int) -> int:
    """Nobody looks."""
    return stops.RUNNING


def supports(problem: Problem) -> str | None:
    """Why :func:`advance` does not serve a problem, and what does; None where it does."""
    network = problem.network
    if not isinstance(network, Dense):
        return f"the event-driven solver is for Dense((d, m, C), 'relu'), not {type(network).__name__}: {INSTEAD}"
    if len(network.widths) != 3:
        return (
            f"the event-driven solver is for two layers; this net has {len(network.widths) - 1}, and kinks of deeper "
            f"layers are no hyperplanes: {INSTEAD}"
        )
    if network.bias:
        return f"the event-driven solver is for nets without biases: append a coordinate 1 to the inputs, or {INSTEAD}"
    if not problem.loss.smooth:
        return f"the event-driven solver is for smooth losses, not {type(problem.loss).__name__}: {INSTEAD}"
    if network.activation.name not in ("relu", "leaky_relu"):
        return (
            f"the event-driven solver is for relu and leaky_relu; {network.activation.name!r} is another activation: "
            "use Adaptive()"
        )
    return None


def slope(problem: Problem) -> float:
    """α, the slope below 0."""
    activation: Any = problem.network.activation  # type: ignore[attr-defined]  # a Dense, see supports
    return activation.slope if isinstance(activation, LeakyReLU) else 0.0


def refuse_beyond(problem: Problem, u: float, end: float, tolerance: float) -> None:
    """ValueError for times or a tolerance that cannot be served."""
    if not (math.isfinite(end) and 0.0 <= u <= end):
        raise ValueError(f"u = log(1 + t) was to go from {u} to {end}; give 0 ≤ u ≤ end < ∞")
    if not 1e-12 <= tolerance <= 1e-2:
        raise ValueError(f"tolerance was {tolerance}; give a number from 1e-12 (round-off) to 1e-2")
    if end > LARGEST_U and not (problem.has_log and float(np.max(problem.decay)) == 0.0):
        raise ValueError(
            f"end = log(1 + t) was {end}; with a loss of residuals or with decay the potential does not vanish and "
            f"the field in log t overflows: give end ≤ {LARGEST_U:g}"
        )


@float64
def advance(
    problem: Problem,
    weights: Any,
    u: float,
    end: float,
    memory: Memory | None = None,
    tolerance: float = 1e-10,
    look: Look = unwatched,
) -> Outcome:
    """Filippov's solution of dW/dt = −∂L(W) from u = log(1 + t) to ``end``, L the potential of a two-layer net.

    Each neuron is above, below or on every hyperplane w·x_n = 0. Between changes the flow is the gradient flow of a
    masked net on a linear subspace, integrated by Radau IIA of order 5; a change is located on the dense output,
    landed on, and resolved by the sliding problem of least norm (docs/notes/filippov.md).

    Parameters
    ----------
    weights : (W_1 (m, d), W_2 (C, m)). memory : of the last outcome, or None at a start: sides are then the signs of
        the pre-activations, σ'(0) the slope below. tolerance : local error, relative to the norm of all weights.

    Raises
    ------
    ValueError
        For a problem that :func:`supports` refuses, or times or a tolerance that cannot be served.
    """
    if refusal := supports(problem):
        raise ValueError(refusal)
    refuse_beyond(problem, u, end, tolerance)
    solve = _Solve(problem, weights, float(u), memory, tolerance, look)
    status = solve.to(float(end))
    after = Memory(solve.kinks.of_examples(solve.signs), solve.h)
    counts = solve.counts
    return Outcome(
        problem.unravel(jnp.asarray(solve.y)),
        solve.u,
        after,
        counts.evaluations,
        counts.jacobians,
        counts.steps,
        counts.rejected,
        tuple(solve.events),
        solve.sliding_time,
        status,
    )


class _Solve:
    """The host-side state of one call."""

    def __init__(
        self,
        problem: Problem,
        weights: Any,
        u: float,
        memory: Memory | None,
        tolerance: float,
        look: Look = unwatched,
    ) -> None:
        self.problem, self.alpha, self.tolerance = problem, slope(problem), tolerance
        inputs = np.asarray(problem.data.inputs, dtype=float)
        self.inputs = inputs.reshape(len(inputs), -1)
        # of slope 1 nothing bends
        self.kinks: Surfaces = surfaces(self.inputs if self.alpha != 1.0 else 0.0 * self.inputs)
        self.y, self.u, self.counts, self.look = np.array(problem.ravel(weights)), u, Counts(), look
        network: Any = problem.network  # a Dense of two layers, see supports
        self.d, self.m = network.widths[:2]
        self.events: list[Event] = []
        self.sliding_time = 0.0
        self._pulls, self._jumps = program("forces", problem), jumps(self.alpha, self.kinks)
        if memory is None:
            self.h, z = 0.0, self.first() @ self.kinks.normals.T
            self.signs = np.where(z > 0.0, 1, -1).astype(np.int8)
            for j in np.flatnonzero((z == 0.0).any(axis=1)):
                self._settle(int(j), z[j] == 0.0, np.zeros_like(z[j], dtype=bool), np.zeros_like(z[j]))
        else:
            self.h, self.signs = float(memory.h), self.kinks.of_surfaces(np.asarray(memory.signs))

    def first(self) -> np.ndarray:
        """W_1, a view of the state."""
        return self.y[: self.m * self.d].reshape(self.m, self.d)

    def to(self, end: float) -> int:
        """Piece by piece to ``end``; how it went."""
        crowd, last = 0, self.u
        while self.u < end:
            status = self._piece(end)
            if status != stops.RUNNING:
                return status
            moved = self.u > last + CROWDED * max(1.0, last)
            crowd, last = (0, self.u) if moved else (crowd + 1, last)
            if crowd > CROWD + self.signs.size or self.counts.steps > STEPS:
                return stops.UNDERFLOW
        return stops.RUNNING

    def _piece(self, end: float) -> int:
        """Steps of one mode, to ``end`` or to the next event, which is resolved."""
        here = self._mode()
        first = self.first()
        first[:] = np.einsum("jab,jb->ja", np.asarray(here.projectors), first)
        velocity = program("velocity", here.problem, here.projectors)
        jacobian = program("jacobian", here.problem, here.projectors)
        depth = HYSTERESIS * self.tolerance * float(np.linalg.norm(self.y)) / math.sqrt(self.m)
        slides = (self.signs == 0).any(axis=1)
        slack = program("slack", here) if slides.any() else None
        watch = Watch(self.signs, self.kinks.normals, slack, self.y, depth, self.counts)
        begin, share, refused = self.u, float(slides.mean()), self.counts.rejected

        def stepper(u: float, y: np.ndarray, stop: float, h: float, known: Any = None) -> Stepper:
            # SciPy's integrators are half a second of imports, which only such nets pay
            from gradlab.dynamics.filippov.stepping import Stepper

            return Stepper(velocity, jacobian, u, y, stop, h, self.tolerance, self.counts, known)

        solver = stepper(self.u, self.y, end, self._first_step(velocity, end))
        status = stops.RUNNING
        while status == stops.RUNNING and self.u < end:
            start, before, known, planned = self.u, self.y, solver.J, solver.h_abs
            stalls = self.counts.rejected - refused > REJECTIONS
            if stalls or not solver.advance() or self.counts.steps > STEPS:
                status = stops.UNDERFLOW if np.isfinite(solver.f).all() else stops.NOT_FINITE
                break
            found = watch.first(solver.sol, start, solver.t)
            if found is None:
                self.u, self.y = float(solver.t), solver.y
                # a step cut by the end does not forget the longer one planned
                self.h = float(solver.h_abs if self.u < end else max(planned, solver.h_abs))
                status = self.look(self.u, self.y, self.counts.steps)
                continue
            self.h = RESTART * max(planned, float(solver.t) - start)
            landing = stepper(start, before, max(found[0], start + 20.0 * np.spacing(start)), end, known)
            self.u, self.y = self._land(landing, solver.sol, watch, *found)
            self._change(here, watch, found, np.asarray(before))
            status = self.look(self.u, self.y, self.counts.steps)
            break
        self.sliding_time += share * (self.u - begin)
        return status

    def _first_step(self, velocity: Any, end: float) -> float:
        if self.h > 0.0:
            return max(min(self.h, end - self.u), 20.0 * np.spacing(self.u))
        self.counts.evaluations += 1
        pace = float(np.linalg.norm(velocity(self.u, self.y))) / max(float(np.linalg.norm(self.y)), 1e-300)
        return min(0.1 * self.tolerance**0.25 / max(pace, 1.0), end - self.u)

    def _land(
        self, solver: Stepper, path: Any, watch: Watch, u: float, j: int, g: int
    ) -> tuple[float, np.ndarray]:
        """Step to the event instead of interpolating, then correct what the dense output's error left."""
        start = float(solver.t)
        while solver.status == "running":
            if not solver.advance():
                # the interpolant is of the order of the tolerance
                return u, path(u)
        if self.signs[j, g] != 0:
            miss = watch.sides(solver.y)[j, g] - watch.side_floor[j, g]
            pace = watch.sides(solver.f)[j, g]
            # one Euler step over a time of the order of the tolerance
            extra = -miss / pace if pace < 0.0 else 0.0
            if abs(extra) <= 1e-3 * (solver.t - start):
                return float(solver.t + extra), solver.y + extra * solver.f
        return float(solver.t), np.array(solver.y)

    def _mode(self) -> Mode:
        """The mode of the present signs; where multipliers are not unique, a reference inside their interval."""
        slides = self.signs == 0
        parked = slides.all(axis=1) & bool(slides.shape[1])
        here = mode(self.problem, self.alpha, self.kinks, self.signs, parked)
        reference = np.array(here.reference)
        for j in np.flatnonzero(slides.any(axis=1)):
            chosen = self.kinks.normals[slides[j]]
            if len(chosen) > self.d or np.linalg.matrix_rank(chosen, tol=1e-10) < len(chosen):
                force, jump = self._force(int(j), slides[j])
                held = interior(force, jump[slides[j]], chosen)
                if held is not None:
                    reference[j, slides[j]] = held
        return eqx.tree_at(lambda mode: mode.reference, here, jnp.asarray(reference))

    def _force(self, j: int, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(Σ r q x with the pairs of this mask taken from below, jumps R (G,)) of neuron j, up to a common factor."""
        self.counts.evaluations += 1
        r = self._pulls(self.y)[j]
        signs = self.kinks.of_examples(np.where(below, -1, self.signs[j])[None].astype(np.int8))[0]
        force = (r * np.where(signs > 0, 1.0, self.alpha)) @ self.inputs
        return force, r @ self._jumps

    def _change(self, here: Mode, watch: Watch, found: Any, before: np.ndarray) -> None:
        """Resolve every neuron that has an event here."""
        crossed, outside = watch.violated(self.y)
        (crossed if self.signs[found[1], found[2]] else outside)[found[1], found[2]] = True
        forced = crossed | outside
        size = 10.0 * self.tolerance * float(np.linalg.norm(self.y))
        near = np.abs(self.first() @ self.kinks.normals.T) <= size * HYSTERESIS
        drift = self._drift(here, before) if outside.any() else np.zeros(self.signs.shape)
        for j in np.flatnonzero(forced.any(axis=1)):
            if np.linalg.norm(self.first()[j]) <= size and self._park(int(j)):
                continue
            kinks = forced[j] | (self.signs[j] == 0) | near[j]
            self._settle(int(j), kinks, forced[j], drift[j])

    def _drift(self, here: Mode, before: np.ndarray) -> np.ndarray:
        """How θ changed over the last step, for pairs whose R changed its sign."""
        values, held = [], program("multipliers", here)
        for y in (before, self.y):
            phi, jump = held(y)
            values.append(np.where(jump != 0.0, phi / np.where(jump != 0.0, jump, 1.0), 0.0))
        return values[1] - values[0]

    def _park(self, j: int) -> bool:
        """Leave a neuron at the origin where it may stay there; whether it may."""
        every = np.ones(self.signs.shape[1], dtype=bool)
        force, jump = self._force(j, every)
        if interior(force, jump, self.kinks.normals) is None:
            return False
        self._record(j, np.zeros_like(self.signs[j]))
        return True

    def _settle(self, j: int, kinks: np.ndarray, forced: np.ndarray, drift: np.ndarray) -> None:
        force, jump = self._force(j, kinks)
        edge, every = 10.0 * OUTSIDE, np.abs(self._pulls(self.y)) @ self._jumps
        weak = np.abs(jump) <= edge * every.sum(axis=0)
        after = resolve(self.signs[j], kinks, forced, force, jump, self.kinks.normals, drift, edge, weak)
        self._record(j, after)

    def _record(self, j: int, after: np.ndarray) -> None:
        for g in np.flatnonzero(after != self.signs[j]):
            example = int(self.kinks.first[g])
            self.events.append(Event(self.u, j, example, int(self.signs[j, g]), int(after[g])))
        self.signs = self.signs.copy()
        self.signs[j] = after
