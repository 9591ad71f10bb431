"""Flows with kicks, the kicks beside the weights; and descent with kicks on a quadratic potential, stepped exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr

from gradlab.claims.cases import Case, case, ensemble
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory.second import shaken
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

#: The kick with a number that a flow makes of weights, compiled once a shape.
_kick = eqx.filter_jit(lambda flow, number, weights: flow.kick(number, weights))


def struck(
    drawn: Sequence[tuple[Any, Any, Any]], keys: Any, sigma: float, every: float, count: int
) -> Iterator[Case]:
    """Runs with ``count`` kicks of norm ``sigma``, ``every`` apart, the kicks beside the weights."""
    flows = [
        Kicked(GradientFlow(problem), sigma, every, key, count * every, "norm")
        for (problem, *_), key in zip(drawn, keys, strict=True)
    ]
    records = every * np.arange(1.0, count + 2.0)
    runs = ensemble(lambda _: stack(flows), drawn, records, solver=Adaptive("dopri8", 1e-10))
    for flow, one in zip(flows, runs, strict=True):
        # record 0 is the start; record j is seen before kick j, for j = 1 … count
        vectors = one.trajectory["weights"].values
        kicks = np.zeros_like(vectors)
        for j in range(1, count + 1):
            after = _kick(flow, np.asarray(j), one.problem.unravel(vectors[j]))
            kicks[j] = np.asarray(one.problem.ravel(after)) - vectors[j]
        yield case(
            one.problem, one.trajectory.assign(kick=(one.trajectory["weights"].dims, kicks)), **one.facts
        )


def stepped(
    features: np.ndarray,
    targets: np.ndarray,
    start: np.ndarray,
    rate: float,
    marks: np.ndarray,
    kicks: np.ndarray,
) -> np.ndarray:
    """Weights (records, R, P) at the iterations ``marks``, before the kick that comes there.

    Descent w ← w − rate Φᵀ(Φ w − y) of R repetitions at once from ``start`` (R, P); ``kicks`` (records, R, P), zero
    where none is. ``rate`` is η times 2/N for the mean of squares, 1/N for half of it, 2 for the sum.
    """
    left, values, right = np.linalg.svd(features, full_matrices=True)
    seen = right[: len(values)]
    limit = (left[:, : len(values)].T @ targets) / values
    found, w, last = [], np.array(start, dtype=np.float64), 0
    for mark, kick in zip(marks, kicks, strict=True):
        along = w @ seen.T - limit
        w = w + (along * (np.power(1.0 - rate * values**2, mark - last) - 1.0)) @ seen
        found.append(w)
        w, last = w + kick, mark
    return np.stack(found)


def kicked(
    features: np.ndarray,
    targets: np.ndarray,
    start: np.ndarray,
    rate: float,
    marks: np.ndarray,
    kicks: np.ndarray,
    **facts: Any,
) -> Case:
    """A case of R repetitions, and again with features shaken by rounding; ``weights`` are (records, R·P)."""
    problem = Problem(
        Dense((features.shape[1], 1), "identity"), Square("mean"), Data(features, targets[:, None])
    )
    runs = {
        end: stepped(given, targets, start, rate, marks, kicks).reshape(len(marks), -1)
        for end, given in (("", features), ("_coarse", shaken(features)))
    }
    kept = {f"weights{end}": (("record", "weight"), rows) for end, rows in runs.items()}
    counts = {
        "mark": ("record", np.asarray(marks, dtype=np.float64)),
        "kicks": (("record", "kick"), kicks.reshape(len(marks), -1)),
    }
    return case(problem, xr.Dataset({**kept, **counts}), **facts)
