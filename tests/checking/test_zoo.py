"""Degrees of a zoo of networks, asked of the functions: bias, residual path, normalisation, pooling, attention."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.checking.assumed import Assumed
from gradlab.checking.run import gathered
from gradlab.problem.precision import float64

NONE = None


@dataclass(frozen=True)
class Kept:
    """A network with the degree of each layer, None where it has none."""

    apply: Callable[[Any, Any], Any]
    shapes: dict[str, tuple[int, ...]]
    degrees: tuple[float | None, ...]
    alone: bool = True


def relu(z: Any) -> Any:
    return jnp.maximum(z, 0.0)


def attention(w: Any, x: Any) -> Any:
    """x (N, 4) as two tokens of two numbers."""
    tokens = x.reshape(-1, 2, 2)
    q, k, v = (tokens @ w[name] for name in "qkv")
    return (jax.nn.softmax(q @ k.swapaxes(1, 2)) @ v).reshape(len(x), -1) @ w["o"]


def normalised(w: Any, x: Any) -> Any:
    h = x @ w["a"]
    return relu((h - h.mean(0)) / h.std(0)) @ w["b"]


def pooled(w: Any, x: Any) -> Any:
    h = relu(x.reshape(-1, 2, 2) @ w["a"])
    return jnp.concatenate([h.max(1), h.mean(1)], 1) @ w["b"]


ZOO = {
    "bias": Kept(
        lambda w, x: relu(x @ w["a.w"] + w["a.bias"]) @ w["b.w"] + w["b.bias"],
        {"a.w": (4, 3), "a.bias": (3,), "b.w": (3, 1), "b.bias": (1,)}, (NONE, 1),
    ),
    "bias below only": Kept(
        lambda w, x: relu(x @ w["a.w"] + w["a.bias"]) @ w["b"], {"a.w": (4, 3), "a.bias": (3,), "b": (3, 1)}, (1, 1)
    ),
    "residual": Kept(
        lambda w, x: (x + relu(x @ w["a"])) @ w["b"], {"a": (4, 4), "b": (4, 1)}, (NONE, 1)
    ),
    "batch normalisation": Kept(normalised, {"a": (4, 3), "b": (3, 1)}, (0, 1), alone=False),
    "pooling": Kept(pooled, {"a": (2, 3), "b": (6, 1)}, (1, 1)),
    "attention": Kept(
        attention, {"q": (2, 3), "k": (2, 3), "v": (2, 2), "o": (4, 1)}, (NONE, NONE, 1, 1)
    ),
    "square": Kept(lambda w, x: (x @ w["a"]) ** 2 @ w["b"], {"a": (4, 3), "b": (3, 1)}, (2, 1)),
    "tied": Kept(lambda w, x: relu(x @ w["a"]) @ w["a"].T @ w["b"], {"a": (4, 3), "b": (4, 1)}, (2, 1)),
    "tanh": Kept(lambda w, x: jnp.tanh(x @ w["a"]) @ w["b"], {"a": (4, 3), "b": (3, 1)}, (NONE, 1)),
    "weight normalisation": Kept(
        lambda w, x: relu(x @ (w["a"] / jnp.linalg.norm(w["a"]))) @ w["b"], {"a": (4, 3), "b": (3, 1)}, (0, 1)
    ),
}  # fmt: skip


@float64
@pytest.mark.parametrize("name", ZOO)
def test_degrees_are_those_of_the_function(name: str) -> None:
    one, generator = ZOO[name], np.random.default_rng(0)
    weights = OrderedDict((key, generator.standard_normal(shape)) for key, shape in one.shapes.items())
    data = gl.Data(generator.standard_normal((5, 4)), generator.standard_normal((5, 1)))
    network = gl.Function(one.apply, lambda key: weights, input_shape=4, outputs=1)
    run = gathered(gl.Problem(network, gl.Square(), data), {0: weights, 7: weights}, "gd lr=0.1")
    assumed = Assumed(run)
    found = [d.degree if d.defect <= assumed.probed.exact else NONE for d in assumed.probed.layers]
    assert tuple(found) == one.degrees
    assert bool(assumed.alone.status[0] == 1) is one.alone
    assert (assumed.homogeneous().status[0] == 1) == all(d is not NONE and d >= 1 for d in one.degrees)
