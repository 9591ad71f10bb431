"""Weights as named arrays: a name is the path through the containers, joined by dots, as frameworks write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from gradlab.wording import quoted


def arrays_of(weights: Any) -> dict[str, np.ndarray]:
    """Copies of the arrays of a pytree, or of a model with ``state_dict()``, by name, in their order.

    ``(W, {"bias": b})`` gives ``0`` and ``1.bias``; a bare array is ``weights``. What is no array (an activation
    that an Equinox model carries) is left out. Numbers that NumPy has no type for (bfloat16) become float32, which
    holds them.

    Raises
    ------
    ValueError
        If there is no array, or two have one name.
    """
    given = weights.state_dict() if callable(getattr(weights, "state_dict", None)) else weights
    found: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(given)[0]:
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            continue
        name = ".".join(_key(part) for part in path) or "weights"
        if name in found:
            raise ValueError(
                f"two arrays of the weights are named {quoted(name)}; give containers other keys"
            )
        found[name] = _copied(leaf)
    if not found:
        raise ValueError(
            "the weights hold no arrays; give the pytree of arrays that is trained, or a model with them"
        )
    return found


def _key(part: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)


def _copied(leaf: Any) -> np.ndarray:
    if hasattr(leaf, "detach"):  # a torch tensor
        leaf = leaf.detach().cpu()
        leaf = (leaf.float() if str(leaf.dtype) == "torch.bfloat16" else leaf).numpy()
    array = np.array(leaf)
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
