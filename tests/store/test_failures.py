"""Every file operation fails once, and a writer is killed at every change: nothing recorded is lost.

Run as a script, this file is the writer that is killed: ``python test_failures.py ROOT [OPERATION...]``.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlab.store import segment
from gradlab.store.disk import Disk
from gradlab.store.run import Identity, Locked, Run, StoreError

IDENTITY = Identity({"specification": {"factor": 0.9}, "data": "d"})
SEGMENTS = 2

#: After these the directory is another one; a kill before any other operation leaves what one of these did.
CHANGING = ("mkdir", "write", "rename", "fsync_directory")


class Interrupted(Disk):
    """Counts the primitive operations and calls `interrupt(name)` instead of, or after, the n-th.

    An interrupted write has written half of its bytes.
    """

    def __init__(self, at: int | None, interrupt: Callable[[str], None], after: bool = False):
        self.names: list[str] = []
        for name in Disk.PRIMITIVES:
            setattr(self, name, self._counted(name, getattr(super(), name), at, interrupt, after))

    def _counted(
        self, name: str, primitive: Any, at: int | None, interrupt: Callable[[str], None], after: bool
    ) -> Callable[..., Any]:
        def operation(*arguments: Any) -> Any:
            self.names.append(name)
            if len(self.names) - 1 != at:
                return primitive(*arguments)
            if after:
                primitive(*arguments)
            elif name == "write":
                primitive(arguments[0], arguments[1][: len(arguments[1]) // 2])
            interrupt(name)
            raise AssertionError("the interruption came back")

        return operation


def fail(name: str) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def kill(name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def story(root: Path, disk: Disk | None = None, page: bytes = b"a page") -> Path:
    """A run from wherever it stands to its end: two segments, a result, a page written twice."""
    with Run.create(root, IDENTITY, disk) as run:
        while run.segments < SEGMENTS:
            state = run.state() or {"y": np.arange(1.0, 4.0), "step": np.array(0)}
            y, step = state["y"], int(state["step"])
            orbit = np.stack([y * 0.9**k for k in range(1, 4)])
            run.append({"y": orbit}, {"y": orbit[-1], "step": np.int64(step + 3)}, seconds=0.5)
        if not run.attachments and run.finished is None:
            run.attach("page.html", b"a draft")
        run.finish("ended")
        run.attach("page.html", page)
    return run.path


def contents(path: Path) -> dict[str, bytes]:
    """The bytes of a run, but for the manifest and its head: a repeated page leaves lines there."""
    return {
        file.name: file.read_bytes()
        for file in path.iterdir()
        if file.name not in ("manifest.jsonl", "head", "lock")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The uninterrupted run."""
    found = contents(story(tmp_path_factory.mktemp("whole")))
    assert sorted(found) == ["page.html", "segment-00000.nc", "segment-00001.nc", "specification.json"]
    return found


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal segments are encoded once: their bytes are the same, as another test shows."""
    known: dict[Any, bytes] = {}

    def encode(recorded: Any, state: Any, encode: Callable[..., bytes] = segment.encode) -> bytes:
        key = str(recorded.to_dict()), str(state)
        if key not in known:
            known[key] = encode(recorded, state)
        return known[key]

    monkeypatch.setattr(segment, "encode", encode)


def operations(root: Path) -> list[str]:
    counting = Interrupted(None, fail)
    story(root, counting)
    return counting.names


def test_every_operation_of_the_disk_is_one_that_can_fail() -> None:
    composed = {"write_bytes_atomically", "take_lock", "release_lock", "lock"}
    public = {name for name, value in vars(Disk).items() if callable(value) and not name.startswith("_")}
    assert public - composed == set(Disk.PRIMITIVES)


def test_the_story_uses_every_primitive(tmp_path: Path) -> None:
    names = set(operations(tmp_path / "a"))
    (tmp_path / "a" / IDENTITY.name / "leftover.tmp").touch()
    again = Interrupted(None, fail)
    Run.open(tmp_path / "a" / IDENTITY.name, again, write=True).close()
    assert names | set(again.names) == set(Disk.PRIMITIVES)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("after", [False, True], ids=["instead", "after"])
def test_each_operation_that_fails_once_is_one_sentence_and_the_run_resumes(
    tmp_path: Path, whole: dict[str, bytes], after: bool
) -> None:
    for at, name in enumerate(operations(tmp_path / "count")):
        if after and name not in CHANGING:
            continue
        root = tmp_path / str(at)
        disk = Interrupted(at, fail, after)
        with pytest.raises(StoreError) as caught:
            story(root, disk)
        said = str(caught.value)
        assert disk.names[at] == name
        assert str(root) in said, (at, name, said)
        assert "No space left on device" in said
        assert "resume" in said or "give the same command again" in said
        assert "\n" not in said
        if (root / IDENTITY.name).exists():
            assert Run.open(root / IDENTITY.name).segments <= SEGMENTS
        assert contents(story(root)) == whole, (at, name)
        assert os.listdir(root) == [IDENTITY.name]


def test_an_operation_that_fails_while_a_killed_run_is_tidied_is_one_sentence_too(tmp_path: Path) -> None:
    path = story(tmp_path)
    manifest = (path / "manifest.jsonl").read_bytes()
    counting = Interrupted(None, fail)
    leftovers = [path / name for name in ("segment-00007.nc", "segment-00008.nc.tmp")]
    for at in [None, *range(14)]:
        for leftover in leftovers:
            leftover.write_bytes(b"half")
        if at is None:
            Run.open(path, counting, write=True).close()
            assert len(counting.names) == 14
            continue
        with pytest.raises(StoreError, match="gradlab resume") as caught:
            Run.open(path, Interrupted(at, fail), write=True).close()
        assert str(path) in str(caught.value)
    Run.open(path, write=True).close()
    assert not list(path.glob("segment-0000[78]*"))
    assert (path / "manifest.jsonl").read_bytes() == manifest


def test_after_a_failure_the_run_object_refuses_and_the_lock_is_free(tmp_path: Path) -> None:
    disk = Disk()
    run = Run.create(tmp_path, IDENTITY, disk)
    run.append({"y": np.ones(2)}, {})
    disk.rename = lambda source, target: fail("rename")  # type: ignore[method-assign]
    with pytest.raises(StoreError, match=r"writing segment-00001\.nc failed at .*segment-00001\.nc \("):
        run.append({"y": np.ones(2)}, {})
    with pytest.raises(ValueError, match="open it with"):
        run.append({"y": np.ones(2)}, {})
    Run.open(run.path, write=True).close()


def test_a_file_system_without_locks_is_not_taken_for_another_writer(tmp_path: Path) -> None:
    class Lockless(Disk):
        def flock(self, descriptor: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

    with pytest.raises(StoreError, match="No locks available") as caught:
        Run.create(tmp_path, IDENTITY, Lockless())
    assert not isinstance(caught.value, Locked)


@pytest.mark.usefixtures("fast")
def test_a_writer_killed_at_every_change_of_the_directory_leaves_a_run_that_opens_and_ends_the_same(
    tmp_path: Path, whole: dict[str, bytes]
) -> None:
    points = [at for at, name in enumerate(operations(tmp_path / "count")) if name in CHANGING]
    command = [sys.executable, __file__, str(tmp_path), *map(str, points)]
    subprocess.run(command, check=True, timeout=600)
    reached = set()
    for at in points:
        root = tmp_path / str(at)
        if (root / IDENTITY.name).exists():
            run = Run.open(root / IDENTITY.name)
            reached.add((run.segments, run.finished))
        assert contents(story(root)) == whole, at
        assert os.listdir(root) == [IDENTITY.name]
    assert reached == {(0, None), (1, None), (2, None), (2, "ended")}


def test_a_writer_killed_at_random_moments_can_always_be_continued(tmp_path: Path) -> None:
    generator = random.Random(3)
    command = [sys.executable, __file__, str(tmp_path / "x")]
    before = -1
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
            time.sleep(generator.uniform(0.0, 0.2))
            writer.kill()
        run = Run.open(tmp_path / "x" / IDENTITY.name, write=True)
        np.testing.assert_array_equal(run.dataset().get("y", np.zeros(0)), np.arange(float(run.segments)))
        assert run.segments > before
        before = run.segments
        run.close()


def _killed_at(root: Path, points: list[int]) -> None:
    for at in points:
        child = os.fork()
        if child == 0:
            story(root / str(at), Interrupted(at, kill))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"the writer outlived operation {at}"


def _writing_for_ever(root: Path) -> None:
    with Run.create(root, IDENTITY) as run:
        run.append({"y": np.array([float(run.segments)])}, {})
        print("writing", flush=True)
        while True:
            run.append({"y": np.array([float(run.segments)])}, {})


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _killed_at(Path(sys.argv[1]), [int(at) for at in sys.argv[2:]])
    else:
        _writing_for_ever(Path(sys.argv[1]))
