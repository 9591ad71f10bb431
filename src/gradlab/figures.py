"""One visual language: datasets to figures, and figures to SVG; the only plotting import of the house.

A figure is a bare :class:`matplotlib.figure.Figure`: no global state. Colours (:data:`COLOURS`) can be told apart by
colour-blind readers, and are doubled by shape or dash. A caption travels with its figure (:func:`with_caption`).
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack, cast

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import Formatter, LogFormatterSciNotation, MaxNLocator, ScalarFormatter

LINES = ("#1f5fa8", "#d1660f", "#12806a", "#a83f7c", "#5aa2d6", "#8a6d12", "#4d5560")
#: Every colour by name; a page may map the names to other colours in the dark.
COLOURS: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#23282f",
    "muted": "#646c76",
    "grid": "#e9eaed",
    "shade": "#e7f2ee",
    "supported": "#15755e",
    "refuted": "#c2410f",
    "inconclusive": "#8d6508",
    "unmet": "#6b7480",
    **{f"line{i}": colour for i, colour in enumerate(LINES, start=1)},
}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.6, 1.2, 1.6)))
_SHAPES = ("o", "D", "^", "s", "v", "P", "X")
_FONTS = ["STIXGeneral", "DejaVu Sans"]

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": _FONTS,
    "mathtext.fontset": "stix",
    "font.size": 10.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 7.0,
    "axes.linewidth": 0.7,
    "axes.edgecolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=LINES * len(_DASHES)) + cycler(linestyle=_DASHES * len(LINES)),
    "axes.formatter.use_mathtext": True,
    **dict.fromkeys(("axes.labelsize", "legend.title_fontsize"), 10.5),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), COLOURS["ink"]),
    **dict.fromkeys(("xtick.color", "ytick.color"), COLOURS["muted"]),
    **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), COLOURS["ink"]),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 9.5),
    **dict.fromkeys(("xtick.major.width", "ytick.major.width"), 0.7),
    **dict.fromkeys(("xtick.minor.width", "ytick.minor.width"), 0.4),
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.facecolor": COLOURS["paper"],
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
    "legend.handlelength": 2.4,
    "figure.facecolor": COLOURS["paper"],
    "savefig.facecolor": COLOURS["paper"],
    "figure.constrained_layout.h_pad": 0.06,
    "svg.fonttype": "path",
    "svg.hashsalt": "gradlab",
}

_MANY = 3000  # more points than this are drawn as an image inside the SVG
_WIDTH = 7.2  # inches: the width of the report's column


def panels(
    n: int, *, columns: int | None = None, width: float = _WIDTH, height: float = 2.9
) -> tuple[Figure, list[Axes]]:
    """A figure of `n` equal panels in rows of at most `columns` (default 2); `height` inches is one row's."""
    if n < 1:
        raise ValueError(f"panels takes a number of panels of at least 1, not {n}")
    columns = min(n, columns or 2)
    rows = math.ceil(n / columns)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, rows * height), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for empty in grid[n:]:
            empty.remove()
    for axes in grid[:n]:
        axes.grid(True, color=COLOURS["grid"], linewidth=0.7)
    return figure, list(grid[:n])


class Options(TypedDict, total=False):
    """What :func:`curves` and :func:`scatter` share."""

    log: Literal["", "x", "y", "xy"]
    reference: Mapping[str, float]  # label to a value of y, drawn as a horizontal line
    title: str
    caption: str
    axes: Axes  # a panel to draw into; without it a new figure is made
    order: Mapping[str, int]  # label to the number of its look, to agree with another panel


def curves(
    x: Any,
    lines: Mapping[str, Any],
    xlabel: str,
    ylabel: str,
    *,
    bands: Mapping[str, tuple[Any, Any]] | None = None,
    markers: bool = False,
    **options: Unpack[Options],
) -> Figure:
    """Lines over a common x, with bands and horizontal reference lines; see :class:`Options`.

    Parameters
    ----------
    x : (n,) shared abscissa, or a mapping from label to its own.
    lines : label to (n,) values; NaN and infinite values are gaps, and so are values ≤ 0 on a log axis.
    bands : label to (lower, upper), drawn in the colour of the line with that label.
    """

    def draw(axes: Axes, label: str, xs: np.ndarray, ys: np.ndarray, style: dict[str, Any]) -> None:
        alone = np.isfinite(ys).sum() <= 1
        style["marker"] = style["marker"] if markers or alone else "none"
        axes.plot(xs, ys, **style)
        if bands and label in bands:
            lower, upper = (_drawable(axes, xs, edge)[1] for edge in bands[label])
            axes.fill_between(xs, lower, upper, color=style["color"], alpha=0.16, linewidth=0)

    return _chart(draw, x, lines, xlabel, ylabel, options)


