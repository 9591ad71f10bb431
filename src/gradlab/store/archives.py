"""Archives of data, read in memory and never extracted: weighed before they are unpacked, headers included."""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from gradlab.store import foreign

#: Size caps in bytes: the largest true member is 31 MB, the true archive 186 MB unpacked.
MEMBER, ARCHIVE, _MEMBERS = 40_000_000, 400_000_000, 1000
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)


class CorruptData(ValueError):
    """A file is there and is not what its digest says it must be."""


@contextmanager
def _archive(path: Path) -> Iterator[BinaryIO]:
    """A regular file no larger than an archive may be; what fails in the block is damage."""
    try:
        with os.fdopen(foreign.open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > ARCHIVE:
                raise CorruptData(
                    f"{path} has {foreign.megabytes(size)}, more than any archive of it; fetch it again"
                )
            yield file
    # RuntimeError: an encrypted member; NotImplementedError: a compression no canonical archive uses
    except (*_BROKEN, foreign.Unreadable, RuntimeError, NotImplementedError) as error:
        raise CorruptData(f"{path} is damaged ({error}); fetch it again") from error


class _Budgeted:
    """A stream as ``tarfile`` reads one, headers included, that ends in a sentence beyond what an archive holds."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path, self.left = stream, path, ARCHIVE

    def read(self, size: int) -> bytes:
        part = self.stream.read(size)
        self.left -= len(part)
        if self.left < 0:
            raise CorruptData(f"{self.path} unpacks to more than a CIFAR archive does; fetch it again")
        return part


def tar_members(path: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    """The wanted regular members by base name, read in memory under the size caps."""
    found: dict[str, bytes] = {}
    with _archive(path) as file:
        opened: Any = lzma.open if file.read(6) == b"\xfd7zXZ\0" else gzip.open
        file.seek(0)
        # as a stream: headers and what lies between members are read through the budget too
        with opened(file) as unpacked:
            budgeted: Any = _Budgeted(unpacked, path)
            with tarfile.open(fileobj=budgeted, mode="r|") as archive:
                for count, member in enumerate(archive):
                    if member.size > MEMBER or count > _MEMBERS:
                        raise CorruptData(f"{path} unpacks to more than a CIFAR archive does; fetch it again")
                    name = Path(member.name).name
                    stream = archive.extractfile(member) if member.isreg() and name in wanted else None
                    if stream is not None:
                        found[name] = stream.read(MEMBER)
    return found


def zip_members(path: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with _archive(path) as file:
        foreign.weigh_directory(file, path, "a zip archive")
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                name = Path(entry.filename).name
                if name in wanted and name not in found:
                    if entry.file_size > MEMBER:
                        raise CorruptData(f"{name} in {path} is larger than any batch; fetch it again")
                    with archive.open(entry) as stream:
                        found[name] = stream.read(MEMBER)
    return found
