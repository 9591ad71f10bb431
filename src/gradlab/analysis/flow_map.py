"""A flow near its equilibrium 0, seen through its orbits alone: derivative of φ_t, rates, invariant manifolds.

Nothing here is given a Hessian: what linearisations say can be tested against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.analysis.equilibria.counting import Count

#: φ_t of displacements (B, P) at a time of any sign.
Flow = Callable[[np.ndarray, Any], np.ndarray]

#: Growth of errors from one round of shooting to the next, and what is left of them at the end, as logarithms.
_ROUND, _LEFT = 2.5, 18.0


@dataclass(frozen=True)
class FlowMap:
    """Dφ_t(0), from central differences of orbits at two distances, extrapolated.

    derivative : (P, P). bar : 2-norm of what the extrapolation changed. time : t.
    """

    derivative: Float[np.ndarray, "P P"]
    bar: float
    time: float

    @property
    def _symmetric(self) -> tuple[np.ndarray, np.ndarray]:
        return np.linalg.eigh(0.5 * (self.derivative + self.derivative.T))

    @property
    def rates(self) -> Float[np.ndarray, " P"]:
        """Rates of decay, negative where displacements grow: −log(eigenvalue)/t of the symmetric part."""
        return -np.log(np.maximum(self._symmetric[0], np.finfo(np.float64).tiny)) / self.time

    @property
    def directions(self) -> Float[np.ndarray, "P P"]:
        """The eigenvectors that belong to the rates, as columns."""
        return self._symmetric[1]

    @property
    def growing(self) -> Count:
        """How many directions grow: singular values above 1; undecided those within ten bars of 1."""
        singular = np.linalg.svd(self.derivative, compute_uv=False)
        return Count(float(np.sum(singular > 1.0)), float(np.sum(np.abs(singular - 1.0) <= 10.0 * self.bar)))


def flow_map(flow: Flow, size: int, step: float, time: float) -> FlowMap:
    """The derivative of φ_t at 0; its error is of fourth order in the step."""
    axes = np.eye(size)
    starts = np.concatenate([share * step * axes for share in (1.0, -1.0, 2.0, -2.0)])
    ends = flow(starts, time).reshape(4, size, size)
    near, far = (ends[0] - ends[1]).T / (2.0 * step), (ends[2] - ends[3]).T / (4.0 * step)
    found = (4.0 * near - far) / 3.0
    bar = float(np.linalg.norm(found - near, 2)) if np.isfinite(found).all() else np.inf
    return FlowMap(found, bar, time)


def invariant_manifold(
    flow: Flow, seen: FlowMap, reach: float, count: int, *, stable: bool, seed: int = 0
) -> Float[np.ndarray, "count P"]:
    """Points of the local stable manifold, at a distance of about ``reach``; of the unstable one in reversed time.

    Shooting: the coordinates along decaying directions are drawn at random, and those along growing ones are corrected
    until the orbit has none of them left at a time T, which grows by rounds. The error at the end is e^{−18} of the
    manifold's distance from its tangent space. Rates and directions are those of ``seen``. No points where no direction
    decays; all around where none grows.
    """
    sign = 1.0 if stable else -1.0
    mine = sign * seen.rates > 0.0
    along, across = seen.directions[:, mine], seen.directions[:, ~mine]
    if not mine.any():
        return np.zeros((0, seen.rates.size))
    drawn = np.random.default_rng(seed).standard_normal((count, seen.rates.size))[:, mine]
    x = reach * (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)) @ along.T
    growth = np.abs(seen.rates[~mine])
    if not growth.size:
        return x
    last = _LEFT / (np.min(np.abs(seen.rates[mine])) + growth.min())
    rounds = int(np.ceil(growth.max() * last / _ROUND))
    for time in np.linspace(last / rounds, last, rounds):
        left = flow(x, sign * time) @ across
        x = x - (left * np.exp(-growth * time)) @ across.T
    return x
