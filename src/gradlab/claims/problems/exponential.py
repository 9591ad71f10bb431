"""Linear nets of one layer under losses with an exponential tail: data that are separable or not, drawn or by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize

from gradlab.analysis.paths import regularised_exponential
from gradlab.analysis.solutions import max_margin, soudry_constants
from gradlab.dynamics.clocks import LogLoss
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.dynamics.stops import Stop
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential, Loss
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: Data are drawn again until the rate of ``soudry_constants`` is this: e^{−500 rate} < 1e-10.
SLOWEST = 0.05
#: And ‖ŵ‖ at most this for equilibria.
LONGEST = 3.0

#: Singular values below this part of the largest are none.
FLAT = 1e-6
#: −log of a decay that changes a minimiser by less than rounding.
FADED = 100.0

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


def to_log_time(problems: Sequence[Problem], log_t: float) -> dict[str, Any]:
    """How an ensemble is run until log t: log-loss time is about ‖ŵ‖² log t, and the members stop on their own."""
    rows = [margin_rows(problem) for problem in problems]
    longest = max(float(np.linalg.norm(max_margin(each, np.ones(len(each))).direction)) ** 2 for each in rows)
    moments = np.geomspace(1e-2, 4.0 * log_t * longest, 60)
    solver, stop = Adaptive("dopri8", 1e-10), Stop(log_t=log_t)
    return {"records": moments, "clock": LogLoss(), "solver": solver, "stop": stop}


# Not separable ----------------------------------------------------------------------------------------------


def core(rows: np.ndarray) -> np.ndarray:
    """Which points every weak separator leaves on its border, (N,) bool.

    max Σ s_n with x_n·v ≥ s_n, 0 ≤ s_n ≤ 1: separators add and scale, so that s_n is 1 wherever it can be positive.
    |v| is bounded, lest rounding of x_n be separated.
    """
    sizes = np.linalg.norm(rows, axis=1)
    unit = rows / np.where(sizes > 0.0, sizes, 1.0)[:, None]
    N, d = rows.shape
    answer = scipy.optimize.linprog(
        np.append(np.zeros(d), -np.ones(N)),
        A_ub=np.hstack([-unit, np.eye(N)]),
        b_ub=np.zeros(N),
        bounds=[(-1e5, 1e5)] * d + [(0.0, 1.0)] * N,
        method="highs",
    )
    return np.asarray(answer.x[d:] < 0.5)


def span_basis(rows: np.ndarray) -> np.ndarray:
    """An orthonormal basis (d, r) of the span of the rows."""
    if not len(rows):
        return np.zeros((rows.shape[1], 0))
    _, values, right = np.linalg.svd(rows, full_matrices=False)
    return right[values > FLAT * max(values[0], 1e-300)].T


def minimiser(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """The minimiser of Σ e^{−x_n·w} on the span of ``basis``, for points that are all core: decay e^{−100} is none."""
    return basis @ regularised_exponential(rows @ basis, np.ones(len(rows)), log_decay=-FADED).weights


def curvatures(rows: np.ndarray, w: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Eigenvalues of Σ x xᵀ e^{−x·w} on the span of ``basis``."""
    return np.linalg.eigvalsh(basis.T @ (rows.T * np.exp(-rows @ w)) @ rows @ basis)


def one_error(random: np.random.Generator, N: int, d: int, rank: int) -> np.ndarray:
    """Signed points (N, d) of which all are core and exactly one is misclassified at the minimiser."""
    while True:
        basis = np.linalg.qr(random.standard_normal((d, rank)))[0]
        direction = basis @ random.standard_normal(rank)
        direction /= np.linalg.norm(direction)
        rows = random.standard_normal((N, rank)) @ basis.T
        rows *= np.where(rows @ direction >= 0.0, 1.0, -1.0)[:, None]
        rows[0] = -random.uniform(0.1, 1.0, N - 1) @ rows[1:] / N
        S = span_basis(rows)
        w = minimiser(rows, S)
        values = curvatures(rows, w, S)
        # the slowest rate times T, far beyond what rounding sees
        if np.sum(rows @ w < 0.0) == 1 and values[0] > 0.02 and values[-1] < 10.0:
            return rows


def partly_separable(random: np.random.Generator) -> np.ndarray:
    """A core of 5 points in a plane of four dimensions, and 7 points that are separated beside it."""
    turned = np.linalg.qr(random.standard_normal((4, 4)))[0]
    inner = np.hstack([one_error(random, 5, 2, 2), np.zeros((5, 2))])
    outer = random.standard_normal((7, 4))
    outer[:, 2:] *= np.sign(outer[:, 2:] @ np.array([0.6, 0.8]))[:, None]
    outer[:, 2:] += np.array([0.6, 0.8])
    return np.vstack([inner, outer]) @ turned.T
