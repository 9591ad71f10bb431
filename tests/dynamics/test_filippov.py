"""Filippov flows of two-layer nets: by hand, by conserved quantities, and by two independent roads."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import lsq_linear

import gradlab
from gradlab import Stop
from gradlab.analysis.kkt import kkt_residual
from gradlab.dynamics import stops
from gradlab.dynamics.filippov.advance import advance, supports
from gradlab.dynamics.filippov.modes import mode, program, surfaces
from gradlab.dynamics.filippov.sliding import least_norm
from gradlab.dynamics.filippov.smoothing import advance_smoothed, extrapolated, smoothed
from gradlab.laboratory.progress import PROGRESS
from gradlab.problem.activations import LeakyReLU
from gradlab.problem.data import Data
from gradlab.problem.dense import Dense
from gradlab.problem.initialisation import Gaussian
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Square
from gradlab.problem.networks import Residual
from gradlab.problem.problem import Problem


def neuron(X: Any, y: Any, activation: Any = "relu") -> Problem:
    """One hidden neuron under ½‖f − y‖²."""
    X = np.array(X, dtype=float)
    targets = np.array(y, dtype=float)[:, None]
    return Problem(Dense((X.shape[1], 1, 1), activation), Square(half=True), Data(X, targets))


def small(
    seed: int = 0, m: int = 6, N: int = 12, d: int = 3, activation: Any = "relu", loss: Any = None, **kw: Any
) -> tuple[Problem, Any]:
    """Random inputs, labels sign(x₁x₂ + 0.3 x₃), a small Gaussian start."""
    X = np.random.default_rng(seed).standard_normal((N, d))
    y = np.sign(X[:, 0] * X[:, 1] + 0.3 * X[:, 2])
    loss = loss or Exponential()
    targets = y[:, None] if loss.labels == "real" else y
    problem = Problem(Dense((d, m, 1), activation), loss, Data(X, targets), **kw)
    return problem, problem.network.init(jax.random.key(seed), Gaussian(0.3))


def flat(problem: Problem, weights: Any) -> np.ndarray:
    return np.array(problem.ravel(weights))


def gap(problem: Problem, a: Any, b: Any) -> float:
    a, b = flat(problem, a), flat(problem, b)
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def start(w: Any, a: float) -> Any:
    return (jnp.array([w], dtype=float), jnp.array([[a]], dtype=float))


# By hand --------------------------------------------------------------------------------------------------


def test_a_neuron_slides_along_the_hyperplane_of_an_example_it_should_not_see() -> None:
    # x₁ = e₁, y = −1, pushes w₁ down while w₁ > 0; x₂ = (½, 1), y = 2, pulls w₁ up: on w₁ = 0 it slides.
    problem = neuron([[1.0, 0.0], [0.5, 1.0]], [-1.0, 2.0])
    weights = start([0.3, 0.5], 0.4)
    end = math.log1p(1.5)
    done = advance(problem, weights, 0.0, end, None, 1e-11)
    assert [(e.example, e.before, e.after) for e in done.events] == [(0, 1, 0)]
    assert done.memory.signs.tolist() == [[0, 1]]
    # The same by hand: both active until w₁ = 0, then w₁ = 0, ẇ₂ = a r₂, ȧ = w₂ r₂ with r₂ = 2 − a w₂.

    def above(t: float, s: np.ndarray) -> np.ndarray:
        w, a = s[:2], s[2]
        r1, r2 = -1.0 - a * w[0], 2.0 - a * (0.5 * w[0] + w[1])
        return np.array([a * r1 + 0.5 * a * r2, a * r2, w[0] * r1 + (0.5 * w[0] + w[1]) * r2])

    def reaches(t: float, s: np.ndarray) -> float:
        return s[0]

    reaches.terminal = True  # type: ignore[attr-defined]
    first = solve_ivp(above, (0.0, 1.5), [0.3, 0.5, 0.4], "DOP853", rtol=1e-13, atol=1e-14, events=reaches)
    hit = first.t_events[0][0]
    assert done.events[0].u == pytest.approx(math.log1p(hit), abs=1e-9)

    def along(t: float, s: np.ndarray) -> np.ndarray:
        r = 2.0 - s[0] * s[1]
        return np.array([s[1] * r, s[0] * r])

    second = solve_ivp(along, (hit, 1.5), first.y_events[0][0][1:], "DOP853", rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(flat(problem, done.weights), [0.0, *second.y[:, -1]], atol=1e-9)
    assert done.sliding_time == pytest.approx(end - math.log1p(hit), abs=1e-9)


def test_a_neuron_crosses_where_the_other_side_carries_it_on() -> None:
    # x₁ pushes down from above; below, x₂ = (−½, 1) goes on pulling w₁ down.
    problem = neuron([[1.0, 0.0], [-0.5, 1.0]], [-1.0, 2.0])
    done = advance(problem, start([0.1, 0.5], 0.4), 0.0, 1.0, None, 1e-10)
    assert [(e.example, e.before, e.after) for e in done.events] == [(0, 1, -1)]
    assert float(done.weights[0][0, 0]) < 0.0


def test_a_neuron_whose_examples_are_all_inactive_stands_still() -> None:
    problem = neuron([[1.0, 0.0], [0.5, 1.0]], [-1.0, 2.0])
    weights = start([-1.0, -1.0], 0.4)
    done = advance(problem, weights, 0.0, 5.0, None, 1e-10)
    np.testing.assert_array_equal(flat(problem, done.weights), flat(problem, weights))
    assert done.events == ()
    assert done.status == stops.RUNNING


def test_sliding_ends_when_the_multiplier_reaches_its_end() -> None:
    # With x₃ = (−1, 1), y = ½, and p = a w₂, sliding at w₁ = 0 wants q r₁ + ½ r₂ − r₃ = 0, that is q = ½ + p/2; p grows
    # towards 5/4, where both are fitted best, so that q reaches 1 at p = 1 and the neuron leaves upwards.
    problem = neuron([[1.0, 0.0], [0.5, 1.0], [-1.0, 1.0]], [-1.0, 2.0, 0.5])
    weights, end = start([0.05, 0.5], 0.4), math.log1p(20.0)
    done = advance(problem, weights, 0.0, end, None, 1e-11)
    assert [(e.example, e.before, e.after) for e in done.events] == [(0, 1, 0), (0, 0, 1)]
    left = advance(problem, weights, 0.0, done.events[1].u, None, 1e-11)
    w, a = np.asarray(left.weights[0])[0], float(left.weights[1][0, 0])
    # leaving is located where q passes 1 by 2e-8, hence p by 4e-8
    assert w[0] == pytest.approx(0.0, abs=1e-12)
    assert a * w[1] == pytest.approx(1.0, abs=1e-7)
    assert float(done.weights[0][0, 0]) > 0.0


# Identities -----------------------------------------------------------------------------------------------


def test_the_sliding_velocity_is_the_element_of_least_norm() -> None:
    generator = np.random.default_rng(1)
    for k in (1, 2, 4):
        normals = generator.standard_normal((k, 5))
        normals /= np.linalg.norm(normals, axis=1)[:, None]
        force, jumps = generator.standard_normal(5), -generator.uniform(0.1, 2.0, k)
        theta = least_norm(force, jumps, normals)
        v = force + (theta * jumps) @ normals
        reference = lsq_linear((normals * jumps[:, None]).T, -force, (0.0, 1.0), tol=1e-14)
        assert np.linalg.norm(v) == pytest.approx(math.sqrt(2.0 * reference.cost), rel=1e-7)
        across = normals @ v
        assert (across[theta == 1.0] >= 0.0).all()
        assert (across[theta == 0.0] <= 0.0).all()
        np.testing.assert_allclose(across[(theta > 0.0) & (theta < 1.0)], 0.0, atol=1e-12)


def test_energy_falls_by_the_square_of_the_speed_along_sliding() -> None:
    problem, weights = small()
    here = advance(problem, weights, 0.0, 1.5, None, 1e-10)
    assert (here.memory.signs == 0).any()
    kinks = surfaces(np.asarray(problem.data.inputs))
    signs = kinks.of_surfaces(here.memory.signs)
    piece = mode(problem, 0.0, kinks, signs, np.zeros(6, dtype=bool))
    # dW/du = e^u Ẇ, so that d log L/du = −e^u ‖Ẇ‖²/L = −e^{−u} ‖dW/du‖²/L
    speed = program("velocity", piece.problem, piece.projectors)(here.u, flat(problem, here.weights))
    log_risk = float(problem.log_risk(here.weights))
    predicted = -math.exp(-here.u - log_risk) * float(speed @ speed)
    du = 1e-4
    around = [advance(problem, here.weights, here.u, here.u + k * du, here.memory, 1e-11) for k in (1, 2)]
    assert all(not step.events for step in around)
    one, two = (float(problem.log_risk(step.weights)) for step in around)
    measured = (4.0 * one - two - 3.0 * log_risk) / (2.0 * du)
    assert measured == pytest.approx(predicted, rel=1e-5)


@pytest.mark.parametrize("activation", ["relu", LeakyReLU(0.2)])
def test_each_neuron_keeps_its_balance_through_crossings_and_sliding(activation: Any) -> None:
    problem, weights = small(1, activation=activation)
    done = advance(problem, weights, 0.0, 3.0, None, 1e-8)
    assert done.status == stops.RUNNING
    assert len(done.events) > 5
    assert done.sliding_time > 0.0

    def balance(weights: Any) -> np.ndarray:
        return np.sum(np.asarray(weights[0]) ** 2, axis=1) - np.asarray(weights[1])[0] ** 2

    size = float(np.linalg.norm(flat(problem, done.weights))) ** 2
    # one local error of 1e-8 a step, times some hundred steps, relative to ‖W‖²
    np.testing.assert_allclose(balance(done.weights), balance(weights), atol=1e-8 * done.steps * size)


def test_slope_one_is_the_linear_net() -> None:
    problem, weights = small(2, activation=LeakyReLU(1.0))
    linear = Problem(Dense((3, 6, 1), "identity"), problem.loss, problem.data)
    done = advance(problem, weights, 0.0, 2.0, None, 1e-10)
    assert done.events == ()

    def field(t: float, y: np.ndarray) -> np.ndarray:
        return -np.array(linear.ravel(linear.gradient(linear.unravel(jnp.asarray(y)))))

    reference = solve_ivp(
        field, (0.0, math.expm1(2.0)), flat(problem, weights), "DOP853", rtol=1e-11, atol=1e-12
    )
    np.testing.assert_allclose(flat(problem, done.weights), reference.y[:, -1], rtol=1e-8, atol=1e-8)


# Two roads ------------------------------------------------------------------------------------------------


CASES = [
    ("relu", Exponential(), {}, 2.0),
    (LeakyReLU(0.1), Logistic("mean"), {}, 3.0),
    ("relu", Square("mean"), {"decay": 1e-2}, 2.0),
]


@pytest.mark.parametrize(("activation", "loss", "options", "end"), CASES, ids=["relu", "leaky", "decay"])
def test_the_two_roads_agree_to_first_order_in_epsilon(
    activation: Any, loss: Any, options: Any, end: float
) -> None:
    problem, weights = small(3, activation=activation, loss=loss, **options)
    events = advance(problem, weights, 0.0, end, None, 1e-9)
    assert events.status == stops.RUNNING
    assert events.events
    whole, half = (advance_smoothed(problem, weights, 0.0, end, 1e-9, epsilon) for epsilon in (1e-6, 5e-7))
    assert whole.status == half.status == stops.RUNNING
    _, bound = extrapolated(whole, half)
    # the distance at ε/2 is at most what halving moved, up to terms of higher order and ten tolerances
    assert gap(problem, events.weights, half.weights) <= 1.5 * bound + 1e-8
    assert bound < 1e-4


def test_smoothing_is_homogeneous_smooth_and_within_its_bound() -> None:
    problem, weights = small(4)
    smooth = smoothed(problem, 1e-3)
    assert smooth.network.smooth
    assert smooth.network.degrees == (1, 1)
    scaled = (3.0 * weights[0], weights[1])
    np.testing.assert_allclose(smooth.outputs(scaled), 3.0 * smooth.outputs(weights), rtol=1e-12)
    lengths = np.linalg.norm(problem.data.inputs, axis=1)[:, None] * np.linalg.norm(weights[0], axis=1)
    bound = 0.5 * 1e-3 * lengths @ np.abs(np.asarray(weights[1])[0])
    away = np.abs(np.asarray(smooth.outputs(weights) - problem.outputs(weights)))[:, 0]
    assert (away <= bound).all()
    assert away.max() > 0.0
    at_zero = smooth.gradient(jax.tree.map(jnp.zeros_like, weights))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(at_zero))


# Restarts -------------------------------------------------------------------------------------------------


def test_a_restart_continues_the_same_orbit_and_repeats_its_bits() -> None:
    problem, weights = small(5)
    whole = advance(problem, weights, 0.0, 3.0, None, 1e-8)

    def halves() -> Any:
        first = advance(problem, weights, 0.0, 1.5, None, 1e-8)
        return advance(problem, first.weights, first.u, 3.0, first.memory, 1e-8)

    one, other = halves(), halves()
    assert gap(problem, whole.weights, one.weights) < 1e-5
    np.testing.assert_array_equal(flat(problem, one.weights), flat(problem, other.weights))
    np.testing.assert_array_equal(one.memory.signs, whole.memory.signs)
    assert one.memory.h == other.memory.h


# Degenerate data ------------------------------------------------------------------------------------------


def test_parallel_inputs_share_a_surface_and_zero_has_none() -> None:
    kinks = surfaces(np.array([[1.0, 0.0], [2.0, 0.0], [-3.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    assert kinks.owner.tolist() == [0, 0, 0, -1, 1]
    assert kinks.orientation[:3].tolist() == [1, 1, -1]


def test_two_copies_of_an_example_are_one_of_twice_the_weight() -> None:
    problem, weights = small(6, m=4, N=8)
    X, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    doubled = Problem(problem.network, Exponential(), Data(np.vstack([X, X]), np.concatenate([y, y])))
    # twice the loss is twice the time
    end = math.log1p(50.0)
    one = advance(problem, weights, 0.0, math.log1p(100.0), None, 1e-8)
    two = advance(doubled, weights, 0.0, end, None, 1e-8)
    assert one.events
    assert gap(problem, one.weights, two.weights) < 1e-5


def test_the_zero_start_stays() -> None:
    problem, weights = small(7)
    done = advance(problem, jax.tree.map(jnp.zeros_like, weights), 0.0, 3.0, None, 1e-9)
    assert not flat(problem, done.weights).any()
    assert done.status == stops.RUNNING


# Max-margin -----------------------------------------------------------------------------------------------


def test_the_flow_tends_to_a_max_margin_point_on_kinks() -> None:
    # Opposite labels at 60°: the neuron of x₁ is kept off x₂ by sliding, and W is a combination only with 0 < q < 1.
    X = np.array([[1.0, 0.0], [0.5, math.sqrt(0.75)]])
    problem = Problem(Dense((2, 2, 1), "relu"), Exponential(), Data(X, [1.0, -1.0]))
    start = (jnp.array([[0.3, 0.0], [0.0, 0.3]]), jnp.array([[0.3, -0.3]]))
    done = advance(problem, start, 0.0, 1e6, None, 1e-10)
    signs = done.memory.signs
    assert (signs == 0).sum() == 2
    without = kkt_residual(problem, done.weights, np.where(signs == 0, -1, signs))
    assert kkt_residual(problem, done.weights, signs).residual < 1e-3 < 0.1 < without.residual


# Refusals -------------------------------------------------------------------------------------------------


def test_unserved_problems_are_refused_with_what_serves_them() -> None:
    X, y = np.ones((2, 3)), np.array([1.0, -1.0])
    data = Data(X, y)
    for network in (
        Dense((3, 4, 4, 1), "relu"),
        Dense((3, 4, 1), "relu", bias=True),
        Residual(3, 4, 1, 1, "relu"),
    ):
        sentence = supports(Problem(network, Exponential(), data))
        assert sentence is not None
        assert "Fixed('heun', step)" in sentence
    assert "Adaptive" in str(supports(Problem(Dense((3, 4, 1), "tanh"), Exponential(), data)))
    problem, weights = small()
    assert supports(problem) is None
    with pytest.raises(ValueError, match="end"):
        advance(problem, weights, 2.0, 1.0)
    with pytest.raises(ValueError, match="tolerance"):
        advance(problem, weights, 0.0, 1.0, None, 1e-15)
    square, begin = small(loss=Square())
    with pytest.raises(ValueError, match="overflows"):
        advance(square, begin, 0.0, 1e4)
    with pytest.raises(ValueError, match="epsilon"):
        smoothed(problem, 0.0)


def test_several_outputs_are_served_too() -> None:
    X = np.random.default_rng(8).standard_normal((10, 3))
    problem = Problem(Dense((3, 5, 3), "relu"), CrossEntropy(), Data(X, np.arange(10) % 3))
    weights = problem.network.init(jax.random.key(8), Gaussian(0.3))
    events = advance(problem, weights, 0.0, 2.0, None, 1e-9)
    smooth = advance_smoothed(problem, weights, 0.0, 2.0, 1e-9, 1e-7)
    assert events.events
    assert gap(problem, events.weights, smooth.weights) < 1e-5


def test_events_that_crowd_end_the_solve_as_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlab.dynamics.filippov import advance as room

    problem = Problem(Dense((2, 3, 1), "relu"), Exponential("mean"), Data(np.eye(2), np.ones(2)))
    solve = room._Solve(problem, (np.ones((3, 2)), np.ones((1, 3))), 30.0, None, 1e-9)

    def creep(self: room._Solve, end: float) -> int:
        self.u += 2e-9
        return stops.RUNNING

    monkeypatch.setattr(room._Solve, "_piece", creep)
    assert solve.to(31.0) == stops.UNDERFLOW
    assert solve.u < 30.0 + 1e-4


# Stops and progress ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop", "result"),
    [
        (Stop(loss=0.05), "stopped: loss reached"),
        (Stop(gradient_norm=0.03), "stopped: gradient norm reached"),
        (Stop(steps=30), "stopped: step count reached"),
        (Stop(log_t=2.5), "stopped: log t reached"),
    ],
)
def test_a_stop_is_met_at_the_step_where_it_holds_and_not_at_the_record(stop: Stop, result: str) -> None:
    problem, weights = small(m=3, N=6)
    flow, clock = gradlab.GradientFlow(problem), gradlab.LogTime()
    solver = gradlab.solvers.Filippov(1e-7)
    given: dict[str, Any] = {"clock": clock, "solver": solver, "refine": False, "observables": ["loss"]}
    ended = gradlab.run(flow, weights, [8.0], stop=stop, **given)
    assert ended.attrs["result"] == result
    assert 0.05 < float(ended["tau"][-1]) < 7.0
    # One step earlier it did not hold yet.
    before = gradlab.run(flow, weights, [8.0], stop=Stop(steps=int(ended["step"][-1]) - 1), **given)
    if stop.loss is not None:
        assert float(ended["loss"][-1]) <= 0.05 < float(before["loss"][-1])
    # The orbit up to there is the same, and goes on.
    reached = float(ended["tau"][-1])
    there = gradlab.run(flow, weights, [reached, reached + 0.1], keep="all", **given)
    assert int(ended["step"][-1]) < int(there["step"][-1])
    same = (problem.unravel(seen) for seen in (ended["final_weights"].values, there["weights"].values[-2]))
    assert gap(problem, *same) < 1e-5


def test_progress_is_told_between_records() -> None:
    heard: list[float] = []

    class Listener:
        def update(self, description: str, completed: float, total: float) -> None:
            heard.append(completed / total)

    problem, weights = small(m=3, N=6)
    token = PROGRESS.set(Listener())
    try:
        gradlab.run(
            gradlab.GradientFlow(problem), weights, [8.0], clock=gradlab.LogTime(), solver="filippov",
            observables=["loss"],
        )  # fmt: skip
    finally:
        PROGRESS.reset(token)
    assert len([part for part in heard if 0.5 < part < 1.0]) > 10
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
