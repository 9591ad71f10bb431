"""Checkpoints of Orbax, folders of their own; the only import of orbax.

What is there is read from its metadata first; only arrays that fit the budget are restored, the optimiser's not at all.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.store.foreign import BUDGET, Unreadable, megabytes, reading
from gradlab.wording import brief

#: What a folder of arrays holds, and names of what is the optimiser's.
_MARK, _OPTIMISER = "_METADATA", ("opt_state", "optimizer", "optimiser", "opt")
KIND = "a checkpoint of Orbax"


def is_one(folder: Path) -> bool:
    """Whether a folder holds arrays as Orbax writes them."""
    return (folder / _MARK).is_file()


def items(folder: Path) -> list[Path]:
    """The folders of arrays of a step: itself, or those in it that are not the optimiser's."""
    if is_one(folder):
        return [folder]
    return [
        inner for inner in sorted(folder.iterdir())
        if inner.is_dir() and inner.name.lower() not in _OPTIMISER and is_one(inner)
    ]  # fmt: skip


def restored(folder: Path, budget: int = BUDGET) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by name, their formats); bfloat16 is widened to float32, and what is the optimiser's is not read.

    Parameters
    ----------
    budget : bytes that they may take together, as float64.

    Raises
    ------
    Unreadable
        Where orbax is not installed, the folder is damaged, or its arrays are over the budget.
    """
    where = brief(str(folder))
    try:
        import orbax.checkpoint as ocp
    except ImportError:
        raise Unreadable(
            f"{where} is of Orbax, which is not installed; write pip install 'gradlab[flax]', or save npz"
        ) from None
    import jax

    with reading(folder, KIND), ocp.PyTreeCheckpointer() as reader:
        told = reader.metadata(folder.resolve())
        tree = getattr(told, "item_metadata", told)
        tree = getattr(tree, "tree", tree)
        paths, structure = jax.tree_util.tree_flatten_with_path(tree)
        names = [
            ".".join(str(getattr(part, "key", getattr(part, "idx", part))) for part in path)
            for path, _ in paths
        ]
        kept = [name.split(".")[0].lower() not in _OPTIMISER for name in names]
        size = sum(8 * math.prod(leaf.shape) for (_, leaf), use in zip(paths, kept, strict=True) if use)
        if size > budget:
            raise Unreadable(
                f"{where} takes {megabytes(size)} as float64; {megabytes(budget)} are read at most"
            )
        wanted = [leaf if use else ocp.PLACEHOLDER for (_, leaf), use in zip(paths, kept, strict=True)]
        arguments = [ocp.RestoreArgs(restore_type=np.ndarray) for _ in paths]
        found = reader.restore(
            folder.resolve(), item=jax.tree.unflatten(structure, wanted),
            restore_args=jax.tree.unflatten(structure, arguments),
        )  # fmt: skip
        given = [leaf for leaf, use in zip(jax.tree.leaves(found, is_leaf=_absent), kept, strict=True) if use]
        named = [name for name, use in zip(names, kept, strict=True) if use]
        formats = {name: str(np.asarray(leaf).dtype) for name, leaf in zip(named, given, strict=True)}
        return {name: _wide(np.asarray(leaf)) for name, leaf in zip(named, given, strict=True)}, formats


def _absent(leaf: Any) -> bool:
    return leaf is ...


def _wide(array: np.ndarray) -> np.ndarray:
    return array if array.dtype.kind in "fiub" else array.astype(np.float32)
