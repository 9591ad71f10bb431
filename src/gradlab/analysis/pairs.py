"""Paired comparisons: a mean difference with its interval, its size, and whether it is none, or not resolved.

Two methods answer the same M questions from the same n starts; d_{pm} is what one errs more than the other. Starts and
questions are both drawn, so that the mean of d has two sources of error, var_p(mean_m d)/n and var_m(mean_p d)/M; their
sum is no less than the variance of the mean (what both share is counted twice).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

#: What may be said of a difference: it is below a margin, it has a sign, or neither.
NONE, LOWER, HIGHER, OPEN = "no difference", "lower", "higher", "not resolved"


@dataclass(frozen=True)
class Comparison:
    """A mean difference of two methods over pairs.

    Attributes
    ----------
    mean, error : the mean of one less the other, and half the width of its interval.
    margin : what counts as a difference, fixed beforehand, in the same unit.
    effect, effect_error : mean over the standard deviation between pairs (Cohen's d of paired differences), and half
        of its interval, to leading order.
    pairs : n.
    """

    mean: float
    error: float
    margin: float
    effect: float
    effect_error: float
    pairs: int

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of the mean."""
        return self.mean - self.error, self.mean + self.error

    @property
    def word(self) -> str:
        """``no difference`` where the interval lies within the margin, ``lower`` or ``higher`` where it has a sign;

        else ``not resolved``: more pairs are needed, which is another answer than that there is no difference.
        """
        low, high = self.interval
        if -self.margin <= low and high <= self.margin:
            return NONE
        return LOWER if high < 0.0 else HIGHER if low > 0.0 else OPEN


def compared(differences: object, margin: float, confidence: float = 0.95) -> Comparison:
    """The mean of paired differences with an interval by Student's t, over pairs and over questions.

    Parameters
    ----------
    differences : (n,), or (n, M) with the same M questions in every pair.
    margin : what counts as a difference, ≥ 0.
    confidence : of the interval, two-sided.

    Raises
    ------
    ValueError
        For fewer than three pairs, numbers that are not finite, a negative margin, or a confidence outside (0, 1).

    Examples
    --------
    >>> import gradlab as gl
    >>> found = gl.claims.compared([0.010, 0.012, 0.008, 0.011, 0.009], margin=0.02)
    >>> round(found.mean, 3), found.word
    (0.01, 'no difference')
    >>> gl.claims.compared([0.3, -0.2, 0.1, -0.3, 0.2], margin=0.02).word
    'not resolved'
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim not in (1, 2) or len(d) < 3 or not np.isfinite(d).all():
        raise ValueError(
            f"differences have shape {d.shape}; give three pairs or more, (n,) or (n, M), finite"
        )
    if not (0.0 <= margin < np.inf and 0.0 < confidence < 1.0):
        raise ValueError(
            f"margin was {margin!r} and confidence {confidence!r}; write margin >= 0, confidence in (0, 1)"
        )
    whole = d[:, None] if d.ndim == 1 else d
    count, questions = whole.shape
    by_pair = whole.mean(axis=1)
    spread = float(by_pair.std(ddof=1))
    variance = spread**2 / count
    if questions > 1:
        variance += float(whole.mean(axis=0).var(ddof=1)) / questions
    # the fewer of both has the fewer degrees of freedom
    free = min(count, questions) - 1 if questions > 1 else count - 1
    quantile = float(stats.t.ppf(0.5 + confidence / 2.0, free))
    mean = float(by_pair.mean())
    effect = mean / spread if spread > 0.0 else 0.0 if mean == 0.0 else float(np.copysign(np.inf, mean))
    width = quantile * np.sqrt(1.0 / count + effect**2 / (2.0 * count)) if np.isfinite(effect) else np.inf
    return Comparison(mean, quantile * float(np.sqrt(variance)), margin, effect, float(width), count)
