"""Simplified Newton iteration for one implicit step, with a Jacobian and factors kept from step to step.

A Jacobian costs as much as hundreds of gradients, so an old one is mended before a new one is asked for: what the
iteration's own corrections have shown of it, at no further evaluation, is kept as
:class:`CorrectionPairs` and used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax.scipy.linalg import lu_factor, lu_solve
from jaxtyping import Bool, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.tree import Anywhere
from gradlab.modules import Module
from gradlab.problem.precision import put, zeros

#: Iterations at most. Twice those of Shampine & Reichelt (1997, sec. 2.2): with pairs, 8 iterations and SLOW = 0.7 cost
#: about a tenth less than 4 and 0.3 (thirteen small nets, errors 1e-4 and 1e-6, Jacobians at their price).
ITERATIONS = 8
#: The iteration may leave this fraction of the error that the step itself may make.
FRACTION = 0.03
#: Relative change of c at which I − cJ is factorised anew; below, corrections are relaxed by 2/(1 + c/c₀).
REFACTOR = 0.3
#: A contraction rate not measured anew is taken to worsen by this factor a step, as the Jacobian ages.
DRIFT = 1.2
#: A measured rate above this with an old Jacobian asks for a new one at the next step.
SLOW = 0.7
#: Corrections that no longer shrink, with a Jacobian just evaluated, are round-off below this fraction of the error.
STALL = 0.1
#: The rate assumed after that, so that the next step may do with one iteration.
NOISY = 0.1
#: Pairs kept, and the part of its image that a pair must have outside the span of newer ones.
PAIRS, NOVEL = 6, 0.01


class CorrectionPairs(Module):
    """What M⁻¹A makes of some directions, A = I − cJ of the present step and M its factors' matrix (Anderson 1965).

    images : rows, the newest first, orthonormal or zero. origins : the directions of which they are images. c : the c
    of the A they belong to.
    """

    images: Float[Anywhere, "pairs P"]
    origins: Float[Anywhere, "pairs P"]
    c: Float[Anywhere, ""]

    def mended(self, correction: Float[Anywhere, " P"]) -> Float[Anywhere, " P"]:
        """A⁻¹M of a correction M⁻¹r: exact in the span of the images, the correction itself beside it."""
        return correction + (self.images @ correction) @ (self.origins - self.images)

    def learnt(
        self, origin: Float[Anywhere, " P"], image: Float[Anywhere, " P"], usable: Any
    ) -> CorrectionPairs:
        """With one more pair. The older, of a Jacobian that was, say only what newer ones do not."""
        if type(usable) is np.bool_ and not usable:
            return self
        xp = tree.library(origin, image)
        images = xp.concatenate([image[None], self.images[:-1]])
        origins = xp.concatenate([origin[None], self.origins[:-1]])

        def beside(i: Any, rows: tuple[Any, Any]) -> tuple[Any, Any]:
            images, origins = rows
            image = tree.row(images, i)
            along = tree.select(xp.arange(PAIRS) < i, images @ image, 0.0)
            rest, source = image - along @ images, tree.row(origins, i) - along @ origins
            size = tree.plain_norm(rest)
            new = xp.isfinite(size) & (size > NOVEL * tree.plain_norm(image))
            share = tree.select(new, 1.0 / tree.select(new, size, 1.0), 0.0)
            nothing = xp.zeros_like(rest)
            images = tree.with_row(images, i, tree.select(new, share * rest, nothing))
            return images, tree.with_row(origins, i, tree.select(new, share * source, nothing))

        images, origins = tree.passes(PAIRS, beside, (images, origins))
        images, origins = (
            tree.select(usable, new, old) for new, old in ((images, self.images), (origins, self.origins))
        )
        return CorrectionPairs(images, origins, self.c)

    def of(self, c: Any, factorised: Any) -> CorrectionPairs:
        """For a step of that c: none, where it is another or the factors are new."""
        other = factorised | (c != self.c)
        if type(other) is np.bool_ and not other:
            return self
        xp = tree.library(c, self.images)
        images, origins = (
            tree.select(other, xp.zeros_like(rows), rows) for rows in (self.images, self.origins)
        )
        return CorrectionPairs(images, origins, xp.asarray(c, dtype=self.c.dtype)[()])


class Scratch(Module):
    """What a step reuses but no restart needs: dropped, with ``valid`` false, at segment borders.

    jacobian : J of the right-hand side. lu, pivots : factors of I − c J. c : the c they belong to.
    rate : estimate of the contraction rate of the iteration (1: unknown). valid : whether to use all this;
    if not, the next attempt evaluates the Jacobian. pairs : what earlier corrections showed of I − cJ. left : the
    most that iterations have left of late, in units of the error that a step may make.
    """

    jacobian: Float[Anywhere, "P P"]
    lu: Float[Anywhere, "P P"]
    pivots: Int[Anywhere, " P"]
    c: Float[Anywhere, ""]
    rate: Float[Anywhere, ""]
    valid: Bool[Anywhere, ""]
    pairs: CorrectionPairs
    left: Float[Anywhere, ""]


def blank(size: int) -> Scratch:
    """Nothing kept yet, for ``size`` unknowns."""
    square, one, none = zeros(size, size), put(1.0), zeros(PAIRS, size)
    pairs = CorrectionPairs(none, none, one)
    return Scratch(square, square, zeros(size, kind=np.int32), one, one, put(False), pairs, put(0.0))


def prepare(jacobian: Callable[[], Anywhere], scratch: Scratch, c: Any) -> tuple[Scratch, Anywhere, Anywhere]:
    """(scratch ready for c, was the Jacobian evaluated?, was I − cJ factorised?)."""
    xp = tree.library(c, scratch.c)
    fresh = ~scratch.valid
    matrix = tree.branch(fresh, jacobian, lambda: scratch.jacobian)
    factorise = fresh | (abs(c / scratch.c - 1.0) > REFACTOR)

    def anew() -> tuple[Any, Any]:
        lu, pivots = _factors(xp.eye(matrix.shape[0]) - c * matrix)
        return lu, pivots.astype(xp.int32)

    lu, pivots = tree.branch(factorise, anew, lambda: (scratch.lu, scratch.pivots))
    rate = tree.select(fresh, np.float64(1.0), scratch.rate)
    belongs = tree.select(factorise, c, scratch.c)
    pairs = scratch.pairs.of(c, factorise)
    valid: Any = np.True_ if xp is np else xp.ones((), dtype=bool)
    return Scratch(matrix, lu, pivots, belongs, rate, valid, pairs, scratch.left), fresh, factorise


@functools.cache
def _lapack() -> Any:
    """SciPy's, a fifth of a second of imports, where something is solved on the host."""
    from scipy.linalg import lapack

    return lapack


