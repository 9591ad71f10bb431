"""Quadratic potentials in one layer: H is diagonal, h_1 and h_2 the identity, and k is eq. 47 itself."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90.conjugacy_map import STUDY, Pair, observe
from gradlab.claims.teachers import resting
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def quadratic(*eigenvalues: float) -> Problem:
    """½ Σ λ_i w_i²."""
    size = len(eigenvalues)
    data = Data(np.diag(np.sqrt(eigenvalues)), np.zeros((size, 1)))
    return Problem(Dense((size, 1)), Square(half=True), data)


def seen(first, second):
    here = resting(np.zeros(first.size), other_weights=("other", np.zeros(second.size)))
    return observe(Pair(first, second), here)


def verdict(observed) -> tuple[str, str]:
    found = STUDY.judge(collect([("case", observed)]))
    return found.verdict, found.part


@pytest.fixture(scope="module")
def pair():
    return seen(quadratic(1.0, 2.0), quadratic(2.0, 3.0))


def test_two_linear_flows_are_conjugate_by_the_power_map(pair):
    assert verdict(pair)[0] == SUPPORTED
    assert float(pair["equal"]) == 0.0
    # exponents 2 and 3/2: once differentiable
    assert float(pair["differentiable"]) == 1.0


def test_equal_eigenvalues_give_the_identity():
    same = seen(quadratic(1.0, 2.0), quadratic(1.0, 2.0))
    assert verdict(same)[0] == SUPPORTED
    assert (float(same["equal"]), float(same["matched"])) == (2.0, 0.0)


@pytest.mark.parametrize("part", ["linear", "inverse", "derivative", "matched", "between"])
def test_a_miss_refutes(pair, part):
    assert verdict(pair.assign({part: 1e-3})) == (REFUTED, part)


def test_the_inverse_power_would_be_seen(monkeypatch, pair):
    from gradlab.claims.memo90 import conjugacy_map

    monkeypatch.setattr(conjugacy_map.PowerMap, "exponents", property(lambda self: self.mu / self.nu))
    wrong = seen(quadratic(1.0, 2.0), quadratic(2.0, 3.0))
    assert float(wrong["linear"]) > 0.1
    assert verdict(wrong)[0] == REFUTED


def test_a_flat_direction_is_outside_the_claim():
    assert verdict(seen(quadratic(1.0, 0.0), quadratic(2.0, 3.0)))[0] == NOT_MET
    assert verdict(seen(quadratic(1.0), quadratic(2.0, 3.0)))[0] == NOT_MET
