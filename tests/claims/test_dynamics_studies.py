"""Closed forms behind the studies of descent, modes, conserved quantities and the zoo of networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.cases import point
from gradlab.claims.chitour import nonlinear
from gradlab.claims.cohen import bartlett, critical_point_route, trajectories_matter
from gradlab.claims.looks import plain
from gradlab.claims.looks.descents import share
from gradlab.claims.marcotte23.conservation_laws import ConservationLaws, rank_of
from gradlab.claims.problems import linear_net
from gradlab.claims.saxe14 import mode_dynamics, random_start
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def target(*values: float, layers: int = 2) -> Problem:
    phi = np.diag(values)
    net = Dense.deep_linear((len(values),) * (layers + 1))
    return Problem(net, Square(half=True), Data(np.eye(len(values)), phi))


def from_identity(problem: Problem, **facts: Any) -> bartlett.Bartlett:
    size, layers = problem.network.widths[0], len(problem.network.widths) - 1
    start = np.concatenate([np.eye(size).ravel()] * layers)
    case = linear_net.recorded(problem, start[None], **({"target": "", "eta": 0.1, "steps": 400} | facts))
    return case.look(bartlett.Bartlett)


def test_descent_of_two_scalar_layers_from_the_identity() -> None:
    # w ← w − η w (w² − 4) for both layers: one step from 1 is 1 + 0.3
    look = from_identity(target(4.0), steps=40)
    assert look.orbits[1, 0] == pytest.approx([1.3, 1.3])
    assert look.certificate == 1.0
    assert from_identity(target(4.0, 0.25)).certificate == 0.25


def test_a_target_that_is_not_symmetric_is_certified_by_its_distance_from_the_identity() -> None:
    problem = target(1.0, 1.0)
    problem = Problem(problem.network, problem.loss, Data(np.eye(2), np.array([[1.0, 0.0], [0.4, 1.0]])))
    below = np.linalg.svd(np.array([[1.0, 0.4], [0.0, 1.0]]), compute_uv=False)[1]
    assert from_identity(problem).certificate == pytest.approx(below - 0.4)


def test_shares_and_their_intervals() -> None:
    assert share(0, 4, drawn=False).exact
    # 1 − 0.01^{1/64}
    assert share(0, 64).error == pytest.approx(1.0 - 0.01 ** (1 / 64))


def test_the_loss_without_a_bound_has_maxima_at_the_root_of_the_golden_ratio() -> None:
    x = np.array([(0.5 + 0.5 * np.sqrt(5.0)) ** 0.5])
    value = float(critical_point_route._root(x, np.ones(1))[0]) ** 2
    # (u² + 2u)/(1 + u²) at u = φ, φ² = φ + 1: (3φ + 1)/(φ + 2) = φ
    assert value == pytest.approx(0.5 + 0.5 * np.sqrt(5.0))


def test_risks_of_two_ways_are_compared_draw_by_draw() -> None:
    look = trajectories_matter.Trajectories(None, xr.Dataset(), {})
    look.__dict__["risks"] = {"a": np.array([1.0, 10.0]), "b": np.array([0.1, 1.0])}
    assert look.factor("a", "b").value == pytest.approx(1.0)
    assert look.factor("a", "b").error == pytest.approx(0.0, abs=1e-9)


def test_a_mode_is_half_learnt_after_the_printed_time() -> None:
    s, begin = 2.0, 1e-3
    t = np.log((s - begin) / begin) / (2.0 * s)
    assert mode_dynamics.strength(t, s, begin) == pytest.approx(s / 2)
    h = 1e-6
    rate = (mode_dynamics.strength(t + h, s, begin) - mode_dynamics.strength(t - h, s, begin)) / (2.0 * h)
    assert rate == pytest.approx(2.0 * (s / 2) * (s / 2))


def test_what_grows_is_the_mean_of_both_layers_less_what_earlier_modes_take() -> None:
    problem = linear_net.reduced(np.random.default_rng(0), (2, 2, 2), values=np.array([2.0, 1.0]), half=True)
    # rows of W_1 and columns of W_2 alike: p of the modes are (1, 0) and (1, 1)
    first = np.array([[1.0, 1.0], [0.0, 1.0]])
    start = np.concatenate([first.ravel(), first.T.ravel()])
    look = linear_net.recorded(problem, start[None], scale=1.0).look(random_start.RandomStart)
    np.testing.assert_allclose(look.seeds, [1.0, 1.0], atol=1e-14)
    np.testing.assert_allclose(np.sum(look.growing**2, axis=1), [1.0, 2.0], atol=1e-14)


@pytest.mark.parametrize(
    ("sizes", "orbit", "laws"), [((1, 1, 1), 1, 1), ((1, 1, 2), 1, 3), ((2, 1, 1), 2, 1), ((2, 2, 2), 5, 3)]
)
def test_laws_of_small_nets(sizes: tuple[int, int, int], orbit: int, laws: int) -> None:
    n, m, r = sizes
    problem = Problem(Dense.deep_linear((m, r, n)), Square(), Data(np.eye(m), np.zeros((m, n))))
    look = point(problem, np.random.default_rng(1).standard_normal(problem.size)).look(ConservationLaws)
    assert (look.orbit[0], look.laws[0]) == (orbit, laws)
    assert look.size - orbit == look.printed == laws


def test_a_rank_that_is_not_clear_is_told() -> None:
    assert rank_of(np.diag([1.0, 1e-14])) == (1, 0)
    assert rank_of(np.diag([1.0, 1e-8])) == (2, 1)
    assert rank_of(np.zeros((2, 2))) == (0, 0)


def test_a_convolution_of_ones_counts_its_neighbours() -> None:
    found = plain.convolved(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), stride=1)
    np.testing.assert_array_equal(found[0, 0], [[4, 6, 4], [6, 9, 6], [4, 6, 4]])


def test_derivatives_and_degrees_of_a_net_of_two_weights() -> None:
    # log(1 + e^{−ab}) at a = b = 1: the gradient is −1/(1 + e) each
    net = plain.Net(
        "dense", "relu", ((1, 1), (1, 1)), np.ones((1, 1)), np.ones(1), np.ones((1, 1)), np.ones(1)
    )
    w, p = np.ones(2), 1.0 / (1.0 + np.e)
    np.testing.assert_allclose(net.gradient(net.loss, w), [-p, -p], rtol=1e-14)
    curved = p * (1.0 - p)
    np.testing.assert_allclose(net.hessian(w), [[curved, curved - p], [curved - p, curved]], atol=1e-10)
    assert net.degrees(w) == (1, 1)


def test_the_zoo_holds_what_the_slides_name() -> None:
    assert {"ReLU", "leaky ReLU", "sigmoid", *nonlinear.STRUCTURES} <= set(nonlinear.ZOO)
