"""Counts on spectra made by hand, the kernel of a hyperbola's Hessian, kinks seen and not seen."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from gradlab.analysis.equilibria.counting import (
    Count,
    below_zero,
    decided_rank,
    distinct,
    eigenvalues,
    kernel,
    kernel_at_zero,
    near_kink,
)
from gradlab.problem.activations import Activation, activation
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class Wedge(Activation):
    """max(z, 0), of which nothing is known."""

    name: str = "wedge"
    degree: int | None = 1
    smooth: bool = False

    def __call__(self, z: Any) -> Any:
        return jax.nn.relu(z)


#: (1 − W_2 W_1)².
HYPERBOLA = Problem(Dense.deep_linear((1, 1, 1)), Square(), Data([[1.0]], [[1.0]]))


def test_counts_say_what_they_do_not_know() -> None:
    values = np.array([-1.0, -1.0 + 1e-13, 0.0, 1e-13, 1e-10, 2.0])
    assert kernel(values, 1e-12) == (2.5, 0.5)
    assert below_zero(values, 1e-12) == (2.0, 0.0)
    assert distinct(values, 1e-12) == (3.5, 0.5)
    assert distinct(values, 1e-12, nonzero=True) == (2.5, 0.5)
    assert distinct(np.zeros(3), 1e-12, nonzero=True) == (0.0, 0.0)
    assert Count(1.0, 1.0).short_of(1.0) == (0.5, 0.5)
    assert Count(2.0, 1.0).short_of(1.0) == (0.0, 0.0)


def test_the_rank_is_nan_where_no_gap_shows_it() -> None:
    assert decided_rank(np.diag([1.0, 1.0, 0.0])) == 2.0
    assert np.isnan(decided_rank(np.diag([1.0, 1e-13, 0.0])))
    assert decided_rank(np.zeros((0, 3))) == 0.0


def test_the_kernel_of_a_hyperbola_is_its_tangent() -> None:
    found = eigenvalues(HYPERBOLA, np.array([2.0, 0.5]))
    assert found.values == pytest.approx([0.0, 8.5], abs=1e-14)
    assert kernel(found.values, found.bound) == (1.0, 0.0)
    assert kernel_at_zero(HYPERBOLA, found.vector) == (1.0, 0.0)
    assert found.inertia.zero == 1
    assert found.at_rest == 0.0
    assert eigenvalues(HYPERBOLA, np.array([2.0, 0.6])).at_rest > 1e3


@pytest.mark.parametrize("sigma", ["relu", "squared_relu", Wedge()], ids=str)
def test_a_kink_is_seen_of_units_that_are_known_and_that_are_not(sigma: Any) -> None:
    on, off = np.array([1.0, -1.0, 1.0]), np.array([1.0, 1.0, 1.0])
    problem = Problem(Dense((2, 1, 1), activation(sigma)), Square(), Data([[1.0, 1.0]], [[1.0]]))
    assert (near_kink(problem, on), near_kink(problem, off)) == (1.0, 0.0)


def test_smooth_units_and_single_layers_have_no_kink() -> None:
    data = Data([[1.0, 1.0]], [[1.0]])
    assert near_kink(Problem(Dense((2, 1, 1), "tanh"), Square(), data), np.array([1.0, -1.0, 1.0])) == 0.0
    assert near_kink(Problem(Dense((2, 1), "relu"), Square(), data), np.array([1.0, -1.0])) == 0.0


def test_at_h_equal_to_zero_every_count_is_decided() -> None:
    nothing = np.zeros(5)
    assert kernel(nothing, 0.0) == (5.0, 0.0)
    assert below_zero(nothing, 0.0) == (0.0, 0.0)
    assert distinct(nothing, 0.0) == (1.0, 0.0)
    assert distinct(nothing, 0.0, nonzero=True) == (0.0, 0.0)
    # a ReLU net whose units are all off
    dead = Problem(Dense((1, 2, 1), "relu"), Square(), Data([[1.0]], [[0.0]]))
    found = eigenvalues(dead, np.array([-1.0, -2.0, 0.5, 0.5]))
    assert kernel(found.values, found.bound) == (4.0, 0.0)
