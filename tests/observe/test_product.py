"""The singular values of the product of the layers: their values, bars, dims, and where they are refused."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import gradlab
from gradlab.problem.data import Data, linear_regression
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

NAME = "product_singular_values"


@pytest.mark.parametrize("widths", [(4, 3), (2, 5, 3), (5, 4, 6, 2)])
def test_they_are_those_of_the_product(widths: tuple[int, ...]) -> None:
    data = linear_regression(jax.random.key(0), N=6, d=widths[0], C=widths[-1])
    problem = Problem(Dense.deep_linear(widths), gradlab.Square(), data)
    weights = problem.network.init(jax.random.key(1), gradlab.Gaussian(1.0))
    whole = np.linalg.multi_dot([*map(np.asarray, weights[::-1])]) if len(widths) > 2 else weights[0]
    seen = gradlab.at(problem, [weights], [NAME])[NAME]
    assert seen.dims == ("record", "mode")
    np.testing.assert_allclose(seen[0], np.linalg.svd(whole, compute_uv=False), rtol=1e-12)


def test_modes_saturate_at_the_data_and_their_bars_hold_the_truth() -> None:
    """ds/dt = 2 s (σ − s) of a balanced start along the modes of whitened data: s = σ/(1 + (σ/s₀ − 1) e^{−2σt})."""
    strength, begun = np.array([3.0, 1.0]), 1e-3
    problem = Problem(
        Dense.deep_linear((2, 2, 2)), gradlab.Square(half=True), Data(np.eye(2), np.diag(strength))
    )
    start = (np.sqrt(begun) * np.eye(2),) * 2
    moments = np.array([0.5, 2.0, 5.0])
    run = gradlab.run(gradlab.GradientFlow(problem), start, moments, observables=[NAME])
    decay = np.exp(-2.0 * np.outer(moments, strength))
    exact = strength / (1.0 + (strength / begun - 1.0) * decay)
    off = np.abs(run[NAME].values[1:] - exact)
    bars = run[f"{NAME}_error"].values
    assert np.all(off <= bars[1:])
    assert np.all(bars[0] == 0.0)
    assert np.all(bars[1:] < 1e-6)


def test_a_value_that_is_zero_has_a_bar_of_rounding() -> None:
    problem = Problem(
        Dense.deep_linear((2, 2, 2)), gradlab.Square(half=True), Data(np.eye(2), np.diag([1.0, 0.0]))
    )
    start = (np.diag([0.3, 0.0]),) * 2
    run = gradlab.run(gradlab.GradientFlow(problem), start, [1.0], observables=[NAME])
    assert abs(float(run[NAME][-1, 1])) <= float(run[f"{NAME}_error"][-1, 1]) < 1e-9


@pytest.mark.parametrize(
    "network", [Dense((2, 3, 1), "tanh"), Dense((2, 3, 1), "identity", bias=True), Dense((2, 1), bias=True)]
)
def test_other_networks_are_refused(network: Dense) -> None:
    data = linear_regression(jax.random.key(0), N=6, d=2)
    problem = Problem(network, gradlab.Square(), data)
    weights = network.init(jax.random.key(1), gradlab.Gaussian(1.0))
    with pytest.raises(
        ValueError, match=r"those of W_K ⋯ W_1, and this network is no dense linear one: write Dense"
    ):
        gradlab.at(problem, [weights], [NAME])
    with pytest.raises(ValueError, match="did you mean 'product_singular_values'"):
        gradlab.at(problem, [weights], ["product_singular_value"])
