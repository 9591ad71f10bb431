"""When a stop inside a step was met, and how well that is known."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics import stops
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.state import State, margin, rhs
from gradlab.dynamics.stops import Stop
from gradlab.laboratory.programs import Program
from gradlab.laboratory.second import FACTOR, rounding

#: Stops met at a moment inside a step.
LOCATED = (stops.LOSS, stops.GRADIENT, stops.LOG_T)
#: What is compared with the level, where it is recorded: its bar blurs the moment.
_COMPARED = {stops.LOSS: "loss", stops.GRADIENT: "gradient_norm"}


def _crossing(flow: Flow, clock: Clock, stop: Stop, state: State) -> tuple[Any, Any, Any]:
    """The margin of the stop at a state, its rate in the clock, and log dt/dτ."""
    direction, log_scale = flow.velocity(jnp.expm1(state.u), state.y)
    log_rate = clock.log_rate(flow, state.y, direction, log_scale, state.u)
    velocity = (rhs(state.tau, (state.y, state.u), (flow, clock))[0], jnp.exp(-log_rate - state.u))
    gap, rate = jax.jvp(lambda pair: margin(flow, stop, pair), ((state.y, state.u),), (velocity,))
    return gap, rate, -log_rate


_crossing_one = Program(_crossing)
_crossing_members = Program(
    eqx.filter_vmap(_crossing, in_axes=(eqx.if_array(0), None, None, eqx.if_array(0)))
)


def timed(
    drive: Any, states: list[State], before: State, row: dict[str, Any], errors: dict[str, Any]
) -> dict[str, Any]:
    """The bars, with that on the time of a located stop: how far it is off its level, and how the solves differ."""
    status = np.asarray(states[0].status)
    if drive.flow.discrete or not status.any():
        return errors
    now = np.isin(status, LOCATED) & (np.asarray(before.status) == stops.RUNNING)
    if not np.any(now):
        return errors
    look = _crossing_one if drive.members is None else _crossing_members
    constants = drive.constants("flow", "clock", "stop")
    (gap, rate, pace), (other, *_) = (look(drive.way(states[0]), constants, state) for state in states)
    with np.errstate(all="ignore"):
        off = (np.abs(gap) + FACTOR * np.abs(np.asarray(gap) - np.asarray(other))) / np.abs(rate)
        off = np.maximum(off, _blur(status, row, errors) / np.abs(rate))
        late = np.nan_to_num(off * np.exp(np.asarray(pace) - row["log_t"]), nan=np.inf)
        late = late + rounding(row["step"])
        added = {"log_t_error": late, "t_error": late * row["t"]}
    return errors | {name: errors[name] + np.where(now, more, 0.0) for name, more in added.items()}


def _blur(status: np.ndarray, row: dict[str, Any], errors: dict[str, Any]) -> np.ndarray:
    """The relative bar of what met its level, ∞ from 1 on; 0 where it is not recorded, or its logarithm is compared."""
    blur = np.zeros(status.shape)
    for code, name in _COMPARED.items():
        if f"{name}_error" in errors and f"log_{name}" not in row:
            value, bar = np.abs(row[name]), errors[f"{name}_error"]
            blur = np.where((status == code) & (value > 0.0), bar / np.where(value > 0.0, value, 1.0), blur)
    return np.where(blur < 1.0, blur, np.inf)
