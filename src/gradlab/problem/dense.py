"""Fully connected networks: linear, deep linear, ReLU, polynomial and smooth ones are all of them Dense."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float

from gradlab.problem.activations import Activation
from gradlab.problem.activations import activation as _activation
from gradlab.problem.network import Network, batch, count, drawn, structs, wholes


class Dense(Network):
    """A dense network computes f(x) = W_K σ(W_{K−1} σ(… σ(W_1 x))), optionally with a bias in every layer.

    Weights are a tuple of W_k (d_k, d_{k−1}), first layer first; with biases a tuple of
    ``{"weight": (d_k, d_{k−1}), "bias": (d_k,)}``. Inputs of any shape (N, …) with d_0 numbers are flattened.

    Parameters
    ----------
    widths : (d_0, …, d_K), from the inputs to the C outputs; two numbers make a linear model.
    activation : a name or an Activation. Of degree p, layer k has degree p^{K−k}.
    bias : with biases (initially zero) the network counts as not homogeneous.

    Raises
    ------
    ValueError
        If the widths are not two or more whole numbers ≥ 1, or the activation is not known.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> weights = gl.Dense((2, 3, 1)).init(jax.random.key(0), gl.Gaussian(0.5))
    >>> [matrix.shape for matrix in weights]
    [(3, 2), (1, 3)]
    """

    widths: tuple[int, ...] = eqx.field(static=True)
    activation: Activation
    bias: bool = eqx.field(static=True)
    input_shape: tuple[int, ...] = eqx.field(static=True, repr=False)
    outputs: int = eqx.field(static=True, repr=False)
    degrees: tuple[int | None, ...] | None = eqx.field(static=True, repr=False)
    smooth: bool = eqx.field(static=True, repr=False)

    def __init__(
        self, widths: Sequence[int], activation: str | Activation = "relu", bias: bool = False
    ) -> None:
        self.widths = wholes("widths", widths, "(inputs, hidden, outputs) = (2, 10, 1)", (2, float("inf")))
        self.activation = _activation(activation)
        self.bias = bool(bias)
        self.input_shape, self.outputs = self.widths[:1], self.widths[-1]
        depth, degree = len(self.widths) - 1, self.activation.degree
        self.smooth = depth == 1 or self.activation.smooth
        if self.bias or (depth > 1 and degree is None):
            self.degrees = None
        else:
            self.degrees = tuple((degree or 1) ** (depth - k) for k in range(1, depth + 1))

    @classmethod
    def deep_linear(cls, widths: Sequence[int]) -> Dense:
        """f(x) = W_K ⋯ W_1 x."""
        return cls(widths, "identity")

    @property
    def linear(self) -> bool:
        """Whether f(x) = W_K ⋯ W_1 x."""
        return not self.bias and (len(self.widths) == 2 or self.activation.name == "identity")

    def __call__(self, weights: Any, x: Float[Array, "N ..."]) -> Float[Array, "N C"]:
        self.check(weights)
        h = batch(self, x)
        for k, layer in enumerate(weights):
            if k:
                h = self.activation(h)
            h = h @ layer["weight"].T + layer["bias"] if self.bias else h @ layer.T
        return h

    def layers(self, weights: Any) -> tuple[Any, ...]:
        return tuple(weights)

    def rebuild(self, layers: Sequence[Any]) -> tuple[Any, ...]:
        return count(self, layers, len(self.widths) - 1)

    def shapes(self) -> Any:
        matrices = structs(*((after, before) for before, after in pairwise(self.widths)))
        if not self.bias:
            return matrices
        biases = structs(*((after,) for after in self.widths[1:]))
        return tuple({"weight": w, "bias": b} for w, b in zip(matrices, biases, strict=True))

    def init(self, key: Any, scheme: Any) -> Any:
        return drawn(self, key, scheme)
