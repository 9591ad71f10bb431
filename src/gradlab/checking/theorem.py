"""A theorem held against a run: where its hypotheses held, what it predicts there, what was measured, the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.checking.assumed import Assumed
from gradlab.checking.hypotheses import Assumption

HOLDS, REFUTED, UNDECIDED = "holds", "refuted", "undecided"
NOT_APPLICABLE, UNKNOWN = "not applicable", "unknown"
VERDICTS = (HOLDS, REFUTED, UNDECIDED, NOT_APPLICABLE, UNKNOWN)


@dataclass(frozen=True)
class Measured:
    """A number with its bar, and the most it may be.

    Attributes
    ----------
    predicted, words : what the theorem says, and what was seen.
    number, bar, most : the theorem says number ≤ most; the number is known to ± bar.
    why : where it cannot be decided whatever the number, the reason; else empty.
    """

    predicted: str
    words: str
    number: float
    bar: float
    most: float
    why: str = ""

    @property
    def verdict(self) -> str:
        if self.why or not math.isfinite(self.number + self.bar + self.most):
            return UNDECIDED
        if self.number + self.bar <= self.most:
            return HOLDS
        return REFUTED if self.number - self.bar > self.most else UNDECIDED


@dataclass(frozen=True)
class Theorem:
    """What a row is made from.

    Attributes
    ----------
    claim, sentence : of the catalogue. title : in a few words; where the theorem is a corollary, of what.
    hypotheses : of an Assumed. measure : (Assumed, checkpoints of the interval) → Measured.
    least : checkpoints that an interval needs. at_end : whether it speaks of the run's last checkpoint only.
    """

    claim: str
    sentence: str
    title: str
    hypotheses: Callable[[Assumed], Sequence[Assumption]]
    measure: Callable[[Assumed, np.ndarray], Measured]
    least: int = 2
    at_end: bool = False


@dataclass(frozen=True)
class Stated:
    """A hypothesis in a row: ``status`` is holds, broken or unknown; ``when`` it broke, as far as that changes.

    ``step`` is where the words are of, None where the number is the same throughout.
    """

    name: str
    status: str
    words: str
    value: float | None
    relation: str
    bound: float | None
    step: int | None
    when: str
    remedy: str


@dataclass(frozen=True)
class Judgement:
    """A theorem and this run.

    Attributes
    ----------
    claim, sentence, title : which theorem. verdict : one of VERDICTS.
    hypotheses : of each what was measured.
    interval : (first, last) step between which all held; None where they never did.
    why : of not applicable and unknown, which hypothesis broke and at which step, or what is missing.
    change : what would have to change for it to apply, or to apply to the end.
    measured : what was seen, None where the theorem does not apply.
    timeline : (name, (T,) status) of every hypothesis.
    """

    claim: str
    sentence: str
    title: str
    verdict: str
    hypotheses: tuple[Stated, ...]
    interval: tuple[int, int] | None
    why: str
    change: str
    measured: Measured | None
    timeline: tuple[tuple[str, tuple[int, ...]], ...]


def longest(held: np.ndarray) -> np.ndarray:
    """Indices of the longest run of True, the last one among equals."""
    best, begin = (0, 0), None
    for i, true in enumerate([*held.tolist(), False]):
        if true and begin is None:
            begin = i
        elif not true and begin is not None:
            best = (begin, i) if i - begin >= best[1] - best[0] else best
            begin = None
    return np.arange(*best)


def judged(theorem: Theorem, assumed: Assumed) -> Judgement:
    """The row of a theorem: it is measured only where every hypothesis is known to hold."""
    hypotheses = list(theorem.hypotheses(assumed))
    table = np.stack([one.status for one in hypotheses])
    every, steps = np.arange(table.shape[1]), assumed.run.steps
    if theorem.at_end:  # of the last checkpoint, with what must have held all along
        lasting = np.array([not one.momentary for one in hypotheses])
        table = np.where(lasting[:, None], np.min(np.abs(table) * table, axis=1, keepdims=True), table)
    allowed = every == every[-1] if theorem.at_end else np.ones(len(every), bool)
    within = longest(np.all(table == 1, axis=0) & allowed)
    applies = len(within) >= theorem.least
    where = within if applies else every
    said = tuple(
        _said(
            one, every[-1:] if theorem.at_end and one.momentary else every if theorem.at_end else where, steps
        )
        for one in hypotheses
    )
    timeline = tuple((one.name, tuple(map(int, one.status))) for one in hypotheses)
    common = (theorem.claim, theorem.sentence, theorem.title)
    if not applies:
        broken = [one for one in said if one.status == "broken"]
        always = [one for one in broken if not one.when.startswith(("until", "from", "first"))]
        broken = always or broken
        missing = [one for one in said if one.status == "unknown"]
        word = NOT_APPLICABLE if broken else UNKNOWN
        why = "; ".join(_broke(one) for one in broken) or "; ".join(one.words for one in missing)
        if not (broken or missing):  # each held, but never long enough together
            word, why = (
                NOT_APPLICABLE,
                f"its hypotheses held together at fewer than {theorem.least} checkpoints in a row",
            )
        change = "; ".join(dict.fromkeys(one.remedy for one in broken + missing))
        return Judgement(*common, word, said, None, why, change, None, timeline)
    found = theorem.measure(assumed, within)
    interval = (int(steps[within[0]]), int(steps[within[-1]]))
    after = [] if theorem.at_end else [_said(one, every, steps) for one in hypotheses]
    late = [one for one in after if one.status == "broken" and one.when]
    why = "; ".join([*([found.why] if found.why else []), *(_broke(one) for one in late)])
    change = "; ".join(dict.fromkeys(one.remedy for one in late))
    return Judgement(*common, found.verdict, said, interval, why, change, found, timeline)


def _broke(one: Stated) -> str:
    return f"{one.words} {one.when}".rstrip()


def _when(status: np.ndarray, steps: np.ndarray, at: int, where: np.ndarray) -> str:
    """``until step 40``, ``from step 7 on``, or where it came nearest."""
    known = [int(i) for i in where if status[i] >= 0]
    holds = [i for i in known if status[i] == 1]
    broken = [i for i in known if status[i] == 0]
    if not holds:
        return f"at step {steps[at]}"
    if broken[-1] < holds[0]:
        return f"until step {steps[broken[-1]]}"
    if holds[-1] < broken[0]:
        return f"from step {steps[broken[0]]} on"
    return f"first at step {steps[broken[0]]}, at {len(broken)} of {len(known)} checkpoints"


def _said(one: Assumption, where: np.ndarray, steps: np.ndarray) -> Stated:
    status, at = one.status[where], one.decisive(where)
    if at is None or (np.any(status == -1) and not np.any(status == 0)):
        return Stated(
            one.name, "unknown", one.unknown or "not known", None, one.relation, None, None, "", one.remedy
        )
    broken = bool(np.any(status == 0))
    constant = len(np.unique(one.values)) == 1
    when = _when(one.status, steps, at, where) if broken and not constant else ""
    return Stated(
        one.name, "broken" if broken else "holds", one.said(where), _finite(one.values[at]), one.relation,
        _finite(one.bound[at]), None if constant else int(steps[at]), when, one.remedy,
    )  # fmt: skip


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
