"""A validated scalar flow contains the solution, tightly, where an interval iteration explodes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from flint import arb

from gradlab.analysis.certificates import enclose_flow, scalar_velocity
from gradlab.analysis.certificates.balls import arithmetic, ball
from gradlab.analysis.certificates.flow_enclosure import _step as taylor_step
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def chain(depth: int, loss: Any, x: Any = ((1.0,),), y: Any = ((1.0,),), decay: Any = 0.0) -> Problem:
    return Problem(Dense.deep_linear((1,) * (depth + 1)), loss, Data(x, y), decay)


START = 0.125  # exactly a float64

#: (velocity, w(t) in balls from t in balls): ½(w^K − 1)² on the balanced line, and the exponential loss
CLOSED: dict[str, tuple[Problem, Callable[[Any], Any]]] = {
    "square, one weight": (chain(1, Square(half=True)), lambda t: 1 - (1 - arb(START)) * (-t).exp()),
    "square, two weights": (
        chain(2, Square(half=True)),
        lambda t: 1 / (1 + (1 / arb(START) ** 2 - 1) * (-2 * t).exp()).sqrt(),
    ),
    "exponential, one weight": (chain(1, Exponential(), y=(1.0,)), lambda t: (t + arb(START).exp()).log()),
    "decay alone pulls": (
        chain(1, Square(half=True), x=((0.0,),), decay=0.5),
        lambda t: arb(START) * (-t / 2).exp(),
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_the_enclosure_contains_the_closed_form_and_is_a_few_roundings_wide(name: str) -> None:
    problem, exact = CLOSED[name]
    times = [0.5, 3.0, 20.0, 50.0]
    found = enclose_flow(scalar_velocity(problem), START, times)
    assert found.complete, found.why
    with arithmetic(200):
        for time, low, high in zip(times, found.lower, found.upper, strict=True):
            truth = exact(arb(time))
            assert arb(low) < truth < arb(high)
    # outward rounding to float64 costs one unit in the last place on each side, the method far less
    assert np.all(found.upper - found.lower <= 4 * np.spacing(np.abs(found.upper)))


@pytest.mark.parametrize("name", CLOSED)
def test_the_ball_of_one_step_contains_the_closed_form_long_before_it_is_rounded(name: str) -> None:
    problem, exact = CLOSED[name]
    with arithmetic(200, 14):
        reached, h = taylor_step(scalar_velocity(problem), ball(START), Fraction(4), 12, 200)
        assert reached.contains(exact(arb(h.numerator) / h.denominator))
        assert reached.rad() < 2.0**-60


def test_an_interval_of_starts_flows_to_the_interval_between_its_ends() -> None:
    velocity = scalar_velocity(CLOSED["square, two weights"][0])
    whole = enclose_flow(velocity, (0.125, 0.25), [1.0, 5.0])
    low, high = (enclose_flow(velocity, start, [1.0, 5.0]) for start in (0.125, 0.25))
    np.testing.assert_array_equal(whole.lower, low.lower)
    np.testing.assert_array_equal(whole.upper, high.upper)
    assert whole.upper[1] - whole.lower[1] < whole.upper[0] - whole.lower[0]  # the flow contracts by then


def test_an_interval_iteration_explodes_where_the_enclosure_does_not() -> None:
    velocity, t, h = scalar_velocity(CLOSED["square, one weight"][0]), 50.0, 2.0**-6
    with arithmetic(128):
        x = ball(START, 1e-16)
        for _ in range(int(t / h)):  # Euler's method on intervals, its own error not even counted
            x = x + ball(h) * velocity(x)
        naive = float(x.rad())
    found = enclose_flow(velocity, (START - 1e-16, START + 1e-16), [t])
    assert naive > 1e4  # (1 + h)^{t/h} ≈ e^{50} times 1e-16
    assert found.upper[0] - found.lower[0] < 1e-15


def test_a_solution_that_blows_up_is_refused_and_what_came_before_is_kept() -> None:
    found = enclose_flow(lambda x: x * x, 1.0, [0.5, 0.75, 2.0])  # 1/(1 − t)
    assert not found.complete
    assert found.why
    np.testing.assert_array_equal(found.times, [0.5, 0.75])
    assert np.all((found.lower < [2.0, 4.0]) & (np.array([2.0, 4.0]) < found.upper))
    short = enclose_flow(lambda x: -x, 1.0, [1.0, 1e3], steps=20)
    assert not short.complete
    assert "more steps" in short.why


@pytest.mark.parametrize("order", [10, 30])
def test_the_order_changes_the_steps_and_not_the_truth(order: int) -> None:
    problem, exact = CLOSED["square, two weights"]
    found = enclose_flow(scalar_velocity(problem), START, [3.0], order=order)
    with arithmetic(200):
        assert arb(found.lower[0]) < exact(arb(3)) < arb(found.upper[0])
    assert found.upper[0] - found.lower[0] < 1e-15


@pytest.mark.parametrize(
    "problem",
    [
        chain(3, Square("mean"), ((1.0,), (0.5,)), ((0.3,), (2.0,)), 0.1),
        chain(2, Logistic("mean"), ((1.0,), (-0.5,)), (1.0, -1.0)),
        chain(2, Exponential(), ((1.0,), (-0.5,)), (1.0, -1.0), 0.2),
    ],
)
def test_the_velocity_is_minus_the_gradient_on_the_balanced_line(problem: Problem) -> None:
    velocity = scalar_velocity(problem)
    for w in (0.7, -1.2):
        gradient = np.asarray(problem.ravel(problem.gradient(problem.unravel(np.full(problem.size, w)))))
        with arithmetic(128):
            ours = float(velocity(ball(w)).mid())
        # one product of a few numbers: some eps of its size
        np.testing.assert_allclose(-gradient, ours, rtol=1e-14)


def test_misuse_is_an_error() -> None:
    velocity = scalar_velocity(CLOSED["square, one weight"][0])
    with pytest.raises(ValueError, match="times"):
        enclose_flow(velocity, 0.0, [2.0, 1.0])
    with pytest.raises(ValueError, match="start"):
        enclose_flow(velocity, (1.0, 0.0), [1.0])
    with pytest.raises(ValueError, match="scalar weights"):
        scalar_velocity(Problem(Dense((2, 1)), Square(), Data([[1.0, 2.0]], [[1.0]])))
    with pytest.raises(ValueError, match="differ"):
        scalar_velocity(chain(2, Square(), decay=(0.1, 0.2)))
