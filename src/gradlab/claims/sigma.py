"""σ, σ' and σ'' of the activations that the library has, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from gradlab.problem.activations import Activation, LeakyReLU, Polynomial, SmoothReLU, Standard

Function = Callable[[np.ndarray], np.ndarray]


def derivatives_of(activation: Activation) -> tuple[Function, Function, Function] | None:
    """(σ, σ', σ''), with σ'(0) as the library has it and σ'' = 0 at kinks; None for an activation not known."""
    if isinstance(activation, Standard):
        return _STANDARD[activation.name]
    if isinstance(activation, LeakyReLU):
        slope = activation.slope
        return lambda z: np.where(z > 0, z, slope * z), lambda z: np.where(z > 0, 1.0, slope), np.zeros_like
    if isinstance(activation, Polynomial):
        p = np.polynomial.Polynomial(activation.coefficients)
        return p, p.deriv(), p.deriv(2)
    if isinstance(activation, SmoothReLU):
        return _smooth_relu(activation.epsilon)
    return None


def _smooth_relu(epsilon: float) -> tuple[Function, Function, Function]:
    def gate(z: Any) -> Any:
        return expit(z / epsilon)

    def slope(z: Any) -> Any:
        return gate(z) * (1.0 - gate(z)) / epsilon

    return (
        lambda z: z * gate(z),
        lambda z: gate(z) + z * slope(z),
        lambda z: slope(z) * (2.0 + z * (1.0 - 2.0 * gate(z)) / epsilon),
    )


def _density(z: Any) -> Any:
    return np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)


def _sigmoid_slope(z: Any) -> Any:
    return expit(z) * expit(-z)


_STANDARD: dict[str, tuple[Function, Function, Function]] = {
    "identity": (lambda z: z, np.ones_like, np.zeros_like),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: 1.0 * (z > 0), np.zeros_like),
    "squared_relu": (
        lambda z: np.maximum(z, 0.0) ** 2,
        lambda z: 2.0 * np.maximum(z, 0.0),
        lambda z: 2.0 * (z > 0),
    ),
    "tanh": (
        np.tanh,
        lambda z: 1.0 / np.cosh(z) ** 2,
        lambda z: -2.0 * np.tanh(z) / np.cosh(z) ** 2,
    ),
    "sigmoid": (expit, _sigmoid_slope, lambda z: _sigmoid_slope(z) * (expit(-z) - expit(z))),
    "gelu": (
        lambda z: z * ndtr(z),
        lambda z: ndtr(z) + z * _density(z),
        lambda z: _density(z) * (2.0 - z**2),
    ),
}
