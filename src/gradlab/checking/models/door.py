"""``gl.models.network_of``: a model of Equinox, Flax or PyTorch as a network, told apart without importing them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradlab.problem.network import Network
from gradlab.problem.own_code import OwnCodeError
from gradlab.wording import quoted


def library_of(model: Any) -> str:
    """``torch``, ``nnx``, ``linen``, ``equinox``, or empty for a model of none of them."""
    return library_of_class(type(model))


def library_of_class(kind: type) -> str:
    """That of a class of models."""
    bases = {(base.__module__, base.__name__) for base in kind.__mro__}
    for library, start, names in (
        ("torch", "torch.nn", ("Module",)),
        ("nnx", "flax.nnx", ("Module", "Pytree")),
        ("linen", "flax.linen", ("Module",)),
        ("equinox", "equinox", ("Module",)),
    ):
        if any(module.startswith(start) and name in names for module, name in bases):
            return library
    return ""


def _refuse_missing(model: Any, library: str, call: Mapping[str, Any]) -> None:
    """Say which arguments a model's call wants beside its inputs, if they are not given."""
    forward: Any = getattr(type(model), "forward" if library == "torch" else "__call__", None)
    try:
        wanted = list(inspect.signature(forward).parameters.values())[2:]
    except (TypeError, ValueError):
        return
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    handed = ("key", "state") if library == "equinox" else ()
    missing = [
        one.name for one in wanted
        if one.default is one.empty and one.kind not in several and one.name not in {*call, *handed}
    ]  # fmt: skip
    if missing:
        given = ", ".join(f'"{name}": …' for name in missing)
        raise ValueError(
            f"{type(model).__name__} is called with its inputs and {', '.join(missing)}; give call={{{given}}}, and "
            f'for --model name a function that returns (model, {{"call": {{{given}}}}})'
        )


def network_of(
    model: Any,
    inputs: Any,
    *,
    call: Mapping[str, Any] | None = None,
    variables: Any = None,
    state: Any = None,
    batched: bool = False,
) -> Network:
    """This makes a network of a model of Equinox, Flax (NNX or Linen) or PyTorch, for :func:`gradlab.check`.

    Its weights are the arrays that are trained, by the names that the library gives them; running statistics, counters
    and keys of random streams are kept apart. Layers are the modules that have arrays of their own, in the order in
    which they are used. The model is not changed. Dropout is turned off, and the check says so; batch normalisation
    is as in training where the model is, so that examples interact.

    Parameters
    ----------
    model : an ``equinox.Module`` of one example, an ``nnx.Module``, a Linen module or a ``torch.nn.Module`` of a batch.
    inputs : those of the data, (N, …).
    call : further arguments of the model's call, such as ``{"train": True}``.
    variables : of a Linen module, what ``init`` gave; drawn if not given. state : of an Equinox model that keeps one.
    batched : whether an Equinox model takes the whole batch.

    Raises
    ------
    ValueError
        For anything else, a model that raises, or one that does not give a row of outputs an example.

    Examples
    --------
    >>> import equinox as eqx
    >>> import jax
    >>> import gradlab as gl
    >>> data = gl.data.separable(0, N=8, d=3, margin=1.0)
    >>> model = eqx.nn.MLP(3, 1, 4, 2, key=jax.random.key(0))
    >>> problem = gl.Problem(gl.models.network_of(model, data.inputs), gl.Logistic(), data)
    >>> list(problem.network.shapes())[:2]
    ['layers.0.weight', 'layers.0.bias']
    """
    library, options = library_of(model), dict(call or {})
    if isinstance(model, Network):
        return model
    if library:
        _refuse_missing(model, library, options)
    if not library:
        raise ValueError(
            f"the model was {quoted(model)}; give a model of Equinox, Flax or PyTorch, or write its function, "
            "gl.Function(apply, …)"
        )
    try:
        return _of(library, model, inputs, options, variables, state, batched)
    except OwnCodeError as error:
        raise OwnCodeError(
            f"{error}; it was given inputs of shape {np.shape(inputs)}{_turned(np.shape(inputs))}"
        ) from error


def _turned(shape: tuple[int, ...]) -> str:
    """Where channels of images may have to stand, if they are images."""
    if len(shape) != 4:
        return ""
    first, last = shape[1] <= 4 < shape[3], shape[3] <= 4 < shape[1]
    move = "1, -1" if first else "-1, 1"
    return (
        f", and may want channels {'last' if first else 'first'}: numpy.moveaxis(x, {move})"
        if first or last
        else ""
    )


def _of(
    library: str, model: Any, inputs: Any, options: dict[str, Any], variables: Any, state: Any, batched: bool
) -> Network:
    if library == "equinox":
        from gradlab.checking.models import of_equinox

        return of_equinox.of_module(model, inputs, options, state, batched)
    if library == "nnx":
        from gradlab.checking.models import of_flax

        return of_flax.of_nnx(model, inputs, options)
    if library == "linen":
        from gradlab.checking.models import of_flax

        return of_flax.of_linen(model, inputs, options, variables)
    from gradlab.checking.models import of_torch

    return of_torch.of_torch_module(model, inputs, options)
