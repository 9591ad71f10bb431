"""Minima of (w₁w₂ − 1)² with and without decay, and of a quadratic form."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.analysis.equilibria.counting import eigenvalues
from gradlab.analysis.equilibria.minimising import descend, interpolant, minimum, potential
from gradlab.analysis.equilibria.polishing import polish
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss, Lp, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def product(decay: float = 0.0) -> Problem:
    """(1 − W_2 W_1)² + ½ λ ‖W‖²."""
    return Problem(Dense.deep_linear((1, 1, 1)), Square(), Data([[1.0]], [[1.0]]), decay)


@pytest.mark.parametrize(
    "loss", [Square("mean", half=True), Lp(3), Exponential("mean"), Logistic(), CrossEntropy()], ids=str
)
def test_the_potential_in_numpy_is_the_problems(loss: Loss) -> None:
    random, count = np.random.default_rng(0), {"real": 2, "sign": 1, "class": 3}[loss.labels]
    targets = {
        "real": random.standard_normal((4, 2)),
        "sign": np.array([1, -1, 1, -1]),
        "class": np.arange(4) % 3,
    }
    data = Data(random.standard_normal((4, 3)), targets[loss.labels])
    problem = Problem(Dense((3, 2, count), "tanh", bias=True), loss, data, (0.1, 0.3))
    vector = random.standard_normal(problem.size)
    assert potential(problem, vector) == pytest.approx(
        float(problem.potential(problem.unravel(vector))), rel=1e-13
    )


def test_the_regularised_minimum_is_the_polished_one() -> None:
    problem = product(decay=0.5)
    end = minimum(problem, np.array([2.0, 0.3]))
    assert end == pytest.approx(np.full(2, np.sqrt(0.75)), abs=1e-14)
    assert eigenvalues(problem, end, equilibrium=True).at_rest <= 1.0
    polished = polish(problem, problem.unravel(end))
    assert polished.converged
    assert polished.moved <= 1e-14
    assert eigenvalues(problem, end + 1e-6).at_rest > 1e3


def test_gauss_newton_ends_on_the_hyperbola() -> None:
    end = interpolant(product(), np.array([1.5, 0.1]))
    assert end[0] * end[1] == pytest.approx(1.0, abs=1e-15)


def test_bfgs_ends_at_the_ridge_solution() -> None:
    random = np.random.default_rng(1)
    x, y = random.standard_normal((6, 3)), random.standard_normal((6, 2))
    problem = Problem(Dense((3, 2), "identity"), Square(), Data(x, y), 0.5)
    end = descend(problem, np.zeros(6))
    np.testing.assert_allclose(end, np.linalg.solve(x.T @ x + 0.25 * np.eye(3), x.T @ y).T.ravel(), atol=1e-9)


def test_bfgs_gives_back_a_start_from_which_it_diverges() -> None:
    problem = Problem(Dense((1, 1), "identity"), Exponential(), Data([[1e200]], [1.0]))
    start = np.array([-1.0])
    np.testing.assert_array_equal(descend(problem, start), start)
