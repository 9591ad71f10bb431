"""What a stabilised method takes from diffrax: one ODE term, real floating weights, and time in either direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

from gradlab.dynamics import tree


def refuse_terms(name: str, terms: Any) -> None:
    """ValueError for all but one ``ODETerm``; ``None``, and the adjoint of an ODE term, pass."""
    inner = terms
    while not isinstance(inner, diffrax.ODETerm) and hasattr(inner, "term"):
        inner = inner.term
    if inner is None or isinstance(inner, diffrax.ODETerm):
        return
    raise ValueError(
        f"{name} solves dy/dt = f(t, y, args) with one diffrax.ODETerm and was given {type(inner).__name__}: write "
        "one ODETerm whose field is the sum, or take diffrax.Heun() where a term is driven by noise or a control"
    )


def refuse_values(name: str, y: Any) -> None:
    """ValueError where y holds anything but real floating numbers."""
    for leaf in jax.tree.leaves(y):
        kind = jnp.result_type(leaf)
        if jnp.issubdtype(kind, jnp.complexfloating):
            raise ValueError(
                f"{name} is stable for a real spectrum and takes real y, and was given {kind.name}: write y as "
                "(real part, imaginary part), or take diffrax.Tsit5()"
            )
        if not jnp.issubdtype(kind, jnp.floating):
            raise ValueError(f"{name} takes floating y and was given {kind.name}: write y0 as floats")


def field_of(terms: Any, args: Any, t: Any) -> Callable[[Any, Any], Any]:
    """(t, y) → dy/dt along the solve's own time, which runs backwards where diffrax has turned it round.

    diffrax hands a solve from t₀ down to t₁ on as one from −t₀ up to −t₁: its fields take the turned time, and its
    controls are negative there, not its fields. ``t`` has the type in which the field gets its time.
    """
    kind, turn = jnp.result_type(t), getattr(terms, "direction", None)
    if turn is None:
        return lambda s, y: terms.vf(jnp.asarray(s, dtype=kind), y, args)
    inside = getattr(terms, "term", None)
    if isinstance(inside, diffrax.ODETerm):
        return lambda s, y: tree.scale(turn, terms.vf(jnp.asarray(s, dtype=kind), y, args))

    # The adjoint's field alone would be made by way of a matrix.
    def turned(s: Any, y: Any) -> Any:
        s = jnp.asarray(s, dtype=kind)
        return terms.vf_prod(s, y, args, jnp.asarray(turn, dtype=kind))

    return turned


def aside(function: Callable[[Any], Any], y: Any) -> tuple[Callable[[Any], Any], Any]:
    """The function and y such that no derivative sees what is made of them."""
    closed = eqx.filter_closure_convert(function, y)
    dynamic, static = eqx.partition((closed, y), eqx.is_array)
    return eqx.combine(jax.lax.stop_gradient(dynamic), static)
