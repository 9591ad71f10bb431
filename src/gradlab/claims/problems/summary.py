"""The closing table of the lecture notes: runs of a cell for every loss, dynamics and number of layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.analysis.equilibria import minimising
from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import Case, case, ensemble
from gradlab.claims.problems import exponential, teachers
from gradlab.dynamics.charts import ControlledNorm
from gradlab.dynamics.clocks import LogTime, Time
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

LOSSES = ("square", "exponential")
LAYERS = ("one layer", "several layers")
#: Early stopping is the plain flow at two late stops.
PLAIN, DECAYED, HELD = DYNAMICS = ("plain and early stopped", "regularised", "norm held")

#: Flows run to twice this time, at a held margin of three, where rates are e^{−3} of those, to twenty times that; the
#: plain flow under the exponential loss to log t = 200.
REST, LONGER, LOG_T = 50.0, 20.0, 200.0
#: λ under which the regularised minimum is looked at, early and late.
DECAYS = {"square": (1e-3, 1e-6), "exponential": (np.exp(-100.0), np.exp(-200.0))}
#: The same for several layers, where the exponential loss is minimised in the weights themselves.
DECAYS_SEVERAL = (1e-3, 1e-6)
#: Held norms over that of the minimum norm or hard-margin solution.
HELD_AT = {"square": 2.0, "exponential": 3.0}


def name(loss: str, dynamics: str, layers: str) -> str:
    """What a cell is called."""
    return f"{loss}, {layers}, {dynamics}"


def two_units(loss: str, decay: float = 0.0) -> Problem:
    """Two ReLU units and two inputs of target 1 at an angle of 150°: one direction fits both, or a unit for each."""
    angle = np.deg2rad(150.0)
    inputs = np.asarray([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    square = loss == "square"
    data = Data(inputs, np.ones((2, 1)) if square else np.ones(2))
    return Problem(Dense((2, 2, 1), "relu"), Square(half=True) if square else Exponential("sum"), data, decay)


def _two_starts(rng: np.random.Generator, problem: Problem) -> list[np.ndarray]:
    """Balanced weights near one direction for both inputs, and near a unit for each: outputs about one."""
    inputs = np.asarray(problem.data.inputs)
    between = inputs.sum(axis=0) / np.linalg.norm(inputs.sum(axis=0))
    shared = np.concatenate([between, between, [1.0, 1.0]]) * np.sqrt(0.5 / (inputs[0] @ between))
    own = np.concatenate([*inputs, [1.0, 1.0]])
    return [v + 0.02 * rng.standard_normal(v.size) for v in (shared, own)]


def cells(rng: np.random.Generator, draws: int) -> Iterator[Case]:
    """Every cell, ``draws`` times: weights of one start at an early and a late stop, and ``other`` of another start."""
    for loss in LOSSES:
        for layers in LAYERS:
            drawn = [_drawn(rng, loss, layers) for _ in range(draws)]
            yield from _flows(loss, layers, PLAIN, drawn)
            for i, (problem, starts, _) in enumerate(drawn):
                ends = [_minima(problem, start, layers) for start in starts]
                seen = {"weights": (("record", "weight"), ends[0]), "other": (("record", "weight"), ends[1])}
                yield case(problem, xr.Dataset(seen), cell=name(loss, DECAYED, layers), draw=i + 1)
            yield from _flows(loss, layers, HELD, [_held(*each) for each in drawn])


def solution(problem: Problem) -> np.ndarray:
    """The minimum norm or hard-margin solution of one layer, in the norm in which margins are one."""
    if isinstance(problem.loss, Square):
        x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
        return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0].ravel())
    rows = exponential.margin_rows(problem)
    return max_margin(rows, np.ones(len(rows))).direction


def _drawn(rng: np.random.Generator, loss: str, layers: str) -> tuple[Problem, list[np.ndarray], float]:
    """A problem without decay, two starts, and the length of what the norm is held at a multiple of."""
    if layers != LAYERS[0]:
        problem = two_units(loss)
        return problem, _two_starts(rng, problem), 1.0
    if loss == "square":
        problem, _ = teachers.teacher(rng, Dense((6, 1), "identity"), Square(half=True), 4, 0.0)
    else:
        problem = exponential.linear(exponential.regular(lambda: exponential.split(rng, 12, 4, 4)))
    starts = [size * rng.standard_normal(problem.size) for size in (0.01, 1.0)]
    return problem, starts, float(np.linalg.norm(solution(problem)))


def _held(
    problem: Problem, starts: list[np.ndarray], length: float
) -> tuple[Problem, list[np.ndarray], float]:
    """The starts with the norm of every layer as it is held."""
    several = len(jax.tree.leaves(problem.unravel(jnp.asarray(starts[0])))) > 1
    # at √2 a layer a unit for each input fits, and one direction for both does as well as it can
    held = HELD_AT["square" if isinstance(problem.loss, Square) else "exponential"] * length
    size = np.sqrt(2.0) if several else held

    def scaled(start: np.ndarray) -> np.ndarray:
        leaves = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(problem.unravel(jnp.asarray(start)))]
        return np.concatenate([leaf * size / np.linalg.norm(leaf) for leaf in leaves])

    return problem, [scaled(start) for start in starts], length


def _minima(problem: Problem, start: np.ndarray, layers: str) -> np.ndarray:
    """Regularised minima at both λ, found from a start."""
    loss = "square" if isinstance(problem.loss, Square) else "exponential"
    found = []
    for decay in DECAYS[loss] if layers == LAYERS[0] else DECAYS_SEVERAL:
        decayed, guess = Problem(problem.network, problem.loss, problem.data, decay), start
        if loss == "exponential":
            grown = np.log(1.0 / decay)
            guess = start + solution(problem) * grown if layers == LAYERS[0] else start * np.sqrt(grown)
        found.append(minimising.minimum(decayed, guess))
    return np.stack(found)


def _flows(loss: str, layers: str, dynamics: str, drawn: list[Any]) -> Iterator[Case]:
    """Flows from both starts as one ensemble, kept at an early and a late stop."""
    cell, draws = name(loss, dynamics, layers), len(drawn)
    members = [
        (problem, problem.unravel(jnp.asarray(starts[k])), {"cell": cell, "draw": i + 1})
        for k in (0, 1)
        for i, (problem, starts, _) in enumerate(drawn)
    ]
    late = dynamics == PLAIN and loss == "exponential"
    rest = LOG_T / 2.0 if late else REST * (LONGER if loss == "exponential" else 1.0)
    clock, solver = LogTime() if late else Time(), Adaptive("dopri8", 1e-10)
    options: dict[str, Any] = {"records": [rest, 2.0 * rest], "clock": clock, "solver": solver}
    runs = list(ensemble(GradientFlow if dynamics == PLAIN else _holding, members, **options))
    for one, other in zip(runs[:draws], runs[draws:], strict=True):
        beside = {
            f"other{side}": (("stop", "weight"), other.trajectory[f"weights{side}"].values[-2:])
            for side in ("", "_coarse")
        }
        yield case(one.problem, one.trajectory.assign(beside), **one.facts)


def _holding(stacked: Problem) -> ControlledNorm:
    """At rate 0 the norms stay those of the starts."""
    members = len(stacked.data.inputs)
    return ControlledNorm(stacked, jnp.ones(members), jnp.zeros(members))
