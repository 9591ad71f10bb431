"""Losses that are differentiated together."""

from __future__ import annotations

from typing import Any, NamedTuple

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
    base = Problem(problem.network, Square(), Data(np.asarray(problem.data.inputs), real))
    return base, Family(losses, tuple(map(jnp.asarray, targets)), losses.index(own))
