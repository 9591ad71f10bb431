"""Spectral density and trace: moments that are exact, error bars that hold."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gradlab.observe.spectrum import Matrix, density, trace
from gradlab.observe.spectrum.density import truncation


def matrix_of(values: np.ndarray) -> np.ndarray:
    """A dense matrix with these eigenvalues."""
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((len(values), len(values))))[0]
    matrix = (q * values) @ q.T
    return 0.5 * (matrix + matrix.T)


VALUES = np.r_[np.random.default_rng(1).normal(0.0, 0.3, 480), np.linspace(2.0, 4.0, 20)]
MATRIX = matrix_of(VALUES)


def bell(points: np.ndarray, values: np.ndarray, width: float) -> np.ndarray:
    """The broadened density of all eigenvalues."""
    z = (points[:, None] - values) / width
    return np.exp(-0.5 * z**2).mean(axis=1) / (np.sqrt(2.0 * np.pi) * width)


def test_quadratures_have_the_moments_of_their_probes_up_to_twice_the_steps() -> None:
    steps = 6
    found = density(Matrix(MATRIX), probes=3, steps=steps)
    generator = np.random.default_rng(0)
    generator.standard_normal((1, len(VALUES)))  # what the scale is read from
    probes = generator.standard_normal((3, len(VALUES)))
    probes /= np.linalg.norm(probes, axis=1)[:, None]
    power = probes
    for degree in range(2 * steps):
        exact = np.einsum("ij,ij->i", power, probes)
        here = np.sum(found.masses * found.nodes**degree, axis=1)
        np.testing.assert_allclose(here, exact, rtol=1e-9, atol=1e-9 * 4.0**degree)
        power = power @ MATRIX


def test_the_error_bars_of_the_density_hold() -> None:
    """Over 20 seeds and points where probes differ: beyond 3 standard errors of 12 probes a Student t of 11 degrees
    lies with probability 1.2 %; 5 % are allowed."""
    points, outside, width = np.linspace(-0.8, 4.2, 41), [], 0.25
    exact = bell(points, VALUES, width)
    for seed in range(20):
        value, error, bound = density(Matrix(MATRIX), probes=12, steps=40, seed=seed).at(points, width)
        outside.append(np.abs(value - exact) > 3.0 * error + bound)
    assert np.mean(outside) < 0.05


def test_truncation_alone_is_within_its_bound() -> None:
    """The same probes with many more steps have no truncation error: the difference is that of the few."""
    points = np.linspace(-1.0, 4.5, 50)
    many = density(Matrix(MATRIX), probes=4, steps=120)
    for steps in (10, 20, 40):
        few = density(Matrix(MATRIX), probes=4, steps=steps)
        for width in (0.2, 0.5):
            bound = few.at(points, width)[2]
            difference = np.max(np.abs(few.at(points, width)[0] - many.at(points, width)[0]))
            assert difference <= bound + many.at(points, width)[2] + 1e-12


def test_the_truncation_bound_falls_with_the_steps_and_is_small_at_the_suggested_width() -> None:
    bounds = [truncation(steps, 2.0, 0.1) for steps in (10, 20, 40, 80)]
    assert all(after < before for before, after in pairwise(bounds))
    found = density(Matrix(MATRIX), probes=2, steps=40)
    peak = 1.0 / (np.sqrt(2.0 * np.pi) * found.width)
    assert found.at([0.0])[2] <= 1e-2 * peak


@pytest.mark.parametrize("value", [0.0, -2.0, 1e-200])
def test_multiples_of_the_identity_have_one_node(value: float) -> None:
    found = density(Matrix(value * np.eye(40)), probes=3, steps=8)
    assert np.all(np.sum(found.masses, axis=1) == pytest.approx(1.0))
    np.testing.assert_allclose(found.nodes[found.masses > 1e-12], value, rtol=1e-12)
    mean, error = found.moment(1)
    assert mean == pytest.approx(value, rel=1e-12)
    assert error <= 1e-12 * abs(value)


def test_the_trace_is_within_its_error() -> None:
    exact, misses = float(np.sum(VALUES)), 0
    for seed in range(40):
        found = trace(Matrix(MATRIX), products=48, seed=seed)
        misses += abs(found.value - exact) > 3.0 * found.error
    assert misses <= 3  # Student t of 15 degrees beyond 3: 0.9 % of 40; three or more with probability 0.6 %


def test_the_trace_of_low_rank_is_exact() -> None:
    values = np.r_[np.arange(1.0, 9.0), np.zeros(92)]
    found = trace(Matrix(matrix_of(values)), products=48)
    assert found.value == pytest.approx(36.0, rel=1e-10)
    assert found.error <= 1e-9


def test_the_trace_of_few_weights_is_exact() -> None:
    found = trace(Matrix(np.diag([1.0, 2.0, 4.0])), products=9)
    assert (found.value, found.error) == (pytest.approx(7.0, rel=1e-14), 0.0)


def test_misuse_is_answered_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="error bars need 2 probes"):
        density(Matrix(MATRIX), probes=1)
    with pytest.raises(ValueError, match="6 or more"):
        trace(Matrix(MATRIX), products=2)
    with pytest.raises(ValueError, match="width was 0"):
        density(Matrix(np.zeros((5, 5))), steps=3).at([0.0])


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[str, float, float]] = []
    density(Matrix(MATRIX), probes=10, steps=5, progress=lambda *what: told.append(what))
    assert told[-1] == ("spectral density", 50, 50)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
