"""How a program that runs a few times is compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

#: XLA without optimisation by LLVM and without fusion emitters: a fifth of the time to compile, 1.5 to 4 times to run.
#: A loop of gradients of a tanh net took 0.04 s to compile instead of 0.21 to 0.28, and 3.1 instead of 1.8 µs a pass
#: with 40 weights and 12 examples, 26 instead of 8 with 330 and 50, 67 instead of 16 with 840 and 100.
#: (One module of machine code instead of many saves another fifth.)
QUICKLY: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


#: LLVM's first level, without fusion emitters: a solver's loop for an ensemble of small nets took 1.4 s to compile, 0.7
#: quickly and 2.5 fully, and 110 µs an evaluation, 250 quickly and 125 fully. A pass through a larger net takes a tenth
#: more than fully.
MODERATELY: dict[str, Any] = QUICKLY | {"xla_backend_optimization_level": 1}

#: XLA's own defaults, told where a process compiles quickly by default.
FULLY: dict[str, Any] = {
    "xla_backend_optimization_level": 3,
    "xla_cpu_use_fusion_emitters": True,
    "xla_cpu_parallel_codegen_split_count": 32,
}


def on_cpu() -> bool:
    """Whether programs run on the CPU, whose compiler these options are for."""
    return jax.default_backend() == "cpu"


#: Weights² × examples of a Hessian up to which a program that runs some ten times is compiled quickly.
_SMALL = 1e7


def compiled(function: Callable[..., Any], options: dict[str, Any] = QUICKLY) -> Callable[..., Any]:
    """``eqx.filter_jit`` of a function of a problem, and of more: with these options where its Hessian is small."""

    @functools.cache
    def program(small: bool) -> Callable[..., Any]:
        # what equinox hands on to jax.jit is not in its types
        jit: Any = eqx.filter_jit
        return jit(function, compiler_options=options if small else None)

    @functools.wraps(function)
    def call(problem: Any, *others: Any) -> Any:
        work = float(problem.size) ** 2 * np.shape(problem.data.inputs)[0]
        return program(on_cpu() and work <= _SMALL)(problem, *others)

    return call


#: Arrays of one shape beyond which they are drawn as one, to the same bits: each alone takes 0.14 s to compile.
_ALIKE = 8


def normals(key: Any, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    """Standard normal arrays of those shapes, each from a key of its own split from the one given."""
    if isinstance(key, jax.core.Tracer):
        return _each(_drawn(key, shapes), shapes)
    program = _program(shapes, key.shape, key.dtype, jax.dtypes.canonicalize_dtype(float).itemsize)
    return _each([np.asarray(array) for array in program(key)], shapes)


def _together(shapes: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Places of the arrays that are drawn as one: those of a shape that many have, and each other one."""
    alike = [[at for at, other in enumerate(shapes) if other == shape] for shape in dict.fromkeys(shapes)]
    return [part for group in alike for part in ([group] if len(group) > _ALIKE else [[at] for at in group])]


def _drawn(key: Any, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    keys = jax.random.split(key, len(shapes))
    return [
        jax.random.normal(keys[group[0]], shapes[group[0]])[None]
        if len(group) == 1
        else jax.vmap(lambda own, shape=shapes[group[0]]: jax.random.normal(own, shape))(
            keys[np.asarray(group)]
        )
        for group in _together(shapes)
    ]


def _each(drawn: list[Any], shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    places = {at: (k, row) for k, group in enumerate(_together(shapes)) for row, at in enumerate(group)}
    return [drawn[k][row] for k, row in (places[at] for at in range(len(shapes)))]


@functools.lru_cache(maxsize=256)
def _program(shapes: tuple[tuple[int, ...], ...], shape: tuple[int, ...], kind: Any, size: int) -> Any:
    """One program for all arrays of a network. (Each shape alone takes 0.3 s to compile as JAX does it.)"""
    lowered = jax.jit(lambda key: _drawn(key, shapes)).lower(jax.ShapeDtypeStruct(shape, kind))
    return lowered.compile(compiler_options=QUICKLY if on_cpu() else None)
