"""Drive a run from record to record: compiled advances, kicks between, a second coarser solve for the error."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock, Time
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.integrate import ATTEMPTS, advance, observe
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.local_errors import older
from gradlab.dynamics.solvers import hosted
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import State, explain, watch
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tree import Layout
from gradlab.laboratory.balance import with_bar
from gradlab.laboratory.blocks import BLOCK, bare_row, blocked, running, through, through_again
from gradlab.laboratory.conditioning import rows_with_rounding, with_rounding
from gradlab.laboratory.ending import Pace, at_rest, is_lost
from gradlab.laboratory.finals import ends
from gradlab.laboratory.hosting import Host, Sight, stiffly
from gradlab.laboratory.keeping import (
    Store,
    check_kept,
    frame,
    one_record_axis,
    pack,
    segment_length,
    strong,
    unpack,
)
from gradlab.laboratory.located import timed
from gradlab.laboratory.members import Parts, Told, apart, at_once, join, take, work_of_one
from gradlab.laboratory.programs import TOGETHER, Constants, Program, Way, change, heavy, way, work_of_a_pass
from gradlab.laboratory.progress import Share, report_progress
from gradlab.laboratory.second import (
    LOSSES,
    Noise,
    bars,
    met,
    shaken,
    shaking,
    unknown_where,
)
from gradlab.observe.observables import Observable
from gradlab.problem.precision import put
from gradlab.store.described import bare, described

_one = Program(advance)
_EACH = eqx.if_array(0)
_members = Program(
    eqx.filter_vmap(
        advance,
        in_axes=(_EACH, None, None, None, _EACH, _EACH, _EACH, None, _EACH, None, None),
    )
)
_kick_one = Program(lambda flow, number, y: flow.kick(number, y))
_kick_members = Program(
    eqx.filter_vmap(lambda flow, number, y: flow.kick(number, y), in_axes=(_EACH, None, _EACH))
)


def _looked(flow: Flow, stop: Stop, observables: Any, state: State) -> tuple[Any, dict[str, Any]]:
    """The stop code at a state, and the observables there."""
    return watch(flow, stop, (state.y, state.u), state.steps), observe(flow, observables, state)


_look = Program(_looked)


def _explained(flow: Flow, clock: Clock, state: State) -> State:
    return explain(flow.flow if isinstance(flow, Kicked) else flow, clock, state)


_explain_one = Program(_explained)
_explain_members = Program(eqx.filter_vmap(_explained, in_axes=(_EACH, None, _EACH)))


@dataclass(frozen=True)
class Drive:
    """One run's constants."""

    flow: Flow
    clock: Clock
    solver: Solver
    stop: Stop
    observables: tuple[Observable, ...]
    members: int | None
    #: How the chart variables lie in a vector.
    layout: Layout
    #: How many records there are.
    records: int = 1

    def to(
        self, state: State, end: Any, tell: Callable[[float], None], noise: Noise
    ) -> tuple[State, dict[str, Any]]:
        """Advance until ``end`` or a stop; a large ensemble in blocks, several at a time."""
        if not apart(self.members) or len(self._parts.rows) == 1:
            return self._to(state, end, tell, noise)
        count = len(self._parts.rows)
        told = Told(tell, count)

        def advanced(block: int) -> tuple[State, dict[str, Any]]:
            rows, drive = self._parts.rows[block], self._parts.of(block, self._of)
            part, until, amount = take((state, np.asarray(end), noise.amount), rows)
            part, seen = drive._to(part, until, told.of(block), Noise(amount, noise.number))
            # A block that has arrived holds nobody's progress back.
            told.of(block)(float(np.max(end)))
            return part, seen

        return join(at_once(advanced, count, told), self.members or 1)

    @functools.cached_property
    def second(self) -> Drive:
        """The constants of the second solve: a coarser solver; for exact steps and iterations, data shaken too."""
        flow = shaken(self.flow) if self.flow.discrete or self.solver.rounds_only else self.flow
        solver = self.solver if self.flow.discrete else strong(self.solver.coarser())
        return replace(self, flow=flow, solver=solver, stop=strong(self.stop.never()))

    @functools.cached_property
    def least(self) -> dict[str, float]:
        """By which observables are off at least: a loss by the rounding of outputs that meet their targets."""
        return dict.fromkeys(LOSSES, met(self.flow.observed)) if self.members is None else {}

    @functools.cached_property
    def _parts(self) -> Parts[Drive]:
        """The members of the blocks, and their drives."""
        work = 0.0 if self.members is None else work_of_one(self.flow)
        return Parts((self.flow, self.observables), self.members or 1, work)

    def _of(self, rows: np.ndarray, part: Any) -> Drive:
        """The drive of some members."""
        return replace(self, flow=part[0], observables=part[1], members=len(rows))

    def way(self, state: State) -> Way:
        """How programs are compiled from this state on."""
        if self.flow.discrete:
            known = self.flow.observed.network.reuse is not None
            made = float(np.max(np.asarray(state.steps)))
            return way(self._work(state), made, self._together) if known else "fully"
        if self.lasting:
            return "fully"
        made = float(np.max(np.asarray(state.evaluations)))
        # An ensemble that will make so many in any case is compiled once.
        sure = 0.0 if self.members is None else float(2 * self.records * getattr(self.solver, "each", 1))
        beside = 0.0 if self._host is None else self._host.beside[stiffly(state)]
        return way(self._work(state), max(made, sure), self._together, beside)

    @property
    def _together(self) -> float:
        return 1.0 if self.members is None else TOGETHER

    def left(self, state: State) -> float:
        """The iterations that are still compiled in this way; infinitely many where all are, and where there are none.

        A call ends with the last of them, wherever records are: an iteration's only error is rounding, which differs.
        """
        if not self.flow.discrete or self.flow.observed.network.reuse is None:
            return np.inf
        made = float(np.max(np.asarray(state.steps)))
        return change(self._work(state), made, self._together) - made

    def _work(self, state: State) -> float:
        """Products of a pass through the network: weights × how often one is used × examples (× members)."""
        return self._work_of(sum(np.size(leaf) for leaf in jax.tree.leaves(state.y)))

    def _work_of(self, weights: float) -> float:
        examples = np.shape(self.flow.observed.data.inputs)[self.members is not None]
        return work_of_a_pass(self.flow.observed.network, weights, examples)

    @functools.cached_property
    def blocked(self) -> bool:
        """Whether many records are made in one call. (Kicks, ensembles and what the host looks at have one each.)"""
        alone = self.members is None and self.stop.still is None and not self.solver.hosted
        return (
            alone
            and not isinstance(self.flow, Kicked)
            and blocked(self.records, self.flow.observed.size, self.lasting)
        )

    @functools.cached_property
    def sight(self) -> Sight:
        """Observables where the host asks for them."""
        often = self.lasting and self.records > BLOCK
        return Sight(self.flow, self.observables, self.layout, "fully" if often else "quickly")

    @functools.cached_property
    def lasting(self) -> bool:
        """Whether all calls are made from the host, by programs compiled fully: where an evaluation takes longer."""
        if self.members is not None or not Host.serves(self.flow, self.solver, self.stop):
            return False
        return hosted.lasting(self.solver) and heavy(self._work_of(self.layout.size), self.layout.size)

    @functools.cached_property
    def _host(self) -> Host | None:
        """What steps the run from the host, where that can be done."""
        alone = self.members is None and not self.blocked
        serves = alone and Host.serves(self.flow, self.solver, self.stop)
        way: Way = "fully" if self.lasting else "quickly"
        return Host(self.flow, self.clock, self.solver, self.sight, way, self.stop.steps) if serves else None

    def hosts(self, state: State) -> bool:
        """Whether the next call is made from the host: of what is small, until its evaluations are worth a loop."""
        if self._host is None or self.lasting:
            return self._host is not None
        return int(state.evaluations) < self._soon[stiffly(state)] and hosted.turn(self.solver, state.memory)

    @functools.cached_property
    def _soon(self) -> list[float]:
        """The evaluations after which what is compiled quickly for the host no longer is; of the stiff method the last.

        None where it never is.
        """
        work, lost = self._work_of(self.layout.size), () if self._host is None else self._host.beside
        quick = way(work, 0.0, self._together) == "quickly"
        return [change(work, 0.0, self._together, beside) if quick else 0.0 for beside in lost]

    @functools.cached_property
    def _constants(self) -> dict[Any, Constants]:
        return {}

    def constants(self, *parts: str, solver: Solver | None = None) -> Constants:
        """Those parts of the run, taken apart once; a solver in place of its own."""
        key = (parts, None if solver is None else getattr(solver, "name", None))
        if key not in self._constants:
            values = [
                solver if part == "solver" and solver is not None else getattr(self, part) for part in parts
            ]
            self._constants[key] = Constants(*values)
        return self._constants[key]

    def calls(self, solver: Solver) -> Constants:
        """What a compiled call of that solver takes."""
        return self.constants("flow", "clock", "solver", "stop", "observables", solver=solver)

    def explained(self, state: State) -> State:
        """With the cause of a step size underflow for a status, where there was one."""
        if not np.any(np.asarray(state.status) == stops.UNDERFLOW):
            return state
        why = _explain_one if self.members is None else _explain_members
        return why(self.way(state), self.constants("flow", "clock"), state)

    def _to(
        self, state: State, end: Any, tell: Callable[[float], None], noise: Noise
    ) -> tuple[State, dict[str, Any]]:
        """In calls short enough for progress to be seen."""
        step = _one if self.members is None else _members
        limit, solver = float(ATTEMPTS), self.solver
        pace = Pace(self.flow, self.clock, solver, self.stop, state, end)
        ended = False
        while True:
            clock_start, look = time.perf_counter(), None
            if solver.hosted:
                return self._on_host(state, end, tell)
            seen: Any
            if self._host is not None and self.hosts(state):
                state, seen = self._host.to(state, end, tell, noise)
            else:
                solver, limit = solver.following(state.memory), min(limit, self.left(state))
                compiled = self.way(state)
                if self.flow.discrete and compiled != "quickly":
                    # Who does not arrive in this call is not looked at.
                    look = np.bool_(ended | ~np.any(self._moving(state, end - limit)))
                state, seen = step(
                    compiled,
                    self.calls(solver),
                    state,
                    end,
                    np.float64(limit),
                    noise.amount,
                    np.int64(noise.number),
                    look,
                )
            state = pace.judged(self.explained(state))
            moving, tau = self._moving(state, end), np.asarray(state.tau)
            if not np.any(moving):
                if look is not None and not look:
                    ended = True  # all have stopped where they were not looked at
                    continue
                # What ended a call of the host before its end was not looked at there.
                return state, self._host.look(state) if seen is None and self._host else seen
            # Iterations give the same bits however they are cut, so their calls may follow the clock.
            spent = time.perf_counter() - clock_start
            limit = max(1.0, min(limit * 0.5 / max(spent, 1e-3), 10.0 * limit, 1e9))
            tell(float(np.min(tau, where=moving, initial=np.inf)))

    @staticmethod
    def _moving(state: State, end: Any) -> np.ndarray:
        """Which members have not stopped, and not arrived."""
        return (np.asarray(state.status) == stops.RUNNING) & (np.asarray(state.tau) < np.asarray(end))

    def _on_host(self, state: State, end: Any, tell: Callable[[float], None]) -> tuple[State, dict[str, Any]]:
        """The same for a solver that steps on the host."""
        moved = self.solver.carry(self.flow, self.clock, self.stop, state, float(end), tell)
        constants = self.constants("flow", "stop", "observables")
        code, seen = _look(self.way(state), constants, moved)
        status = jnp.where(moved.status == stops.RUNNING, code, moved.status)
        return replace(moved, status=status), seen | self.solver.seen(moved)

    def across(self, state: State, end: Any, share: Share, noise: Noise) -> tuple[State, dict[str, Any]]:
        """Like :meth:`to`, with the kicks at clock values in [present, end)."""
        begun, running = np.asarray(state.tau), np.asarray(state.status) == stops.RUNNING
        present = float(begun) if running.ndim == 0 else float(np.min(begun, where=running, initial=np.inf))
        goal = float(np.max(end))

        def tell(tau: float) -> None:
            share.tell((tau - present) / (goal - present) if goal > present else 1.0, tau)

        if isinstance(self.flow, Kicked) and np.any(running):
            # A member that has stopped is behind the others, or ends before them: its kicks are its own.
            for number, moment in self.flow.times(present, goal):
                state, _ = self.to(state, np.asarray(np.minimum(moment, end)), tell, noise.none())
                state = self._kicked(state, number, (begun <= moment) & (moment < end))
        return self.to(state, end, tell, noise)

    def _kicked(self, state: State, number: int, there: np.ndarray) -> State:
        """Kick those members (or the only one) that are there and still running."""
        hit = put(there & (np.asarray(state.status) == stops.RUNNING))
        if not np.any(hit):
            return state
        kick = _kick_one if self.members is None else _kick_members
        kicked = kick(self.way(state), self.constants("flow"), np.int64(number), state.y)

        def choose(new: Any, old: Any) -> Any:
            return jnp.where(hit.reshape(hit.shape + (1,) * (new.ndim - hit.ndim)), new, old)

        y = jax.tree.map(choose, kicked, state.y)
        return eqx.tree_at(lambda s: (s.y, s.h), state, (y, choose(jnp.zeros_like(state.h), state.h)))


