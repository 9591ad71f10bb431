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

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.solvers import newton
from gradlab.dynamics.solvers.differences import ALPHA, ERROR, HIGHEST, ROWS, predicted, respaced, shifted
from gradlab.dynamics.solvers.newton import Scratch, blank
from gradlab.dynamics.tree import Anywhere
from gradlab.modules import Module

__all__ = ["Memory", "Scratch", "attempt", "blank", "first_step", "refit", "start"]

RightHandSide = Callable[[Any, Anywhere], Anywhere]
Ratio = Callable[[Anywhere, Anywhere, Anywhere], Anywhere]

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
_ONE, _NONE = np.float64(1.0), np.int64(0)


class Memory(Module):
    """What a restart needs: stored with the run.

    differences : D[j] = ∇ʲy at the present point, D[0] = y. order : of the next step. equal : steps at this
    order and spacing since they last changed (a number far below zero holds order and step where they are).
    step : the step planned, which is also the spacing of the differences.
    """

    differences: Float[Anywhere, "8 P"]
    order: Int[Anywhere, ""]
    equal: Int[Anywhere, ""]
    step: Float[Anywhere, ""]


class Attempt(Module):
    """One attempted step: the state after it (unchanged if not accepted), and what it cost.

    error : the error ratio of the attempt (∞ where the corrector did not converge). estimate : of the error itself.
    stuck : the corrector failed on an old Jacobian; the same step is to be tried again with a new one.
    evaluations, jacobians, factorisations : of the right-hand side, of J, of I − cJ.
    """

    tau: Float[Anywhere, ""]
    y: Float[Anywhere, " P"]
    memory: Memory
    scratch: Scratch
    accepted: Bool[Anywhere, ""]
    stuck: Bool[Anywhere, ""]
    error: Float[Anywhere, ""]
    estimate: Float[Anywhere, " P"]
    evaluations: Int[Anywhere, ""]
    jacobians: Int[Anywhere, ""]
    factorisations: Int[Anywhere, ""]


def start(y: Float[Anywhere, " P"], h: Any, slope: Float[Anywhere, " P"]) -> Memory:
    """Memory for a first step of size h, at order one; ``slope`` : dy/dτ."""
    xp = tree.library(y, h)
    h = xp.asarray(h, dtype=y.dtype)[()]
    differences = xp.concatenate([y[None], (h * slope)[None], xp.zeros((ROWS - 2, y.size), dtype=y.dtype)])
    one, none = (make((), dtype=xp.int64)[()] for make in (xp.ones, xp.zeros))
    return Memory(differences, one, none, h)


def first_step(
    rhs: RightHandSide, tau: Any, y: Float[Anywhere, " P"], end: Any, tolerance: Any, ratio: Ratio
) -> tuple[Float[Anywhere, ""], Float[Anywhere, " P"]]:
    """A step whose local error at order one is about half the tolerance, and dy/dτ; two evaluations.

    h = (½ / r(ÿ))^½ with ÿ differenced over the time in which y changes by a hundredth, at most a hundred
    times that time (Hairer, Nørsett & Wanner, *Solving ODEs I*, sec. II.4).
    """
    span, xp = end - tau, tree.library(y)
    slope = rhs(tau, y)
    pace = tolerance * ratio(y, y, slope)
    probe = xp.minimum(0.01 / tree.select(pace > 0.0, pace, 0.01 / span), span)
    curvature = ratio(y, y, (rhs(tau + probe, y + probe * slope) - slope) / probe)
    h = xp.sqrt(0.5 / tree.select(curvature > 0.0, curvature, np.inf))
    h = tree.select(curvature > 0.0, xp.minimum(h, 100.0 * probe), 100.0 * probe)
    # A probe that left the domain of the field: begin far below it.
    return xp.minimum(tree.select(xp.isfinite(curvature), h, 1e-3 * tolerance**0.5 * probe), span), slope


def refit(
    rhs: RightHandSide,
    tau: Any,
    y: Float[Anywhere, " P"],
    memory: Memory,
    end: Any,
    tolerance: Any,
    ratio: Ratio,
) -> Memory:
    """Memory after y was changed from outside: order one again, no step longer than before; two evaluations."""
    h, slope = first_step(rhs, tau, y, end, tolerance, ratio)
    return start(y, tree.library(y).minimum(memory.step, h), slope)


def left(y: Any, moved: Any, tolerance: Any, of_late: Any) -> Any:
    """How long what Newton's iteration leaves may be, by what it left of late in units of what a step may err by.

    It leaves no more than a part of those, and of the last step itself.
    """
    xp = tree.library(y)
    most = xp.minimum(of_late, newton.FRACTION) * tolerance * tree.plain_norm(y)
    return xp.minimum(most, LEFT * tree.plain_norm(moved))


