"""Compiled programs are let go before there are too many of them.

Processes that compiled for a thousand tests were seen to abort inside XLA. Each program takes memory maps, of
which Linux gives a process 65 530 by default; that they ran out is the likely cause, and was not measured.
"""

from __future__ import annotations

import gc
from pathlib import Path

import jax

#: The part of the maps that may be in use before programs are let go.
_SHARE = 0.4


def let_go() -> bool:
    """Forget what has been compiled if its memory maps are many; whether that was so."""
    try:
        most = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii"))
        used = Path("/proc/self/maps").read_bytes().count(b"\n")
    except (OSError, ValueError):
        return False
    if used < _SHARE * most:
        return False
    jax.clear_caches()
    gc.collect()
    return True
