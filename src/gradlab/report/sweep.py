"""The page of a sweep: how its runs ended, and its numbers as lines over one field, as heat maps over two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.dynamics.stops import kind
from gradlab.report import drawing, mathematics, numbers, page

#: Numbers that are drawn at most, lines of a figure, and panels beside one another of a third axis.
DRAWN, LINES, PANELS = 6, 6, 4
#: Inches of a panel, which a phone shows whole, and of two beside one another.
_COLUMN, _BESIDE = 4.9, 7.2
#: Beyond this ratio of the largest to the least, a scale is logarithmic.
_WIDE = 50.0


def render(
    cube: xr.Dataset,
    specification: str = "",
    provenance: Mapping[str, Any] | None = None,
    *,
    title: str = "A sweep",
) -> str:
    """The page of a cube of :func:`gradlab.sweep`.

    Parameters
    ----------
    specification : the TOML text. provenance : what is known of the whole sweep.
    """
    ends = _ends(cube)
    words = [kind(str(word)) for word in cube["status"].values.ravel()]
    axes = _axes(cube)
    names = of_each_run(ends)
    made = [one for name in names[:DRAWN] for one in _figures(ends, name)] if axes else []
    return page.fill(
        "sweep.html.jinja",
        title=title,
        runs=cube["status"].size,
        over=", ".join([*axes, f"{cube.sizes['seed']} seeds" if cube.sizes["seed"] > 1 else "one seed"]),
        outcome=[
            (word, words.count(word)) for word in sorted(set(words), key=lambda word: -words.count(word))
        ],
        rows=[_row(ends, name) for name in names],
        drawings=[drawing.drawing(one, f"figure-{i}") for i, one in enumerate(made, 1)],
        specification=specification,
        provenance=page.facts(provenance),
    )


def _ends(cube: xr.Dataset) -> xr.Dataset:
    """The last record that each run has; of what has dims of its own (layers, say), the largest absolute value."""
    dims, ends = cube["status"].dims, cube
    for name, variable in cube.data_vars.items():
        one = variable.ffill("record").isel(record=-1) if "record" in variable.dims else variable
        own = [dim for dim in one.dims if dim not in dims]
        if own:
            one = abs(one).max(own)
            one.attrs["of"] = ", ".join(map(str, own))
        ends = ends.assign({name: one})
    return ends


def _axes(cube: xr.Dataset) -> list[str]:
    return [str(dim) for dim in cube["status"].dims if dim != "seed"]


def of_each_run(cube: xr.Dataset) -> list[str]:
    """What is shown: observables, and when a run ended where that was not the last record."""
    dims = cube["status"].dims
    plain = cube[[name for name, variable in cube.data_vars.items() if variable.dims == dims]]
    names = drawing.observed(plain.drop_vars(["member"], errors="ignore").expand_dims("record"))
    if "tau" not in plain or "t" not in plain:
        return names
    ended = np.asarray(
        [str(word).startswith(("stopped", "reached")) for word in cube["status"].values.ravel()]
    )
    return [*names, "t"] if _differs(plain["tau"].values.ravel()[ended]) else names


def _differs(values: np.ndarray) -> bool:
    seen = values[np.isfinite(values)]
    return bool(seen.size and np.ptp(seen) > 1e-9 * np.abs(seen).max())


def _row(cube: xr.Dataset, name: str) -> tuple[str, ...]:
    """Name, least, median, largest, largest bar; empty where there is none."""
    values = cube[name].values[np.isfinite(cube[name].values)]
    if not values.size:
        return (_said(cube, name), "", "", "", "")
    bars = cube[f"{name}_error"].values if f"{name}_error" in cube else np.asarray([])
    known = bars[np.isfinite(bars)]
    told = [float(take(values)) for take in (np.min, np.median, np.max)] + (
        [float(known.max())] if known.size else []
    )
    shown = [mathematics.superscripts(numbers.plain(value)) for value in told]
    return (_said(cube, name), *shown, *[""] * (4 - len(shown)))


def _said(cube: xr.Dataset, name: str) -> str:
    words = "time at the end" if name == "t" else name.replace("_", " ")
    of = cube[name].attrs.get("of")
    return f"{words}, the largest of any {of}" if of else words


# --- figures -----------------------------------------------------------------------------------------


def _figures(cube: xr.Dataset, name: str) -> list[Any]:
    """Of one number: points over what was drawn at random, or lines, and from two axes on a heat map."""
    values = cube[name].values[np.isfinite(cube[name].values)]
    bars = cube[f"{name}_error"].values if f"{name}_error" in cube else np.zeros(1)
    if not values.size or np.ptp(values) <= 2.0 * np.nanmax(np.append(bars, 0.0)):
        return []  # all are the same: a stop's level, say
    if "sample" in cube.dims:
        return [_points(cube, name)]
    axes = _axes(cube)
    return [_lines(cube, name, axes)] + ([_maps(cube, name, axes)] if len(axes) > 1 else [])


def _points(cube: xr.Dataset, name: str) -> Any:
    """Over each field that was drawn, one point a run."""
    fields = [str(n) for n, one in cube.coords.items() if one.dims == ("sample",) and n != "sample"]
    figure, grid = figures.panels(len(fields), width=_BESIDE if len(fields) > 1 else _COLUMN, height=2.7)
    values = cube[name]
    for panel, field in zip(grid, fields, strict=True):
        places, ticks = _places(cube[field].values)
        x = xr.DataArray(places, dims="sample").broadcast_like(values).transpose(*values.dims)
        log: Any = ("x" if not ticks and _wide(places) else "") + ("y" if _wide(values.values) else "")
        figures.scatter(
            x.values.ravel(), {"": values.values.ravel()}, field, _said(cube, name), log=log, axes=panel
        )
        _ticks(panel, ticks)
    return figures.with_caption(
        figure, f"{_said(cube, name)}: one point a run, over each field that was drawn."
    )


def _lines(cube: xr.Dataset, name: str, axes: list[str]) -> Any:
    """Over the first axis, a line for each value of the second; medians and ranges over seeds."""
    values, told = _first_of(cube[name], axes[2:])
    places, ticks = _places(cube[axes[0]].values)
    lines, bands = {}, {}
    for label, one in _each(values, axes):
        middle, low, high = (take(one.values, axis=1) for take in (_median, _least, _most))
        lines[label] = middle
        if cube.sizes["seed"] > 1:
            bands[label] = (low, high)
    log: Any = ("x" if not ticks and _wide(places) else "") + ("y" if _wide(values.values) else "")
    figure, (panel,) = figures.panels(1, width=_COLUMN, height=3.0)
    figures.curves(places, lines, axes[0], _said(cube, name), bands=bands, markers=True, log=log, axes=panel)
    _ticks(panel, ticks)
    over = f", median and range of {cube.sizes['seed']} seeds" if cube.sizes["seed"] > 1 else ""
    return figures.with_caption(figure, f"{_said(cube, name)} over {axes[0]}{over}{told}.")


def _each(values: xr.DataArray, axes: list[str]) -> list[tuple[str, xr.DataArray]]:
    """Label and values (first axis, seed) of each line; of a long second axis, some values evenly apart."""
    if len(axes) == 1:
        return [("", values.transpose(axes[0], "seed"))]
    count = values.sizes[axes[1]]
    chosen = np.unique(np.linspace(0, count - 1, min(count, LINES)).round().astype(int))
    picked = [(values[axes[1]].values[i], values.isel({axes[1]: int(i)})) for i in chosen]
    return [(f"{axes[1]} = {_short(label)}", one.transpose(axes[0], "seed")) for label, one in picked]


def _maps(cube: xr.Dataset, name: str, axes: list[str]) -> Any:
    """The median over seeds over two axes; a panel for each value of a third."""
    values, told = _first_of(cube[name].reduce(_median, dim="seed"), axes[3:])
    third = axes[2] if len(axes) > 2 else None
    shown = [("", values)]
    if third is not None:
        every = range(min(values.sizes[third], PANELS))
        shown = [(f"{third} = {_short(values[third].values[i])}", values.isel({third: i})) for i in every]
    figure, grid = figures.panels(len(shown), width=_COLUMN if third is None else _BESIDE, height=3.0)
    wide = _wide(values.values)
    seen = values.values[np.isfinite(values.values)]
    limits = {} if not seen.size else {"vmin": float(seen.min()), "vmax": float(seen.max())}
    for panel, (label, one) in zip(grid, shown, strict=True):
        _map(panel, one.transpose(axes[1], axes[0]), axes, wide, limits, label)
    figure.colorbar(grid[0].collections[0], ax=grid, label=_said(cube, name))
    over = f" (median of {cube.sizes['seed']} seeds)" if cube.sizes["seed"] > 1 else ""
    return figures.with_caption(figure, f"{_said(cube, name)}{over} over {axes[0]} and {axes[1]}{told}.")


def _map(
    panel: Any, values: xr.DataArray, axes: list[str], wide: bool, limits: dict[str, float], label: str
) -> None:
    ends = []
    for name, way in zip(axes[:2], "xy", strict=True):
        places, ticks = _places(values[name].values)
        log = not ticks and _wide(places)
        ends.append(_borders(places, log))
        if log:
            panel.set(**{f"{way}scale": "log"})
        _ticks(panel, ticks or (None if log else _marks(places)), way)
        panel.set(**{f"{way}label": name})
    panel.grid(False)
    # ``log`` needs limits above 0, as _wide has seen
    panel.pcolormesh(*ends, values.values, cmap="viridis", norm="log" if wide else "linear", **limits)
    panel.set_title(label)


def _places(values: np.ndarray) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Where values stand on an axis; of texts, one after the other, with a tick for each."""
    if values.dtype.kind in "iuf":
        return values.astype(float), []
    return np.arange(len(values), dtype=float), [(float(i), _short(value)) for i, value in enumerate(values)]


