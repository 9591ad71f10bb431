"""Models of Flax, NNX and Linen, as networks; the only import of flax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gradlab.checking.models.own_model import ModelFacts, OwnModel, widened
from gradlab.checking.naming import named_arrays
from gradlab.problem.own_code import called, own_code
from gradlab.problem.precision import float64, put


def random_streams() -> Any:
    """What NNX models are made with."""
    from flax import nnx

    return nnx.Rngs(0)


@float64
def of_nnx(model: Any, inputs: Any, call: dict[str, Any]) -> OwnModel:
    """A network from an ``nnx.Module``: what is a Param is trained, all else is kept as it is.

    Dropout is turned off; batch normalisation stays as the model has it (``model.train()``: the batch's statistics),
    and what it writes is dropped.

    Raises
    ------
    ValueError
        As :class:`OwnModel`.
    """
    from flax import nnx

    quiet: Any = nnx.clone(model)
    random: list[tuple[str, float]] = []
    nodes: Any = nnx.iter_graph(quiet)
    node: Any
    for path, node in nodes:
        share = getattr(node, "rate", getattr(node, "dropout_rate", 0.0))
        on = isinstance(node, nnx.Module) and getattr(node, "deterministic", True) is not True
        if share and on:
            random.append((".".join(map(str, path)) or type(node).__name__, float(share)))
            node.deterministic = True
    apart: Any = nnx.split(quiet, nnx.Param, ...)
    graph, params, rest = apart
    arrays, structure = dict(named_arrays(params)), jax.tree.structure(params)
    names, beside = list(arrays), tuple(dict(named_arrays(rest)))
    rest = widened(rest)

    def apply(weights: Any, x: Any) -> Any:
        given = jax.tree.unflatten(structure, [weights[name] for name in names])
        return nnx.merge(graph, given, rest, copy=True)(x, **call)

    apply.__wrapped__ = type(model)  # type: ignore[attr-defined]  # whose code the guard asks for
    return OwnModel(apply, arrays, ModelFacts(beside, tuple(random)), inputs)


@float64
def of_linen(model: Any, inputs: Any, call: dict[str, Any], variables: Any = None) -> OwnModel:
    """A network from a Linen module: of its variables ``params`` are trained, all other collections kept as they are.

    Dropout is turned off, also where ``call`` turns it on; what the module writes into collections is dropped.

    Parameters
    ----------
    variables : what ``module.init`` gives; drawn with key 0 if not given.

    Raises
    ------
    ValueError
        For variables without ``params``; as :class:`OwnModel`.
    """
    import flax.linen as nn

    random: dict[str, float] = {}

    def quiet(following: Any, args: Any, keywords: Any, context: Any) -> Any:
        module = context.module
        if not isinstance(module, nn.Dropout) or context.method_name != "__call__":
            return following(*args, **keywords)
        off = keywords.get("deterministic", args[1] if len(args) > 1 else None)
        if not (module.deterministic if off is None else off) and module.rate:
            random[".".join(module.path)] = float(module.rate)
        return args[0] if args else keywords["inputs"]

    if variables is None:
        with own_code("the model"), nn.intercept_methods(quiet):
            variables = model.init(jax.random.key(0), put(np.asarray(inputs[:1], np.float64)), **call)
    if not isinstance(variables, Mapping) or "params" not in variables:
        raise ValueError(
            "variables hold no 'params'; give what module.init(key, x) gave, and its params trained"
        )
    params = variables["params"]
    others = widened({key: tree for key, tree in variables.items() if key != "params"})
    arrays, structure = dict(named_arrays(params)), jax.tree.structure(params)
    names = list(arrays)

    def apply(weights: Any, x: Any) -> Any:
        given = jax.tree.unflatten(structure, [weights[name] for name in names])
        with nn.intercept_methods(quiet):
            found = model.apply({"params": given, **others}, x, mutable=list(others), **call)
        return found[0]

    apply.__wrapped__ = type(model)  # type: ignore[attr-defined]  # whose code the guard asks for
    called(
        "the model", jax.eval_shape, apply, arrays, np.asarray(inputs[:1], np.float64)
    )  # finds the dropout
    return OwnModel(
        apply, arrays, ModelFacts(tuple(dict(named_arrays(others))), tuple(random.items())), inputs
    )
