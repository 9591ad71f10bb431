"""Figures: work against precision, and scaling with fitted exponents, in the house's visual language."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.measure import Bench, exponent
from gradlab.figures import COLOURS, LINES, curves, panels

_SHAPES = "oD^svPX"
#: gradlab's runs of diffrax's own methods cost what those cost; they are in the tables only.
_SAME = {"gradlab-bosh3", "gradlab-tsit5", "gradlab-dopri8", "gradlab-kvaerno5"}
_DASHES = {
    "gradlab": "-",
    "diffrax": (0, (5, 1.6)),
    "scipy": (0, (1.2, 1.4)),
    "torchdiffeq": (0, (6, 1.6, 1.2, 1.6)),
}


def _looks(benches: Sequence[Bench]) -> dict[str, dict[str, Any]]:
    """One look a method in all panels: the family is the dash, within it colour and shape tell apart."""
    looks: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    for bench in benches:
        for sweep in bench.sweeps:
            if sweep.points and sweep.method not in looks and sweep.method not in _SAME:
                k = counts[sweep.family] = counts.get(sweep.family, -1) + 1
                ours = sweep.family == "gradlab"
                colour = LINES[k % len(LINES)] if ours else (COLOURS["muted"], COLOURS["ink"])[k % 2]
                looks[sweep.method] = {
                    "color": colour, "linestyle": _DASHES[sweep.family], "marker": _SHAPES[k % len(_SHAPES)],
                    "linewidth": 1.8 if ours else 0.9, "markersize": 5 if ours else 3.5, "zorder": 3 if ours else 2,
                }  # fmt: skip
    return looks


def work_precision(benches: Sequence[Bench], what: str = "cost") -> Any:
    """Cost (in gradients) or wall seconds against achieved error, one panel a problem, one legend for all."""
    figure, grid = panels(len(benches), height=3.0, width=9.0)
    looks, handles = _looks(benches), {}
    for axes, bench in zip(grid, benches, strict=True):
        axes.set(xscale="log", yscale="log", xlabel="achieved error", title=bench.name)
        axes.set_ylabel("cost in gradients" if what == "cost" else "wall seconds")
        axes.invert_xaxis()
        for sweep in bench.sweeps:
            good = [
                p for p in sweep.points if math.isfinite(p.error) and p.error > 0 and getattr(p, what) > 0
            ]
            if good and sweep.method in looks:
                line = axes.plot(
                    [p.error for p in good], [getattr(p, what) for p in good], **looks[sweep.method]
                )
                handles[sweep.method] = line[0]
    names = [name for name in looks if name in handles]
    figure.legend(
        [handles[n] for n in names], names, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    figure.set_label("Cost against achieved error: lower and further right is better. Solid: gradlab.")
    return figure


def scaling(
    axis: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], ylabel: str, axes: Any = None
) -> Any:
    """A quantity against a size, every line named with its fitted exponent."""
    named, own = {}, {}
    for name, y in lines.items():
        slope, error = exponent(x, y)
        label = f"{name}: {slope:.2f} ± {error:.2f}" if math.isfinite(slope) else name
        named[label], own[label] = list(y), list(x)
    options: dict[str, Any] = {} if axes is None else {"axes": axes}
    figure = curves(own, named, axis, ylabel, markers=True, log="xy", **options)
    drawn = axes or figure.axes[0]
    # Room above the lines for the legend, which is long.
    low, high = drawn.get_ylim()
    drawn.set_ylim(low, high * (high / low) ** (0.18 * len(lines)))
    if (legend := drawn.get_legend()) is not None:
        legend.set_loc("upper left")
    if len(x) <= 7:
        # The sizes themselves: they seldom span a decade, and a log axis would name none of them.
        drawn.set_xticks(list(x), [f"{value:g}" for value in x])
    return figure