def _marks(places: np.ndarray) -> list[tuple[float, str]]:
    """A tick at each of a few places."""
    return [(float(x), f"{x:g}") for x in places] if len(places) <= 8 else []


def _ticks(panel: Any, ticks: list[tuple[float, str]] | None, way: str = "x") -> None:
    if ticks:
        at, words = [x for x, _ in ticks], [word for _, word in ticks]
        panel.set(**{f"{way}ticks": at, f"{way}ticklabels": words})


def _borders(places: np.ndarray, log: bool) -> np.ndarray:
    """Where cells begin and end: half way between neighbours."""
    x = np.log(places) if log else places
    half = 0.5 * np.diff(x) if len(x) > 1 else np.asarray([0.5])
    inner = x[:-1] + half if len(x) > 1 else np.asarray([])
    edges = np.concatenate([[x[0] - half[0]], inner, [x[-1] + half[-1]]])
    return np.exp(edges) if log else edges


def _first_of(values: xr.DataArray, axes: list[str]) -> tuple[xr.DataArray, str]:
    """At the first value of these axes, and the words for it."""
    told = "".join(f", {axis} = {_short(values[axis].values[0])}" for axis in axes)
    return values.isel(dict.fromkeys(axes, 0)), told


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float | np.floating) else str(value)
    return text if len(text) <= 20 else text[:19] + "…"


def _wide(values: np.ndarray) -> bool:
    seen = values[np.isfinite(values)]
    return bool(seen.size > 1 and seen.min() > 0.0 and seen.max() > _WIDE * seen.min())


def _over(take: Any, values: np.ndarray, axis: Any) -> np.ndarray:
    """``take`` of the finite values along an axis; NaN where there are none."""
    seen = np.where(np.isfinite(values), values, np.nan)
    empty = np.isnan(seen).all(axis=axis)
    filled = np.where(np.expand_dims(empty, axis), 0.0, seen)
    return np.where(empty, np.nan, take(filled, axis=axis))


def _median(values: np.ndarray, axis: Any) -> np.ndarray:
    return _over(np.nanmedian, values, axis)


def _least(values: np.ndarray, axis: Any) -> np.ndarray:
    return _over(np.nanmin, values, axis)


def _most(values: np.ndarray, axis: Any) -> np.ndarray:
    return _over(np.nanmax, values, axis)
