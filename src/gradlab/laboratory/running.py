"""The laboratory's two public functions: run a flow, or look at given weights."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock, Time
from gradlab.dynamics.energy import Energy, keeps
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.integrate import State, start
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tree import Layout
from gradlab.laboratory import arguments
from gradlab.laboratory.balance import verdicts
from gradlab.laboratory.choosing import choose
from gradlab.laboratory.conditioning import conditioned, followed, told
from gradlab.laboratory.driving import Drive, drive_all, frame
from gradlab.laboratory.keeping import Store, strong
from gradlab.laboratory.programs import Constants, Program, way, work_of_a_pass
from gradlab.laboratory.second import rounding, shaken
from gradlab.observe.observables import Observable, Weights, default
from gradlab.observe.observables import observables as _named
from gradlab.problem.guard import Findings, refuse_start
from gradlab.problem.precision import float64, put, single
from gradlab.problem.problem import Problem
from gradlab.store.described import described
from gradlab.store.identity import environment

_start_one = Program(start)
_start_members = Program(eqx.filter_vmap(start, in_axes=(eqx.if_array(0), None, eqx.if_array(0))))


def _seen(items: Sequence[Observable], problem: Problem, point: Any) -> dict[str, Any]:
    return {item.name: item(problem, point, point, jnp.nan) for item in items}


_seen_at = Program(_seen)


def _prepare(
    flow: Flow,
    weights: Any,
    clock: Clock,
    solver: Any,
    stop: Stop,
    seen: Any,
    members: int | None,
    reduce: bool | None = None,
    weighed: bool = False,
) -> tuple[Drive, State]:
    flow = _each_problem(flow, lambda problem: problem.knowing(_of_one(weights, members)))
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
    if weighed and all(item.name != "weights" for item in chosen):
        chosen = (*chosen, Weights())
    if members is None:
        refuse_start(problem, weights)
    members = arguments.ensemble(members, flow=flow, weights=weights, observables=chosen)
    flow, picked = choose(flow, clock, solver, stop, weights, members, reduce)
    _refuse_narrow(flow, picked, _findings(problem, weights, members))
    if members is None and not flow.discrete:
        flow = _each_problem(flow, Problem.lean)  # as it is compiled at least cost
    drive = Drive(flow, clock, strong(picked), stop, strong(chosen), members, Layout.of(weights))
    if members is None and flow.chart_is_identity:
        state = start(flow, picked, weights, booked=_booked(drive, weights))
    else:
        begin = _start_one if members is None else _start_members
        state = begin("quickly", Constants(flow, picked), weights)
        drive = replace(drive, layout=Layout.of(state.y))
    return drive, strong(state)


def _each_problem(flow: Flow, change: Callable[[Problem], Problem]) -> Flow:
    """The flow with every problem in it changed."""

    def is_problem(leaf: Any) -> bool:
        return isinstance(leaf, Problem)

    return jax.tree.map(lambda leaf: change(leaf) if is_problem(leaf) else leaf, flow, is_leaf=is_problem)


def _of_one(weights: Any, members: int | None) -> Any:
    """The weights of one member."""
    return weights if members is None else jax.tree.map(lambda leaf: leaf[0], weights)


def _booked(drive: Drive, weights: Any) -> Any:
    """The balance at the start, by the program that looks at the records."""
    if not keeps(drive.flow) or type(drive.solver).balanced is not Solver.balanced:
        return ()
    first, grain = drive.sight(drive.layout.host(weights), 0.0)[1]
    return Energy(first, grain, put(0.0), put(0.0))


def _findings(problem: Problem, weights: Any, members: int | None) -> Findings:
    return problem.findings if members is not None else problem.inspected(weights)


#: An adaptive solver sees the rounding of the field as an error: below so many units of it, steps only shrink.
_UNITS = 100.0
#: Weights times records up to which a clock that asks where the orbit is has them kept.
FEW = 1_000_000


def _refuse_narrow(flow: Flow, solver: Solver, findings: Findings) -> None:
    """An error controlled below the rounding of the field is refused; steps of a given size are not."""
    tolerance = getattr(solver, "tolerance", None)
    if not findings.narrow or flow.discrete or tolerance is None:
        return
    least = _UNITS * findings.unit
    if float(tolerance) < least:
        raise ValueError(
            f"{findings.remarks[0]}, and a flow cannot be followed to a tolerance of {float(tolerance):g} through its "
            f"rounding: leave out the casts, or give solver=Fixed('heun', step=...)"
            + (f" or a tolerance of {least:.0e} or more" if least < 1e-2 else "")
        )


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
    reduce: bool | None = None,
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
    keep : ``"end"`` keeps the final weights (``final_weights``), ``"all"`` those of every record. In arc length
        and log-norm, where the bars of ``t`` come from the weights', a million numbers are kept in any case.
    refine : solve a second time with larger errors (ten times the tolerance, fewer or less even steps where records
        are near, weights shaken by rounding at every record) and give a multiple of the distance, and rounding, as
        ``<observable>_error``; NaN, unknown, where both solves give exactly 0. The first solve then makes two steps
        or more between records. With ``keep="all"`` also what the second solve gave, ``<observable>_coarse``. On by
        default for continuous flows. Iterations have rounding errors only: their second solve, where it is asked
        for, is the iteration again with start and data shaken by rounding.
    conditioning : follow what the flow makes of rounding by a tangent δ (``rounding``, ‖δ‖/‖W‖), and have it in every
        bar. On by default where there are two solves, one member, a smooth network, and weights × examples are 20 000
        or fewer.
    reduce : whether a deep linear net is stepped in fewer variables where its flow has an exact reduction: virtual
        examples in place of the data (square loss), subspaces that the start does not leave, singular modes. All
        weights and observables are those of the whole net. Unasked where counts say that it pays and the solver is
        ``"auto"``; with True with any solver, or refused with the reason; with False never.
    members : an ensemble of that many members, vmapped, in blocks of 32 at most, as many at once as there are cores;
        all arrays of ``flow``, ``weights`` and ``observables`` then carry a leading member axis (see
        ``problem.stack``).
    store : a run directory; a run that was cut short goes on from its last segment.
    name : shown with the progress. seed : kept in the provenance.

    Returns
    -------
    Dataset over ``record`` (and ``member``) with coordinates ``tau``, ``t``, ``log_t`` (right beyond 10³⁰⁸, where t
    overflows; ``sel(tau=5, method="nearest")``) and ``layer``, units and long names on all variables: ``step``,
    ``rejected``, ``evaluations``, ``status``, the observables and their errors; of gradient flows of smooth
    networks ``dissipated``, ∫ ‖∇L‖² dt, and ``balance``, L(0) − L less that, with ``balance_error``: where it is not 0
    the ``result`` says that this is no gradient flow of its loss. Attributes ``result``, ``reduction`` (what was
    stepped in place of all weights on all examples, or ``none``) and ``provenance``, which also says what came in
    ``single_precision``, and what was ``noticed`` of a network or loss of one's own (examples that interact, a type
    below float64, weights that nothing moves).

    Raises
    ------
    ValueError
        For what cannot be run, in a sentence that says what to write instead: among it a loss of one's own that is
        not finite at the start, and a tolerance finer than what the network computes in. Not converging is no error:
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
    moments = arguments.moments(records, flow.discrete)
    refine = not flow.discrete if refine is None else refine
    # what a clock that asks where an orbit is does not know of the time, the weights' bars say
    weighed = keep == "all" or (refine and clock.may_rest and _numbers(weights) * len(moments) <= FEW)
    drive, state = _prepare(flow, weights, clock, solver, stop, observables, members, reduce, weighed)
    drive = replace(drive, records=len(moments))
    if refine:
        drive = replace(drive, solver=strong(drive.solver.compared()))
    if not isinstance(flow, Kicked) and not stop.located:
        # Between kicks a solver begins anew, and where a stop ends the run is not known.
        drive = replace(drive, solver=strong(drive.solver.until(moments[-1])))
    states = [state, shaken(state) if flow.discrete else state] if refine else [state]
    if followed(drive.flow, drive.solver, members, refine, conditioning):
        states = conditioned(states)
    dataset = drive_all(drive, states, moments, store, name)
    elapsed = time.perf_counter() - begun
    noticed = _findings(flow.observed, weights, members)
    return _finish(
        _widened(dataset, noticed),
        drive,
        state,
        elapsed,
        seed,
        _in_single(flow.observed.data, weights),
        noticed,
    )


def _numbers(weights: Any) -> int:
    return sum(np.size(leaf) for leaf in jax.tree.leaves(weights))


def _widened(dataset: xr.Dataset, findings: Findings) -> xr.Dataset:
    """Bars that know what the network computes in: its rounding, relative to the number itself, is added."""
    if not findings.narrow:
        return dataset
    more = {}
    for name in map(str, dataset.data_vars):
        if f"{name}_error" in dataset and dataset[name].dtype.kind == "f":
            steps = dataset["step"] if "record" in dataset[name].dims else dataset["step"][-1]
            spread = rounding(steps.values) * findings.unit / np.finfo(np.float64).eps
            size = np.abs(dataset[name])
            more[f"{name}_error"] = dataset[f"{name}_error"].fillna(0.0) + size * steps.copy(data=spread)
    return described(dataset.assign(more))


def _in_single(data: Any, weights: Any) -> list[str]:
    """What of inputs, targets and start comes in single precision."""
    parts = {"inputs": (data.inputs,), "targets": (data.targets,), "start": tuple(jax.tree.leaves(weights))}
    return [name for name, arrays in parts.items() if single(*arrays)]


def _finish(
    dataset: xr.Dataset,
    drive: Drive,
    begun: State,
    seconds: float,
    seed: int | None,
    in_single: list[str],
    findings: Findings,
) -> xr.Dataset:
    # Variables, where an array of the dataset takes a hundred times as long to make.
    last = np.atleast_1d(dataset.variables["status"].values[-1])
    ends = {name: np.atleast_1d(dataset.variables[name].values[-1]) for name in ("t", "log_t", "tau", "step")}
    words = [
        stops.words(int(code), {name: float(values[i]) for name, values in ends.items()})
        for i, code in enumerate(last)
    ]
    tolerance = getattr(drive.solver, "tolerance", None)
    words = verdicts(
        dataset,
        [told(dataset, word) for word in words],
        begun.energy,
        tolerance,
    )
    result = words[0] if drive.members is None else json.dumps(words)
    ended = _ended(begun, dataset)
    provenance = {
        "flow": type(drive.flow).__name__,
        "clock": type(drive.clock).__name__,
        "reduction": _moving(drive.flow).reduction,
        "solver": drive.solver.describe(),
        "solver_used": drive.solver.used(dataset),
        "compiled": _compiled(drive, begun, ended),
        "stepped": _stepped(drive, begun, ended, dataset),
        "seed": seed,
        "wall_seconds": round(seconds, 3),
        **environment(),
    }
    if in_single:
        # the solve is in float64; what it starts from is known to 6e-8
        provenance["single_precision"] = in_single
    if findings.remarks:
        provenance["noticed"] = list(findings.remarks)
    said = json.dumps(provenance, default=str)
    dataset.attrs |= {"result": result, "reduction": provenance["reduction"], "provenance": said}
    return dataset


def _moving(flow: Flow) -> Flow:
    return flow.flow if isinstance(flow, Kicked) else flow


def _compiled(drive: Drive, begun: State, ended: State) -> str:
    """How the run's programs were compiled, in words; they are changed for others between two records."""
    if drive.solver.hosted:
        return "on the host"
    first, last = (drive.way(state) for state in (begun, ended))
    return first if first == last else f"{first}, then {last}"


