"""Products of layers, balanced factors and the preconditioner, against brute-force chain rules."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.analysis.linear_nets import (
    apply_preconditioner,
    balanced_factors,
    balancedness,
    conserved,
    conserved_rate,
    end_to_end,
    flat,
    layers,
    matrix_chain,
    preconditioner,
    preconditioner_spectrum,
    square_norm,
)
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

WIDTHS = [(4, 3), (4, 5, 3), (3, 4, 6, 5), (5, 5, 5, 5, 5), (6, 2, 3, 4)]


def matrix_of(widths: tuple[int, ...], seed: int, rank: int | None = None) -> np.ndarray:
    random = np.random.default_rng(seed)
    kept = min(widths) if rank is None else rank
    return random.normal(size=(widths[-1], kept)) @ random.normal(size=(kept, widths[0]))


def vec(matrix: np.ndarray) -> np.ndarray:
    return matrix.reshape(-1, order="F")


def rate_of_product(weights, G):
    """d/dt of W_N ⋯ W_1 by the chain rule, each layer moving down its own gradient of <G, W>."""
    rate = 0.0
    for j in range(len(weights)):
        above = end_to_end(weights[j + 1 :]) if j + 1 < len(weights) else np.eye(len(weights[-1]))
        below = end_to_end(weights[:j]) if j else np.eye(weights[0].shape[1])
        rate = rate + above @ (-(above.T @ G @ below.T)) @ below
    return rate


@pytest.mark.parametrize("widths", WIDTHS)
def test_balanced_factors_compose_to_the_matrix_and_are_balanced(widths):
    target = matrix_of(widths, 1)
    factors = balanced_factors(target, widths)
    assert [layer.shape for layer in factors] == [(b, a) for a, b in pairwise(widths)]
    np.testing.assert_allclose(end_to_end(factors), target, atol=1e-13 * np.linalg.norm(target))
    for defect in balancedness(factors):
        assert np.abs(defect).max() < 1e-13 * np.linalg.norm(target)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("rank", [None, 1, 0])
def test_preconditioner_moves_the_product_of_balanced_layers(widths, rank):
    target = matrix_of(widths, 2, rank)
    depth, G = len(widths) - 1, np.random.default_rng(3).normal(size=target.shape)
    rate = rate_of_product(balanced_factors(target, widths), G)
    scale = 1 + np.linalg.norm(rate)
    assert np.abs(rate + apply_preconditioner(target, G, depth)).max() < 1e-12 * scale
    assert np.abs(vec(rate) + preconditioner(target, depth) @ vec(G)).max() < 1e-12 * scale


def test_preconditioner_does_not_move_the_product_of_unbalanced_layers():
    first, second = balanced_factors(matrix_of((4, 5, 3), 2), (4, 5, 3))
    G = np.random.default_rng(3).normal(size=(3, 4))
    rate = rate_of_product((2 * first, second / 2), G)
    assert np.abs(rate + apply_preconditioner(end_to_end((first, second)), G, 2)).max() > 0.1


def test_rate_of_the_product_is_the_derivative_of_its_autodiff_flow():
    widths = (3, 4, 6, 5)
    target = matrix_of(widths, 5)
    weights = tuple(jnp.asarray(layer) for layer in balanced_factors(target, widths))
    goal = jnp.asarray(matrix_of(widths, 6))

    def loss(product):
        return jnp.sum((product - goal) ** 4)

    gradients = jax.grad(lambda layers: loss(end_to_end(layers)))(weights)
    _, rate = jax.jvp(end_to_end, (weights,), (tuple(-gradient for gradient in gradients),))
    expected = -apply_preconditioner(jnp.asarray(target), jax.grad(loss)(jnp.asarray(target)), 3)
    np.testing.assert_allclose(rate, expected, rtol=1e-9, atol=1e-9 * float(jnp.abs(rate).max()))


@pytest.mark.parametrize(("shape", "rank"), [((3, 4), None), ((4, 3), None), ((4, 4), 2), ((3, 5), 1)])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_closed_form_spectrum_is_that_of_the_dense_preconditioner(shape, rank, depth):
    target = matrix_of((shape[1], shape[0]), 7, rank)
    dense = preconditioner(target, depth)
    values, vectors = preconditioner_spectrum(target, depth)
    np.testing.assert_allclose(dense, dense.T, atol=1e-13 * values.max())
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(target.size), atol=1e-13)
    np.testing.assert_allclose(dense @ vectors, vectors * values, atol=1e-12 * values.max())
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(dense), atol=1e-12 * values.max())
    largest = np.linalg.norm(target, 2)
    assert values[0] == pytest.approx(depth * largest ** (2 * (depth - 1) / depth), rel=1e-13)


@pytest.mark.parametrize("depth", [2, 3])
def test_preconditioner_is_definite_exactly_when_the_matrix_has_full_rank(depth):
    assert preconditioner_spectrum(matrix_of((4, 3), 8), depth).eigenvalues.min() > 1e-3
    deficient = preconditioner_spectrum(matrix_of((4, 3), 8, 1), depth).eigenvalues
    assert np.sum(deficient == 0) == (3 - 1) * (4 - 1)  # pairs of a kernel direction on both sides


def test_depth_one_has_the_identity_as_preconditioner_even_at_zero():
    np.testing.assert_array_equal(preconditioner(np.zeros((2, 3)), 1), np.eye(6))


def test_jitted_preconditioner_agrees_with_numpy():
    target, G = matrix_of((4, 3), 9), matrix_of((4, 3), 10)
    jitted = jax.jit(lambda W, H: apply_preconditioner(W, H, 3))(target, G)
    np.testing.assert_allclose(jitted, apply_preconditioner(target, G, 3), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: end_to_end((np.ones((2, 3)), np.ones((2, 3)))), "do not compose"),
        (lambda: balancedness((np.ones(3),)), "not a sequence of matrices"),
        (lambda: balanced_factors(np.eye(3), (3, 2, 3)), "below the rank 3"),
        (lambda: balanced_factors(np.eye(3), (3, 4, 2)), "expected"),
        (lambda: preconditioner(np.eye(3), 0), "depth is 0"),
        (lambda: apply_preconditioner(np.eye(3), np.ones((2, 3)), 2), "expected that of W"),
        (lambda: preconditioner(np.ones(3), 2), "no matrix"),
    ],
)
def test_misuse_is_refused_with_a_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Weight vectors and what they conserve --------------------------------------------------------------------------


def gaussian(widths: tuple[int, ...], seed: int = 3) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    return tuple(random.standard_normal((after, before)) for before, after in pairwise(widths))


def test_layers_are_those_of_the_problems_own_vector():
    network = Dense.deep_linear((3, 2, 4))
    problem = Problem(network, Square(), Data(np.eye(3), np.ones((3, 4))))
    weights = gaussian((3, 2, 4))
    vector = np.asarray(problem.ravel(weights))
    for ours, given in zip(layers(network, vector), weights, strict=True):
        np.testing.assert_array_equal(ours, given)
    np.testing.assert_array_equal(flat(weights), vector)


def test_only_dense_nets_without_bias_are_chains_of_matrices():
    data = Data(np.eye(2), np.ones((2, 1)))
    assert matrix_chain(Problem(Dense((2, 3, 1), "relu"), Square(), data)) is not None
    assert matrix_chain(Problem(Dense((2, 3, 1), "relu", bias=True), Square(), data)) is None


def test_the_rate_is_the_derivative_of_what_is_conserved():
    matrices, motion = gaussian((4, 3, 5, 2)), gaussian((4, 3, 5, 2), seed=4)
    step = 1e-6
    ahead, behind = (
        conserved(tuple(w + sign * step * v for w, v in zip(matrices, motion, strict=True)))
        for sign in (1, -1)
    )
    np.testing.assert_allclose(conserved_rate(matrices, motion), (ahead - behind) / (2 * step), atol=1e-8)


def test_the_square_norm_is_that_of_the_vector():
    matrices = gaussian((4, 3, 2))
    assert square_norm(matrices) == pytest.approx(float(np.sum(flat(matrices) ** 2)), rel=1e-15)
