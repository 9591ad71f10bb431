"""A trajectory is what a reader of xarray expects: coordinates, units, names, plots."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import gradlab as gl
from gradlab.store.described import bare, described

PROBLEM = gl.Problem(gl.Dense((1, 1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
START = (np.full((1, 1), 0.5), np.full((1, 1), 1.0))


@pytest.fixture(scope="module")
def seen() -> xr.Dataset:
    return gl.run(gl.GradientDescent(PROBLEM, 0.1), START, [1, 2, 5], observables=["loss", "layer_norms"])


def test_records_are_found_by_the_clock_and_layers_by_their_number(seen: xr.Dataset) -> None:
    assert {"tau", "t", "log_t", "layer"} <= set(seen.coords)
    assert float(seen.sel(tau=4.6, method="nearest").loss) == float(seen.loss[-1])
    assert np.allclose(seen.sel(tau=slice(1, 2)).t, [0.1, 0.2], rtol=1e-14)
    assert np.array_equal(seen.layer_norms.sel(layer=2), seen.layer_norms[:, 1])


def test_every_variable_has_a_name_and_a_unit(seen: xr.Dataset) -> None:
    assert all({"long_name", "units"} <= set(seen[name].attrs) for name in seen.variables)
    assert seen.loss.attrs["units"] == seen.final_weights.attrs["units"].replace("weight", "loss") == "loss"
    assert described(xr.Dataset({"mine_error": ("record", [0.0])})).mine_error.attrs == {
        "long_name": "error bar of mine",
        "units": "",
    }


def test_a_description_changes_no_value_and_not_what_it_was_given() -> None:
    given = xr.Dataset({"tau": ("record", [0.0, 1.0]), "loss": ("record", [2.0, 1.0])})
    made = described(given)
    assert given.loss.attrs == {}
    assert "tau" in given.data_vars
    assert np.array_equal(made.loss, given.loss)
    assert described(made).identical(made)
    assert bare(made).identical(given)


def test_members_with_clocks_of_their_own_have_no_index() -> None:
    tau = (("record", "member"), np.ones((2, 3)))
    assert "tau" not in described(xr.Dataset({"tau": tau})).xindexes


def test_plots_have_labels(seen: xr.Dataset) -> None:
    from matplotlib import pyplot

    _, axes = pyplot.subplots()
    seen.loss.plot(x="t", ax=axes)
    assert axes.get_ylabel() == "loss [loss]"
    assert axes.get_xlabel() == "time [weight^2/loss]"
    pyplot.close("all")


def test_a_notebook_shows_a_problem_escaped() -> None:
    shown = gl.Problem(
        gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]], provenance="<script>")
    )._repr_html_()
    assert "<table>" in shown
    assert "1 examples of shape (1,)" in shown
    assert "&lt;script&gt;" in shown


@pytest.mark.parametrize(
    "weights", [START[:1], (*START, START[0]), {"a": START[0]}, (START[0], np.ones((2, 1)))]
)
def test_weights_of_another_shape_are_refused_with_what_is_expected(weights: object) -> None:
    decayed = gl.Problem(PROBLEM.network, PROBLEM.loss, PROBLEM.data, decay=[0.1, 0.2])
    for asked in (
        lambda: gl.at(PROBLEM, [weights], ["layer_norms"]),
        lambda: gl.run(gl.GradientFlow(PROBLEM), weights, [1.0]),
        lambda: decayed.penalty(weights),
    ):
        with pytest.raises(ValueError, match=r"of Dense .*expected"):
            asked()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_risks_are_differentiated_outside_double_precision(kind: type) -> None:
    with jax.enable_x64(False):
        weights = tuple(np.asarray(layer, kind) for layer in START)
        gradient = jax.grad(PROBLEM.risk)(tuple(map(jnp.asarray, weights)))
        assert [round(float(layer[0, 0]), 5) for layer in gradient] == [-2.5, -1.25]
