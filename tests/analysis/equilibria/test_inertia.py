"""Inertia and numerical rank: counted where a gap separates zero from non-zero, undecided where none does."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.equilibria.inertia import GAP, inertia
from gradlab.analysis.equilibria.rank import rank


def test_signs_are_counted_and_the_gap_is_the_least_ratio_to_what_zero_means() -> None:
    found = inertia([3.0, -2.0, 1e-14, -1e-15, 0.5, -1e-3], 1e-13)
    assert (found.negative, found.zero, found.positive, found.decided) == (2, 2, 2, True)
    assert found.gap == pytest.approx(1e10)
    assert 1e-13 < found.threshold < 1e-3
    assert str(found).startswith("(2, 2, 2)")


@pytest.mark.parametrize(("least", "decided"), [(1.01 * GAP, True), (0.99 * GAP, False), (2.0, False)])
def test_no_gap_means_undecided(least: float, decided: bool) -> None:
    found = inertia([0.0, least * 1e-12, 1.0], 1e-12)
    assert found.decided is decided
    assert found.decided or str(found).startswith("undecided: the least eigenvalue counted non-zero")


def test_a_value_must_also_be_far_above_its_own_bound() -> None:
    assert not inertia([1.0, 2.0], [1e-2, 1e-12]).decided
    assert inertia([1.0, 2.0], [1e-4, 1e-12]).decided
    # a zero known only roughly hides everything below it
    assert not inertia([0.0, 1.0], [0.1, 1e-12]).decided


def test_exact_values_and_the_zero_matrix_are_decided() -> None:
    exact = inertia([0.0, -1.0, 2.0], 0.0)
    assert (exact.negative, exact.zero, exact.positive, exact.decided, exact.gap) == (1, 1, 1, True, np.inf)
    nothing = inertia(np.zeros(4), 1e-15)
    assert (nothing.zero, nothing.decided, nothing.gap) == (4, True, np.inf)


@pytest.mark.parametrize(
    ("values", "bounds", "match"),
    [
        (np.ones(2, np.float32), 0.0, "float32"),
        ([1.0, np.nan], 0.0, "not finite"),
        ([1.0], -1.0, "negative"),
        ([[1.0]], 0.0, "shape"),
        ([1.0, 2.0], [0.0], "bounds have shape"),
    ],
)
def test_bad_values_are_refused(values: object, bounds: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        inertia(values, bounds)


def test_rank_of_a_product_of_known_rank_and_its_two_subspaces() -> None:
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal((7, 3)), generator.standard_normal((3, 5))
    matrix = left @ right
    found = rank(matrix)
    assert (found.rank, found.decided) == (3, True)
    np.testing.assert_allclose(matrix @ found.kernel, 0.0, atol=1e-13)
    np.testing.assert_allclose(found.range @ (found.range.T @ matrix), matrix, atol=1e-13)
    assert rank(np.zeros((3, 2))).rank == 0
    assert not rank(np.diag([1.0, 1e-14])).decided


def test_the_gram_road_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    for shape in ((6, 2, 4), (4, 2, 6)):
        matrix = generator.standard_normal(shape[:2]) @ generator.standard_normal(shape[1:])
        monkeypatch.setattr("gradlab.analysis.equilibria.rank.COSTLY", 1.0)
        found = rank(matrix)
        assert (found.rank, found.decided) == (2, True)
        assert found.kernel.shape == (shape[2], shape[2] - 2)
        np.testing.assert_allclose(matrix @ found.kernel, 0.0, atol=1e-12)
        np.testing.assert_allclose(found.range @ (found.range.T @ matrix), matrix, atol=1e-12)
