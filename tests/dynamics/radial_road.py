"""An independent road to late times, in NumPy: log ‖W‖ as time and ω = log(t L ‖W‖^{2K−2}) as an unknown.

Exponential loss (sum), dense nets, backpropagation by hand, Jacobians by complex steps, SciPy's Radau. With
R = e^{Ks}, p = softmax(−R m(V)), G = Σ p_n ∇m_n(V), a = K p·m:

    dV/ds = G/a − V,    dω/ds = (R/a)(e^{−ω} − ‖G‖²) + 2K − 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp


@dataclass(frozen=True)
class Arrival:
    """The orbit at log t: log ‖W‖, the direction V and its least margin."""

    log_t: float
    log_norm: float
    directions: np.ndarray
    margin: float


class Road:
    """The flow of a Dense((widths), activation), ``identity`` or ``squared_relu``, on rows X with signs y."""

    def __init__(self, widths: Sequence[int], activation: str, X: np.ndarray, y: np.ndarray) -> None:
        self.shapes = [(after, before) for before, after in pairwise(widths)]
        self.ends = np.cumsum([rows * columns for rows, columns in self.shapes])
        self.squared, self.X, self.y = activation == "squared_relu", X, y
        self.K = sum((2 if self.squared else 1) ** k for k in range(len(self.shapes)))

    def margins(self, v: np.ndarray) -> tuple[np.ndarray, Any]:
        """m(v), and the map p ↦ Σ p_n ∇m_n(v)."""
        parts = np.split(v, self.ends[:-1])
        weights = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        before, after, h = [], [], self.X
        for k, weight in enumerate(weights):
            if k and self.squared:
                h = np.where(h.real > 0, h, 0.0)
            before.append(h)
            h = h**2 if k and self.squared else h
            after.append(h)
            h = h @ weight.T

        def pull(p: np.ndarray) -> np.ndarray:
            delta, gradients = (p * self.y)[:, None], []
            for k in reversed(range(len(weights))):
                gradients.append((delta.T @ after[k]).reshape(-1))
                delta = delta @ weights[k]
                if k and self.squared:
                    delta = 2.0 * delta * before[k]
            return np.concatenate(gradients[::-1])

        return self.y * h[:, 0], pull

    def parts(self, s: float, V: np.ndarray) -> Any:
        R, (m, pull) = np.exp(self.K * s), self.margins(V)
        exponents = -R * m
        top = exponents[np.argmax(exponents.real)]
        q = np.exp(exponents - top)
        p = q / q.sum()
        return R, self.K * (p @ m), pull(p), top + np.log(q.sum())

    def field(self, s: float, z: np.ndarray) -> np.ndarray:
        V, omega = z[:-1], z[-1]
        R, a, G, _ = self.parts(s, V)
        return np.append(G / a - V, R / a * (np.exp(-omega) - G @ G) + 2 * self.K - 2)

    def jacobian(self, s: float, z: np.ndarray) -> np.ndarray:
        columns = [self.field(s, z + 1e-30j * e).imag / 1e-30 for e in np.eye(len(z))]
        return np.stack(columns, axis=1)

    def log_t(self, s: float, z: np.ndarray) -> float:
        return float(z[-1] - self.parts(s, z[:-1])[3] - (2 * self.K - 2) * s)

    def plain(self, W: np.ndarray, t: float) -> np.ndarray:
        def field(_: float, w: np.ndarray) -> np.ndarray:
            m, pull = self.margins(w)
            return pull(np.exp(-m))

        return solve_ivp(field, (0.0, t), W, method="DOP853", rtol=1e-13, atol=1e-15).y[:, -1]

    def arrivals(self, W: np.ndarray, log_times: Sequence[float], t: float = 10.0) -> list[Arrival]:
        """The plain flow to time t, where the data must be separated, then on to each log t."""
        W = self.plain(W, t)
        s = float(np.log(np.linalg.norm(W)))
        V = W / np.linalg.norm(W)
        z, found = np.append(V, np.log(t) + self.parts(s, V)[3] + (2 * self.K - 2) * s), []
        accurate = {"method": "Radau", "jac": self.jacobian, "rtol": 1e-11, "atol": 1e-13}
        for target in log_times:

            def reached(s: float, z: np.ndarray, target: float = target) -> float:
                return (self.log_t(s, z) - target) / target

            reached.terminal = True  # type: ignore[attr-defined]
            way = solve_ivp(self.field, (s, s + 20.0), z, events=reached, **accurate)
            # The event is interpolated: Newton's method for log t(s) = target, from the step before it.
            (end,), last, begin = way.t_events[0], way.t[-2], way.y[:, -2]
            for _ in range(3):
                z = solve_ivp(self.field, (last, end), begin, **accurate).y[:, -1]
                s, (R, a, _, _) = end, self.parts(end, z[:-1])
                end = s + (target - self.log_t(s, z)) * a / R * np.exp(z[-1])
            V = z[:-1] / np.linalg.norm(z[:-1])
            found.append(Arrival(target, s + np.log(np.linalg.norm(z[:-1])), V, self.margins(V)[0].min()))
        return found
