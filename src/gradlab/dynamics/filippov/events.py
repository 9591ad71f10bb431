"""When a mode ends: a pre-activation changes its sign, or a sliding pair's multiplier reaches an end of [0, 1]."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.modules import Module

#: How far outside [0, 1] a multiplier must be to end its sliding. Leaving is continuous in the velocity, so that
#: this moves the orbit by its square only.
OUTSIDE = 1e-8
#: Points of a step at which multipliers are looked at (they are no polynomials; pre-activations are, exactly).
SAMPLES = 3


def _root(function: Callable[[float], Any], left: float, right: float, **options: float) -> float:
    from scipy.optimize import brentq

    return float(brentq(function, left, right, **options))


class Event(Module):
    """One change of mode: when (u = log(1 + t)), which neuron, which example, from which side to which.

    Sides are 1, −1, and 0 for sliding; ``example`` names the surface by the first of its parallel inputs.
    """

    u: float
    neuron: int
    example: int
    before: int
    after: int


class Watch:
    """The event functions of one piece, positive while the mode lasts, against where the piece began.

    A function that is negative at the beginning (by rounding, or within the hysteresis of the event before) ends
    the mode only where it falls below that by the threshold again, so that no event is found twice.
    """

    def __init__(
        self,
        signs: np.ndarray,
        normals: np.ndarray,
        slack: Callable[[np.ndarray], np.ndarray] | None,
        y: np.ndarray,
        depth: float,
        count: Any,
    ) -> None:
        self.signs, self.normals, self._slack, self.depth, self.count = signs, normals, slack, depth, count
        self.side_floor = np.minimum(0.0, self.sides(y)) - depth
        self.slack_floor = np.minimum(0.0, self.slack(y)) - OUTSIDE

    def sides(self, ys: np.ndarray) -> np.ndarray:
        """s_jg w_j·u_g (m, G, …) at points ys (P, …): negative on the wrong side."""
        m, d = len(self.signs), self.normals.shape[1]
        first = ys[: m * d].reshape(m, d, *ys.shape[1:])
        z = np.einsum("gd,jd...->jg...", self.normals, first)
        return z * self.signs.reshape(*self.signs.shape, *(1,) * (ys.ndim - 1))

    def slack(self, ys: np.ndarray) -> np.ndarray:
        """Distance (m, G, …) of multipliers from the ends of their interval; ∞ for pairs that do not slide."""
        if self._slack is None:
            return np.full((*self.signs.shape, *ys.shape[1:]), np.inf)
        rows = np.atleast_2d(ys.T)
        self.count.evaluations += len(rows)
        values = np.moveaxis(self._slack(rows), 0, -1)
        return values[..., 0] if ys.ndim == 1 else values

    def violated(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Masks (m, G) of the pairs on the wrong side, and of those whose multiplier is outside."""
        return self.sides(y) < self.side_floor, self.slack(y) < self.slack_floor

    def first(
        self, path: Callable[..., np.ndarray], start: float, end: float
    ) -> tuple[float, int, int] | None:
        """(u, neuron, surface) of the first event on the dense output of a step, or None."""
        found = self._first_side(path, start, end)
        stop = end if found is None else found[0]
        return self._first_slack(path, start, stop) or found

    def _first_side(self, path: Callable[..., np.ndarray], start: float, end: float) -> Any:
        # The dense output is a cubic, hence so is every pre-activation: its extremes are known exactly.
        nodes = np.array([0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0])
        values = self.sides(path(start + nodes * (end - start)))
        c1 = -5.5 * values[..., 0] + 9.0 * values[..., 1] - 4.5 * values[..., 2] + values[..., 3]
        c2 = 9.0 * values[..., 0] - 22.5 * values[..., 1] + 18.0 * values[..., 2] - 4.5 * values[..., 3]
        c3 = -4.5 * values[..., 0] + 13.5 * values[..., 1] - 13.5 * values[..., 2] + 4.5 * values[..., 3]
        corners = np.concatenate([_extremes(c1, 2.0 * c2, 3.0 * c3), np.ones((*c1.shape, 1))], axis=-1)

        def at(x: Any, *pair: Any) -> Any:
            return values[(*pair, 0)] + x * (c1[pair] + x * (c2[pair] + x * c3[pair]))

        every = (slice(None), slice(None))
        low = np.moveaxis(at(np.moveaxis(corners, -1, 0), *every), 0, -1) < self.side_floor[..., None]
        best: Any = None
        for j, g in np.argwhere(low.any(axis=-1)):
            index = int(low[j, g].argmax())
            left = float(corners[j, g, index - 1]) if index else 0.0
            right, floor = float(corners[j, g, index]), self.side_floor[j, g]
            if at(left, j, g) <= floor:
                x = left
            else:

                def gap(x: float, j: int = j, g: int = g, floor: float = floor) -> Any:
                    return at(x, j, g) - floor

                x = _root(gap, left, right, xtol=1e-15)
            u = start + x * (end - start)
            if best is None or u < best[0]:
                best = (u, int(j), int(g))
        return best

    def _first_slack(self, path: Callable[..., np.ndarray], start: float, end: float) -> Any:
        if self._slack is None or not end > start:
            return None
        nodes = start + (end - start) * np.arange(1, SAMPLES + 1) / SAMPLES
        low = self.slack(path(nodes)) < self.slack_floor[..., None]
        if not low.any():
            return None
        k = int(low.any(axis=(0, 1)).argmax())
        left, right = (start if k == 0 else nodes[k - 1]), nodes[k]

        def worst(u: float) -> float:
            with np.errstate(invalid="ignore"):
                gap = self.slack(path(u)) - self.slack_floor
            return float(np.nanmin(gap))

        # A node may pass by rounding alone: one at a time is not rounded as all of them together are.
        if worst(left) > 0.0 > worst(right):
            right = _root(worst, left, right, xtol=4e-16 * max(1.0, right), rtol=1e-14)
        gap = self.slack(path(right)) - self.slack_floor
        j, g = np.unravel_index(np.argmin(np.where(np.isfinite(gap), gap, np.inf)), gap.shape)
        return float(right), int(j), int(g)


def _extremes(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Zeros (…, 2) of a + b x + c x² inside (0, 1), ascending; 0 stands for none."""
    root = np.sqrt(np.maximum(b * b - 4.0 * a * c, 0.0))
    q = -0.5 * (b + np.where(b >= 0.0, root, -root))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        zeros = np.stack([q / c, a / q], axis=-1)
    inside = (zeros > 0.0) & (zeros < 1.0) & (b * b >= 4.0 * a * c)[..., None]
    return np.sort(np.where(inside, zeros, 0.0), axis=-1)
