"""The stabilised explicit Runge–Kutta methods of order four (ROCK4 kind): s evaluations reach h ρ = 0.318 s².

Source: A. Abdulle, Fourth order Chebyshev methods with recurrence relation, SIAM J. Sci. Comput. 23 (2002),
2041–2054. The coefficients are our own, computed from the conditions there by
:mod:`gradlab.dynamics.solvers.rock4_table`; docs/notes/rock4.md has the derivation.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.solvers.loops import bounds
from gradlab.dynamics.solvers.rkc import RKC2
from gradlab.dynamics.solvers.stabilised import Stabilised
from gradlab.problem.precision import number

#: Round-off in the stiffest direction grows by w_s(−ℓ_s) ≤ ℓ⁴/98 (s ≥ 6) over the last four stages: ROUNDING is
#: the unit round-off of float64, SINGLE that of float32, SHARE the part of the tolerance that it may take of a step.
GROWTH, ROUNDING, SINGLE, SHARE = 98.0, 1.1e-16, 6.0e-8, 0.02


class _Table(NamedTuple):
    """Coefficients of all methods, a row for each stage number.

    stages : s. lengths : ℓ_s, |R_s| < 1 on [−ℓ_s, 0). start : where the method's s − 4 numbers begin in ``mu`` and
    ``kappa``. matrix : rows 1, 2, 3 make the second to fourth finishing stage, row 4 the new point, of the four
    finishing slopes. nodes : their times over h, from that of the first. error : combination of the four slopes
    (times h) and, last, of g_{s−4} − y.
    """

    stages: np.ndarray
    lengths: np.ndarray
    start: np.ndarray
    mu: np.ndarray
    kappa: np.ndarray
    matrix: np.ndarray
    nodes: np.ndarray
    error: np.ndarray


def _load() -> _Table:
    """The table beside this file (plain arrays; nothing is unpickled)."""
    place = importlib.resources.files("gradlab.dynamics.solvers").joinpath("rock4.npz")
    with place.open("rb") as stored, np.load(stored, allow_pickle=False) as arrays:
        return _Table(**{name: arrays[name] for name in _Table._fields})


TABLE = _load()
#: The tabulated stage numbers, and the lengths ℓ_s of their intervals of stability.
stages, lengths = TABLE.stages, TABLE.lengths


def _last(tolerance: Any, rounding: float = ROUNDING) -> Int[Array, ""]:
    """Index of the largest method whose round-off stays below its share; the smallest method if none does."""
    cap = (GROWTH * SHARE * tree.wide(tolerance) / rounding) ** 0.25
    return jnp.maximum(jnp.searchsorted(jnp.asarray(lengths), cap, side="right") - 1, 0)


def limit(tolerance: Any, rounding: float = ROUNDING) -> Float[Array, ""]:
    """The largest usable ℓ: ℓ⁴/98 · rounding ≤ 0.02 · tolerance (or the smallest ℓ of all).

    Beyond it the caller shortens h to ℓ/ρ or takes a method of lower order. tolerance: relative error per step.
    """
    return jnp.asarray(lengths)[_last(tolerance, rounding)]


def index(z: Any, tolerance: Any, rounding: float = ROUNDING) -> Int[Array, ""]:
    """Index of the smallest method with ℓ_s ≥ z, z = h ρ, but none beyond ``limit(tolerance)``."""
    wanted = jnp.searchsorted(jnp.asarray(lengths), jnp.asarray(z), side="left")
    return jnp.minimum(wanted, _last(tolerance, rounding))


def _combine(*terms: tuple[Any, Any]) -> Any:
    """Σ factor · tree over pairs (factor, tree)."""
    factors = [factor for factor, _ in terms]
    return jax.tree.map(
        lambda *leaves: sum(tree.like(a, leaf) * leaf for a, leaf in zip(factors, leaves, strict=True)),
        *(values for _, values in terms),
    )


def _weighted(row: Float[Array, "4"], slopes: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.tensordot(tree.like(row, leaf), leaf, 1), slopes)


def step(
    field: Callable[[Any, Any], Any],
    t: Any,
    y: Any,
    h: Any,
    slope: Any,
    index: Any,
    looped: Any = jax.lax.fori_loop,
) -> tuple[Any, Any, Any, Int[Array, ""]]:
    """One step of method number ``index``: (new point, error estimate of order 4 in h, slope there, evaluations).

    g_1 = y + μ_1 h f(y), g_j = μ_j h f(g_{j−1}) + (1 + κ_j) g_{j−1} − κ_j g_{j−2} up to j = s − 4, then four stages
    K_i = g_{s−4} + h Σ a_ij f(K_j) and the new point. One compiled program for all s, three copies of the field in
    it, ten vectors the size of y.

    Parameters
    ----------
    field : f(t, y), a pytree like y; its Jacobian is assumed to have real spectrum in [−ℓ/h, 0] (not checked).
    slope : f(t, y).
    index : from :func:`index`; may be traced. looped : the loop over stages.
    """
    stage, start = jnp.asarray(TABLE.stages)[index], jnp.asarray(TABLE.start)[index]
    mu, kappa = jnp.asarray(TABLE.mu), jnp.asarray(TABLE.kappa)
    matrix, nodes, weights = (jnp.asarray(a)[index] for a in (TABLE.matrix, TABLE.nodes, TABLE.error))

    def recur(j: Any, carry: Any) -> Any:
        before, now, c_before, c = carry
        m, k = mu[start + j], kappa[start + j]
        after = _combine((m * h, field(t + c * h, now)), (1.0 + k, now), (-k, before))
        return now, after, c, m + (1.0 + k) * c - k * c_before

    first = _combine((1.0, y), (mu[start] * h, slope))
    begun = (y, first, tree.of_each(jnp.zeros_like(mu[0]), h), mu[start])
    _, base, _, c = looped(*bounds(1, stage - 4), recur, begun)

    def finish(i: Any, carry: Any) -> Any:
        slopes, place, _ = carry
        here = field(t + (c + nodes[i]) * h, place)
        slopes = jax.tree.map(lambda kept, new: kept.at[i].set(new, mode="drop"), slopes, here)
        row = h * matrix[jnp.minimum(i + 1, 4)]
        return slopes, _combine((1.0, base), (1.0, _weighted(row, slopes))), here

    empty = jax.tree.map(lambda leaf: jnp.zeros((4, *leaf.shape), leaf.dtype), y)
    slopes, y1, _ = jax.lax.fori_loop(0, 4, finish, (empty, base, slope))
    error = _combine((1.0, _weighted(h * weights[:4], slopes)), (weights[4], base), (-weights[4], y))
    return y1, error, field(t + h, y1), stage


class ROCK4(Stabilised):
    """ROCK4 is a fourth-order method of that kind; ℓ ≈ 0.318 s², strongly damped (η = 0.5).

    Its round-off grows like ℓ⁴: beyond what ``tolerance`` admits a step is made by RKC2 with its own error
    estimate (steps are so long only where nothing happens that needs order four).

    Parameters
    ----------
    tolerance : the relative tolerance of the step size control.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.solvers.ROCK4().order(None)
    4
    """

    tolerance: Float[Array, "..."] | float = eqx.field(converter=number, default=1e-6)

    accuracy, estimated = 4, 4

    def stages(self, z: Any) -> Int[Array, ""]:
        return jnp.asarray(TABLE.stages)[index(z, self.tolerance)]

    def stretch(self, field: Any, t: Any, y: Any, h: Any, slope: Any, z: Any) -> Any:
        single = any(jnp.finfo(leaf.dtype).bits < 64 for leaf in jax.tree.leaves(y))
        rounding = SINGLE if single else ROUNDING
        which = index(z, self.tolerance, rounding)
        return jax.lax.cond(
            z <= limit(self.tolerance, rounding),
            lambda: step(field, t, y, h, slope, which, self.looped),
            lambda: RKC2(bare=self.bare).stretch(field, t, y, h, slope, z),
        )
