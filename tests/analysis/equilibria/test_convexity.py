"""What convexity decides: minima in any units, and that there is none where data are separable."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.analysis.equilibria.convexity import affine, exact_rank, infimum_at_infinity, is_convex

rng = np.random.default_rng(7)
Z = rng.standard_normal((30, 2))
MIXED = np.where(Z @ [1.0, -0.7] + 0.9 * rng.standard_normal(30) > 0, 1.0, -1.0)
REAL = Z @ [[1.0], [-0.7]] + 0.3 * rng.standard_normal((30, 1))
LINEAR = gl.Dense((2, 1), "identity")


@pytest.mark.parametrize("scale", [1e-3, 1e-7, 1e-8, 1e-12, 1e8])
@pytest.mark.parametrize(
    "loss", [gl.Logistic("sum"), gl.Exponential(), gl.Square("mean")], ids=["log", "exp", "sq"]
)
def test_features_in_raw_units_leave_a_minimum_one(loss: Any, scale: float) -> None:
    X = Z * np.array([1.0, scale])
    problem = gl.Problem(LINEAR, loss, gl.Data(X, REAL if loss.labels == "real" else MIXED))
    ones = gl.classify(gl.Problem(LINEAR, loss, gl.Data(Z, problem.data.targets)), (np.zeros((1, 2)),))
    start = np.asarray(ones.weights[0]) / [1.0, scale]
    found = gl.classify(problem, (start * (1.0 + 1e-3),))
    assert (found.kind, found.hyperbolic) == ("minimum", True)
    assert found.inertia is not None
    assert (found.inertia.negative, found.inertia.zero, found.inertia.positive) == (0, 0, 2)
    np.testing.assert_allclose(
        np.asarray(found.weights[0]) * [1.0, scale], np.asarray(ones.weights[0]), rtol=1e-9
    )
    # a positive definite matrix has small eigenvalues with small relative bounds
    assert (found.bounds < 1e-9 * found.values).all()
    assert found.witness is None


def test_conditioning_that_no_unit_explains_is_undecided_in_count_and_a_minimum_in_kind() -> None:
    U, V = (np.linalg.qr(rng.standard_normal((30, 4)))[0], np.linalg.qr(rng.standard_normal((4, 4)))[0])
    for least, decided in ((1e-7, True), (1e-17, False)):
        X = U * [1.0, 1.0, 1.0, least] @ V.T
        found = gl.classify(
            gl.Problem(gl.Dense((4, 1)), gl.Square(), gl.Data(X, np.ones((30, 1)))), (np.zeros((1, 4)),)
        )
        assert found.kind == "minimum"
        assert found.inertia is not None
        assert found.inertia.decided is decided
        assert not decided or (found.inertia.zero, found.inertia.positive) == (0, 4)


def test_a_copied_feature_is_a_kernel_that_data_explain() -> None:
    X = np.concatenate([Z, 2.0**-30 * Z[:, :1]], axis=1)
    found = gl.classify(gl.Problem(gl.Dense((3, 1)), gl.Logistic(), gl.Data(X, MIXED)), (np.zeros((1, 3)),))
    assert (found.kind, found.normally_hyperbolic) == ("minimum", True)
    assert found.kernel is not None
    assert (found.kernel.dimension, found.kernel.deficiency, found.kernel.unexplained) == (1, 1, 0)


@pytest.mark.parametrize("units", [[1.0, 1.0], [1e-8, 1.0], [1e6, 1e-6]])
@pytest.mark.parametrize(
    "loss", [gl.Logistic(), gl.Exponential(), gl.CrossEntropy()], ids=["log", "exp", "ce"]
)
def test_separable_data_without_decay_have_no_equilibrium_and_it_is_said(
    loss: Any, units: list[float]
) -> None:
    labels = np.where(Z[:, 0] > 0.0, 1.0, -1.0)
    X = (Z + 0.1 * labels[:, None] * [1.0, 0.0]) * units
    several = loss.labels == "class"
    network = gl.Dense((2, 2 if several else 1), "identity")
    data = gl.Data(X, (labels > 0.0).astype(int) if several else labels)
    start = (np.zeros((network.outputs, 2)),)
    found = gl.classify(gl.Problem(network, loss, data), start)
    assert (found.kind, found.inertia, found.polished.converged) == ("undecided", None, False)
    assert "no equilibrium" in found.why
    assert "infimum is at infinity" in found.why
    assert gl.classify(gl.Problem(network, loss, data, 0.1), start).kind == "minimum"


def test_a_deeper_net_that_has_everything_right_has_no_equilibrium() -> None:
    problem = gl.Problem(gl.Dense((2, 3, 1), "tanh"), gl.Logistic(), gl.Data(Z, np.sign(Z[:, 0])))
    weights = (np.array([[2.0, 0.0], [1.0, 0.0], [3.0, 0.1]]), np.full((1, 3), 40.0))
    assert float(problem.margins(weights).min()) > 0.0
    assert "infimum is at infinity" in (infimum_at_infinity(problem, weights) or "")
    assert infimum_at_infinity(gl.Problem(problem.network, problem.loss, problem.data, 0.1), weights) is None


def features(w: Any, x: Any) -> Any:
    return (jnp.stack([jnp.ones(len(x)), x[:, 0], x[:, 0] * x[:, 1]], axis=1) @ w)[:, None]


def product(w: Any, x: Any) -> Any:
    return (x[:, 0] * w[0] * w[1] + w[2])[:, None]


def test_a_function_linear_in_its_weights_is_convex_and_a_product_is_not() -> None:
    for apply, convex in ((features, True), (product, False)):
        network = gl.Function(apply, lambda key: jnp.zeros(3), input_shape=2, outputs=1)
        problem = gl.Problem(network, gl.Square(), gl.Data(Z, REAL))
        assert is_convex(problem, np.zeros(3)) is convex
    deep = gl.Problem(gl.Dense((2, 2, 1), "identity"), gl.Square(), gl.Data(Z, REAL))
    assert affine(deep, tuple(np.zeros(a.shape) for a in deep.network.shapes())) is None
    bare = gl.Problem(LINEAR, gl.losses.CustomLoss(lambda f, y: -((f - y) ** 2)[:, 0]), gl.Data(Z, REAL))
    assert not is_convex(bare, (np.zeros((1, 2)),))


def test_the_exact_rank_knows_numbers_from_rounding() -> None:
    whole = rng.integers(-9, 10, (8, 3)) @ rng.integers(-9, 10, (3, 6))
    assert exact_rank(whole.astype(float)) == 3
    assert exact_rank(np.diag([1.0, 2.0**-200, 0.0])) == 2
    rounded = rng.standard_normal((8, 3)) @ rng.standard_normal((3, 6))
    assert np.linalg.matrix_rank(rounded) == 3
    assert exact_rank(rounded) == 6
