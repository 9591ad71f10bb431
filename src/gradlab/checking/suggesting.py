"""What theory suggests for a run: steps to a loss, the largest step, the transient left, the margin to be gained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.analysis.norm_dynamics import NormDynamics
from gradlab.checking.assumed import Assumed
from gradlab.checking.evaluating import DENSE
from gradlab.checking.hypotheses import Assumption, short
from gradlab.checking.stepping import SAME
from gradlab.checking.theorems.balance import norms
from gradlab.checking.theorems.curvature import certificate, certified

#: The loss that is asked for, as a part of what is above the least one now; where a transient ends, as a part of ρ_eq.
PART, GROWN = 0.01, 0.5
#: Layer norms may differ by this part, where an equation asks for equal ones; Lanczos is right to this part.
EQUAL, LANCZOS = 0.1, 1e-3


@dataclass(frozen=True)
class Suggestion:
    """A number that theory gives for this run, or that it is silent.

    Attributes
    ----------
    title : what. words : the number in a sentence; where theory is silent, why.
    value, low, high : the number and what it is known to lie between; None where theory is silent.
    unit : ``steps``, ``learning rate`` or ``margin``.
    claim, equation : of the catalogue, and where in its source. uncertainty : what the interval is made from.
    """

    title: str
    words: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    claim: str
    equation: str
    uncertainty: str

    @property
    def silent(self) -> bool:
        return self.value is None

    @property
    def interval(self) -> str:
        """``between 1.2 and 1.4``, or ``± 2e-9`` where both are the same to three digits; empty where it is silent."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        if short(self.low) != short(self.high):
            return f"between {short(self.low)} and {short(self.high)}"
        return f"± {short(max(self.high - self.value, self.value - self.low))}"


@dataclass(frozen=True)
class _Source:
    title: str
    unit: str
    claim: str
    equation: str

    def says(self, words: str, value: float, low: float, high: float, uncertainty: str) -> Suggestion:
        where = (self.unit, self.claim, self.equation)
        return Suggestion(self.title, words, float(value), float(low), float(high), *where, uncertainty)

    def silent(self, why: str) -> Suggestion:
        words = f"theory is silent: {why}"
        return Suggestion(self.title, words, None, None, None, self.unit, self.claim, self.equation, "")


def suggested(assumed: Assumed) -> tuple[Suggestion, ...]:
    """One for each question, in the order time, step, transient, margin."""
    questions: tuple[Callable[[Assumed], Suggestion], ...] = (_time, _step, _transient, _margin)
    return tuple(question(assumed) for question in questions)


def _why(assumed: Assumed, hypotheses: Sequence[Assumption]) -> str:
    """What does not hold at the last checkpoint, or is not known; empty where all holds."""
    end = np.array([assumed.count - 1])
    bad = [one for one in hypotheses if one.status[-1] != 1]
    broken = [one for one in bad if one.status[-1] == 0] or bad
    return "; ".join(dict.fromkeys(one.said(end) for one in broken))


# Steps to a loss -------------------------------------------------------------------------------------------

_RATE = _Source("steps to a loss", "steps", "cohen.gd-rate", "Theorem 1 of Arora et al. (2019)")
_MODES = _Source(
    "steps to a loss", "steps", "notes.min-norm-corrected",
    "corollary: along each singular vector of φ the residual shrinks by 1 − ηλ a step",
)  # fmt: skip


