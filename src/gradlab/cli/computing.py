"""How every command that computes begins: double precision, and the compile cache."""

from __future__ import annotations

import os

from gradlab.cli import compile_cache
from gradlab.executing.local import seldom


def begin(quickly: bool = False) -> None:
    """Turn double precision on and use what was compiled before; ``quickly`` : compile so what says nothing else."""
    compile_cache.keep()
    seldom()
    import jax

    if quickly:
        by_default_quickly()

    jax.config.update("jax_enable_x64", True)


def by_default_quickly() -> None:
    """Have this process, and those that it starts, compile quickly whatever says nothing else; before a first program.

    What ``XLA_FLAGS`` says already stays.
    """
    from gradlab.problem.compiling import QUICKLY

    said = os.environ.get("XLA_FLAGS", "")
    flags = [f"--{name}={str(value).lower()}" for name, value in QUICKLY.items() if name not in said]
    os.environ["XLA_FLAGS"] = " ".join([said, *flags]).strip()
