"""What a page says of a run's end, and which values theory gives for it."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

import gradlab as gl
from gradlab import figures
from gradlab.dynamics import descent
from gradlab.report import drawing, page
from gradlab.report.subject import Reference, Subject, pauses, subject

#: (w₁ w₂ − 1)²/2: a saddle at 0, minima on w₁ w₂ = 1.
HYPERBOLA = gl.Problem(gl.Dense((1, 1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[1.0]]))


def ended(weights: list[float], **more: Any) -> xr.Dataset:
    t = np.linspace(0.0, 10.0, 11)
    return xr.Dataset(
        {
            "t": ("record", t),
            "loss": ("record", np.full(11, 0.5)),
            "final_weights": ("weight", weights),
            **more,
        }
    )


@pytest.mark.parametrize(
    ("weights", "word", "more"),
    [
        (
            [1e-6, 2e-6],
            "near a saddle: ",
            "falls from there in one direction; the smallest curvature there is −1",
        ),
        ([2.0, 0.5], "near a minimum", "1 of 2 directions are flat"),
        (
            [2.0, 0.501],
            "near a minimum",
            "1 of 2 directions are flat",
        ),  # its flat direction is curved downwards here
        ([2.0, 1.0], "still moving: ", "gradient's norm is 2.236"),
    ],
)
def test_a_point_is_called_what_its_gradient_and_curvature_say(
    weights: list[float], word: str, more: str
) -> None:
    (said,) = subject(gl.GradientFlow(HYPERBOLA), ended(weights)).said
    assert said.startswith(word)
    assert more in said


def test_a_kink_or_a_margin_loss_has_no_such_words() -> None:
    relu = gl.Problem(gl.Dense((1, 1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[1.0]]))
    assert subject(gl.GradientFlow(relu), ended([1.0, 1.0])).said == ()


def test_pauses_are_where_the_loss_stands_still_and_goes_on() -> None:
    t = np.linspace(0.0, 100.0, 1001)
    stairs = 1.0 / (1.0 + np.exp(t - 30.0)) + 0.2 / (1.0 + np.exp(t - 70.0))
    first, second = pauses(t, stairs)
    assert first[0] == 0.0
    assert abs(first[1] - 30.0) < 5.0
    assert abs(second[1] - 70.0) < 8.0
    assert second[2] == pytest.approx(0.2, rel=0.01)
    assert pauses(t, np.exp(-t)) == []
    assert pauses(t, 1.0 / (1.0 + t)) == []


def test_twice_over_the_step_bounds_the_sharpness_of_descent_alone() -> None:
    seen = ended([2.0, 0.5], sharpness=("record", np.linspace(1.0, 19.0, 11)))
    made = subject(gl.GradientDescent(HYPERBOLA, 0.1), seen)
    assert made.first == "sharpness"
    assert made.references["sharpness"][0].value == pytest.approx(20.0)
    assert "sharpness" not in subject(gl.GradientFlow(HYPERBOLA), seen).references
    falling = descent.GradientDescent(HYPERBOLA, gl.schedules.PowerLaw(0.1, 0.5))
    assert "sharpness" not in subject(falling, seen).references


def test_the_largest_margin_and_the_least_norm_are_those_of_the_data() -> None:
    data = gl.data.separable(jax.random.key(0), N=12, d=3, margin=0.5)
    margin = ("record", np.linspace(-1.0, 0.45, 11))
    seen = ended(
        [1.0, 0.0, 0.0], normalised_margin=margin, normalised_margin_error=("record", np.full(11, 1e-9))
    )
    flow = gl.GradientFlow(gl.Problem(gl.Dense((3, 1)), gl.Logistic(), data))
    made = subject(flow, seen)
    assert made.first == "normalised_margin"
    assert made.references["normalised_margin"][0].value == pytest.approx(0.5)
    assert "90 % of 0.5" in made.said[0]
    mixed = gl.Data(data.inputs, -np.sign(np.arange(12) % 3 - 0.5))
    assert subject(gl.GradientFlow(gl.Problem(gl.Dense((3, 1)), gl.Logistic(), mixed)), seen).references == {}
    lines = gl.Problem(gl.Dense((2, 1)), gl.Square(), gl.Data([[3.0, 4.0]], [[10.0]]))
    seen = ended([0.0, 0.0], layer_norms=(("record", "layer"), np.ones((11, 1))))
    assert subject(gl.GradientFlow(lines), seen).references["layer_norms"][0].value == pytest.approx(2.0)


def test_a_subject_is_kept_and_read_back() -> None:
    made = Subject("loss", {"loss": (Reference("floor", 0.1, 1e-13),)}, ("it ended.",))
    assert Subject.loads(made.dumps()) == made


def slow() -> xr.Dataset:
    t = np.concatenate([[0.0], np.geomspace(0.1, 1e6, 60)])
    return xr.Dataset(
        {
            "t": ("record", t),
            "normalised_margin": ("record", 0.5 - 0.4 / np.log(10.0 + t)),
            "loss": ("record", 1.0 / (1.0 + t)),
            "error": ("record", np.zeros(61)),
            "balancedness": ("record", 0.3 + 1e-12 * np.arange(61)),
            "balancedness_error": ("record", np.full(61, 1e-10)),
        }
    )


def test_what_is_constant_is_said_and_not_drawn() -> None:
    assert set(drawing.constants(slow())) == {"error", "balancedness"}
    made = drawing.of_run(slow(), Subject("normalised_margin"))
    assert [one.wide for one in made] == [True, False]
    text = page.render_run(slow(), "", subject=Subject("normalised_margin", {}, ("on the <way>",)))
    assert "Not drawn, since constant: error (stays 0), balancedness (stays 0.3 ± 6·10⁻¹¹)" in text
    assert "on the &lt;way&gt;" in text
    assert text.count('class="panel') == 1 + 2  # their grid, and two of them


def test_a_slow_road_is_drawn_over_the_logarithm_of_time_and_a_steady_one_is_not() -> None:
    assert drawing._time(slow(), "normalised_margin")[2] == "x"
    t = np.linspace(0.0, 50.0, 101)
    steady = xr.Dataset({"t": ("record", t), "loss": ("record", np.exp(-t))})
    assert drawing._time(steady, "loss")[2] == ""
    assert math.isclose(drawing._time(steady, "loss")[0][-1], 50.0)


def test_columns_of_panels_can_be_told_apart_and_nothing_else() -> None:
    assert drawing.columns(figures.panels(1)[0]) == []
    figure, (left, right) = figures.panels(2)
    left.plot([0, 1], [0, 1])
    right.set_ylabel("a quantity")
    figure.draw_without_rendering()
    (a, b), (c, d) = drawing.columns(figure)
    assert a == 0.0
    assert b == c
    assert d == pytest.approx(72.0 * figure.get_figwidth())
    assert 0.4 * d < b < 0.6 * d
    figure.suptitle("a title that reaches over both panels, and so keeps them together in one piece")
    figure.draw_without_rendering()
    assert drawing.columns(figure) == []
    figure, grid = figures.panels(1)
    drawn = grid[0].imshow([[0.0, 1.0]])
    figure.colorbar(drawn, ax=grid[0])
    assert drawing.columns(figure) == []  # a scale of colours is no panel
