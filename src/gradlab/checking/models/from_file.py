"""``net.py:Net`` as a network: the model that a Python file holds or makes, with what its call needs."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradlab.checking.models.door import library_of, library_of_class, network_of
from gradlab.checking.models.own_model import outputs_of
from gradlab.checking.run import trainable
from gradlab.problem.data import Data
from gradlab.problem.function import Function
from gradlab.problem.network import Network
from gradlab.problem.own_code import called
from gradlab.problem.precision import float64
from gradlab.specification.code import load
from gradlab.store import checkpoints
from gradlab.wording import brief, quoted

#: What :func:`network_of` takes beside a model and its inputs.
_OPTIONS = ("call", "state", "variables", "batched")
#: Arguments by which libraries hand random numbers to a model that is made; its weights come from the checkpoints.
_DRAWS = ("key", "rngs")


def model_of(text: str, folder: checkpoints.Folder, data: Data) -> Network:
    """The network that ``net.py:Net`` names.

    It may be a Network, a model of a library, a class or function that makes one without being given anything but
    ``key`` or ``rngs``, or a function of (weights, x), weights a dict of named arrays. What makes a model may return
    ``(model, state)`` of Equinox, ``(module, variables)`` of Linen, or ``(model, {"call": {…}})``, keywords of
    :func:`network_of`.

    Raises
    ------
    ValueError
        Where there is no such file or name, or it is no such thing; the sentence says what to write.
    """
    file, colon, name = text.rpartition(":")
    if not colon or not name.isidentifier():
        raise ValueError(f"--model was {quoted(text)}; write the Python file and the name in it, net.py:Net")
    if not file.endswith(".py"):
        raise ValueError(
            f"--model was {quoted(text)}; name the Python file with its ending, {brief(file)}.py:{name}"
        )
    module = load(Path(file), "--model")
    found = getattr(module, name, None)
    if found is None:
        close = get_close_matches(name, [key for key in vars(module) if not key.startswith("_")], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "; name what makes the model"
        raise ValueError(f"--model: {brief(file)} has no {name!r}{hint}")
    if isinstance(found, type) or (not library_of(found) and _makes_one(found)):
        found = _made(name, found)
    found, options = _with_options(name, found)
    if isinstance(found, Network):
        return found
    if library_of(found):
        return network_of(found, data.inputs, **options)
    if isinstance(found, Mapping):
        raise ValueError(
            f"--model: {name} holds weights, and those come from the checkpoints; name the class of the model, or a "
            f"function def {name}(weights, x)"
        )
    if not callable(found):
        raise ValueError(
            f"--model: {name} is {type(found).__name__}; write a function def {name}(weights, x), or name a model of "
            "Equinox, Flax or PyTorch"
        )
    return _function(name, found, folder, data)


def _wanted(made: Any) -> list[str]:
    """The arguments that a class or function must be given."""
    called: Any = made
    if isinstance(made, type):
        called = called.__init__
    parameters = list(inspect.signature(called).parameters.values())
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        one.name for one in parameters[1 if isinstance(made, type) else 0 :]
        if one.default is one.empty and one.kind not in several
    ]  # fmt: skip


def _makes_one(found: Any) -> bool:
    """Whether a function wants nothing but random numbers, so that it makes a model rather than being one."""
    return inspect.isfunction(found) and set(_wanted(found)) <= set(_DRAWS)


def _made(name: str, maker: Any) -> Any:
    wanted = _wanted(maker)
    others = [one for one in wanted if one not in _DRAWS]
    if others:
        given = ", ".join(f"{one}=…" for one in others)
        raise ValueError(
            f"--model: {name} must be given {', '.join(others)}; write a function def make(): return {name}({given}), "
            "and name that"
        )
    draws = {one: jax.random.key(0) if one == "key" else _rngs() for one in wanted}
    if isinstance(maker, type) and library_of_class(maker) == "equinox":
        maker = eqx.nn.make_with_state(maker)
    return called("the model", lambda: maker(**draws))


def _rngs() -> Any:
    from gradlab.checking.models import of_flax

    return of_flax.random_streams()


def _with_options(name: str, found: Any) -> tuple[Any, dict[str, Any]]:
    """(the model, keywords of network_of) of what a maker returned."""
    if not isinstance(found, tuple) or hasattr(found, "_fields"):
        return found, {}
    if len(found) == 2 and library_of(found[0]):
        model, beside = found
        if isinstance(beside, eqx.nn.State):
            return model, {"state": beside if jax.tree.leaves(beside) else None}
        if isinstance(beside, Mapping) and library_of(model) == "linen" and "params" in beside:
            return model, {"variables": beside}
        if isinstance(beside, Mapping) and set(beside) <= set(_OPTIONS):
            return model, dict(beside)
    raise ValueError(
        f"--model: {name} gave ({', '.join(type(one).__name__ for one in found)}); return the model, (model, state) of "
        'Equinox, (module, variables) of Linen, or (model, {"call": {"train": True}})'
    )


@float64
def _function(name: str, apply: Any, folder: checkpoints.Folder, data: Data) -> Function:
    if len(wanted := _wanted(apply) if inspect.isfunction(apply) else ["weights", "x"]) != 2:
        raise ValueError(
            f"--model: {name} takes ({', '.join(wanted)}); a function of (weights, x) is expected, or one without "
            "arguments that makes a model"
        )
    first: Mapping[str, Any] = folder.checkpoints[0].arrays
    # ordered: of a plain dict JAX sorts the names, and layer 10 would come before layer 2
    weights = OrderedDict((key, np.asarray(first[key], np.float64)) for key in trainable(first))
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), np.float64), weights)
    inputs = jax.ShapeDtypeStruct(data.inputs.shape, np.float64)
    count = outputs_of(called("the model", jax.eval_shape, apply, shapes, inputs), len(data.inputs))
    return Function(
        apply,
        lambda key: jax.tree.map(jax.numpy.asarray, weights),
        input_shape=data.inputs.shape[1:],
        outputs=count,
    )
