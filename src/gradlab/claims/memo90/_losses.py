"""Losses that are differentiated together, and their first and second derivatives in the outputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss, Lp, Square
from gradlab.problem.problem import Problem


class Family(NamedTuple):
    """The losses that are differentiated together, so that one program serves all cases of an architecture."""

    losses: tuple[Loss, ...]
    targets: tuple[Any, ...]
    own: int


def family_of(problem: Problem) -> tuple[Problem, Family]:
    """The problem under the plain square loss, and the losses of its kind with the index of its own."""
    own, given, outputs = problem.loss, np.asarray(problem.data.targets), problem.network.outputs
    if own.labels == "sign":
        real, signs = given[:, None], given
    elif own.labels == "class":
        real, signs = np.eye(outputs)[given], given
    else:
        real = given
        signs = np.where(real[:, 0] > 0.0, 1.0, -1.0) if outputs == 1 else np.argmax(real, axis=1)
    residual: tuple[Loss, ...] = (
        (Square(), Square("mean", half=True), Lp(4)) if outputs == 1 else (Square(), Lp(3))
    )
    margin: tuple[Loss, ...] = (Exponential(), Logistic()) if outputs == 1 else (CrossEntropy(),)
    losses = (*residual, *margin)
    targets = (real,) * len(residual) + (signs,) * len(margin)
    if own not in losses:
        losses, targets = (*losses, own), (*targets, given)
    base = Problem(problem.network, Square(), Data.make(np.asarray(problem.data.inputs), real))
    return base, Family(losses, tuple(map(jnp.asarray, targets)), losses.index(own))


def slopes(loss: Loss, f: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ℓ'_n (N, C) and ℓ''_n (N, C, C), the factor of the reduction included."""
    factor, eye = 1.0 / len(f) if loss.reduction == "mean" else 1.0, np.eye(f.shape[1])
    if isinstance(loss, Square):
        scale = factor * (1.0 if loss.half else 2.0)
        return -scale * (targets - f), scale * np.broadcast_to(eye, (len(f), *eye.shape))
    if isinstance(loss, Lp):
        size = np.abs(f - targets)
        first, second = (
            loss.p * size ** (loss.p - 1) * np.sign(f - targets),
            loss.p * (loss.p - 1) * size ** (loss.p - 2),
        )
        return factor * first, factor * second[:, :, None] * eye
    if isinstance(loss, Exponential):
        weight = np.exp(-targets[:, None] * f)
        return -factor * targets[:, None] * weight, factor * weight[:, :, None]
    if isinstance(loss, Logistic):
        chance = 1.0 / (1.0 + np.exp(targets[:, None] * f))
        return -factor * targets[:, None] * chance, factor * (chance * (1.0 - chance))[:, :, None]
    if isinstance(loss, CrossEntropy):
        chance = np.exp(f - f.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        return factor * (chance - eye[targets]), factor * (
            chance[:, :, None] * eye - chance[:, :, None] * chance[:, None]
        )

    def one(f: Any, target: Any) -> Any:
        return loss.per_example(f[None], target[None])[0]

    first, second = (jax.jit(jax.vmap(derivative(one)))(f, targets) for derivative in (jax.grad, jax.hessian))
    return factor * np.asarray(first), factor * np.asarray(second)
