"""Convolutional networks: strided convolutions without bias, then one linear layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.problem.activations import Activation
from gradlab.problem.activations import activation as _activation
from gradlab.problem.network import Network, batch, count, drawn, structs, whole, wholes


def convolved(
    h: Float[Array, "N H W B"], kernel: Float[Array, "A B p p"], stride: int = 1
) -> Float[Array, "N I J A"]:
    """Cross-correlation with zero padding "SAME" of images whose channels come last, as one product of matrices.

    Every patch is a row. On CPUs XLA runs this, and the gradient above all, four to nine times as fast as its own
    convolution (docs/real-data.md), in either precision; the patches take kernel² times the memory of h.
    """
    count, height, width, before = h.shape
    after, _, size, _ = kernel.shape
    rows, columns = -(-height // stride), -(-width // stride)
    pads = [(0, 0)]
    for made, given in ((rows, height), (columns, width)):
        missing = max((made - 1) * stride + size - given, 0)
        pads.append((missing // 2, missing - missing // 2))
    h = jnp.pad(h, (*pads, (0, 0)))
    reach = (rows - 1) * stride + 1, (columns - 1) * stride + 1
    shifted = [
        h[:, i : i + reach[0] : stride, j : j + reach[1] : stride] for i in range(size) for j in range(size)
    ]
    patches = jnp.concatenate(shifted, axis=-1).reshape(count * rows * columns, size * size * before)
    matrix = kernel.transpose(2, 3, 1, 0).reshape(size * size * before, after)
    return (patches @ matrix).reshape(count, rows, columns, after)


#: Bytes of inner values, patches above all, beyond which examples pass in blocks. Minibatches of the networks that are
#: trained here stay below; twenty members of an ensemble fit a small machine.
MOST = 2**27


def patched(kernels: Any, places: Sequence[int]) -> int:
    """Numbers between input and output of one image: patches, and what comes of them."""
    return sum(
        many * (one.shape[0] + math.prod(one.shape[1:])) for one, many in zip(kernels, places, strict=True)
    )


def in_blocks(
    function: Callable[[Any], Float[Array, "N C"]],
    x: Float[Array, "N ..."],
    kernels: Any,
    places: Sequence[int],
) -> Float[Array, "N C"]:
    """``function`` of the examples x, in blocks where the patches of all would take more than MOST bytes.

    kernels : arrays (A, B, p, p), or their shapes. places : how many patches an image has in each convolution. Where
    it is differentiated every block is computed twice, so that the inner values of one are in memory.
    """
    total = x.shape[0]
    count = -(-8 * patched(kernels, places) * total // MOST)
    if count <= 1 or total <= 1:
        return function(x)
    size = -(-total // count)
    rows = jnp.minimum(jnp.arange(-(-total // size) * size), total - 1)
    blocks = x[rows].reshape(-1, size, *x.shape[1:])
    made = jax.lax.map(jax.checkpoint(function), blocks)
    return made.reshape(-1, *made.shape[2:])[:total]


def reused(sizes: Sequence[int], kernels: Sequence[int], positions: Sequence[int]) -> float:
    """``Network.reuse`` of arrays of those sizes, the first of which are kernels at so many positions each."""
    products = [size * places for size, places in zip(kernels, positions, strict=True)]
    return (sum(sizes) - sum(kernels) + sum(products)) / sum(sizes)


class Convolutional(Network):
    """A convolutional network computes f(x) = W_K vec h_{K−1}, h_k = σ(W_k ∗ h_{k−1}), h_0 = x an image.

    W_k (c_k, c_{k−1}, kernel, kernel) acts by cross-correlation with stride and zero padding "SAME": an image
    of height H becomes one of height ⌈H/stride⌉, its ⌊·/2⌋ smaller half of the padding above. W_K is
    (C, c_{K−1} H' W'). No biases. Weights are the tuple (W_1, …, W_K).

    Parameters
    ----------
    input_shape : (channels, height, width); a batch may be given as (N, *input_shape) or flat.
    channels : (c_1, …, c_{K−1}), one a convolution.
    kernel, stride : the same for height and width, and in every convolution.
    outputs : C.
    activation : a name or an Activation. Of degree p, layer k has degree p^{K−k}.

    Raises
    ------
    ValueError
        If a size is not a whole number ≥ 1, or the activation is not known.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> weights = gl.Convolutional((1, 8, 8), (2,)).init(jax.random.key(0), gl.Gaussian(0.5))
    >>> [array.shape for array in weights]
    [(2, 1, 3, 3), (10, 32)]
    """

    input_shape: tuple[int, ...] = eqx.field(static=True)
    channels: tuple[int, ...] = eqx.field(static=True)
    kernel: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    activation: Activation
    degrees: tuple[int | None, ...] | None = eqx.field(static=True, repr=False)
    smooth: bool = eqx.field(static=True, repr=False)

    def __init__(
        self,
        input_shape: Sequence[int],
        channels: Sequence[int] = (4, 8),
        kernel: int = 3,
        stride: int = 2,
        outputs: int = 10,
        activation: str | Activation = "relu",
    ) -> None:
        self.input_shape = wholes("input_shape", input_shape, "(channels, height, width) = (1, 8, 8)", (3, 3))
        self.channels = wholes("channels", channels, "(4, 8), one number a convolution", (1, float("inf")))
        self.kernel = whole("kernel", kernel)
        self.stride = whole("stride", stride)
        self.outputs = whole("outputs", outputs)
        self.activation = _activation(activation)
        hidden, degree = len(self.channels), self.activation.degree
        self.degrees = None if degree is None else tuple(degree ** (hidden - k) for k in range(hidden + 1))
        self.smooth = self.activation.smooth

    def __call__(self, weights: Any, x: Float[Array, "N ..."]) -> Float[Array, "N C"]:
        self.check(weights)
        *kernels, last = weights

        def outputs(images: Float[Array, "N B H W"]) -> Float[Array, "N C"]:
            h = images.transpose(0, 2, 3, 1)
            for kernel in kernels:
                h = self.activation(convolved(h, kernel, self.stride))
            return h.transpose(0, 3, 1, 2).reshape(h.shape[0], -1) @ last.T

        return in_blocks(outputs, batch(self, x), kernels, self._positions())

    def _positions(self) -> list[int]:
        """How many patches an image has in each convolution."""
        _, height, width = self.input_shape
        found = []
        for _ in self.channels:
            height, width = -(-height // self.stride), -(-width // self.stride)
            found.append(height * width)
        return found

    @property
    def inner(self) -> int:
        """Numbers between input and output of one image."""
        return patched(self.shapes()[:-1], self._positions())

    @property
    def reuse(self) -> float:
        sizes = [math.prod(one.shape) for one in self.shapes()]
        return reused(sizes, sizes[:-1], self._positions())

    def layers(self, weights: Any) -> tuple[Any, ...]:
        return tuple(weights)

    def rebuild(self, layers: Sequence[Any]) -> tuple[Any, ...]:
        return count(self, layers, len(self.channels) + 1)

    def shapes(self) -> Any:
        before, height, width = self.input_shape
        kernels = []
        for after in self.channels:
            kernels.append((after, before, self.kernel, self.kernel))
            before, height, width = after, -(-height // self.stride), -(-width // self.stride)
        return structs(*kernels, (self.outputs, before * height * width))

    def init(self, key: Any, scheme: Any) -> Any:
        return drawn(self, key, scheme)
