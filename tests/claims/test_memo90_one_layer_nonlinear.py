"""One unit on one point: rank one in two dimensions, so two distinct eigenvalues; roots by hand for tanh and z + z³."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.linearisation import unit
from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90 import one_layer_nonlinear
from gradlab.claims.memo90.one_layer_nonlinear import observe
from gradlab.claims.teachers import resting
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Logistic
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = one_layer_nonlinear.STUDIES


def problem(network, inputs=((1.0, 0.0),), labels=(1.0,), loss=None) -> Problem:
    return Problem(network, loss or Exponential(), Data(np.asarray(inputs), np.asarray(labels)))


def verdicts(observed) -> tuple[str, str]:
    together = collect([("one", observed)])
    return PRINTED.judge(together).verdict, CORRECTED.judge(together).verdict


@pytest.fixture(scope="module")
def cubic():
    """z = ½: f' = 1.75, f'' = 3, f = 0.625, and f'² − f'' = 0.0625 > 0."""
    return observe(problem(unit(polynomial((0.0, 1.0, 0.0, 1.0)), 2)), resting(np.array([0.5, 0.0])))


def test_one_point_in_two_dimensions_has_two_distinct_eigenvalues(cubic):
    assert (float(cubic["distinct"]), float(cubic["nonzero"]), float(cubic["rank"])) == (1.0, 0.0, 0.0)
    assert verdicts(cubic) == (REFUTED, SUPPORTED)


def test_the_printed_exponent_misses_the_hessian_by_a_known_factor(cubic):
    # e^{−z} in place of e^{−f}
    assert float(cubic["real"]) == pytest.approx(0.0625 / (1.75**2 + 3.0))
    assert float(cubic["mapping"]) == pytest.approx(np.exp(0.625 - 0.5) - 1.0, rel=1e-9)
    assert float(cubic["mapped"]) < 1e-14


def test_the_linear_unit_maps_by_both_formulas():
    seen = observe(problem(unit("identity", 2)), resting(np.array([0.5, 0.0])))
    assert float(seen["mapping"]) == pytest.approx(0.0, abs=1e-14)
    # only zero, counted as an eigenvalue, is against the print
    assert (float(seen["distinct"]), verdicts(seen)[1]) == (1.0, SUPPORTED)


def test_a_root_that_is_not_real_refutes_the_mapping():
    # f'' = −2 tanh sech² > 0 at z = −1
    seen = observe(problem(unit("tanh", 1), [[1.0]]), resting(np.array([-1.0])))
    slope = 1.0 - np.tanh(1.0) ** 2
    second = 2.0 * np.tanh(1.0) * slope
    assert float(seen["real"]) == pytest.approx((slope**2 - second) / (slope**2 + second))
    assert verdicts(seen) == (REFUTED, SUPPORTED)


def test_one_layer_of_two_units_has_two_eigenvalues_a_point():
    point = resting(np.array([0.7, 0.0, -0.4, 0.0, 1.0, 2.0]))
    seen = observe(problem(Dense((2, 2, 1), "tanh")), point)
    assert (float(seen["nonzero"]), float(seen["rank"])) == (1.0, 0.0)
    assert verdicts(seen) == (REFUTED, SUPPORTED)
    kinked = observe(problem(Dense((2, 2, 1), "relu")), point)
    assert (float(kinked["nonzero"]), float(kinked["rank"])) == (0.0, 0.0)
    assert verdicts(kinked) == (NOT_MET, SUPPORTED)


def test_more_eigenvalues_than_the_corrected_bound_refute(cubic):
    assert verdicts(cubic.assign(rank=1.0))[1] == REFUTED
    assert verdicts(cubic.assign(mapped=1e-3))[1] == REFUTED


def test_other_losses_are_outside():
    seen = observe(problem(unit("tanh", 2), loss=Logistic()), resting(np.zeros(2)))
    assert verdicts(seen) == (NOT_MET, NOT_MET)
