"""Linear nets of one layer under losses with an exponential tail: separable data of several kinds, drawn or by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.analysis.solutions import max_margin, soudry_constants
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Loss
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: Data are drawn again until the rate of ``soudry_constants`` is this: e^{−500 rate} < 1e-10.
SLOWEST = 0.05
#: And ‖ŵ‖ at most this for equilibria.
LONGEST = 3.0

#: Inputs and labels.
Points = tuple[np.ndarray, np.ndarray]


def linear(points: Points, loss: Loss | None = None, decay: float = 0.0, outputs: int = 1) -> Problem:
    """A linear net on these points, under Σ e^{−y w·x} unless another loss is given."""
    network = Dense((points[0].shape[1], outputs), "identity")
    return Problem(network, Exponential("sum") if loss is None else loss, Data(*points), decay)


def margin_rows(problem: Problem) -> np.ndarray:
    """Rows a with margins a·vec(W), all to be positive: y_n x_n, or (e_y − e_c) ⊗ x_n for every class c ≠ y_n."""
    inputs = np.asarray(problem.data.inputs, dtype=np.float64).reshape(len(problem.data.inputs), -1)
    targets = np.asarray(problem.data.targets)
    if problem.loss.labels == "sign":
        return inputs * targets[:, None]
    eye = np.eye(problem.network.outputs)
    pairs = [(x, y, c) for x, y in zip(inputs, targets, strict=True) for c in range(len(eye)) if c != y]
    return np.stack([np.outer(eye[y] - eye[c], x).reshape(-1) for x, y, c in pairs])


def regular(draw: Callable[[], Points], longest: float = LONGEST, **options: Any) -> Points:
    """A draw with ‖ŵ‖ ≤ ``longest``, every support vector weighted, and g converging like t^{−0.05} or faster.

    ``options`` of :func:`linear`, for the loss by which rows follow from points.
    """
    while True:
        points = draw()
        rows = margin_rows(linear(points, **options))
        ones = np.ones(len(rows))
        svm = max_margin(rows, ones)
        if np.linalg.norm(svm.direction) > longest:
            continue
        try:
            if soudry_constants(rows, ones, svm).rate >= SLOWEST:
                return points
        except ValueError:  # an idle support vector
            continue


def split(random: np.random.Generator, N: int, d: int, rank: int, repeats: int = 0) -> Points:
    """Points of a rank, classed by a random direction in their span and moved apart by 0.2 to 1, some of them twice."""
    inputs = random.standard_normal((N, rank)) @ np.linalg.qr(random.standard_normal((d, rank)))[0].T
    direction = inputs.T @ random.standard_normal(N)
    return _moved_apart(random, inputs, direction, repeats)


def split_along(random: np.random.Generator, kind: str) -> Points:
    """As :func:`split`, the direction drawn first: (12, 4), with three points repeated or of rank 2; or (6, 10)."""
    N, d, rank = {"N < d": (6, 10, 6), "deficient rank": (12, 4, 2)}.get(kind, (12, 4, 4))
    basis = np.linalg.qr(random.standard_normal((d, rank)))[0]
    inputs = random.standard_normal((N, rank)) @ basis.T
    return _moved_apart(random, inputs, basis @ random.standard_normal(rank), 3 * (kind == "repeated points"))


def _moved_apart(
    random: np.random.Generator, inputs: np.ndarray, direction: np.ndarray, repeats: int
) -> Points:
    direction = direction / np.linalg.norm(direction)
    labels = np.where(inputs @ direction >= 0.0, 1.0, -1.0)
    inputs = inputs + np.outer(labels * random.uniform(0.2, 1.0), direction)
    if repeats:
        inputs[-repeats:], labels[-repeats:] = inputs[:repeats], labels[:repeats]
    return inputs, labels


def three_classes(random: np.random.Generator, N: int, d: int) -> Points:
    """Inputs whose class is the largest of three linear scores, pushed apart by 0.5."""
    inputs = random.standard_normal((N, d))
    scores = np.linalg.qr(random.standard_normal((d, 3)))[0].T
    labels = np.argmax(inputs @ scores.T, axis=1)
    labels[:3] = np.arange(3)
    inputs[:3] = 1.5 * scores
    return inputs + 0.5 * scores[labels], labels


def idle(count: int) -> Points:
    """Twelve points in R⁴ with ŵ = e₁, held by (1, ±1, 0, 0); ``count`` (1 or 2) more lie on the margin without weight.

    These are e₁ + e₃ and e₁ + e₄: ŵ has no component along e₃ or e₄ that they could carry. The rest is beyond it.
    """
    on = [[1.0, 1.0, 0.0, 0.0], [1.0, -1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]][
        : 2 + count
    ]
    turn = 2.0 * np.pi * np.arange(12 - len(on)) / (12 - len(on))
    beyond = np.stack([2.5 + np.cos(turn), np.sin(turn), np.cos(2.0 * turn), np.sin(2.0 * turn)], axis=1)
    signs = np.where(np.arange(12) % 2 == 0, 1.0, -1.0)
    return np.vstack([on, beyond]) * signs[:, None], signs
