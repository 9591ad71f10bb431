"""Flows of (ρ_k, V_k), W_k = ρ_k V_k, of small nets on the host: the plain one, weight normalisation, the unit-norm
penalty."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.claims.problems import late
from gradlab.observe.layers import layer_of
from gradlab.problem.problem import Problem


def polar_parts(problem: Problem, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ρ (K,), V (P,) and the layer of every weight (P,) of a chart vector (ρ, V)."""
    layer = layer_of(problem.network)
    K = int(layer.max()) + 1
    return y[:K], y[K:], layer


def chart(problem: Problem, weights: np.ndarray) -> np.ndarray:
    """(ρ, V) of weights, ‖V_k‖ = 1."""
    layer = layer_of(problem.network)
    rho = np.array([np.linalg.norm(weights[layer == k]) for k in range(int(layer.max()) + 1)])
    return np.concatenate([rho, weights / rho[layer]])


def polar_flow(problem: Problem, kind: str, penalty: float = 0.0) -> late.Field:
    """d(ρ, V)/du, u = log t: ``plain``, ``weight normalisation`` (‖v_k‖ stays), or ``penalty`` (eqs. 48 and 49)."""
    layer, pulls = layer_of(problem.network), late.flow(problem)
    K = int(layer.max()) + 1
    ends = np.searchsorted(layer, np.arange(K))

    def along(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(np.add.reduceat(a * b, ends))

    def field(u: float, y: np.ndarray) -> np.ndarray:
        rho, V = y[:K], y[K:]
        if kind == "penalty":
            pull = pulls(u, rho[layer] * V)
            return np.concatenate([along(V, pull), rho[layer] * pull - 2.0 * penalty * np.exp(u) * V])
        sizes = np.sqrt(along(V, V))
        unit = V / sizes[layer]
        pull = pulls(u, rho[layer] * (unit if kind == "weight normalisation" else V))
        radial = along(unit, pull)
        by = (1.0 / rho)[layer] if kind == "plain" else (rho / sizes)[layer]
        return np.concatenate([radial, by * (pull - radial[layer] * unit)])

    return field


def polar_orbit(
    problem: Problem, weights: Any, logs: np.ndarray, kind: str, penalty: float = 0.0, **facts: Any
) -> Any:
    """A case whose ``weights`` are (ρ, V) at every record."""
    start = chart(problem, np.asarray(weights))
    return late.orbit(polar_flow(problem, kind, penalty), None, start, logs, problem, 1e-7, **facts)