def drive_all(
    drive: Drive, states: list[State], moments: np.ndarray, store: Store | None, name: str
) -> xr.Dataset:
    done, parts = 0, []
    blank = [state.scratch for state in states]
    length = segment_length(len(moments))
    if store is not None and store.segments:
        kept, packed = bare(store.dataset()), store.state()
        check_kept(drive.observables, kept, packed, states, moments)
        parts, done = [kept], int(kept.sizes["record"])
        if packed is not None:
            states = unpack(packed, states)
    rows: list[dict[str, Any]] = []
    loose: list[dict[str, Any]] = []
    before = [_row(parts[0], i) for i in range(max(0, done - 2), done)] if parts else []
    clocked = time.perf_counter()
    while done + len(rows) < len(moments) and not _ended(states[0], done + len(rows)):
        index = done + len(rows)
        until = min(index + BLOCK, done + length, len(moments)) if drive.blocked else index + 1
        make = _records if drive.blocked else _record
        states, seen = make(drive, states, index, moments[:until], name, before, float(len(moments)))
        rows += seen
        before = [*before, *seen][-2:]
        index += len(seen)
        report_progress(name, float(index), float(len(moments)))
        if len(rows) == length or index == len(moments) or _ended(states[0], 1):
            over = index == len(moments) or _ended(states[0], 1)
            if store is not None:
                finals = ends(drive, states, rows[-1])
                part = xr.Dataset(frame(rows, drive.observables, drive.members, finals))
                store.append(part, pack(states), time.perf_counter() - clocked)
                parts.append(part)
            else:
                loose += rows
                if over:
                    finals = ends(drive, states, rows[-1])
                    return described(frame(loose, drive.observables, drive.members, finals))
            # Dropped here whether stored or not, so that a resumed run goes on as an uninterrupted one does.
            states = [tree.changed(s, scratch=empty) for s, empty in zip(states, blank, strict=True)]
            done, rows, clocked = done + len(rows), [], time.perf_counter()
    return described(one_record_axis(parts))


