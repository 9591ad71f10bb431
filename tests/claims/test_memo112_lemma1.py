"""memo112.lemma1 and its corrected form: scalar nets with known rates, and trajectories that contradict."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import NOT_MET, REFUTED, SUPPORTED, Case
from gradlab.claims.memo112._rates import Rates
from gradlab.claims.memo112.lemma1 import STUDIES
from gradlab.laboratory import at
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Square
from gradlab.problem.networks import Dense, Residual
from gradlab.problem.problem import Problem

PRINTED, CORRECTED = STUDIES


def scalar(activation: str, decay: float = 0.0) -> Problem:
    """g = b σ(a) on the single point x = 1, y = 0."""
    data = Data([[1.0]], [[0.0]])
    return Problem(Dense((1, 1, 1), activation), Square("sum"), data, decay)


def judged(study, problem: Problem, trajectory: xr.Dataset):
    return study.judge(study.measure([Case("hand-made", problem, trajectory)]))


def flow_of(*weights) -> xr.Dataset:
    """Records that say that they are those of a gradient flow."""
    times = np.arange(len(weights), dtype=float)
    columns = {"weights": (("record", "weight"), np.asarray(weights, dtype=float)), "t": ("record", times)}
    return xr.Dataset(columns, attrs={"provenance": json.dumps({"flow": "GradientFlow"})})


def points(problem: Problem, count: int = 3) -> xr.Dataset:
    rng = np.random.default_rng(1)
    weights = [
        jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), problem.network.shapes())
        for _ in range(count)
    ]
    return at(problem, weights, ())


def test_the_rates_of_a_scalar_net_of_degrees_two_and_one() -> None:
    rates = Rates(scalar("squared_relu"), flow_of((2.0, 3.0)))
    # g = b a² = 12, ℓ' = 24: dρ_k²/dt = −2 d_k · 24 · 12
    assert np.allclose(rates.degrees, (2.0, 1.0), rtol=1e-14)
    assert np.allclose(rates.rates, [[-1152.0, -576.0]], rtol=1e-14)
    assert np.allclose(rates.sizes, 576.0, rtol=1e-14)
    assert rates.unlike() == pytest.approx(0.5, rel=1e-14)


def test_the_printed_lemma_speaks_of_degree_one_and_the_corrected_one_of_any() -> None:
    for activation, printed in (("relu", SUPPORTED), ("squared_relu", NOT_MET), ("tanh", NOT_MET)):
        network, rng = Dense((3, 4, 2), activation), np.random.default_rng(0)
        data = Data(rng.standard_normal((5, 3)), rng.integers(0, 2, 5))
        problem = Problem(network, CrossEntropy(), data)
        assert judged(PRINTED, problem, points(problem)).verdict == printed
        corrected = NOT_MET if activation == "tanh" else SUPPORTED
        assert judged(CORRECTED, problem, points(problem)).verdict == corrected


def test_the_printed_lemma_is_false_for_squared_relu() -> None:
    problem = scalar("squared_relu")
    numbers = PRINTED.observed(Case("", problem, flow_of((2.0, 3.0))))
    assert float(numbers["rate"]) == pytest.approx(1.0, rel=1e-14)
    # with the hypothesis waived, the same numbers refute it
    verdict = PRINTED.judge(
        PRINTED.measure([Case("", problem, flow_of((2.0, 3.0)))]).assign(degree_one=("case", [0.0]))
    )
    assert (verdict.verdict, verdict.part) == (REFUTED, "rate")


@pytest.mark.parametrize("activation", ["relu", "squared_relu"])
def test_layers_that_do_not_move_together_refute(activation: str) -> None:
    """One layer grows, the other stands still: ρ_k²/d_k − ρ_j²/d_j is not conserved."""
    study = PRINTED if activation == "relu" else CORRECTED
    verdict = judged(study, scalar(activation), flow_of((1.0, 1.0), (1.1, 1.0)))
    assert verdict.verdict == REFUTED
    assert {part.id: part.verdict for part in verdict.parts}["drift"] == REFUTED
    # ρ_1² grows by d_1/d_2 times what ρ_2² grows by
    degree = 1.0 if activation == "relu" else 2.0
    together = flow_of((1.0, 1.0), (np.sqrt(1.0 + 0.21 * degree), np.sqrt(1.21)))
    assert judged(study, scalar(activation), together).verdict == SUPPORTED


def test_equal_norms_that_stay_equal_contradict_the_corrected_lemma_where_degrees_differ() -> None:
    verdict = judged(CORRECTED, scalar("squared_relu"), flow_of((1.0, 1.0), (1.1, 1.1)))
    found = {part.id: part.verdict for part in verdict.parts}
    assert (found["drift"], found["parts_ways"]) == (REFUTED, REFUTED)


def test_decay_biases_and_residual_blocks_do_not_meet_the_hypotheses() -> None:
    rng = np.random.default_rng(0)
    data = Data(rng.standard_normal((5, 3)), rng.standard_normal((5, 2)))
    for network in (Dense((3, 4, 2), bias=True), Residual(3, 4, 1, 2)):
        problem = Problem(network, Square("mean"), data)
        assert [judged(study, problem, points(problem)).verdict for study in STUDIES] == [NOT_MET, NOT_MET]
    decayed = scalar("relu", decay=0.1)
    assert [judged(study, decayed, flow_of((1.0, 1.0))).verdict for study in STUDIES] == [NOT_MET, NOT_MET]


def test_a_dead_net_satisfies_both() -> None:
    dead = flow_of((-1.0, 2.0), (-1.0, 2.0))
    assert judged(PRINTED, scalar("relu"), dead).verdict == SUPPORTED


def test_a_run_that_kept_only_its_end_is_judged_there() -> None:
    end = flow_of((2.0, 3.0)).isel(record=0).rename(weights="final_weights")
    verdict = judged(CORRECTED, scalar("squared_relu"), end)
    assert verdict.verdict == SUPPORTED
    assert Rates(scalar("squared_relu"), end).rates.shape == (1, 2)
