"""h∘φ_t = e^{−Ht}∘h, closed forms on the line, refusals, and the power map between two linear flows."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.analysis.conjugacy import COARSE, FINE, conjugacy
from gradlab.analysis.power_map import PowerMap, between, power_map
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic, Square
from gradlab.problem.networks import Dense, Function
from gradlab.problem.problem import Problem

#: On the way to the sphere errors grow at most a thousandfold here; see each test for its times.
TOLERANCE = 1e3 * FINE


def _quartic(w, x):
    return jnp.tile(jnp.stack([w[0], w[0] ** 2 / jnp.sqrt(2.0)]), (x.shape[0], 1))


def quartic() -> Problem:
    """L = w²/2 + w⁴/4, the flow dw/dt = −w − w³: h ∝ w/√(1 + w²)."""
    network = Function(_quartic, lambda key: jnp.zeros(1), input_shape=1, outputs=2)
    return Problem(network, Square(half=True), Data([[1.0]], [[0.0, 0.0]]))


def two_layer(decay: float) -> Problem:
    """A deep linear net of width one; at the origin H has λ and λ ± |Σ y x|/N."""
    random = np.random.default_rng(0)
    x = random.standard_normal((6, 2))
    data = Data(x, x @ [[1.0], [0.5]])
    return Problem(Dense.deep_linear((2, 1, 1)), Square("mean", half=True), data, decay)


@pytest.fixture(scope="module")
def sink():
    """The origin of a two-layer net under much decay: a sink."""
    problem = two_layer(3.0)
    return conjugacy(problem, problem.unravel(jnp.zeros(3)))


@pytest.fixture(scope="module")
def saddle():
    problem = two_layer(0.3)
    return conjugacy(problem, problem.unravel(jnp.zeros(3)))


def test_on_the_line_h_is_the_closed_form():
    built = conjugacy(quartic(), np.zeros(1), radius=1.0)
    w = np.array([[0.3], [-0.7], [0.01], [0.0], [1.0]])
    # normalised to be the identity at |w| = 1
    np.testing.assert_allclose(built(w), np.sqrt(2.0) * w / np.sqrt(1.0 + w**2), rtol=TOLERANCE)
    np.testing.assert_allclose(built.inverse(built(w[:3])), w[:3], rtol=TOLERANCE)
    assert np.isnan(built(np.array([[1.1]]))).all()


def test_a_source_is_a_sink_in_reversed_time():
    # logistic loss of one weight on contradicting labels is even; its flow at 0 is a sink, and −L's a source
    network = Function(_negative, lambda key: jnp.zeros(1), input_shape=1, outputs=1)
    problem = Problem(network, Square(half=True), Data([[1.0]], [[1.0]]))
    built = conjugacy(problem, np.zeros(1), radius=0.5)
    assert built.kind == "source"
    found = built.defect(built.samples(3, 0.3), (0.2, 0.5))
    assert found.value < TOLERANCE
    assert found.error < 1e3 * COARSE


def _negative(w, x):
    # ½(w² − 1)²: the origin is a maximum of eigenvalue −2
    return jnp.broadcast_to(w**2, (x.shape[0], 1))


def test_at_a_sink_h_commutes_with_the_flows_and_the_identity_does_not(sink):
    assert sink.kind == "sink"
    assert sink.margin >= 0.5
    x, times = sink.samples(5), np.array([0.5, 2.0]) / sink.values[-1]
    found = sink.defect(x, times)
    assert found.value < TOLERANCE
    assert found.value <= found.error < 1e3 * COARSE
    linear = x * np.exp(-sink.values * times[1])
    assert np.max(np.abs(sink.flow(x, times[1]) - linear)) > 1e-2


def test_at_a_sink_h_is_the_identity_on_the_sphere_and_has_an_inverse(sink):
    x = sink.samples(5)
    sphere = x * (sink.radius / np.linalg.norm(x, axis=1))[:, None]
    np.testing.assert_allclose(sink.image(sphere), sphere, atol=1e-9 * sink.radius)
    np.testing.assert_allclose(sink.preimage(sink.image(x)), x, atol=TOLERANCE * sink.radius)


def test_a_map_to_other_rates_is_no_conjugacy_to_these_rates_but_one_to_its_own(sink):
    # topological conjugacy does not see rates: any three positive ones will do
    other = dataclasses.replace(sink, values=np.array([0.5, 3.0, 7.0]))
    x, time = sink.samples(3), 1.0 / sink.values[-1]
    assert other.defect(x, time).value < TOLERANCE
    before, after = other.image(x), other.image(sink.flow(x, time))
    assert np.max(np.abs(after - before * np.exp(-sink.values * time))) > 1e-2


def test_at_a_saddle_h_commutes_with_the_flows(saddle):
    assert saddle.kind == "saddle"
    assert saddle.values[0] < 0.0 < saddle.values[1]
    x, time = saddle.samples(5, 0.5), 0.5 / saddle.values[-1]
    found = saddle.defect(x, time)
    assert found.value < TOLERANCE
    assert found.error < 1e3 * COARSE
    # not because the flow is linear there
    assert np.max(np.linalg.norm(saddle.image(x) - x, axis=1) / np.linalg.norm(x, axis=1)) > 1e-3
    with pytest.raises(ValueError, match="saddle"):
        saddle.inverse(x)


def test_h_vanishes_at_the_equilibrium_only(saddle):
    images = saddle.image(np.concatenate([np.zeros((1, 3)), saddle.samples(3, 0.5)]))
    assert not images[0].any()
    assert (np.linalg.norm(images[1:], axis=1) > 0.0).all()


def test_a_degenerate_equilibrium_is_refused():
    x = [[1.0, 2.0]]
    problem = Problem(Dense((2, 1)), Square(), Data(x, [[1.0]]))
    with pytest.raises(ValueError, match=r"not hyperbolic: 1 of 2 eigenvalues are zero.*add weight decay"):
        conjugacy(problem, (np.array([[0.2, 0.4]]),))


def test_a_point_that_is_no_equilibrium_is_refused():
    problem = Problem(Dense((1, 1)), Logistic(), Data([[1.0], [1.0]], [1.0, -1.0]), 0.1)
    with pytest.raises(ValueError, match="no equilibrium"):
        conjugacy(problem, (np.array([[0.5]]),))


# The power map ---------------------------------------------------------------------------------------------


def test_the_power_map_conjugates_the_linear_flows():
    power = power_map([1.0, 2.0, -0.5], [3.0, 0.7, -2.0])
    x = np.array([[0.3, -2.0, 1e-4], [-1.0, 0.0, 5.0]])
    for time in (0.4, 3.0):
        left, right = np.exp(-power.nu * time) * power(x), power(np.exp(-power.mu * time) * x)
        np.testing.assert_allclose(left, right, rtol=1e-13)
    np.testing.assert_allclose(power.inverse(power(x)), x, rtol=1e-13)


@pytest.mark.parametrize(
    ("mu", "nu", "order"), [(1.0, 1.0, None), (1.0, 3.0, None), (1.0, 2.0, 1), (2.0, 5.0, 2), (2.0, 1.0, 0)]
)
def test_the_power_map_is_as_smooth_as_its_exponent_says(mu, nu, order):
    power = power_map([mu], [nu])
    assert power.differentiable == order
    assert power.diffeomorphism == (mu == nu)


def test_flows_with_other_signs_or_numbers_of_eigenvalues_have_no_power_map():
    for mu, nu in (([1.0, 0.0], [1.0, 1.0]), ([1.0, -1.0], [1.0, 1.0])):
        with pytest.raises(ValueError, match="not conjugate"):
            power_map(mu, nu)
    with pytest.raises(ValueError, match="two lists"):
        power_map([1.0], [1.0, 2.0])


def test_between_two_sinks_the_nonlinear_flows_are_conjugate(sink, saddle):
    other_problem = two_layer(4.0)
    other = conjugacy(other_problem, other_problem.unravel(jnp.zeros(3)))
    map_ = between(sink, other)
    assert isinstance(map_.power, PowerMap)
    assert map_.mismatch(sink.samples(3), 0.7) < 10.0 * TOLERANCE
    assert 0.0 < map_.mismatch(sink.samples(3), 0.7, COARSE) < 1e4 * COARSE
    with pytest.raises(ValueError, match="saddle"):
        between(sink, saddle)
