"""Problems whose minimum is known: targets or labels made by the network itself at random weights."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gradlab.observe import local
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss, Square
from gradlab.problem.networks import Network
from gradlab.problem.problem import Problem


def weights(rng: np.random.Generator, network: Network) -> np.ndarray:
    """A weight vector with entries of variance 2/fan-in, biases of variance one."""
    leaves = jax.tree.leaves(network.shapes())
    spreads = [np.sqrt(2.0 / np.prod(leaf.shape[1:])) if len(leaf.shape) > 1 else 1.0 for leaf in leaves]
    drawn = [s * rng.standard_normal(leaf.shape) for s, leaf in zip(spreads, leaves, strict=True)]
    return np.concatenate([part.ravel() for part in drawn])


def inputs(rng: np.random.Generator, network: Network, count: int) -> np.ndarray:
    """X, standard normal."""
    return rng.standard_normal((count, *network.input_shape))


def teacher(
    rng: np.random.Generator, network: Network, loss: Loss, count: int, decay: Any = 0.0, x: Any = None
) -> tuple[Problem, np.ndarray]:
    """A problem and the weights that made its targets (zero loss) or its labels (separated)."""
    x = inputs(rng, network, count) if x is None else x
    vector = weights(rng, network)
    blank = Problem(network, Square(), Data(x, np.zeros((count, network.outputs))))
    f = local.outputs(blank, vector)
    targets = f if loss.labels == "real" else np.where(f[:, 0] > 0.0, 1.0, -1.0)
    return Problem(network, loss, Data(x, targets), decay), vector
