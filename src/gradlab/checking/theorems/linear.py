"""Models that are linear in their weights, f = φ(x)·W: span of the data, least norm, ridge, and largest margin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from gradlab.analysis import solutions
from gradlab.checking.assumed import Assumed
from gradlab.checking.hypotheses import Assumption, always, short
from gradlab.checking.theorem import Measured, Theorem

#: A start counts as in the span, a run as arrived, at these parts of the solution's norm.
IN_SPAN, ARRIVED = 1e-3, 0.01
#: How far from ŵ log t the last decade may have moved, as a part of it; the loss from which on it is asked.
ALONG, LATE = 0.25, 0.1


def _usable(assumed: Assumed) -> bool:
    return bool(assumed.linear.status[0] == 1 and assumed.alone.status[0] == 1)


def _rows(assumed: Assumed) -> np.ndarray:
    """(r, P), an orthonormal basis of the span of the features."""
    left = np.linalg.svd(assumed.probed.features, full_matrices=False)[2]
    return left[: solutions.rank(assumed.probed.features)]


def _beside(assumed: Assumed, vectors: np.ndarray) -> np.ndarray:
    """What vectors (…, P) have beside the span of the features."""
    rows = assumed.once(_rows)
    return vectors - (vectors @ rows.T) @ rows


def _limit(assumed: Assumed) -> tuple[np.ndarray, np.ndarray]:
    """(φ⁺y, what the start has beside the span of φ): what the flow tends to is their sum."""
    targets = assumed.looks.targets.reshape(-1)
    least = solutions.minimum_norm(assumed.probed.features, targets[:, None])[0]
    return least, _beside(assumed, assumed.run.flat[0])


def arrived(assumed: Assumed) -> Assumption:
    """The part of the way that is left, ‖φ⁺(f − y)‖, against the solution's norm, at each checkpoint."""
    values = np.full(assumed.count, np.nan)
    if _usable(assumed) and assumed.square.status[0] == 1:
        least, kept = assumed.once(_limit)
        size = max(float(np.linalg.norm(least + kept)), 1e-300)
        values = np.linalg.norm((assumed.run.flat - least) @ assumed.once(_rows).T, axis=1) / size
    return Assumption(
        "arrived", values, "<=", np.full(assumed.count, ARRIVED), lambda v, b: f"{short(v)} of the way is left",
        "training on", "asked of linear models under the square loss only", momentary=True,
    )  # fmt: skip


def in_span(assumed: Assumed) -> Assumption:
    """What the start has beside the span of the features, against ‖φ⁺y‖."""
    value = math.nan
    if _usable(assumed) and assumed.square.status[0] == 1:
        least, kept = assumed.once(_limit)
        value = float(np.linalg.norm(kept)) / max(float(np.linalg.norm(least)), 1e-300)
    return always(
        assumed.count, "start in the span", value, "<=", IN_SPAN,
        lambda v, b: f"the start has {short(v)} of ‖φ⁺y‖ beside the span of the data", "a start at 0, or in the span",
        "asked of linear models under the square loss only",
    )  # fmt: skip


def _span(assumed: Assumed, within: np.ndarray) -> Measured:
    moves = assumed.run.flat[within] - assumed.run.flat[within[0]]
    out = float(np.max(np.linalg.norm(_beside(assumed, moves), axis=1)))
    size = max(float(np.max(np.linalg.norm(moves, axis=1))), 1e-300)
    steps = float(assumed.run.steps[within[-1]] - assumed.run.steps[within[0]])
    bar = (
        assumed.run.precision[1]
        * float(np.max(np.linalg.norm(assumed.run.flat, axis=1)))
        * (4.0 + 3.0 * math.sqrt(steps))
    )
    return Measured(
        "weights move in the span of the data only", f"{short(out / size)} of the motion is beside it",
        out / size, min(bar / size, 1.0), 1e-4,
        "" if len(assumed.once(_rows)) < moves.shape[1] else "the data span all directions: nothing is beside them",
    )  # fmt: skip


def _tends(assumed: Assumed, within: np.ndarray, start: bool) -> Measured:
    least, kept = assumed.once(_limit)
    wanted = least + kept if start else least
    end = assumed.run.flat[within[-1]]
    off = float(np.linalg.norm(end - wanted)) / max(float(np.linalg.norm(wanted)), 1e-300)
    left = float(arrived(assumed).values[within[-1]])
    told = "φ⁺y + (1 − φ⁺φ)W(0)" if start else "φ⁺y, the solution of least norm"
    return Measured(
        f"the limit is {told}", f"‖W − that‖ is {short(off)} of it at step {assumed.run.steps[within[-1]]}, "
        f"of which {short(left)} is way that is left", off, 100 * assumed.run.precision[1], ARRIVED + 2.0 * IN_SPAN,
    )  # fmt: skip


def _ridge_of(assumed: Assumed) -> np.ndarray:
    """The minimiser of factor Σ‖φW − y‖² + λ/2‖W‖²."""
    features, targets = assumed.probed.features, assumed.looks.targets.reshape(-1)
    loss = assumed.run.problem.loss
    factor = (0.5 if getattr(loss, "half", False) else 1.0) / (
        len(assumed.looks.inputs) if loss.reduction == "mean" else 1
    )
    return solutions.ridge(features, targets[:, None], assumed.decay, factor)[0]


