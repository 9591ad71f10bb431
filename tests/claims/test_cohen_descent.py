"""Closed forms behind the studies of descent and flow on Cohen's slides: quantifiers, borders, chances."""

from __future__ import annotations

from fractions import Fraction as Q
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from gradlab.claims.cohen import constant_probability, flow_global, gd_rate, necessity
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def step(eta: Q, p: Q, S: Q) -> tuple[Q, Q]:
    """p = w_2w_1 and S = w_1² + w_2² after a step on ½(p − 1)²."""
    G = p - 1
    return p * (1 + eta**2 * G**2) - eta * G * S, S * (1 + eta**2 * G**2) - 4 * eta * G * p


def test_the_step_of_two_weights_is_that_of_their_product_and_sum_of_squares() -> None:
    eta, w1, w2 = Q(1, 3), Q(2), Q(-1, 5)
    G = w1 * w2 - 1
    v1, v2 = w1 - eta * G * w2, w2 - eta * G * w1
    product, squares = step(eta, w1 * w2, w1**2 + w2**2)
    assert product == v1 * v2
    assert squares == v1**2 + v2**2


@pytest.mark.parametrize("eta", [Q(1, 10**6), Q(1, 100), Q(1, 3), Q(1), Q(3, 2)])
def test_at_every_short_step_an_unbalanced_start_with_a_margin_fails_for_ever(eta: Q) -> None:
    # the start of docs/notes/cohen.necessity.md: p = ½, margin ½ ≥ ¼
    p, S = Q(1, 2), (2 / eta) * (Q(1, 2) + 1 / eta - eta**2 / 8)
    assert 2 * p <= S
    p, S = step(eta, p, S)
    assert p - 1 / eta == 1
    p, S = step(eta, p, S)
    for _ in range(4):
        assert S + 2 * p == 0
        assert p <= 0
        p, S = step(eta, p, S)


@pytest.mark.parametrize("eta", [Q(4, 3), Q(2), Q(100)])
def test_at_every_long_step_a_start_with_a_margin_fails_for_ever(eta: Q) -> None:
    p = 1 + 1 / eta
    assert abs(p - 1) <= Q(3, 4)
    p, S = step(eta, p, 2 * p)
    assert S + 2 * p == 0
    assert p <= 0


@pytest.mark.parametrize(("depth", "width"), [(2, 2), (4, 2), (2, 1)])
def test_starts_of_opposite_sign_have_no_positive_product_at_any_step(depth: int, width: int) -> None:
    rng, grid = np.random.default_rng(0), np.geomspace(1e-3, 1.0, 5)
    phi, layers, steps = necessity._starts(rng, depth, width, necessity.OPPOSITE, grid)
    weights = [np.stack(each) for each in zip(*layers, strict=True)]
    kept = necessity.iterates(weights, np.stack([phi] * 5), steps, (1, 10, 1000))
    product = kept[0]
    for layer in kept[1:]:
        product = layer @ product
    finite = product[np.isfinite(product).all(axis=(2, 3))]
    assert np.linalg.eigvalsh(finite).max() <= 0.0


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_chance_of_a_margin_tends_to_that_of_one_normal_number(scale: float) -> None:
    found = [constant_probability.probability(d, scale) for d in (2, 16, 128, 1024)]
    assert found[-1] == pytest.approx(norm.sf(scale / 2), abs=2e-3)
    assert all(more >= less for more, less in pairwise(found))


def test_a_start_that_is_drawn_again_and_again_is_one_draw() -> None:
    drawn = np.random.default_rng(0).standard_normal((400, 2))
    for starts, bar in ((drawn, 0.1), (np.tile(drawn[:1], (400, 1)), 0.9)):
        look = constant_probability.ConstantProbability(None, None, {})
        look.__dict__ |= {"drawn": starts, "met": np.ones(400, dtype=bool)}
        assert look.share.value == 1.0
        assert (look.share.error > bar) == (starts is not drawn)


def test_the_chance_of_a_margin_for_two_inputs_near_zero_is_a_half() -> None:
    assert constant_probability.probability(2, 1e-6) == pytest.approx(0.5, abs=1e-5)


def test_the_border_of_whitened_and_of_stretched_data() -> None:
    # ℓ(W) = (1/2) Σ_i (s_i(W − diag(3, 1))e_i)²: the nearest singular matrix drops the weaker of 3s_1, s_2
    for stretch, expected in (((1.0, 1.0), 0.5), ((0.1, 1.0), 0.09 / 2)):
        x = np.diag(stretch)
        problem = Problem(Dense.deep_linear((2, 2, 2)), Square("mean"), Data(x, x @ np.diag([3.0, 1.0])))
        assert flow_global.singular_border(problem) == pytest.approx(expected)
        assert flow_global.least(problem)[1] == pytest.approx(0.0, abs=1e-15)


def test_separable_data_have_no_minimum_and_mixed_ones_do() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    network = Dense.deep_linear((2, 2, 1))
    separable = Problem(network, Logistic("mean"), Data(x, np.ones(4)))
    assert flow_global.least(separable)[1] == 0.0
    weakly = Problem(network, Logistic("mean"), Data(x, np.array([1.0, 1.0, -1.0, 1.0])))
    assert not flow_global.attained(separable)
    assert not flow_global.attained(weakly)  # the second input is always 1
    both = Problem(network, Logistic("mean"), Data(x, np.array([1.0, 1.0, -1.0, -1.0])))
    assert flow_global.attained(both)
    W, value = flow_global.least(both)
    np.testing.assert_allclose(W, 0.0, atol=1e-12)
    assert value == pytest.approx(np.log(2.0))


def test_uneven_layers_have_the_defect_that_is_asked_and_the_same_product() -> None:
    rng = np.random.default_rng(0)
    layers = gd_rate.linear_net.balanced(rng, np.eye(2) + 0.1, (2, 2, 2))
    moved = gd_rate.uneven(layers, 1e-4)
    np.testing.assert_allclose(moved[1] @ moved[0], layers[1] @ layers[0], atol=1e-14)
    assert np.linalg.norm(gd_rate.balancedness(moved)[0]) == pytest.approx(1e-4)
