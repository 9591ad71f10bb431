"""One linear layer under the square loss: data of three kinds, starts, and stable steps of descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.analysis.one_layer import one_layer
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: The kinds of data, in the order in which a family goes through them.
KINDS = ("full rank", "deficient rank", "repeated points")

#: A problem, its start, and its facts.
Drawn = tuple[Problem, tuple[np.ndarray], dict[str, Any]]


def draw(
    random: np.random.Generator, kind: str, N: int, d: int, C: int
) -> tuple[Float[np.ndarray, "N d"], Float[np.ndarray, "N C"]]:
    """Inputs with non-zero singular values in [1, 3] (times √2 for repeated points) and normal targets.

    ``full rank`` is min(N, d), ``deficient rank`` half of that; ``repeated points`` come twice each, with targets
    that differ. The bound on the singular values makes λ_max/λ_min ≤ 9, so that e^{−λ_min T}
    is below rounding at a T that an explicit solver reaches cheaply; it is no hypothesis of any claim.
    """
    distinct = N - N // 2 if kind == "repeated points" else N
    rank = min(distinct, d)
    rank = max(1, rank // 2) if kind == "deficient rank" else rank
    left = np.linalg.qr(random.standard_normal((distinct, rank)))[0]
    right = np.linalg.qr(random.standard_normal((d, rank)))[0]
    X = (left * 3.0 ** random.uniform(size=rank)) @ right.T
    return np.resize(X, (N, d)), random.standard_normal((N, C))


def problems(
    random: np.random.Generator,
    shape: tuple[int, int, int],
    draws: int,
    scales: tuple[float, ...] = (1.0,),
) -> list[Drawn]:
    """Problems of one shape (N, d, C) under ½Σ, of every kind in turn, with normal starts of every scale in turn."""
    N, d, C = shape
    found: list[Drawn] = []
    for j in range(draws):
        kind, scale = KINDS[j % 3], scales[j // 3 % len(scales)]
        problem = Problem(Dense((d, C)), Square(half=True), Data(*draw(random, kind, N, d, C)))
        start = (scale * random.standard_normal((C, d)),)
        facts = {"shape": f"{N} × {d}", "kind": kind, "draw": j // 3 + 1}
        found.append((problem, start, facts if len(scales) == 1 else facts | {"scale": scale}))
    return found


def stable_steps(problems: Iterable[Problem]) -> Float[np.ndarray, " member"]:
    """The step 1/λ_max(∇²L) of each problem, half of descent's stability bound."""
    return np.asarray([_stable_step(problem) for problem in problems])


def _stable_step(problem: Problem) -> float:
    net = one_layer(problem)
    if net is None:
        raise ValueError(f"a one-layer linear net under Square was expected, not {problem.network}")
    return 1.0 / (2.0 * net.factor * float(net.singular[0]) ** 2 + net.decay)
