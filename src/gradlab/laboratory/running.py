"""The laboratory's two public functions: run a flow, or look at given weights."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.dynamics import stops
from gradlab.dynamics.clocks import Clock, LogTime, Time
from gradlab.dynamics.filippov.solver import Filippov, Smoothing, serves
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.dynamics.homogeneous import HomogeneousFlow
from gradlab.dynamics.integrate import State, choose, start
from gradlab.dynamics.solvers.auto import CHANGES, DENSE, LIMITS, Auto
from gradlab.dynamics.solvers.exact import Exact, overflow, quadratic
from gradlab.dynamics.solvers.methods import Adaptive, Descent, Fixed, Solver
from gradlab.dynamics.stops import RESULTS, Stop
from gradlab.laboratory import arguments
from gradlab.laboratory.balance import verdicts
from gradlab.laboratory.conditioning import conditioned, followed, told
from gradlab.laboratory.driving import Drive, Store, drive_all, frame, strong
from gradlab.laboratory.second import shaken
from gradlab.observe.observables import Observable, Weights, default
from gradlab.observe.observables import observables as _named
from gradlab.problem.homogeneity import refusal
from gradlab.problem.precision import float64, single
from gradlab.problem.problem import Problem
from gradlab.problem.statistics import break_even, condensable, condensed
from gradlab.store.identity import environment

_start = eqx.filter_jit(start)
_start_members = eqx.filter_jit(eqx.filter_vmap(start, in_axes=(eqx.if_array(0), None, eqx.if_array(0))))


def _sharpness_step(flow: Flow, clock: Clock, state: State, members: int | None) -> Fixed:
    """Fixed steps of a tenth of the inverse sharpness at the start, in clock units, rounded to two digits."""

    def step(flow: Flow, y: Any, u: Any) -> Any:
        problem, weights = flow.observed, flow.decode(y)
        operator = problem.hessian_operator(weights)
        vector = jax.tree.map(
            lambda leaf: jnp.cos(1.0 + jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), weights
        )

        def power(_: Any, vector: Any) -> Any:
            image = operator.mv(vector)
            size = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(image)))
            return jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1.0), image)

        vector = jax.lax.fori_loop(0, 20, power, vector)
        image = operator.mv(vector)
        sharpness = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(image)))
        direction, log_scale = flow.velocity(jnp.expm1(u), y)
        return 0.1 / jnp.maximum(sharpness, 1e-12) * jnp.exp(clock.log_rate(flow, y, direction, log_scale, u))

    compiled = eqx.filter_jit(step if members is None else eqx.filter_vmap(step))
    smallest = float(np.min(compiled(flow, state.y, state.u)))
    if not np.isfinite(smallest) or smallest <= 0.0:
        raise ValueError(
            "no step size could be found from the sharpness at the start: give Fixed('heun', step=...)"
        )
    return Fixed("heun", float(f"{smallest:.1e}"))


#: Tolerance of ``auto`` in the chart for any time.
EXTREME = 1e-12


def _suited(flow: Flow, clock: Clock, stop: Stop, picked: Solver, ensemble: bool) -> tuple[Flow, Solver]:
    """What ``auto`` knows better for this flow: events for kinks, exact steps, fewer examples; else as it is."""
    if isinstance(picked, Fixed) and serves(flow, clock, ensemble):
        return flow, Filippov()
    if not isinstance(picked, Auto) or type(flow) is not GradientFlow:
        return flow, picked
    # Exact steps meet stops at records only.
    watched = (stop.loss, stop.log_loss, stop.gradient_norm, stop.log_t, stop.steps)
    if quadratic(flow.problem) is None and (reason := overflow(flow.problem)) is not None:
        raise ValueError(reason)
    if all(level is None for level in watched) and Exact().refuse(flow, clock) is None:
        return flow, Exact()
    if ensemble:
        return flow, picked
    problem = flow.problem
    if isinstance(clock, LogTime) and refusal(problem) is None and problem.size < DENSE:
        # Stiff from the start, and exponents of the size of log t: the margin needs all the digits there are.
        return HomogeneousFlow(problem), Adaptive("bdf", EXTREME, 1e-3 * EXTREME)
    inputs = np.shape(problem.data.inputs)
    if condensable(problem) is None and inputs[0] >= break_even(int(np.prod(inputs[1:]))):
        return GradientFlow(problem, condensed(problem)), picked
    return flow, picked


def _prepare(
    flow: Flow, weights: Any, clock: Clock, solver: Any, stop: Stop, seen: Any, members: int | None
) -> tuple[Drive, State]:
    problem = flow.observed
    for reason in (clock.refuse(flow), stop.refuse(problem)):
        if reason is not None:
            raise ValueError(reason)
    if flow.discrete and not isinstance(clock, Time):
        raise ValueError(
            f"descent takes no clock, its own is the iteration; {type(clock).__name__} was given: leave the clock "
            "out, and use step=LossScaled(eta) for Euler steps in log-loss time"
        )
    arguments.finite(weights)
    flow, stop, weights = strong(flow), strong(stop), strong(weights)
    chosen = default(problem) if seen is None else _named(seen, problem)
    members = arguments.ensemble(members, flow=flow, weights=weights, observables=chosen)
    automatic = isinstance(solver, str) and solver == "auto"
    picked = choose(flow, clock, solver)
    if automatic:
        flow, picked = _suited(flow, clock, stop, picked, members is not None)
    if isinstance(picked, Filippov):
        picked = picked.resolve(flow, clock, members is not None)
    if isinstance(picked, Auto):
        symmetric, residual = flow.symmetric and clock.symmetric, problem.loss.kind == "residual"
        picked = picked.resolve(problem.size + 1, symmetric, members is not None, residual)
    state = _start(flow, picked, weights) if members is None else _start_members(flow, picked, weights)
    if automatic and isinstance(picked, Fixed):
        picked = _sharpness_step(flow, clock, state, members)
    return Drive(flow, clock, strong(picked), stop, strong(chosen), members), strong(state)


@float64
def run(
    flow: Flow,
    weights: Any,
    records: Any,
    *,
    clock: Clock | None = None,
    solver: Solver | str = "auto",
    stop: Stop | None = None,
    observables: Iterable[str | Observable] | None = None,
    keep: Literal["end", "all"] = "end",
    refine: bool | None = None,
    conditioning: bool | None = None,
    members: int | None = None,
    store: Store | None = None,
    name: str = "",
    seed: int | None = None,
) -> xr.Dataset:
    """This integrates a flow and records what was seen: the trajectory, with an error beside every number.

    Parameters
    ----------
    flow : e.g. ``GradientFlow(problem)``, ``GradientDescent(problem, 0.1)``.
    weights : the start, weights of ``flow.observed``.
    records : increasing clock values (iterations, for descent) at which observables are taken; the solver lands
        on each. 0 is put in front.
    clock : :class:`Time` unless given; none for descent.
    solver : ``"auto"``, a method's name (``"tsit5"``), or a Solver.
    stop : conditions that end the run early.
    observables : names and Observables; those of ``observe.observables.DEFAULT`` that apply, unless given.
    keep : ``"end"`` keeps the final weights (``final_weights``), ``"all"`` those of every record.
    refine : solve a second time with larger errors (ten times the tolerance, fewer or less even steps where records
        are near, weights shaken by rounding at every record) and give a multiple of the distance, and rounding, as
        ``<observable>_error``; NaN, unknown, where both solves give exactly 0. The first solve then makes two steps
        or more between records. With ``keep="all"`` also what the second solve gave, ``<observable>_coarse``. On by
        default for continuous flows. Iterations have rounding errors only: their second solve, where it is asked
        for, is the iteration again with start and data shaken by rounding.
    conditioning : follow what the flow makes of rounding by a tangent δ (``rounding``, ‖δ‖/‖W‖), and have it in every
        bar. On by default where there are two solves, one member, a smooth network, and weights × examples are 20 000
        or fewer.
    members : an ensemble of that many members, vmapped, in blocks of 32 at most, as many at once as there are cores;
        all arrays of ``flow``, ``weights`` and ``observables`` then carry a leading member axis (see
        ``problem.stack``).
    store : a run directory; a run that was cut short goes on from its last segment.
    name : shown with the progress. seed : kept in the provenance.

    Returns
    -------
    Dataset over ``record`` (and ``member``): ``tau``, ``t``, ``log_t`` (right beyond 10³⁰⁸, where t overflows),
    ``step``, ``rejected``, ``evaluations``, ``status``, the observables and their errors; of gradient flows of smooth
    networks ``dissipated``, ∫ ‖∇L‖² dt, and ``balance``, L(0) − L less that, with ``balance_error``: where it is not 0
    the ``result`` says that this is no gradient flow of its loss. Attributes ``result`` and ``provenance``, which
    also says what came in ``single_precision``.

    Raises
    ------
    ValueError
        For what cannot be run, in a sentence that says what to write instead. Not converging is no error:
        it is the ``result``.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> trajectory = gl.run(gl.GradientFlow(problem), (np.zeros((1, 1)),), [1.0, 2.0], solver="dopri5")
    >>> trajectory.loss.values.round(6).tolist()  # 9/2 e^{−2t}
    [4.5, 0.609009, 0.08242]
    >>> bool((trajectory.loss_error < 1e-6).all()), trajectory.result
    (True, 'reached the last record')
    """
    begun = time.perf_counter()
    clock = Time() if clock is None else clock
    stop = Stop() if stop is None else stop
    arguments.kinds(flow, clock, solver, stop, store)
    if keep not in ("end", "all"):
        raise ValueError(f"keep is 'end' or 'all', not {keep!r}")
    drive, state = _prepare(flow, weights, clock, solver, stop, observables, members)
    if keep == "all" and all(item.name != "weights" for item in drive.observables):
        drive = replace(drive, observables=(*drive.observables, Weights()))
    refine = not flow.discrete if refine is None else refine
    if refine:
        drive = replace(drive, solver=strong(drive.solver.compared()))
    moments = arguments.moments(records, flow.discrete)
    states = [state, shaken(state) if flow.discrete else state] if refine else [state]
    if followed(drive.flow, drive.solver, members, refine, conditioning):
        states = conditioned(states)
    dataset = drive_all(drive, states, moments, store, name)
    elapsed = time.perf_counter() - begun
    return _finish(dataset, drive, elapsed, seed, _in_single(flow.observed.data, weights))


def _in_single(data: Any, weights: Any) -> list[str]:
    """What of inputs, targets and start comes in single precision."""
    parts = {"inputs": (data.inputs,), "targets": (data.targets,), "start": tuple(jax.tree.leaves(weights))}
    return [name for name, arrays in parts.items() if single(*arrays)]


def _finish(
    dataset: xr.Dataset, drive: Drive, seconds: float, seed: int | None, in_single: list[str]
) -> xr.Dataset:
    last = np.atleast_1d(dataset["status"].values[-1])
    words = ["reached the last record" if code == stops.RUNNING else RESULTS[int(code)] for code in last]
    words = verdicts(dataset, [told(dataset, word) for word in words])
    result = words[0] if drive.members is None else json.dumps(words)
    used = describe(drive.solver)
    if isinstance(drive.solver, Auto) and drive.members is None:
        used = _used(drive.solver, dataset)
    provenance = {
        "flow": type(drive.flow).__name__,
        "clock": type(drive.clock).__name__,
        "solver": describe(drive.solver),
        "solver_used": used,
        "seed": seed,
        "wall_seconds": round(seconds, 3),
        **environment(),
    }
    if in_single:
        # the solve is in float64; what it starts from is known to 6e-8
        provenance["single_precision"] = in_single
    return dataset.assign_attrs(result=result, provenance=json.dumps(provenance, default=str))


def _used(solver: Auto, dataset: xr.Dataset) -> str:
    """What ``Auto`` used and why, e.g. ``tsit5; from 0.31 rock4 (h ρ = 3.4; the stability limit of tsit5 is 3.5)``."""
    words = [solver.explicit]
    for i in range(min(int(dataset["changes"]), CHANGES)):
        when, why = float(dataset["change_clock"][i]), float(dataset["change_stiffness"][i])
        if bool(dataset["change_stiff"][i]):
            limit = f"the stability limit of {solver.explicit} is {LIMITS.get(solver.explicit, 3.0):.2g}"
            words.append(f"from {when:.3g} {solver.stiff} (h ρ = {why:.2g}; {limit})")
        else:
            words.append(f"from {when:.3g} {solver.explicit} (h ρ = {why:.2g}: no longer stiff)")
    return "; ".join(words)


def describe(solver: Solver) -> str:
    """The solver in words, e.g. ``Adaptive dopri8, tolerance 1e-09``."""
    if isinstance(solver, Descent):
        return "Descent: the iteration itself (unit-step Euler)"
    if isinstance(solver, Fixed):
        return f"Fixed {solver.name}, {float(solver.refinement):g} steps per {float(solver.step):g}"
    if isinstance(solver, Exact):
        return "Exact: through the eigenvectors of the quadratic potential"
    if isinstance(solver, Smoothing):
        return f"Smoothing of kinks, epsilon {solver.epsilon:g}, tolerance {solver.tolerance:g}"
    if isinstance(solver, Filippov):
        return (
            f"Filippov, tolerance {solver.tolerance:g}; error: distance from smoothing at {solver.epsilon:g}"
        )
    if isinstance(solver, Auto):
        return f"Auto {solver.explicit or 'explicit'} or {solver.stiff or '-'}, tolerance {float(solver.tolerance):g}"
    if isinstance(solver, Adaptive):
        return f"Adaptive {solver.name}, tolerance {float(solver.tolerance):g}"
    return type(solver).__name__


@float64
def at(
    problem: Problem, weights: Sequence[Any], observables: Iterable[str | Observable] | None = None
) -> xr.Dataset:
    """This takes observables at given weights, without any dynamics: a trajectory of unconnected records.

    Parameters
    ----------
    weights : a list of weights of the problem; they become ``weights(record, weight)``.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> gl.at(problem, [(np.zeros((1, 1)),), (np.ones((1, 1)),)], ["loss"]).loss.values.tolist()
    [4.5, 2.0]
    """
    arguments.problem(problem)
    weights = arguments.points(weights)
    chosen = default(problem) if observables is None else _named(observables, problem)
    items = (*chosen, Weights())
    rows = [
        {item.name: np.asarray(item(problem, point, point, jnp.nan)) for item in items} for point in weights
    ]
    drive = Drive(_Still(problem), Time(), Descent(), Stop(), items, None)
    return frame(rows, drive)


class _Still(Flow):
    """No motion; it only names the problem."""

    problem: Problem

    @property
    def observed(self) -> Problem:
        return self.problem

    def encode(self, weights: Any) -> Any:
        return weights

    def decode(self, y: Any) -> Any:
        return y

    def velocity(self, t: Any, y: Any) -> Any:
        return jax.tree.map(jnp.zeros_like, y), jnp.zeros(())


def member(flow_or_problem: Any, index: int) -> Any:
    """One member of an ensemble's flow, problem or weights."""
    return jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, flow_or_problem)
