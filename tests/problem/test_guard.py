"""A network or loss of one's own is asked what it is before anything is computed with it."""

from __future__ import annotations

import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.observe.spectrum.operators import Hessian
from gradlab.problem.own_code import OwnCodeError

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((40, 3)), rng.standard_normal((40, 2))
DATA = gl.Data(X, Y)
KEY = jax.random.key(3)


def initial(key: Any) -> dict[str, Any]:
    return {"a": jax.random.normal(key, (5, 3)), "b": jax.random.normal(key, (2, 5))}


def plain(w: Any, x: Any) -> Any:
    return jnp.tanh(x @ w["a"].T) @ w["b"].T


def normed(w: Any, x: Any) -> Any:
    h = x @ w["a"].T
    return jnp.tanh((h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5)) @ w["b"].T


def attention(w: Any, x: Any) -> Any:
    h = x @ w["a"].T
    return (jax.nn.softmax(h @ h.T, -1) @ h) @ w["b"].T


def dropped(w: Any, x: Any) -> Any:
    return (jnp.tanh(x @ w["a"].T) * jax.random.bernoulli(KEY, 0.5, (len(x), 5))) @ w["b"].T


def problem(apply: Any, start: Any = initial, loss: Any = None, **more: Any) -> gl.Problem:
    network = gl.Function(apply, start, input_shape=3, outputs=2, **more)
    return gl.Problem(network, loss or gl.Square("mean"), DATA)


def weights() -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), initial(jax.random.key(0)))


# Examples --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "apply",
    [
        normed,
        attention,
        dropped,
        jax.jit(normed),
        lambda w, x: plain(w, x) + Y,  # of all examples or none
        lambda w, x: plain(w, x - x[:1]),
        lambda w, x: plain(w, x) * x.std(),
    ],
)
def test_examples_that_interact_are_found_and_what_needs_them_alone_refuses(apply: Any) -> None:
    found = problem(apply)
    assert found.findings.interacts
    with pytest.raises(ValueError, match="examples interact"):
        found.per_example_gradients(weights())
    with pytest.raises(ValueError, match="examples interact"):
        found.output_jacobian(weights())
    with pytest.raises(ValueError, match="examples interact"):
        gl.spectrum(found, weights(), chunk=8)
    with pytest.raises(ValueError, match="examples interact"):
        Hessian(found, weights(), data=[DATA])


@pytest.mark.parametrize(
    ("apply", "more"),
    [
        (plain, {}),
        (jax.jit(plain), {}),
        (lambda w, x: plain(w, x[None])[0], {"batched": False}),
        (lambda w, x: jax.lax.map(lambda row: plain(w, row[None])[0], x), {}),
        (lambda w, x: plain(w, x / jnp.linalg.norm(x, axis=1, keepdims=True)), {}),
        (
            lambda w, x: jax.lax.scan(lambda h, _: (jnp.tanh(h), None), x @ w["a"].T, None, 3)[0] @ w["b"].T,
            {},
        ),
        (lambda w, x: plain(w, x) * (x[:, :1] > 0).astype(jnp.float32), {}),  # a mask is exact in any type
    ],
)
def test_what_acts_on_each_example_in_float64_passes_without_a_word(apply: Any, more: Any) -> None:
    assert problem(apply, **more).findings == gl.Problem(gl.Dense((3, 2)), gl.Square(), DATA).findings
    assert problem(apply, **more).findings.remarks == ()


def test_weights_from_elsewhere_are_asked_when_they_come() -> None:
    found = problem(normed, None)
    assert not found.findings.seen
    with pytest.raises(ValueError, match="examples interact"):
        found.per_example_gradients(weights())
    assert not problem(plain, None).inspected(weights()).interacts


def test_a_model_of_ones_own_is_asked_too() -> None:
    class Normed(gl.Dense):
        def __call__(self, weights: Any, x: Any) -> Any:
            h = super().__call__(weights, x)
            return h - h.mean(0)

    assert gl.Problem(Normed((3, 4, 2), "tanh"), gl.Square(), DATA).findings.interacts
    assert gl.Problem(gl.Dense((3, 4, 2), "tanh"), gl.Square(), DATA).findings.remarks == ()


def test_the_run_records_what_was_noticed_and_the_kernel_is_not_explained_by_data() -> None:
    found = problem(normed, lambda key: {**initial(key), "more": jnp.zeros(3)})
    start = {**weights(), "more": np.zeros(3)}
    run = gl.run(gl.GradientFlow(found), start, [0.01], solver=gl.solvers.Fixed("heun", 0.01), refine=False)
    noticed = json.loads(run.attrs["provenance"])["noticed"]
    assert [sentence.split(":")[0] for sentence in noticed] == [
        "weights['more'] is not used by the network",
        "examples interact",
    ]