def _row(kept: xr.Dataset, index: int) -> dict[str, Any]:
    """One record of a trajectory."""
    return {
        str(name): values.values[index] for name, values in kept.data_vars.items() if "record" in values.dims
    }


def _ended(state: State, index: int) -> bool:
    return index > 0 and bool(np.all(np.asarray(state.status) != stops.RUNNING))


def _record(
    drive: Drive,
    states: list[State],
    index: int,
    moments: np.ndarray,
    name: str,
    before: Sequence[dict[str, Any]],
    total: float,
) -> tuple[list[State], list[dict[str, Any]]]:
    """The states at a record, and what is seen there; before : the (at most) two records before it, of ``total``."""
    end = np.full(np.shape(states[0].tau), moments[index])
    middle = index + 1.0 / len(states)
    shows = "iteration" if drive.flow.discrete else "t" if isinstance(drive.clock, Time) else "clock"
    share = Share(name, float(index), middle, total, shows)
    fine, seen = drive.across(states[0], end, share, Noise(np.zeros(end.shape), index))
    fine = at_rest(drive, states[0], fine)
    row = {key: np.asarray(value) for key, value in seen.items()} | {"status": np.asarray(fine.status)}
    if len(states) == 1:
        return [fine], [with_bar(row)]
    # The coarser solution follows to where the finer one stopped, so that records compare like with like.
    share = Share(f"{name}, second solve", middle, index + 1.0, total, shows)
    made = np.asarray(fine.steps) - np.asarray(states[0].steps)
    # A member that has stopped is shaken no more.
    shaken_by = Noise(shaking(made, ((made > 0) | (index == 0)) & (not drive.flow.discrete)), index)
    # One that gets no further may be where the coarser one never comes: it is not followed there.
    lost = is_lost(fine.status)
    there = np.where(lost, np.asarray(states[1].tau), np.asarray(fine.tau))
    coarse, other = drive.second.across(running(states[1]), there, share, shaken_by)
    (errors,) = bars([row], [other], before, drive.observables, drive.flow.discrete, drive.clock, drive.least)
    errors = with_rounding(drive, fine, row, unknown_where(errors, lost), before)
    row = with_bar(row, other) | timed(drive, [fine, coarse], states[0], row, errors)
    return [tree.changed(state, erred=older(state.erred)) for state in (fine, coarse)], [row]


