"""Anybody's own ``apply(weights, x)`` as a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.problem.ensembles import unchecked
from gradlab.problem.network import Network, batch, count, whole, wholes
from gradlab.problem.own_code import called
from gradlab.problem.precision import float64

Split = Callable[[Any], Sequence[Any]]
Join = Callable[[tuple[Any, ...]], Any]


class Function(Network):
    """A function makes a network of its own: f(x) = apply(weights, x), weights any pytree of arrays.

    Layers are the entries of the outermost tuple, list or dict of what ``initial`` gives (a dict's sorted by
    key); without ``initial``, or where it gives a bare array, all weights together are the one layer.

    Parameters
    ----------
    apply : pure function of (weights, x). Its result is (N, C); (N,) counts as (N, 1).
    initial : key → weights, or None if weights always come from elsewhere.
    input_shape : shape of one input; a whole number d stands for (d,).
    outputs : C.
    layers : (split, join) with join(split(weights)) = weights, instead of the layers above.
    degrees : per layer the homogeneity degree or None; not checked against ``apply``.
    smooth : whether ``apply`` is C¹ in the weights; not checked.
    batched : whether x is the batch (N, *input_shape); if False, ``apply`` takes one input at a time and
        gives (C,) or a scalar.

    Raises
    ------
    ValueError
        If ``apply`` or ``initial`` is not a (hashable) function, ``layers`` no pair of functions, or the
        number of degrees is not that of the layers. What ``apply`` or ``initial`` raises ends as one sentence
        with the line that raised. What they compute is asked where a :class:`Problem` is made.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> square = gl.Function(lambda w, x: (w @ x) ** 2, input_shape=2, outputs=1, batched=False, degrees=(2,))
    >>> float(square(np.array([1.0, 2.0]), np.array([[1.0, 1.0]]))[0, 0])
    9.0
    """

    apply: Callable[[Any, Any], Any] = eqx.field(static=True)
    initial: Callable[[Any], Any] | None = eqx.field(static=True)
    input_shape: tuple[int, ...] = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    partition: _Whole | _Entries | _Own = eqx.field(static=True)
    degrees: tuple[int | None, ...] | None = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)
    batched: bool = eqx.field(static=True)

    def __init__(
        self,
        apply: Callable[[Any, Any], Any],
        initial: Callable[[Any], Any] | None = None,
        *,
        input_shape: int | Sequence[int],
        outputs: int,
        layers: tuple[Split, Join] | None = None,
        degrees: Sequence[int | None] | None = None,
        smooth: bool = True,
        batched: bool = True,
    ) -> None:
        self.apply = _function("apply", apply)
        self.initial = None if initial is None else _function("initial", initial)
        shape = (input_shape,) if isinstance(input_shape, int | np.integer) else input_shape
        self.input_shape = wholes("input_shape", shape, "(2,)", (1, float("inf")))
        self.outputs = whole("outputs", outputs)
        self.smooth, self.batched = bool(smooth), bool(batched)
        weights = None if initial is None else self.shapes()
        self.partition = _partition(layers, weights)
        self.degrees = None if degrees is None else tuple(degrees)
        if self.degrees is not None and (weights is not None or layers is None):
            expected = 1 if weights is None else len(self.layers(weights))
            if len(self.degrees) != expected:
                raise ValueError(f"degrees was {self.degrees}; give one for each of the {expected} layers")

    def __call__(self, weights: Any, x: Float[Array, "N ..."]) -> Float[Array, "N C"]:
        x = batch(self, x)
        apply = self.apply if self.batched else jax.vmap(self.apply, (None, 0))
        values = called("the network's apply", apply, weights, x)
        expected = (x.shape[0], self.outputs)
        told = expected if self.batched else expected[1:]
        if reason := _no_outputs(values):
            raise ValueError(
                f"apply(weights, x) gave {reason}; let it return one array of shape {told}, real"
            )
        given = np.shape(values)
        if given != expected and not (self.outputs == 1 and given == expected[:1]):
            theirs = given if self.batched else given[1:]
            raise ValueError(f"apply(weights, x) gave an array of shape {theirs}; expected {told}")
        return values.reshape(expected)

    @property
    def reuse(self) -> float | None:
        return None

    def layers(self, weights: Any) -> tuple[Any, ...]:
        return tuple(self.partition.split(weights))

    def rebuild(self, layers: Sequence[Any]) -> Any:
        own = isinstance(self.partition, _Own)
        expected = self.partition.number if isinstance(self.partition, _Entries) else 1
        return self.partition.join(tuple(layers) if own else count(self, layers, expected))

    def knowing(self, weights: Any) -> Function:
        """The same network; where it has no ``initial``, it knows its weights' shapes from these."""
        if self.initial is not None:
            return self
        leaves, structure = jax.tree.flatten(weights)
        return unchecked(Function, self, initial=_Like(structure, tuple(np.shape(leaf) for leaf in leaves)))

    @float64
    def shapes(self) -> Any:
        return called("the network's initial", jax.eval_shape, self._initial(), jax.random.key(0))

    @float64
    def init(self, key: Any, scheme: Any = None) -> Any:
        """``initial(key)``; ``scheme`` is not used.

        Raises
        ------
        ValueError
            If there is no ``initial``.
        """
        return called("the network's initial", self._initial(), key)

    def _initial(self) -> Callable[[Any], Any]:
        if self.initial is None:
            raise ValueError(
                "this Function has no initial weights; write Function(apply, initial, …) with initial(key) "
                "the weights"
            )
        return self.initial


