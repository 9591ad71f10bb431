"""How a CSV file is laid out: separator, decimal sign, header, comments, trailing separators; found, or told."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from gradlab.specification.schema import CsvFile
from gradlab.store import foreign
from gradlab.wording import brief, quoted

#: What reads as a missing value, in lower case.
MISSING = frozenset(
    ["", "na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none", "?", "-", "--", ".", "missing"]
)
#: Bytes and rows at the beginning by which a file is judged.
_SAMPLE, _ROWS = 1 << 18, 200
_CANDIDATES = (",", ";", "\t", "|", " ")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_SEP = re.compile(r'"?sep=(.)"?\s*')
_RUNS = re.compile(r'("[^"]*")|[ \t]+')
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


@dataclass(frozen=True)
class CsvLayout:
    """Where the columns and the rows of a file are.

    ``names`` are of all columns, as in the header or numbered from 0; ``named`` says which. ``top`` rows (blank
    lines not counted) come before the data. ``trailing`` : every row ends in a separator, and the empty cell
    behind it is none of a column.
    """

    delimiter: str
    decimal: str
    names: list[str]
    named: bool
    top: int
    trailing: bool
    remarks: list[str] = field(default_factory=list)

    @cached_property
    def places(self) -> dict[str, int]:
        """The number of each column, by name."""
        return {name: at for at, name in enumerate(self.names)}


def numeral(cell: str, decimal: str = ".") -> float:
    """The number in a cell, infinite ones included; Python's own ``1_000`` and digits of other scripts are none."""
    if "_" in cell or not cell.isascii():
        raise ValueError
    if decimal == ",":
        if "." in cell:
            raise ValueError
        cell = cell.replace(",", ".")
    return float(cell)


def is_number(cell: str, decimal: str = ".") -> bool:
    """Whether a cell is a finite number."""
    try:
        return math.isfinite(numeral(cell, decimal))
    except ValueError:
        return False


def missing(cell: str) -> bool:
    """Whether a cell reads as a missing value."""
    return len(cell) < 40 and cell.strip().lower() in MISSING


def table_rows(content: bytes, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of all rows that are not blank, comments and header included; cells are stripped of blanks."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    lines: Iterator[str] = text
    if delimiter == " ":
        lines = (_RUNS.sub(lambda run: run[1] or " ", line.strip()) + "\n" for line in text)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter not in " \t")
    for row in reader:
        if row and (len(row) > 1 or row[0].strip()):
            yield reader.line_num, [cell.strip() for cell in row]


def comment(row: Sequence[str]) -> bool:
    """Whether a row begins with the sign of a comment."""
    return row[0].startswith("#") and row[0].lower() != "#n/a"


def find(path: Path, content: bytes, section: CsvFile) -> CsvLayout:
    """The layout of a file: what the section says, and for the rest what the first rows show.

    Raises
    ------
    Unreadable
        Where two readings are possible: the sentence says what to write.
    """
    sample = (
        content if len(content) <= _SAMPLE else content[: content.rfind(b"\n", 0, _SAMPLE) + 1 or _SAMPLE]
    )
    told = _SEP.fullmatch(sample.split(b"\n", 1)[0].decode("utf-8-sig", "replace"))
    delimiter = section.delimiter or (told[1] if told else _delimiter(path, sample))
    seen = _seen(sample, delimiter)
    above = 1 if told and seen and "sep=" in "".join(seen[0]) else 0
    while above < len(seen) and comment(seen[above]):
        above += 1
    body = [row for row in seen[above:] if not comment(row)]
    if not body:
        raise foreign.Unreadable(f"{path} has no rows of data")
    decimal = section.decimal or _decimal(path, body)
    width = Counter(map(len, body[1:] or body)).most_common(1)[0][0]
    header, top = _header(path, seen[:above], body, width, decimal, section), above
    top += header is body[0]
    if len(body) == 1 and header is body[0]:
        raise foreign.Unreadable(f"{path} has no rows of data")
    data = body[header is body[0] :]
    trailing = width > 2 and all(len(row) == width and not row[-1] for row in data)
    trailing = trailing and (header is None or len(header) == width - 1 or not header[-1])
    width -= trailing
    remarks = [] if above == 0 else [f"{above} line{'s' * (above > 1)} above the table skipped"]
    if header is None:
        names, where = list(map(str, range(width))), "no header, columns are numbered from 0"
    else:
        where = (
            "names from the comment above the table"
            if header is not body[0]
            else "the first row is the header"
        )
        remarks = [] if header is not body[0] and above == 1 else remarks
        names = _named(path, header[:width], width)
    if trailing:
        remarks.append("rows end in a separator")
    remarks.insert(0, where)
    if delimiter != "," or decimal != ".":
        signs = f"separated by {_NAMES.get(delimiter, quoted(delimiter))}"
        remarks.insert(0, signs + (", decimal commas" if decimal == "," else ""))
    return CsvLayout(delimiter, decimal, names, header is not None, top, bool(trailing), remarks)


