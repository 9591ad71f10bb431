"""Dense output of degree five: the cubic of both ends and their slopes, bent through the points before them."""

from __future__ import annotations

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.tree import like

#: A point nearer than this share of the step to the next is not used: what it errs by would be divided by its square.
APART = 0.25


def hermite(theta: Any, rise: Any, k0: Any, k1: Any) -> Any:
    """H(θ) − y₀, H the cubic with y₀, y₀ + rise at 0 and 1 and slopes k₀, k₁ there."""
    a, b, c = theta**2 * (3.0 - 2.0 * theta), theta * (1.0 - theta) ** 2, theta**2 * (theta - 1.0)
    return jax.tree.map(lambda r, u, v: like(a, r) * r + like(b, u) * u + like(c, v) * v, rise, k0, k1)


def bends(y0: Any, y1: Any, k0: Any, k1: Any, thetas: Float[Array, "2"], points: Any, count: Any) -> Any:
    """(g, g′), stacked, for H(θ) + θ²(1 − θ)² (g + g′θ) through up to two earlier points, at θ₂ < θ₁ < 0."""
    one = (count >= 1) & (thetas[0] < -APART)
    two = one & (count >= 2) & (thetas[1] < thetas[0] - APART)
    first, second = jnp.where(one, thetas[0], -1.0), jnp.where(two, thetas[1], -3.0)
    rise = jax.tree.map(lambda a, b: a - b, y1, y0)

    def left(j: int, theta: Any, used: Any) -> Any:
        weight = jnp.where(used, 1.0 / (theta * (1.0 - theta)) ** 2, 0.0)
        cubic = hermite(theta, rise, k0, k1)
        return jax.tree.map(lambda p, y, c: like(weight, y) * (p[j] - y - c), points, y0, cubic)

    near, far = left(0, first, one), left(1, second, two)
    share = jnp.where(two, 1.0 / (second - first), 0.0)

    def both(a: Any, b: Any) -> Any:
        slope = like(share, a) * (b - a)
        return jnp.stack([a - like(first, a) * slope, slope])

    return jax.tree.map(both, near, far)


class BentHermite(diffrax.AbstractLocalInterpolation):
    """The polynomial of :func:`bends` on one step: of degree five with two earlier points, of three without."""

    t0: Any  # type: ignore[misc]  # abstract in diffrax, which mypy sees as read-only
    t1: Any  # type: ignore[misc]  # the same
    y0: Any
    rise: Any
    k0: Any
    k1: Any
    bend: Any

    def __init__(self, *, t0: Any, t1: Any, y0: Any, y1: Any, k0: Any, k1: Any, bend: Any) -> None:
        self.t0, self.t1, self.y0, self.k0, self.k1, self.bend = t0, t1, y0, k0, k1, bend
        self.rise = jax.tree.map(lambda a, b: a - b, y1, y0)

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        """y at ``t0``, or what it gains from ``t0`` to ``t1``."""
        if t1 is not None:
            return jax.tree.map(lambda a, b: a - b, self.evaluate(t1), self.evaluate(t0))
        length = tree.wide(self.t1) - tree.wide(self.t0)
        theta = (tree.wide(t0) - tree.wide(self.t0)) / jnp.where(length == 0.0, 1.0, length)
        over = (theta * (1.0 - theta)) ** 2
        return jax.tree.map(
            lambda y, c, g: y + (c + like(over, y) * (g[0] + like(theta, y) * g[1])),
            self.y0, hermite(theta, self.rise, self.k0, self.k1), self.bend,
        )  # fmt: skip
