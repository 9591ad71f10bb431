"""What the jaxpr of a function says of it: its precision, what depends on what, whether it is the same each time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from gradlab.problem.own_code import line_of, users

#: These move numbers and leave them as they are.
_MOVING = {
    "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "dynamic_slice", "gather", "iota", "pad",
    "reshape", "rev", "select_n", "slice", "squeeze", "stop_gradient", "transpose",
}  # fmt: skip


def traced(function: Callable[..., Any], *args: Any) -> ClosedJaxpr:
    """The jaxpr of ``function``, traced afresh: what an earlier call left in caches is not taken."""
    return jax.make_jaxpr(lambda *given: function(*given))(*args)


def _inner(equation: Any) -> list[tuple[Jaxpr, Sequence[Any]]]:
    """The jaxprs among an equation's parameters, with their constants."""
    found: list[tuple[Jaxpr, Sequence[Any]]] = []
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr):
                found.append((part.jaxpr, part.consts))
            elif isinstance(part, Jaxpr):
                found.append((part, ()))
    return found


def equations(jaxpr: Jaxpr) -> Iterator[Any]:
    """All equations, inner ones included."""
    for equation in jaxpr.eqns:
        yield equation
        for part, _ in _inner(equation):
            yield from equations(part)


# Precision -------------------------------------------------------------------------------------------------


def _float_bits(variable: Any) -> int:
    """Bits of a floating type, 0 of any other."""
    return _bits(getattr(getattr(variable, "aval", None), "dtype", None))


def _bits(kind: Any) -> int:
    return 0 if kind is None or not jnp.issubdtype(kind, jnp.inexact) else int(jnp.finfo(kind).bits)


def narrowest(closed: ClosedJaxpr) -> tuple[str, str]:
    """(type, place): the narrowest floating type in which something is *computed*, and where; ("", "") for float64.

    A constant that comes in float32 and is converted, or a mask of zeros and ones, is not computed in it.
    """
    found, where, least = "", "", 64
    for equation in equations(closed.jaxpr):
        widths = [bits for variable in equation.invars if (bits := _float_bits(variable))]
        for variable in equation.outvars:
            bits = _float_bits(variable)
            rounds = equation.primitive.name not in _MOVING or any(width > bits for width in widths)
            if bits and bits < least and rounds:
                found, where, least = str(variable.aval.dtype), _place(equation), bits
    return found, where


def constants_in_single(closed: ClosedJaxpr) -> bool:
    """Whether constants that the function closes over come in a floating type below float64."""
    return any(0 < _bits(getattr(constant, "dtype", None)) < 64 for constant in closed.consts)


def _place(equation: Any) -> str:
    frames = getattr(getattr(equation.source_info, "traceback", None), "frames", ())
    for frame in frames:
        if users(frame.file_name):
            return line_of(frame.file_name, frame.line_num)
    return ""


# Sameness --------------------------------------------------------------------------------------------------


def fingerprint(closed: ClosedJaxpr) -> str:
    """A digest of what is computed: primitives, types, literals and constants, and nothing that has an address."""
    total = hashlib.sha256()
    _digest(closed.jaxpr, closed.consts, total)
    return total.hexdigest()


def _digest(jaxpr: Jaxpr, consts: Sequence[Any], total: Any) -> None:
    numbers: dict[Any, int] = {}

    def name(variable: Any) -> str:
        if isinstance(variable, Literal):
            return f"literal {_bytes(variable.val)!r}"
        return str(numbers.setdefault(variable, len(numbers)))

    for constant in consts:
        total.update(_bytes(constant))
    for variable in (*jaxpr.constvars, *jaxpr.invars):
        name(variable)
    for equation in jaxpr.eqns:
        inputs, outputs = ([name(one) for one in side] for side in (equation.invars, equation.outvars))
        kinds = [str(one.aval) for one in equation.outvars]
        plain = {k: v for k, v in equation.params.items() if isinstance(v, int | float | str | tuple | None)}
        total.update(f"{equation.primitive.name} {inputs} {outputs} {kinds} ".encode())
        for key in sorted(plain):
            if not _inner_value(plain[key]) and " at 0x" not in (text := repr(plain[key])):
                total.update(f"{key}={text} ".encode())
        for part, held in _inner(equation):
            _digest(part, held, total)
    total.update(str([name(one) for one in jaxpr.outvars]).encode())


def _inner_value(value: Any) -> bool:
    parts = value if isinstance(value, tuple) else (value,)
    return any(isinstance(part, ClosedJaxpr | Jaxpr) for part in parts)


def _bytes(value: Any) -> bytes:
    if jnp.issubdtype(getattr(value, "dtype", np.float64), jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return f"{array.dtype}{array.shape}".encode() + array.tobytes()


# Dependence ------------------------------------------------------------------------------------------------


def depends(closed: ClosedJaxpr, inputs: Sequence[int]) -> list[bool]:
    """Of every output, whether it is made from one of the inputs numbered so (or, where that is hidden, may be)."""
    flags = [number in inputs for number in range(len(closed.jaxpr.invars))]
    return _depends(closed.jaxpr, flags)


def _depends(jaxpr: Jaxpr, flags: Sequence[bool]) -> list[bool]:
    reached = {variable for variable, flag in zip(jaxpr.invars, flags, strict=True) if flag}

    def is_reached(variable: Any) -> bool:
        return not isinstance(variable, Literal) and variable in reached

    for equation in jaxpr.eqns:
        inputs = [is_reached(variable) for variable in equation.invars]
        outputs = [any(inputs)] * len(equation.outvars)
        parts = _inner(equation)
        if len(parts) == 1 and equation.primitive.name in (
            "jit",
            "pjit",
            "closed_call",
            "remat2",
            "checkpoint",
        ):
            inner = parts[0][0]
            if (len(inner.invars), len(inner.outvars)) == (len(inputs), len(outputs)):
                outputs = _depends(inner, inputs)
        reached |= {one for one, flag in zip(equation.outvars, outputs, strict=True) if flag}
    return [is_reached(variable) for variable in jaxpr.outvars]
