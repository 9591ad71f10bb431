"""One layer under the exponential loss to log t = 1e4, on data of every kind; several studies of memo 90 share the
runs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gradlab.claims.cases import Case, generator
from gradlab.claims.problems import exponential, late

LOGS = np.concatenate([[-5.0, 0.0, 2.0, 5.0, 8.0, 14.0], np.geomspace(30.0, 1e4, 16)])
#: Kinds of data of which the passage's "almost every" may not be true.
SPECIAL = ("equal weights", "idle", "one example")
#: The true direction of mirrored data.
TRUTH = np.array([1.0, 0.0, 0.0])


def toy(random: np.random.Generator) -> np.ndarray:
    """The four published support vectors of Soudry et al. 2018, Figure 1, and twelve random points beyond the
    margin."""
    on = np.array([[0.5, 1.5], [1.5, 0.5], [0.5, 1.5], [1.5, 0.5]])
    off = 2.0 + np.abs(random.standard_normal((12, 2)))
    return np.vstack([on, off])


def mirrored(random: np.random.Generator) -> np.ndarray:
    """Signed points in mirror pairs about an axis, u = e_1: ŵ has that direction, whatever the points are."""
    a, b = random.uniform(0.5, 2.0, 3), random.standard_normal((3, 2))
    return np.vstack([np.column_stack([a, b]), np.column_stack([a, -b])])


def kind_of_points(random: np.random.Generator, kind: str) -> np.ndarray:
    """Signed points of a kind."""
    if kind in ("random", "repeated", "N < d"):
        X, y = exponential.regular(
            lambda: late.separable(random, *((3, 6) if kind == "N < d" else (8, 3)), gap=0.5), longest=3.0
        )
        rows = X * y[:, None]
        return np.vstack([rows, rows[:3]]) if kind == "repeated" else rows
    if kind in ("toy", "mirrored"):
        draw = toy if kind == "toy" else mirrored
        return exponential.regular(lambda: ((rows := draw(random)), np.ones(len(rows))))[0]
    if kind == "equal weights":
        return np.linalg.qr(random.standard_normal((4, 4)))[0][:3]
    if kind == "one example":
        return random.standard_normal((1, 3))
    X, y = exponential.idle(1)
    return X * y[:, None]


@lru_cache(maxsize=4)
def _cases(seed: tuple[int, ...], kinds: tuple[tuple[str, int], ...]) -> tuple[Case, ...]:
    random, found = np.random.default_rng(list(seed)), []
    for kind, count in kinds:
        for i in range(count):
            rows = kind_of_points(random, kind)
            signs = np.where(random.uniform(size=len(rows)) < 0.5, -1.0, 1.0)
            problem = late.net((rows.shape[1], 1), rows * signs[:, None], signs)
            start = np.asarray(random.standard_normal(rows.shape[1])) * (kind != "equal weights")
            found.append(
                late.orbit(
                    late.flow(problem),
                    late.bending(problem),
                    start,
                    LOGS,
                    problem,
                    1e-7,
                    data=kind,
                    draw=i + 1,
                )
            )
    return tuple(found)


def cases(key: Any, *, kinds: tuple[tuple[str, int], ...]) -> tuple[Case, ...]:
    """The runs of a seed, made once in a process: so many of each kind."""
    return _cases(tuple(int(one) for one in generator(key).integers(0, 2**31, 4)), kinds)


BUDGETS: dict[str, Any] = {
    "quick": {
        "kinds": (
            ("random", 8),
            ("repeated", 3),
            ("N < d", 4),
            ("toy", 3),
            ("mirrored", 4),
            ("equal weights", 1),
            ("one example", 2),
            ("idle", 1),
        )
    },
    "full": {
        "kinds": (
            *((kind, 20) for kind in ("random", "repeated", "N < d", "toy", "mirrored")),
            *((kind, 4) for kind in SPECIAL),
        )
    },
    "few": {"kinds": (("random", 2), ("N < d", 1), ("mirrored", 1), ("one example", 1))},
}
