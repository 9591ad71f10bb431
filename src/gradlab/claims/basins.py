"""Minima of small networks, with or without decay, and the rotations that leave them as low as they are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from gradlab.claims import hessians
from gradlab.problem.losses import Exponential, Logistic, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def potential(problem: Problem, vector: np.ndarray) -> float:
    """L, for the losses that the studies minimise."""
    targets, loss = np.asarray(problem.data.targets), problem.loss
    f = hessians.outputs(problem, vector)
    with np.errstate(over="ignore"):
        if isinstance(loss, Square):
            each = np.sum((f - targets) ** 2, axis=1) * (0.5 if loss.half else 1.0)
        elif isinstance(loss, Exponential):
            each = np.exp(-targets * f[:, 0])
        elif isinstance(loss, Logistic):
            each = np.logaddexp(0.0, -targets * f[:, 0])
        else:
            raise ValueError(
                f"{type(loss).__name__} is not minimised here: give Square, Exponential or Logistic"
            )
    risk = float(each.sum() if loss.reduction == "sum" else each.mean())
    return problem.factor * risk + 0.5 * float(hessians.decays(problem) @ vector**2)


def minimum(problem: Problem, start: np.ndarray, steps: int = 200) -> np.ndarray:
    """A local minimum from a start: Newton steps by |H| + μ that make L smaller, then plain ones of least norm.

    Where it stops is no promise: a study asks :attr:`~gradlab.claims.hessians.Point.at_rest`.
    """
    vector, value = np.asarray(start, dtype=np.float64), potential(problem, start)
    mu = 1e-3
    for _ in range(steps):
        here = hessians.local(problem, vector)
        values, vectors = np.linalg.eigh(here.hessian)
        size, along = float(np.abs(values).max()), vectors.T @ here.gradient
        if not size or np.linalg.norm(along) <= 1e-12 * size * np.linalg.norm(vector):
            break
        for _ in range(40):
            trial = vector - vectors @ (along / (np.abs(values) + mu * size))
            after = potential(problem, trial)
            if after < value:
                vector, value, mu = trial, after, max(mu / 8.0, 1e-12)
                break
            mu *= 4.0
        else:
            break
    return _polished(problem, vector)


def _polished(problem: Problem, vector: np.ndarray) -> np.ndarray:
    """Newton steps of least norm on ∇L = 0 for as long as ‖∇L‖ falls."""
    here = hessians.local(problem, vector)
    for _ in range(20):
        values, vectors = np.linalg.eigh(here.hessian)
        kept = np.abs(values) > len(vector) * 1e2 * hessians.EPS * np.abs(values).max(initial=0.0)
        step = vectors[:, kept] @ ((vectors.T @ here.gradient)[kept] / values[kept])
        after = hessians.local(problem, vector - step)
        if not np.linalg.norm(after.gradient) < np.linalg.norm(here.gradient):
            break
        vector, here = vector - step, after
    return vector


def interpolant(problem: Problem, start: np.ndarray, steps: int = 100) -> np.ndarray:
    """A zero of all residuals near a start: damped Gauss–Newton steps, undamped at the end (least norm)."""
    vector, targets = np.asarray(start, dtype=np.float64), np.asarray(problem.data.targets)
    here, mu = hessians.local(problem, vector), 1.0
    for _ in range(steps):
        residual = (targets - here.f).reshape(-1)
        left, singular, right = np.linalg.svd(here.rows, full_matrices=False)
        kept = singular > 1e-10 * singular.max(initial=0.0)
        gain = np.where(kept, singular / np.where(kept, singular**2 + mu * residual @ residual, 1.0), 0.0)
        step = right.T @ (gain * (left.T @ residual))
        after = hessians.local(problem, vector + step)
        if np.linalg.norm(targets - after.f) < np.linalg.norm(residual):
            vector, here, mu = vector + step, after, mu / 4.0
        elif mu * (residual @ residual) < 1e-16 * singular.max(initial=0.0) ** 2:
            break
        else:
            mu *= 8.0
    return vector


def orbit(problem: Problem, vector: np.ndarray) -> Float[np.ndarray, "k P"]:
    """Tangents of the rotations of hidden units that leave f on the data and every norm as they are.

    W_k ↦ A W_k, W_{k+1} ↦ W_{k+1} Aᵀ, A orthogonal among units of one layer that the activation treats alike on
    every example: all of them in a linear net, those with one pattern of signs under (leaky) ReLU (near W, away
    from kinks). No rows for other activations, with biases, or for units of which there is one.
    """
    network, size = problem.network, len(vector)
    name = network.activation.name if isinstance(network, Dense) else ""
    if not isinstance(network, Dense) or network.bias or name not in ("identity", "relu", "leaky_relu"):
        return np.zeros((0, size))
    x = np.asarray(problem.data.inputs)
    net, rows = hessians.Forward(network, vector, x.reshape(len(x), -1)), []
    for k in range(len(net.weights) - 1):
        signs = np.sign(net.pre[k][0]).T if name != "identity" else np.ones((len(net.weights[k]), 1))
        for i in range(len(signs)):
            for j in range(i):
                if not np.array_equal(signs[i], signs[j]):
                    continue
                row = np.zeros(size)
                row[net.places[k][i]], row[net.places[k][j]] = net.weights[k][j], -net.weights[k][i]
                above = net.weights[k + 1]
                row[net.places[k + 1][:, i]], row[net.places[k + 1][:, j]] = above[:, j], -above[:, i]
                rows.append(row)
    return np.stack(rows) if rows else np.zeros((0, size))