def still(assumed: Assumed) -> Assumption:
    """‖∇L‖/λ, which bounds the distance to the minimiser, against its norm, at each checkpoint."""
    values = np.full(assumed.count, np.nan)
    if _usable(assumed) and assumed.square.status[0] == 1 and assumed.decay > 0:
        gradients = assumed.looks.gradients + assumed.decay * assumed.run.flat
        size = max(float(np.linalg.norm(assumed.once(_ridge_of))), 1e-300)
        values = np.linalg.norm(gradients, axis=1) / assumed.decay / size
    return Assumption(
        "arrived", values, "<=", np.full(assumed.count, 10 * ARRIVED),
        lambda v, b: f"at most {short(v)} of the way is left", "training on", "asked of linear models with decay only",
        momentary=True,
    )  # fmt: skip


def _ridge(assumed: Assumed, within: np.ndarray) -> Measured:
    wanted = assumed.once(_ridge_of)
    size = max(float(np.linalg.norm(wanted)), 1e-300)
    off = float(np.linalg.norm(assumed.run.flat[within[-1]] - wanted)) / size
    left = float(still(assumed).values[within[-1]])
    own = float(np.linalg.norm(assumed.run.flat[0] - wanted)) / size
    return Measured(
        f"the limit is the ridge solution, whatever the start; ‖∇L‖/λ leaves {short(left)}",
        f"‖W − that‖ is {short(off)} of it, {short(own)} at the start",
        off, 100 * assumed.run.precision[1], left * 1.001 + 200 * assumed.run.precision[1],
        "" if own > 3 * left else "the start was as near as the end: it cannot be told",
    )  # fmt: skip


def late(assumed: Assumed) -> Assumption:
    return Assumption(
        "late", assumed.looks.sum_risk, "<=", np.full(assumed.count, LATE),
        lambda v, b: f"Σ ℓ_n = {short(v)}, {'late' if v <= b else 'not yet below ' + short(b)}", "training on",
        momentary=True,
    )  # fmt: skip


def _direction(assumed: Assumed, within: np.ndarray) -> Measured:
    """w − ŵ log t is bounded: of the last factor in t, w has moved by ŵ times its logarithm."""
    svm, run = assumed.svm, assumed.run
    assert svm is not None
    end = within[-1]

    def off(late_: int, early: int) -> float:
        moved = run.flat[late_] - run.flat[early]
        wanted = svm.direction * math.log(run.steps[late_] / run.steps[early])
        return float(np.linalg.norm(moved - wanted) / np.linalg.norm(wanted))

    def before(at: int, factor: float) -> int:
        return int(np.argmin(np.abs(np.log(np.maximum(run.steps, 1) / run.steps[at] * factor))))

    middle = before(end, 10.0)
    if run.steps[middle] < 1 or run.steps[end] < 4 * run.steps[middle]:
        return Measured(
            "W/‖W‖ tends to the direction of largest margin", "the run is too short", math.nan, 0.0, ALONG
        )
    cosine = float(
        run.flat[end] @ svm.direction / np.linalg.norm(run.flat[end]) / np.linalg.norm(svm.direction)
    )
    reached = float(np.min(assumed.rows @ run.flat[end]) / np.linalg.norm(run.flat[end]) / svm.margin)
    now, half = off(end, middle), off(end, before(end, math.sqrt(10.0)))
    early = before(middle, 10.0)
    earlier = (
        off(middle, early) if run.steps[early] >= 1 and run.steps[middle] > 2 * run.steps[early] else math.inf
    )
    why = "it still nears it: train on" if now > ALONG and half < now < earlier else ""
    return Measured(
        f"W = ŵ log t + a bounded rest: its last decade is ŵ log 10 to {short(ALONG)}",
        f"off by {short(now)} of it; angle {math.degrees(math.acos(min(cosine, 1.0))):.2g}°, {100 * reached:.3g} % of "
        f"the largest margin {short(svm.margin)}", now, abs(now - half), ALONG, why,
    )  # fmt: skip


def _model(assumed: Assumed) -> Sequence[Assumption]:
    return [assumed.linear, assumed.alone, assumed.untied]


THEOREMS = (
    Theorem(
        "notes.span", "motion", "weights move in the span of the data",
        lambda a: [*_model(a), a.square, a.overparametrised, a.descent, a.no_decay, a.precise, a.no_jump], _span,
    ),
    Theorem(
        "notes.min-norm-corrected", "limit", "the limit keeps of the start what no example sees",
        lambda a: [*_model(a), a.square, *a.plain, arrived(a)], lambda a, w: _tends(a, w, True), least=1, at_end=True,
    ),
    Theorem(
        "notes.min-norm", "limit", "the limit is the solution of least norm",
        lambda a: [*_model(a), a.square, in_span(a), *a.plain, arrived(a)], lambda a, w: _tends(a, w, False),
        least=1, at_end=True,
    ),
    Theorem(
        "notes.ridge", "equilibrium", "with decay the limit is the ridge solution, whatever the start",
        lambda a: [*_model(a), a.square, a.descent, a.some_decay, a.small_step, a.precise, still(a)], _ridge,
        least=1, at_end=True,
    ),
    Theorem(
        "notes.srebro", "direction", "the direction tends to that of largest margin",
        lambda a: [*_model(a), a.exponential_tail, a.separable, *a.plain, late(a)], _direction, least=1, at_end=True,
    ),
)  # fmt: skip
