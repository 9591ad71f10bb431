"""Runs stepped from the host: a small program holds the field, NumPy decides what it is asked.

What is compiled is a step of an explicit pair with one copy of the field, the stages of a stabilised method where that
has its turn (``stages``), of BDF its Jacobian and what a step dissipates, and, only where differences of rates do not
do, a product with the Jacobian. BDF's attempts, what ``Auto`` decides by and the looks of a tangent are the functions
of the compiled loop, asked with NumPy's numbers. Nothing is carried from one record to the next but the state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.dynamics import local_errors, stops, tangent, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.energy import EPS, Energy
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers import bdf, stages
from gradlab.dynamics.solvers.adaptive import first_size
from gradlab.dynamics.solvers.auto import Auto, Journal, turned
from gradlab.dynamics.solvers.implicit import NEGLIGIBLE, dissipation
from gradlab.dynamics.solvers.methods import Adaptive, method
from gradlab.dynamics.solvers.pairs import tableau
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import ATTEMPTS, State, error_ratio
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tangent import IMPLICIT, Tangent
from gradlab.dynamics.tree import Layout

#: Differences of rates are taken this part of ‖y‖ apart, and one-sided ones may differ by SURE over the run's length.
NUDGE, SURE = 1e-7, 1e-2


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


def jacobian_product(
    flow: Flow, clock: Clock, layout: Layout, tau: Any, point: Any, vector: Any
) -> tuple[Float[Array, " P"], Float[Array, " P"]]:
    """(rate of the point, J v), J the Jacobian of that rate."""
    return jax.jvp(lambda at: stages.rate_of(flow, clock, layout, tau, at), (point,), (vector,))


def jacobian(flow: Flow, clock: Clock, layout: Layout, tau: Any, point: Any) -> Float[Array, "P P"]:
    """The Jacobian of the rate of y and log(1 + t), which do not depend on E."""
    size = layout.size + 1

    def rate(unknowns: Any) -> Any:
        return stages.rate_of(flow, clock, layout, tau, jnp.concatenate([unknowns, point[size:]]))[:size]

    return jax.jacfwd(rate)(point[:size])


def dissipated(
    flow: Flow, clock: Clock, layout: Layout, tau: Any, unknowns: Any, slope: Any
) -> Float[Array, ""]:
    """dE/dτ where y and log(1 + t) move by this slope."""
    n = layout.size
    return dissipation(flow, clock, tau, *((layout.tree(part[:n]), part[n]) for part in (unknowns, slope)))


class Programs(NamedTuple):
    """The programs, compiled when called: ``product(tau, point, vector)``; ``explicit``, of ``stages``, of small runs;
    ``rate(tau, *points)``; ``stages``, of ``stages.Field``; and of BDF ``jacobian(tau, point)`` and
    ``dissipated(tau, unknowns, slope)``.
    """

    product: Callable[[Any, Any, Any], tuple[Any, Any]]
    explicit: Callable[[Any, Any], Any] | None
    rate: Callable[..., Any]
    stages: Callable[..., Any]
    jacobian: Callable[[Any, Any], Any]
    dissipated: Callable[[Any, Any, Any], Any]


#: The most steps that are counted.
_LAST = int(np.iinfo(np.int64).max)


class Known(NamedTuple):
    """The tangent, the spectrum and the journal as a state has them, in trees, and as a walk has them, in vectors."""

    tangent: tuple[Any, Any] = (None, None)
    spectrum: tuple[Any, Any] = (None, None)
    memory: tuple[Any, Any] = (None, None)


class Walk:
    """Where an orbit is on the way to a record: the state, its trees as vectors of NumPy; moved on in place.

    y : the chart variables. unknowns : 1 for y and log(1 + t), 0 for E. memory : ``Auto``'s journal, or nothing.
    limit : steps after which it stops. earlier : the one before, whose state may have parts of this one's. tell : hears
    the clock after every step whose evaluations take long.
    """

    tell: Callable[[float], None] = staticmethod(lambda tau: None)

    def __init__(
        self,
        programs: Programs,
        layout: Layout,
        clock: Any,
        state: State,
        limit: Any = None,
        earlier: Walk | None = None,
    ) -> None:
        self.limit = _LAST if limit is None else int(limit)
        self.clock = clock
        self.programs, self.layout, self.before = programs, layout, state
        n, self.balanced = layout.size, isinstance(state.energy, Energy)
        energy: Any = tree.plainly(state.energy)
        self.opened = energy
        extra = (float(energy.spent),) if self.balanced else ()
        self.point = np.concatenate([layout.host(state.y), [float(state.u), *extra]])
        self.unknowns = np.ones(len(self.point))
        self.unknowns[n + 1 :] = 0.0
        self.tau: Any = np.float64(state.tau)
        self.h: Any = np.float64(state.h)
        self.steps, self.rejected, self.evaluations, self.jacobians, self.status = 0, 0, 0, 0, 0
        self._counted(state)
        self.doubt: Any = np.float64(energy.doubt) if self.balanced else np.float64(0.0)
        self.erred: Any = state.erred if isinstance(state.erred, tuple) else np.asarray(state.erred)
        self._added = [0.0, 0.0]
        self.slope: Any = None
        self.begun, self.scratch = False, state.scratch
        self.differences, self.end = True, np.float64(np.inf)
        self.previous, self.made = np.float64(1.0), 0
        known: Known = earlier.known if earlier is not None else Known()
        self.tangent: Any = ()
        if isinstance(state.tangent, Tangent):
            if known.tangent[0] is not state.tangent:
                vectors = tangent.with_trees(tree.plainly(state.tangent), layout.host)
                known = known._replace(tangent=(state.tangent, vectors))
            self.tangent = known.tangent[1]
        self.memory = held = state.memory
        if isinstance(held, Journal) and known.memory[0] is held:
            self.memory = known.memory[1]
        elif isinstance(held, Journal):
            if known.spectrum[0] is not held.spectrum:
                seen = Layout.of(held.spectrum.vector).host(held.spectrum.vector)
                vectors = tree.changed(tree.plainly(held.spectrum), vector=seen)
                known = known._replace(spectrum=(held.spectrum, vectors))
            # What the other method keeps is carried along as it is.
            carried = {"past": held.past, "implicit": held.implicit, "spectrum": known.spectrum[1]}
            self.memory = tree.plainly(tree.changed(held, spectrum=(), past=(), implicit=()))
            self.memory = tree.changed(self.memory, **carried)
        self._radius = float(held.spectrum.radius) if isinstance(held, Journal) else 0.0
        self.known: Known = known

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
        self._here()
        image = self._difference(vector, unknowns, NUDGE * (tree.plain_norm(self.y) or 1.0), within)
        return self._product(vector) * unknowns if image is None else image

    def _difference(self, vector: Any, unknowns: Any, nudge: float, within: float) -> Any:
        """J v by a central difference of rates, where the two one-sided ones agree well enough; None where they do not.

        What both miss is less than the rounding of a rate, eps ρ ‖y‖: a change of y below its grain is none. From there
        on, until the next record, the Jacobian is asked: a program that takes as long to compile as the loop of
        attempts.
        """
        if not self.differences:
            return None
        ahead, behind = self.programs.rate(self.tau, self.point + nudge * vector, self.point - nudge * vector)
        image = unknowns * (ahead - behind) / (2.0 * nudge)
        self._radius = max(self._radius, tree.plain_norm(image))
        doubt = tree.plain_norm(unknowns * (ahead + behind - 2.0 * self.slope)) / (2.0 * nudge)
        doubt += EPS * self._radius * (tree.plain_norm(self.y) or 1.0) / nudge
        self.differences = bool(doubt * abs(self.end) <= SURE or doubt <= within * tree.plain_norm(image))
        return image if self.differences else None

    def _product(self, vector: Any) -> Any:
        slope, image = self.programs.product(self.tau, self.point, vector)
        if self.slope is None:
            self.slope = np.asarray(slope)
        return np.asarray(image)

    def rate_at(self, tau: Any, point: Any) -> Any:
        """The rate by (τ, point)."""
        return self.programs.rate(tau, point)[0]

    def begin(self, solver: Any, end: Any) -> None:
        """The rate here, and the first step's size where there is none yet."""
        self._here()
        if self.h == 0.0:
            n = self.layout.size
            slope = (self.slope[:n], self.slope[n])
            self.h = np.float64(first_size(solver.order, solver, self.y, slope, end - self.tau))

    def _here(self) -> None:
        """The rate here, counted once."""
        if self.slope is None:
            self.slope = self.rate_at(self.tau, self.point)
        self.evaluations += not self.begun
        self.begun = True

    def attempt(self, solver: Any, end: Any, most: int) -> None:
        """At most so many attempted steps, with the tangent's looks between them."""
        self.begin(solver, end)
        # What lies before a stretch made by this method is no longer the latest past.
        self._forget()
        stages.attempted(self, self.clock, solver, end, most)

    def settle(
        self, after: Any, error: Any, slope: Any, tau: Any, size: Any, off: Any, left: float = 0.0
    ) -> None:
        """One accepted step; size, off : ‖y‖ after it and of its estimated error. left : as ``Energy.after``."""
        n = self.layout.size
        if self.balanced:
            # As ``Energy.after``.
            way = tree.norm(after[:n] - self.y)
            spent = abs(after[-1] - self.point[-1])
            self.doubt = self.doubt + spent / (way or 1.0) * off + (abs(error[-1]) + left * spent)
        if not isinstance(self.erred, tuple):
            # As ``local_errors.added``.
            for i, said in enumerate((off / (size or 1.0), abs(error[n]))):
                self._added[i] += said if said > local_errors.GRAIN else 0.0
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
        """As :meth:`attempt`, by BDF, as ``implicit.implicit`` makes its steps."""
        n, known, tolerance = self.layout.size, self.clock.known, float(solver.tolerance)
        closed, left, made = known(self.tau) is not None, float(solver.left), 0
        memory, scratch = tree.numbers(self.memory.implicit), tree.numbers(self.scratch)
        vector: Any = self.point.copy()
        # What the clock knows is no unknown.
        vector[n] = 0.0 if closed else vector[n]

        def ratio(before: Any, after: Any, error: Any) -> Any:
            first, last = before[:n], after[:n]
            last = first if after is before else last
            off = error[:n], None if closed else error[n]
            return error_ratio(tolerance, solver.absolute, (first, before[n]), (last, after[n]), off)

        def jacobian(tau: Any, point: Any) -> Any:
            return np.asarray(self.programs.jacobian(tau, point))

        def dissipated(tau: Any, unknowns: Any, slope: Any) -> Any:
            return np.asarray(self.programs.dissipated(tau, unknowns, slope))[None]

        moved = tree.norm(memory.differences[0, : n + 1] - vector[: n + 1])
        if self.h == 0.0 or memory.step == 0.0 or moved > NEGLIGIBLE * tolerance * tree.norm(vector[: n + 1]):
            h, slope = bdf.first_step(self.rate_at, self.tau, vector, end, tolerance, ratio)
            memory = bdf.start(vector, h, slope)
            self.evaluations += 2
        else:
            memory = tree.changed(memory, differences=tree.with_row(memory.differences, 0, vector))
        widest = (end - self.tau) / solver.least
        memory = bdf.narrowed(memory, widest)
        while made < most and self.tau < end and self.status == stops.RUNNING:
            outcome = bdf.attempt(
                self.rate_at,
                jacobian,
                self.tau,
                end,
                vector,
                memory,
                scratch,
                tolerance,
                ratio,
                # The first step from a record leaves room for another.
                longest=widest if made == 0 else np.float64(np.inf),
                summed=dissipated if self.balanced else None,
                widest=widest,
            )
            memory, scratch, vector = outcome.memory, outcome.scratch, outcome.y
            self.h, self.slope, self.begun = memory.step, None, False
            self.evaluations += int(outcome.evaluations)
            self.jacobians += int(outcome.jacobians)
            made += 1
            if outcome.accepted:
                after, error = vector.copy(), outcome.estimate
                after[n] = known(outcome.tau) if closed else after[n]
                self.settle(after, error, None, outcome.tau, tree.norm(after[:n]), tree.norm(error[:n]), left)
            else:
                # The same step once more with a new Jacobian is no rejection of the step.
                self.rejected += not outcome.stuck
                if self.tau + memory.step == self.tau:
                    self.status = stops.UNDERFLOW
            now, gone = memory.differences[:2, :n]
            self.look(IMPLICIT, bdf.left(now, gone, tolerance, scratch.left))
            self.stopped()
            self.tell(self.tau)
        self.made += made
        self.slope, self.begun, self.scratch = None, False, scratch
        self.memory = tree.changed(self.memory, implicit=memory)

    def _counted(self, state: State) -> None:
        self.steps, self.rejected, self.status = int(state.steps), int(state.rejected), int(state.status)
        self.evaluations, self.jacobians = int(state.evaluations), int(state.jacobians)

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
        held, memory, known, before = self.tangent, self.memory, self.known, self.before
        if held != ():
            if known.tangent[1] is not held:
                trees = tree.module(tangent.with_trees(held, self.layout.tree))
                known = known._replace(tangent=(trees, held))
            held = known.tangent[0]
        if isinstance(before.memory, Journal):
            spectrum, past = memory.spectrum, memory.past
            if known.spectrum[1] is not spectrum:
                vector = Layout.of(before.memory.spectrum.vector).tree(spectrum.vector)
                trees = tree.module(tree.changed(spectrum, vector=vector))
                known = known._replace(spectrum=(trees, spectrum))
            past = stages.in_trees(past, before.memory.past) if isinstance(past, tree.Plain) else past
            memory = tree.module(tree.changed(memory, spectrum=(), past=(), implicit=()))
            carried = {"past": past, "implicit": self.memory.implicit, "spectrum": known.spectrum[0]}
            memory = tree.changed(memory, **carried)
            if past is self.memory.past:
                known = known._replace(memory=(memory, self.memory))
        self.known = known
        return self._state(memory, self.layout.tree(self.y), held)

    def _state(self, memory: Any, y: Any, held: Any) -> State:
        names = ("steps", "rejected", "evaluations", "jacobians", "status")
        counts = {name: np.int64(getattr(self, name)) for name in names}
        if self._added != [0.0, 0.0]:
            self.erred, self._added = self.erred + np.array(self._added), [0.0, 0.0]
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
