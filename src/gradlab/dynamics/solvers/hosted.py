"""Runs stepped from the host: a small program holds the field, NumPy decides what it is asked.

What is compiled is a loop of attempted steps of an explicit pair with one copy of the field, the stages of a stabilised
method where that has its turn (``stages``), and, only where differences of rates do not do, a product with the
Jacobian. What ``Auto`` decides by and the looks of a tangent are the functions of the compiled loop, asked with NumPy's
numbers. Nothing is carried from one record to the next but the state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from gradlab.dynamics import local_errors, stops, tangent, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.energy import EPS, Energy
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers import bdf, stages
from gradlab.dynamics.solvers.adaptive import first_size
from gradlab.dynamics.solvers.auto import Auto, Journal, turned
from gradlab.dynamics.solvers.control import EXPLICIT, LARGEST, SMALLEST, following, longer, planned
from gradlab.dynamics.solvers.implicit import resumed
from gradlab.dynamics.solvers.methods import Adaptive, method
from gradlab.dynamics.solvers.pairs import stepped, tableau
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import ATTEMPTS, State, rhs
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tangent import BETWEEN, IMPLICIT, Tangent
from gradlab.dynamics.tree import Layout

#: Differences of rates are taken this part of ‖y‖ apart, and one-sided ones may differ by SURE over the run's length.
NUDGE, SURE = 1e-7, 1e-2
#: How many numbers stand behind the point and its rate in a leg; and behind those, what is asked of it.
TAIL, ASKED = 10, 2


def hostable(flow: Flow, solver: Solver, stop: Stop) -> bool:
    """Whether a run can be stepped so: an explicit pair, no stop that is looked for within a step, one chart."""
    if isinstance(solver, Auto):
        if int(solver.policy.products) != 2:
            return False
        name = solver.explicit
    elif isinstance(solver, Adaptive):
        name = solver.name
    else:
        return False
    free = not stop.located and not flow.discrete and type(flow).settle is Flow.settle
    return free and _explicit(name)


@functools.cache
def _explicit(name: str) -> bool:
    """Whether that is an explicit pair."""
    return name != "bdf" and tableau(method(name)) is not None


def lasting(solver: Solver) -> bool:
    """Whether every call can be made from the host, whatever method has its turn."""
    return not isinstance(solver, Auto) or not solver.stiff or solver.stiff in ("bdf", *stages.METHODS)


def turn(solver: Solver, memory: Any) -> bool:
    """Whether the next call is made from the host where what is small begins so: the explicit pair's, or BDF's."""
    if not isinstance(memory, Journal):
        return True
    # What a method that looks back has kept is for the compiled loop to forget.
    return memory.implicit != () or (not bool(memory.wish) and int(memory.changes) == 0)


@eqx.filter_jit
def rate_of(flow: Flow, clock: Clock, layout: Layout, tau: Any, point: Any) -> Any:
    """The rate of the point; traced once for the programs of a problem."""
    n = layout.size
    moves, *rest = rhs(tau, (layout.tree(point[:n]), *point[n:]), (flow, clock))
    return jnp.concatenate([layout.flat(moves), jnp.stack(rest)])


def _norms(rows: Float[Array, "rows P"]) -> Float[Array, " rows"]:
    """‖·‖₂ of each row, safe against overflow and underflow of the squares."""
    largest = lax.reduce_max(lax.abs(rows), (1,))
    size = lax.select(largest > 0.0, largest, jnp.ones_like(largest))
    return size * lax.sqrt(jnp.sum((rows / size[:, None]) ** 2, axis=1))


def attempts(flow: Flow, clock: Clock, solver: Adaptive, layout: Layout, leg: Float[Array, " leg"]) -> Any:
    """Attempted steps towards an end, of at most so many in all; pure, to be compiled.

    leg : the point (y, log(1 + t) and, where it is balanced, E), its rate, then τ, the next step, the last error ratio,
    the doubt in the balance, what the steps of this call err by, of y and of log(1 + t), steps, rejected, attempts,
    status; and, not returned, the end and the number of attempts. One vector: a call takes half as long as with four.

    As ``adaptive.adaptive`` makes them, with what one vector allows: few operations, which are what XLA takes its time
    for. A step of length 0 is one evaluation: it gives the rate of the point (:meth:`Walk.rate`).
    """
    stepper, n, size = solver.stepper, layout.size, (leg.size - TAIL - ASKED) // 2
    order: Any = stepper.error_order(diffrax.ODETerm(rhs))
    table: Any = tableau(stepper)
    balanced = size > n + 1
    end, most = leg[-ASKED:]
    one: Any = np.float64(1.0)

    def field(tau: Any, point: Any) -> Any:
        return rate_of(flow, clock, layout, tau, point)

    def go_on(leg: Any) -> Any:
        return (leg[-TAIL] < end) & (leg[-1] == stops.RUNNING) & (leg[-2] < most)

    def attempt(leg: Any) -> Any:
        now, before, previous, doubted, *erred, steps, rejected, made, status = leg[-TAIL:]
        point, rate = leg[:size], leg[size : 2 * size]
        h, last, cut = planned(now, end, before, solver.least, made)
        tau = lax.select(last, end, now + h)
        first = lax.select(before == 0.0, np.int64(len(table.c) - 1), np.int64(1))
        after, error, slope = stepped(table, field, now, tau - now, point, rate, first)
        known = clock.known(tau)
        if known is not None:
            after = lax.dynamic_update_slice(after, lax.expand_dims(known, (0,)), (np.int64(n),))
        y0, y1 = point[:n], after[:n]
        small, large, off, way = _norms(jnp.stack([y0, y1, error[:n], y1 - y0]))
        ratio = off / (solver.tolerance * lax.max(small, large) + solver.absolute)
        if known is None:
            later = lax.max(one, lax.max(point[n], after[n]))
            ratio = lax.max(ratio, lax.abs(error[n]) / (solver.tolerance * later))
        keep = lax.is_finite(large) & lax.is_finite(after[n]) & (ratio <= 1.0)
        ratio, factor = following(ratio, previous, keep, order, EXPLICIT, LARGEST)
        doubt = doubted
        if balanced:
            # As ``Energy.after``.
            slowest = lax.abs(after[-1] - point[-1]) / lax.select(way > 0.0, way, one)
            doubt = doubted + slowest * off + lax.abs(error[-1])
        # As ``local_errors.added``.
        said = [off / lax.select(large > 0.0, large, one), lax.abs(error[n])]
        said = [
            sum_ + lax.select(new > local_errors.GRAIN, new, np.float64(0.0))
            for sum_, new in zip(erred, said, strict=True)
        ]
        under = (now + SMALLEST * h == now) * (1.0 * stops.UNDERFLOW)
        next_h, count = longer(before, h, factor, keep, cut), made + 1.0
        # One choice for all that a step changes.
        moved = [tau, next_h, ratio, doubt, *said, steps + 1.0, rejected, count, status]
        stays = [now, next_h, previous, doubted, *erred, steps, rejected + 1.0, count, status + under]
        new = jnp.concatenate([after, slope, jnp.stack(moved)])
        old = jnp.concatenate([leg[:-TAIL], jnp.stack(stays)])
        return lax.select(jnp.broadcast_to(keep, new.shape), new, old)

    return lax.while_loop(go_on, attempt, leg[:-ASKED])


def jacobian_product(
    flow: Flow, clock: Clock, layout: Layout, tau: Any, point: Any, vector: Any
) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
    """(rate of the point, J v), J the Jacobian of that rate."""
    return jax.jvp(lambda at: rate_of(flow, clock, layout, tau, at), (point,), (vector,))


def stiffly(
    flow: Flow, clock: Clock, solver: Adaptive, layout: Layout, state: State, end: Any, *going: Any
) -> tuple[State, Any]:
    """As ``implicit.resumed``, of a state whose y is a vector."""
    moved, made = resumed(flow, clock, solver, Stop(), replace(state, y=layout.tree(state.y)), end, *going)
    # Not a weak type, for which the next call would be compiled anew.
    status = lax.convert_element_type(moved.status, moved.status.dtype)
    return replace(moved, y=layout.flat(moved.y), status=status), made


class Programs(NamedTuple):
    """The programs, compiled when called: ``product(tau, point, vector)``; ``attempts(leg)``, of what is small;
    ``rate(tau, point)``, None where that would be a program more; ``stages``, of ``stages.Field``; and of BDF
    ``stiffly(state, end, most, made, widest, due)``.
    """

    product: Callable[[Any, Any, Any], tuple[Any, Any]]
    attempts: Callable[[Any], Any] | None
    rate: Callable[[Any, Any], Any] | None
    stages: Callable[..., Any]
    stiffly: Callable[..., tuple[State, Any]]


def rates(attempts: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The rate of a point, by a step of length 0."""

    def rate(tau: Any, point: Any) -> Any:
        # Towards infinity: of 10¹⁶ on there is no τ + 1.
        tail = (tau, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, stops.RUNNING, np.inf, 1.0)
        leg = np.asarray(attempts(np.concatenate([point, np.zeros(len(point)), tail])))
        return leg[len(point) : 2 * len(point)]

    return rate


