"""Residual networks: every block adds to what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from gradlab.problem.activations import Activation
from gradlab.problem.activations import activation as _activation
from gradlab.problem.network import Network, batch, count, drawn, structs, whole


class Residual(Network):
    """A residual network computes f(x) = W_out h_B, h_b = h_{b−1} + σ(W_b h_{b−1}), h_0 = W_in x.

    Weights are the tuple (W_in, W_1, …, W_B, W_out) of shapes (width, inputs), (width, width), …,
    (outputs, width). f is linear in W_out, homogeneous of degree 1 in W_in where σ has degree 1, and not
    homogeneous in a block. Inputs of any shape (N, …) with that many numbers are flattened.

    Parameters
    ----------
    inputs, width, blocks, outputs : whole numbers ≥ 1.
    activation : a name or an Activation.

    Raises
    ------
    ValueError
        If a size is not a whole number ≥ 1, or the activation is not known.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> weights = gl.Residual(2, width=3, blocks=1, outputs=1).init(jax.random.key(0), gl.Gaussian(0.5))
    >>> [array.shape for array in weights]
    [(3, 2), (3, 3), (1, 3)]
    """

    inputs: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    blocks: int = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    activation: Activation
    input_shape: tuple[int, ...] = eqx.field(static=True, repr=False)
    degrees: tuple[int | None, ...] | None = eqx.field(static=True, repr=False)
    smooth: bool = eqx.field(static=True, repr=False)

    def __init__(
        self, inputs: int, width: int, blocks: int, outputs: int, activation: str | Activation = "relu"
    ) -> None:
        self.inputs = whole("inputs", inputs)
        self.width = whole("width", width)
        self.blocks = whole("blocks", blocks)
        self.outputs = whole("outputs", outputs)
        self.activation = _activation(activation)
        self.input_shape = (self.inputs,)
        first = 1 if self.activation.degree == 1 else None
        self.degrees = (first, *(None for _ in range(self.blocks)), 1)
        self.smooth = self.activation.smooth

    def __call__(self, weights: Any, x: Float[Array, "N ..."]) -> Float[Array, "N C"]:
        self.check(weights)
        first, *blocks, last = weights
        h = batch(self, x) @ first.T
        for block in blocks:
            h = h + self.activation(h @ block.T)
        return h @ last.T

    def layers(self, weights: Any) -> tuple[Any, ...]:
        return tuple(weights)

    def rebuild(self, layers: Sequence[Any]) -> tuple[Any, ...]:
        return count(self, layers, self.blocks + 2)

    def shapes(self) -> Any:
        blocks = ((self.width, self.width) for _ in range(self.blocks))
        return structs((self.width, self.inputs), *blocks, (self.outputs, self.width))

    def init(self, key: Any, scheme: Any) -> Any:
        return drawn(self, key, scheme)
