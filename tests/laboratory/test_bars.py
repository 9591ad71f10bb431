"""Error bars: a second solve that differs by construction, bars that hold, and what is unknown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.dynamics import tree
from gradlab.dynamics.solvers.methods import METHODS, UNEVEN
from gradlab.laboratory import second
from gradlab.observe import observables

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks import coverage
from benchmarks.closed_forms import arb, closed_forms, random_forms
from benchmarks.digits import Solution, field, random_nets

FIRST = 0.1


def depth_two() -> tuple[gl.Problem, Any]:
    problem = gl.Problem(
        gl.Dense((1, 1, 1), "identity"), gl.Square("sum", half=True), gl.Data([[1.0]], [[1.0]])
    )
    return problem, (jnp.asarray([[FIRST]]),) * 2


def loss(t: np.ndarray) -> np.ndarray:
    """Of the flow from there: u = a² is logistic."""
    u = FIRST**2 * np.exp(2 * t) / (1 + FIRST**2 * np.expm1(2 * t))
    return (u - 1) ** 2 / 2


SOLVERS = {
    "auto": gl.solvers.Auto(1e-4),
    "tsit5": gl.Adaptive("tsit5", 1e-3),
    "bosh3": gl.Adaptive("bosh3", 1e-1),
    "rkc2": gl.Adaptive("rkc2", 1e-2),
    "fixed": gl.solvers.Fixed("heun", 10.0),
    "bdf": gl.Adaptive("bdf", 1e-3),
    "bdf at 1e-7": gl.Adaptive("bdf", 1e-7),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_near_records_do_not_make_two_solves_one(name: str) -> None:
    problem, start = depth_two()
    records = np.linspace(0.0, 4.0, 81)
    run = gl.run(gl.GradientFlow(problem), start, records, solver=SOLVERS[name], observables=["loss"])
    error = np.abs(run.loss.values - loss(records))[1:]
    bar = run.loss_error.values[1:]
    assert np.all(bar > 0.0)
    assert np.mean(error <= bar) >= 0.98
    assert np.median(bar / np.maximum(error, 1e-18)) < 100.0


@pytest.mark.parametrize("tolerance", [2e-7, 1e-6, 5e-6])
def test_the_coarser_solve_of_auto_is_coarser_where_its_tolerance_is_clipped(tolerance: float) -> None:
    problem, start = depth_two()
    run = gl.run(
        gl.GradientFlow(problem),
        start,
        [1.0, 2.0, 3.0, 4.0],
        solver=gl.solvers.Auto(tolerance),
        observables=["loss"],
    )
    error = np.abs(run.loss.values - loss(run.t.values))[1:]
    assert np.all(run.loss_error.values[1:] >= error)
    auto = gl.solvers.Auto(tolerance).resolve(3, True, False)
    for method in (auto.explicit, auto.stiff):
        fine, coarse = auto._adaptive(method), auto.coarser()._adaptive(method)
        assert float(coarse.tolerance) == pytest.approx(10.0 * float(fine.tolerance), rel=1e-12)


@pytest.mark.parametrize("name", UNEVEN)
def test_uneven_steps_err_ten_times_as_much_as_even_ones(name: str) -> None:
    order = int(METHODS[name]().order(None))
    share = UNEVEN[name]
    ratio = (share ** (order + 1) + (1.0 - share) ** (order + 1)) / 0.5**order
    assert ratio == pytest.approx(10.0, rel=0.1)


def test_bars_are_as_many_distances_as_the_estimates_of_both_solves_say() -> None:
    def multiple(fine: tuple[float, float], coarse: tuple[float, float]) -> float:
        ours, theirs = (np.outer(sums, [1.0, 0.0]) for sums in (fine, coarse))
        return float(second.multiples(ours, theirs)[0])

    def alike(fine: float, coarse: float) -> float:
        return multiple((fine, fine), (coarse, coarse))

    assert alike(1e-9, 2e-9) == pytest.approx(second.SURE)
    # The second solve may be the nearer one by chance: the distance is then the error.
    assert alike(1e-9, 1e-8) == second.FACTOR
    # No distance of two solves that erred alike says more than this.
    assert alike(1e-9, 1e-9) == alike(1e-9, 1e-10) == pytest.approx(second.SURE / second.LEAST)
    # A ratio far above that of tolerances is believed by half.
    assert alike(1e-9, 1e-6) == pytest.approx(second.FACTOR * np.sqrt(second.PLAIN / 999.0))
    # The lesser of since the start and of late.
    assert multiple((1e-6, 1e-9), (1e-5, 3e-9)) == pytest.approx(second.SURE / 2.0)
    assert alike(0.0, 0.0) == alike(0.0, 1e-9) == second.FACTOR


def test_the_second_solve_begins_boldly() -> None:
    problem, start = depth_two()
    fine = gl.Adaptive("tsit5", 1e-5)
    steps = [
        int(gl.run(gl.GradientFlow(problem), start, [0.2], solver=solver, refine=False).step[-1])
        for solver in (fine, gl.Adaptive("tsit5", 1e-4), fine.coarser())
    ]
    assert steps[0] >= steps[1] > steps[2]


def test_a_sample_of_known_answers_lies_within_the_bars() -> None:
    chosen = {
        "depth 2, balanced at 0.1": ("tsit5", "Time", 1e-4, 25),
        "exponential, one point": ("dopri8", "LogLoss", 1e-7, 25),
        "linear regression, condition 10": ("mrkc3", "Time", 1e-5, 25),
        # Both solves only grow their steps until the first of many records.
        "depth 2, exponential, one point": ("tsit5", "LogNorm", 1e-5, 100),
        "logistic, one point": ("mrkc5", "Time", 1e-5, 25),
        "l4 loss": ("auto", "LogTime", 1e-6, 25),
    }
    found = [coverage.cover(one, *chosen[one.name]) for one in closed_forms() if one.name in chosen]
    assert len(found) == len(chosen)
    numbers = sum(row.numbers for row in found)
    assert sum(row.missed for row in found) <= 0.01 * numbers
    assert not any(row.zero for row in found)
    assert not any(row.unknown for row in found)
    assert np.median(np.concatenate([row.excess for row in found])) < np.log10(30.0)


@pytest.mark.parametrize("closed", closed_forms(), ids=lambda one: one.name)
def test_closed_forms_begin_at_their_start_and_follow_the_gradient(closed: Any) -> None:
    follows(closed)


def test_flows_that_are_drawn_do_so_too() -> None:
    for closed in random_forms(12, seed=3):
        follows(closed)


def test_nets_in_thirty_digits_do_so_too() -> None:
    for closed in random_nets(3, seed=3):
        follows(closed)


def test_digits_of_a_small_net_are_those_of_steps_of_half_the_length() -> None:
    x, y = np.array([[0.5, -1.0], [1.0, 0.3]]), np.array([1.0, -1.0])
    for unit, loss in (("tanh", "logistic"), ("sigmoid", "square"), ("identity", "exponential")):
        net, start = field(unit, loss, x, y, 2), [0.4, -0.7, 0.2, 0.9, -0.3, 0.6]
        once, twice = (Solution(net, start, 2.0, left) for left in (1e-32, 1e-44))
        assert len(twice.pieces) > 1.5 * len(once.pieces)
        for t in (0.7, 2.0):
            (weights, loss_, *ways), (others, value, *lengths) = once.at(arb(t)), twice.at(arb(t))
            for mine, yours in zip([*weights, loss_, *ways], [*others, value, *lengths], strict=True):
                assert float(abs(mine - yours)) < 1e-29


def follows(closed: Any) -> None:
    """The known answer begins at the start, with its loss, and moves along minus the gradient."""
    problem = closed.problem
    begun, value = closed.truth(arb(2) ** -250)
    np.testing.assert_allclose([float(w) for w in begun], problem.ravel(closed.start), rtol=1e-14)
    assert float(value) == pytest.approx(float(problem.potential(closed.start)), rel=1e-13)
    t = arb(float(closed.times(16)[0]))
    step = t * arb(2) ** -70
    weights, _ = closed.truth(t)
    moved, _ = closed.truth(t + step)
    velocity = [float((b - a) / step) for a, b in zip(weights, moved, strict=True)]
    point = problem.unravel(jnp.asarray([float(w) for w in weights]))
    gradient = np.asarray(problem.ravel(problem.gradient(point)))
    np.testing.assert_allclose(velocity, -gradient, rtol=1e-7, atol=1e-9 * np.abs(gradient).max() + 1e-15)


def test_what_both_solves_give_as_zero_is_unknown_and_a_count_is_not() -> None:
    loss, error = observables.Loss(), observables.Error()
    zero, steps = np.zeros(()), np.asarray(5)
    assert np.isnan(second.bar(zero, zero, steps, loss))
    assert second.bar(zero, zero, steps, error) == 0.0
    assert second.bar(zero, zero, steps, loss, exact=True) == 0.0
    assert second.bar(np.asarray(1.0), np.asarray(1.0), steps, loss) > 0.0


def test_a_weight_in_which_the_solves_agree_is_off_by_a_part_of_the_others() -> None:
    ours, theirs, steps = np.array([1.0, 2.0, 0.0]), np.array([1.0, 2.001, 0.0]), np.asarray(5)
    found = second.bar(ours, theirs, steps, observables.Weights())
    assert found[1] == pytest.approx(3e-3, rel=1e-6)
    assert found[[0, 2]] == pytest.approx(second.ASIDE * found[1] / np.sqrt(3.0), rel=1e-6)
    # of other observables every entry is for itself
    assert second.bar(ours, theirs, steps, observables.LayerNorms())[0] < 1e-14


def test_a_time_is_off_by_what_the_orbit_needs_for_what_its_weights_are_off() -> None:
    weights, times = np.array([[0.0], [1.0], [1.5], [1.5]]), np.array([-np.inf, 2.0, 4.0, 5.0])
    late = second.lateness(weights, np.full((3, 1), 0.1), times)
    # from log t = −∞ there is no pace; then a quarter a unit; of what does not move nothing is known
    assert np.isnan(late[[0, 2]]).all()
    assert late[1] == pytest.approx(0.4)
    # e^{−t} at 4, 5 and 6: a tenth of what is left is a tenth of a unit, and beyond the rest there is no time
    rest = np.exp(-np.array([4.0, 5.0, 6.0]))
    for share, time in ((0.1, -np.log(0.9)), (1.1, np.inf)):
        off = np.array([[share * rest[-1]]])
        assert second.lateness(1.0 - rest[:, None], off, np.array([4.0, 5.0, 6.0])) == pytest.approx(time)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-7])
def test_near_rest_a_clock_that_reads_the_norm_does_not_know_the_time(tolerance: float) -> None:
    # both solves are off by the same there, and say the same wrong time
    (closed,) = (one for one in closed_forms() if one.name == "depth 3, balanced at 0.05")
    times = [arb(float(t)) for t in closed.times(25)]
    tau = np.array([float(closed.clocks["LogNorm"](t)) for t in times])
    moves = np.flatnonzero(np.diff(tau, prepend=-1.0) > 1e-9 * tau[-1])
    run = gl.run(
        gl.GradientFlow(closed.problem),
        closed.start,
        np.concatenate([[0.0], tau[moves][tau[moves] > 0.0]]),
        clock=gl.clocks.LogNorm(),
        solver=gl.Adaptive("bdf", tolerance),
    )
    known = [times[i] for i in moves if tau[i] > 0.0][: run.sizes["record"] - 1]
    error = np.abs(run["log_t"].values[1:] - [float(t.log()) for t in known])
    bars = run["log_t_error"].values[1:]
    assert error[-1] > 0.1
    assert np.all(error <= bars)
    assert np.all(bars[:-3] < 1e-2)


def test_a_bar_does_not_close_where_two_solves_cross() -> None:
    crossing, tau = np.array([1e-9]), np.array([0.0, 1.0, 2.0])

    def kept(values: list[float], tau: np.ndarray = tau) -> float:
        return float(second.remembered(crossing, 0.5 * crossing, np.array(values), tau, np.array(0.1))[0])

    assert kept([3.0, 2.0, 1.0]) == pytest.approx(second.KEPT * 0.1)
    # At a tenth of the speed, a tenth of it.
    assert kept([3.0, 2.0, 1.9]) == pytest.approx(second.KEPT * 0.01)
    assert kept([3.0, 2.0, 1.9], np.array([0.0, 1.0, 1.0])) == 0.1
    # Many records at once are remembered one after the other.
    many = np.full(3, 1e-9)
    many = second.remembered(many, many, np.array([4.0, 3.0, 2.0, 1.0, 0.5]), np.arange(5.0), np.array(0.1))
    np.testing.assert_allclose(many, 0.1 * np.array([0.7, 0.49, 0.7**3 / 2]))


def test_the_bar_of_a_time_does_not_close_where_two_solves_cross() -> None:
    log_t, apart = np.array([-np.inf, 0.0, 1.0, 2.0]), np.array([0.0, 0.1, 0.1, 1e-9])

    def rows(log_t: np.ndarray) -> list[dict[str, Any]]:
        names = {"step": np.arange(4), "tau": np.arange(4.0), "t": np.exp(log_t), "log_t": log_t}
        return [{name: values[i] for name, values in names.items()} for i in range(4)]

    def told(known: bool) -> list[float]:
        clock = gl.LogTime() if known else gl.LogLoss()
        found = second.bars(rows(log_t), rows(log_t + apart), [], [], False, clock)
        return [float(errors["log_t_error"]) for errors in found]

    assert told(False) == pytest.approx([0.0, 0.3, 0.3, second.KEPT * 0.3])
    # a clock that says what time it is has no second opinion of it
    assert told(True)[3] == pytest.approx(3e-9)


def test_a_record_by_itself_has_the_longer_bar() -> None:
    alone, again, tau = np.array([3.0]), np.array([1.5]), np.array([0.0, 1.0, 2.0])

    def kept(values: list[float], before: float) -> float:
        return float(second.remembered(alone, again, np.array(values), tau, np.array(before))[0])

    assert kept([3.0, 2.0, 1.0], 1e-3) == 1.5
    assert kept([3.0, 2.0, 1.5], 1e-3) == 2.25
    assert kept([3.0, 2.0, 2.0], 1e-3) == 3.0
    # Of a start, which is given, nothing is kept.
    assert kept([3.0, 2.0, 1.0], 0.0) == 3.0
    infinite = second.remembered(
        np.array([np.inf]), np.array([np.inf]), np.array([3.0, 2.0, 1.0]), tau, np.array(1.0)
    )
    assert np.isinf(infinite[0])


def test_shaking_is_by_rounding_only_and_by_nothing_at_zero() -> None:
    weights = (jnp.linspace(-1.0, 1.0, 1000), jnp.ones((3, 4)))
    same = tree.shaken(weights, 0.0, 7)
    assert all(np.array_equal(a, b) for a, b in zip(weights, same, strict=True))
    moved, other = (np.asarray(tree.shaken(weights, 1e-3, number)[0] / weights[0]) for number in (7, 8))
    np.testing.assert_allclose(np.abs(moved - 1.0), 1e-3, rtol=1e-9)
    # Signs are as good as drawn: balanced, and new at every record.
    assert abs(np.sum(moved > 1.0) - 500) < 100
    assert abs(np.sum((moved > 1.0) == (other > 1.0)) - 500) < 100


@pytest.mark.parametrize("scale", [1e154, 1e160, 1e300])
@pytest.mark.parametrize("solver", ["auto", "exact"])
def test_inputs_whose_squares_overflow_are_refused(scale: float, solver: str) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((8, 3))
    problem = gl.Problem(
        gl.Dense((3, 1), "identity"), gl.Square("sum"), gl.Data(scale * x, x @ np.ones((3, 1)))
    )
    with pytest.raises(ValueError, match="the Hessian of this problem overflows"):
        gl.run(gl.GradientFlow(problem), (jnp.ones((1, 3)) / scale,), [1.0], solver=solver)


def test_exact_steps_have_bars_that_are_not_zero() -> None:
    problem = gl.Problem(gl.Dense((1, 1), "identity"), gl.Square("sum"), gl.Data([[1.0]], [[1.0]]))
    run = gl.run(gl.GradientFlow(problem), (jnp.zeros((1, 1)),), [0.3, 1.0, 3.0], observables=["loss"])
    error = np.abs(run.loss.values - np.exp(-4.0 * run.t.values))
    assert np.all(run.loss_error.values[1:] > 0.0)
    assert np.all(error[1:] <= run.loss_error.values[1:])
