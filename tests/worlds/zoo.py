"""Worlds of chitour.nonlinear: other networks, and observables that say something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradlab.claims.cases import Case
from worlds import World, seen


def without_bar() -> World:
    """An observable whose bar is unknown."""

    def changed(case: Case) -> Case:
        bar = case.trajectory["gradient_norm_error"]
        return replace(case, trajectory=case.trajectory.assign(gradient_norm_error=np.nan * bar))

    return World("a bar that is unknown", changed)


def rounding(size: float = 1e-13) -> World:
    """Observables rounded otherwise."""
    random = np.random.default_rng(8)
    return World(
        f"observables off by {size:g} at random",
        look=seen(
            "", said=lambda value, look: value * (1.0 + size * random.standard_normal(value.shape))
        ).look,
        noisy=True,
    )


WORLDS = {
    "chitour.nonlinear": (
        seen("leaky ReLU in place of ReLU", net=lambda net, look: net._replace(sigma="leaky")),
        seen("observables off by 1e-6", said=lambda value, look: value * (1.0 + 1e-6)),
        seen(
            "margins offered of every net",
            offered=lambda names, look: sorted({*names, "matrix_balancedness"}),
        ),
        seen("inputs in another order", net=lambda net, look: net._replace(x=net.x[::-1])),
        without_bar(),
        rounding(),
    ),
}
