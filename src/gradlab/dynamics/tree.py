"""Inner products, norms and linear combinations of weights, for any pytree of arrays.

What is asked of NumPy arrays is done by NumPy, on the host: nothing is compiled for it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.modules import is_module

#: An array of JAX, or of NumPy on the host; one behaves as the other.
if TYPE_CHECKING:
    Anywhere = Array
else:
    Anywhere = jax.Array | np.ndarray | np.generic


#: Types that are surely none of JAX's, whose check takes longer than most that is computed with them.
_PLAIN = {np.ndarray, np.float64, np.int64, np.bool_, float, int, bool}


def library(*values: Any) -> Any:
    """The module that computes with these: ``jax.numpy`` where one is an array of JAX, else ``numpy``."""
    for value in values:
        if type(value) not in _PLAIN and isinstance(value, jax.Array):
            return jnp
    return np


def on_host(a: Any) -> bool:
    """Whether a tree is one vector of NumPy, as the host keeps what it steps."""
    return type(a) is np.ndarray and a.ndim == 1


def of_numpy(x: Any) -> Any:
    """A number, or an array of them, of NumPy."""
    value = np.asarray(x)
    return value if value.ndim else value[()]


class Plain:
    """The fields of a module, modules inside it too, with numbers of NumPy; its methods and properties are read alike.

    An attribute of a module takes microseconds to read and a module some fifty to make, which is what a step takes.
    """

    def __init__(self, module: Any) -> None:
        self.__dict__.update({name: plainly(value) for name, value in vars(module).items()})
        self.__dict__["kind"] = type(module)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__["kind"], name)
        if isinstance(found, property):
            return found.__get__(self)
        return found.__get__(self) if callable(found) else found


def plainly(a: Any) -> Any:
    """A module as :class:`Plain`, a number as NumPy's, all else as it is."""
    if type(a) in _PLAIN or isinstance(a, (jax.Array, np.ndarray)):
        return of_numpy(a) if isinstance(a, (jax.Array, np.ndarray)) else a
    return Plain(a) if is_module(a) else a


def numbers(a: Any) -> Any:
    """A module, and those inside it, with arrays of NumPy."""
    if is_module(a):
        return made(type(a), {name: numbers(value) for name, value in vars(a).items()})
    if isinstance(a, tuple):
        return tuple(map(numbers, a))
    return of_numpy(a) if isinstance(a, (jax.Array, np.ndarray)) else a


def changed(a: Any, **fields: Any) -> Any:
    """A module, or a plain one, with other values of some fields, which are neither converted nor checked."""
    if not isinstance(a, Plain):
        return made(type(a), vars(a) | fields)
    other = object.__new__(Plain)
    other.__dict__.update(a.__dict__, **fields)
    return other


def module(a: Any) -> Any:
    """The module of which that is the :func:`plainly` one."""
    if not isinstance(a, Plain):
        return of_numpy(a) if isinstance(a, (bool, int, float)) else a
    return made(a.kind, {name: module(value) for name, value in vars(a).items() if name != "kind"})


def made(kind: Any, fields: dict[str, Any]) -> Any:
    """A module of these fields, as ``jax.tree.unflatten`` makes it: nothing is converted or checked."""
    module = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(module, name, value)
    return module


def each(function: Any, *trees: Any) -> Any:
    """``jax.tree.map``, and of vectors on the host the function itself."""
    return function(*trees) if on_host(trees[0]) else jax.tree.map(function, *trees)


def wide(x: Any) -> Array:
    """A real number or array in the widest floating type that is switched on: float64, or float32 without x64."""
    return _of_kind(x, jnp.result_type(float))


def _of_kind(x: Any, kind: Any) -> Array:
    """``jnp.asarray(x, kind)``; what is of that kind as it is."""
    there = isinstance(x, jax.Array) and x.dtype == kind and not x.weak_type
    return x if there else jnp.asarray(x, dtype=kind)


def like(factor: Any, leaf: Any) -> Any:
    """A scalar in the type of a leaf, so that a product with it keeps the leaf's."""
    if on_host(leaf) and library(factor) is np:
        return factor
    return _of_kind(factor, jnp.result_type(leaf))


