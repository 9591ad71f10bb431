"""Tables: on the screen with rich, as markdown for the docs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from benchmarks.measure import TARGETS, Bench, Sweep, at_error, best, geometric_mean, is_ours, is_peer, ratio

HEAD = ("method", *(f"cost at {e:g}" for e in TARGETS), *(f"× at {e:g}" for e in TARGETS),
        *(f"s at {e:g}" for e in TARGETS), "least error", "note")  # fmt: skip


def number(value: float | None, digits: int = 3) -> str:
    """A count or a time in a few digits; – where it is not known."""
    if value is None or not math.isfinite(value):
        return "–"
    if value >= 1000 and digits == 3:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.{digits}g}"


def _row(sweep: Sweep, theirs: Sequence[float | None]) -> tuple[str, ...]:
    costs = [at_error(sweep.points, error) for error in TARGETS]
    walls = [at_error(sweep.points, error, "seconds") for error in TARGETS]
    ratios = [c / t if c is not None and t is not None else None for c, t in zip(costs, theirs, strict=True)]
    errors = [p.error for p in sweep.points if math.isfinite(p.error)]
    note = sweep.skipped or next((p.why for p in sweep.points if p.why), "")
    cells = [number(c) for c in costs] + [number(r) for r in ratios] + [number(w) for w in walls]
    return (sweep.method, *cells, number(min(errors), 2) if errors else "–", note)


def rows(bench: Bench) -> list[tuple[str, ...]]:
    """One row a method: cost, cost over the best peer's, wall seconds, at each target; least error; a note."""
    theirs = [best(bench.sweeps, error, is_peer)[1] for error in TARGETS]
    return [_row(sweep, theirs) for sweep in bench.sweeps]


def title(bench: Bench) -> str:
    """What was run, and what was measured about it."""
    hessian = "" if bench.jacobian_cost is None else f", a dense Hessian {bench.jacobian_cost:.3g} gradients"
    return (
        f"{bench.name}: {bench.settings}, {bench.size} weights, T = {bench.T:g}; "
        f"a gradient {1e6 * bench.gradient_seconds:.3g} µs{hessian}; "
        f"references ({bench.methods}) agree to {bench.disagreement:.1e}"
    )


def screen(bench: Bench) -> Table:
    """For the terminal: methods with numbers as rows, the reasons of the others below."""
    body = rows(bench)
    without = [row for row in body if row[-1]]
    below = "\n".join(f"{row[0]}: {row[-1]}" for row in without)
    made = Table(
        title=escape(title(bench)), title_justify="left", caption=escape(below), caption_justify="left"
    )
    for k, name in enumerate(HEAD[:-1]):
        made.add_column(name, justify="right" if k else "left", no_wrap=not k)
    for row in body:
        if any(cell != "–" for cell in row[1:-1]):
            made.add_row(*map(escape, row[:-1]), style="bold" if row[0].startswith("gradlab") else "")
    return made


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A GitHub table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body]
    return "\n".join(lines) + "\n"


SUMMARY = (
    "problem",
    "error",
    "best peer",
    "its cost",
    "best of gradlab",
    "its cost",
    "peer/gradlab",
    "auto",
    "wall",
)


def summary(benches: Iterable[Bench]) -> list[tuple[str, ...]]:
    """Per problem and target: the best peer, the best of gradlab, ``auto``, and ratios peer over gradlab."""
    body: list[tuple[str, ...]] = []
    means: dict[float, tuple[list[float | None], ...]] = {error: ([], [], []) for error in TARGETS}
    for bench in benches:
        for error in TARGETS:
            resolved = bench.disagreement <= error / 3.0
            peer, theirs = best(bench.sweeps, error, is_peer)
            mine, ours = best(bench.sweeps, error, is_ours)
            gain = theirs / ours if theirs and ours else None
            auto = ratio(bench, "gradlab-auto", error)
            _, peer_wall = best(bench.sweeps, error, is_peer, "seconds")
            _, our_wall = best(bench.sweeps, error, is_ours, "seconds")
            wall = peer_wall / our_wall if peer_wall and our_wall else None
            if not resolved:
                body.append(
                    (bench.name, f"{error:g}", "not judged: the references do not agree so far", *["–"] * 6)
                )
                continue
            for kept, value in zip(means[error], (gain, auto, wall), strict=True):
                kept.append(value)
            cells = (number(gain), number(auto), number(wall))
            body.append(
                (bench.name, f"{error:g}", peer or "–", number(theirs), mine or "–", number(ours), *cells)
            )
    for error, columns in means.items():
        overall = (number(geometric_mean(values)) for values in columns)
        body.append(("geometric mean", f"{error:g}", "", "", "", "", *overall))
    return body


def whole(benches: Sequence[Bench]) -> str:
    """The summary and every problem's table, as markdown."""
    parts = ["## Summary\n", markdown(SUMMARY, summary(benches))]
    for bench in benches:
        parts += [f"## {bench.name}\n", f"{title(bench)}.\n", markdown(HEAD, rows(bench))]
    return "\n".join(parts)