def narrowed(memory: Memory, widest: Any) -> Memory:
    """Memory whose spacing is no wider: where records are near, a wider one would say nothing of the error."""
    xp, old = tree.library(widest, memory.step), memory.differences
    factor = xp.minimum(widest / tree.select(memory.step > 0.0, memory.step, widest), 1.0)
    narrow = factor < SHORT
    differences = tree.either(narrow, lambda: respaced(old, memory.order, factor), lambda: old)
    equal = tree.select(narrow, _NONE, memory.equal)
    return Memory(differences, memory.order, equal, tree.select(narrow, factor, _ONE) * memory.step)


@functools.cache
def _eps(kind: Any) -> float:
    return float(jnp.finfo(kind).eps)


def _landing(step: Any, remaining: Any, longest: Any) -> tuple[Any, Any]:
    """(size of the next step, does it end at ``end``?)."""
    step = tree.library(step, longest).minimum(step, longest)
    last = remaining <= STRETCH * step
    even = tree.select(remaining < 2.0 * step, 0.5 * remaining, step)
    return tree.select(last, remaining, even), last


def _moved(memory: Memory, d: Any, y: Any, s: Any) -> Memory:
    """The polynomial after a step of s spacings to y, which differs by d from its value there.

    Rows k + 1 and k + 2, which only the choice of the order reads, follow from y(s) − p(s) = s(s+1)…(s+k)/(k+1)! ∇ᵏ⁺¹y;
    a step too short to say anything about a long one leaves them, and does not count.
    """
    old, k = memory.differences, memory.order
    xp = tree.library(old, k, s)
    moved, rows = shifted(old, k, s), xp.arange(ROWS)
    if xp is np:
        moved[: k + 1] += d
        product = np.prod((s + rows[: k + 1]) / (1.0 + rows[: k + 1])) if s != 1.0 else _ONE
    else:
        moved = moved + tree.select(rows <= k, 1.0, 0.0)[:, None] * d
        product = xp.prod(tree.select(rows <= k, (s + rows) / (1.0 + rows), 1.0))
    counts = s >= INFORMATIVE
    next_row = d / tree.select(counts, product, 1.0)
    first, second = (tree.row(old, k + place) for place in (1, 2))
    moved = tree.with_row(moved, k + 2, tree.select(counts, (next_row - first) / s, second))
    moved = tree.with_row(tree.with_row(moved, k + 1, tree.select(counts, next_row, first)), np.int64(0), y)
    return Memory(moved, k, memory.equal + counts, memory.step)


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
    xp = tree.library(differences, k, s)
    if xp is np and not (memory.equal > k and s >= INFORMATIVE):
        return memory
    constants = xp.asarray(ERROR)
    highest = tree.either(s < SHORT, lambda: xp.clip(HIGHEST - 1, orders[0], orders[1]), lambda: orders[1])

    def would(shift: int) -> Any:
        # On the host nothing is asked for that is not there.
        place = k + shift if xp is np else jnp.clip(k + shift, 0, HIGHEST)
        constant = tree.row(constants, place)
        return ratio(before, y, constant * tree.row(differences, k + 1 + shift))

    lower = tree.either(k > orders[0], lambda: would(-1), lambda: np.inf)
    higher = tree.either(k < highest, lambda: would(1), lambda: np.inf)
    errors = xp.maximum((np.array if xp is np else jnp.stack)([lower, would(0), higher]), 1e-12)
    factors = safety * errors ** (-1.0 / (k + xp.arange(3)))
    choice = xp.argmax(factors)
    best = factors[choice]
    stay = (best < GROWTH) & (factors[1] >= KEEP) & ((choice == 1) | (best >= SHORT))
    change = (memory.equal > k) & (s >= INFORMATIVE) & ~stay
    room = xp.maximum(widest / memory.step, 1.0)
    factor = tree.select(change, xp.minimum(xp.minimum(best, LARGEST), room), _ONE)
    order = tree.select(change, k + choice - 1, k)
    changed = tree.either(change, lambda: respaced(differences, order, factor), lambda: differences)
    equal = tree.select(change, _NONE, memory.equal)
    return Memory(changed, order, equal, factor * memory.step)