def test_ensembles_and_traced_problems_go_on_working() -> None:
    one, two, at = problem(normed), problem(normed), weights()
    stacked = gl.stack([one, two])
    assert stacked.findings.interacts
    values = eqx.filter_vmap(lambda p, w: p.potential(w))(stacked, gl.stack([at, at]))
    np.testing.assert_allclose(values, float(one.potential(at)), rtol=1e-12)

    @jax.jit
    def inside(inputs: Any) -> Any:
        made = gl.Problem(one.network, one.loss, gl.Data(inputs, Y))
        assert not made.findings.seen
        return made.potential(at)

    with jax.enable_x64(True):
        np.testing.assert_allclose(inside(X), float(one.potential(at)), rtol=1e-12)


# Precision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16"])
def test_a_network_that_computes_in_less_than_float64_is_named_with_its_line(kind: str) -> None:
    def cast(w: Any, x: Any) -> Any:
        return plain(jax.tree.map(lambda leaf: leaf.astype(kind), w), x.astype(kind)).astype(float)

    found = problem(cast)
    assert found.findings.narrow == kind
    assert not found.findings.interacts
    assert "test_guard.py" in found.findings.remarks[0]
    assert "astype(kind)" in found.findings.remarks[0]
    with pytest.raises(ValueError, match=f"computes in {kind}.*cannot be followed to a tolerance"):
        gl.run(gl.GradientFlow(found), weights(), [1.0])


def test_bars_and_counts_know_single_precision() -> None:
    def cast(w: Any, x: Any) -> Any:
        return (x.astype(np.float32) @ w["a"].astype(np.float32).T)[:, :2].astype(float)

    network = gl.Function(cast, initial, input_shape=3, outputs=2)
    found = gl.Problem(network, gl.Square("mean"), DATA, decay=0.1)
    run = gl.run(gl.GradientFlow(found), weights(), [0.1], solver=gl.solvers.Fixed("heun", 0.05))
    assert float(run.loss_error[-1]) > np.finfo(np.float32).eps * float(run.loss[-1])
    assert "computes in float32" in json.loads(run.attrs["provenance"])["noticed"][0]
    seen = gl.classify(found, weights())
    assert seen.inertia is None or not seen.inertia.decided


def test_numbers_of_single_precision_from_outside_are_seen_by_their_digits() -> None:
    def outside(w: Any, x: Any) -> Any:
        kind = jax.ShapeDtypeStruct((len(x), 2), np.float64)
        return plain(w, x) * 0.0 + jax.pure_callback(lambda v: np.float64(np.float32(v[:, :2])), kind, x)

    # what is added has no gradient, so that the callback is never differentiated
    assert problem(lambda w, x: outside(jax.lax.stop_gradient(w), jax.lax.stop_gradient(x))).findings.narrow


def test_constants_of_single_precision_are_recorded_only() -> None:
    third = jnp.asarray([[1 / 3]], np.float32)
    found = problem(lambda w, x: plain(w, x) * third).findings
    assert found.narrow == ""
    assert "constants" in found.remarks[0]


# The same each time ----------------------------------------------------------------------------------------


def counting(w: Any, x: Any, seen: list[int] = [0]) -> Any:  # noqa: B006
    seen[0] += 1
    return seen[0] * plain(w, x)


def called_back(w: Any, x: Any) -> Any:
    kind = jax.ShapeDtypeStruct((len(x), 2), np.float64)
    return plain(w, x) + jax.pure_callback(
        lambda v: np.random.default_rng().standard_normal((len(v), 2)), kind, X[: len(x)]
    )


@pytest.mark.parametrize(
    "apply",
    [
        counting,
        called_back,
        lambda w, x: plain(w, x) + 0.1 * np.random.default_rng().standard_normal(),
        lambda w, x: plain(w, x + np.random.default_rng().standard_normal(3)),
        lambda w, x: (
            plain(w, x)
            * jax.random.bernoulli(jax.random.key(np.random.default_rng().integers(10**6)), 0.5, (2,))
        ),
    ],
)
def test_a_function_that_differs_from_call_to_call_is_refused(apply: Any) -> None:
    with pytest.raises(OwnCodeError, match="draw once outside"):
        problem(apply)


