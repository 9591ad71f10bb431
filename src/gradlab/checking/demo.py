"""A run to look at: a small ReLU network on scikit-learn's digits, trained by a plain loop with a Probe in it."""

from __future__ import annotations

from pathlib import Path

import jax

from gradlab.checking.probe import Probe
from gradlab.problem.bundled import digits
from gradlab.problem.dataset import Data
from gradlab.problem.dense import Dense
from gradlab.problem.initialisation import He
from gradlab.problem.losses import CrossEntropy
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Examples, hidden units, steps, learning rate.
EXAMPLES, HIDDEN, STEPS, RATE = 60, 12, 1781, 0.1


@float64
def trained(folder: str | Path) -> Problem:
    """Train it, with checkpoints in the folder; the problem is returned."""
    full = digits()
    inputs = full.inputs[:EXAMPLES].reshape(EXAMPLES, -1)
    problem = Problem(
        Dense((inputs.shape[1], HIDDEN, 10)), CrossEntropy("mean"), Data(inputs, full.targets[:EXAMPLES])
    )
    weights = problem.network.init(jax.random.key(0), He())
    probe = Probe(folder, optimiser=f"sgd lr={RATE}", loss="cross-entropy")
    for _ in range(STEPS):
        probe(weights)
        gradient = problem.gradient(weights)
        weights = jax.tree.map(lambda w, g: w - RATE * g, weights, gradient)
    probe(weights, last=True)
    return problem
