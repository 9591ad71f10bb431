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
#: Weights on which coefficients are fitted (residuals are of all), and numbers of a Jacobian that is formed.
_FITTED, _LARGEST = 20_000, 5_000_000
#: Columns of each rule: the gradient; with decay; with momentum; both; Nesterov's.
_RULES = {
    "gradient": ("g",),
    "decay": ("g", "w"),
    "momentum": ("g", "d"),
    "momentum and decay": ("g", "w", "d"),
    "nesterov": ("g", "d", "h"),
}


@dataclass(frozen=True)
class StepRule:
    """What the steps say.

    Attributes
    ----------
    name : a rule of _RULES; ``varying`` where each step has its own rate; ``other`` where nothing explains them;
        ``unknown`` where there is no pair to look at.
    rate, momentum, decay : measured η, μ, λ; None where they are not.
    residual : (T,), the part of the step from each checkpoint that the rule leaves; NaN where there is none.
    allowed : (T,), what rounding may leave.
    why : of ``other``, what kind of steps they may be, with a number; of ``varying``, from which rate to which.
    """

    name: str
    rate: float | None
    momentum: float | None
    decay: float | None
    residual: np.ndarray
    allowed: np.ndarray
    why: str


class _Steps:
    """The steps that can be looked at, with what explains them; each column is made when it is asked for."""

    def __init__(self, run: TrainingRun, looks: Looks) -> None:
        self.run, self.looks, self.count = run, looks, len(run.steps)
        self.allowed = np.full(self.count, np.nan)
        unit, pairs = max(run.precision[1], 2.0**-53), set(run.pairs.tolist())
        self.usable, self.sizes = [], {}
        for i in sorted(pairs):
            size = float(np.linalg.norm(run.flat[i + 1] - run.flat[i]))
            if not size > 0.0 or not np.any(looks.gradients[i]):
                continue
            # weights are rounded at both ends, gradients where a network computes like its weights
            self.allowed[i] = (
                EXACT + 3.0 * unit * float(np.linalg.norm(run.flat[i + 1])) / size + 300.0 * unit
            )
            if self.allowed[i] <= DROWNED:
                self.usable.append(i)
                self.sizes[i] = size
        self.chained = [i for i in self.usable if i - 1 in pairs]
        self._some = np.unique(
            np.linspace(0, run.flat.shape[1] - 1, min(run.flat.shape[1], _FITTED)).astype(int)
        )

    def column(self, i: int, kind: str) -> np.ndarray:
        """s the step, g and h the gradient here and before, w the weights, d the step before; signs as in a step."""
        flat, gradients = self.run.flat, self.looks.gradients
        if kind in "sd":
            at = i if kind == "s" else i - 1
            return flat[at + 1] - flat[at]
        return -flat[i] if kind == "w" else -gradients[i if kind == "g" else i - 1]

    def fit(
        self, where: list[int], kinds: tuple[str, ...], rate: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(relative residual of every step, the coefficients of all together); with ``rate``, that one is taken."""
        some = self._some
        found = np.array([rate])
        if rate is None:
            rows = [np.stack([self.column(i, k)[some] for k in kinds], 1) / self.sizes[i] for i in where]
            matrix = np.concatenate(rows)
            right = np.concatenate([self.column(i, "s")[some] / self.sizes[i] for i in where])
            scale = np.linalg.norm(matrix, axis=0)
            scale = np.where(scale > 0.0, scale, 1.0)
            found = np.linalg.lstsq(matrix / scale, right, rcond=None)[0] / scale
        residual = np.full(self.count, np.nan)
        for i in where:
            left = self.column(i, "s") - sum(v * self.column(i, k) for v, k in zip(found, kinds, strict=True))
            residual[i] = np.linalg.norm(left) / self.sizes[i]
        return residual, found


def rule_of(run: TrainingRun, looks: Looks) -> StepRule:
    """The simplest rule that explains every pair of checkpoints one step apart."""
    steps = _Steps(run, looks)
    nothing, allowed = np.full(steps.count, np.nan), steps.allowed
    if not steps.usable:
        return StepRule("unknown", None, None, None, nothing, allowed, "")
    for name, kinds in _RULES.items():
        where = steps.chained if set(kinds) & {"d", "h"} else steps.usable
        if len(where) < min(2, len(steps.usable)) or len(where) * run.flat.shape[1] < 4 * len(kinds):
            continue
        residual, found = steps.fit(where, kinds)
        if np.all(residual[where] <= allowed[where]) and _possible(name, found):
            return _told(name, found, residual, allowed)
    each = {i: steps.fit([i], ("g",)) for i in steps.usable}
    own = np.array([each[i][0][i] if i in each else np.nan for i in range(steps.count)])
    if run.flat.shape[1] >= 4 and np.all(own[steps.usable] <= allowed[steps.usable]):
        rates = [float(each[i][1][0]) for i in steps.usable]
        if min(rates) > 0.0:
            wide = min(rates) < min(rates[0], rates[-1]) or max(rates) > max(rates[0], rates[-1])
            between = f", {min(rates):.3g} to {max(rates):.3g} on the way" if wide else ""
            why = (
                f"the learning rate varies, from {rates[0]:.3g} to {rates[-1]:.3g}{between} (a schedule, or gradients "
                "that are clipped)"
            )
            return StepRule("varying", max(rates), 0.0, 0.0, own, allowed, why)
    plain = steps.fit(steps.usable, ("g",), run.optimiser.lr)[0]
    return StepRule("other", None, None, None, plain, allowed, _kind(steps, int(np.nanargmax(plain))))


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
    if "decay" in name and found[1] < -1e-9 * found[0]:
        return False
    return not name.startswith("momentum") or 0.0 < found[-1] < 1.0 - SAME


def _told(name: str, found: np.ndarray, residual: np.ndarray, allowed: np.ndarray) -> StepRule:
    if name == "nesterov":  # −η(1+μ)g + μ d + ημ g before
        momentum = float(found[1])
        return StepRule(name, float(found[0]) / (1.0 + momentum), momentum, 0.0, residual, allowed, "")
    values = dict(zip(_RULES[name], map(float, found), strict=True))
    rate = values["g"]
    decay = values.get("w", 0.0) / rate if rate else math.nan
    return StepRule(name, rate, values.get("d", 0.0), decay, residual, allowed, "")


def _apart(steps: _Steps, first: int) -> str:
    """Whether a step is one of gradient descent in some weights only, or in each layer at a rate of its own."""
    run, step, gradient = steps.run, steps.column(first, "s"), steps.column(first, "g")
    allowed = steps.allowed[first]

    def rate(mask: np.ndarray) -> float:
        """The rate at which these weights went down; NaN where they did not."""
        g, s = gradient[mask], step[mask]
        found = float(g @ s) / max(float(g @ g), 1e-300)
        return found if np.linalg.norm(s - found * g) <= allowed * np.linalg.norm(step) else math.nan

    moved = step != 0.0
    still = ~moved & (gradient != 0.0)
    if still.any() and not math.isnan(rate(moved)):
        whole = [name for name, mask in zip(run.layers, run.masks, strict=True) if still[mask].all()]
        told = f", all of {', '.join(whole[:3])}" if whole else ""
        return f"{int(still.sum())} of {len(still)} weights do not move{told} (frozen, masked, clipped or rounded)"
    rates = [rate(mask) for mask in run.masks if np.any(gradient[mask])]
    if len(rates) > 1 and all(one > 0.0 for one in rates) and max(rates) > (1.0 + SAME) * min(rates):
        return f"layers have learning rates of their own, from {min(rates):.3g} to {max(rates):.3g}"
    return ""


def _kind(steps: _Steps, first: int) -> str:
    """What a step may be that no rule explains: of some weights, of other labels, of a batch, of another function."""
    run, looks = steps.run, steps.looks
    if apart := _apart(steps, first):
        return apart
    rate = run.optimiser.lr
    if looks.examples * run.flat.shape[1] > _LARGEST:
        return ""
    try:
        jacobian = looks.jacobian(first)
    except ValueError:  # examples interact
        return ""
    rows, size = jacobian.shape
    step = steps.column(first, "s")
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
