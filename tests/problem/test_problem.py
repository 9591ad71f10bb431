"""Potentials, derivatives, margins and ensembles against NumPy references over the zoo."""

from __future__ import annotations

import functools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import problems
from gradlab.problem.data import Data, digits
from gradlab.problem.ensembles import unchecked
from gradlab.problem.fused import fused
from gradlab.problem.initialisation import Gaussian
from gradlab.problem.losses import CrossEntropy, CustomLoss, Exponential, Logistic, Square
from gradlab.problem.networks import Convolutional, Dense, Function
from gradlab.problem.problem import Problem, stack, unstack

_ENTRIES = [pytest.param(*pair, id=" on ".join(reversed(pair))) for pair in problems.ZOO]


@functools.cache
def _compiled(names: tuple[str, ...]) -> Any:
    """Methods of a problem in one compilation, at an optimisation level that halves its time."""

    def call(problem: Problem, weights: Any) -> dict[str, Any]:
        return {name: getattr(problem, name)(weights) for name in names}

    return jax.jit(call, compiler_options={"xla_backend_optimization_level": 0})


def _results(entry: problems.Specimen, *names: str) -> dict[str, Any]:
    return _compiled(names)(entry.problem, entry.weights)


@pytest.mark.parametrize(("architecture", "loss"), _ENTRIES)
def test_derivatives_over_the_zoo_agree_with_numpy(architecture: str, loss: str) -> None:
    entry = problems.specimen(architecture, loss)
    problem, w = entry.problem, entry.flat()
    logs = ("log_value_and_gradient",) if problem.has_log else ()
    ours = _results(entry, "value_and_gradient", "hessian", "per_example_gradients", *logs)
    potential, gradient, hessian = entry.potential(w), entry.gradient(w), entry.hessian(w)
    near = {"rtol": 1e-11, "atol": 1e-11 * np.abs(gradient).max()}
    value, mine = ours["value_and_gradient"]
    np.testing.assert_allclose(value, potential, rtol=1e-13)
    np.testing.assert_allclose(entry.ravel(mine), gradient, **near)
    leaves = [np.asarray(leaf).reshape(4, -1) for leaf in jax.tree.leaves(ours["per_example_gradients"])]
    rows = np.concatenate(leaves, axis=1)
    np.testing.assert_allclose(rows, problems.complex_step(entry.values, w), **near)
    # the reference's own error, by differences, is about 1e-8 where a residual of ℓ_1.5 is small
    np.testing.assert_allclose(ours["hessian"], hessian, rtol=0, atol=1e-7 * np.abs(hessian).max())
    if problem.has_log:
        value, mine = ours["log_value_and_gradient"]
        np.testing.assert_allclose(value, math.log(potential), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(entry.ravel(mine), gradient / potential, **near)


@pytest.mark.parametrize("architecture", list(problems.ARCHITECTURES))
def test_outputs_and_their_jacobian_agree_with_numpy(architecture: str) -> None:
    entry = problems.specimen(architecture, "cross-entropy")
    ours, w = _results(entry, "outputs", "output_jacobian"), entry.flat()
    np.testing.assert_allclose(ours["outputs"], entry.outputs(w), rtol=1e-12, atol=1e-14)
    expected = problems.complex_step(entry.outputs, w)
    np.testing.assert_allclose(ours["output_jacobian"], expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("loss", ["l3", "logistic", "cross-entropy"])
def test_the_hessian_operator_multiplies_by_the_hessian(loss: str) -> None:
    entry = problems.specimen("biased tanh", loss)
    hessian = np.asarray(entry.problem.hessian(entry.weights))
    assert (hessian == hessian.T).all()
    operator = entry.problem.hessian_operator(entry.weights)
    for seed in range(3):
        v = np.random.default_rng(seed).standard_normal(entry.problem.size)
        product = entry.ravel(operator.mv(entry.tree(v)))
        np.testing.assert_allclose(product, hessian @ v, rtol=1e-12, atol=1e-12 * np.abs(hessian).max())


def test_the_reference_tells_a_wrong_sign() -> None:
    entry = problems.specimen("relu", "logistic")
    w = entry.flat()
    assert np.abs(entry.gradient(w) - entry.gradient(-w)).max() > 1e-2


def test_every_loss_meets_every_architecture() -> None:
    kinds = {
        (type(problems.specimen(*pair).problem.network), type(problems.LOSSES[pair[1]][0]))
        for pair in problems.ZOO
    }
    assert len(kinds) == 4 * 6


# Known answers ---------------------------------------------------------------------------------------------


def test_ridge_regression_has_its_closed_form_minimum_and_hessian() -> None:
    problem, minimiser, hessian = problems.quadratic()
    assert float(problem.gradient_norm(minimiser)) < 1e-13
    np.testing.assert_allclose(problem.hessian(minimiser), hessian, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(
        problem.hessian_operator(minimiser).as_matrix(), hessian, rtol=1e-13, atol=1e-13
    )


def test_backpropagation_by_hand_gives_the_gradient_of_a_relu_net() -> None:
    generator = np.random.default_rng(3)
    X, y = generator.standard_normal((6, 4)), np.array([1.0, -1, 1, 1, -1, -1])
    W1, W2 = generator.standard_normal((5, 4)), generator.standard_normal((1, 5))
    problem = Problem(Dense((4, 5, 1), "relu"), Logistic("mean"), Data(X, y))
    hidden = np.maximum(X @ W1.T, 0.0)
    slope = -y / (1.0 + np.exp(y * (hidden @ W2.T)[:, 0])) / 6
    back = (slope[:, None] * W2) * (hidden > 0)
    first, second = problem.gradient((W1, W2))
    np.testing.assert_allclose(first, back.T @ X, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(second, slope[None] @ hidden, rtol=1e-12, atol=1e-15)


def test_a_scalar_chain_has_the_field_of_its_reduction() -> None:
    problem, w = problems.scalar_chain(3, target=2.0), 0.7
    gradient = problem.gradient((np.full((1, 1), w),) * 3)
    np.testing.assert_allclose(jax.tree.leaves(gradient), -(2.0 - w**3) * w**2, rtol=1e-14)


def test_value_and_gradient_are_the_value_and_the_gradient() -> None:
    entry = problems.specimen("relu", "exponential")
    value, gradient = entry.problem.value_and_gradient(entry.weights)
    assert value == entry.problem.potential(entry.weights)
    ours = entry.problem.ravel(gradient)
    np.testing.assert_array_equal(ours, entry.problem.ravel(entry.problem.gradient(entry.weights)))
    np.testing.assert_allclose(entry.problem.gradient_norm(entry.weights), np.linalg.norm(ours), rtol=1e-14)
    log_gradient = entry.problem.ravel(entry.problem.log_gradient(entry.weights))
    np.testing.assert_allclose(log_gradient, np.asarray(ours) / float(value), rtol=1e-12)


def test_the_gradient_norm_survives_the_underflow_of_its_square_and_is_zero_at_rest() -> None:
    problem = problems.one_point()
    np.testing.assert_allclose(problem.gradient_norm((np.array([[600.0]]),)), math.exp(-600.0), rtol=1e-13)
    assert float(problem.gradient_norm((np.array([[1e6]]),))) == 0.0


# Decay -----------------------------------------------------------------------------------------------------


def test_decay_enters_layer_by_layer() -> None:
    entry = problems.specimen("biased tanh", "square")
    network, loss, data = entry.problem.network, entry.problem.loss, entry.problem.data
    squares = [sum((leaf**2).sum() for leaf in jax.tree.leaves(layer)) for layer in entry.weights]
    for decay, expected in ((0.3, 0.15 * sum(squares)), ([0.2, 0.0], 0.1 * squares[0])):
        problem = Problem(network, loss, data, decay)
        np.testing.assert_allclose(problem.penalty(entry.weights), expected, rtol=1e-13)
        total = problem.potential(entry.weights) - problem.risk(entry.weights)
        np.testing.assert_allclose(total, expected, rtol=1e-12)


def test_without_decay_the_log_potential_is_the_log_risk_bit_for_bit() -> None:
    problem = Problem(Dense((2, 3, 1)), Exponential(), problems.two_points()[0].data)
    weights = (np.ones((3, 2)), np.ones((1, 3)))
    assert problem.log_potential(weights) == problem.log_risk(weights)
    gradient = jax.grad(problem.log_risk)(jax.tree.map(jnp.asarray, weights))
    np.testing.assert_array_equal(problem.ravel(problem.log_gradient(weights)), problem.ravel(gradient))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_at_zero_weights_the_log_gradient_is_finite(decay: float) -> None:
    base = problems.two_points()[0]
    problem = Problem(base.network, base.loss, base.data, decay)
    gradient = problem.log_gradient((np.zeros((1, 2)),))
    # L = 2 and ∇L = −Σ y x = −(2, 0)
    np.testing.assert_allclose(problem.ravel(gradient), [-1.0, 0.0], atol=1e-15)


# Extreme margins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [10.0, 1e2, 800.0, 1e4, 1e6])
@pytest.mark.parametrize(
    "loss", [Exponential(), Logistic(), CrossEntropy()], ids=lambda loss: type(loss).__name__
)
def test_log_potential_and_its_gradient_are_right_at_extreme_margins(loss: Any, margin: float) -> None:
    # One example x = 1 whose margin is w. log ℓ = −w up to e^{−w}/2, and its derivative −1 up to the same.
    outputs = 2 if loss.labels == "class" else 1
    data = Data([[1.0]], [0] if outputs == 2 else [1.0])
    problem = Problem(Dense((1, outputs), "identity"), loss, data)
    for sign in (1.0, -1.0):
        m = sign * margin
        weights = (np.array([[m], [0.0]][:outputs]),)
        value, gradient = problem.log_value_and_gradient(weights)
        log, slope = _log_loss(loss, m)
        np.testing.assert_allclose(value, log, rtol=1e-14)
        expected = [slope, -slope] if outputs == 2 else [slope]
        np.testing.assert_allclose(problem.ravel(gradient), expected, rtol=1e-13)


def _log_loss(loss: Any, m: float) -> tuple[float, float]:
    """log ℓ and its derivative at margin m, by math's own log1p and expm1-free closed forms."""
    if isinstance(loss, Exponential):
        return -m, -1.0
    if m > 30.0:
        return -m - math.exp(-m) / 2, -1.0 + math.exp(-m) / 2
    softplus = math.log1p(math.exp(-m)) if m > -30.0 else -m + math.exp(m)
    sigmoid = 1.0 / (1.0 + math.exp(m))
    return math.log(softplus), -sigmoid / softplus


def test_decay_takes_over_where_the_risk_has_underflowed() -> None:
    base = problems.one_point()
    problem = Problem(base.network, base.loss, base.data, decay=0.2)
    value, gradient = problem.log_value_and_gradient((np.array([[1e4]]),))
    np.testing.assert_allclose(value, math.log(0.1 * 1e8), rtol=1e-14)
    np.testing.assert_allclose(problem.ravel(gradient), [2.0 / 1e4], rtol=1e-13)


# Margins and errors ----------------------------------------------------------------------------------------


def test_margins_and_error_count_a_tie_as_wrong() -> None:
    data = Data([[1.0], [2.0], [0.0]], [1.0, -1.0, 1.0])
    problem = Problem(Dense((1, 1), "identity"), Logistic(), data)
    np.testing.assert_array_equal(problem.margins((np.array([[3.0]]),)), [3.0, -6.0, 0.0])
    np.testing.assert_allclose(problem.error((np.array([[3.0]]),)), 2 / 3)


@pytest.mark.parametrize("loss", [CrossEntropy(), Square()], ids=["classes", "one-hot"])
def test_errors_of_classes_and_of_one_hot_rows_agree(loss: Any) -> None:
    generator = np.random.default_rng(1)
    X, y = generator.standard_normal((9, 2)), np.arange(9) % 3
    W = generator.standard_normal((3, 2))
    targets = y if loss.labels == "class" else np.eye(3)[y]
    problem = Problem(Dense((2, 3), "identity"), loss, Data(X, targets, X[:4], targets[:4]))
    wrong = (X @ W.T).argmax(axis=1) != y
    assert problem.classifies
    np.testing.assert_allclose(problem.error((W,)), wrong.mean(), rtol=1e-15)
    np.testing.assert_allclose(problem.test_error((W,)), wrong[:4].mean(), rtol=1e-15)


def test_margins_of_classes_are_against_the_best_other_class() -> None:
    data = Data([[1.0], [1.0]], [0, 2])
    problem = Problem(Dense((1, 3), "identity"), CrossEntropy(), data)
    np.testing.assert_array_equal(problem.margins((np.array([[4.0], [1.0], [-2.0]]),)), [3.0, -6.0])


def test_normalised_margins_do_not_change_with_the_scale_of_a_layer() -> None:
    entry = problems.specimen("squared relu", "exponential")
    first, second = entry.weights
    ours = entry.problem.normalised_margins((first, second))
    norm = np.linalg.norm(first) ** 2 * np.linalg.norm(second)
    np.testing.assert_allclose(ours, entry.problem.margins(entry.weights) / norm, rtol=1e-13)
    np.testing.assert_allclose(
        entry.problem.normalised_margins((3.0 * first, 0.1 * second)), ours, rtol=1e-13
    )


def test_the_test_split_has_a_risk_without_decay() -> None:
    data = Data([[1.0]], [[0.0]], [[2.0], [3.0]], [[1.0], [1.0]])
    problem = Problem(Dense((1, 1), "identity"), Square("mean"), data, decay=5.0)
    np.testing.assert_allclose(problem.test_risk((np.array([[1.0]]),)), (1.0 + 4.0) / 2)


# Shapes, minibatches, ensembles ----------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", list(problems.ARCHITECTURES))
def test_unravel_inverts_ravel(architecture: str) -> None:
    entry = problems.specimen(architecture, "square")
    vector = entry.problem.ravel(entry.weights)
    assert vector.shape == (entry.problem.size,)
    back = entry.problem.unravel(vector)
    assert jax.tree.structure(back) == jax.tree.structure(entry.weights)
    jax.tree.map(np.testing.assert_array_equal, back, entry.weights)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_minibatch_gradients_average_to_the_gradient(reduction: Any) -> None:
    base = problems.specimen("relu", "logistic")
    problem = Problem(base.problem.network, Logistic(reduction), base.problem.data, decay=0.1)
    batches = [problem.minibatch(jnp.array(pair)) for pair in ((0, 1), (2, 3))]
    mean = sum(np.asarray(batch.ravel(batch.gradient(base.weights))) for batch in batches) / 2
    np.testing.assert_allclose(mean, problem.ravel(problem.gradient(base.weights)), rtol=1e-12, atol=1e-15)
    logs = [float(batch.log_risk(base.weights)) for batch in batches]
    np.testing.assert_allclose(np.exp(logs).mean(), problem.risk(base.weights), rtol=1e-13)


def _member(seed: int, decay: Any = 0.0) -> tuple[Problem, Any]:
    generator = np.random.default_rng(seed)
    data = Data(generator.standard_normal((5, 2)), [1.0, -1, 1, -1, 1], provenance=f"seed {seed}")
    weights = (generator.standard_normal((3, 2)), generator.standard_normal((1, 3)))
    return Problem(Dense((2, 3, 1)), Logistic(), data, decay), weights


def test_an_ensemble_computes_what_its_members_compute() -> None:
    members = [_member(0, [0.1, 0.2]), _member(1, [0.3, 0.0]), _member(2, [0.0, 0.0])]
    together, weights = stack([p for p, _ in members]), stack([w for _, w in members])

    @eqx.filter_jit
    @eqx.filter_vmap
    def quantities(problem: Problem, w: Any) -> Any:
        log = problem.ravel(problem.log_gradient(w))
        return problem.potential(w), log, problem.hessian(w), problem.normalised_margins(w), problem.error(w)

    ours = quantities(together, weights)
    for i, (problem, w) in enumerate(members):
        alone = (
            problem.potential(w),
            problem.ravel(problem.log_gradient(w)),
            problem.hessian(w),
            problem.normalised_margins(w),
            problem.error(w),
        )
        for mine, theirs in zip(ours, alone, strict=True):
            np.testing.assert_allclose(mine[i], theirs, rtol=1e-11, atol=1e-13)


def test_keys_of_random_numbers_are_stacked_as_keys() -> None:
    # what holds a typed key, as a kicked flow or SGD does, has no NumPy form
    keys = [jax.random.key(seed) for seed in (3, 4)]
    together = stack(keys)
    assert jax.dtypes.issubdtype(together.dtype, jax.dtypes.prng_key)
    for k, key in enumerate(keys):
        assert np.array_equal(jax.random.key_data(together[k]), jax.random.key_data(key))


def test_stacks_ravels_and_cuts_are_the_same_traced_or_not() -> None:
    problem = Problem(Dense((2, 3, 1), "tanh"), Square(), Data(np.eye(2), np.ones((2, 1))))
    vector = np.arange(9.0)
    weights = problem.unravel(vector)
    traced = jax.jit(lambda v: problem.unravel(v))(vector)
    assert all(np.array_equal(a, b) for a, b in zip(weights, traced, strict=True))
    assert np.array_equal(problem.ravel(weights), vector)
    assert np.array_equal(jax.jit(lambda w: problem.ravel(w))(weights), vector)
    assert np.array_equal(jax.jit(lambda a, b: stack([a, b]))(vector, -vector), stack([vector, -vector]))


def test_unstack_inverts_stack() -> None:
    members = [_member(0), _member(1)]
    together = stack([p for p, _ in members])
    for i, (problem, _) in enumerate(members):
        back = unstack(together, i)
        assert back.data.digest() == problem.data.digest()
    jax.tree.map(np.testing.assert_array_equal, unstack(stack([w for _, w in members]), -1), members[1][1])


def test_problems_that_differ_in_provenance_share_a_compilation() -> None:
    traced = []

    @eqx.filter_jit
    def potential(problem: Problem, w: Any) -> Any:
        traced.append(1)
        return problem.potential(w)

    for seed in range(3):
        potential(*_member(seed))
    assert len(traced) == 1


def test_members_that_do_not_fit_together_are_refused() -> None:
    problem, weights = _member(0)
    sum_not_mean = Problem(problem.network, Logistic("mean"), problem.data)
    for members, words in (
        ([], "at least one"),
        ([problem, sum_not_mean], "built unlike"),
        ([problem, Problem(problem.network, problem.loss, problem.data, [0.1, 0.1])], "one shape"),
        ([weights, (weights[0], "text")], "arrays only"),
    ):
        with pytest.raises(ValueError, match=words):
            stack(members)
    with pytest.raises(ValueError, match="no member 2"):
        unstack(stack([weights, weights]), 2)


# Precision -------------------------------------------------------------------------------------------------


def test_a_problem_may_be_built_of_traced_data_and_decay() -> None:
    network, inputs = Dense((2, 1)), jax.random.normal(jax.random.key(0), (5, 3, 2))
    weights = network.init(jax.random.key(1), Gaussian(1.0))

    def potential(x: Any, decay: Any) -> Any:
        return Problem(network, Square(), Data(x, x[:, :1]), decay).potential(weights)

    decays = jnp.linspace(0.0, 1.0, 5)
    one_by_one = [potential(x, decay) for x, decay in zip(inputs, decays, strict=True)]
    np.testing.assert_allclose(jax.jit(jax.vmap(potential))(inputs, decays), one_by_one, rtol=1e-14)
    slope = jax.grad(potential, argnums=1)(inputs[0], 0.5)
    np.testing.assert_allclose(slope, 0.5 * np.sum(np.square(weights[0])), rtol=1e-14)


def test_an_unchecked_problem_is_of_the_kind_asked_with_the_fields_exchanged() -> None:
    problem = Problem(Dense((2, 1)), Square(), Data(np.ones((4, 2)), np.ones((4, 1))), 0.1)
    other = unchecked(Problem, problem, factor=2.0)
    assert type(other) is Problem
    assert (other.factor, other.network, problem.factor) == (2.0, problem.network, 1.0)
    assert eqx.tree_equal(unchecked(Problem, problem), problem)
    # a minibatch, and a stack, are problems that the constructor could not check
    assert type(fused(problem).minibatch(jnp.array([0, 1]))) is Problem
    assert stack([problem, problem]).decay.shape == (2,)


def test_everything_is_float64_without_x64() -> None:
    with jax.enable_x64(False):
        problem, weights = _member(0, [0.1, 0.2])
        shaky = (np.asarray(weights[0], np.float32), weights[1])
        values = [
            problem.potential(shaky),
            problem.log_potential(shaky),
            problem.gradient(shaky),
            problem.log_gradient(shaky),
            problem.gradient_norm(shaky),
            problem.hessian(shaky),
            problem.hessian_operator(shaky).mv(shaky),
            problem.outputs(shaky),
            problem.output_jacobian(shaky),
            problem.per_example_gradients(shaky),
            problem.normalised_margins(shaky),
            problem.error(shaky),
            problem.unravel(np.arange(9.0)),
            problem.minibatch(jnp.array([0, 1])).potential(shaky),
            stack([problem, problem]),
            unstack(stack([problem, problem]), 1),
            Problem(problem.network, problem.loss, problem.data).decay,
            float(problem.potential(weights)),
        ]
        arrays = [leaf for leaf in jax.tree.leaves(values) if isinstance(leaf, jax.Array)]
        assert {leaf.dtype for leaf in arrays} == {np.dtype(np.float64)}
    assert values[-1] == float(problem.potential(weights))


# Misuse ----------------------------------------------------------------------------------------------------


def _given(**changes: Any) -> dict[str, Any]:
    problem, _ = _member(0)
    return {"network": problem.network, "loss": problem.loss, "data": problem.data, "decay": 0.0} | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": Dense((3, 1), "identity")}, r"inputs of shape \(3,\); the data have \(2,\)"),
        ({"network": Dense((2, 3), "identity")}, "one output; it has 3"),
        ({"loss": Square()}, r"targets\[:, None\]"),
        ({"loss": CrossEntropy(), "network": Dense((2, 2), "identity")}, r"targets.astype\(int\)"),
        ({"loss": Logistic}, r"write e.g. Square\(\)"),
        ({"data": (np.ones((2, 2)), np.ones(2))}, "Data"),
        ({"network": "relu"}, "a Network was expected"),
        ({"decay": -0.1}, "λ ≥ 0"),
        ({"decay": float("nan")}, "λ ≥ 0"),
        ({"decay": [0.1, 0.2, 0.3]}, "decay has 3 numbers and the network 2 layers"),
        ({"loss": CustomLoss(lambda f, y: jnp.sum(f), labels="sign")}, r"values of shape \(\) on 5 examples"),
        ({"data": Data([[1.0, 2.0]], [3.0])}, "the targets contain 3"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Problem(**_given(**changes))


def test_a_test_split_is_checked_too() -> None:
    data = Data([[1.0, 2.0]], [1.0], [[1.0, 2.0]], [0.5])
    with pytest.raises(ValueError, match=r"labels −1 and \+1"):
        Problem(**_given(data=data))


def test_what_a_problem_does_not_have_is_refused_with_a_sentence() -> None:
    square, _, _ = problems.quadratic()
    w = (np.ones((2, 3)),)
    biased = problems.specimen("biased tanh", "exponential")
    for call, words in (
        (lambda: square.log_potential(w), "no log-risk"),
        (lambda: square.margins(w), "no margins"),
        (lambda: square.error(w), "these targets are no labels"),
        (lambda: square.test_risk(w), "no test split"),
        (lambda: square.test_error(w), "no test split"),
        (lambda: square.unravel(np.ones(5)), r"shape \(6,\); \(5,\) was given"),
        (lambda: biased.problem.normalised_margins(biased.weights), "homogeneous in every layer"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert not square.classifies


def test_flat_digits_fit_a_convolutional_network() -> None:
    data = digits(classes=(0, 1), labels="class")
    network = Convolutional((1, 8, 8), outputs=2)
    weights = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.01), network.shapes())
    images = digits(classes=(0, 1), labels="class", flat=False)
    flat = Problem(network, CrossEntropy("mean"), data).potential(weights)
    assert flat == Problem(network, CrossEntropy("mean"), images).potential(weights)


def test_a_function_without_initial_weights_is_a_problem_too() -> None:
    network = Function(lambda w, x: x @ w["a"], input_shape=2, outputs=1)
    problem = Problem(network, Square(), Data([[1.0, 2.0]], [[3.0]]), decay=1.0)
    np.testing.assert_allclose(problem.potential({"a": np.ones((2, 1))}), 1.0)
