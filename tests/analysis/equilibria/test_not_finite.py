"""Finite weights at which derivatives are not finite: one sentence from everything that needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl

X = np.random.default_rng(3).standard_normal((12, 3))


def normalised(w: Any, x: Any) -> Any:
    return x @ (w["g"] * w["u"] / jnp.linalg.norm(w["u"]))[:, None]


def root(w: Any, x: Any) -> Any:
    return jnp.sqrt(jnp.abs(w["u"]).sum()) * x[:, :1] + w["g"]


def angle(w: Any, x: Any) -> Any:
    return jnp.arccos(w["g"]) * (x @ w["u"])[:, None]


def start(key: Any) -> Any:
    return {"g": jnp.ones(()), "u": jax.random.normal(key, (3,))}


@pytest.mark.parametrize(
    ("apply", "g"),
    [(normalised, 0.0), (normalised, 1.0), (root, 0.0), (angle, 1.0)],
    ids=lambda x: str(x)[:15],
)
@pytest.mark.parametrize(
    "ask",
    [
        gl.classify,
        gl.equilibria.polish,
        gl.spectrum,
        gl.spectra.trace,
        gl.spectra.density,
        lambda p, w: gl.spectrum(p, w, count=1, which="largest", method="lanczos"),
        lambda p, w: gl.spectrum(p, w, layer=1 if p.network.apply is not angle else 0),
        lambda p, w: gl.spectrum(p, w, chunk=5),
    ],
    ids=["classify", "polish", "spectrum", "trace", "density", "lanczos", "layer", "chunk"],
)
def test_they_are_refused_in_one_sentence(apply: Any, g: float, ask: Callable[[Any, Any], Any]) -> None:
    network = gl.Function(apply, start, input_shape=3, outputs=1)
    problem = gl.Problem(network, gl.Square("mean"), gl.Data(X, X @ np.ones((3, 1))))
    weights = {"g": np.asarray(g), "u": np.zeros(3)}
    if apply is angle:  # the last layer alone, u, has finite derivatives there: arccos 1 is a factor
        weights["u"] = np.ones(3)
    with pytest.raises(ValueError, match="not finite at these weights, though the weights are") as caught:
        ask(problem, weights)
    assert type(caught.value) is ValueError  # LinAlgError is one too


def test_a_norm_away_from_zero_is_answered() -> None:
    network = gl.Function(normalised, start, input_shape=3, outputs=1)
    problem = gl.Problem(network, gl.Square("mean"), gl.Data(X, X @ np.ones((3, 1))))
    found = gl.classify(problem, {"g": np.asarray(np.sqrt(3.0)), "u": np.full(3, 0.4)})
    # the length of u is free: nothing known says so, but the loss is zero
    assert found.kind == "minimum"
