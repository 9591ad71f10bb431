"""Runs are stepped from the host, through two small programs or three: the small and new, and what is heavy.

A loop of a whole run, with the choice of methods, looks, balance and observables in it, takes XLA five times as long to
compile as the field alone. The host pays with some 30 µs a step and 0.4 ms a record instead: of what is
small more than a loop would take in the end, of what is heavy (``programs.heavy``) little beside an evaluation.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any

import jax
import numpy as np

from gradlab.dynamics import energy, stops, tree
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.integrate import noted, shown
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers import hosted, stages
from gradlab.dynamics.solvers.auto import Auto, Journal
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.state import State
from gradlab.dynamics.stops import Stop
from gradlab.dynamics.tree import Layout
from gradlab.laboratory.programs import IMPLICIT, SLIM, STEP, Constants, Program, Way
from gradlab.laboratory.second import Noise

_explicit = Program(stages.explicit)
_product = Program(hosted.jacobian_product)
_jacobian = Program(hosted.jacobian)
_dissipated = Program(hosted.dissipated)
_rate = Program(stages.rate_of)
_stages = Program(stages.stages)


def _sight(flow: Flow, observables: Any, layout: Layout, y: Any, u: Any) -> tuple[dict[str, Any], Any]:
    at = layout.tree(y)
    return shown(flow, observables, at, u), energy.level(flow, at) if energy.keeps(flow) else None


_seen = Program(_sight)


#: Weights up to which NumPy's products take one thread in any case: OpenBLAS goes by 9 216 numbers of a matrix.
FEW = 1_000


@functools.cache
def _linear_algebra() -> Any:
    """What sets how many threads NumPy's products take."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class OneThread:
    """Within it NumPy's products take one thread, until the last that is within it has left.

    Their threads go on waiting for more while XLA's want the cores: sums over 50 000 weights between evaluations made
    these, on two cores, half as long again.
    """

    def __init__(self) -> None:
        self._lock, self._within, self._limit = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._within == 0:
                self._limit.enter_context(_linear_algebra().limit(limits=1, user_api="blas"))
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if self._within == 0:
                self._limit.close()


_one_thread = OneThread()


def stiffly(state: State) -> bool:
    """Whether it is the stiff method's turn."""
    return isinstance(state.memory, Journal) and bool(np.any(np.asarray(state.memory.wish)))


class Sight:
    """Observables and the level of the potential, at chart variables given as a vector."""

    def __init__(self, flow: Flow, observables: Any, layout: Layout, way: Way = "quickly") -> None:
        self.layout = layout
        self._look = _seen.bound(way, Constants(flow, observables, layout))

    def __call__(self, y: np.ndarray, u: Any) -> tuple[dict[str, Any], Any]:
        seen, level = self._look(y, np.float64(u))
        level = level if level is None else tuple(map(np.asarray, level))
        return {name: jax.tree.map(np.asarray, value) for name, value in seen.items()}, level


class Host:
    """The programs of one run, and what they are given."""

    def __init__(
        self, flow: Flow, clock: Any, solver: Solver, sight: Sight, way: Way, steps: Any = None
    ) -> None:
        moving = flow.flow if isinstance(flow, Kicked) else flow
        self.clock, self.sight, self.solver = tree.plainly(clock), sight, tree.numbers(solver)
        self._way, self._limit = way, steps
        pair = str(getattr(solver, "explicit", None) or getattr(solver, "name", ""))
        known = stages.pair_of(pair)
        #: What an evaluation loses beside (``programs.way``): of the explicit pair, and of the stiff method.
        lost = STEP / known["each"]
        self.beside = lost, IMPLICIT if getattr(solver, "stiff", "") == "bdf" else lost
        self._stages = len(known["table"].c)
        self._field = Constants(moving, clock, sight.layout)
        self._turns: dict[bool, tuple[Any, Any, hosted.Programs]] = {}
        self._last: hosted.Walk | None = None

    def _turn(self, changed: bool) -> tuple[Any, Any, hosted.Programs]:
        """(``Auto`` and the method that steps, both plain, and the programs), by whether the stiff one does."""
        field, way = self._field, self._way
        auto = inner = self.solver
        if isinstance(auto, Auto):
            auto = auto if auto.changed is changed else tree.changed(auto, changed=changed)
            inner = auto._adaptive(auto.name)

        explicit = _explicit.bound(way, field)

        def rate(tau: Any, *points: Any) -> Any:
            return [np.asarray(_rate(way, field, np.float64(tau), point)) for point in points]

        heavy = way == "fully"
        whole = not heavy or self.sight.layout.size <= SLIM
        plain: Any = tree.plainly(inner)
        if plain.name != "bdf":
            plain = stages.stepping(plain)
        compiled = hosted.Programs(
            lambda *changing: _product(way, field, *changing),
            explicit if whole else None,
            stages.rates(explicit, self._stages) if whole else rate,
            lambda *changing: _stages(way, field, *changing),
            # What takes long there are products, which LLVM does not make.
            _jacobian.bound("moderately" if heavy else way, field),
            _dissipated.bound(way, field),
        )
        return tree.plainly(auto) if isinstance(auto, Auto) else None, plain, compiled

    @staticmethod
    def serves(flow: Flow, solver: Solver, stop: Stop) -> bool:
        """Whether a run can be stepped from the host (``hosted.hostable``)."""
        return hosted.hostable(flow.flow if isinstance(flow, Kicked) else flow, solver, stop)

    def to(
        self, state: State, end: Any, tell: Callable[[float], None], noise: Noise
    ) -> tuple[State, dict[str, Any] | None]:
        """Towards ``end``, until the other method's turn has come, or ATTEMPTS steps; there, what is seen.

        Shaken at ``end`` as by ``integrate.advance``.
        """
        auto, inner, compiled = self._turn_of(state)
        walk = self._walk(compiled, state)
        if self._way == "fully":
            # Its steps take long.
            walk.tell = tell
        many = self.sight.layout.size > FEW and inner.name != "bdf"
        alone: Any = _one_thread if many else nullcontext()
        with np.errstate(all="ignore"), alone:
            hosted.carried(auto, inner, walk, end)
            if walk.tau < end and walk.status == stops.RUNNING:
                return walk.state(), None
            if float(noise.amount) and walk.tau >= end:
                walk.shake(float(noise.amount), noise.number)
        state = walk.state()
        return state, self._noted(walk, state, auto)

    def look(self, state: State) -> dict[str, Any]:
        """What is seen at a state."""
        auto, _, compiled = self._turn_of(state)
        return self._noted(self._walk(compiled, state), state, auto)

    def _walk(self, compiled: hosted.Programs, state: State) -> hosted.Walk:
        self._last = hosted.Walk(compiled, self.sight.layout, self.clock, state, self._limit, self._last)
        return self._last

    def _turn_of(self, state: State) -> tuple[Any, Any, hosted.Programs]:
        changed = stiffly(state)
        if changed not in self._turns:
            self._turns[changed] = self._turn(changed)
        return self._turns[changed]

    def _noted(self, walk: hosted.Walk, state: State, auto: Any) -> dict[str, Any]:
        seen, level = self.sight(walk.y, walk.u)
        with np.errstate(all="ignore"):
            row = noted(seen, walk, level if walk.balanced else None)
        return row | (auto or self.solver).seen(state)
