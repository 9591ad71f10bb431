"""What is asked of a function: degrees on a zoo of networks, paths around, ties; and of steps: their rule."""

from __future__ import annotations

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.checking.assumed import Assumed
from gradlab.checking.evaluating import _look
from gradlab.checking.run import gathered


def relu(z: Any) -> Any:
    return jnp.maximum(z, 0.0)


def normed(z: Any) -> Any:
    return (z - z.mean(-1, keepdims=True)) / z.std(-1, keepdims=True)


def attention(w: Any, x: Any) -> Any:
    tokens = x.reshape(len(x), 2, 3)
    q, k, v = (tokens @ w[name] for name in ("0q", "1k", "2v"))
    return (jax.nn.softmax(q @ jnp.swapaxes(k, 1, 2), axis=-1) @ v).reshape(len(x), -1) @ w["3o"]


def pooled(w: Any, x: Any) -> Any:
    h = relu(x @ w["0"].T).reshape(len(x), 2, 2)
    return h.max(axis=2) @ w["1"].T


SHAPES = {"0": (4, 6), "1": (2, 4)}
#: apply, shapes of its weights, degrees (None: none; 0: the output does not see the scale).
ZOO: dict[str, tuple[Any, dict[str, tuple[int, ...]], list[int | None]]] = {
    "ReLU": (lambda w, x: relu(x @ w["0"].T) @ w["1"].T, SHAPES, [1, 1]),
    "square activation": (lambda w, x: (x @ w["0"].T) ** 2 @ w["1"].T, SHAPES, [2, 1]),
    "tanh": (lambda w, x: jnp.tanh(x @ w["0"].T) @ w["1"].T, SHAPES, [None, 1]),
    "pooling": (pooled, {"0": (4, 6), "1": (2, 2)}, [1, 1]),
    "layer norm": (lambda w, x: relu(normed(x @ w["0"].T)) @ w["1"].T, SHAPES, [0, 1]),
    "weight norm": (
        lambda w, x: relu(x @ (w["0"] / jnp.linalg.norm(w["0"])).T) @ w["1"].T, SHAPES, [0, 1],
    ),
    "residual": (
        lambda w, x: (x @ w["0"].T + relu(x @ w["0"].T @ w["1"].T)) @ w["2"].T,
        {"0": (4, 6), "1": (4, 4), "2": (2, 4)}, [1, None, 1],
    ),
    "gated": (
        lambda w, x: (relu(x @ w["0"].T) * (x @ w["1"].T)) @ w["2"].T,
        {"0": (4, 6), "1": (4, 6), "2": (2, 4)}, [1, 1, 1],
    ),
    "tied": (lambda w, x: relu(relu(x @ w["0"].T) @ w["0"].T) @ w["1"].T, {"0": (6, 6), "1": (2, 6)}, [2, 1]),
    "attention": (attention, {"0q": (3, 2), "1k": (3, 2), "2v": (3, 2), "3o": (4, 2)}, [None, None, 1, 1]),
    "hidden bias": (
        lambda w, x: relu(x @ w["0.weight"].T + w["0.bias"]) @ w["1"].T,
        {"0.bias": (4,), "0.weight": (4, 6), "1": (2, 4)}, [1, 1],
    ),
    "bias": (
        lambda w, x: relu(x @ w["0.weight"].T + w["0.bias"]) @ w["1.weight"].T + w["1.bias"],
        {"0.bias": (4,), "0.weight": (4, 6), "1.bias": (2,), "1.weight": (2, 4)}, [None, 1],
    ),
}  # fmt: skip


def assumed_of(apply: Any, shapes: dict[str, tuple[int, ...]]) -> Assumed:
    generator = np.random.default_rng(0)
    start = {name: 0.7 * generator.standard_normal(shape) for name, shape in shapes.items()}
    network = gl.Function(apply, lambda key: start, input_shape=6, outputs=2)
    data = gl.Data(generator.standard_normal((5, 6)), generator.standard_normal((5, 2)))
    end = {name: array + 0.3 * generator.standard_normal(array.shape) for name, array in start.items()}
    return Assumed(gathered(gl.Problem(network, gl.Square(), data), {0: start, 10: end}, ""))


@pytest.mark.parametrize("name", ZOO)
def test_degrees_on_a_zoo(name: str) -> None:
    apply, shapes, wanted = ZOO[name]
    assumed = assumed_of(apply, shapes)
    found = [
        round(one.degree) if one.defect <= assumed.probed.exact else None for one in assumed.probed.layers
    ]
    assert found == wanted
    assert assumed.probed.interacts < 1e-12
    around = [share > 1e-9 for share in assumed.probed.around]
    # of attention, zero queries leave uniform weights: what goes around Q and K is the mean
    assert any(around) == (name in ("residual", "attention"))
    assert (assumed.untied.status[0] == 0) == (name == "tied")
    assert (assumed.probed.at_zero_input > 1e-9) == ("bias" in name)