def inner(a: Any, b: Any) -> Float[Anywhere, ""]:
    """⟨a, b⟩, summed over all leaves."""
    if on_host(a) and on_host(b):
        return np.dot(a, b)
    products = jax.tree.map(lambda x, y: jnp.sum(wide(x) * wide(y)), a, b)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def norm(a: Any) -> Float[Anywhere, ""]:
    """‖a‖₂ over all leaves, safe against overflow and underflow of the squares."""
    if on_host(a):
        square: Any = np.dot(a, a)
        if 1e-200 < square < 1e200:
            root: Any = np.float64(math.sqrt(square))
            return root
        largest = np.abs(a).max(initial=0.0)
        size = largest if largest > 0.0 else np.float64(1.0)
        return size * np.sqrt(np.dot(a / size, a / size))
    # By ``lax``, which is traced in a third of the time of ``jax.numpy``: no other function is compiled as often.
    leaves = [wide(x) for x in jax.tree.leaves(a) if np.size(x)]
    if not leaves:
        return wide(0.0)
    largest = functools.reduce(lax.max, (lax.reduce_max(lax.abs(x), tuple(range(x.ndim))) for x in leaves))
    size = select(largest > 0.0, largest, 1.0)
    squares = (lax.reduce_sum(lax.square(x / size), tuple(range(x.ndim))) for x in leaves)
    return size * lax.sqrt(functools.reduce(lax.add, squares))


def plain_norm(vector: Any) -> Any:
    """‖·‖₂ of one vector, which is not safe against overflow."""
    if on_host(vector):
        return np.float64(math.sqrt(np.dot(vector, vector)))
    return jnp.linalg.norm(vector)


def scale(factor: Any, a: Any) -> Any:
    """factor · a."""
    if on_host(a):
        return factor * a
    return jax.tree.map(lambda x: like(factor, x) * x, a)


def add(a: Any, b: Any) -> Any:
    """a + b."""
    return each(lambda x, y: x + y, a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """a where the scalar condition holds, else b."""
    if type(condition) in (np.bool_, bool) or (library(condition) is np and np.ndim(condition) == 0):
        return a if condition else b
    return jax.tree.map(lambda x, y: select(condition, x, y), a, b)


def select(condition: Any, a: Any, b: Any) -> Any:
    """``jnp.where`` of arrays or numbers: where the condition is a single one, one operation and no function more.

    Of NumPy's, on the host, what NumPy has.
    """
    if type(condition) in (np.bool_, bool):
        return a if condition else b
    if type(condition) is np.ndarray and library(a, b) is np:
        return np.where(condition, a, b)
    one, other = (getattr(x, "dtype", None) for x in (a, b))
    kind = one or other
    if np.ndim(condition) or kind is None or (one and other and one != other):
        return jnp.where(condition, a, b)
    shape = np.shape(a) if one else np.shape(b)
    whole = [x for x, known in ((a, one), (b, other)) if known]
    if any(np.shape(x) != shape for x in whole) or not all(_fits(x, kind) for x in (a, b)):
        return jnp.where(condition, a, b)
    # a number alone is of the other's kind and shape
    a, b = (x if known else lax.full(shape, x, kind) for x, known in ((a, one), (b, other)))
    return lax.select(condition, a, b)


def _fits(x: Any, kind: Any) -> bool:
    """Whether a number without a kind is one of that kind as ``jax.numpy`` has it; an array is."""
    kinds = {bool: "b", int: "iuf", float: "f"}
    return hasattr(x, "dtype") or kind.kind in kinds.get(type(x), "")


def branch(condition: Any, then: Any, otherwise: Any) -> Any:
    """``jax.lax.cond`` of functions of nothing; on the host the one of the two that is asked for."""
    if type(condition) in (np.bool_, bool):
        return then() if condition else otherwise()
    return lax.cond(condition, then, otherwise)


def either(condition: Any, then: Any, otherwise: Any) -> Any:
    """:func:`select`, leaf by leaf, of what two functions of nothing give; on the host of the one that is asked for."""
    if type(condition) in (np.bool_, bool):
        return then() if condition else otherwise()
    return jax.tree.map(lambda one, other: select(condition, one, other), then(), otherwise())


def whilst(on: Any, body: Any, begun: Any) -> Any:
    """``jax.lax.while_loop``; of NumPy's, passes on the host."""
    if library(*jax.tree.leaves(begun)) is not np:
        return lax.while_loop(on, body, begun)
    while on(begun):
        begun = body(begun)
    return begun


def row(rows: Any, place: Any) -> Any:
    """A row, which is there."""
    if type(rows) is np.ndarray and library(place) is np:
        return rows[place]
    return lax.dynamic_index_in_dim(rows, place, keepdims=False, allow_negative_indices=False)


def with_row(rows: Any, place: Any, row: Any) -> Any:
    """The rows with another in that place, which is there. (``.at[place].set`` takes five operations.)"""
    if type(rows) is np.ndarray and library(place, row) is np:
        changed = rows.copy()
        changed[place] = row
        return changed
    return lax.dynamic_update_index_in_dim(rows, row, place, 0, allow_negative_indices=False)


def of_each(a: Any, number: Any) -> Any:
    """A tree as it is, for ``vmap`` one of each member where ``number`` is: it compiles to nothing.

    Of a loop that begins with numbers of all members and ends with those of each, and of all loops in it, ``vmap``
    otherwise makes one version after another until none changes: of three nested ones eight of the innermost.
    """
    if library(number) is np:
        return a
    return jax.tree.map(lambda leaf: _select(number == number, leaf), a)


def _select(condition: Any, leaf: Any) -> Any:
    leaf = jnp.asarray(leaf, dtype=jnp.result_type(leaf))
    return lax.select(condition, leaf, leaf)


def passes(count: int, body: Any, begun: Any) -> Any:
    """``jax.lax.fori_loop`` of so many passes; of arrays on the host they are made one by one."""
    if library(*jax.tree.leaves(begun)) is not np:
        return lax.fori_loop(0, count, body, begun)
    for i in range(count):
        begun = body(i, begun)
    return begun


def finite(a: Any) -> Any:
    """Whether every entry is finite."""
    every = jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), a)
    return jax.tree.reduce(jnp.logical_and, every, jnp.asarray(True))


