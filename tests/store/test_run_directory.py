"""What a run directory keeps: segments, state, result, attached files, children; and who may write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from gradlab.store.run import Corrupt, Foreign, Identity, Locked, Run, StoreError

IDENTITY = Identity({"specification": {"seed": 1}, "data": "d", "cores": 2})
ELSEWHERE = Identity({"specification": {"seed": 1}, "data": "d", "cores": 4})


def part(index: int) -> dict[str, np.ndarray]:
    return {"loss": np.array([index, index + 0.5]), "norm": np.full((2, 3), float(index))}


def begun(root: Path, segments: int = 2) -> Run:
    """A run with some segments, open for writing."""
    run = Run.create(root, IDENTITY)
    for index in range(segments):
        run.append(part(index), {"y": np.full(2, index), "step": np.int64(index)}, seconds=0.25)
    return run


def test_a_run_gives_back_its_segments_joined_and_its_last_state(tmp_path: Path) -> None:
    begun(tmp_path, 3).close()
    run = Run.open(tmp_path / IDENTITY.name)
    assert run.identity == IDENTITY
    assert (run.segments, run.seconds, run.finished, run.parent) == (3, 0.75, None, None)
    np.testing.assert_array_equal(run.dataset()["loss"], [0, 0.5, 1, 1.5, 2, 2.5])
    state = run.state()
    assert state is not None
    assert int(state["step"]) == 2


def test_a_new_run_has_no_segments_no_state_and_an_empty_dataset(tmp_path: Path) -> None:
    with Run.create(tmp_path / "deep" / "root", IDENTITY) as run:
        assert run.segments == 0
        assert run.state() is None
        xr.testing.assert_identical(run.dataset(), xr.Dataset())
    assert Run.open(run.path).segments == 0


def test_creating_a_run_again_continues_it(tmp_path: Path) -> None:
    begun(tmp_path, 1).close()
    with Run.create(tmp_path, IDENTITY) as run:
        assert run.segments == 1
        assert run.append(part(1), {}) == "segment-00001.nc"
    assert os.listdir(tmp_path) == [IDENTITY.name]


def test_what_a_kill_left_of_an_unfinished_beginning_is_swept_away(tmp_path: Path) -> None:
    staging = tmp_path / f".{IDENTITY.name}.tmp"
    staging.mkdir()
    for name in ("specification.json", "segment-00003.nc", "head.tmp"):
        (staging / name).write_bytes(b"half")
    begun(tmp_path, 1).close()
    assert os.listdir(tmp_path) == [IDENTITY.name]
    kept = ["head", "lock", "manifest.jsonl", "segment-00000.nc", "specification.json"]
    assert sorted(os.listdir(tmp_path / IDENTITY.name)) == kept


def test_wall_time_stays_out_of_the_segments(tmp_path: Path) -> None:
    for root, seconds in ((tmp_path / "a", 1.0), (tmp_path / "b", 2.0)):
        with Run.create(root, IDENTITY) as run:
            run.append(part(0), {"y": np.ones(2)}, seconds=seconds)
    first, second = (tmp_path / side / IDENTITY.name / "segment-00000.nc" for side in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_finished_run_takes_no_more_segments_but_figures(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        run.finish("reached t = 10")
        run.finish("reached t = 10")
        run.attach("loss.svg", b"<svg/>")
        with pytest.raises(ValueError, match=r"has ended \(reached t = 10\)"):
            run.append(part(2), {})
        with pytest.raises(ValueError, match="has ended"):
            run.finish("otherwise")
    assert Run.open(run.path).finished == "reached t = 10"


def test_attaching_again_replaces_and_the_same_bytes_change_nothing(tmp_path: Path) -> None:
    with begun(tmp_path) as run:
        run.attach("index.html", b"old")
        listed = (run.path / "manifest.jsonl").read_bytes()
        run.attach("index.html", b"old")
        assert (run.path / "manifest.jsonl").read_bytes() == listed
        run.attach("index.html", b"newer")
    again = Run.open(run.path)
    assert again.attachments == ("index.html",)
    assert again.read("index.html") == b"newer"
    (run.path / "index.html").write_bytes(b"old")
    with pytest.raises(Corrupt, match=r"^index\.html"):
        Run.open(run.path)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/etc/x",
        "a/b",
        ".",
        "..",
        ".hidden",
        "head",
        "lock",
        "manifest.jsonl",
        "specification.json",
        "segment-00007.nc",
        "x.tmp",
        "a\\b",
        "a\nb",
        "",
    ],
)
def test_only_plain_names_may_be_attached(tmp_path: Path, name: str) -> None:
    with begun(tmp_path, 0) as run, pytest.raises(ValueError, match="write a plain file name"):
        run.attach(name, b"x")


def test_a_segment_must_record_what_the_first_one_does(tmp_path: Path) -> None:
    begun(tmp_path, 1).close()
    with Run.open(tmp_path / IDENTITY.name, write=True) as run:
        for wrong in (
            {"loss": part(1)["loss"]},
            {**part(1), "extra": np.ones(2)},
            {**part(1), "norm": np.ones((2, 4))},
            {**part(1), "loss": np.array([1, 2])},
        ):
            with pytest.raises(ValueError, match="every segment of a run records the same variables"):
                run.append(wrong, {})
        run.append({name: value[:0] for name, value in part(1).items()}, {})
        assert run.segments == 2
        assert run.dataset().sizes["record"] == 2


def test_a_reader_cannot_write_and_is_told_how(tmp_path: Path) -> None:
    begun(tmp_path).close()
    run = Run.open(tmp_path / IDENTITY.name)
    for attempt in (lambda: run.append(part(2), {}), lambda: run.finish("x"), lambda: run.attach("a", b"")):
        with pytest.raises(ValueError, match="write=True"):
            attempt()


def test_there_is_one_writer_and_readers_need_no_lock(tmp_path: Path) -> None:
    run = begun(tmp_path)
    for second in (lambda: Run.open(run.path, write=True), lambda: Run.create(tmp_path, IDENTITY)):
        with pytest.raises(Locked, match="another process is writing in"):
            second()
    assert Run.open(run.path).segments == 2
    run.append(part(2), {})
    run.close()
    with Run.open(run.path, write=True) as again:
        assert again.segments == 3


def test_the_lock_of_a_killed_writer_is_free(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from gradlab.store.run import Identity, Run;"
        f"run = Run.create(sys.argv[1], Identity({IDENTITY.content!r}));"
        "print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        with pytest.raises(Locked):
            Run.open(tmp_path / IDENTITY.name, write=True)
        child.kill()
        child.wait()
    Run.open(tmp_path / IDENTITY.name, write=True).close()


def test_a_child_run_inherits_segments_and_names_its_parent(tmp_path: Path) -> None:
    parent = begun(tmp_path)
    parent.attach("loss.svg", b"<svg/>")
    parent.close()
    with pytest.raises(Foreign, match="--rebind"):
        parent.require(ELSEWHERE)
    with Run.open(parent.path).child(tmp_path, ELSEWHERE) as child:
        xr.testing.assert_identical(child.dataset(), parent.dataset())
        assert child.parent is not None
        assert (child.parent["identity"], child.parent["segments"]) == (IDENTITY.digest, 2)
        assert child.attachments == ()
        child.append(part(2), {"y": np.zeros(2), "step": np.int64(2)})
    again = Run.open(child.path)
    again.require(ELSEWHERE)
    assert again.path.name not in (IDENTITY.name, ELSEWHERE.name)
    assert again.segments == 3
    assert Run.open(parent.path).segments == 2
    inherited = (parent.path / "segment-00001.nc").read_bytes()
    assert (child.path / "segment-00001.nc").read_bytes() == inherited
    with Run.open(parent.path).child(tmp_path, ELSEWHERE) as same:
        assert same.path == child.path
        assert same.segments == 3


def test_a_reader_sees_a_sound_run_while_another_replaces_files(tmp_path: Path) -> None:
    from gradlab.store.disk import Disk

    writer = begun(tmp_path)
    writer.attach("page.html", b"first")

    class Overtaken(Disk):
        """The writer replaces the page after the manifest has been read, once."""

        done = False

        def read_bytes(self, path: Path) -> bytes:
            if path.name == "page.html" and not self.done:
                self.done = True
                writer.append(part(2), {})
                writer.attach("page.html", b"second")
            return super().read_bytes(path)

    reader = Run.open(writer.path, Overtaken())
    assert reader.read("page.html") == b"second"
    assert reader.segments == 3
    writer.close()


def test_notes_of_ones_own_are_left_alone(tmp_path: Path) -> None:
    run = begun(tmp_path)
    run.close()
    (run.path / "notes.txt").write_text("mine")
    with Run.open(run.path, write=True) as again:
        again.append(part(2), {})
    assert (run.path / "notes.txt").read_text() == "mine"


def test_what_is_no_run_directory_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "absent", tmp_path / "other", __file__):
        for write in (False, True):
            with pytest.raises(StoreError, match="is not a run directory"):
                Run.open(path, write=write)
    assert os.listdir(tmp_path) == ["other"]
    assert os.listdir(tmp_path / "other") == []
