"""Homogeneous nets on inputs of unit norm, starts of given layer norms, and two flows from the same start."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from gradlab.claims.cases import Case, ensemble
from gradlab.claims.looks.flows import Unit
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.fixed import Fixed
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.solvers.solver import Solver
from gradlab.observe.layers import layer_of
from gradlab.problem.activations import polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss, Square
from gradlab.problem.networks import Dense, Network
from gradlab.problem.problem import Problem

#: Starts: the norm of a layer, the same in every layer; and factors on the layers of an unequal start.
NORMS = (0.7, 1.0, 1.4)
FACTORS = (2.0, 1.0, 0.5)
#: Inputs, in the order in which a family goes through them.
INPUTS = ("random", "repeated", "deficient")


@dataclass(frozen=True)
class Group:
    """One architecture, N and a solver: one compiled solve for a flow of it."""

    network: Network
    count: int
    solver: Solver


_SMOOTH, _KINKED = Adaptive("dopri8", 1e-9), Fixed("heun", 5e-4)
#: Fewer points than inputs first, more in the others; hidden widths differ.
GROUPS = {
    "linear": Group(Dense.deep_linear((10, 4, 3, 1)), 6, _SMOOTH),
    "ReLU": Group(Dense((5, 6, 4, 1)), 14, _KINKED),
    "squared ReLU": Group(Dense((5, 6, 4, 1), "squared_relu"), 14, _SMOOTH),
    "z²": Group(Dense((10, 4, 3, 1), polynomial((0, 0, 1))), 6, _SMOOTH),
}


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


def masks(network: Network) -> Bool[np.ndarray, "K P"]:
    """Which weights lie in which layer."""
    layer = layer_of(network)
    return np.arange(layer.max() + 1)[:, None] == layer


def with_norms(rng: np.random.Generator, network: Network, rho: Float[np.ndarray, " K"]) -> Any:
    """Gaussian directions V_k with given norms ρ_k."""
    layers = []
    for norm, shape in zip(rho, network.layers(network.shapes()), strict=True):
        direction = rng.standard_normal(shape.shape)
        layers.append(norm / np.linalg.norm(direction) * direction)
    return network.rebuild(layers)


def starts(rng: np.random.Generator, name: str, count: int) -> list[tuple[Problem, Any, dict[str, Any]]]:
    """Problems of a group, their starts and facts: inputs in turn, every second one with equal norms."""
    group, found = GROUPS[name], []
    for i in range(count):
        kind, equal = INPUTS[i % 3], i % 2 == 0
        factors = np.ones(3) if equal else rng.permutation(FACTORS)
        facts = {"net": name, "inputs": kind, "norms": "equal" if equal else "unequal", "draw": i + 1}
        problem = classified(rng, group.network, group.count, kind, Square("sum"))
        found.append((problem, with_norms(rng, group.network, NORMS[(i // 2) % 3] * factors), facts))
    return found


def side_by_side(
    other: Callable[[Any], Any], drawn: Sequence[Any], records: Any, solver: Solver
) -> Iterator[Case]:
    """The plain flow, and beside it the orbit of another one in a chart (ρ_k, V_k) from the same starts."""
    plain = ensemble(GradientFlow, drawn, records, solver=solver)
    polar = ensemble(other, drawn, records, solver=solver, observables=(Unit(),))
    names = [f"{name}{end}" for name in ("weights", "unit") for end in ("", "_coarse")]
    for one, two in zip(plain, polar, strict=True):
        beside = {f"beside_{name}": two.trajectory[name] for name in names}
        yield replace(one, trajectory=one.trajectory.assign(beside))
