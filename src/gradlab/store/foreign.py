"""Where foreign bytes are read: a regular file, no larger than it may be, and any failure one sentence.

Nothing here allocates what a file claims before the claim is weighed: sizes are taken from ``stat``, from the
directory of a zip archive and from the header of an array, and what is over the budget is refused unread.
"""

from __future__ import annotations

import errno
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gradlab.wording import brief, quoted

#: Bytes that the arrays of one file may take in memory, as float64.
BUDGET = 256 << 20
#: Bytes that a file of numbers may have.
LARGEST = 128 << 20
#: Members of an archive, bytes of its directory, bytes of an array's header.
_MEMBERS, _DIRECTORY, _HEADER = 1000, 1 << 20, 10_000
_MAGIC = b"\x93NUMPY"
_END, _LOCATOR = b"PK\x05\x06", b"PK\x06\x07"


class Unreadable(ValueError):
    """A file that cannot be read as what it should be; the message is one sentence."""


def open_regular(path: Path) -> int:
    """A descriptor of a regular file, or of what a link to one leads to.

    Raises
    ------
    OSError
        For anything else: a pipe, device or directory is neither waited for nor read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def megabytes(count: float) -> str:
    """``8.4 GB``, ``3 MB`` or ``262144 bytes``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Let whatever goes wrong in the block end as one sentence on the file.

    Parameters
    ----------
    kind : what it is read as, e.g. ``CSV``.

    Raises
    ------
    Unreadable
    """
    try:
        yield
    except Unreadable:
        raise
    except MemoryError as error:
        raise Unreadable(f"{brief(str(path))} does not fit into memory as {kind}") from error
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise Unreadable(f"{brief(str(path))} cannot be read as {kind}: {brief(why)}") from error
    except Exception as error:  # libraries raise nearly anything at damaged bytes
        why = brief(str(error)) or type(error).__name__
        raise Unreadable(f"{brief(str(path))} cannot be read as {kind}: {why}") from error


@contextmanager
def opened(path: Path, most: int, kind: str) -> Iterator[BinaryIO]:
    """A regular file of at most so many bytes, open for reading; what fails in the block is one sentence."""
    with reading(path, kind), os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise Unreadable(
                f"{brief(str(path))} has {megabytes(size)}; at most {megabytes(most)} are read as {kind}"
            )
        yield file


def whole_file(path: Path, most: int, kind: str) -> bytes:
    """All bytes of a regular file of at most ``most`` bytes.

    Raises
    ------
    Unreadable
    """
    with opened(path, most, kind) as file:
        content = file.read(most + 1)
        if len(content) > most:
            raise Unreadable(f"{brief(str(path))} grew beyond {megabytes(most)} while it was read as {kind}")
        return content


# Arrays ----------------------------------------------------------------------------------------------------


def arrays(
    file: BinaryIO, path: Path, names: Sequence[str], budget: int = BUDGET, scalars: bool = False
) -> dict[str, np.ndarray | None]:
    """Arrays of an ``.npz`` archive by name, None for one that it does not hold; nothing is unpickled.

    Parameters
    ----------
    file : the open archive. path : its name, for messages.
    budget : bytes that they may take together, as float64.
    scalars : whether a single number, an array without axes, is read too.

    Raises
    ------
    Unreadable
        For what is no such archive, is damaged, holds no numbers, or is larger than the budget.
    """
    with reading(path, ".npz"):
        start = file.read(len(_MAGIC))
        if start == _MAGIC:
            raise Unreadable(f"{brief(str(path))} holds a single array; save both with numpy.savez")
        weigh_directory(file, path)
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            found: dict[str, np.ndarray | None] = {}
            for name in dict.fromkeys(names):
                array = _member(archive, path, name, budget, scalars)
                budget -= 0 if array is None else 8 * array.size
                found[name] = array
            return found


def array_names(file: BinaryIO, path: Path) -> list[str]:
    """Names of the arrays in an ``.npz`` archive."""
    with reading(path, ".npz"):
        weigh_directory(file, path)
        with zipfile.ZipFile(file) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]


def weigh_directory(file: BinaryIO, path: Path, kind: str = "an .npz archive") -> None:
    """Refuse a zip archive whose directory is larger than that of a few files, before it is parsed."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - (1 << 16) - 42))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise Unreadable(f"{brief(str(path))} cannot be read as {kind}: it has no directory (cut short?)")
    count = int.from_bytes(tail[at + 10 : at + 12], "little")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    if count > _MEMBERS or length > _DIRECTORY or tail[max(0, at - 20) :].startswith(_LOCATOR):
        raise Unreadable(f"{brief(str(path))} has more in it than {kind} of a few members; save them alone")


def _member(archive: zipfile.ZipFile, path: Path, name: str, budget: int, scalars: bool) -> np.ndarray | None:
    where = f"{brief(str(path))}: array {quoted(name)}"
    entries = [entry for entry in archive.infolist() if entry.filename in (name, f"{name}.npy")]
    if not entries:
        return None
    if len(entries) > 1:
        raise Unreadable(f"{where} is there {len(entries)} times; save each array once")
    (entry,) = entries
    if entry.flag_bits & 1:
        raise Unreadable(f"{where} is encrypted; save it with numpy.savez")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unreadable(f"{where} is compressed by method {entry.compress_type}; save it with numpy.savez")
    if entry.file_size > budget + _HEADER:
        raise Unreadable(f"{where} unpacks to {megabytes(entry.file_size)}; {_limit(budget)}")
    with archive.open(entry) as stream:
        shape, fortran, kind = _header(stream, where)  # type: ignore[arg-type]
        if kind.hasobject:
            raise Unreadable(
                f"{where} holds Python objects and cannot be read without unpickling; save numbers"
            )
        if kind.kind not in "fiub" or kind.itemsize > 8 or not (shape or scalars):
            raise Unreadable(
                f"{where} has dtype {brief(str(kind), 40)} and shape {brief(str(shape), 60)}; numbers with one row "
                "an example are expected"
            )
        size = math.prod(shape)
        held = entry.file_size - stream.tell()
        if size * kind.itemsize != held:
            raise Unreadable(
                f"{where} claims shape {brief(str(shape), 60)} in its header, {megabytes(size * kind.itemsize)}, "
                f"and holds {megabytes(held)}; save it again"
            )
        if 8 * size > budget:
            raise Unreadable(f"{where} takes {megabytes(8 * size)} as float64; {_limit(budget)}")
        buffer = bytearray(held)
        view, filled = memoryview(buffer), 0
        while filled < held and (part := stream.readinto(view[filled:])):  # type: ignore[attr-defined]
            filled += part
        if filled < held or stream.read(1):
            raise Unreadable(f"{where} is cut short: {filled} of {held} bytes")
    return np.frombuffer(buffer, kind).reshape(shape, order="F" if fortran else "C")


def _limit(budget: int) -> str:
    left = megabytes(max(budget, 0))
    return f"{left} are left for it: give fewer rows or columns, or a Data(…) of one's own in Python"


def _header(stream: BinaryIO, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in reader:
            raise ValueError(f"format {version} is not that of an array of numbers")
        shape, fortran, kind = reader[version](stream, max_header_size=_HEADER)
    except (zipfile.BadZipFile, OSError):
        raise
    except Exception as error:
        why = brief(str(error).split("\n")[0]) or type(error).__name__
        raise Unreadable(f"{where} is not an array as numpy.savez writes it ({why})") from error
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise Unreadable(f"{where} claims shape {brief(str(shape), 60)}; lengths are whole numbers ≥ 0")
    return shape, fortran, kind
