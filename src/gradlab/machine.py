"""What this machine gives: how many cores there are to run on."""

from __future__ import annotations

import os


def cores() -> int:
    """The cores that this process may use; all there are where the system does not say which are its own.

    Examples
    --------
    >>> from gradlab.machine import cores
    >>> cores() >= 1
    True
    """
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
