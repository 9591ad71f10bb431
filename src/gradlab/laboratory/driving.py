"""Drive a run from record to record: compiled advances, kicks between, a second coarser solve for the error."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.dynamics import stops
from gradlab.dynamics.clocks import Clock, Time
from gradlab.dynamics.filippov.solver import Filippov, carry
from gradlab.dynamics.filippov.solver import seen as kinks_seen
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.integrate import ATTEMPTS, advance, observe
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.auto import Auto
from gradlab.dynamics.solvers.exact import Exact
from gradlab.dynamics.solvers.methods import Solver
from gradlab.dynamics.state import State, margin, rhs, watch
from gradlab.dynamics.stops import Stop
from gradlab.laboratory.ending import LOST, Pace
from gradlab.laboratory.members import Told, apart, at_once, blocks, join, take
from gradlab.laboratory.progress import report_progress
from gradlab.laboratory.second import COARSE, FACTOR, Noise, bar, bars, rounding, shaken, unseconded
from gradlab.observe.observables import Observable, Weights

#: Stops met at a moment inside a step.
LOCATED = (stops.LOSS, stops.GRADIENT, stops.LOG_T)


class Store(Protocol):
    """What the laboratory asks of a run directory (``gradlab.store.run.Run``)."""

    @property
    def segments(self) -> int: ...
    def append(self, recorded: xr.Dataset, state: dict[str, np.ndarray], seconds: float) -> Any: ...
    def dataset(self) -> xr.Dataset: ...
    def state(self) -> dict[str, np.ndarray] | None: ...


_one = eqx.filter_jit(advance)
_members = eqx.filter_jit(
    eqx.filter_vmap(
        advance,
        in_axes=(
            eqx.if_array(0),
            None,
            None,
            None,
            eqx.if_array(0),
            eqx.if_array(0),
            eqx.if_array(0),
            None,
            eqx.if_array(0),
            None,
        ),
    )
)
_kick_one = eqx.filter_jit(lambda flow, number, y: flow.kick(number, y))
_kick_members = eqx.filter_jit(
    eqx.filter_vmap(
        lambda flow, number, y: flow.kick(number, y), in_axes=(eqx.if_array(0), None, eqx.if_array(0))
    )
)


@eqx.filter_jit
def _look(flow: Flow, stop: Stop, observables: Any, state: State) -> tuple[Any, dict[str, Any]]:
    """The stop code at a state, and the observables there."""
    return watch(flow, stop, (state.y, state.u), state.steps), observe(flow, observables, state)


def _crossing(flow: Flow, clock: Clock, stop: Stop, state: State) -> tuple[Any, Any, Any]:
    """The margin of the stop at a state, its rate in the clock, and log dt/dτ."""
    direction, log_scale = flow.velocity(jnp.expm1(state.u), state.y)
    log_rate = clock.log_rate(flow, state.y, direction, log_scale, state.u)
    velocity = (rhs(state.tau, (state.y, state.u), (flow, clock))[0], jnp.exp(-log_rate - state.u))
    gap, rate = jax.jvp(lambda pair: margin(flow, stop, pair), ((state.y, state.u),), (velocity,))
    return gap, rate, -log_rate


_crossing_one = eqx.filter_jit(_crossing)
_crossing_members = eqx.filter_jit(
    eqx.filter_vmap(_crossing, in_axes=(eqx.if_array(0), None, None, eqx.if_array(0)))
)


@dataclass(frozen=True)
class Share:
    """The part of a run's progress that one solve from record to record makes up."""

    name: str
    low: float
    high: float
    total: float
    clock: str = "t"

    def tell(self, part: float, tau: float) -> None:
        """This part of it is done; the clock shows tau."""
        done = self.low + min(max(part, 0.0), 1.0) * (self.high - self.low)
        where = f"{self.name}, {self.clock} = {tau:.6g}" if np.isfinite(tau) else self.name
        report_progress(where, done, self.total)


