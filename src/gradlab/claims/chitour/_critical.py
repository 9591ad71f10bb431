"""Critical points of F = ‖Y − WX‖²: problems in the source's reduced form, points to look at, what they assume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import xarray as xr

from gradlab.analysis.landscape import (
    Landscape,
    Pattern,
    point,
    random_pattern,
    rank_of_path,
    strata,
    trivial_pattern,
)
from gradlab.claims import deep_linear
from gradlab.claims.claim import Measure
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

LANDSCAPE = Measure(
    "linear",
    "one for a deep linear net under the square loss without decay",
    ">=",
    0.5,
    "the problem says it",
    role="hypothesis",
)
FULL_RANK = Measure(
    "full_rank",
    "the least of σ_min/σ_max of X and of YX⁺X, zero where rows are fewer than ranks",
    ">=",
    1e-6,
    "rounding leaves 1e-15 of a deficient rank; the problems of the study have 0.1",
    role="hypothesis",
)
WIDE = Measure(
    "wide", "the least width less d_y", ">=", 0.0, "min(d_i) = d_y in the source", role="hypothesis"
)
DISTINCT = Measure(
    "distinct",
    "the least difference of two singular values of YX⁺X over the largest",
    ">=",
    1e-3,
    "“two by two distinct”; rounding moves singular values by 1e-15, and points are exact to 1e-13",
    role="hypothesis",
)


def assumed(landscape: Landscape) -> dict[str, float]:
    """The numbers of the hypotheses above but ``linear``."""
    sigma, widths = landscape.singular_values, landscape.widths
    inputs = np.linalg.svd(landscape.inputs, compute_uv=False)
    full = landscape.rank == widths[0] and len(sigma) == widths[-1]
    ratio = min(sigma[-1] / sigma[0], inputs[widths[0] - 1] / inputs[0]) if full else 0.0
    gap = float(np.min(-np.diff(sigma), initial=np.inf)) / sigma[0] if len(sigma) else 0.0
    return {
        "full_rank": float(ratio),
        "wide": float(min(widths) - widths[-1]),
        "distinct": min(gap, 1.0),
    }


def singular_values(rng: np.random.Generator, count: int) -> np.ndarray:
    """Distinct singular values, descending: steps between 0.3 and 0.9, the least as well."""
    return np.cumsum(rng.uniform(0.3, 0.9, count))[::-1]


def reduced(
    rng: np.random.Generator,
    widths: Sequence[int],
    turned: bool = False,
    values: np.ndarray | None = None,
    half: bool = False,
) -> Problem:
    """X = 1 and Y = (D_Y 0), or the same in random orthonormal bases."""
    sigma = singular_values(rng, min(widths[0], widths[-1])) if values is None else values
    targets = np.zeros((widths[-1], widths[0]))
    targets[np.arange(len(sigma)), np.arange(len(sigma))] = sigma
    if turned:
        targets = deep_linear.rotation(rng, widths[-1]) @ targets @ deep_linear.rotation(rng, widths[0])
    data = Data(np.eye(widths[0]), targets.T)
    return Problem(Dense.deep_linear(tuple(widths)), Square(half=half), data)


def patterns(landscape: Landscape, learnt: tuple[int, ...], rng: np.random.Generator) -> Iterable[Pattern]:
    """The trivial pattern, and random ones with r_Z = r and with r_Z > r where the widths allow either."""
    yield trivial_pattern(landscape, learnt)
    for more in (False, True):
        for _ in range(50):
            drawn = random_pattern(landscape, learnt, rng)
            rank = rank_of_path(landscape, learnt, drawn, 1, landscape.depth - 1)
            if (rank > len(learnt)) == more:
                yield drawn
                break


def constructed(landscape: Landscape, rng: np.random.Generator) -> np.ndarray:
    """Critical points of every stratum: weights (points, P)."""
    found = []
    for learnt in strata(landscape):
        for number, pattern in enumerate(patterns(landscape, learnt, rng)):
            layers = point(landscape, learnt, pattern, rng if number else None)
            found.append(landscape.flat(layers))
    return np.stack(found)


def dataset(vectors: np.ndarray, **more: float) -> xr.Dataset:
    """Points as a trajectory of unconnected records."""
    return xr.Dataset({"weights": (("record", "weight"), vectors), **more})
