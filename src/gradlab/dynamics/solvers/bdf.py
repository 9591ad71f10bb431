r"""Numerical differentiation formulas of orders 1–5 for small stiff flows: one attempted step at a time.

.. math:: \sum_{m=1}^{k} \tfrac1m \nabla^m y_{n+1} - \kappa_k \gamma_k (y_{n+1} - y^{(0)}_{n+1}) = h f(τ_{n+1}, y_{n+1})

in quasi-constant steps (Shampine & Reichelt, *The MATLAB ODE suite*, SIAM J. Sci. Comput. 18, 1997, sec. 2). All orders
are A(0)-stable: stiff real negative spectra are damped, as gradient flows have. Order 5 is A(51.8°)-stable
only: keep oscillating flows to ``orders=(1, 2)``.

Departures from that paper: the rate of Newton's iteration is remembered, so that most steps need one or two
evaluations; its corrections mend an old Jacobian (Anderson's acceleration, kept from step to step), of which
fewer are needed; factors serve until c has changed by 30 %; order and step are looked at after *every* step from
the (k+1)-st equal one on, and changed only for a gain above 30 %; and a step shortened in order to land keeps
the spacing of the differences (:func:`attempt`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.solvers import newton
from gradlab.dynamics.solvers.differences import ALPHA, ERROR, HIGHEST, ROWS, predicted, respaced, shifted
from gradlab.dynamics.solvers.newton import Scratch, blank
from gradlab.modules import Module

__all__ = ["Memory", "Scratch", "attempt", "blank", "first_step", "refit", "start"]

RightHandSide = Callable[[Any, Array], Array]
Ratio = Callable[[Array, Array, Array], Array]

# The step aimed at is SAFETY of the one that would just pass. It is changed for a gain above GROWTH, or where it
# would have to shrink below KEEP; a shorter list of changes keeps factors, differences and orders clean.
SAFETY, GROWTH, KEEP, SMALLEST, LARGEST = 0.85, 1.3, 0.9, 0.2, 10.0
#: The last step before ``end`` may be stretched by this much.
STRETCH = 1.01
#: Steps shorter than this part of the spacing are taken at order four at most.
SHORT = 0.95
#: A correction shorter than this part of y is rounding to a part in 10⁶ or more, after what products with cJ add.
#: Learnt from (pairs are scaled up, and again where they are made orthogonal), it took orbits of equal neurons off
#: their invariant subspace 30 000 times as far as rounding does; left alone, as far.
CLEAN = 1e-8
#: Newton's iteration leaves no more than this part of a step: an orbit that comes to rest leaves nothing. Of what it
#: left in a step, this counts in the next one (``Scratch.left``).
LEFT, FADES = 0.1, 0.9
#: Steps shorter than this part of the spacing say too little about a full one to choose orders and steps by.
INFORMATIVE = 0.49


class Memory(Module):
    """What a restart needs: stored with the run.

    differences : D[j] = ∇ʲy at the present point, D[0] = y. order : of the next step. equal : steps at this
    order and spacing since they last changed (a number far below zero holds order and step where they are).
    step : the step planned, which is also the spacing of the differences.
    """

    differences: Float[Array, "8 P"]
    order: Int[Array, ""]
    equal: Int[Array, ""]
    step: Float[Array, ""]


class Attempt(Module):
    """One attempted step: the state after it (unchanged if not accepted), and what it cost.

    error : the error ratio of the attempt (∞ where the corrector did not converge). estimate : of the error itself.
    stuck : the corrector failed on an old Jacobian; the same step is to be tried again with a new one.
    evaluations, jacobians, factorisations : of the right-hand side, of J, of I − cJ.
    """

    tau: Float[Array, ""]
    y: Float[Array, " P"]
    memory: Memory
    scratch: Scratch
    accepted: Bool[Array, ""]
    stuck: Bool[Array, ""]
    error: Float[Array, ""]
    estimate: Float[Array, " P"]
    evaluations: Int[Array, ""]
    jacobians: Int[Array, ""]
    factorisations: Int[Array, ""]


def start(y: Float[Array, " P"], h: Any, slope: Float[Array, " P"]) -> Memory:
    """Memory for a first step of size h, at order one; ``slope`` : dy/dτ."""
    h = jnp.asarray(h, dtype=y.dtype)
    differences = jnp.zeros((ROWS, y.size), dtype=y.dtype).at[0].set(y).at[1].set(h * slope)
    one, none = jnp.ones((), dtype=jnp.int64), jnp.zeros((), dtype=jnp.int64)
    return Memory(differences, one, none, h)


def first_step(
    rhs: RightHandSide, tau: Any, y: Float[Array, " P"], end: Any, tolerance: Any, ratio: Ratio
) -> tuple[Float[Array, ""], Float[Array, " P"]]:
    """A step whose local error at order one is about half the tolerance, and dy/dτ; two evaluations.

    h = (½ / r(ÿ))^½ with ÿ differenced over the time in which y changes by a hundredth, at most a hundred
    times that time (Hairer, Nørsett & Wanner, *Solving ODEs I*, sec. II.4).
    """
    span = end - tau
    slope = rhs(tau, y)
    pace = tolerance * ratio(y, y, slope)
    probe = jnp.minimum(0.01 / tree.select(pace > 0.0, pace, 0.01 / span), span)
    curvature = ratio(y, y, (rhs(tau + probe, y + probe * slope) - slope) / probe)
    h = jnp.sqrt(0.5 / tree.select(curvature > 0.0, curvature, jnp.inf))
    h = tree.select(curvature > 0.0, jnp.minimum(h, 100.0 * probe), 100.0 * probe)
    # A probe that left the domain of the field: begin far below it.
    return jnp.minimum(tree.select(jnp.isfinite(curvature), h, 1e-3 * tolerance**0.5 * probe), span), slope


def refit(
    rhs: RightHandSide,
    tau: Any,
    y: Float[Array, " P"],
    memory: Memory,
    end: Any,
    tolerance: Any,
    ratio: Ratio,
) -> Memory:
    """Memory after y was changed from outside: order one again, no step longer than before; two evaluations."""
    h, slope = first_step(rhs, tau, y, end, tolerance, ratio)
    return start(y, jnp.minimum(memory.step, h), slope)


def left(y: Any, moved: Any, tolerance: Any, of_late: Any) -> Any:
    """How long what Newton's iteration leaves may be, by what it left of late in units of what a step may err by.

    It leaves no more than a part of those, and of the last step itself.
    """
    xp = tree.library(y)
    most = xp.minimum(of_late, newton.FRACTION) * tolerance * xp.linalg.norm(y)
    return xp.minimum(most, LEFT * xp.linalg.norm(moved))


def narrowed(memory: Memory, widest: Any) -> Memory:
    """Memory whose spacing is no wider: where records are near, a wider one would say nothing of the error."""
    factor = jnp.minimum(widest / tree.select(memory.step > 0.0, memory.step, widest), 1.0)
    narrow = factor < SHORT
    differences = tree.select(narrow, respaced(memory.differences, memory.order, factor), memory.differences)
    equal = tree.select(narrow, 0, memory.equal)
    return Memory(differences, memory.order, equal, tree.select(narrow, factor, 1.0) * memory.step)


def _landing(step: Any, remaining: Any, longest: Any) -> tuple[Any, Any]:
    """(size of the next step, does it end at ``end``?)."""
    step = jnp.minimum(step, longest)
    last = remaining <= STRETCH * step
    even = tree.select(remaining < 2.0 * step, 0.5 * remaining, step)
    return tree.select(last, remaining, even), last


def _moved(memory: Memory, d: Any, y: Any, s: Any) -> Memory:
    """The polynomial after a step of s spacings to y, which differs by d from its value there.

    Rows k + 1 and k + 2, which only the choice of the order reads, follow from y(s) − p(s) = s(s+1)…(s+k)/(k+1)! ∇ᵏ⁺¹y;
    a step too short to say anything about a long one leaves them, and does not count.
    """
    old, k = memory.differences, memory.order
    rows = jnp.arange(ROWS)
    moved = shifted(old, k, s) + tree.select(rows <= k, 1.0, 0.0)[:, None] * d
    product = jnp.prod(tree.select(rows <= k, (s + rows) / (1.0 + rows), 1.0))
    counts = s >= INFORMATIVE
    next_row = d / tree.select(counts, product, 1.0)
    first, second = (_row(old, k + place) for place in (1, 2))
    moved = _with_row(moved, k + 2, tree.select(counts, (next_row - first) / s, second))
    moved = _with_row(_with_row(moved, k + 1, tree.select(counts, next_row, first)), np.int64(0), y)
    return Memory(moved, k, memory.equal + counts, memory.step)


def _row(rows: Any, place: Any) -> Any:
    """A row, which is there."""
    return lax.dynamic_index_in_dim(rows, place, keepdims=False, allow_negative_indices=False)


def _with_row(rows: Any, place: Any, row: Any) -> Any:
    """The rows with another in that place, which is there. (``.at[place].set`` takes five operations.)"""
    return lax.dynamic_update_index_in_dim(rows, row, place, 0, allow_negative_indices=False)


def _select(
    memory: Memory,
    before: Any,
    y: Any,
    s: Any,
    safety: Any,
    ratio: Ratio,
    orders: tuple[Any, Any],
    widest: Any,
) -> Memory:
    """Order and step for the next step, from the errors that orders k − 1, k, k + 1 make in a step of one spacing.

    The order is the one that could step furthest, though no step be wider than ``widest``.
    """
    differences, k = memory.differences, memory.order
    constants = jnp.asarray(ERROR)
    highest = tree.select(s < SHORT, jnp.clip(HIGHEST - 1, orders[0], orders[1]), orders[1])

    def would(shift: int) -> Any:
        constant = _row(constants, jnp.clip(k + shift, 0, HIGHEST))
        return ratio(before, y, constant * _row(differences, k + 1 + shift))

    lower = tree.select(k > orders[0], would(-1), jnp.inf)
    higher = tree.select(k < highest, would(1), jnp.inf)
    errors = jnp.maximum(jnp.stack([lower, would(0), higher]), 1e-12)
    factors = safety * errors ** (-1.0 / (k + jnp.arange(3)))
    choice = jnp.argmax(factors)
    best = factors[choice]
    stay = (best < GROWTH) & (factors[1] >= KEEP) & ((choice == 1) | (best >= SHORT))
    change = (memory.equal > k) & (s >= INFORMATIVE) & ~stay
    room = jnp.maximum(widest / memory.step, 1.0)
    factor = tree.select(change, jnp.minimum(jnp.minimum(best, LARGEST), room), 1.0)
    order = tree.select(change, k + choice - 1, k)
    changed = respaced(differences, order, factor)
    equal = tree.select(change, 0, memory.equal)
    return Memory(tree.select(change, changed, differences), order, equal, factor * memory.step)


def _lowered(
    memory: Memory, y: Any, remaining: Any, longest: Any, ratio: Ratio, orders: tuple[Any, Any]
) -> Memory:
    """Order four, where the next step is to be shortened and the order is five."""
    h, _ = _landing(memory.step, remaining, longest)
    lower = (memory.order == HIGHEST) & (h < SHORT * memory.step) & (orders[0] < HIGHEST)
    error = jnp.maximum(ratio(y, y, ERROR[HIGHEST - 1] * memory.differences[HIGHEST]), 1e-12)
    factor = tree.select(lower, jnp.minimum(SAFETY * error ** (-1.0 / HIGHEST), 1.0), 1.0)
    order = tree.select(lower, HIGHEST - 1, memory.order)
    differences = tree.select(lower, respaced(memory.differences, order, factor), memory.differences)
    return Memory(differences, order, tree.select(lower, 0, memory.equal), factor * memory.step)


def attempt(
    rhs: RightHandSide,
    jacobian: Callable[[Any, Array], Array],
    tau: Float[Array, ""],
    end: Float[Array, ""],
    y: Float[Array, " P"],
    memory: Memory,
    scratch: Scratch,
    tolerance: Any,
    ratio: Ratio,
    orders: tuple[Any, Any] = (1, HIGHEST),
    fraction: Any = newton.FRACTION,
    longest: Any = jnp.inf,
    summed: Callable[[Any, Array, Array], Array] | None = None,
    widest: Any = jnp.inf,
) -> Attempt:
    """One attempted step from tau towards ``end``, never past it; pure.

    Fewer than two steps before ``end`` the step is shortened to what remains, or half of it. The short step
    uses the differences for its own spacing; afterwards the *long* spacing is kept: the old polynomial is moved
    to the new point and its newest value replaced, D[j] ← (shifted D)[j] + (y − y⁽⁰⁾), so that no past value
    is extrapolated. The spectral radius of this step, over s ∈ (0, 1] and λh ≤ 0, is 1 up to order 3, below
    1.02 at order 4, but up to 1.10 at order 5, which is therefore left first. (Going back to the long
    spacing by ``respaced`` multiplies errors by up to 10⁶.) With s = 1 it is the usual update.

    Parameters
    ----------
    rhs, jacobian : (τ, y) ↦ dy/dτ, shape (P,), and its derivative with respect to y, shape (P, P), not
        assumed symmetric. tau < end, y = memory.differences[0] (else :func:`refit`).
    tolerance : the relative tolerance inside ``ratio``; bounds Newton's test by round-off (10 eps / tolerance).
    ratio : (before, after, error) ↦ error in units of what is allowed; at most 1 is accepted.
    orders : lowest and highest order. fraction : what Newton's iteration may leave of that error.
    longest : of the step. widest : the spacing of the differences at most, once the step is made.
    summed : (τ, y, slope of the unknowns) ↦ slopes of the last entries of y, on which nothing depends; the Jacobian
        has no rows and columns for them.
    """
    memory = _lowered(memory, y, end - tau, longest, ratio, orders)
    k, old = memory.order, memory.differences
    h, last = _landing(memory.step, end - tau, longest)
    after = tree.select(last, end, tau + h)
    s = h / memory.step
    guess, history = predicted(respaced(old, k, s), k)
    alpha = jnp.asarray(ALPHA)[k]
    c, psi = h / alpha, history / alpha
    scratch, fresh, factorised = newton.prepare(lambda: jacobian(after, guess), scratch, c)
    wanted = jnp.maximum(fraction, 10.0 * jnp.finfo(y.dtype).eps / tolerance)
    size = scratch.lu.shape[0]

    def residual(d: Array) -> Array:
        trial = jnp.concatenate([guess[:size] + d, guess[size:]]) if summed else guess + d
        return c * rhs(after, trial)[:size] - psi[:size] - d

    solved = newton.solve(
        residual,
        scratch,
        c,
        fresh,
        lambda correction: ratio(guess, guess, correction),
        wanted,
        CLEAN * jnp.linalg.norm(guess[:size]),
    )
    d = solved.d
    if summed is not None:
        rates = summed(after, guess[:size] + d, (d + psi[:size]) / c)
        d = jnp.concatenate([d, c * rates - psi[size:]])
    new, estimate = guess + d, jnp.asarray(ERROR)[k] * d
    error = ratio(y, new, estimate)
    error = tree.select(solved.converged & jnp.isfinite(error), error, jnp.inf)
    accepted = error <= 1.0
    stuck = ~solved.converged & ~fresh
    safety = SAFETY * (2 * newton.ITERATIONS + 1) / (2 * newton.ITERATIONS + solved.iterations)

    onwards = _moved(memory, d, new, s)
    onwards = _select(onwards, y, new, s, safety, ratio, orders, widest)

    # Not accepted: the same polynomial with a smaller spacing, or the same once more with a new Jacobian.
    shrink = tree.select(solved.converged, jnp.maximum(SMALLEST, safety * error ** (-1.0 / (k + 1))), 0.5)
    shrink = tree.select(jnp.isfinite(shrink), s * shrink, s * SMALLEST)
    shrink = tree.select(stuck, 1.0, shrink)
    back = Memory(respaced(old, k, shrink), k, tree.select(stuck, memory.equal, 0), shrink * memory.step)

    memory = Memory(
        *(tree.select(accepted, a, b) for a, b in zip(_leaves(onwards), _leaves(back), strict=True))
    )
    valid = tree.select(solved.converged, ~solved.slow, False)
    # A rejected error may be Newton's own: measure the rate again.
    rate = tree.select(accepted, solved.rate, 1.0)
    of_late = FADES * scratch.left
    of_late = tree.select(accepted, jnp.maximum(of_late, solved.left), of_late)
    kept = (scratch.jacobian, scratch.lu, scratch.pivots, scratch.c)
    scratch = Scratch(*kept, rate, valid, solved.pairs, of_late)
    return Attempt(
        tree.select(accepted, after, tau),
        tree.select(accepted, new, y),
        memory,
        scratch,
        accepted,
        stuck,
        error,
        estimate,
        solved.iterations,
        fresh.astype(jnp.int64),
        factorised.astype(jnp.int64),
    )


def _leaves(memory: Memory) -> tuple[Array, Array, Array, Array]:
    return memory.differences, memory.order, memory.equal, memory.step
