"""Observables against NumPy references over the zoo; what has no meaning for a problem is refused in a sentence."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab
import problems
from gradlab.observe.observables import (
    DEFAULT,
    NAMED,
    Balancedness,
    Direction,
    Distance,
    LayerNorms,
    LogLoss,
    Loss,
    Observable,
    default,
    observables,
)
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, CustomLoss, Exponential, Logistic, Square
from gradlab.problem.networks import Dense, Residual
from gradlab.problem.problem import Problem

PAIRS = [
    pytest.param(*pair, id=" on ".join(reversed(pair)))
    for pair in itertools.product(problems.ARCHITECTURES, problems.LOSSES)
]
KNOWN = {kind().name: kind() for kind in NAMED}  # type: ignore[call-arg]


def seen(problem: Problem, weights: Any, *items: str | Observable) -> list[np.ndarray]:
    """Values of observables, evaluated one by one."""
    return [
        np.asarray(item(problem, weights, weights, 0.0)) for item in observables(list(items) or [], problem)
    ]


def one(problem: Problem, weights: Any, item: str | Observable) -> np.ndarray:
    (value,) = seen(problem, weights, item)
    return value


# References ------------------------------------------------------------------------------------------------


def layers(weights: Any) -> list[Any]:
    """The layers of the zoo's networks are the outermost entries of their weights."""
    return list(weights.values()) if isinstance(weights, dict) else list(weights)


def norms(weights: Any) -> np.ndarray:
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(layer)]) for layer in layers(weights)]
    return np.array([math.sqrt(math.fsum(vector**2)) for vector in flat])


def degree(entry: problems.Specimen, k: int) -> int | None:
    """p with f(…, a W_k, …) = aᵖ f, measured at a = 2 and 3; None where there is none."""
    x = np.asarray(entry.problem.data.inputs)

    def scaled(a: float) -> np.ndarray:
        parts = [
            jax.tree.map(lambda leaf, a=a if j == k else 1.0: a * leaf, layer)
            for j, layer in enumerate(layers(entry.weights))
        ]
        keys = list(entry.weights) if isinstance(entry.weights, dict) else None
        return entry.forward(tuple(parts) if keys is None else dict(zip(keys, parts, strict=True)), x)

    for p in range(5):
        if all(np.allclose(scaled(a), a**p * scaled(1.0), rtol=1e-12, atol=1e-13) for a in (2.0, 3.0)):
            return p
    return None


def degrees(entry: problems.Specimen) -> np.ndarray | None:
    found = [degree(entry, k) for k in range(len(layers(entry.weights)))]
    return None if None in found else np.array(found)


