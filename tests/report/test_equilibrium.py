"""The page and the JSON of an equilibrium say what was found, and nothing that was not."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradlab import figures
from gradlab.report import equilibrium as report


def found(**changes: Any) -> Any:
    """A saddle with a kernel of two dimensions, one of them unexplained."""
    plain: dict[str, Any] = {
        "kind": "strict saddle",
        "why": "signs <b>both</b>",
        "hyperbolic": False,
        "normally_hyperbolic": None,
        "weights": (np.array([[3.0, 0.0], [0.0, 4.0]]),),
        "polished": SimpleNamespace(gradient=1e-17, rounding=1e-15, moved=1e-3, steps=4),
        "position": float("nan"),
        "complete": True,
        "values": np.array([-2.0, -1e-17, 1e-17, 5.0]),
        "bounds": np.full(4, 1e-15),
        "inertia": SimpleNamespace(
            negative=1, zero=2, positive=1, decided=True, threshold=1e-8, gap=2e15, why="a gap"
        ),
        "kernel": SimpleNamespace(
            dimension=2, symmetry=1, deficiency=0, unexplained=1, manifold=1, decided=True, why="ranks"
        ),
        "kink": None,
        "witness": SimpleNamespace(
            weights=(np.array([[3.0, 0.5], [0.0, 4.0]]),), length=0.5, difference=-0.25, rounding=1e-15
        ),
    }
    return SimpleNamespace(**{**plain, **changes})


def test_json_holds_every_number_and_no_nan() -> None:
    told = report.record(found())
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["distance_to_exact_equilibrium"] is None
    assert told["eigenvalues"] == [-2.0, -1e-17, 1e-17, 5.0]
    assert told["weight_norm"] == 5.0


def test_the_page_explains_the_kernel_and_escapes_what_it_is_told() -> None:
    page = report.render(report.record(found()), title="T")
    assert "Strict saddle" in page
    assert "&lt;b&gt;both&lt;/b&gt;" in page
    assert "unexplained: a degenerate equilibrium" in page
    assert "the outputs on all examples" not in page  # no dimension of that kind
    assert "not decided" in page  # normally hyperbolic


def test_the_lower_point_is_given_in_json_on_the_page_and_in_the_terminal() -> None:
    told = report.record(found())
    assert told["witness"] == {
        "length": 0.5,
        "difference": -0.25,
        "rounding": 1e-15,
        "weights": [3.0, 0.5, 0.0, 4.0],
    }
    for text in (report.render(told), "\n".join(report.lines(told))):
        assert "lower point" in text
        assert "W = (3, 0.5, 0, 4)" in text
    assert "lower point" not in report.render(report.record(found(witness=None)))


def test_a_long_way_of_polishing_is_said() -> None:
    far = SimpleNamespace(gradient=1e-17, rounding=1e-15, moved=1.0, steps=9)
    assert "the run had not arrived" in report.render(report.record(found(polished=far)))
    assert "the run had not arrived" not in report.render(report.record(found()))


def test_an_undecided_inertia_shows_no_counts() -> None:
    unsure = SimpleNamespace(**{**vars(found().inertia), "decided": False, "why": "no gap"})
    lines = "\n".join(report.lines(report.record(found(inertia=unsure))))
    assert "undecided: no gap" in lines
    assert "(1, 2, 1)" not in lines


def test_proofs_and_refusals_are_told_apart() -> None:
    proof: Any = SimpleNamespace(
        proved=True, statement="an equilibrium exists", why="", kind="saddle", radius=1e-9, uniqueness=1e-3,
        index=1, kernel=0, positive=3, gap=0.1,
    )  # fmt: skip
    assert "Proved" in report.render(report.record(found(), proof))
    refusal = SimpleNamespace(**{**vars(proof), "proved": False, "statement": "", "why": "singular: use"})
    page = report.render(report.record(found(), refusal))
    assert "Not proved" in page
    assert "singular: use" in page


def test_the_figure_draws_zeros_at_their_bounds() -> None:
    drawn = report.figure(report.record(found()))
    above, below = drawn.axes
    zero = next(line for line in above.lines if "zero, drawn" in str(line.get_label()))
    np.testing.assert_allclose(zero.get_ydata(), [1e-15, 1e-15])
    assert [label.get_text() for label in below.get_yticklabels()] == [
        "negative", "zero: symmetry", "zero: unexplained", "positive",
    ]  # fmt: skip
    assert figures.svg(drawn).startswith("<svg")
