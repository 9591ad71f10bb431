"""Minima of small problems, for studies about points: a quasi-Newton descent from given weights, on the host."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.optimize import minimize

from gradlab.problem.problem import Problem


def _value_and_slope(problem: Problem, vector: Any) -> tuple[Any, Any]:
    value, gradient = problem.value_and_gradient(problem.unravel(vector))
    return value, problem.ravel(gradient)


_evaluated = eqx.filter_jit(_value_and_slope)


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


def standing(vector: Float[np.ndarray, " P"], **more: Any) -> xr.Dataset:
    """A record without dynamics: the weights as ``final_weights``, and whatever else a case carries."""
    return xr.Dataset({"final_weights": ("weight", np.asarray(vector, dtype=np.float64)), **more})
