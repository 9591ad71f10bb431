"""Files of Equinox's ``tree_serialise_leaves``: arrays one after the other, without names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gradlab.store.foreign import BUDGET, LARGEST, Unreadable, megabytes, opened, reading
from gradlab.wording import brief

_ARRAYS, _HEADER = 1000, 10_000
KIND = "a file of tree_serialise_leaves"


def leaves(path: Path, budget: int = BUDGET) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays by their place in the file, ``"0"``, ``"1"``, …; their formats); bfloat16 is widened to float32.

    Parameters
    ----------
    budget : bytes that they may take together, as float64.

    Raises
    ------
    Unreadable
        For what is no such file, is cut short, holds anything but numbers, or is over the budget.
    """
    found: dict[str, np.ndarray] = {}
    formats: dict[str, str] = {}
    with opened(path, LARGEST, KIND) as file, reading(path, KIND):
        while file.peek(1):  # type: ignore[attr-defined]
            if len(found) == _ARRAYS:
                raise Unreadable(
                    f"{brief(str(path))} holds more than {_ARRAYS} arrays; save the weights alone"
                )
            array, kind = _next(file, f"{brief(str(path))}: array {len(found)}", budget)
            budget -= 8 * array.size
            name = str(len(found))
            found[name], formats[name] = array, kind
    return found, formats


def _next(file: BinaryIO, where: str, budget: int) -> tuple[np.ndarray, str]:
    version = np.lib.format.read_magic(file)
    reader = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in reader:
        raise Unreadable(f"{where} is of format {version}; save numbers")
    shape, fortran, kind = reader[version](file, max_header_size=_HEADER)
    half = kind.kind == "V" and kind.itemsize == 2 and not kind.fields
    if not half and (kind.kind not in "fiub" or kind.itemsize > 8):
        raise Unreadable(f"{where} has dtype {brief(str(kind), 40)}; numbers are expected")
    size = math.prod(shape)
    if 8 * size > budget:
        raise Unreadable(
            f"{where} takes {megabytes(8 * size)} as float64, more than is left for it; save fewer"
        )
    content = file.read(size * kind.itemsize)
    if len(content) < size * kind.itemsize:
        raise Unreadable(f"{where} is cut short: {len(content)} of {size * kind.itemsize} bytes")
    if half:
        wide = (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
        return _shaped(wide, shape, fortran), "bfloat16"
    return _shaped(np.frombuffer(content, kind), shape, fortran), str(kind)


def _shaped(array: np.ndarray, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    return array.reshape(shape, order="F") if fortran else array.reshape(shape)
