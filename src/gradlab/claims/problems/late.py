"""Small nets under the exponential loss to late times, on the host: a run of a new shape costs no compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

from gradlab.claims.cases import Case, case
from gradlab.observe.local import Forward
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: Tolerance of the fine solve, and how much coarser the other one is.
FINE, COARSER = 1e-7, 100.0

#: A field in logarithmic time, dy/du of (u, y), u = log t; and its Jacobian, where it is known.
Field = Callable[[float, np.ndarray], np.ndarray]


def by_radau(
    field: Field, start: np.ndarray, logs: np.ndarray, rtol: float, jacobian: Field | None = None
) -> np.ndarray:
    """y at every u = log t of ``logs``, the first of which is the start's: (records, P); NaN where the solver gave
    up."""
    usual: dict[str, Any] = {"t_eval": logs, "rtol": rtol, "atol": rtol * 1e-2}
    given = {"method": "LSODA"} if jacobian is None else {"method": "Radau", "jac": jacobian}
    found = solve_ivp(field, (logs[0], logs[-1]), start, **usual, **given)
    rows = np.full((len(logs), len(start)), np.nan)
    rows[: found.y.shape[1]] = found.y.T
    return rows


def orbit(
    field: Field,
    jacobian: Field | None,
    start: np.ndarray,
    logs: np.ndarray,
    problem: Any,
    rtol: float = FINE,
    /,
    **facts: Any,
) -> Case:
    """A case of an orbit that is solved twice, the second time a hundred times coarser."""
    start = np.asarray(start, dtype=np.float64)
    kept = {
        f"weights{end}": (("record", "weight"), by_radau(field, start, logs, rtol * by, jacobian))
        for end, by in (("", 1.0), ("_coarse", COARSER))
    }
    return case(problem, xr.Dataset({**kept, "log_t": ("record", logs)}), **facts)


def net(widths: tuple[int, ...], X: np.ndarray, y: Any = None, activation: Any = "relu") -> Problem:
    """A dense net without biases on these inputs, labels 1 unless given, under Σ e^{−y f}."""
    signs = np.ones(len(X)) if y is None else np.asarray(y, dtype=np.float64)
    network = Dense(widths, activation if len(widths) > 2 else "identity")
    return Problem(network, Exponential("sum"), Data(X, signs))


def _forward(problem: Problem, vector: np.ndarray) -> Forward:
    assert isinstance(problem.network, Dense)
    return Forward(problem.network, vector, np.asarray(problem.data.inputs))


def margins(problem: Problem, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """y_n f_n (N,) and their gradients (N, P)."""
    here = _forward(problem, vector)
    signs = np.asarray(problem.data.targets)
    return signs * here.f[:, 0], signs[:, None] * here.jacobian[:, 0, :]


def flow(problem: Problem) -> Field:
    """dW/du = Σ e^{u − y_n f_n} y_n ∇f_n of a linear or ReLU net; lean, since a run to late times asks for it
    thousands of times.

    :func:`margins` is the same through the network's own derivatives.
    """
    network = problem.network
    assert isinstance(network, Dense)
    shapes = list(zip(network.widths[1:], network.widths[:-1], strict=True))
    ends = np.cumsum([0] + [out * into for out, into in shapes])
    x, signs, linear = np.asarray(problem.data.inputs), np.asarray(problem.data.targets), network.linear

    def field(u: float, vector: np.ndarray) -> np.ndarray:
        units, masks, h = [x], [], x
        layers = [vector[a:b].reshape(s) for a, b, s in zip(ends[:-1], ends[1:], shapes, strict=True)]
        for W in layers[:-1]:
            z = h @ W.T
            masks.append(1.0 if linear else (z > 0.0) * 1.0)
            h = z * masks[-1]
            units.append(h)
        m = signs * (h @ layers[-1].T)[:, 0]
        back = (signs * np.exp(np.minimum(u - m, 600.0)))[:, None]
        found = []
        for k in range(len(layers) - 1, -1, -1):
            found.append((back.T @ units[k]).ravel())
            if k:
                back = (back @ layers[k]) * masks[k - 1]
        return np.concatenate(found[::-1])

    return field


def bending(problem: Problem) -> Field:
    """The Jacobian of :func:`flow`: Σ e^{u − y_n f_n} (y_n ∇²f_n − ∇f_n ∇f_nᵀ)."""
    signs = np.asarray(problem.data.targets)

    def jacobian(u: float, vector: np.ndarray) -> np.ndarray:
        here = _forward(problem, vector)
        pulls = np.exp(np.minimum(u - signs * here.f[:, 0], 600.0))
        rows = here.jacobian[:, 0, :]
        return np.asarray(here.curved((pulls * signs)[:, None]) - (rows.T * pulls) @ rows)

    return jacobian


def pair(degrees: float) -> np.ndarray:
    """Two unit inputs in the plane at an angle, symmetric about the second axis."""
    half = np.deg2rad(degrees) / 2.0
    return np.array([[np.sin(half), np.cos(half)], [-np.sin(half), np.cos(half)]])


def separable(random: np.random.Generator, N: int, d: int, gap: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Points and signs, moved apart by ``gap`` along a random direction."""
    X, u = random.standard_normal((N, d)), random.standard_normal(d)
    u /= np.linalg.norm(u)
    signs = np.where(X @ u >= 0.0, 1.0, -1.0)
    return X + gap * signs[:, None] * u, signs
