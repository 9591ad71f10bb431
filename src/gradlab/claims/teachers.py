"""Problems whose minimum is known: targets or labels made by the network itself, and what studies of points share."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab.analysis.equilibria import counting
from gradlab.claims.claim import Measure
from gradlab.claims.deep_linear import points
from gradlab.observe.local import Local, outputs
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss, Square
from gradlab.problem.networks import Network
from gradlab.problem.problem import Problem

#: f is a chain of sums, right to some dozens of eps of its size.
ZERO = 1e-13

SQUARE = Measure("square", "one under the square loss", ">=", 0.5, "the loss says it", role="hypothesis")
PLAIN = Measure("plain", "the largest decay", "<=", 0.0, "the passage has none here", role="hypothesis")
TWICE = Measure(
    "kink",
    "one where the point lies on a kink of the activation, within 1e-6 of its size",
    "<=",
    0.5,
    "the number is 0 or 1; second derivatives exist only off the kinks",
    role="hypothesis",
)
ZERO_LOSS = Measure(
    "residual",
    "‖y − f‖/‖f‖ (zero loss)",
    "<=",
    ZERO,
    "outputs are rounded at some dozens of eps; a residual above that would show in the Hessian",
    role="hypothesis",
)


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
    f = outputs(blank, vector)
    targets = f if loss.labels == "real" else np.where(f[:, 0] > 0.0, 1.0, -1.0)
    return Problem(network, loss, Data(x, targets), decay), vector


def resting(vector: np.ndarray, **more: Any) -> xr.Dataset:
    """A trajectory that is one point."""
    return xr.Dataset({"final_weights": ("weight", np.asarray(vector, dtype=np.float64)), **more})


def end(trajectory: xr.Dataset) -> np.ndarray:
    """The last weight vector of a trajectory."""
    return points(trajectory)[-1]


def residual(problem: Problem, here: Local) -> float:
    """‖y − f‖/‖f‖; infinite where the targets are labels."""
    if problem.loss.labels != "real":
        return float("inf")
    size, gap = np.linalg.norm(here.f), np.linalg.norm(np.asarray(problem.data.targets) - here.f)
    return float(gap / size) if size else (0.0 if gap == 0.0 else float("inf"))


def zero_loss(problem: Problem, found: counting.Eigenvalues) -> dict[str, float]:
    """The numbers of SQUARE, PLAIN, TWICE and ZERO_LOSS."""
    return {
        "square": float(isinstance(problem.loss, Square)),
        "plain": float(np.max(np.asarray(problem.decay))),
        "kink": found.kink,
        "residual": residual(problem, found.here),
    }


def scalars(numbers: dict[str, Any]) -> xr.Dataset:
    """Numbers as float64 scalars; arrays and pairs (dim, values) as they are."""
    return xr.Dataset(
        {name: value if isinstance(value, tuple) else np.float64(value) for name, value in numbers.items()}
    )


def counted(name: str, count: counting.Count, minus: float = 0.0) -> dict[str, float]:
    """A count as the number and error of a measure, less what is allowed."""
    return {name: count.number - minus, f"{name}_error": count.error}
