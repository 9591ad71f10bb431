"""Figures in a page: inline SVG whose colours follow the page, with its caption and alternative text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup, escape

from gradlab import figures

_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_NAMES = {hexadecimal: name for name, hexadecimal in figures.COLOURS.items()} | {"#000000": "ink"}
_COUNTS = ("step", "rejected", "evaluations", "jacobians", "events")
_CLOCKS = frozenset(["t", "log_t", "tau", *_COUNTS, "status", "stiff", "stiffness", "weights"])
#: Of the run, not of the problem: told with the final values, not drawn.
_BALANCE = frozenset(["dissipated", "balance", "rounding", "rounding_since", "rounding_evaluations"])


@dataclass(frozen=True)
class Drawing:
    """A figure ready for the page; `svg` is empty where it could not be drawn, and `caption` says why."""

    svg: Markup
    caption: str


def drawing(figure: Any, anchor: str, caption: str = "") -> Drawing:
    """Turn a matplotlib figure into inline SVG whose ids begin with `anchor`.

    The named colours become CSS variables with the printed colour as fallback, so that the same drawing is
    legible on light and dark paper.
    """
    caption = caption or str(figure.get_label() or "")
    svg = figures.svg(figure, prefix=anchor)
    opening, rest = svg.split(">", 1)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    width = float(size[1]) if size else 500.0
    label = escape(_spoken(caption) or "figure")
    opening = re.sub(r'\s(width|height)="[^"]*"', "", opening)
    opening += (
        f' role="img" aria-label="{label}" style="max-width: {width * 4 / 3:.0f}px; fill: var(--fig-ink)"'
    )
    return Drawing(Markup(f"{opening}>{_themed(rest)}"), caption)


def _themed(svg: str) -> str:
    def variable(found: re.Match[str]) -> str:
        name = _NAMES.get(found[0])
        return f"var(--fig-{name}, {found[0]})" if name else found[0]

    def attribute(found: re.Match[str]) -> str:
        return _COLOUR.sub(variable, found[0])

    return re.sub(r'style="[^"]*"', attribute, svg)


def _spoken(caption: str) -> str:
    return caption.replace("$", "").replace("`", "")


def trajectory(dataset: xr.Dataset, names: Sequence[str] | None = None) -> Any:
    """A figure of what a run recorded: one panel per observable, over log t where t overflows.

    At most six observables unless `names` chooses. One with a further dim (layer, example, member) has a
    line for each of up to four entries; for more, the median and the range.
    """
    chosen = list(names) if names is not None else observed(dataset)[:6]
    if not chosen:
        raise ValueError("the dataset has no observable over 'record' to draw; record one, e.g. 'loss'")
    x, xlabel, log = _time(dataset)
    figure, grid = figures.panels(len(chosen), height=2.5)
    for axes, name in zip(grid, chosen, strict=True):
        variable = dataset[name].transpose("record", ...)
        values = np.asarray(variable.values, dtype=float).reshape(variable.sizes["record"], -1)
        positive = values[np.isfinite(values) & (values != 0.0)]
        wide = positive.size > 1 and positive.min() > 0.0 and positive.max() > 50.0 * positive.min()
        axis: Any = log + "y" if wide else log
        label = str(variable.attrs.get("long_name", name.replace("_", " ")))
        lines, bands = _lines(values, " × ".join(map(str, variable.dims[1:])))
        figures.curves(x, lines, xlabel, label, log=axis, bands=bands, axes=axes)
    return figures.with_caption(figure, "What was recorded during the run.")


def _lines(values: np.ndarray, dim: str) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """A line for each column of (record, entry) values, or their median and range."""
    count = values.shape[1]
    if count <= 4:
        return {f"{dim} {j + 1}" if dim else "": values[:, j] for j in range(count)}, {}
    rows = [row[np.isfinite(row)] for row in values]
    median, low, high = (
        np.asarray([take(row) if row.size else np.nan for row in rows])
        for take in (np.median, np.min, np.max)
    )
    label = f"median and range of {count} {dim}s"
    return {label: median}, {label: (low, high)}


def observed(dataset: xr.Dataset) -> list[str]:
    """The real observables over ``record``: no clocks, counts, errors or weights."""
    found = []
    for name, variable in dataset.data_vars.items():
        plain = variable.dtype.kind in "fiu" and "record" in variable.dims and "weight" not in variable.dims
        if plain and str(name) not in _CLOCKS | _BALANCE and not str(name).endswith("_error"):
            found.append(str(name))
    return found


def _time(dataset: xr.Dataset) -> tuple[np.ndarray, str, str]:
    """The abscissa: log t where t overflows, else t, logarithmic where its records crowd at the start."""

    def values(name: str) -> np.ndarray:
        there = name in dataset and dataset[name].dims == ("record",)
        return np.asarray(dataset[name].values if there else [], dtype=float)

    t, log_t = values("t"), values("log_t")
    if log_t.size and np.nan_to_num(log_t, posinf=0.0, neginf=0.0).max() > 300.0:
        return log_t, r"$\log\,t$", ""
    if np.isfinite(t).any():
        crowded = t.size > 3 and np.nanmax(t) > 20.0 * max(float(np.nanmedian(t)), 0.0)
        return t, "time $t$", "x" if crowded else ""
    for name, label in (("step", "step"), ("tau", r"clock $\tau$")):
        if values(name).size:
            return values(name), label, ""
    return np.arange(dataset.sizes["record"], dtype=float), "record", ""
