"""The run that is checked: weights of a network at step numbers, matched by name with what the network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from gradlab.checking.models.own_model import ModelFacts
from gradlab.checking.naming import arrays_of, axes, matched, nested
from gradlab.checking.optimiser import StatedOptimiser, parsed
from gradlab.problem.networks import Function, Network
from gradlab.problem.problem import Problem
from gradlab.store import checkpoints
from gradlab.wording import quoted

#: Formats of numbers by their significant bits; the coarsest that holds all weights is what they were rounded to.
_FORMATS = (("bfloat16", 8), ("float16", 11), ("float32", 24))
#: Names of what is kept beside weights and not trained.
_STATE = (
    "running_mean",
    "running_var",
    "num_batches_tracked",
    "batch_stats",
    "moving_mean",
    "moving_var",
    "ema",
)


@dataclass(frozen=True)
class TrainingRun:
    """What is known of a run before anything is measured.

    Attributes
    ----------
    problem, optimiser : what it is said to have trained, and how.
    steps : (T,), ascending. weights : T pytrees of float64. flat : (T, P), the same as vectors.
    layers : names of the layers, first layer first. leaves : of each layer, the names of its arrays.
    masks : (K, P), which weights are of which layer. sizes : the shapes of all arrays by name.
    unit : ``step`` or ``epoch``. precision : (format, relative rounding) of the weights.
    state : names of arrays beside the weights. remarks : sentences on how names were matched.
    """

    problem: Problem
    optimiser: StatedOptimiser
    steps: np.ndarray
    weights: tuple[Any, ...]
    flat: np.ndarray
    layers: tuple[str, ...]
    leaves: tuple[tuple[str, ...], ...]
    masks: np.ndarray
    places: dict[str, tuple[int, tuple[int, ...]]]
    unit: str
    precision: tuple[str, float]
    state: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def pairs(self) -> np.ndarray:
        """Indices i where checkpoint i + 1 is one step after checkpoint i."""
        return np.flatnonzero(np.diff(self.steps) == 1) if self.unit == "step" else np.zeros(0, int)

    def array(self, vector: np.ndarray, name: str) -> np.ndarray:
        """One array of a vector of weights by name."""
        at, shape = self.places[name]
        return vector[at : at + int(np.prod(shape))].reshape(shape)


def gathered(problem: Problem, given: Any, optimiser: Any) -> TrainingRun:
    """A TrainingRun from a folder's path, what :func:`gradlab.store.checkpoints.read_folder` gave, or weights by step.

    Raises
    ------
    ValueError
        Where names or shapes are not those of the network, or there is nothing to look at.
    """
    if isinstance(given, str | Path):
        given = checkpoints.read_folder(given)
    if isinstance(given, checkpoints.Folder):
        steps = [one.step for one in given.checkpoints]
        tables: list[Mapping[str, Any]] = [one.arrays for one in given.checkpoints]
        said = optimiser or given.manifest.get("optimiser", "")
        unit, state = given.unit, _state(tables[0])
    elif isinstance(given, Mapping) and given and all(isinstance(s, int | np.integer) for s in given):
        steps = sorted(int(step) for step in given)
        tables, unit, said = [arrays_of(given[step]) for step in steps], "step", optimiser
        state = _state(tables[0])
    else:
        raise ValueError(
            f"checkpoints were {quoted(given)}; give the folder of a Probe, or weights by step: {{0: W, 10: W, …}}"
        )
    told = getattr(problem.network, "told", ModelFacts(known=False))
    tables = [_renamed(table, told) for table in tables]
    template = _template(problem.network, tables[0])
    called = "the model" if told.known else type(problem.network).__name__
    names, remark = _names(template, tables[0], called)
    if told.known:  # what is trained is known, and all else is not
        state = [name for name in tables[0] if name not in set(names)]
    remarks = [remark] if remark else []
    for step, table in zip(steps, tables, strict=True):
        checkpoints.refuse_infinite({name: np.asarray(table[name]) for name in names}, f"{unit} {step}")
    weights = tuple(_filled(template, [table[name] for name in names]) for table in tables)
    for one in weights:
        problem.network.check(one) if not _shapeless(problem.network) else None
    flat = np.stack([np.asarray(ravel_pytree(one)[0], np.float64) for one in weights])
    own = list(arrays_of(template))
    return TrainingRun(
        problem, parsed(said), np.asarray(steps), weights, flat, *_layers(problem.network, template, own),
        _places(template, own),         unit, _precision(flat), tuple(state), tuple(remarks),
    )  # fmt: skip


def _renamed(table: Mapping[str, Any], told: ModelFacts) -> Mapping[str, Any]:
    """The arrays of a file that has no names (of Equinox), by the names that the model has in that order."""
    count = len(table)
    if not told.saved or any(told.saved[count:]) or list(table) != [str(number) for number in range(count)]:
        return table
    names = told.saved[:count]
    if len(names) < count:
        return table
    return {name: array for name, array in zip(names, table.values(), strict=True) if name is not None}


def _shapeless(network: Network) -> bool:
    return isinstance(network, Function) and network.initial is None


def _state(table: Mapping[str, Any]) -> list[str]:
    """Arrays that are no trained weights: running statistics by name, and whole numbers."""
    return [
        name for name, array in table.items()
        if any(part in name.lower() for part in _STATE) or np.asarray(array).dtype.kind in "iub"
    ]  # fmt: skip


def trainable(table: Mapping[str, Any]) -> list[str]:
    """The names that are no state, in their order."""
    state = set(_state(table))
    return [name for name in table if name not in state]


def _template(network: Network, table: Mapping[str, Any]) -> Any:
    if not _shapeless(network):
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape), network.shapes())
    return nested({name: np.zeros(np.shape(table[name])) for name in trainable(table)})


def _names(template: Any, table: Mapping[str, Any], network: str) -> tuple[list[str], str]:
    """For each array of the template the checkpoint's name, and a remark where names were of no help."""
    wanted = arrays_of(template)
    names, remark = matched(wanted, table)
    if names:
        return names, remark
    left = trainable(table)
    shapes = [np.shape(table[name]) for name in left]
    if shapes == [array.shape for array in wanted.values()]:
        pairs = ", ".join(f"{theirs} as {ours}" for theirs, ours in list(zip(left, wanted, strict=True))[:3])
        return (
            left,
            f"arrays were taken in their order, as names differ: {pairs}{', …' if len(left) > 3 else ''}",
        )
    missing = next((name for name in wanted if name not in table), "")
    raise ValueError(
        f"{network} takes {len(wanted)} arrays ({_shown(wanted)}) and the checkpoints hold {len(left)} "
        f"({_shown({name: table[name] for name in left})}): {quoted(missing)} is missing; name arrays as the network "
        "does, or keep their order and shapes"
    )