@dataclass(frozen=True)
class Drive:
    """One run's constants."""

    flow: Flow
    clock: Clock
    solver: Solver
    stop: Stop
    observables: tuple[Observable, ...]
    members: int | None

    def to(
        self, state: State, end: Any, tell: Callable[[float], None], noise: Noise
    ) -> tuple[State, dict[str, Any]]:
        """Advance until ``end`` or a stop; a large ensemble in blocks, several at a time."""
        if not apart(self.members):
            return self._to(state, end, tell, noise)
        told = Told(tell, len(self._blocks))

        def advanced(block: int) -> tuple[State, dict[str, Any]]:
            rows, drive = self._blocks[block]
            part, until, amount = take((state, np.asarray(end), noise.amount), rows)
            part, seen = drive._to(part, until, told.of(block), Noise(amount, noise.number))
            # A block that has arrived holds nobody's progress back.
            told.of(block)(float(np.max(end)))
            return part, seen

        return join(at_once(advanced, len(self._blocks), told), self.members or 1)

    @functools.cached_property
    def second(self) -> Drive:
        """The constants of the second solve: a coarser solver; for exact steps and iterations, data shaken too."""
        flow = shaken(self.flow) if self.flow.discrete or isinstance(self.solver, Exact) else self.flow
        solver = self.solver if self.flow.discrete else strong(self.solver.coarser())
        return replace(self, flow=flow, solver=solver, stop=strong(self.stop.never()))

    @functools.cached_property
    def _blocks(self) -> list[tuple[np.ndarray, Drive]]:
        """The rows of each block, and its drive."""
        together = (self.flow, self.observables)
        parts = [(rows, take(together, rows)) for rows in blocks(self.members or 1)]
        return [
            (rows, replace(self, flow=flow, observables=seen, members=len(rows)))
            for rows, (flow, seen) in parts
        ]

    def _to(
        self, state: State, end: Any, tell: Callable[[float], None], noise: Noise
    ) -> tuple[State, dict[str, Any]]:
        """In calls short enough for progress to be seen."""
        step = _one if self.members is None else _members
        limit, solver, stop = float(ATTEMPTS), self.solver, self.stop
        pace = Pace(self.flow, self.clock, solver, stop, state, end)
        while True:
            clock_start = time.perf_counter()
            if isinstance(solver, Filippov):
                return self._across_kinks(state, end, solver, tell)
            if isinstance(solver, Auto):
                solver = solver.following(state.memory)
            state, seen = step(
                self.flow, self.clock, solver, stop, self.observables, state, end, np.float64(limit),
                noise.amount, np.int64(noise.number),
            )  # fmt: skip
            state = pace.judged(state)
            status, tau = np.asarray(state.status), np.asarray(state.tau)
            moving = (status == stops.RUNNING) & (tau < np.asarray(end))
            if not np.any(moving):
                return state, seen
            # Iterations give the same bits however they are cut, so their calls may follow the clock.
            spent = time.perf_counter() - clock_start
            limit = max(1.0, min(limit * 0.5 / max(spent, 1e-3), 10.0 * limit, 1e9))
            tell(float(np.min(tau, where=moving, initial=np.inf)))

    def _across_kinks(
        self, state: State, end: Any, solver: Filippov, tell: Callable[[float], None]
    ) -> tuple[State, dict[str, Any]]:
        """The same for a solver that runs on the host."""
        moved = carry(self.flow, self.clock, solver, state, float(end), self.stop, tell)
        code, seen = _look(self.flow, self.stop, self.observables, moved)
        status = jnp.where(moved.status == stops.RUNNING, code, moved.status)
        return replace(moved, status=status), seen | kinks_seen(moved)

    def across(self, state: State, end: Any, share: Share, noise: Noise) -> tuple[State, dict[str, Any]]:
        """Like :meth:`to`, with the kicks at clock values in [present, end)."""
        begun, running = np.asarray(state.tau), np.asarray(state.status) == stops.RUNNING
        present, goal = float(np.min(begun, where=running, initial=np.inf)), float(np.max(end))

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
        hit = jnp.asarray(there & (np.asarray(state.status) == stops.RUNNING))
        if not np.any(hit):
            return state
        kick = _kick_one if self.members is None else _kick_members
        kicked = kick(self.flow, jnp.asarray(number), state.y)

        def choose(new: Any, old: Any) -> Any:
            return jnp.where(hit.reshape(hit.shape + (1,) * (new.ndim - hit.ndim)), new, old)

        y = jax.tree.map(choose, kicked, state.y)
        return eqx.tree_at(lambda s: (s.y, s.h), state, (y, choose(jnp.zeros_like(state.h), state.h)))


def strong(tree: Any) -> Any:
    """Arrays without JAX's weak types, which would compile the same program twice."""

    def settle(leaf: Any) -> Any:
        if not eqx.is_array(leaf) or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        return jnp.asarray(np.asarray(leaf))

    return jax.tree.map(settle, tree)


def _pack(states: Sequence[State]) -> dict[str, np.ndarray]:
    packed = {}
    for name, state in zip(("fine", "coarse"), states, strict=False):
        for i, leaf in enumerate(jax.tree.leaves(replace(state, scratch=()))):
            packed[f"{name}_{i:03d}"] = np.asarray(leaf)
    return packed


def _unpack(packed: dict[str, np.ndarray], like: Sequence[State]) -> list[State]:
    states = []
    for name, state in zip(("fine", "coarse"), like, strict=False):
        leaves, structure = jax.tree.flatten(replace(state, scratch=()))
        stored = [jnp.asarray(packed[f"{name}_{i:03d}"]) for i in range(len(leaves))]
        states.append(replace(jax.tree.unflatten(structure, stored), scratch=state.scratch))
    return states


