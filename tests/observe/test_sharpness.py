"""Sharpness against dense eigenvalues, along descent, a flow and an ensemble, small and by Lanczos."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import gradlab as gl
from gradlab.observe import sharpness
from gradlab.problem.problem import Problem


def _targets(X: np.ndarray, outputs: int) -> np.ndarray:
    return np.sign(X[:, :outputs])


def net(widths: tuple[int, ...] = (4, 8, 1), decay: float = 0.0) -> tuple[Problem, Any]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, widths[0]))
    problem = gl.Problem(
        gl.Dense(widths, "tanh"), gl.Square("mean"), gl.Data(X, _targets(X, widths[-1])), decay
    )
    return problem, problem.unravel(0.4 * rng.standard_normal(problem.size))


def blocks(problem: Problem, weights: Any) -> list[float]:
    H, start, tops = np.asarray(problem.hessian(weights)), 0, []
    for layer in problem.network.layers(weights):
        stop = start + sum(int(np.size(leaf)) for leaf in jax.tree.leaves(layer))
        tops.append(float(np.linalg.eigvalsh(H[start:stop, start:stop])[-1]))
        start = stop
    return tops


@pytest.mark.parametrize("dense", [200, 0])
def test_sharpness_is_the_largest_eigenvalue_within_its_bound(
    dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharpness.largest, "__defaults__", (dense,))
    # two sizes of layers each way, so that nothing compiled for the other road is used again
    problem, weights = net((4, 8, 1) if dense else (4, 9, 1), decay=0.01)
    seen = gl.at(problem, [weights], ["sharpness", "layer_sharpness"])
    true = float(np.linalg.eigvalsh(np.asarray(problem.hessian(weights)))[-1])
    assert abs(float(seen.sharpness[0]) - true) <= float(seen.sharpness_bound[0]) + 1e-14 * true
    assert 0.0 < float(seen.sharpness_bound[0]) < 1e-8 * true
    assert seen.layer_sharpness.dims == ("record", "layer")
    gaps = np.abs(seen.layer_sharpness.values[0] - blocks(problem, weights))
    assert (gaps <= seen.layer_sharpness_bound.values[0] + 1e-14 * true).all()
    assert (seen.layer_sharpness_bound.values < 1e-8 * true).all()


def test_a_matrix_of_rank_one_ends_the_krylov_space_early() -> None:
    # beyond DENSE weights, one example and a linear net: one eigenvalue 2|x|², all others zero
    x = np.random.default_rng(1).standard_normal((1, 300))
    problem = gl.Problem(gl.Dense((300, 1)), gl.Square(), gl.Data(x, [[1.0]]))
    seen = gl.at(problem, [(np.zeros((1, 300)),)], ["sharpness"])
    true = 2.0 * float(np.sum(x**2))
    assert abs(float(seen.sharpness[0]) - true) <= float(seen.sharpness_bound[0])
    assert float(seen.sharpness_bound[0]) < 1e-9 * true


def test_a_negative_largest_eigenvalue_stays_negative() -> None:
    def hill(weights: Any, x: Any) -> Any:
        return -0.5 * (weights**2).sum() * x

    network = gl.Function(hill, lambda key: jax.numpy.zeros(250), input_shape=1, outputs=1)
    problem = gl.Problem(network, gl.losses.CustomLoss(_first), gl.Data([[1.0]], [[0.0]]))
    seen = gl.at(problem, [np.zeros(250)], ["sharpness"])
    assert float(seen.sharpness[0]) == pytest.approx(-1.0, abs=1e-10)


def _first(f: Any, y: Any) -> Any:
    return f[:, 0]


def test_it_is_recorded_along_descent_and_flow_with_the_risk_beside_the_loss() -> None:
    problem, weights = net(decay=0.1)
    names = ["loss", "risk", "sharpness"]
    descent = gl.run(gl.GradientDescent(problem, 0.05), weights, [10], observables=names, keep="all")
    assert (descent.sharpness_bound > 0.0).all()
    for record in range(2):
        point = problem.unravel(descent["weights"].values[record])
        true = float(np.linalg.eigvalsh(np.asarray(problem.hessian(point)))[-1])
        assert float(descent.sharpness[record]) == pytest.approx(true, rel=1e-12)
        assert float(descent.risk[record]) == pytest.approx(float(problem.risk(point)), rel=1e-14)
        assert float(descent.loss[record]) > float(descent.risk[record])
    flow = gl.run(gl.GradientFlow(problem), weights, [1.0], observables=names, solver="dopri5")
    assert np.isfinite(flow.sharpness_error.values).all()


def test_few_eigenvalues_of_many_are_computed_as_few_and_are_the_same() -> None:
    problem, weights = net((10, 24, 16, 2))
    few = gl.spectrum(problem, weights, count=4)
    every = gl.spectrum(problem, weights, count=4, method="dense")
    assert (few.method, every.method) == ("lanczos", "dense")
    assert few.products < problem.size / 3
    assert few.converged
    assert (np.abs(few.values - every.values) <= few.bounds + every.bounds).all()
    assert (few.bounds <= 2e-10 * few.scale).all()
    assert gl.spectrum(problem, weights, count=100).method == "dense"
    assert gl.spectrum(problem, weights, count=2, which="near", shift=0.1).method == "dense"
