"""W = diag(2, 1) at depth 2: the gains of u_r v_cᵀ are σ_r + σ_c, that is 4, 3, 3, 2."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.cohen import preconditioner as study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def judged(*layers: np.ndarray):
    widths = (layers[0].shape[1], *(layer.shape[0] for layer in layers))
    data = Data(np.eye(widths[0]), np.ones((widths[0], widths[-1])))
    problem = Problem(Dense.deep_linear(widths), Square("mean"), data)
    weights = np.concatenate([layer.ravel() for layer in layers])[None]
    seen = study.observe(problem, xr.Dataset({"weights": (("record", "weight"), weights)}))
    return study.STUDY.judge(collect([("one", seen)]))


HALF = np.diag(np.sqrt([2.0, 1.0]))


def test_the_gram_of_the_chain_rule_has_the_gains_of_the_closed_form():
    gram = study.jacobian_gram((HALF, HALF))
    np.testing.assert_allclose(gram, np.diag([4.0, 3.0, 3.0, 2.0]), atol=1e-14)


def test_square_layers_support_and_W_is_reinforced():
    verdict = judged(HALF, HALF)
    assert verdict.verdict == SUPPORTED
    numbers = {part.id: part.number for part in verdict.parts}
    # ⟨W, P[W]⟩/‖W‖² = (4·4 + 1·2)/5, the mean gain is 3.
    assert numbers["reinforced"] == pytest.approx(18 / 5 / 3)
    assert numbers["definite"] == pytest.approx((2 - 1) / 4)


def test_full_rank_without_being_square_is_definite_and_a_deficient_rank_is_not():
    wide = np.sqrt(2.0) * np.eye(1, 3)
    assert judged(wide, np.sqrt(2.0) * np.eye(1)).verdict == SUPPORTED
    assert np.linalg.eigvalsh(study.jacobian_gram((wide, np.sqrt(2.0) * np.eye(1)))).min() > 1.0
    flat = np.diag([1.0, 0.0])
    assert judged(flat, flat).verdict == SUPPORTED
    assert np.linalg.eigvalsh(study.jacobian_gram((flat, flat))).min() == pytest.approx(0.0)


def test_unbalanced_layers_are_outside_the_claim():
    assert judged(2.0 * HALF, 0.5 * HALF).verdict == NOT_MET


def test_other_powers_of_the_formula_refute(monkeypatch):
    right = study.preconditioner
    monkeypatch.setattr(study, "preconditioner", lambda W, depth: right(W, depth + 1))
    verdict = judged(HALF, HALF)
    assert (verdict.verdict, verdict.part) == (REFUTED, "formula")


def test_eigenvalues_that_are_not_those_of_the_chain_rule_refute(monkeypatch):
    right = study.preconditioner_spectrum

    def swapped(W, depth):
        values, vectors = right(W, depth)
        return values[::-1], vectors

    monkeypatch.setattr(study, "preconditioner_spectrum", swapped)
    assert judged(HALF, HALF).verdict == REFUTED
