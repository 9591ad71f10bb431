"""``gradlab sweep``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gradlab.cli import screen
from gradlab.cli.computing import begin
from gradlab.cli.errors import Interrupted, say
from gradlab.machine import cores

if TYPE_CHECKING:
    import xarray as xr

    from gradlab.sweeping.sweep import Sweep

PAGE = "page.html"


def sweep(
    path: Path,
    *,
    code: Path | None,
    out: Path | None,
    jobs: int | None,
    cluster: str | None,
    limit: int | None,
) -> None:
    """Compute what is not there, keep the cube, draw the page, say how runs ended."""
    from gradlab import specification
    from gradlab.dynamics.stops import kind
    from gradlab.sweeping.sweep import CUBE, Sweep

    tables = specification.tables(path)
    design = specification.design(tables, limit)
    folder = Path("sweeps") / path.stem if out is None else out
    begin()
    work = Sweep(design, path.resolve().parent, folder, None if code is None else str(code.resolve()))
    with screen.Bar() as bar:
        try:
            work.run(jobs or cores(), cluster, bar)
        except KeyboardInterrupt:
            raise Interrupted(
                f"{work.done} of {design.runs} runs are kept in {folder}; the same command goes on with the others"
            ) from None
        bar.update("reading what is kept", 0.0, 0.0)
        cube = work.collect()
        page = _draw(work, cube, path, str(tables.get("title") or path.stem))
    say(f"{design.runs} runs: {work.computed} computed now, {work.done - work.computed} were there")
    for word, count in Counter(kind(str(word)) for word in cube["status"].values.ravel()).most_common():
        print(f"{count:>8}  {word}")
    print(f"The cube is {folder / CUBE}, the page {page.resolve()}")
    if work.done < design.runs:
        raise typer.Exit(1)


def _draw(work: Sweep, cube: xr.Dataset, path: Path, title: str) -> Path:
    from gradlab.report import sweep as report
    from gradlab.specification.reading import LARGEST
    from gradlab.store import foreign
    from gradlab.store.disk import Disk
    from gradlab.store.identity import environment

    text = foreign.whole_file(path, LARGEST, "a specification").decode("utf-8")
    provenance = {
        "runs": cube["status"].size,
        "directories": len({*map(str, cube["run"].values.ravel())} - {""}),
    }
    page = work.out / PAGE
    rendered = report.render(cube, text, provenance | environment(), title=title)
    Disk().write_bytes_atomically(page, rendered.encode())
    return page
