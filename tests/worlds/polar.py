"""Worlds of the studies of W_k = ρ_k V_k: layers that move apart, charts that part, gradients that are off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.claims.cases import Case
from gradlab.observe.layers import layer_norms, layer_of
from gradlab.problem.activations import Activation
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem
from worlds import World, drift, noisy, orbit, seen, told, uneven_layers


def decaying_layer(rate: float = 0.01) -> World:
    """The first layer also decays, at a rate that nobody told: W_1 e^{−λt}."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        first = layer_of(case.problem.network) == 0
        along = np.linspace(0.0, 1.0, len(rows))[:, None]
        return np.where(first & ("t" in case.trajectory), rows * np.exp(-rate * along), rows)

    return orbit(f"a decay of {rate:g} in the first layer", change)


def beside(name: str, variable: str, change: Callable[[np.ndarray], np.ndarray]) -> World:
    """What was run in the other chart is changed, in both solves."""

    def changed(case: Case) -> Case:
        names = [f"beside_{variable}{end}" for end in ("", "_coarse")]
        given: xr.Dataset = case.trajectory
        parts = {one: (given[one].dims, change(given[one].values)) for one in names if one in given}
        return replace(case, trajectory=given.assign(parts))

    return World(name, changed)


def times(name: str, attribute: str, part: str, factor: Callable[[Any], Any]) -> World:
    """An entry of what automatic differentiation gave, multiplied."""
    return seen(name, **{attribute: lambda found, look: {**found, part: found[part] * factor(look)}})


def layers_apart(look: Any) -> np.ndarray:
    """1 + 1e-6 in the first layer, 1 in the others."""
    return 1.0 + 1e-6 * (look.layer == 0)


def off_gradient(size: float = 1e-6) -> World:
    """−∇L is larger by a share than that of the loss of which the study is told."""

    def change(points: Any, look: Any) -> Any:
        scale = np.ones(points[0][1].gradients.shape[1])
        scale[-1] += size
        return [(vector, one._replace(gradients=one.gradients * scale[:, None])) for vector, one in points]

    return seen(f"a gradient {size:g} too large", points=change)


def off_derivatives(name: str, **parts: Callable[[np.ndarray, int], np.ndarray]) -> World:
    """Derivatives by automatic differentiation are others: ``change(array, count)``, count the first columns."""

    def change(points: Any, look: Any) -> Any:
        count = look.columns.size
        return [
            (
                vector,
                one._replace(
                    **{part: new(np.array(getattr(one, part)), count) for part, new in parts.items()}
                ),
            )
            for vector, one in points
        ]

    return seen(name, points=change)


def _normalised(gradients: np.ndarray, count: int) -> np.ndarray:
    gradients[count:, :-1] *= 1.0 + 1e-6
    return gradients


def _second(changes: np.ndarray, count: int) -> np.ndarray:
    changes[:count, :-1] += 1e-3
    return changes


class Nearly(Activation):
    """ReLU and a millionth of tanh, called of degree one."""

    name: str = "nearly"
    degree: int | None = 1
    smooth: bool = False

    def __call__(self, z: Any) -> Any:
        return jnp.maximum(z, 0.0) + 1e-6 * jnp.tanh(z)


def nearly_homogeneous() -> World:
    """ReLU nets whose activation is homogeneous to a millionth only."""

    def change(problem: Any) -> Any:
        network = problem.network
        if not isinstance(network, Dense) or network.activation.name != "relu":
            return problem
        return Problem(Dense(network.widths, Nearly()), problem.loss, problem.data)

    return told("an activation of degree one to a millionth", change)


SPHERE = beside("the chart leaves the sphere by 1e-4", "unit", lambda unit: unit + 1e-4)
SLOWER = beside("another flow in the chart", "weights", lambda rows: rows[:1] + 0.9 * (rows - rows[:1]))
NORMALISED = (
    drift(1e-3),
    uneven_layers(1.01),
    SPHERE,
    SLOWER,
    off_gradient(),
    seen("w̃ that turns 1e-6 too fast", along=lambda found, look: (found[0], (1.0 + 1e-6) * found[1])),
    off_derivatives("∂f̃/∂w̃ 1e-6 too large", gradients=_normalised),
    off_derivatives("∂²f of 1e-3 inside a layer, where it is zero", changes=_second),
    noisy(1e-9),
)
LEMMA = (
    uneven_layers(1.01),
    decaying_layer(),
    times("a first layer's gradient 1e-6 too large", "local", "gradient", layers_apart),
    noisy(1e-8),
)


def biased(found: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
    """f + b, of the given and of the normalised weights, b a millionth of the largest f."""
    bias = 1e-6 * np.max(np.abs(found["f"]))
    norms = layer_norms(layer_of(look.problem.network), look.vectors)
    norms = np.where(norms > 0.0, norms, 1.0)
    whole = np.prod([norms[:, k] ** degree for k, degree in look.degrees.items()], axis=0)
    return {**found, "f": found["f"] + bias, "product": found["product"] + whole[:, None, None] * bias}


def squared(found: dict[str, np.ndarray], look: Any) -> dict[str, np.ndarray]:
    """f + εf²: a part of twice the degree."""
    small = 1e-5 / max(float(np.max(np.abs(found["f"]))), 1e-300)
    euler = found["euler"] * (1.0 + 2.0 * small * found["f"][:, None])
    return {**found, "f": found["f"] + small * found["f"] ** 2, "euler": euler}


WORLDS = {
    "notes.homogeneity": (
        seen("a bias of 1e-6", seen=biased),
        seen("a part of twice the degree", seen=squared),
        times("a layer enters with another power of its norm", "seen", "product", lambda look: 1.0 + 1e-6),
        nearly_homogeneous(),
        noisy(1e-9),
    ),
    "notes.normalised": NORMALISED,
    "notes.normalised-corrected": NORMALISED,
    "memo112.lemma1": LEMMA,
    "memo112.lemma1-corrected": LEMMA,
    "memo112.normalised-flow": (drift(1e-3), uneven_layers(1.01), SPHERE, SLOWER, noisy(1e-9)),
}
