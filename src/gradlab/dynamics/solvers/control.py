"""Step size control of embedded pairs: where a step ends, whether it is kept, and how long the next one is."""

from __future__ import annotations

from typing import Any

import numpy as np
from jax import lax

# Controller gains (proportional, integral) of Söderlind's PI kind: the first found best for explicit methods at
# their stability limit, the second for stabilised ones; both reject almost never.
EXPLICIT, CHEBYSHEV = (0.2, 0.3), (0.4, 0.3)
SAFETY, SMALLEST, LARGEST = 0.9, 0.2, 5.0
#: Error ratios are held between these, as numbers of their type, so that ``lax`` takes them: it is traced in a third of
#: the time of ``jax.numpy``.
_SMALL, _HUGE, _LEAST, _SAFE = (np.float64(x) for x in (1e-10, 1e10, SMALLEST, SAFETY))


def planned(tau: Any, end: Any, h: Any, least: Any, attempts: Any) -> tuple[Any, Any, Any]:
    """(size of the next step towards ``end``, does it end there?, is it shorter than was planned?)."""
    remaining = end - tau
    # The first step from a record leaves room for another.
    longest = lax.select(attempts == 0, remaining / least, remaining)
    short = lax.min(h, longest)
    last = remaining <= 1.01 * short
    return lax.select(last, remaining, short), last, last | (h > longest)


def following(
    ratio: Any, previous: Any, keep: Any, order: Any, gains: tuple[float, float], largest: float
) -> tuple[Any, Any]:
    """(the error ratio within bounds, the factor for the next step) after an attempt, kept or not."""
    proportional, integral = gains
    within = lax.select(lax.is_finite(ratio), lax.max(ratio, _SMALL), _HUGE)
    factor = SAFETY * within ** (-(proportional + integral) / order) * previous ** (proportional / order)
    return within, lax.clamp(_LEAST, factor, lax.select(keep, np.float64(largest), _SAFE))


def longer(planned: Any, h: Any, factor: Any, kept: Any, cut: Any) -> Any:
    """The next step; one cut short by a record says nothing against the longer one planned before it."""
    next_h = h * factor
    return lax.select(kept & cut, lax.max(planned, next_h), next_h)