def scatter(
    x: Any,
    groups: Mapping[str, Any],
    xlabel: str,
    ylabel: str,
    *,
    errors: Mapping[str, Any] | None = None,
    diagonal: bool = False,
    **options: Unpack[Options],
) -> Figure:
    """Points of one or more groups; `diagonal` draws y = x, where a prediction meets its measurement.

    Parameters
    ----------
    x : (n,) shared abscissa, or a mapping from label to its own.
    groups : label to (n,) values; a point that is not finite is left out.
    errors : label to (n,) error bars of y.
    """

    def draw(axes: Axes, label: str, xs: np.ndarray, ys: np.ndarray, style: dict[str, Any]) -> None:
        style |= {"linestyle": "none", "alpha": 0.85, "rasterized": xs.size > _MANY}
        if errors and label in errors:
            axes.errorbar(xs, ys, yerr=np.asarray(errors[label], dtype=float), elinewidth=0.8, **style)
        else:
            axes.plot(xs, ys, **style)

    figure = _chart(draw, x, groups, xlabel, ylabel, options)
    if diagonal:
        panel = options.get("axes") or figure.axes[0]
        ends = (max(panel.get_xlim()[0], panel.get_ylim()[0]), min(panel.get_xlim()[1], panel.get_ylim()[1]))
        panel.plot(ends, ends, color=COLOURS["muted"], linestyle="-", linewidth=0.8, zorder=0)
    return figure


def legend(axes: Axes, **options: Any) -> None:
    """A legend in the house style: in up to four rows above the axes if it fits there, else where there is room."""
    with matplotlib.rc_context(_STYLE):
        labels = axes.get_legend_handles_labels()[1]
        spec, figure = axes.get_subplotspec(), cast(Figure, axes.get_figure(root=True))
        room = 69 * figure.get_figwidth() / (spec.get_gridspec().ncols if spec else 1)
        fitting = [n for n in range(1, 7) if _wide(labels, n) < room]
        if fitting and not axes.get_title(loc="left") and len(labels) <= 4 * fitting[-1]:
            columns = -(-len(labels) // -(-len(labels) // fitting[-1]))
            above = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": columns}
            options = {**above, "borderaxespad": 0.2, "columnspacing": 1.2, "handlelength": 1.6, **options}
        axes.legend(**options)


def _wide(labels: Sequence[str], columns: int) -> float:
    """The width of a legend in so many columns, which are filled one after the other, in eightieths of an inch."""
    rows = -(-len(labels) // columns)
    longest = [max(map(len, labels[i : i + rows])) for i in range(0, len(labels), rows)]
    return 30 * len(longest) + 4.6 * sum(longest)


def with_caption(figure: Figure, caption: str) -> Figure:
    """The figure, carrying `caption` as its label; the page prints it below."""
    if caption:
        figure.set_label(caption)
    return figure


_OUTCOMES = {
    "supported": ("o", True, 4.6, "satisfies"),
    "refuted": ("X", True, 6.0, "violates"),
    "inconclusive": ("D", False, 4.6, "straddles the tolerance"),
    "unmet": ("o", False, 4.6, "hypotheses not met"),
}
#: The judge's words for a case, as outcomes that are drawn; what is not asked is not.
_WORDS = {word: word for word in ("supported", "refuted", "inconclusive")} | {
    "hypotheses not met": "unmet",
    "not asked": "unasked",
}


def measures(rows: Sequence[Row], cases: Sequence[str], *, caption: str = "") -> Figure:
    """Every case's number, with error bar, against its tolerance: one panel per part.

    The axis is logarithmic where every number and tolerance is positive and they span decades, linear or
    symmetric-logarithmic otherwise; ``==`` is drawn as the distance |number − target|. The side that
    satisfies the relation is shaded; the case that decided is ringed and named. What lies below a log
    axis, an exact zero above all, sits at its left edge as a triangle.

    Parameters
    ----------
    rows : the parts, judged. cases : the labels of the cases.
    """
    if not rows:
        raise ValueError("measures needs at least one part")
    drawn = [_Row(row, cases) for row in rows]
    titles = [_words("\n".join(textwrap.wrap(row.part.statement, 88)) or row.part.id) for row in rows]
    heights = [0.75 + 0.2 * title.count("\n") + min(0.16 * len(cases), 1.9) for title in titles]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, sum(heights) + 0.45), layout="constrained")
        grid = figure.subplots(len(rows), 1, squeeze=False, height_ratios=heights).ravel()
        seen: set[str] = set()
        for axes, row, title in zip(grid, drawn, titles, strict=True):
            seen |= row.draw(axes)
            axes.set_title(title)
        handles: list[Any] = [_marker(outcome) for outcome in _OUTCOMES if outcome in seen]
        handles.append(Line2D([], [], color=COLOURS["ink"], linewidth=1.1, label="tolerance"))
        handles.append(Patch(facecolor=COLOURS["shade"], label="relation holds"))
        figure.legend(handles=handles, loc="outside lower left", ncols=6, frameon=False)
    default = f"Each point is one of {len(cases)} cases, its bar the numerical error; the ringed one decides."
    return with_caption(figure, caption or default)


