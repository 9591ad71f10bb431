"""Memory maps of this process: compiled programs are let go before there are too many of them.

Each program takes some thirty maps, of which Linux gives a process 65 530 by default: a process that meets some 200
new small problems and forgets nothing ends in a fault inside XLA (LLVM cannot allocate memory; measured).
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from pathlib import Path

import jax

#: The part of the maps that may be in use before programs are let go.
_SHARE = 0.4
#: Problems between two looks at them: a look takes 1 to 25 ms, and a new problem 140 to 300 maps.
_EVERY = 32
_MET = itertools.count(1)
#: What else remembers programs, each a function that forgets them.
FORGETS: list[Callable[[], None]] = []


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
    for forget in FORGETS:
        forget()
    gc.collect()
    return True


def room() -> None:
    """Called wherever a problem is made: at every so many of them let programs go if they are many."""
    if next(_MET) % _EVERY == 0:
        let_go()
