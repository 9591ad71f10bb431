"""Simplified Newton iteration for one implicit step, with a Jacobian and factors kept from step to step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve
from jaxtyping import Array, Bool, Float, Int

#: Iterations at most (Shampine & Reichelt 1997, sec. 2.2).
ITERATIONS = 4
#: The iteration may leave this fraction of the error that the step itself may make.
FRACTION = 0.03
#: Relative change of c at which I − cJ is factorised anew; below, corrections are relaxed by 2/(1 + c/c₀).
REFACTOR = 0.3
#: A contraction rate not measured anew is taken to worsen by this factor a step, as the Jacobian ages.
DRIFT = 1.2
#: A measured rate above this with an old Jacobian asks for a new one at the next step.
SLOW = 0.3
#: Corrections that no longer shrink, with a Jacobian just evaluated, are round-off below this fraction of the error.
STALL = 0.1
#: The rate assumed after that, so that the next step may do with one iteration.
NOISY = 0.1


class Scratch(eqx.Module):
    """What a step reuses but no restart needs: dropped, with ``valid`` false, at segment borders.

    jacobian : J of the right-hand side. lu, pivots : factors of I − c J. c : the c they belong to.
    rate : estimate of the contraction rate of the iteration (1: unknown). valid : whether to use all this;
    if not, the next attempt evaluates the Jacobian.
    """

    jacobian: Float[Array, "P P"]
    lu: Float[Array, "P P"]
    pivots: Int[Array, " P"]
    c: Float[Array, ""]
    rate: Float[Array, ""]
    valid: Bool[Array, ""]


def blank(size: int) -> Scratch:
    """Nothing kept yet, for ``size`` unknowns."""
    square = jnp.zeros((size, size), dtype=jnp.float64)
    pivots = jnp.zeros(size, dtype=jnp.int32)
    one = jnp.ones((), dtype=jnp.float64)
    return Scratch(square, square, pivots, one, one, jnp.zeros((), dtype=bool))


def prepare(jacobian: Callable[[], Array], scratch: Scratch, c: Any) -> tuple[Scratch, Array, Array]:
    """(scratch ready for c, was the Jacobian evaluated?, was I − cJ factorised?)."""
    fresh = ~scratch.valid
    matrix = jax.lax.cond(fresh, jacobian, lambda: scratch.jacobian)
    factorise = fresh | (jnp.abs(c / scratch.c - 1.0) > REFACTOR)

    def anew() -> tuple[Array, Array]:
        lu, pivots = lu_factor(jnp.eye(matrix.shape[0]) - c * matrix)
        return lu, pivots.astype(jnp.int32)

    lu, pivots = jax.lax.cond(factorise, anew, lambda: (scratch.lu, scratch.pivots))
    rate = jnp.where(fresh, 1.0, scratch.rate)
    belongs = jnp.where(factorise, c, scratch.c)
    return Scratch(matrix, lu, pivots, belongs, rate, jnp.ones((), dtype=bool)), fresh, factorise


class Solved(NamedTuple):
    """d : the solution. converged. rate : last estimate. slow : a new Jacobian is wanted. iterations."""

    d: Any
    converged: Any
    rate: Any
    slow: Any
    iterations: Any


class _Carry(NamedTuple):
    d: Any
    size: Any
    rate: Any
    measured: Any
    iterations: Any
    converged: Any
    diverged: Any


def solve(
    residual: Callable[[Array], Array],
    scratch: Scratch,
    c: Any,
    fresh: Any,
    norm: Callable[[Array], Array],
    wanted: Any,
) -> Solved:
    r"""d with residual(d) = 0, where the derivative of the residual is close to −(I − cJ).

    d ← d + δ with δ = 2/(1 + c/c₀) (I − c₀J)⁻¹ residual(d). For c ≠ c₀ the relaxation (as in VODE: Brown,
    Byrne & Hindmarsh 1989) leaves the rate |c − c₀|/(c + c₀) at worst, if the spectrum of J is real and negative.
    With the rate θ the error left is θ/(1 − θ)‖δ‖; θ is the quotient of two corrections, or, before there
    are two, the one of earlier steps: one iteration may do. ‖·‖ is ``norm``, ``wanted`` the error that may be left.
    """
    mismatch = jnp.abs(c - scratch.c) / (c + scratch.c)
    relax = 2.0 * scratch.c / (c + scratch.c)
    guess = jnp.minimum(scratch.rate * DRIFT + mismatch, 1.0)

    def go_on(carry: _Carry) -> Any:
        return ~carry.converged & ~carry.diverged & (carry.iterations < ITERATIONS)

    def iterate(carry: _Carry) -> _Carry:
        value = residual(carry.d)
        correction = relax * lu_solve((scratch.lu, scratch.pivots), value)
        size = norm(correction)
        second = carry.iterations > 0
        quotient = size / carry.size
        measured = jnp.where(carry.measured, jnp.maximum(quotient, 0.3 * carry.rate), quotient)
        rate = jnp.where(second, measured, carry.rate)
        left = rate / jnp.maximum(1.0 - rate, 1e-16) * size
        good = (size == 0.0) | ((rate < 1.0) & (left < wanted))
        more = ITERATIONS - 1 - carry.iterations
        hopeless = second & ~good & ((rate >= 1.0) | (more == 0) | (left * rate ** (more - 1) > wanted))
        # Corrections at the level of round-off shrink no further; with a new Jacobian nothing else explains it.
        level = (size < STALL) & (carry.size < STALL) & (quotient >= 0.9)
        stalled = fresh & second & ~good & (level | (hopeless & (rate < 0.9) & (left < STALL)))
        converged = good | stalled
        diverged = ~jnp.isfinite(size) | (hopeless & ~converged)
        # A quotient of two pieces of round-off says nothing about the contraction.
        rate = jnp.where(stalled, NOISY, rate)
        return _Carry(carry.d + correction, size, rate, second, carry.iterations + 1, converged, diverged)

    zero, no = jnp.zeros(()), jnp.zeros((), dtype=bool)
    d = jnp.zeros(scratch.lu.shape[0])
    first = _Carry(d, jnp.ones(()), guess, no, jnp.zeros((), dtype=jnp.int64), no, no)
    last = jax.lax.while_loop(go_on, iterate, first)
    rate = jnp.where(last.measured, last.rate, jnp.maximum(last.rate - mismatch, zero))
    slow = last.measured & (last.rate > SLOW) & ~fresh
    return Solved(last.d, last.converged & ~last.diverged, rate, slow, last.iterations)
