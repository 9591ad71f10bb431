"""Worlds of the studies of one linear layer under the square loss."""

from __future__ import annotations

import numpy as np
from worlds import World, noisy, orbit, shifted_hessian

from gradlab.analysis.one_layer import one_layer
from gradlab.claims.cases import Case


def leak(size: float = 1e-6) -> World:
    """A leak into the null space of the data, growing with the record to a share of the motion."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        net = one_layer(case.problem)
        assert net is not None
        shape = (net.Y.shape[1], net.X.shape[1])
        aside = net.beside(np.random.default_rng(3).standard_normal(shape)).ravel()
        along = np.linspace(0.0, 1.0, len(rows))[:, None] * aside / np.linalg.norm(aside)
        return rows + size * np.linalg.norm(rows[-1] - rows[0]) * along

    return orbit(f"a leak of {size:g} into the null space", change)


WORLDS = {
    "notes.span": (leak(), leak(1e-8), shifted_hessian(), noisy(1e-11)),
}
