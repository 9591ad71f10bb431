"""Limits of sequences whose limit is known: powers, logarithms and exponentials are told apart, or nothing is said."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.limits import fit_limit

SEQUENCES = {
    "t^-0.02": ("power", lambda t: 2.0 + t**-0.02),
    "t^-0.05": ("power", lambda t: 2.0 + t**-0.05),
    "t^-0.1": ("power", lambda t: 2.0 + t**-0.1),
    "t^-1": ("power", lambda t: 2.0 + 1.0 / t),
    "t^-1/2 with a correction": ("power", lambda t: 2.0 + t**-0.5 + 0.3 / t),
    "1/log t": ("logarithm", lambda t: 2.0 + 1.0 / np.log(3.0 * t)),
    "1/log t, later": ("logarithm", lambda t: 2.0 + 1.0 / np.log(30.0 * t)),
    "1/(log t + log log t)": (
        "logarithm",
        lambda t: 2.0 + 1.0 / (np.log(3.0 * t) + np.log1p(np.log(3.0 * t))),
    ),
    "e^-t/50": ("exponential", lambda t: 2.0 + np.exp(-t / 50.0)),
    "log t": ("no limit", np.log),
    "t^0.2": ("no limit", lambda t: t**0.2),
    "1/log² t": ("another", lambda t: 2.0 + 1.0 / np.log(3.0 * t) ** 2),
    "1/√log t": ("another", lambda t: 2.0 + 1.0 / np.sqrt(np.log(3.0 * t))),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_kind_that_is_named_is_the_right_one(name: str) -> None:
    kind, sequence = SEQUENCES[name]
    random = np.random.default_rng(1)
    for until in (1e3, 1e6, 1e12):
        for noise in (0.0, 1e-9, 1e-4, 1e-2):
            for records in (13, 31):
                t = np.geomspace(1.0, until, records)
                found = fit_limit(t, sequence(t) * (1.0 + noise * random.standard_normal(records)))
                assert found.kind in (kind, "undecided"), (until, noise, records, found)


@pytest.mark.parametrize(
    "name", [name for name, (kind, _) in SEQUENCES.items() if kind in ("power", "logarithm")][:7]
)
def test_without_noise_the_kind_is_named_and_the_limit_lies_in_its_bar(name: str) -> None:
    kind, sequence = SEQUENCES[name]
    t = np.geomspace(1.0, 1e6, 31)
    found = fit_limit(t, sequence(t))
    assert found.kind == kind
    assert abs(found.value - 2.0) <= found.error + 1e-9
    assert found.error < 1e-2


@pytest.mark.parametrize("exponent", [0.05, 0.3, 1.0])
def test_the_exponent_lies_in_its_bar(exponent: float) -> None:
    random, t = np.random.default_rng(2), np.geomspace(1.0, 1e6, 61)
    misses = 0
    for _ in range(20):
        found = fit_limit(t, 2.0 + t**-exponent * (1.0 + 1e-5 * random.standard_normal(61)))
        assert found.kind == "power"
        misses += abs(found.rate - exponent) > found.rate_error
        misses += abs(found.value - 2.0) > found.error
    assert misses <= 4  # two standard errors: one in twenty, of forty


def test_the_rate_of_an_exponential_is_in_units_of_time() -> None:
    t = np.linspace(0.0, 300.0, 61)
    found = fit_limit(t, 1.0 - 3.0 * np.exp(-t / 40.0))
    assert (found.kind, found.value) == ("exponential", pytest.approx(1.0, abs=1e-12))
    assert found.rate == pytest.approx(1.0 / 40.0, rel=1e-10)


def test_times_beyond_every_float_are_told_as_logarithms() -> None:
    s = np.linspace(10.0, 2000.0, 40)
    found = fit_limit(s, 2.0 + 1.0 / s, logarithmic=True)
    assert (found.kind, found.value) == ("logarithm", pytest.approx(2.0, abs=1e-12))


def test_few_decades_with_noise_are_undecided_and_the_bar_holds_both_limits() -> None:
    t = np.geomspace(1.0, 1e3, 31)
    values = 2.0 + t**-0.05 + 1e-3 * np.random.default_rng(0).standard_normal(31)
    found = fit_limit(t, values)
    assert found.kind == "undecided"
    assert not found.error < 0.1


def test_a_smooth_error_of_the_solver_needs_to_be_told() -> None:
    t = np.geomspace(1.0, 1e6, 31)
    values = 2.0 + t**-0.3 + 1e-6 * np.sin(np.log(t))
    assert fit_limit(t, values).kind == "undecided"
    assert fit_limit(t, values, errors=1e-6).kind == "power"


def test_what_does_not_move_has_no_rate() -> None:
    found = fit_limit(np.arange(1.0, 40.0), np.full(39, 0.5))
    assert (found.kind, found.value) == ("constant", 0.5)
    assert np.isnan(found.rate)


def test_misuse_is_said() -> None:
    with pytest.raises(ValueError, match="one value a time"):
        fit_limit([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="at least 12"):
        fit_limit([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="log t"):
        fit_limit(np.full(20, np.inf), np.ones(20))
