"""Critical points of deep linear nets against autodiff, hand-computed landscapes and dimension counts."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.equilibria.inertia import inertia
from gradlab.analysis.landscape import (
    Landscape,
    Pattern,
    approach,
    balanced_inertia,
    balanced_point,
    balanced_spectrum,
    critical_values,
    extremes,
    hessian_values,
    is_strict,
    local_dimension,
    of_problem,
    orbit_dimension,
    origin_spectrum,
    pattern_dimension,
    pattern_of,
    patterns,
    point,
    random_pattern,
    rank_of_path,
    ranks,
    search,
    seen_dimension,
    shallow_dimension,
    strata,
    trivial_pattern,
    value_of,
)
from gradlab.analysis.linear_nets import balancedness, end_to_end
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

DIAGONAL = np.eye(4) * np.array([2.0, 1.0, 0.0, 0.0])


def landscape(widths, seed: int = 0, inputs=None, targets=None, factor: float = 1.0) -> Landscape:
    rng = np.random.default_rng(seed)
    X = np.eye(widths[0]) if inputs is None else inputs
    Y = rng.standard_normal((widths[-1], X.shape[1])) if targets is None else targets
    return Landscape(widths, X, Y, factor)


def many() -> list[Landscape]:
    """Every kind of shape: equal widths, narrow, wide outputs, deep, general and deficient X, singular Y."""
    rng = np.random.default_rng(7)
    return [
        landscape((3, 3, 3), 1),
        landscape((3, 2, 3), 2),
        landscape((2, 4, 3), 3),
        landscape((4, 3, 2), 4, rng.standard_normal((4, 7)), factor=0.5),
        landscape((4, 3, 5, 3), 5),
        landscape((5, 3, 4, 2), 6, rng.standard_normal((5, 3))),
        landscape((4, 4, 3, 4), 7, targets=DIAGONAL),
        landscape((3, 3, 3, 3, 2), 8),
    ]


def points(one: Landscape, seed: int = 0, each: int = 3):
    """Every stratum with its trivial pattern and random ones: (learnt, pattern, layers)."""
    rng = np.random.default_rng(seed)
    for learnt in strata(one):
        yield learnt, trivial_pattern(one, learnt), balanced_point(one, learnt)
        for _ in range(each):
            pattern = random_pattern(one, learnt, rng)
            yield learnt, pattern, point(one, learnt, pattern, rng)


def kinds(pattern: Pattern) -> list[list]:
    return [sorted(part) for part in (pattern.pairs, pattern.outputs, pattern.inputs, pattern.hidden)]


@pytest.mark.parametrize("one", many(), ids=lambda one: str(one.widths))
class TestEveryStratum:
    def test_constructed_points_are_critical_and_have_the_listed_value(self, one):
        for learnt, _, layers in points(one):
            assert np.linalg.norm(one.gradient(layers)) <= one.gradient_rounding(layers)
            assert abs(one.value(layers) - value_of(one, learnt)) <= 4 * one.value_rounding(layers)

    def test_partial_products_have_the_ranks_of_the_pattern(self, one):
        for learnt, pattern, layers in points(one):
            for first in range(1 if one.rank < one.widths[0] else 0, one.depth + 1):
                for last in range(first, one.depth + 1):
                    expected = rank_of_path(one, learnt, pattern, first, last)
                    assert ranks(one, layers, first, last) == expected

    def test_the_pattern_can_be_read_from_the_layers(self, one):
        for learnt, pattern, layers in points(one):
            found, strings = pattern_of(one, layers)
            assert found == learnt
            assert kinds(strings) == kinds(pattern)

    def test_a_negative_eigenvalue_is_where_the_criterion_says(self, one):
        for _, _, layers in points(one, each=6):
            signs = inertia(*hessian_values(one, layers))
            assert signs.decided
            assert (signs.negative > 0) == is_strict(one, layers)

    def test_the_inertia_of_trivial_patterns_is_the_closed_one(self, one):
        for learnt in strata(one):
            signs = inertia(*hessian_values(one, balanced_point(one, learnt)))
            assert (signs.negative, signs.zero, signs.positive) == balanced_inertia(one, learnt)

    def test_the_closed_dimension_of_an_orbit_is_the_rank_of_its_action(self, one):
        for learnt, pattern, layers in points(one):
            orbit = orbit_dimension(one, layers)
            assert orbit.decided
            assert orbit.value == pattern_dimension(one, learnt, pattern)
            signs = inertia(*hessian_values(one, layers))
            assert orbit.value <= local_dimension(one, learnt, pattern) <= signs.zero


def problem(widths, loss, seed: int = 3) -> Problem:
    rng = np.random.default_rng(seed)
    data = Data(rng.standard_normal((6, widths[0])), rng.standard_normal((6, widths[-1])))
    return Problem(Dense.deep_linear(widths), loss, data)


@pytest.mark.parametrize("loss", [Square(), Square("mean", half=True)], ids=str)
def test_value_gradient_and_hessian_are_those_of_automatic_differentiation(loss):
    given = problem((3, 2, 4, 2), loss)
    one = of_problem(given)
    weights = tuple(np.random.default_rng(1).standard_normal(shape.shape) for shape in given.network.shapes())
    value, gradient = given.value_and_gradient(weights)
    hessian = np.asarray(given.hessian(weights))
    assert one.value(weights) == pytest.approx(float(value), rel=1e-14)
    np.testing.assert_allclose(one.gradient(weights), np.asarray(given.ravel(gradient)), atol=1e-12)
    np.testing.assert_allclose(one.hessian(weights), hessian, atol=1e-13 * np.abs(hessian).max())
    np.testing.assert_array_equal(one.flat(one.layers(one.flat(weights))), given.ravel(weights))


def test_other_problems_have_no_landscape():
    data = Data(np.eye(2), np.eye(2))
    assert of_problem(Problem(Dense((2, 2, 2), "tanh"), Square(), data)) is None
    assert of_problem(Problem(Dense.deep_linear((2, 2)), Square(), data)) is None
    assert of_problem(Problem(Dense.deep_linear((2, 2, 2)), Square(), data, 0.1)) is None


def test_the_scalar_net_of_two_layers_is_the_one_of_the_blackboard():
    """L = (3 − w₂w₁)²: the origin, Hessian ±6, alone in its stratum, and the hyperbola w₂w₁ = 3."""
    one = landscape((1, 1, 1), targets=np.array([[3.0]]))
    np.testing.assert_allclose(critical_values(one), [0.0, 9.0], atol=1e-14)
    origin, valley = (balanced_point(one, learnt) for learnt in strata(one))
    np.testing.assert_allclose(hessian_values(one, origin)[0], [-6.0, 6.0])
    np.testing.assert_allclose(hessian_values(one, valley)[0], [0.0, 12.0], atol=1e-14)
    assert [local_dimension(one, learnt) for learnt in strata(one)] == [0, 1]
    assert [shallow_dimension(one, learnt) for learnt in strata(one)] == [0, 1]


def test_the_origin_of_the_scalar_net_of_three_layers_is_no_strict_saddle():
    """L = (3 − w₃w₂w₁)²: ∇²L(0) = 0, the critical set there is the three axes, and L takes both sides."""
    one = landscape((1, 1, 1, 1), targets=np.array([[3.0]]))
    origin = balanced_point(one, ())
    np.testing.assert_array_equal(one.hessian(origin), np.zeros((3, 3)))
    assert not is_strict(one, origin)
    assert local_dimension(one, ()) == 1
    low, high = extremes(one, origin, 0.1, np.random.default_rng(0))
    assert low < 9.0 - 1e-4
    assert high > 9.0 + 1e-4
    # the axis of w₂ alone: r_Z = 1 > r = 0, strict; that of w₃: r_Z = 0, strict all the same
    for vector in ([0.0, 2.0, 0.0], [0.0, 0.0, 2.0]):
        layers = one.layers(vector)
        assert is_strict(one, layers)
        assert hessian_values(one, layers)[0].min() == pytest.approx(-12.0)
        assert orbit_dimension(one, layers).value == 1


def test_a_saddle_need_not_be_strict_though_every_block_of_a_pair_has_a_larger_rank():
    """W₁ reaches only v₂, W₄ only u₁: A, Z and B of the pair (3, 2) are all non-zero, B Mᵀ A is not."""
    one = landscape((2, 2, 2, 2, 2), targets=np.diag([2.0, 1.0]))
    layers = point(one, (), Pattern(pairs=((3, 0), (4, 1))))
    assert [ranks(one, layers, *ends) for ends in ((3, 4), (2, 2), (0, 1))] == [1, 2, 1]
    np.testing.assert_array_equal(one.hessian(layers), np.zeros((16, 16)))
    assert not is_strict(one, layers)


@pytest.mark.parametrize("widths", [(4, 3, 2), (3, 4, 3), (4, 3, 5, 3), (3, 3, 3, 3, 2), (2, 3, 3)])
def test_the_spectrum_of_balanced_points_is_the_closed_one(widths):
    one = landscape(widths, 11, factor=0.5)
    for learnt in strata(one):
        layers = balanced_point(one, learnt)
        assert max(np.abs(defect).max() for defect in balancedness(layers)) < 1e-14
        values, bound = hessian_values(one, layers)
        assert np.abs(values - balanced_spectrum(one, learnt)).max() <= bound
    np.testing.assert_allclose(balanced_spectrum(one, ()), origin_spectrum(one), atol=1e-14)


def test_the_spectrum_of_the_origin_with_any_inputs_is_the_closed_one():
    one = landscape((3, 2, 2), 12, np.random.default_rng(1).standard_normal((3, 5)))
    values, bound = hessian_values(one, balanced_point(one, ()))
    assert np.abs(values - origin_spectrum(one)).max() <= bound
    assert values.max() > 1.0
    with pytest.raises(ValueError, match="XXᵀ = 1"):
        balanced_spectrum(one, ())


def test_searches_find_nothing_but_listed_values_and_find_them_all():
    for widths, seed in (((3, 3, 2), 1), ((3, 3, 3, 2), 2)):
        one = landscape(widths, seed)
        listed, found = critical_values(one), search(one, np.random.default_rng(seed), 24)
        assert len(found) >= 20
        nearest = [int(np.argmin(np.abs(listed - each.value))) for each in found]
        assert set(nearest) == set(range(len(listed)))
        for each, number in zip(found, nearest, strict=True):
            assert abs(each.value - listed[number]) <= each.value_error
            assert each.value_error < 1e-9


@pytest.mark.parametrize("widths", [(3, 3, 3), (4, 3, 2), (4, 2, 3)])
def test_three_ways_to_the_dimension_agree_with_the_nullity_for_two_layers(widths):
    one = landscape(widths, 13)
    for number, (learnt, pattern, layers) in enumerate(points(one, each=1)):
        signs = inertia(*hessian_values(one, layers))
        seen = seen_dimension(one, layers, np.random.default_rng(number))
        assert seen.decided
        dimensions = (shallow_dimension(one, learnt), local_dimension(one, learnt, pattern), seen.value)
        assert dimensions == (signs.zero,) * 3


def test_with_three_layers_kernel_and_tangent_differ_at_saddles_and_agree_at_minima():
    one = landscape((3, 3, 3, 2), 14)
    excess = {
        learnt: inertia(*hessian_values(one, balanced_point(one, learnt))).zero - local_dimension(one, learnt)
        for learnt in strata(one)
    }
    assert excess == {(): 10, (0,): 4, (1,): 4, (0, 1): 0}


def test_crossing_lines_are_no_manifold():
    """L = (w₂w₁)²: the axes, dimension 1, but the Hessian vanishes where they cross."""
    one = landscape((1, 1, 1), targets=np.zeros((1, 1)))
    assert local_dimension(one, ()) == 1
    assert hessian_values(one, balanced_point(one, ()))[0].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="no manifold"):
        shallow_dimension(one, ())


def test_polishing_keeps_a_saddle_and_says_where_there_is_no_root():
    one = landscape((3, 3, 2), 15)
    layers = balanced_point(one, (1,))
    moved = tuple(layer + 1e-3 for layer in layers)
    found = approach(one, moved)
    assert found.converged
    assert found.steps < 12
    assert abs(found.value - value_of(one, (1,))) < 1e-12
    assert end_to_end(found.layers) == pytest.approx(end_to_end(layers), abs=1e-12)
    assert not approach(one, moved, steps=1).converged


def test_patterns_are_all_different_and_fit():
    one = landscape((3, 3, 3, 2), 16)
    listed = [str(kinds(pattern)) for pattern in patterns(one, (0,))]
    assert len(set(listed)) == len(listed) == 16
    drawn = {str(kinds(random_pattern(one, (0,), np.random.default_rng(i)))) for i in range(200)}
    assert drawn <= set(listed)
    assert len(drawn) > 8


def test_misuse_is_refused():
    one = landscape((3, 2, 3), 17)
    with pytest.raises(ValueError, match="do not fit through"):
        value_of(one, (0, 1, 2))
    with pytest.raises(ValueError, match="distinct numbers"):
        point(one, (0, 0))
    with pytest.raises(ValueError, match="not the numbers or the room"):
        point(one, (0,), Pattern(pairs=((1, 0), (2, 0))))
    with pytest.raises(ValueError, match="at least"):
        landscape((3, 3))
    with pytest.raises(ValueError, match="examples are columns"):
        Landscape((3, 2, 3), np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="fit no pattern"):
        pattern_of(one, one.layers(np.random.default_rng(0).standard_normal(one.size)))
