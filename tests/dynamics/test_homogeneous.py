"""The radial chart: the same orbit, handed over without a jump, right at log t from 1 to 10⁹."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from radial_road import Road
from scipy.integrate import Radau, solve_ivp

import gradlab
from gradlab.analysis.solutions import max_margin, soudry_constants
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.dynamics.homogeneous import HomogeneousFlow, Radial
from gradlab.problem.data import separable
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

EPS = float(np.finfo(np.float64).eps)
LATE = (1e2, 1e4, 1e6)
NETS = {
    "linear, depth 2": ((3, 4, 1), "identity"),
    "linear, depth 3": ((3, 4, 3, 1), "identity"),
    "squared ReLU": ((3, 8, 1), "squared_relu"),
}


def signed(widths: tuple[int, ...], activation: str, loss: Any = None, N: int = 8) -> Problem:
    data = separable(jax.random.key(0), N=N, d=widths[0], margin=0.5)
    return Problem(Dense(widths, activation), gradlab.Exponential() if loss is None else loss, data)


def classes(reduction: str = "sum") -> Problem:
    generator = np.random.default_rng(5)
    centres = 2.0 * np.eye(3)
    y = np.arange(9) % 3
    data = gradlab.Data(centres[y] + 0.1 * generator.standard_normal((9, 3)), y)
    return Problem(Dense((3, 5, 3), "squared_relu"), gradlab.CrossEntropy(reduction), data)


def separating(problem: Problem) -> Any:
    """Weights that separate the data, by descent in steps of equal length."""

    def step(_: Any, weights: Any) -> Any:
        force = problem.log_gradient(weights)
        length = 0.02 / jnp.linalg.norm(problem.ravel(force))
        return jax.tree.map(lambda w, g: w - length * g, weights, force)

    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    weights = jax.jit(lambda weights: jax.lax.fori_loop(0, 200, step, weights))(start)
    assert float(jnp.min(problem.margins(weights))) > 0.0
    return weights


def in_log_time(flow: Flow, tolerance: float) -> Callable[..., list[Any]]:
    """An integrator in u = log(1 + t) by SciPy's Radau with exact Jacobians, settling at every record."""
    _, unravel = ravel_pytree(flow.encode(flow.observed.network.init(jax.random.key(1), gradlab.init.He())))

    def field(u: Any, vector: Any) -> Any:
        direction, log_scale = flow.velocity(jnp.expm1(u), unravel(vector))
        # Newton's wilder guesses overflow, which SciPy does not expect.
        return jnp.exp(jnp.minimum(log_scale + u, 60.0)) * ravel_pytree(direction)[0]

    compiled, jacobian = jax.jit(field), jax.jit(jax.jacfwd(field, argnums=1))
    settle = jax.jit(lambda vector: ravel_pytree(flow.settle(unravel(vector)))[0])

    def go(y: Any, records: Sequence[float], u: float = 0.0) -> list[Any]:
        seen, vector = [], np.asarray(ravel_pytree(y)[0])
        for log_t in records:
            end = float(np.logaddexp(0.0, log_t))
            stepper = Radau(
                lambda u, v: np.asarray(compiled(u, v)),
                u,
                vector,
                end,
                jac=lambda u, v: np.asarray(jacobian(u, v)),
                rtol=tolerance,
                atol=tolerance,
            )
            while stepper.status == "running":
                stepper.step()
            assert stepper.status == "finished"
            u, vector = end, np.asarray(settle(stepper.y))
            seen.append(unravel(vector))
        return seen

    return go


def pushed(flow: HomogeneousFlow, y: Radial) -> Any:
    """dW/dt as the chart has it: d(e^s V) = e^s (dV + V ds)."""
    direction, log_scale = flow.velocity(0.0, y)
    moved = jax.tree.map(lambda v, dv: dv + direction.log_norm * v, y.directions, direction.directions)
    return jax.tree.map(lambda leaf: jnp.exp(y.log_norm + log_scale) * leaf, moved)


@pytest.mark.parametrize(
    "problem",
    [
        signed((3, 4, 3, 1), "identity"),
        signed((3, 8, 1), "squared_relu", gradlab.Logistic("mean")),
        classes("mean"),
    ],
    ids=["exponential", "logistic", "cross-entropy"],
)
def test_the_velocity_is_minus_the_gradient_in_either_chart(problem: Problem) -> None:
    flow, weights = HomogeneousFlow(problem), separating(problem)
    expected = np.asarray(-problem.ravel(problem.gradient(weights)))
    zero = jnp.zeros(())
    stretched = Radial(jax.tree.map(lambda leaf: 0.7 * leaf, weights), -jnp.log(0.7), zero + 1.0)
    for y in (Radial(weights, zero, zero), flow.encode(weights), stretched):
        np.testing.assert_allclose(
            problem.ravel(pushed(flow, y)), expected, rtol=0.0, atol=1e-13 * np.linalg.norm(expected)
        )


