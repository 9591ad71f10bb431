"""What the studies of W_k = ρ_k V_k share: random nets, and their flows as ensembles.

Host-side. A trajectory holds weights as vectors (P,) in the order of ``Problem.ravel``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive, Fixed, Solver
from gradlab.laboratory import run
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss, Square
from gradlab.problem.networks import Dense, Network
from gradlab.problem.problem import Problem, stack

EPS = float(np.finfo(np.float64).eps)

#: Starts: the norm of a layer, the same in every layer; and factors on the layers of an unequal start.
NORMS = (0.7, 1.0, 1.4)
FACTORS = (2.0, 1.0, 0.5)

#: Kinds of inputs.
KINDS = ("random", "repeated", "deficient")


def operations(network: Network) -> int:
    """Additions behind one output, about: what multiplies eps in its rounding error."""
    return 2 * sum(sum(leaf.shape) for leaf in jax.tree.leaves(network.shapes()))


def relative(gaps: Any, scales: Any) -> float:
    """The largest gap/scale; an entry that is zero over zero counts as zero."""
    gaps, scales = np.broadcast_arrays(
        np.asarray(gaps, dtype=np.float64), np.asarray(scales, dtype=np.float64)
    )
    none = np.where(gaps > 0.0, np.inf, np.abs(gaps))
    return float(np.max(np.divide(gaps, scales, out=none, where=scales > 0.0)))


def follows_gradient(trajectory: xr.Dataset) -> bool:
    """Whether the trajectory says that it is one of the gradient flow, in whatever chart, and kept its weights."""
    if "weights" not in trajectory:
        return False
    provenance = json.loads(trajectory.attrs.get("provenance", "{}"))
    return provenance.get("flow") in ("GradientFlow", "NormalisedFlow")


def kept(trajectory: xr.Dataset) -> tuple[Float[np.ndarray, "records P"], Float[np.ndarray, "records P"]]:
    """Weight vectors and their errors: of all records, or of the end where nothing else was kept."""
    name = "weights" if "weights" in trajectory else "final_weights"
    vectors = np.asarray(trajectory[name].values, dtype=np.float64).reshape(-1, trajectory[name].shape[-1])
    if f"{name}_error" not in trajectory:
        return vectors, np.zeros_like(vectors)
    return vectors, np.asarray(trajectory[f"{name}_error"].values, dtype=np.float64).reshape(vectors.shape)


def asked(name: str, number: float | None, tolerance: float, error: float = 0.0) -> dict[str, float]:
    """A measure with relation ``>=``; None where a case is not asked: met, and ranked below all that are asked."""
    number, tolerance = (1.0, -0.01) if number is None else (number, tolerance)
    return {name: number, f"{name}_error": error, f"{name}_tolerance": tolerance}


# Random problems ------------------------------------------------------------------------------------------


def unit_inputs(rng: np.random.Generator, count: int, size: int, kind: str) -> np.ndarray:
    """Inputs with ‖x_n‖ = 1, as memo112 has them: random, each ``"repeated"``, or ``"deficient"`` (rank two)."""
    x = rng.standard_normal((count, size))
    if kind == "repeated":
        x = x[np.arange(count) % max(1, count // 3)]
    if kind == "deficient":
        x = x[:, :2] @ rng.standard_normal((2, size))
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def classified(rng: np.random.Generator, network: Network, count: int, kind: str, loss: Loss) -> Problem:
    """Inputs of unit norm; random labels ±1, or classes where the loss wants them, also where inputs repeat."""
    x = unit_inputs(rng, count, int(np.prod(network.input_shape)), kind)
    signs = rng.permutation(np.resize([1.0, -1.0], count))
    if loss.labels == "real":
        return Problem(network, loss, Data(x, signs[:, None]))
    if loss.labels == "sign":
        return Problem(network, loss, Data(x, signs))
    return Problem(network, loss, Data(x, rng.integers(0, network.outputs, count)))


def weights_of(rng: np.random.Generator, network: Network, rho: Float[np.ndarray, " K"]) -> Any:
    """Gaussian directions V_k with given norms ρ_k."""
    layers = []
    for norm, shape in zip(rho, network.layers(network.shapes()), strict=True):
        direction = rng.standard_normal(shape.shape)
        layers.append(norm / np.linalg.norm(direction) * direction)
    return network.rebuild(layers)


# Flows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """One architecture, N and a solver: one compiled solve for a flow of it."""

    name: str
    network: Network
    count: int
    solver: Solver


def groups(names: Sequence[str]) -> list[Group]:
    """The groups of those names. Fewer points than inputs first, more in the others; hidden widths differ."""
    smooth, kinked = Adaptive("dopri8", 1e-9), Fixed("heun", 5e-4)
    known = (
        Group("linear", Dense.deep_linear((10, 4, 3, 1)), 6, smooth),
        Group("ReLU", Dense((5, 6, 4, 1)), 14, kinked),
        Group("squared ReLU", Dense((5, 6, 4, 1), "squared_relu"), 14, smooth),
        Group("z²", Dense((10, 4, 3, 1), polynomial((0, 0, 1))), 6, smooth),
    )
    return [group for group in known if group.name in names]


def draws(rng: np.random.Generator, group: Group, count: int) -> tuple[list[str], list[Problem], list[Any]]:
    """Names, problems and starts: kinds of inputs in turn, half of the starts with equal norms, half without."""
    labels, problems, starts = [], [], []
    for i in range(count):
        kind, equal = KINDS[i % 3], i % 2 == 0
        factors = np.ones(3) if equal else rng.permutation(FACTORS)
        labels.append(f"{group.name}, inputs {kind}, {'equal' if equal else 'unequal'} norms, {i + 1}")
        problems.append(classified(rng, group.network, group.count, kind, Square("sum")))
        starts.append(weights_of(rng, group.network, NORMS[(i // 2) % 3] * factors))
    return labels, problems, starts


def gradient_flow(
    problems: Sequence[Problem], starts: Sequence[Any], group: Group, records: Any
) -> xr.Dataset:
    """The plain flow of an ensemble, with ρ_{k+1}²/d_{k+1} − ρ_k²/d_k and its error beside the weights."""
    return run(
        GradientFlow(stack(problems)),
        together(starts),
        records,
        solver=group.solver,
        observables=("balancedness",),
        keep="all",
        members=len(starts),
        name=f"{group.name} nets",
    )


def together(starts: Sequence[Any]) -> Any:
    """Weights with a leading member axis, on the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