def _check_kept(
    drive: Drive,
    kept: xr.Dataset,
    packed: dict[str, np.ndarray] | None,
    like: Sequence[State],
    moments: np.ndarray,
) -> None:
    """What the store holds is the beginning of this run: records, observables and shapes are the same.

    Raises
    ------
    ValueError
        Where it is not. (Another problem of the same shapes is for the store's identity to notice.)
    """
    remedy = "give this run a store of its own, whose identity says what is different"
    tau, status = kept["tau"].values, kept["status"].values
    first = moments[: len(tau)].reshape(-1, *(1,) * (tau.ndim - 1))
    if len(tau) > len(moments) or not np.array_equal(np.where(status == stops.RUNNING, tau, first), first):
        raise ValueError(f"the store holds records at other clock values than those given: {remedy}")
    missing = [item.name for item in drive.observables if item.name not in kept]
    if missing:
        raise ValueError(f"the store holds records without {', '.join(missing)}: {remedy}")
    expected = {key: value.shape for key, value in _pack(like).items()}
    if packed is not None and {key: np.shape(value) for key, value in packed.items()} != expected:
        raise ValueError(f"the store holds states of other shapes than this run's: {remedy}")


def frame(rows: list[dict[str, Any]], drive: Drive) -> xr.Dataset:
    """Records as a Dataset with named dims."""
    inner = {item.name: item.dims for item in drive.observables}
    lead = ("record",) if drive.members is None else ("record", "member")
    variables: dict[str, Any] = {}
    for name in rows[0]:
        values = np.stack([np.asarray(row[name]) for row in rows])
        base = name
        for end in ("_error", COARSE):
            base = one if base not in inner and (one := name.removesuffix(end)) in inner else base
        dims = inner.get(base)
        if dims is None:
            dims = () if values.ndim == len(lead) else ("layer",)
        variables[name] = ((*lead, *dims), values)
    return xr.Dataset(variables)


