"""Files written behind a program that goes on: by one thread, in the order in which they were given."""

from __future__ import annotations

import warnings
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

#: Files that may wait; a program that gives more waits for the first of them.
MOST = 3

_EVERY: weakref.WeakSet[Behind] = weakref.WeakSet()


class Behind:
    """A thread that does one thing after the other, while whoever asked goes on.

    What fails is raised by the next call, or by :meth:`settle`; where none comes it is a warning, at the latest when
    Python ends, which waits for what is left to do.
    """

    def __init__(self) -> None:
        self._pending: deque[Future[Any]] = deque()
        self._pool = ThreadPoolExecutor(1, "gradlab-behind")  # its thread starts with the first task
        weakref.finalize(self, _tell, self._pending)
        _EVERY.add(self)

    def do(self, task: Callable[[], Any]) -> None:
        """Do this when what was asked before is done; wait where ``MOST`` are waiting.

        Raises
        ------
        Exception
            What an earlier task raised.
        """
        while self._pending and (self._pending[0].done() or len(self._pending) >= MOST):
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(task))

    def settle(self) -> None:
        """Wait until all is done; raises what a task raised."""
        while self._pending:
            self._pending.popleft().result()


def settle_all() -> None:
    """Wait for every :class:`Behind` of this process, so that what it wrote can be read."""
    for one in list(_EVERY):
        one.settle()


def _tell(pending: deque[Future[Any]]) -> None:
    for one in pending:
        error = one.exception()
        if error is not None:
            warnings.warn(str(error), stacklevel=2)
