"""What a computation of many tasks asks of whatever runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self


class Died(RuntimeError):
    """The process that ran a task died, and again when the task was tried anew; the message says of what, perhaps."""


class Lost(ValueError):
    """The cluster does not answer, or no longer; the message says what to do."""


@dataclass(frozen=True)
class Done:
    """A task that has ended: its number, as ``submit`` gave it, and what it returned or raised."""

    number: int
    value: Any = None
    error: BaseException | None = None

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.value


@dataclass(frozen=True)
class TaskCounts:
    """How many tasks have ended, of how many that were submitted."""

    done: int
    total: int


class Executor(ABC):
    """Tasks go in by :meth:`submit` and come out of :meth:`as_completed` as they end, in any order.

    A context manager: where its block ends, by an error or Ctrl-C too, no process that it started is left.
    A function that is submitted, and its arguments, are found by name or pickled where they leave this process.

    Attributes
    ----------
    jobs : tasks at a time.
    here : whether tasks run in this process.
    """

    jobs: int = 1
    here: bool = False

    def __init__(self) -> None:
        self._done, self._total = 0, 0

    @abstractmethod
    def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
        """Have ``function(*arguments)`` run some time, and give the number of the task, counted from 0."""

    @abstractmethod
    def as_completed(self) -> Iterator[Done]:
        """Each task once, when it has ended; tasks may be submitted on the way.

        A task whose process died is tried once more at least; then its error is :class:`Died`.

        Raises
        ------
        Lost
            If the cluster is gone.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Forget the tasks that wait, end those that run."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds; nothing is submitted after."""

    @property
    def progress(self) -> TaskCounts:
        """How many tasks have ended, of how many."""
        return TaskCounts(self._done, self._total)

    def _number(self) -> int:
        self._total += 1
        return self._total - 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.cancel()
        self.close()
