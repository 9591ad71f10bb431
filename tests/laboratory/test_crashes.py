"""A run that fails at any operation of the disk, or is killed, ends with the bits of one that was left in peace.

Run as a script, this file is the run that is killed: ``python test_crashes.py ROOT RECORDS SEED KILLS``.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import gradlab
from gradlab.cli import app
from gradlab.problem.data import Data
from gradlab.problem.problem import Problem
from gradlab.store import run as store
from gradlab.store import segment
from gradlab.store.disk import Disk
from gradlab.store.run import Corrupt, Foreign, Identity, Locked, Run, StoreError, environment


class Interrupted(Disk):
    """Counts the operations and calls ``interrupt`` in place of the n-th; of a write, after half of the bytes."""

    def __init__(self, at: int | None, interrupt: Callable[[], None]) -> None:
        self.count = 0
        for name in Disk.PRIMITIVES:
            setattr(self, name, self._counted(name, getattr(super(), name), at, interrupt))

    def _counted(self, name: str, primitive: Any, at: int | None, interrupt: Callable[[], None]) -> Any:
        def operation(*arguments: Any) -> Any:
            self.count += 1
            if self.count - 1 == at:
                if name == "write":
                    primitive(arguments[0], arguments[1][: len(arguments[1]) // 2])
                interrupt()
            # Waiting for the platter is the one thing left out.
            return None if name.startswith("fsync") else primitive(*arguments)

        return operation


def fail() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# The run ---------------------------------------------------------------------------------------------------


def problem() -> tuple[Problem, Any]:
    generator = np.random.default_rng(3)
    x, y = generator.standard_normal((7, 3)), generator.standard_normal((7, 2))
    made = Problem(gradlab.Dense((3, 2, 2), "identity"), gradlab.Square("mean"), Data(x, y))
    return made, (0.5 * generator.standard_normal((2, 3)), 0.5 * generator.standard_normal((2, 2)))


def identity(records: int) -> Identity:
    return Identity({"specification": {"records": records}, "data": "d", **environment()})


def story(root: Path, records: int, disk: Disk | None = None) -> tuple[Path, xr.Dataset]:
    """A gradient flow from wherever its directory stands to its end."""
    with Run.create(root, identity(records), disk) as kept:
        dataset = finish(kept, records)
    return kept.path, dataset


def finish(kept: Run, records: int) -> xr.Dataset:
    made, weights = problem()
    dataset = gradlab.run(
        gradlab.GradientFlow(made),
        weights,
        np.linspace(0.0, 3.0, records),
        solver=gradlab.Adaptive("bosh3", 1e-3),
        observables=["loss", "layer_norms"],
        store=kept,
    )
    kept.finish(str(dataset.attrs["result"]))
    return dataset.drop_attrs()


def segments(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.glob("segment-*"))}


def digests(path: Path) -> dict[str, str]:
    """sha256 of the segments that the manifest lists."""
    kept = Run.open(path)
    names = [f"segment-{index:05d}.nc" for index in range(kept.segments)]
    return {name: hashlib.sha256(kept.read(name)).hexdigest() for name in names}


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of the very same values are encoded once, those of the same bytes decoded once."""
    coded: dict[bytes, bytes] = {}
    read: dict[bytes, Any] = {}

    def exactly(name: object, value: Any) -> bytes:
        array = np.asarray(value)
        return (
            repr((name, array.shape, str(array.dtype), getattr(value, "dims", ()))).encode() + array.tobytes()
        )

    def encode(recorded: xr.Dataset, state: Any, encode: Any = segment.encode) -> bytes:
        items = [*recorded.variables.items(), *state.items()]
        key = b"".join(exactly(name, value) for name, value in items)
        if key not in coded:
            coded[key] = encode(recorded, state)
        return coded[key]

    def decode(data: bytes, decode: Any = segment.decode) -> Any:
        if data not in read:
            read[data] = decode(data)
        dataset, state = read[data]
        return dataset.copy(deep=True), {name: value.copy() for name, value in state.items()}

    monkeypatch.setattr(segment, "encode", encode)
    monkeypatch.setattr(segment, "decode", decode)


