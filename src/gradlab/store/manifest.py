"""The manifest of a run directory: what is in it, byte for byte, each entry chained to the one before.

A line of `manifest.jsonl` is the canonical JSON of one entry; it carries the digest of the line before it
and its own. The file is never appended to: it is written anew and renamed, so that half an entry cannot
exist. `head` says how many entries there are and how the last one ends. It is renamed *after* the
manifest, so a kill between the two leaves a head that is one entry behind, which is accepted, and a
manifest that is shorter than its head has lost entries, which is not. What this cannot tell from a kill:
the removal of the last entry within that one moment, and a directory put back whole to an earlier state.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gradlab.store.disk import TEMPORARY, Corrupt, StoreError
from gradlab.store.identity import canonical

FORMAT = 1
MANIFEST = "manifest.jsonl"
HEAD = "head"
LOCK = "lock"
SPECIFICATION = "specification.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_SEGMENT = re.compile(r"segment-\d{5,}\.nc")
_START = "0" * 64
_FILES = ("specification", "segment", "attachment")
_KINDS = (*_FILES, "withdrawn", "result")


def sha256(data: bytes) -> str:
    """The sha256 of the bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def segment_name(index: int) -> str:
    """``segment-00000.nc`` and so on."""
    return f"segment-{index:05d}.nc"


def is_leftover(name: str) -> bool:
    """Whether a file that no entry names was left by a kill: temporaries and segments."""
    return name.endswith(TEMPORARY) or _SEGMENT.fullmatch(name) is not None


def attachment_name(name: object) -> str:
    """The name, if a file may be attached under it.

    Raises
    ------
    ValueError : a path, a hidden name, or a name that the store uses itself.
    """
    reserved = name in (MANIFEST, HEAD, LOCK, SPECIFICATION)
    if not isinstance(name, str) or not _NAME.fullmatch(name) or reserved or is_leftover(name):
        raise ValueError(
            f"a file was to be attached as {name!r}; write a plain file name such as 'loss.svg': "
            "letters, digits, '-', '_', '+', '.', no directories, not a name that the store itself uses"
        )
    return name


def corrupt(directory: Path, name: str, what: str) -> Corrupt:
    """The error for a damaged file."""
    return Corrupt(
        f"{name} in {directory} {what}; put it back from a copy, or delete that run directory and run again"
    )


@dataclass(frozen=True)
class Manifest:
    """The entries, in order; never changed, only grown into a new one."""

    entries: tuple[Mapping[str, Any], ...] = ()

    def grown(self, kind: str, **fields: Any) -> Manifest:
        """With one more entry."""
        entry = {"kind": kind, "index": len(self.entries), "previous": self.last, **fields}
        if not self.entries:
            entry["format"] = FORMAT
        return Manifest((*self.entries, {**entry, "digest": sha256(canonical(entry))}))

    def with_file(self, kind: str, name: str, data: bytes, **fields: Any) -> Manifest:
        """With an entry for a file."""
        return self.grown(kind, name=name, sha256=sha256(data), length=len(data), **fields)

    @property
    def last(self) -> str:
        """The digest of the last entry: of all that came before, too."""
        return self.entries[-1]["digest"] if self.entries else _START

    @property
    def text(self) -> bytes:
        """The file, `manifest.jsonl`."""
        return b"".join(canonical(entry) + b"\n" for entry in self.entries)

    @property
    def head(self) -> bytes:
        """The file, `head`."""
        return canonical({"count": len(self.entries), "digest": self.last}) + b"\n"

    @cached_property
    def files(self) -> dict[str, Mapping[str, Any]]:
        """The entry of every file that should be there, by name."""
        listed: dict[str, Mapping[str, Any]] = {}
        for entry in self.entries:
            if entry["kind"] in _FILES:
                listed[entry["name"]] = entry
            elif entry["kind"] == "withdrawn":
                listed.pop(entry["name"], None)
        return listed

    @property
    def segments(self) -> list[Mapping[str, Any]]:
        """The entries of the segments, in order."""
        return [entry for entry in self.entries if entry["kind"] == "segment"]

    def single(self, kind: str) -> Mapping[str, Any] | None:
        """The entry of a kind that occurs once at most, or None."""
        return next((entry for entry in self.entries if entry["kind"] == kind), None)

    def check_file(self, directory: Path, name: str, data: bytes) -> bytes:
        """The bytes of a listed file, if they are those that were written.

        Raises
        ------
        Corrupt : another length or another sha256.
        """
        entry = self.files[name]
        if len(data) != entry["length"]:
            raise corrupt(directory, name, f"has {len(data)} bytes and was written with {entry['length']}")
        if sha256(data) != entry["sha256"]:
            raise corrupt(directory, name, "is damaged (its bytes are not those that were written)")
        return data


