"""The rule by which a run stepped, measured on checkpoints that are one step apart: rate, momentum, decay, or none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradlab.checking.evaluating import Looks
from gradlab.checking.run import TrainingRun

#: Relative error of a step that is none of rounding, and what a pair may drown in before it tells nothing.
EXACT, DROWNED = 1e-6, 0.05
#: A rate or momentum off by more than this part is another one.
SAME = 1e-3
#: Columns of each rule: the gradient; with decay; with momentum; both; Nesterov's.
_RULES = {
    "gradient": ("g",),
    "decay": ("g", "w"),
    "momentum": ("g", "d"),
    "momentum and decay": ("g", "w", "d"),
    "nesterov": ("g", "d", "h"),
}


@dataclass(frozen=True)
class Rule:
    """What the steps say.

    Attributes
    ----------
    name : a rule of _RULES; ``other`` where none explains them; ``unknown`` where there is no pair to look at.
    rate, momentum, decay : measured η, μ, λ; None where they are not.
    residual : (T,), the part of the step from each checkpoint that the rule leaves; NaN where there is none.
    allowed : (T,), what rounding may leave.
    plain : (T,), the part that −η∇L with the rate as said (or the best one) leaves.
    why : of ``other``, what kind of steps they may be, with a number; else empty.
    """

    name: str
    rate: float | None
    momentum: float | None
    decay: float | None
    residual: np.ndarray
    allowed: np.ndarray
    plain: np.ndarray
    why: str


def rule_of(run: TrainingRun, looks: Looks) -> Rule:
    """The simplest rule that explains every pair of checkpoints one step apart."""
    count = len(run.steps)
    nothing = np.full(count, np.nan)
    allowed = nothing.copy()
    columns: dict[int, dict[str, np.ndarray]] = {}
    unit = max(run.precision[1], 2.0**-53)
    pairs = set(run.pairs.tolist())
    for i in sorted(pairs):
        step = run.flat[i + 1] - run.flat[i]
        size = float(np.linalg.norm(step))
        gradient = looks.gradients[i]
        if not size > 0.0 or not np.any(gradient):
            continue
        # weights are rounded at both ends, gradients where a network computes like its weights
        allowed[i] = EXACT + 3.0 * unit * float(np.linalg.norm(run.flat[i + 1])) / size + 300.0 * unit
        if allowed[i] > DROWNED:
            continue
        columns[i] = {"s": step, "g": -gradient, "w": -run.flat[i]}
        if i - 1 in pairs:
            columns[i] |= {"d": run.flat[i] - run.flat[i - 1], "h": -looks.gradients[i - 1]}
    if not columns:
        return Rule("unknown", None, None, None, nothing, allowed, nothing, "")
    plain = _left(columns, ("g",), run.optimiser.lr, count)[0]
    for name, kinds in _RULES.items():
        usable = {i: c for i, c in columns.items() if all(kind in c for kind in kinds)}
        if len(usable) < min(2, len(columns)) or len(usable) * run.flat.shape[1] < 4 * len(kinds):
            continue
        residual, found = _left(usable, kinds, None, count)
        seen = ~np.isnan(residual)
        if np.all(residual[seen] <= allowed[seen]) and _possible(name, found):
            return _told(name, found, residual, allowed, plain)
    return Rule("other", None, None, None, plain, allowed, plain, _kind(run, looks, columns))


def _left(
    columns: dict[int, dict[str, np.ndarray]], kinds: tuple[str, ...], rate: float | None, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """(relative residual of every pair, the coefficients of all together); with ``rate``, that one is taken."""
    sizes = {i: float(np.linalg.norm(c["s"])) for i, c in columns.items()}
    matrix = np.concatenate([np.stack([c[kind] for kind in kinds], 1) / sizes[i] for i, c in columns.items()])
    right = np.concatenate([c["s"] / sizes[i] for i, c in columns.items()])
    scale = np.linalg.norm(matrix, axis=0)
    scale = np.where(scale > 0.0, scale, 1.0)
    found = (
        np.linalg.lstsq(matrix / scale, right, rcond=None)[0] / scale if rate is None else np.array([rate])
    )
    residual = np.full(count, np.nan)
    for i, c in columns.items():
        model = sum(value * c[kind] for value, kind in zip(found, kinds, strict=True))
        residual[i] = np.linalg.norm(c["s"] - model) / sizes[i]
    return residual, found


def _possible(name: str, found: np.ndarray) -> bool:
    """Whether fitted coefficients are those of an optimiser: η > 0, 0 < μ < 1, and Nesterov's three agree.

    (Of a linear model with other labels, g differs by a constant, and the last step with both gradients tells it all:
    μ = 1.)
    """
    if not found[0] > 0.0:
        return False
    if name == "nesterov":
        momentum, rate = found[1], found[0] / (1.0 + found[1])
        return bool(0.0 < momentum < 1.0 - SAME and abs(-found[2] - rate * momentum) <= SAME * rate)
    return not name.startswith("momentum") or 0.0 < found[-1] < 1.0 - SAME


def _told(name: str, found: np.ndarray, residual: np.ndarray, allowed: np.ndarray, plain: np.ndarray) -> Rule:
    if name == "nesterov":  # −η(1+μ)g + μ d + ημ g before
        momentum = float(found[1])
        return Rule(name, float(found[0]) / (1.0 + momentum), momentum, 0.0, residual, allowed, plain, "")
    values = dict(zip(_RULES[name], map(float, found), strict=True))
    rate = values["g"]
    decay = values.get("w", 0.0) / rate if rate else math.nan
    return Rule(name, rate, values.get("d", 0.0), decay, residual, allowed, plain, "")


def _kind(run: TrainingRun, looks: Looks, columns: dict[int, dict[str, np.ndarray]]) -> str:
    """What steps may be that no rule explains: of other labels, of a batch, or of another function."""
    first = next(iter(columns))
    rate = run.optimiser.lr
    try:
        jacobian = looks.jacobian(first)
    except ValueError:  # examples interact
        return ""
    rows, size = jacobian.shape
    step = columns[first]["s"]
    solved = np.linalg.lstsq(jacobian.T, step, rcond=None)[0]
    left = float(np.linalg.norm(jacobian.T @ solved - step) / np.linalg.norm(step))
    if left > 1e-3:
        return (
            f"{left:.2g} of a step lies outside the span of ∂f(x_n)/∂W: it is of another function (dropout, "
            "augmentation, noise on weights, batch statistics) or of an optimiser with memory"
        )
    if rows >= size or rate is None or np.linalg.matrix_rank(jacobian) < rows:
        return "minibatches, dropout, other labels or other data: too few weights tell them apart"
    implied = -solved.reshape(looks.slopes[first].shape) / rate
    slopes = looks.slopes[first]
    examples = len(implied)
    off = np.linalg.norm(implied - slopes, axis=1) > 1e-3 * np.linalg.norm(slopes, axis=1).max()
    out = off & (np.linalg.norm(implied, axis=1) <= 1e-6 * np.linalg.norm(slopes, axis=1).max())
    if out.any():
        return f"minibatches: {int((~out).sum())} of {examples} examples made the step"
    return (
        f"the step from {run.steps[first]} is that of other labels at {int(off.sum())} of {examples} examples "
        "(label noise?)"
    )
