"""Figures as data: which number against which, a colour for every value of some facts of the cases."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.claims.claim import Measure
from gradlab.claims.judging import Verdict, columns


def numbers(measures: Iterable[Measure], dataset: xr.Dataset, verdict: Verdict) -> Any:
    """Every case's number against its tolerance, one row a part, with the judge's words and deciding cases."""
    judged = columns(tuple(measures), dataset)
    rows = [
        figures.Row(
            part,
            judged[part.id].number,
            judged[part.id].error,
            judged[part.id].tolerance,
            judged[part.id].words,
        )
        for part in verdict.parts
    ]
    return figures.measures(rows, [str(label) for label in dataset["case"].values])


@dataclass(frozen=True)
class Panel:
    """A Panel draws ``y`` of every case against ``x``; without ``x``, y of each group's first case against its index.

    Attributes
    ----------
    y, x : names of measures, facts or what ``shown`` gave; ``x="case"`` is the number of the case.
    by : facts of the cases: a colour for each of their values that occurs.
    log : axes that are logarithmic, of ``"xy"``. floor : what lies below it, zeros above all, is drawn there.
    diagonal : the line y = x. reference : horizontal lines by name. most : groups drawn at most.
    lines : join the values of a case (of an x that has as many). each : cases of a group whose lines are drawn.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.claims.Panel("angle", "case", "angle [rad]", "case", log="y", reference={"tolerance": 1e-3}).log
    'y'
    """

    y: str
    x: str | None
    ylabel: str
    xlabel: str
    by: tuple[str, ...] = ()
    log: str = ""
    floor: float | None = None
    diagonal: bool = False
    reference: Mapping[str, float] = field(default_factory=dict)
    most: int | None = None
    title: str = ""
    lines: bool = False
    each: int = 6

    def draw(
        self, dataset: xr.Dataset, verdict: Verdict, axes: Any, order: Mapping[str, int] | None = None
    ) -> None:
        """The panel of a collected dataset, the deciding case of a measure ringed; groups look as ``order`` says."""
        y, rows = dataset[self.y].values, self.groups(dataset)
        y = y if self.floor is None else np.maximum(y, self.floor)
        options: Any = {"log": self.log, "axes": axes, "reference": self.reference, "title": self.title}
        options["order"] = order or {}
        if self.x is None:
            first = {name: y[which[0]] for name, which in rows.items()}
            index = np.arange(1, y.shape[-1] + 1)
            figures.curves(index, first, self.xlabel, self.ylabel, markers=True, **options)
            return
        count = dataset.sizes["case"]
        x = np.arange(1, count + 1) if self.x == "case" else dataset[self.x].values
        if self.lines:
            along, drawn = {}, {}
            for name, which in rows.items():
                kept = [row for row in which if np.isfinite(y[row]).any()][: self.each]
                # with gaps between the cases of a group, which share a look
                drawn[name] = np.concatenate([np.append(y[row], np.nan) for row in kept or which[:1]])
                each = [x[row] if np.ndim(x) > 1 else x for row in kept or which[:1]]
                along[name] = np.concatenate([np.append(one, np.nan) for one in each])
            figures.curves(along, drawn, self.xlabel, self.ylabel, **options)
            return
        if np.ndim(x) == 1 and not self.diagonal and "x" not in self.log and self.x != "case":
            x = _side_by_side(axes, x, list(rows.values()))
        across, over = ({name: values[which].ravel() for name, which in rows.items()} for values in (x, y))
        figures.scatter(across, over, self.xlabel, self.ylabel, diagonal=self.diagonal, **options)
        deciding = {part.id: part.case for part in verdict.parts}.get(self.y)
        if deciding is not None and y.ndim == 1 and np.ndim(x) == 1:
            where = int(np.flatnonzero(dataset["case"].values == deciding)[0])
            figures.ring(axes, float(x[where]), float(y[where]))

    def groups(self, dataset: xr.Dataset) -> dict[str, np.ndarray]:
        """The cases of every group that is drawn; one of which nothing is asked has no points."""
        y, rows = dataset[self.y].values, self._rows(dataset)
        rows = {name: which for name, which in rows.items() if np.isfinite(y[which]).any()} or rows
        return dict(list(rows.items())[: self.most])

    def _rows(self, dataset: xr.Dataset) -> dict[str, np.ndarray]:
        facts = [[_plain(fact, value) for value in dataset[fact].values] for fact in self.by]
        names = np.asarray(
            [", ".join(each) for each in zip(*facts, strict=True)] or [""] * dataset.sizes["case"]
        )
        return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}


@dataclass(frozen=True)
class Arms:
    """Arms draws the test errors of every method of one case, with their intervals, along the records.

    From ``error_k``, ``spread_k`` and ``iteration`` of a :class:`gradlab.claims.looks.paired.Paired`; ``case`` is a
    fact and its value, or the first case there is.
    """

    title: str
    case: tuple[str, str] | None = None
    xlabel: str = "iteration"
    ylabel: str = "test error"

    def draw(self, dataset: xr.Dataset, verdict: Verdict, axes: Any) -> None:
        """The panel of a collected dataset; empty where the case was not run."""
        found = [0]
        if self.case is not None:
            fact, wanted = self.case
            found = [i for i, value in enumerate(dataset[fact].values) if str(value) == wanted]
        if not found:
            axes.set_title(f"{self.title}: not in this budget")
            return
        row = dataset.isel(case=found[0])
        names = str(row["arms"].values).split(" | ")
        x = np.maximum(row["iteration"].values, 1.0)
        lines = {name: row[f"error_{k}"].values for k, name in enumerate(names)}
        bands = {
            name: (lines[name] - row[f"spread_{k}"].values, lines[name] + row[f"spread_{k}"].values)
            for k, name in enumerate(names)
        }
        kept = np.isfinite(x)
        figures.curves(
            x[kept],
            {name: line[kept] for name, line in lines.items()},
            self.xlabel,
            self.ylabel,
            bands={name: (low[kept], high[kept]) for name, (low, high) in bands.items()},
            axes=axes,
            title=self.title,
            log="x",
        )


class Differences:
    """Differences draws paired differences with their intervals, one a comparison and case, the margin shaded.

    From ``<name>_mean``, ``<name>_width`` and ``<name>_word``, which ``Paired.said`` gives; each comparison is a pair
    of that name and its label.
    """

    def __init__(
        self, *named: tuple[str, str], margin: float, by: str = "", title: str = "paired differences"
    ) -> None:
        self.named, self.by, self.margin, self.title = named, by, margin, title

    def draw(self, dataset: xr.Dataset, verdict: Verdict, axes: Any) -> None:
        """The panel of a collected dataset."""
        axes.axvspan(-self.margin, self.margin, color=figures.COLOURS["shade"], linewidth=0, zorder=0)
        axes.axvline(0.0, color=figures.COLOURS["ink"], linewidth=0.8)
        lines = [
            (1 + bool(label) + label.count("\n") + (self.by != "" and dataset.sizes["case"] > 1))
            * int(np.isfinite(dataset[f"{name}_mean"].values).sum())
            for name, label in self.named
            if f"{name}_mean" in dataset
        ]
        many = sum(lines) > _LINES
        labels: list[str] = []
        for name, label in self.named:
            if f"{name}_mean" not in dataset:
                continue
            means, widths = dataset[f"{name}_mean"].values, dataset[f"{name}_width"].values
            for i in np.flatnonzero(np.isfinite(means)):
                axes.errorbar(
                    means[i],
                    len(labels),
                    xerr=widths[i],
                    fmt="o",
                    color=figures.COLOURS[f"line{1 + len(labels) % 7}"],
                    capsize=3.0,
                )
                case = str(dataset[self.by].values[i]) if self.by and len(means) > 1 else ""
                word = str(dataset[f"{name}_word"].values[i])
                if many:
                    said = ", ".join(filter(None, (label.replace("\n", " "), case)))
                    labels.append(textwrap.fill(f"{said}: {word}", 30))
                else:
                    labels.append("\n".join(filter(None, (case, label, word))))
        axes.set_yticks(range(len(labels)), labels, fontsize=8 if many else None)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlabel("difference of test errors")
        axes.set_title(self.title, loc="left", fontsize=11)


@dataclass(frozen=True)
class Means:
    """Means draws series of every case with their intervals: ``name``, ``name_low`` and ``name_high`` of the dataset.

    ``series`` is from names to labels; ``x`` a name, or one for each series. ``by`` is the fact that tells cases apart.
    """

    series: Mapping[str, str]
    x: str | Mapping[str, str]
    ylabel: str
    xlabel: str
    log: str = ""
    by: str = "data"

    def draw(self, dataset: xr.Dataset, verdict: Verdict, axes: Any) -> None:
        """The panel of a collected dataset."""
        along, lines, bands = {}, {}, {}
        cases = dataset[self.by].values
        for i, case in enumerate(cases):
            for name, said in self.series.items():
                label = ", ".join(filter(None, (said, str(case) if len(cases) > 1 or not said else "")))
                row = dataset.isel(case=i)
                along[label] = row[self.x if isinstance(self.x, str) else self.x[name]].values
                lines[label] = row[name].values
                bands[label] = row[f"{name}_low"].values, row[f"{name}_high"].values
        few = lines[label].size < _FEW
        options: Any = {"log": self.log, "axes": axes, "bands": bands, "markers": few}
        figures.curves(along, lines, self.xlabel, self.ylabel, **options)
        if few:
            # values that were chosen, where a logarithmic axis would name one power of ten
            places = _apart(
                np.concatenate([one[np.isfinite(one)] for one in along.values()]), "x" in self.log
            )
            axes.set_xticks(places, [f"{one:,.0f}".replace(",", "\u202f") for one in places])
            axes.minorticks_off()


def _apart(values: np.ndarray, log: bool) -> list[float]:
    """Those values, in order, that are a tenth of the axis from the last one named, so that no label covers another."""
    seen = np.unique(values)
    along = np.log(seen) if log else seen
    kept: list[int] = []
    for i in range(len(seen)):
        if not kept or along[i] - along[kept[-1]] >= 0.1 * (along[-1] - along[0]):
            kept.append(i)
    return [float(seen[i]) for i in kept]


#: A series of fewer points has markers, and its values of x for ticks.
_FEW = 8
#: Lines of labels beside differences; where there are more, each is set small, in as few as it fits.
_LINES = 12


@dataclass(frozen=True)
class Named:
    """Named draws a number for each of some names, from the dim of ``name``; with ``<name>_bar`` its interval."""

    name: str
    labels: tuple[str, ...]
    xlabel: str
    by: str = "data"
    log: bool = False

    def draw(self, dataset: xr.Dataset, verdict: Verdict, axes: Any) -> None:
        """The panel of a collected dataset."""
        cases, bar = dataset[self.by].values, f"{self.name}_bar"
        places = np.arange(len(self.labels), dtype=float)
        for i, case in enumerate(cases):
            widths = dataset[bar].values[i] if bar in dataset else None
            style: Any = {"fmt": "o", "color": figures.COLOURS[f"line{1 + i % 7}"], "label": str(case)}
            axes.errorbar(dataset[self.name].values[i], places + 0.15 * i, xerr=widths, capsize=3.0, **style)
        if self.log:
            axes.set_xscale("symlog", linthresh=0.1)
        axes.axvline(0.0, color=figures.COLOURS["ink"], linewidth=0.8)
        axes.set_yticks(places, self.labels)
        axes.set_ylim(len(self.labels) - 0.5, -0.5)
        axes.set_xlabel(self.xlabel)
        if len(cases) > 1:
            figures.legend(axes)


def _side_by_side(axes: Any, x: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Abscissae that are a few whole numbers, those of every group (its indices) moved beside the others'."""
    values = np.asarray(x, dtype=float)
    seen = np.unique(values[np.concatenate(groups)])
    if seen.size > 6 or not np.isfinite(seen).all() or (seen != np.round(seen)).any():
        return values
    gap, moved = float(np.diff(seen).min(initial=1.0)), values.copy()
    for k, which in enumerate(groups):
        moved[which] += gap * 0.5 * ((k + 0.5) / len(groups) - 0.5)
    axes.set_xlim(seen[0] - 0.5 * gap, seen[-1] + 0.5 * gap)
    axes.set_xticks(seen)
    return moved


