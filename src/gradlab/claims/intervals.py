"""Means, differences and rank correlations over seeds, as numbers whose bar is the half-width of an interval.

A number with such a bar, against a margin that was fixed before, has three answers. Its whole interval is within the
margin: *no difference* that matters; wholly beyond it: a difference; else it is *not resolved*, which more seeds may
change. ``needed`` says how many.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm, rankdata, t

from gradlab.claims.measured import Number

#: Of all intervals over seeds.
CONFIDENCE = 0.99


def mean_over(values: np.ndarray, grain: float = 0.0, confidence: float = CONFIDENCE) -> Number:
    """The mean over seeds and the half-width of Student's interval; infinite for one seed, NaN if a value is.

    ``grain``, what a single value is rounded to (1/M of a share of M examples), is added over √seeds: seeds that
    agree by chance are no certainty.
    """
    values = np.asarray(values, dtype=np.float64)
    count = len(values)
    if count < 2:
        return Number(float(np.mean(values)), math.inf)
    half = float(t.ppf(0.5 + 0.5 * confidence, count - 1) * np.std(values, ddof=1) / math.sqrt(count))
    return Number(float(np.mean(values)), half + grain / math.sqrt(count))


def needed(effect: float, deviation: float, confidence: float = CONFIDENCE, power: float = 0.9) -> int:
    """How many seeds resolve an effect of that size, seeds deviating so much, that often (normal approximation)."""
    quantiles = norm.ppf(0.5 + 0.5 * confidence) + norm.ppf(power)
    return max(2, math.ceil((quantiles * deviation / effect) ** 2))


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation: that of the ranks, ties at their mean; 0 where either does not vary."""
    ours, theirs = (rankdata(one) - 0.5 * (len(one) + 1) for one in (x, y))
    size = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float(ours @ theirs) / size if size > 0.0 else 0.0
