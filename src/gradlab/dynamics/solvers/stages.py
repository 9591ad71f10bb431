"""Steps from the host where an evaluation takes longer than all that NumPy does beside: explicit pairs, and MRKC.

What is compiled, fully, is the field, and for a stabilised method a loop of its stages with one copy of the field,
whose coefficients follow on the host (``rkc.coefficients``). The loop of a whole run takes XLA ten times as long.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from gradlab.dynamics import stops, tree
from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers import multistep, rkc
from gradlab.dynamics.solvers.control import (
    CHEBYSHEV,
    EXPLICIT,
    LARGEST,
    SMALLEST,
    following,
    longer,
    planned,
)
from gradlab.dynamics.solvers.methods import STABILISED, evaluations, method
from gradlab.dynamics.solvers.pairs import stepped, tableau
from gradlab.dynamics.solvers.stabilised import COLD, EVERY, MARGIN, WARM, WITHIN, lengthened
from gradlab.dynamics.state import rhs
from gradlab.dynamics.tangent import BETWEEN
from gradlab.dynamics.tree import Layout

#: The methods that are stepped so.
METHODS = ("mrkc3", "mrkc5")
#: Stages of a call.
ROWS = 64
#: Coefficients of a stage before those of a bend.
AHEAD = 5


@eqx.filter_jit
def rate_of(flow: Flow, clock: Clock, layout: Layout, tau: Any, point: Any) -> Any:
    """The rate of the point; traced once for the programs of a problem."""
    n = layout.size
    moves, *rest = rhs(tau, (layout.tree(point[:n]), *point[n:]), (flow, clock))
    return jnp.concatenate([layout.flat(moves), jnp.stack(rest)])


def explicit(
    flow: Flow,
    clock: Clock,
    layout: Layout,
    made: Float[Array, "rows P"],
    rows: Float[Array, "stages columns"],
) -> Float[Array, "rows P"]:
    """Rates at points that are combinations of what was made before; pure, to be compiled.

    A step of an explicit pair: ``made`` is the point (y, log(1 + t) and, where it is balanced, E), its rate, and a
    row for each stage to come. rows : of each stage the coefficients of its point, by row of ``made``, and its τ. The
    first, whose rate is known, begins with the number of the first that is to be made. Coefficients are data: none is
    compiled.
    """

    def stage(i: Any, made: Any) -> Any:
        row = lax.dynamic_index_in_dim(rows, i, keepdims=False, allow_negative_indices=False)
        rate = lax.expand_dims(rate_of(flow, clock, layout, row[-1], row[:-1] @ made), (0,))
        return lax.dynamic_update_slice(made, rate, (i + 1, np.int64(0)), allow_negative_indices=False)

    return lax.fori_loop(rows[0, 0].astype(np.int64), rows.shape[0], stage, made)


def rates(explicit: Callable[[Any, Any], Any], count: int) -> Callable[..., Any]:
    """(τ, points) ↦ the rates there, two of them at most, by :func:`explicit` with so many stages."""

    known: dict[int, tuple[Any, Any]] = {}

    def rate(tau: Any, *points: Any) -> Any:
        few = len(points)
        if few not in known:
            known[few] = np.zeros((count + 1, len(points[0]))), np.zeros((count, count + 2))
            rows = known[few][1]
            rows[count - few :, :few], rows[0, 0] = np.eye(few), count - few
        made, rows = known[few]
        made[:few], rows[:, -1] = points, tau
        return np.asarray(explicit(made, rows))[count + 1 - few :]

    return rate


@functools.cache
def pair_of(name: str) -> dict[str, Any]:
    """What steps of an explicit pair ask of it: ``stepper``, ``order``, ``each``, ``table`` and what follows."""
    stepper = method(name)
    table = tableau(stepper)
    assert table is not None
    order: Any = stepper.error_order(diffrax.ODETerm(rhs))
    return {
        "stepper": stepper,
        "order": int(order),
        "each": evaluations(name),
        "table": table,
        # What a step of length 1 takes of ``explicit``'s rows, and of the error.
        "times": np.column_stack([0.0 * table.c, table.a, table.c]),
        "weights": np.concatenate([[0.0], table.error]),
    }


def stepping(solver: Any) -> Any:
    """A plain ``Adaptive`` that knows its diffrax solver, ``order``, ``each`` and ``table``, looked up once."""
    if solver.name not in STABILISED:
        return tree.changed(solver, **pair_of(solver.name))
    stepper = solver.stepper
    order = int(stepper.error_order(diffrax.ODETerm(rhs)))
    return tree.changed(solver, stepper=stepper, order=order, each=solver.each, table=tableau(stepper))


def stages(
    flow: Flow,
    clock: Clock,
    layout: Layout,
    count: Any,
    times: Any,
    ends: Any,
    bends: Any,
    rows: Any,
    made: Any,
) -> Float[Array, "2 P"]:
    """The last two increments after so many stages of ``rkc.rkc2``; pure, to be compiled.

    times : τ and h. ends : the point that the step begins from, and its rate. bends : the coefficients of ``bend``,
    each a row. rows : of ``rkc.coefficients``. made : the last two increments before.
    """
    (tau, h), (point, slope), n = times, ends, layout.size

    def stage(i: Any, made: Any) -> Any:
        (mu, nu, rate, a_one, c), factors = rows[i, :AHEAD], rows[i, AHEAD:]
        at = point + made[0] + sum(factors[k] * bends[k] for k in range(bends.shape[0]))
        moves, *rest = rhs(tau + c * h, (layout.tree(at[:n]), *at[n:]), (flow, clock))
        force = jnp.concatenate([layout.flat(moves), jnp.stack(rest)])
        new = mu * made[0] + nu * made[1] + rate * h * force - a_one * rate * h * slope
        return jnp.stack([new, made[0]])

    return lax.fori_loop(0, count, stage, made)


class Field:
    """The field of (τ, point), as a method on the host asks for it: its rate there, or many stages at once.

    rate, stages : the rate of a point and :func:`stages` of a flow, compiled when called. degree : coefficients of a
    bend.
    """

    def __init__(self, rate: Callable[[Any, Any], Any], stages: Callable[..., Any], degree: int) -> None:
        self._rate, self._stages, self._degree = rate, stages, degree

    def __call__(self, tau: Any, point: Any) -> Any:
        return self._rate(tau, point)

    def stages(self, tau: Any, y: Any, h: Any, slope: Any, count: int, damping: float, bend: Any) -> Any:
        """As ``rkc.rkc2``."""
        begun, rows, last = rkc.coefficients(count, damping, self._degree)
        bends = np.zeros((self._degree, len(y))) if bend is None else bend
        times: Any = np.array((tau, h))
        ends, made = np.stack([y, slope]), np.stack([begun * h * slope, 0.0 * slope])
        for begin in range(0, len(rows), ROWS):
            part = rows[begin : begin + ROWS]
            padded = np.concatenate([part, np.zeros((ROWS - len(part), rows.shape[1]))])
            made = np.asarray(self._stages(np.int64(len(part)), times, ends, bends, padded, made))
        return y + made[0] + (0.0 if bend is None else last @ bend)


def refreshed(known: Any, product: Callable[[Any], Any], seed: Any) -> tuple[Any, int]:
    """``stabilised.refresh`` of a plain spectrum, and the products it took; ``product`` : v ↦ J v."""
    count = COLD if known.age < 0 else WARM if known.age >= EVERY else 0
    vector, radius = known.vector, known.radius
    for i in range(count // 2):
        image = product(vector)
        beside = _unit(image - np.dot(vector, image) * vector)
        if i == 0:
            beside = beside + _unit(seed)
        vector, radius = lengthened(vector, image, product(_unit(beside - np.dot(vector, beside) * vector)))
    radius = radius if np.isfinite(radius) else known.radius
    age = np.int64((0 if count else known.age) + 1)
    return tree.changed(known, vector=vector, radius=radius, age=age), count


def _unit(vector: Any) -> Any:
    size = tree.norm(vector)
    return vector / size if size > 0.0 else vector


def together(past: multistep.Past) -> Any:
    """A past as a plain one, each point of it a vector."""
    rows = [np.asarray(leaf).reshape(len(past.times), -1) for leaf in jax.tree.leaves(past.values)]
    latest = Layout.of(past.latest).host(past.latest)
    return tree.changed(tree.plainly(past), values=np.concatenate(rows, axis=1), latest=latest)


def in_trees(past: Any, like: multistep.Past) -> multistep.Past:
    """The past of which that is the plain one, its points trees as those of another."""
    layout = Layout.of(like.latest)
    points = [layout.tree(row) for row in past.values]
    values = jax.tree.map(lambda *leaves: np.stack(leaves), *points)
    return tree.module(tree.changed(past, values=values, latest=layout.tree(past.latest)))


def forgotten(past: Any) -> Any:
    """A past, plain or not, without its points."""
    return tree.changed(past, count=np.int64(0), waits=np.bool_(False))


class _Pair:
    """Steps of an explicit pair."""

    gains, largest = EXPLICIT, LARGEST

    def __init__(self, walk: Any, solver: Any) -> None:
        self._walk, self._table, self._each = walk, solver.table, solver.each
        self._times, self._weights = solver.times, solver.weights

    def step(self, h: Any) -> tuple[Any, Any, Any, int]:
        """(point, error, rate there, evaluations) of one attempt."""
        walk, table = self._walk, self._table
        if (explicit := walk.programs.explicit) is None:
            return *stepped(table, walk.rate_at, walk.tau, h, walk.point, walk.slope), self._each
        made, rows = np.zeros((len(table.c) + 1, len(walk.point))), h * self._times
        made[0], made[1] = walk.point, walk.slope
        rows[:, 0] = 1.0
        rows[:, -1] += walk.tau
        made = np.asarray(explicit(made, rows))
        return rows[-1, :-1].dot(made), (h * self._weights).dot(made), made[-1], self._each

    def settled(self, kept: bool, error: Any) -> None:
        """After an attempt that was kept, or not."""

    def close(self) -> None:
        """At the end of a call."""


class _Stabilised:
    """Steps of a stabilised method that looks back, with what it knows of the spectrum and the past."""

    gains = CHEBYSHEV

    def __init__(self, walk: Any, stepper: Any) -> None:
        self._walk, self._stepper, self.largest = walk, tree.plainly(stepper), stepper.growth
        self._field = Field(walk.rate_at, walk.programs.stages, stepper.degree - 1)
        self._spectrum, past = walk.memory.spectrum, walk.memory.past
        self._past: Any = past if isinstance(past, tree.Plain) else together(past)
        self._seed = 0.0 * walk.point

    def step(self, h: Any) -> tuple[Any, Any, Any, int]:
        walk = self._walk
        past: Any = multistep.recall(self._past, walk.tau)
        self._spectrum, products = refreshed(
            self._spectrum, lambda v: walk.along(v, walk.unknowns, WITHIN), self._seed
        )
        z = MARGIN * abs(h) * self._spectrum.radius
        made = self._stepper.stride(self._field, walk.tau, walk.point, h, walk.slope, z, past)
        self._past = multistep.note(past, walk.tau, walk.point)
        return *made[:3], int(made[3]) + 2 * products

    def settled(self, kept: bool, error: Any) -> None:
        # Stages follow the spectrum of the flow: E has none.
        self._seed = error * self._walk.unknowns
        if not kept:
            age = max(self._spectrum.age, np.int64(EVERY))
            self._spectrum = tree.changed(self._spectrum, age=age)
            self._past = tree.changed(self._past, waits=np.bool_(False))

    def close(self) -> None:
        self._walk.memory = tree.changed(self._walk.memory, spectrum=self._spectrum, past=self._past)


def attempted(walk: Any, clock: Any, solver: Any, end: Any, most: int) -> None:
    """At most so many attempted steps as ``adaptive.adaptive`` makes them, with the tangent's looks between them.

    walk : where the orbit is, and ``Auto``'s journal (``hosted.Walk``); moved on in place. solver : an ``Adaptive``.
    """
    stepper, n, known = solver.stepper, walk.layout.size, clock.known
    closed, least, order = known(walk.tau) is not None, solver.least, solver.order
    tolerance, absolute = float(solver.tolerance), float(solver.absolute)
    maker: Any = _Stabilised(walk, stepper) if solver.name in STABILISED else _Pair(walk, solver)
    until, small = walk.made + most, tree.norm(walk.y)
    while walk.made < until and walk.tau < end and walk.status == stops.RUNNING:
        h, last, cut = planned(walk.tau, end, walk.h, least, walk.made)
        tau, before = end if last else walk.tau + h, walk.point
        after, error, slope, spent = maker.step(tau - walk.tau)
        if closed:
            after[n], error[n] = known(tau), 0.0
        large, off = tree.norm(after[:n]), tree.norm(error[:n])
        ratio: Any = np.float64(np.inf)
        if math.isfinite(large) and math.isfinite(after[n]):
            ratio = off / (tolerance * max(small, large) + absolute)
            if not closed:
                later = max(1.0, before[n], after[n])
                ratio = max(ratio, abs(error[n]) / (tolerance * later))
        keep = bool(ratio <= 1.0)
        ratio, factor = following(ratio, walk.previous, keep, order, maker.gains, maker.largest)
        walk.h = longer(walk.h, h, factor, keep, cut)
        walk.evaluations += spent
        walk.made += 1
        maker.settled(keep, error)
        if keep:
            walk.settle(after, error, slope, tau, large, off)
            walk.previous, small = ratio, large
        else:
            walk.rejected += 1
            if walk.tau + SMALLEST * h == walk.tau:
                walk.status = stops.UNDERFLOW
        walk.look(BETWEEN)
        walk.stopped()
        walk.tell(walk.tau)
    maker.close()