# Failures --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("records", [3, 8])
def test_every_file_operation_failed_once_is_a_sentence_and_the_resumed_run_has_the_same_bits(
    tmp_path: Path, records: int
) -> None:
    counting = Interrupted(None, fail)
    path, whole = story(tmp_path / "whole", records, counting)
    expected = segments(path)
    assert len(expected) == records
    assert counting.count > 15 * records
    for at in range(counting.count):
        root = tmp_path / str(at)
        with pytest.raises(StoreError) as caught:
            story(root, records, Interrupted(at, fail))
        said = str(caught.value)
        assert str(root) in said, at
        assert "No space left on device" in said, at
        assert f"gradlab resume {root / path.name}" in said or "give the same command again" in said, said
        assert "\n" not in said
        again, resumed = story(root, records)
        assert segments(again) == expected, at
        assert resumed.identical(whole), at
        assert Run.open(again).finished == "reached the last record"
        assert os.listdir(root) == [path.name]


SPEC = """
observables = ["loss"]
[network]
kind = "dense"
widths = [2, 2, 1]
activation = "identity"
[loss]
kind = "square"
[data]
kind = "csv"
path = "points.csv"
targets = ["y"]
[flow]
kind = "gradient flow"
[solver]
method = "bosh3"
[records]
until = 1.0
count = 3
"""
POINTS = "a,b,y\n1,0,1\n0,1,-1\n1,1,0.5\n-1,2,0.25\n"


def command(*arguments: str | Path) -> tuple[int, str]:
    """A command's exit code and what it said on standard error but for its data; a bug's exception is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    said = (line for line in result.stderr.splitlines(keepends=True) if not line.startswith("Data: "))
    return result.exit_code, "".join(said)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A specification in a folder of its own, which is the present one."""
    monkeypatch.chdir(tmp_path)
    Path("points.csv").write_text(POINTS)
    Path("spec.toml").write_text(SPEC)
    return Path("spec.toml")


