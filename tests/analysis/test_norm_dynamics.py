"""The dynamics of the norm: closed forms and quadrature against integration, and against nets that it is exact for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

import gradlab as gl

WAYS = ((1.0, 0.5, 1e-3, 1.0), (2.0, 1.0, 5.0, 2.01), (-1.0, 0.5, 1.0, 0.1), (0.0, 0.5, 1.0, 0.1))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize(("pull", "power", "start", "level"), WAYS)
def test_hitting_times_are_the_integral(
    depth: int, pull: float, power: float, start: float, level: float
) -> None:
    norm = gl.solutions.NormDynamics(depth, pull, power)

    def slowness(x: float) -> float:
        rho = math.exp(x)
        return rho / (2.0 * depth * rho ** (2.0 - 2.0 / depth) * (pull - power * rho))

    wanted, _ = quad(slowness, math.log(start), math.log(level), epsabs=0.0, epsrel=1e-12, limit=500)
    time = norm.hitting_time(start, level)
    assert time == pytest.approx(wanted, rel=1e-10)
    assert float(norm.at(start, time)) == pytest.approx(level, rel=1e-10)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_the_norm_is_what_integration_gives(depth: int) -> None:
    norm = gl.solutions.NormDynamics(depth, 1.5, 0.7)
    times = np.linspace(0.0, norm.hitting_time(1e-2, 0.9 * norm.equilibrium), 7)
    solved = solve_ivp(
        lambda t, rho: norm.speed(rho), (0.0, times[-1]), [1e-2], t_eval=times, rtol=1e-11, atol=1e-14
    )
    np.testing.assert_allclose(norm.at(1e-2, times), solved.y[0], rtol=1e-7)


def test_it_is_exact_for_a_net_of_one_weight_a_layer() -> None:
    data = gl.Data([[0.8], [-0.5]], [[1.0], [-1.0]])
    problem = gl.Problem(gl.Dense((1, 1, 1, 1), "identity"), gl.Square(), data)
    start = tuple(np.full((1, 1), 0.3) for _ in range(3))
    seen = gl.run(
        gl.GradientFlow(problem),
        start,
        [1.0, 2.0],
        keep="all",
        solver=gl.Adaptive("dopri8", 1e-11),
        refine=False,
    )
    norm = gl.solutions.NormDynamics(3, 1.3, 0.89)
    wanted = norm.at(0.3**3, [0.0, 1.0, 2.0])
    np.testing.assert_allclose(np.prod(seen.weights.values, axis=1), wanted, rtol=1e-8)


def test_beyond_and_at_the_equilibrium() -> None:
    norm = gl.solutions.NormDynamics(4, 1.0, 0.5)
    assert norm.hitting_time(0.1, 2.0) == math.inf
    assert norm.hitting_time(0.1, 3.0) == math.inf
    assert norm.hitting_time(3.0, 0.1) == math.inf
    assert float(norm.at(2.0, 5.0)) == 2.0
    assert float(norm.at(0.1, 1e6)) == pytest.approx(2.0)
    assert norm.speed(norm.equilibrium) == 0.0
    assert norm.decay(norm.equilibrium) == 0.0


def test_what_is_no_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        gl.solutions.NormDynamics(0, 1.0, 1.0)
    with pytest.raises(ValueError, match="positive Σ f²"):
        gl.solutions.NormDynamics(2, 1.0, 0.0)
    with pytest.raises(ValueError, match="positive numbers"):
        gl.solutions.NormDynamics(2, 1.0, 1.0).hitting_time(0.0, 1.0)
    with pytest.raises(ValueError, match="positive"):
        gl.solutions.NormDynamics(2, 1.0, 1.0).at(0.0, 1.0)
