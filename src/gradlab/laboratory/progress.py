"""Progress: whoever shows it listens here; silence is the default."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class Progress(Protocol):
    """Whoever shows progress: ``completed`` out of ``total`` records, with a word on what is running."""

    def update(self, description: str, completed: float, total: float) -> None: ...


#: Set by the command line (or anybody) to see progress; None is silence.
PROGRESS: ContextVar[Progress | None] = ContextVar("gradlab_progress", default=None)


def report_progress(description: str, completed: float, total: float) -> None:
    """Tell whoever listens how far the present computation is."""
    listener = PROGRESS.get()
    if listener is not None:
        listener.update(description, completed, total)
