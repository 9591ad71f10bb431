"""What rounding has made of an orbit, in every bar: by the tangent that its solve carries along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab.dynamics import tangent, tree
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.integrate import State
from gradlab.dynamics.solvers.auto import Auto
from gradlab.dynamics.solvers.fixed import Fixed
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.tangent import Tangent
from gradlab.dynamics.tree import Layout
from gradlab.laboratory.blocks import placed
from gradlab.laboratory.second import lateness

#: Weights times examples up to which rounding is followed unasked.
SMALL = 20_000
#: Bars take SPREAD δ, since the one tangent may lie badly; from a ‖δ‖/‖y‖ of SEEN on, below which rounding as bars have
#: it anyway is as much.
SPREAD, SEEN = 10.0, 1e-13
#: Where rounding has decided, bars reach this multiple of the distance to the orbit as it was kept.
REACH = 1.25
#: An orbit has left where it was kept, if it is so far from there, in parts of ‖y‖.
LEFT = 0.02


def followed(flow: Flow, solver: Solver, members: int | None, refine: bool, asked: bool | None) -> bool:
    """Whether a run follows what becomes of rounding: where it is asked to, and unasked on small smooth problems.

    Raises
    ------
    ValueError
        Where it is asked for and cannot be.
    """
    if asked is False:
        return False
    reason = _refusal(flow, solver, members)
    if asked and reason is not None:
        raise ValueError(f"conditioning is followed along {reason}: leave out conditioning=True")
    inputs = np.shape(flow.observed.data.inputs)
    small = refine and flow.observed.network.smooth and flow.observed.size * inputs[0] <= SMALL
    return bool(asked) or (small and reason is None)


def _refusal(flow: Flow, solver: Solver, members: int | None) -> str | None:
    if not isinstance(solver, Adaptive | Auto | Fixed):
        return f"the steps of a continuous flow; {type(solver).__name__} makes none"
    if members is not None:
        return "one orbit; run the members one by one"
    if type(flow).settle is not Flow.settle or not flow.dissipates:
        return f"flows of one smooth field in one chart; {type(flow).__name__} is none"
    return None


def conditioned(states: list[State]) -> list[State]:
    """The states with a tangent; the second solve, of the same program, looks at nothing."""
    layout = Layout.of(states[0].y)
    with np.errstate(all="ignore"):  # a start at 0 has no rounding
        begun = tangent.begun(layout.host(states[0].y), np.float64(states[0].tau))
    begun = tangent.with_trees(begun, layout.tree)
    first, *others = (tree.changed(state, tangent=begun) for state in states)
    idle = tree.changed(begun, active=np.bool_(False))
    resting = [tree.changed(state, tangent=idle) for state in others]
    return [first, *resting]


def with_rounding(
    drive: Any,
    state: State,
    row: dict[str, Any],
    errors: dict[str, Any],
    before: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """The bars with what rounding has become, and ``rounding_since``: the t from which it decided, NaN before.

    before : records before this one. A clock that does not say the time says it of a place beside, too.
    """
    if not isinstance(state.tangent, Tangent):
        return errors
    decided = bool(state.tangent.decided)
    since = np.asarray(np.nan)
    if decided or float(row["rounding"]) > SEEN:
        _, there, kept, gone = _places(drive, state)
        u = np.float64(state.u)
        beside = drive.sight(there, u)[0]
        back = drive.sight(kept, u)[0] if decided else beside
        for item in drive.observables:
            ours = np.asarray(row[item.name])
            if item.stepwise or ours.dtype.kind != "f":
                continue
            name = f"{item.name}_error"
            with np.errstate(invalid="ignore"):
                errors[name] = errors[name] + np.abs(np.asarray(beside[item.name]) - ours)
                if decided:
                    reach = REACH * np.abs(np.asarray(back[item.name]) - ours)
                    errors[name] = np.fmax(errors[name], reach)
        if before and "weights" in row and drive.clock.may_rest:
            along = [*before, row]
            weights = np.stack([one["weights"] for one in along])
            for name in ("t", "log_t"):
                times = np.stack([one[name] for one in along])
                off = lateness(weights, errors["weights_error"][None], times)[0]
                errors[f"{name}_error"] = np.fmax(errors[f"{name}_error"], off)
        if decided and gone > LEFT:
            since = np.expm1(np.asarray(state.tangent.decided_u))
    return errors | {"rounding_since": since}


def rows_with_rounding(
    drive: Any,
    state: State,
    rows: list[dict[str, Any]],
    errors: list[dict[str, Any]],
    before: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """As :func:`with_rounding`, of the records of a block, which keep their places; ``before`` has two at most."""
    found = []
    for i, (row, bars) in enumerate(zip(rows, errors, strict=True)):
        found.append(with_rounding(drive, placed(state, row), row, bars, [*before, *rows[:i]][-2:]))
    return found


def _places(drive: Any, state: State) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Chart variables at a state, at SPREAD δ beside it and where it was kept, as vectors; how far off the last is."""
    held = tangent.with_trees(tree.plainly(state.tangent), drive.layout.host)
    y = drive.layout.host(state.y)
    with np.errstate(all="ignore"):
        vector, log_size = tangent.size(held, y, np.float64(state.tau))
        gone = float(tree.norm(y - held.kept) / tree.norm(y))
        return y, y + SPREAD * np.exp(log_size) * vector, held.kept, gone


def of_weights(drive: Any, state: State, last: dict[str, Any], error: np.ndarray) -> np.ndarray:
    """The bar of final weights with what rounding has become until the last record."""
    if not isinstance(state.tangent, Tangent):
        return error
    decided = bool(state.tangent.decided)
    if not decided and float(last["rounding"]) <= SEEN:
        return error
    here, there, kept = (_decoded(drive.flow, drive.layout.tree(y)) for y in _places(drive, state)[:3])
    error = error + np.abs(there - here)
    return np.fmax(error, REACH * np.abs(kept - here)) if decided else error


def _decoded(flow: Flow, y: Any) -> np.ndarray:
    """Weights as a vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(flow.decode(y))])


def told(trajectory: xr.Dataset, word: str) -> str:
    """How the run ended, and from when on rounding decided where it went, if it did."""
    if "rounding_since" not in trajectory:
        return word
    since = float(trajectory.variables["rounding_since"].values[-1])
    if np.isnan(since):
        return word
    return f"{word}; rounding decided from t = {since:.3g} whether this orbit left a saddle, and where to"
