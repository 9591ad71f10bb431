"""Inner products, norms and linear combinations of weights, for any pytree of arrays."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float


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

    sizes = jax.tree.map(lambda x: jnp.max(jnp.abs(wide(x)), initial=0.0), a)
    largest = jax.tree.reduce(jnp.maximum, sizes, jnp.zeros(()))
    scale = jnp.where(largest > 0.0, largest, 1.0)
    squares = jax.tree.map(lambda x: jnp.sum((wide(x) / scale) ** 2), a)
    return scale * jnp.sqrt(sum(jax.tree.leaves(squares), start=jnp.zeros(())))


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

    vector, unravel = ravel_pytree(a)
    # Integers well mixed; no key, whose programs would take longer to compile than all of this.
    bits = jnp.arange(vector.size, dtype=jnp.uint32) + jnp.asarray(number).astype(jnp.uint32) * 0x9E3779B1
    for _ in range(2):
        bits = (bits ^ (bits >> 16)) * jnp.uint32(0x45D9F3B)
    signs = ((bits ^ (bits >> 16)) & 1).astype(vector.dtype) * 2.0 - 1.0
    return unravel(vector * (1.0 + amount * signs))
