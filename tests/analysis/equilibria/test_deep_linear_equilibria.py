"""Deep linear nets: the kernels that theory counts, at minima and at the origin."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np
import pytest

from gradlab import Data, Square
from gradlab.analysis.equilibria import classification
from gradlab.analysis.equilibria.classification import classify
from gradlab.analysis.linear_nets import balanced_factors
from gradlab.analysis.solutions import minimum_norm
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


@cache
def deep(widths: tuple[int, ...], decay: float) -> tuple[Problem, Any]:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((10, 3))
    Y = X @ generator.standard_normal((3, 2)) + 0.3 * generator.standard_normal((10, 2))
    problem = Problem(Dense.deep_linear(widths), Square(), Data(X, Y), decay)
    factors = balanced_factors(minimum_norm(X, Y), widths)
    return problem, tuple(a + 0.01 * generator.standard_normal(a.shape) for a in factors)


@pytest.mark.parametrize("widths", [(3, 3, 2), (3, 3, 3, 2)])
def test_a_global_minimum_of_a_deep_linear_net_has_the_kernel_of_its_fibre(widths: tuple[int, ...]) -> None:
    # {W_N ⋯ W_1 = W} is a manifold of dimension P − C d where the product has full rank; all of it is the GL orbit
    problem, near = deep(widths, 0.0)
    found = classify(problem, near)
    assert (found.kind, found.hyperbolic, found.normally_hyperbolic) == ("minimum", False, True)
    assert found.inertia is not None
    assert found.kernel is not None
    nullity = problem.size - 6
    assert (found.inertia.negative, found.inertia.zero) == (0, nullity)
    assert (found.kernel.symmetry, found.kernel.deficiency, found.kernel.unexplained) == (nullity, 0, 0)


@pytest.mark.parametrize(("widths", "rotations"), [((3, 3, 2), 3), ((3, 3, 3, 2), 6)])
def test_decay_leaves_the_rotations_that_move_the_layers(widths: tuple[int, ...], rotations: int) -> None:
    # the product keeps rank 2 < 3: a rotation of SO(3) is free on a pair of rank two, hence 3 a hidden layer
    problem, near = deep(widths, 0.05)
    found = classify(problem, near)
    assert (found.kind, found.normally_hyperbolic) == ("minimum", True)
    assert found.kernel is not None
    assert (found.kernel.dimension, found.kernel.symmetry) == (rotations, rotations)


def test_the_origin_is_a_strict_saddle_at_depth_two_and_a_non_strict_one_at_depth_three() -> None:
    problem, near = deep((3, 3, 2), 0.0)
    two = classify(problem, jax.tree.map(np.zeros_like, near))
    # the Hessian is I₃ ⊗ [[0, M], [Mᵀ, 0]], M (2, 3) of rank 2: eigenvalues ±σ and one 0 a hidden unit
    assert two.inertia is not None
    assert (two.inertia.negative, two.inertia.zero, two.inertia.positive) == (6, 3, 6)
    # and the critical points near it are W₂ = 0, M W₁ᵀ = 0: a space of that dimension
    assert (two.kind, two.normally_hyperbolic) == ("strict saddle", True)
    problem, near = deep((3, 3, 3, 2), 0.0)
    three = classify(problem, jax.tree.map(np.zeros_like, near))
    assert three.inertia is not None
    assert (three.kind, three.inertia.zero) == ("non-strict saddle", problem.size)
    assert "order 3" in three.why
    held = classify(deep((3, 3, 3, 2), 0.05)[0], jax.tree.map(np.zeros_like, near))
    assert (held.kind, held.hyperbolic) == ("minimum", True)


def test_a_part_of_the_spectrum_never_decides_an_inertia(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, near = deep((3, 3, 2), 0.0)
    monkeypatch.setattr(classification, "DENSE", 5)
    monkeypatch.setattr(classification, "ENDS", 4)
    found = classify(problem, jax.tree.map(np.zeros_like, near))
    assert found.inertia is not None
    assert (found.kind, found.inertia.decided, found.complete) == ("strict saddle", False, False)
