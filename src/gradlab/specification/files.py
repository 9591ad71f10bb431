"""One's own data from a CSV or ``.npz`` file: arrays of float64, or one sentence naming the cell."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped

from gradlab.specification.schema import CsvFile, NpzFile
from gradlab.specification.sentences import SpecificationError, did_you_mean


@dataclass(frozen=True)
class Table:
    """Inputs and targets as read, before the loss says what its labels are."""

    inputs: Float[np.ndarray, "N ..."]
    targets: Shaped[np.ndarray, "N ..."]
    test_inputs: Float[np.ndarray, "M ..."] | None = None
    test_targets: Shaped[np.ndarray, "M ..."] | None = None


def existing(path: Path, where: str) -> Path:
    """The path, if it is a file that can be looked for; else one sentence."""
    if not path.is_file():
        known = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        near = did_you_mean(path.name, known) if known else "its folder does not exist"
        hint = f"; {near}" if near.startswith(("did", "its")) else ""
        raise SpecificationError(f"{where}: there is no file {path}{hint}")
    return path


def read_csv(section: CsvFile, folder: Path) -> Table:
    """The columns of a CSV file; targets keep two dims, (N, C)."""
    inputs, targets = _read_columns(existing(folder / section.path, "in [data]"), section)
    if section.test_path is None:
        return Table(inputs, targets)
    test = _read_columns(existing(folder / section.test_path, "in [data]"), section)
    return Table(inputs, targets, *test)


def _read_columns(path: Path, section: CsvFile) -> tuple[Float[np.ndarray, "N d"], Float[np.ndarray, "N C"]]:
    names, values = _read_table(path, section.header, section.delimiter)
    targets = [_column(path, names, name, "targets") for name in section.targets]
    if section.inputs is None:
        inputs = [i for i in range(len(names)) if i not in targets]
    else:
        inputs = [_column(path, names, name, "inputs") for name in section.inputs]
    both = sorted(set(inputs) & set(targets))
    if both:
        raise SpecificationError(f"in [data]: column {names[both[0]]!r} is named both as input and as target")
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
            f"in [data]: {path.name} has no column {name!r} for the {role}; {did_you_mean(name, names)}"
        )
    return names.index(name)


def _read_table(path: Path, header: bool, delimiter: str) -> tuple[list[str], Float[np.ndarray, "N columns"]]:
    """Column names and values. NumPy's reader first; where it stumbles, cell by cell, to name the cell."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter)
            first = next((row for row in reader if row), None)
            body = next((row for row in reader if row), None) if header else first
            skip = reader.line_num - (1 if body is not None else 0) if header else 0
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecificationError(f"{path} cannot be read as CSV: {error}") from error
    if first is None or body is None:
        raise SpecificationError(f"{path} has no rows of data")
    names = [cell.strip() for cell in first] if header else [str(i) for i in range(len(first))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise SpecificationError(f"{path} has two columns named {twice!r}; rename one")
    try:
        values = np.loadtxt(
            path,
            delimiter=delimiter,
            skiprows=skip,
            ndmin=2,
            comments=None,
            quotechar='"',
            encoding="utf-8-sig",
        )
    except (ValueError, UnicodeDecodeError):
        values = None
    if values is None or values.shape[1] != len(names) or not np.isfinite(values).all():
        values = _cell_by_cell(path, names, header, delimiter)
    return names, values


def _cell_by_cell(
    path: Path, names: Sequence[str], header: bool, delimiter: str
) -> Float[np.ndarray, "N columns"]:
    """The values, slowly; raises on the first cell that is no finite number, with its line and column."""
    rows: list[list[float]] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=delimiter)
            pending = header
            for row in reader:
                if not row:
                    continue
                if pending:
                    pending = False
                    continue
                rows.append(_row(path, reader.line_num, row, names))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecificationError(f"{path} cannot be read as CSV: {error}") from error
    return np.asarray(rows, dtype=np.float64)


def _row(path: Path, line: int, row: Sequence[str], names: Sequence[str]) -> list[float]:
    if len(row) != len(names):
        raise SpecificationError(
            f"{path} line {line} has {len(row)} columns where the first has {len(names)}"
        )
    values = []
    for name, cell in zip(names, row, strict=True):
        try:
            value = float(cell)
        except ValueError:
            what = "an empty cell" if not cell.strip() else f"{cell!r}"
            raise SpecificationError(f"{path} line {line}, column {name!r}: {what} is not a number") from None
        if not math.isfinite(value):
            raise SpecificationError(
                f"{path} line {line}, column {name!r}: {cell.strip()} is not a finite number; "
                "leave the row out or fill it in"
            )
        values.append(value)
    return values


def read_npz(section: NpzFile, folder: Path) -> Table:
    """The named arrays of an ``.npz`` file, never unpickled."""
    path = existing(folder / section.path, "in [data]")
    if (section.test_inputs is None) != (section.test_targets is None):
        raise SpecificationError("in [data]: test_inputs and test_targets come together; one is missing")
    try:
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise SpecificationError(f"{path} holds a single array; save both with numpy.savez")
            inputs = _array(path, archive, section.inputs).astype(np.float64)
            targets = _array(path, archive, section.targets)
            if section.test_inputs is None or section.test_targets is None:
                return Table(inputs, targets)
            test_inputs = _array(path, archive, section.test_inputs).astype(np.float64)
            return Table(inputs, targets, test_inputs, _array(path, archive, section.test_targets))
    except SpecificationError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise SpecificationError(f"{path} cannot be read as .npz without unpickling: {error}") from error


def _array(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> Shaped[np.ndarray, "N ..."]:
    if name not in archive.files:
        raise SpecificationError(
            f"in [data]: {path.name} has no array {name!r}; {did_you_mean(name, archive.files)}"
        )
    array = archive[name]
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise SpecificationError(
            f"{path}: array {name!r} has dtype {array.dtype} and shape {array.shape}; "
            "numbers with one row an example are expected"
        )
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        spot = tuple(int(i) for i in bad[0])
        raise SpecificationError(f"{path}: array {name!r} is {array[spot]} at index {list(spot)}")
    return array


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
