"""Losses, their logarithms and margins, against 60-digit decimals and formulas; what they refuse."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradlab.problem.kinked import Hinge, Quantile, Softened
from gradlab.problem.losses import CrossEntropy, CustomLoss, Exponential, Logistic, Loss, Lp, Square

_MARGINS = [10.0, 19.5, 20.0, 20.5, 100.0, 700.0, 740.0, 1e3, 1e4, 1e5, 1e6]

# Decimals --------------------------------------------------------------------------------------------------


def _log_softplus(s: Decimal) -> tuple[Decimal, Decimal]:
    """log log(1 + eˢ) and its derivative."""
    if s < -150:
        u = s.exp()  # log(1 + u) = u (1 − u/2) and derivative 1 − u/2, up to 1e-130
        return s + (1 - u / 2).ln(), 1 - u / 2
    softplus = (1 + s.exp()).ln() if s < 150 else s + (-s).exp()
    return softplus.ln(), 1 / ((1 + (-s).exp()) * softplus)


def _decimal_logs(loss: Any, outputs: np.ndarray, targets: np.ndarray) -> list[tuple[Decimal, list[Decimal]]]:
    """For every example log ℓ_n and ∂ log ℓ_n/∂f."""
    rows = []
    for f, y in zip(outputs, targets, strict=True):
        f = [Decimal(float(value)) for value in f]
        if loss.labels == "sign":
            y = Decimal(float(y))
            log, slope = (
                (-y * f[0], Decimal(1)) if isinstance(loss, Exponential) else _log_softplus(-y * f[0])
            )
            rows.append((log, [-y * slope]))
            continue
        terms = [Decimal(0) if c == y else (value - f[y]).exp() for c, value in enumerate(f)]
        total = sum(terms, start=Decimal(0))
        log, slope = _log_softplus(total.ln())
        rows.append((log, [slope * ((term / total) if c != y else -1) for c, term in enumerate(terms)]))
    return rows


def _decimal_log_risk(loss: Any, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    with localcontext() as context:
        context.prec = 60
        rows = _decimal_logs(loss, outputs, targets)
        values = [log.exp() for log, _ in rows]
        total = sum(values, start=Decimal(0))
        scale = Decimal(1) if loss.reduction == "sum" else 1 / Decimal(len(values))
        gradient = [
            [float(value / total * d) for d in slopes]
            for value, (_, slopes) in zip(values, rows, strict=True)
        ]
        return float((total * scale).ln()), np.array(gradient)


@jax.jit
def _log_risk(loss: Any, outputs: Any, targets: Any) -> Any:
    return jax.value_and_grad(loss.log_risk)(outputs, targets)


def _check_log_risk(loss: Any, outputs: np.ndarray, targets: np.ndarray) -> None:
    value, gradient = _log_risk(loss, jnp.asarray(outputs), jnp.asarray(targets))
    expected, slopes = _decimal_log_risk(loss, outputs, targets)
    np.testing.assert_allclose(value, expected, rtol=1e-15, atol=1e-14)
    # a weight p_n = exp(log ℓ_n − log Σ ℓ) has the relative error of rounding log ℓ_n
    room = 4 * np.finfo(float).eps * max(1.0, np.abs(outputs).max())
    np.testing.assert_allclose(gradient, slopes, rtol=room, atol=1e-300)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("kind", [Exponential, Logistic])
@pytest.mark.parametrize("margin", [s * m for m in _MARGINS for s in (1.0, -1.0)])
def test_log_risk_of_signs_is_right_at_any_margin(kind: Any, reduction: Any, margin: float) -> None:
    targets = np.array([1.0, -1.0, 1.0])
    # the third example is e^{−1/2} times as heavy as the first two, whose weights are equal
    outputs = (margin * np.array([1.0, 1.0, 1.0]) + [0.0, 0.0, 0.5]) * targets
    _check_log_risk(kind(reduction), outputs[:, None], targets)


@pytest.mark.parametrize("margin", [s * m for m in _MARGINS for s in (1.0, -1.0)])
def test_log_risk_of_classes_is_right_at_any_margin(margin: float) -> None:
    targets = np.array([0, 2])
    outputs = np.array([[margin, 0.0, 0.25], [-0.5, 0.0, margin]])
    _check_log_risk(CrossEntropy(), outputs, targets)


def test_the_example_with_the_smallest_margin_carries_a_risk_that_underflows() -> None:
    outputs, targets = np.array([[1e6], [1e3], [-2e5]]), np.array([1.0, 1.0, -1.0])
    for loss in (Exponential(), Logistic()):
        _check_log_risk(loss, outputs, targets)
        assert float(loss.risk(jnp.asarray(outputs), jnp.asarray(targets))) == 0.0


def test_small_numbers_are_flushed_which_is_why_there_is_a_log_risk() -> None:
    exponential = jax.jit(jnp.exp)
    assert float(exponential(-740.0)) == 0.0 < np.exp(-740.0)
    value, _ = _log_risk(Exponential(), jnp.full((1, 1), 740.0), jnp.ones(1))
    assert float(value) == -740.0


@pytest.mark.parametrize("loss", [Exponential("mean"), Logistic(), CrossEntropy("mean")])
def test_log_risk_is_the_log_of_the_risk_where_both_exist(loss: Any) -> None:
    generator = np.random.default_rng(0)
    outputs = 3.0 * generator.standard_normal((6, 1 if loss.labels == "sign" else 3))
    targets = jnp.arange(6) % 3 if loss.labels == "class" else jnp.where(jnp.arange(6) % 2, 1.0, -1.0)
    value, gradient = _log_risk(loss, outputs, targets)
    risk, plain = jax.value_and_grad(loss.risk)(jnp.asarray(outputs), targets)
    np.testing.assert_allclose(value, np.log(risk), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(gradient, plain / risk, rtol=1e-12)
    logs = loss.log_per_example(jnp.asarray(outputs), targets)
    np.testing.assert_allclose(logs, np.log(loss.per_example(jnp.asarray(outputs), targets)), rtol=1e-12)


@pytest.mark.parametrize("s", [-1e6, -20.5, -20.0, -19.5, 0.0, 5.0, 1e6])
def test_second_derivatives_of_the_log_logistic_loss_are_finite_and_right(s: float) -> None:
    second = jax.grad(jax.grad(lambda f: Logistic().log_per_example(f[None, None], jnp.ones(1))[0]))(-s)
    with localcontext() as context:
        context.prec = 60
        h = Decimal("1e-15")
        slopes = [_log_softplus(Decimal(s) + shift)[1] for shift in (h, -h)]
        expected = float((slopes[0] - slopes[1]) / (2 * h))
    np.testing.assert_allclose(second, expected, rtol=1e-9, atol=1e-14)


# Values ----------------------------------------------------------------------------------------------------


def test_residual_losses_on_a_three_four_five_triangle() -> None:
    outputs, targets = jnp.array([[3.0, 0.0], [1.0, 1.0]]), jnp.array([[0.0, 4.0], [1.0, 1.0]])
    for loss, values in (
        (Square(), [25.0, 0.0]),
        (Square(half=True), [12.5, 0.0]),
        (Lp(1), [7.0, 0.0]),
        (Lp(2), [25.0, 0.0]),
        (Lp(3), [91.0, 0.0]),
        (Lp(4), [337.0, 0.0]),
        (Lp(1.5), [3**1.5 + 8.0, 0.0]),
    ):
        np.testing.assert_allclose(loss.per_example(outputs, targets), values, rtol=1e-15)
        np.testing.assert_allclose(loss.risk(outputs, targets), sum(values), rtol=1e-15)
    np.testing.assert_allclose(Square("mean").risk(outputs, targets), 12.5)
    np.testing.assert_allclose(Lp(3, "mean").risk(outputs, targets), 45.5)


@pytest.mark.parametrize("p", [1, 1.5, 2, 2.5, 3, 4])
def test_lp_has_finite_derivatives_at_a_residual_of_zero(p: float) -> None:
    def value(f: Any) -> Any:
        return Lp(p).per_example(f[None, None], jnp.zeros((1, 1)))[0]

    assert float(jax.grad(value)(0.0)) == 0.0
    assert float(jax.grad(jax.grad(value))(0.0)) == (2.0 if p == 2 else 0.0)
    np.testing.assert_allclose(jax.grad(value)(-2.0), -p * 2.0 ** (p - 1), rtol=1e-14)


def test_cross_entropy_is_minus_log_softmax() -> None:
    outputs, targets = np.random.default_rng(0).standard_normal((5, 4)), jnp.array([0, 1, 2, 3, 0])
    expected = -np.log(np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True))[np.arange(5), targets]
    np.testing.assert_allclose(
        CrossEntropy().per_example(jnp.asarray(outputs), targets), expected, rtol=1e-13
    )


def test_cross_entropy_of_two_classes_is_the_logistic_loss_of_their_difference() -> None:
    f = np.random.default_rng(0).standard_normal((6, 2))
    y = jnp.arange(6) % 2
    classes = CrossEntropy().per_example(jnp.asarray(f), y)
    signs = Logistic().per_example(jnp.asarray(f[:, 1:] - f[:, :1]), 2.0 * y - 1.0)
    np.testing.assert_allclose(classes, signs, rtol=1e-13)


def test_margins_of_signs_and_of_classes() -> None:
    np.testing.assert_array_equal(
        Exponential().margins(jnp.array([[2.0], [3.0]]), jnp.array([1.0, -1.0])), [2, -3]
    )
    outputs = jnp.array([[1.0, 5.0, 2.0], [1.0, 5.0, 2.0]])
    np.testing.assert_array_equal(CrossEntropy().margins(outputs, jnp.array([1, 2])), [3.0, -3.0])


def test_a_custom_loss_with_a_log_is_its_twin() -> None:
    twin = CustomLoss(
        lambda f, y: jnp.exp(-y * f[:, 0]), lambda f, y: -y * f[:, 0], reduction="mean", labels="sign"
    )
    outputs, targets = jnp.array([[900.0], [901.0]]), jnp.array([1.0, 1.0])
    assert twin.has_log
    assert twin.kind == "margin"
    assert float(twin.log_risk(outputs, targets)) == float(Exponential("mean").log_risk(outputs, targets))
    np.testing.assert_array_equal(twin.margins(outputs, targets), [900.0, 901.0])


def test_kinds_labels_and_logs_are_what_the_losses_are() -> None:
    table = {
        Square(): ("residual", "real", False),
        Lp(3): ("residual", "real", False),
        Exponential(): ("margin", "sign", True),
        Logistic(): ("margin", "sign", True),
        CrossEntropy(): ("margin", "class", True),
        CustomLoss(lambda f, y: f[:, 0]): ("residual", "real", False),
    }
    assert {loss: (loss.kind, loss.labels, loss.has_log) for loss in table} == table


# Misuse ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "words"),
    [
        (Square(), 1, [1.0, 2.0], r"write targets\[:, None\]"),
        (Square(), 3, [0, 1], r"numpy.eye\(C\)\[targets\]"),
        (Lp(3), 2, [[1.0]], "give 2 columns, or a network with 1 outputs"),
        (Exponential(), 2, [1.0], "one output; it has 2"),
        (Exponential(), 1, [[1.0]], r"write targets\[:, 0\]"),
        (Logistic(), 1, [0.0, 1.0], r"contain 0: write 2 \* targets - 1"),
        (Logistic(), 1, [3.0, 1.0], r"contain 3: write where\(targets > 0, 1, -1\)"),
        (CrossEntropy(), 1, [0, 1], "at least two; it has 1"),
        (CrossEntropy(), 3, [0.0, 1.0], r"targets.astype\(int\)"),
        (CrossEntropy(), 3, [0.5, 1.0], "integer classes 0 … 2"),
        (CrossEntropy(), 3, [0, 3], "the targets contain 3: number the classes from 0"),
        (CrossEntropy(), 3, [-1, 1], "the targets contain -1"),
        (CrossEntropy(), 3, np.eye(3), r"targets.argmax\(1\)"),
        (CustomLoss(lambda f, y: f[:, 0], labels="sign"), 1, [2.0], "CustomLoss takes labels −1"),
    ],
)
def test_targets_that_do_not_fit_are_refused(loss: Any, outputs: int, targets: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        loss.check(outputs, np.asarray(targets))


@pytest.mark.parametrize(
    ("loss", "outputs", "targets"),
    [
        (Square(), 1, [[1.0], [2.0]]),
        (Exponential(), 1, [1, -1]),
        (CrossEntropy(), 3, [0, 2]),
        (CrossEntropy(), 3, [0, 0]),
    ],
)
def test_targets_that_fit_are_let_through(loss: Any, outputs: int, targets: Any) -> None:
    loss.check(outputs, np.asarray(targets))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Square(reduction="average"), "'sum' or 'mean', not 'average'"),
        (lambda: Lp(0.5), "1 ≤ p < ∞; p = 0.5"),
        (lambda: Lp(float("nan")), "1 ≤ p"),
        (lambda: Lp(3, "total"), "'sum' or 'mean'"),
        (lambda: CustomLoss(lambda f, y: f, labels="binary"), "'real', 'sign' or 'class'"),
        (lambda: CustomLoss("square"), "give a function"),
        (lambda: Square().log_risk(jnp.ones((1, 1)), jnp.ones((1, 1))), "Square has no log-risk"),
        (lambda: Lp(3).log_risk(jnp.ones((1, 1)), jnp.ones((1, 1))), "Lp has no log-risk"),
        (
            lambda: CustomLoss(lambda f, y: f[:, 0]).log_risk(jnp.ones((1, 1)), jnp.ones((1, 1))),
            "give log_value= to CustomLoss",
        ),
        (lambda: Lp(3).margins(jnp.ones((1, 1)), jnp.ones((1, 1))), "Lp is a loss of residuals"),
    ],
)
def test_misuse_is_refused_with_a_sentence(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


# Derivatives in NumPy -----------------------------------------------------------------------------------------


def _quartic(outputs: Any, targets: Any) -> Any:
    return jnp.sum((outputs - targets) ** 4, axis=1)


#: Losses with a number of outputs, every class of them.
DIFFERENTIATED = [
    *((kind, outputs) for kind in (Square(), Square("mean", half=True)) for outputs in (1, 2)),
    *((Lp(p, "mean"), 2) for p in (1, 1.5, 2, 2.5, 3, 4)),
    (Exponential(), 1),
    (Logistic("mean"), 1),
    (CrossEntropy("mean"), 3),
    (CustomLoss(_quartic, reduction="mean"), 2),
    (Quantile(0.8), 2),
    (Hinge("mean"), 1),
]


def _examples(loss: Any, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    f = 3.0 * random.standard_normal((5, outputs))
    real = random.standard_normal((5, outputs))
    real[0, 0] = f[0, 0]  # a residual of zero
    return f, {"real": real, "sign": np.array([1, -1, 1, -1, 1]), "class": np.arange(5) % 3}[loss.labels]


def test_the_list_has_every_loss() -> None:
    rooms = (Loss.__module__, Hinge.__module__)
    known = {kind for kind in Loss.__subclasses__() if kind.__module__ in rooms} - {Softened}
    assert {type(loss) for loss, _ in DIFFERENTIATED} == known


@pytest.mark.parametrize(
    ("loss", "outputs"), [(Lp(1), 2), (Lp(1.5), 2), (Quantile(0.3), 2), (Hinge(), 1)], ids=str
)
def test_a_softened_loss_is_within_its_scale_of_the_loss_and_smooth_at_the_kink(
    loss: Any, outputs: int
) -> None:
    f, targets = _examples(loss, outputs)
    f[0] = targets[0]
    for epsilon in (1e-2, 1e-4):
        soft = Softened(loss, epsilon)
        gap = soft.derivative(f, targets, 0) - loss.derivative(f, targets, 0)
        assert np.all(gap >= 0.0)
        assert gap.max() <= 2.0 * outputs * epsilon
        assert soft.smooth
        assert not loss.smooth
        assert np.abs(soft.derivative(f, targets, 2)[0]).max() > 0.1 / epsilon**0.5


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize(("loss", "outputs"), DIFFERENTIATED, ids=str)
def test_derivatives_in_numpy_are_those_of_automatic_differentiation(
    loss: Any, outputs: int, order: int
) -> None:
    f, targets = _examples(loss, outputs)

    def one(output: Any, target: Any) -> Any:
        return loss.per_example(output[None], target[None])[0]

    expected = jax.vmap((one, jax.grad(one), jax.hessian(one))[order])(f, targets)
    found = loss.derivative(f, targets, order)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("margin", [1.0, 40.0, 300.0])
def test_cross_entropy_keeps_its_digits_where_an_example_is_safe(margin: float) -> None:
    """softmax_y − 1 loses them all from a margin of 37 on; with two other classes the sum behind is 2 e^{−s}."""
    f, targets, away = np.array([[0.0, margin, 0.0]]), np.array([1]), 2 * np.exp(-margin)
    loss, rounding = CrossEntropy(), 4e-16 * max(margin, 4.0)  # of an exponential of the margin
    np.testing.assert_allclose(loss.derivative(f, targets, 0), [np.log1p(away)], rtol=rounding)
    slope = loss.derivative(f, targets, 1)[0]
    np.testing.assert_allclose(slope, away / (1 + away) * np.array([0.5, -1, 0.5]), rtol=rounding)
    curvature = loss.derivative(f, targets, 2)[0]
    np.testing.assert_allclose(curvature[1, 1], away / (1 + away) ** 2, rtol=rounding)
    np.testing.assert_allclose(curvature.sum(axis=0), 0, atol=rounding * away)


@pytest.mark.parametrize(("loss", "outputs"), DIFFERENTIATED, ids=str)
def test_slopes_are_the_derivatives_of_the_risk(loss: Any, outputs: int) -> None:
    f, targets = _examples(loss, outputs)
    first, second = loss.slopes(f, targets)
    np.testing.assert_allclose(first, jax.grad(loss.risk)(f, targets), rtol=1e-13, atol=1e-14)
    whole = jax.hessian(loss.risk)(f, targets)
    own = np.stack([whole[n, :, n] for n in range(len(f))])
    np.testing.assert_allclose(second, own, rtol=1e-13, atol=1e-13)
