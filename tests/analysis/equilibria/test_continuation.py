"""Branches in the decay: ½(w₂w₁ − 1)² + ½λ(w₁² + w₂²) has minima w₁ = w₂ = √(1 − λ) and a pitchfork at λ = 1."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab import Data, Dense, Square
from gradlab.analysis.equilibria.continuation import follow
from gradlab.problem.problem import Problem

CHAIN = Problem(Dense.deep_linear((1, 1, 1)), Square(half=True), Data([[1.0]], [[1.0]]))


def weights(value: float) -> tuple[np.ndarray, ...]:
    return tuple(np.array([[value]]) for _ in range(2))


def test_the_branch_is_the_closed_form_and_its_kernel_is_born_at_zero_decay() -> None:
    branch = follow(CHAIN, weights(0.7), (0.5, 0.2, 0.05, 0.0))
    assert branch.complete
    for station in branch.stations:
        exact = np.sqrt(1.0 - station.decay)
        np.testing.assert_allclose(station.polished.weights, np.full((2, 1, 1), exact), atol=1e-12)
        # dW/dλ = −1/(2√(1 − λ)) in both weights
        assert station.speed == pytest.approx(np.sqrt(2.0) / (2.0 * exact), rel=1e-8)
        # eigenvalues 2(1 − λ) along (1, 1) and 2λ along (1, −1)
        assert station.least == pytest.approx(
            min(x for x in (2.0 * (1.0 - station.decay), 2.0 * station.decay) if x > 0.0), rel=1e-9
        )
    assert [(before, after) for before, after, _ in branch.changes] == [(0.05, 0.0)]
    assert "kernel changes: inertia (0, 0, 2) becomes (0, 1, 1)" in branch.changes[0][2]


def test_the_origin_changes_stability_at_the_pitchfork() -> None:
    branch = follow(CHAIN, weights(0.0), (0.5, 0.9, 1.1))
    assert branch.complete
    assert [(before, after) for before, after, _ in branch.changes] == [(0.9, 1.1)]
    assert "eigenvalues cross zero: inertia (1, 0, 1) becomes (0, 0, 2)" in branch.changes[0][2]


def test_a_branch_that_ends_is_said_to_end() -> None:
    branch = follow(CHAIN, weights(0.7), (0.5, 0.9, 1.2))
    assert not branch.complete
    assert len(branch.stations) == 2
    assert "ends or turns between" in branch.why


def test_bad_decays_are_refused_and_a_start_far_from_equilibria_is_a_value() -> None:
    with pytest.raises(ValueError, match="λ ≥ 0"):
        follow(CHAIN, weights(0.7), (-1.0,))
    with pytest.raises(ValueError, match="λ ≥ 0"):
        follow(CHAIN, weights(0.7), ())
