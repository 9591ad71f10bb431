"""One's own data from a CSV or ``.npz`` file: arrays of float64, or one sentence naming the cell."""

from __future__ import annotations

import csv
import io
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from gradlab.specification.schema import CsvFile, NpzFile
from gradlab.specification.sentences import SpecificationError, did_you_mean
from gradlab.store import foreign
from gradlab.wording import brief, quoted

#: Whole numbers beyond it are rounded in float64.
EXACT = 2**53
#: Bytes of one line of a CSV file.
_LINE = 4 << 20


@dataclass(frozen=True)
class Table:
    """Inputs and targets as read, before the loss says what its labels are."""

    inputs: Float[np.ndarray, "N ..."]
    targets: Shaped[np.ndarray, "N ..."]
    test_inputs: Float[np.ndarray, "M ..."] | None = None
    test_targets: Shaped[np.ndarray, "M ..."] | None = None


def existing(path: Path, where: str) -> Path:
    """The path, if something that is no folder is there; else one sentence. What it is, is seen when it is read."""
    try:
        if path.exists() and not path.is_dir():
            return path
        known = [entry.name for entry in islice(path.parent.iterdir(), 1000)]
    except (OSError, ValueError):  # a loop of links, a NUL in the name, a folder that is none
        known = []
    if path.name in known:
        raise SpecificationError(f"{where}: {path} is a folder, or a link that leads nowhere; name a file")
    near = did_you_mean(path.name, known) if known else "its folder does not exist"
    hint = f"; {near}" if near.startswith(("did", "its")) else ""
    raise SpecificationError(f"{where}: there is no file {brief(str(path))}{hint}")


def read_csv(section: CsvFile, folder: Path) -> Table:
    """The columns of a CSV file; targets keep two dims, (N, C)."""
    inputs, targets = _read_columns(existing(folder / section.path, "in [data]"), section)
    if section.test_path is None:
        return Table(inputs, targets)
    test = _read_columns(existing(folder / section.test_path, "in [data]"), section)
    return Table(inputs, targets, *test)


def _read_columns(path: Path, section: CsvFile) -> tuple[Float[np.ndarray, "N d"], Float[np.ndarray, "N C"]]:
    for role, chosen in (("targets", section.targets), ("inputs", section.inputs or [])):
        twice = [name for name in chosen if chosen.count(name) > 1]
        if twice:
            raise SpecificationError(
                f"in [data]: {role} names column {quoted(twice[0])} twice; name each once"
            )
    names, values = _read_table(path, section)
    targets = [_column(path, names, name, "targets") for name in section.targets]
    if section.inputs is None:
        inputs = [i for i in range(len(names)) if i not in targets]
    else:
        inputs = [_column(path, names, name, "inputs") for name in section.inputs]
    for role, columns in (("targets", targets), ("inputs", inputs)):
        if len(set(columns)) < len(columns):
            raise SpecificationError(
                f"in [data]: {role} names a column by its name and its number; name it once"
            )
    both = sorted(set(inputs) & set(targets))
    if both:
        raise SpecificationError(
            f"in [data]: column {quoted(names[both[0]])} is named both as input and as target"
        )
    if not inputs:
        raise SpecificationError(f"in [data]: {path.name} has no column left for the inputs")
    return values[:, inputs], values[:, targets]


def _column(path: Path, names: Sequence[str], name: str | int, role: str) -> int:
    if isinstance(name, int):
        if not 0 <= name < len(names):
            raise SpecificationError(
                f"in [data]: {role} names column {name}, but {path.name} has columns 0 to {len(names) - 1}"
            )
        return name
    if name not in names:
        raise SpecificationError(
            f"in [data]: {path.name} has no column {quoted(name)} for the {role}; {did_you_mean(name, names)}"
        )
    return names.index(name)