def _time(assumed: Assumed) -> Suggestion:
    model = [assumed.linear, assumed.alone, assumed.untied, assumed.square]
    if assumed.linear.status[0] == 1 and assumed.square.status[0] == 1:
        why = _why(assumed, [*model, *assumed.plain])
        return _MODES.silent(why) if why else _by_modes(assumed)
    why = _why(assumed, [assumed.chain, assumed.untied, assumed.square, *assumed.plain])
    why = why or _why(assumed, certified(assumed))
    if why:
        return _RATE.silent(f"no rate is guaranteed ({why})")
    found = assumed.once(certificate)
    if found is None or not found.holds:
        return _RATE.silent(f"no rate is guaranteed ({found.why if found else 'no certificate'})")
    now, start = int(assumed.run.steps[-1]), int(assumed.run.steps[0])
    goal = PART * float(assumed.looks.risk[-1] - found.minimum)
    if not goal > 0.0:
        return _RATE.silent("the loss is the least there is, up to rounding")
    latest = start + found.iterations(goal)
    return _RATE.says(
        f"{assumed.run.unit} {latest:.0f} at the latest until the loss is {short(goal)} above the least",
        latest, now, latest, "an upper bound, proved before the run",
    )  # fmt: skip


def _by_modes(assumed: Assumed) -> Suggestion:
    features, loss = assumed.probed.features, assumed.run.problem.loss
    residual = (
        assumed.looks.outputs[-1] - assumed.looks.targets.reshape(assumed.looks.outputs[-1].shape)
    ).ravel()
    left, values, _ = np.linalg.svd(features, full_matrices=False)
    factor = (1.0 if getattr(loss, "half", False) else 2.0) / (
        len(assumed.looks.inputs) if loss.reduction == "mean" else 1
    )
    seen = values > 1e-10 * values[0]
    parts, curvatures = (left.T @ residual)[seen] ** 2, factor * values[seen] ** 2

    def steps(rate: float) -> float:
        """The least t with Σ c_i (1 − ηλ_i)^2t ≤ PART Σ c_i."""
        logs = 2.0 * np.log(np.maximum(np.abs(1.0 - rate * curvatures), 1e-300))
        if not np.sum(parts) > 0.0 or np.any(logs >= 0.0):
            return math.nan
        low, high = 0.0, math.log(PART) / float(np.max(logs))
        for _ in range(80):
            middle = 0.5 * (low + high)
            low, high = (
                (middle, high) if parts @ np.exp(middle * logs) > PART * np.sum(parts) else (low, middle)
            )
        return high

    more, around = steps(assumed.rate), [steps(assumed.rate * (1.0 + sign * SAME)) for sign in (1.0, -1.0)]
    if not all(map(math.isfinite, (more, *around))):
        return _MODES.silent(
            "nothing of the loss is left that descent could take away, or steps are too large"
        )
    return _MODES.says(
        f"{more:.4g} more steps until {100 * PART:g} % is left of what the loss is above the least",
        more, around[0], around[1],
        f"η to {SAME:g} of itself",
    )  # fmt: skip


# The largest step ------------------------------------------------------------------------------------------

_STEP = _Source(
    "largest step", "learning rate", "notes.learning-rate", "memo90 eq. 64, at a fixed step: η < 2/λ_max"
)


def _step(assumed: Assumed) -> Suggestion:
    why = _why(assumed, [assumed.descent, assumed.no_momentum])
    if why:
        return _STEP.silent(f"2/sharpness is for descent without momentum ({why})")
    shift = 0.0 if math.isnan(assumed.decay) else assumed.decay
    top = float(assumed.looks.sharpness[-1]) + shift
    if not top > 0.0:
        return _STEP.silent("no eigenvalue of the Hessian is known to be positive at the end")
    size = assumed.run.flat.shape[1]
    off = LANCZOS if size > DENSE else 10.0 * size * 2.0**-52
    largest = 2.0 / top
    least = 2.0 / max(float(np.nanmax(assumed.looks.sharpness)) + shift, top)
    taken = f"; {short(assumed.rate)} was taken" if assumed.rate > 0 else ""
    along = f", {short(least)} at the sharpest checkpoint" if least < 0.99 * largest else ""
    return _STEP.says(
        f"η below {short(largest)} at the end{along}{taken}", largest, largest / (1.0 + off), largest,
        f"the eigenvalue to {short(off)}; it is that of the checkpoint and says nothing of later ones",
    )  # fmt: skip


