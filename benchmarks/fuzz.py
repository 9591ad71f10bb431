"""Damaged and hostile files against the real reading path: each must be read, or refused in one sentence.

Valid npz, npy, CSV and TOML files are mutated from a seed: bytes flipped, cut, repeated; headers, directories and
checksums that lie; objects, huge numbers, deep keys, control characters. Everything runs in one process whose address
space is limited, so that what a file claims cannot be allocated.
"""

from __future__ import annotations

import io
import resource
import struct
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gradlab import specification
from gradlab.specification import costs, files, schema

#: Address space beyond what the process has when it begins.
SPACE = 1 << 30
#: Characters that a message may have.
LONGEST = 1200
Random = np.random.Generator

_TOML = """
title = "a study"
seed = 3
decay = 0.1
observables = ["loss", "gradient_norm"]
[network]
kind = "dense"
widths = [3, 8, 1]
activation = "tanh"
init = { kind = "gaussian", scale = 0.5 }
[loss]
kind = "square"
reduction = "mean"
[data]
kind = "linear regression"
examples = 20
inputs = 3
noise = 0.1
[flow]
kind = "gradient flow"
kicks = { sigma = 0.1, every = 1.0 }
[clock]
kind = "time"
[solver]
method = "auto"
tolerance = 1e-6
[records]
until = 1.0
count = 11
keep = "all"
[stop]
gradient_norm = 1e-6
"""
_VALUES = (
    "1", "-1", "0", "1e400", "nan", "inf", "-inf", "true", '""', '"polynomial"', "[]", "[[1.0], [2.0, 3.0]]", "{}",
    "9" * 30, "9" * 5000, "1e-320", "1979-05-27", "07:32:00", "{ kind = 3 }", '{ kind = "power law" }', "1_000",
    '"\\u001b[31mred"', '"' + "x" * 3000 + '"', "1000000000", "2147483648", "0x7fffffffffffffff", "[" * 400,
    "[1, [2, [3, [4]]]]", '"""\na\n"""', "'\\'", '"a', "-0.0", '["loss", 3]', "{ a.b.c = 1 }", "1.5",
)  # fmt: skip
_LINES = (
    ".".join(["a"] * 3000) + " = 1", "[" + ".".join(["a"] * 500) + "]", "[[network]]", "[network.init.deep]", "= 1",
    '"\\u0000" = 1', "a\nb = 1", "[data]", "widths = [1000000000, 1000000000]", "x" * 5000 + " = 1", "\x00", "\ufeff",
    "examples = 1000000000000", "degree = 1000000000", "blocks = 1000000000", '"a"."b"."c"."d"."e"."f"."g"."h"."i" = 1',
    "network = 3", "[network]\nkind = 'residual'\nblocks = 1000000000\ninputs=3\nwidth=3\noutputs=1",
)  # fmt: skip
_CELLS = (
    "nan", "inf", "", " ", "1_000", "1e999", "9007199254740993", "9" * 400, "0x10", "1,5", '"1', '"1"',
    "\x00", "\ufeff", "\uff11", "1e-400", "-", "+1", "1;2", "\r", "\n\n", "x" * 5000, "#1", "\x1b[31m", "1d5",
    "True", '""', "a\nb", "0" * 5000,
)  # fmt: skip


# Mutations -------------------------------------------------------------------------------------------------