def _read_table(path: Path, section: CsvFile) -> tuple[list[str], Float[np.ndarray, "N columns"]]:
    """Column names and values. NumPy's reader first; where it stumbles, cell by cell, to name the cell."""
    content = foreign.whole_file(path, foreign.LARGEST, "CSV")
    _weigh(path, content, section.delimiter)
    with foreign.reading(path, "CSV"):
        reader = csv.reader(_lines(content), delimiter=section.delimiter)
        first = next((row for row in reader if row), None)
        body = next((row for row in reader if row), None) if section.header else first
        skip = reader.line_num - (1 if body is not None else 0) if section.header else 0
    if first is None or body is None:
        raise SpecificationError(f"{path} has no rows of data")
    names = [cell.strip() for cell in first] if section.header else [str(i) for i in range(len(first))]
    if section.header:
        _check_header(path, first, names, section)
    try:
        values = np.loadtxt(
            _lines(content), delimiter=section.delimiter, skiprows=skip, ndmin=2, comments=None, quotechar='"'
        )
    except Exception:  # the row-by-row reader says what is wrong, and where
        values = None
    if (
        values is None
        or values.shape[1] != len(names)
        or not np.isfinite(values).all()
        or (np.abs(values) >= EXACT).any()
    ):
        values = _cell_by_cell(path, content, names, section)
    return names, values


