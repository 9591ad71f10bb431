"""Scaling laws: fabricated series get their names and exponents, what looks alike stays undecided."""

from __future__ import annotations

import numpy as np
import pytest

import gradlab as gl

SIZES = np.geomspace(1e-6, 1e-1, 13)


@pytest.mark.parametrize("exponent", [0.1, 1.0 / 3.0, 0.5, 1.0, 2.5])
def test_a_power_has_its_exponent(exponent: float) -> None:
    found = gl.claims.scaling_law(SIZES, 2.0 * SIZES**-exponent + 0.3)
    assert found.kind == "power"
    assert found.exponent == pytest.approx(exponent, abs=1e-6)
    low, high = found.interval
    assert low <= exponent <= high


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_of_a_noisy_power_holds_the_exponent(seed: int) -> None:
    noise = 1.0 + 0.01 * np.random.default_rng(seed).standard_normal(13)
    found = gl.claims.scaling_law(SIZES, SIZES**-0.5 * noise)
    assert found.kind == "power"
    assert abs(found.exponent - 0.5) <= found.error < 0.05


def test_logarithm_exponential_and_constant_are_named() -> None:
    assert gl.claims.scaling_law(SIZES, 1.0 + 2.0 * np.log(1.0 / SIZES)).kind == "logarithm"
    assert gl.claims.scaling_law(SIZES, np.full(13, 3.0)).kind == "constant"
    depths = np.arange(3.0, 13.0)
    found = gl.claims.scaling_law(depths, 0.2 * np.exp(1.5 * depths))
    assert found.kind == "exponential"
    assert found.exponent == pytest.approx(-1.5, abs=1e-6)


def test_a_small_power_in_noise_is_not_named() -> None:
    noise = 1.0 + 0.05 * np.random.default_rng(0).standard_normal(13)
    assert gl.claims.scaling_law(SIZES, SIZES**-0.03 * noise).kind in ("undecided", "logarithm", "constant")


def test_what_follows_no_law_is_undecided() -> None:
    wave = 2.0 + np.sin(np.log(SIZES))
    assert gl.claims.scaling_law(SIZES, wave).kind == "undecided"


def test_what_is_no_series_is_refused() -> None:
    with pytest.raises(ValueError, match="one value a size"):
        gl.claims.scaling_law(SIZES, SIZES[:3])
    with pytest.raises(ValueError, match="positive"):
        gl.claims.scaling_law(SIZES, -SIZES)
    with pytest.raises(ValueError, match="increasing"):
        gl.claims.scaling_law(SIZES[::-1], SIZES)
