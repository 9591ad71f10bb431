"""Runs to log t = 1e4 that several studies of memo 90 share: one layer, deep linear, and ReLU nets of two to three
neurons.

Of every data set several starts; each case carries the end of the run from the next start of its data as ``beside``.
Two unit inputs at an angle θ, both of label 1, are analysable by hand (docs/notes/memo90.theorem3.md): with f̃ = Σ
a_j σ(w_j·x) and ‖W‖ = 1 the margins are cos(θ/2)/2 for one neuron on the bisector and, for θ ≥ 90°, 1/4 for a neuron
to each input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from gradlab.analysis.solutions import max_margin
from gradlab.claims.cases import Case, generator
from gradlab.claims.problems import late
from gradlab.problem.problem import Problem

LOGS = np.array([-5.0, -2.0, 0.0, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4])
#: Degrees between two inputs.
ANGLES = (60.0, 100.0, 150.0)
#: Widths of the deep ReLU nets.
DEEP = (2, 3, 2, 1)


def two_inputs(degrees: float, neurons: int) -> tuple[Problem, float]:
    """The net on two inputs at an angle, and the largest margin of all."""
    half = np.deg2rad(degrees) / 2.0
    best = np.cos(half) / 2.0 if degrees <= 120.0 else 0.25
    return late.net((2, neurons, 1), late.pair(degrees)), float(best)


def one_neuron(random: np.random.Generator, neurons: int) -> np.ndarray:
    """A neuron that both inputs see, near the bisector, and others that neither does, all with a_j > 0."""
    w = np.column_stack([random.uniform(-0.1, 0.1, neurons), np.full(neurons, -0.3)])
    w[0] = random.uniform(-0.05, 0.05), 1.0
    return np.concatenate([w.ravel(), np.full(neurons, 0.3) + 0.8 * (np.arange(neurons) == 0)])


def to_each(random: np.random.Generator, degrees: float, neurons: int) -> np.ndarray:
    """A neuron along each input, the rest of the neurons along the first."""
    X = late.pair(degrees)
    w = X[np.minimum(np.arange(neurons), 1)[::-1]] + 0.02 * random.standard_normal((neurons, 2))
    return np.concatenate([w.ravel(), np.ones(neurons)])


def spread(random: np.random.Generator, neurons: int) -> np.ndarray:
    """Neurons in random directions of the upper half plane, with a_j > 0: each input is seen at small angles to the
    axis."""
    w = random.standard_normal((neurons, 2))
    w[:, 1] = np.abs(w[:, 1])
    return np.concatenate([w.ravel(), np.abs(random.standard_normal(neurons))])


def all_seen(random: np.random.Generator, widths: tuple[int, ...]) -> np.ndarray:
    """As :func:`spread`, with further layers of positive weights: every path is open to each input at the start."""
    first = random.standard_normal((widths[1], 2))
    first[:, 1] = np.abs(first[:, 1])
    later = [np.abs(random.standard_normal(into * out)) for into, out in pairwise(widths[1:])]
    return np.concatenate([first.ravel(), *later])


def families(random: np.random.Generator, data: int, starts: int) -> Iterator[tuple[Any, ...]]:
    """(kind, label of the data, problem, starts with their names, the largest margin on ‖W‖ = 1)."""
    plans = (((3, 1), 5), ((5, 1), 3), ((3, 2, 1), 5), ((3, 3, 1), 5), ((3, 2, 2, 1), 5))
    for i in range(data):
        for widths, N in plans:
            X, y = late.separable(random, N, widths[0])
            K = len(widths) - 1
            problem = late.net(widths, X, y, "identity")
            best = max_margin(X, y).margin / K ** (K / 2.0)
            given = [("random", 0.5 * random.standard_normal(problem.size)) for _ in range(starts)]
            yield "linear", f"{'-'.join(map(str, widths))} linear {i + 1}", problem, given, best
        for degrees in ANGLES:
            neurons = 2 + i % 2
            problem, best = two_inputs(degrees, neurons)
            given = [
                ("one neuron", one_neuron(random, neurons)),
                ("one to each", to_each(random, degrees, neurons)),
                *(("random", spread(random, neurons)) for _ in range(starts - 1)),
            ]
            yield "ReLU", f"ReLU {degrees:g}°, {neurons} neurons", problem, given, best
        for degrees in ANGLES[::2]:
            problem = late.net(DEEP, late.pair(degrees))
            half = np.deg2rad(degrees) / 2.0
            best = max(np.cos(half), 0.5) / 3.0**1.5
            given = [("random", all_seen(random, DEEP)) for _ in range(starts - 1)]
            yield "deep ReLU", f"ReLU {degrees:g}°, {'-'.join(map(str, DEEP))}", problem, given, best


def by_a_saddle(random: np.random.Generator, starts: int) -> tuple[Any, ...]:
    """As one of the :func:`families`: at 100° a neuron near each input, and a small third one that both see.

    With the two alone this is a KKT point, at which the third gains 1.29 of what it costs: a saddle.
    """
    problem, best = two_inputs(100.0, 3)
    given = []
    for _ in range(starts):
        w = np.vstack([late.pair(100.0), [0.0, 0.1]]) + 0.02 * random.standard_normal((3, 2))
        given.append(("by a saddle", np.concatenate([w.ravel(), [1.0, 1.0, 0.1]])))
    return "ReLU", "ReLU 100°, 3 neurons", problem, given, best


def group(
    kind: str, label: str, problem: Problem, given: list[tuple[str, np.ndarray]], best: float
) -> Iterator[Case]:
    """The runs of one problem from several starts, each beside the next."""
    runs = [
        late.orbit(
            late.flow(problem),
            late.bending(problem),
            start,
            LOGS,
            problem,
            1e-6,
            kind=kind,
            data=label,
            start=name,
            draw=i + 1,
            best=best,
        )
        for i, (name, start) in enumerate(given)
    ]
    for one, two in zip(runs, runs[1:] + runs[:1], strict=True):
        ends = {
            f"beside{end}": ("weight", two.trajectory[f"weights{end}"].values[-1]) for end in ("", "_coarse")
        }
        said = f"{one.facts['data']}, {one.facts['start']} {one.facts['draw']}"
        yield replace(one, label=said, trajectory=one.trajectory.assign(ends))


@lru_cache(maxsize=4)
def _cases(seed: tuple[int, ...], data: int, starts: int) -> tuple[Case, ...]:
    every = families(np.random.default_rng(list(seed)), data, starts)
    return tuple(one for family in every for one in group(*family))


def cases(key: Any, *, data: int, starts: int) -> tuple[Case, ...]:
    """The runs of a seed, made once in a process."""
    seed = tuple(int(one) for one in generator(key).integers(0, 2**31, 4))
    return _cases(seed, data, starts)


BUDGETS: dict[str, Any] = {
    "quick": {"data": 1, "starts": 3},
    "full": {"data": 4, "starts": 6},
    "few": {"data": 1, "starts": 2},
}
