"""The cells of a CSV file as numbers, texts and missing values: NumPy's reader where it will do, else one by one."""

from __future__ import annotations

import io
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from gradlab.specification.layout import CsvLayout, comment, is_number, missing, numeral, table_rows
from gradlab.store.foreign import Unreadable
from gradlab.wording import brief, quoted

#: Whole numbers beyond it are rounded in float64.
EXACT = 2**53
#: Different texts that a file may hold.
_TEXTS = 1_000_000


@dataclass
class Column:
    """One column: values, NaN where a cell is missing; of a column with text, also which text stands where.

    ``texts`` maps a text to its number, ``codes`` (N,) has the number of every row, −1 where there is a number or
    nothing. Of what would not do as a number the first place is kept: ``texted``, ``absent`` and ``unfit``.
    """

    name: str
    values: Float[np.ndarray, "N"] | array = field(default_factory=lambda: array("d"))
    texts: dict[str, int] = field(default_factory=dict)
    codes: array = field(default_factory=lambda: array("q"))
    texted: tuple[int, str] | None = None
    absent: tuple[int, str] | None = None
    unfit: str = ""
    labels: frozenset[str] = frozenset()

    def take(self, line: int, cell: str, decimal: str) -> None:
        """Add a cell."""
        if cell in self.labels or not self._numeric(line, cell, decimal):
            self._text(line, cell)
        elif self.codes:
            self.codes.append(-1)

    def _numeric(self, line: int, cell: str, decimal: str) -> bool:
        if missing(cell):
            self.absent = self.absent or (line, cell)
            self.values.append(math.nan)  # type: ignore[union-attr]
            return True
        try:
            value = numeral(cell, decimal)
        except ValueError:
            return False
        if not math.isfinite(value):
            self._refuse(line, f"{brief(cell, 40)} is not a finite number; leave the row out or fill it in")
        elif abs(value) >= EXACT and _rounded(cell.lstrip("+-"), abs(value)):
            self._refuse(
                line,
                f"{brief(cell, 40)} is beyond 2^53 and would be rounded to {value:.0f}; write index = "
                f"{quoted(self.name)} to leave the column out (an identifier?), or write it with a decimal point",
            )
        self.values.append(value)  # type: ignore[union-attr]
        return True

    def _refuse(self, line: int, what: str) -> None:
        self.unfit = self.unfit or f" line {line}, column {quoted(self.name)}: {what}"

    def _text(self, line: int, cell: str) -> None:
        if not self.codes:
            self.codes.extend([-1] * len(self.values))
        self.texted = self.texted or (line, cell)
        self.codes.append(self.texts.setdefault(cell, len(self.texts)))
        self.values.append(math.nan)  # type: ignore[union-attr]

    @property
    def numbers(self) -> Float[np.ndarray, "N"]:
        """The values as an array."""
        if isinstance(self.values, array):
            self.values = np.frombuffer(self.values, dtype=np.float64)
        return self.values

    def distinct(self) -> bool:
        """Whether every row has its own text, or its own whole number."""
        codes = np.asarray(self.codes)
        if self.texts:
            return bool((codes >= 0).all()) and len(self.texts) == len(codes)
        whole = np.isfinite(self.numbers).all() and (self.numbers == np.round(self.numbers)).all()
        return bool(self.unfit or (whole and len(np.unique(self.numbers)) == len(self.numbers)))

    def counts(self) -> bool:
        """Whether it numbers the rows, from 0 or from 1."""
        given = self.numbers
        return (
            len(given) > 1
            and not self.texts
            and any(np.array_equal(given, np.arange(start, start + len(given))) for start in (0, 1))
        )


def _rounded(digits: str, value: float) -> bool:
    return digits.isdigit() and len(digits) < 400 and int(digits) != int(value)


def columns_of(
    path: Path, content: bytes, layout: CsvLayout, labels: Sequence[Sequence[str]]
) -> list[Column]:
    """All columns; ``labels`` of each are the texts that are labels whatever else they look like."""
    plain = layout.decimal == "." and layout.delimiter != " " and not layout.trailing and b"#" not in content
    values = _at_once(content, layout) if plain and not any(labels) else None
    if values is not None:
        return [Column(name, np.ascontiguousarray(values[:, j])) for j, name in enumerate(layout.names)]
    return _one_by_one(path, content, layout, labels)


