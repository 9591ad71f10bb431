"""Double precision for public functions, without changing a global setting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp

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


@float64
def number(value: Any) -> jax.Array:
    """A number, or an array of them, as an array: 0.1 is the double 0.1 whether or not x64 is enabled."""
    return jnp.asarray(value)
