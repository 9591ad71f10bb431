"""``gradlab check``: which theorems apply to a run of one's own, and whether what they say happened."""

from __future__ import annotations

import json as jsonlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gradlab.cli import screen
from gradlab.cli.computing import begin
from gradlab.cli.errors import say

if TYPE_CHECKING:
    from gradlab.checking.check import Checked

_COLOURS = {
    "holds": "green",
    "refuted": "red",
    "undecided": "yellow",
    "unknown": "yellow",
    "not applicable": "cyan",
}
_ORDER = ("refuted", "holds", "undecided", "unknown", "not applicable")


def check(
    folder: Path | None,
    *,
    model: str | None,
    data: Path | None,
    loss: str | None,
    optimiser: str | None,
    demo: bool,
    json: bool,
    out: Path | None,
) -> None:
    """Read, measure, tell; the exit code is that of the table."""
    if demo and (folder or model or data or loss or optimiser):
        raise ValueError("--demo brings its own run; give it alone, or a folder with --model and --data")
    if not demo and folder is None:
        raise ValueError(
            "no folder was given; name the folder of the checkpoints, or write gradlab check --demo"
        )
    if not demo and (model is None or data is None):
        missing = "--model net.py:Net" if model is None else "--data data.npz"
        raise ValueError(f"{missing} is missing: the network and its data decide what is measured")
    begin(quickly=True)
    from gradlab.checking import doors
    from gradlab.checking.check import check as checked_of

    if demo:
        result = _demonstrated()
    else:
        assert folder is not None
        assert model is not None
        assert data is not None
        problem, found, words = doors.told_run(folder, model, data, loss, optimiser)
        result = checked_of(problem, found, words)
    told = result.record()
    if json:
        print(jsonlib.dumps(told, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _show(told)
    if out is not None:
        say(f"The page is {_page(told, out, 'the demo' if demo else str(folder))}")
    if result.code:
        raise typer.Exit(result.code)


def _demonstrated() -> Checked:
    from gradlab.checking import demo
    from gradlab.checking.check import check as checked_of

    say(f"A ReLU network on {demo.EXAMPLES} of scikit-learn's digits, {demo.STEPS} steps of η = {demo.RATE}.")
    with tempfile.TemporaryDirectory() as folder:
        return checked_of(demo.trained(folder), folder)


def _show(told: dict[str, Any]) -> None:
    console = screen.console(stderr=False)
    for fact in told["facts"]:
        console.print(screen.Text(f"{fact['name']}: {fact['words']}", style="dim"))
    for remark in told["remarks"]:
        console.print(screen.Text(remark))
    for one in told["found"]:
        console.print(screen.Text(f"found: {one['words']}", style="bold"))
    console.print()
    table = screen.Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("verdict", no_wrap=True)
    table.add_column("theorem", ratio=2, overflow="fold")
    table.add_column("steps", no_wrap=True)
    table.add_column("measured, or why it does not apply", ratio=3, overflow="fold")
    for row in sorted(told["theorems"], key=lambda one: _ORDER.index(one["verdict"])):
        steps = f"{row['interval'][0]}–{row['interval'][1]}" if row["interval"] else ""
        what = row["measured"] or row["why"]
        if row["measured"] and row["why"]:
            what = f"{what} ({row['why']})"
        table.add_row(
            screen.Text(row["verdict"], style=_COLOURS[row["verdict"]]),
            screen.Text(f"{row['title']} [{row['claim']}]"),
            steps,
            screen.Text(what),
        )
    console.print(table)
    console.print()
    for one in told["suggestions"]:
        style = "dim" if one["silent"] else ""
        source = "" if one["silent"] else f" [{one['claim']}; {one['interval']}: {one['uncertainty']}]"
        console.print(screen.Text(f"{one['title']}: {one['words']}{source}", style=style))
    console.print()
    console.print(screen.Text(tally(told)))


def tally(told: dict[str, Any]) -> str:
    """How many theorems of each verdict, in a line."""
    words = [row["verdict"] for row in told["theorems"]]
    parts = [f"{words.count(word)} {word}" for word in _ORDER if word in words]
    return f"{len(words)} theorems: {', '.join(parts)}"


def _page(told: dict[str, Any], out: Path, what: str) -> Path:
    from gradlab.report import checked
    from gradlab.store.run import environment

    path = out if out.suffix == ".html" else out / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(checked.render_table(told, {"run": what, **environment()}), encoding="utf-8")
    return path.resolve()