def _at_once(content: bytes, layout: CsvLayout) -> Float[np.ndarray, "N columns"] | None:
    """The values as NumPy reads them; None where a cell is missing, text, or not certainly held exactly."""
    lines = [line for line, _ in islice(table_rows(content, layout.delimiter), layout.top)]
    try:
        values = np.loadtxt(
            io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline=""),
            delimiter=layout.delimiter,
            skiprows=max(lines, default=0),
            ndmin=2,
            comments=None,
            quotechar='"',
        )
    except Exception:  # the row-by-row reader says what is wrong, and where
        return None
    sound = (
        values.shape[1] == len(layout.names) and np.isfinite(values).all() and (np.abs(values) < EXACT).all()
    )
    return values if sound else None


def _one_by_one(
    path: Path, content: bytes, layout: CsvLayout, labels: Sequence[Sequence[str]]
) -> list[Column]:
    columns = [Column(name, labels=frozenset(of)) for name, of in zip(layout.names, labels, strict=True)]
    width, skipped = len(columns), 0
    for line, row in islice(table_rows(content, layout.delimiter), layout.top, None):
        if comment(row):
            if len(row) == width:
                raise Unreadable(
                    f"{path} line {line} begins with # and has as many cells as a row; take the # away, or delete the "
                    "line"
                )
            skipped += 1
            continue
        cells = _cells(path, line, row, width, layout)
        for column, cell in zip(columns, cells, strict=True):
            column.take(line, cell, layout.decimal)
        if line % 1024 == 0 and sum(len(column.texts) for column in columns) > _TEXTS:
            raise Unreadable(
                f"{path} holds more than {_TEXTS} different texts; save its numbers and labels alone"
            )
    if skipped:
        layout.remarks.append(f"{skipped} comment line{'s' * (skipped > 1)} skipped")
    return columns


def _cells(path: Path, line: int, row: list[str], width: int, layout: CsvLayout) -> list[str]:
    if layout.trailing and len(row) == width + 1:
        if row[-1]:
            raise Unreadable(
                f"{path} line {line} has {quoted(row[-1])} in a last column that has no name; name it in the header"
            )
        return row[:-1]
    if len(row) != width:
        raise Unreadable(f"{path} line {line} has {len(row)} columns where {_first(layout)} has {width}")
    return row


def _first(layout: CsvLayout) -> str:
    return "the header" if layout.named else "the first"


def number_column(path: Path, column: Column, decimal: str, others: Sequence[str], fill: bool) -> None:
    """Refuse a column that is to be numbers and is not, naming the cell and the way.

    Parameters
    ----------
    others : names of the columns that are numbers, for the way. fill : whether missing values are provided for.
    """
    if column.texted:
        line, cell = column.texted
        texts, count = len(column.texts), int((np.asarray(column.codes) >= 0).sum())
        where = f"{path} line {line}, column {quoted(column.name)}: {quoted(cell)} is not a number"
        if "_" in cell and is_number(cell.replace("_", "")):
            raise Unreadable(f"{where}; write {quoted(cell.replace('_', ''))}")
        if decimal == "." and is_number(cell, ","):
            raise Unreadable(f"{where}; write decimal = ',' if it is {cell.replace(',', '.')}")
        if 2 * count < len(column.codes):
            raise Unreadable(f"{where}; mend it, or empty the cell and write missing = 'drop' or 'mean'")
        some = ", ".join(quoted(text, 30) for text in islice(column.texts, 3)) + (", …" if texts > 3 else "")
        names = ", ".join(quoted(name, 30) for name in others[:12]) + (", …" if len(others) > 12 else "")
        raise Unreadable(
            f"{where}, and the column holds text ({some}); leave it out, inputs = [{names}], or code it in numbers"
        )
    if column.unfit:
        raise Unreadable(f"{path}{column.unfit}")
    if column.absent and not fill:
        line, cell = column.absent
        raise Unreadable(
            f"{path} line {line}, column {quoted(column.name)}: {quoted(cell) if cell else 'an empty cell'} is not a "
            "number; write missing = 'drop' to leave such rows out, or missing = 'mean' to put in the column's mean"
        )
