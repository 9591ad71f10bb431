"""What a run says of its end: the final weights with their bars, and what the solver noted on the way."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradlab.dynamics.flow import Flow
from gradlab.dynamics.state import State
from gradlab.laboratory.conditioning import of_weights
from gradlab.laboratory.ending import is_lost
from gradlab.laboratory.programs import Program
from gradlab.laboratory.second import COARSE, bar, multiples, unseconded
from gradlab.observe.observables import Weights


def _flat(flow: Flow, y: Any) -> Any:
    return flow.observed.ravel(flow.decode(y))


_flat_one = Program(_flat)
_flat_members = Program(eqx.filter_vmap(_flat))


def ends(drive: Any, states: list[State], last: dict[str, Any]) -> dict[str, Any]:
    """Variables of the end of a run (``driving.Drive``), of both solves; last : the last record."""
    lead: tuple[str, ...] = () if drive.members is None else ("member",)
    if drive.flow.chart_is_identity:
        shape = (*np.shape(states[0].tau), -1)
        leaves = [jax.tree.leaves(drive.flow.decode(s.y)) for s in states]
        vectors = [
            np.concatenate([np.asarray(leaf).reshape(shape) for leaf in each], axis=-1) for each in leaves
        ]
    else:
        flatten = _flat_one if drive.members is None else _flat_members
        compiled, constants = drive.way(states[0]), drive.constants("flow")
        vectors = [np.asarray(flatten(compiled, constants, state.y)) for state in states]
    finals: dict[str, Any] = {"final_weights": ((*lead, "weight"), vectors[0])}
    for name, (dims, values) in drive.solver.finals(states[0].memory).items():
        finals[name] = ((*lead, *dims), np.asarray(values))
    if len(vectors) == 2:
        steps = np.asarray(states[0].steps)
        multiple = multiples(*(state.erred for state in states))[..., 0]
        error = bar(vectors[0], vectors[1], steps, Weights(), drive.flow.discrete, multiple)
        error = unseconded(np.where(steps[..., None] > 0, error, 0.0), is_lost(last["status"]))
        error = last.get("weights_error", error)
        if "weights_error" not in last:
            error = of_weights(drive, states[0], last, error)
        finals["final_weights_error"] = ((*lead, "weight"), error)
        finals[f"final_weights{COARSE}"] = ((*lead, "weight"), vectors[1])
    return finals
