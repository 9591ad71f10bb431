"""Closed forms beside the studies of linearisations: a wrong index commutes, points outside, minima by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from gradlab.analysis.linearisation import unit
from gradlab.claims.cases import point
from gradlab.claims.judging import NOT_MET, REFUTED, SUPPORTED
from gradlab.claims.looks.linearisation import solved
from gradlab.claims.memo90 import conjugacy_map, one_layer_nonlinear, virtual_data
from gradlab.claims.notes import hartman_grobman
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def verdict(study, case) -> str:
    return study.judge(study.measure([case])).verdict


# notes.hartman-grobman ---------------------------------------------------------------------------------------


def contradicting(inputs=((1.0,), (1.0,)), network=None, decay=0.5) -> Problem:
    """L = e^{−w} + e^{w} + λw²/2 rests at 0 with H = 2 + λ."""
    return Problem(network or Dense((1, 1)), Exponential(), Data(inputs, [1.0, -1.0]), decay)


def at(problem: Problem, vector, study=hartman_grobman.STUDY) -> str:
    return verdict(study, solved(problem, {"net": "by hand"}, final_weights=np.asarray(vector)))


def test_a_sink_on_the_line_is_conjugate_to_its_linearisation():
    assert at(contradicting(), [0.0]) == SUPPORTED


@pytest.mark.parametrize(
    ("problem", "vector"),
    [
        (contradicting(((1.0, 0.0), (1.0, 0.0)), Dense((2, 1)), 0.0), [0.0, 0.0]),
        (contradicting(), [1.0]),
        (contradicting(network=Dense((1, 1, 1), "relu")), [0.3, 0.3]),
    ],
    ids=["a zero eigenvalue", "no equilibrium", "kinks"],
)
def test_outside_the_hypotheses_nothing_is_said(problem, vector):
    assert at(problem, vector) == NOT_MET


def test_h_to_a_flow_of_another_index_commutes_and_is_no_homeomorphism():
    study = hartman_grobman.STUDY
    saddle = next(case for case in study.run("few", _key()) if case.facts["net"].startswith("origin"))
    true = saddle.look(hartman_grobman.HartmanGrobman)
    wrong = replace(true.built, values=np.abs(true.built.values))
    x = true.points[0][::10]
    times = true.times
    assert wrong.kind == "saddle"
    assert wrong.defect(x, times).value < 1e-6
    assert true.seen.growing == (1.0, 0.0) != (np.sum(wrong.values < 0.0), 0.0)


def _key():
    import jax

    return jax.random.key(3)


# memo90.conjugacy-map ----------------------------------------------------------------------------------------


def quadratic(*eigenvalues: float) -> Problem:
    """½ Σ λ_i w_i²: h_1 and h_2 are the identity, and k is eq. 47 itself."""
    data = Data(np.diag(np.sqrt(eigenvalues)), np.zeros((len(eigenvalues), 1)))
    return Problem(Dense((len(eigenvalues), 1)), Square(half=True), data)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1.0, 2.0), (2.0, 3.0), SUPPORTED),
        ((1.0, 2.0), (1.0, 2.0), SUPPORTED),
        ((1.0, 0.0), (2.0, 3.0), NOT_MET),
    ],
)
def test_eq_47_between_quadratic_potentials(first, second, expected):
    pair = conjugacy_map.Pair(quadratic(*first), quadratic(*second))
    case = solved(pair, {"pair": "by hand"}, final_weights=np.zeros(2), other_weights=np.zeros(2))
    assert verdict(conjugacy_map.STUDY, case) == expected


# memo90.virtual-data -----------------------------------------------------------------------------------------


def along(centre=(2.0, 0.5), network=None, **more):
    """f = b a x at x = 1 with target 1; orbits that rest at minima (a(1 + s), b/(1 + s)), δ|W_0| apart."""
    targets = more.pop("targets", [[1.0]])
    problem = Problem(network or Dense.deep_linear((1, 1, 1)), Square(), Data([[1.0]], targets), **more)
    ends = [[centre[0] * (1.0 + s), centre[1] / (1.0 + s)] for s in virtual_data.DELTAS]
    rows = ("delta", "record", "weight"), np.asarray(ends)[:, None]
    found = {"nearby": rows, "t": ("record", np.zeros(1)), "final_weights": ("weight", np.asarray(centre))}
    twins = {
        f"{name}_coarse": (dims, values * (1.0 + 1e-15))
        for name, (dims, values) in found.items()
        if name != "t"
    }
    return point(problem, np.asarray(centre), layers=2), xr.Dataset(found | twins)


def test_along_the_minima_the_eigenvalue_changes():
    case, around = along()
    look = virtual_data.VirtualDataPrinted(case.problem, around, case.facts)
    # d/ds (a²(1+s)² + b²/(1+s)²) / (a² + b²) = 2 (a² − b²)/(a² + b²)
    assert look.rate.value == pytest.approx(2.0 * 3.75 / 4.25, abs=1e-5)
    printed, corrected = (verdict(one, replace(case, trajectory=around)) for one in virtual_data.STUDIES)
    assert (printed, corrected) == (REFUTED, SUPPORTED)


@pytest.mark.parametrize("other", [{"decay": 0.1}, {"targets": [[2.0]]}], ids=str)
def test_decay_and_a_loss_that_is_not_zero_are_outside(other):
    case, around = along(**other)
    assert [verdict(one, replace(case, trajectory=around)) for one in virtual_data.STUDIES] == [
        NOT_MET,
        NOT_MET,
    ]


# memo90.one-layer-nonlinear -----------------------------------------------------------------------------------


def seen(network, vector, inputs=((1.0, 0.0),), loss=None, kind=one_layer_nonlinear.OneLayerNonlinearPrinted):
    problem = Problem(network, loss or Exponential(), Data(inputs, [1.0]))
    return point(problem, np.asarray(vector), net="by hand"), kind


def test_the_printed_exponent_misses_the_hessian_by_a_known_factor():
    # z = ½: f' = 1.75, f'' = 3, f = 0.625; e^{−z} in place of e^{−f}
    case, kind = seen(unit(polynomial((0.0, 1.0, 0.0, 1.0)), 2), [0.5, 0.0])
    look = case.look(kind)
    assert (look.distinct.value, look.nonzero.value) == (1.0, 0.0)
    assert look.real.value == pytest.approx(0.0625 / (1.75**2 + 3.0))
    assert look.mapping.value == pytest.approx(np.exp(0.625 - 0.5) - 1.0, rel=1e-9)
    assert look.mapped.value < 1e-14


def test_a_root_that_is_not_real_is_seen():
    # f'' = −2 tanh sech² > 0 at z = −1
    case, kind = seen(unit("tanh", 1), [-1.0], [[1.0]])
    slope = 1.0 - np.tanh(1.0) ** 2
    second = 2.0 * np.tanh(1.0) * slope
    assert case.look(kind).real.value == pytest.approx((slope**2 - second) / (slope**2 + second))
    assert case.look(kind).mapped is None


@pytest.mark.parametrize(("activation", "beyond"), [("tanh", 1.0), ("relu", 0.0)])
def test_one_layer_of_two_smooth_units_has_two_eigenvalues_a_point(activation, beyond):
    case, kind = seen(Dense((2, 2, 1), activation), [0.7, 0.0, -0.4, 0.0, 1.0, 2.0])
    assert case.look(kind).layer.value == beyond


def test_other_losses_are_outside():
    case, _ = seen(unit("tanh", 2), [0.0, 0.0], loss=Logistic())
    assert [verdict(one, case) for one in one_layer_nonlinear.STUDIES] == [NOT_MET, NOT_MET]