@dataclass(frozen=True)
class _Like:
    """Zeros of the shapes that somebody's weights have."""

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    def __call__(self, key: Any) -> Any:
        return jax.tree.unflatten(self.structure, [jnp.zeros(shape, jnp.float64) for shape in self.shapes])


def _no_outputs(values: Any) -> str | None:
    """What was given in place of an array of real numbers with a gradient; None where it is one."""
    if values is None:
        return "nothing"
    if not isinstance(values, np.ndarray | np.generic | jax.Array | int | float | complex):
        return f"a {type(values).__name__}"
    kind = jnp.result_type(values)
    return None if jnp.issubdtype(kind, jnp.floating) else f"numbers of type {kind}"


def _function(name: str, given: Any) -> Any:
    if not callable(given):
        raise ValueError(f"{name} was {given!r}; give a function")
    try:
        hash(given)
    except TypeError:
        raise ValueError(
            f"{name} of type {type(given).__name__} cannot be hashed (it holds arrays); wrap it in a "
            "function, and pass what is trained as weights"
        ) from None
    return given


@dataclass(frozen=True)
class _Whole:
    """All weights as one layer."""

    def split(self, weights: Any) -> tuple[Any, ...]:
        return (weights,)

    def join(self, layers: tuple[Any, ...]) -> Any:
        return layers[0]


@dataclass(frozen=True)
class _Entries:
    """One layer per entry of the outermost container that holds arrays."""

    outer: Any
    entries: tuple[Any, ...]

    @property
    def number(self) -> int:
        return sum(tree.num_leaves > 0 for tree in self.entries)

    def split(self, weights: Any) -> tuple[Any, ...]:
        given, _ = eqx.tree_flatten_one_level(weights)
        return tuple(entry for entry, tree in zip(given, self.entries, strict=True) if tree.num_leaves)

    def join(self, layers: tuple[Any, ...]) -> Any:
        given = iter(layers)
        filled = [next(given) if tree.num_leaves else jax.tree.unflatten(tree, ()) for tree in self.entries]
        return jax.tree.unflatten(self.outer, filled)


@dataclass(frozen=True)
class _Own:
    """Layers as the user splits them."""

    split: Split
    join: Join


def _partition(layers: Any, weights: Any) -> _Whole | _Entries | _Own:
    """How weights fall into layers; ``weights`` is their structure, or None where it is not known."""
    if layers is not None:
        if isinstance(layers, tuple) and len(layers) == 2 and all(map(callable, layers)):
            return _Own(*layers)
        raise ValueError(
            f"layers was {layers!r}; give two functions (split, join), split(weights) the layers and "
            "join(split(weights)) the weights again"
        )
    if not isinstance(weights, tuple | list | dict):
        return _Whole()
    entries, outer = eqx.tree_flatten_one_level(weights)
    return _Entries(outer, tuple(map(jax.tree.structure, entries)))
