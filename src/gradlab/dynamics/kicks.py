"""Kicks: a flow that is hit by a random perturbation at fixed moments of its own clock."""

from __future__ import annotations

import math
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.flow import Flow
from gradlab.problem.precision import number
from gradlab.problem.problem import Problem


class Kicked(Flow):
    """A kicked flow gets W ← W + σ ξ at clock values (or iterations) every, 2·every, … ≤ until.

    Parameters
    ----------
    flow : the flow between kicks.
    sigma : standard deviation of each entry (``scale="absolute"``), a multiple of the standard deviation of
        each layer's own entries (``"layer"``, memo90 Fig. 5 has 1/4), or the norm of the whole kick (``"norm"``,
        memo90 §6 has 1).
    every, until : kick times, in the run's clock (iterations for descent).
    key : the kick number j uses fold_in(key, j), whatever was integrated in between.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> flow = gl.flows.Kicked(gl.GradientFlow(problem), 0.1, every=1.0, key=jax.random.key(0), until=2.0)
    >>> flow.times(0.0, 10.0)
    [(1, 1.0), (2, 2.0)]
    """

    flow: Flow
    sigma: Float[Array, "..."] | float = eqx.field(converter=number)
    every: float = eqx.field(static=True)
    key: Array
    until: float = eqx.field(static=True, default=math.inf)
    scale: Literal["absolute", "layer", "norm"] = eqx.field(static=True, default="absolute")

    def __check_init__(self) -> None:
        if self.every <= 0:
            raise ValueError(f"kicks come every positive time; every={self.every} was given")
        if self.scale not in ("absolute", "layer", "norm"):
            raise ValueError(f"scale is 'absolute', 'layer' or 'norm', not {self.scale!r}")

    @property
    def discrete(self) -> bool:  # type: ignore[override]  # a constant of other flows, here the inner one's
        return self.flow.discrete

    @property
    def symmetric(self) -> bool:  # type: ignore[override]  # the same
        return self.flow.symmetric

    @property
    def chart_is_identity(self) -> bool:  # type: ignore[override]  # the same
        return self.flow.chart_is_identity

    @property
    def observed(self) -> Problem:
        return self.flow.observed

    def encode(self, weights: Any) -> Any:
        return self.flow.encode(weights)

    def decode(self, y: Any) -> Any:
        return self.flow.decode(y)

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        return self.flow.velocity(t, y)

    def chart(self, y: Any) -> dict[str, Array]:
        return self.flow.chart(y)

    def times(self, present: float, end: float) -> list[tuple[int, float]]:
        """(number, clock value) of the kicks in [present, end): a record shows the state before its kick."""
        first = max(1, math.ceil(present / self.every))
        last = math.ceil(end / self.every) if math.isfinite(end) else first
        moments = [(j, j * self.every) for j in range(first, last + 1)]
        return [(j, moment) for j, moment in moments if present <= moment < end and moment <= self.until]

    def kick(self, number: Any, y: Any) -> Any:
        """y after kick ``number``."""
        weights = self.decode(y)
        leaves, structure = jax.tree.flatten(weights)
        keys = jax.random.split(jax.random.fold_in(self.key, number), len(leaves))
        noise = [
            jax.random.normal(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)
        ]
        kick = jax.tree.unflatten(structure, noise)
        if self.scale == "norm":
            kick = tree.scale(self.sigma / tree.norm(kick), kick)
        elif self.scale == "layer":
            network = self.observed.network
            own = network.layers(weights)
            pairs = zip(network.layers(kick), own, strict=True)
            kick = network.rebuild(tuple(tree.scale(self.sigma * _deviation(w), x) for x, w in pairs))
        else:
            kick = tree.scale(self.sigma, kick)
        return self.encode(tree.add(weights, kick))


def _deviation(layer: Any) -> Float[Array, ""]:
    return jnp.std(jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(layer)]))
