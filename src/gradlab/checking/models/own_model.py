"""A model of a library as a network: its trained arrays by name, its layers in the order in which they are used."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradlab.checking.using import first_use
from gradlab.problem.function import Function
from gradlab.problem.own_code import called
from gradlab.problem.precision import float64, put


@dataclass(frozen=True)
class ModelFacts:
    """What a model says of itself.

    Attributes
    ----------
    state : names of arrays beside the trained ones: running statistics, counters.
    random : (name, share) of each dropout that was on; it is off in the network.
    known : whether a model told it at all.
    saved : names in the order in which ``tree_serialise_leaves`` of Equinox writes them, None for what is no weight.
    """

    state: tuple[str, ...] = ()
    random: tuple[tuple[str, float], ...] = ()
    saved: tuple[str | None, ...] = ()
    known: bool = True


class OwnModel(Function):
    """A model of a library as a network; weights are a dict of its trained arrays by name, in the order of their use.

    Made by :func:`gradlab.models.network_of`. A layer is a module that has arrays of its own.

    Parameters
    ----------
    apply : pure function of (arrays by name, x). arrays : the trained ones as they are. told : what the model says.
    inputs : the inputs of the data (N, …).

    Raises
    ------
    ValueError
        For a model without trained arrays, one that raises, or gives no row of outputs an example.
    """

    told: ModelFacts = eqx.field(static=True)

    @float64
    def __init__(self, apply: Apply, arrays: Mapping[str, Any], told: ModelFacts, inputs: Any) -> None:
        if not arrays:
            raise ValueError("the model holds no trained arrays; there is nothing to check")
        inputs = np.asarray(inputs, np.float64)
        given = OrderedDict((name, np.asarray(array, np.float64)) for name, array in arrays.items())
        count = outputs_of(called("the model", jax.eval_shape, apply, given, inputs), len(inputs))
        ordered = _in_order(apply, given, inputs[:2])
        heads = heads_of(ordered)
        self.told = told
        super().__init__(
            apply,
            lambda key: OrderedDict((name, put(array)) for name, array in ordered.items()),
            input_shape=inputs.shape[1:],
            outputs=count,
            layers=(lambda weights: split(weights, heads), lambda layers: joined(layers, ordered)),
            smooth=False,
        )


Apply = Callable[[Any, Any], Any]


def outputs_of(outputs: Any, examples: int) -> int:
    """C of outputs of shape (N, C) or (N,).

    Raises
    ------
    ValueError
        For another shape.
    """
    shape = tuple(getattr(outputs, "shape", ()))
    if len(shape) not in (1, 2) or shape[0] != examples:
        what = f"shape {shape}" if hasattr(outputs, "shape") else type(outputs).__name__
        raise ValueError(
            f"the model gave {what} on {examples} examples; return one row of outputs an example"
        )
    return int(shape[1]) if len(shape) == 2 else 1


def head(name: str) -> str:
    """The module that an array belongs to: its name without the last part."""
    return name.rpartition(".")[0] or name


def heads_of(arrays: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
    """The names of arrays, module by module."""
    found: dict[str, list[str]] = {}
    for name in arrays:
        found.setdefault(head(name), []).append(name)
    return tuple(map(tuple, found.values()))


def by_first_use(arrays: Mapping[str, Any], when: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """The arrays, modules in the order of their first use, in each as they were."""
    first: dict[str, Any] = {}
    for name in arrays:
        first[head(name)] = min(first.get(head(name), when[name]), when[name])
    order = sorted(arrays, key=lambda name: first[head(name)])  # stable
    groups: dict[str, list[str]] = {}
    for name in order:
        groups.setdefault(head(name), []).append(name)
    return OrderedDict((name, arrays[name]) for group in groups.values() for name in group)


def _in_order(apply: Apply, arrays: Mapping[str, Any], inputs: np.ndarray) -> OrderedDict[str, Any]:
    closed = called("the model", jax.make_jaxpr(apply), arrays, put(inputs))
    pairs = zip(arrays, closed.jaxpr.invars, strict=False)
    return by_first_use(arrays, {name: first_use(closed.jaxpr, variable) for name, variable in pairs})


def split(weights: Mapping[str, Any], heads: Sequence[Sequence[str]]) -> tuple[Any, ...]:
    """Weights by module."""
    return tuple(OrderedDict((name, weights[name]) for name in names) for names in heads)


def joined(layers: Sequence[Mapping[str, Any]], order: Mapping[str, Any]) -> Any:
    """The inverse of :func:`split`."""
    every = {name: array for layer in layers for name, array in layer.items()}
    return OrderedDict((name, every[name]) for name in order)


def widened(tree: Any) -> Any:
    """Arrays of fractions as float64; all else as it is."""
    return jax.tree.map(lambda leaf: put(leaf, np.float64) if eqx.is_inexact_array(leaf) else leaf, tree)
