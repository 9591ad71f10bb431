"""What the studies of deep linear nets share: layers of a vector, conserved matrices, balanced layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from gradlab.analysis.linear_nets import end_to_end
from gradlab.claims import deep_linear
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def random() -> np.random.Generator:
    return np.random.default_rng(3)


def test_layers_are_those_of_the_problems_own_vector():
    network = Dense.deep_linear((3, 2, 4))
    problem = Problem.make(network, Square(), Data.make(np.eye(3), np.ones((3, 4))))
    weights = deep_linear.gaussian(random(), (3, 2, 4), 1.0)
    vector = np.asarray(problem.ravel(weights))
    for ours, given in zip(deep_linear.layers(network, vector), weights, strict=True):
        np.testing.assert_array_equal(ours, given)
    np.testing.assert_array_equal(deep_linear.flat(weights), vector)


def test_only_dense_nets_without_bias_are_chains_of_matrices():
    data = Data.make(np.eye(2), np.ones((2, 1)))
    assert deep_linear.chain(Problem.make(Dense((2, 3, 1), "relu"), Square(), data)) is not None
    assert deep_linear.chain(Problem.make(Dense((2, 3, 1), "relu", bias=True), Square(), data)) is None


def test_balanced_layers_have_the_product_and_conserve_nothing_but_zero():
    rng = random()
    target = deep_linear.low_rank(rng, (3, 5), 2, 0.7)
    layers = deep_linear.balanced(rng, target, (5, 4, 6, 3))
    np.testing.assert_allclose(end_to_end(layers), target, atol=1e-14)
    assert np.linalg.norm(deep_linear.conserved(layers)) < 1e-14
    assert np.linalg.norm(deep_linear.conserved((2.0 * layers[0], *layers[1:]))) > 0.1


def test_the_rate_is_the_derivative_of_what_is_conserved():
    rng = random()
    layers, motion = (deep_linear.gaussian(rng, (4, 3, 5, 2), 1.0) for _ in range(2))
    step = 1e-6
    ahead, behind = (
        deep_linear.conserved(tuple(w + sign * step * v for w, v in zip(layers, motion, strict=True)))
        for sign in (1, -1)
    )
    np.testing.assert_allclose(
        deep_linear.conserved_rate(layers, motion), (ahead - behind) / (2 * step), atol=1e-8
    )


@pytest.mark.parametrize(
    ("kind", "rank"), [("random", 4), ("repeated", 2), ("deficient", 2), ("identity", 4)]
)
def test_inputs_have_the_rank_of_their_kind(kind, rank):
    assert np.linalg.matrix_rank(deep_linear.inputs(random(), 7, 4, kind)) == rank


def test_a_run_that_kept_its_end_only_has_points_and_no_orbit():
    ended = xr.Dataset({"final_weights": ("weight", [1.0, 2.0])})
    assert deep_linear.orbit(ended) is None
    np.testing.assert_array_equal(deep_linear.points(ended), [[1.0, 2.0]])


def test_a_ratio_of_nothing_to_nothing_is_zero_and_of_something_is_infinite():
    assert (deep_linear.ratio(0.0, 0.0), deep_linear.ratio(1.0, 0.0)) == (0.0, math.inf)
