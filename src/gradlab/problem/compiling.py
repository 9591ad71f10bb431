"""How a program that runs a few times is compiled."""

from __future__ import annotations

import functools
from typing import Any

import jax

#: XLA without optimisation by LLVM and without fusion emitters: a fifth of the time to compile, 1.5 to 4 times to run.
#: A loop of gradients of a tanh net took 0.04 s to compile instead of 0.21 to 0.28, and 3.1 instead of 1.8 µs a pass
#: with 40 weights and 12 examples, 26 instead of 8 with 330 and 50, 67 instead of 16 with 840 and 100.
#: (One module of machine code instead of many saves another fifth.)
QUICKLY: dict[str, Any] = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


#: XLA's own defaults, told where a process compiles quickly by default.
FULLY: dict[str, Any] = {
    "xla_backend_optimization_level": 3,
    "xla_cpu_use_fusion_emitters": True,
    "xla_cpu_parallel_codegen_split_count": 32,
}


def on_cpu() -> bool:
    """Whether programs run on the CPU, whose compiler these options are for."""
    return jax.default_backend() == "cpu"


def normals(key: Any, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    """Standard normal arrays of those shapes, each from a key of its own split from the one given."""
    if isinstance(key, jax.core.Tracer):
        return _drawn(key, shapes)
    return _program(shapes, key.shape, key.dtype, jax.dtypes.canonicalize_dtype(float).itemsize)(key)


def _drawn(key: Any, shapes: tuple[tuple[int, ...], ...]) -> list[Any]:
    keys = jax.random.split(key, len(shapes))
    return [jax.random.normal(own, shape) for own, shape in zip(keys, shapes, strict=True)]


@functools.lru_cache(maxsize=256)
def _program(shapes: tuple[tuple[int, ...], ...], shape: tuple[int, ...], kind: Any, size: int) -> Any:
    """One program for all arrays of a network. (Each shape alone takes 0.3 s to compile as JAX does it.)"""
    lowered = jax.jit(lambda key: _drawn(key, shapes)).lower(jax.ShapeDtypeStruct(shape, kind))
    return lowered.compile(compiler_options=QUICKLY if on_cpu() else None)
