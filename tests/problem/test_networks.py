"""Architectures: values against plain numpy, homogeneity and Euler's identity, layers, and misuse."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
from gradlab.problem import convolutional
from gradlab.problem.activations import Activation, leaky_relu, polynomial, smooth_relu
from gradlab.problem.initialisation import Gaussian
from gradlab.problem.networks import Convolutional, Dense, Function, Network, Pooled, Residual

KEY = jax.random.key(7)


def gated(weights, x):
    """A user's network: (u · x) (v · x)², degrees 1 and 2."""
    return (x @ weights["u"]) * (x @ weights["v"]) ** 2


def gated_start(key):
    first, second = jax.random.split(key)
    return {"u": jax.random.normal(first, (3,)), "v": jax.random.normal(second, (3,))}


GATED = Function(gated, gated_start, input_shape=3, outputs=1, degrees=(1, 2))

ZOO = {
    "linear": Dense((4, 3), "tanh"),
    "deep linear": Dense.deep_linear((4, 5, 2, 3)),
    "relu": Dense((4, 6, 5, 2), "relu"),
    "leaky": Dense((4, 6, 2), leaky_relu(0.2)),
    "squared relu": Dense((3, 5, 4, 2), "squared_relu"),
    "cubic": Dense((2, 4, 3, 1), polynomial((0, 0, 0, 0.5))),
    "tanh": Dense((4, 6, 2), "tanh"),
    "bias": Dense((4, 6, 2), "relu", bias=True),
    "smooth": Dense((4, 6, 2), smooth_relu(0.1)),
    "convolutional": Convolutional((2, 5, 6), (3, 4), 3, 2, 3, "relu"),
    "convolutional squared": Convolutional((1, 4, 4), (2,), 2, 1, 2, "squared_relu"),
    "convolutional gelu": Convolutional((1, 4, 4), (2,), 3, 2, 2, "gelu"),
    "residual": Residual(4, 5, 3, 2, "relu"),
    "residual tanh": Residual(4, 5, 2, 2, "tanh"),
    "function": GATED,
}
DEGREES = {
    "linear": (1,),
    "deep linear": (1, 1, 1),
    "relu": (1, 1, 1),
    "leaky": (1, 1),
    "squared relu": (4, 2, 1),
    "cubic": (9, 3, 1),
    "tanh": None,
    "bias": None,
    "smooth": None,
    "convolutional": (1, 1, 1),
    "convolutional squared": (2, 1),
    "convolutional gelu": None,
    "residual": (1, None, None, None, 1),
    "residual tanh": (None, None, None, 1),
    "function": (1, 2),
}
ROUGH = {"relu", "leaky", "bias", "convolutional", "residual"}
HOMOGENEOUS = [
    (name, k) for name, degrees in DEGREES.items() for k, d in enumerate(degrees or ()) if d is not None
]


def weights_and_inputs(network: Network, count: int = 7):
    """Random weights, biases not zero, and a batch."""
    draw = np.random.default_rng(7)
    weights = jax.tree.map(lambda leaf: jnp.asarray(0.6 * draw.normal(size=leaf.shape)), network.shapes())
    return weights, jnp.asarray(draw.normal(size=(count, *network.input_shape)))


def scaled(network: Network, weights, k: int, factor: float):
    layers = list(network.layers(weights))
    layers[k] = jax.tree.map(lambda w: factor * w, layers[k])
    return network.rebuild(layers)


def relative(difference, reference) -> float:
    return float(jnp.max(jnp.abs(difference)) / jnp.max(jnp.abs(reference)))


@pytest.mark.parametrize("name", ZOO)
def test_degrees_and_smoothness_are_those_of_the_theory(name: str) -> None:
    assert ZOO[name].degrees == DEGREES[name]
    assert ZOO[name].smooth == (name not in ROUGH)