def test_the_norm_grows_at_the_rate_of_eulers_identity() -> None:
    # d log‖W‖/dt = L K p·m / ‖W‖², each factor from the weights themselves.
    problem = signed((3, 8, 1), "squared_relu")
    flow, weights = HomogeneousFlow(problem), separating(problem)
    direction, log_scale = flow.velocity(0.0, flow.encode(weights))
    m = np.asarray(problem.margins(weights))
    square = float(jnp.sum(problem.ravel(weights) ** 2))
    expected = 3.0 * np.sum(np.exp(-m) * m) / square
    assert float(direction.log_norm * jnp.exp(log_scale)) == pytest.approx(expected, rel=1e-13)


def test_the_chart_traces_the_plain_orbit_through_the_hand_over() -> None:
    problem = signed((3, 4, 1), "identity")
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    assert float(jnp.min(problem.margins(start))) < 0.0
    flow = HomogeneousFlow(problem)
    seen = in_log_time(flow, 1e-10)(flow.encode(start), np.log([0.01, 3.0, 20.0]))
    assert [float(flow.chart(y)["polar"]) for y in seen] == [0.0, 1.0, 1.0]
    slope = jax.jit(lambda w: -problem.ravel(problem.gradient(problem.unravel(w))))
    plain = solve_ivp(
        lambda _, w: np.asarray(slope(w)),
        (0.0, 20.0),
        np.asarray(problem.ravel(start)),
        method="DOP853",
        rtol=1e-12,
        atol=1e-14,
        t_eval=[0.01, 3.0, 20.0],
    )
    for y, expected in zip(seen, plain.y.T, strict=True):
        # a few hundred steps of error 1e-10 each, and the interpolant's 1e-9 at the first two records
        np.testing.assert_allclose(problem.ravel(flow.decode(y)), expected, rtol=0.0, atol=2e-8)


