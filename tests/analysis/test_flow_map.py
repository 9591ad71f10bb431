"""A saddle whose manifolds are known: ẋ = −x, ẏ = y + 3x², so that y = −x² is stable and x = 0 unstable."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.flow_map import flow_map, invariant_manifold


def flow(points, time):
    x, y = np.asarray(points).T
    return np.stack([x * np.exp(-time), (y + x**2) * np.exp(time) - x**2 * np.exp(-2.0 * time)], axis=1)


@pytest.fixture(scope="module")
def seen():
    return flow_map(flow, 2, 1e-3, 1.0)


def test_the_derivative_and_its_rates_are_those_of_the_linear_part(seen):
    np.testing.assert_allclose(seen.derivative, np.diag([np.exp(-1.0), np.exp(1.0)]), atol=1e-9)
    np.testing.assert_allclose(np.sort(seen.rates), [-1.0, 1.0], atol=1e-9)
    assert seen.growing == (1.0, 0.0)


def test_a_direction_at_rest_is_undecided():
    still = flow_map(lambda points, time: points * [np.exp(-time), 1.0], 2, 1e-3, 1.0)
    assert still.growing.error == 1.0


@pytest.mark.parametrize("stable", [True, False])
def test_shooting_finds_the_manifolds(seen, stable):
    x, y = invariant_manifold(flow, seen, 0.3, 5, stable=stable).T
    if stable:
        np.testing.assert_allclose(y, -(x**2), atol=1e-8)
    np.testing.assert_allclose(np.abs(x if stable else y), 0.3, atol=1e-8)
    assert stable or np.max(np.abs(x)) < 1e-8
