"""What every architecture offers: values, layers, homogeneity degrees, shapes and initial weights."""

# No postponed annotations here: equinox would take the string "eqx.AbstractVar[…]" for a field.

import abc
import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

from gradlab.modules import Module


class Network(Module):
    """A network is an architecture f(W; x); it holds no weights.

    Attributes
    ----------
    input_shape : shape of one input.
    outputs : C, the number of outputs.
    degrees : per layer d_k with f(…, a W_k, …) = a^{d_k} f for every a > 0, None for a layer without one;
        None altogether where no layer is homogeneous.
    smooth : whether f is C¹ in the weights everywhere.

    Examples
    --------
    >>> import gradlab as gl
    >>> network = gl.Dense((2, 3, 1))
    >>> isinstance(network, gl.Network), network.outputs, network.degrees
    (True, 1, (1, 1))
    """

    input_shape: eqx.AbstractVar[tuple[int, ...]]
    outputs: eqx.AbstractVar[int]
    degrees: eqx.AbstractVar[tuple[int | None, ...] | None]
    smooth: eqx.AbstractVar[bool]

    @abc.abstractmethod
    def __call__(self, weights: Any, x: Float[Array, "N ..."]) -> Float[Array, "N C"]:
        """The outputs (N, C) of a batch x (N, …)."""

    @abc.abstractmethod
    def layers(self, weights: Any) -> tuple[Any, ...]:
        """The weights (or anything of their structure) layer by layer, W_1 first."""

    @abc.abstractmethod
    def rebuild(self, layers: Sequence[Any]) -> Any:
        """The inverse of :meth:`layers`."""

    @abc.abstractmethod
    def shapes(self) -> Any:
        """A ``jax.ShapeDtypeStruct`` for every array of the weights, in their structure."""

    @abc.abstractmethod
    def init(self, key: Any, scheme: Any) -> Any:
        """Initial weights by a scheme of :mod:`gradlab.problem.initialisation`."""

    @property
    def reuse(self) -> float | None:
        """How many products a weight enters on one example, in the mean; None where that is not known."""
        return 1.0

    def knowing(self, weights: Any) -> "Network":
        """The same network, which knows the shapes of its weights: from these, where it did not."""
        return self

    @property
    def random(self) -> bool:
        """Whether training thins the network at random (dropout)."""
        return False

    def thinned(self, key: Any) -> "Network":
        """The network with the units that dropout leaves of it, drawn by a key; itself where there is none."""
        return self

    def check(self, weights: Any) -> None:
        """Compare structure and shapes of ``weights`` with :meth:`shapes`; works on traced weights.

        Raises
        ------
        ValueError
            If they differ, naming the first array that does.
        """
        expected, given = self.shapes(), weights
        wanted, _ = jax.tree_util.tree_flatten_with_path(expected)
        if jax.tree.structure(given) != jax.tree.structure(expected):  # type: ignore[operator]
            raise ValueError(
                f"weights of {type(self).__name__} were {_described(given)}; expected "
                f"{_described(expected)}, as network.init(key, scheme) gives"
            )
        for (path, shape), array in zip(wanted, jax.tree.leaves(given), strict=True):
            if np.shape(array) != shape.shape:
                raise ValueError(
                    f"weights{jax.tree_util.keystr(path)} of {type(self).__name__} has shape "
                    f"{np.shape(array)}; expected {shape.shape}"
                )


def _described(tree: Any) -> str:
    shapes = eqx.tree_pformat(jax.tree.map(lambda leaf: _Shape(np.shape(leaf)), tree), width=10_000)
    return shapes if len(shapes) <= 200 else shapes[:199] + "…"


class _Shape:
    """A shape that is a leaf, printed as itself."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __repr__(self) -> str:
        return str(self.shape)


def structs(*shapes: tuple[int, ...]) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Float64 arrays of those shapes, as :meth:`Network.shapes` gives them."""
    return tuple(jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes)


def whole(name: str, number: Any, least: int = 1) -> int:
    """``number`` as an int ≥ ``least``.

    Raises
    ------
    ValueError
        If it is not one.
    """
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
        raise ValueError(f"{name} was {number!r}; give a whole number ≥ {least}")
    return int(number)


def wholes(name: str, numbers: Any, example: str, length: tuple[int, float]) -> tuple[int, ...]:
    """``numbers`` as a tuple of ints ≥ 1, its length within ``length`` (both ends included).

    Raises
    ------
    ValueError
        If it is not one.
    """
    if not isinstance(numbers, Sequence | np.ndarray) or isinstance(numbers, str):
        raise ValueError(f"{name} was {numbers!r}; give a tuple of whole numbers such as {example}")
    if not length[0] <= len(numbers) <= length[1]:
        raise ValueError(f"{name} was {tuple(numbers)}; give a tuple such as {example}")
    return tuple(whole(f"{name}[{i}]", number) for i, number in enumerate(numbers))


def batch(network: Network, x: Any) -> Any:
    """x as (N, *input_shape), from that or any other shape (N, …) with as many numbers an example.

    Raises
    ------
    ValueError
        If x is no batch, or its examples have another size.
    """
    shape, size = network.input_shape, math.prod(network.input_shape)
    if x.ndim < 2 or math.prod(x.shape[1:]) != size:
        inner = ", ".join(map(str, shape))
        hint = "; for a single example write x[None]" if math.prod(x.shape) == size else ""
        raise ValueError(
            f"{type(network).__name__} was given x of shape {x.shape}; expected (N, {inner}){hint}"
        )
    return x.reshape(x.shape[0], *shape)


def drawn(network: Network, key: Any, scheme: Any) -> Any:
    """What ``scheme`` draws for ``network``.

    Raises
    ------
    ValueError
        If ``scheme`` is none.
    """
    if isinstance(scheme, type) or not hasattr(scheme, "draw"):
        raise ValueError(f"scheme was {scheme!r}; give an initialisation such as He() or Gaussian(0.1)")
    return scheme.draw(key, network)


def count(network: Network, layers: Sequence[Any], expected: int) -> tuple[Any, ...]:
    """``layers`` as a tuple of the expected length.

    Raises
    ------
    ValueError
        If there are more or fewer.
    """
    if len(layers) != expected:
        raise ValueError(f"{type(network).__name__} has {expected} layers; {len(layers)} were given")
    return tuple(layers)
