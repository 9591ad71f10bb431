"""Tasks come back once each, whatever runs them; a process that dies loses its own task and no other."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from gradlab.executing import Died, Lost, executor
from gradlab.machine import cores


def half(number: int) -> int:
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


def dies_once(path: str) -> str:
    """The first process that comes here is killed."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "second"
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def said() -> str | None:
    """How many threads linear algebra may take here."""
    return os.environ.get("OPENBLAS_NUM_THREADS")


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_task_comes_back_once_with_what_it_returned_or_raised(jobs: int) -> None:
    with executor(jobs) as running:
        assert running.here is (jobs == 1)
        numbers = [running.submit(half, number) for number in range(4)]
        seen = {}
        for done in running.as_completed():
            if not seen:
                numbers.append(running.submit(half, 10))
            seen[done.number] = str(done.error) if done.error else done.result()
        assert seen == {0: 0, 1: "1 is odd", 2: 1, 3: "3 is odd", 4: 5}
        assert numbers == [0, 1, 2, 3, 4]
        assert (running.progress.done, running.progress.total) == (5, 5)


def test_a_process_that_dies_is_tried_again_and_no_other_task_is_lost(tmp_path: Path) -> None:
    with executor(2) as running:
        running.submit(dies_once, str(tmp_path / "mark"))
        running.submit(dies)
        for number in range(0, 6, 2):
            running.submit(half, number)
        ended = {done.number: done for done in running.as_completed()}
    assert [ended[i].result() for i in (0, 2, 3, 4)] == ["second", 0, 1, 2]
    with pytest.raises(Died, match="out of memory, killed"):
        ended[1].result()


@pytest.mark.parametrize("own", [None, "3"])
def test_processes_share_the_cores_for_linear_algebra_unless_that_was_said(
    own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes all of them otherwise, and small problems wait for each other's threads."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    if own is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", own)
    with executor(2) as running:
        for _ in range(4):
            running.submit(said)
        seen = {done.result() for done in running.as_completed()}
    assert seen == {own or str(max(1, cores() // 2))}
    assert said() == own


def test_an_error_in_the_block_forgets_what_waits() -> None:
    running = executor(1)
    running.submit(half, 2)
    with pytest.raises(KeyError), running:
        raise KeyError
    assert list(running.as_completed()) == []


@pytest.mark.parametrize("jobs", [0, True, 1.5])
def test_a_number_of_jobs_that_is_none_is_refused(jobs: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        executor(jobs)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "tcp://127.0.0.1:9",
            r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 .*start one with `dask scheduler`",
        ),
        ("everywhere", "'everywhere' is no cluster: write --cluster local"),
        ("tcp://host:port", "is no cluster"),
    ],
)
def test_a_cluster_that_does_not_answer_is_one_sentence(address: str, said: str) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(Lost, match=said):
        executor(2, address)


def test_slurm_that_is_not_here_or_not_set_up_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Lost, match="no sbatch here"):
        executor(2, "slurm")
    (tmp_path / "sbatch").touch(0o755)
    with pytest.raises(Lost, match=r"has no cores and no memory: say queue.*jobqueue\.yaml"):
        executor(2, "slurm")


#: What slurm's commands do, for one machine: a job is a group of processes. The script is copied first, as slurm does:
#: who submits it removes it as soon as it is told the number.
SBATCH = '#!/bin/sh\ncp "$1" "$0.$$"\nsetsid sh "$0.$$" >/dev/null 2>&1 &\necho Submitted batch job $!\n'
SCANCEL = '#!/bin/sh\nkill -- "-$1" 2>/dev/null\nexit 0\n'


def test_slurm_runs_tasks_in_jobs_of_its_queue_and_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dask_jobqueue")
    dask = pytest.importorskip("dask")
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    asked = {"cores": 1, "memory": "1GB", "walltime": "00:10:00", "log-directory": str(tmp_path)}
    config = {f"jobqueue.slurm.{name}": value for name, value in asked.items()}
    with dask.config.set(config), executor(2, "slurm") as running:
        for _ in range(6):
            running.submit(os.getppid)
        parents = {done.result() for done in running.as_completed()}
    assert parents
    assert os.getpid() not in parents
    # The jobs end with the block: their groups are gone.
    deadline = time.monotonic() + 20.0
    while any(_lives(parent) for parent in parents) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_lives(parent) for parent in parents)


def _lives(process: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
