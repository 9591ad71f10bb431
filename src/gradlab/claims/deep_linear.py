"""What the studies of deep linear networks share: how a trajectory is read, and random data.

Host-side: NumPy matrices (W_1, …, W_N), first layer first. A trajectory holds weights as vectors in the order
of ``Problem.ravel``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab.analysis.linear_nets import Matrices, balanced_factors
from gradlab.claims.claim import Measure
from gradlab.dynamics.flow import GradientFlow
from gradlab.laboratory import run
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

EPS = float(np.finfo(np.float64).eps)

#: Flows whose orbit is that of dW/dt = −∇L, whatever the chart.
_GRADIENT_FLOWS = ("GradientFlow", "NormalisedFlow")


# Reading a trajectory -------------------------------------------------------------------------------------


def orbit(trajectory: xr.Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """The weights (records, P) of a trajectory and their errors, zero where no coarser solve was made.

    None for a run that kept its end only.
    """
    if "weights" not in trajectory:
        return None
    weights = np.asarray(trajectory["weights"].values, dtype=np.float64)
    if "weights_error" not in trajectory:
        return weights, np.zeros_like(weights)
    return weights, np.asarray(trajectory["weights_error"].values, dtype=np.float64)


def points(trajectory: xr.Dataset) -> np.ndarray:
    """The weights (records, P) that were kept: all records, or the end only."""
    kept = orbit(trajectory)
    return trajectory["final_weights"].values[None] if kept is None else kept[0]


def nothing(measures: Iterable[Measure]) -> xr.Dataset:
    """No number for any measure: hypotheses that are not met."""
    return xr.Dataset({measure.id: np.float64(np.nan) for measure in measures})


def rows(problem: Problem) -> np.ndarray:
    """The inputs as rows (N, d)."""
    inputs = np.asarray(problem.data.inputs)
    return inputs.reshape(len(inputs), -1)


LINEAR = Measure(
    "linear",
    "one where the network is a product of matrices",
    ">=",
    0.5,
    "the network says it",
    role="hypothesis",
)
#: What a claim on the gradient flow of a deep linear net assumes; :func:`setting` measures it.
HYPOTHESES = (
    LINEAR,
    Measure("decay", "the weight decay", "<=", 0.0, "the source has none", role="hypothesis"),
    Measure(
        "flow",
        "one where the trajectory is a gradient flow's",
        ">=",
        0.5,
        "the trajectory says it",
        role="hypothesis",
    ),
)


def setting(problem: Problem, network: Dense, trajectory: xr.Dataset) -> dict[str, float]:
    """The numbers of :data:`HYPOTHESES`."""
    provenance = json.loads(trajectory.attrs.get("provenance", "{}"))
    return {
        "linear": float(network.linear),
        "decay": float(np.max(np.asarray(problem.decay))),
        "flow": float(provenance.get("flow") in _GRADIENT_FLOWS),
    }


def ratio(number: float, scale: float) -> float:
    """number/scale, and zero where both are zero: an inequality between them that holds with any factor."""
    if scale:
        return number / scale
    return math.copysign(math.inf, number) if number else 0.0


# Random problems ------------------------------------------------------------------------------------------


def generator(key: Any) -> np.random.Generator:
    """NumPy's generator from a jax key: nothing is compiled for a new shape."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).reshape(-1).tolist())


def inputs(rng: np.random.Generator, count: int, dimension: int, kind: str = "random") -> np.ndarray:
    """X (N, d): standard normal, ``"repeated"`` (a third of the points, each several times), ``"deficient"``
    (rank ⌈min(N, d)/2⌉) or ``"identity"`` (N = d).
    """
    if kind == "identity":
        return np.eye(dimension)
    full = rng.standard_normal((count, dimension))
    if kind == "repeated":
        return full[np.arange(count) % max(1, min(count, dimension) // 2)]
    if kind == "deficient":
        rank = -(-min(count, dimension) // 2)
        return full[:, :rank] @ rng.standard_normal((rank, dimension)) / np.sqrt(rank)
    return full


def regression(
    rng: np.random.Generator, widths: Sequence[int], loss: Loss, count: int, kind: str = "random"
) -> Problem:
    """A deep linear net on targets ΦX + 0.1 · normal, with Φ standard normal over √d."""
    x = inputs(rng, count, widths[0], kind)
    phi = rng.standard_normal((widths[-1], widths[0])) / np.sqrt(widths[0])
    y = x @ phi.T + 0.1 * rng.standard_normal((len(x), widths[-1]))
    return Problem(Dense.deep_linear(widths), loss, Data(x, y))


def gaussian(rng: np.random.Generator, widths: Sequence[int], scale: float) -> Matrices:
    """Independent entries N(0, scale²)."""
    return tuple(scale * rng.standard_normal((after, before)) for before, after in pairwise(widths))


def low_rank(rng: np.random.Generator, shape: tuple[int, int], rank: int, scale: float = 1.0) -> np.ndarray:
    """A random matrix of that rank with spectral norm ``scale``."""
    matrix = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    size = np.linalg.norm(matrix, 2) if rank else 0.0
    return scale * matrix / size if size else np.zeros(shape)


def rotation(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random orthogonal matrix."""
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def balanced(rng: np.random.Generator, matrix: np.ndarray, widths: Sequence[int]) -> Matrices:
    """Balanced layers of a given product, in random bases of every hidden space."""
    plain = balanced_factors(matrix, widths)
    turns = [np.eye(widths[0]), *(rotation(rng, width) for width in widths[1:-1]), np.eye(widths[-1])]
    return tuple(
        after @ layer @ before.T for layer, (before, after) in zip(plain, pairwise(turns), strict=True)
    )


def flow_of_layers(
    problems: Sequence[Problem], starts: Sequence[Matrices], records: np.ndarray, name: str
) -> xr.Dataset:
    """The gradient flow of problems of one shape from their starts, as one program, every record kept."""
    weights = tuple(np.stack(parts) for parts in zip(*starts, strict=True))
    flow, members = GradientFlow(stack(problems)), len(problems)
    return run(flow, weights, records, observables=(), keep="all", members=members, name=name)
