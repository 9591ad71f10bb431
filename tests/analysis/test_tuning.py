"""Counts of iterations with a tuned step: on scalar quadratics, where they are known."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.analysis.tuning import Rule, iterations, tuned


class Quadratic(Rule):
    """Descent of ½ Σ λ_i w_i²; the level is the largest |w_i|."""

    values: Any

    def advance(self, state: Any, step: Any) -> Any:
        return state - step * self.values * state, jnp.max(jnp.abs(state))


ONE = Quadratic(jnp.array([1.0]))
START = jnp.array([1.0])


def test_counts_are_those_of_a_geometric_sequence() -> None:
    counts, alive = iterations(
        ONE, START, [0.1, 0.5, 1.0, 1.9, 2.1], np.array([1e-1, 1e-3]), 1000, whole=True
    )
    # |1 − η|ᵗ ≤ level
    for row, eta in zip(counts[:4], (0.1, 0.5, 1.0, 1.9), strict=True):
        factor = abs(1.0 - eta)
        wanted = [math.ceil(math.log(one) / math.log(factor)) if factor else 1 for one in (1e-1, 1e-3)]
        np.testing.assert_array_equal(row, wanted)
    assert np.isinf(counts[4]).all()
    assert list(alive) == [True, True, True, True, False]


def test_what_passes_by_has_not_arrived() -> None:
    # η = 1/2 zeroes the first at once; the second, of λ = 5, grows from 10⁻⁶ by 3/2 an iteration
    rule = Quadratic(jnp.array([2.0, 5.0]))
    counts, _ = iterations(rule, jnp.array([1.0, 1e-6]), [0.5, 0.2], np.array([1e-3]), 2000, whole=True)
    assert counts[0, 0] == 1.0  # kept for a quarter of it and ten more
    counts, _ = iterations(rule, jnp.array([1.0, 1e-4]), [0.5, 0.2], np.array([1e-3]), 2000, whole=True)
    assert np.isinf(counts[0, 0])
    assert np.isfinite(counts[1, 0])


def test_the_best_step_of_an_ill_conditioned_quadratic_is_below_two_over_the_largest() -> None:
    rule = Quadratic(jnp.array([1.0, 100.0]))
    found = tuned(rule, jnp.ones(2), 1e-2, np.array([1e-2]), 100_000)
    assert not found.edge
    # 2/(λ_min + λ_max) is optimal
    assert found.best_steps[0] == pytest.approx(2.0 / 101.0, rel=0.2)
    exact = math.log(1e-2) / math.log(1.0 - found.best_steps[0])
    assert found.best[0] == math.ceil(exact)
    assert found.coarse[0] >= found.best[0]


@pytest.mark.parametrize("centre", [1e-6, 1e4])
def test_the_grid_is_extended_until_the_best_is_inside(centre: float) -> None:
    found = tuned(ONE, START, centre, np.array([1e-3]), 500, decades=(1, 1), extensions=6)
    assert not found.edge
    assert found.best[0] <= 2.0
    assert found.steps[0] < found.best_steps[0] < found.steps[-1]
    np.testing.assert_allclose(np.diff(np.log10(found.steps)), 1.0 / 16.0)


class Signs(Rule):
    """w ← w − η sign w, which never comes nearer than η/2 or so, and never diverges."""

    scale: Any = 1.0

    def advance(self, state: Any, step: Any) -> Any:
        return state - step * self.scale * jnp.sign(state), jnp.abs(state)[0]


def test_for_a_level_that_no_step_reached_smaller_ones_are_tried() -> None:
    found = tuned(Signs(), jnp.array([0.995]), 0.3, np.array([0.5, 0.02]), 2000, decades=(0.5, 0.5))
    assert np.isfinite(found.best).all()
    assert found.best_steps[1] < 0.05 < found.best_steps[0]


def test_a_grid_that_is_still_hit_says_so() -> None:
    assert tuned(ONE, START, 1e-6, np.array([1e-3]), 500, decades=(1, 1), extensions=0).edge


def test_slower_than_the_best_by_far_is_not_counted() -> None:
    counts, _ = iterations(ONE, START, [0.01, 0.5], np.array([1e-3]), 10_000)
    assert counts[1, 0] == 10.0
    assert np.isinf(counts[0, 0])
