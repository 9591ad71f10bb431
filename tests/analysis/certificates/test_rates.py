"""The a-priori rate: its hypotheses, its conventions, and a run that keeps it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gradlab.analysis.certificates import RateCertificate, arora_certificate
from gradlab.analysis.linear_nets import balanced_factors
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

COUNT, SIZE = 12, 2
INPUTS = np.linalg.qr(np.random.default_rng(0).standard_normal((COUNT, SIZE)))[0] * np.sqrt(COUNT)
TARGET = np.array([[1.0, 0.2], [0.0, 0.9]])
NOISE = 0.1 * np.random.default_rng(1).standard_normal((COUNT, SIZE))


def whitened(loss: Square, depth: int = 2, inputs: np.ndarray = INPUTS) -> Problem:
    return Problem(Dense.deep_linear((SIZE,) * (depth + 1)), loss, Data(inputs, inputs @ TARGET.T + NOISE))


def start(depth: int = 2, share: float = 0.8) -> tuple[np.ndarray, ...]:
    return balanced_factors(share * TARGET, (SIZE,) * (depth + 1))


def failing(found: RateCertificate) -> set[str]:
    return {hypothesis.name.split(":")[0] for hypothesis in found.hypotheses if not hypothesis.holds}


@pytest.mark.parametrize("depth", [2, 3])
def test_the_numbers_are_those_of_the_theorem(depth: int) -> None:
    problem = whitened(Square("mean", half=True), depth)
    found = arora_certificate(problem, start(depth))
    assert found.holds, found.why
    # in the paper's own convention, (1/2m) Σ‖·‖² on data with (1/m) X Xᵀ = I
    target = (INPUTS @ TARGET.T + NOISE).T @ INPUTS / COUNT
    size = np.linalg.norm(target)
    c = np.linalg.svd(target, compute_uv=False)[-1] - np.linalg.norm(0.8 * TARGET - target)
    N = depth
    np.testing.assert_allclose(found.margin, c, rtol=1e-10)
    eta = c ** ((4 * N - 2) / N) / (6144 * N**3 * size ** ((6 * N - 4) / N))
    np.testing.assert_allclose(found.step, eta, rtol=1e-9)
    balanced = next(h for h in found.hypotheses if h.name.startswith("balanced"))
    np.testing.assert_allclose(balanced.bound, c**2 / (256 * N**3 * size ** (2 * (N - 1) / N)), rtol=1e-9)
    T = np.log(found.excess / 1e-3) / (eta * c ** (2 * (N - 1) / N))
    np.testing.assert_allclose(found.iterations(1e-3), np.ceil(T), rtol=1e-9)
    np.testing.assert_allclose(found.excess, 0.5 * np.linalg.norm(0.8 * TARGET - target) ** 2, rtol=1e-10)


@pytest.mark.parametrize("loss", [Square("mean", True), Square("mean"), Square("sum", True), Square()])
def test_every_convention_of_the_loss_promises_the_same_descent(loss: Square) -> None:
    problem, weights = whitened(loss), start()
    found, paper = (
        arora_certificate(problem, weights),
        arora_certificate(whitened(Square("mean", True)), weights),
    )
    # one step moves the weights equally, so the rate a step is the same; the loss is scaled
    np.testing.assert_allclose(found.rate, paper.rate, rtol=1e-10)
    ours, theirs = problem.gradient(weights)[0], whitened(Square("mean", True)).gradient(weights)[0]
    np.testing.assert_allclose(found.step * ours, paper.step * theirs, rtol=1e-8)
    potential = float(problem.potential(weights))
    np.testing.assert_allclose(found.minimum + found.excess, potential, rtol=1e-12)


def test_descent_keeps_the_guarantee() -> None:
    problem = Problem(Dense.deep_linear((1, 1, 1)), Square("mean"), Data([[1.0], [-1.0]], [[1.0], [-1.0]]))
    weights = balanced_factors(np.array([[0.6]]), (1, 1, 1))
    found = arora_certificate(problem, weights)
    assert found.holds, found.why
    T = found.iterations(0.5 * found.excess)

    @jax.jit
    def run(w: jax.Array, steps: int) -> jax.Array:
        # L = (w_1 w_2 − 1)², both weights equal
        return jax.lax.fori_loop(0, steps, lambda _, v: v - found.step * 2 * (v * v - 1) * v, w)

    w = float(weights[0][0, 0])
    for share in (0.25, 1.0):
        steps = int(share * T)
        excess = (float(run(w, steps)) ** 2 - 1) ** 2
        assert excess <= found.bound(steps)
        assert found.bound(steps) < found.excess
    # the true rate at the start is 8 w² of the flow; the promise c^{2(N−1)/N}·2κs must not exceed it
    assert found.flow_rate <= 8 * w**2


def test_each_hypothesis_can_fail() -> None:
    problem = whitened(Square("mean"))
    assert failing(arora_certificate(problem, start(share=-0.5))) == {
        "deficiency margin",
        "balanced",
    }
    first, second = start()
    assert failing(arora_certificate(problem, (1.5 * first, second / 1.5))) == {"balanced"}
    good = arora_certificate(problem, start())
    assert failing(arora_certificate(problem, start(), step=2 * good.largest_step)) == {"step"}
    assert arora_certificate(problem, start(), step=0.5 * good.largest_step).rate == pytest.approx(
        0.5 * good.rate
    )
    skewed = whitened(Square("mean"), inputs=INPUTS * [1.0, 1.001])
    assert "whitened" in failing(arora_certificate(skewed, start()))
    assert arora_certificate(skewed, start()).iterations(1e-3) == np.inf


def test_other_problems_are_refused_with_a_sentence() -> None:
    decayed = Problem(Dense.deep_linear((2, 2, 2)), Square(), Data(INPUTS, INPUTS), 0.1)
    assert "decay" in arora_certificate(decayed, start()).why
    tanh = Problem(Dense((2, 2, 2), "tanh"), Square(), Data(INPUTS, INPUTS))
    assert "deep_linear" in arora_certificate(tanh, start()).why
    labels = np.where(np.arange(COUNT) % 2, 1.0, -1.0)
    logistic = Problem(Dense.deep_linear((2, 2, 1)), Logistic(), Data(INPUTS, labels))
    assert "square loss" in arora_certificate(logistic, (np.eye(2), np.ones((1, 2)))).why
    with pytest.raises(ValueError, match="step"):
        arora_certificate(whitened(Square()), start(), step=-1.0)
