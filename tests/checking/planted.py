"""Small runs of six kinds of network, and ten violations of what theorems assume, planted one at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

import gradlab as gl
from gradlab.checking.evaluating import _look
from gradlab.checking.probe import due

VIOLATIONS = (
    "bias", "batch norm", "momentum", "decay", "dropout", "residual", "tied", "bfloat16", "large step", "label noise",
)  # fmt: skip
#: What the run shows, by violation: the name of the finding.
SHOWN = {
    "bias": "bias", "batch norm": "batch", "momentum": "momentum", "decay": "decay", "dropout": "steps",
    "residual": "residual", "tied": "tied", "bfloat16": "precision", "large step": "step size", "label noise": "steps",
}  # fmt: skip
DECAY, MOMENTUM = 0.05, 0.9
#: Which weights and data are drawn: GRADLAB_PLANTED_DRAW=3 pytest tests/checking/test_planted.py -k violation_is_named
DRAW = int(os.environ.get("GRADLAB_PLANTED_DRAW", "0"))


@dataclass(frozen=True)
class Kind:
    """An archetype: shapes of its layers, activation, loss, and a learning rate that theorems can follow."""

    shapes: tuple[tuple[int, ...], ...]
    activation: Callable[[Any], Any]
    loss: Any
    classes: int
    rate: float
    examples: int = 5
    steps: int = 40
    image: bool = False


def relu(z: Any) -> Any:
    return jnp.maximum(z, 0.0)


KINDS = {
    "linear, square": Kind(((1, 8),), lambda z: z, gl.Square("mean"), 0, 0.05, steps=400),
    "linear, logistic": Kind(((1, 4),), lambda z: z, gl.Logistic(), 2, 0.2, steps=400),
    "deep linear, square": Kind(
        ((4, 4), (4, 4), (2, 4)), lambda z: z, gl.Square("mean"), 0, 0.01, examples=6
    ),
    "ReLU, logistic": Kind(((6, 4), (6, 6), (1, 6)), relu, gl.Logistic(), 2, 0.02),
    "tanh, square": Kind(((5, 4), (5, 5), (1, 5)), jnp.tanh, gl.Square(), 0, 0.01),
    "convolution, cross-entropy": Kind(
        ((2, 1, 2, 2), (2, 2, 2, 2), (3, 18)),
        relu,
        gl.CrossEntropy(),
        3,
        0.08,
        examples=6,
        steps=20,
        image=True,
    ),
}


@lru_cache
def model(kind: str, violation: str) -> tuple[Any, dict[str, Any]]:
    """(apply, initial weights) of an archetype with a structural violation, or as it is for all others."""
    of = KINDS[kind]
    generator = np.random.default_rng(5 + 1000 * DRAW)
    last = len(of.shapes) - 1

    def matrix(shape: tuple[int, ...]) -> Any:
        return generator.standard_normal(shape) * (0.9 / np.sqrt(np.prod(shape[1:])))

    weights: dict[str, Any] = {str(k): matrix(shape) for k, shape in enumerate(of.shapes)}
    if violation == "bias":
        weights = {
            k: {"weight": w, "bias": 0.3 * generator.standard_normal(len(w))} for k, w in weights.items()
        }
    if violation == "tied" and last:
        del weights["1"]
        weights["0"] = matrix(of.shapes[1])
    elif violation == "tied":
        weights["0"] = matrix((1, of.shapes[0][1] // 2))

    def layer(entry: Any, h: Any) -> Any:
        w = entry["weight"] if violation == "bias" else entry
        if w.ndim == 4:
            h = jax.lax.conv_general_dilated(h, w, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
            return h + entry["bias"][None, :, None, None] if violation == "bias" else h
        h = h.reshape(h.shape[0], -1)
        return h @ w.T + entry["bias"] if violation == "bias" else h @ w.T

    def widened(h: Any) -> Any:
        """The input as wide as the tied or the residual layer."""
        size = of.shapes[1][1]
        return (
            jnp.concatenate([h, *[h[:, :1]] * (size - h.shape[1])], 1) if h.shape[1] < size else h[:, :size]
        )

    def apply(weights: Any, x: Any) -> Any:
        h = x.reshape(x.shape[0], 1, 3, 3) if of.image else x
        if violation == "tied" and not last:
            half = of.shapes[0][1] // 2
            return h[:, :half] @ weights["0"].T + h[:, half:] @ weights["0"].T
        if violation == "residual" and not last:
            return layer(weights["0"], h) + h[:, :1]
        if violation == "tied":
            h = widened(h)
        for k in range(last + 1):
            entry = weights["0" if violation == "tied" and k == 1 else str(k)]
            z = layer(entry, h)
            if violation == "batch norm" and k == min(last, 1):
                z = (z - z.mean(0)) / jnp.sqrt(z.var(0) + 1e-5)
            if violation == "residual" and k == 1:
                z = z + h
            h = of.activation(z) if k < last else z
        return h

    return apply, weights


def problem(kind: str, violation: str) -> Any:
    """The problem as it is told to the check."""
    return built(kind, violation if violation in ("bias", "batch norm", "residual", "tied") else "")


@lru_cache
def built(kind: str, structural: str) -> Any:
    of = KINDS[kind]
    apply, weights = model(kind, structural)
    size = 9 if of.image else of.shapes[0][1]
    shape = (1, 3, 3) if of.image else (size,)
    network = gl.Function(
        apply, lambda key: jax.tree.map(jnp.asarray, weights), input_shape=shape, outputs=of.shapes[-1][0]
    )
    generator = np.random.default_rng(7 + 1000 * DRAW)
    x = generator.standard_normal((of.examples, *shape))
    if of.classes == 2:
        y: Any = np.where(np.arange(of.examples) % 2, 1.0, -1.0)
        x[:, 0] = 1.5 * y
    elif of.classes:
        y = np.arange(of.examples) % of.classes
    else:
        y = generator.standard_normal((of.examples, of.shapes[-1][0]))
    return gl.Problem(network, of.loss, gl.Data(x, y))


def noisy(kind: str, told: Any) -> Any:
    """The problem with other labels at two examples: what is trained, not what is told."""
    targets = np.array(told.data.targets)
    if KINDS[kind].classes == 2:
        targets[:2] = -targets[:2]
    elif KINDS[kind].classes:
        targets[:2] = (targets[:2] + 1) % KINDS[kind].classes
    else:
        targets[:2] = targets[:2] + 1.0
    return eqx.tree_at(lambda one: one.data.targets, told, jax.device_put(targets))


def run(kind: str, violation: str = "", keep: Callable[[int], bool] = due) -> tuple[Any, dict[int, Any], str]:
    """(problem, weights by step, words) of a run with a violation; the words say nothing of it."""
    of, told = KINDS[kind], problem(kind, violation)
    trained = noisy(kind, told) if violation == "label noise" else told
    weights = jax.tree.map(np.asarray, told.network.init(jax.random.key(0)))
    flat, unravel = jax.flatten_util.ravel_pytree(weights)
    w, velocity = np.asarray(flat), np.zeros(len(flat))
    generator, rate = np.random.default_rng(11 + 1000 * DRAW), of.rate
    if violation == "large step":
        with jax.enable_x64(True):
            top = np.linalg.eigvalsh(np.asarray(told.hessian(weights)))[-1]
        rate = float(2.6 / top)
    if violation == "bfloat16":
        w = rounded(w)
    inputs = np.asarray(told.data.inputs)
    kept: dict[int, Any] = {}
    for step in range(of.steps):
        if keep(step):
            kept[step] = jax.tree.map(np.asarray, unravel(w))
        mask = generator.random(inputs.shape) < 0.5 if violation == "dropout" else 0.5
        gradient = np.asarray(_look(trained, unravel(w), inputs * mask * 2.0)[2])
        if violation == "decay":
            gradient = gradient + DECAY * w
        velocity = (MOMENTUM if violation == "momentum" else 0.0) * velocity - rate * gradient
        w = w + velocity
        if not np.all(np.abs(w) < 1e3):
            break
        if violation == "bfloat16":
            w = rounded(w)
    return told, kept, f"sgd lr={rate!r}"


def rounded(w: np.ndarray) -> np.ndarray:
    return np.asarray(jnp.asarray(w).astype(jnp.bfloat16), np.float64)
