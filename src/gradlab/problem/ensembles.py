"""Ensembles: pytrees of one shape (problems, weights, flows) as one, with a leading member axis."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.problem.precision import float64, put

M = TypeVar("M")


def unchecked(kind: type[M], module: M, **parts: Any) -> M:
    """A ``kind`` with the fields of ``module``, some exchanged and none checked: no constructor is called.

    For parts that are known to fit, and for traced or stacked ones, which a constructor could not check.
    """
    other: M = object.__new__(kind)
    for name, part in {**vars(module), **parts}.items():
        object.__setattr__(other, name, part)
    return other


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _structure(tree: Any) -> Any:
    return jax.tree.structure(tree)


def _one_array(parts: tuple[Any, ...]) -> Any:
    """Arrays of one shape along a first axis; on the host where nothing is traced, so that nothing is compiled."""
    if any(
        isinstance(part, jax.core.Tracer) or jax.dtypes.issubdtype(part.dtype, jax.dtypes.extended)
        for part in parts
    ):
        return jnp.stack(parts)  # keys of random numbers among them
    return put(np.stack([np.asarray(part) for part in parts]))


@float64
def stack(members: Any) -> Any:
    """Members of one shape (problems, weights, …) become one pytree whose arrays carry a leading member axis.

    Raises
    ------
    ValueError
        For an empty list, or members that differ in structure, in shape, or in anything that is no array.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> gl.stack([np.zeros(2), np.ones(2)]).shape
    (2, 2)
    """
    members = list(members)
    if not members:
        raise ValueError("an ensemble has at least one member; an empty list was given")
    leaves, structure = jax.tree.leaves(members[0]), _structure(members[0])
    columns = [leaves]
    for number, member in enumerate(members[1:], start=1):
        others = jax.tree.leaves(member)
        if _structure(member) != structure:
            raise ValueError(
                f"members of an ensemble have one structure; member {number} is built unlike member 0 "
                "(another architecture, loss, reduction, or a test split in one only): run it apart"
            )
        for mine, other in zip(leaves, others, strict=True):
            if _is_array(mine) != _is_array(other) or (not _is_array(mine) and mine != other):
                raise ValueError(
                    f"members of an ensemble differ in arrays only; member {number} has {other!r} where "
                    f"member 0 has {mine!r}: run it apart"
                )
            if _is_array(mine) and (mine.shape, mine.dtype) != (other.shape, other.dtype):
                raise ValueError(
                    f"members of an ensemble have arrays of one shape; member {number} has "
                    f"{other.dtype}{other.shape} where member 0 has {mine.dtype}{mine.shape}: run it apart"
                )
        columns.append(others)
    stacked = [_one_array(parts) if _is_array(parts[0]) else parts[0] for parts in zip(*columns, strict=True)]
    return jax.tree.unflatten(structure, stacked)


@float64
def unstack(ensemble: Any, index: int) -> Any:
    """This gives back member ``index`` of what :func:`stack` made.

    Raises
    ------
    ValueError
        Where there is no such member.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> float(gl.unstack(gl.stack([1.0 * np.ones(2), 3.0 * np.ones(2)]), 1)[0])
    3.0
    """
    counts = {leaf.shape[0] for leaf in jax.tree.leaves(ensemble) if _is_array(leaf) and leaf.ndim}
    if not counts or not -min(counts) <= index < min(counts):
        raise ValueError(
            f"there is no member {index}; the ensemble has {min(counts, default=0)}, numbered from 0"
        )
    return jax.tree.map(lambda leaf: leaf[index] if _is_array(leaf) else leaf, ensemble)
