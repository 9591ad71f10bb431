"""Step size control of embedded pairs: where a step ends, whether it is kept, and how long the next one is."""

from __future__ import annotations

import math
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


def _select(condition: Any, a: Any, b: Any) -> Any:
    """a where the scalar condition holds, else b; on the host without a program."""
    if type(condition) in (np.bool_, bool):
        return a if condition else b
    return lax.select(condition, a, b)


def _min(a: Any, b: Any) -> Any:
    if isinstance(a, float) and isinstance(b, float):
        # Of numbers NumPy's own takes longer than all else that a step from the host computes here.
        return b if b < a else a
    return lax.min(a, b)


def _max(a: Any, b: Any) -> Any:
    if isinstance(a, float) and isinstance(b, float):
        return b if b > a else a
    return lax.max(a, b)


def planned(tau: Any, end: Any, h: Any, least: Any, attempts: Any) -> tuple[Any, Any, Any]:
    """(size of the next step towards ``end``, does it end there?, is it shorter than was planned?)."""
    remaining = end - tau
    # The first step from a record leaves room for another.
    longest = _select(attempts == 0, remaining / least, remaining)
    short = _min(h, longest)
    last = remaining <= 1.01 * short
    return _select(last, remaining, short), last, last | (h > longest)


def following(
    ratio: Any, previous: Any, keep: Any, order: Any, gains: tuple[float, float], largest: float
) -> tuple[Any, Any]:
    """(the error ratio within bounds, the factor for the next step) after an attempt, kept or not."""
    proportional, integral = gains
    finite = math.isfinite(ratio) if isinstance(ratio, float) else lax.is_finite(ratio)
    within = _select(finite, _max(ratio, _SMALL), _HUGE)
    factor = SAFETY * within ** (-(proportional + integral) / order) * previous ** (proportional / order)
    return within, _max(_LEAST, _min(factor, _select(keep, np.float64(largest), _SAFE)))


def longer(planned: Any, h: Any, factor: Any, kept: Any, cut: Any) -> Any:
    """The next step; one cut short by a record says nothing against the longer one planned before it."""
    next_h = h * factor
    return _select(kept & cut, _max(planned, next_h), next_h)
