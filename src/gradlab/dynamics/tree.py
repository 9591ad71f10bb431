"""Inner products, norms and linear combinations of weights, for any pytree of arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

#: Between these a sum of squares has lost nothing to underflow or overflow; the same for single precision.
TINY, HUGE = 1e-280, 1e300
TINY_SINGLE, HUGE_SINGLE = 1e-30, 1e37


def wide(x: Any) -> Array:
    """A real number or array in the widest floating type that is switched on: float64, or float32 without x64."""
    return jnp.asarray(x, dtype=jnp.result_type(float))


def like(factor: Any, leaf: Any) -> Array:
    """A scalar in the type of a leaf, so that a product with it keeps the leaf's."""
    return jnp.asarray(factor, dtype=jnp.result_type(leaf))


def inner(a: Any, b: Any) -> Float[Array, ""]:
    """⟨a, b⟩, summed over all leaves."""
    products = jax.tree.map(lambda x, y: jnp.sum(wide(x) * wide(y)), a, b)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def norm(a: Any) -> Float[Array, ""]:
    """‖a‖₂ over all leaves, safe against overflow and underflow of the squares."""

    def scaled() -> Any:
        sizes = jax.tree.map(lambda x: jnp.max(jnp.abs(wide(x)), initial=0.0), a)
        largest = jax.tree.reduce(jnp.maximum, sizes, jnp.zeros(()))
        scale = jnp.where(largest > 0.0, largest, 1.0)
        squares = jax.tree.map(lambda x: jnp.sum((wide(x) / scale) ** 2), a)
        return scale * jnp.sqrt(sum(jax.tree.leaves(squares), start=jnp.zeros(())))

    # One pass where it will do, which is almost always: norms are taken three times a step.
    squares = inner(a, a)
    tiny, huge = (TINY, HUGE) if squares.dtype == jnp.float64 else (TINY_SINGLE, HUGE_SINGLE)
    return jax.lax.cond((squares > tiny) & (squares < huge), lambda: jnp.sqrt(squares), scaled)


def scale(factor: Any, a: Any) -> Any:
    """factor · a."""
    return jax.tree.map(lambda x: like(factor, x) * x, a)


def add(a: Any, b: Any) -> Any:
    """a + b."""
    return jax.tree.map(lambda x, y: x + y, a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the scalar condition holds, else b."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def finite(a: Any) -> Any:
    """Whether every entry is finite."""
    every = jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), a)
    return jax.tree.reduce(jnp.logical_and, every, jnp.asarray(True))


def shaken(a: Any, amount: Any, number: Any) -> Any:
    """Every entry x as x (1 ± amount), signs drawn from ``number``; a itself, bit for bit, with amount 0."""

    def shake(leaf: Any, place: int) -> Any:
        # Integers well mixed; no key, whose programs would take longer to compile than all of this.
        begun = jnp.asarray(number).astype(jnp.uint32) * jnp.uint32(0x9E3779B1) + jnp.uint32(7919 * place)
        bits = jnp.arange(leaf.size, dtype=jnp.uint32) + begun
        for _ in range(2):
            bits = (bits ^ (bits >> 16)) * jnp.uint32(0x45D9F3B)
        signs = jnp.where(((bits ^ (bits >> 16)) & 1) == 1, 1.0, -1.0)
        return leaf * (1.0 + amount * signs.reshape(leaf.shape))

    leaves, structure = jax.tree.flatten(a)
    return jax.tree.unflatten(structure, [shake(leaf, place) for place, leaf in enumerate(leaves)])