@pytest.mark.parametrize("name", ZOO)
def test_outputs_have_one_row_an_example_and_do_not_mix_examples(name: str) -> None:
    network = ZOO[name]
    weights, x = weights_and_inputs(network)
    f = network(weights, x)
    assert f.shape == (7, network.outputs)
    assert f.dtype == jnp.float64
    np.testing.assert_allclose(network(weights, x[2:3]), f[2:3], rtol=1e-12, atol=1e-14)
    assert relative(f - jnp.roll(f, 1, axis=0), f) > 0.1


@pytest.mark.parametrize(("name", "k"), HOMOGENEOUS)
def test_scaling_a_layer_scales_the_output_by_its_power(name: str, k: int) -> None:
    network = ZOO[name]
    weights, x = weights_and_inputs(network)
    f, degree = network(weights, x), network.degrees[k]
    for factor in (0.3, 2.5):
        moved = network(scaled(network, weights, k, factor), x)
        assert relative(moved - factor**degree * f, moved) < 1e-13
        assert relative(moved - factor ** (degree + 1) * f, moved) > 0.1


@pytest.mark.parametrize(("name", "k"), HOMOGENEOUS)
def test_euler_identity_holds_for_every_homogeneous_layer(name: str, k: int) -> None:
    network = ZOO[name]
    weights, x = weights_and_inputs(network)
    radial = list(jax.tree.map(jnp.zeros_like, network.layers(weights)))
    radial[k] = network.layers(weights)[k]
    f, change = jax.jvp(lambda w: network(w, x), (weights,), (network.rebuild(radial),))
    assert relative(change - network.degrees[k] * f, f) < 1e-12
    assert relative(change - (network.degrees[k] + 1) * f, f) > 0.1


@pytest.mark.parametrize("name", [name for name in ZOO if None in (DEGREES[name] or (None,))])
def test_a_layer_without_a_degree_is_not_homogeneous(name: str) -> None:
    network = ZOO[name]
    weights, x = weights_and_inputs(network)
    f = network(weights, x)
    for k, degree in enumerate(network.degrees or (None, *(0 for _ in network.layers(weights)[1:]))):
        if degree is None:
            moved = network(scaled(network, weights, k, 2.5), x)
            assert min(relative(moved - 2.5**p * f, moved) for p in range(4)) > 1e-2


@pytest.mark.parametrize("name", ZOO)
def test_rebuild_is_the_inverse_of_layers(name: str) -> None:
    network = ZOO[name]
    weights, _ = weights_and_inputs(network)
    layers = network.layers(weights)
    again = network.rebuild(list(layers))
    assert jax.tree.structure(again) == jax.tree.structure(weights)
    assert all(a is b for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(weights), strict=True))
    assert len(layers) == len(DEGREES[name] or layers)


@pytest.mark.parametrize("name", ZOO)
def test_shapes_are_those_of_initial_weights(name: str) -> None:
    network = ZOO[name]
    weights = network.init(KEY, Gaussian(0.6))
    shapes = network.shapes()
    assert jax.tree.structure(shapes) == jax.tree.structure(weights)
    described = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(weights)]
    assert described == [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(shapes)]
    network.check(weights)


@pytest.mark.parametrize("name", ZOO)
def test_networks_hold_no_arrays_and_pass_through_jit(name: str) -> None:
    network = ZOO[name]
    weights, x = weights_and_inputs(network)
    assert not jax.tree.leaves(network)
    compiled = jax.jit(lambda n, w, z: n(w, z))
    np.testing.assert_allclose(compiled(network, weights, x), network(weights, x), rtol=1e-12, atol=1e-13)


def test_dense_is_the_textbook_recursion() -> None:
    for name, sigma in (
        ("relu", lambda z: np.maximum(z, 0)),
        ("tanh", np.tanh),
        ("bias", lambda z: z * (z > 0)),
    ):
        network = ZOO[name]
        weights, x = weights_and_inputs(network)
        rows = []
        for row in np.asarray(x):
            h = row
            for k, layer in enumerate(weights):
                w, b = (layer["weight"], layer["bias"]) if network.bias else (layer, 0.0)
                h = np.asarray(w) @ (sigma(h) if k else h) + np.asarray(b)
            rows.append(h)
        np.testing.assert_allclose(network(weights, x), rows, rtol=1e-12, atol=1e-13)


