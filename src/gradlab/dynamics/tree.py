"""Inner products, norms and linear combinations of weights, for any pytree of arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def inner(a: Any, b: Any) -> Float[Array, ""]:
    """⟨a, b⟩, summed over all leaves."""
    products = jax.tree.map(lambda x, y: jnp.sum(x * y), a, b)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def norm(a: Any) -> Float[Array, ""]:
    """‖a‖₂ over all leaves, safe against overflow and underflow of the squares."""

    largest = jax.tree.reduce(jnp.maximum, jax.tree.map(lambda x: jnp.max(jnp.abs(x), initial=0.0), a))
    scale = jnp.where(largest > 0.0, largest, 1.0)
    return scale * jnp.sqrt(sum(jax.tree.leaves(jax.tree.map(lambda x: jnp.sum((x / scale) ** 2), a))))


def scale(factor: Any, a: Any) -> Any:
    """factor · a."""
    return jax.tree.map(lambda x: factor * x, a)


def add(a: Any, b: Any) -> Any:
    """a + b."""
    return jax.tree.map(lambda x, y: x + y, a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the scalar condition holds, else b."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def finite(a: Any) -> Any:
    """Whether every entry is finite."""
    return jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), a))


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