def _lines(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")


def _weigh(path: Path, content: bytes, delimiter: str) -> None:
    """What a CSV file will take in memory, from its separators, and how long its lines are, before it is parsed."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SpecificationError(f"{path} is UTF-16; save it as UTF-8")
    if (at := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, at) + 1
        raise SpecificationError(
            f"{path} line {line} holds a NUL byte, which no CSV file does; save it again"
        )
    cells = content.count(delimiter.encode()) + content.count(b"\n") + content.count(b"\r") + 1
    if 8 * cells > foreign.BUDGET:
        raise SpecificationError(
            f"{path} holds about {cells} cells, {foreign.megabytes(8 * cells)} as float64; at most "
            f"{foreign.megabytes(foreign.BUDGET)} are read: give fewer rows, or a Data(…) of one's own in Python"
        )
    start, number = 0, 1
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        if end - start > _LINE:
            raise SpecificationError(
                f"{path} line {number} has {foreign.megabytes(end - start)}; a line has at most "
                f"{foreign.megabytes(_LINE)}: give one example a line"
            )
        start, number = end + 1, number + 1


def _check_header(path: Path, first: Sequence[str], names: list[str], section: CsvFile) -> None:
    """Names are each there once, and are names: a first row of numbers is one unless it is named as a header."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SpecificationError(f"{path} has two columns named {quoted(name)}; rename one")
        seen.add(name)
    meant = any(isinstance(name, str) for name in (*section.targets, *(section.inputs or ())))
    if not meant and all(_is_number(cell) for cell in first):
        raise SpecificationError(
            f"{path} begins with a row of numbers, which would be taken for names and lost: write header = false, or "
            "put a line of names in front"
        )


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(_number(cell))
    except ValueError:
        return False


def _number(cell: str) -> float:
    """The number in a cell; Python's own ``1_000`` and digits of other scripts are none."""
    if "_" in cell or not cell.isascii():
        raise ValueError
    return float(cell)


def _cell_by_cell(
    path: Path, content: bytes, names: Sequence[str], section: CsvFile
) -> Float[np.ndarray, "N columns"]:
    """The values, slowly; raises on the first cell that is no finite number, with its line and column."""
    numbers, pending = array("d"), section.header
    with foreign.reading(path, "CSV"):
        reader = csv.reader(_lines(content), delimiter=section.delimiter)
        for row in reader:
            if not row:
                continue
            if pending:
                pending = False
                continue
            numbers.extend(_row(path, reader.line_num, row, names))
    return np.frombuffer(numbers, dtype=np.float64).reshape(-1, len(names))


def _row(path: Path, line: int, row: Sequence[str], names: Sequence[str]) -> list[float]:
    if len(row) != len(names):
        raise foreign.Unreadable(
            f"{path} line {line} has {len(row)} columns where the first has {len(names)}"
        )
    return [_cell(path, line, name, cell) for name, cell in zip(names, row, strict=True)]


def _cell(path: Path, line: int, name: str, cell: str) -> float:
    where = f"{path} line {line}, column {quoted(name)}"
    try:
        value = _number(cell)
    except ValueError:
        what = quoted(cell) if cell.strip() else "an empty cell"
        hint = f"; write {quoted(cell.replace('_', ''))}" if "_" in cell else ""
        raise foreign.Unreadable(f"{where}: {what} is not a number{hint}") from None
    if not math.isfinite(value):
        raise foreign.Unreadable(
            f"{where}: {brief(cell, 40)} is not a finite number; leave the row out or fill it in"
        )
    whole = cell.strip().lstrip("+-")
    if abs(value) >= EXACT and whole.isdigit() and int(whole) != int(abs(value)):
        raise foreign.Unreadable(
            f"{where}: {brief(cell, 40)} is beyond 2^53 and would be rounded to {value:.0f}; leave the column out (an "
            "identifier?), or write it with a decimal point"
        )
    return value


def read_npz(section: NpzFile, folder: Path) -> Table:
    """The named arrays of an ``.npz`` file, never unpickled."""
    path = existing(folder / section.path, "in [data]")
    if (section.test_inputs is None) != (section.test_targets is None):
        raise SpecificationError("in [data]: test_inputs and test_targets come together; one is missing")
    given = (section.inputs, section.targets, section.test_inputs, section.test_targets)
    names = [name for name in given if name is not None]
    with foreign.opened(path, foreign.LARGEST, ".npz") as file:
        found = foreign.arrays(file, path, names)
        held = foreign.array_names(file, path)
    read = [_finite(path, name, found[name], held) for name in names]
    inputs = read[0].astype(np.float64)
    return (
        Table(inputs, read[1])
        if len(read) == 2
        else Table(inputs, read[1], read[2].astype(np.float64), read[3])
    )


def _finite(
    path: Path, name: str, values: np.ndarray | None, held: Sequence[str]
) -> Shaped[np.ndarray, "N ..."]:
    if values is None:
        raise SpecificationError(
            f"in [data]: {path.name} has no array {quoted(name)}; {did_you_mean(name, held)}"
        )
    if not values.size:
        raise SpecificationError(
            f"{path}: array {quoted(name)} is empty, of shape {brief(str(values.shape), 60)}"
        )
    if values.dtype.kind in "iu" and ((values > EXACT) | (values < -EXACT)).any():
        spot = np.argwhere((values > EXACT) | (values < -EXACT))[0]
        raise SpecificationError(
            f"{path}: array {quoted(name)} is {values[tuple(spot)]} at index {spot.tolist()}, which float64 rounds; "
            "leave such a column out (an identifier?), or save it as floats"
        )
    if not (finite := np.isfinite(values)).all():
        spot = np.argwhere(~finite)[0]
        raise SpecificationError(
            f"{path}: array {quoted(name)} is {values[tuple(spot)]} at index {spot.tolist()}"
        )
    return values


def labelled(targets: Shaped[np.ndarray, "N ..."], labels: str) -> Shaped[np.ndarray, "N ..."]:
    """Targets as a loss takes them: (N, C) for real, (N,) of ±1 for sign, (N,) of 0 … C − 1 for class."""
    if labels == "real":
        return np.asarray(targets, dtype=np.float64).reshape(len(targets), -1)
    flat = np.asarray(targets, dtype=np.float64)
    if flat.ndim == 2 and flat.shape[1] == 1:
        flat = flat[:, 0]
    if flat.ndim != 1:
        raise SpecificationError(
            f"in [data]: the loss takes one label an example; targets of shape {tuple(flat.shape)} were given"
        )
    if labels == "sign":
        wrong = np.flatnonzero(np.abs(flat) != 1.0)
        if len(wrong):
            raise SpecificationError(
                f"in [data]: this loss takes labels -1 and +1; example {wrong[0]} has {flat[wrong[0]]:g}"
                + (": write 0 as -1" if set(np.unique(flat)) == {0.0, 1.0} else "")
            )
        return flat
    wrong = np.flatnonzero((flat < 0) | (flat != np.round(flat)))
    if len(wrong):
        raise SpecificationError(
            f"in [data]: this loss takes classes 0, 1, 2, …; example {wrong[0]} has {flat[wrong[0]]:g}"
        )
    return flat.astype(np.int64)
