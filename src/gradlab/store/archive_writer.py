"""An ``.npz`` archive as pieces of memory to write one after the other: nothing is copied, all is read for its CRC."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

#: Bytes that a plain archive may have; pieces below _SMALL are joined, so that few are written.
_PLAIN, _SMALL = (1 << 31) - 1, 1 << 16
_STAMP = (1980, 1, 1, 0, 0, 0)


def npz_pieces(arrays: Mapping[str, np.ndarray]) -> list[bytes | memoryview]:
    """What ``numpy.savez`` would write, in pieces; ``numpy.load`` reads it. Arrays must not change until it is written.

    Examples
    --------
    >>> import io
    >>> import numpy as np
    >>> file = io.BytesIO(b"".join(npz_pieces({"w": np.arange(3.0)})))
    >>> np.load(file)["w"].tolist()
    [0.0, 1.0, 2.0]
    """
    if (
        sum(array.nbytes + 1024 for array in arrays.values()) > _PLAIN
    ):  # beyond 2 GB offsets are of another kind
        whole = io.BytesIO()
        np.savez(whole, allow_pickle=False, **arrays)
        return [whole.getbuffer()]
    pieces: list[bytes | memoryview] = []
    directory, at = b"", 0
    for name, array in arrays.items():
        straight = (
            array if array.flags.c_contiguous or array.flags.f_contiguous else np.ascontiguousarray(array)
        )
        heading = _heading(straight)
        data = straight.ravel(order="K").data.cast("B") if straight.size else memoryview(b"")
        member = zipfile.ZipInfo(f"{name}.npy", _STAMP)
        member.external_attr = 0o600 << 16
        member.CRC = zlib.crc32(data, zlib.crc32(heading))
        member.file_size = member.compress_size = len(heading) + len(data)
        local = member.FileHeader(zip64=False)
        pieces += [local + heading, data]
        directory += _entry(member, local, at)
        at += len(local) + member.file_size
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(arrays), len(arrays), len(directory), at, 0)
    return _joined([*pieces, directory + end])


def _heading(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
    return file.getvalue()


def _entry(member: zipfile.ZipInfo, local: bytes, at: int) -> bytes:
    """The member's line in the directory: what its local header says, and where that is."""
    _, version, flags, method, time, date = struct.unpack("<4s5H", local[:14])
    name = local[30:]
    fixed = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", version | 3 << 8, version, flags, method, time, date, member.CRC,
        member.compress_size, member.file_size, len(name), 0, 0, 0, 0, member.external_attr, at,
    )  # fmt: skip
    return fixed + name


def _joined(pieces: list[bytes | memoryview]) -> list[bytes | memoryview]:
    found: list[bytes | memoryview] = []
    small = b""
    for piece in pieces:
        if len(piece) < _SMALL:
            small += piece
            continue
        found += [small, piece] if small else [piece]
        small = b""
    return [*found, small] if small else found
