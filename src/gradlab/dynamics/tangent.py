r"""What the flow makes of rounding: one tangent vector δ of an orbit, carried along with the rounding of every step.

δ̇ = J δ between looks, J the Jacobian of the field in the clock; at each look what J does to span(δ, Jδ) is taken from
two products with J and held, as a matrix T of two rows, until half way to the next: δ → e^{TΔ} δ, by its logarithm.
The eigenvalues of T lie among those of a symmetric J: nothing grows that J would not let grow. Added to δ at each look
is one rounding, eps ‖y‖ √(steps), of every variable; of an implicit method, where T grows, what Newton may leave too.
So ‖δ‖ is what rounding has made of the orbit by now, as long as that is small.

Where δ passes RAISED ‖y‖ the orbit is kept as it was at the look before: from there on it is rounding that moves it, if
δ goes on to DECIDED ‖y‖. A flow that starts in an invariant subspace (equal neurons, balanced layers, a saddle) stays
there, and only rounding leaves it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.energy import EPS
from gradlab.dynamics.tree import Anywhere
from gradlab.modules import Module

#: Evaluations between two looks, of which one costs four: a tenth of a solve, and of two the first alone looks.
BETWEEN, PRICE = 40, 4
#: Between two looks of an implicit method, with what its Jacobians cost: of its evaluations alone that is a tenth too.
IMPLICIT = 48
#: Steps of BDF grow what grows like 1/(1 − z/POLE)^POLE, z = μh: more than e^z, and without bound at the pole, of which
#: a step is taken to keep off by the rest to NEAR. (The poles of orders 1 to 5 are 1, 1.5, 1.8, 2.1 and 2.3.)
POLE, NEAR = 1.5, 0.8
#: ‖δ‖/‖y‖ from which the orbit is kept, and from which rounding has decided where it goes.
RAISED, DECIDED = 1e-6, 1e-2


class Tangent(Module):
    """The tangent at the last look, and what is known from there on.

    vector, other : orthonormal, δ/‖δ‖ and where J turns it. matrix : J on them. log_size : log ‖δ‖. tau, half : the
    clock at the last look, half the way to it. steps, mark : steps and evaluations then. spent : on looks, in all.
    last : y then. kept, kept_u : y and log(1 + t) before δ became large. decided, decided_u : whether rounding has
    decided, and when. active : whether anything is looked at.
    """

    vector: Any
    other: Any
    matrix: Float[Anywhere, "2 2"]
    log_size: Float[Anywhere, ""]
    tau: Float[Anywhere, ""]
    half: Float[Anywhere, ""]
    steps: Int[Anywhere, ""]
    mark: Int[Anywhere, ""]
    spent: Int[Anywhere, ""]
    last: Any
    kept: Any
    kept_u: Float[Anywhere, ""]
    high: Bool[Anywhere, ""]
    decided: Bool[Anywhere, ""]
    decided_u: Float[Anywhere, ""]
    active: Bool[Anywhere, ""]


def begun(y: Any, tau: Any) -> Tangent:
    """At the start, on the host: one rounding of the vector y, about which nothing is known yet."""
    nothing: Any = np.float64(0.0)
    none: Any = np.int64(0)
    no: Any = np.bool_(False)
    matrix: Any = np.zeros((2, 2))
    here: Any = np.float64(tau)
    seed, log_size = _rounding(y, none, none)
    return Tangent(
        seed, 0.0 * y, matrix, log_size, here, nothing, none, none - BETWEEN, none, y, y,
        nothing, no, no, nothing, ~no,
    )  # fmt: skip


def _rounding(y: Any, steps: Any, number: Any) -> tuple[Any, Any]:
    """(a unit vector of signs, log of its length): one rounding of all variables in each of so many steps."""
    ones = tree.each(lambda a: a * 0.0 + 1.0, y)
    signs = tree.each(lambda a: a - 1.0, tree.shaken(ones, 1.0, number))
    count = sum(np.size(leaf) for leaf in jax.tree.leaves(y))
    size = EPS * tree.norm(y)
    xp = tree.library(size)
    return tree.scale(count**-0.5, signs), xp.log(size * xp.sqrt(1.0 + steps))


def _moved(matrix: Float[Anywhere, "2 2"], span: Any) -> tuple[Any, Any]:
    """(c, l) with e^{T span} e₁ = c exp(l), ‖c‖ = 1."""
    xp = tree.library(matrix, span)
    (a, b), (c, d) = ((matrix[i, 0], matrix[i, 1]) for i in (0, 1))
    middle, half = 0.5 * (a + d), 0.5 * (a - d)
    square = half**2 + b * c
    root = xp.sqrt(abs(square))
    safe = tree.where(root > 0.0, root, 1.0)
    real = square > 0.0
    gone = xp.exp(-2.0 * root * span)
    even = tree.where(real, 0.5 * (1.0 + gone), xp.cos(root * span))
    odd = tree.where(real, 0.5 * (1.0 - gone), xp.sin(root * span)) / safe
    odd = tree.where(root > 0.0, odd, span)
    first, second = even + odd * half, odd * c
    size = xp.hypot(first, second)
    size = tree.where(size > 0.0, size, 1.0)
    grown = middle * span + tree.where(real, root * span, 0.0) + xp.log(size)
    return (first / size, second / size), grown


def size(tangent: Any, y: Any, tau: Any) -> tuple[Any, Any]:
    """(direction, log ‖δ‖) at τ, not before the last look; no longer than y."""
    c, grown = _moved(tangent.matrix, tangent.half + (tau - tangent.tau))
    vector = tree.each(lambda v, q: c[0] * v + c[1] * q, tangent.vector, tangent.other)
    return vector, _no_longer(tangent.log_size + grown, tree.norm(y))


def _no_longer(log_size: Any, length: Any) -> Any:
    """log ‖δ‖, at most log ‖y‖."""
    xp = tree.library(length, log_size)
    return xp.minimum(log_size, xp.log(tree.where(length > 0.0, length, 1.0)))


def products(product: Callable[[Any], Any], vector: Any) -> tuple[Any, Any, Any]:
    """(J v, q, J q): q is the unit vector along what J v has beside the unit vector v, or zero."""

    def one(i: Any, carry: Any) -> Any:
        # The same product twice, in a loop, so that it is compiled once.
        first, other, _ = carry
        image = product(tree.where(i == 0, vector, other))
        along = tree.inner(vector, image)
        rest = jax.tree.map(lambda w, v: w - along * v, image, vector)
        beside = tree.norm(rest)
        new = tree.scale(1.0 / tree.select(beside > 0.0, beside, 1.0), rest)
        return tree.where(i == 0, image, first), tree.where(i == 0, new, other), image

    none = tree.scale(0.0, vector)
    return jax.lax.fori_loop(0, 2, one, (none, none, none))


def top_rate(matrix: Float[Anywhere, "2 2"]) -> Any:
    """μ, the larger eigenvalue of T (of a pair of complex ones the real part)."""
    middle, half = 0.5 * (matrix[0, 0] + matrix[1, 1]), 0.5 * (matrix[0, 0] - matrix[1, 1])
    xp = tree.library(matrix)
    return middle + xp.sqrt(xp.maximum(half**2 + matrix[0, 1] * matrix[1, 0], 0.0))


def beyond_exact(matrix: Float[Anywhere, "2 2"], span: Any, steps: Any) -> Any:
    """log of how much more than the flow so many steps of BDF over a span grow what grows at J's rate on the matrix.

    Near a saddle steps are as long as the slow approach lets them be, whatever the rate μ at which others leave it.

    Examples
    --------
    >>> import numpy as np
    >>> from gradlab.dynamics.tangent import beyond_exact
    >>> grows, decays = np.diag([1.0, -1.0]), np.diag([-1.0, -2.0])
    >>> [round(float(beyond_exact(grows, span, 10)), 3) for span in (0.1, 1.0, 5.0, 10.0, 100.0)]
    [0.0, 0.035, 1.082, 6.479, 12.142]
    >>> float(beyond_exact(decays, 10.0, 10))
    -0.0
    """
    xp = tree.library(matrix, span)
    count = xp.maximum(1.0 * steps, 1.0)
    share = xp.clip(top_rate(matrix) * span / (count * POLE), 0.0, NEAR)
    return -count * POLE * (xp.log1p(-share) + share)


def looked(
    tangent: Any,
    state: Any,
    pair: Callable[[Any], tuple[Any, Any, Any]],
    cost: Any,
    left: Any = None,
) -> Any:
    """The tangent after a look at a state, which has cost so much until then; ``pair`` : v ↦ :func:`products`.

    left : of an implicit method, the length of what Newton's iteration may leave in a step. It stops when the whole
    correction is small, and with an old Jacobian may by then have spread rounding to directions that are not excited.
    """
    y, tau = state.y, state.tau
    half = 0.5 * (tau - tangent.tau)
    ahead, log_ahead = size(tangent, y, tau - half)
    made = state.steps - tangent.steps
    fresh, log_fresh = _rounding(y, made, state.steps)
    xp = tree.library(log_ahead, log_fresh)
    top = xp.maximum(log_ahead, log_fresh)
    top = tree.where(xp.isfinite(top), top, 0.0)
    both = tree.each(lambda a, b: xp.exp(log_ahead - top) * a + xp.exp(log_fresh - top) * b, ahead, fresh)
    length = tree.norm(both)
    good = xp.isfinite(length) & (length > 0.0)
    vector = tree.where(good, tree.scale(1.0 / tree.where(good, length, 1.0), both), fresh)
    image, other, across = pair(vector)
    matrix = xp.stack([
        xp.stack([tree.inner(vector, image), tree.inner(vector, across)]),
        xp.stack([tree.inner(other, image), tree.inner(other, across)]),
    ])  # fmt: skip
    matrix = tree.where(xp.all(xp.isfinite(matrix)), matrix, xp.zeros((2, 2)))
    log_size = tree.where(good, top + xp.log(tree.where(good, length, 1.0)), -xp.inf)
    if left is not None:
        # where nothing grows, steps forget what Newton leaves
        log_left = xp.log((left + 1e-300) * xp.sqrt(1.0 + made))
        log_size = tree.where(top_rate(matrix) > 0.0, xp.logaddexp(log_size, log_left), log_size)
        log_size = log_size + beyond_exact(matrix, tau - tangent.tau, made)
    whole = tree.norm(y)
    _, rest_of_way = _moved(matrix, half)
    relative = log_size + rest_of_way - xp.log(tree.where(whole > 0.0, whole, 1.0))
    high = (relative > math.log(RAISED)) & good
    rises = high & ~tangent.high & ~tangent.decided
    decides = (relative > math.log(DECIDED)) & ~tangent.decided & good
    return tree.changed(
        tangent,
        vector=vector,
        other=other,
        matrix=matrix,
        log_size=log_size,
        tau=tau,
        half=half,
        steps=state.steps,
        mark=cost,
        spent=tangent.spent + PRICE,
        last=y,
        kept=tree.where(rises, tangent.last, tangent.kept),
        kept_u=tree.where(rises, state.u, tangent.kept_u),
        high=high,
        decided=tangent.decided | decides,
        decided_u=tree.where(decides, state.u, tangent.decided_u),
    )


def relative(tangent: Any, y: Any, tau: Any) -> Float[Anywhere, ""]:
    """‖δ‖/‖y‖ at τ, at most 1."""
    length, (_, grown) = tree.norm(y), _moved(tangent.matrix, tangent.half + (tau - tangent.tau))
    log_size = _no_longer(tangent.log_size + grown, length)
    return tree.library(log_size).exp(log_size) / tree.where(length > 0.0, length, 1.0)


def with_look(state: Any, product: Callable[[Any], Any], between: int = BETWEEN, left: Any = None) -> Any:
    """The state with its tangent, where a look is due; a dense Jacobian counts two evaluations a column."""
    tangent = state.tangent
    if not isinstance(tangent, Tangent):
        return state
    cost = spent(state)
    due = tangent.active & (state.tau > tangent.tau) & (cost - tangent.mark >= between)

    def pair(vector: Any) -> tuple[Any, Any, Any]:
        return products(product, vector)

    new = jax.lax.cond(due, lambda: looked(tangent, state, pair, cost, left), lambda: tangent)
    return replace(state, tangent=new)


def spent(state: Any) -> Any:
    """What a solve has cost, by which looks are due."""
    count = state.y.size if tree.on_host(state.y) else sum(np.size(leaf) for leaf in jax.tree.leaves(state.y))
    return state.evaluations + 2 * count * state.jacobians


def with_trees(held: Any, trees: Callable[[Any], Any]) -> Any:
    """The tangent, plain or not, with its trees as another function has them."""
    return tree.changed(
        held, **{name: trees(getattr(held, name)) for name in ("vector", "other", "last", "kept")}
    )