def descended(rule: Any, steps: int = 40, batch: int | None = None) -> tuple[Any, dict[int, Any]]:
    """A ReLU net under the square loss; rule(step, w, gradient, memory) → the step. One set of checkpoints a step."""
    data = gl.data.linear_regression(3, N=6, d=4, C=1)
    problem = gl.Problem(gl.Dense((4, 6, 1)), gl.Square("mean"), data)
    flat, unravel = jax.flatten_util.ravel_pytree(problem.network.init(jax.random.key(0), gl.init.He()))
    w, memory, kept, generator = np.asarray(flat), {}, {}, np.random.default_rng(4)
    for step in range(steps):
        kept[step] = jax.tree.map(np.asarray, unravel(w))
        at = problem if batch is None else problem.minibatch(generator.permutation(6)[:batch])
        w = w + rule(step, w, np.asarray(_look(at, unravel(w), at.data.inputs)[2]), memory)
    return problem, kept


def adam(step: int, w: Any, g: Any, memory: dict[str, Any]) -> Any:
    memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0.0) + 0.001 * g**2
    m, v = memory["m"] / (1 - 0.9 ** (step + 1)), memory["v"] / (1 - 0.999 ** (step + 1))
    return -0.01 * m / (np.sqrt(v) + 1e-8)


def nesterov(step: int, w: Any, g: Any, memory: dict[str, Any]) -> Any:
    memory["b"] = 0.8 * memory.get("b", 0.0) + g
    return -0.02 * (g + 0.8 * memory["b"])


def heavy(step: int, w: Any, g: Any, memory: dict[str, Any]) -> Any:
    memory["b"] = 0.7 * memory.get("b", 0.0) + g + 0.03 * w
    return -0.02 * memory["b"]


def told(rule: Any, words: str = "sgd lr=0.02", batch: int | None = None) -> dict[str, Any]:
    return {one.name: one for one in gl.check(*descended(rule, batch=batch), words).found}


def test_the_rule_of_steps_is_measured_whatever_was_said() -> None:
    found = told(nesterov)
    assert found["momentum"].number == pytest.approx(0.8, rel=1e-6)
    assert "rate" not in found
    found = told(heavy)
    assert found["momentum"].number == pytest.approx(0.7, rel=1e-6)
    assert found["decay"].number == pytest.approx(0.03, rel=1e-6)
    found = told(lambda s, w, g, m: -0.013 * g)
    assert found["rate"].words == "learning rate 0.013, and not 0.02 as said"
    found = told(lambda s, w, g, m: -0.01 * g)
    assert found["rate"].words.endswith("which is 2 times that: the loss was half of this one")


def test_a_schedule_is_told_and_no_theorem_of_one_rate_applies() -> None:
    problem, run = descended(lambda s, w, g, m: -0.02 / (1 + 0.1 * s) * g)
    result = gl.check(problem, run, "sgd lr=0.02")
    found = {one.name: one.words for one in result.found}
    assert found["rate"].startswith("the learning rate varies, from 0.02 to 0.004")
    assert {row.claim for row in result.having("holds")} == {"notes.homogeneity"}


def masked(g: Any, factor: float) -> Any:
    """The gradient with that of the first layer times a factor."""
    return g * np.where(np.arange(g.size) < 24, factor, 1.0)


def test_steps_of_some_weights_or_at_rates_of_their_own_are_told() -> None:
    words = told(lambda s, w, g, m: -0.02 * masked(g, 0.0))["steps"].words
    assert "24 of 30 weights do not move, all of 0 (frozen, masked, clipped or rounded)" in words
    words = told(lambda s, w, g, m: -0.02 * masked(g, 0.5))["steps"].words
    assert "layers have learning rates of their own, from 0.01 to 0.02" in words


def test_what_happened_between_checkpoints_is_told_where_descent_cannot_have_done_it() -> None:
    problem, run = descended(lambda s, w, g, m: -0.02 * g + (1.5 * w if s == 25 else 0.0))
    seen = {step: weights for step, weights in run.items() if not 20 < step < 32}
    result = gl.check(problem, seen, "sgd lr=0.02")
    assert "after step 20 to the next checkpoint weights move" in next(
        one.words for one in result.found if one.name == "jump"
    )
    assert not result.having("refuted")
    for row in result.having("holds"):
        if "no jump between checkpoints" in dict(row.timeline):
            assert row.interval[1] <= 20 or row.interval[0] > 20
    assert "jump" not in {one.name for one in gl.check(*descended(lambda s, w, g, m: -0.02 * g)).found}


def test_minibatches_are_counted() -> None:
    words = told(lambda s, w, g, m: -0.02 * g, batch=2)["steps"].words
    assert "minibatches: 2 of 6 examples made the step" in words


