"""The generators leave the loss unchanged for every weight, and count what the float64 orbit counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.analysis.certificates.balls import arithmetic, magnitude, norm, vector
from gradlab.analysis.certificates.enclosure import enclosure
from gradlab.analysis.certificates.generators import gauge, generators
from gradlab.analysis.equilibria.symmetry import symmetry_orbit
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

DRAW = np.random.default_rng(1)
X, Y, CLASSES = DRAW.standard_normal((6, 3)), DRAW.standard_normal((6, 2)), DRAW.integers(0, 2, 6)

CASES: dict[str, tuple[Any, Any, Any, Any, dict[str, int]]] = {
    "linear": (Dense.deep_linear((3, 2, 2)), Square(), Y, 0.0, {"general linear": 4}),
    "linear, decay": (Dense.deep_linear((3, 3, 2, 2)), Square(), Y, (0.1, 0.2, 0.3), {"rotation": 4}),
    "linear, decay in one layer": (Dense.deep_linear((3, 2, 2)), Square(), Y, (0.1, 0.0), {"rotation": 1}),
    "σ(z) = 2z, biases": (
        Dense((3, 2, 2), polynomial((0, 2.0)), bias=True),
        Square(),
        Y,
        0.0,
        {"general linear": 4, "translation": 2},
    ),
    "z², one output": (
        Dense((3, 3, 1), polynomial((0, 0, 1)), bias=True),
        Square(),
        Y[:, :1],
        0.0,
        {"rescaling": 3, "mixing": 3},
    ),
    "z³, cross-entropy": (
        Dense((3, 3, 2), polynomial((0, 0, 0, 1)), bias=True),
        CrossEntropy(),
        CLASSES,
        0.0,
        {"rescaling": 3, "shift": 4},
    ),
    "tanh": (Dense((3, 3, 2), "tanh"), Square(), Y, 0.0, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_orthogonal_to_every_generator_at_every_weight(name: str) -> None:
    network, loss, targets, decay, parts = CASES[name]
    problem = Problem(network, loss, Data(X, targets), decay)
    point = np.random.default_rng(5).standard_normal(problem.size)
    with arithmetic(200):
        form, here = enclosure(problem), vector(point)
        gradient = form.gradient(here)
        for generator in generators(form):
            field = [generator.along(here, unit) for unit in np.eye(problem.size)]
            work = sum((g * f for g, f in zip(gradient, field, strict=True)), start=0 * gradient[0])
            assert magnitude(work) < 1e-40 * norm(gradient)
            np.testing.assert_allclose(generator.at(point), [float(f.mid()) for f in field], rtol=1e-15)
        found = gauge(form, point)
    assert found.parts == parts
    assert found.dimension == symmetry_orbit(problem, problem.unravel(point)).dimension


def test_the_pairing_of_a_gauge_at_its_own_point_is_the_identity() -> None:
    network, loss, targets, decay, _ = CASES["z², one output"]
    problem = Problem(network, loss, Data(X, targets), decay)
    point = np.random.default_rng(5).standard_normal(problem.size)
    with arithmetic(128):
        pairing = gauge(enclosure(problem), point).pairing(vector(point))
        numbers = np.array([[float(entry.mid()) for entry in row] for row in pairing])
    # T(x̄) mix = T̄, orthonormal, to the rounding of a singular value decomposition of condition 1e2
    np.testing.assert_allclose(numbers, np.eye(len(numbers)), atol=1e-12)
