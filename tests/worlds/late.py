"""Worlds of the studies of memo 90 on growth, margins and late times."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import numpy as np

from gradlab.claims.cases import Case
from worlds import World, noisy, orbit, told


def grown(power: float) -> World:
    """Weights that grow by a power of log t too many."""

    def changed(case: Case) -> Case:
        logs = np.maximum(case.trajectory["log_t"].values, 1.0)[:, None]
        world = orbit("", lambda rows, _: rows * logs**power)
        assert world.case is not None
        return world.case(case)

    return World(f"weights (log t)^{power:g} times as large", changed)


def other_time(factor: float = 1.2) -> World:
    """The clock that is told runs at another speed: log t is off by a constant."""

    def changed(case: Case) -> Case:
        return replace(
            case,
            trajectory=case.trajectory.assign(log_t=case.trajectory["log_t"] + np.log(factor)),
        )

    return World(f"time {factor:g} times as fast", changed)


def one_layer_faster(factor: float = 1.01) -> World:
    """The last weight grows faster than the others."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows = rows.copy()
        rows[1:, -1] *= factor
        return rows

    return orbit(f"the last weight {factor:g} times as large", change)


def other_inputs(factor: float = 1.1) -> World:
    """The inputs that are told are larger than those that ran."""
    return told(
        f"inputs {factor:g} times as large",
        lambda problem: eqx.tree_at(lambda p: p.data.inputs, problem, factor * problem.data.inputs),
    )


GROWTH = (grown(0.1), other_time(), one_layer_faster(), other_inputs(), noisy(1e-8))

WORLDS = {
    "memo90.growth": GROWTH,
    "memo90.growth-corrected": GROWTH,
    "memo90.fig7": (grown(0.1), grown(-0.2), other_time(), other_inputs(1.5), noisy(1e-8)),
    "memo90.fig7-corrected": (grown(0.1), grown(-0.2), other_time(), other_inputs(1.5), noisy(1e-8)),
}