def _seen(sample: bytes, delimiter: str) -> list[list[str]]:
    return [row for _, row in islice(table_rows(sample, delimiter), _ROWS)]


def _delimiter(path: Path, sample: bytes) -> str:
    """The separator that gives most rows one width of at least two, and then most cells that are numbers."""
    scores = {}
    for candidate in _CANDIDATES:
        try:
            seen = [row for row in _seen(sample, candidate) if not comment(row)]
        except csv.Error:
            continue
        if not seen:
            continue
        width, count = Counter(map(len, seen[1:] or seen)).most_common(1)[0]
        cells = [cell for row in seen for cell in row]
        numbers = sum(missing(cell) or is_number(cell) or is_number(cell, ",") for cell in cells) / len(cells)
        if width > 1:
            scores[candidate] = (round(count / max(len(seen) - 1, 1), 1), round(numbers, 2))
    if not scores:
        return ","
    best = max(scores.values())
    tied = [candidate for candidate, score in scores.items() if score == best]
    if {",", ";"} <= set(tied):
        raise foreign.Unreadable(
            f"{path}: columns may be separated by commas or by semicolons; write delimiter = ',' or ';'"
        )
    return tied[0]


def _decimal(path: Path, body: list[list[str]]) -> str:
    """A comma where cells have one as a decimal sign and none has a point."""
    cells = [cell for row in body for cell in row]
    commas = [cell for cell in cells if _COMMA.fullmatch(cell) or _THOUSANDS.fullmatch(cell)]
    if not commas or any("." in cell and is_number(cell) for cell in cells):
        return "."
    if all(_THOUSANDS.fullmatch(cell) for cell in commas):
        cell = brief(commas[0], 40)
        raise foreign.Unreadable(
            f"{path}: {cell!r} may be {cell.replace(',', '')} or {cell.replace(',', '.', 1)}; write decimal = ',' or "
            "'.', and no signs between thousands"
        )
    return ","


def _header(
    path: Path, above: list[list[str]], body: list[list[str]], width: int, decimal: str, section: CsvFile
) -> list[str] | None:
    """The row of names: the first, a comment right above it, or none."""
    first, below = body[0], body[1:_ROWS]
    over = _commented(above, width)
    if section.header is not None:
        return first if section.header else None
    chosen = [*section.targets, *(section.inputs or ()), *(section.index or ())]
    wanted = [name for name in chosen if isinstance(name, str)]
    if (
        over is not None
        and wanted
        and all(name in over for name in wanted)
        and not _texts_over(first, below, decimal)
    ):
        return over
    if wanted:
        numbers = all(is_number(cell, decimal) or missing(cell) for cell in first)
        if numbers and not any(name in first for name in wanted):
            raise foreign.Unreadable(
                f"{path} begins with a row of numbers, and columns are given by name; write header = false and give "
                "them by number, from 0, or put a line of names in front"
            )
        return first
    return first if _names_above(path, first, below, width, decimal) else None


