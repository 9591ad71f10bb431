"""Figures: what is drawn is what was measured, and the same figure is the same text."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from gradlab import figures
from gradlab.claims import plots
from gradlab.claims.claim import Measure
from gradlab.claims.judging import DECIDING_ORDER, NOT_MET, REFUTED, SUPPORTED, compare, judge
from gradlab.claims.plots import numbers as drawn_numbers

LABELS = [f"case {i}" for i in range(6)]


def measured(**columns: Any) -> xr.Dataset:
    variables = {name: ("case", np.asarray(values, dtype=float)) for name, values in columns.items()}
    return xr.Dataset(variables, coords={"case": LABELS[: len(next(iter(columns.values())))]})


def part(relation: Any, tolerance: float, target: float = 0.0, name: str = "number") -> Measure:
    return Measure(name, f"the {name} of a case", relation, tolerance, "fabricated", target, exact=True)


def judged_figure(dataset: xr.Dataset, measures: list[Measure]) -> Figure:
    return drawn_numbers(measures, dataset, judge(measures, dataset))


def lines_of(figure: Figure) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {str(line.get_label()): line.get_data() for line in figure.axes[0].get_lines()}  # type: ignore[misc]


def test_svg_is_well_formed_and_the_same_text_for_the_same_figure() -> None:
    def draw() -> Figure:
        return figures.curves([1, 2, 3], {"a": [1, 4, 9], "b": [1, 2, 3]}, "x", r"$\|W\|$", log="y")

    first, second = figures.svg(draw()), figures.svg(draw())
    assert first == second
    root = ElementTree.fromstring(first)
    assert root.tag.endswith("svg")
    assert "<metadata" not in first
    assert "<!--" not in first
    assert not re.search(r"20\d\d-\d\d-\d\d", first)


def test_ids_of_two_figures_do_not_meet_and_every_reference_finds_its_id() -> None:
    drawn = [figures.svg(figures.curves([0, 1], {"": [0, k]}, "x", "y")) for k in (1, 2)]
    ids = [set(re.findall(r'\bid="([^"]+)"', one)) for one in drawn]
    assert ids[0]
    assert not ids[0] & ids[1]
    for one, own in zip(drawn, ids, strict=True):
        assert set(re.findall(r'href="#([^"]+)"', one)) | set(re.findall(r"url\(#([^)]+)\)", one)) <= own
    assert 'id="mine-figure_1"' in figures.svg(figures.panels(1)[0], prefix="mine")
    with pytest.raises(ValueError, match="prefix"):
        figures.svg(figures.panels(1)[0], prefix='"><script>')


def test_drawing_changes_no_global_setting_and_makes_no_pyplot_figure() -> None:
    before = dict(matplotlib.rcParams)
    figures.svg(figures.scatter([1, 2], {"a": [1, 2]}, "x", "y", diagonal=True))
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_gaps_are_gaps_and_what_a_log_axis_cannot_show_is_left_out() -> None:
    y = xr.DataArray([1.0, np.nan, np.inf, 4.0, -1.0, 0.0], dims="record")
    figure = figures.curves(np.arange(6.0), {"a": y}, "x", "y", log="y", bands={"a": (y / 2, y * 2)})
    _, shown = lines_of(figure)["a"]
    np.testing.assert_array_equal(shown, [1.0, np.nan, np.nan, 4.0, np.nan, np.nan])
    assert figure.axes[0].get_yscale() == "log"
    figures.svg(figure)
    nothing = figures.curves([0.0, 1.0], {"a": [np.nan, -1.0]}, "x", "y", log="xy")
    assert nothing.axes[0].get_yscale() == "linear"
    figures.png(nothing)


def test_abscissae_and_values_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="3 abscissae and 2 values"):
        figures.curves([1, 2, 3], {"a": [1, 2]}, "x", "y")
    with pytest.raises(ValueError, match="write '', 'x', 'y' or 'xy'"):
        figures.curves([1], {"a": [1]}, "x", "y", log="z")  # type: ignore[typeddict-item]
    with pytest.raises(ValueError, match="at least 1"):
        figures.panels(0)


@pytest.mark.parametrize(
    ("relation", "numbers", "tolerance", "target", "scale"),
    [
        ("<=", [1e-12, 3e-10, 1e-9], 1e-8, 0.0, "log"),
        ("<=", [0.0, 0.0, 1e-3], 1e-8, 0.0, "log"),
        ("<=", [0.0, 0.0, 0.0], 0.0, 0.0, "linear"),
        (">=", [0.91, 0.95, 0.99], 0.9, 0.0, "linear"),
        (">=", [-1e-17, 1e-14, -1e-13], -1e-12, 0.0, "symlog"),
        ("==", [1.001, 0.9, 1.0], 0.02, 1.0, "log"),
        ("<=", [np.nan, np.inf, 1.0], 2.0, 0.0, "linear"),
        ("<=", [np.nan, np.nan, np.nan], 2.0, 0.0, "linear"),
        ("<=", [1e-310, 1e300, 1.0], 1e-3, 0.0, "log"),
    ],
)
def test_every_kind_of_number_finds_an_axis(
    relation: Any, numbers: list[float], tolerance: float, target: float, scale: str
) -> None:
    dataset = measured(number=numbers, number_error=[0.0, np.nan, np.inf])  # the first exact
    figure = judged_figure(dataset, [part(relation, tolerance, target)])
    assert figure.axes[0].get_xscale() == scale
    low, high = figure.axes[0].get_xlim()
    assert np.isfinite([low, high]).all()
    assert low < high
    assert figures.svg(figure).startswith("<svg")


def test_the_named_case_and_its_colours_are_the_judges() -> None:
    rng = np.random.default_rng(0)
    for relation in ("<=", ">=", "=="):
        for _ in range(40):
            columns = {
                "number": rng.choice([-1.0, 1.0], 6) * 10.0 ** rng.integers(-3, 3, 6) * rng.uniform(1, 9, 6),
                "number_error": 10.0 ** rng.integers(-4, 1, 6),
                "number_tolerance": 10.0 ** rng.integers(-2, 2, 6),
                "given": rng.uniform(-1, 4, 6),
            }
            columns["number"][rng.integers(6)] = rng.choice([np.nan, 0.0, 1.0])
            dataset = measured(**columns)
            hypothesis = Measure("given", "is given", ">=", 0.0, "fabricated", role="hypothesis", exact=True)
            both = [part(relation, 1.0, 0.5), hypothesis]
            judged = judge(both, dataset).parts[0]
            figure = judged_figure(dataset, both)
            assert f"deciding case: {judged.case}" in figure.axes[0].get_xlabel()
            names = {figures.COLOURS["supported"]: SUPPORTED, figures.COLOURS["refuted"]: REFUTED}
            names |= {figures.COLOURS["inconclusive"]: "inconclusive", figures.COLOURS["unmet"]: NOT_MET}
            seen = {
                names[str(line.get_color())]: len(line.get_xdata())  # type: ignore[arg-type]
                for line in figure.axes[0].get_lines()
                if line.get_color() in names and line.get_marker() != "<"
            }
            expected = dict.fromkeys(DECIDING_ORDER, 0)
            for i in range(6):
                verdict, _ = compare(relation, *(float(columns[c][i]) for c in columns if c != "given"), 0.5)
                verdict = verdict if columns["given"][i] >= 0.0 else NOT_MET
                expected[verdict] += int(np.isfinite(columns["number"][i]))
            assert seen == {verdict: count for verdict, count in expected.items() if count}


def test_words_that_are_no_mathtext_are_drawn_as_they_are() -> None:
    odd = Measure("a", r"costs $5 and $\nonsense{$ & <b>", "<=", 1.0, "fabricated", exact=True)
    dataset = measured(a=[0.1, 0.2]).assign_coords(case=["$", r"$\frac{$"])
    assert "<b>" not in figures.svg(judged_figure(dataset, [odd]))


def test_nothing_to_judge_is_a_sentence() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        figures.measures([], [])


def test_a_caption_travels_with_its_figure() -> None:
    assert figures.curves([1], {"": [1]}, "x", "y", caption="what it shows").get_label() == "what it shows"
    assert "6 cases" in judged_figure(measured(number=np.ones(6)), [part("<=", 2.0)]).get_label()


def test_png_is_an_image_without_a_trace_of_the_machine() -> None:
    image = figures.png(figures.panels(3)[0])
    assert image.startswith(b"\x89PNG")
    assert b"matplotlib" not in image


def test_many_points_are_drawn_as_an_image_inside_the_svg() -> None:
    rng = np.random.default_rng(1)
    figure = figures.scatter(rng.normal(size=5000), {"a": rng.normal(size=5000)}, "x", "y")
    svg = figures.svg(figure)
    assert "data:image/png;base64" in svg
    ElementTree.parse(io.StringIO(svg))


def test_named_colours_differ_in_lightness_or_hue_from_the_paper() -> None:
    def luminance(colour: str) -> float:
        channels = (np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0) ** 2.2
        return float(channels @ [0.2126, 0.7152, 0.0722])

    for name in ("ink", "muted", "supported", "refuted", "inconclusive", "unmet"):
        contrast = 1.05 / (luminance(figures.COLOURS[name]) + 0.05)
        assert contrast >= 4.5, name


def test_a_log_axis_within_a_decade_has_its_numbers_at_the_minor_ticks() -> None:
    seen: list[list[str]] = []

    def labels(figure: Any) -> None:
        for minor in (True, False):
            seen.append([text.get_text() for text in figure.axes[0].get_yticklabels(minor=minor)])

    figures.svg(figures.curves([0, 1], {"": [15.0, 80.0]}, "x", "y", log="y"), measure=labels)
    assert [label for label in seen[0] if label] == ["20", "30", "40", "60"]
    seen.clear()
    figures.svg(figures.curves([0, 1], {"": [1e-7, 80.0]}, "x", "y", log="y"), measure=labels)
    assert {"10⁻⁶", "10⁰"} <= set(seen[1])
    assert not any(seen[0])


def test_a_group_looks_the_same_in_all_panels_and_no_two_of_them_alike() -> None:
    kinds, count = [f"kind {i}" for i in range(9)], 9
    second = np.where(np.arange(count) == 2, np.nan, 1.0 + np.arange(count))
    dataset = xr.Dataset(
        {
            "kind": ("case", kinds),
            "x": ("case", 1.0 + np.arange(count)),
            "y": ("case", 2.0 + np.arange(count)),
        }
        | {"z": ("case", second)},
        coords={"case": kinds},
    )
    panels = [plots.Panel(y, "x", y, "x", by=("kind",)) for y in ("y", "z")]
    figure = plots.Figure(*panels, caption="")(dataset, SimpleNamespace(parts=()))
    looks = [
        {
            line.get_label(): (line.get_color(), line.get_marker())
            for line in axes.lines
            if line.get_label() in kinds
        }
        for axes in figure.axes
    ]
    assert set(looks[1]) == set(kinds) - {"kind 2"}
    assert all(looks[0][kind] == look for kind, look in looks[1].items())
    assert len(set(looks[0].values())) == count


def test_reference_lines_beyond_the_data_are_inside_the_axes_on_either_side() -> None:
    drawn = figures.scatter([1, 2], {"a": [0.1, 0.4]}, "x", "y", reference={"above": 2.0, "below": -1.0})
    low, high = drawn.axes[0].get_ylim()
    assert low <= -1.0
    assert high > 2.0


def test_ticks_at_values_that_nearly_meet_are_one() -> None:
    sizes = np.array([[2120.0, 29216.0], [2264.0, 29792.0]])
    columns = {"P": sizes, "y": sizes, "y_low": sizes, "y_high": sizes}
    dataset = xr.Dataset(
        {name: (("case", "width"), values) for name, values in columns.items()}
        | {"data": ("case", ["MNIST", "CIFAR-10"])}
    )
    axes = figures.panels(1)[1][0]
    plots.Means({"y": ""}, "P", "error", "parameters", log="x").draw(dataset, None, axes)  # type: ignore[arg-type]
    assert list(axes.get_xticks()) == [2120.0, 29216.0]