# The transient ---------------------------------------------------------------------------------------------

_RHO = _Source("transient left", "steps", "memo112.transient", "memo112 eq. 5; ρ_eq is eq. 6")


def _transient(assumed: Assumed) -> Suggestion:
    why = _why(assumed, [assumed.square, assumed.homogeneous(2), assumed.alone, *assumed.plain])
    if why:
        return _RHO.silent(why)
    degrees = {one.degree for one in assumed.probed.layers}
    if degrees != {1.0}:
        return _RHO.silent(
            f"layers have degrees {', '.join(f'{d:g}' for d in sorted(degrees))}, eq. 5 asks for 1"
        )
    sizes = np.sqrt(assumed.once(norms))
    apart = float(np.max(sizes[-1]) / np.min(sizes[-1])) - 1.0
    if apart > EQUAL:
        return _RHO.silent(f"layer norms differ by {100 * apart:.2g} %, eq. 5 asks for equal ones")
    loss, depth = assumed.run.problem.loss, sizes.shape[1]
    unit = (0.5 if getattr(loss, "half", False) else 1.0) / (
        len(assumed.looks.inputs) if loss.reduction == "mean" else 1
    )

    def frozen(index: int) -> tuple[float, float]:
        """(steps until ρ is a part of ρ_eq, ρ_eq), from the last norm, with the directions of a checkpoint."""
        f = assumed.looks.outputs[index] / np.prod(sizes[index])
        pull, power = float(np.sum(f * assumed.looks.targets.reshape(f.shape))), float(np.sum(f * f))
        if not (pull > 0.0 and power > 0.0):
            return math.inf, 0.0
        norm, now = NormDynamics(depth, pull, power), float(np.prod(sizes[-1]))
        if now >= GROWN * norm.equilibrium:
            return 0.0, norm.equilibrium
        return norm.hitting_time(now, GROWN * norm.equilibrium) / (unit * assumed.rate), norm.equilibrium

    (left, goal), (before, _) = frozen(assumed.count - 1), frozen(assumed.count // 2)
    now = float(np.prod(sizes[-1]))
    if not math.isfinite(left):
        return _RHO.silent("Σ y_n f_n ≤ 0: with these directions ρ does not grow")
    both = sorted((left, before if math.isfinite(before) else left))
    words = f"ρ = {short(now)} of ρ_eq = {short(goal)}"
    words += ": it is over" if left == 0.0 else f": {short(left)} steps until it is half of it"
    return _RHO.says(
        words,
        left,
        both[0],
        both[1],
        "directions as they are now, and as they were half-way; that they stand still is assumed",
    )


# The margin ------------------------------------------------------------------------------------------------

_LARGEST = _Source(
    "margin to be gained", "margin", "memo90.log-margin", "memo90 eq. 4; the largest is that of notes.srebro"
)


def _margin(assumed: Assumed) -> Suggestion:
    why = _why(assumed, [assumed.exponential_tail, assumed.linear, assumed.alone])
    why = why or _why(assumed, [assumed.separable, assumed.descent, assumed.no_decay])
    if why:
        return _LARGEST.silent(
            f"the largest margin is known of linear models only, under an exponential tail ({why})"
        )
    svm, end = assumed.svm, assumed.run.flat[-1]
    size = float(np.linalg.norm(end))
    if svm is None or not size > 0.0:
        return _LARGEST.silent("the weights are 0")
    reached = float(np.min(assumed.rows @ end)) / size
    left, bar = svm.margin - reached, svm.margin * (abs(svm.gap) + svm.kkt_residual)
    return _LARGEST.says(
        f"{short(left)}: {short(reached)} of {short(svm.margin)} is reached ({100 * reached / svm.margin:.3g} %), and "
        "what is left falls like 1/log t",
        left, left - bar, left + bar, "the duality gap of the largest margin",
    )  # fmt: skip
