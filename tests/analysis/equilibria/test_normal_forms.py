"""Normal forms in the plane: every kind of equilibrium, and what stays undecided."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from gradlab.losses import CustomLoss

from gradlab import Data
from gradlab.analysis.equilibria.classification import classify
from gradlab.problem.networks import Function
from gradlab.problem.problem import Problem

# Σ_k c_k x^i y^j with the coefficients as data, so that one compiled program serves them all

POWERS = [(2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3), (4, 0), (1, 0), (0, 1)]


def _polynomial(w: Any, c: Any) -> Any:
    return sum(c[:, k] * w[0] ** i * w[1] ** j for k, (i, j) in enumerate(POWERS))[:, None]  # type: ignore[index]


def _value(f: Any, y: Any) -> Any:
    return f[:, 0]


def _zeros(key: Any) -> Any:
    return jnp.zeros(2)


def normal_form(**terms: float) -> Problem:
    coefficients = [[float(terms.get(f"x{i}y{j}", 0.0)) for i, j in POWERS]]
    network = Function(_polynomial, _zeros, input_shape=len(POWERS), outputs=1)
    return Problem(network, CustomLoss(_value), Data(coefficients, [[0.0]]))


@pytest.mark.parametrize(
    ("terms", "kind", "signs"),
    [
        ({"x2y0": 1.0, "x0y2": 2.0}, "minimum", (0, 0, 2)),
        ({"x2y0": -1.0, "x0y2": -2.0}, "maximum", (2, 0, 0)),
        ({"x2y0": 1.0, "x0y2": -2.0}, "strict saddle", (1, 0, 1)),
        ({"x1y1": 1.0}, "strict saddle", (1, 0, 1)),
        ({"x3y0": 1.0, "x1y2": -3.0}, "non-strict saddle", (0, 2, 0)),  # the monkey saddle
        ({"x3y0": 1.0, "x0y2": 1.0}, "non-strict saddle", (0, 1, 1)),
        ({"x4y0": -1.0, "x0y2": 1.0}, "non-strict saddle", (0, 1, 1)),
        # y² − x²y + c x⁴ is (y − x²/2)² + (c − ¼) x⁴: down for c < ¼ only, though D⁴L > 0 along x for every c > 0
        ({"x0y2": 1.0, "x2y1": -1.0, "x4y0": 0.2}, "non-strict saddle", (0, 1, 1)),
        ({"x0y2": 1.0, "x2y1": -1.0, "x4y0": 0.3}, "degenerate", (0, 1, 1)),
        ({"x4y0": 1.0, "x0y2": 1.0}, "degenerate", (0, 1, 1)),
        ({"x0y2": 1.0}, "degenerate", (0, 1, 1)),
        ({"x4y0": 1.0, "x0y2": -1.0}, "undecided", (1, 1, 0)),
    ],
)
def test_normal_forms_are_what_they_are(
    terms: dict[str, float], kind: str, signs: tuple[int, int, int]
) -> None:
    found = classify(normal_form(**terms), np.zeros(2))
    assert found.inertia is not None
    assert (found.inertia.negative, found.inertia.zero, found.inertia.positive) == signs
    assert (found.kind, found.inertia.decided) == (kind, True)
    assert found.hyperbolic is (signs[1] == 0)
    # without a known symmetry no kernel is explained
    assert found.normally_hyperbolic is (signs[1] == 0)


def test_an_eigenvalue_near_its_rounding_is_undecided_and_not_guessed() -> None:
    # (x + y − 2)² + δ (y − 1)²: the rounding of 1 + δ is beyond δ, whatever the units
    for delta, decided in ((1e-8, True), (1e-13, False)):
        problem = normal_form(x2y0=1.0, x1y1=2.0, x0y2=1.0 + delta, x1y0=-4.0, x0y1=-4.0 - 2.0 * delta)
        found = classify(problem, np.array([1.1, 0.9]))
        assert found.inertia is not None
        assert found.inertia.decided is decided
        assert found.kind == ("minimum" if decided else "undecided")
        assert decided or found.hyperbolic is None


def test_a_small_eigenvalue_in_a_unit_of_its_own_is_none_of_rounding() -> None:
    # (x − 1)² + δ (y − 1)²: what is small is the unit of y
    for delta in (1e-8, 1e-13, 1e-20, -1e-13, -1e-20):
        problem = normal_form(x2y0=1.0, x1y0=-2.0, x0y2=delta, x0y1=-2.0 * delta)
        found = classify(problem, np.array([1.1, 0.9]))
        assert found.inertia is not None
        assert found.inertia.decided
        counts = (found.inertia.negative, found.inertia.zero, found.inertia.positive)
        assert counts == ((0, 0, 2) if delta > 0.0 else (1, 0, 1))
        # a saddle is one where a lower point can be shown
        if found.kind == "strict saddle":
            assert found.witness is not None
            assert problem.potential(found.witness.weights) < problem.potential(found.weights)
        else:
            assert found.kind == ("minimum" if delta > 0.0 else "undecided")


def test_a_small_curvature_that_is_only_distance_from_the_equilibrium_is_not_counted() -> None:
    # x⁴ + y² at x = 1e-6: ∇L = 4e-18 is beneath the rounding that y ≈ 1 would have, λ = 1.2e-11 is not
    problem = normal_form(x4y0=1.0, x0y2=1.0, x0y1=-2.0)
    found = classify(problem, np.array([1e-6, 1.0]), polished=True)
    assert found.inertia is not None
    assert not (found.inertia.decided and found.inertia.positive == 2)


def test_bad_points_are_answered_in_a_sentence() -> None:
    problem = normal_form(x2y0=1.0, x0y2=1.0)
    with pytest.raises(ValueError, match=r"no equilibrium: .* leave out polished=True"):
        classify(problem, np.ones(2), polished=True)
    with pytest.raises(ValueError, match="float32"):
        classify(problem, np.ones(2, np.float32))
    with pytest.raises(ValueError, match="NaN"):
        classify(problem, np.array([np.nan, 0.0]))
    slope = classify(normal_form(x1y0=1.0), np.zeros(2))
    assert (slope.kind, slope.inertia) == ("undecided", None)
    assert "no equilibrium" in slope.why