def _ended(begun: State, dataset: xr.Dataset) -> State:
    """The state at the start with the counts and the turn of the end, by which programs are chosen."""
    made = {
        name: dataset.variables[kept].values[-1] for name, kept in (("steps", "step"), ("evaluations",) * 2)
    }
    ended: State = tree.changed(begun, **made)
    if "stiff" not in dataset:
        return ended
    return tree.changed(ended, memory=tree.changed(begun.memory, wish=dataset.variables["stiff"].values[-1]))


def _stepped(drive: Drive, begun: State, ended: State, dataset: xr.Dataset) -> str:
    """Who made the steps of the first solve, in words: the host, calls of a compiled loop, or both."""
    if drive.solver.hosted:
        return "from the host"
    if not drive.hosts(begun):
        return "in a compiled loop"
    if drive.lasting:
        return "from the host"
    # Of what is small, BDF is stepped from the host as well; no other stiff method is.
    stabilised = "changes" in dataset and getattr(drive.solver, "stiff", "") != "bdf"
    changed = stabilised and bool(np.any(dataset.variables["changes"].values))
    if not changed and drive.way(ended) == "quickly":
        return "from the host"
    return "from the host, then in a compiled loop"


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
    problem = problem.knowing(weights[0]) if len(weights) else problem
    for point in weights:
        problem.fits(point)
    chosen = default(problem) if observables is None else _named(observables, problem)
    items = (*chosen, Weights())
    work = work_of_a_pass(problem.network, problem.size, np.shape(problem.data.inputs)[0])
    constants, compiled = Constants(items, problem), way(work, len(weights))
    rows = [jax.tree.map(np.asarray, _seen_at(compiled, constants, point)) for point in weights]
    return described(frame(rows, items, None))


def member(flow_or_problem: Any, index: int) -> Any:
    """One member of an ensemble's flow, problem or weights."""
    return jax.tree.map(lambda leaf: leaf[index] if eqx.is_array(leaf) else leaf, flow_or_problem)
