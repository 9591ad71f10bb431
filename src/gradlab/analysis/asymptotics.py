"""Scaling laws: how a positive quantity grows as a size goes to zero, and with which exponent.

A power of small exponent looks like a logarithm over a few decades. A law is named only where what it leaves is noise
and the others leave more; otherwise it is "undecided". That is what ``limits`` does for sequences that have a limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Laws: y = a + b u with b = 0, u = log(1/x), x^{−p} or e^{−κx}.
LAWS = ("constant", "logarithm", "power", "exponential")
FEWEST = 6
_NOISE, _CLEAR = 1.3, 3.0
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class ScalingLaw:
    """The law that a quantity follows, its exponent with an interval, and what every law leaves.

    Attributes
    ----------
    kind : one of LAWS, or ``undecided``.
    exponent, error : p of x^{−p} or κ of e^{−κx}, with two standard errors and the shift if the larger half of the
        sizes is left out; NaN for the other kinds.
    residuals : root mean square of the relative residuals of every law.
    """

    kind: str
    exponent: float
    error: float
    residuals: Mapping[str, float]

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the exponent."""
        return self.exponent - self.error, self.exponent + self.error


def scaling_law(sizes: Any, values: Any, errors: Any = 0.0) -> ScalingLaw:
    """This fits y = a, a + b log(1/x), a + b x^{−p} and a + b e^{−κx} to positive y, and says which of the four it is.

    Residuals are relative to y. A law fits if they are below the errors that are given (or rounding), or cannot be
    told from noise; one is named if it fits and those of no fewer constants leave three times as much. A constant that
    fits is named before all others, a logarithm before the power and the exponential that it is a limit of.

    Parameters
    ----------
    sizes : (n,), positive and increasing. values : (n,), positive. errors : relative ones of the values.

    Raises
    ------
    ValueError
        For shapes that differ, numbers that are not positive, sizes that do not increase, fewer than six of them.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> x = np.geomspace(1e-6, 1e-1, 11)
    >>> found = gl.claims.scaling_law(x, 3.0 * x**-0.5 + 1.0)
    >>> found.kind, round(found.exponent, 9)
    ('power', 0.5)
    """
    x, y, floor = _checked(sizes, values, errors)
    found = {kind: _fitted(kind, x, y) for kind in LAWS}
    residuals = {kind: one[1] for kind, one in found.items()}
    fits = [kind for kind in LAWS if _noise(found[kind][2], floor)]
    for kind in LAWS[:2]:
        # what has a constant less is named if the fuller ones leave no less
        if kind in fits and residuals[kind] <= _CLEAR * max(floor, min(residuals.values())):
            return ScalingLaw(kind, math.nan, math.nan, residuals)
    best = min(LAWS, key=lambda kind: residuals[kind])
    clear = [kind for kind in LAWS[2:] if residuals[kind] <= _CLEAR * max(floor, residuals[best])]
    if best not in fits or clear != [best]:
        return ScalingLaw("undecided", math.nan, math.inf, residuals)
    exponent, _, left = found[best]
    half = max(FEWEST, (len(x) + 1) // 2)
    shift = abs(_fitted(best, x[:half], y[:half])[0] - exponent) if len(x) > half else 0.0
    spread = _standard_error(best, x, y, exponent, max(float(np.sqrt(np.mean(left**2))), floor))
    return ScalingLaw(best, exponent, 2.0 * spread + shift, residuals)


def _basis(kind: str, x: np.ndarray, exponent: float) -> np.ndarray:
    if kind == "logarithm":
        return np.asarray(-np.log(x / x[-1]))
    if kind == "power":
        return np.asarray((x / x[0]) ** -exponent)
    return np.asarray(np.exp(-exponent * (x - (x[0] if exponent > 0.0 else x[-1]))))


def _left(kind: str, x: np.ndarray, y: np.ndarray, exponent: float) -> np.ndarray:
    """Relative residuals of the best a and b for an exponent."""
    columns = np.ones((len(x), 1))
    if kind != "constant":
        columns = np.column_stack([columns, _basis(kind, x, exponent)])
    columns = columns / y[:, None]
    size = np.linalg.norm(columns, axis=0)
    return np.asarray(
        1.0 - columns @ (np.linalg.lstsq(columns / size, np.ones(len(x)), rcond=None)[0] / size)
    )


def _fitted(kind: str, x: np.ndarray, y: np.ndarray) -> tuple[float, float, np.ndarray]:
    """The exponent, root mean square and residuals of one law."""
    exponent = 0.0
    if kind in LAWS[2:]:
        unit = 1.0 if kind == "power" else x[-1] - x[0]
        grid = np.concatenate([-np.geomspace(0.02, 60.0, 40)[::-1], np.geomspace(0.02, 60.0, 40)]) / unit
        if kind == "power":
            grid = np.geomspace(0.02, 20.0, 60)

        def cost(one: float) -> float:
            return float(np.sum(_left(kind, x, y, one) ** 2))

        costs = [cost(one) for one in grid]
        i = int(np.argmin(costs))
        low, high = grid[max(i - 1, 0)], grid[min(i + 1, len(grid) - 1)]
        exponent = _least(cost, float(low), float(high))
    left = _left(kind, x, y, exponent)
    return exponent, float(np.sqrt(np.mean(left**2))), left


def _least(cost: Any, low: float, high: float) -> float:
    """Golden section, to rounding of the square root; then the same on the residuals' own scale is no finer."""
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    one, two = high - ratio * (high - low), low + ratio * (high - low)
    first, second = cost(one), cost(two)
    for _ in range(80):
        if first < second:
            high, two, second = two, one, first
            one = high - ratio * (high - low)
            first = cost(one)
        else:
            low, one, first = one, two, second
            two = low + ratio * (high - low)
            second = cost(two)
    return (low + high) / 2.0


def _standard_error(kind: str, x: np.ndarray, y: np.ndarray, exponent: float, sigma: float) -> float:
    """That of the exponent, from the slope of the residuals in it."""
    h = 1e-4 * abs(exponent)
    slope = (_left(kind, x, y, exponent + h) - _left(kind, x, y, exponent - h)) / (2.0 * h)
    size = float(np.linalg.norm(slope))
    return sigma / size if size > 0.0 else math.inf


def _noise(residuals: np.ndarray, floor: float) -> bool:
    """Whether residuals are below what is known of the values, or cannot be told from noise."""
    square = float(np.sum(residuals**2))
    return square <= len(residuals) * floor**2 or float(np.sum(np.diff(residuals) ** 2)) >= _NOISE * square


def _checked(sizes: Any, values: Any, errors: Any) -> tuple[np.ndarray, np.ndarray, float]:
    x, y = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"sizes have shape {x.shape} and values {y.shape}; give one value a size, both (n,)")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (y > 0.0).all() and (x > 0.0).all()):
        raise ValueError("sizes and values of a scaling law must be positive and finite")
    if not (np.diff(x) > 0.0).all() or len(x) < FEWEST:
        raise ValueError(f"give at least {FEWEST} sizes, increasing; {len(x)} were given")
    return x, y, max(_ROUNDING, float(np.sqrt(np.mean(np.asarray(errors, dtype=np.float64) ** 2))))
