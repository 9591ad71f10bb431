"""Convolutional networks with pooling, dense layers, biases and dropout, perhaps with redundant linear layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.problem.activations import Activation
from gradlab.problem.activations import activation as _activation
from gradlab.problem.convolutional import convolved, in_blocks, patched, reused
from gradlab.problem.ensembles import unchecked
from gradlab.problem.network import Network, batch, count, drawn, whole, wholes


class Pooled(Network):
    """A pooled network is (convolution, σ, max pool 2×2) for every channel number, then dense, σ, dropout, dense.

    With ``redundant`` each dense layer is followed by a square matrix without bias, before σ: more layers, the same
    functions. Weights are a tuple of ``{"weight", "bias"}``, of redundant layers ``{"weight"}``, first layer first.
    Convolutions are padded "SAME" with stride 1; pools are 2×2 with stride 2, images of odd size padded by −∞.

    Parameters
    ----------
    input_shape : (channels, height, width).
    channels, kernel : of the convolutions.
    hidden : units of the first dense layer. outputs : C.
    dropout : probability with which a hidden unit is dropped while training, the others being divided by 1 − it. It
        acts in the iterations of flows only: whoever calls the network, and every observable, sees all units.
    redundant : whether dense layers are followed by square ones.

    Raises
    ------
    ValueError
        If a size is not a whole number ≥ 1, dropout is not in [0, 1), or the activation is not known.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> network = gl.networks.Pooled((1, 8, 8), (2, 4), 3, 5, 3, redundant=True)
    >>> [layer["weight"].shape for layer in network.init(jax.random.key(0), gl.Gaussian(0.1))]
    [(2, 1, 3, 3), (4, 2, 3, 3), (5, 16), (5, 5), (3, 5), (3, 3)]
    """

    input_shape: tuple[int, ...] = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True)
    kernel: int = eqx.field(static=True)
    hidden: int = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    activation: Activation
    dropout: float = eqx.field(static=True)
    redundant: bool = eqx.field(static=True)
    degrees: tuple[int | None, ...] | None = eqx.field(static=True, repr=False)
    smooth: bool = eqx.field(static=True, repr=False)
    #: By what units are dropped now; None outside training.
    key: Array | None = eqx.field(repr=False)

    def __init__(
        self,
        input_shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        kernel: int = 5,
        hidden: int = 512,
        outputs: int = 10,
        activation: str | Activation = "relu",
        *,
        dropout: float = 0.0,
        redundant: bool = False,
    ) -> None:
        self.input_shape = wholes(
            "input_shape", input_shape, "(channels, height, width) = (1, 28, 28)", (3, 3)
        )
        self.channels = wholes("channels", channels, "(32, 64), one number a convolution", (1, float("inf")))
        self.kernel, self.hidden = whole("kernel", kernel), whole("hidden", hidden)
        self.outputs = whole("outputs", outputs)
        self.activation = _activation(activation)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout was {dropout!r}; give a probability in [0, 1)")
        self.dropout, self.redundant = float(dropout), bool(redundant)
        self.degrees, self.smooth, self.key = None, False, None

    @property
    def random(self) -> bool:
        return self.dropout > 0.0

    def thinned(self, key: Any) -> Pooled:
        """The network that drops hidden units by this key."""
        return unchecked(Pooled, self, key=key)

    def __call__(self, weights: Any, x: Float[Array, "N ..."]) -> Float[Array, "N C"]:
        self.check(weights)
        before, dense = weights[: len(self.channels)], weights[len(self.channels) :]

        def features(images: Float[Array, "N B H W"]) -> Float[Array, "N D"]:
            h = images.transpose(0, 2, 3, 1)
            for layer in before:
                h = _pooled(self.activation(convolved(h, layer["weight"]) + layer["bias"]))
            return h.transpose(0, 3, 1, 2).reshape(h.shape[0], -1)

        h = in_blocks(features, batch(self, x), [layer["weight"] for layer in before], self._positions())
        half = len(dense) // 2
        h = self._dropped(self.activation(_dense(dense[:half], h)))
        return _dense(dense[half:], h)

    def _dropped(self, h: Float[Array, "N H"]) -> Float[Array, "N H"]:
        if self.key is None or not self.dropout:
            return h
        return jnp.where(
            jax.random.bernoulli(self.key, 1.0 - self.dropout, h.shape), h / (1.0 - self.dropout), 0.0
        )

    def _positions(self) -> list[int]:
        """How many patches an image has in each convolution."""
        _, height, width = self.input_shape
        found = []
        for _ in self.channels:
            found.append(height * width)
            height, width = -(-height // 2), -(-width // 2)
        return found

    @property
    def inner(self) -> int:
        """Numbers between input and output of one image, in the convolutions."""
        return patched([layer["weight"] for layer in self.shapes()[: len(self.channels)]], self._positions())

    @property
    def reuse(self) -> float:
        shapes, positions = self.shapes(), self._positions()
        kernels = [math.prod(layer["weight"].shape) for layer in shapes[: len(self.channels)]]
        return reused([math.prod(one.shape) for one in jax.tree.leaves(shapes)], kernels, positions)

    def layers(self, weights: Any) -> tuple[Any, ...]:
        return tuple(weights)

    def rebuild(self, layers: Sequence[Any]) -> Any:
        return count(self, layers, len(self.channels) + (4 if self.redundant else 2))

    def shapes(self) -> Any:
        before, height, width = self.input_shape
        arrays: list[tuple[tuple[int, ...], bool]] = []
        for after in self.channels:
            arrays.append(((after, before, self.kernel, self.kernel), True))
            before, height, width = after, -(-height // 2), -(-width // 2)
        for after, units in ((self.hidden, before * height * width), (self.outputs, self.hidden)):
            arrays.append(((after, units), True))
            if self.redundant:
                arrays.append(((after, after), False))
        return tuple(_layer(shape, bias) for shape, bias in arrays)

    def init(self, key: Any, scheme: Any) -> Any:
        return drawn(self, key, scheme)


def _layer(shape: tuple[int, ...], bias: bool) -> dict[str, jax.ShapeDtypeStruct]:
    made = {"weight": jax.ShapeDtypeStruct(shape, np.float64)}
    return made | {"bias": jax.ShapeDtypeStruct(shape[:1], np.float64)} if bias else made


def _dense(layers: Sequence[Any], h: Float[Array, "N D"]) -> Float[Array, "N H"]:
    for layer in layers:
        h = h @ layer["weight"].T
        h = h + layer["bias"] if "bias" in layer else h
    return h


def _pooled(h: Float[Array, "N H W C"]) -> Float[Array, "N I J C"]:
    """The largest of every 2×2 square."""
    rows, columns = h.shape[1] % 2, h.shape[2] % 2
    if rows or columns:
        h = jnp.pad(h, ((0, 0), (0, rows), (0, columns), (0, 0)), constant_values=-jnp.inf)
    above = jnp.maximum(h[:, ::2], h[:, 1::2])
    return jnp.maximum(above[:, :, ::2], above[:, :, 1::2])
