"""The page of a sweep shows every number over what was varied, and loads nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr

from gradlab.report import sweep


def cube(axes: dict[str, Any], seeds: int = 3, **coords: Any) -> xr.Dataset:
    dims = (*axes, "seed")
    shape = (*(len(values) for values in axes.values()), seeds)
    loss = 1.0 + np.arange(np.prod(shape), dtype=float).reshape(shape)
    loss.ravel()[0] = np.nan
    status = np.full(shape, "reached <the> last record", dtype="U40")
    status.ravel()[0] = "not computed: too small"
    return xr.Dataset(
        {
            "loss": (dims, loss),
            "loss_error": (dims, 1e-3 * loss),
            "t": (dims, np.ones(shape)),
            "evaluations": (dims, loss),
            "status": (dims, status),
            "run": (dims, status),
            "member": (dims, np.zeros(shape, int)),
        },
        {**axes, "seed": np.arange(seeds), **coords},
    )


STEPS = [0.001, 0.01, 0.1]


@pytest.mark.parametrize(
    ("axes", "figures"),
    [
        ({}, 0),
        ({"flow.step": STEPS}, 1),
        ({"flow.step": STEPS, "network.widths": ["[1, 1]", "[1, 2, 1]"]}, 2),
        ({"flow.step": STEPS, "decay": [0.1], "depth": [1, 2], "records.until": [5.0, 6.0]}, 2),
    ],
)
def test_lines_over_one_field_and_a_map_over_two(axes: dict[str, Any], figures: int) -> None:
    page = sweep.render(cube(axes), "[sweep]\nseeds = 3\n", {"runs": 3}, title="T")
    assert page.count("<figure>") == figures
    assert "reached &lt;the&gt; last record" in page
    assert "not computed: too small" in page
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "evaluations" not in page
    assert "errors at most" in page


def test_what_was_drawn_at_random_is_shown_by_points() -> None:
    made = cube({"sample": [0, 1, 2, 3]}, **{"flow.step": ("sample", [0.1, 0.2, 0.01, 3.0])})
    page = sweep.render(made)
    assert "one point a run, over each field that was drawn" in page
    assert page.count("<figure>") == 1


def test_a_number_without_a_bar_says_so() -> None:
    assert "no second solve" in sweep.render(cube({"flow.step": STEPS}).drop_vars("loss_error"))
    assert "no second solve" not in sweep.render(cube({"flow.step": STEPS}))
