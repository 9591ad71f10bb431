"""Inner products, norms and linear combinations of weights, for any pytree of arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
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

    vector, unravel = ravel_pytree(a)
    # Integers well mixed; no key, whose programs would take longer to compile than all of this.
    bits = jnp.arange(vector.size, dtype=jnp.uint32) + jnp.asarray(number).astype(jnp.uint32) * 0x9E3779B1
    for _ in range(2):
        bits = (bits ^ (bits >> 16)) * jnp.uint32(0x45D9F3B)
    signs = ((bits ^ (bits >> 16)) & 1).astype(vector.dtype) * 2.0 - 1.0
    return unravel(vector * (1.0 + amount * signs))
