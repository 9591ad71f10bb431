"""Progress: whoever shows it listens here; silence is the default."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

import numpy as np


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


@dataclass(frozen=True)
class Share:
    """The part of a run's progress that one solve from record to record makes up."""

    name: str
    low: float
    high: float
    total: float
    clock: str = "t"

    def tell(self, part: float, tau: float) -> None:
        """This part of it is done; the clock shows tau."""
        done = self.low + min(max(part, 0.0), 1.0) * (self.high - self.low)
        where = f"{self.name}, {self.clock} = {tau:.6g}" if np.isfinite(tau) else self.name
        report_progress(where, done, self.total)
