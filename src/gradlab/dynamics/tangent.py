r"""What the flow makes of rounding: one tangent vector δ of an orbit, carried along with the rounding of every step.

δ̇ = J δ between looks, J the Jacobian of the field in the clock; at each look what J does to span(δ, Jδ) is taken from
two products with J and held, as a matrix T of two rows, until half way to the next: δ → e^{TΔ} δ, by its logarithm.
The eigenvalues of T lie among those of a symmetric J: nothing grows that J would not let grow. Added to δ at each look
is one rounding, eps ‖y‖ √(steps), of every variable. So ‖δ‖ is what rounding has made of the orbit by now, as long as
that is small.

Where δ passes RAISED ‖y‖ the orbit is kept as it was at the look before: from there on it is rounding that moves it, if
δ goes on to DECIDED ‖y‖. A flow that starts in an invariant subspace (equal neurons, balanced layers, a saddle) stays
there, and only rounding leaves it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.energy import EPS

#: Evaluations between two looks, of which one costs four: a tenth of a solve, and of two the first alone looks.
BETWEEN, PRICE = 40, 4
#: Between two looks of an implicit method, with what its Jacobians cost: of its evaluations alone that is a tenth too.
IMPLICIT = 48
#: ‖δ‖/‖y‖ from which the orbit is kept, and from which rounding has decided where it goes.
RAISED, DECIDED = 1e-6, 1e-2


class Tangent(eqx.Module):
    """The tangent at the last look, and what is known from there on.

    vector, other : orthonormal, δ/‖δ‖ and where J turns it. matrix : J on them. log_size : log ‖δ‖. tau, half : the
    clock at the last look, half the way to it. steps, mark : steps and evaluations then. spent : on looks, in all.
    last : y then. kept, kept_u : y and log(1 + t) before δ became large. decided, decided_u : whether rounding has
    decided, and when. active : whether anything is looked at.
    """

    vector: Any
    other: Any
    matrix: Float[Array, "2 2"]
    log_size: Float[Array, ""]
    tau: Float[Array, ""]
    half: Float[Array, ""]
    steps: Int[Array, ""]
    mark: Int[Array, ""]
    spent: Int[Array, ""]
    last: Any
    kept: Any
    kept_u: Float[Array, ""]
    high: Bool[Array, ""]
    decided: Bool[Array, ""]
    decided_u: Float[Array, ""]
    active: Bool[Array, ""]


def begun(y: Any, tau: Any) -> Tangent:
    """At the start: one rounding of y, about which nothing is known yet."""
    nothing, none, no = jnp.zeros(()), jnp.zeros((), dtype=jnp.int64), jnp.asarray(False)
    flat = tree.scale(0.0, y)
    seed, log_size = _rounding(y, none, none)
    start = jnp.asarray(tau, jnp.float64)
    return Tangent(
        seed, flat, jnp.zeros((2, 2)), log_size, start, nothing, none, none - BETWEEN, none, y, y, nothing, no, no,
        nothing, jnp.asarray(True),
    )  # fmt: skip


def _rounding(y: Any, steps: Any, number: Any) -> tuple[Any, Any]:
    """(a unit vector of signs, log of its length): one rounding of all variables in each of so many steps."""
    ones = jax.tree.map(jnp.ones_like, y)
    signs = jax.tree.map(lambda a: a - 1.0, tree.shaken(ones, 1.0, number))
    count = sum(jnp.size(leaf) for leaf in jax.tree.leaves(y))
    size = EPS * tree.norm(y) * jnp.sqrt(1.0 + steps)
    return tree.scale(count**-0.5, signs), jnp.log(size)


def _moved(matrix: Float[Array, "2 2"], span: Any) -> tuple[Any, Any]:
    """(c, l) with e^{T span} e₁ = c exp(l), ‖c‖ = 1."""
    middle = 0.5 * (matrix[0, 0] + matrix[1, 1])
    apart = matrix - middle * jnp.eye(2)
    square = apart[0, 0] ** 2 + apart[0, 1] * apart[1, 0]
    root = jnp.sqrt(jnp.abs(square))
    safe = jnp.where(root > 0.0, root, 1.0)
    real = square > 0.0
    gone = jnp.exp(-2.0 * root * span)
    even = jnp.where(real, 0.5 * (1.0 + gone), jnp.cos(root * span))
    odd = jnp.where(real, 0.5 * (1.0 - gone), jnp.sin(root * span)) / safe
    odd = jnp.where(root > 0.0, odd, span)
    c = even * jnp.array([1.0, 0.0]) + odd * apart[:, 0]
    size = jnp.linalg.norm(c)
    size = jnp.where(size > 0.0, size, 1.0)
    return c / size, middle * span + jnp.where(real, root * span, 0.0) + jnp.log(size)


def size(tangent: Tangent, y: Any, tau: Any) -> tuple[Any, Any]:
    """(direction, log ‖δ‖) at τ, not before the last look; no longer than y."""
    c, grown = _moved(tangent.matrix, tangent.half + (tau - tangent.tau))
    vector = jax.tree.map(lambda v, q: c[0] * v + c[1] * q, tangent.vector, tangent.other)
    length = tree.norm(y)
    most = jnp.log(jnp.where(length > 0.0, length, 1.0))
    return vector, jnp.minimum(tangent.log_size + grown, most)


def looked(tangent: Tangent, state: Any, product: Callable[[Any], Any], cost: Any) -> Tangent:
    """The tangent after a look at a state, which has cost so much until then; ``product`` is v ↦ J v there."""
    y, tau = state.y, state.tau
    half = 0.5 * (tau - tangent.tau)
    ahead, log_ahead = size(tangent, y, tau - half)
    fresh, log_fresh = _rounding(y, state.steps - tangent.steps, state.steps)
    top = jnp.maximum(log_ahead, log_fresh)
    top = jnp.where(jnp.isfinite(top), top, 0.0)
    both = jax.tree.map(
        lambda a, b: jnp.exp(log_ahead - top) * a + jnp.exp(log_fresh - top) * b, ahead, fresh
    )
    length = tree.norm(both)
    good = jnp.isfinite(length) & (length > 0.0)
    vector = tree.where(good, tree.scale(1.0 / jnp.where(good, length, 1.0), both), fresh)

    def one(i: Any, carry: Any) -> Any:
        # The same product twice, in a loop, so that it is compiled once.
        other, matrix = carry
        along = tree.where(i == 0, vector, other)
        image = product(along)
        column = jnp.stack([tree.inner(vector, image), tree.inner(other, image)])
        rest = jax.tree.map(lambda w, v: w - column[0] * v, image, vector)
        beside = tree.norm(rest)
        new = tree.scale(1.0 / jnp.where(beside > 0.0, beside, 1.0), rest)
        column = jnp.where(i == 0, jnp.stack([column[0], beside]), column)
        return tree.where(i == 0, new, other), matrix.at[:, i].set(column)

    other, matrix = jax.lax.fori_loop(0, 2, one, (tree.scale(0.0, vector), jnp.zeros((2, 2))))
    matrix = jnp.where(jnp.all(jnp.isfinite(matrix)), matrix, 0.0)
    log_size = jnp.where(good, top + jnp.log(jnp.where(good, length, 1.0)), -jnp.inf)
    whole = tree.norm(y)
    _, rest_of_way = _moved(matrix, half)
    relative = log_size + rest_of_way - jnp.log(jnp.where(whole > 0.0, whole, 1.0))
    high = (relative > jnp.log(RAISED)) & good
    rises = high & ~tangent.high & ~tangent.decided
    decides = (relative > jnp.log(DECIDED)) & ~tangent.decided & good
    return replace(
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
        kept_u=jnp.where(rises, state.u, tangent.kept_u),
        high=high,
        decided=tangent.decided | decides,
        decided_u=jnp.where(decides, state.u, tangent.decided_u),
    )


def relative(tangent: Tangent, y: Any, tau: Any) -> Float[Array, ""]:
    """‖δ‖/‖y‖ at τ, at most 1."""
    length = tree.norm(y)
    return jnp.exp(size(tangent, y, tau)[1]) / jnp.where(length > 0.0, length, 1.0)


def with_look(state: Any, product: Callable[[Any], Any], between: int = BETWEEN) -> Any:
    """The state with its tangent, where a look is due; a dense Jacobian counts two evaluations a column."""
    tangent = state.tangent
    if not isinstance(tangent, Tangent):
        return state
    count = sum(jnp.size(leaf) for leaf in jax.tree.leaves(state.y))
    cost = state.evaluations + 2 * count * state.jacobians
    due = tangent.active & (state.tau > tangent.tau) & (cost - tangent.mark >= between)
    new = jax.lax.cond(due, lambda: looked(tangent, state, product, cost), lambda: tangent)
    return replace(state, tangent=new)