def _length(vector: Any) -> float:
    """‖·‖₂, not safe against overflow."""
    return float(np.sqrt(np.dot(vector, vector)))


class Walk:
    """Where an orbit is on the way to a record: the state, its trees as vectors of NumPy; moved on in place.

    y : the chart variables. unknowns : 1 for y and log(1 + t), 0 for E. memory : ``Auto``'s journal, or nothing.
    limit : steps after which it stops. tell : hears the clock after every step whose evaluations take long.
    """

    tell: Callable[[float], None] = staticmethod(lambda tau: None)

    def __init__(
        self, programs: Programs, layout: Layout, clock: Any, state: State, limit: Any = None
    ) -> None:
        self.limit = np.iinfo(np.int64).max if limit is None else int(limit)
        self.clock = clock
        self.programs, self.layout, self.before = programs, layout, state
        n, self.opened = layout.size, state.energy
        if isinstance(self.opened, Energy):
            self.opened = jax.tree.map(tree.of_numpy, self.opened)
        energy = self.opened
        self.balanced = isinstance(energy, Energy)
        extra = (energy.spent,) if self.balanced else ()
        self.point = np.concatenate([layout.host(state.y), np.stack([state.u, *extra])])
        self.unknowns = np.ones(len(self.point))
        self.unknowns[n + 1 :] = 0.0
        self.tau: Any = np.float64(state.tau)
        self.h: Any = np.float64(state.h)
        self.steps, self.rejected, self.evaluations, self.jacobians, self.status = 0, 0, 0, 0, 0
        self._counted(state)
        self.doubt: Any = np.float64(energy.doubt) if self.balanced else np.float64(0.0)
        self.erred: Any = state.erred if isinstance(state.erred, tuple) else np.asarray(state.erred)
        self.slope: Any = None
        self.begun, self.scratch = False, state.scratch
        self.differences, self.end = programs.rate is not None, np.float64(np.inf)
        self.previous, self.made, self._radius = np.float64(1.0), 0, 0.0
        self.tangent: Any = ()
        if isinstance(state.tangent, Tangent):
            self.tangent = tangent.with_trees(tree.plainly(state.tangent), layout.host)
        self.memory = held = state.memory
        if isinstance(held, Journal):
            # What the other method keeps is carried along as it is.
            self.memory = tree.changed(tree.plainly(held), past=held.past, implicit=held.implicit)
            self._spectral = Layout.of(held.spectrum.vector)
            self.memory = self._seen_as(self._spectral.host)
            self._radius = float(held.spectrum.radius)

    def _seen_as(self, change: Callable[[Any], Any]) -> Any:
        """The journal with its spectral vector as another function has it."""
        spectrum = self.memory.spectrum
        return tree.changed(self.memory, spectrum=tree.changed(spectrum, vector=change(spectrum.vector)))

    @property
    def y(self) -> Any:
        return self.point[: self.layout.size]

    @property
    def u(self) -> Any:
        return self.point[self.layout.size]

    @property
    def energy(self) -> Any:
        begun = self.opened
        if not self.balanced:
            return begun
        doubt = {"spent": self.point[-1], "doubt": self.doubt}
        return tree.made(Energy, {"first": begun.first, "grain": begun.grain} | doubt)

    def shake(self, amount: float, number: int) -> None:
        """Every chart variable y becomes y (1 ± amount)."""
        self.point = np.concatenate([tree.shaken(self.y, amount, number), self.point[self.layout.size :]])

    def products(self, vector: Any, unknowns: Any, within: float = 0.0) -> tuple[Any, Any, Any]:
        """``tangent.products`` here, of the entries where ``unknowns`` is 1; q is zero where J v lies along v.

        within : the part of J v that it may be off by; else what it is off by makes nothing of the whole run.
        """
        image = self.along(vector, unknowns, within)
        rest = image - np.dot(vector, image) * vector
        beside = tree.norm(rest)
        other = rest / beside if beside > 0.0 else rest
        return image, other, self.along(other, unknowns, within)

    def along(self, vector: Any, unknowns: Any, within: float) -> Any:
        """J v, by a difference where one does."""
        if self.programs.rate is not None:
            self._here()
        image = self._difference(vector, unknowns, NUDGE * (_length(self.y) or 1.0), within)
        return self._product(vector) * unknowns if image is None else image

    def _difference(self, vector: Any, unknowns: Any, nudge: float, within: float) -> Any:
        """J v by a central difference of rates, where the two one-sided ones agree well enough; None where they do not.

        What both miss is less than the rounding of a rate, eps ρ ‖y‖: a change of y below its grain is none. From there
        on, until the next record, the Jacobian is asked: a program that takes as long to compile as the loop of
        attempts.
        """
        if not self.differences:
            return None
        ahead, behind = (self.rate(self.point + by * vector) for by in (nudge, -nudge))
        image = unknowns * (ahead - behind) / (2.0 * nudge)
        self._radius = max(self._radius, _length(image))
        doubt = _length(unknowns * (ahead + behind - 2.0 * self.slope)) / (2.0 * nudge)
        doubt += EPS * self._radius * (_length(self.y) or 1.0) / nudge
        self.differences = bool(doubt * abs(self.end) <= SURE or doubt <= within * _length(image))
        return image if self.differences else None

    def _product(self, vector: Any) -> Any:
        slope, image = self.programs.product(self.tau, self.point, vector)
        if self.slope is None:
            self.slope = np.asarray(slope)
        return np.asarray(image)

    def rate(self, point: Any) -> Any:
        """The rate of a point."""
        return self.rate_at(self.tau, point)

    @property
    def rate_at(self) -> Callable[[Any, Any], Any]:
        """The rate by (τ, point)."""
        assert self.programs.rate is not None
        return self.programs.rate

    def begin(self, solver: Any, end: Any) -> None:
        """The rate here, and the first step's size where there is none yet."""
        self._here()
        if self.h == 0.0:
            n, order = self.layout.size, int(solver.stepper.error_order(diffrax.ODETerm(rhs)))
            slope = (self.slope[:n], self.slope[n])
            self.h = np.float64(first_size(order, solver, self.y, slope, end - self.tau))

    def _here(self) -> None:
        """The rate here, counted once."""
        if self.slope is None:
            self.slope = self.rate(self.point)
        self.evaluations += not self.begun
        self.begun = True

    def attempt(self, solver: Any, end: Any, most: int) -> None:
        """At most so many attempted steps, with the tangent's looks between them."""
        self.begin(solver, end)
        # What lies before a stretch made by this method is no longer the latest past.
        self._forget()
        if self.programs.attempts is None:
            stages.attempted(self, self.clock, solver, end, most)
            return
        each, until = solver.each, self.made + most
        while self.made < until and self.tau < end and self.status == stops.RUNNING:
            most = min(until, self.made + min(self._unwatched(each), self.limit - self.steps))
            numbers = (self.tau, self.h, self.previous, self.doubt, 0.0, 0.0)
            counts = (self.steps, self.rejected, self.made, self.status)
            leg: Any = np.concatenate([self.point, self.slope, (*numbers, *counts, end, most)])
            leg, before, size = np.asarray(self.programs.attempts(leg)), self.made, len(self.point)
            self.steps, self.rejected, self.made, self.status = (int(count) for count in leg[-4:])
            self.point, self.slope = leg[:size], leg[size : 2 * size]
            self.tau, self.h, self.previous, self.doubt = leg[-TAIL:-6]
            if not isinstance(self.erred, tuple):
                self.erred = self.erred + leg[-6:-4]
            self.evaluations += each * (self.made - before)
            self.look(BETWEEN)
            self.stopped()

    def settle(self, after: Any, error: Any, slope: Any, tau: Any) -> None:
        """One accepted step."""
        n, off = self.layout.size, tree.norm(error[: self.layout.size])
        if self.balanced:
            # As ``Energy.after``.
            way = tree.norm(after[:n] - self.y)
            self.doubt = self.doubt + abs(after[-1] - self.point[-1]) / (way or 1.0) * off + abs(error[-1])
        if not isinstance(self.erred, tuple):
            said = np.array([off / (tree.norm(after[:n]) or 1.0), abs(error[n])])
            self.erred = self.erred + np.where(said > local_errors.GRAIN, said, 0.0)
        self.point, self.slope, self.tau, self.steps = after, slope, tau, self.steps + 1

    def stopped(self) -> None:
        """Stop where as many steps are made as there may be."""
        if self.steps >= self.limit and self.status == stops.RUNNING:
            self.status = stops.STEPS

    def stabilised(self, solver: Any, end: Any, most: int) -> None:
        """As :meth:`attempt`, by a stabilised method."""
        if self.h == 0.0:
            # The start, or weights changed from outside.
            self._forget()
        self.begin(solver, end)
        stages.attempted(self, self.clock, solver, end, most)

    def _forget(self) -> None:
        """No past of a method that looks back."""
        past = getattr(self.memory, "past", ())
        if not isinstance(past, tuple) and (int(past.count) or bool(past.waits)):
            self.memory = tree.changed(self.memory, past=stages.forgotten(past))

    def implicit(self, solver: Any, end: Any, most: int) -> None:
        """As :meth:`attempt`, by BDF."""
        made, widest = 0, (end - self.tau) / solver.least
        state = self._state(self.memory.implicit, self.y, ())
        while made < most and self.tau < end and self.status == stops.RUNNING:
            due = tangent.spent(self) + 1
            if self.tangent != () and self.tangent.active:
                due = max(due, int(self.tangent.mark) + IMPLICIT)
            else:
                due = np.iinfo(np.int64).max
            until = min(most, made + self.limit - self.steps)
            going = (np.int64(until), np.int64(made), widest, np.int64(due))
            state, count = self.programs.stiffly(state, end, *going)
            self.made += int(count) - made
            made = int(count)
            self.tau, self.h = np.asarray(state.tau)[()], np.asarray(state.h)[()]
            extra = (state.energy.spent,) if self.balanced else ()
            self.point = np.concatenate([np.asarray(state.y), np.stack([state.u, *extra])])
            self.doubt = np.asarray(state.energy.doubt)[()] if self.balanced else self.doubt
            self.erred = state.erred if isinstance(state.erred, tuple) else np.asarray(state.erred)
            self._counted(state)
            y, moved = np.asarray(state.memory.differences)[:2, : self.layout.size]
            of_late = np.asarray(state.scratch.left)[()]
            self.look(IMPLICIT, bdf.left(y, moved, solver.tolerance, of_late))
            self.stopped()
        self.slope, self.begun, self.scratch = None, False, state.scratch
        self.memory = tree.changed(self.memory, implicit=state.memory)

    def _counted(self, state: State) -> None:
        self.steps, self.rejected, self.status = int(state.steps), int(state.rejected), int(state.status)
        self.evaluations, self.jacobians = int(state.evaluations), int(state.jacobians)

    def _unwatched(self, each: int) -> int:
        """Attempts until the tangent is to be looked at."""
        if self.tangent == () or not self.tangent.active:
            return ATTEMPTS
        return max(1, -(-int(BETWEEN - (tangent.spent(self) - self.tangent.mark)) // each))

    def look(self, between: int, left: Any = None) -> None:
        """The tangent's, where it is due."""
        held = self.tangent
        if held == () or not held.active or not self.tau > held.tau:
            return
        cost = tangent.spent(self)
        if cost - held.mark < between:
            return
        n = self.layout.size
        alone = self.unknowns.copy()
        alone[n:] = 0.0

        def pair(vector: Any) -> tuple[Any, Any, Any]:
            whole = np.concatenate([vector, np.zeros(len(alone) - n)])
            first, beside, second = (image[:n] for image in self.products(whole, alone))
            return first, beside, second

        self.tangent = tangent.looked(held, self, pair, cost, left)

    def state(self) -> State:
        """The state here."""
        held, memory = self.tangent, self.memory
        if held != ():
            held = tree.module(tangent.with_trees(held, self.layout.tree))
        if isinstance(self.before.memory, Journal):
            memory = tree.module(self._seen_as(self._spectral.tree))
            if isinstance(self.memory.past, tree.Plain):
                memory = tree.changed(memory, past=stages.in_trees(self.memory.past, self.before.memory.past))
        return self._state(memory, self.layout.tree(self.y), held)

    def _state(self, memory: Any, y: Any, held: Any) -> State:
        names = ("steps", "rejected", "evaluations", "jacobians", "status")
        counts = {name: np.int64(getattr(self, name)) for name in names}
        others = {"scratch": self.scratch, "energy": self.energy, "tangent": held, "erred": self.erred}
        point = {"tau": self.tau, "y": y, "u": self.u, "h": self.h}
        return tree.made(State, point | counts | {"memory": memory} | others)


def carried(auto: Any, inner: Any, walk: Walk, end: Any) -> None:
    """Towards ``end``, until the other method's turn has come, or after ATTEMPTS steps.

    auto, inner : plain (``tree.plainly``); the solver where it is ``Auto``, else None, and the pair as it steps it.
    """
    walk.end = end = np.float64(end)
    while walk.made < ATTEMPTS and walk.tau < end and walk.status == stops.RUNNING:
        if auto is None:
            walk.attempt(inner, end, ATTEMPTS - walk.made)
            continue
        turned(walk.clock, auto, inner, walk, end)
        if bool(walk.memory.wish) != auto.changed:
            return
