"""A loop of as many passes as data say, with derivatives of both modes.

``jax.lax.fori_loop`` with a traced bound has none in reverse mode, and a checkpointed loop none in forward mode. Here
the loop's tangent is an operation of its own, linear in the tangents that come in: forward mode evaluates it by the
plain loop, reverse mode transposes it by a loop that keeps CHECKPOINTS states and computes the others again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
from jax.interpreters import ad

from gradlab.dynamics import tree

#: States kept in reverse mode; 153 passes are made twice with so many, longer loops some more often.
CHECKPOINTS = 16


def loop(lower: Any, upper: Any, body: Callable[[Any, Any], Any], init: Any) -> Any:
    """As ``jax.lax.fori_loop``, and differentiable once, in forward and in reverse mode; not by the bounds."""
    begin, end = jnp.asarray(lower, dtype=jnp.result_type(upper)), jnp.asarray(upper)
    init = jax.tree.map(lambda x: jnp.asarray(x, dtype=jnp.result_type(x)), init)
    return _loop(begin, end, eqx.filter_closure_convert(body, begin, init), init)


def bounds(begin: int, end: Any) -> tuple[Any, Any]:
    """The bounds of a loop: where the end is each member's own, so is what counts (``tree.of_each``)."""
    return (begin, end) if isinstance(end, int) else (tree.of_each(jnp.full_like(end, begin), end), end)


def _plain(begin: Any, end: Any, body: Any, init: Any) -> Any:
    return jax.lax.while_loop(lambda at: at[0] < end, lambda at: (at[0] + 1, body(*at)), (begin, init))[1]


def _checkpointed(begin: Any, end: Any, body: Any, init: Any) -> Any:
    return eqxi.while_loop(
        lambda at: at[0] < end, lambda at: (at[0] + 1, body(*at)), (begin, init),
        kind="checkpointed", checkpoints=CHECKPOINTS,
    )[1]  # fmt: skip


@eqx.filter_custom_jvp
def _loop(begin: Any, end: Any, body: Any, init: Any) -> Any:
    return _plain(begin, end, body, init)


@_loop.def_jvp
def _(primals: Any, tangents: Any) -> Any:
    return _loop(*primals), eqxi.filter_primitive_bind(_tangent_p, primals, tangents[2:])


def _tangent(primals: Any, tangents: Any) -> Any:
    begin, end, *inputs = primals
    return eqx.filter_jvp(lambda body, init: _plain(begin, end, body, init), tuple(inputs), tuple(tangents))[
        1
    ]


def _second(primals: Any, tangents: Any) -> Any:
    if any(leaf is not None for leaf in jax.tree.leaves(tangents[0])):
        raise ValueError(
            "the stages of a stabilised method have first derivatives only: take the second by differences of "
            "gradients, or solve with diffrax.Tsit5()"
        )
    return _tangent(*primals), eqxi.filter_primitive_bind(_tangent_p, primals[0], tangents[1])


def _transposed(inputs: Any, cotangent: Any) -> Any:
    (begin, end, *known), tangents = inputs
    moving = jax.tree.map(
        ad.is_undefined_primal, tangents, is_leaf=lambda x: x is None or ad.is_undefined_primal(x)
    )
    inside, outside = eqx.partition(tuple(known), tuple(moving))

    def run(inside: Any) -> Any:
        return _checkpointed(begin, end, *eqx.combine(inside, outside))

    out, pull = eqx.filter_vjp(run, inside)
    # What has no tangent has no cotangent either.
    filled = jax.tree.map(
        lambda c, x: jnp.zeros_like(x) if c is None and eqx.is_inexact_array(x) else c,
        cotangent, out, is_leaf=lambda x: x is None,
    )  # fmt: skip
    (found,) = pull(filled)
    return jax.tree.map(lambda _: None, inputs[0]), found


def _shapes(*inputs: Any) -> Any:
    abstract = jax.core.ShapedArray

    def given(x: Any) -> Any:
        return jax.ShapeDtypeStruct(x.shape, x.dtype) if isinstance(x, abstract) else x

    found = eqx.filter_eval_shape(_tangent, *jax.tree.map(given, inputs))
    return jax.tree.map(lambda x: abstract(x.shape, x.dtype), found)


_tangent_p = eqxi.create_vprim(
    "stages_tangent",
    eqxi.filter_primitive_def(_tangent),
    eqxi.filter_primitive_def(_shapes),
    eqxi.filter_primitive_jvp(_second),
    eqxi.filter_primitive_transpose(materialise_zeros=True)(_transposed),
)