def _factors(matrix: Any) -> tuple[Any, Any]:
    """L and U with their pivots, by LAPACK."""
    if type(matrix) is not np.ndarray:
        return lu_factor(matrix)
    lu, pivots, _ = _lapack().dgetrf(matrix)
    return lu, pivots


def _solved(lu: Any, pivots: Any, right: Any) -> Any:
    """What the matrix of these factors makes of what is looked for is ``right``."""
    if type(lu) is not np.ndarray:
        return lu_solve((lu, pivots), right)
    return _lapack().dgetrs(lu, pivots, right)[0]


class Solved(NamedTuple):
    """d : the solution. converged. rate : last estimate. slow : a new Jacobian is wanted. iterations. pairs : now.

    left : by how much d is off, as the last correction and the rate have it.
    """

    d: Any
    converged: Any
    rate: Any
    slow: Any
    iterations: Any
    pairs: CorrectionPairs
    left: Any


class _Carry(NamedTuple):
    d: Any
    size: Any
    rate: Any
    measured: Any
    iterations: Any
    converged: Any
    diverged: Any
    pairs: CorrectionPairs
    before: Any
    plain: Any


def solve(
    residual: Callable[[Anywhere], Anywhere],
    scratch: Scratch,
    c: Any,
    fresh: Any,
    norm: Callable[[Anywhere], Anywhere],
    wanted: Any,
    grain: Any,
) -> Solved:
    r"""d with residual(d) = 0, where the derivative of the residual is close to −(I − cJ).

    d ← d + δ, δ what the pairs make of 2/(1 + c/c₀) (I − c₀J)⁻¹ residual(d). For c ≠ c₀ the relaxation (as in VODE:
    Brown, Byrne & Hindmarsh 1989) leaves the rate |c − c₀|/(c + c₀) at worst, if the spectrum of J is real and
    negative.
    With the rate θ the error left is θ/(1 − θ)‖δ‖; θ is the quotient of two corrections, or, before there
    are two, the one of earlier steps: one iteration may do. ‖·‖ is ``norm``, ``wanted`` the error that may be left.
    A pair whose image is no longer than ``grain`` is mostly rounding, which it would carry into larger corrections.
    """
    xp = tree.library(c, scratch.c)
    mismatch = abs(c - scratch.c) / (c + scratch.c)
    relax = 2.0 * scratch.c / (c + scratch.c)
    guess = xp.minimum(scratch.rate * DRIFT + mismatch, 1.0)

    def go_on(carry: _Carry) -> Any:
        return ~carry.converged & ~carry.diverged & (carry.iterations < ITERATIONS)

    def iterate(carry: _Carry) -> _Carry:
        value = residual(carry.d)
        second = carry.iterations > 0
        plain = relax * _solved(scratch.lu, scratch.pivots, value)
        image = carry.plain - plain
        pairs = carry.pairs.learnt(carry.d - carry.before, image, second & (tree.plain_norm(image) > grain))
        correction = pairs.mended(plain)
        size = norm(correction)
        quotient = size / carry.size
        measured = tree.select(carry.measured, xp.maximum(quotient, 0.3 * carry.rate), quotient)
        rate = tree.select(second, measured, carry.rate)
        left = rate / xp.maximum(1.0 - rate, 1e-16) * size
        good = (size == 0.0) | ((rate < 1.0) & (left < wanted))
        more = ITERATIONS - 1 - carry.iterations
        # The first quotient is the plain iteration's: a pair may mend what would diverge.
        hopeless = (
            (carry.iterations > 1)
            & ~good
            & ((rate >= 1.0) | (more == 0) | (left * rate ** (more - 1) > wanted))
        )
        # Corrections at the level of round-off shrink no further; with a new Jacobian nothing else explains it.
        level = (size < STALL) & (carry.size < STALL) & (quotient >= 0.9)
        stalled = fresh & second & ~good & (level | (hopeless & (rate < 0.9) & (left < STALL)))
        converged = good | stalled
        diverged = ~xp.isfinite(size) | (hopeless & ~converged)
        # A quotient of two pieces of round-off says nothing about the contraction.
        rate = tree.select(stalled, np.float64(NOISY), rate)
        after, number = carry.d + correction, carry.iterations + 1
        return _Carry(after, size, rate, second, number, converged, diverged, pairs, carry.d, plain)

    no, begun, one, d = np.False_, np.int64(0), np.float64(1.0), xp.zeros(scratch.lu.shape[0])
    if xp is not np:
        no, begun, one = (xp.asarray(value) for value in (no, begun, one))
    first = tree.of_each(_Carry(d, one, guess, no, begun, no, no, scratch.pairs, d, d), c)
    last = tree.whilst(go_on, iterate, first)
    rate = tree.select(last.measured, last.rate, xp.maximum(last.rate - mismatch, 0.0))
    slow = last.measured & (last.rate > SLOW) & ~fresh
    left = last.rate / xp.maximum(1.0 - last.rate, 1e-16) * last.size
    return Solved(last.d, last.converged & ~last.diverged, rate, slow, last.iterations, last.pairs, left)
