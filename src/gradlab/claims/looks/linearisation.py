"""Equilibria whose flows are conjugate to linear ones: looks that solve twice, and what a flow says of its rates."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import xarray as xr

from gradlab.analysis.conjugacy import COARSE, FINE, Conjugacy, conjugacy
from gradlab.analysis.flow_map import FlowMap, flow_map
from gradlab.claims.cases import Case, case
from gradlab.claims.looks.look import Look
from gradlab.claims.measured import Number
from gradlab.laboratory import second

#: Distance of the orbits that give Dφ_t, in radii of the ball, and t in units of the fastest rate.
_STEP, _TIME = 1e-3, 3.0


def solved(problem: Any, facts: dict[str, Any], tolerance: float = FINE, **vectors: np.ndarray) -> Case:
    """A case of points; the second look solves a hundred times as coarsely, from weights shaken by rounding."""
    found: dict[str, Any] = {"tolerance": tolerance, f"tolerance{second.COARSE}": tolerance * COARSE / FINE}
    for name, vector in vectors.items():
        found[name] = ("weight", np.asarray(vector, dtype=np.float64))
        found[f"{name}{second.COARSE}"] = ("weight", second.shaken(found[name][1], seed=1))
    return case(problem, xr.Dataset(found), **facts)


class Solved(Look, abc.ABC):
    """Solves with the tolerance of its look."""

    @property
    def tolerance(self) -> float:
        """Relative, a step."""
        return float(self.trajectory["tolerance"])

    @property
    @abc.abstractmethod
    def built(self) -> Any:
        """What was built of the conjugacy, None where the theorem does not apply."""


def where_built(of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The number of a look, NaN where nothing could be built."""

    @wraps(of)
    def number(look: Solved) -> Any:
        return Number(np.nan) if look.built is None else of(look)

    return number


def conjugated(problem: Any, vector: np.ndarray, rate: float = np.inf) -> Conjugacy | None:
    """The conjugacy at an equilibrium, None without one, on a ball in which |∇L|/|x| is within ``rate`` times |λ|_max.

    Errors grow along orbits with the local rate, which an exponential loss raises without bound.
    """
    try:
        built = conjugacy(problem, problem.unravel(vector))
    except ValueError:
        return None
    while built.radius and np.isfinite(rate) and built.steepest > rate * float(np.max(np.abs(built.values))):
        # a smaller ball passes where a larger one did
        built = replace(built, radius=0.5 * built.radius)
    return built if built.radius else None


def flow_derivative(built: Conjugacy, tolerance: float) -> FlowMap:
    """Dφ_t at the equilibrium, in the basis of ``built``, from orbits of the nonlinear flow alone."""
    time = _TIME / float(np.max(np.abs(built.values)))
    return flow_map(lambda x, t: built.flow(x, t, tolerance), built.values.size, _STEP * built.radius, time)


def off_linear(built: Conjugacy, seen: FlowMap) -> float:
    """‖Dφ_t(W*) − e^{−Ht}‖/‖e^{−Ht}‖ in the 2-norm."""
    linear = np.exp(-built.values * seen.time)
    return float(np.linalg.norm(seen.derivative - np.diag(linear), 2) / linear.max())
