"""Systems with known answers, and a zoo: every loss on every architecture, each with a reference in plain NumPy.

References share no line with the package: networks are written as loops over matrices, losses from their
formulas, derivatives by complex steps, f'(x) = Im f(x + ih)/h with h = 1e-30, exact to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, CustomLoss, Exponential, Logistic, Loss, Lp, Square
from gradlab.problem.networks import Convolutional, Dense, Function, Network, Residual
from gradlab.problem.problem import Problem

# Systems with known answers --------------------------------------------------------------------------------


def quadratic(
    N: int = 7, d: int = 3, C: int = 2, decay: float = 0.1, seed: int = 0
) -> tuple[Problem, Any, Any]:
    """½‖XWᵀ − Y‖² + ½λ‖W‖², its only minimiser, and its Hessian 1_C ⊗ (XᵀX + λ)."""
    generator = np.random.default_rng(seed)
    X, Y = generator.standard_normal((N, d)), generator.standard_normal((N, C))
    problem = Problem(Dense((d, C), "identity"), Square(half=True), Data(X, Y), decay)
    gram = X.T @ X + decay * np.eye(d)
    return problem, (np.linalg.solve(gram, X.T @ Y).T,), np.kron(np.eye(C), gram)


def one_point(loss: Loss | None = None) -> Problem:
    """f(w) = w on one example y = 1. Under the exponential loss gradient flow is w(t) = log(t + exp w(0))."""
    return Problem(Dense((1, 1), "identity"), loss or Exponential(), Data([[1.0]], [1.0]))


def two_points() -> tuple[Problem, np.ndarray]:
    """Two separable examples in the plane and their hard-margin direction (1, 0), of margin 1."""
    data = Data([[1.0, 0.5], [-1.0, 0.5]], [1.0, -1.0])
    return Problem(Dense((2, 1), "identity"), Exponential(), data), np.array([1.0, 0.0])


def scalar_chain(depth: int, target: float = 1.0) -> Problem:
    """½(w_K ⋯ w_1 − target)²: equal start weights stay equal, and dw/dt = (target − w^K) w^{K−1}."""
    network = Dense.deep_linear((1,) * (depth + 1))
    return Problem(network, Square(half=True), Data([[1.0]], [[target]]))


# Networks in NumPy -----------------------------------------------------------------------------------------


def _relu(z: np.ndarray) -> np.ndarray:
    return np.where(z.real > 0, z, 0.0)


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "relu": _relu,
    "squared_relu": lambda z: _relu(z) ** 2,
    "tanh": np.tanh,
}


def _dense(activation: str) -> Callable[[Any, np.ndarray], np.ndarray]:
    def forward(weights: Any, x: np.ndarray) -> np.ndarray:
        h = x.reshape(len(x), -1)
        for k, matrix in enumerate(weights):
            h = np.einsum("ij,nj->ni", matrix, _ACTIVATIONS[activation](h) if k else h)
        return h

    return forward


def _biased(weights: Any, x: np.ndarray) -> np.ndarray:
    first, second = weights
    hidden = np.tanh(np.einsum("ij,nj->ni", first["weight"], x) + first["bias"])
    return np.einsum("ij,nj->ni", second["weight"], hidden) + second["bias"]


def _convolutional(weights: Any, x: np.ndarray) -> np.ndarray:
    """One 3×3 convolution of stride 2 on 4×4 images: zeros are added below and to the right only."""
    kernel, last = weights
    images = np.pad(x.reshape(len(x), 1, 4, 4), ((0, 0), (0, 0), (0, 1), (0, 1)))
    h = np.zeros((len(x), len(kernel), 2, 2), dtype=np.result_type(kernel, last))
    for i in range(2):
        for j in range(2):
            patch = images[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            h[:, :, i, j] = np.einsum("ocuv,ncuv->no", kernel, patch)
    return np.einsum("ij,nj->ni", last, np.tanh(h).reshape(len(x), -1))


def _residual(weights: Any, x: np.ndarray) -> np.ndarray:
    first, *blocks, last = weights
    h = np.einsum("ij,nj->ni", first, x)
    for block in blocks:
        h = h + _relu(np.einsum("ij,nj->ni", block, h))
    return np.einsum("ij,nj->ni", last, h)


def _own(weights: Any, x: np.ndarray) -> np.ndarray:
    return weights["a"] * np.sin(np.einsum("ij,nj->ni", weights["w"], x))


def _own_in_jax(weights: Any, x: Any) -> Any:
    return weights["a"] * jnp.sin(x @ weights["w"].T)


@dataclass(frozen=True)
class Architecture:
    """How to build a network of so many outputs, and the same network in NumPy."""

    build: Callable[[int], Network]
    forward: Callable[[Any, np.ndarray], np.ndarray]
    inputs: int = 2


def _function(outputs: int) -> Function:
    def initial(key: Any) -> Any:
        return {"a": jnp.ones(outputs), "w": jax.random.normal(key, (outputs, 2))}

    return Function(_own_in_jax, initial, input_shape=2, outputs=outputs)


ARCHITECTURES: dict[str, Architecture] = {
    "linear": Architecture(lambda C: Dense((2, C), "identity"), _dense("identity")),
    "deep linear": Architecture(lambda C: Dense.deep_linear((2, 3, 2, C)), _dense("identity")),
    "relu": Architecture(lambda C: Dense((2, 4, C), "relu"), _dense("relu")),
    "squared relu": Architecture(lambda C: Dense((2, 3, C), "squared_relu"), _dense("squared_relu")),
    "biased tanh": Architecture(lambda C: Dense((2, 3, C), "tanh", bias=True), _biased),
    "convolutional": Architecture(
        lambda C: Convolutional((1, 4, 4), channels=(2,), outputs=C, activation="tanh"), _convolutional, 16
    ),
    "residual": Architecture(lambda C: Residual(2, 3, 1, C, "relu"), _residual),
    "function": Architecture(_function, _own),
}

# Losses in NumPy -------------------------------------------------------------------------------------------


def _size(r: np.ndarray) -> np.ndarray:
    return np.where(r.real > 0, r, -r)


def _runner_up(f: np.ndarray, y: np.ndarray) -> np.ndarray:
    rows = np.arange(len(y))
    gaps = np.exp(f - f[rows, y][:, None])
    gaps[rows, y] = 0.0
    return gaps.sum(axis=1)


def _cosh_in_jax(f: Any, y: Any) -> Any:
    return jnp.sum(jnp.cosh(f - y), axis=1)


def _tail_in_jax(f: Any, y: Any) -> Any:
    return jnp.exp(-2.0 * y * f[:, 0])


def _log_tail_in_jax(f: Any, y: Any) -> Any:
    return -2.0 * y * f[:, 0]


LOSSES: dict[str, tuple[Loss, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "square": (Square("mean", half=True), lambda f, y: 0.5 * ((f - y) ** 2).sum(axis=1)),
    "l3": (Lp(3), lambda f, y: (_size(f - y) ** 3).sum(axis=1)),
    "l1.5 mean": (Lp(1.5, "mean"), lambda f, y: (_size(f - y) ** 1.5).sum(axis=1)),
    "exponential": (Exponential(), lambda f, y: np.exp(-y * f[:, 0])),
    "logistic": (Logistic("mean"), lambda f, y: np.log(1.0 + np.exp(-y * f[:, 0]))),
    "cross-entropy": (CrossEntropy(), lambda f, y: np.log(1.0 + _runner_up(f, y))),
    "custom": (CustomLoss(_cosh_in_jax), lambda f, y: np.cosh(f - y).sum(axis=1)),
    "custom with log": (
        CustomLoss(_tail_in_jax, _log_tail_in_jax, labels="sign"),
        lambda f, y: np.exp(-2.0 * y * f[:, 0]),
    ),
}

#: Variants that the zoo leaves to tests of their own, for time: their kinds are in it.
_VARIANTS = ("linear", "deep linear", "squared relu", "l3")
ZOO = [(a, b) for a in ARCHITECTURES for b in LOSSES if a not in _VARIANTS and b not in _VARIANTS]


@dataclass(frozen=True)
class Specimen:
    """A problem of the zoo at random weights, with its reference."""

    problem: Problem
    weights: Any
    forward: Callable[[Any, np.ndarray], np.ndarray]
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def ravel(self, weights: Any) -> np.ndarray:
        return np.concatenate([np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(weights)])

    def flat(self) -> np.ndarray:
        return self.ravel(self.weights)

    def tree(self, vector: np.ndarray) -> Any:
        leaves, structure = jax.tree.flatten(self.weights)
        parts = np.split(vector, np.cumsum([leaf.size for leaf in leaves])[:-1])
        return jax.tree.unflatten(
            structure, [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)]
        )

    def outputs(self, vector: np.ndarray) -> np.ndarray:
        return self.forward(self.tree(vector), np.asarray(self.problem.data.inputs))

    def values(self, vector: np.ndarray) -> np.ndarray:
        return self.loss(self.outputs(vector), np.asarray(self.problem.data.targets))

    def decays(self) -> np.ndarray:
        """λ of each weight: W_k has λ_k, and the layers of these networks are their outermost entries."""
        layers = self.weights.values() if isinstance(self.weights, dict) else self.weights
        sizes = [sum(leaf.size for leaf in jax.tree.leaves(layer)) for layer in layers]
        return np.repeat(np.broadcast_to(np.asarray(self.problem.decay), len(sizes)), sizes)

    def potential(self, vector: np.ndarray) -> float:
        values = self.values(vector)
        risk = values.sum() if self.problem.loss.reduction == "sum" else values.mean()
        return float(risk + 0.5 * (self.decays() * vector**2).sum())

    def gradient(self, vector: np.ndarray) -> np.ndarray:
        rows = complex_step(self.values, vector)
        summed = rows.sum(axis=0) if self.problem.loss.reduction == "sum" else rows.mean(axis=0)
        return summed + self.decays() * vector

    def hessian(self, vector: np.ndarray, h: float = 3e-6) -> np.ndarray:
        """Central differences of exact gradients: error ~ h² and eps/h, both near 1e-11."""
        shifts = h * np.eye(vector.size)
        rows = [(self.gradient(vector + s) - self.gradient(vector - s)) / (2 * h) for s in shifts]
        return np.stack(rows)


def complex_step(function: Callable[[np.ndarray], np.ndarray], vector: np.ndarray) -> np.ndarray:
    """The Jacobian of a real-analytic function, its last axis over the entries of ``vector``."""
    shifts = 1e-30j * np.eye(vector.size)
    return np.stack([function(vector + s).imag / 1e-30 for s in shifts], axis=-1)


@cache
def specimen(architecture: str, loss: str, N: int = 4, seed: int = 0) -> Specimen:
    """One of the zoo: random data that fit the loss, random weights, a different λ on every layer."""
    generator = np.random.default_rng([seed, *architecture.encode(), *loss.encode()])
    plan, (ours, theirs) = ARCHITECTURES[architecture], LOSSES[loss]
    outputs = {"real": 2, "sign": 1, "class": 3}[ours.labels]
    x = generator.standard_normal((N, plan.inputs))
    y: np.ndarray = generator.standard_normal((N, 2))
    if ours.labels == "sign":
        y = np.where(np.arange(N) % 2 == 0, 1.0, -1.0)
    elif ours.labels == "class":
        y = np.arange(N) % 3
    network = plan.build(outputs)
    shapes = network.shapes()
    decay = 0.1 * np.arange(1.0, 1.0 + len(network.layers(shapes)))
    weights = jax.tree.map(lambda leaf: 0.8 * generator.standard_normal(leaf.shape), shapes)
    return Specimen(Problem(network, ours, Data(x, y), decay), weights, plan.forward, theirs)
