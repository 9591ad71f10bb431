"""The printed k_n on points 1 and 2 of a line, λ = 1: w = 0.8274, where the equilibrium is 0.8238."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq
from scipy.special import lambertw

from gradlab.analysis.one_layer import linear_exponential
from gradlab.claims import exponential as ex
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90.regularised_exp_form import STUDIES, coupled, observe, printed


def seen_at(rows: np.ndarray, decay: float, w: np.ndarray | None = None) -> xr.Dataset:
    problem = ex.make(rows, np.ones(len(rows)), decay)
    net = linear_exponential(problem)
    assert net is not None
    point = net.equilibrium.weights if w is None else w
    return observe(problem, xr.Dataset({"final_weights": ("weight", point)}))


def verdicts(seen: xr.Dataset) -> list[tuple[str, str]]:
    found = [study.judge(collect([("case", seen)])) for study in STUDIES]
    return [(verdict.verdict, verdict.part) for verdict in found]


def test_the_counterexample_of_the_note() -> None:
    rows = np.array([[1.0], [2.0]])
    (w,) = printed(rows, 1.0)
    exact = brentq(lambda w: np.exp(-w) + 2.0 * np.exp(-2.0 * w) - w, 0.1, 2.0, xtol=1e-14)
    assert w[0] == pytest.approx(0.8274, abs=5e-5)
    assert exact == pytest.approx(0.8238, abs=5e-5)
    np.testing.assert_allclose(coupled(rows, 1.0), [exact], rtol=1e-12)
    judged = verdicts(seen_at(rows, 1.0))
    assert (judged[0], judged[1][0]) == ((REFUTED, "closed_form"), SUPPORTED)


@pytest.mark.parametrize(
    "rows", [np.diag([1.0, 2.0]), np.array([[1.0, 0.5], [0.5, 1.0]])], ids=["orthogonal", "equal k"]
)
def test_the_print_is_right_for_orthogonal_points_and_for_equal_k(rows: np.ndarray) -> None:
    seen = seen_at(rows, 1e-2)
    assert float(seen["closed_form"]) < 1e-13
    assert verdicts(seen)[0][0] == SUPPORTED


def test_where_the_printed_equation_has_no_solution_it_counts_as_a_whole_miss() -> None:
    rows = np.array([[1.0], [-2.0]])  # c = (−1, 2)
    assert printed(rows, 2.0) == []
    assert float(seen_at(rows, 2.0)["closed_form"]) == 1.0
    two = printed(rows, 4.0)
    assert len(two) == 2
    k = [-float(lambertw(-0.25, branch).real) for branch in (0, -1)]
    np.testing.assert_allclose(np.exp(np.array(k)), 4.0 * np.array(k), rtol=1e-12)
    other = float(lambertw(0.5).real) / 2.0
    np.testing.assert_allclose([w[0] for w in two], [k[0] - 2.0 * other, k[1] - 2.0 * other], rtol=1e-12)


def test_an_unfinished_run_decides_nothing_and_no_decay_is_outside() -> None:
    rows = np.diag([1.0, 2.0])
    away = seen_at(rows, 1e-2, np.array([3.0, 2.0]))
    assert {verdict for verdict, _ in verdicts(away)} == {INCONCLUSIVE}
    point = xr.Dataset({"final_weights": ("weight", np.ones(2))})
    nothing = observe(ex.make(rows, np.ones(2), 0.0), point)
    assert [verdict for verdict, _ in verdicts(nothing)] == [NOT_MET, NOT_MET]
