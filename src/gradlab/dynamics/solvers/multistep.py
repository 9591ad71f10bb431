"""Runge–Kutta–Chebyshev methods on the deviation from the past: MRKC3 (order three) and MRKC5 (order five).

Let η be the polynomial through the last points of the orbit, q + 1 of them. The deviation e = y − η solves
e' = f(η + e) − η', and a step of RKC2 for e errs by a multiple of h³e''' where one for y errs by h³y''': of order
q + 1 instead of three, for the same evaluations. Every stage is of that order too, so that components in a quasi-steady
state, which carry the error of flows of networks, are followed as accurately as slow ones. docs/notes/mrkc.md
derives it, and says how fast steps may grow: the past is extrapolated over them.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.solvers.dense import BentHermite, bends
from gradlab.dynamics.solvers.rkc import EXTRAPOLATED, enough, extrapolated, rkc2
from gradlab.dynamics.solvers.stabilised import Spectrum, Stabilised, Stage, unknown
from gradlab.dynamics.tree import Anywhere, like, wide
from gradlab.modules import Module
from gradlab.problem.precision import put, zeros

#: A point nearer to its successor than this share of the gap before is not remembered.
NEAR = 0.25


class Past(Module):
    """Points of the orbit before the present one; on the host a plain one (``tree.Plain``), whose points are vectors.

    values : a pytree like y with a leading axis of q, a ring: the j-th latest point is number head + j modulo q.
    times : theirs, the latest first. count : how many are known. left_out : whether the point before the present one
    is not among them. latest, since : the point the last attempt began from and its time, taken up when the next
    begins (``waits``): until then it may be tried again.
    """

    values: Any
    times: Float[Anywhere, " q"]
    head: Int[Anywhere, ""]
    count: Int[Anywhere, ""]
    left_out: Bool[Anywhere, ""]
    latest: Any
    since: Float[Anywhere, ""]
    waits: Bool[Anywhere, ""]


class Memory(Module):
    """What a multistep method takes from one call to the next."""

    spectrum: Spectrum
    past: Past

    def forgotten(self, when: Any = True) -> Memory:
        """Without the past, where ``when`` holds."""
        return Memory(self.spectrum, forget(self.past, when))


def forget(past: Past, when: Any) -> Past:
    """No past, where ``when`` holds."""
    xp = tree.library(past.count, when)
    return tree.changed(
        past,
        count=tree.where(when, xp.zeros_like(past.count), past.count),
        waits=past.waits & ~xp.asarray(when)[()],
    )


def none(y: Any, degree: int) -> Past:
    """No past."""

    def nothing(leaf: Any, *lead: int) -> Array:
        return zeros(*lead, *np.shape(leaf), kind=jnp.result_type(leaf))

    values, nowhere = jax.tree.map(lambda leaf: nothing(leaf, degree), y), jax.tree.map(nothing, y)
    none, no = put(np.int64(0)), put(False)
    return Past(values, zeros(degree), none, none, no, nowhere, put(0.0), no)


def note(past: Any, t: Any, y: Any) -> Any:
    """With the point that a step begins from, not yet taken up."""
    xp = tree.library(past.count)
    since = xp.asarray(t, dtype=past.since.dtype)[()]
    return tree.changed(past, latest=y, since=since, waits=xp.ones((), bool)[()])


def recall(past: Any, now: Any) -> Any:
    """The past at time ``now``, with the point that waits taken up.

    A point much nearer to now than the point before lay to it is left out, as where a record cuts a step short, but
    never two in a row: steps may have become short for good. One row of the ring is written, and nothing moved: in a
    loop this happens in place, and on the host in the past that is given.
    """
    near = (past.count > 0) & ~past.left_out & (now - past.since < NEAR * (past.since - past.times[0]))
    taken, size = past.waits & ~near, past.times.shape[0]
    place = (past.head - 1) % size

    def written(old: Any, new: Any) -> Any:
        if type(old) is np.ndarray:
            old[place] = new if taken else old[place]
            return old
        row = tree.select(taken, new, jax.lax.dynamic_index_in_dim(old, place, keepdims=False))
        return jax.lax.dynamic_update_index_in_dim(old, row, place, 0)

    xp = tree.library(past.count)
    moved = xp.concatenate([past.since[None], past.times[:-1]])
    return tree.changed(
        past,
        values=jax.tree.map(written, past.values, past.latest),
        times=tree.where(taken, moved, past.times),
        head=tree.where(taken, place, past.head),
        count=tree.where(taken, xp.minimum(past.count + 1, size), past.count),
        left_out=tree.where(past.waits, near, past.left_out),
        waits=xp.zeros((), bool)[()],
    )


def bend(past: Any, t: Any, y: Any, h: Any, most: Any = np.inf) -> Any:
    """Coefficients of θ², …, θ^q in η(t + θh), stacked; zero where fewer than three points are known;
    of at most so many of them.

    In Newton's form, of as many points as there are; from differences to y, which keeps round-off relative to them.
    """
    degree, xp = past.times.shape[0], tree.library(past.times, h)
    # Unknown points are put at places of their own; the differences that contain them are dropped below.
    places = xp.arange(degree)
    theta = (past.times - t) / h
    theta = xp.where(places < past.count, theta, xp.asarray(-1e3 * np.arange(1.0, degree + 1.0), theta.dtype))
    theta = xp.concatenate([xp.zeros(1), theta])
    used = xp.where(past.count >= 3, xp.minimum(past.count, most), 0)
    polynomial = xp.asarray(np.eye(degree + 1)[0], theta.dtype)
    combined = xp.zeros((degree + 1, degree + 1))
    for order in range(degree + 1):
        gaps = theta[: order + 1, None] - theta[None, : order + 1]
        weights = 1.0 / xp.prod(gaps + xp.eye(order + 1), axis=1)
        row = xp.concatenate([weights, xp.zeros(degree - order)])
        combined = combined + xp.outer(polynomial, xp.where(order <= used, row, 0.0))
        polynomial = xp.concatenate([xp.zeros(1), polynomial[:-1]]) - theta[order] * polynomial
    # Columns from the order of times to that of the ring.
    factors = combined[2:, 1:][:, (places - past.head) % degree]
    return jax.tree.map(lambda old, now: sums(factors, old - now[None]), past.values, y)


def sums(matrix: Float[Anywhere, "m q"], rows: Float[Anywhere, "q *shape"]) -> Float[Anywhere, "m *shape"]:
    """The product of a small matrix with stacked weights, written out: one pass over them, where ``dot`` makes more."""
    if type(rows) is np.ndarray and type(matrix) is np.ndarray:
        return matrix @ rows
    return jnp.stack([sum(like(row[j], rows) * rows[j] for j in range(matrix.shape[1])) for row in matrix])


def shift_matrix(degree: int, start: Any, share: Any) -> Float[Anywhere, "_ _"]:
    """The matrix that takes coefficients of θ², …, θ^q to those of the same polynomial in ϑ, θ = start + share·ϑ.

    Terms below ϑ² do not matter: RKC2 is exact for them.
    """
    powers, xp = range(2, degree + 1), tree.library(start, share)
    start, share = (np.float64(start), np.float64(share)) if xp is np else (wide(start), wide(share))
    binomials = np.array([[math.comb(k, j) for k in powers] for j in powers], dtype=float)
    lifts = np.array([[max(k - j, 0) for k in powers] for j in powers])
    scales = share ** xp.asarray([float(j) for j in powers])
    raised = xp.where(lifts == 0, 1.0, start ** lifts.astype(float))
    return scales[:, None] * xp.asarray(binomials) * raised


class Multistep(Stabilised):
    """Abstract: a stabilised method that uses the last points of the orbit, ``degree`` of them.

    Begins as RKC2 (RKC3) until three are known. Not for flows that jump: a jump must begin a new solve.

    Parameters
    ----------
    fewer : how many of the points are left out, the earliest first.
    """

    fewer: Any = eqx.field(default=0, kw_only=True)

    degree: ClassVar[int]
    #: The most by which a step may exceed the one before, again and again, without errors growing.
    growth: ClassVar[float]

    @abc.abstractmethod
    def bent(
        self, field: Any, t: Any, y: Any, h: Any, slope: Any, z: Any, bend: Any
    ) -> tuple[Any, Any, Any, Int[Anywhere, ""]]:
        """As ``stretch``, with the coefficients of the past."""

    def memory(self, y: Any) -> Memory:
        """Nothing known yet."""
        return Memory(unknown(y), none(y, self.degree))

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, memory: Any = None) -> Stage:
        known = self.memory(y0) if memory is None else memory
        begun = super().init(terms, t0, t1, y0, args, known.spectrum)
        return eqx.tree_at(lambda s: s.past, begun, known.past, is_leaf=lambda x: x is None)

    def stretch(self, field: Any, t: Any, y: Any, h: Any, slope: Any, z: Any) -> Any:
        """Without a past."""
        return self.stride(field, t, y, h, slope, z, none(y, self.degree))

    def stride(self, field: Any, t: Any, y: Any, h: Any, slope: Any, z: Any, past: Any) -> Any:
        return self.bent(field, t, y, h, slope, z, bend(past, t, y, self.length(h), self.degree - self.fewer))

    def length(self, h: Any) -> Any:
        """h to divide by: in a batch, solves that have ended make steps of length zero, of finite derivatives."""
        return h if self.bare else tree.select(h == 0.0, 1.0, h)

    def recalling(self, past: Past, t0: Any) -> Past:
        return recall(past, t0)

    def remembering(self, past: Past, t0: Any, y0: Any) -> Past:
        return note(past, t0, y0)

    def unremembering(self, past: Past) -> Past:
        return tree.changed(past, waits=past.waits & False)

    def forgotten(self, past: Past, when: Any) -> Past:
        return forget(past, when)

    def remembered(self, state: Stage) -> Memory:
        return Memory(state.spectrum, state.past)


class MRKC3(Multistep):
    """MRKC3 is RKC2 on the deviation from the cubic through the last four points.

    It has order three for the work of order two.

    The error estimate is RKC2's, of the deviation: of order h⁴, like the error of a step.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.solvers.MRKC3().order(None)
    3
    """

    degree, growth = 3, 1.2

    accuracy, estimated = 3, 4

    def stages(self, z: Any) -> Int[Anywhere, ""]:
        return enough(z)

    def bent(self, field: Any, t: Any, y: Any, h: Any, slope: Any, z: Any, bend: Any) -> Any:
        stages = self.stages(z)
        after = rkc2(field, t, y, h, slope, stages, bend=bend, looped=self.looped)
        slope1 = field(t + h, after)
        # Of θᵏ: y₀ − y₁ gives −1, h (f₀ + f₁) gives k.
        powers = [0.8 - 0.4 * k for k in range(2, self.degree + 1)]
        error = jax.tree.map(
            lambda a, b, f, g, c: (
                0.8 * (a - b) + like(0.4 * h, f) * (f + g) + sum(p * c[i] for i, p in enumerate(powers))
            ),
            y, after, slope, slope1, bend,
        )  # fmt: skip
        return after, error, slope1, stages


class MRKC5(Multistep):
    """MRKC5 is RKC3 on the deviation from the quintic through the last six points.

    It has order five for the work of order three.

    The error estimate is RKC3's, of the deviation: of order h⁶, like the error of a step, and so is dense
    output. At least four stages a leg: with fewer, steps could not grow.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.solvers.MRKC5().order(None)
    5
    """

    degree, growth = 5, 1.1

    accuracy, estimated = 5, 6

    interpolation_cls: ClassVar[Callable[..., Any]] = BentHermite

    def dense(self, y0: Any, y1: Any, k0: Any, k1: Any, t: Any, h: Any, past: Past) -> dict[str, Any]:
        info = super().dense(y0, y1, k0, k1, t, h, past)
        if self.bare:
            return info
        size = past.times.shape[0]
        points = jax.tree.map(lambda rows: rows[(past.head + jnp.arange(2)) % size], past.values)
        thetas = (past.times[:2] - t) / self.length(h)
        return {**info, "bend": bends(y0, y1, k0, k1, thetas, points, past.count)}

    def stages(self, z: Any) -> Int[Anywhere, ""]:
        return 3 * self._legs(z)

    def _legs(self, z: Any) -> Int[Anywhere, ""]:
        return tree.library(z).maximum(4, enough(z, EXTRAPOLATED))

    def bent(self, field: Any, t: Any, y: Any, h: Any, slope: Any, z: Any, bend: Any) -> Any:
        def part(start: Any, share: Any) -> Any:
            factors = shift_matrix(self.degree, start, share)
            return jax.tree.map(lambda c: sums(factors, c), bend)

        return extrapolated(field, t, y, h, slope, self._legs(z), part, self.looped)
