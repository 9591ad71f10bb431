"""Balls: real numbers with a rigorous radius (Arb, through python-flint), and their way from and to NumPy.

A float64 becomes the same number exactly; a ball becomes a float64 only through a bound rounded outwards. Vectors
are lists of balls, matrices ``flint.arb_mat``. The library is imported when the first ball is made.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

#: A ball of Arb, a matrix of them, a truncated power series: the library has no types of its own to offer.
Ball = Any
BallMatrix = Any
Series = Any


class Refusal(Exception):
    """A certificate cannot be given; the sentence says why and what to do. Never leaves this room."""


@contextlib.contextmanager
def arithmetic(bits: int, terms: int = 10) -> Iterator[None]:
    """Balls of ``bits`` bits and power series of ``terms`` terms within the block; both are restored after it."""
    from flint import ctx

    old_bits, old_terms = ctx.prec, ctx.cap
    try:
        ctx.prec, ctx.cap = int(bits), int(terms)
        yield
    finally:
        ctx.prec, ctx.cap = old_bits, old_terms


# To balls --------------------------------------------------------------------------------------------------


def ball(middle: float, radius: float = 0.0) -> Ball:
    """The ball [middle − radius, middle + radius]; exact where the radius is 0 (a whole number of any size, too)."""
    from flint import arb

    exact = middle if isinstance(middle, int) else float(middle)
    return arb(exact, float(radius)) if radius else arb(exact)


def vector(values: Float[np.ndarray, " n"], radius: float = 0.0) -> list[Ball]:
    """The box of that radius (in every coordinate) around a float64 vector."""
    return [ball(value, radius) for value in values]


def matrix(values: Float[np.ndarray, "m n"]) -> BallMatrix:
    """A float64 matrix, exactly."""
    from flint import arb, arb_mat

    rows, columns = values.shape
    return arb_mat(rows, columns, [arb(float(value)) for value in values.ravel()])


def from_rows(rows: Sequence[Sequence[Ball]]) -> BallMatrix:
    """A matrix of given balls, row by row."""
    from flint import arb_mat

    return arb_mat(len(rows), len(rows[0]), [entry for row in rows for entry in row])


def identity(size: int) -> BallMatrix:
    """The identity matrix."""
    from flint import arb_mat

    return arb_mat(size, size, [int(i == j) for i in range(size) for j in range(size)])


def column(values: Sequence[Ball]) -> BallMatrix:
    """A vector as a matrix of one column."""
    from flint import arb_mat

    return arb_mat(len(values), 1, list(values))


def series(coefficients: Sequence[Ball], terms: int) -> Series:
    """The power series with these first coefficients, known to ``terms`` terms."""
    from flint import arb_series

    return arb_series(list(coefficients), prec=terms)


def constant(name: str) -> Ball:
    """A ball around π (``"pi"``)."""
    from flint import arb

    return {"pi": arb.pi}[name]()


# To floats, outwards ---------------------------------------------------------------------------------------


def upper(value: Ball) -> float:
    """A float64 that is certainly not below the ball; ∞ where it has no bound."""
    top = float(value.upper())
    return math.inf if math.isnan(top) else math.nextafter(top, math.inf)


def lower(value: Ball) -> float:
    """A float64 that is certainly not above the ball; −∞ where it has no bound."""
    bottom = float(value.lower())
    return -math.inf if math.isnan(bottom) else math.nextafter(bottom, -math.inf)


def magnitude(value: Ball) -> float:
    """A float64 that |value| certainly does not exceed; 0 only for the exact 0."""
    return 0.0 if value.is_zero() else upper(value.abs_upper())


def middles(values: Any) -> Float[np.ndarray, "..."]:
    """The midpoints of a vector or a matrix, rounded to float64."""
    if isinstance(values, list):
        return np.array([float(value.mid()) for value in values])
    entries = [float(value.mid()) for value in values.entries()]
    return np.array(entries).reshape(values.nrows(), values.ncols())


def row_sums(values: BallMatrix) -> list[Ball]:
    """Balls above Σ_j |a_ij|, row by row."""
    from flint import arb

    width, entries = values.ncols(), values.entries()
    return [
        sum((entry.abs_upper() for entry in entries[start : start + width]), arb(0))
        for start in range(0, len(entries), width)
    ]


def norm(values: Any) -> float:
    """An upper bound of the maximum norm of a vector, or of the row-sum norm of a matrix it induces."""
    if isinstance(values, list):
        return max((magnitude(value) for value in values), default=0.0)
    return max((magnitude(total) for total in row_sums(values)), default=0.0)


# Functions -------------------------------------------------------------------------------------------------


def monotone(function: Callable[[Ball], Ball], value: Ball) -> Ball:
    """function(value) for a monotone function: by its ends where the ball is wide, which is far tighter."""
    if value.rad() < 1e-6:  # below it the mean-value bound that Arb uses loses nothing that matters
        return function(value)
    return function(value.lower()).union(function(value.upper()))
