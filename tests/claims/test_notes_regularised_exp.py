"""On the points (1, 0) and (3, 0) the equilibrium is λw = e^{−w} + 3e^{−3w}, and ŵ = (1, 0)."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.analysis.one_layer import linear_exponential
from gradlab.claims import exponential as ex
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes.regularised_exp import STUDIES, observe
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

X, SIGNS = np.array([[1.0, 0.0], [-3.0, 0.0]]), np.array([1.0, -1.0])


def at(decay: float, w: np.ndarray) -> xr.Dataset:
    return observe(ex.make(X, SIGNS, decay), xr.Dataset({"final_weights": ("weight", np.asarray(w))}))


def equilibrium(decay: float) -> np.ndarray:
    net = linear_exponential(ex.make(X, SIGNS, decay))
    assert net is not None
    return net.equilibrium.weights


def verdicts(seen: xr.Dataset) -> list[tuple[str, str]]:
    together = collect([("case", seen)])
    found = [study.judge(together) for study in STUDIES]
    return [(verdict.verdict, verdict.part) for verdict in found]


def test_the_print_fails_by_the_unit_margin_alone_and_the_correction_holds() -> None:
    w = equilibrium(1e-3)
    assert 1e-3 * w[0] == pytest.approx(np.exp(-w[0]) + 3.0 * np.exp(-3.0 * w[0]), rel=1e-13)
    seen = at(1e-3, w)
    assert [verdict for verdict, _ in verdicts(seen)] == [REFUTED, SUPPORTED]
    assert verdicts(seen)[0][1] == "unit"
    assert verdicts(seen.assign(unit=0.0))[0][0] == SUPPORTED
    # one support vector: z + log z = 1e6
    assert float(seen["unit"]) == pytest.approx(1e6 - np.log(1e6) - 1.0, rel=1e-9)
    assert float(seen["positive"]) == pytest.approx(1.0, abs=1e-10)


def test_the_mean_has_its_own_constant() -> None:
    problem = ex.make(X, SIGNS, 1e-3, "mean")
    net = linear_exponential(problem)
    assert net is not None
    seen = observe(problem, xr.Dataset({"final_weights": ("weight", net.equilibrium.weights)}))
    assert 2e-3 * net.equilibrium.weights[0] == pytest.approx(np.exp(-net.equilibrium.margins[0]), rel=0.1)
    assert float(seen["limit"]) <= float(seen["limit_error"]) + 1e-14


def test_a_run_that_is_not_there_yet_decides_nothing_and_one_that_ended_elsewhere_refutes() -> None:
    seen = at(1e-3, equilibrium(1e-3) + np.array([0.1, 0.0]))
    assert verdicts(seen)[1] == (INCONCLUSIVE, "limit")
    assert verdicts(seen.assign(limit_error=1e-9))[1] == (REFUTED, "limit")


def test_other_hypotheses_are_not_met() -> None:
    point = xr.Dataset({"final_weights": ("weight", np.array([1.0, 0.0]))})
    crossed = ex.make(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.ones(2), 1e-3)
    square = Problem(Dense((2, 1)), Square(), Data(X, SIGNS[:, None]), 1e-3)
    for problem, failed in (
        (ex.make(X, SIGNS, 0.0), "decay"),
        (crossed, "separable"),
        (square, "linear"),
    ):
        (verdict, part), _ = verdicts(observe(problem, point))
        assert verdict == NOT_MET
        assert part in (failed, "decay", "separable")
