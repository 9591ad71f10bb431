"""A validated enclosure of a scalar flow dx/dt = v(x) over a finite time, by Taylor's method in ball arithmetic.

A step of size h from an exact number x: an a-priori enclosure B with x + [0, h] v(B) ⊂ B contains the solution
(Picard–Lindelöf), and so

    x(h) ∈ Σ_{k<p} x_[k] h^k + [x_[p](B)] h^p,   x_[k+1] = (v ∘ x)_[k] / (k + 1),

the remainder in Lagrange's form (Moore 1966; Lohner 1987). Solutions of a scalar equation do not cross, so the
flow of an interval is the interval between the flows of its ends: each end is carried on its own from an exact
number, and nothing is wrapped. (An interval iteration x ← x + h v(x) widens by 1 + h|v'| a step, contracting flow
or not.) Derivation: docs/notes/certificates.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gradlab.analysis.certificates.balls import (
    Ball,
    Refusal,
    arithmetic,
    ball,
    lower,
    magnitude,
    series,
    upper,
)
from gradlab.problem.dense import Dense
from gradlab.problem.losses import Exponential, Logistic, Square
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: The remainder of a step is aimed at 2^−72 of the solution, and 2^−64 is let pass: a thousand of those are 2^−54.
_RESOLUTION = 72
#: v on a ball or on a power series of balls: anything built of + − * / ** by whole numbers, exp, log, sqrt, ….
Velocity = Callable[[Any], Any]


@dataclass(frozen=True)
class FlowEnclosure:
    """x(t) at given times, enclosed.

    Attributes
    ----------
    times : (T,), those that were reached. lower, upper : x(t) certainly lies between them.
    complete : whether all times were reached; if not, ``why`` says what stopped it.
    steps : steps taken by both ends together. order, bits : of the method and of the balls.
    """

    times: Float[np.ndarray, " T"]
    lower: Float[np.ndarray, " T"]
    upper: Float[np.ndarray, " T"]
    complete: bool
    why: str
    steps: int
    order: int
    bits: int


def enclose_flow(
    velocity: Velocity,
    start: float | tuple[float, float],
    times: Sequence[float],
    *,
    order: int = 20,
    precision: int = 128,
    steps: int = 10_000,
) -> FlowEnclosure:
    """This proves bounds of the solution of dx/dt = v(x), x(0) = start (a number or interval), at ascending times.

    v must be autonomous, scalar and analytic where the solution goes; ``velocity`` evaluates it on balls and on power
    series (see :func:`scalar_velocity` for a problem's own). That it is the v that is meant is the caller's word.
    Steps adapt to the last two coefficients so that the remainder is about 2^−72; one that cannot be validated is
    halved. Times are the float64 numbers that they are, and time is added up exactly.

    Raises
    ------
    ValueError : times that do not ascend from ≥ 0, an interval that is none, an order below 2.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> bounds = gl.flows.enclose_flow(lambda x: -x, 1.0, [1.0])
    >>> bool(bounds.lower[0] <= np.exp(-1.0) <= bounds.upper[0]), bounds.complete
    (True, True)
    """
    marks = [float(time) for time in times]
    low, high = (start, start) if isinstance(start, int | float) else start
    if not marks or marks[0] < 0 or any(b <= a for a, b in pairwise(marks)):
        raise ValueError(f"times were {marks}; give ascending numbers ≥ 0")
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"start was {start}; give a finite number or (low, high) with low ≤ high")
    if order < 2:
        raise ValueError(f"order was {order}; give 2 or more, e.g. 20")
    with arithmetic(precision, order + 2):
        below = _end(velocity, float(low), marks, order, precision, steps, -1)
        above = _end(velocity, float(high), marks, order, precision, steps, +1)
    reached = min(len(below.values), len(above.values))
    why = below.why or above.why
    return FlowEnclosure(
        np.array(marks[:reached]),
        np.array([lower(value) for value in below.values[:reached]]),
        np.array([upper(value) for value in above.values[:reached]]),
        reached == len(marks),
        why if reached < len(marks) else "",
        below.steps + above.steps,
        order,
        precision,
    )


class _End(NamedTuple):
    values: list[Ball]
    steps: int
    why: str


def _end(
    velocity: Velocity, start: float, marks: list[float], order: int, bits: int, most: int, side: int
) -> _End:
    """One end at every mark, moved outwards (side −1 or +1) to an exact number after every step."""
    x, t, count = ball(start), Fraction(0), 0
    values: list[Ball] = []
    for mark in marks:
        while (left := Fraction(mark) - t) > 0:
            if count >= most:
                return _End(
                    values, count, f"{most} steps were not enough: allow more steps, or ask for less time"
                )
            try:
                x, taken = _step(velocity, x, left, order, bits)
            except Refusal as refusal:
                return _End(values, count, str(refusal))
            x = x.upper() if side > 0 else x.lower()
            t, count = t + taken, count + 1
        values.append(x)
    return _End(values, count, "")


def _coefficients(velocity: Velocity, x: Ball, order: int) -> list[Ball]:
    """x_[0] … x_[order] of the solution through x."""
    found = [x]
    for k in range(order):
        found.append(velocity(series(found, k + 1))[k] / (k + 1))
    return found


def _step(velocity: Velocity, x: Ball, left: Fraction, order: int, bits: int) -> tuple[Ball, Fraction]:
    """x(h) for an exact x, and h: what is left, or else a power of two, so that time is an exact number."""
    local = _coefficients(velocity, x, order)
    scale = max(1.0, float(x.abs_upper()))
    h = left
    for k in (order - 1, order):
        size = float(local[k].abs_upper())
        if not math.isfinite(size):
            raise Refusal(
                "the velocity is not finite where the solution has come to: it may have left its domain"
            )
        if size > 0:
            # in logarithms: coefficients of high order overflow before the step is small
            exponent = (math.log2(scale) - _RESOLUTION - math.log2(size)) / k
            h = min(h, _power_of_two(math.floor(exponent)))
    smallest = left * _power_of_two(-(bits // 2))
    while h > smallest:
        length = _exact(h)
        box = _enclosure(velocity, x, length * ball(0.0).union(ball(1.0)))
        if box is not None:
            remainder = _coefficients(velocity, box, order)[order] * length**order
            # on a box the coefficient may be far above the point's, which h was chosen by
            if magnitude(remainder) <= scale * 2.0 ** (8 - _RESOLUTION):
                return sum((local[k] * length**k for k in range(order)), remainder), h
        h = _power_of_two(math.floor(math.log2(h)) - 1)
    raise Refusal(
        "no step could be validated: the solution may blow up before this time; ask for an earlier one"
    )


def _power_of_two(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def _exact(number: Fraction) -> Ball:
    """A ball around a dyadic number, of radius 0 where the precision allows."""
    return ball(number.numerator) / ball(number.denominator)


def _enclosure(velocity: Velocity, x: Ball, span: Ball) -> Ball | None:
    """B with x + [0, h] v(B) inside B, or None where a few inflations find none."""
    box = x + span * velocity(x)
    for _ in range(8):
        middle, radius = box.mid(), box.rad()
        box = middle + (radius * 2 + abs(middle).upper() * ball(2.0**-60)) * ball(-1.0).union(ball(1.0))
        image = x + span * velocity(box)
        if not image.is_finite():
            return None
        if box.contains_interior(image):
            return image
        box = box.union(image)
    return None


# Problems with one weight ----------------------------------------------------------------------------------


@float64
def scalar_velocity(problem: Problem) -> Velocity:
    """v(w) = −∂L/∂w_1 on the line w_1 = … = w_K = w of a chain of K scalar weights, for :func:`enclose_flow`.

    The network is Dense with all widths 1, linear, without bias: f(x) = w^K x (K = 1: a linear net of one weight). The
    line is invariant, because all ∂L/∂w_k are equal on it, provided that the decays of all layers are equal (checked).
    Losses: Square, Exponential, Logistic, any reduction.

    Raises
    ------
    ValueError : for any other problem.
    """
    network, loss = problem.network, problem.loss
    if not (isinstance(network, Dense) and network.linear and set(network.widths) == {1}):
        raise ValueError(
            "scalar_velocity takes a chain of scalar weights: write Dense.deep_linear((1, 1, …, 1))"
        )
    if not isinstance(loss, Square | Exponential | Logistic):
        raise ValueError(f"scalar_velocity knows Square, Exponential and Logistic, not {type(loss).__name__}")
    decays = set(np.atleast_1d(np.asarray(problem.decay, dtype=np.float64)).tolist())
    if len(decays) != 1:
        raise ValueError(
            f"decays {sorted(decays)} differ between layers, and equal weights do not stay equal"
        )
    decay, depth = decays.pop(), len(network.widths) - 1
    x = [float(value) for value in np.asarray(problem.data.inputs).ravel()]
    y = [float(value) for value in np.asarray(problem.data.targets).ravel()]
    count = len(x) if loss.reduction == "mean" else 1

    def slope(output: Any, target: float) -> Any:
        if isinstance(loss, Square):
            return (output - ball(target)) * (1 if loss.half else 2)
        sign = int(target)
        if isinstance(loss, Exponential):
            return -sign * (-sign * output).exp()
        return -sign / (1 + (sign * output).exp())

    def velocity(w: Any) -> Any:
        product, before = w**depth, w ** (depth - 1)
        terms = [ball(a) * before * slope(ball(a) * product, b) for a, b in zip(x, y, strict=True)]
        total = sum(terms[1:], terms[0])
        return -(ball(problem.factor) / count * total + ball(decay) * w)

    return velocity
