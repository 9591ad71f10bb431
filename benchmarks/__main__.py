"""``uv run --group bench python -m benchmarks``: run peers and gradlab on the same work, print the tables."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import jax
import typer

jax.config.update("jax_enable_x64", True)

from rich.console import Console  # noqa: E402
from rich.markup import escape  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks import (  # noqa: E402
    coverage,
    descent,
    first,
    fuzz,
    grid,
    inertia,
    measure,
    pde,
    problems,
    random_problems,
    scaling,
    spectra,
    table,
    training,
)
from benchmarks.ours import OURS, missing  # noqa: E402
from benchmarks.peers import PEERS  # noqa: E402
from benchmarks.references import reference  # noqa: E402
from benchmarks.results import Results, benches, join  # noqa: E402
from benchmarks.task import Limit  # noqa: E402

PARTS = (
    "peers",
    "random",
    "descent",
    "scaling",
    "overhead",
    "spectra",
    "coverage",
    "inertia",
    "fuzz",
    "pde",
    "auto",
    "first",
    "training",
)
#: Parts that no method of one's choice takes part in.
ALONE = {"coverage", "inertia", "fuzz", "pde", "auto", "first", "training"}


class Budget(StrEnum):
    """How much is run."""

    quick = "quick"
    full = "full"


#: Tolerances, what a solve may cost, and random problems, by budget.
SETTINGS: dict[str, tuple[tuple[float, ...], Limit, int]] = {
    "quick": ((1e-2, 1e-4, 1e-6, 1e-8), Limit(30_000, 5.0), 3),
    "full": (tuple(10.0**-k for k in range(1, 12)), Limit(600_000, 300.0), random_problems.COUNT),
}
RANDOM_TOLERANCES = tuple(10.0**-k for k in range(1, 9))


def _named(only: list[str] | None, quick: bool) -> list[Any]:
    methods = {**PEERS, **OURS}
    unknown = [name for name in only or [] if name not in methods]
    if unknown:
        raise typer.BadParameter(f"there is no method {unknown[0]!r}; known are {', '.join(methods)}")
    return [methods[name] for name in only or methods if only or methods[name].quick or not quick]


def bench(
    name: str,
    methods: list[Any],
    tolerances: tuple[float, ...],
    limit: Limit,
    tell: Callable[[str], None],
    keep: Callable[[measure.Bench], None],
) -> measure.Bench:
    """All methods on one problem; ``keep`` is called after each."""
    tell(f"{name}: reference")
    task = problems.make(name)
    true = reference(task)
    sweeps: list[measure.Sweep] = []

    def made() -> measure.Bench:
        dense = any(point.jacobians for one in sweeps for point in one.points)
        return measure.Bench(
            name, task.settings, task.size, task.T, task.gradient_seconds,
            task.jacobian_cost if dense else None, true.disagreement, true.methods, tuple(sweeps),
        )  # fmt: skip

    for method in methods:
        tell(f"{name}: {method.name}")
        sweeps.append(measure.sweep(method, task, true, tolerances, limit))
        keep(made())
    return made()


def _print(console: Console, head: Any, body: Any, title: str) -> None:
    made = Table(*map(str, head), title=escape(title), title_justify="left")
    for row in body:
        made.add_row(*(escape(str(cell)) for cell in row))
    console.print(made)


def _dicts(console: Console, rows: list[dict[str, Any]], title: str) -> None:
    head = list(dict.fromkeys(key for row in rows for key in row))
    body = [[_cell(row.get(key)) for key in head] for row in rows]
    _print(console, head, body, title)


def _cell(value: Any) -> str:
    return table.number(value) if isinstance(value, float) else "–" if value is None else str(value)


def _peers(
    names: list[str],
    methods: list[Any],
    tolerances: tuple[float, ...],
    limit: Limit,
    results: Results,
    console: Console,
    tell: Any,
) -> None:
    done: list[measure.Bench] = []
    left_out: dict[str, str] = {}
    for name in names:
        if (why := problems.has_data(name)) is not None:
            left_out[name] = why
            console.print(escape(f"{name} is left out: {why}"))
            continue

        def keep(now: measure.Bench) -> None:
            results.keep(problems=[one.record() for one in (*done, now)], left_out=left_out)

        done.append(bench(name, methods, tolerances, limit, tell, keep))
        console.print(table.screen(done[-1]))
    title = "Cost in gradients at equal achieved error; peer/gradlab above 1: gradlab is cheaper"
    _print(console, table.SUMMARY, table.summary(done), title)


def _random(
    budget: str, limit: Limit, only: list[str] | None, results: Results, console: Console, tell: Any
) -> None:
    count = SETTINGS[budget][2]
    every = [f"gradlab-{n}" for n in ("dopri8", "rkc2", "mrkc3", "auto") if missing(n) is None]
    names = [name for name in every if only is None or name in only]
    rows: list[dict[str, Any]] = []
    for number in range(count):
        tell(f"random problem {number}")
        rows.append(random_problems.one(number, RANDOM_TOLERANCES, limit, names))
        results.keep(random={"rows": rows, "verdicts": random_problems.judge(rows, names)})
    _dicts(
        console,
        random_problems.judge(rows, names),
        f"{count} random problems: best of four tuned peers / gradlab",
    )


def _coverage(quick: bool, only: list[str] | None, results: Results, console: Console, say: Any) -> None:
    """Every kind of run at every tolerance and spacing; quick, the first of them; then flows that are drawn."""
    kinds = coverage.grid(only or coverage.METHODS)
    found: list[coverage.Row] = []
    for row in itertools.islice(
        coverage.rows(kinds, 2 if quick else None), coverage.SAMPLE if quick else None
    ):
        found.append(row)
        say(f"{row.problem}: {row.method} in {row.clock}")
    results.keep(coverage=[asdict(row) for row in found])
    random: list[coverage.Row] = []
    for row in [] if only else coverage.drawn():
        random.append(row)
        say(f"drawn: {row.problem}: {row.method} in {row.clock}")
    results.keep(coverage_drawn=[asdict(row) for row in random])
    for what, rows in (("", found), (" (flows drawn)", random)):
        for name, key in coverage.BY.items():
            _print(console, coverage.HEAD, coverage.summary(rows, key), name + what)


def _write(folder: Path, found: dict[str, Any]) -> None:
    """The page and the figures for the docs."""
    from benchmarks import figure
    from gradlab.figures import panels, png

    folder.mkdir(parents=True, exist_ok=True)
    made = benches(found)
    parts = [f"# Benchmarks\n\nBudget: {found['budget']}; {found['machine']['cores']} cores.\n"]
    if made:
        for what in ("cost", "seconds"):
            (folder / f"work-precision-{what}.png").write_bytes(png(figure.work_precision(made, what)))
            parts.append(f"![{what} against achieved error](work-precision-{what}.png)\n")
        parts.append(table.whole(made))
    if scales := found.get("scaling"):
        for what in ("evaluations", "seconds"):
            drawn, grid = panels(len(scales), height=3.0, width=9.0)
            for one, axes in zip(scales, grid, strict=True):
                figure.scaling(one["axis"], one["x"], one[what], what, axes)
            (folder / f"scaling-{what}.png").write_bytes(png(drawn))
            parts.append(f"![{what} by size, with fitted exponents](scaling-{what}.png)\n")
    if rows := found.get("descent"):
        parts.append("## Gradient descent\n\n" + table.markdown(*descent.table(rows)))
    if rows := found.get("overhead"):
        head = list(dict.fromkeys(name for row in rows for name in row))
        body = [[_cell(row.get(name)) for name in head] for row in rows]
        parts.append("## Overhead of the solver\n\n" + table.markdown(head, body))
    if rows := found.get("coverage"):
        both = [[coverage.Row(**row) for row in some] for some in (rows, found.get("coverage_drawn", []))]
        page = coverage.markdown(*both)
        (folder / "coverage.md").write_text(page, encoding="utf-8")
    if rows := found.get("pde"):
        page = pde.markdown(rows, found["budget"] == "quick")
        (folder / "pde.md").write_text(page, encoding="utf-8")
    if rows := found.get("first"):
        (folder / "first.md").write_text(first.page(rows, table.markdown), encoding="utf-8")
    if len(parts) > 1:
        (folder / "benchmarks.md").write_text("\n".join(parts), encoding="utf-8")


def main(
    only: Annotated[list[str] | None, typer.Option(help="Only this method; can be repeated.")] = None,
    problem: Annotated[
        list[str] | None, typer.Option("--problems", help="Only this problem; repeats.")
    ] = None,
    part: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(PARTS)}; repeats. All unless given.")
    ] = None,
    budget: Annotated[
        Budget, typer.Option(help="quick: the small problems; full: all, hours.")
    ] = Budget.quick,
    out: Annotated[Path | None, typer.Option("--json", help="Write the results there.")] = None,
    docs: Annotated[Path | None, typer.Option(help="Write a page and figures into this folder.")] = None,
    tolerance: Annotated[
        list[float] | None,
        typer.Option(help="Only this tolerance; repeats. Those of the budget unless given."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Wall limit of one solve; the budget's unless given.")
    ] = None,
    again: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", help="Results kept earlier: only print and draw; repeats, and they are joined."
        ),
    ] = None,
) -> None:
    """Run peers and gradlab on the same work."""
    console, results = Console(), Results(out, budget.value)
    if not console.is_terminal:
        console = Console(width=140)
    if again:
        results.keep(**join(again))
        made = table.summary(benches(results.found))
        _print(console, table.SUMMARY, made, "Cost in gradients at equal achieved error")
    else:
        begun = time.perf_counter()
        limit = SETTINGS[budget.value][1]
        limit = limit if seconds is None else replace(limit, seconds=seconds)
        results.keep(limit=asdict(limit))
        _run(only, problem, part, budget.value, tuple(tolerance or ()), limit, results, console)
        results.keep(wall_seconds=time.perf_counter() - begun)
    if docs is not None:
        _write(docs, results.found)


def _run(
    only: Any,
    problem: Any,
    part: Any,
    budget: str,
    tolerances: tuple[float, ...],
    limit: Limit,
    results: Results,
    console: Console,
) -> None:
    parts = part or list(PARTS)
    methods = [] if set(parts) <= ALONE else _named(only, budget == "quick")
    if wrong := [one for one in parts if one not in PARTS]:
        raise typer.BadParameter(f"there is no part {wrong[0]!r}; known are {', '.join(PARTS)}")
    chosen = problem or [n for n, one in problems.PROBLEMS.items() if one.quick or budget == "full"]
    if wrong := [one for one in chosen if one not in problems.PROBLEMS]:
        raise typer.BadParameter(
            f"there is no problem {wrong[0]!r}; known are {', '.join(problems.PROBLEMS)}"
        )
    for name, why in results.found["skipped"].items():
        console.print(escape(f"{name} {why}"))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    quick = budget == "quick"
    with Progress(*columns, console=console, transient=True) as progress:
        total = len(chosen) * (len(methods) + 1) * ("peers" in parts) + SETTINGS[budget][2] * (
            "random" in parts
        )
        shown = progress.add_task("starting", total=total)

        def tell(what: str) -> None:
            progress.update(shown, description=escape(what), advance=1)

        def say(what: str) -> None:
            progress.update(shown, description=escape(what))

        if "peers" in parts:
            _peers(chosen, methods, tolerances or SETTINGS[budget][0], limit, results, console, tell)
        if "random" in parts:
            _random(budget, limit, only, results, console, tell)
        if "descent" in parts:
            results.keep(descent=descent.rows(quick, say))
            _print(console, *descent.table(results.found["descent"]), "Gradient descent")
        if "scaling" in parts:
            results.keep(scaling=scaling.axes(quick, limit, say))
            _scales(console, results.found["scaling"])
        if "spectra" in parts:
            results.keep(spectra=spectra.rows(quick, say))
            _print(console, *spectra.table(results.found["spectra"]), "Hessian spectra")
            known = [row for row in results.found["spectra"] if "matrix" in row]
            _dicts(console, known, "Matrices with known spectra")
        _alone(set(parts), budget, results, console, say)
        if "coverage" in parts:
            _coverage(quick, only, results, console, say)
        if "overhead" in parts:
            results.keep(overhead=scaling.overhead(quick, say))
            _dicts(console, results.found["overhead"], "Overhead of the solver where a gradient takes ≥ 1 ms")


def _alone(parts: set[str], budget: str, results: Results, console: Console, say: Any) -> None:
    """The parts that compare no methods of one's choice."""
    quick = budget == "quick"
    if "inertia" in parts:
        results.keep(inertia=inertia.rows(budget, say))
        title = "Equilibria of exactly known inertia: words decided and not"
        _dicts(console, results.found["inertia"], title)
    if "auto" in parts:
        results.keep(auto=grid.found(quick, say))
        _dicts(console, results.found["auto"], "auto beside the methods alone: evaluations, a Jacobian 2P")
        _dicts(console, grid.summary(results.found["auto"]), "auto over the cheapest of them")
    if "pde" in parts:
        results.keep(pde=pde.rows(quick, say))
        _print(console, *pde.table(results.found["pde"]), "Parabolic equations")
    if "fuzz" in parts:
        results.keep(fuzz=fuzz.rows(2_000 if quick else 20_000, say))
        _dicts(
            console, results.found["fuzz"], "Damaged and hostile files: read, refused in a sentence, faults"
        )
    if "first" in parts:
        results.keep(first=first.rows(first.WORK[budget], say))
        for end in sorted({row["T"] for row in results.found["first"]}):
            some = [row for row in results.found["first"] if row["T"] == end]
            _print(console, *first.table(some), f"CPU seconds to the first answer, T = {end:g}")
    if "training" in parts:
        results.keep(training=training.rows(budget, say))
        _dicts(console, results.found["training"], "Training on images: gradlab over a loop by hand")


def _scales(console: Console, scales: list[dict[str, Any]]) -> None:
    body = [
        (
            one["axis"],
            name,
            *(f"{fit[0]:.2f} ± {fit[1]:.2f}" for fit in (one["exponents"][w][name] for w in both)),
        )
        for both in (("evaluations", "seconds"),)
        for one in scales
        for name in one["evaluations"]
    ]
    _print(console, ("size", "method", "evaluations ∝", "seconds ∝"), body, "Exponents of the cost in a size")


if __name__ == "__main__":
    typer.run(main)
