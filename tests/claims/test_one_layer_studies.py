"""One layer on one point x = (1, 0), y = 2, and regularised minima, against what is known by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims.cases import Case, case
from gradlab.claims.judging import NOT_MET
from gradlab.claims.notes import min_norm, norm_control, regularise_to_hyperbolic, ridge, span
from gradlab.claims.problems.regularised import minima
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

HALF = Square(half=True)
ONE_POINT = Data([[1.0, 0.0]], [[2.0]])


def run(problem: Problem, weights: Any, T: float = 40.0, **variables: Any) -> Case:
    """A made-up run of evenly spaced records, its coarse solve a little off."""
    rows = np.asarray(weights, dtype=np.float64)
    dims = ("record", "weight")
    given = {
        "weights": (dims, rows),
        "weights_coarse": (dims, rows + 1e-12),
        "t": ("record", np.linspace(0, T, len(rows))),
    }
    return case(problem, xr.Dataset(given | variables), by="hand")


def plane(loss: Square = HALF, decay: float = 0.0, data: Data = ONE_POINT) -> Problem:
    return Problem(Dense((2, 1)), loss, data, decay)


def test_span_one_weight_moves() -> None:
    look = run(plane(), [[1.0, 1.0], [2.0, 1.0]]).look(span.Span)
    assert look.null_motion.value == 0.0
    assert (look.zeros_beyond.value, look.zeros_otherwise.value) == (0.0, 0.0)
    assert look.hessian_sum.value == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("loss", "shift"), [(HALF, 1.5), (Square(), 0.75), (Square("mean"), 2.25)], ids=("½Σ", "Σ", "mean")
)
def test_ridge_has_a_constant_for_each_loss(loss: Square, shift: float) -> None:
    # Σ x xᵀ = diag(3, 0) and Σ y x = (6, 0): under a, the equilibrium is (6/(3 + λ/2a), 0)
    data = Data([[1.0, 0.0]] * 3, [[1.0], [2.0], [3.0]])
    look = run(plane(loss, 1.5, data), [[0.0, 0.0], [6.0 / (3.0 + shift), 0.0]]).look(ridge.Ridge)
    assert look.limit.value == pytest.approx(0.0, abs=1e-12)
    assert look.half.value == pytest.approx(0.0, abs=1e-12)
    assert look.sum.value == pytest.approx(1.0)
    assert look.mean.value == pytest.approx((4 / 3 - 6 / 5.25) / (1.6 - 4 / 3))


def test_the_mean_of_two_points_is_half_their_sum() -> None:
    two = Data([[1.0, 0.0]] * 2, [[1.0], [2.0]])
    assert run(plane(HALF, 1.0, two), [[0.0, 0.0], [1.0, 0.0]]).look(ridge.Ridge).mean is None


def test_what_time_leaves_is_that_of_the_exact_flow() -> None:
    # λ = 1: the limit is (1, 0), the first weight at rate 2, the second at rate 1; where it ended does not enter
    look = run(plane(decay=1.0), [[5.0, 1.0], [7.0, 7.0]], T=1.0).look(ridge.Ridge)
    assert look.left == pytest.approx(np.hypot(4.0 * np.exp(-2.0), np.exp(-1.0)))


def test_a_run_too_short_is_outside_the_claim_and_not_refuted() -> None:
    short = run(plane(decay=1.0), [[5.0, 1.0], [1.0 + 4.0 * np.exp(-2.0), np.exp(-1.0)]], T=1.0)
    assert ridge.STUDY.judge(ridge.STUDY.measure([short])).verdict == NOT_MET


def test_min_norm_leaves_the_null_space_part_and_the_inverse_does_not_exist() -> None:
    look = run(plane(), [[1.0, 3.0], [2.0, 3.0]]).look(min_norm.MinNormPrinted)
    assert (look.limit.value, look.distance.value, look.inverse.value) == (0.0, 0.0, 0.0)
    assert look.pseudoinverse.value < 1e-15
    faded = run(plane(), [[1.0, 3.0], [2.0, 2.9]]).look(min_norm.MinNormPrinted)
    assert faded.limit.value == pytest.approx(0.1 / (2.0 + np.sqrt(10.0)))


def test_where_the_points_span_the_printed_formula_is_right() -> None:
    spanning = Data([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[1.0], [2.0], [3.0]])
    look = run(plane(data=spanning), [[5.0, 5.0], [1.0, 2.0]]).look(min_norm.MinNormCorrected)
    assert look.ratio == pytest.approx(1.0 / 3.0)
    assert look.gram.value < 1e-15


def test_a_kick_is_kept_as_far_as_it_is_unseen() -> None:
    kick = ("record", "weight"), np.array([[0.0, 0.0], [0.6, 0.8], [0.0, 0.0]])
    look = run(plane(), [[5.0, 1.0], [2.0, 1.0], [2.0, 1.8]], 200.0, kick=kick).look(norm_control.NormControl)
    assert (look.moves.value, look.moves.tolerance) == (pytest.approx(0.8), pytest.approx(0.4))
    assert look.law.value < 1e-14
    assert (look.start, look.returns, look.product_moves) == (0.0, None, None)
    unkicked = run(plane(), [[5.0, 1.0], [2.0, 1.0]]).look(norm_control.NormControl)
    assert (unkicked.kicked, unkicked.moves) == (0.0, None)


@pytest.mark.parametrize(("hidden", "zeros"), [(1, 0), (2, 1)])
def test_decay_makes_one_hidden_unit_hyperbolic_and_two_not(hidden: int, zeros: int) -> None:
    # ½(2 − W_2 W_1)² + ½ λ‖W‖²: at w = √1.9 the eigenvalues for one unit are 2w² and 2λ
    problem = Problem(Dense.deep_linear((1, hidden, 1)), HALF, Data([[1.0]], [[2.0]]), 0.1)
    vector = minimising.minimum(problem, np.linspace(1.0, 0.8, problem.size))
    fitted = vector * np.sqrt(2.0 / 1.9)
    points = xr.Dataset({"final_weights": ("weight", vector), "zero": ("weight", fitted)})
    look = case(problem, points, by="hand").look(regularise_to_hyperbolic.RegulariseToHyperbolic)
    assert (look.before.value, look.zeros.number) == (2 * hidden - 1, zeros)
    assert (look.after is None, look.classified) == (hidden == 2, 0.0)
    if hidden == 1:
        assert look.eigen.values == pytest.approx([0.2, 3.8], rel=1e-12)
    else:
        assert look.kept.value == 0.0


def test_minima_of_a_relu_net_are_drawn_off_its_kinks() -> None:
    rng = np.random.default_rng(1)
    start, found = minima(rng, Dense((3, 2, 1), "relu"), Square(), 2, (0.01,), positive=True)
    ((problem, vector),) = found
    assert start.shape == vector.shape
    assert counting.near_kink(problem, vector) == 0.0
    assert counting.eigenvalues(problem, vector).at_rest <= 1.0
