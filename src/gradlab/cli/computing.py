"""How every command that computes begins: double precision, and the compile cache."""

from __future__ import annotations

from gradlab.cli import compile_cache


def begin() -> None:
    """Turn double precision on and use what was compiled before."""
    compile_cache.keep()
    import jax

    jax.config.update("jax_enable_x64", True)
