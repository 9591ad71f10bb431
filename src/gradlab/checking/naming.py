"""Weights as named arrays: a name is the path through the containers, joined by dots, as frameworks write it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gradlab.wording import quoted

#: Names that an array has which is added and not multiplied.
_BIAS = re.compile(r"(b|bias|beta|offset|intercept)_?\d*")
#: What files of Flax put behind the name of an array.
_ENDINGS = ("", ".value", ".raw_value")


def arrays_of(weights: Any, copy: bool = True) -> dict[str, np.ndarray]:
    """Copies of the arrays of a pytree, or of a model with ``state_dict()``, by name, in their order.

    Without ``copy`` an array may be the weights' own memory.

    ``(W, {"bias": b})`` gives ``0`` and ``1.bias``; a bare array is ``weights``. What is no array (an activation
    that an Equinox model carries) is left out. Numbers that NumPy has no type for (bfloat16) become float32, which
    holds them.

    Raises
    ------
    ValueError
        If there is no array, or two have one name.
    """
    found: dict[str, np.ndarray] = {}
    for name, leaf in named_arrays(weights):
        if name in found:
            raise ValueError(
                f"two arrays of the weights are named {quoted(name)}; give containers other keys"
            )
        found[name] = _as_numpy(leaf, copy)
    if not found:
        raise ValueError(
            "the weights hold no arrays; give the pytree of arrays that is trained, or a model with them"
        )
    return found


def named_arrays(weights: Any) -> list[tuple[str, Any]]:
    """(name, array) of every array of a pytree or model, uncopied; keys and counters of random streams are left out."""
    given = weights.state_dict() if callable(getattr(weights, "state_dict", None)) else weights
    found = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(given, is_leaf=_variable)[0]:
        if _variable(leaf):
            if type(leaf).__name__.startswith("Rng"):
                continue
            leaf = leaf.get_value() if hasattr(leaf, "get_value") else leaf.value
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not _is_key(leaf):
            found.append((path_name(path) or "weights", leaf))
    return found


def path_name(path: Sequence[Any]) -> str:
    """``mlp.layers.0.weight`` of a path of JAX."""
    return ".".join(_key(part) for part in path)


def _variable(node: Any) -> bool:
    """Whether a node is a Variable of Flax NNX, asked without importing it."""
    bases = type(node).__mro__
    return any(base.__name__ == "Variable" and base.__module__.startswith("flax.nnx") for base in bases)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def is_bias(name: str) -> bool:
    """Whether an array is named as one that is added."""
    return _BIAS.fullmatch(name.rpartition(".")[2]) is not None


def axes(name: str, shape: Sequence[int]) -> int:
    """The axes of an array; one of a bias (C, 1, 1), as convolutions of Equinox have it."""
    added = len(shape) > 1 and is_bias(name) and all(length == 1 for length in shape[1:])
    return 1 if added else len(shape)


def matched(wanted: Collection[str], there: Collection[str]) -> tuple[list[str], str]:
    """For each wanted name that of a file, and a remark where they differ; empty where they are not those.

    Names may differ by what all of the file's have before them (``params.``) or behind (``.value``), or by what all
    of the wanted have before them.
    """
    wanted, known = list(wanted), set(there)
    if not wanted or set(wanted) <= known:
        return wanted, ""
    first = wanted[0]
    forms: dict[
        tuple[str, str, str], None
    ] = {}  # (before theirs, behind theirs, before ours), each once, in order
    for ending in _ENDINGS:
        for name in there:
            plain = name.removesuffix(ending) if ending and name.endswith(ending) else name
            if ending and plain == name:
                continue
            if plain == first or plain.endswith(f".{first}"):
                forms[plain[: len(plain) - len(first)], ending, ""] = None
            elif first.endswith(f".{plain}"):
                forms["", ending, first[: len(first) - len(plain)]] = None
    fits = []
    for before, behind, own in forms:
        if all(name.startswith(own) for name in wanted):
            theirs = [before + name.removeprefix(own) + behind for name in wanted]
            if set(theirs) <= known:
                fits.append((theirs, before, behind))
    if len(fits) != 1:
        return [], ""
    theirs, before, behind = fits[0]
    extra = " and ".join(quoted(part) for part in (before, behind) if part)
    return theirs, f"names of arrays were taken without their {extra}" if extra else ""


def _key(part: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)


def _as_numpy(leaf: Any, copy: bool) -> np.ndarray:
    if hasattr(leaf, "detach"):  # a torch tensor
        leaf = leaf.detach().cpu()
        leaf = (leaf.float() if str(leaf.dtype) == "torch.bfloat16" else leaf).numpy()
    array = np.array(leaf) if copy else np.asarray(leaf)
    return array.astype(np.float32) if array.dtype.kind not in "fiub" else array


def nested(arrays: Mapping[str, Any]) -> Any:
    """Named arrays as containers again: names are split at their dots, and keys 0, 1, … make a tuple."""
    if set(arrays) == {"weights"}:
        return arrays["weights"]
    groups: dict[str, Any] = {}
    for name, array in arrays.items():
        first, dot, rest = name.partition(".")
        if dot:
            inner = groups.setdefault(first, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{quoted(name)} and {quoted(first)} are both names of arrays; rename one")
            inner[rest] = array
        elif first in groups:
            raise ValueError(f"{quoted(name)} is the name of an array and of a container; rename one")
        else:
            groups[first] = array
    found = {key: nested(inner) if isinstance(inner, dict) else inner for key, inner in groups.items()}
    count = [str(number) for number in range(len(found))]
    return tuple(found[key] for key in count) if sorted(found) == sorted(count) else found
