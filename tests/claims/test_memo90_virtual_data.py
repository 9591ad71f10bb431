"""f = b a x at x = 1 with target 1: minima ab = 1, with the eigenvalue 2(a² + b²), which changes along them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90 import virtual_data
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = virtual_data.STUDIES
CENTRE = np.array([2.0, 0.5])


def problem(network=None, inputs=((1.0,),), targets=((1.0,),), **more) -> Problem:
    return Problem(network or Dense.deep_linear((1, 1, 1)), Square(), Data(inputs, targets), **more)


def around(centre: np.ndarray, ends) -> xr.Dataset:
    """A trajectory that sits at its ends; t = 0 only, where both flows are where they start."""
    rows = np.stack([np.stack([end]) for end in ends])
    dims = ("delta", "record", "weight")
    return xr.Dataset(
        {
            "nearby": (dims, rows),
            "nearby_error": (dims, np.zeros_like(rows)),
            "t": ("record", np.zeros(1)),
            "final_weights": ("weight", centre),
        }
    )


def along(centre=CENTRE) -> xr.Dataset:
    """Minima (a(1 + s), b/(1 + s)), whose displacement is δ|W_0| to first order."""
    size, speed = np.linalg.norm(centre), np.hypot(centre[0], centre[1])
    shifts = np.asarray(virtual_data.DELTAS) * size / speed
    return around(centre, [[centre[0] * (1.0 + s), centre[1] / (1.0 + s)] for s in shifts])


def verdicts(observed: xr.Dataset) -> tuple[str, str]:
    together = collect([("one", observed)])
    return PRINTED.judge(together).verdict, CORRECTED.judge(together).verdict


@pytest.fixture(scope="module")
def seen():
    return virtual_data.observe(problem(), along())


def test_along_the_minima_the_eigenvalue_changes(seen):
    # d/ds (a²(1+s)² + b²/(1+s)²) / (a² + b²) = 2 (a² − b²)/(a² + b²)
    assert float(seen["spectra"]) == pytest.approx(2.0 * 3.75 / 4.25, abs=1e-5)
    assert verdicts(seen) == (REFUTED, SUPPORTED)


def test_at_the_balanced_minimum_it_does_not_to_first_order():
    balanced = virtual_data.observe(problem(), along(np.array([1.0, 1.0])))
    assert float(balanced["spectra"]) == pytest.approx(0.0, abs=1e-4)


def test_the_hessians_and_the_flows_at_the_start_agree(seen):
    assert float(seen["hessians"]) < 1e-14
    assert float(seen["together"]) == 0.0


def test_an_isolated_minimum_leaves_nothing_to_refute():
    single = problem(Dense((1, 1)), [[1.0], [2.0]], [[3.0], [6.0]])
    ends = [[3.0]] * 3
    seen = virtual_data.observe(single, around(np.array([3.0]), ends))
    assert verdicts(seen) == (SUPPORTED, SUPPORTED)
    assert float(seen["rank"]) == 1.0


def test_flows_with_other_linearisations_refute(seen):
    assert verdicts(seen.assign(together=0.1))[1] == REFUTED
    assert verdicts(seen.assign(hessians=0.1))[1] == REFUTED
    assert verdicts(seen.assign(together_error=0.1))[1] == INCONCLUSIVE


@pytest.mark.parametrize("other", [{"decay": 0.1}, {"targets": [[2.0]]}], ids=str)
def test_decay_and_a_loss_that_is_not_zero_are_outside(other):
    assert verdicts(virtual_data.observe(problem(**other), along())) == (NOT_MET, NOT_MET)