def ring(axes: Axes, x: float, y: float) -> None:
    """Ring a point: the case that decided."""
    look: dict[str, Any] = {"mfc": "none", "markersize": 9.5, "mew": 0.8, "clip_on": False}
    axes.plot([x], [y], marker="o", color=COLOURS["ink"], linestyle="none", **look)


@dataclass(frozen=True)
class Row:
    """One judged part: what the judge says of it, and of every case its number, error, tolerance and word."""

    part: Any
    number: np.ndarray
    error: np.ndarray
    tolerance: np.ndarray
    words: np.ndarray


class _Row:
    """The numbers of one part, ready to be laid on an axis."""

    def __init__(self, row: Row, cases: Sequence[str]) -> None:
        self.part, self.relation, self.cases = row.part, row.part.relation, list(cases)
        self.number, self.error, self.tolerance = row.number, np.maximum(row.error, 0.0), row.tolerance
        self.outcomes = np.asarray([_WORDS.get(word, "inconclusive") for word in row.words])
        self.label = "number"
        if self.relation == "==":
            self.number = np.abs(self.number - row.part.target)
            self.label = f"distance from {row.part.target:g}"

    def draw(self, axes: Axes) -> set[str]:
        """Draw the row; the outcomes that occur."""
        y = np.arange(len(self.cases), dtype=float)
        low, high = self._axis(axes)
        edge = np.clip(self.tolerance, low, high)
        left, right = (edge, high) if self.relation == ">=" else (low, edge)
        steps = np.repeat(np.arange(len(y) + 1) - 0.5, 2)[1:-1]
        left, right, edge = (np.repeat(np.broadcast_to(side, y.shape), 2) for side in (left, right, edge))
        axes.fill_betweenx(steps, left, right, color=COLOURS["shade"], linewidth=0, zorder=0)
        axes.plot(edge, steps, color=COLOURS["ink"], linestyle="-", linewidth=1.1)
        for outcome in _OUTCOMES:
            self._points(axes, outcome, (self.outcomes == outcome) & np.isfinite(self.number), low, high)
        axes.set(xlim=(low, high), ylim=(len(y) - 0.4, -0.6))
        axes.set_xlabel(self._deciding(axes, low, high), loc="left", color=COLOURS["muted"])
        few = len(y) <= 10
        axes.set_yticks(y if few else [], [_words(case, 30) for case in self.cases] if few else [])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(True, axis="x", color=COLOURS["grid"])
        return set(self.outcomes.tolist()) - {"unasked"}

    def _points(self, axes: Axes, outcome: str, which: np.ndarray, low: float, high: float) -> None:
        shape, filled, size, _ = _OUTCOMES[outcome]
        colour, y = COLOURS[outcome], np.arange(which.size)
        barred = which & np.isfinite(self.error) & (self.error > 0.0)
        left, right = (np.clip(self.number + s * self.error, low, high) for s in (-1.0, 1.0))
        if barred.any():
            axes.hlines(y[barred], left[barred], right[barred], color=colour, linewidth=1.0)
        edge = which & (self.number < low) & (axes.get_xscale() == "log")
        at = np.where(
            edge, low * (high / low) ** 0.012 if edge.any() else 0.0, np.clip(self.number, low, high)
        )
        look: dict[str, Any] = {"color": colour, "linestyle": "none", "markersize": size, "clip_on": False}
        for mask, marker, face in ((edge, "<", False), (which & ~edge, shape, filled)):
            if mask.any():
                axes.plot(at[mask], y[mask], marker=marker, mfc=colour if face else COLOURS["paper"], **look)

    def _deciding(self, axes: Axes, low: float, high: float) -> str:
        """Ring the deciding case; the words below the axis."""
        where = self.cases.index(self.part.case)
        if math.isfinite(self.number[where]):
            ring(axes, min(max(self.number[where], low), high), where)
        words = f"{self.label};  deciding case: {_words(self.part.case, 64)}"
        lost = int((~np.isfinite(self.number) & (self.outcomes != "unasked")).sum())
        return words + (f";  {lost} without a finite number" if lost else "")

    def _axis(self, axes: Axes) -> tuple[float, float]:
        """Choose the scale of the axis; its ends."""
        number = self.number[np.isfinite(self.number)]
        bars = np.where(np.isfinite(self.error), self.error, 0.0)[np.isfinite(self.number)]
        core = np.concatenate([number, self.tolerance[np.isfinite(self.tolerance)]])
        values = np.concatenate([core, number - bars, number + bars])
        positive, sizes = core[core > 0.0], np.abs(values[values != 0.0])
        if sizes.size == 0:
            return -1.0, 1.0
        if (core >= 0.0).all() and (self.tolerance > 0.0).all():
            zeros = positive.size < core.size
            if zeros or positive.max() > 30.0 * positive.min():
                axes.set_xscale("log")
                bottom, top = np.log10(positive.min()), np.log10(values.max())
                room = max(0.05 * (top - bottom), 0.15)
                low, high = max(math.floor(bottom - 0.2) - zeros, -150.0), min(top + room, 150.0)
                return 10.0**low, 10.0**high
        elif sizes.max() > 1e3 * sizes.min():
            around = max(float(sizes.min()), 1e-4 * float(sizes.max()))
            axes.set_xscale("symlog", linthresh=around)
            return min(2.0 * float(values.min()), -around), max(2.0 * float(values.max()), around)
        room = 0.06 * float(np.ptp(values)) or 0.1 * float(sizes.max())
        return float(values.min()) - room, float(values.max()) + room


