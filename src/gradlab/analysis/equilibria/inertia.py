"""Inertia: how many eigenvalues are negative, zero and positive, and the gap that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

#: A non-zero eigenvalue must be so many times what zero means numerically. Bounds are orders of magnitude, and the
#: constants in front of them can be wrong by a factor of ten or a hundred; a thousand is not among them.
GAP = 1e3


@dataclass(frozen=True)
class Inertia:
    """Counts of the signs of eigenvalues; they say something only where ``decided``.

    Attributes
    ----------
    negative, zero, positive : counts; where undecided they are the best guess, and ``str()`` does not show them.
    decided : whether a gap of at least ``GAP`` separates zero from non-zero.
    threshold : a size |λ| between the two classes: the geometric middle of the least non-zero |λ| and what zero
        means.
    gap : the least ratio of a |λ| counted non-zero to its own bound and to the largest bound of a zero; ∞ where
        everything is zero.
    why : one sentence.
    """

    negative: int
    zero: int
    positive: int
    decided: bool
    threshold: float
    gap: float
    why: str

    def __str__(self) -> str:
        if not self.decided:
            return f"undecided: {self.why}"
        return f"({self.negative}, {self.zero}, {self.positive}), gap {self.gap:.1e}"


def inertia(values: Any, bounds: Any) -> Inertia:
    """This counts (n₋, n₀, n₊) of eigenvalues known up to bounds, or says *undecided*.

    λ counts as zero exactly if |λ| ≤ its bound. The count is decided if every non-zero |λ| is at least ``GAP`` times
    its own bound and the largest bound of a value counted zero, which is what zero means numerically.

    Parameters
    ----------
    values : (P,), all eigenvalues of a symmetric matrix in any order.
    bounds : (P,) or a number ≥ 0: an exact eigenvalue lies within the bound of each value.

    Raises
    ------
    ValueError
        For values or bounds that are not finite, negative bounds, shapes that do not fit, or float32.

    Examples
    --------
    >>> import gradlab as gl
    >>> str(gl.equilibria.inertia([-1.0, 1e-17, 2.0], 1e-12))[:9]
    '(1, 1, 1)'
    """
    lam, within = _checked(values, bounds)
    size = np.abs(lam)
    zero = size <= within
    counts = int(np.sum((lam < 0.0) & ~zero)), int(zero.sum()), int(np.sum((lam > 0.0) & ~zero))
    least = float(size[~zero].min(initial=np.inf))
    # what zero stands for; each non-zero value must also be far above its own bound
    level = float(within[zero].max(initial=0.0))
    meant = np.maximum(within[~zero], level)
    with np.errstate(divide="ignore"):
        gap = float(np.min(np.where(meant > 0.0, size[~zero] / meant, np.inf), initial=np.inf))
    low = float(meant.max(initial=level)) if not zero.all() else level
    threshold = float(np.sqrt(least * low)) if np.isfinite(least) else low
    decided = gap >= GAP
    return Inertia(*counts, decided, threshold, gap, _why(counts, least, level, gap, decided))


def _why(counts: tuple[int, int, int], least: float, level: float, gap: float, decided: bool) -> str:
    if not np.isfinite(least):
        return f"all {counts[1]} eigenvalues are zero within {level:.1e}"
    if not decided:
        return (
            f"the least eigenvalue counted non-zero, {least:.1e}, is only {gap:.1f} times what zero means "
            f"numerically; {GAP:.0f} times is asked"
        )
    if not counts[1]:
        return f"no eigenvalue is zero: the least in size, {least:.1e}, is {gap:.1e} times its bound"
    return f"zero is within {level:.1e}, and the next eigenvalue, {least:.1e}, is {gap:.1e} times that"


def _checked(values: Any, bounds: Any) -> tuple[np.ndarray, np.ndarray]:
    given = np.asarray(values)
    if given.dtype == np.float32 or np.asarray(bounds).dtype == np.float32:
        raise ValueError(
            "eigenvalues or bounds are float32, in which zero cannot be told: compute in float64"
        )
    lam = given.astype(np.float64)
    if lam.ndim != 1 or not lam.size:
        raise ValueError(f"eigenvalues have shape {lam.shape}; give all P of them, shape (P,)")
    within = np.asarray(bounds, dtype=np.float64)
    if within.shape not in ((), lam.shape):
        raise ValueError(
            f"bounds have shape {within.shape}; give one number or one a value, shape {lam.shape}"
        )
    within = np.broadcast_to(within, lam.shape)
    if not (np.isfinite(lam).all() and np.isfinite(within).all() and (within >= 0.0).all()):
        raise ValueError("eigenvalues or bounds are not finite, or a bound is negative; give finite numbers")
    return lam, within
