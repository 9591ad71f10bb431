"""Tasks on a Dask cluster; the only import of Dask."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from gradlab.executing.executor import Died, Done, Executor, Lost
from gradlab.wording import brief, quoted

#: Seconds that a scheduler has to answer in.
ANSWER = 10.0
#: Tasks that a scheduler holds at a time: enough to keep some hundred workers busy, few for its memory.
WINDOW = 4096


class Cluster(Executor):
    """Tasks on Dask's workers.

    Parameters
    ----------
    where : ``local`` : a scheduler and ``jobs`` workers of one thread on this machine, bound to 127.0.0.1, without
        dashboard, which end with this. ``slurm`` : ``jobs`` jobs of the queue, as Dask's ``jobqueue.yaml`` says, which
        end with this too. Else the address of a scheduler, which with its workers is left as it is.

    A task whose worker dies is tried again on another one, four times in all.

    Raises
    ------
    ValueError
        Where Dask (or dask-jobqueue) is not installed.
    Lost
        Where no scheduler answers.
    """

    def __init__(self, where: str, jobs: int) -> None:
        super().__init__()
        self.jobs, self.where = jobs, where
        self._waiting: deque[tuple[int, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._flying: dict[str, tuple[int, Any]] = {}
        self._name = f"gradlab-{uuid4().hex}"
        self._dask = _dask()
        self._cluster = self._started()
        if self._cluster is None:
            _answers(where)
        try:
            self._client = self._dask.Client(self._cluster or where, timeout=ANSWER, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise _silent(where, str(error)) from error

    def _started(self) -> Any:
        if self.where == "local":
            return self._dask.LocalCluster(
                n_workers=self.jobs,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # no dashboard is served there, only counts of the scheduler
                scheduler_kwargs={"dashboard": False},
                silence_logs=logging.CRITICAL,
            )
        if self.where == "slurm":
            return _slurm(self.jobs)
        return None

    def submit(self, function: Callable[..., Any], *arguments: Any) -> int:
        number = self._number()
        self._waiting.append((number, function, arguments))
        return number

    def as_completed(self) -> Iterator[Done]:
        ended = self._dask.as_completed(loop=self._client.loop)
        while self._waiting or self._flying:
            while self._waiting and len(self._flying) < WINDOW:
                number, function, arguments = self._waiting.popleft()
                key = f"{self._name}-{number}"
                future = self._client.submit(_alone, function, *arguments, key=key, pure=False)
                self._flying[key] = (number, future)
                ended.add(future)
            batch = ended.next_batch(block=True)
            values = self._values([future for future in batch if future.status == "finished"])
            for future in batch:
                number, _ = self._flying.pop(future.key)
                yield self._ended(number, future, values)

    def _values(self, finished: list[Any]) -> dict[str, Any]:
        """What tasks returned, by their keys, in one question: one for each is what a small task would cost."""
        if not finished:
            return {}
        try:
            values = self._client.sync(
                lambda: self._client.gather(finished, asynchronous=True), callback_timeout=60.0
            )
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            raise self._lost() from error
        return dict(zip((future.key for future in finished), values, strict=True))

    def _ended(self, number: int, future: Any, values: dict[str, Any]) -> Done:
        if future.key in values:
            self._done += 1
            return Done(number, values[future.key])
        if future.status != "error":
            raise self._lost()
        self._done += 1
        raised = future.exception()
        if isinstance(raised, self._dask.KilledWorker):
            died = Died(
                f"out of memory, killed, or a crash below Python, on {raised.allowed_failures + 1} workers one after "
                "the other; give workers more memory (fewer --jobs, dask worker --memory-limit)"
            )
            died.__cause__ = raised
            return Done(number, error=died)
        return Done(number, error=raised)

    def _lost(self) -> Lost:
        return Lost(
            f"the Dask scheduler ({self.where}) has gone away; what is done is kept: start it again, and give the same "
            "command once more"
        )

    def cancel(self) -> None:
        self._waiting.clear()
        futures = [future for _, future in self._flying.values()]
        self._flying.clear()
        if futures and self._client.status == "running":
            self._client.cancel(futures, force=True)

    def close(self) -> None:
        self._client.close(timeout=5.0)
        if self._cluster is not None:
            self._cluster.close(timeout=5.0)


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task on a worker. (xarray would ask the scheduler for a lock whenever it reads a file there.)"""
    import dask

    with dask.config.set(scheduler="synchronous"):
        return function(*arguments)


def _answers(address: str) -> None:
    """Whether something listens there, before Dask is asked, which would wait."""
    try:
        place = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = place.hostname, place.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise Lost(
            f"{quoted(address)} is no cluster: write --cluster local, --cluster slurm, or an address such as "
            "tcp://host:8786"
        )
    try:
        socket.create_connection((host, port), ANSWER).close()
    except OSError as error:
        raise _silent(address, error.strerror or str(error)) from error


def _silent(address: str, why: str) -> Lost:
    return Lost(
        f"no Dask scheduler answers at {brief(address)} ({brief(why, 120)}): start one with `dask scheduler`, or write "
        "--cluster local"
    )


def _dask() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ValueError(
            "a cluster needs Dask, which is not installed: pip install 'gradlab[cluster]'"
        ) from error
    return distributed


def _slurm(jobs: int) -> Any:
    try:
        import dask
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise ValueError(
            "--cluster slurm needs dask-jobqueue, which is not installed: pip install 'gradlab[cluster]'"
        ) from error
    told = "say queue, cores, memory and walltime in ~/.config/dask/jobqueue.yaml"
    if shutil.which("sbatch") is None:
        raise Lost(
            f"there is no sbatch here: give the command on a machine that hands jobs to slurm, and {told}"
        )
    missing = [
        name for name in ("cores", "memory") if dask.config.get(f"jobqueue.slurm.{name}", None) is None
    ]
    if missing:
        raise Lost(f"Dask's jobqueue.slurm has no {' and no '.join(missing)}: {told}")
    try:
        cluster = SLURMCluster(scheduler_options={"dashboard_address": "127.0.0.1:0", "dashboard": False})
        cluster.scale(jobs)
    except (OSError, ValueError, RuntimeError) as error:
        raise Lost(f"no job could be given to slurm ({brief(str(error), 200)}): {told}") from error
    return cluster
