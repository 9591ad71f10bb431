"""What a person sees at the terminal: a progress bar, verdicts in colour, tables."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

COLOURS = {
    "supported": "green",
    "refuted": "red",
    "inconclusive": "yellow",
    "hypotheses not met": "cyan",
    "error": "bold red",
    "misprint": "magenta",
}


def console(stderr: bool) -> Console:
    """A console that highlights nothing by itself."""
    return Console(stderr=stderr, highlight=False, soft_wrap=False)


class Bar:
    """A transient progress bar on standard error: what is running and how far it is.

    It listens to the laboratory's progress. With ``total``, a line above counts ``noun`` (claims) done.
    Where standard error is no terminal nothing is drawn, and every ``every`` seconds a line says the same.
    """

    def __init__(self, noun: str = "", total: int = 0, every: float = 60.0) -> None:
        self.console = console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._total, self._done, self._shown = total, 0, 0.0
        self._every, self._begun, self._last = every, time.monotonic(), ("preparing", 0.0, 0.0)
        self._over = threading.Event()
        self._lines = threading.Thread(target=self._tell, daemon=True)
        self._items: TaskID | None = None
        if total:
            self._items = self._progress.add_task(escape(noun), total=total, count=f"0/{total}")
        self._inner: TaskID = self._progress.add_task("preparing", total=None, count="")

    def __enter__(self) -> Self:
        self._progress.start()
        if not self.console.is_terminal:
            self._lines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._progress.stop()

    def _tell(self) -> None:
        """A line every so often, whatever is going on (compiling says nothing of itself)."""
        while not self._over.wait(self._every):
            line = still(*self._last, time.monotonic() - self._begun, alone=not self._total)
            self.console.print(Text(f"{self._done} of {self._total} done; {line}" if self._total else line))

    def advance(self) -> None:
        """One item is done."""
        self._done += 1
        if self._items is not None:
            self._progress.update(self._items, completed=self._done, count=f"{self._done}/{self._total}")

    def update(self, description: str, completed: float, total: float) -> None:
        """The laboratory's progress: what is running and how far it is."""
        self._last = (description, completed, total)
        now = time.monotonic()
        if now - self._shown < 0.05 and (0.0 < completed < total or not total):
            return
        self._shown = now
        claim, _, rest = description.partition(": ")
        description = rest if rest.startswith(claim) else description
        self._progress.update(
            self._inner,
            description=escape(description),
            completed=completed,
            total=total or None,
            count=f"{completed:.0f}/{total:.0f}" if total else "",
        )

    def print(self, line: Text) -> None:
        """A line above the bar."""
        self.console.print(line)


def still(description: str, completed: float, total: float, seconds: float, alone: bool = True) -> str:
    """What is going on and what remains, ``digits, t = 3.2: 12.4 of 40 after 2 min, about 4 min more``.

    What remains is foreseen of what is ``alone``, and began with the bar.
    """
    line = f"{description}: {completed:.1f} of {total:.0f}" if total else description
    line += f" after {seconds / 60.0:.0f} min"
    if alone and total and completed > 0.0:
        line += f", about {seconds * (total - completed) / completed / 60.0:.0f} min more"
    return line


def verdict(word: str) -> Text:
    """A verdict in its colour."""
    return Text(word, style=COLOURS.get(word, ""))


def said(record: dict[str, Any]) -> Text:
    """The verdict on the substance, and beside it a print that is not exact: ``supported, misprint``."""
    line, print_word = verdict(record["verdict"]), record.get("print", "")
    if print_word not in ("", "exact"):
        line.append(", ")
        line.append(
            print_word if print_word in ("misprint", "text uncertain") else f"print {print_word}",
            style="magenta",
        )
    return line


def comparison(record: dict[str, Any]) -> str:
    """The deciding number against its tolerance, ``3.1e-13 ≤ 1e-09``."""
    measured = [*record["parts"], *(one for one in record["hypotheses"] if one.get("checked"))]
    deciding = next((part for part in measured if part["id"] == record["part"]), None)
    if deciding is None:
        return ""
    number, tolerance = deciding["number"], deciding["tolerance"]
    shown = "not finite" if number is None else f"{number:.3g}"
    bar = f" ± {deciding['error']:.1g}" if deciding["error"] else ""
    if deciding["relation"] == "==":
        return f"{shown}{bar} = {deciding['target']:.6g} ± {tolerance:.2g}"
    sign = {"<=": "≤", ">=": "≥"}[deciding["relation"]]
    return f"{shown}{bar} {sign} {tolerance:.3g}"


def result_line(record: dict[str, Any]) -> Text:
    """One claim's result in one line, shown as soon as it is in."""
    line = Text(f"{record['id']:<32} ")
    line.append_text(said(record))
    line.append(f"  {comparison(record)}  {record['seconds']:.1f} s", style="dim")
    return line


def verdicts(records: Sequence[dict[str, Any]]) -> Table:
    """The table of verdicts."""
    # Ids and numbers are there to be copied: in a narrow window other columns give way, not these.
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column(
        "claim", min_width=max((len(record["id"]) for record in records), default=0), no_wrap=True
    )
    table.add_column("verdict")
    table.add_column("deciding number", ratio=1)
    table.add_column("part")
    table.add_column("seconds", justify="right", no_wrap=True)
    for record in records:
        table.add_row(
            Text(record["id"]),
            said(record),
            Text(comparison(record)),
            Text(record["part"] or ""),
            f"{record['seconds']:.1f}",
        )
    return table


def tally(records: Sequence[dict[str, Any]]) -> Text:
    """How many of each verdict."""
    words = [record["verdict"] for record in records]
    line = Text("1 claim: " if len(words) == 1 else f"{len(words)} claims: ")
    known = [word for word in COLOURS if word in words]
    for i, word in enumerate(known):
        line.append(", " if i else "")
        line.append(f"{words.count(word)} {word}", style=COLOURS[word])
    misprints = sum(record.get("print") == "misprint" for record in records)
    if misprints:
        line.append(f"; {misprints} with a misprint", style=COLOURS["misprint"])
    return line


def plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of strings, none read as markup."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
