"""Many records in one compiled call: what the host does at a record is paid once a block."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics import local_errors, stops, tree
from gradlab.dynamics.integrate import ATTEMPTS, advance
from gradlab.dynamics.state import State
from gradlab.dynamics.tangent import Tangent
from gradlab.laboratory.ending import Pace
from gradlab.laboratory.programs import Constants, Program
from gradlab.problem.precision import put

#: Records of a block, and the fewest of a run that is cut into blocks. A run of fewer is one call a record, whose
#: program is smaller.
BLOCK, FEWEST = 64, 256
#: The fewest where an evaluation takes longer than what the host does at a record.
MANY = 4096
#: The chart variables, u, τ and the tangent at a record, where rounding is followed.
PLACE = "place"
#: The most numbers that a block may hold a variable.
NUMBERS = 4_000_000


def blocked(records: int, size: int, from_the_host: bool = False) -> bool:
    """Whether a run of so many records, and weights, is cut into blocks; from_the_host : if it need not be."""
    fewest = MANY if from_the_host else FEWEST
    return records >= fewest and size * BLOCK <= NUMBERS


def _block(
    flow: Any,
    clock: Any,
    solver: Any,
    stop: Any,
    observables: Any,
    state: State,
    ends: Any,
    count: Any,
    limit: Any,
    left: Any,
    noises: Any,
    number: Any,
) -> tuple[State, dict[str, Any], Any]:
    """As ``advance``, to the first ``count`` of the ends one after the other; with how many were reached.

    It ends before the last where the status is no longer RUNNING (that record counts), where the next call is another
    method's or, after the iterations that are ``left``, compiled otherwise, and after ATTEMPTS steps. Where it ends
    makes no difference to what follows.
    """

    def record(i: Any, state: State) -> tuple[State, dict[str, Any]]:
        most = jnp.minimum(limit, left - (state.steps - started))
        state, seen = advance(
            flow, clock, solver, stop, observables, state, ends[i], most, noises[i], number + i
        )
        place = {"y": state.y, "u": state.u, "tau": state.tau, "tangent": state.tangent}
        followed = {PLACE: place} if isinstance(state.tangent, Tangent) else {}
        return state, seen | {"status": state.status} | followed

    def go_on(carry: Any) -> Any:
        return (carry[0] < count) & carry[3]

    def one(carry: Any) -> Any:
        i, state, kept, _ = carry
        state, seen = record(i, state)
        arrived = (state.tau >= ends[i]) | (state.status != stops.RUNNING)
        kept = jax.tree.map(lambda rows, row: rows.at[i].set(row), kept, seen)
        state = replace(state, erred=tree.where(arrived, local_errors.older(state.erred), state.erred))
        few = (state.steps + state.rejected - begun < ATTEMPTS) & (state.steps - started < left)
        on = arrived & (state.status == stops.RUNNING) & few & solver.ready(state.memory)
        return i + arrived, state, kept, on

    begun, started = state.steps + state.rejected, state.steps
    shapes = jax.eval_shape(record, jnp.zeros((), int), state)[1]
    kept = jax.tree.map(lambda leaf: jnp.zeros((BLOCK, *leaf.shape), leaf.dtype), shapes)
    done, state, kept, _ = jax.lax.while_loop(
        go_on, one, (jnp.zeros((), int), state, kept, jnp.asarray(True))
    )
    return state, kept, done


_run = Program(_block)


def through(
    drive: Any, state: State, ends: np.ndarray, noises: np.ndarray, number: int, tell: Any
) -> tuple[State, list[dict[str, Any]]]:
    """The state at the last of at most BLOCK ends, or where the run stopped, and what was seen at each on the way.

    noises : of each record (``advance``); number : of the first. tell : hears how many records are done.
    """
    rows: list[dict[str, Any]] = []
    pace = None
    while len(rows) < len(ends):
        at = len(rows)
        blank = BLOCK - (len(ends) - at)
        pace = pace or Pace(drive.flow, drive.clock, drive.solver, drive.stop, state, np.float64(ends[at]))
        constants: Constants = drive.calls(drive.solver.following(state.memory))
        state, kept, done = _run(
            drive.way(state),
            constants,
            state,
            np.pad(ends[at:], (0, blank), mode="edge"),
            np.int64(len(ends) - at),
            np.float64(ATTEMPTS / (BLOCK if drive.flow.discrete else 1)),
            np.float64(drive.left(state)),
            np.pad(noises[at:], (0, blank)),
            np.int64(number + at),
        )
        made = jax.tree.map(np.asarray, kept)
        rows += [_of(made, i) for i in range(int(done))]
        tell(len(rows))
        state = pace.judged(drive.explained(state))
        if np.asarray(state.status) != stops.RUNNING:
            if len(rows) == at:  # between records, where nothing was reached
                rows.append(_of(made, 0))
            rows[-1]["status"] = np.asarray(state.status)
            break
        pace = None if done else pace
    return state, rows


def _of(made: dict[str, Any], i: int) -> dict[str, Any]:
    """One record of a block; its place is found when it is asked for."""
    return {name: (each, i) if name == PLACE else each[i] for name, each in made.items()}


def placed(state: State, row: dict[str, Any]) -> State:
    """The state as it was at a record."""
    if PLACE not in row:
        return state
    block, i = row[PLACE]
    return replace(state, **jax.tree.map(lambda values: values[i], block))


def bare_row(row: dict[str, Any]) -> dict[str, Any]:
    """What was seen at a record, without what is kept there for the bars."""
    return {name: value for name, value in row.items() if name != PLACE}


def running(state: State) -> State:
    """The state as one that goes on."""
    status = np.asarray(state.status)
    return state if not status.any() else tree.changed(state, status=put(np.zeros_like(status)))


def through_again(
    drive: Any, state: State, ends: np.ndarray, noises: np.ndarray, number: int, tell: Any
) -> tuple[State, list[dict[str, Any]]]:
    """As :func:`through`, by a second solve, which tries the next record where it ended at one."""
    rows: list[dict[str, Any]] = []
    while len(rows) < len(ends):
        at = len(rows)
        state, more = through(drive, running(state), ends[at:], noises[at:], number + at, tell)
        rows += [bare_row(row) for row in more]
    return state, rows
