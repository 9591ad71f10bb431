"""A run as the command line names it: a model from a Python file, data from a file of arrays, a loss in words."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradlab.checking.models.door import library_of, network_of
from gradlab.checking.run import trainable
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss, Square
from gradlab.problem.networks import Function, Network
from gradlab.problem.own_code import called
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem
from gradlab.specification.code import load
from gradlab.store import checkpoints, foreign
from gradlab.wording import brief, quoted

_LOSSES: dict[str, Callable[[str], Loss]] = {
    "square": lambda reduction: Square(reduction),
    "half-square": lambda reduction: Square(reduction, half=True),
    "exponential": lambda reduction: Exponential(reduction),
    "logistic": lambda reduction: Logistic(reduction),
    "cross-entropy": lambda reduction: CrossEntropy(reduction),
}
#: Names under which files keep inputs and targets.
_INPUTS, _TARGETS = (
    ("inputs", "x", "X", "x_train", "X_train", "images"),
    ("targets", "y", "Y", "y_train", "labels"),
)
_TEST = (("test_inputs", "x_test", "X_test"), ("test_targets", "y_test", "test_labels"))


def loss_of(words: str) -> Loss:
    """A loss from its name, and ``sum`` where it is the sum over examples and not their mean.

    Raises
    ------
    ValueError
        For another name; the nearest is named.
    """
    parts = words.lower().replace("_", "-").split()
    reduction = next((part for part in parts if part in ("sum", "mean")), "mean")
    names = [part for part in parts if part not in ("sum", "mean")]
    if len(names) == 1 and names[0] in _LOSSES:
        return _LOSSES[names[0]](reduction)
    close = get_close_matches(names[0] if names else "", _LOSSES, n=1)
    hint = (
        f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_LOSSES)}, each with mean or sum"
    )
    raise ValueError(f"--loss was {quoted(words)}; {hint}")


def data_of(path: Path, loss: Loss) -> Data:
    """Data of an ``.npz`` file with ``inputs`` and ``targets`` (or ``x`` and ``y``), and a test split if there is one.

    Raises
    ------
    ValueError
        If it cannot be read, or holds neither; what is there is named.
    """
    with foreign.opened(path, foreign.LARGEST, ".npz") as file:
        names = foreign.array_names(file, path)
        wanted = [_first(names, every) for every in (_INPUTS, _TARGETS, *_TEST)]
        if wanted[0] is None or wanted[1] is None:
            raise ValueError(
                f"--data: {brief(str(path))} holds {brief(', '.join(names)) or 'no arrays'}; name its arrays "
                "inputs and targets, as numpy.savez('data.npz', inputs=…, targets=…)"
            )
        found = foreign.arrays(file, path, [name for name in wanted if name is not None])
    given = [None if name is None else found[name] for name in wanted]
    if loss.labels == "real":
        given = [a[:, None] if a is not None and k % 2 and a.ndim == 1 else a for k, a in enumerate(given)]
    return Data(given[0], given[1], given[2], given[3])


def _first(names: list[str], wanted: tuple[str, ...]) -> str | None:
    return next((name for name in wanted if name in names), None)


def model_of(text: str, folder: checkpoints.Folder, data: Data) -> Network:
    """``net.py:Net`` as a network: a Network, a model of a library, a class or function that makes one without being
    given anything, or a function of (weights, x), weights a dict of named arrays.

    Raises
    ------
    ValueError
        Where there is no such file or name, or it is no such thing; the sentence says what to write.
    """
    file, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier():
        raise ValueError(f"--model was {quoted(text)}; write the Python file and the name in it, net.py:Net")
    module = load(Path(file), "--model")
    found = getattr(module, name, None)
    if found is None:
        close = get_close_matches(name, [key for key in vars(module) if not key.startswith("_")], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"--model: {brief(file)} has no {name!r}{hint}")
    if isinstance(found, type) or (not library_of(found) and _makes_one(found)):
        found = called("the model", found)
    if isinstance(found, Network):
        return found
    if library_of(found):
        return network_of(found, data.inputs)
    if not callable(found):
        raise ValueError(
            f"--model: {name} is {type(found).__name__}; write a function def {name}(weights, x), or name a model of "
            "Equinox, Flax or PyTorch"
        )
    return _function(found, folder, data)


def _makes_one(found: Any) -> bool:
    """Whether a function wants no argument, so that it makes a model rather than being one."""
    if not inspect.isfunction(found):
        return False
    return all(one.default is not one.empty for one in inspect.signature(found).parameters.values())


@float64
def _function(apply: Any, folder: checkpoints.Folder, data: Data) -> Function:
    first: Mapping[str, Any] = folder.checkpoints[0].arrays
    # ordered: of a plain dict JAX sorts the names, and layer 10 would come before layer 2
    weights = OrderedDict((name, np.asarray(first[name], np.float64)) for name in trainable(first))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.float64), weights)
    inputs = jax.ShapeDtypeStruct(data.inputs.shape, np.float64)
    outputs = called("the model", jax.eval_shape, apply, shapes, inputs)
    shape: tuple[int, ...] = tuple(getattr(outputs, "shape", ()))
    if len(shape) not in (1, 2) or shape[0] != len(data.inputs):
        raise ValueError(
            f"--model gave shape {shape} on {len(data.inputs)} examples; return one row of outputs an example"
        )
    count = shape[1] if len(shape) == 2 else 1
    return Function(
        apply,
        lambda key: jax.tree.map(jax.numpy.asarray, weights),
        input_shape=data.inputs.shape[1:],
        outputs=count,
    )


def told_run(
    folder: Path, model: str, data: Path, loss: str | None, optimiser: str | None
) -> tuple[Problem, checkpoints.Folder, str]:
    """(problem, checkpoints, words of the optimiser); what is not said is taken from a Probe's manifest.

    Raises
    ------
    ValueError
        Where something is missing or cannot be read, as one sentence.
    """
    found = checkpoints.read_folder(folder)
    said = loss or str(found.manifest.get("loss") or "")
    if not said:
        raise ValueError(
            f"--loss is missing, and the checkpoints do not say it; write one of {', '.join(_LOSSES)}"
        )
    kind = loss_of(said)
    read = data_of(data, kind)
    problem = Problem(model_of(model, found, read), kind, read)
    return problem, found, optimiser or str(found.manifest.get("optimiser") or "")
