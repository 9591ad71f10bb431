"""Equilibria on kinks: a regularised ReLU neuron held on one, with everything known in closed form."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gradlab import Data, Square
from gradlab.analysis.equilibria import classification, polishing
from gradlab.analysis.equilibria.classification import classify
from gradlab.analysis.equilibria.kinks import nearest_kink
from gradlab.problem.activations import leaky_relu
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

DECAY, PULL = 0.1, 0.2


def held(slope: float = 0.0, activation: object = None) -> Problem:
    """½ Σ (a σ(w·x) − y)² + ½λ(‖w‖² + a²): (1, ½) ↦ 1 pulls w₂ up, (0, 1) ↦ −0.2 pushes it down where w₂ > 0."""
    network = Dense((2, 1, 1), activation or leaky_relu(slope))
    return Problem(network, Square(half=True), Data([[1.0, 0.5], [0.0, 1.0]], [[1.0], [-PULL]]), DECAY)


S = np.sqrt(1.0 - DECAY)


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_the_minimum_of_a_regularised_neuron_on_its_kink_is_found(slope: float) -> None:
    # along the kink w₂ = 0: w₁ = a = s, s² = 1 − λ. Across: ½ a (a w₁ − 1) + a q c = 0, so q = λ/(2 c), whatever α.
    found = classify(held(slope), (np.array([[0.93, 1e-9]]), np.array([[0.96]])), kink=1e-6)
    assert found.kind == "on a kink"
    assert found.kink is not None
    assert found.kink.stationary
    assert found.kink.residual <= found.kink.rounding < 1e-13
    np.testing.assert_allclose(found.kink.pairs, [[0, 1]])
    np.testing.assert_allclose(slope + (1.0 - slope) * found.kink.slopes, [DECAY / (2.0 * PULL)], atol=1e-12)
    assert found.kink.interior.all()
    first, second = found.weights
    np.testing.assert_allclose(first, [[S, 0.0]], atol=1e-13)
    np.testing.assert_allclose(second, [[S]], atol=1e-13)
    reduced = [[1.0, 2.0 * S**2 - 1.0], [2.0 * S**2 - 1.0, 1.0]]
    np.testing.assert_allclose(found.values, np.linalg.eigvalsh(reduced), atol=1e-12)


def test_a_point_on_a_kink_that_the_subgradient_does_not_hold_is_no_equilibrium() -> None:
    # with a lighter push, c = 0.02, holding would take q = 2.5 > 1: the neuron leaves upwards
    problem = held()
    data = Data([[1.0, 0.5], [0.0, 1.0]], [[1.0], [-0.02]])
    lighter = Problem(problem.network, problem.loss, data, DECAY)
    found = classify(lighter, (np.array([[S, 0.0]]), np.array([[S]])))
    assert found.kind == "undecided"
    assert "no equilibrium" in found.why
    assert found.polished.gradient > 0.0


@pytest.mark.parametrize("start", [0.3, 1e-5, -0.05])
def test_polishing_walks_onto_the_kink_from_both_sides(start: float) -> None:
    # turned, so that the kink is no coordinate plane
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    data = Data(np.array([[1.0, 0.5], [0.0, 1.0]]) @ turn.T, [[1.0], [-PULL]])
    problem = Problem(held().network, Square(half=True), data, DECAY)
    found = classify(problem, (np.array([[0.93, start]]) @ turn.T, np.array([[0.96]])))
    assert found.kind == "on a kink"
    np.testing.assert_allclose(found.weights[0], np.array([[S, 0.0]]) @ turn.T, atol=1e-13)


def test_without_an_equilibrium_the_nearest_kink_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        classification, "polish", lambda problem, weights: polishing.polish(problem, weights, steps=1)
    )
    found = classify(held(), (np.array([[0.5, 1e-3]]), np.array([[0.96]])))
    assert found.kind == "undecided"
    assert "no equilibrium" in found.why
    assert "kink=" in found.why


def test_kinks_of_deeper_nets_and_of_second_derivatives_are_not_judged() -> None:
    deeper = Dense((2, 2, 2, 1), "relu")
    data = Data([[1.0, 0.5], [0.0, 1.0]], [[1.0], [-PULL]])
    zero = tuple(jnp.zeros(leaf.shape) for leaf in deeper.shapes())
    found = classify(Problem(deeper, Square(), data), zero)
    assert (found.kind, found.kink) == ("undecided", None)
    assert "two-layer" in found.why
    squared = held(activation="squared_relu")
    found = classify(squared, (np.array([[1.0, 0.0]]), np.array([[1.0]])))
    assert found.kind == "undecided"
    assert "second derivative" in found.why


def test_inputs_that_reach_no_weight_have_no_kink() -> None:
    network = Dense((2, 1, 1), "relu")
    data = Data([[1.0, 0.5], [0.0, 0.0]], [[1.0], [0.0]])
    problem = Problem(network, Square(), data)
    near = nearest_kink(problem, (jnp.array([[1.0, 0.0]]), jnp.array([[1.0]])))
    assert near is not None
    assert near[0] == pytest.approx(1.0)
    smooth = Problem(Dense((2, 1, 1), "tanh"), Square(), data)
    assert nearest_kink(smooth, (jnp.array([[1.0, 0.0]]), jnp.array([[1.0]]))) is None
