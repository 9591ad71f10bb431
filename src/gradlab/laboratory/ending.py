"""A solve that gets no further is ended, and what ends a solve is named: counts decide, never the time it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics import stops
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.ending import cause
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.auto import Auto
from gradlab.dynamics.solvers.fixed import Fixed
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import State
from gradlab.dynamics.stops import Stop
from gradlab.problem.precision import put

#: Attempted steps over which the pace of the clock is taken.
WINDOW = 2000
#: Attempted steps still to come, at that pace, from which the cause is asked for, and from which the solve is ended
#: without one unless a condition may stop it before.
MANY, HOPELESS = 1e5, 1e9
#: How a solve ends whose last point has no second opinion.
LOST = (
    stops.UNDERFLOW, stops.NOT_FINITE, stops.OVERFLOW, stops.DOMAIN, stops.UNBOUNDED, stops.CRAWL, stops.KINK,
)  # fmt: skip
#: A pace that has grown by less than this since the window before is not growing.
GROWS = 2.0

_one = eqx.filter_jit(cause)
_members = eqx.filter_jit(
    eqx.filter_vmap(cause, in_axes=(eqx.if_array(0), None, eqx.if_array(0), eqx.if_array(0)))
)


def is_lost(status: Any) -> Any:
    """Whether a solve ended so (of each member); quick where it goes on."""
    status = np.asarray(status)
    return np.isin(status, LOST) if status.any() else np.zeros(status.shape, bool)


class Pace:
    """The pace of a stretch between two records, of every member: clock per attempted step, window after window.

    A solve crawls where at the pace of the last window MANY attempts remain, that pace is not growing, and the field
    says why (``dynamics.ending``); stiff flows under explicit methods move on steadily and are left alone.
    """

    def __init__(self, flow: Flow, clock: Clock, solver: Solver, stop: Stop, state: State, end: Any) -> None:
        self.flow, self.clock, self.end = flow, clock, np.asarray(end)
        self.watched = not flow.discrete and isinstance(solver, Adaptive | Auto | Fixed)
        self.free = not stop.located and stop.steps is None
        self.tau, self.made = np.asarray(state.tau), _attempts(state)
        self.before, self.hopeless = np.full(np.shape(self.tau), np.nan), np.False_

    def judged(self, state: State) -> State:
        """The state with the status of what holds it, where something does."""
        status = np.asarray(state.status)
        if not self.watched:
            return state
        failed = (status == stops.UNDERFLOW) | (status == stops.NOT_FINITE)
        suspect = (status == stops.RUNNING) & self._slow(state)
        if not (failed | suspect).any():
            return state
        look: Callable[..., Any] = _one if status.ndim == 0 else _members
        code = np.asarray(look(self.flow, self.clock, state, jnp.asarray(self.end, dtype=jnp.float64)))
        code = np.where(code == stops.RUNNING, np.where(suspect & self.hopeless, stops.CRAWL, status), code)
        judged = np.where(failed | suspect, code, status)
        return eqx.tree_at(lambda s: s.status, state, jnp.asarray(judged, dtype=state.status.dtype))

    def _slow(self, state: State) -> Any:
        """Whose window is over, pace not growing, and MANY attempts away."""
        tau, made = np.asarray(state.tau), _attempts(state)
        over = made - self.made >= WINDOW
        if not over.any():
            return over
        with np.errstate(all="ignore"):
            pace = (tau - self.tau) / (made - self.made)
            left = (self.end - tau) / pace
            slow = over & (left > MANY) & (pace <= GROWS * self.before)
        self.hopeless = slow & (left > HOPELESS) & self.free
        self.before = np.where(over, pace, self.before)
        self.tau, self.made = np.where(over, tau, self.tau), np.where(over, made, self.made)
        return slow


def _attempts(state: State) -> Any:
    return np.asarray(state.steps) + np.asarray(state.rejected)


def at_rest(drive: Any, before: State, after: State) -> State:
    """The state with status STILL where nothing moved since the last record."""
    if drive.stop.still is None or np.all(np.asarray(after.tau) == np.asarray(before.tau)):
        return after
    lead = () if drive.members is None else (drive.members,)

    def squares(leaves: Any) -> np.ndarray:
        return sum(np.sum(np.square(leaf).reshape(*lead, -1), axis=-1) for leaf in leaves)

    new = [np.asarray(leaf) for leaf in jax.tree.leaves(after.y)]
    gap = [leaf - np.asarray(old) for leaf, old in zip(new, jax.tree.leaves(before.y), strict=True)]
    rests = squares(gap) <= float(drive.stop.still) ** 2 * squares(new)
    status = np.asarray(after.status)
    status = np.where(rests & (status == stops.RUNNING), stops.STILL, status)
    return replace(after, status=put(status))