def _commented(above: list[list[str]], width: int) -> list[str] | None:
    """The cells of the last comment, if they could be names of the columns."""
    if not above or not above[-1][0].startswith("#"):
        return None
    cells = [above[-1][0].lstrip("#").strip(), *above[-1][1:]]
    cells = cells if cells[0] or len(cells) == width else cells[1:]
    fits = (
        len(cells) == width > 1 and len(set(cells)) == width and all(cells) and not any(map(is_number, cells))
    )
    return cells if fits else None


def _texts_over(first: list[str], below: list[list[str]], decimal: str) -> list[str]:
    """Cells of the first row that are text where the rows below have numbers."""
    kinds = [
        [is_number(row[j], decimal) for row in below if j < len(row) and not missing(row[j])]
        for j in range(len(first))
    ]
    shift = len(below[0]) - len(first) if below else 0
    if shift == 1:  # a header without the name of the row names
        return first
    return [
        cell
        for cell, kind in zip(first, kinds, strict=True)
        if kind and all(kind) and not is_number(cell, decimal) and not missing(cell)
    ]


def _names_above(path: Path, first: list[str], below: list[list[str]], width: int, decimal: str) -> bool:
    """Whether the first row is one of names, where nothing is said of it and columns are given by number."""
    numbers = [is_number(cell, decimal) for cell in first if not missing(cell)]
    texts = _texts_over(first, below, decimal)
    if texts and not any(numbers):
        return True
    either = "write header = true if they are names, header = false if they are data"
    if texts:
        raise foreign.Unreadable(
            f"{path}: the first row has text over numbers ({brief(texts[0], 40)!r}) and numbers beside it; {either}"
        )
    if not any(numbers):
        raise foreign.Unreadable(f"{path}: the first row is text, and so are the rows below it; {either}")
    if all(numbers):
        whole = [cell for cell in first if cell.isdigit()]
        if first[0] == "" and first[1:] == list(map(str, range(width - 1))):
            return True  # as pandas writes an array
        if len(whole) == len(first) == len(set(first)):
            raise foreign.Unreadable(f"{path} begins with a row of numbers that may be names; {either}")
    return False


def _named(path: Path, header: list[str], width: int) -> list[str]:
    """The names of the header, each there once; a nameless first column in front where one name is missing."""
    names = list(header)
    if len(names) == width - 1:
        names.insert(0, "")
    if len(names) != width:
        raise foreign.Unreadable(
            f"{path}: the header has {len(names)} columns, the rows have {width}; give each column a name"
        )
    for name, count in Counter(names).items():
        if count > 1 and name:
            raise foreign.Unreadable(f"{path} has two columns named {quoted(name)}; rename one")
        if count > 1:
            raise foreign.Unreadable(f"{path} has {count} columns without a name; name them in the header")
    return names


def refuse_large(path: Path, content: bytes, delimiters: str, longest: int) -> None:
    """Refuse what is no CSV file of this size, from its bytes, before it is parsed."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise foreign.Unreadable(f"{path} is UTF-16; save it as UTF-8")
    if (at := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, at) + 1
        raise foreign.Unreadable(
            f"{path} line {line} holds a NUL byte, which no CSV file does; save it again"
        )
    most = max(content.count(delimiter.encode()) for delimiter in delimiters)
    cells = most + content.count(b"\n") + content.count(b"\r") + 1
    if 8 * cells > foreign.BUDGET:
        raise foreign.Unreadable(
            f"{path} holds about {cells} cells, {foreign.megabytes(8 * cells)} as float64; at most "
            f"{foreign.megabytes(foreign.BUDGET)} are read: give fewer rows, or a Data(…) of one's own in Python"
        )
    start, line = 0, 1
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        if end - start > longest:
            raise foreign.Unreadable(
                f"{path} line {line} has {foreign.megabytes(end - start)}; a line has at most "
                f"{foreign.megabytes(longest)}: give one example a line"
            )
        start, line = end + 1, line + 1
