"""Double precision for public functions, without changing a global setting."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

P = ParamSpec("P")
R = TypeVar("R")


def float64(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` in double precision, whatever the caller's jax settings are.

    Arrays made inside are float64 and stay so outside. The caller's setting is restored afterwards.
    """

    @functools.wraps(function)
    def in_double(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.enable_x64(True):
            return function(*args, **kwargs)

    return in_double


def pulled_in_double(function: Callable[[Any], Any], tree: Any) -> Any:
    """``function(tree)``, whose derivative too is pulled back in double precision, whatever the caller's setting.

    JAX pulls a derivative back after the function has returned, and so in the precision of the caller.
    """
    floats, rest = eqx.partition(tree, eqx.is_inexact_array)

    @eqx.filter_custom_vjp
    def value(floats: Any, rest: Any) -> Any:
        with jax.enable_x64(True):
            return function(eqx.combine(floats, rest))

    @value.def_fwd
    def forward(perturbed: Any, floats: Any, rest: Any) -> Any:
        with jax.enable_x64(True):
            out, pull = eqx.filter_vjp(lambda part: function(eqx.combine(part, rest)), floats)
            return out, (pull, out)

    @value.def_bwd
    def backward(residuals: Any, gradient: Any, perturbed: Any, floats: Any, rest: Any) -> Any:
        pull, out = residuals
        with jax.enable_x64(True):
            whole = jax.tree.map(
                lambda one, seen: jnp.zeros_like(seen) if one is None else jnp.asarray(one, seen.dtype),
                gradient, out, is_leaf=lambda one: one is None,
            )  # fmt: skip
            return pull(whole)[0]

    return value(floats, rest)


#: Numbers as arrays, by type, value, precision and device: a run puts two hundred, most of them the same few.
_KEPT: dict[Any, Any] = {}
_KEPT_AT_MOST, _LARGEST = 512, 10_000
_PLAIN = {float: np.float64, int: np.int64, bool: np.bool_}
_NUMBERS = frozenset({*_PLAIN, *_PLAIN.values()})


def number(value: Any) -> jax.Array:
    """A number, or an array of them, as an array: 0.1 is the double 0.1 whether or not x64 is enabled."""
    if isinstance(value, jax.Array):
        return value
    with jax.enable_x64(True):
        return put(value)


def put(value: Any, dtype: Any = None) -> jax.Array:
    """The value as a JAX array. (``jnp.asarray`` would compile a program for every new shape of a NumPy array.)"""
    if isinstance(value, jax.Array):
        return value if dtype is None else jnp.asarray(value, dtype)
    if dtype is None and type(value) in _NUMBERS:
        return _kept(value)
    return jax.device_put(np.asarray(value, dtype))


def doubles(tree: Any) -> Any:
    """The tree with float64 arrays of JAX."""
    return jax.tree.map(lambda leaf: put(leaf, np.float64), tree)


def _setting() -> tuple[Any, Any]:
    """What decides, of this thread, in which precision and where an array is put."""
    config: Any = jax.config
    return config.jax_enable_x64, config.jax_default_device


def _kept(value: Any) -> jax.Array:
    """A number as an array, the same one whenever it is asked for."""
    kind = _PLAIN.get(type(value), type(value))
    key = (kind, kind(value).tobytes(), _setting())
    if (found := _KEPT.get(key)) is not None:
        return found
    made = jax.device_put(np.asarray(value))
    if not isinstance(made, jax.core.Tracer) and len(_KEPT) < _KEPT_AT_MOST:
        _KEPT[key] = made
    return made


def zeros(*shape: int, kind: Any = np.float64) -> jax.Array:
    """Zeros as an array, the same one whenever it is asked for."""
    found: jax.Array = kept((kind, shape), math.prod(shape), lambda: jax.device_put(np.zeros(shape, kind)))
    return found


def kept(name: tuple[Any, ...], size: int, make: Callable[[], Any]) -> Any:
    """Arrays of that size in all that follow from a name alone, the same ones whenever they are asked for."""
    key = (*name, _setting())
    if (found := _KEPT.get(key)) is not None:
        return found
    made = make()
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(made))
    if not traced and size <= _LARGEST and len(_KEPT) < _KEPT_AT_MOST:
        _KEPT[key] = made
    return made


#: Significant bits beyond which a number is no whole number of pixels, no half and no year: its float is one by type.
_SHORT = 16


def single(*arrays: Any) -> bool:
    """Whether some array comes in single precision (or less): by its type, or by its numbers.

    Numbers of float64 count as single where all of them are numbers of float32 and one has more than 16 significant
    bits: data that were computed or kept in float32 and converted. Whole numbers, halves, and pixels over 256 are not.
    """
    return any(_single(np.asarray(array)) for array in arrays if array is not None)


def _single(array: np.ndarray) -> bool:
    if array.dtype.kind != "f":
        return False
    if array.dtype.itemsize < 8:
        return True
    with np.errstate(over="ignore"):
        if not array.size or not np.array_equal(array.astype(np.float32).astype(np.float64), array):
            return False
    short = np.ldexp(np.frexp(array)[0], _SHORT)
    return bool(np.any((short != np.floor(short)) & (array != np.floor(array))))


def rounding_unit(*arrays: Any) -> float:
    """The relative rounding of numbers: eps of float32 where some come in single precision, else of float64."""
    return float(np.finfo(np.float32).eps if single(*arrays) else np.finfo(np.float64).eps)