def test_a_separated_start_is_handed_over_at_once_and_the_step_loop_goes_on_from_there() -> None:
    problem = signed((3, 4, 1), "identity")
    flow, start = HomogeneousFlow(problem), separating(problem)
    solver = gradlab.Adaptive("dopri8", 1e-11)
    radial = gradlab.run(flow, start, [1.0, 50.0], solver=solver, refine=False)
    plain = gradlab.run(GradientFlow(problem), start, [1.0, 50.0], solver=solver, refine=False)
    np.testing.assert_array_equal(radial["chart_polar"], 1.0)
    np.testing.assert_allclose(radial["final_weights"], plain["final_weights"], rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(radial["log_loss"], plain["log_loss"], rtol=0.0, atol=1e-9)
    expected = np.log(np.sqrt(np.sum(plain["layer_norms"].values ** 2, axis=1)))
    np.testing.assert_allclose(radial["chart_log_norm"], expected, rtol=0.0, atol=1e-9)


def test_settling_changes_no_weight_and_happens_only_when_all_margins_are_positive() -> None:
    problem = signed((3, 4, 1), "identity")
    flow = HomogeneousFlow(problem)
    start = problem.network.init(jax.random.key(1), gradlab.Gaussian(0.7))
    zero = jnp.zeros(())
    plain = flow.settle(Radial(start, zero, zero))
    assert float(plain.separated) == 0.0
    np.testing.assert_array_equal(problem.ravel(plain.directions), problem.ravel(start))
    weights = separating(problem)
    handed = flow.settle(Radial(weights, zero, zero))
    drifted = Radial(jax.tree.map(lambda leaf: 1.001 * leaf, handed.directions), handed.log_norm, zero + 1.0)
    for before, after in (((weights), handed), (flow.decode(drifted), flow.settle(drifted))):
        assert float(after.separated) == 1.0
        assert abs(float(flow.chart(after)["directions_norm"]) - 1.0) <= 4 * EPS
        np.testing.assert_allclose(
            problem.ravel(flow.decode(after)), problem.ravel(before), rtol=20 * EPS, atol=0.0
        )
    # Once handed over it stays so: the chart is right whatever the margins.
    lost = Radial(jax.tree.map(jnp.negative, handed.directions), handed.log_norm, zero + 1.0)
    lost = lost._replace(directions=(lost.directions[0], handed.directions[1]))
    assert float(jnp.min(problem.margins(lost.directions))) < 0.0
    assert float(flow.settle(lost).separated) == 1.0


def test_one_example_follows_its_closed_form_to_log_t_1e9() -> None:
    # dw/dt = x e^{−xw} from w_0: e^{xw} = e^{xw_0} + x² t, so log ‖W‖ = log(log(x² t)/x) at late times.
    data = gradlab.Data(jnp.asarray([[2.0]]), jnp.asarray([1.0]))
    problem = Problem(Dense((1, 1), "identity"), gradlab.Exponential(), data)
    flow = HomogeneousFlow(problem)
    start = (jnp.full((1, 1), 0.5),)
    times = [0.0, 1.0, 1e2, 1e6, 1e9]
    for log_t, y in zip(times, in_log_time(flow, 1e-12)(flow.encode(start), times), strict=True):
        xw = np.logaddexp(1.0, np.log(4.0) + log_t)
        # error per unit step 1e-12, each forgotten at rate one in u; w enters log t multiplied by Kx = 2/x·…= 1
        assert float(y.log_norm) == pytest.approx(np.log(xw / 2.0), abs=1e-10)
        log_loss = float(problem.log_potential(flow.decode(y)))
        assert log_loss == pytest.approx(-xw, rel=1e-10)


def test_the_log_loss_of_a_linear_model_has_the_constant_of_the_dual() -> None:
    # L = Σ e^{−a_n·w} with w = ŵ log t + w̃ + O(t^{−rate}): log L + log t → log Σ α_n.
    problem = signed((3, 1), "identity", N=8)
    X, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    solution = max_margin(X, y)
    constants = soudry_constants(X, y, solution)
    assert constants.rate > 0.05, "1000 log-times must forget the start"
    flow = HomogeneousFlow(problem)
    times = [3.0, 1e3, 1e6]
    seen = in_log_time(flow, 1e-12)(flow.encode((jnp.zeros((1, 3)),)), times)
    for log_t, end in zip(times[1:], seen[1:], strict=True):
        w = np.asarray(flow.decode(end)[0])[0]
        # V and log ‖W‖ to ten steps' tolerance, which older steps do not add to: they are forgotten
        bound = 1e-11 * np.linalg.norm(w)
        log_loss = float(problem.log_potential(flow.decode(end)))
        assert abs(log_loss + log_t - np.log(constants.alpha.sum())) <= bound
        off = constants.projector @ w - solution.direction * log_t - constants.offset
        np.testing.assert_allclose(off, 0.0, atol=bound)


@pytest.mark.parametrize("net", NETS)
def test_margin_and_log_t_are_right_at_log_t_up_to_1e6(net: str) -> None:
    widths, activation = NETS[net]
    problem = signed(widths, activation)
    flow = HomogeneousFlow(problem)
    start = problem.network.init(jax.random.key(3), gradlab.Gaussian(0.7))
    road = Road(widths, activation, np.asarray(problem.data.inputs), np.asarray(problem.data.targets))
    expected = road.arrivals(np.asarray(problem.ravel(start)), LATE)
    seen = in_log_time(flow, 1e-11)(flow.encode(start), [1.0, *LATE])[1:]
    for y, other in zip(seen, expected, strict=True):
        margin = float(jnp.min(problem.margins(y.directions)))
        assert margin == pytest.approx(other.margin, rel=1e-9)
        # At given log ‖W‖ an error δ of it is one of K δ in log t, relatively.
        assert road.K * abs(float(y.log_norm) - other.log_norm) <= 1e-9
        np.testing.assert_allclose(problem.ravel(y.directions), other.directions, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("problem", [signed((3, 4, 3, 1), "identity"), classes()], ids=["signs", "classes"])
def test_nothing_overflows_at_log_t_1e6_1e9_or_1e12(problem: Problem) -> None:
    flow = HomogeneousFlow(problem)
    y = flow.encode(separating(problem))
    _, unravel = ravel_pytree(y)
    margin, K = float(jnp.min(problem.margins(y.directions))), sum(problem.network.degrees)

    def velocity(vector: Any) -> Any:
        direction, log_scale = flow.velocity(jnp.inf, unravel(vector))
        return jnp.append(ravel_pytree(direction)[0], log_scale)

    both = jax.jit(lambda vector: (velocity(vector), jax.jacfwd(velocity)(vector)))
    for log_t in (1e6, 1e9, 1e12):
        late = y._replace(log_norm=jnp.log(log_t / margin) / K)
        value, jacobian = both(ravel_pytree(late)[0])
        assert np.isfinite(value).all()
        assert np.isfinite(jacobian).all()
        # log L = −log t up to log N, and the direction is of the size of a gradient on the sphere.
        assert float(value[-1]) == pytest.approx(-log_t, rel=1e-3)
        assert np.abs(value[:-1]).max() < 100.0


@pytest.mark.parametrize(
    ("network", "loss", "decay", "words"),
    [
        (Dense((3, 4, 1), "identity"), gradlab.Exponential(), 0.1, "without decay"),
        (Dense((3, 4, 1), "identity"), gradlab.Square(), 0.0, "margin loss"),
        (Dense((3, 4, 1), "tanh"), gradlab.Logistic(), 0.0, "homogeneous"),
        (Dense((3, 4, 1), "relu", bias=True), gradlab.Logistic(), 0.0, "homogeneous"),
    ],
)
def test_other_problems_are_refused_with_a_sentence(
    network: Any, loss: Any, decay: float, words: str
) -> None:
    data = separable(jax.random.key(0), N=8, d=3, margin=0.5)
    if isinstance(loss, gradlab.Square):
        data = gradlab.Data(data.inputs, data.targets[:, None])
    problem = Problem(network, loss, data, decay)
    with pytest.raises(ValueError, match=f"{words}.*use"):
        HomogeneousFlow(problem)