def test_a_deep_linear_net_is_the_product_of_its_matrices() -> None:
    network = ZOO["deep linear"]
    weights, x = weights_and_inputs(network)
    product = np.linalg.multi_dot([np.asarray(w) for w in reversed(weights)])
    np.testing.assert_allclose(network(weights, x), np.asarray(x) @ product.T, rtol=1e-12, atol=1e-13)


def test_linear_says_whether_the_net_is_the_product_of_its_matrices() -> None:
    assert Dense((3, 2), "relu").linear
    assert Dense.deep_linear((3, 4, 2)).linear
    assert Dense((3, 4, 2), polynomial((0, 1))).linear
    assert not Dense((3, 4, 2), polynomial((0, 2))).linear
    assert not Dense((3, 4, 2), "relu").linear
    assert not Dense((3, 2), bias=True).linear


def test_a_residual_net_is_the_textbook_recursion() -> None:
    network = ZOO["residual"]
    (first, *blocks, last), x = weights_and_inputs(network)
    h = np.asarray(x) @ np.asarray(first).T
    for block in blocks:
        h = h + np.maximum(h @ np.asarray(block).T, 0)
    np.testing.assert_allclose(
        network((first, *blocks, last), x), h @ np.asarray(last).T, rtol=1e-12, atol=1e-13
    )


