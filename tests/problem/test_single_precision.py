"""Single precision is noticed, by type and by the numbers, and ranks are told at it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import gradlab as gl
from gradlab.analysis.solutions import minimum_norm, null_projector, rank
from gradlab.problem.precision import rounding_unit, single

rng = np.random.default_rng(5)
X = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 8))
Y = X @ rng.standard_normal((8, 1)) + 0.1 * rng.standard_normal((40, 1))


@pytest.mark.parametrize(
    ("array", "is_single"),
    [
        (X, False),
        (X.astype(np.float32), True),
        (X.astype(np.float16), True),
        (X.astype(np.float32).astype(np.float64), True),
        (np.arange(100.0), False),
        (np.arange(256) / 256.0, False),
        (np.arange(256) / 255.0, False),
        (np.array([1987654.0, 0.5]), False),
        (np.zeros((0, 2)), False),
        (np.array([1e300, 1.0]), False),
        (np.arange(4), False),
    ],
)
def test_by_type_and_by_the_numbers(array: Any, is_single: bool) -> None:
    assert single(array) is is_single
    assert rounding_unit(array) == (np.finfo(np.float32).eps if is_single else np.finfo(np.float64).eps)


@pytest.mark.parametrize("kept", [np.float32, np.float64])
def test_ranks_of_single_precision_data_are_ranks_at_that_precision(kept: Any) -> None:
    x, y = X.astype(np.float32).astype(kept), Y.astype(np.float32).astype(kept)
    truth = np.linalg.pinv(X, rcond=1e-10) @ Y
    with pytest.warns(
        UserWarning, match="single precision and have rank 3 at that precision, 8 as the numbers"
    ):
        assert rank(x) == 3
    with pytest.warns(UserWarning, match="single precision"):
        np.testing.assert_allclose(minimum_norm(x, y).T, truth, rtol=1e-4)
    with pytest.warns(UserWarning, match="single precision"):
        assert round(float(np.trace(null_projector(x)))) == 5
    assert rank(x, rcond=1e-12) == 8
    full = rng.standard_normal((9, 4)).astype(np.float32)
    assert rank(full) == 4  # no warning: the two agree


def test_the_run_and_the_inertia_say_so() -> None:
    x, y = X.astype(np.float32), Y.astype(np.float32)
    problem = gl.Problem(gl.Dense((8, 1), "identity"), gl.Square("mean"), gl.Data(x, y))
    run = gl.run(gl.GradientFlow(problem), (np.full((1, 8), 1.0 / 3.0, np.float32),), [1.0])
    assert json.loads(run.attrs["provenance"])["single_precision"] == ["inputs", "targets", "start"]
    found = gl.classify(problem, (np.zeros((1, 8)),))
    assert found.kind == "minimum"
    assert found.inertia is not None
    assert not found.inertia.decided
    assert "single precision" in found.inertia.why
    double = gl.Problem(problem.network, problem.loss, gl.Data(X, Y))
    run = gl.run(gl.GradientFlow(double), (np.full((1, 8), 1.0 / 3.0),), [1.0])
    assert "single_precision" not in json.loads(run.attrs["provenance"])
