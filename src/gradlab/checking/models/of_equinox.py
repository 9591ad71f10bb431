"""Models of Equinox as networks."""

from __future__ import annotations

import inspect
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradlab.checking.models.own_model import ModelFacts, OwnModel, widened
from gradlab.checking.naming import named_arrays, path_name
from gradlab.problem.own_code import called
from gradlab.problem.precision import float64, put


@float64
def of_module(
    model: Any, inputs: Any, call: dict[str, Any], state: Any = None, batched: bool = False
) -> OwnModel:
    """A network from a model that takes one example, or with ``batched`` all of them.

    What is trained are its inexact arrays. Dropout is turned off; batch normalisation stays as the model has it, with
    the statistics of the batch as a rule, and what it writes into ``state`` is dropped.

    Raises
    ------
    ValueError
        Where a model keeps state and none is given; as :class:`OwnModel`.
    """
    random = tuple(
        (path_name(path) or "dropout", float(node.p))
        for path, node in jax.tree_util.tree_flatten_with_path(model, is_leaf=_is_dropout)[0]
        if _is_dropout(node) and not node.inference and node.p
    )
    quiet = jax.tree.map(
        lambda node: eqx.nn.Dropout(node.p, inference=True) if _is_dropout(node) else node,
        model,
        is_leaf=_is_dropout,
    )
    keeps = any(isinstance(leaf, eqx.nn.StateIndex) for leaf in jax.tree.leaves(model, is_leaf=_is_index))
    if keeps and state is None:
        raise ValueError(
            "the model keeps state (batch normalisation, say): give it too, network_of(model, inputs, state=state), "
            "and for --model name its class, or a function that returns (model, state)"
        )
    trained, rest = eqx.partition(quiet, eqx.is_inexact_array)
    structure, rest = jax.tree.structure(trained), widened(rest)
    values, kept = jax.tree.flatten(widened(state))
    arrays = dict(named_arrays(trained))
    names = list(arrays)
    axis, asked = _axis(model), _arguments(model)
    drawn = "key" in asked and "key" not in call

    def at(weights: Any, x: Any, key: Any) -> Any:
        whole = eqx.combine(jax.tree.unflatten(structure, [weights[name] for name in names]), rest)
        fresh = jax.tree.unflatten(kept, values)  # a state serves once
        given = {**call, "key": key} if drawn else dict(call)
        beside: tuple[Any, ...] = () if state is None else (fresh,)
        if state is not None and "state" in asked:
            beside, given = (), {**given, "state": fresh}

        def one(x: Any) -> Any:
            found = whole(x, *beside, **given)
            return found if state is None else found[0]

        return one(x) if batched else jax.vmap(one, axis_name=axis)(x)

    def apply(weights: Any, x: Any) -> Any:
        return at(weights, x, jax.random.key(0))

    if drawn:
        _refuse_random(at, widened(arrays), put(np.asarray(inputs[:2], np.float64)))
    # a wrapper: the guard at the door asks whose code it is
    apply.__wrapped__ = type(model)  # type: ignore[attr-defined]  # a function takes any attribute
    beside = tuple(
        name for name, leaf in named_arrays(rest) if np.ndim(leaf) or np.asarray(leaf).dtype.kind != "f"
    )
    return OwnModel(apply, arrays, ModelFacts(beside, random, _saved(model, state, names)), inputs)


def _arguments(model: Any) -> tuple[str, ...]:
    """The names of what a model is called with."""
    try:
        return tuple(inspect.signature(type(model).__call__).parameters)
    except (TypeError, ValueError):
        return ()


def _refuse_random(at: Any, arrays: Any, x: Any) -> None:
    """Refuse a model that uses its key for more than dropout, which is off."""
    one, two = (called("the model", at, arrays, x, jax.random.key(seed)) for seed in (0, 1))
    if not np.array_equal(np.asarray(one), np.asarray(two), equal_nan=True):
        raise ValueError(
            "the model draws random numbers beside dropout, and a step made with them is of another function; draw "
            "them once outside it, or hold them with call={'key': key}"
        )


def _is_dropout(node: Any) -> bool:
    return isinstance(node, eqx.nn.Dropout)


def _is_index(node: Any) -> bool:
    return isinstance(node, eqx.nn.StateIndex)


def _axis(model: Any) -> Any:
    """The name of the batch axis, as normalisation over it has it."""
    nodes = jax.tree.leaves(model, is_leaf=lambda node: isinstance(node, eqx.nn.BatchNorm))
    named_ = [node.axis_name for node in nodes if isinstance(node, eqx.nn.BatchNorm)]
    found = named_[0] if named_ else "batch"
    return found[0] if isinstance(found, list | tuple) else found


def _saved(model: Any, state: Any, names: list[str]) -> tuple[str | None, ...]:
    known, found = set(names), []
    for path, leaf in jax.tree_util.tree_flatten_with_path((model, state))[0]:
        if eqx.is_array_like(leaf):
            name = path_name(path[1:]) if path[0].idx == 0 else ""
            found.append(name if name in known else None)
    return tuple(found)