def _plain(fact: str, value: Any) -> str:
    """A word as it is, a number with the name of its fact."""
    return str(value) if isinstance(value, str) else f"{fact.replace('_', ' ')} = {value:g}"


class Drawn(Protocol):
    """What a figure sets side by side: it draws itself into axes."""

    def draw(self, dataset: xr.Dataset, verdict: Verdict, axes: Any) -> None:
        """The panel of a collected dataset."""


class Figure:
    """A Figure sets panels side by side, with the caption that travels with them.

    Examples
    --------
    >>> import gradlab as gl
    >>> panel = gl.claims.Panel("angle", "case", "angle [rad]", "case")
    >>> figure = gl.claims.Figure(panel, caption="Angle to the max-margin direction.")
    >>> len(figure.panels)
    1
    """

    def __init__(self, *panels: Drawn, caption: str, height: float = 3.2) -> None:
        self.panels, self.caption, self.height = panels, caption, height

    def __call__(self, dataset: xr.Dataset, verdict: Verdict) -> Any:
        figure, axes = figures.panels(len(self.panels), height=self.height)
        # a group looks the same in all panels
        looks: dict[tuple[str, ...], dict[str, int]] = {}
        for panel in self.panels:
            if isinstance(panel, Panel):
                order = looks.setdefault(panel.by, {})
                for label in panel.groups(dataset):
                    order.setdefault(label, len(order))
        for panel, place in zip(self.panels, axes, strict=True):
            if isinstance(panel, Panel):
                panel.draw(dataset, verdict, place, looks[panel.by])
            else:
                panel.draw(dataset, verdict, place)
        return figures.with_caption(figure, self.caption)
