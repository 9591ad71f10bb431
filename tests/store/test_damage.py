"""Damage to any byte of a run directory is noticed when it is opened, and the file is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradlab.store.identity import canonical
from gradlab.store.manifest import Manifest, parse, sha256
from gradlab.store.run import Corrupt, Identity, Run, StoreError

IDENTITY = Identity({"specification": {"seed": 1, "widths": [2, 3]}, "data": "d", "cores": 2})
REMEDY = "delete that run directory and run again"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A finished run of three segments with a figure and a page, one of them replaced."""
    with Run.create(tmp_path, IDENTITY) as run:
        for index in range(3):
            run.append({"loss": np.arange(2.0) + index}, {"y": np.full(3, index)}, seconds=0.1)
        run.attach("index.html", b"<!doctype html>")
        run.attach("loss.svg", b"<svg></svg>")
        run.finish("reached t = 1")
        run.attach("index.html", b"<!doctype html><p>")
    return run.path


def listed(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.name != "lock")


def test_each_of_200_flipped_bits_is_noticed_and_its_file_named(path: Path) -> None:
    files = listed(path)
    assert len(files) == 8
    generator = np.random.default_rng(20)
    for trial in range(200):
        file = files[trial % len(files)]
        sound = file.read_bytes()
        place = int(generator.integers(8 * len(sound)))
        damaged = bytearray(sound)
        damaged[place // 8] ^= 1 << (place % 8)
        file.write_bytes(damaged)
        for write in (False, True):
            with pytest.raises(Corrupt) as caught:
                Run.open(path, write=write)
            assert str(caught.value).startswith(f"{file.name} in {path} "), (file, place)
            assert REMEDY in str(caught.value)
        file.write_bytes(sound)
    assert Run.open(path).segments == 3


@pytest.mark.parametrize("name", ["manifest.jsonl", "head"])
def test_every_bit_of_the_last_manifest_entry_and_of_the_head_is_checked(path: Path, name: str) -> None:
    sound = {file: (path / file).read_bytes() for file in ("manifest.jsonl", "head")}
    start = sound[name].rfind(b"\n", 0, -1) + 1
    for byte in range(start, len(sound[name])):
        for bit in range(8):
            damaged = bytearray(sound[name])
            damaged[byte] ^= 1 << bit
            both = {**sound, name: bytes(damaged)}
            with pytest.raises(Corrupt, match=f"^{name} in "):
                parse(path, both["manifest.jsonl"], both["head"])


def test_every_listed_file_that_is_removed_is_missed(path: Path) -> None:
    for file in listed(path):
        sound = file.read_bytes()
        file.unlink()
        with pytest.raises(Corrupt, match=f"^{file.name} in .* is missing"):
            Run.open(path)
        file.write_bytes(sound)
    Run.open(path)


def test_files_that_are_cut_grown_or_exchanged_are_noticed(path: Path) -> None:
    segments = [path / f"segment-0000{index}.nc" for index in range(2)]
    sound = [file.read_bytes() for file in segments]
    for damaged in (sound[0][:-1], sound[0] + b"\0", b"", sound[1]):
        segments[0].write_bytes(damaged)
        with pytest.raises(Corrupt, match=r"^segment-00000\.nc"):
            Run.open(path)


@pytest.mark.parametrize("removed", [1, 2, 5])
def test_last_lines_removed_from_the_manifest_are_missed(path: Path, removed: int) -> None:
    lines = (path / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (path / "manifest.jsonl").write_bytes(b"".join(lines[:-removed]))
    with pytest.raises(Corrupt, match=r"^manifest\.jsonl in .* has lost entries"):
        Run.open(path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: lines[1:],
        lambda lines: lines[:2] + lines[3:],
        lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*lines, b"\n"],
        lambda lines: [*lines, b"{}\n"],
        lambda lines: [*lines, b"[" * 100_000 + b"\n"],
        lambda lines: [*lines[:-1], lines[-1][:-1]],
        lambda lines: [*lines[:-1], lines[-1][:40]],
        lambda lines: [line.replace(b'","', b'", "') for line in lines],
        lambda lines: [line.replace(b"\n", b"\r\n") for line in lines],
        lambda lines: [],
    ],
)
def test_lines_removed_moved_repeated_or_respaced_are_noticed(
    path: Path, edit: Callable[[list[bytes]], list[bytes]]
) -> None:
    lines = (path / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (path / "manifest.jsonl").write_bytes(b"".join(edit(lines)))
    with pytest.raises(Corrupt, match=r"^manifest\.jsonl"):
        Run.open(path)


def grown(*entries: dict[str, object]) -> Manifest:
    manifest = Manifest().with_file("specification", "specification.json", IDENTITY.text)
    for entry in entries:
        manifest = manifest.grown(**entry)  # type: ignore[arg-type]
    return manifest


@pytest.mark.parametrize("name", ["../x", "/etc/hostname", "a/../../x", "head", "segment-00000.nc", None, 3])
def test_a_manifest_that_reaches_outside_its_directory_is_refused(tmp_path: Path, name: object) -> None:
    for kind in ("attachment", "segment", "withdrawn"):
        if (kind, name) == ("segment", "segment-00000.nc"):
            continue
        forged = grown({"kind": kind, "name": name, "sha256": sha256(b""), "length": 0, "seconds": 0.0})
        with pytest.raises(Corrupt, match="line 2 is no entry of a run"):
            parse(tmp_path, forged.text, forged.head)


def test_entries_of_unknown_kinds_and_other_formats_are_refused(tmp_path: Path) -> None:
    forged = grown({"kind": "pickle", "name": "x"})
    with pytest.raises(Corrupt, match="line 2 is no entry"):
        parse(tmp_path, forged.text, forged.head)
    entry = {**json.loads(grown().text), "format": 2}
    del entry["digest"]
    newer = Manifest(({**entry, "digest": sha256(canonical(entry))},))
    with pytest.raises(StoreError, match="open it with the version that wrote it"):
        parse(tmp_path, newer.text, newer.head)


def test_a_head_one_entry_behind_is_what_a_kill_leaves_and_the_next_writer_repairs_it(path: Path) -> None:
    lines = (path / "manifest.jsonl").read_bytes().splitlines()
    entries = tuple(json.loads(line) for line in lines)
    (path / "head").write_bytes(Manifest(entries[:-1]).head)
    Run.open(path)
    Run.open(path, write=True).close()
    assert (path / "head").read_bytes() == Manifest(entries).head
    (path / "head").write_bytes(Manifest(entries[:-2]).head)
    with pytest.raises(Corrupt, match=r"^head in "):
        Run.open(path)


def test_a_run_directory_may_be_copied_and_renamed(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "elsewhere")
    assert Run.open(tmp_path / "elsewhere").identity == IDENTITY
