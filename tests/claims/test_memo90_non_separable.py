"""On (−1, 0), (2, 1), (2, −1) one point is misclassified at w* = (log 4/3, 0), and both components are regularised."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims import exponential as ex
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.memo90.non_separable import STUDIES, core, minimiser, observe, span

TRIANGLE = np.array([[-1.0, 0.0], [2.0, 1.0], [2.0, -1.0]])
AT = np.array([np.log(4.0) / 3.0, 0.0])


def seen_at(
    rows: np.ndarray, w: np.ndarray, start: np.ndarray | None = None, decay: float = 0.0
) -> xr.Dataset:
    """A made-up run from ``start`` to w, seen at log t = 8."""
    before = np.zeros(len(w)) if start is None else start
    weights = (("record", "weight"), np.stack([before, w]))
    trajectory = xr.Dataset({"weights": weights, "log_t": ("record", np.array([-np.inf, 8.0]))})
    return observe(ex.make(rows, np.ones(len(rows)), decay), trajectory)


def verdicts(seen: xr.Dataset) -> list[tuple[str, str]]:
    found = [study.judge(collect([("case", seen)])) for study in STUDIES]
    return [(verdict.verdict, verdict.part) for verdict in found]


def test_the_counterexample_refutes_the_print_by_the_second_component() -> None:
    np.testing.assert_allclose(minimiser(TRIANGLE, span(TRIANGLE)), AT, atol=1e-13)
    seen = seen_at(TRIANGLE, AT)
    e = np.exp(AT[0])
    assert float(seen["only"]) == pytest.approx((2.0 / e**2) / (e + 8.0 / e**2), rel=1e-12)
    assert (float(seen["misclassified"]), float(seen["errors"]), float(seen["dimension"])) == (1.0, 1.0, 2.0)
    assert verdicts(seen) == [(REFUTED, "only"), (SUPPORTED, verdicts(seen)[1][1])]
    assert verdicts(seen.assign(only=0.0))[0][0] == SUPPORTED


def test_on_a_line_the_print_is_right() -> None:
    for x1, x2 in ((1.0, 3.0), (2.0, 0.5)):
        w = np.array([np.log(x2 / x1) / (x1 + x2)])
        seen = seen_at(np.array([[-x1], [x2]]), w)
        assert [verdict for verdict, _ in verdicts(seen)] == [SUPPORTED, SUPPORTED]
        assert float(seen["line"]) == 0.0
        assert float(seen["slope"]) < 1e-14
        wrong = seen_at(np.array([[-x1], [x2]]), w + 0.1)
        assert verdicts(wrong)[0] == (REFUTED, "slope") or verdicts(wrong)[0][0] == INCONCLUSIVE


def test_the_core_is_what_no_weak_separator_classifies() -> None:
    rows = np.vstack([np.hstack([TRIANGLE, np.zeros((3, 1))]), [[1.0, 5.0, 0.2], [0.0, -3.0, 1.0]]])
    np.testing.assert_array_equal(core(rows), [True, True, True, False, False])
    np.testing.assert_array_equal(core(rows[3:]), [False, False])
    turned = rows @ np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    np.testing.assert_array_equal(core(turned), core(rows))
    # separable in part: outside the print's hypothesis, inside the correction
    w = np.append(AT, 40.0)
    seen = seen_at(rows, w)
    assert verdicts(seen)[0] == (NOT_MET, "converges")
    assert verdicts(seen)[1][0] == SUPPORTED
    assert verdicts(seen.assign(diverges=0.1))[1] == (REFUTED, "diverges")


def test_hypotheses_of_other_problems_are_not_met() -> None:
    separable = seen_at(np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([3.0, 1.0]))
    assert [verdict for verdict, _ in verdicts(separable)] == [NOT_MET, NOT_MET]
    decayed = seen_at(TRIANGLE, AT, decay=0.1)
    assert [verdict for verdict, _ in verdicts(decayed)] == [NOT_MET, NOT_MET]


def test_a_component_beside_the_data_that_moved_refutes_the_correction() -> None:
    rows = np.hstack([TRIANGLE, np.zeros((3, 1))])
    w = np.append(AT, 1.0)
    assert verdicts(seen_at(rows, w, np.array([0.0, 0.0, 1.0])))[1][0] == SUPPORTED
    assert verdicts(seen_at(rows, w))[1] == (REFUTED, "stays")
