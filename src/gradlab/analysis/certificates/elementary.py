"""Activations and losses with two derivatives in ball arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gradlab.analysis.certificates.balls import Ball, Refusal, ball, constant, monotone
from gradlab.problem.activations import Activation, LeakyReLU, Polynomial, SmoothReLU
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss, Lp, Square

#: z ↦ (σ(z), σ'(z), σ''(z)).
Jet = Callable[[Ball], tuple[Ball, Ball, Ball]]


class LossJet(NamedTuple):
    """ℓ, ∂ℓ/∂f (C,) and ∂²ℓ/∂f² (C, C) of one example."""

    value: Ball
    gradient: list[Ball]
    hessian: list[list[Ball]]


# Activations -----------------------------------------------------------------------------------------------


def _sigmoid(z: Ball) -> Ball:
    return monotone(lambda point: 1 / (1 + (-point).exp()), z)


def _identity(z: Ball) -> tuple[Ball, Ball, Ball]:
    return z, ball(1.0), ball(0.0)


def _tanh(z: Ball) -> tuple[Ball, Ball, Ball]:
    t = monotone(lambda point: point.tanh(), z)
    slope = (1 - t) * (1 + t)
    return t, slope, -2 * t * slope


def _logistic_function(z: Ball) -> tuple[Ball, Ball, Ball]:
    s = _sigmoid(z)
    slope = s * (1 - s)
    return s, slope, slope * (1 - 2 * s)


def _gelu(z: Ball) -> tuple[Ball, Ball, Ball]:
    """z Φ(z), Φ(z) + z φ(z), φ(z) (2 − z²)."""
    cumulative = (1 + monotone(lambda point: (point / ball(2.0).sqrt()).erf(), z)) / 2
    square = z**2
    density = (-square / 2).exp() / (2 * constant("pi")).sqrt()
    return z * cumulative, cumulative + z * density, density * (2 - square)


def _smooth_relu(epsilon: float) -> Jet:
    def jet(z: Ball) -> tuple[Ball, Ball, Ball]:
        u = z / ball(epsilon)
        s, slope, curvature = _logistic_function(u)
        return z * s, s + u * slope, (2 * slope + u * curvature) / ball(epsilon)

    return jet


def _powers(coefficients: tuple[float, ...]) -> Jet:
    def horner(numbers: list[Ball], z: Ball) -> Ball:
        value = ball(0.0)
        for number in reversed(numbers):
            value = value * z + number
        return value

    exact = [ball(number) for number in coefficients]
    first = [power * number for power, number in enumerate(exact)][1:]
    second = [power * number for power, number in enumerate(first)][1:]
    # a monomial keeps its power: z² by a square is tighter on a wide ball than z·z
    if sum(number != 0 for number in coefficients) == 1 and (p := len(coefficients) - 1) >= 2:
        return lambda z: (exact[p] * z**p, p * exact[p] * z ** (p - 1), p * (p - 1) * exact[p] * z ** (p - 2))
    return lambda z: (horner(exact, z), horner(first, z), horner(second, z))


def _pieces(name: str, below: Jet, above: Jet) -> Jet:
    def jet(z: Ball) -> tuple[Ball, Ball, Ball]:
        if z > 0:
            return above(z)
        if z < 0:
            return below(z)
        raise Refusal(
            f"a pre-activation may be 0, where {name} has a kink and no Hessian: a certificate holds only away "
            "from kinks; replace the activation, e.g. by smooth_relu(epsilon)"
        )

    return jet


def activation_jet(activation: Activation) -> Jet:
    """(σ, σ', σ'') in balls; Refusal for one that is not known here, or (when called) on a kink."""
    zero: Jet = lambda z: (ball(0.0), ball(0.0), ball(0.0))  # noqa: E731
    square: Jet = lambda z: (z**2, 2 * z, ball(2.0))  # noqa: E731
    if isinstance(activation, Polynomial):
        return _powers(activation.coefficients)
    if isinstance(activation, SmoothReLU):
        return _smooth_relu(activation.epsilon)
    if isinstance(activation, LeakyReLU):
        slope = ball(activation.slope)
        return _pieces("leaky_relu", lambda z: (slope * z, slope, ball(0.0)), _identity)
    known: dict[str, Jet] = {
        "identity": _identity,
        "tanh": _tanh,
        "sigmoid": _logistic_function,
        "gelu": _gelu,
        "relu": _pieces("relu", zero, _identity),
        "squared_relu": _pieces("squared_relu", zero, square),
    }
    if activation.name not in known:
        raise Refusal(
            f"the activation {activation.name!r} has no formula in ball arithmetic; use one of "
            f"{', '.join(known)}, leaky_relu, smooth_relu or a polynomial"
        )
    return known[activation.name]


# Losses ----------------------------------------------------------------------------------------------------


def _square(factor: float) -> Callable[[list[Ball], Any], LossJet]:
    def jet(outputs: list[Ball], target: Any) -> LossJet:
        residuals = [f - ball(y) for f, y in zip(outputs, target, strict=True)]
        half = ball(factor)
        value = half * sum((r**2 for r in residuals), ball(0.0))
        hessian = [
            [2 * half if i == j else ball(0.0) for j in range(len(outputs))] for i in range(len(outputs))
        ]
        return LossJet(value, [2 * half * r for r in residuals], hessian)

    return jet


def _power(p: int) -> Callable[[list[Ball], Any], LossJet]:
    def jet(outputs: list[Ball], target: Any) -> LossJet:
        residuals = [f - ball(y) for f, y in zip(outputs, target, strict=True)]
        value = sum((r**p for r in residuals), ball(0.0))
        second = [p * (p - 1) * r ** (p - 2) for r in residuals]
        hessian = [
            [second[i] if i == j else ball(0.0) for j in range(len(second))] for i in range(len(second))
        ]
        return LossJet(value, [p * r ** (p - 1) for r in residuals], hessian)

    return jet


def _exponential(outputs: list[Ball], target: Any) -> LossJet:
    sign = int(target)
    value = (-sign * outputs[0]).exp()
    return LossJet(value, [-sign * value], [[value]])


def _logistic(outputs: list[Ball], target: Any) -> LossJet:
    sign = int(target)
    margin = sign * outputs[0]
    value = monotone(lambda m: (-m).exp().log1p(), margin)
    wrong = _sigmoid(-margin)
    return LossJet(value, [-sign * wrong], [[wrong * (1 - wrong)]])


def _cross_entropy(outputs: list[Ball], target: Any) -> LossJet:
    """p = softmax(f) as 1/Σ_j exp(f_j − f_c): ∂ℓ = p − e_y, ∂²ℓ = diag(p) − p pᵀ."""
    own, classes = int(target), range(len(outputs))
    gaps = [[(outputs[j] - outputs[c]).exp() if j != c else ball(1.0) for j in classes] for c in classes]
    shares = [1 / sum(row, ball(0.0)) for row in gaps]
    value = sum(gaps[own], ball(0.0)).log()
    gradient = [shares[c] - int(c == own) for c in classes]
    hessian = [
        [shares[i] * (1 - shares[i]) if i == j else -shares[i] * shares[j] for j in classes] for i in classes
    ]
    return LossJet(value, gradient, hessian)


def loss_jet(loss: Loss) -> Callable[[list[Ball], Any], LossJet]:
    """(outputs (C,), target) ↦ ℓ with two derivatives, in balls; Refusal for a loss that is not known here."""
    if isinstance(loss, Square):
        return _square(0.5 if loss.half else 1.0)
    if isinstance(loss, Lp) and float(loss.p).is_integer() and loss.p % 2 == 0:
        return _power(int(loss.p))
    if isinstance(loss, Exponential):
        return _exponential
    if isinstance(loss, Logistic):
        return _logistic
    if isinstance(loss, CrossEntropy):
        return _cross_entropy
    detail = f" with p = {loss.p:g}, which is not even," if isinstance(loss, Lp) else ""
    raise Refusal(
        f"the loss {type(loss).__name__}{detail} has no formula in ball arithmetic; use Square, Lp with even p, "
        "Exponential, Logistic or CrossEntropy"
    )


def targets_of(loss: Loss, targets: Any) -> list[Any]:
    """Targets example by example: rows of floats, signs, or classes."""
    values = np.asarray(targets)
    return list(values) if loss.labels == "real" else [int(value) for value in values]
