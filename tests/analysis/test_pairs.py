"""Paired comparisons: intervals that hold the truth as often as they say, and words that follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.pairs import HIGHER, LOWER, NONE, OPEN, compared


def test_the_interval_of_pairs_is_students() -> None:
    found = compared([1.0, 2.0, 3.0, 4.0], margin=0.1)
    # t of three degrees of freedom is 3.18245, the standard error (5/3)^{1/2}/2
    assert found.mean == 2.5
    assert found.error == pytest.approx(3.182446 * np.sqrt(5.0 / 3.0) / 2.0, rel=1e-6)
    assert found.effect == pytest.approx(2.5 / np.sqrt(5.0 / 3.0))


def test_the_interval_holds_the_mean_over_starts_and_questions() -> None:
    # d = pair + question + noise, all of mean 0: the interval holds 0 in 95 % of draws or more
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        d = rng.normal(size=(12, 1)) + 2.0 * rng.normal(size=(1, 30)) + 3.0 * rng.normal(size=(12, 30))
        found = compared(d, margin=0.1)
        held += abs(found.mean) <= found.error
    assert held >= 376  # 380 less one standard deviation


@pytest.mark.parametrize(
    ("shift", "spread", "word"), [(0.0, 0.01, NONE), (0.0, 1.0, OPEN), (1.0, 0.1, HIGHER), (-1.0, 0.1, LOWER)]
)
def test_no_difference_is_not_the_same_as_not_resolved(shift: float, spread: float, word: str) -> None:
    assert compared(shift + spread * np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), margin=0.05).word == word


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="three pairs"):
        compared([1.0, 2.0], margin=0.1)
    with pytest.raises(ValueError, match="margin"):
        compared([1.0, 2.0, 3.0], margin=-0.1)
