"""Minima of small networks under weight decay, reached from a zero of the loss (or weights that separate)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims.problems import teachers
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss
from gradlab.problem.networks import Network
from gradlab.problem.problem import Problem


def minima(
    rng: np.random.Generator,
    network: Network,
    loss: Loss,
    count: int,
    decays: Iterable[Any],
    positive: bool = False,
    tries: int = 40,
) -> tuple[np.ndarray, list[tuple[Problem, np.ndarray]]]:
    """One random problem, fitted by a teacher: its weights, and the minimum reached from them for every decay.

    Drawn again until every one is an equilibrium within rounding, off the kinks, no saddle, and not W = 0.

    Raises
    ------
    ArithmeticError
        If ``tries`` draws gave none.
    """
    for _ in range(tries):
        x = teachers.inputs(rng, network, count)
        base, start = teachers.teacher(rng, network, loss, count, x=np.abs(x) if positive else x)
        found = []
        for decay in decays:
            problem = Problem(network, loss, Data(base.data.inputs, base.data.targets), decay)
            found.append((problem, minimising.minimum(problem, start)))
        if all(_sound(problem, vector) for problem, vector in found):
            return start, found
    raise ArithmeticError(f"no regularised minimum of {network} off its kinks in {tries} draws")


def _sound(problem: Problem, vector: np.ndarray) -> bool:
    found = counting.eigenvalues(problem, vector, equilibrium=True)
    saddle = counting.below_zero(found.values, found.bound).number > 0.0
    return found.at_rest <= 1.0 and not (found.kink or saddle) and bool(np.linalg.norm(found.here.f) > 1e-6)
