"""Closed forms of small problems under the exponential loss, by hand and from SciPy."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import lambertw

from gradlab.analysis.solutions import max_margin, soudry_constants
from gradlab.claims import catalogue
from gradlab.claims.cases import point
from gradlab.claims.looks.exponential import angle, increment
from gradlab.claims.memo90 import non_separable
from gradlab.claims.memo90.regularised_exp_form import coupled, uncoupled
from gradlab.claims.notes import regularised_exp, srebro
from gradlab.claims.problems import exponential
from gradlab.problem.losses import CrossEntropy

#: One point is misclassified at w* = (log 4/3, 0), and both components are regularised.
TRIANGLE = np.array([[-1.0, 0.0], [2.0, 1.0], [2.0, -1.0]])


def test_the_hand_built_points_on_the_margin_carry_no_weight() -> None:
    for count in (1, 2):
        inputs, labels = exponential.idle(count)
        svm = max_margin(inputs, labels)
        np.testing.assert_allclose(svm.direction, [1.0, 0.0, 0.0, 0.0], atol=1e-14)
        assert svm.support.sum() == 2 + count
        np.testing.assert_allclose(svm.alpha[2 : 2 + count], 0.0, atol=1e-14)
        assert svm.next_margin >= 1.5 - 1e-12
        with pytest.raises(ValueError, match="dual weight zero"):
            soudry_constants(inputs, labels, svm)


def test_a_drift_of_log_s_is_taken_off() -> None:
    logs, w_hat, aside = np.array([1000.0, 480.0, 260.0]), np.array([0.6, 0.8]), np.array([2.0, -1.5])
    points = logs[:, None] * w_hat + np.log(logs)[:, None] * aside + np.array([5.0, 3.0])
    assert angle(increment(points, logs, drift=True), w_hat) < 1e-13
    assert angle(increment(points, logs, drift=False), w_hat) > 1e-3
    assert angle(np.array([1.0, 0.0]), np.array([1.0, 1e-9])) == pytest.approx(1e-9, rel=1e-9)


def test_margins_of_classes_are_differences_of_scores() -> None:
    problem = exponential.linear((np.array([[1.0, 2.0]]), np.array([1])), CrossEntropy("sum"), outputs=3)
    W = np.arange(6.0).reshape(3, 2)
    scores = W @ np.array([1.0, 2.0])
    np.testing.assert_array_equal(exponential.margin_rows(problem) @ W.ravel(), scores[1] - scores[[0, 2]])


def test_no_claim_speaks_of_what_is_not_its_setting() -> None:
    crossed = (np.array([[1.0, 0.0], [-1.0, 0.0]]), np.ones(2))
    apart = (np.array([[1.0, 0.0], [-3.0, 0.0]]), np.array([1.0, -1.0]))
    with jax.enable_x64(True):
        assert not srebro.Srebro.speaks_of(exponential.linear(crossed))
        assert srebro.Srebro.speaks_of(exponential.linear(apart))
        assert not regularised_exp.RegularisedExpPrinted.speaks_of(exponential.linear(crossed, decay=1e-3))
        assert not regularised_exp.RegularisedExpPrinted.speaks_of(exponential.linear(apart))
        assert not non_separable.NonSeparablePrinted.speaks_of(exponential.linear(apart))
        assert not non_separable.NonSeparablePrinted.speaks_of(exponential.linear(crossed, decay=0.1))


def test_one_support_vector_has_its_margin_from_lamberts_function() -> None:
    study = catalogue.load(["notes.regularised-exp"])[0]
    with jax.enable_x64(True):
        problem = exponential.linear((np.array([[1.0, 0.0], [-3.0, 0.0]]), np.array([1.0, -1.0])), decay=1e-3)
        w = brentq(lambda w: np.exp(-w) + 3.0 * np.exp(-3.0 * w) - 1e-3 * w, 1.0, 20.0, xtol=1e-14)
        look = point(problem, np.array([w, 0.0]), draw=1).look(study.look)
        assert look.velocity.value < 1e-13
        # z + log z = 1e6
        assert look.unit == pytest.approx(1e6 - np.log(1e6) - 1.0, rel=1e-9)
        assert look.limit is None


def test_the_counterexample_to_the_uncoupled_form() -> None:
    rows = np.array([[1.0], [2.0]])
    (w,) = uncoupled(rows, 1.0)
    exact = brentq(lambda w: np.exp(-w) + 2.0 * np.exp(-2.0 * w) - w, 0.1, 2.0, xtol=1e-14)
    assert w[0] == pytest.approx(0.8274, abs=5e-5)
    assert exact == pytest.approx(0.8238, abs=5e-5)
    np.testing.assert_allclose(coupled(rows, 1.0), [exact], rtol=1e-12)


@pytest.mark.parametrize(
    "rows", [np.diag([1.0, 2.0]), np.array([[1.0, 0.5], [0.5, 1.0]])], ids=["orthogonal", "equal k"]
)
def test_the_uncoupled_form_is_right_for_orthogonal_points_and_for_equal_k(rows: np.ndarray) -> None:
    (w,) = uncoupled(rows, 1e-2)
    np.testing.assert_allclose(w, coupled(rows, 1e-2), rtol=1e-12)


def test_where_the_uncoupled_equation_has_no_solution_or_two() -> None:
    rows = np.array([[1.0], [-2.0]])  # c = (−1, 2)
    assert uncoupled(rows, 2.0) == []
    k = [-float(lambertw(-0.25, branch).real) for branch in (0, -1)]
    other = float(lambertw(0.5).real) / 2.0
    np.testing.assert_allclose(
        [w[0] for w in uncoupled(rows, 4.0)], [k[0] - 2.0 * other, k[1] - 2.0 * other], rtol=1e-12
    )


def test_the_core_is_what_no_weak_separator_classifies() -> None:
    rows = np.vstack([np.hstack([TRIANGLE, np.zeros((3, 1))]), [[1.0, 5.0, 0.2], [0.0, -3.0, 1.0]]])
    np.testing.assert_array_equal(exponential.core(rows), [True, True, True, False, False])
    np.testing.assert_array_equal(exponential.core(rows[3:]), [False, False])
    turned = rows @ np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    np.testing.assert_array_equal(exponential.core(turned), exponential.core(rows))


def test_the_triangle_regularises_a_component_beside_its_misclassified_point() -> None:
    at = np.array([np.log(4.0) / 3.0, 0.0])
    np.testing.assert_allclose(
        exponential.minimiser(TRIANGLE, exponential.span_basis(TRIANGLE)), at, atol=1e-13
    )
    with jax.enable_x64(True):
        look = point(exponential.linear((TRIANGLE, np.ones(3))), at, draw=1).look(
            non_separable.NonSeparablePrinted
        )
        e = np.exp(at[0])
        assert look.only.value == pytest.approx((2.0 / e**2) / (e + 8.0 / e**2), rel=1e-12)
        assert look.misclassified == 1.0
        assert look.line is None