def _marker(outcome: str) -> Line2D:
    shape, filled, size, words = _OUTCOMES[outcome]
    colour, face = COLOURS[outcome], COLOURS[outcome if filled else "paper"]
    return Line2D([], [], color=colour, marker=shape, mfc=face, markersize=size, lw=1.0, label=words)


def _chart(
    draw: Callable[[Axes, str, np.ndarray, np.ndarray, dict[str, Any]], None],
    x: Any,
    series: Mapping[str, Any],
    xlabel: str,
    ylabel: str,
    options: Options,
) -> Figure:
    """Scales, one `draw` per series in its own look, reference lines, labels, a legend for two or more."""
    axes = options.get("axes") or panels(1, height=3.3, width=6.4)[1][0]
    with matplotlib.rc_context(_STYLE):
        xs = [_abscissa(x, label) for label in series]
        _scales(axes, options.get("log", ""), xs, series.values())
        for i, (label, y) in enumerate(series.items()):
            k, count = options.get("order", {}).get(label, i), len(LINES)
            look = {"color": LINES[k % count], "linestyle": _DASHES[k % len(_DASHES)]}
            look["marker"] = _SHAPES[(k + k // count) % count]
            draw(axes, label, *_drawable(axes, xs[i], y), {"label": _words(label) or "_nolegend_", **look})
        for label, value in options.get("reference", {}).items():
            reference(axes, label, float(value))
        axes.set(xlabel=_words(xlabel), ylabel=_words(ylabel), title=_words(options.get("title", "")))
        if any(series):
            legend(axes)
    return with_caption(cast(Figure, axes.get_figure(root=True)), options.get("caption", ""))


def _abscissa(x: Any, label: str) -> np.ndarray:
    return np.asarray(x[label] if isinstance(x, Mapping) else x, dtype=float).ravel()


def _drawable(axes: Axes, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = (np.asarray(one, dtype=float).ravel() for one in (x, y))
    if xs.shape != ys.shape:
        raise ValueError(f"a line has {xs.size} abscissae and {ys.size} values; give as many of each")
    good = np.isfinite(xs) & np.isfinite(ys)
    for scale, values in ((axes.get_xscale(), xs), (axes.get_yscale(), ys)):
        good &= (scale != "log") | (np.where(np.isfinite(values), values, 0.0) > 0.0)
    return xs, np.where(good, ys, np.nan)


def _scales(axes: Axes, log: str, xs: Iterable[Any], ys: Iterable[Any]) -> None:
    """Log axes where asked and where there is something positive to show."""
    if log not in ("", "x", "y", "xy"):
        raise ValueError(f"log is {log!r}; write '', 'x', 'y' or 'xy'")
    for name, series in (("x", xs), ("y", ys)):
        values = [np.asarray(one, dtype=float).ravel() for one in series]
        positive = any((one[np.isfinite(one)] > 0.0).any() for one in values)
        if name in log and positive:
            axes.set(**{f"{name}scale": "log"})
        elif name == "x" and all(_whole(one) for one in values):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _whole(values: np.ndarray) -> bool:
    """Whether all numbers are whole, and few and small enough for a tick each."""
    seen = values[np.isfinite(values)]
    return bool(np.all(seen == np.round(seen)) and (not seen.size or np.ptp(seen) <= 12))


def reference(axes: Axes, label: str, value: float) -> None:
    """A dotted horizontal line with its label, and room for it; none where a log axis has no place for the value."""
    if not math.isfinite(value) or (axes.get_yscale() == "log" and value <= 0.0):
        return
    axes.axhline(value, color=COLOURS["muted"], linewidth=0.9, linestyle=(0, (1, 2)))
    look: dict[str, Any] = {"ha": "right", "va": "bottom", "color": COLOURS["muted"], "fontsize": 9.5}
    axes.text(0.995, value, _words(label), transform=axes.get_yaxis_transform(), **look)
    low, _, high = sorted((*axes.get_ylim(), value))
    axes.set_ylim(low, max(high, value + 0.14 * (high - low) * (axes.get_yscale() == "linear")))


_MATH = MathTextParser("path")


def _words(text: str, length: int = 1000) -> str:
    """The text, cut to `length`, if its mathtext parses; else with its dollars taken literally."""
    text = text if len(text) <= length else text[: length - 1].rstrip() + "…"
    try:
        for line in text.split("\n") if "$" in text else ():
            _MATH.parse(line)
    except (ValueError, RuntimeError):
        return text.replace("$", r"\$")
    return text


def svg(figure: Figure, *, prefix: str | None = None, measure: Callable[[Figure], Any] | None = None) -> str:
    """The figure as an ``<svg>`` element without metadata, the same for the same figure, then released.

    Every id begins with `prefix` (default: a digest of the drawing): several figures can stand in one page.
    `measure` is called with the figure as it is laid out, before it is released.
    """
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    text = _saved(figure, measure, format="svg", metadata=nothing, dpi=144).decode().partition("<svg")[2]
    text = re.sub(r"\s*(<metadata>.*?</metadata>|<!--.*?-->)", "", f"<svg{text}", flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text).strip()  # and a hundredth of a point is enough for a coordinate
    text = re.sub(r' (?:d|x|y)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    mark = prefix if prefix is not None else "g" + hashlib.sha256(text.encode()).hexdigest()[:8]
    if not re.fullmatch(r"[A-Za-z][\w.-]*", mark):
        raise ValueError(f"prefix is {mark!r}; an id begins with a letter and has letters, digits, '-', '.'")
    text = re.sub(r'\b(id="|href="#)', rf"\1{mark}-", text)
    return text.replace("url(#", f"url(#{mark}-")


def png(figure: Figure, *, dpi: int = 160) -> bytes:
    """The figure as PNG bytes without metadata, then released."""
    return _saved(figure, format="png", dpi=dpi, metadata={"Software": None})


class _Plain(Formatter):
    """Numbers of an axis as plain text: mathtext takes a hundredth of a second a label, most of what a figure takes."""

    def __call__(self, x: Any, pos: Any = None) -> str:
        text = re.sub(r"^\$\\mathdefault\{(.*)\}\$$", r"\1", super().__call__(x, pos))
        text = f"{x:g}" if "times" in text and 1e-3 <= x < 1e4 else text.replace(r"\times", "×")
        raised = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
        return re.sub(r"\^\{(.*?)\}", lambda power: power[1].translate(raised), text).replace("-", "−")


_PLAIN = {kind: type("Plain", (_Plain, kind), {}) for kind in (ScalarFormatter, LogFormatterSciNotation)}


def _saved(figure: Figure, measure: Callable[[Figure], Any] | None = None, **options: Any) -> bytes:
    """Save, what a study drew with bare matplotlib in the same language; then release, of pyplot too."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        for text in figure.findobj(Text):
            text.set_fontfamily(_FONTS)
            text.set_math_fontfamily("stix")
        for axis in (one for axes in figure.axes for one in (axes.xaxis, axes.yaxis)):
            # a log axis within a decade has its numbers at the minor ticks
            for ticks in ("major", "minor"):
                if plain := _PLAIN.get(type(getattr(axis, ticks).formatter)):
                    getattr(axis, f"set_{ticks}_formatter")(plain())
        figure.savefig(buffer, **options)
        if measure is not None:
            measure(figure)
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close(figure)
    figure.clear()
    return buffer.getvalue()
