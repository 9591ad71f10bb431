"""Gradient descent of a deep linear net with halved steps: how fast it leaves what the flow conserves.

With Q_j = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ and gradients G_j, a step W − ηG changes Q_j by η²(G_{j+1}ᵀG_{j+1} − G_jG_jᵀ): the
terms of order η cancel, as they do for the flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from gradlab.analysis import linear_nets
from gradlab.claims.deep_linear import EPS, ratio
from gradlab.dynamics.descent import GradientDescent
from gradlab.laboratory import run
from gradlab.observe.local import values_and_gradients
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

#: Step sizes η = COARSEST/λ · 2^{−i}, i < SWEEP, and how many steps the coarsest takes.
COARSEST, SWEEP, STEPS = 0.05, 5, 16
#: Rows of one evaluation of the gradient in the power iteration: as many as a trajectory of the study has.
ROWS = 6


def descended(
    problem: Problem, network: Dense, trajectory: xr.Dataset, start: np.ndarray, gradient: np.ndarray
) -> dict[str, Any]:
    """The identity of one step and the orders in η of one step and of a fixed time.

    From the sweep that a trajectory brings (``sweep_eta``, ``sweep_once``, ``sweep_end``), or from one run here.
    """
    if "sweep_eta" not in trajectory:
        trajectory = sweep([problem], start[None])[0]

    def changes(name: str) -> list[np.ndarray]:
        points = trajectory[name].values
        return [linear_nets.conserved(linear_nets.layers(network, point)) - before for point in points]

    before = linear_nets.conserved(linear_nets.layers(network, start))
    quadratic = linear_nets.conserved(linear_nets.layers(network, gradient))
    etas = trajectory["sweep_eta"].values
    once, later = changes("sweep_once"), changes("sweep_end")
    # Rounding of W², a few operations an entry.
    rounding = 8.0 * EPS * float(start @ start)
    predicted = etas[0] ** 2 * quadratic
    size = float(np.linalg.norm(predicted))
    step_order, step_bar = _order(once, rounding)
    time_order, time_bar = _order(later, rounding * STEPS * 2.0 ** np.arange(len(etas)))
    return {
        "step": ratio(float(np.linalg.norm(once[0] - predicted)), size),
        "step_error": ratio(rounding, size),
        "step_order": step_order,
        "step_order_error": step_bar,
        "time_order": time_order,
        "time_order_error": time_bar,
        "sweep": ("eta", etas / etas[0]),
        "once": ("eta", _normed(once)),
        "later": ("eta", _normed(later)),
    }


def _normed(changes: Sequence[np.ndarray]) -> np.ndarray:
    sizes = np.array([np.linalg.norm(change) for change in changes])
    return sizes / sizes[0] if sizes[0] > 0.0 else sizes


def _order(changes: Sequence[np.ndarray], rounding: Any) -> tuple[float, float]:
    """log₂ of successive quotients at halved η, extrapolated; its error from the last two and from rounding."""
    sizes = np.array([np.linalg.norm(change) for change in changes])
    if not np.all(sizes > 0.0):
        return np.nan, np.nan
    local = np.log2(sizes[:-1] / sizes[1:])
    noise = float(np.max(2.0 * rounding / sizes) / np.log(2.0))
    return float(2.0 * local[-1] - local[-2]), float(abs(local[-1] - local[-2])) + 3.0 * noise


def _curvature(problem: Problem, vector: np.ndarray) -> float:
    """The largest |eigenvalue| of the Hessian, by power iteration on differences of the gradient."""
    direction, size = np.cos(1.0 + np.arange(vector.size)), 0.0
    sides = np.resize([1.0, -1.0], ROWS)[:, None]
    step = 1e-5 * (1.0 + float(np.linalg.norm(vector)))
    for _ in range(12):
        direction = direction / np.linalg.norm(direction)
        _, gradients = values_and_gradients(problem, vector + step * sides * direction)
        direction = (gradients[0] - gradients[1]) / (2.0 * step)
        size = float(np.linalg.norm(direction))
        if size == 0.0:
            return 1.0
    return size


def sweep(problems: Sequence[Problem], starts: np.ndarray) -> list[xr.Dataset]:
    """Gradient descent from each start with η = COARSEST/λ, halved again and again, to one time; one program.

    Each Dataset has ``sweep_eta`` and the weights ``sweep_once`` after one step, ``sweep_end`` at the end.
    """
    halvings = 2.0 ** -np.arange(SWEEP)
    etas = [COARSEST / _curvature(p, w) * halvings for p, w in zip(problems, starts, strict=True)]
    shapes = [shape.shape for shape in problems[0].network.shapes()]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = np.split(np.repeat(starts, SWEEP, axis=0), ends, axis=1)
    weights = tuple(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
    records = [1, *(STEPS * 2**i for i in range(SWEEP))]
    flow = GradientDescent(stack([problem for problem in problems for _ in halvings]), np.concatenate(etas))
    members = len(problems) * SWEEP
    seen = run(
        flow, weights, records, observables=(), keep="all", members=members, name="descent with halved steps"
    )
    kept = seen["weights"].values.reshape(len(records) + 1, len(problems), SWEEP, -1)
    return [
        xr.Dataset(
            {
                "sweep_eta": ("eta", etas[i]),
                "sweep_once": (("eta", "weight"), kept[1, i]),
                "sweep_end": (("eta", "weight"), np.stack([kept[2 + k, i, k] for k in range(SWEEP)])),
            }
        )
        for i in range(len(problems))
    ]