def parse(directory: Path, data: bytes, head: bytes | None) -> Manifest:
    """Read a manifest and check every byte of it and of its head.

    Parameters
    ----------
    data : the bytes of `manifest.jsonl`.
    head : the bytes of `head`, None where there is none (as right after the first entry).

    Raises
    ------
    Corrupt : a line that is not canonical, does not carry its own digest, or does not follow its
        predecessor; an entry that no writer makes; fewer entries than the head counts.
    StoreError : a format of another version.
    """
    lines = data.split(b"\n")
    if lines.pop() != b"" or not lines:
        raise corrupt(directory, MANIFEST, "is cut short (it does not end with a whole line)")
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        entry = _entry(directory, line, number)
        previous = entries[-1]["digest"] if entries else _START
        if entry.get("previous") != previous or entry.get("index") != number - 1:
            raise corrupt(
                directory, MANIFEST, f"is damaged (line {number} does not follow the line before it)"
            )
        if number == 1 and entry.get("format") != FORMAT:
            raise StoreError(
                f"{MANIFEST} in {directory} has format {entry.get('format')!r} and this gradlab reads "
                f"{FORMAT}; open it with the version that wrote it"
            )
        entries.append(entry)
    manifest = Manifest(tuple(entries))
    _check_order(directory, manifest)
    _check_head(directory, manifest, head)
    return manifest


def _entry(directory: Path, line: bytes, number: int) -> dict[str, Any]:
    """One line, whose canonical form and own digest are right."""
    damaged = corrupt(directory, MANIFEST, f"is damaged (line {number} does not match its own digest)")
    try:
        entry = json.loads(line.decode("ascii"))
        if not isinstance(entry, dict):
            raise damaged
        own = {key: value for key, value in entry.items() if key != "digest"}
        sound = canonical(entry) == line and entry.get("digest") == sha256(canonical(own))
    except Corrupt:
        raise
    except (ValueError, RecursionError) as error:
        raise damaged from error
    if not sound:
        raise damaged
    return entry


def _check_order(directory: Path, manifest: Manifest) -> None:
    """The entries are such as a writer makes: known kinds, plain names, segments numbered in order."""
    segments = 0
    for number, entry in enumerate(manifest.entries, start=1):
        kind, name = entry.get("kind"), entry.get("name")
        sound = kind in _KINDS and (kind == "specification") == (number == 1)
        if kind in _FILES:
            length = entry.get("length")
            sound &= isinstance(entry.get("sha256"), str) and isinstance(length, int) and length >= 0
        if kind == "specification":
            sound &= name == SPECIFICATION
        elif kind == "segment":
            sound &= name == segment_name(segments)
            segments += 1
        elif kind in ("attachment", "withdrawn"):
            try:
                attachment_name(name)
            except ValueError:
                sound = False
        if not sound:
            raise corrupt(
                directory, MANIFEST, f"is damaged (line {number} is no entry of a run: {name!r:.80})"
            )


def _check_head(directory: Path, manifest: Manifest, head: bytes | None) -> None:
    """The head is the manifest's own, or, after a kill, that of one entry less."""
    before = Manifest(manifest.entries[:-1])
    if head in (manifest.head, before.head if before.entries else None):
        return
    if head is None:
        raise corrupt(directory, HEAD, "is missing")
    try:
        said = json.loads(head.decode("ascii"))
        count, digest = said["count"], said["digest"]
        lost = canonical(said) + b"\n" == head and isinstance(count, int) and count > len(manifest.entries)
    except (ValueError, RecursionError, TypeError, KeyError):
        lost = False
    if lost and digest != manifest.last:
        what = f"has lost entries ({HEAD} counts {count} and it holds {len(manifest.entries)})"
        raise corrupt(directory, MANIFEST, what)
    raise corrupt(directory, HEAD, f"is damaged (it does not match {MANIFEST})")
