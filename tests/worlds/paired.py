"""Worlds of the paired comparisons: what statistics does wrong, and answers that are not those of the nets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.claims.cases import Case
from gradlab.laboratory.second import COARSE
from worlds import World, seen


def _answered(name: str, change: Any) -> World:
    """Other answers in the case; ``change(answers, case)``; a case without answers stays."""

    def changed(case: Case) -> Case:
        if "answers" not in case.trajectory:
            return case
        given = case.trajectory["answers"]
        return replace(
            case, trajectory=case.trajectory.assign(answers=(given.dims, change(given.values, case)))
        )

    return World(name, changed)


def _unseen(case: Case) -> np.ndarray:
    """Which images each pair was not trained on, (pairs, images): what a net has fitted stays fitted."""
    train, images = case.trajectory["train"].values, case.trajectory.sizes["image"]
    return ~np.stack([np.isin(np.arange(images), rows) for rows in train])


def _worse(answers: np.ndarray, case: Case) -> np.ndarray:
    """The first method gives another class to every fifth image after the start."""
    answers = answers.copy()
    answers[0, :, 1:, ::5] = 1 - answers[0, :, 1:, ::5]
    return answers


def _turned_back(answers: np.ndarray, case: Case) -> np.ndarray:
    """The second method at the end answers as at its start, but for what it was trained on."""
    answers = answers.copy()
    answers[1, :, -1] = np.where(_unseen(case), answers[1, :, 0], answers[1, :, -1])
    return answers


def _shuffled(answers: np.ndarray, case: Case) -> np.ndarray:
    """Images that a net was not trained on get the answers that others got."""
    order = np.random.default_rng(3).permutation(answers.shape[-1])
    return np.where(_unseen(case)[:, None], answers[..., order], answers)


def _copied() -> World:
    """The first pair taken for all: its answers and its training set."""

    def changed(case: Case) -> Case:
        given, axes = case.trajectory, {"answers": 1, "train": 0, "given": 0, "duration": 1, "norms": 1}
        kept = {name: axis for name, axis in axes.items() if name in given}
        again = {
            name: (given[name].dims, np.repeat(given[name].values.take([0], axis), given.sizes["pair"], axis))
            for name, axis in kept.items()
        }
        return replace(case, trajectory=given.assign(again))

    return World("one start copied to all pairs", changed)


def _noisy() -> World:
    """One answer in a thousand is another, alike at all records; one in a hundred in the coarse twin."""

    def changed(case: Case) -> Case:
        if "answers" not in case.trajectory:
            return case
        given, rng = case.trajectory["answers"], np.random.default_rng(4)
        classes = int(case.trajectory["truth"].max()) + 1
        twins = {}
        for end, share in (("", 1e-3), (COARSE, 1e-2)):
            off = rng.random(given.shape[-1]) < share
            twins[f"answers{end}"] = (given.dims, np.where(off, (given.values + 1) % classes, given.values))
        return replace(case, trajectory=case.trajectory.assign(twins))

    return World("one answer in a thousand is off, bars to match", changed, noisy=True)


SEEN = seen("the test set is the training set", tested=lambda found, look: look.trained)
COPIED = _copied()
SHUFFLED = _answered("nets trained on shuffled labels", _shuffled)
PEEKED = seen("the time chosen on the test set", choosing=lambda found, look: look.kept("test"))
COMMON = (SEEN, COPIED, SHUFFLED, PEEKED)

WORLDS = {
    "memo112.square-performs": (*COMMON, _answered("the square loss errs on a fifth more", _worse), _noisy()),
    "memo112.early-stopping": (
        *COMMON,
        _answered("the other loss overfits to a guess", _turned_back),
        _noisy(),
    ),
    "memo112.transient-predicts": (*COMMON, _noisy()),
    "memo112.controlled-norm": (*COMMON, _noisy()),
}
