"""Minima of small problems on the host: Newton by |H|, Gauss–Newton to a zero of the residuals, BFGS.

None of them promises an equilibrium: that is asked of the end, by
:attr:`~gradlab.analysis.equilibria.counting.Eigenvalues.at_rest` or by polishing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from gradlab.analysis.equilibria.rounding import EPS
from gradlab.observe.local import decays, local, outputs
from gradlab.problem.compiling import compiled
from gradlab.problem.problem import Problem


def potential(problem: Problem, vector: Float[np.ndarray, " P"]) -> float:
    """L in NumPy: nothing is compiled for dense networks under the losses of the library."""
    targets, loss = np.asarray(problem.data.targets), problem.loss
    with np.errstate(over="ignore"):
        each = loss.derivative(outputs(problem, vector), targets, 0)
    risk = float(each.sum() if loss.reduction == "sum" else each.mean())
    return problem.factor * risk + 0.5 * float(decays(problem) @ vector**2)


def minimum(problem: Problem, start: np.ndarray, steps: int = 200) -> np.ndarray:
    """A local minimum from a start: Newton steps by |H| + μ that make L smaller, then plain ones of least norm."""
    vector, value = np.asarray(start, dtype=np.float64), potential(problem, start)
    mu = 1e-3
    for _ in range(steps):
        here = local(problem, vector)
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
    here = local(problem, vector)
    for _ in range(20):
        values, vectors = np.linalg.eigh(here.hessian)
        kept = np.abs(values) > len(vector) * 1e2 * EPS * np.abs(values).max(initial=0.0)
        step = vectors[:, kept] @ ((vectors.T @ here.gradient)[kept] / values[kept])
        after = local(problem, vector - step)
        if not np.linalg.norm(after.gradient) < np.linalg.norm(here.gradient):
            break
        vector, here = vector - step, after
    return vector


def interpolant(problem: Problem, start: np.ndarray, steps: int = 100) -> np.ndarray:
    """A zero of all residuals near a start: damped Gauss–Newton steps, undamped at the end (least norm)."""
    vector, targets = np.asarray(start, dtype=np.float64), np.asarray(problem.data.targets)
    here, mu = local(problem, vector), 1.0
    for _ in range(steps):
        residual = (targets - here.f).reshape(-1)
        left, singular, right = np.linalg.svd(here.rows, full_matrices=False)
        kept = singular > 1e-10 * singular.max(initial=0.0)
        gain = np.where(kept, singular / np.where(kept, singular**2 + mu * residual @ residual, 1.0), 0.0)
        step = right.T @ (gain * (left.T @ residual))
        after = local(problem, vector + step)
        if np.linalg.norm(targets - after.f) < np.linalg.norm(residual):
            vector, here, mu = vector + step, after, mu / 4.0
        elif mu * (residual @ residual) < 1e-16 * singular.max(initial=0.0) ** 2:
            break
        else:
            mu *= 8.0
    return vector


def _value_and_slope(problem: Problem, vector: Any) -> tuple[Any, Any]:
    value, gradient = problem.value_and_gradient(problem.unravel(vector))
    return value, problem.ravel(gradient)


_evaluated = compiled(_value_and_slope)


def descend(problem: Problem, start: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    """Weights near a minimum: BFGS to ‖∇L‖_∞ ≤ 1e-10, or until rounding or a kink stops it.

    The start itself where it diverges.
    """

    def both(vector: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _evaluated(problem, vector)
        return float(value), np.asarray(gradient)

    with np.errstate(all="ignore"):
        end = np.asarray(minimize(both, start, jac=True, method="BFGS", options={"gtol": 1e-10}).x)
    return end if np.isfinite(end).all() else np.asarray(start)
