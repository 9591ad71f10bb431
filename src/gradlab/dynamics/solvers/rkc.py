"""Runge–Kutta–Chebyshev: RKC2 (Sommeijer, Shampine and Verwer 1997) and its Richardson-extrapolated form RKC3."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.solvers.loops import bounds
from gradlab.dynamics.solvers.stabilised import Stabilised
from gradlab.dynamics.tree import Anywhere, like, wide

#: Damping ε of RKC2: |R| ≤ 1 − ε/3 away from the origin.
DAMPING = 2.0 / 13.0
#: Damping under extrapolation: with R between 0.32 and 1 − ε/3 the combination (4 R(z/2)² − R(z))/3 stays below
#: 0.93; at ε = 2/13 it would exceed one.
EXTRAPOLATED = 0.4


def length(stages: Any, damping: float = DAMPING) -> Float[Array, "..."]:
    """β: the stability interval [−β, 0] of s stages, ⅔ (s² − 1)(1 − 2ε/15) (a lower bound for ε ≤ 0.5)."""
    return 2.0 / 3.0 * (jnp.square(wide(stages)) - 1.0) * (1.0 - 2.0 * damping / 15.0)


def enough(z: Any, damping: float = DAMPING) -> Int[Anywhere, ""]:
    """The fewest stages, at least 2, whose interval holds z; no cap."""
    scale, xp = 2.0 / 3.0 * (1.0 - 2.0 * damping / 15.0), tree.library(z)
    return xp.maximum(2, xp.ceil(xp.sqrt(1.0 + xp.maximum(z, 0.0) / scale))).astype(int)


def chebyshev_values(stages: Any, damping: float) -> tuple[Any, Any, Any]:
    """(w₀, w₁, b_s): R(z) = 1 − b_s T_s(w₀) + b_s T_s(w₀ + w₁ z)."""
    xp = tree.library(stages)
    s = wide(stages) if xp is jnp else np.float64(stages)
    w0 = 1.0 + damping / s**2
    # arccosh(1 + x) without cancellation for small x
    x = damping / s**2
    theta = xp.log1p(x + xp.sqrt(x * (2.0 + x)))
    sinh, cosh = xp.sinh(theta), xp.cosh(theta)
    first = s * xp.sinh(s * theta) / sinh
    second = (s**2 * xp.cosh(s * theta) - s * xp.sinh(s * theta) * cosh / sinh) / sinh**2
    return w0, first / second, second / first**2


class Recurrence(NamedTuple):
    """What the coefficients of the next stage follow from.

    c : the time of the last stage. ones, twos : b, (T_j, T_j', T_j'') at w₀ and what the recurrence made of the powers
    of θ, of the last stage and of the one before.
    """

    c: Any
    ones: tuple[Any, Any, Any]
    twos: tuple[Any, Any, Any]


def _first(stages: Any, damping: float, count: int) -> tuple[Any, Any, Recurrence]:
    """(w₀, w₁, the first stage), with so many powers of θ."""
    w0, w1, _ = chebyshev_values(stages, damping)
    xp, ratio2 = tree.library(w0), 1.0 / (4.0 * w0**2)
    # T, T', T'' at w₀ for j = 2 and 1; b_0 = b_1 = b_2.
    two = (2.0 * w0**2 - 1.0, 4.0 * w0, xp.full_like(w0, 4.0))
    one = (w0, xp.ones_like(w0), xp.zeros_like(w0))
    none = xp.zeros(count)
    begun = Recurrence(ratio2 * w1, (ratio2, two, none), (ratio2, one, none))
    return w0, w1, tree.of_each(begun, w0)


def _next(w0: Any, w1: Any, powers: Any, stage: Recurrence) -> tuple[tuple[Any, Any, Any, Any], Recurrence]:
    """((μ, ν, μ̃/h, −γ̃/μ̃), the stage after this one)."""
    c, (b_one, cheb, made), (b_two, previous, made_two) = stage
    value, derivative, curvature = cheb
    b = curvature / derivative**2
    a_one = 1.0 - b_one * previous[0]
    mu, nu = b * (2.0 * w0) / b_one, -b / b_two
    rate = 2.0 * b * w1 / b_one
    following = (
        2.0 * w0 * value - previous[0],
        2.0 * w0 * derivative + 2.0 * value - previous[1],
        2.0 * w0 * curvature + 4.0 * derivative - previous[2],
    )
    made_new = mu * made + nu * made_two + rate * powers * c ** (powers - 1.0)
    new = Recurrence(w1 * curvature / derivative, (b, following, made_new), (b_one, cheb, made))
    return (mu, nu, rate, a_one), new


@functools.lru_cache(maxsize=1024)
def coefficients(stages: int, damping: float, count: int) -> tuple[float, Any, Any]:
    """(D₁/(h F₀), rows, last factors): the coefficients of the stages 2, …, s of :func:`rkc2`, on the host.

    A row is μ, ν, μ̃/h, −γ̃/μ̃, c of the stage before, and by how much each of ``count`` coefficients of ``bend`` enters.
    """
    w0, w1, stage = _first(np.int64(stages), damping, count)
    powers: Any = np.arange(2.0, 2.0 + count)
    begun, rows = float(stage.c), []
    for _ in range(2, stages + 1):
        entries, new = _next(w0, w1, powers, stage)
        rows.append((*entries, stage.c, *(stage.c**powers - stage.ones[2])))
        stage = new
    return begun, np.array(rows), 1.0 - stage.ones[2]


def rkc2(
    field: Callable[[Any, Any], Any],
    t: Any,
    y: Any,
    h: Any,
    slope: Any,
    stages: Any,
    damping: float = DAMPING,
    bend: Any = None,
    looped: Any = jax.lax.fori_loop,
) -> Any:
    """One step of s stages from (t, y), slope = f(t, y): s − 1 evaluations.

    Y_j = Y_0 + D_j, D_j = μ_j D_{j−1} + ν_j D_{j−2} + μ̃_j h F_{j−1} + γ̃_j h F_0 (Sommeijer et al. eq. 2.4, in
    increments, which keeps round-off relative to the increment).

    bend : coefficients d₂, …, d_q, stacked along a leading axis, of a polynomial η(t + θh) = … + Σ d_k θᵏ. Then the
        step is one for the deviation e = y − η, e' = f(η + e) − η'. The recurrence is linear in the slopes: this adds
        to each stage Σ d_k (c_jᵏ − a_jk), c_j the stage's time and a_jk what the recurrence makes of k θᵏ⁻¹.
    looped : the loop over stages. Coefficients are made in the type of t and h, products with y in that of y.

    A field that makes its stages itself (``stages.Field``) is asked for them.
    """
    if (made := getattr(field, "stages", None)) is not None:
        return made(t, y, h, slope, int(stages), damping, bend)
    bends = jax.tree.leaves(bend)
    count = bends[0].shape[0] if bends else 0
    w0, w1, begun = _first(stages, damping, count)
    first = tree.scale(begun.c * h, slope)
    powers = jnp.arange(2.0, 2.0 + count)

    def bent(increment: Any, c: Any, a: Any) -> Any:
        if bend is None:
            return tree.add(y, increment)
        factors = c**powers - a
        # Sums written out fuse into one pass over the weights; a product with a matrix would not.
        return jax.tree.map(
            lambda base, d, k: base + (d + sum(like(factors[i], d) * k[i] for i in range(count))),
            y, increment, bend,
        )  # fmt: skip

    def stage(j: Any, carry: Any) -> Any:
        one, two, known = carry
        (mu, nu, rate, a_one), following = _next(w0, w1, powers, known)
        force = field(t + known.c * h, bent(one, known.c, known.ones[2]))
        new = jax.tree.map(
            lambda d1, d2, f, f0: (
                like(mu, d1) * d1
                + like(nu, d2) * d2
                + like(rate * h, f) * f
                - like(a_one * rate * h, f0) * f0
            ),
            one,
            two,
            force,
            slope,
        )
        return new, one, following

    last, _, known = looped(*bounds(2, stages + 1), stage, (first, tree.scale(0.0, first), begun))
    return bent(last, jnp.ones(()), known.ones[2])


def extrapolated(
    field: Callable[[Any, Any], Any],
    t: Any,
    y: Any,
    h: Any,
    slope: Any,
    stages: Any,
    part: Callable[[Any, Any], Any] | None = None,
    looped: Any = jax.lax.fori_loop,
) -> tuple[Any, Any, Any, Int[Anywhere, ""]]:
    """RKC2 over h and twice over h/2, of ``stages`` stages each.

    Returns ((4 y_{h/2} − y_h)/3, (y_{h/2} − y_h)/3, slope there, evaluations).

    part : (start, share) → the coefficients for :func:`rkc2` on the stretch from t + start·h of length share·h.
    """

    # One loop for the three legs, so that one copy of the field is compiled.
    def leg(i: Any, carry: Any) -> Any:
        coarse, fine, slope_fine = carry
        whole = i == 0
        base = tree.where(i == 2, fine, y)
        force = tree.where(i == 2, slope_fine, slope)
        share, start = tree.where(whole, 1.0, 0.5), tree.where(i == 2, 0.5, 0.0)
        bend = None if part is None else part(start, share)
        begin, length = t + start * h, share * h
        after = rkc2(field, begin, base, length, force, stages, EXTRAPOLATED, bend, looped)
        here = tree.branch(i == 1, lambda: field(begin + length, after), lambda: slope_fine)
        return tree.where(whole, after, coarse), tree.where(whole, fine, after), here

    coarse, fine, _ = tree.passes(3, leg, (y, y, slope))
    gap = jax.tree.map(lambda a, b: (a - b) / 3.0, fine, coarse)
    after = tree.add(fine, gap)
    return after, gap, field(t + h, after), 3 * stages - 1


class RKC2(Stabilised):
    """RKC2 is the second-order Runge–Kutta–Chebyshev method with damping 2/13; β ≈ 0.653 s², any number of stages.

    Error estimate 0.8 (y₀ − y₁) + 0.4 h (f₀ + f₁), of order h³ (Sommeijer, Shampine and Verwer 1997, eq. 2.8).

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.solvers.RKC2().order(None)
    2
    """

    accuracy, estimated = 2, 3

    def stages(self, z: Any) -> Int[Anywhere, ""]:
        return enough(z)

    def stretch(self, field: Any, t: Any, y: Any, h: Any, slope: Any, z: Any) -> Any:
        stages = self.stages(z)
        after = rkc2(field, t, y, h, slope, stages, looped=self.looped)
        slope1 = field(t + h, after)
        error = jax.tree.map(
            lambda a, b, f, g: 0.8 * (a - b) + like(0.4 * h, f) * (f + g), y, after, slope, slope1
        )
        return after, error, slope1, stages


class RKC3(Stabilised):
    """RKC3 takes RKC2 over h and twice over h/2, extrapolated to order three: (4 y_{h/2} − y_h)/3.

    The same number of stages in all three: the error constants depend on it, and would not cancel otherwise.
    Damping 0.4, so that the extrapolated stability function stays below 0.93 on the interval. The error estimate is
    that of the fine second-order solution, (y_{h/2} − y_h)/3, of order h³: it bounds the extrapolated one's.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.solvers.RKC3().order(None)
    3
    """

    accuracy, estimated = 3, 3

    def stages(self, z: Any) -> Int[Anywhere, ""]:
        return 3 * enough(z, EXTRAPOLATED)

    def stretch(self, field: Any, t: Any, y: Any, h: Any, slope: Any, z: Any) -> Any:
        return extrapolated(field, t, y, h, slope, enough(z, EXTRAPOLATED), looped=self.looped)