def damaged(content: bytes, random: Random) -> bytes:
    """Bytes flipped, cut, repeated, moved or put in."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        at, other = (int(random.integers(0, len(data) + 1)) for _ in range(2))
        low, high = min(at, other), max(at, other)
        match int(random.integers(0, 6)):
            case 0 if data:
                data[min(at, len(data) - 1)] ^= 1 << int(random.integers(0, 8))
            case 1:
                del data[low : high if random.random() < 0.3 else low + 8]
            case 2:
                data[at:at] = bytes(random.integers(0, 256, int(random.integers(1, 9)), dtype=np.uint8))
            case 3:
                data[at:at] = data[low : min(high, low + 2000)]
            case 4 if len(data) >= 4:
                at = min(at, len(data) - 4)
                data[at : at + 4] = random.choice(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"PK\6\7"]
                )
            case _:
                data[low:high] = data[low:high][::-1]
    return bytes(data)


def toml(random: Random) -> bytes:
    """A specification with values, lines and bytes changed."""
    lines = _TOML.splitlines()
    for _ in range(int(random.choice([0, 1, 1, 2, 3]))):
        at = int(random.integers(0, len(lines)))
        match int(random.integers(0, 5)):
            case 0 | 1 if "=" in lines[at]:
                lines[at] = lines[at].split("=")[0] + "= " + str(random.choice(_VALUES))
            case 2:
                lines.insert(at, str(random.choice(_LINES)))
            case 3:
                del lines[at]
            case _:
                lines[at] = lines[at][::-1] if random.random() < 0.2 else lines[at].replace("i", "\u0131")
    content = "\n".join(lines).encode()
    return damaged(content, random) if random.random() < 0.3 else content


def csv(random: Random) -> bytes:
    """A table with cells, rows and bytes changed."""
    rows = [[f"{value:.3g}" for value in row] for row in random.standard_normal((6, 3))]
    if random.random() < 0.8:
        rows.insert(0, ["a", "b", "y"])
    for _ in range(int(random.integers(0, 4))):
        row = rows[int(random.integers(0, len(rows)))]
        match int(random.integers(0, 6)):
            case 0:
                row.append("1")
            case 1 if row:
                row.pop()
            case 2:
                rows[0] = [str(random.choice(["1", "a", "y", ""])) for _ in rows[0]]
            case _ if row:
                row[int(random.integers(0, len(row)))] = str(random.choice(_CELLS))
    text = str(random.choice(["\n", "\r\n", "\r", "\n\n"])).join(",".join(row) for row in rows)
    encoding = str(random.choice(["utf-8", "utf-8-sig", "utf-16", "utf-8", "utf-8"]))
    content = text.encode(encoding, "replace")
    return damaged(content, random) if random.random() < 0.3 else content


def _array(random: Random) -> bytes:
    """The bytes of an npy file: numbers mostly, and what is none."""
    shape = tuple(int(random.integers(0, 4)) for _ in range(int(random.integers(0, 4))))
    kind = str(
        random.choice(
            ["f8", "f8", "f8", "f4", "f2", "i8", "u8", "?", "c16", "U3", "S2", "O", "M8[s]", "g", ">f8"]
        )
    )
    values = (
        np.zeros(shape, kind) if kind in ("O", "M8[s]") else (9 * random.standard_normal(shape)).astype(kind)
    )
    if kind in ("i8", "u8") and values.size and random.random() < 0.3:
        values.flat[0] = 2**53 + 1
    content = io.BytesIO()
    np.save(content, values, allow_pickle=True)
    return content.getvalue()


def _lying(random: Random) -> bytes:
    """An npy file whose header claims what is not there."""
    shape = random.choice([
        "(1000000, 1000000)", "(-3, 3)", "(3, 3)", "3", "(True, 3)", "(3.0,)", "()", "(" * 300,
        "(0, 99999999999999999)",
        "(99999999999999999999999,)", "'a'", "__import__('os').getcwd()", "(3, 3), 'more': 1",
    ])  # fmt: skip
    kind = random.choice(
        ["'<f8'", "'|O'", "'<f9'", "[('a', '<f8')]", "'<f8', 'descr': '|O'", "'V1000000000'", "'<U1'"]
    )
    text = (
        f"{{'descr': {kind}, 'fortran_order': {random.choice(['False', '1', 'True'])}, 'shape': {shape}, }}"
    )
    text += " " * int(random.choice([0, 20, 100_000])) + "\n"
    version = bytes(random.choice([b"\1\0", b"\2\0", b"\3\0", b"\7\7"]))
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text) % 65_536)
    return b"\x93NUMPY" + version + length + text.encode() + bytes(72)


def npz(random: Random) -> bytes:
    """An archive with arrays, headers, directory entries and bytes changed."""
    made = io.BytesIO()
    method = int(
        random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    )
    with zipfile.ZipFile(made, "w", method if random.random() < 0.3 else zipfile.ZIP_DEFLATED) as archive:
        for name in ("inputs", "targets"):
            values = random.standard_normal((4, 3) if name == "inputs" else (4, 1))
            content = io.BytesIO()
            np.save(content, values)
            draw, bytes_of = random.random(), content.getvalue()
            if draw < 0.3:
                bytes_of = _array(random)
            elif draw < 0.5:
                bytes_of = _lying(random)
            elif draw < 0.55:
                bytes_of = made.getvalue()
            elif draw < 0.6:
                bytes_of += bytes(int(random.choice([1, 8, 3_000_000])))
            if random.random() > 0.03:
                archive.writestr(name + str(random.choice([".npy", ".npy", ".npy", "", ".NPY"])), bytes_of)
        if random.random() < 0.02:
            for number in range(1200):
                archive.writestr(f"m{number}", b"")
    whole = bytearray(made.getvalue())
    entry = whole.find(b"PK\1\2")
    if random.random() < 0.3 and entry > 0:
        field = int(random.choice([8, 10, 16, 20, 24, 28, 30, 42]))
        whole[entry + field : entry + field + 4] = random.integers(0, 256, 4, dtype=np.uint8).tobytes()
    return damaged(bytes(whole), random) if random.random() < 0.4 else bytes(whole)


def npy(random: Random) -> bytes:
    """A single array where an archive is expected."""
    content = _array(random) if random.random() < 0.5 else _lying(random)
    return damaged(content, random) if random.random() < 0.5 else content


# The reading path ------------------------------------------------------------------------------------------


def _csv(path: Path, random: Random) -> None:
    header = b"y" in path.read_bytes()[:40] or bool(random.random() < 0.2)
    section: dict[str, Any] = {
        "kind": "csv",
        "path": path.name,
        "header": header,
        "targets": ["y"] if header else [2],
    }
    files.own_data(schema.CsvFile.model_validate(section), "real", path.parent)


def _npz(path: Path, _: Random) -> None:
    files.own_data(schema.NpzFile(kind="npz", path=path.name), "real", path.parent)


def _toml(path: Path, _: Random) -> None:
    costs.weigh(specification.read(path))


KINDS: dict[str, tuple[Callable[[Random], bytes], Callable[[Path, Random], None]]] = {
    "toml": (toml, _toml),
    "csv": (csv, _csv),
    "npz": (npz, _npz),
    "npy": (npy, _npz),
}


def outcome(read: Callable[[], None]) -> tuple[str, str]:
    """("read" | "sentence" | "fault", what was said)."""
    try:
        read()
    except ValueError as error:
        said = str(error)
        sound = 0 < len(said) <= LONGEST and said.isprintable() and _ours(error)
        return ("sentence", said) if sound else ("fault", f"{type(error).__name__}: {said[:300]!r}")
    except BaseException:
        return "fault", traceback.format_exc()
    return "read", ""


def _ours(error: BaseException) -> bool:
    """Whether it was raised here, not by a library underneath."""
    trace, module = error.__traceback__, ""
    while trace is not None:
        module, trace = str(trace.tb_frame.f_globals.get("__name__", "")), trace.tb_next
    return module.startswith("gradlab.")


def rows(
    count: int, say: Callable[[str], None], limited: bool = True, first: int = 0
) -> list[dict[str, Any]]:
    """So many files, the kinds in turn: how many were read, refused in a sentence, and neither.

    first : the number of the first file of each kind; other numbers are other files.
    limited : bound the address space of this process by :data:`SPACE` beyond what it has.
    """
    before = resource.getrlimit(resource.RLIMIT_AS)
    if limited:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPACE, before[1]))
    try:
        with tempfile.TemporaryDirectory() as folder:
            return [_row(kind, first, -(-count // len(KINDS)), Path(folder), say) for kind in KINDS]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _row(kind: str, first: int, count: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    make, read = KINDS[kind]
    seen: Counter[str] = Counter()
    faults: list[str] = []
    begun, slowest = time.process_time(), 0.0
    for number in range(first, first + count):
        random = np.random.default_rng([number, list(KINDS).index(kind)])
        path = folder / f"file.{kind}"
        path.write_bytes(make(random))
        start = time.process_time()
        what, said = outcome(partial(read, path, random))
        slowest = max(slowest, time.process_time() - start)
        seen[what] += 1
        if what == "fault":
            faults.append(f"{kind} {number}: {said}")
        if number % 500 == 0:
            say(f"fuzz: {kind} {number}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "kind": kind, "files": count, "read": seen["read"], "sentences": seen["sentence"], "faults": seen["fault"],
        "slowest seconds": slowest, "CPU seconds": time.process_time() - begun, "peak bytes": float(peak),
        "examples": "\n".join(faults[:5]) or None,
    }  # fmt: skip
