"""How every command that computes begins: double precision, and the compile cache."""

from __future__ import annotations

from gradlab.cli import compile_cache


def begin(quickly: bool = False) -> None:
    """Turn double precision on and use what was compiled before; ``quickly`` : compile so what says nothing else."""
    compile_cache.keep()
    import jax

    if quickly:
        from gradlab.problem import compiling

        compiling.by_default_quickly()

    jax.config.update("jax_enable_x64", True)