def _records(
    drive: Drive,
    states: list[State],
    index: int,
    moments: np.ndarray,
    name: str,
    before: Sequence[dict[str, Any]],
    total: float,
) -> tuple[list[State], list[dict[str, Any]]]:
    """As :func:`_record`, from record ``index`` on to the last of the moments."""
    ends, share = np.asarray(moments[index:], float), 1.0 / len(states)

    def tell(done: int, part: float = 0.0) -> None:
        report_progress(name, index + done * share + part * len(ends), total)

    fine, rows = through(drive, states[0], ends, np.zeros(len(ends)), index, tell)
    if len(states) == 1:
        return [fine], [with_bar(bare_row(row)) for row in rows]
    steps = np.array([int(states[0].steps), *(int(row["step"]) for row in rows)])
    made = np.diff(steps)
    moved = ((made > 0) | (np.arange(len(rows)) + index == 0)) & (not drive.flow.discrete)
    there = np.array([float(row["tau"]) for row in rows])
    lost = is_lost([int(row["status"]) for row in rows])
    if lost[-1]:
        there[-1] = there[-2] if len(there) > 1 else float(states[1].tau)
    coarse, others = through_again(
        drive.second,
        states[1],
        there,
        shaking(made, moved),
        index,
        lambda done: tell(done, share),
    )
    every = bars(rows, others, before, drive.observables, drive.flow.discrete, drive.clock, drive.least)
    every[-1] = unknown_where(every[-1], lost[-1])
    every = rows_with_rounding(drive, fine, rows, every, before)
    every[-1] = timed(drive, [fine, coarse], states[0], rows[-1], every[-1])
    return [fine, coarse], [
        with_bar(bare_row(row), other) | errors
        for row, other, errors in zip(rows, others, every, strict=True)
    ]
