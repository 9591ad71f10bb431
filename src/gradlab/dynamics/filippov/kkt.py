"""How far weights are from a KKT point of the L2 max-margin problem, kinks included."""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import numpy as np
from scipy.optimize import nnls

from gradlab.dynamics.filippov.advance import slope, supports
from gradlab.dynamics.filippov.modes import Surfaces, slopes, surfaces
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Weight of the equations that tie multipliers of kinks to those of their examples. What it leaves is repaired.
TIED = 1e4


class KKT(eqx.Module):
    """A point against the KKT conditions of min ½‖W‖² under y_n f_n(W) ≥ 1 (Lyu & Li 2020, Definition 2.1, (P)).

    With W scaled to least margin 1, multipliers λ ≥ 0 and generalised gradients h_n ∈ ∂(y_n f_n)(W):

    stationarity : ‖W − Σ λ_n h_n‖ / ‖W‖. complementarity : Σ λ_n (y_n f_n − 1) / ‖W‖². residual : the root of the
    sum of their squares, least over λ and over the slopes q ∈ [α, 1] at kinks up to the repair of rounding: an
    upper bound. angle : between W and Σ λ_n h_n, radians. multipliers : λ (N,). margin : min y_n f_n / ‖W‖².
    """

    residual: float
    stationarity: float
    complementarity: float
    angle: float
    margin: float
    multipliers: np.ndarray


@float64
def kkt(problem: Problem, weights: Any, signs: np.ndarray | None = None) -> KKT:
    """The KKT residual of weights that separate the data, of a two-layer net with one output.

    At a kink (sides 0 in ``signs``, as in an outcome's memory; none if no signs are given) the gradient is a set, and
    the product λ_n q_jn is an unknown of its own between α λ_n and λ_n: a non-negative least-squares problem.

    Raises
    ------
    ValueError
        For another net, labels that are not ±1, or weights that do not separate the data.
    """
    if refusal := supports(problem):
        raise ValueError(refusal)
    if problem.loss.labels != "sign":
        raise ValueError(
            f"the max-margin problem is for labels ±1; {type(problem.loss).__name__} takes others: "
            "use Exponential or Logistic"
        )
    alpha = slope(problem)
    first, second = (np.asarray(layer) for layer in weights)
    inputs = np.asarray(problem.data.inputs).reshape(problem.data.inputs.shape[0], -1)
    labels = np.asarray(problem.data.targets, dtype=float)
    kinks: Surfaces = surfaces(inputs)
    if signs is None:
        signs = np.where(first @ inputs.T > 0.0, 1, -1).astype(np.int8)
    signs = np.where(kinks.owner >= 0, signs, 1)
    size = math.sqrt(float(np.sum(first**2) + np.sum(second**2)))
    unit_first, unit_second = first / size, second[0] / size
    q = slopes(alpha, signs)
    z = (unit_first @ inputs.T) * q
    margins = labels * (unit_second @ z)
    least = float(margins.min())
    if not least > 0.0:
        raise ValueError(
            f"the least margin is {least:.3g}; the residual is of weights that separate the data: integrate longer"
        )
    return _solve(unit_first, unit_second, inputs, labels, q, z, margins, np.argwhere(signs == 0), alpha)


def _solve(
    first: np.ndarray,
    second: np.ndarray,
    inputs: np.ndarray,
    labels: np.ndarray,
    q: np.ndarray,
    z: np.ndarray,
    margins: np.ndarray,
    kinks: np.ndarray,
    alpha: float,
) -> KKT:
    """Least squares over λ ≥ 0 and, at kinks, λ_n q = α λ_n + up, λ_n (1 − q) = down, up + down = (1 − α) λ_n."""
    (m, d), N, K = first.shape, len(inputs), len(kinks)
    least, slack = float(margins.min()), margins - margins.min()
    columns = np.zeros((m * d + m, N + K))
    for n in range(N):
        inner = second * np.where(np.isin(np.arange(m), kinks[kinks[:, 1] == n, 0]), alpha, q[:, n])
        columns[:, n] = labels[n] * np.concatenate([np.outer(inner, inputs[n]).ravel(), z[:, n]])
    for k, (j, n) in enumerate(kinks):
        columns[j * d : (j + 1) * d, N + k] = labels[n] * second[j] * inputs[n]
    target = np.concatenate([first.ravel(), second])
    # Only examples near the least margin can have weight: λ_n slack_n ≤ residual, and λ is of the order 1/(2 least).
    rows = np.vstack([columns, np.concatenate([slack, np.zeros(K)])[None]])
    system = np.zeros((len(rows) + K, N + 2 * K))
    system[: len(rows), : N + K] = rows
    for k, (_, n) in enumerate(kinks):
        system[len(rows) + k, [n, N + k, N + K + k]] = (
            np.array([alpha - 1.0, 1.0, 1.0]) * TIED * np.abs(rows).max()
        )
    right = np.concatenate([target, np.zeros(1 + K)])
    found = nnls(system, right, maxiter=100 * system.shape[1])[0]
    multipliers, up = found[:N], found[N : N + K]
    # what the finite weight left: put the products back into their intervals
    up = np.minimum(up, (1.0 - alpha) * multipliers[kinks[:, 1]])
    reached = columns @ np.concatenate([multipliers, up])
    stationarity = float(np.linalg.norm(target - reached))
    complementarity = float(multipliers @ slack)
    length = float(np.linalg.norm(reached))
    # 2 arctan of the half-angle is exact for small angles, where arccos is not
    unit = reached / length if length > 0.0 else reached
    angle = 2.0 * math.atan2(np.linalg.norm(target - unit), np.linalg.norm(target + unit))
    residual = math.hypot(stationarity, complementarity)
    return KKT(residual, stationarity, complementarity, angle, least, multipliers)
