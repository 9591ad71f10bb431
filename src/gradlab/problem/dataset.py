"""Data: inputs, targets, an optional test split, and where they come from."""

import hashlib
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Num

from gradlab.modules import Module
from gradlab.problem.precision import float64, put


class _Remark:
    """A text equal to every other, so that data of different origin share compiled functions."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Remark)

    def __hash__(self) -> int:
        return hash(_Remark)

    def __repr__(self) -> str:
        return repr(self.text)


class Data(Module):
    """Data are N examples: inputs (N, *shape) and targets, with or without a test split.

    Targets are (N, C) floats for losses of residuals, (N,) floats ±1 for binary margin losses, (N,) integers
    0 … C−1 for cross-entropy. Anything that NumPy reads as arrays is taken, checked and kept in float64 (integer
    classes in int64). Traced arrays (under ``jit``, ``grad`` or ``vmap``), whose values are unknown, are kept as
    they are and not checked.

    Raises
    ------
    ValueError
        For arrays that are empty, not finite, not numbers, or that do not fit each other.

    Examples
    --------
    >>> import gradlab as gl
    >>> data = gl.Data([[1.0, 0.0], [0.0, 1.0]], [1, -1])
    >>> data.inputs.shape, data.targets.dtype
    ((2, 2), dtype('float64'))
    >>> gl.Data([[1.0]], [1, -1])
    Traceback (most recent call last):
        ...
    ValueError: there are 1 inputs and 2 targets: give one target per input
    """

    inputs: Float[Array, "N ..."]
    targets: Num[Array, "N ..."]
    test_inputs: Float[Array, "M ..."] | None
    test_targets: Num[Array, "M ..."] | None
    remark: _Remark = eqx.field(static=True)

    @float64
    def __init__(
        self,
        inputs: Any,
        targets: Any,
        test_inputs: Any = None,
        test_targets: Any = None,
        provenance: str = "given",
    ) -> None:
        if (test_inputs is None) != (test_targets is None):
            raise ValueError("a test split has test_inputs and test_targets; only one of them was given")
        arrays: tuple[Any, ...] = (inputs, targets, test_inputs, test_targets)
        if not any(isinstance(array, jax.core.Tracer) for array in arrays):
            arrays = tuple(None if array is None else put(array) for array in _checked(*arrays))
        self.inputs, self.targets, self.test_inputs, self.test_targets = arrays
        self.remark = _Remark(provenance)

    @property
    def provenance(self) -> str:
        """Where the data come from, in words; two data that differ only in it count as equal structures."""
        return self.remark.text

    def digest(self) -> str:
        """sha256, in hexadecimal, of shape, type and bytes of every array (provenance left out)."""
        total = hashlib.sha256()
        for name in ("inputs", "targets", "test_inputs", "test_targets"):
            part = getattr(self, name)
            if part is None:
                total.update(f"{name}: none\n".encode())
                continue
            array = np.ascontiguousarray(part)
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            total.update(f"{name}: {array.dtype.str} {array.shape}\n".encode())
            total.update(array.tobytes())
        return total.hexdigest()


# Checks ----------------------------------------------------------------------------------------------------


def _checked(inputs: Any, targets: Any, test_inputs: Any, test_targets: Any) -> tuple[Any, ...]:
    x, y = _inputs("inputs", inputs), _targets("targets", targets)
    _same_length("inputs", x, "targets", y)
    if test_inputs is None:
        return x, y, None, None
    test_x, test_y = _inputs("test_inputs", test_inputs), _targets("test_targets", test_targets)
    _same_length("test_inputs", test_x, "test_targets", test_y)
    if test_x.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"test_inputs have examples of shape {test_x.shape[1:]}, inputs of {x.shape[1:]}: give both alike"
        )
    if (test_y.shape[1:], test_y.dtype) != (y.shape[1:], y.dtype):
        raise ValueError(
            f"test_targets are {test_y.dtype} of shape {test_y.shape[1:]} an example, targets {y.dtype} "
            f"of {y.shape[1:]}: give both alike"
        )
    return x, y, test_x, test_y


def _numbers(name: str, given: Any) -> np.ndarray:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name} are no rectangular array ({error}): give rows of one length") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(
            f"{name} are of type {array.dtype}; numbers were expected: write numpy.asarray(..., float)"
        )
    if array.size == 0:
        raise ValueError(
            f"{name} are empty (shape {array.shape}); give at least one example and one number in it"
        )
    if not np.isfinite(array).all():
        first = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name} contain {array[first]} at {list(first)}; every number must be finite: "
            "drop or replace such rows"
        )
    return array


def _inputs(name: str, given: Any) -> np.ndarray:
    array = _numbers(name, given)
    if array.ndim < 2:
        raise ValueError(
            f"{name} have shape {array.shape}; (N, d) or (N, ...) was expected: "
            f"write {name}[:, None] for one feature"
        )
    return array.astype(np.float64)


def _targets(name: str, given: Any) -> np.ndarray:
    array = _numbers(name, given)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} have shape {array.shape}; (N,) labels or (N, C) numbers were expected")
    # integers in one dimension are classes, unless a negative one shows them to be signs
    classes = array.ndim == 1 and array.dtype.kind in "iu" and (array >= 0).all()
    return array.astype(np.int64 if classes else np.float64)


def _same_length(name: str, a: np.ndarray, other: str, b: np.ndarray) -> None:
    if len(a) != len(b):
        raise ValueError(f"there are {len(a)} {name} and {len(b)} {other}: give one target per input")