def naive_convolution(image: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Cross-correlation with SAME zero padding, by the definition: one loop per index."""
    out_channels, _, size, _ = kernel.shape
    _, height, width = image.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    above = max((rows - 1) * stride + size - height, 0) // 2
    left = max((columns - 1) * stride + size - width, 0) // 2
    result = np.zeros((out_channels, rows, columns))
    for o, i, j in np.ndindex(result.shape):
        for c, a, b in np.ndindex(kernel.shape[1:]):
            y, x = i * stride + a - above, j * stride + b - left
            if 0 <= y < height and 0 <= x < width:
                result[o, i, j] += kernel[o, c, a, b] * image[c, y, x]
    return result


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (3, 1), (2, 2), (5, 3)])
def test_a_convolutional_net_is_the_naive_convolution(kernel: int, stride: int) -> None:
    network = Convolutional((2, 5, 6), (3, 2), kernel, stride, 4, "relu")
    weights, x = weights_and_inputs(network, 3)
    *kernels, last = [np.asarray(w) for w in weights]
    rows = []
    for h in np.asarray(x):
        for own in kernels:
            h = np.maximum(naive_convolution(h, own, stride), 0)
        rows.append(last @ h.reshape(-1))
    np.testing.assert_allclose(network(weights, x), rows, rtol=1e-12, atol=1e-13)


def test_flat_and_shaped_inputs_are_the_same() -> None:
    network = ZOO["convolutional"]
    weights, x = weights_and_inputs(network)
    np.testing.assert_array_equal(network(weights, x.reshape(7, -1)), network(weights, x))
    dense = Dense((60, 3), "relu")
    weights, _ = weights_and_inputs(dense)
    np.testing.assert_array_equal(dense(weights, x), dense(weights, x.reshape(7, -1)))


def test_a_function_of_single_inputs_is_mapped_over_the_batch() -> None:
    single = Function(lambda w, x: jnp.tanh(x @ w), input_shape=3, outputs=1, batched=False)
    whole = Function(lambda w, x: jnp.tanh(x @ w)[:, None], input_shape=(3,), outputs=1)
    w, x = jnp.arange(3.0), jax.random.normal(KEY, (5, 3))
    np.testing.assert_allclose(single(w, x), whole(w, x), rtol=1e-14)


def test_layers_of_a_function_are_the_entries_of_its_weights_or_as_one_says() -> None:
    w = {"b": jnp.ones(2), "a": (jnp.zeros(1), jnp.ones(1)), "none": None}
    default = Function(lambda w, x: x, lambda key: w, input_shape=1, outputs=1)
    assert [len(jax.tree.leaves(layer)) for layer in default.layers(w)] == [2, 1]
    assert jax.tree.structure(default.rebuild(default.layers(w))) == jax.tree.structure(w)
    own = Function(
        lambda w, x: x,
        input_shape=1,
        outputs=1,
        layers=(lambda w: (w["b"], w["a"]), lambda layers: {"b": layers[0], "a": layers[1], "none": None}),
    )
    assert own.layers(w)[0] is w["b"]
    assert jax.tree.structure(own.rebuild(own.layers(w))) == jax.tree.structure(w)
    unknown = Function(lambda w, x: x, input_shape=1, outputs=1)
    assert unknown.layers(w) == (w,)
    assert unknown.rebuild((w,)) is w


def test_networks_are_equal_exactly_if_they_are_built_alike() -> None:
    assert Dense((2, 3, 1), "relu") == Dense([2, 3, 1], "relu")
    assert Dense((2, 3, 1), "relu") != Dense((2, 3, 1), "tanh")
    again = Function(gated, gated_start, input_shape=3, outputs=1, degrees=(1, 2))
    assert again == GATED


def test_public_names_are_these_classes() -> None:
    assert gradlab.Dense is Dense
    assert issubclass(Dense, gradlab.Network)
    assert isinstance(gradlab.activations.activation("relu"), Activation)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Dense((3,)), r"widths was \(3,\); give a tuple such as"),
        (lambda: Dense((3, 0, 1)), r"widths\[1\] was 0; give a whole number ≥ 1"),
        (lambda: Dense((3, -2, 1)), r"widths\[1\] was -2"),
        (lambda: Dense((3, 2.0, 1)), r"widths\[1\] was 2.0"),  # type: ignore[arg-type]
        (lambda: Dense(3), "widths was 3; give a tuple"),  # type: ignore[arg-type]
        (lambda: Dense("34"), "widths was '34'"),  # type: ignore[arg-type]
        (lambda: Dense((3, 1), "rleu"), "did you mean 'relu'"),
        (lambda: Convolutional((8, 8)), r"input_shape was \(8, 8\)"),
        (lambda: Convolutional((1, 8, 8), ()), r"channels was \(\)"),
        (lambda: Convolutional((1, 8, 8), stride=0), "stride was 0"),
        (lambda: Convolutional((1, 8, 8), kernel=True), "kernel was True"),
        (lambda: Residual(3, 4, 0, 1), "blocks was 0"),
        (lambda: Residual(3, 4, 1, 1, "than"), "did you mean 'tanh'"),
        (lambda: Function(3, input_shape=2, outputs=1), "apply was 3; give a function"),  # type: ignore[arg-type]
        (
            lambda: Function(gated, gated_start, input_shape=3, outputs=1, degrees=(1,)),
            "each of the 2 layers",
        ),
        (lambda: Function(gated, input_shape=3, outputs=0), "outputs was 0"),
        (lambda: Function(gated, input_shape=3, outputs=1, layers=gated), "split"),  # type: ignore[arg-type]
        (lambda: Function(gated, input_shape=3, outputs=1).init(KEY, None), "no initial weights"),
        (lambda: Dense((2, 1)).init(KEY, None), r"scheme was None; give an initialisation such as He\(\)"),
        (lambda: Dense((2, 1)).init(KEY, Gaussian), "scheme was <class"),
        (lambda: Dense((2, 3, 1)).rebuild((jnp.ones((3, 2)),)), "has 2 layers; 1 were given"),
        (lambda: Dense((2, 1))((jnp.ones((1, 2)),), jnp.ones(2)), r"expected \(N, 2\); .* write x\[None\]"),
        (
            lambda: Dense((2, 1))((jnp.ones((1, 2)),), jnp.ones((4, 3))),
            r"x of shape \(4, 3\); expected \(N, 2\)",
        ),
        (lambda: Dense((2, 1))((jnp.ones((2, 1)),), jnp.ones((4, 2))), r"shape \(2, 1\); expected \(1, 2\)"),
        (lambda: Dense((2, 1))([jnp.ones((1, 2))], jnp.ones((4, 2))), r"were \[\(1, 2\)\]; expected"),
        (
            lambda: ZOO["convolutional"](ZOO["tanh"].init(KEY, Gaussian(1.0)), jnp.ones((4, 60))),
            "Convolutional",
        ),
        (
            lambda: Function(lambda w, x: x, input_shape=3, outputs=1)(0.0, jnp.ones((4, 3))),
            r"gave an array of shape \(4, 3\); expected \(4, 1\)",
        ),
        (
            lambda: Function(lambda w, x: x, input_shape=3, outputs=2, batched=False)(0.0, jnp.ones((4, 3))),
            r"gave an array of shape \(3,\); expected \(2,\)",
        ),
        *(
            (
                lambda given=given: Function(lambda w, x: given, input_shape=3, outputs=1)(
                    0.0, jnp.ones((4, 3))
                ),
                rf"gave {words}; let it return one array of shape \(4, 1\), real",
            )
            for given, words in (
                (None, "nothing"),
                ((jnp.ones((4, 1)), {"mean": 0.0}), "a tuple"),
                (1j * np.ones((4, 1)), "numbers of type complex128"),
                (np.ones((4, 1), int), "numbers of type int64"),
            )
        ),
    ],
)
def test_misuse_is_refused_with_a_sentence(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_a_function_that_holds_arrays_is_refused() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, weights, x):
            return x

    with pytest.raises(ValueError, match="cannot be hashed"):
        Function(Unhashable(), input_shape=1, outputs=1)


def test_how_often_a_weight_is_used_on_one_example_is_counted() -> None:
    # 18 weights at 4×4 places and 320 once; 18 at 36 places and 36 at 9. Biases count as used once.
    assert gradlab.Dense((3, 4, 1)).reuse == 1.0
    assert gradlab.Convolutional((1, 8, 8), (2,)).reuse == (18 * 16 + 320) / 338
    pooled = gradlab.networks.Pooled((1, 6, 6), (2, 2), 3, 5, 3)
    others = (2 + 2) + (5 * 8 + 5) + (3 * 5 + 3)
    assert pooled.reuse == (18 * 36 + 36 * 9 + others) / (18 + 36 + others)
    assert GATED.reuse is None


@pytest.mark.parametrize("network", [Convolutional((2, 5, 4), (3, 2)), Pooled((2, 5, 4), (3, 2), 3, 4)])
def test_examples_pass_in_blocks_where_all_their_patches_would_not_fit(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, x = np.random.default_rng(0), np.random.default_rng(1).standard_normal((11, 2, 5, 4))
    weights = jax.tree.map(lambda like: random.standard_normal(like.shape), network.shapes())

    def of_all(w: Any) -> Any:
        outputs = network(w, x)
        slope = jax.grad(lambda v: jnp.sum(jnp.tanh(network(v, x))))
        return outputs, slope(w), jax.jvp(slope, (w,), (w,))[1]

    whole, blocks, mapped = of_all(weights), [], jax.lax.map
    monkeypatch.setattr(convolutional, "MOST", 5_000)
    monkeypatch.setattr(jax.lax, "map", lambda f, xs: blocks.append(xs.shape[:2]) or mapped(f, xs))
    parts = of_all(weights)
    assert blocks
    assert all(count > 1 and count * size >= 11 for count, size in blocks)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-11, atol=1e-12)
