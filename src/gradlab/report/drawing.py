"""Figures in a page: inline SVG whose colours follow the page, with its caption and alternative text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from markupsafe import Markup, escape

from gradlab import figures
from gradlab.report import numbers
from gradlab.report.subject import Subject

_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_NAMES = {hexadecimal: name for name, hexadecimal in figures.COLOURS.items()} | {"#000000": "ink"}
_COUNTS = ("step", "rejected", "evaluations", "jacobians", "events")
_CLOCKS = frozenset(["t", "log_t", "tau", *_COUNTS, "status", "stiff", "stiffness", "weights"])
#: Of the run, not of the problem: told with the final values, not drawn.
_BALANCE = frozenset(["dissipated", "balance", "rounding", "rounding_since", "rounding_evaluations"])

#: Drawn on a linear axis however much they span: what they come to is the matter.
_LINEAR = frozenset(["product_singular_values"])

#: The part of its size below which a figure's words are too small to read; a phone scrolls what is wider.
_LEGIBLE = 0.7

#: What moves by less than this part of itself is not drawn.
_DIGITS = 1e-8


@dataclass(frozen=True)
class Drawing:
    """A figure ready for the page; `svg` is empty where it could not be drawn, and `caption` says why.

    Of a run: `name`, its observable, and `plain`, the same as a file of its own.
    """

    svg: Markup
    caption: str
    wide: bool = False
    name: str = ""
    plain: str = ""


def drawing(figure: Any, anchor: str, caption: str = "") -> Drawing:
    """Turn a matplotlib figure into inline SVG whose ids begin with `anchor`.

    The named colours become CSS variables with the printed colour as fallback, so that the same drawing is
    legible on light and dark paper.
    """
    caption = caption or str(figure.get_label() or "")
    beside: list[tuple[float, float]] = []
    svg = figures.svg(figure, prefix=anchor, measure=lambda laid_out: beside.extend(columns(laid_out)))
    opening, rest = svg.split(">", 1)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    width = float(size[1]) if size else 500.0
    label = escape(_spoken(caption) or "figure")
    opening = re.sub(r'\s(width|height)="[^"]*"', "", opening)
    opening += (
        f' role="img" aria-label="{label}" style="max-width: {width * 4 / 3:.0f}px; --least: '
        f'{_LEGIBLE * width * 4 / 3:.0f}px; fill: var(--fig-ink)"'
    )
    if beside and size:
        opening = opening.replace("<svg", '<svg class="whole"', 1)
        rest += "".join(
            f'<svg class="column" aria-hidden="true" viewBox="{left:.1f} 0 {right - left:.1f} {size[2]}">'
            f'<use href="#{anchor}-figure_1"/></svg>'
            for left, right in beside
        )
    return Drawing(Markup(f"{opening}>{_themed(rest)}"), caption, plain=svg)


def columns(figure: Any) -> list[tuple[float, float]]:
    """(left, right) of each column of panels in points, so that a narrow page can put one under the other.

    Empty where there is one column, where something reaches over two, or where one is no panel (a scale of colours).
    The figure has been laid out.
    """
    if len(figure.axes) < 2:
        return []
    parts = [*figure.axes, *figure.legends, *figure.texts]
    boxes = [box for part in parts if part.get_visible() and (box := part.get_tightbbox()) is not None]
    merged: list[list[float]] = []
    for left, right in sorted((box.x0, box.x1) for box in boxes):
        if merged and left <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], right)
        else:
            merged.append([left, right])
    cuts = [0.5 * (one[1] + other[0]) for one, other in itertools.pairwise(merged)]
    ends = [0.0, *cuts, float(figure.bbox.width)]
    if not cuts or min(np.diff(ends)) < 0.25 * figure.bbox.width:
        return []
    return [(72.0 * a / figure.dpi, 72.0 * b / figure.dpi) for a, b in itertools.pairwise(ends)]


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
    figure, grid = figures.panels(len(chosen), height=2.5)
    for axes, name in zip(grid, chosen, strict=True):
        _panel(dataset, name, axes, _time(dataset, chosen[0]))
    return figures.with_caption(figure, "What was recorded during the run.")


def of_run(dataset: xr.Dataset, subject: Subject) -> list[Drawing]:
    """A drawing for every observable that moves, that of the subject first and larger; all over one abscissa."""
    still = constants(dataset)
    names = [name for name in observed(dataset) if name not in still]
    if {"loss", "log_loss"} <= set(names):
        losses = np.asarray(dataset["loss"].values, dtype=float)
        names.remove("log_loss" if np.nanmin(losses) > 0.0 else "loss")
    if not names:
        return []
    first = subject.first if subject.first in names else names[0]
    names = [first, *(name for name in names if name != first)]
    time = _time(dataset, first)
    made = []
    for k, name in enumerate(names):
        figure, (axes,) = figures.panels(1, width=4.7 if k == 0 else 3.7, height=2.9 if k == 0 else 2.3)
        _panel(dataset, name, axes, time, subject.references.get(name, ()))
        drawn = drawing(figure, f"figure-{k + 1}", _words_of(dataset, name))
        made.append(replace(drawn, caption="", wide=k == 0, name=name))
    return made


def _words_of(dataset: xr.Dataset, name: str) -> str:
    return str(dataset[name].attrs.get("long_name", name.replace("_", " ")))


def constants(dataset: xr.Dataset) -> dict[str, str]:
    """Observables that stay what they are at the start, within their error bars or eight digits, with that in words."""
    found = {}
    for name in observed(dataset):
        values = np.asarray(dataset[name].transpose("record", ...).values, dtype=float)
        if not np.isfinite(values).all() or len(values) < 2:
            continue
        bars = np.full(values.shape, _DIGITS * np.abs(values).max(initial=0.0))
        if f"{name}_error" in dataset:
            bars = np.fmax(bars, dataset[f"{name}_error"].transpose("record", ...).values)
        moved = np.abs(values - values[:1])
        if np.all(moved <= bars):
            flat, most = values[0].ravel(), float(moved.max())
            some = (
                numbers.measured(float(flat[0]), most) if np.ptp(flat) == 0.0 else f"its {flat.size} values"
            )
            found[name] = f"{name.replace('_', ' ')} (stays {some})"
    return found


def _panel(
    dataset: xr.Dataset,
    name: str,
    axes: Any,
    time: tuple[np.ndarray, str, str],
    references: Sequence[Any] = (),
) -> None:
    x, xlabel, log = time
    values = _values(dataset, name)
    axis: Any = log + "y" if _spans(values) and name not in _LINEAR else log
    lines, bands = _lines(values, " × ".join(map(str, dataset[name].transpose("record", ...).dims[1:])))
    label = _words_of(dataset, name)
    figures.curves(x, lines, xlabel, label, log=axis, bands=bands, axes=axes)
    for reference in references:
        figures.reference(axes, reference.label, reference.value)
        if (
            name == "normalised_margin" and values[-1].min() > 0.0
        ):  # what comes before data are separated is cut
            axes.set_ylim(bottom=max(axes.get_ylim()[0], -0.25 * reference.value))


def _values(dataset: xr.Dataset, name: str) -> np.ndarray:
    """(record, entry) values of an observable."""
    variable = dataset[name].transpose("record", ...)
    return np.asarray(variable.values, dtype=float).reshape(variable.sizes["record"], -1)


def _spans(values: np.ndarray) -> bool:
    """Whether values are positive and span so much that their logarithm is drawn."""
    positive = values[np.isfinite(values) & (values != 0.0)]
    return bool(positive.size > 1 and positive.min() > 0.0 and positive.max() > 50.0 * positive.min())


def _lines(values: np.ndarray, dim: str) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """A line for each column of (record, entry) values, or their median and range."""
    count = values.shape[1]
    if count == 1:
        return {"": values[:, 0]}, {}
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


def _time(dataset: xr.Dataset, first: str) -> tuple[np.ndarray, str, str]:
    """The abscissa: log t where t overflows, else t, on a log axis where what is shown first moves early."""

    def values(name: str) -> np.ndarray:
        there = name in dataset and dataset[name].dims == ("record",)
        return np.asarray(dataset[name].values if there else [], dtype=float)

    t, log_t = values("t"), values("log_t")
    if log_t.size and np.nan_to_num(log_t, posinf=0.0, neginf=0.0).max() > 300.0:
        return log_t, r"$\log\,t$", ""
    if np.isfinite(t).any():
        return t, "time $t$", "x" if _early(t, _values(dataset, first), first not in _LINEAR) else ""
    for name, label in (("step", "step"), ("tau", r"clock $\tau$")):
        if values(name).size:
            return values(name), label, ""
    return np.arange(dataset.sizes["record"], dtype=float), "record", ""


def _early(t: np.ndarray, values: np.ndarray, log: bool) -> bool:
    """Whether most of what moves, as it is drawn, moves in the first tenth of a time that spans much."""
    positive = t[np.isfinite(t) & (t > 0.0)]
    if positive.size < 4 or positive.max() < 30.0 * positive.min():
        return False
    with np.errstate(invalid="ignore"):
        drawn = np.log(np.where(values > 0.0, values, np.nan)) if log and _spans(values) else values
    drawn = drawn[1:] if not t[0] > 0.0 else drawn  # the start has no place on a log axis
    ways = np.nansum(np.abs(np.diff(drawn, axis=0)), axis=1)
    before = t[len(t) - len(ways) :] <= 0.1 * positive.max()
    return bool(ways.sum() > 0.0 and ways[before].sum() > 0.5 * ways.sum())
