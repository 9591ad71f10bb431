"""A run directory: immutable segments, one writer, every byte checked whenever it is opened.

    specification.json    the identity's content, canonical JSON
    segment-00000.nc ...  what was recorded, and the state that the next segment starts from
    manifest.jsonl, head  what is there, byte for byte (see `manifest`)
    lock                  empty; locked while a writer is at work
    loss.svg, ...         attached files, listed in the manifest like all else

A segment counts once the manifest lists it, and the manifest is renamed into place after the segment. So a
kill at any moment leaves a directory that opens and can be continued; what it cut off is removed by the
next writer. A new directory is prepared as `.NAME.tmp` beside its place and renamed when it is complete.
Files that no entry lists (notes of one's own, say) are left alone and are not checked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import xarray as xr

from gradlab.store import segment
from gradlab.store.described import described
from gradlab.store.disk import TEMPORARY, Corrupt, Disk, Foreign, Locked, StoreError, in_words
from gradlab.store.foreign import reading
from gradlab.store.identity import Identity, code_digest, environment
from gradlab.store.manifest import (
    HEAD,
    LOCK,
    MANIFEST,
    SPECIFICATION,
    Manifest,
    attachment_name,
    corrupt,
    is_leftover,
    parse,
    segment_name,
)

__all__ = [
    "Corrupt",
    "Foreign",
    "Identity",
    "Locked",
    "Run",
    "StoreError",
    "code_digest",
    "environment",
]


class Run:
    """One run directory, open for reading or, by at most one process, for writing.

    Made by :meth:`create`, :meth:`open` and :meth:`child`; a context manager that gives the lock back.
    """

    def __init__(self, path: Path, disk: Disk, manifest: Manifest, identity: Identity, lock: int | None):
        self.path = path
        self.identity = identity
        self._disk = disk
        self._manifest = manifest
        self._lock = lock
        self._layout: dict[str, Any] | None = None

    @classmethod
    def create(cls, root: str | os.PathLike[str], identity: Identity, disk: Disk | None = None) -> Run:
        """The run of this identity in `root`, open for writing; new, or continued where it is there already.

        Raises
        ------
        Locked, Corrupt, StoreError : as for :meth:`open`.
        """
        return _create(Path(root), identity, disk or Disk(), [])

    @classmethod
    def open(cls, path: str | os.PathLike[str], disk: Disk | None = None, *, write: bool = False) -> Run:
        """Open a run directory and check every byte of every listed file.

        Parameters
        ----------
        write : take the lock, remove what a kill left, and allow :meth:`append`. Readers need no lock and may
            read while another process writes.

        Raises
        ------
        Corrupt : a listed file is missing or differs in any bit, or entries of the manifest are gone.
        Locked : another process is writing.
        StoreError : there is no run directory here, or the system refused an operation.
        """
        path, disk = Path(path), disk or Disk()
        with _guard("opening a run", path):
            if not disk.exists(path / MANIFEST):
                if disk.exists(path / SPECIFICATION):
                    raise corrupt(path, MANIFEST, "is missing")
                raise StoreError(f"{path} is not a run directory; give one that `gradlab run` has made")
            if not write:
                manifest, identity = _verified(path, disk)
                return cls(path, disk, manifest, identity, None)
            lock = disk.take_lock(path / LOCK)
            try:
                manifest, identity = _verified(path, disk)
                _tidy(path, disk, manifest)
            except BaseException:
                with contextlib.suppress(OSError):
                    disk.release_lock(lock, path / LOCK)
                raise
            return cls(path, disk, manifest, identity, lock)

    @property
    def segments(self) -> int:
        """The number of segments."""
        return len(self._manifest.segments)

    @property
    def seconds(self) -> float:
        """Wall time of all segments: a fact about the computation, no part of its bits."""
        return sum(float(entry["seconds"]) for entry in self._manifest.segments)

    @property
    def finished(self) -> str | None:
        """The result that the run ended with, or None while it can be continued."""
        entry = self._manifest.single("result")
        return None if entry is None else entry["result"]

    @property
    def parent(self) -> dict[str, Any] | None:
        """Of a child run: identity, number of segments and head of the run it continues."""
        return self.identity.content.get("parent")

    @property
    def attachments(self) -> tuple[str, ...]:
        """Names of the attached files."""
        return tuple(name for name, entry in self._manifest.files.items() if entry["kind"] == "attachment")

    def read(self, name: str) -> bytes:
        """The checked bytes of a listed file."""
        if name not in self._manifest.files:
            raise ValueError(f"{name!r} is not in {self.path}; there are {', '.join(self._manifest.files)}")
        with _guard("reading a run", self.path):
            return _read(self.path, self._disk, self._manifest, name)

    def dataset(self) -> xr.Dataset:
        """All segments, joined along ``record``; of variables without that dim, the last segment's."""
        return described(segment.concatenate([self._segment(index)[0] for index in range(self.segments)]))

    def _repr_html_(self) -> str:
        """What a notebook shows: the run's name, how it ended, and its dataset."""
        how = self.finished or f"cut short after segment {self.segments}"
        shown = self.dataset()._repr_html_() if self.segments else ""
        return f"<p><b>Run</b> <code>{escape(self.path.name)}</code>: {escape(how)}</p>{shown}"

    def numbers(self) -> tuple[dict[str, tuple[tuple[str, ...], np.ndarray]], dict[str, Any]]:
        """Dims and values of all that is a number in the only segment of a run that has one, and its attributes."""
        if self.segments != 1:
            raise ValueError(f"{self.path} has {self.segments} segments; read its dataset()")
        dataset, _ = self._segment(0)
        found = {
            str(name): (tuple(map(str, variable.dims)), variable.values)
            for name, variable in dataset.variables.items()
            if variable.dtype.kind in "biuf"
        }
        return found, dict(dataset.attrs)

    def state(self) -> segment.State | None:
        """The state after the last segment, or None where there is none yet."""
        return self._segment(self.segments - 1)[1] if self.segments else None

    def append(
        self, recorded: segment.Recorded, state: Mapping[str, Any] | None = None, seconds: float = 0.0
    ) -> str:
        """Add a segment and give the name of its file; when this returns, the segment outlives a power cut.

        Parameters
        ----------
        recorded : a dataset with dim ``record``, or arrays by name whose first axis it is.
        state : arrays by name; what the next segment starts from.
        seconds : wall time it took.

        Raises
        ------
        ValueError : the run is finished or open for reading only, the segment does not record what the
            first one does, or it holds what a file cannot keep. Nothing is written.
        StoreError : the system refused an operation; the run is closed and can be resumed.
        """
        self._writable("append a segment")
        dataset = segment.as_dataset(recorded)
        data = segment.encode(dataset, state or {})
        layout = segment.layout(dataset)
        if self._layout is None:
            self._layout = segment.layout(self._segment(0)[0]) if self.segments else layout
        segment.check_layout(self._layout, layout)
        name = segment_name(self.segments)
        grown = self._manifest.with_file("segment", name, data, seconds=float(seconds))
        with self._writing(f"writing {name}"):
            self._disk.write_bytes_atomically(self.path / name, data)
            self._commit(grown)
        return name

    def finish(self, result: str) -> None:
        """Record how the run ended; from then on it takes no more segments, only attached files."""
        if self.finished == result:
            return
        self._writable("finish")
        grown = self._manifest.grown("result", result=str(result))
        with self._writing("recording the result"):
            self._commit(grown)

    def attach(self, name: str, data: bytes) -> None:
        """Keep a file (a figure, a page) in the directory, checked like all else; replaces one of that name.

        The old file is withdrawn from the manifest before it is replaced, and the new one listed after: a
        kill in between loses the attached file and nothing else.
        """
        attachment_name(name)
        self._writable("attach a file", finished=True)
        listed = name in self._manifest.files
        if listed and self.read(name) == data:
            return
        with self._writing(f"attaching {name}"):
            if listed:
                self._commit(self._manifest.grown("withdrawn", name=name))
            self._disk.write_bytes_atomically(self.path / name, data)
            self._commit(self._manifest.with_file("attachment", name, data))

    def child(self, root: str | os.PathLike[str], identity: Identity) -> Run:
        """A new run in `root`, open for writing, that continues this one under another identity.

        It holds copies of all segments, and its identity names this run and how far it had come. Neither
        the result nor attached files are inherited.
        """
        head = {"identity": self.identity.digest, "segments": self.segments, "head": self._manifest.last}
        inherited = [(self.read(entry["name"]), entry["seconds"]) for entry in self._manifest.segments]
        return _create(Path(root), identity.child_of(head), self._disk, inherited)

    def require(self, identity: Identity) -> None:
        """Check that the run may be continued as `identity`, which is that of here and now.

        Raises
        ------
        Foreign : another specification, data set, version, number of cores or instruction set.
        """
        self.identity.require(identity, self.path)

    def close(self) -> None:
        """Give the lock back; a run open for reading has none."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            with _guard("giving back the lock", self.path):
                self._disk.release_lock(lock, self.path / LOCK)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, segments={self.segments}, finished={self.finished!r})"

    def _segment(self, index: int) -> tuple[xr.Dataset, segment.State]:
        name = segment_name(index)
        data = self.read(name)
        with reading(self.path / name, "netCDF"):
            return segment.decode(data)

    def _writable(self, what: str, finished: bool = False) -> None:
        if self._lock is None:
            raise ValueError(
                f"cannot {what}: {self.path} is not open for writing; open it with Run.open(path, write=True)"
            )
        if self.finished is not None and not finished:
            raise ValueError(
                f"cannot {what}: the run in {self.path} has ended ({self.finished}); start a new run"
            )

    def _commit(self, manifest: Manifest) -> None:
        """Make a manifest the true one: first itself, then the head that counts its entries."""
        _write_manifest(self.path, self._disk, manifest)
        self._manifest = manifest

    @contextlib.contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        """A block of disk operations; where one fails, what this object knows may be behind: it closes."""
        try:
            with _guard(doing, self.path):
                yield
        except BaseException:
            with contextlib.suppress(StoreError):
                self.close()
            raise


def _guard(doing: str, path: Path) -> contextlib.AbstractContextManager[None]:
    remedy = f"nothing recorded is lost: put that right and continue with `gradlab resume {path}`"
    return in_words(doing, path, remedy)


def _create(root: Path, identity: Identity, disk: Disk, inherited: list[tuple[bytes, float]]) -> Run:
    """Open the directory of an identity, prepared beside its place and renamed where it is not there yet."""
    path = root / identity.name
    remedy = "put that right and give the same command again"
    with in_words(f"making the run directory {path}", root, remedy):
        there = disk.exists(path)
    if there:
        run = Run.open(path, disk, write=True)
        try:
            run.require(identity)
        except Foreign:
            run.close()
            raise
        return run
    with in_words(f"making the run directory {path}", root, remedy):
        staging = root / f".{identity.name}{TEMPORARY}"
        disk.mkdir(staging)
        lock = disk.take_lock(staging / LOCK)
        try:
            for name in disk.listdir(staging):
                if name != LOCK:
                    disk.remove(staging / name)
            manifest = _populate(staging, disk, identity, inherited)
            disk.rename(staging, path)
            disk.fsync_directory(root)
        except BaseException:
            with contextlib.suppress(OSError):
                disk.release_lock(lock, staging / LOCK)
            raise
    return Run(path, disk, manifest, identity, lock)


def _populate(path: Path, disk: Disk, identity: Identity, inherited: list[tuple[bytes, float]]) -> Manifest:
    """Write the files of a new run."""
    disk.write_bytes_atomically(path / SPECIFICATION, identity.text)
    manifest = Manifest().with_file("specification", SPECIFICATION, identity.text)
    for index, (data, seconds) in enumerate(inherited):
        disk.write_bytes_atomically(path / segment_name(index), data)
        manifest = manifest.with_file("segment", segment_name(index), data, seconds=seconds)
    _write_manifest(path, disk, manifest)
    return manifest


def _write_manifest(path: Path, disk: Disk, manifest: Manifest) -> None:
    disk.write_bytes_atomically(path / MANIFEST, manifest.text)
    disk.write_bytes_atomically(path / HEAD, manifest.head)


def _verified(path: Path, disk: Disk) -> tuple[Manifest, Identity]:
    """Manifest and identity, after every byte has been checked.

    A writer at work may change things between two reads: what looks damaged is read again until it is
    sound, or damaged while manifest and head have stayed the same.
    """
    seen: tuple[bytes | None, bytes | None] | None = None
    while True:
        found = _optional(path / HEAD, disk), _optional(path / MANIFEST, disk)  # the head first: it lags
        try:
            if found[1] is None:
                raise corrupt(path, MANIFEST, "is missing")
            manifest = parse(path, found[1], found[0])
            for name in manifest.files:
                data = _read(path, disk, manifest, name)
                if name == SPECIFICATION:
                    identity = _identity(path, data)
            return manifest, identity
        except Corrupt:
            if found == seen:
                raise
            seen = found


def _identity(path: Path, data: bytes) -> Identity:
    try:
        return Identity.from_bytes(data)
    except ValueError as error:
        raise corrupt(path, SPECIFICATION, "is no identity that a writer makes") from error


def _read(path: Path, disk: Disk, manifest: Manifest, name: str) -> bytes:
    """The checked bytes of a listed file."""
    data = _optional(path / name, disk)
    if data is None:
        raise corrupt(path, name, "is missing")
    return manifest.check_file(path, name, data)


def _optional(path: Path, disk: Disk) -> bytes | None:
    try:
        return disk.read_bytes(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _tidy(path: Path, disk: Disk, manifest: Manifest) -> None:
    """Remove what a kill left, and bring the head up to the manifest."""
    withdrawn = {entry["name"] for entry in manifest.entries if entry["kind"] == "withdrawn"}
    for name in disk.listdir(path):
        if name not in manifest.files and (is_leftover(name) or name in withdrawn):
            disk.remove(path / name)
    if _optional(path / HEAD, disk) != manifest.head:
        disk.write_bytes_atomically(path / HEAD, manifest.head)