def directory(root: str | Path) -> Path:
    (found,) = [path for path in Path(root).iterdir() if not path.name.startswith(".")]
    return found


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and page are digests of what they would show."""
    from gradlab import figures
    from gradlab.report import drawing, page

    def digest(dataset: xr.Dataset, *rest: Any, **options: Any) -> str:
        values = [np.asarray(dataset[name].values).tobytes() for name in sorted(map(str, dataset))]
        return hashlib.sha256(b"".join(values)).hexdigest()

    monkeypatch.setattr(drawing, "trajectory", digest)
    monkeypatch.setattr(drawing, "of_run", lambda *rest: [])
    monkeypatch.setattr(figures, "svg", str)
    monkeypatch.setattr(page, "render_run", digest)


def products(path: Path) -> dict[str, bytes]:
    """What a finished run lists, but for the provenance, which knows the wall time."""
    kept = Run.open(path)
    assert kept.finished == "reached the last record"
    names = {"specification.json", *kept.attachments, *segments(path)} - {"provenance.json"}
    return {name: kept.read(name) for name in names}


@pytest.mark.usefixtures("fast", "undrawn")
@pytest.mark.parametrize("every", [15, 3])
def test_a_file_operation_that_fails_under_the_command_line_is_one_message_whose_advice_works(
    spec: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    def with_disk(disk: Disk | None, *arguments: str | Path) -> tuple[int, str]:
        with monkeypatch.context() as patch:
            patch.setattr(store, "Disk", Disk if disk is None else lambda: disk)
            return command(*arguments)

    counting = Interrupted(None, fail)
    assert with_disk(counting, "run", spec, "--out", "whole") == (0, "")
    expected = products(directory("whole"))
    assert set(expected) >= {"page.html", "loss.svg", "data.npz", "specification.toml", "segment-00002.nc"}
    # Every operation of the store fails in the test above; here some do, under all that is on top.
    for at in range(random.Random(1).randrange(every), counting.count, every):
        root = Path(str(at))
        code, said = with_disk(Interrupted(at, fail), "run", spec, "--out", root)
        assert (code, said.count("\n")) == (2, 1), said
        assert said.startswith("Error: ")
        assert "No space left on device" in said
        if "gradlab resume" in said:
            code, said = command("resume", directory(root))
            if code == 2:  # stopped before it had its data
                assert "give its gradlab run again" in said
        if "again" in said:
            code, said = command("run", spec, "--out", root)
        assert code == 0, said
        assert products(directory(root)) == expected, at


# Kills -----------------------------------------------------------------------------------------------------


def killed_again_and_again(root: Path, records: int, seed: int, most: int) -> None:
    """Kill the run at random operations and go on, in a new process each time; one line about each kill.

    A process is a fork of this one, which has imported everything and started nothing: it has one thread.
    """
    generator, kills, number = random.Random(seed), 0, 0
    while kills < most:
        path = root / str(number) / identity(records).name
        done = Run.open(path).segments if path.exists() else 0
        at = generator.randrange(10 + 2 * done + 50)
        child = os.fork()
        if child == 0:
            story(root / str(number), records, Interrupted(at, kill))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            kills += 1
            found = digests(path) if path.exists() else {}
            print(json.dumps({"root": number, "at": at, "signal": os.WTERMSIG(status), "segments": found}))
        elif status == 0:
            number += 1
        else:
            sys.exit(f"the run failed with status {status}")


@pytest.mark.parametrize("many", [5, 20])
def test_after_each_of_many_kills_the_segments_are_those_of_an_undisturbed_run_and_so_is_the_end(
    tmp_path: Path, many: int
) -> None:
    records, seed = 40, 7
    path, whole = story(tmp_path / "whole", records)
    expected, bits = digests(path), segments(path)
    script = [sys.executable, __file__, str(tmp_path / "killed"), str(records), str(seed), str(many)]
    # Compiled once for all of them.
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    single = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "JAX_ENABLE_X64": "1", **compiled}
    out = subprocess.run(script, check=True, capture_output=True, text=True, timeout=600, env=single).stdout
    kills = [json.loads(line) for line in out.splitlines()]
    assert [one["signal"] for one in kills] == [signal.SIGKILL] * many
    for one in kills:
        assert one["segments"].items() <= expected.items(), one
    # The moments are spread over the run.
    assert len({len(one["segments"]) for one in kills}) >= many // 3
    for root in (tmp_path / "killed").iterdir():
        again, resumed = story(root, records)
        assert segments(again) == bits
        assert resumed.identical(whole)


# Damage ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run of the command line, with its figure and page."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "points.csv").write_text(POINTS)
    (folder / "spec.toml").write_text(SPEC)
    code, said = command("run", folder / "spec.toml", "--out", folder / "runs")
    assert code == 0, said
    return directory(folder / "runs")


def flipped(file: Path, place: int) -> bytes:
    """The bytes of the file with one bit the other way."""
    damaged = bytearray(file.read_bytes())
    damaged[place // 8] ^= 1 << (place % 8)
    return bytes(damaged)


def test_each_of_200_flipped_bits_in_a_finished_run_is_noticed_and_its_file_named(finished: Path) -> None:
    files = sorted(file for file in finished.iterdir() if file.name != "lock")
    assert {file.name for file in files} == {
        *(f"segment-0000{index}.nc" for index in range(3)),
        *(
            "specification.json",
            "specification.toml",
            "data.npz",
            "data.txt",
            "provenance.json",
            "subject.json",
        ),
        *("loss.svg", "page.html"),
        *("manifest.jsonl", "head"),
    }
    generator = np.random.default_rng(20)
    for trial in range(200):
        file = files[trial % len(files)]
        sound = file.read_bytes()
        start = 0
        if file.name == "manifest.jsonl" and trial % 2:  # within the last entry
            start = sound.rfind(b"\n", 0, -1) + 1
        file.write_bytes(flipped(file, int(generator.integers(8 * start, 8 * len(sound)))))
        with pytest.raises(Corrupt) as caught:
            Run.open(finished)
        assert str(caught.value).startswith(f"{file.name} in {finished} "), str(caught.value)
        file.write_bytes(sound)
        if trial < len(files):
            file.write_bytes(flipped(file, int(generator.integers(8 * len(sound)))))
            for what in ("resume", "report"):
                code, said = command(what, finished)
                assert (code, said.count("\n")) == (2, 1)
                assert said.startswith(f"Error: {file.name} in {finished} ")
            file.write_bytes(sound)
    assert Run.open(finished).finished == "reached the last record"


# Two writers, two machines ---------------------------------------------------------------------------------


class Full(Disk):
    """A disk that is full after so many segments."""

    def __init__(self, after: int) -> None:
        self.after = after

    def create(self, path: Path) -> int:
        if path.name.startswith(f"segment-{self.after:05d}"):
            fail()
        return super().create(path)


def cut_short(root: Path, records: int, after: int) -> Path:
    """A run whose disk was full after so many segments."""
    with pytest.raises(StoreError, match=f"writing segment-{after:05d}"):
        story(root, records, Full(after))
    return root / identity(records).name


@pytest.mark.usefixtures("fast", "undrawn")
def test_a_second_writer_is_refused_and_readers_are_not(tmp_path: Path, spec: Path) -> None:
    path = cut_short(tmp_path / "here", 8, after=2)
    with Run.open(path, write=True) as first:
        for second in (lambda: story(tmp_path / "here", 8), lambda: Run.open(path, write=True)):
            with pytest.raises(Locked, match=f"another process is writing in {path}; wait until it ends"):
                second()
        assert Run.open(path).segments == first.segments == 2
    assert story(tmp_path / "here", 8)[1].sizes["record"] == 8

    assert command("run", spec)[0] == 0
    with Run.open(directory("runs"), write=True):
        code, said = command("run", spec)
        assert (code, said.count("\n")) == (2, 1)
        assert said.startswith("Error: another process is writing in ")
        assert command("report", directory("runs"))[0] == 2
    assert command("report", directory("runs"))[0] == 0


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("change", [{"cores": 64}, {"instruction_set": "abacus"}])
def test_another_machine_goes_on_with_a_child_run_only(tmp_path: Path, change: dict[str, Any]) -> None:
    whole, undisturbed = story(tmp_path / "whole", 8)
    path = cut_short(tmp_path / "runs", 8, after=3)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    elsewhere = Identity({**identity(8).content, **change})
    with Run.open(path, write=True) as kept, pytest.raises(Foreign) as caught:
        kept.require(elsewhere)
    (value,) = change.values()
    assert str(value) in str(caught.value)
    assert f"start a child run with `gradlab resume {path} --rebind`" in str(caught.value)
    assert "\n" not in str(caught.value)
    with Run.open(path).child(tmp_path / "runs", elsewhere) as child:
        assert child.segments == 3
        resumed = finish(child, 8)
    # Here the other machine is this one, so even the bits agree.
    assert resumed.identical(undisturbed)
    assert segments(child.path) == segments(whole)
    assert child.parent is not None
    assert child.parent["identity"] == Run.open(path).identity.digest
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


@pytest.mark.usefixtures("fast", "undrawn")
def test_the_command_line_rebinds_a_run_that_was_begun_elsewhere(
    spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = store.environment()
    assert command("run", spec, "--out", "whole")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(store, "Disk", lambda: Full(2))
        patch.setattr(store, "environment", lambda: {**here, "cores": 999, "instruction_set": "abacus"})
        assert command("run", spec)[0] == 2
    begun = directory("runs")
    code, said = command("resume", begun)
    assert (code, said.count("\n")) == (2, 1)
    assert "a number of cores of 999 and here is" in said
    assert f"gradlab resume {begun} --rebind" in said
    code, said = command("resume", begun, "--rebind")
    assert code == 0, said
    (child,) = [path for path in Path("runs").iterdir() if path != begun]
    assert segments(child) == segments(directory("whole"))
    with Run.open(child) as kept:
        assert kept.finished == "reached the last record"


if __name__ == "__main__":
    killed_again_and_again(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
