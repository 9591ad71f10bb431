"""The norm of a homogeneous net with frozen directions: ρ̇ = 2Lρ^{2−2/L}(a − bρ), memo112 eq. 5 with constant sums.

a = Σ y_n f_n and b = Σ f_n² are those of the normalised net, L is its depth, and the loss Σ(ρf_n − y_n)², without ½
or 1/N. With r = ρ^{1/L}, the norm of every layer, dt = dr r^{1−L}/2(a − br^L), and

    r^{1−L}/(a − br^L) = (r^{1−L} + br/(a − br^L))/a :

the first term is elementary, the second has no singularity but that of a logarithm at ρ = a/b, which is taken out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from jaxtyping import Float

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


@dataclass(frozen=True)
class NormDynamics:
    """The norm dynamics is ρ̇ = 2Lρ^{2−2/L}(a − bρ): the product of L equal layer norms while directions stand still.

    Closed forms for L = 1 (exponential) and L = 2 (logistic); for L ≥ 3 the time is a quadrature right to rounding,
    and ρ(t) its inverse. That directions stand still is assumed, and unchecked: in a net they do so only where they
    have no choice (one weight a layer), where a, b are stationary in V, or under weight normalisation as ρ → 0.

    Attributes
    ----------
    depth : L, a whole number ≥ 1.
    pull : a = Σ y_n f_n, finite. power : b = Σ f_n² > 0.

    Raises
    ------
    ValueError
        If one of them is not that.

    Examples
    --------
    >>> import gradlab as gl
    >>> norm = gl.solutions.NormDynamics(depth=4, pull=1.0, power=0.5)
    >>> norm.equilibrium, round(norm.hitting_time(1e-4, 1.0), 3)
    (2.0, 24.905)
    """

    depth: int
    pull: float
    power: float

    def __post_init__(self) -> None:
        if not (isinstance(self.depth, int | np.integer) and self.depth >= 1):
            raise ValueError(f"depth was {self.depth!r}; write a whole number ≥ 1")
        if not (math.isfinite(self.pull) and math.isfinite(self.power) and self.power > 0.0):
            raise ValueError(
                f"pull and power were {self.pull!r} and {self.power!r}; write a finite Σ y f and a positive Σ f²"
            )

    @property
    def equilibrium(self) -> float:
        """ρ_eq = a/b, eq. 6; 0 where a ≤ 0, where every ρ > 0 shrinks for ever."""
        return max(self.pull / self.power, 0.0)

    def speed(self, rho: Any) -> Float[np.ndarray, "..."]:
        """ρ̇ at ρ ≥ 0."""
        rho = np.asarray(rho, dtype=np.float64)
        return 2.0 * self.depth * rho ** (2.0 - 2.0 / self.depth) * (self.pull - self.power * rho)

    def decay(self, rho: Any) -> Float[np.ndarray, "..."]:
        """λ = a/ρ − b, with which ρ is the minimiser of Σ(ρf_n − y_n)² + λρ²: Tikhonov's at every ρ of the way."""
        return self.pull / np.asarray(rho, dtype=np.float64) - self.power

    def hitting_time(self, start: float, level: float) -> float:
        """The time from ρ = start to ρ = level, both positive; infinite where the dynamics does not go there.

        Examples
        --------
        >>> import gradlab as gl
        >>> logistic = gl.solutions.NormDynamics(2, 1.0, 1.0)  # ρ/(1 − ρ) grows like e^{4t}
        >>> round(logistic.hitting_time(0.1, 0.5), 12), logistic.hitting_time(0.5, 0.1)
        (0.549306144334, inf)
        """
        if not (start > 0.0 and level > 0.0):
            raise ValueError(f"ρ was to go from {start!r} to {level!r}; write positive numbers")
        if start == level:
            return 0.0
        a, b, depth = self.pull, self.power, int(self.depth)
        ahead = (a - b * start) * (level - start)
        between = a > 0.0 and (start - a / b) * (level - a / b) <= 0.0
        if not ahead > 0.0 or between or a == b * level:
            return math.inf
        if depth == 1:
            return math.log((a - b * start) / (a - b * level)) / (2.0 * b)
        q = 2.0 - 2.0 / depth
        if a == 0.0:
            return float(np.float64(level) ** -q - np.float64(start) ** -q) / (2.0 * depth * b * q)
        if depth == 2:
            return math.log(level / start * ((a - b * start) / (a - b * level))) / (4.0 * a)
        first, last = start ** (1.0 / depth), level ** (1.0 / depth)
        scale = (abs(a) / b) ** (1.0 / depth)
        if a > 0.0 and 1.0 in (first / scale, last / scale):  # the equilibrium, up to rounding
            return math.inf
        leading = (first ** (2 - depth) - last ** (2 - depth)) / (depth - 2)
        rest = _rest(depth, first / scale, last / scale, a > 0.0) * scale ** (2 - depth)
        return float(leading + rest) / (2.0 * a)

    def at(self, start: float, times: Any) -> Float[np.ndarray, "..."]:
        """ρ(t) from ρ(0) = start > 0, at times ≥ 0.

        Examples
        --------
        >>> import gradlab as gl
        >>> gl.solutions.NormDynamics(1, 1.0, 0.5).at(1.0, [0.0, 1.0]).round(6).tolist()  # 2 − e^{−t}
        [1.0, 1.632121]
        """
        t = np.asarray(times, dtype=np.float64)
        if not start > 0.0 or np.any(t < 0.0):
            raise ValueError("the start has to be positive and times not negative")
        a, b = self.pull, self.power
        if self.depth == 1:
            return np.asarray(a / b + (start - a / b) * np.exp(-2.0 * b * t))
        if self.depth == 2 and a != 0.0:
            # ρ/(a − bρ) grows like e^{4at}
            fading = np.exp(-4.0 * abs(a) * t)
            top, bottom = (1.0, fading) if a > 0.0 else (fading, 1.0)
            return np.asarray(start * a * top / ((a - b * start) * bottom + b * start * top))
        return np.asarray(self._inverse(start, np.atleast_1d(t)).reshape(t.shape))

    def _inverse(self, start: float, times: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The ρ that are reached, from a table of hitting times over log ρ or, before an equilibrium, its logit."""
        limit = self.equilibrium
        if start == limit:
            return np.full(times.shape, start)
        logit = math.log(start / abs(limit - start))
        # 36 natural logarithms ahead of an equilibrium nothing is left but rounding
        grid = np.linspace(0.0, 40.0 + abs(logit) if limit > 0.0 else 300.0, 601 if limit == 0.0 else 101)

        def value(x: float) -> float:
            if limit == 0.0:
                return start * math.exp(-x)
            if start > limit:
                return limit + (start - limit) * math.exp(-x)
            return limit / (1.0 + math.exp(-(logit + x)))

        def late(x: float, time: float) -> float:
            return (self.hitting_time(start, value(x)) if x > 0.0 else 0.0) - time

        table = np.array([late(float(x), 0.0) for x in grid])
        table, grid = table[np.isfinite(table)], grid[np.isfinite(table)]
        found = []
        for time in times:
            i = int(np.searchsorted(table, time))
            if i == 0 or i == len(table):
                found.append(start if i == 0 else value(float(grid[-1])))
            else:
                found.append(
                    value(scipy.optimize.brentq(late, grid[i - 1], grid[i], (float(time),), xtol=1e-14))
                )
        return np.array(found)


def _rest(depth: int, first: float, last: float, attracted: bool) -> float:
    """∫ v/(1 − v^L) dv (attracted, both below or both above 1), or −∫ v/(1 + v^L) dv."""
    panels = max(1, math.ceil(abs(math.log(last / first)) / min(0.5, 6.0 / depth)))
    edges = np.linspace(math.log(first), math.log(last), panels + 1)
    half = 0.5 * np.diff(edges)
    x = 0.5 * (edges[:-1] + edges[1:])[:, None] + half[:, None] * _NODES
    v = np.exp(x)
    if not attracted:
        return -float(np.sum(half[:, None] * _WEIGHTS * v**2 / (1.0 + v**depth)))
    powers = v[..., None] ** np.arange(depth)
    total = powers.sum(axis=-1)
    # (Lv − Σ v^j)/(1 − v), without its removable singularity
    numerator = -1.0 + np.sum(powers[..., 1:-1] * np.arange(depth - 2, 0, -1), axis=-1)
    smooth = float(np.sum(half[:, None] * _WEIGHTS * v * numerator / (depth * total)))
    return smooth + math.log((1.0 - first) / (1.0 - last)) / depth
