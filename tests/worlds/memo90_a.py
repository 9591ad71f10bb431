"""Worlds of the studies of memo 90 that rest on closed forms: other matrices, other data, other paths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.claims.cases import Case
from worlds import World, noisy, seen

# Conjugacies ------------------------------------------------------------------------------------------------


def other_matrix(size: float = 1e-3) -> World:
    """The second matrix is off by a share of its size."""

    def changed(case: Case) -> Case:
        B = case.problem.B
        noise = np.random.default_rng(4).standard_normal(B.shape)
        told = B + size * np.linalg.norm(B) * noise / np.linalg.norm(noise)
        return replace(case, problem=case.problem._replace(B=told))

    return World(f"the second matrix off by {size:g}", changed)


def _off(image: Any, look: Any) -> Any:
    return None if image is None else image * np.linspace(1.0, 1.01, image.shape[1])


CONJUGACY = (
    other_matrix(),
    seen("h off by 1 %", image=_off),
    seen("H transposed", H=lambda H, look: H.T),
    seen("G 1.001 times as fast", pushed=lambda velocity, look: 1.001 * velocity),
    noisy(1e-6),
)

WORLDS = {
    "memo90.conjugacy-classes": CONJUGACY,
    "memo90.conjugacy-classes-corrected": CONJUGACY,
}
