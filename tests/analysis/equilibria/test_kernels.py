"""Kernels that data leave: interpolation, unseen inputs, the shift of softmax."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from gradlab import CrossEntropy, Data, Square
from gradlab.analysis.equilibria.classification import classify
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def test_interpolation_leaves_a_kernel_of_data_deficiency() -> None:
    generator = np.random.default_rng(2)
    network = Dense((2, 4, 1), "tanh")
    teacher = tuple(generator.standard_normal(leaf.shape) for leaf in network.shapes())
    X = generator.standard_normal((3, 2))
    problem = Problem(network, Square(), Data(X, np.asarray(network(teacher, jnp.asarray(X)))))
    near = tuple(leaf + 1e-3 * generator.standard_normal(leaf.shape) for leaf in teacher)
    found = classify(problem, near)
    assert found.kernel is not None
    assert (found.kind, found.normally_hyperbolic) == ("minimum", True)
    kernel = found.kernel
    assert (kernel.symmetry, kernel.deficiency, kernel.unexplained) == (0, problem.size - 3, 0)


def test_softmax_has_a_shift_beside_what_the_data_do_not_see() -> None:
    generator = np.random.default_rng(3)
    X = generator.standard_normal((30, 2))
    data = Data(np.concatenate([X, np.zeros((30, 1))], axis=1), generator.integers(0, 3, 30))
    found = classify(Problem(Dense((3, 3), "identity"), CrossEntropy(), data), (np.zeros((3, 3)),))
    assert found.kernel is not None
    # a shift of all outputs by v·x, v in three dimensions, one of them unseen; and the other two unseen columns
    assert (found.kernel.symmetry, found.kernel.deficiency, found.kernel.unexplained) == (3, 2, 0)
    assert (found.kind, found.normally_hyperbolic) == ("minimum", True)


def test_units_that_are_on_for_the_same_examples_rotate() -> None:
    # both units see every example: f = a·W x is linear there, and decay holds the norms
    data = Data([[1.0, 0.5], [0.5, 1.0], [1.0, 1.0]], [[1.0], [2.0], [2.0]])
    problem = Problem(Dense((2, 2, 1), "relu"), Square(half=True), data, 0.1)
    start = (np.array([[0.9, 0.4], [0.5, 0.8]]), np.array([[0.7, 0.6]]))
    found = classify(problem, start)
    assert found.kernel is not None
    assert (found.kind, found.hyperbolic, found.normally_hyperbolic) == ("minimum", False, True)
    assert (found.kernel.symmetry, found.kernel.deficiency, found.kernel.unexplained) == (1, 0, 0)
