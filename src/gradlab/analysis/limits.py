"""The limit of a sequence that is known at finitely many times, and how it is approached.

A power of small exponent looks like a logarithm over a few decades, and the two have different limits. A kind of
approach is named only where its residuals are noise and those of the other kinds are not; otherwise the answer is
"undecided", and the limit is known as far as the kinds that fit agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

#: Kinds of approach: x = a + b u + c u², with u = e^{−rt}, t^{−r} or 1/log(t/τ).
APPROACHES = ("exponential", "power", "logarithm")
#: Records below which nothing is said.
FEWEST = 12
#: Durbin and Watson's Σ(r_{i+1} − r_i)²/Σ r_i² is 2 for noise, with standard deviation 2/√n, and near 0 for residuals
#: that follow a curve.
_NOISE = 1.3
#: A kind is named if the others leave so many times as much.
_CLEAR = 3.0
_ROUNDING = 8.0 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Limit:
    """The limit of a sequence, the kind of approach, and how well every kind fits.

    Attributes
    ----------
    kind : ``exponential``, ``power``, ``logarithm``, ``constant`` (no motion is seen), or ``undecided``.
    value, error : the limit, with its bar: two standard errors and the shift if the earlier half is left out; over all
        kinds that fit where undecided; infinite where none does.
    rate, rate_error : r of e^{−rt} (one over the unit of t) or of t^{−r} (a number); NaN where neither is decided.
    residuals : root mean square of the residuals of every kind, in the unit of the values.
    why : one sentence.
    """

    kind: str
    value: float
    error: float
    rate: float
    rate_error: float
    residuals: Mapping[str, float]
    why: str


@dataclass(frozen=True)
class _Fit:
    """One kind fitted to one window."""

    residual: float
    fits: bool
    value: float
    error: float
    rate: float
    rate_error: float


def fit_limit(times: Any, values: Any, errors: Any = 0.0, *, logarithmic: bool = False) -> Limit:
    """This fits x = a + b u + c u², u = e^{−rt}, t^{−r} or 1/log(t/τ), and says which of the three it is.

    Each kind is tried with c = 0 and, where that leaves a curve, with a correction of at most half the leading term.
    A kind fits if its residuals are below the errors that are given (or rounding), or cannot be told from noise. One is
    named if it fits and the others leave three times as much. The window is the widest of all records, the last three
    quarters and the last half of log t in which some kind fits.

    Parameters
    ----------
    times : (n,), increasing; those ≤ 0 are left out. Records at equal distances of log t tell most.
    values : (n,).
    errors : of the values, one or (n,): what of them is smooth and no noise, as a solver's error is.
    logarithmic : ``times`` are log t, of times beyond every float.

    Raises
    ------
    ValueError
        For shapes that differ, times that do not increase, numbers that are not finite, or fewer than twelve records.

    Notes
    -----
    Checked: nothing but the residuals. An approach of another kind, 1/log log t or a sum of several powers, is
    undecided where its residuals show it, and else taken for what it looks like over the times that are given.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> t = np.geomspace(1.0, 1e6, 31)
    >>> found = gl.claims.fit_limit(t, 2.0 + t**-0.05)
    >>> found.kind, round(found.value, 6), round(found.rate, 6)
    ('power', 2.0, 0.05)
    """
    s, x, e = _checked(times, values, errors, logarithmic)
    floor = max(_ROUNDING * float(np.abs(x).max()), float(np.sqrt(np.mean(e**2))))
    centred = x - x.mean()
    if _noise(centred, floor):
        spread = max(2.0 * float(np.std(x, ddof=1)), floor)
        said = "no motion is seen beyond noise"
        return Limit("constant", float(x.mean()), spread, math.nan, math.nan, {}, said)
    found: dict[str, _Fit] = {}
    for share in (1.0, 0.75, 0.5):
        window = s >= s[-1] - share * (s[-1] - s[0])
        if window.sum() < FEWEST:
            break
        found = {kind: _fitted(kind, s[window], x[window], floor) for kind in APPROACHES}
        if any(fit.fits for fit in found.values()):
            late = s >= s[-1] - 0.5 * share * (s[-1] - s[0])
            return _said(found, s[late], x[late], floor)
    return _said(found, s[:0], x[:0], floor)


def _said(found: Mapping[str, _Fit], s: np.ndarray, x: np.ndarray, floor: float) -> Limit:
    """The limit from the fits of one window; ``s``, ``x`` are log t and x of its later half."""
    residuals = {kind: fit.residual for kind, fit in found.items()}
    least = max(min(residuals.values(), default=math.inf), floor)
    near = {kind: fit for kind, fit in found.items() if fit.fits or fit.residual <= _CLEAR * least}
    fits = [kind for kind, fit in near.items() if fit.fits]
    if not fits:
        why = (
            "none of the three kinds fits: what they leave follows a curve, or too few records see the motion"
        )
        return Limit("undecided", math.nan, math.inf, math.nan, math.nan, residuals, why)
    shifts = {kind: _shift(kind, fit, s, x, floor) for kind, fit in near.items()}
    if len(near) == 1 and math.isfinite(near[fits[0]].error):
        fit, (moved, faster) = near[fits[0]], shifts[fits[0]]
        why = f"{fits[0]} leaves noise, the others at least {_CLEAR:g} times as much"
        error, rate_error = fit.error + moved, fit.rate_error + faster
        return Limit(fits[0], fit.value, error, fit.rate, rate_error, residuals, why)
    low = min(fit.value - fit.error - shifts[kind][0] for kind, fit in near.items())
    high = max(fit.value + fit.error + shifts[kind][0] for kind, fit in near.items())
    why = (
        f"not told apart: {', '.join(near)}"
        if len(near) > 1
        else f"{fits[0]} fits, at the border of its rates"
    )
    if not math.isfinite(high - low):
        return Limit("undecided", math.nan, math.inf, math.nan, math.nan, residuals, why)
    return Limit("undecided", (low + high) / 2.0, (high - low) / 2.0, math.nan, math.nan, residuals, why)


def _shift(kind: str, fit: _Fit, s: np.ndarray, x: np.ndarray, floor: float) -> tuple[float, float]:
    """How far limit and rate move if only the later half is fitted."""
    if len(s) < FEWEST:
        return 0.0, 0.0
    late = _fitted(kind, s, x, floor)
    return (
        (abs(late.value - fit.value), abs(late.rate - fit.rate)) if math.isfinite(late.error) else (0.0, 0.0)
    )


def _noise(residuals: np.ndarray, floor: float) -> bool:
    """Whether residuals are below what is known of the values, or cannot be told from noise."""
    square = float(np.sum(residuals**2))
    if square <= len(residuals) * floor**2:
        return True
    return float(np.sum(np.diff(residuals) ** 2)) >= _NOISE * square


def _fitted(kind: str, s: np.ndarray, x: np.ndarray, floor: float) -> _Fit:
    """The kind with as few terms as leave noise."""
    plain = _with_terms(kind, 1, s, x, floor)
    if plain.fits:
        return plain
    mended = _with_terms(kind, 2, s, x, floor)
    # a correction that is needed moves the limit: by how much, its bar should know
    return replace(mended, error=mended.error + abs(mended.value - plain.value)) if mended.fits else plain


def _clock(kind: str, s: np.ndarray) -> np.ndarray:
    """What u decreases in: t in units of the last one for an exponential, else log t; zero at the first record."""
    return np.exp(s - s[-1]) - np.exp(s[0] - s[-1]) if kind == "exponential" else s - s[0]


def _basis(kind: str, z: np.ndarray, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """u, one at the first record, and du/dθ: e^{−rz} with r = e^θ, or h/(z + h) with h = e^θ."""
    scale = math.exp(theta)
    if kind == "logarithm":
        return scale / (z + scale), scale * z / (z + scale) ** 2
    u = np.exp(-scale * z)
    return u, -scale * z * u


def _with_terms(kind: str, terms: int, s: np.ndarray, x: np.ndarray, floor: float) -> _Fit:
    z = _clock(kind, s)
    # between a straight line and a jump after the first record
    ends = (-math.log(50.0 * z[-1]), math.log(3.0 / max(z[1], 1e-12 * z[-1])))
    if kind == "logarithm":
        ends = (math.log(z[1] / 100.0), math.log(50.0 * z[-1]))
    grid = np.linspace(*ends, 60)
    theta = min(grid, key=lambda one: float(np.sum(_projected(kind, terms, z, x, one)[1] ** 2)))
    for _ in range(40):
        theta, moved = _improved(kind, terms, z, x, float(theta))
        if moved <= 1e-15:
            break
    weights, residuals = _projected(kind, terms, z, x, theta)
    u, slope = _basis(kind, z, theta)
    inside = ends[0] + 0.05 < theta < ends[1] - 0.05
    small = terms == 1 or abs(weights[2]) * u[-1] <= 0.5 * abs(weights[1])
    sigma = max(float(np.sqrt(np.sum(residuals**2) / max(len(x) - terms - 2, 1))), floor)
    seen = int(np.sum(np.abs(weights[1] * u) > 10.0 * sigma)) >= terms + 3
    along = slope * (weights[1] + (2.0 * weights[2] * u if terms == 2 else 0.0))
    columns = np.column_stack([*(u**power for power in range(terms + 1)), along])
    bars = 2.0 * sigma * np.linalg.norm(np.linalg.pinv(columns, rcond=1e-15), axis=1)
    unit = -float(s[-1]) if kind == "exponential" else 0.0
    rate = math.nan if kind == "logarithm" else math.exp(theta + unit)
    rms = float(np.sqrt(np.mean(residuals**2)))
    return _Fit(
        rms,
        small and seen and _noise(residuals, floor),
        float(weights[0]),
        float(bars[0]) if inside else math.inf,
        rate,
        rate * float(bars[-1]),
    )


def _projected(
    kind: str, terms: int, z: np.ndarray, x: np.ndarray, theta: float
) -> tuple[np.ndarray, np.ndarray]:
    """The best a, b (and c) for one θ, and what they leave."""
    u, _ = _basis(kind, z, theta)
    columns = np.column_stack([u**power for power in range(terms + 1)])
    weights = np.linalg.lstsq(columns, x, rcond=None)[0]
    return weights, x - columns @ weights


def _improved(kind: str, terms: int, z: np.ndarray, x: np.ndarray, theta: float) -> tuple[float, float]:
    """One step of Gauss and Newton in θ, halved until it helps; and how far it went."""
    weights, residuals = _projected(kind, terms, z, x, theta)
    u, slope = _basis(kind, z, theta)
    along = slope * (weights[1] + (2.0 * weights[2] * u if terms == 2 else 0.0))
    columns = np.column_stack([*(u**power for power in range(terms + 1)), along])
    step = float(np.linalg.lstsq(columns, residuals, rcond=None)[0][-1])
    before = float(np.sum(residuals**2))
    step = math.copysign(min(abs(step), 1.0), step)
    while abs(step) > 1e-16:
        if float(np.sum(_projected(kind, terms, z, x, theta + step)[1] ** 2)) < before:
            return theta + step, abs(step)
        step /= 2.0
    return theta, 0.0


def _checked(
    times: Any, values: Any, errors: Any, logarithmic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log t, values and errors, of the times after zero."""
    t, x = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if t.ndim != 1 or x.shape != t.shape:
        raise ValueError(f"times have shape {t.shape} and values {x.shape}; give one value a time, both (n,)")
    e = np.broadcast_to(np.asarray(errors, dtype=np.float64), x.shape)
    after = t > (-np.inf if logarithmic else 0.0)
    t, x, e = t[after], x[after], e[after]
    if not (
        np.isfinite(t).all() and np.isfinite(x).all() and np.isfinite(e).all() and (np.diff(t) > 0.0).all()
    ):
        raise ValueError(
            "times, values and errors must be finite, and times increase; where t is beyond every float give log t "
            "and logarithmic=True"
        )
    if len(t) < FEWEST:
        raise ValueError(f"{len(t)} records after t = 0; give at least {FEWEST}, at equal distances of log t")
    return (t if logarithmic else np.log(t)), x, e
