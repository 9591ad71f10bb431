"""Initial weights: exactly balanced, exactly factored, of the stated spread, and refused where impossible."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.problem import compiling
from gradlab.problem.initialisation import Balanced, Factorised, Gaussian, He, Identity
from gradlab.problem.networks import Convolutional, Dense, Residual

KEY = jax.random.key(3)
EPS = np.finfo(np.float64).eps

WIDTHS = [(4, 3), (4, 4, 4), (3, 5, 2), (2, 6, 3, 5), (5, 3, 4, 3, 2), (6, 1, 1), (1, 4, 7, 6)]


def product(weights) -> np.ndarray:
    total = np.asarray(weights[0])
    for factor in weights[1:]:
        total = np.asarray(factor) @ total
    return total


def unbalancedness(weights) -> float:
    gaps = [np.max(np.abs(b.T @ b - a @ a.T)) for a, b in pairwise(map(np.asarray, weights))]
    return max(gaps, default=0.0)


def matrix(rows: int, columns: int, rank: int | None = None) -> np.ndarray:
    draw = np.random.default_rng(rows + 10 * columns)
    if rank is None:
        return draw.normal(size=(rows, columns))
    return draw.normal(size=(rows, rank)) @ draw.normal(size=(rank, columns))


@pytest.mark.parametrize("widths", WIDTHS)
def test_balanced_weights_are_balanced_and_share_their_singular_values(widths) -> None:
    network = Dense.deep_linear(widths)
    weights = network.init(KEY, Balanced(0.5))
    network.check(weights)
    assert unbalancedness(weights) < 100 * EPS
    singular = np.linalg.svd(product(weights), compute_uv=False)
    if len(widths) > 2:
        expected = np.sort(singular ** (1 / (len(widths) - 1)))
        for factor in weights:
            values = np.sort(np.linalg.svd(factor, compute_uv=False))[-len(expected) :]
            np.testing.assert_allclose(values, expected, rtol=1e-12)


def test_the_product_of_balanced_weights_has_the_spread_of_its_draw() -> None:
    network = Dense.deep_linear((3, 5, 2))
    draw = jax.jit(jax.vmap(lambda key: network.init(key, Balanced(0.5))))
    draws = draw(jax.random.split(KEY, 400))
    entries = np.stack([product([w[i] for w in draws]) for i in range(400)]).ravel()
    assert abs(entries.std() / 0.5 - 1) < 5 / np.sqrt(2 * entries.size)
    assert abs(entries.mean()) < 5 * 0.5 / np.sqrt(entries.size)


def test_gaussian_weights_are_not_balanced() -> None:
    assert unbalancedness(Dense.deep_linear((4, 4, 4)).init(KEY, Gaussian(0.5))) > 0.1


@pytest.mark.parametrize("widths", WIDTHS)
def test_factors_of_a_matrix_multiply_to_it_and_are_balanced(widths) -> None:
    given = matrix(widths[-1], widths[0])
    network = Dense.deep_linear(widths)
    weights = network.init(None, Factorised(given))
    network.check(weights)
    np.testing.assert_allclose(product(weights), given, rtol=0, atol=50 * EPS * np.linalg.norm(given))
    assert unbalancedness(weights) < 100 * EPS * np.linalg.norm(given)


@pytest.mark.parametrize("widths", [(4, 2, 6, 3, 5), (4, 4, 6, 7, 5)])
def test_a_matrix_of_low_rank_factors_without_spurious_directions(widths) -> None:
    given = matrix(5, 4, rank=2)
    weights = Dense.deep_linear(widths).init(None, Factorised(given))
    np.testing.assert_allclose(product(weights), given, rtol=0, atol=50 * EPS * np.linalg.norm(given))
    assert unbalancedness(weights) < 100 * EPS * np.linalg.norm(given)
    assert [np.linalg.matrix_rank(w, tol=1e-6) for w in weights] == [2, 2, 2, 2]


def test_the_zero_matrix_factors_into_zeros() -> None:
    weights = Dense.deep_linear((3, 1, 2)).init(None, Factorised(np.zeros((2, 3))))
    assert all(not np.any(w) for w in weights)


def test_factors_of_a_traced_matrix_are_those_of_the_concrete_one() -> None:
    network, given = Dense.deep_linear((3, 5, 2)), matrix(2, 3)
    compiled = jax.jit(lambda m: network.init(None, Factorised(m)))(given)
    for one, other in zip(compiled, network.init(None, Factorised(given.tolist())), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def deviation(weights) -> list[float]:
    return [float(np.std(w)) for w in jax.tree.leaves(weights)]


def test_gaussian_weights_have_the_scale_in_every_layer() -> None:
    network = Dense((50, 80, 60), "relu")
    np.testing.assert_allclose(deviation(network.init(KEY, Gaussian(0.3))), [0.3, 0.3], rtol=0.05)
    assert deviation(network.init(KEY, Gaussian(0.0))) == [0.0, 0.0]


def test_he_weights_have_variance_two_over_fan_in() -> None:
    dense = Dense((50, 80, 60), "relu").init(KEY, He())
    np.testing.assert_allclose(deviation(dense), [np.sqrt(2 / 50), np.sqrt(2 / 80)], rtol=0.05)
    convolutional = Convolutional((8, 6, 6), (30,), 3, 2, 20).init(KEY, He())
    fans = [8 * 3 * 3, 30 * 3 * 3]
    np.testing.assert_allclose(deviation(convolutional), np.sqrt(2 / np.asarray(fans)), rtol=0.05)


def test_layers_are_drawn_independently_and_the_key_decides() -> None:
    network = Dense((5, 5, 5, 5), "relu")
    weights = network.init(KEY, Gaussian(1.0))
    assert not np.allclose(weights[0], weights[1])
    again, other = network.init(KEY, Gaussian(1.0)), network.init(jax.random.key(4), Gaussian(1.0))
    assert np.array_equal(weights[0], again[0])
    assert not np.allclose(weights[0], other[0])


def test_biases_begin_at_zero() -> None:
    network = Dense((3, 4, 2), bias=True)
    for scheme in (Gaussian(1.0), He(), Identity()):
        weights = network.init(KEY, scheme)
        assert all(not np.any(layer["bias"]) and np.any(layer["weight"]) for layer in weights)


def test_identity_weights_of_a_square_deep_linear_net_are_the_identity_map() -> None:
    x = jax.random.normal(KEY, (5, 3))
    square = Dense.deep_linear((3, 3, 3))
    np.testing.assert_array_equal(square(square.init(None, Identity()), x), x)
    for w in Dense.deep_linear((3, 5, 2)).init(None, Identity()):
        np.testing.assert_array_equal(w, np.eye(*w.shape))


def test_an_ensemble_over_keys_and_scales_is_one_program() -> None:
    network = Dense.deep_linear((3, 4, 2))
    keys, scales = jax.random.split(KEY, 3), jnp.asarray([0.1, 1.0, 2.0])
    for scheme in (Gaussian, Balanced):
        together = jax.vmap(lambda key, scale, kind=scheme: network.init(key, kind(scale)))(keys, scales)
        for i in range(3):
            alone = network.init(keys[i], scheme(float(scales[i])))
            np.testing.assert_allclose(together[0][i], alone[0], rtol=1e-12, atol=1e-14)


def test_initial_weights_are_float64_without_any_setting() -> None:
    code = (
        "import jax, gradlab; key = jax.random.key(0); net = gradlab.Dense((3, 4, 2), 'identity'); "
        "schemes = (gradlab.init.He(), gradlab.init.Balanced(1.0), gradlab.init.Identity(), "
        "gradlab.init.Factorised([[1, 2, 3], [0, 1, 0]])); "
        "assert all(w.dtype == 'float64' for s in schemes for w in net.init(key, s)); "
        "assert not jax.config.jax_enable_x64"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


LINEAR = Dense.deep_linear((4, 2, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Gaussian(-0.1), "the scale of Gaussian was -0.1; give a standard deviation ≥ 0"),
        (lambda: Gaussian(float("nan")), "scale of Gaussian was nan"),
        (lambda: Balanced(-1.0), "the scale of Balanced was -1.0"),
        (lambda: LINEAR.init(None, Gaussian(1.0)), r"given key None; write jax.random.key\(0\)"),
        (lambda: LINEAR.init(0, He()), "given key 0"),
        (
            lambda: LINEAR.init(KEY, Balanced(1.0)),
            r"rank 3, which does not pass through the widths \(4, 2, 3\)",
        ),
        (lambda: LINEAR.init(KEY, Factorised(matrix(3, 4))), "rank 3, which does not pass"),
        (
            lambda: LINEAR.init(KEY, Factorised(matrix(4, 3))),
            r"shape \(4, 3\); widths .* one of shape \(3, 4\)",
        ),
        (lambda: Dense((2, 3, 2), bias=True).init(KEY, Balanced(1.0)), "not Dense with bias"),
        (lambda: Residual(2, 2, 1, 2).init(KEY, Balanced(1.0)), "not Residual"),
        (lambda: Convolutional((1, 4, 4)).init(KEY, Factorised(np.eye(2))), "not Convolutional"),
        (lambda: Convolutional((1, 4, 4)).init(KEY, Identity()), "Identity needs matrices"),
        (lambda: Factorised([1.0, 2.0]), r"array of shape \(2,\); give a matrix"),
        (lambda: Factorised([[1.0, 2.0], [3.0]]), "rows of equal length"),
        (lambda: Factorised([[1.0, np.nan]]), "NaN or infinite"),
    ],
)
def test_misuse_is_refused_with_a_sentence(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_many_arrays_of_one_shape_are_drawn_together_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = ((4, 3), *[(4, 4)] * (compiling._ALIKE + 1), (1, 4), (4, 3))
    together = compiling.normals(KEY, shapes)
    monkeypatch.setattr(compiling, "_ALIKE", len(shapes))
    compiling._program.cache_clear()
    alone = compiling.normals(KEY, shapes)
    assert [array.shape for array in together] == list(shapes)
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))
    compiling._program.cache_clear()
