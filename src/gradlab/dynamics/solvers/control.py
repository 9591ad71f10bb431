"""Step size control of embedded pairs: where a step ends, whether it is kept, and how long the next one is."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

# Controller gains (proportional, integral) of Söderlind's PI kind: the first found best for explicit methods at
# their stability limit, the second for stabilised ones; both reject almost never.
EXPLICIT, CHEBYSHEV = (0.2, 0.3), (0.4, 0.3)
SAFETY, SMALLEST, LARGEST = 0.9, 0.2, 5.0


def planned(tau: Any, end: Any, h: Any, least: Any, attempts: Any) -> tuple[Any, Any, Any]:
    """(size of the next step towards ``end``, does it end there?, is it shorter than was planned?)."""
    remaining = end - tau
    # The first step from a record leaves room for another.
    longest = jnp.where(attempts == 0, remaining / least, remaining)
    last = remaining <= 1.01 * jnp.minimum(h, longest)
    return jnp.where(last, remaining, jnp.minimum(h, longest)), last, last | (h > longest)


def following(
    ratio: Any, previous: Any, keep: Any, order: Any, gains: tuple[float, float], largest: Any
) -> tuple[Any, Any]:
    """(the error ratio within bounds, the factor for the next step) after an attempt, kept or not."""
    proportional, integral = gains
    ratio = jnp.where(jnp.isfinite(ratio), jnp.maximum(ratio, 1e-10), 1e10)
    factor = SAFETY * ratio ** (-(proportional + integral) / order) * previous ** (proportional / order)
    return ratio, jnp.clip(factor, SMALLEST, jnp.where(keep, largest, SAFETY))


def longer(planned: Any, h: Any, factor: Any, kept: Any, cut: Any) -> Any:
    """The next step; one cut short by a record says nothing against the longer one planned before it."""
    return jnp.where(kept & cut, jnp.maximum(planned, h * factor), h * factor)
