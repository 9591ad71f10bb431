"""Figures as data: which number against which, a colour for every value of some facts of the cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

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

    def draw(self, dataset: xr.Dataset, verdict: Verdict, axes: Any) -> None:
        """The panel of a collected dataset, the deciding case of a measure ringed."""
        y, rows = dataset[self.y].values, self._rows(dataset)
        # a group of which nothing is asked has no points, and no place in the legend
        rows = {name: which for name, which in rows.items() if np.isfinite(y[which]).any()} or rows
        rows = dict(list(rows.items())[: self.most])
        y = y if self.floor is None else np.maximum(y, self.floor)
        options: Any = {"log": self.log, "axes": axes, "reference": self.reference, "title": self.title}
        if self.x is None:
            first = {name: y[which[0]] for name, which in rows.items()}
            index = np.arange(1, y.shape[-1] + 1)
            figures.curves(index, first, self.xlabel, self.ylabel, markers=True, **options)
            return
        count = dataset.sizes["case"]
        x = np.arange(1, count + 1) if self.x == "case" else dataset[self.x].values
        if self.lines:
            drawn, along = {}, {}
            for name, which in rows.items():
                seen = [row for row in which if np.isfinite(y[row]).any()][: self.each]
                for i, row in enumerate(seen):
                    label = f"{name} {i + 1}" if i else name
                    drawn[label], along[label] = y[row], x[row] if np.ndim(x) > 1 else x
            figures.curves(along, drawn, self.xlabel, self.ylabel, **options)
            return
        across, over = ({name: values[which].ravel() for name, which in rows.items()} for values in (x, y))
        figures.scatter(across, over, self.xlabel, self.ylabel, diagonal=self.diagonal, **options)
        deciding = {part.id: part.case for part in verdict.parts}.get(self.y)
        if deciding is not None and y.ndim == 1 and np.ndim(x) == 1:
            where = int(np.flatnonzero(dataset["case"].values == deciding)[0])
            figures.ring(axes, float(x[where]), float(y[where]))

    def _rows(self, dataset: xr.Dataset) -> dict[str, np.ndarray]:
        facts = [[_plain(fact, value) for value in dataset[fact].values] for fact in self.by]
        names = np.asarray(
            [", ".join(each) for each in zip(*facts, strict=True)] or [""] * dataset.sizes["case"]
        )
        return {name: np.flatnonzero(names == name) for name in dict.fromkeys(names.tolist())}


def _plain(fact: str, value: Any) -> str:
    """A word as it is, a number with the name of its fact."""
    return str(value) if isinstance(value, str) else f"{fact.replace('_', ' ')} = {value:g}"


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

    def __init__(self, *panels: Panel, caption: str, height: float = 3.2) -> None:
        self.panels, self.caption, self.height = panels, caption, height

    def __call__(self, dataset: xr.Dataset, verdict: Verdict) -> Any:
        figure, axes = figures.panels(len(self.panels), height=self.height)
        for panel, place in zip(self.panels, axes, strict=True):
            panel.draw(dataset, verdict, place)
        return figures.with_caption(figure, self.caption)