# Weights ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("apply", "start", "message"),
    [
        (lambda w, x: x[:, :2], lambda key: {}, "holds no weights"),
        (lambda w, x: x[:, :2], lambda key: {"a": jnp.zeros((0, 3))}, "holds no weights"),
        (
            lambda w, x: plain(w["params"], x - w["batch_stats"]["mean"]),
            lambda key: {"params": initial(key), "batch_stats": {"mean": jnp.zeros(3)}},
            r"weights\['batch_stats'\]\['mean'\] is state",
        ),
        (
            lambda w, x: plain(w["params"], x),
            lambda key: {"params": initial(key), "other": {"count": jnp.zeros(3)}},
            r"weights\['other'\]\['count'\] is state",
        ),
        (
            lambda w, x: plain(w, x - w["running_mean"]),
            lambda key: {**initial(key), "running_mean": jnp.zeros(3)},
            "running_mean.* is state",
        ),
        (
            plain,
            lambda key: {"a": jnp.ones((5, 3), int), "b": jnp.ones((2, 5))},
            r"weights\['a'\] is of type int",
        ),
        (plain, lambda key: {**initial(key), "key": key}, r"weights\['key'\] is of type key"),
        (plain, lambda key: {**initial(key), "mask": jnp.ones(3, bool)}, "is of type bool"),
        (plain, lambda key: {**initial(key), "c": jnp.ones(3, complex)}, "is of type complex"),
    ],
)
def test_what_is_no_weight_is_refused_by_its_path(apply: Any, start: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem(apply, start)


def test_weights_that_nothing_moves_are_recorded() -> None:
    found = problem(
        lambda w, x: plain(w, x - jax.lax.stop_gradient(w["c"])),
        lambda key: {**initial(key), "c": jnp.zeros(3)},
    )
    assert found.findings.remarks == (
        "weights['c'] is held fixed: it is used, and its gradient is 0 for all data",
    )


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (lambda w, x: jnp.sqrt(-1.0 - plain(w, x) ** 2), "the loss is nan at the start"),
        (lambda w, x: jnp.sqrt(plain(w, x) * 0.0), "the gradient is not finite at the start"),
    ],
)
def test_what_is_not_finite_at_the_start_does_not_begin(apply: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gl.run(gl.GradientFlow(problem(apply)), weights(), [1.0])


# Losses ----------------------------------------------------------------------------------------------------


def cubed(f: Any, y: Any) -> Any:
    return jnp.sum(jnp.abs(f - y) ** 3, axis=1)


@pytest.mark.parametrize(
    "value",
    [
        lambda f, y: jnp.full(len(f), cubed(f, y).mean()),
        lambda f, y: cubed(f, y) / jnp.sum(cubed(f, y)),
        lambda f, y: cubed(f - f.mean(0), y),
    ],
)
def test_a_loss_in_which_examples_interact_is_found(value: Any) -> None:
    found = problem(plain, loss=gl.losses.CustomLoss(value))
    assert found.findings.interacts.startswith("the loss")
    with pytest.raises(ValueError, match="examples interact"):
        found.per_example_gradients(weights())


def test_a_loss_is_asked_for_precision_sameness_and_its_logarithm() -> None:
    assert problem(plain, loss=gl.losses.CustomLoss(cubed)).findings.remarks == ()
    single = gl.losses.CustomLoss(lambda f, y: cubed(f.astype(np.float32), y.astype(np.float32)))
    assert problem(plain, loss=single).findings.narrow == "float32"
    with pytest.raises(OwnCodeError, match="the loss is another function each time"):
        problem(plain, loss=gl.losses.CustomLoss(lambda f, y: cubed(f, y) + np.random.default_rng().random()))
    good = gl.losses.CustomLoss(cubed, lambda f, y: jnp.log(cubed(f, y)))
    assert problem(plain, loss=good).findings.remarks == ()
    with pytest.raises(ValueError, match="log_value is not the logarithm of value"):
        problem(plain, loss=gl.losses.CustomLoss(cubed, lambda f, y: 2 * jnp.log(cubed(f, y))))


# Exceptions ------------------------------------------------------------------------------------------------


def branching(w: Any, x: Any) -> Any:
    return x if float(x[0, 0]) > 0 else plain(w, x)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: problem(lambda w, x: w["zz"] @ x), ("network's apply raised KeyError", "zz")),
        (lambda: problem(lambda w, x: x @ w["a"]), ("network's apply raised TypeError", "contracting")),
        (lambda: problem(branching), ("network's apply raised Concretization", "if float(x[0, 0]) > 0")),
        (lambda: problem(lambda w, x: x.no_such), ("network's apply raised AttributeError",)),
        (lambda: problem(plain, lambda key: {"a": 1 / 0}), ("network's initial raised ZeroDivisionError",)),
        (
            lambda: problem(plain, loss=gl.losses.CustomLoss(lambda f, y: f @ y)),
            ("loss's value raised TypeError",),
        ),
        (
            lambda: problem(lambda w, x: [][1] if isinstance(x, jax.core.Tracer) else 0, batched=False),
            ("IndexError",),
        ),
        (
            lambda: problem(plain, None).gradient({"a": np.ones((5, 2)), "b": np.ones((2, 5))}),
            ("network's apply raised TypeError", "jnp.tanh(x @ w"),
        ),
    ],
)
def test_what_ones_own_code_raises_is_one_sentence_with_its_line(make: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(OwnCodeError) as caught:
        make()
    said = str(caught.value)
    assert all(part in said for part in (*parts, "test_guard.py, line "))
    assert "\n" not in said
    assert len(said) < 600
