"""Worlds in which a theorem's hypotheses are said to hold and its conclusion is false: each must be refuted.

Where checkpoints are one step apart hypotheses are measured, and such a run is *not applicable*. Here they are further
apart, and the words say what is not so.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.flatten_util
import numpy as np
import pytest

import gradlab as gl
from gradlab.checking.evaluating import _look

EVERY = 10


def descended(
    problem: Any, weights: Any, rate: float, steps: int, spoil: Any = None, every: int = EVERY
) -> dict[int, Any]:
    """Full descent; ``spoil`` (step, w, gradient, generator) → the gradient that is taken instead."""
    flat, unravel = jax.flatten_util.ravel_pytree(weights)
    w, generator, kept = np.asarray(flat, np.float64), np.random.default_rng(2), {}
    for step in range(steps + 1):
        if step % every == 0:
            kept[step] = jax.tree.map(np.asarray, unravel(w))
        gradient = np.asarray(_look(problem, unravel(w), problem.data.inputs)[2])
        w = w - rate * (gradient if spoil is None else spoil(step, w, gradient, generator))
    return kept


def verdict(result: Any, claim: str, sentence: str) -> Any:
    return next(row for row in result.rows if (row.claim, row.sentence) == (claim, sentence))


def deep() -> tuple[Any, Any]:
    data = gl.data.linear_regression(0, N=6, d=4, C=2)
    problem = gl.Problem(gl.Dense.deep_linear((4, 3, 2)), gl.Square("mean"), data)
    return problem, problem.network.init(jax.random.key(1), gl.Gaussian(0.7))


def relu() -> tuple[Any, Any]:
    data = gl.data.separable(3, N=6, d=4, margin=1.0)
    problem = gl.Problem(gl.Dense((4, 8, 1)), gl.Exponential(), data)
    return problem, problem.network.init(jax.random.key(4), gl.init.He())


def linear(loss: Any) -> tuple[Any, Any]:
    if isinstance(loss, gl.Square):
        data = gl.data.linear_regression(0, N=4, d=8)
    else:
        data = gl.data.separable(5, N=12, d=3, margin=1.0)
    problem = gl.Problem(gl.Dense((8 if isinstance(loss, gl.Square) else 3, 1)), loss, data)
    return problem, problem.network.init(jax.random.key(2), gl.Gaussian(0.3))


def test_decay_that_is_not_said_refutes_conservation() -> None:
    problem, weights = deep()
    true = gl.check(problem, descended(problem, weights, 0.01, 100), "gd lr=0.01")
    false = gl.check(
        problem, descended(problem, weights, 0.01, 100, lambda s, w, g, r: g + 0.3 * w), "gd lr=0.01"
    )
    for claim, sentence in (("chitour.invariants", "matrices"), ("memo112.lemma1-corrected", "conserved")):
        assert verdict(true, claim, sentence).verdict == "holds"
        assert verdict(false, claim, sentence).verdict == "refuted"
    assert (true.code, false.code) == (0, 1)


def test_a_larger_decay_than_said_refutes_the_rate_at_which_imbalance_shrinks() -> None:
    problem, weights = deep()
    for own, wanted in ((0.1, "holds"), (0.5, "refuted"), (0.0, "refuted")):
        run = descended(problem, weights, 0.01, 200, lambda s, w, g, r, own=own: g + own * w)
        row = verdict(gl.check(problem, run, "gd lr=0.01 decay=0.1"), "chitour.invariants", "norms")
        assert row.verdict == wanted, row.measured


def test_noise_on_weights_refutes_the_span() -> None:
    problem, weights = linear(gl.Square("mean"))
    true = gl.check(problem, descended(problem, weights, 0.02, 100), "gd lr=0.02")
    run = descended(problem, weights, 0.02, 100, lambda s, w, g, r: g + 0.1 * r.standard_normal(g.shape))
    assert verdict(true, "notes.span", "motion").verdict == "holds"
    assert verdict(gl.check(problem, run, "gd lr=0.02"), "notes.span", "motion").verdict == "refuted"


def test_a_minimum_that_is_not_of_least_norm_refutes_its_limit() -> None:
    problem, _ = linear(gl.Square("mean"))
    zero = (np.zeros((1, 8)),)
    run = descended(problem, zero, 0.1, 2000, every=200)
    true = gl.check(problem, run, "gd lr=0.1")
    assert verdict(true, "notes.min-norm", "limit").verdict == "holds"
    beside = gl.solutions.minimum_norm  # what no example sees moves too
    rows = np.asarray(problem.data.inputs)
    push = np.linalg.svd(rows)[2][-1]
    assert beside(rows, rows @ push[:, None]).max() < 1e-9
    false = gl.check(
        problem, descended(problem, zero, 0.1, 2000, lambda s, w, g, r: g - 0.01 * push, 200), "gd lr=0.1"
    )
    for claim in ("notes.min-norm", "notes.min-norm-corrected"):
        assert verdict(false, claim, "limit").verdict == "refuted"


def test_another_decay_than_said_refutes_the_ridge_solution() -> None:
    problem, weights = linear(gl.Square("mean"))
    for own, wanted in ((0.2, {"holds"}), (0.1, {"refuted", "not applicable"})):
        run = descended(problem, weights, 0.1, 1500, lambda s, w, g, r, own=own: g + own * w, 100)
        row = verdict(gl.check(problem, run, "gd lr=0.1 decay=0.2"), "notes.ridge", "equilibrium")
        assert row.verdict in wanted


def test_growth_in_another_direction_refutes_that_of_largest_margin() -> None:
    problem, weights = linear(gl.Logistic())
    run = descended(problem, weights, 0.1, 4000)
    true = verdict(gl.check(problem, run, "gd lr=0.1"), "notes.srebro", "direction")
    assert true.verdict == "holds", true
    aim = gl.solutions.max_margin(problem.data.inputs, problem.data.targets)
    other = np.linalg.svd(aim.direction[None])[2][1]
    other = aim.direction / np.linalg.norm(aim.direction) + 0.15 * other
    assert np.min(np.asarray(problem.data.targets) * (np.asarray(problem.data.inputs) @ other)) > 0
    false = {step: (2.0 * np.log(1 + step) * other[None],) for step in run}
    row = verdict(gl.check(problem, false, "gd lr=0.1"), "notes.srebro", "direction")
    assert row.verdict == "refuted", row


def test_a_margin_that_falls_and_weights_that_shrink_are_refuted() -> None:
    problem, weights = relu()
    run = descended(problem, weights, 0.02, 400)
    true = gl.check(problem, run, "gd lr=0.02")
    pair = (("memo90.norm-growth", "grows"), ("memo90.theorem3-corrected", "minimum_norm"))
    assert [verdict(true, *one).verdict for one in pair] == ["holds", "holds"]
    # the way back: the loss rises, and neither is asked
    backwards = gl.check(problem, dict(zip(run, list(run.values())[::-1], strict=True)), "gd lr=0.02")
    assert "holds" not in [verdict(backwards, *one).verdict for one in pair]
    # a neuron that no example sees grows beside them: the loss falls as before, the margin for its size does too
    late = list(run)[20:]
    wide = gl.Problem(gl.Dense((4, 9, 1)), gl.Exponential(), problem.data)

    def beside(step: int, share: float) -> Any:
        first, last = run[step]
        return np.vstack([first, np.zeros((1, 4))]), np.hstack([last, [[share * (step - late[0]) / 100.0]]])

    swollen = gl.check(wide, {step: beside(step, 1.0) for step in late}, "gd lr=0.02")
    still = gl.check(wide, {step: beside(step, 0.0) for step in late}, "gd lr=0.02")
    assert [verdict(still, *one).verdict for one in pair] == ["holds", "holds"]
    assert verdict(swollen, *pair[1]).verdict == "refuted"

    # all weights shrink by a common factor that the outputs grow by: of no homogeneous network's descent
    def shrunk(step: int) -> Any:
        first, last = run[step]
        factor = 4.0 ** ((step - late[0]) / 400.0)
        return first / factor, last * factor

    weak = gl.check(problem, {step: shrunk(step) for step in late}, "gd lr=0.02")
    assert verdict(weak, *pair[0]).verdict == "refuted"


def test_a_loss_that_rises_refutes_descent() -> None:
    problem, weights = deep()
    run = descended(problem, weights, 0.01, 100)
    swapped = dict(
        zip(run, [*list(run.values())[:5], *list(run.values())[:5:-1], list(run.values())[5]], strict=True)
    )
    assert (
        verdict(gl.check(problem, run, "gd lr=0.01"), "notes.learning-rate", "robustness").verdict == "holds"
    )
    assert (
        verdict(gl.check(problem, swapped, "gd lr=0.01"), "notes.learning-rate", "robustness").verdict
        == "refuted"
    )


def test_steps_of_another_size_than_layers_share_are_refuted() -> None:
    """One layer is stepped half as far: rates differ, and so do conserved differences; the steps tell at once."""
    problem, weights = deep()
    share = np.concatenate([np.ones(12), 0.5 * np.ones(6)])
    run = descended(problem, weights, 0.01, 100, lambda s, w, g, r: share * g)
    row = verdict(gl.check(problem, run, "gd lr=0.01"), "memo112.lemma1-corrected", "conserved")
    assert row.verdict == "refuted"
    near = descended(problem, weights, 0.01, 20, lambda s, w, g, r: share * g, 1)
    row = verdict(gl.check(problem, near, "gd lr=0.01"), "memo112.lemma1-corrected", "rate")
    assert row.verdict == "not applicable"


@pytest.mark.parametrize("words", ["", "sgd lr=0.01", "adam lr=0.01"])
def test_what_is_not_said_and_cannot_be_measured_is_unknown(words: str) -> None:
    problem, weights = deep()
    run = descended(problem, weights, 0.01, 100)
    result = gl.check(problem, run, words)
    row = verdict(result, "chitour.invariants", "matrices")
    assert row.verdict == ("not applicable" if words.startswith("adam") else "unknown")
    if words == "":
        assert "lr=" in row.why
        assert "one step apart" in row.why
    if words.startswith("adam"):
        assert "adam is no gradient descent" in row.why


def test_a_true_run_in_single_precision_is_not_refuted() -> None:
    problem, weights = deep()
    flat, unravel = jax.flatten_util.ravel_pytree(weights)
    w, kept = np.asarray(flat, np.float32), {}
    for step in range(400):
        if step < 10 or step % 100 < 3:
            kept[step] = jax.tree.map(np.asarray, unravel(w.astype(float)))
        gradient = np.asarray(_look(problem, unravel(w.astype(float)), problem.data.inputs)[2], np.float32)
        w = w - np.float32(0.01) * gradient
    result = gl.check(problem, kept, "sgd lr=0.01")
    assert result.found == ()
    assert not result.having("refuted")
    assert {"chitour.invariants", "memo112.lemma1-corrected"} <= {row.claim for row in result.having("holds")}


def test_the_certified_rate_applies_to_whitened_data_and_holds() -> None:
    data = gl.data.whitened_regression(0, N=4, d=2)
    problem = gl.Problem(gl.Dense.deep_linear((2, 2, 1)), gl.Square("mean", half=True), data)
    weights = problem.network.init(jax.random.key(0), gl.init.Balanced(0.1))
    step = gl.flows.arora_certificate(problem, weights).largest_step / 2
    result = gl.check(problem, descended(problem, weights, step, 60), f"gd lr={step!r}")
    row = verdict(result, "cohen.gd-rate", "rate")
    assert row.verdict == "holds", row
    stuck = gl.check(problem, descended(problem, weights, step, 60, lambda s, w, g, r: -g), f"gd lr={step!r}")
    assert verdict(stuck, "cohen.gd-rate", "rate").verdict != "holds"


def test_zeros_of_the_hessian_are_counted_where_the_data_are_fitted() -> None:
    problem, weights = deep()
    fitted = gl.Data(problem.data.inputs[:2], problem.data.targets[:2])
    problem = gl.Problem(problem.network, gl.Square("mean"), fitted)
    result = gl.check(problem, descended(problem, weights, 0.05, 1500, every=100), "gd lr=0.05")
    for claim, sentence in (("memo90.gauss-newton-corrected", "rank"), ("memo90.theorem4", "layer")):
        row = verdict(result, claim, sentence)
        assert row.verdict == "holds", row
    early = gl.check(problem, descended(problem, weights, 0.05, 20), "gd lr=0.05")
    row = verdict(early, "memo90.gauss-newton-corrected", "rank")
    assert row.verdict == "not applicable"
    assert "of the targets" in row.why