def _lowered(
    memory: Memory, y: Any, remaining: Any, longest: Any, ratio: Ratio, orders: tuple[Any, Any]
) -> Memory:
    """Order four, where the next step is to be shortened and the order is five."""
    h, _ = _landing(memory.step, remaining, longest)
    lower = (memory.order == HIGHEST) & (h < SHORT * memory.step) & (orders[0] < HIGHEST)
    xp, old = tree.library(y, lower), memory.differences
    if xp is np and not lower:
        return memory
    error = xp.maximum(ratio(y, y, ERROR[HIGHEST - 1] * old[HIGHEST]), 1e-12)
    factor = tree.select(lower, xp.minimum(SAFETY * error ** (-1.0 / HIGHEST), 1.0), _ONE)
    order = tree.select(lower, np.int64(HIGHEST - 1), memory.order)
    differences = tree.select(lower, respaced(old, order, factor), old)
    return Memory(differences, order, tree.select(lower, _NONE, memory.equal), factor * memory.step)


def attempt(
    rhs: RightHandSide,
    jacobian: Callable[[Any, Anywhere], Anywhere],
    tau: Float[Anywhere, ""],
    end: Float[Anywhere, ""],
    y: Float[Anywhere, " P"],
    memory: Memory,
    scratch: Scratch,
    tolerance: Any,
    ratio: Ratio,
    orders: tuple[Any, Any] = (1, HIGHEST),
    fraction: Any = newton.FRACTION,
    longest: Any = np.inf,
    summed: Callable[[Any, Anywhere, Anywhere], Anywhere] | None = None,
    widest: Any = np.inf,
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
    xp = tree.library(tau, y)
    memory = _lowered(memory, y, end - tau, longest, ratio, orders)
    k, old = memory.order, memory.differences
    h, last = _landing(memory.step, end - tau, longest)
    after = tree.select(last, end, tau + h)
    s = h / memory.step
    guess, history = predicted(respaced(old, k, s), k)
    alpha = xp.asarray(ALPHA)[k]
    c, psi = h / alpha, history / alpha
    scratch, fresh, factorised = newton.prepare(lambda: jacobian(after, guess), scratch, c)
    wanted = xp.maximum(fraction, 10.0 * _eps(y.dtype) / tolerance)
    size = scratch.lu.shape[0]

    def residual(d: Anywhere) -> Anywhere:
        trial = xp.concatenate([guess[:size] + d, guess[size:]]) if summed else guess + d
        return c * rhs(after, trial)[:size] - psi[:size] - d

    solved = newton.solve(
        residual,
        scratch,
        c,
        fresh,
        lambda correction: ratio(guess, guess, correction),
        wanted,
        CLEAN * tree.plain_norm(guess[:size]),
    )
    d = solved.d
    if summed is not None:
        rates = summed(after, guess[:size] + d, (d + psi[:size]) / c)
        d = xp.concatenate([d, c * rates - psi[size:]])
    new, estimate = guess + d, xp.asarray(ERROR)[k] * d
    error = ratio(y, new, estimate)
    error = tree.select(solved.converged & xp.isfinite(error), error, np.inf * _ONE)
    accepted = error <= 1.0
    stuck = ~solved.converged & ~fresh
    safety = SAFETY * (2 * newton.ITERATIONS + 1) / (2 * newton.ITERATIONS + solved.iterations)

    def onwards() -> Memory:
        return _select(_moved(memory, d, new, s), y, new, s, safety, ratio, orders, widest)

    def back() -> Memory:
        """Not accepted: the polynomial with a smaller spacing, or the same once more with a new Jacobian."""
        shrink = tree.select(
            solved.converged, xp.maximum(SMALLEST, safety * error ** (-1.0 / (k + 1))), 0.5 * _ONE
        )
        shrink = tree.select(xp.isfinite(shrink), s * shrink, s * SMALLEST)
        shrink = tree.select(stuck, _ONE, shrink)
        equal = tree.select(stuck, memory.equal, _NONE)
        return Memory(respaced(old, k, shrink), k, equal, shrink * memory.step)

    kept_on = tree.either(accepted, onwards, back)
    valid = tree.select(solved.converged, ~solved.slow, xp.asarray(False)[()])
    # A rejected error may be Newton's own: measure the rate again.
    rate = tree.select(accepted, solved.rate, _ONE)
    of_late = FADES * scratch.left
    of_late = tree.select(accepted, xp.maximum(of_late, solved.left), of_late)
    kept = (scratch.jacobian, scratch.lu, scratch.pivots, scratch.c)
    scratch = Scratch(*kept, rate, valid, solved.pairs, of_late)
    return Attempt(
        tree.select(accepted, after, tau),
        tree.select(accepted, new, y),
        kept_on,
        scratch,
        accepted,
        stuck,
        error,
        estimate,
        solved.iterations,
        fresh.astype(xp.int64),
        factorised.astype(xp.int64),
    )
