"""``gradlab list``: what the sources say, and of what there is a study; no study is imported."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gradlab.claims import entries

if TYPE_CHECKING:
    from rich.table import Table

    from gradlab.claims.claim import Claim

_COLUMNS = ("claim", "status", "passage", "statement")


def list_claims(*, json: bool, source: str | None) -> None:
    """The claims and figures, one a row, or as an array of objects."""
    found = entries.entries(source)
    if json:
        records = [record(one) for one in found]
        sys.stdout.write(json_module.dumps(records, allow_nan=False, indent=1) + "\n")
    elif sys.stdout.isatty():
        from gradlab.cli import screen

        screen.console(stderr=False).print(table(found))
    else:
        sys.stdout.write("\n".join(lines(found)) + "\n")


def record(one: Claim) -> dict[str, Any]:
    """Plain values of an entry, its status among them."""
    return {**asdict(one), "status": entries.status(one)}


def _cells(one: Claim) -> tuple[str, str, str, str]:
    return one.id, entries.status(one), one.passage, one.statement


def table(found: Sequence[Claim]) -> Table:
    """The rows for a terminal; open ones are dim."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(_COLUMNS):
        shown.add_column(name, no_wrap=i < 2, ratio=None if i < 2 else i - 1)
    for one in found:
        shown.add_row(*(Text(cell) for cell in _cells(one)), style="" if entries.built(one) else "dim")
    return shown


def lines(found: Sequence[Claim]) -> Iterator[str]:
    """The rows where the output is no terminal: one a line, none cut."""
    rows = [_COLUMNS, *(_cells(one) for one in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
