"""Regularised minima as studies draw them."""

from __future__ import annotations

import numpy as np

from gradlab.analysis.equilibria import counting
from gradlab.claims import regularised
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense


def test_minima_of_a_relu_net_are_drawn_off_its_kinks() -> None:
    rng = np.random.default_rng(1)
    start, found = regularised.drawn(rng, Dense((3, 2, 1), "relu"), Square(), 2, (0.01,), positive=True)
    ((problem, vector),) = found
    assert start.shape == vector.shape
    assert counting.near_kink(problem, vector) == 0.0
    assert counting.eigenvalues(problem, vector).at_rest <= 1.0
