"""Tasks on this machine: one after the other in this process, or in spawned ones."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from gradlab.executing.executor import Died, Done, Executor
from gradlab.machine import cores

_Call = tuple[Callable[..., Any], tuple[Any, ...]]


def seldom() -> None:
    """Have Python look for garbage more seldom: tracing leaves much that is none, and looking took a twentieth of all.

    For processes of gradlab's own, once at their beginning.
    """
    gc.set_threshold(10_000, 20, 20)


#: How many threads libraries of linear algebra take, each by the name it goes by.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@contextmanager
def shared(jobs: int) -> Iterator[None]:
    """Processes that are started here take their share of the cores for linear algebra, unless that was said.

    Each takes all of them otherwise, and they wait for each other: least squares of four unknowns took two processes on
    two cores four times as long.
    """
    said = any(name in os.environ for name in _THREADS)
    share = {} if said else dict.fromkeys(_THREADS, str(max(1, cores() // jobs)))
    os.environ.update(share)
    try:
        yield
    finally:
        for name in share:
            os.environ.pop(name, None)


class Serial(Executor):
    """Each task when it is asked for, in this process, in the order of submission."""

    here = True

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[tuple[int, _Call]] = deque()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
        number = self._number()
        self._waiting.append((number, (function, arguments)))
        return number

    def as_completed(self) -> Iterator[Done]:
        while self._waiting:
            number, (function, arguments) = self._waiting.popleft()
            try:
                done = Done(number, function(*arguments))
            except Exception as error:
                done = Done(number, error=error)
            self._done += 1
            yield done

    def cancel(self) -> None:
        self._waiting.clear()

    def close(self) -> None:
        """There is nothing to give back."""


class Processes(Executor):
    """Tasks in ``jobs`` spawned processes (a fork after JAX has started deadlocks).

    No more tasks are handed to the processes than run, so that of a process that dies it is known which tasks it can
    have run: those are tried again, each in a process of its own; the others go on.
    """

    def __init__(self, jobs: int) -> None:
        super().__init__()
        self.jobs = jobs
        self._waiting: deque[tuple[int, _Call]] = deque()
        self._flying: dict[Future[Any], tuple[int, _Call]] = {}
        self._pool: ProcessPoolExecutor | None = None
        self._before: set[Any] = set()

    def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
        number = self._number()
        self._waiting.append((number, (function, arguments)))
        return number

    def as_completed(self) -> Iterator[Done]:
        while self._waiting or self._flying:
            while self._waiting and len(self._flying) < self.jobs:
                self._start(self._waiting.popleft(), self.jobs)
            ended, _ = wait(self._flying, return_when=FIRST_COMPLETED)
            died = []
            for future in ended:
                task = self._flying.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    died.append(task)
                else:
                    yield self._ended(task[0], future)
            if died:
                died += self._flying.values()
                self._flying.clear()
                yield from self._alone(died)

    def _alone(self, tasks: list[tuple[int, _Call]]) -> Iterator[Done]:
        """Each in a process of its own: one that dies takes no other along."""
        for task in sorted(tasks):
            self._drop()
            future = self._start(task, 1)
            wait([future])
            del self._flying[future]
            yield self._ended(task[0], future)
        self._drop()

    def _start(self, task: tuple[int, _Call], jobs: int) -> Future[Any]:
        if self._pool is None:
            self._before = set(multiprocessing.active_children())
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)
        function, arguments = task[1]
        with shared(self.jobs):
            # Which starts a process where none is free.
            future = self._pool.submit(function, *arguments)
        self._flying[future] = task
        return future

    def _ended(self, number: int, future: Future[Any]) -> Done:
        self._done += 1
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            died = Died("out of memory, killed, or a crash below Python")
            died.__cause__ = error
            return Done(number, error=died)
        return Done(number, error=error) if error is not None else Done(number, future.result())

    def cancel(self) -> None:
        self._waiting.clear()
        self._flying.clear()
        self._drop()

    def close(self) -> None:
        self._drop()

    def _drop(self) -> None:
        """End the processes, whatever they do: of themselves they take a second each to forget what was compiled."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - self._before:
                child.terminate()
            self._pool = None


def _begin() -> None:
    """Ctrl-C reaches the whole process group; the parent alone answers, by ending its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    seldom()
