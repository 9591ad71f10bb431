"""The compile cache: what XLA compiled once, a later command on the same machine does not compile again.

Asked for by ``--compile-cache`` or the variable, and off otherwise: a process was once seen to abort while it wrote
an entry, for a reason that is not established. The folder is the user's own (``$XDG_CACHE_HOME/gradlab`` or
``~/.cache/gradlab``), one below it for every version of what compiles and every instruction set. An entry is machine
code, so the folder is used only where it belongs to the user and nobody else may write to it; an entry whose checksum
fails is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path

from gradlab.cli.errors import say

#: ``on``, or a folder of one's own; off unless set.
VARIABLE = "GRADLAB_COMPILE_CACHE"

_OFF, _ON = ("", "off", "0", "no"), ("on", "1", "yes")

#: Settings of jax: every program is kept, however small or quickly compiled.
_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
_FOLDER = "jax_compilation_cache_dir"


def folder() -> Path | None:
    """Where programs are kept; None unless the variable says so."""
    given = os.environ.get(VARIABLE, "")
    if given.lower() in _OFF:
        return None
    from gradlab.store.identity import environment

    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gradlab"
    place = environment()
    key = hashlib.sha256(repr(sorted((name, str(place[name])) for name in place)).encode()).hexdigest()[:16]
    return (home / "compiled" if given.lower() in _ON else Path(given)) / key


def keep() -> None:
    """Use the folder in this process, before it compiles anything, and in those that it starts.

    Where jax has been given a cache already, that one is used.
    """
    if os.environ.get(VARIABLE, "").lower() in _OFF or _FOLDER.upper() in os.environ:
        return
    where = folder()
    if where is None or not _own(where):
        return
    settings: dict[str, str | int] = {**_SETTINGS, _FOLDER: str(where)}
    os.environ.update({name.upper(): str(value) for name, value in settings.items()})
    if "jax" in sys.modules:
        import jax

        for name, value in settings.items():
            jax.config.update(name, value)


def _own(where: Path) -> bool:
    """Whether the folder is there (it is made), belongs to this user, and nobody else may write to it."""
    try:
        where.mkdir(parents=True, exist_ok=True, mode=0o700)
        seen = where.stat()
    except OSError:
        return False
    if hasattr(os, "getuid") and seen.st_uid != os.getuid():
        say(
            f"Nothing compiled is kept: {where} belongs to somebody else; name a folder of your own in {VARIABLE}."
        )
        return False
    if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        say(
            f"Nothing compiled is kept: others may write to {where}; chmod 700 it, or leave {VARIABLE} unset."
        )
        return False
    return True
