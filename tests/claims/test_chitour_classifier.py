"""Least squares on Gaussian classes overfit as theory says, and a run is judged by where it ends."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.analysis.solutions import minimum_norm
from gradlab.claims.chitour.classifier import STUDY, _curve, _standardised, observe
from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def classes(count: int, d: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian inputs whose first coordinate leans towards the class."""
    random = np.random.default_rng(0)
    label = random.integers(2, size=count)
    X = random.normal(size=(count, d))
    X[:, 0] += 3.0 * label - 1.5
    return X, np.eye(2)[label]


def problem(X: np.ndarray, Y: np.ndarray, N: int = 16) -> Problem:
    return Problem(Dense((X.shape[1], 2)), Square(), Data(X[:N], Y[:N], X[N:], Y[N:]))


def ended(W: np.ndarray) -> xr.Dataset:
    return xr.Dataset({"final_weights": ("weight", W.ravel())})


def verdict(observed: xr.Dataset) -> tuple[str, str]:
    found = STUDY.judge(collect([("case", observed)]))
    return found.verdict, found.part


def test_gaussian_classes_overfit_by_the_share_of_theory():
    X, Y = classes(400)
    seen = observe(problem(X, Y), ended(minimum_norm(X[:16], Y[:16])))
    assert float(seen["overfits"]) == pytest.approx(0.75, abs=0.1)
    assert float(seen["fades"]) == pytest.approx(0.516, abs=0.1)
    assert float(seen["regular"]) == 1.0
    assert verdict(seen)[0] == SUPPORTED


def test_one_image_with_either_label_has_the_residuals_of_a_mean():
    # W is the mean of n labels of variance ½: R_train = ½(1 − 1/n), R_new = ½(1 + 1/n)
    labels = np.eye(2)[np.random.default_rng(0).integers(2, size=1000)]
    curve = _curve(np.ones((1000, 1)), labels, rank=8, splits=200)
    n = np.asarray([4, 8, 16, 32, 64])
    np.testing.assert_allclose(curve["train"].mean(axis=1), 0.5 * (1 - 1 / n), atol=0.03)
    np.testing.assert_allclose(curve["new"].mean(axis=1), 0.5 * (1 + 1 / n), atol=0.03)


def test_a_run_that_stopped_short_decides_nothing_and_one_at_rest_elsewhere_refutes():
    X, Y = classes(400)
    seen = observe(problem(X, Y), ended(0.9 * minimum_norm(X[:16], Y[:16])))
    assert verdict(seen) == (INCONCLUSIVE, "reached")
    assert verdict(seen.assign(reached_error=0.0)) == (REFUTED, "reached")


def test_three_classes_and_too_few_images_are_outside():
    X, Y = classes(400)
    assert (
        verdict(observe(problem(X, np.eye(3)[np.arange(400) % 3][:, :2]), ended(np.zeros((2, 8)))))[0]
        == NOT_MET
    )
    assert verdict(observe(problem(X[:40], Y[:40]), ended(np.zeros((2, 8)))))[0] == NOT_MET


def test_the_nearest_label_vector_decides():
    X = np.repeat(np.eye(2), 30, axis=0)
    curve = _curve(X, X, rank=2, splits=5)
    assert np.all(curve["new_wrong"][4] == 0.0)
    # two labels for one image: at least half of the images get the wrong one
    assert np.all(_curve(np.ones((60, 1)), X, rank=1, splits=5)["new_wrong"] >= 0.3)


def test_standardised_training_images_have_unit_moment_and_predict_alike():
    X, Y = classes(400)
    Z = _standardised(X, 16)
    np.testing.assert_allclose(Z[:16].T @ Z[:16] / 16, np.eye(8), atol=1e-12)
    plain, changed = X @ minimum_norm(X[:16], Y[:16]).T, Z @ minimum_norm(Z[:16], Y[:16]).T
    np.testing.assert_allclose(changed, plain, atol=1e-10)