def shaken(a: Any, amount: Any, number: Any) -> Any:
    """Every entry x as x (1 ± amount), signs drawn from ``number``; a itself, bit for bit, with amount 0."""

    host = on_host(a)
    vector, unravel = (a, None) if host else ravel_pytree(a)
    xp = np if host else jnp
    # Integers well mixed; no key, whose programs would take longer to compile than all of this.
    mixed = xp.asarray(number).astype(xp.uint32).reshape(1) * xp.uint32(0x9E3779B1)
    bits = xp.arange(vector.size, dtype=xp.uint32) + mixed
    for _ in range(2):
        bits = (bits ^ (bits >> 16)) * xp.uint32(0x45D9F3B)
    signs = ((bits ^ (bits >> 16)) & 1).astype(vector.dtype) * 2.0 - 1.0
    moved = vector * (1.0 + amount * signs)
    return moved if unravel is None else unravel(moved)


@dataclass(frozen=True)
class Layout:
    """How a tree of float64 arrays lies in a vector; equal layouts are one compiled program.

    Examples
    --------
    >>> import numpy as np
    >>> from gradlab.dynamics.tree import Layout
    >>> layout = Layout.of((np.zeros((2, 2)), np.ones(3)))
    >>> layout.size, layout.flat(layout.tree(np.arange(7.0))).tolist()
    (7, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    """

    structure: Any
    shapes: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(a: Any) -> Layout:
        """The layout of a tree like this one."""
        leaves, structure = jax.tree.flatten(a)
        return Layout(structure, tuple(np.shape(leaf) for leaf in leaves))

    @functools.cached_property
    def size(self) -> int:
        """Numbers in all."""
        return sum(math.prod(shape) for shape in self.shapes)

    def flat(self, a: Any) -> Any:
        """The tree as a vector: of NumPy where all leaves are."""
        leaves = jax.tree.leaves(a)
        xp = library(*leaves)
        return xp.concatenate([xp.ravel(leaf) for leaf in leaves]) if leaves else xp.zeros(0)

    def host(self, a: Any) -> np.ndarray:
        """The tree as a vector of NumPy."""
        leaves = [np.asarray(leaf, np.float64).ravel() for leaf in jax.tree.leaves(a)]
        return np.concatenate(leaves) if leaves else np.zeros(0)

    def tree(self, vector: Any) -> Any:
        """The vector as a tree."""
        leaves, begin = [], 0
        for shape in self.shapes:
            end = begin + math.prod(shape)
            leaves.append(vector[begin:end].reshape(shape))
            begin = end
        return jax.tree.unflatten(self.structure, leaves)
