"""Hessians in NumPy against automatic differentiation, counts on spectra made by hand, minima of (w₁w₂ − 1)²."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gradlab.analysis.equilibria.polishing import polish
from gradlab.claims import basins, hessians, regularised, sigma, teachers
from gradlab.problem.activations import activation, leaky_relu, polynomial, smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def product(decay: float = 0.0, hidden: int = 1, target: float = 1.0) -> Problem:
    """Σ over the one example x = 1: (target − W_2 W_1)² + ½ λ ‖W‖²."""
    return Problem.make(Dense.deep_linear((1, hidden, 1)), Square(), Data.make([[1.0]], [[target]]), decay)


@pytest.mark.parametrize(
    ("network", "loss"),
    [
        (Dense((3, 3, 2, 2), "tanh", bias=True), Square("mean")),
        (Dense((3, 2, 1), smooth_relu(0.4)), Logistic()),
    ],
    ids=["biases", "logistic"],
)
def test_the_chain_rule_is_automatic_differentiation(network, loss) -> None:
    rng = np.random.default_rng(3)
    targets = (
        rng.standard_normal((5, network.outputs)) if loss.labels == "real" else np.array([1, -1, 1, 1, -1])
    )
    data = Data.make(rng.standard_normal((5, 3)), targets)
    problem = Problem.make(network, loss, data, np.linspace(0.1, 0.3, len(network.widths) - 1))
    vector = teachers.weights(rng, network)
    here, H = hessians.local(problem, vector), hessians.automatic(problem, vector)
    assert here.hessian == pytest.approx(H, abs=1e-13 * np.abs(H).max())
    value, gradient = problem.value_and_gradient(problem.unravel(vector))
    assert here.gradient == pytest.approx(
        np.concatenate([x.ravel() for x in jax.tree.leaves(gradient)]), abs=1e-12
    )
    assert basins.potential(problem, vector) == pytest.approx(float(value), rel=1e-13)


@pytest.mark.parametrize(
    "given",
    [
        *(activation(name) for name in sigma._STANDARD),
        leaky_relu(0.2),
        polynomial((1, 2, 3, 4)),
        smooth_relu(0.3),
    ],
    ids=lambda given: given.name,
)
def test_slopes_of_activations_are_differences(given) -> None:
    z, h = np.linspace(-2.0, 2.0, 8), 1e-5
    function, first, second = sigma.derivatives_of(given)
    assert function(z) == pytest.approx(np.asarray(given(z)), abs=1e-6)
    assert first(z) == pytest.approx((function(z + h) - function(z - h)) / (2 * h), abs=1e-8)
    assert second(z) == pytest.approx((first(z + h) - first(z - h)) / (2 * h), abs=1e-8)


def test_counts_say_what_they_do_not_know() -> None:
    values = np.array([-1.0, -1.0 + 1e-13, 0.0, 1e-13, 1e-10, 2.0])
    assert hessians.kernel(values, 1e-12) == (2.5, 0.5)
    assert hessians.below_zero(values, 1e-12) == (2.0, 0.0)
    assert hessians.distinct(values, 1e-12) == (3.5, 0.5)
    assert hessians.distinct(values, 1e-12, nonzero=True) == (2.5, 0.5)
    assert hessians.distinct(np.zeros(3), 1e-12, nonzero=True) == (0.0, 0.0)
    assert hessians.Count(1.0, 1.0).short_of(1.0) == (0.5, 0.5)
    assert hessians.Count(2.0, 1.0).short_of(1.0) == (0.0, 0.0)


def test_the_kernel_of_a_hyperbola_is_its_tangent() -> None:
    found = hessians.point(product(), np.array([2.0, 0.5]))
    assert found.values == pytest.approx([0.0, 8.5], abs=1e-14)
    assert hessians.kernel(found.values, found.bound) == (1.0, 0.0)
    assert hessians.kernel_at_zero(product(), found.vector) == (1.0, 0.0)
    assert found.inertia.zero == 1


def test_the_regularised_minimum_is_the_polished_one() -> None:
    problem = product(decay=0.5)
    end = basins.minimum(problem, np.array([2.0, 0.3]))
    assert end == pytest.approx(np.full(2, np.sqrt(0.75)), abs=1e-14)
    assert hessians.point(problem, end, equilibrium=True).at_rest <= 1.0
    polished = polish(problem, problem.unravel(end))
    assert polished.converged
    assert polished.moved <= 1e-14
    assert hessians.point(problem, end + 1e-6).at_rest > 1e3


def test_gauss_newton_ends_on_the_hyperbola() -> None:
    end = basins.interpolant(product(), np.array([1.5, 0.1]))
    assert end[0] * end[1] == pytest.approx(1.0, abs=1e-15)


def test_rotations_are_tangents_of_equal_potential() -> None:
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal((3, 3)))
    for network in (Dense.deep_linear((3, 3, 2, 1)), Dense((3, 4, 1), "relu")):
        problem, vector = teachers.teacher(rng, network, Square(), 3, 0.3, x)
        tangents, gradient = basins.orbit(problem, vector), hessians.local(problem, vector).gradient
        assert len(tangents)
        assert tangents @ gradient == pytest.approx(0.0, abs=1e-12)
    assert not len(basins.orbit(product(), np.ones(2)))


def test_a_kink_is_seen_with_and_without_the_chain_rule(monkeypatch) -> None:
    data, on, off = Data.make([[1.0, 1.0]], [[1.0]]), np.array([1.0, -1.0, 1.0]), np.array([1.0, 1.0, 1.0])
    for name in ("relu", "squared_relu"):
        problem = Problem.make(Dense((2, 1, 1), name), Square(), data)
        assert (hessians.kink(problem, on), hessians.kink(problem, off)) == (1.0, 0.0)
    monkeypatch.setattr(hessians, "derivatives_of", lambda _: None)
    problem = Problem.make(Dense((2, 1, 1), "relu"), Square(), data)
    assert (hessians.kink(problem, on), hessians.kink(problem, off)) == (1.0, 0.0)


def test_minima_of_a_relu_net_are_drawn_off_its_kinks() -> None:
    rng = np.random.default_rng(1)
    start, found = regularised.drawn(rng, Dense((3, 2, 1), "relu"), Square(), 2, (0.01,), positive=True)
    ((problem, vector),) = found
    assert start.shape == vector.shape
    assert hessians.kink(problem, vector) == 0.0
    assert hessians.point(problem, vector).at_rest <= 1.0
