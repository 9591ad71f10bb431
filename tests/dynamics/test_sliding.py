"""Sliding where one example has all the weight: multipliers of the others must not drown in its rounding."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics.filippov.modes import mode, multipliers, surfaces
from gradlab.dynamics.filippov.sliding import least_norm, resolve
from gradlab.problem.data import Data
from gradlab.problem.dense import Dense
from gradlab.problem.losses import Exponential
from gradlab.problem.problem import Problem

#: x₁ with p ≈ 1 beside x₂, x₃ of weights like 1e-16: the sliding problem is graded.
NORMALS = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.6, 0.8]])
FORCE = 1e-16 * np.array([2.0, 4.0, 3.0]) @ NORMALS
JUMPS = np.array([-1.5, -8e-16, -6e-16])


def exact(force: np.ndarray) -> list[float]:
    """φ with force + Σ φ_g u_g = 0, in rational arithmetic: the normals are lower triangular."""
    a = [[Fraction(float(entry)) for entry in row] for row in NORMALS]
    b = [Fraction(float(entry)) for entry in force]
    third = -b[2] / a[2][2]
    second = -(b[1] + a[2][1] * third) / a[1][1]
    first = -(b[0] + a[1][0] * second + a[2][0] * third) / a[0][0]
    return [float(first), float(second), float(third)]


def test_multipliers_of_rare_examples_are_right_beside_a_dominating_one() -> None:
    theta = least_norm(FORCE, JUMPS, NORMALS)
    np.testing.assert_allclose(theta, np.array(exact(FORCE)) / JUMPS, rtol=1e-12)
    assert 0.0 < theta[0] < 1e-15


def test_forces_whose_squares_underflow_slide_too() -> None:
    tiny = 1e-200
    np.testing.assert_allclose(
        least_norm(tiny * FORCE, tiny * JUMPS, NORMALS), least_norm(FORCE, JUMPS, NORMALS), rtol=1e-12
    )


def test_a_mode_keeps_the_multipliers_of_rare_examples() -> None:
    # y₁ f(x₁) = 0 on the kink, the fourth example pulls with e^{-36}: φ is of that size and so must be its error
    X = np.vstack([NORMALS, [[0.3, 0.2, -0.9]]])
    y = np.array([1.0, 1.0, 1.0, -1.0])
    problem = Problem(Dense((3, 2, 1), "relu"), Exponential(), Data(X, y))
    weights = (jnp.asarray([[0.0, 0.0, 0.0], [1.0, 2.0, -40.0]]), jnp.asarray([[-1.0, -1.0]]))
    kinks = surfaces(X)
    signs = np.array([[0, 0, 0, 1], [1, 1, -1, 1]], dtype=np.int8)
    here = mode(problem, 0.0, kinks, signs, np.zeros(2, dtype=bool))
    phi, _ = jax.jit(multipliers)(here, problem.ravel(weights))
    pulled = 1.0 * np.exp(-float(problem.margins(weights)[3]) - float(problem.log_risk(weights)))
    force = pulled * X[3]
    assert pulled < 1e-14
    np.testing.assert_allclose(np.asarray(phi)[0, :3], exact(force), rtol=1e-12)


def test_a_neuron_leaves_only_the_rare_kink_that_cannot_hold_it() -> None:
    signs = np.zeros(3, dtype=np.int8)
    every, none = np.ones(3, dtype=bool), np.zeros(3, dtype=bool)

    def after(jumps: np.ndarray) -> list[int]:
        return list(resolve(signs, every, none, FORCE, jumps, NORMALS, np.zeros(3), 1e-7, none))

    assert after(JUMPS) == [0, 0, 0]
    # of the 4e-16 that hold the second pair its jump has half
    assert after(JUMPS * [1.0, 0.25, 1.0]) == [0, 1, 0]