def test_adam_is_no_gradient_descent() -> None:
    found = told(adam, "adam lr=0.01")
    assert "(adam was said)" in found["steps"].words
    assert found["steps"].number > 0.1
    assert "steps" in told(adam, "sgd lr=0.01")


def test_dropout_that_is_said_is_named() -> None:
    words = told(
        lambda s, w, g, m: -0.02 * g * (1 + 0.5 * np.sin(s + np.arange(len(g)))), "sgd lr=0.02 dropout=0.5"
    )
    assert "(dropout=0.5 was said)" in words["steps"].words


def test_euler_is_not_refuted_where_slopes_are_far_below_rounding() -> None:
    """At margins of 50 the softmax less 1 is rounding only."""
    x, y = np.random.default_rng(0).standard_normal((6, 4)), np.arange(6) % 3
    problem = gl.Problem(gl.Dense((4, 8, 3)), gl.CrossEntropy(), gl.Data(x, y))
    weights = problem.network.init(jax.random.key(0), gl.init.He())
    for _ in range(400):
        weights = jax.tree.map(lambda w, g: w - 0.1 * g, weights, problem.gradient(weights))
    run = {step: jax.tree.map(lambda w, a=a: a * w, weights) for step, a in ((0, 1.0), (10, 2.0), (20, 4.0))}
    result = gl.check(problem, run)
    assert Assumed(gathered(problem, run, "")).looks.margins[-1] > 50.0
    (row,) = [one for one in result.rows if one.claim == "notes.homogeneity"]
    assert row.verdict == "holds"


def test_sharpness_of_large_networks_is_that_of_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlab.checking import evaluating

    problem, run = descended(lambda s, w, g, m: -0.05 * g, 30)
    formed = Assumed(gathered(problem, run, "")).looks.sharpness
    monkeypatch.setattr(evaluating, "DENSE", 0)
    assert Assumed(gathered(problem, run, "")).looks.sharpness == pytest.approx(formed, rel=2e-3)


def test_epochs_are_no_steps() -> None:
    from gradlab.checking.naming import arrays_of
    from gradlab.store.checkpoints import Checkpoint, Folder

    problem, run = descended(lambda s, w, g, m: -0.02 * g)
    kept = []
    for step, weights in run.items():
        arrays = arrays_of(weights)
        kept.append(Checkpoint(step, None, arrays, {}))  # type: ignore[arg-type]
    result = gl.check(problem, Folder(tuple(kept), "epoch"), "sgd lr=0.02")
    assert "0 pairs one step apart" in dict(result.facts)["checkpoints"]
    assert any(row.verdict == "unknown" for row in result.rows)


def test_test_inputs_that_are_training_inputs_are_counted() -> None:
    problem, run = descended(lambda s, w, g, m: -0.02 * g)
    x, y = problem.data.inputs, problem.data.targets
    other = gl.Problem(problem.network, problem.loss, gl.Data(x, y, np.vstack([x[:2], x[:1] + 1.0]), y[:3]))
    found = {one.name: one for one in gl.check(other, run, "sgd lr=0.02").found}
    assert found["leakage"].words == "2 of 3 test inputs are training inputs"


def test_arrays_by_order_are_remarked_and_misuse_is_one_sentence() -> None:
    problem, run = descended(lambda s, w, g, m: -0.02 * g, 12)
    renamed = {step: {"a": w[0], "b": w[1]} for step, w in run.items()}
    assert "arrays were taken in their order" in gl.check(problem, renamed, "sgd lr=0.02").remarks[0]
    for given, said in (
        ({0: run[0]}, "one checkpoint"),
        ([1, 2], "weights by step"),
        ({0: {"a": np.ones(3)}, 1: {"a": np.ones(3)}}, "takes 2 arrays"),
    ):
        with pytest.raises(ValueError, match=said):
            gl.check(problem, given, "sgd lr=0.02")
    with pytest.raises(ValueError, match="a Problem was expected"):
        gl.check(None, run)


def test_a_loss_that_is_a_sum_where_training_took_the_mean_is_told() -> None:
    data = gl.data.linear_regression(0, N=5, d=3)
    mean, total = (gl.Problem(gl.Dense((3, 1)), gl.Square(how), data) for how in ("mean", "sum"))
    run, weights = {}, (np.zeros((1, 3)),)
    for step in range(4):
        run[step] = weights
        weights = tuple(
            w - 0.05 * np.asarray(g) for w, g in zip(weights, mean.gradient(weights), strict=True)
        )
    (found,) = [one.words for one in gl.check(total, run, "gd lr=0.05").found if one.name == "rate"]
    assert "which is 5 times that: the loss was the mean over 5 examples, and here it is the sum" in found
