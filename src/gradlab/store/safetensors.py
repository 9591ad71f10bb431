"""Files of the safetensors format, read strictly: a header of JSON, then the bytes of the arrays without a gap."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.store.foreign import BUDGET, LARGEST, Unreadable, megabytes, reading, whole_file
from gradlab.wording import brief, quoted

#: Bytes of a header, arrays in a file, axes of an array.
_HEADER, _ARRAYS, _AXES = 1 << 20, 1000, 16
_KINDS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U8": "|u1", "U16": "<u2", "U32": "<u4", "U64": "<u8", "BOOL": "|b1",
}  # fmt: skip


def tensors(path: Path, budget: int = BUDGET) -> dict[str, tuple[np.ndarray, str]]:
    """Every array of a file by name, with the format it is kept in; bfloat16 is widened to float32.

    Parameters
    ----------
    budget : bytes that they may take together, as float64.

    Raises
    ------
    Unreadable
        For what is no such file, is damaged, has a gap, an overlap or a byte too many, or is over the budget.
    """
    content = whole_file(path, LARGEST, "safetensors")
    with reading(path, "safetensors"):
        where = brief(str(path))
        if len(content) < 8:
            raise Unreadable(
                f"{where} cannot be read as safetensors: it has {len(content)} bytes (cut short?)"
            )
        length = int.from_bytes(content[:8], "little")
        if length > min(_HEADER, len(content) - 8):
            raise Unreadable(
                f"{where} cannot be read as safetensors: it claims a header of {megabytes(length)} and has "
                f"{megabytes(len(content) - 8)} in all"
            )
        header = json.loads(content[8 : 8 + length].decode("utf-8"), object_pairs_hook=_once)
        if not isinstance(header, dict):
            raise Unreadable(f"{where} cannot be read as safetensors: its header is no JSON object")
        header.pop("__metadata__", None)
        if len(header) > _ARRAYS:
            raise Unreadable(f"{where} holds {len(header)} arrays; at most {_ARRAYS} are read")
        return _read(header, memoryview(content)[8 + length :], where, budget)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in its header")
    return found


def _read(
    header: dict[str, Any], body: memoryview, where: str, budget: int
) -> dict[str, tuple[np.ndarray, str]]:
    entries = [(*_entry(name, told, where), name) for name, told in header.items()]
    end, held = 0, 0
    for begin, stop, kind, shape, name in sorted(entries):
        size = math.prod(shape)
        if begin != end or stop > len(body) or stop - begin != size * np.dtype(_KINDS[kind]).itemsize:
            raise Unreadable(
                f"{where}: array {quoted(name)} claims bytes {begin} to {stop} of {len(body)} for shape "
                f"{brief(str(shape), 60)} of {kind}; arrays follow each other without gap or overlap: remove it "
                "(cut short?), or save it again"
            )
        end, held = stop, held + 8 * size
    if end != len(body):
        raise Unreadable(f"{where} has {len(body) - end} bytes after its last array; save it again")
    if held > budget:
        raise Unreadable(f"{where} takes {megabytes(held)} as float64; at most {megabytes(budget)} are read")
    return {name: (_array(body[begin:stop], kind, shape), kind) for begin, stop, kind, shape, name in entries}


def _entry(name: str, told: Any, where: str) -> tuple[int, int, str, tuple[int, ...]]:
    """(begin, end, kind, shape) of an array, each what it must be."""
    if not isinstance(told, dict) or set(told) != {"dtype", "shape", "data_offsets"}:
        raise Unreadable(f"{where}: array {quoted(name)} is not told by dtype, shape and data_offsets")
    kind, shape, offsets = told["dtype"], told["shape"], told["data_offsets"]
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Unreadable(
            f"{where}: array {quoted(name)} is of dtype {quoted(kind)}; there are {', '.join(_KINDS)}"
        )
    if not (isinstance(shape, list) and len(shape) <= _AXES and all(map(_whole, shape))):
        raise Unreadable(
            f"{where}: array {quoted(name)} has shape {quoted(shape)}; whole numbers ≥ 0 are expected"
        )
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(map(_whole, offsets))):
        raise Unreadable(
            f"{where}: array {quoted(name)} has data_offsets {quoted(offsets)}; expected [begin, end]"
        )
    return offsets[0], offsets[1], kind, tuple(shape)


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 1 << 48


def _array(part: memoryview, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = np.frombuffer(part, _KINDS[kind])
    if kind == "BF16":  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.reshape(shape)