def _shown(table: Mapping[str, Any]) -> str:
    parts = [f"{name} {np.shape(array)}" for name, array in table.items()]
    return ", ".join(parts[:4]) + (", …" if len(parts) > 4 else "")


def _filled(template: Any, arrays: Sequence[Any]) -> Any:
    leaves, structure = jax.tree.flatten(template)
    for leaf, array in zip(leaves, arrays, strict=True):
        if np.shape(array) != leaf.shape:
            raise ValueError(
                f"an array of the checkpoints has shape {np.shape(array)}; the network takes {leaf.shape}"
            )
    return jax.tree.unflatten(structure, [np.asarray(array, np.float64) for array in arrays])


def _layers(network: Network, template: Any, own: list[str]) -> tuple[Any, Any, np.ndarray]:
    """(names of layers, names of their arrays, masks)."""
    numbers = iter(range(len(own)))

    def number(leaf: Any) -> _Numbered:
        k = next(numbers)
        return _Numbered(k, leaf.size, axes(own[k], leaf.shape))

    tree = jax.tree.map(number, template)
    groups = [jax.tree.leaves(part) for part in network.layers(tree)]
    if (isinstance(network, Function) or hasattr(network, "told")) and network.degrees is None:
        groups = _headed([leaf for group in groups for leaf in group], own)
    sizes = [leaf.size for leaf in jax.tree.leaves(tree)]
    ends = np.cumsum([0, *sizes])
    masks = np.zeros((len(groups), ends[-1]), bool)
    for k, group in enumerate(groups):
        for leaf in group:
            masks[k, ends[leaf.number] : ends[leaf.number + 1]] = True
    leaves = tuple(tuple(own[leaf.number] for leaf in group) for group in groups)
    heads = [group[0].rpartition(".")[0] or group[0] for group in leaves]
    modules = hasattr(network, "told")  # of a library: named as it names them
    names = [
        head if len(group) > 1 or (modules and heads.count(head) == 1) else group[0]
        for head, group in zip(heads, leaves, strict=True)
    ]
    return tuple(names), leaves, masks


def _headed(leaves: list[Any], own: list[str]) -> list[list[Any]]:
    """The layers of a model of one's own: arrays with a name in common, or each alone where several are matrices."""
    heads: dict[str, list[Any]] = {}
    for leaf in leaves:
        heads.setdefault(own[leaf.number].rpartition(".")[0] or own[leaf.number], []).append(leaf)
    found: list[list[Any]] = []
    for group in heads.values():
        found += [[leaf] for leaf in group] if sum(leaf.axes >= 2 for leaf in group) > 1 else [group]
    return found


class _Numbered:
    """An array's place, a leaf of a tree; it answers for a shape where a network asks."""

    def __init__(self, number: int, size: int, axes: int) -> None:
        self.number, self.size, self.axes = number, size, axes


def _places(template: Any, own: list[str]) -> dict[str, tuple[int, tuple[int, ...]]]:
    found, at = {}, 0
    for name, leaf in zip(own, jax.tree.leaves(template), strict=True):
        found[name] = (at, leaf.shape)
        at += leaf.size
    return found


def _precision(flat: np.ndarray) -> tuple[str, float]:
    """The coarsest format that holds every weight that moved, at every checkpoint."""
    moving = flat[:, np.any(flat != flat[:1], axis=0)]
    fractions = np.frexp(moving[moving != 0.0])[0]
    for name, bits in _FORMATS if fractions.size else ():
        scaled = np.ldexp(fractions, bits)
        if np.array_equal(scaled, np.round(scaled)):
            return name, 2.0**-bits
    return "float64", 2.0**-53
