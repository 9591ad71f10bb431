"""Regularised minima of small networks: drawn, polished to rounding, and what studies of them measure alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gradlab.analysis.equilibria import counting, minimising, symmetry
from gradlab.claims import teachers
from gradlab.claims.claim import Measure
from gradlab.problem.data import Data
from gradlab.problem.losses import Loss
from gradlab.problem.networks import Network
from gradlab.problem.problem import Problem

DECAYED = Measure(
    "decayed", "the least decay of a layer", ">=", 1e-300, "λ_k > 0, every one", role="hypothesis"
)
REST = Measure(
    "rest",
    "‖∇L‖ over the bound of its rounding: an equilibrium",
    "<=",
    1.0,
    "at one, what is left of the gradient means nothing in float64",
    role="hypothesis",
)
COUNT = "a whole number; its error are eigenvalues that are neither rounding nor clear of it"


def numbers(problem: Problem, found: counting.Eigenvalues) -> dict[str, float]:
    """The hypotheses above, TWICE, and the counts of eigenvalues: ``zeros``, ``negative`` and ``rotations``."""
    tangents = symmetry.rotations(problem, found.vector)
    # the tangents' entries are weights, known up to ‖∇L‖ over the least eigenvalue that is not zero
    sizes = np.abs(found.values)
    away = found.noise / float(sizes[sizes > found.bound].min(initial=np.inf))
    rotations = counting.decided_rank(tangents, 2.0 * np.sqrt(len(tangents)) * away) if len(tangents) else 0.0
    return {
        "decayed": float(np.min(np.asarray(problem.decay))),
        "rest": found.at_rest,
        "kink": found.kink,
        **teachers.counted("zeros", counting.kernel(found.values, found.bound)),
        **teachers.counted("negative", counting.below_zero(found.values, found.bound)),
        "rotations": rotations,
        "least": float(
            found.values[0] / np.min(np.asarray(problem.decay)) if np.all(problem.decay) else np.nan
        ),
        "lambda": float(np.min(np.asarray(problem.decay))),
    }


def drawn(
    rng: np.random.Generator,
    network: Network,
    loss: Loss,
    count: int,
    decays: Iterable[Any],
    positive: bool = False,
    tries: int = 40,
) -> tuple[np.ndarray, list[tuple[Problem, np.ndarray]]]:
    """One random problem, fitted by a teacher: its weights, and the minimum reached from them for every decay.

    Drawn again until every one is an equilibrium within rounding, off the kinks, and not W = 0.
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
    return found.at_rest <= 1.0 and not found.kink and bool(np.linalg.norm(found.here.f) > 1e-6)