def segment_length(records: int) -> int:
    """Records a segment: sixteen segments a run. Part of a run's identity, since solvers restart there."""
    return max(1, -(-records // 16))


def drive_all(
    drive: Drive, states: list[State], moments: np.ndarray, store: Store | None, name: str
) -> xr.Dataset:
    done, parts = 0, []
    blank = [state.scratch for state in states]
    length = segment_length(len(moments))
    if store is not None and store.segments:
        kept, packed = store.dataset(), store.state()
        _check_kept(drive, kept, packed, states, moments)
        parts, done = [kept], int(kept.sizes["record"])
        if packed is not None:
            states = _unpack(packed, states)
    rows: list[dict[str, Any]] = []
    before = [_row(parts[0], i) for i in range(max(0, done - 2), done)] if parts else []
    clocked = time.perf_counter()
    while done + len(rows) < len(moments) and not _ended(states[0], done + len(rows)):
        index = done + len(rows)
        states, seen = _record(drive, states, index, moments, name, before)
        rows.append(seen)
        before = [*before, seen][-2:]
        report_progress(name, index + 1.0, float(len(moments)))
        if len(rows) == length or index + 1 == len(moments) or _ended(states[0], 1):
            part = frame(rows, drive).assign(_finals(drive, states, rows[-1]))
            if store is not None:
                store.append(part, _pack(states), time.perf_counter() - clocked)
            parts.append(part)
            # Dropped here whether stored or not, so that a resumed run goes on as an uninterrupted one does.
            states = [replace(s, scratch=empty) for s, empty in zip(states, blank, strict=True)]
            done, rows, clocked = done + len(rows), [], time.perf_counter()
    return _join(parts)


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
) -> tuple[list[State], dict[str, Any]]:
    """The states at a record, and what is seen there; before : the (at most) two records before it."""
    end = np.full(np.shape(states[0].tau), moments[index])
    middle, total = index + 1.0 / len(states), float(len(moments))
    shows = "iteration" if drive.flow.discrete else "t" if isinstance(drive.clock, Time) else "clock"
    share = Share(name, float(index), middle, total, shows)
    fine, seen = drive.across(states[0], end, share, Noise(np.zeros(end.shape), index))
    fine = _still(drive, states[0], fine)
    row = {key: np.asarray(value) for key, value in seen.items()} | {"status": np.asarray(fine.status)}
    if len(states) == 1:
        return [fine], row
    # The coarser solution follows to where the finer one stopped, so that records compare like with like.
    running = eqx.tree_at(lambda s: s.status, states[1], jnp.zeros_like(states[1].status))
    share = Share(f"{name}, second solve", middle, index + 1.0, total, shows)
    made = np.asarray(fine.steps) - np.asarray(states[0].steps)
    # A member that has stopped is shaken no more.
    moved = (made > 0) | (index == 0)
    noise = Noise(np.where(moved & (not drive.flow.discrete), rounding(made), 0.0), index)
    # One that gets no further may be where the coarser one never comes: it is not followed there.
    lost = np.isin(np.asarray(fine.status), LOST)
    there = jnp.where(lost, states[1].tau, fine.tau)
    coarse, other = drive.second.across(running, there, share, noise)
    known = drive.clock.known(0.0) is not None or drive.flow.discrete
    rows = [*before, row]
    errors = bars(rows, other, drive.observables, drive.flow.discrete, known)
    errors = {
        key: unseconded(value, lost) if key.endswith("_error") else value for key, value in errors.items()
    }
    return [fine, coarse], row | _timed(drive, [fine, coarse], states[0], row, errors)


def _timed(
    drive: Drive, states: list[State], before: State, row: dict[str, Any], errors: dict[str, Any]
) -> dict[str, Any]:
    """The bars, with that on the time of a located stop: how far it is off its level, and how the solves differ."""
    status = np.asarray(states[0].status)
    now = np.isin(status, LOCATED) & (np.asarray(before.status) == stops.RUNNING)
    if drive.flow.discrete or not np.any(now):
        return errors
    look = _crossing_one if drive.members is None else _crossing_members
    (gap, rate, pace), (other, *_) = (look(drive.flow, drive.clock, drive.stop, state) for state in states)
    with np.errstate(all="ignore"):
        off = (np.abs(gap) + FACTOR * np.abs(np.asarray(gap) - np.asarray(other))) / np.abs(rate)
        late = np.nan_to_num(off * np.exp(np.asarray(pace) - row["log_t"]), nan=np.inf)
        late = late + rounding(row["step"])
        added = {"log_t_error": late, "t_error": late * row["t"]}
    return errors | {name: errors[name] + np.where(now, more, 0.0) for name, more in added.items()}


def _flat(flow: Flow, y: Any) -> Any:
    return flow.observed.ravel(flow.decode(y))


_flat_one = eqx.filter_jit(_flat)
_flat_members = eqx.filter_jit(eqx.filter_vmap(_flat))


def _still(drive: Drive, before: State, after: State) -> State:
    """The state with status STILL where nothing moved since the last record."""
    if drive.stop.still is None or np.all(np.asarray(after.tau) == np.asarray(before.tau)):
        return after
    lead = () if drive.members is None else (drive.members,)

    def squares(leaves: Any) -> np.ndarray:
        return sum(np.sum(np.square(leaf).reshape(*lead, -1), axis=-1) for leaf in leaves)

    new = [np.asarray(leaf) for leaf in jax.tree.leaves(after.y)]
    gap = [leaf - np.asarray(old) for leaf, old in zip(new, jax.tree.leaves(before.y), strict=True)]
    still = squares(gap) <= float(drive.stop.still) ** 2 * squares(new)
    status = np.asarray(after.status)
    status = np.where(still & (status == stops.RUNNING), stops.STILL, status)
    return eqx.tree_at(lambda s: s.status, after, jnp.asarray(status))


def _finals(drive: Drive, states: list[State], last: dict[str, Any]) -> dict[str, Any]:
    lead: tuple[str, ...] = () if drive.members is None else ("member",)
    flatten = _flat_one if drive.members is None else _flat_members
    vectors = [np.asarray(flatten(drive.flow, state.y)) for state in states]
    finals: dict[str, Any] = {"final_weights": ((*lead, "weight"), vectors[0])}
    if isinstance(drive.solver, Auto):
        journal = states[0].memory
        change = (*lead, "change")
        finals |= {
            "changes": (lead, np.asarray(journal.changes)),
            "change_clock": (change, np.asarray(journal.when)),
            "change_stiff": (change, np.asarray(journal.stiff)),
            "change_stiffness": (change, np.asarray(journal.why)),
        }
    if len(vectors) == 2:
        steps = np.asarray(states[0].steps)
        error = bar(vectors[0], vectors[1], steps, Weights(), drive.flow.discrete)
        error = unseconded(np.where(steps[..., None] > 0, error, 0.0), np.isin(last["status"], LOST))
        error = last.get("weights_error", error)
        finals["final_weights_error"] = ((*lead, "weight"), error)
        finals[f"final_weights{COARSE}"] = ((*lead, "weight"), vectors[1])
    return finals


def _join(parts: list[xr.Dataset]) -> xr.Dataset:
    """Segments along ``record``; what has no such dim is taken from the last."""
    timeless = [name for name in parts[-1].data_vars if "record" not in parts[-1][name].dims]
    together = xr.concat(
        [part.drop_vars(timeless, errors="ignore") for part in parts], dim="record", data_vars="all"
    )
    return together.assign({name: parts[-1][name] for name in timeless})
