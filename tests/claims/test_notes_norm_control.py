"""One point x = (1, 0), y = 2: with decay W = (2/(1 + λ), 0); without, a kick moves the second component for good."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from gradlab.claims.claim import INCONCLUSIVE, NOT_MET, REFUTED, SUPPORTED, collect
from gradlab.claims.notes.norm_control import STUDY, observe
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


def seen_at(decay: float, *settled: list[float], kick: tuple[float, float] = (0.6, 0.8)) -> xr.Dataset:
    """A made-up run: the start (5, 1), then what it settled to before and after one kick."""
    problem = Problem(Dense((2, 1)), Square(half=True), Data([[1.0, 0.0]], [[2.0]]), decay)
    weights = np.array([[5.0, 1.0], *settled])
    kicks = np.zeros_like(weights)
    kicks[1] = kick
    dims = ("record", "weight")
    return observe(problem, xr.Dataset({"weights": (dims, weights), "kick": (dims, kicks)}))


def verdict(seen: xr.Dataset) -> tuple[str, str]:
    found = STUDY.judge(collect([("case", seen)]))
    return found.verdict, found.part


def test_with_decay_the_same_point_supports_and_another_does_not() -> None:
    there = [1.0, 0.0]
    assert verdict(seen_at(1.0, there, there))[0] == SUPPORTED
    # its own gradient says that it is still on its way
    moved = seen_at(1.0, there, [1.0, 0.8])
    assert verdict(moved)[0] == INCONCLUSIVE
    assert verdict(moved.assign(returns_error=1e-9, same=0.0, same_error=0.0)) == (REFUTED, "returns")


def test_without_decay_the_unseen_part_of_the_kick_stays() -> None:
    seen = seen_at(0.0, [2.0, 1.0], [2.0, 1.8])
    assert verdict(seen)[0] == SUPPORTED
    assert float(seen["moves"]) == pytest.approx(0.8, rel=1e-14)
    assert float(seen["moves_tolerance"]) == pytest.approx(0.4, rel=1e-14)
    came_back = seen_at(0.0, [2.0, 1.0], [2.0, 1.0])
    assert verdict(came_back) == (REFUTED, "law")
    assert verdict(came_back.assign(law=0.0)) == (REFUTED, "moves")
    forgot = seen_at(0.0, [2.0, 0.0], [2.0, 0.8])
    assert verdict(forgot) == (REFUTED, "start")


def test_other_runs_are_outside_the_claim() -> None:
    line = Problem(Dense((1, 1)), Square(half=True), Data([[1.0]], [[2.0]]), 0.0)
    weights, kicks = np.array([[0.0], [2.0], [2.0]]), np.array([[0.0], [1.0], [0.0]])
    dims = ("record", "weight")
    assert verdict(observe(line, xr.Dataset({"weights": (dims, weights), "kick": (dims, kicks)}))) == (
        NOT_MET,
        "degenerate",
    )
    assert verdict(observe(line, xr.Dataset({"weights": (dims, weights)})))[0] == NOT_MET
