"""What a file claims is weighed before it is believed, and anything that goes wrong is one sentence."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlab.store import foreign
from gradlab.store.disk import Disk
from gradlab.store.foreign import Unreadable, arrays, whole_file
from gradlab.wording import brief, quoted


def npy(values: Any, **more: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, values, **more)
    return content.getvalue()


def claiming(shape: str, kind: str = "'<f8'", body: bytes = bytes(72), version: bytes = b"\1\0") -> bytes:
    header = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + body


def archive(content: bytes, name: str = "inputs.npy", method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as file:
        file.writestr(name, content)
    return made


def refusal(made: io.BytesIO, budget: int = foreign.BUDGET) -> str:
    with pytest.raises(Unreadable) as caught:
        arrays(made, Path("d.npz"), ["inputs"], budget)
    said = str(caught.value)
    assert said.startswith("d.npz")
    assert said.isprintable()
    return said


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.array([True, False]),
        np.zeros((2, 0)),
        np.float16([0.5]),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numbers_are_read_as_numpy_writes_them(values: np.ndarray, save: Any) -> None:
    made = io.BytesIO()
    save(made, inputs=values, targets=values)
    found = arrays(made, Path("d.npz"), ["inputs", "targets", "more"])
    for name in ("inputs", "targets"):
        array = found[name]
        assert array is not None
        assert array.dtype == values.dtype
        np.testing.assert_array_equal(array, values)
    assert found["more"] is None
    assert foreign.array_names(made, Path("d.npz")) == ["inputs", "targets"]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (
            claiming("(1000000, 1000000)"),
            "claims shape (1000000, 1000000) in its header, 8 TB, and holds 72 bytes",
        ),
        (claiming("(99999999999999999999999,)"), "claims shape"),
        (claiming("(-3, -3)"), "whole numbers"),
        (claiming("(True, 9)"), "claims shape"),
        (claiming("(3.0, 3)"), "not an array as numpy.savez writes it"),
        (claiming("(" * 2000), "not an array"),
        (claiming("__import__('os').getcwd()"), "not an array"),
        (claiming("(9,)" + " " * 20_000), "not an array"),
        (claiming("(3, 3)", "'|O'"), "without unpickling"),
        (npy(np.array([{}]), allow_pickle=True), "without unpickling"),
        (claiming("(9,)", "[('a', '<f8')]"), "numbers with one row an example"),
        (claiming("(1,)", "'<U18'"), "numbers with one row an example"),
        (claiming("()", body=bytes(8)), "numbers with one row an example"),
        (npy(np.zeros(3, complex)), "numbers with one row an example"),
        (npy(np.zeros(3))[:-8], "and holds 16 bytes"),
        (npy(np.zeros(3)) + b"\0", "and holds 25 bytes"),
        (claiming("(9,)", version=b"\7\7"), "not an array"),
        (b"", "not an array"),
        (archive(npy(np.zeros(3))).getvalue(), "not an array"),
    ],
)
def test_a_header_that_lies_is_one_sentence(content: bytes, part: str) -> None:
    assert part in refusal(archive(content))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    made = archive(npy(np.zeros(30_000_000, np.int8)))
    assert len(made.getvalue()) < 100_000
    tracemalloc.start()
    try:
        said = refusal(made, budget=1 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "unpacks to 30 MB" in said
    assert peak < 2_000_000
    assert "as float64" in refusal(made, budget=100_000_000)  # a byte a number, and eight in memory


def changed(made: io.BytesIO, change: Any) -> io.BytesIO:
    content = bytearray(made.getvalue())
    change(content, content.index(b"PK\1\2"))
    return io.BytesIO(bytes(content))


def encrypted(content: bytearray, entry: int) -> None:
    content[6] |= 1
    content[entry + 8] |= 1


def by_another_method(content: bytearray, entry: int) -> None:
    content[8], content[entry + 10] = 99, 99


def smaller_than_it_is(content: bytearray, entry: int) -> None:
    content[entry + 24 : entry + 28] = struct.pack("<I", 200)


def many(content: bytearray, entry: int) -> None:
    end = content.rindex(b"PK\5\6")
    content[end + 10 : end + 12] = b"\xff\xff"


def damaged(content: bytearray, entry: int) -> None:
    for at in range(45, 60):
        content[at] ^= 0xFF


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (encrypted, "encrypted"),
        (by_another_method, "method 99"),
        (smaller_than_it_is, "Bad CRC-32"),
        (many, "more in it"),
        (damaged, "d.npz"),
        (lambda content, entry: content.__delitem__(slice(-22, None)), "no directory"),
        (lambda content, entry: content.__delitem__(slice(0, 30)), "d.npz"),
    ],
)
def test_a_damaged_archive_is_one_sentence(change: Any, part: str) -> None:
    made = archive(npy(np.random.default_rng(0).standard_normal((200, 3))))
    assert part in refusal(changed(made, change))


def test_other_files_are_named_for_what_they_are() -> None:
    assert "single array" in refusal(io.BytesIO(npy(np.zeros(3))))
    assert "no directory" in refusal(io.BytesIO(b"hello"))
    assert "method 12" in refusal(archive(npy(np.zeros(3)), method=zipfile.ZIP_BZIP2))
    twice = archive(npy(np.zeros(3)))
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as file:
        file.writestr("inputs.npy", npy(np.ones(3)))
    assert "2 times" in refusal(twice)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_pipe, make_loop, make_device, Path.mkdir])
def test_only_regular_files_are_read_and_nothing_is_waited_for(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "d")
    with pytest.raises(Unreadable, match="cannot be read as CSV"):
        whole_file(tmp_path / "d", 100, "CSV")
    with pytest.raises(OSError, match=r"not a regular file|directory|symbolic links"):
        Disk().read_bytes(tmp_path / "d")


def test_a_link_to_a_file_is_that_file_and_a_large_one_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert whole_file(tmp_path / "link", 3, "CSV") == b"abc"
    with pytest.raises(Unreadable, match="has 3 bytes; at most 2 bytes are read as CSV"):
        whole_file(tmp_path / "link", 2, "CSV")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(Unreadable, match=r"has 4\.4 TB"):
        whole_file(tmp_path / "sparse", 1 << 20, "CSV")
    with pytest.raises(OSError, match="too large"):
        Disk().read_bytes(tmp_path / "sparse")


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), KeyError("x"), OSError(5, "I/O"), ValueError()]
)
def test_whatever_a_library_raises_is_one_sentence(error: Exception) -> None:
    with pytest.raises(Unreadable, match=r"^d\.h5") as caught, foreign.reading(Path("d.h5"), "netCDF"):
        raise error
    assert str(caught.value).isprintable()


def test_foreign_text_is_printable_and_short() -> None:
    assert brief("a\x1b[31m\n b\u202e", 40) == "a\\x1b[31m b\\u202e"
    assert len(brief("x" * 10**6, 50)) == 50
    assert len(quoted("'" * 10**6)) == 60
    assert quoted("a") == "'a'"
