"""Models of Equinox as networks."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradlab.checking.models.own_model import ModelFacts, OwnModel, widened
from gradlab.checking.naming import named_arrays, path_name
from gradlab.problem.precision import float64


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
            "the model keeps state (batch normalisation, say): give it too, network_of(model, inputs, state=state)"
        )
    trained, rest = eqx.partition(quiet, eqx.is_inexact_array)
    structure, rest = jax.tree.structure(trained), widened(rest)
    values, kept = jax.tree.flatten(widened(state))
    arrays = dict(named_arrays(trained))
    names = list(arrays)
    axis = _axis(model)

    def apply(weights: Any, x: Any) -> Any:
        whole = eqx.combine(jax.tree.unflatten(structure, [weights[name] for name in names]), rest)
        fresh = jax.tree.unflatten(kept, values)  # a state serves once
        one = (lambda x: whole(x, **call)) if state is None else (lambda x: whole(x, fresh, **call)[0])
        return one(x) if batched else jax.vmap(one, axis_name=axis)(x)

    # a wrapper: the guard at the door asks whose code it is
    apply.__wrapped__ = type(model)  # type: ignore[attr-defined]  # a function takes any attribute
    beside = tuple(
        name for name, leaf in named_arrays(rest) if np.ndim(leaf) or np.asarray(leaf).dtype.kind != "f"
    )
    return OwnModel(apply, arrays, ModelFacts(beside, random, _saved(model, state, names)), inputs)


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