def margins(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    if f.shape[1] == 1:
        return y * f[:, 0]
    return np.array([row[c] - max(np.delete(row, c)) for row, c in zip(f, y, strict=True)])


def alignment(matrix: np.ndarray) -> float:
    matrix = matrix.reshape(len(matrix), -1)
    return float(np.linalg.norm(matrix, 2) ** 2 / (matrix**2).sum())


def references(entry: problems.Specimen, test: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """Every observable that has a meaning for the problem, by its definition."""
    w, y, labels = entry.flat(), np.asarray(entry.problem.data.targets), entry.problem.loss.labels
    f, tested = entry.outputs(w), entry.forward(entry.weights, test[0])
    risks = entry.loss(tested, test[1])
    rho = norms(entry.weights)
    expected: dict[str, Any] = {
        "loss": entry.potential(w),
        "risk": entry.loss(f, y).sum() if entry.problem.loss.reduction == "sum" else entry.loss(f, y).mean(),
        "log_loss": math.log(entry.potential(w)),
        "test_loss": risks.sum() if entry.problem.loss.reduction == "sum" else risks.mean(),
        "layer_norms": rho,
        "gradient_norm": np.linalg.norm(entry.gradient(w)),
        "weights": w,
    }
    matrices = [jax.tree.leaves(layer) for layer in layers(entry.weights)]
    if all(len(leaves) == 1 for leaves in matrices):
        expected["alignment"] = [alignment(np.asarray(leaf)) for (leaf,) in matrices]
    if labels != "real":
        expected["margins"] = margins(f, y)
        expected["error"] = np.mean(margins(f, y) <= 0)
        expected["test_error"] = np.mean(margins(tested, test[1]) <= 0)
    d = degrees(entry)
    if d is None:
        return expected
    product = np.prod(rho**d)
    expected |= {"norm_product": product, "normalised_outputs": f / product}
    if labels != "real":
        expected["normalised_margins"] = margins(f, y) / product
        expected["normalised_margin"] = min(margins(f, y)) / product
    if len(rho) > 1:
        expected["balancedness"] = np.diff(rho**2 / d)
    if len(rho) > 1 and entry.problem.network.linear:
        pairs = itertools.pairwise(map(np.asarray, entry.weights))
        expected["matrix_balancedness"] = np.concatenate([(b.T @ b - a @ a.T).ravel() for a, b in pairs])
    return expected


def with_test_split(entry: problems.Specimen) -> tuple[Problem, tuple[np.ndarray, np.ndarray]]:
    """The problem with three other examples to test on."""
    data, generator = entry.problem.data, np.random.default_rng(5)
    x = generator.standard_normal((3, *data.inputs.shape[1:]))
    y = np.asarray(data.targets)[[1, 0, 0]]
    whole = Data(data.inputs, data.targets, x, y)
    return Problem(entry.problem.network, entry.problem.loss, whole, entry.problem.decay), (x, y)


# Values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("architecture", "loss"), PAIRS)
def test_every_observable_over_the_zoo_agrees_with_numpy(architecture: str, loss: str) -> None:
    entry = problems.specimen(architecture, loss)
    problem, test = with_test_split(entry)
    expected = references(entry, test)
    taken = {name: item for name, item in KNOWN.items() if item.refuse(problem) is None}
    assert set(taken) == set(expected)

    def call(problem: Problem, weights: Any) -> dict[str, Any]:
        return {name: item(problem, weights, weights, 0.0) for name, item in taken.items()}

    options: Any = {"xla_backend_optimization_level": 0}
    ours = jax.jit(call, compiler_options=options)(problem, entry.weights)
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(ours[name], value, rtol=1e-11, atol=1e-12 * scale, err_msg=name)
        assert np.ndim(ours[name]) == len(taken[name].dims), name


def test_the_reference_degrees_are_those_of_the_theory() -> None:
    found = {name: degrees(problems.specimen(name, "exponential")) for name in problems.ARCHITECTURES}
    known = {"linear": [1], "deep linear": [1, 1, 1], "relu": [1, 1], "squared relu": [2, 1]}
    assert {name: None if d is None else d.tolist() for name, d in found.items()} == {
        name: known.get(name) for name in problems.ARCHITECTURES
    }


def test_errors_of_residual_losses_count_signs_and_one_hot_rows_and_a_tie_is_an_error() -> None:
    x = np.eye(3)
    signs = Problem(Dense((3, 1), "identity"), Square(), Data(x, [[1.0], [-1.0], [1.0]]))
    assert one(signs, (np.array([[2.0, 3.0, 0.0]]),), "error") == pytest.approx(2 / 3)
    rows = Problem(Dense((3, 3), "identity"), Square(), Data(x, np.eye(3)))
    assert one(
        rows, (np.array([[1.0, 5.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.5]]),), "error"
    ) == pytest.approx(2 / 3)
    hinge = Problem(Dense((3, 1), "identity"), Exponential(), Data(x, [1.0, -1.0, 1.0]))
    assert one(hinge, (np.zeros((1, 3)),), "error") == 1.0


def log_risk(kind: str, values: np.ndarray) -> float:
    """log Σ exp(−m), or log Σ log(1 + exp(−m)), in 60 digits."""
    with localcontext() as context:
        context.prec, context.Emin = 60, -10_000_000
        tails = [(-Decimal(float(m))).exp() for m in values]
        losses = (
            tails
            if kind == "exponential"
            else [(1 + tail).ln() if tail > Decimal("1e-50") else tail for tail in tails]
        )
        return float(sum(losses).ln())  # type: ignore[union-attr]


@pytest.mark.parametrize("scale", [1.0, 30.0, 700.0, 745.0, 1e4, 1e6])
@pytest.mark.parametrize("kind", ["exponential", "logistic", "cross-entropy"])
def test_the_log_loss_is_right_where_the_loss_underflows(kind: str, scale: float) -> None:
    x = np.array([[1.0, 0.0], [0.5, 1.0], [1.25, -0.25]])
    w = scale * np.array([[1.0, 0.5]])
    if kind == "cross-entropy":  # of two classes, w and 0: the logistic loss
        network, data, weights = (
            Dense((2, 2), "identity"),
            Data(x, np.array([0, 0, 0])),
            np.vstack([w, 0 * w]),
        )
    else:
        network, data, weights = Dense((2, 1), "identity"), Data(x, np.ones(3)), w
    loss = {"exponential": Exponential(), "logistic": Logistic(), "cross-entropy": CrossEntropy()}[kind]
    problem = Problem(network, loss, data)
    expected = log_risk(kind, (x @ w.T)[:, 0])
    value, log_value = seen(problem, (weights,), "loss", "log_loss")
    assert float(log_value) == pytest.approx(expected, rel=1e-14)
    if scale <= 700.0:
        assert float(value) == pytest.approx(math.exp(expected), rel=1e-12)
    else:
        assert float(value) == 0.0


def test_without_a_log_risk_the_log_loss_is_the_logarithm_of_the_loss() -> None:
    problem, minimiser, _ = problems.quadratic()
    value, log_value = seen(problem, minimiser, "loss", "log_loss")
    assert float(log_value) == math.log(float(value))


def test_the_gradient_norm_survives_squares_that_underflow() -> None:
    problem = problems.one_point()
    assert float(one(problem, (np.array([[600.0]]),), "gradient_norm")) == pytest.approx(
        math.exp(-600), rel=1e-12
    )


# Conserved quantities --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["square", "l3", "logistic", "cross-entropy"])
@pytest.mark.parametrize("architecture", ["deep linear", "relu", "squared relu"])
def test_balancedness_does_not_change_along_the_gradient(architecture: str, loss: str) -> None:
    entry = problems.specimen(architecture, loss)
    problem = Problem(entry.problem.network, entry.problem.loss, entry.problem.data)
    weights = jax.tree.map(jnp.asarray, entry.weights)
    motion = jax.tree.map(jnp.negative, problem.gradient(weights))

    def rate(item: Observable) -> np.ndarray:
        return np.asarray(jax.jvp(lambda w: item(problem, w, w, 0.0), (weights,), (motion,))[1])

    speed = np.abs(rate(LayerNorms())).max()
    names = ["balancedness"] + ["matrix_balancedness"] * (architecture == "deep linear")
    for item in observables(names, problem):
        assert np.abs(rate(item)).max() <= 1e-13 * max(speed, 1.0)
    assert speed > 1e-3  # the norms themselves do move


def test_of_squared_relu_the_weighted_difference_is_conserved_and_the_plain_one_is_not() -> None:
    entry = problems.specimen("squared relu", "logistic")
    problem = Problem(entry.problem.network, entry.problem.loss, entry.problem.data)
    flow = gradlab.GradientFlow(problem)
    run = gradlab.run(
        flow, entry.weights, [1.0, 4.0], solver="dopri5", observables=["balancedness", "layer_norms"]
    )
    weighted, squares = run["balancedness"].values[:, 0], run["layer_norms"].values ** 2
    np.testing.assert_allclose(weighted, squares[:, 1] - squares[:, 0] / 2, rtol=1e-13)
    assert np.ptp(weighted) < 1e-8
    assert np.ptp(squares[:, 1] - squares[:, 0]) > 0.05
    assert run["balancedness"].dims == ("record", "pair")


# Solutions -------------------------------------------------------------------------------------------------


def linear(outputs: int = 2, inputs: int = 3) -> Problem:
    generator = np.random.default_rng(0)
    data = Data(generator.standard_normal((4, inputs)), generator.standard_normal((4, outputs)))
    return Problem(Dense((inputs, outputs), "identity"), Square(), data)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """atan2 of |a ∧ b| and a·b in exact rational arithmetic, rounded once at the end."""
    p, q = ([Fraction(float(entry)) for entry in np.ravel(vector)] for vector in (a, b))
    inner = sum(x * y for x, y in zip(p, q, strict=True))
    wedge = sum(x * x for x in p) * sum(y * y for y in q) - inner * inner

    def root(square: Fraction) -> float:
        shift = 2.0**-512 if square and square < Fraction(1, 2**900) else 1.0
        return math.sqrt(float(square / Fraction(shift) ** 2)) * shift

    return math.atan2(root(Fraction(wedge)), float(inner))


@pytest.mark.parametrize("turn", [0.0, 1e-12, 1e-8, 1e-3, 1.0, math.pi / 2, 3.0, math.pi - 1e-12])
def test_the_direction_is_accurate_at_every_angle(turn: float) -> None:
    problem, generator = linear(), np.random.default_rng(3)
    u, v = np.linalg.qr(generator.standard_normal((6, 2)))[0].T.reshape(2, 2, 3)
    solution, weights = 7.0 * u, 0.3 * (math.cos(turn) * u + math.sin(turn) * v)
    ours = float(one(problem, (weights,), Direction((solution,))))
    # Half an ulp in every entry of a unit vector turns it by as much: no formula does better.
    assert ours == pytest.approx(angle(weights, solution), rel=4e-16, abs=4e-16)


@pytest.mark.parametrize("turn", [1e-12, 1e-15, 1e-100])
def test_a_small_angle_that_floats_hold_exactly_is_exact_to_rounding(turn: float) -> None:
    problem = linear(outputs=1, inputs=2)
    for length in (1.0, 2.0**40):
        item = Direction((np.array([[4.0, 0.0]]),))
        ours = float(one(problem, (np.array([[length, length * turn]]),), item))
        assert ours == pytest.approx(turn, rel=1e-14)
    # …where the arc cosine sees nothing.
    assert math.acos(1.0 / math.hypot(1.0, 1e-12)) == 0.0


def test_the_distance_is_over_all_weights() -> None:
    entry = problems.specimen("biased tanh", "square")
    other = jax.tree.map(lambda leaf: leaf + 0.5, entry.weights)
    ours = float(one(entry.problem, entry.weights, Distance(other)))
    assert ours == pytest.approx(0.5 * math.sqrt(entry.flat().size), rel=1e-14)
    assert float(one(entry.problem, entry.weights, Distance(entry.weights))) == 0.0


@pytest.mark.parametrize("kind", [Distance, Direction])
@pytest.mark.parametrize(
    "solution", [(np.ones((1, 3)),), (np.ones((3, 3)),), np.ones((2, 3)), [np.ones((2, 3))]]
)
def test_a_solution_that_would_broadcast_or_does_not_fit_is_refused(kind: Any, solution: Any) -> None:
    with pytest.raises(ValueError, match="give a solution like the weights"):
        one(linear(), (np.zeros((2, 3)),), kind(solution))


# Refusals --------------------------------------------------------------------------------------------------


def refusal(problem: Problem, *items: Any) -> str:
    with pytest.raises(ValueError) as caught:
        observables(items, problem)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


@pytest.mark.parametrize(
    ("name", "architecture", "loss", "why", "remedy"),
    [
        ("error", "relu", "square", "not labels", "leave it out"),
        ("test_loss", "relu", "square", "needs a test split; the data have none", "give test_inputs"),
        ("test_error", "relu", "logistic", "needs a test split; the data have none", "give test_inputs"),
        ("norm_product", "biased tanh", "square", "homogeneous in every layer", "leave it out"),
        ("normalised_outputs", "residual", "square", "homogeneous in every layer", "leave it out"),
        ("normalised_margin", "convolutional", "logistic", "homogeneous in every layer", "leave it out"),
        ("normalised_margins", "function", "logistic", "homogeneous in every layer", "leave it out"),
        ("normalised_margin", "relu", "square", "needs a margin loss; Square has residuals", "leave it out"),
        (
            "normalised_margins",
            "relu",
            "custom",
            "needs a margin loss; CustomLoss has residuals",
            "leave it out",
        ),
        ("margins", "relu", "l3", "needs a margin loss; Lp has residuals", "leave it out"),
        (
            "balancedness",
            "linear",
            "square",
            "compares neighbouring layers; this network has one",
            "leave it out",
        ),
        ("balancedness", "biased tanh", "square", "homogeneous in every layer", "leave it out"),
        ("balancedness", "residual", "square", "homogeneous in every layer", "leave it out"),
        ("matrix_balancedness", "relu", "square", "belongs to deep linear nets", "use balancedness"),
        ("matrix_balancedness", "linear", "square", "belongs to deep linear nets", "use balancedness"),
        ("alignment", "biased tanh", "square", "needs one matrix a layer", "leave it out"),
    ],
)
def test_what_has_no_meaning_is_refused_with_the_reason_and_what_to_do(
    name: str, architecture: str, loss: str, why: str, remedy: str
) -> None:
    said = refusal(problems.specimen(architecture, loss).problem, name)
    assert said.startswith(name)
    assert why in said
    assert remedy in said


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    problem = linear()
    assert refusal(problem, "layer_norm") == "unknown observable 'layer_norm': did you mean 'layer_norms'?"
    assert "did you mean 'log_loss'?" in refusal(problem, "logloss")
    assert "known are loss, risk, log_loss, error," in refusal(problem, "xyz")


@pytest.mark.parametrize("items", ["loss", Loss(), 3, None])
def test_observables_that_are_no_list_are_refused(items: Any) -> None:
    with pytest.raises(
        ValueError, match=r"observables is a list of names and Observables, not .*: write \['loss'\]"
    ):
        observables(items, linear())


@pytest.mark.parametrize("item", [3, None, LogLoss, ["loss"]])
def test_an_item_that_is_no_observable_is_refused(item: Any) -> None:
    said = refusal(linear(), "loss", item)
    assert "an observable is a name such as 'loss' or an Observable such as Distance(solution), not " in said


def test_names_are_unique_and_leave_those_of_the_trajectory_and_its_error_bars_alone() -> None:
    problem, solution = linear(), (np.zeros((2, 3)),)
    assert "two observables are called 'loss'" in refusal(problem, "loss", "loss")
    assert "two observables are called 'distance'" in refusal(problem, Distance(solution), Distance(solution))
    for name in ("t", "tau", "log_t", "status", "final_weights", "record", "weight", "chart_rho"):
        assert f"is called {name!r}, which a trajectory uses" in refusal(
            problem, Distance(solution, name=name)
        )
    for items in (
        (Distance(solution, name="loss_error"), "loss"),
        ("loss", Distance(solution, name="loss_error")),
    ):
        assert "'loss_error', the name of the error bar of 'loss'" in refusal(problem, *items)
    assert "error bar of 'log_t'" in refusal(problem, Direction(solution, name="log_t_error"))
    pair = observables([Distance(solution, name="near"), Distance(solution, name="far")], problem)
    assert [item.name for item in pair] == ["near", "far"]


def test_the_default_is_what_applies_in_its_order() -> None:
    for architecture, loss in (
        ("relu", "logistic"),
        ("biased tanh", "square"),
        ("residual", "cross-entropy"),
    ):
        problem = problems.specimen(architecture, loss).problem
        names = [item.name for item in default(problem)]
        assert names == [name for name in DEFAULT if KNOWN[name].refuse(problem) is None]
        assert {"loss", "log_loss", "layer_norms", "gradient_norm"} <= set(names)
    problem, _ = with_test_split(problems.specimen("relu", "logistic"))
    assert [item.name for item in default(problem)] == list(DEFAULT)


def test_one_s_own_observable_is_asked_like_the_others() -> None:
    class Largest(Observable):
        """max |w|."""

        name: str = "largest"

        def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Any:
            return jnp.max(jnp.abs(problem.ravel(weights)))

        def refuse(self, problem: Problem) -> str | None:
            return (
                "largest is for plain networks: leave it out"
                if isinstance(problem.network, Residual)
                else None
            )

    assert float(one(linear(), (np.array([[1.0, -4.0, 2.0], [0.0, 3.0, 1.0]]),), Largest())) == 4.0
    assert "leave it out" in refusal(problems.specimen("residual", "square").problem, Largest())


def test_a_custom_loss_with_a_log_value_has_a_log_loss_beyond_underflow() -> None:
    loss = CustomLoss(lambda f, y: jnp.exp(-y * f[:, 0]), lambda f, y: -y * f[:, 0], labels="sign")
    value, log_value = seen(problems.one_point(loss), (np.array([[5000.0]]),), "loss", "log_loss")
    assert (float(value), float(log_value)) == (0.0, -5000.0)


def test_the_weighted_norms_of_a_layer_without_weights_stay_finite() -> None:
    entry = problems.specimen("relu", "square")
    weights = jax.tree.map(jnp.zeros_like, entry.weights)
    values = seen(entry.problem, weights, "layer_norms", "norm_product", "gradient_norm", Balancedness())
    assert all(np.isfinite(value).all() for value in values)
