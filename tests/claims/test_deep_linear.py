"""What the studies of deep linear nets share: balanced layers, inputs, how runs are read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import end_to_end
from gradlab.claims import deep_linear


def random() -> np.random.Generator:
    return np.random.default_rng(3)


def test_balanced_layers_have_the_product_and_conserve_nothing_but_zero():
    rng = random()
    target = deep_linear.low_rank(rng, (3, 5), 2, 0.7)
    layers = deep_linear.balanced(rng, target, (5, 4, 6, 3))
    np.testing.assert_allclose(end_to_end(layers), target, atol=1e-14)
    assert np.linalg.norm(linear_nets.conserved(layers)) < 1e-14
    assert np.linalg.norm(linear_nets.conserved((2.0 * layers[0], *layers[1:]))) > 0.1


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
