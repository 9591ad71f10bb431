"""Spectra of Hessians known in closed form: quadratics, deep linear nets at saddles and minima; layers; chunks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradlab.init import He

from gradlab import CrossEntropy, Data, Dense, Problem, Square
from gradlab.observe.spectrum import DENSE, Hessian, Spectrum, spectrum
from problems import quadratic

EPS = np.finfo(np.float64).eps


def deep_linear(widths: tuple[int, ...], seed: int = 0) -> tuple[Problem, np.ndarray]:
    """½‖W_K ⋯ W_1 − M‖² (whitened data), and M."""
    target = np.random.default_rng(seed).standard_normal((widths[-1], widths[0]))
    data = Data(np.eye(widths[0]), target.T)
    return Problem(Dense.deep_linear(widths), Square(half=True), data), target


def chain(matrices: list[np.ndarray], size: int) -> np.ndarray:
    """W_j ⋯ W_i of a list from the first on; the identity of an empty one."""
    product = np.eye(size)
    for matrix in matrices:
        product = matrix @ product
    return product


def at_minimum(widths: tuple[int, ...]) -> tuple[Problem, Any, np.ndarray]:
    """A minimum of loss 0, and its exact spectrum: JᵀJ, J = [S_k ⊗ P_kᵀ]_k, of rank d_0 d_K where nothing is lost.

    P_k = W_{k−1} ⋯ W_1, S_k = W_K ⋯ W_{k+1}; row-major order of the weights. So P − d_0 d_K eigenvalues are 0.
    """
    problem, target = deep_linear(widths)
    generator = np.random.default_rng(1)
    weights = [generator.standard_normal((b, a)) for a, b in pairwise(widths[1:])]
    above = chain(weights, widths[1])
    first = np.linalg.lstsq(above, target, rcond=None)[0]
    weights = [first, *weights]
    blocks = []
    for k in range(len(weights)):
        before, after = chain(weights[:k], widths[0]), chain(weights[k + 1 :], widths[k + 1])
        blocks.append(np.kron(after, before.T))
    values = np.linalg.svd(np.hstack(blocks), compute_uv=False) ** 2
    return problem, tuple(weights), np.sort(np.r_[np.zeros(problem.size - len(values)), values])


def check(found: Spectrum, true: np.ndarray, inexact: float) -> None:
    """Every value within its bound of the true one of its rank; ``inexact``: how well the weights are known."""
    assert found.converged, found.why
    assert found.complete == (len(found.values) == found.size)
    assert np.all(np.abs(found.values - true) <= np.linalg.norm(found.bounds) + inexact)


MINIMA = [(5, 6, 4), (4, 5, 6, 3), (3, 4, 4, 4, 3)]


@pytest.mark.parametrize("widths", MINIMA)
@pytest.mark.parametrize("method", ["dense", "lanczos"])
def test_minima_of_deep_linear_nets_have_the_spectrum_of_their_jacobian(
    widths: tuple[int, ...], method: Any
) -> None:
    problem, weights, true = at_minimum(widths)
    nullity = problem.size - widths[0] * widths[-1]
    assert np.sum(true < 1e-9) == nullity
    # The residual at the minimum is rounding, ‖r‖ ~ eps · |M|, times second derivatives of f of the size of ‖W‖^{K−2}.
    inexact = 1e3 * EPS * true[-1]
    if method == "dense":
        found = spectrum(problem, weights)
        assert found.complete
        check(found, true, inexact)
        assert np.sum(np.abs(found.values) <= found.bounds + inexact) == nullity
    else:
        found = spectrum(problem, weights, 4, "both", method="lanczos", tolerance=1e-10)
        check(found, np.r_[true[:4], true[-4:]], inexact + 1e-10 * true[-1])


def test_the_origin_of_two_layers_is_a_saddle_with_singular_values_of_both_signs() -> None:
    """∇²L(0) = [[0, −M ⊗ 1], [·, 0]] for f = W_2 W_1: ± each singular value of M, h times, the rest 0."""
    problem, target = deep_linear((5, 7, 3))
    singular = np.linalg.svd(target, compute_uv=False)
    true = np.sort(np.r_[np.repeat(singular, 7), np.repeat(-singular, 7), np.zeros(problem.size - 2 * 7 * 3)])
    weights = (np.zeros((7, 5)), np.zeros((3, 7)))
    check(spectrum(problem, weights), true, 1e-14)
    # Seven copies at either end, in blocks of four.
    some = spectrum(problem, weights, 9, method="lanczos", tolerance=1e-10)
    check(some, np.r_[true[:9], true[-9:]], 1e-9)


@pytest.mark.parametrize("widths", [(3, 4, 4, 2), (3, 3, 3, 3, 3)])
def test_the_origin_of_deeper_nets_has_hessian_zero(widths: tuple[int, ...]) -> None:
    problem, _ = deep_linear(widths)
    weights = tuple(np.zeros(shape.shape) for shape in problem.network.shapes())
    for options in ({}, {"count": 5, "method": "lanczos"}):
        found = spectrum(problem, weights, **options)
        assert found.converged
        assert np.all(found.values == 0.0)
        assert np.all(found.bounds == 0.0)
        assert found.scale == 0.0


def test_quadratics_have_the_eigenvalues_of_their_gram_matrix_and_their_vectors() -> None:
    problem, weights, hessian = quadratic(N=9, d=4, C=3, decay=0.2)
    found = spectrum(problem, weights, vectors=True)
    check(found, np.linalg.eigvalsh(hessian), 1e-13)
    vectors = found.vectors
    assert vectors is not None
    # Row-major weights (C, d): the Hessian is 1_C ⊗ (XᵀX + λ).
    np.testing.assert_allclose(hessian @ vectors, vectors * found.values, atol=1e-12)
    few = spectrum(problem, weights, 2, "near", shift=0.2)
    expected = np.sort(np.linalg.eigvalsh(hessian)[np.argsort(np.abs(np.linalg.eigvalsh(hessian) - 0.2))[:2]])
    check(few, expected, 1e-13)


# Networks ----------------------------------------------------------------------------------------------------


def small(decay: Any = 0.01, loss: Any = None) -> tuple[Problem, Any]:
    """A network with biases under cross-entropy, 40 examples."""
    generator = np.random.default_rng(0)
    network = Dense((6, 8, 3), "tanh", bias=True)
    data = Data(generator.standard_normal((40, 6)), generator.integers(0, 3, 40))
    problem = Problem(network, loss or CrossEntropy("mean"), data, decay)
    return problem, network.init(jax.random.key(0), He())


def test_products_are_those_of_the_dense_hessian() -> None:
    problem, weights = small()
    dense = np.asarray(problem.hessian(weights))
    operator = Hessian(problem, weights)
    block = np.random.default_rng(1).standard_normal((11, problem.size))
    np.testing.assert_allclose(operator(block), block @ dense, atol=1e-13)
    assert operator.products == 11
    np.testing.assert_allclose(operator.dense(), dense, atol=1e-13)


def test_both_ends_of_a_network_agree_with_the_dense_matrix() -> None:
    problem, weights = small()
    every = spectrum(problem, weights)
    some = spectrum(problem, weights, 6, method="lanczos", tolerance=1e-9, vectors=True)
    assert every.complete
    assert not some.complete
    check(some, np.r_[every.values[:6], every.values[-6:]], 1e-9 * every.scale)
    assert some.vectors is not None
    assert some.vectors.shape == (problem.size, 12)
    assert some.method == "lanczos"
    np.testing.assert_allclose(some.relative, some.bounds / np.abs(some.values))


def test_the_block_of_a_layer_is_that_part_of_the_hessian() -> None:
    problem, weights = small(decay=(0.1, 0.3))
    dense = np.asarray(problem.hessian(weights))
    sizes = [sum(leaf.size for leaf in layer.values()) for layer in weights]
    for layer, part in ((0, slice(0, sizes[0])), (-1, slice(sizes[0], sum(sizes)))):
        found = spectrum(problem, weights, layer=layer)
        check(found, np.linalg.eigvalsh(dense[part, part]), 1e-13)
    chunked = Hessian(problem, weights, layer=-1, chunk=20)
    np.testing.assert_allclose(chunked(np.eye(part.stop - part.start)[:3]), dense[part, part][:3], atol=1e-13)


@pytest.mark.parametrize(("reduction", "chunk"), [("mean", 16), ("sum", 20)])
def test_chunks_give_the_hessian_of_all_examples(reduction: Any, chunk: int) -> None:
    problem, weights = small(decay=(0.1, 0.3), loss=CrossEntropy(reduction))
    dense = np.asarray(problem.hessian(weights))
    scale = np.linalg.norm(dense, 2)
    # 40 examples in chunks of 16, 16 and 8, or of 20.
    assert np.max(np.abs(Hessian(problem, weights, chunk=chunk).dense() - dense)) <= 1e-14 * scale
    rows = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    passes = []

    def stream() -> Iterator[Data]:
        """Chunks made one at a time, as a reader of a file larger than memory would."""
        passes.append(0)
        for k in range(0, 40, chunk):
            passes[-1] += 1
            yield Data(rows[0][k : k + chunk], rows[1][k : k + chunk])

    # The problem's own data are then for its shapes only.
    few = Problem(problem.network, problem.loss, Data(rows[0][:2], np.array([0, 2])), problem.decay)
    operator = Hessian(few, weights, data=stream)
    block = np.random.default_rng(2).standard_normal((5, problem.size))
    np.testing.assert_allclose(operator(block), block @ dense, atol=1e-13 * scale)
    assert passes == [-(-40 // chunk)]


# What is refused ---------------------------------------------------------------------------------------------


def test_more_eigenvalues_than_weights_float32_and_nan_are_refused_with_a_sentence() -> None:
    problem, weights = small()
    with pytest.raises(ValueError, match=f"there are {problem.size} weights: give at most {problem.size}"):
        spectrum(problem, weights, problem.size + 1)
    with pytest.raises(
        ValueError, match="the weights are float32; eigenvalues are told from 0 in float64 only"
    ):
        spectrum(problem, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), weights))
    broken = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), weights)
    with pytest.raises(ValueError, match="of the weights are not finite"):
        spectrum(problem, broken)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 0}, "give a whole number ≥ 1"),
        ({"which": "top"}, "it is one of largest, smallest, both, near"),
        ({"which": "near"}, "belong together"),
        ({"shift": 1.0}, "belong together"),
        ({"which": "near", "shift": np.inf}, "give a finite number"),
        ({"tolerance": 0.0}, "relative to the norm"),
        ({"method": "qr"}, "'auto', 'dense' or 'lanczos'"),
        ({"method": "lanczos"}, "give count"),
        ({"layer": 2}, "the network has 2 layers"),
        ({"chunk": 0}, "number of examples"),
        ({"chunk": 4, "data": []}, "leave out chunk"),
    ],
)
def test_misuse_is_answered_with_a_sentence(options: dict[str, Any], sentence: str) -> None:
    problem, weights = small()
    with pytest.raises(ValueError, match=sentence):
        spectrum(problem, weights, **options)


def test_weights_that_do_not_fit_and_missing_ones_are_refused() -> None:
    problem, weights = small()
    with pytest.raises(ValueError, match="expected"):
        spectrum(problem, weights[:1])
    with pytest.raises(ValueError, match="weights are missing"):
        spectrum(problem)


def test_a_hessian_that_overflows_is_refused_in_a_sentence() -> None:
    problem, _ = deep_linear((2, 2, 2))
    with pytest.raises(ValueError, match=r"not finite at these weights, though the weights are: .* overflow"):
        spectrum(problem, (np.full((2, 2), 1e200), np.full((2, 2), 1e200)))


def test_progress_is_told() -> None:
    problem, weights = small()
    told: list[tuple[str, float, float]] = []
    spectrum(problem, weights, progress=lambda *what: told.append(what))
    spectrum(problem, weights, 2, method="lanczos", progress=lambda *what: told.append(what))
    assert told[0][0] == "Hessian"
    assert told[-1][0].startswith("eigenvalues")
    assert all(0.0 <= done <= total for _, done, total in told)


def test_the_border_of_dense_matrices_is_above_small_networks() -> None:
    assert DENSE >= 1000
