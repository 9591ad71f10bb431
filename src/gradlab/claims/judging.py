"""The judge: one function of a table of numbers, errors and tolerances. Nothing else enters a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from gradlab.claims.claim import Claim, Measure, Repair, Sentence

SUPPORTED = "supported"
REFUTED = "refuted"
INCONCLUSIVE = "inconclusive"
NOT_MET = "hypotheses not met"
UNASKED = "not asked"

#: From the weakest to the one that decides, of the parts of a sentence and of the sentences of a claim.
DECIDING_ORDER = (UNASKED, SUPPORTED, NOT_MET, INCONCLUSIVE, REFUTED)

#: Asked of a case only where it fails: its run is no gradient flow of its loss, and no verdict is drawn from it.
BALANCE = Measure(
    "energy_balance",
    "The run is the gradient flow of its loss: what the loss fell by is ∫ ‖∇L‖² dt (1 if not)",
    "<=",
    0.5,
    "the laboratory says it, with its bar",
    role="hypothesis",
    exact=True,
)

#: What is said of a printed form, beside the verdict on its substance.
EXACT, MISPRINT, UNCERTAIN = "exact", "misprint", "text uncertain"


@dataclass(frozen=True)
class Part:
    """What came of one measure: the number of its deciding case, and in how many cases it held.

    ``cases`` is how many there were; ``asked`` those of which the statement says something and that meet the
    hypotheses, ``held`` those of them where it held, ``outside`` those of which it says something, outside the
    hypotheses.
    """

    id: str
    statement: str
    role: str
    sentence: str
    relation: str
    number: float | None
    error: float | None
    tolerance: float
    target: float
    exact: bool
    verdict: str
    case: str
    cases: int
    asked: int
    held: int
    outside: int
    why: str
    changed: str = ""

    @property
    def count(self) -> str:
        """Holds in k of m asked (n − m outside the hypotheses)."""
        if not self.asked and not self.outside:
            return f"not asked in any of {self.cases} cases"
        beside = f" ({self.outside} outside the hypotheses)" if self.outside else ""
        return f"holds in {self.held} of {self.asked} asked{beside}"


@dataclass(frozen=True)
class Found:
    """What came of one sentence: its substance, its printed form, and the part that decided the substance."""

    id: str
    text: str
    passage: str
    verdict: str
    print: str
    part: str


@dataclass(frozen=True)
class Verdict:
    """A Verdict is what a study says: the substance in ``verdict``, the printed form in ``print``, and every number.

    ``part`` names the measure of the deciding number: a part, a control that failed, or, where the verdict is
    ``hypotheses not met``, the hypothesis that failed. ``repair`` is the claim's where something failed.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import gradlab as gl
    >>> measure = gl.claims.Measure("loss", "L at the end", "<=", 1.0, "the source says it")
    >>> columns = {"loss": ("case", np.array([0.5, 2.0])), "loss_error": ("case", np.array([0.1, 0.1]))}
    >>> seen = xr.Dataset(columns, coords={"case": ["a", "b"]})
    >>> verdict = gl.claims.judge([measure], seen)
    >>> verdict.deciding.case, verdict.deciding.count
    ('b', 'holds in 1 of 2 asked')
    """

    verdict: str
    print: str
    repair: Repair | None
    part: str
    number: float | None
    error: float | None
    tolerance: float
    asked: int
    sentences: tuple[Found, ...]
    parts: tuple[Part, ...]
    hypotheses: tuple[Part, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, no NaN: ready for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Verdict:
        """The verdict whose :meth:`as_dict` this is."""
        lists = {one: tuple(Part(**part) for part in content[one]) for one in ("parts", "hypotheses")}
        repair = None if content["repair"] is None else Repair(**content["repair"])
        sentences = tuple(Found(**one) for one in content["sentences"])
        return cls(**{**content, **lists, "repair": repair, "sentences": sentences})

    @property
    def deciding(self) -> Part:
        """The part whose number decided."""
        return next(part for part in (*self.parts, *self.hypotheses) if part.id == self.part)

    @property
    def headline(self) -> str:
        """How many sentences hold, and which fails."""
        tested = [one for one in self.sentences if one.verdict != UNASKED]
        if not tested:
            return "nothing of it could be asked"
        held = sum(one.verdict == SUPPORTED for one in tested)
        whole = "it holds" if len(tested) == 1 else f"all {held} sentences hold"
        words = whole if held == len(tested) else f"{held} of {len(tested)} sentences hold"
        for said, word in (
            ("false", REFUTED),
            ("undecided", INCONCLUSIVE),
            ("outside its hypotheses", NOT_MET),
        ):
            words += "".join(f"; {said}: “{one.text.rstrip('.')}”" for one in tested if one.verdict == word)
        if held == len(tested) and self.verdict == INCONCLUSIVE:
            words += f"; undecided, since a control does not hold: “{self.deciding.statement}”"
        if self.print != MISPRINT:
            return words
        printed = [one for one in self.sentences if one.print == MISPRINT]
        # where nothing but the print is asked of a sentence it may be that of another document
        aside = "" if any(one.verdict != UNASKED for one in printed) else f", in {printed[0].passage}"
        return f"{words}; a misprint beside{aside}"


def compare(
    relation: str, number: float, error: float, tolerance: float, target: float = 0.0
) -> tuple[str, float]:
    """The verdict of one number, and how far it is from deciding (larger is worse).

    With error bar e: supported if the whole bar [number − e, number + e] satisfies the relation, refuted
    if none of it does, inconclusive if it straddles the tolerance or if number, error or tolerance is not
    finite: a number that cannot be shown decides nothing.
    """
    if not (math.isfinite(number) and math.isfinite(tolerance) and math.isfinite(error)):
        return INCONCLUSIVE, math.inf
    if relation == "<=":
        excess = number - tolerance
    elif relation == ">=":
        excess = tolerance - number
    elif relation == "==":
        excess = abs(number - target) - tolerance
    else:
        raise ValueError(f"unknown relation {relation!r}: write '<=', '>=' or '=='")
    if excess + error <= 0.0:
        return SUPPORTED, excess + error
    if excess - error > 0.0:
        return REFUTED, excess
    return INCONCLUSIVE, excess


@dataclass(frozen=True)
class Column:
    """The numbers of one measure over all cases, and what each says by itself: nothing of hypotheses yet."""

    measure: Measure
    number: np.ndarray
    error: np.ndarray
    tolerance: np.ndarray
    asked: np.ndarray
    words: np.ndarray

    @classmethod
    def of(cls, measure: Measure, dataset: xr.Dataset) -> Column:
        """The columns ``<id>``, ``<id>_error``, ``<id>_tolerance``, ``<id>_asked`` and ``<id>_exact``.

        A bar of exactly 0 that is not called exact is unknown; the largest bar of the other cases stands for it.

        Raises
        ------
        ValueError
            If a column is missing or not float64, a bar is negative, or no case has a bar though none is exact.
        """
        name, count = measure.id, dataset.sizes["case"]
        number, asked = _values(dataset, name), _values(dataset, f"{name}_asked", np.ones(count)) > 0.5
        exact = _values(dataset, f"{name}_exact", np.full(count, float(measure.exact))) > 0.5
        if f"{name}_error" not in dataset and not exact.all():
            raise ValueError(
                f"measure {name!r} has no error bar: give {name}_error, or call the number exact if it has no error"
            )
        error = _values(dataset, f"{name}_error", np.zeros(count))
        tolerance = _values(dataset, f"{name}_tolerance", np.full(count, measure.tolerance))
        tolerance = np.where(np.isnan(tolerance), measure.tolerance, tolerance)
        if (error[asked] < 0.0).any():
            where = str(dataset["case"].values[asked & (error < 0.0)][0])
            raise ValueError(f"measure {name!r}, case {where!r}: the error bar is negative; it is a size")
        unknown = asked & ~exact & (error == 0.0) & np.isfinite(number)
        others = error[asked & ~exact & np.isfinite(error) & (error > 0.0)]
        if unknown.any() and not others.size:
            raise ValueError(
                f"measure {name!r}: the bar is 0 in every case, so two looks saw no difference; a number without "
                "error is called exact (exact=True), any other needs a bar"
            )
        error = np.where(unknown, others.max() if others.size else 0.0, error)
        rows = zip(number, error, tolerance, asked, strict=True)
        words = [
            compare(measure.relation, float(n), float(e), float(t), measure.target)[0] if a else UNASKED
            for n, e, t, a in rows
        ]
        return cls(measure, number, error, tolerance, asked, np.asarray(words, dtype=object))

    def within(self, met: np.ndarray) -> Column:
        """The same, ``hypotheses not met`` wherever something is asked outside the hypotheses."""
        words = np.where(self.asked & ~met, NOT_MET, self.words)
        return Column(self.measure, self.number, self.error, self.tolerance, self.asked, words)

    def rank(self, i: int) -> tuple[int, float, float]:
        """What the worst is the largest of: the verdict, then how far beyond in tolerances, then the far end.

        The far end of the error bar parts numbers so far below their tolerance that both round to the same.
        """
        relation, target = self.measure.relation, self.measure.target
        number, error, tolerance = (float(one[i]) for one in (self.number, self.error, self.tolerance))
        _, excess = compare(relation, number, error, tolerance, target)
        far = {"<=": number, ">=": -number, "==": abs(number - target)}[relation] + error
        scale = abs(tolerance) if tolerance else 1.0
        return DECIDING_ORDER.index(self.words[i]), excess / scale, far if math.isfinite(far) else math.inf

    def decider(self) -> int:
        """The deciding case: the first of the worst. A case that is not asked never decides where one is asked."""
        return max(range(len(self.words)), key=self.rank)

    def part(self, labels: Sequence[str]) -> Part:
        """The measure judged. Where a case meets the hypotheses, those outside them hide nothing."""
        words, measure = self.words, self.measure
        inside = [one for one in words if one not in (UNASKED, NOT_MET)]
        kept = self
        if inside:
            kept = Column(
                measure,
                self.number,
                self.error,
                self.tolerance,
                self.asked,
                np.where(words == NOT_MET, UNASKED, words),
            )
        i = kept.decider()
        tolerance = float(self.tolerance[i])
        return Part(
            id=measure.id,
            statement=measure.statement,
            role=measure.role,
            sentence=measure.sentence,
            relation=measure.relation,
            number=_finite(self.number[i]),
            error=_finite(self.error[i]),
            tolerance=tolerance if math.isfinite(tolerance) else measure.tolerance,
            target=measure.target,
            exact=bool(self.error[i] == 0.0),
            verdict=str(kept.words[i]),
            case=labels[i],
            cases=len(labels),
            asked=len(inside),
            held=inside.count(SUPPORTED),
            outside=int(np.sum(words == NOT_MET)),
            why=measure.why,
            changed=measure.changed,
        )


def columns(measures: Sequence[Measure], dataset: xr.Dataset) -> dict[str, Column]:
    """Every measure's numbers and what each case says, hypotheses taken into account.

    Raises
    ------
    ValueError
        If there is no case, or a column is not as :meth:`Column.of` asks.
    """
    if not dataset.sizes.get("case") or "case" not in dataset.coords:
        raise ValueError(
            f"a judge takes numbers over labelled cases; the dataset has dims {dict(dataset.sizes)} and "
            f"coordinates {sorted(map(str, dataset.coords))}: collect at least one case"
        )
    asked = (*measures, BALANCE) if BALANCE.id in dataset else measures
    found = {measure.id: Column.of(measure, dataset) for measure in asked}
    met = np.ones(dataset.sizes["case"], dtype=bool)
    for column in found.values():
        if column.measure.role == "hypothesis":
            met &= np.isin(column.words, (SUPPORTED, UNASKED))
    return {
        name: column if column.measure.role == "hypothesis" else column.within(met)
        for name, column in found.items()
    }


def judge(measures: Sequence[Measure], dataset: xr.Dataset, claim: Claim | None = None) -> Verdict:
    """``judge`` judges every case of every measure, then every sentence, then the claim; the worst decides.

    Parts, and sentences, combine by refuted > inconclusive > hypotheses not met > supported > not asked; a part that
    is asked of no case supports nothing. A control that does not hold makes of "supported" an "inconclusive".

    Raises
    ------
    ValueError
        As :func:`columns`; if there is no measure with role ``part``, or one speaks of a sentence that the claim
        does not have.

    Examples
    --------
    >>> import numpy as np
    >>> import xarray as xr
    >>> import gradlab as gl
    >>> measure = gl.claims.Measure("loss", "L at the end", "<=", 1.0, "the source says it")
    >>> columns = {"loss": ("case", np.array([0.5, 2.0])), "loss_error": ("case", np.array([0.1, 0.1]))}
    >>> seen = xr.Dataset(columns, coords={"case": ["a", "b"]})
    >>> gl.claims.judge([measure], seen).verdict, gl.claims.judge([measure], seen.isel(case=[0])).verdict
    ('refuted', 'supported')
    """
    labels = [str(label) for label in dataset["case"].values] if "case" in dataset.coords else []
    everything = [column.part(labels) for column in columns(measures, dataset).values()]
    hypotheses = tuple(part for part in everything if part.role == "hypothesis")
    parts = tuple(part for part in everything if part.role != "hypothesis")
    if not any(part.role == "part" for part in parts):
        raise ValueError("a study needs at least one measure with role 'part': its number decides")
    sentences = claim.sentences if claim is not None else (Sentence("statement", ""),)
    known = [one.id for one in sentences]
    for part in parts:
        if part.sentence and part.sentence not in known:
            raise ValueError(
                f"measure {part.id!r} speaks of sentence {part.sentence!r}; the claim has {', '.join(known)}"
            )
    repaired = {measure.id: measure.repaired for measure in measures}
    found = tuple(_sentence(one, one is sentences[0], parts, repaired) for one in sentences)
    verdict = max((one.verdict for one in found), key=DECIDING_ORDER.index)
    substance = [part for part in parts if part.role == "part"]
    if verdict in (UNASKED, NOT_MET):
        verdict, among = (
            NOT_MET,
            [part for part in hypotheses if part.verdict != SUPPORTED] or list(substance),
        )
    else:
        among = [part for part in substance if part.verdict == verdict]
    blind = [part for part in parts if part.role == "control" and part.verdict in (REFUTED, INCONCLUSIVE)]
    if blind and verdict == SUPPORTED:
        verdict, among = INCONCLUSIVE, blind
    decider = max(among, key=_severity)
    prints = [one.print for one in found if one.print]
    printed = max(prints, key=_PRINTS.index) if prints else ""
    return Verdict(
        verdict=verdict,
        print=printed,
        repair=claim.repair if claim and (verdict == REFUTED or printed == MISPRINT) else None,
        part=decider.id,
        number=decider.number,
        error=decider.error,
        tolerance=decider.tolerance,
        asked=decider.asked,
        sentences=found,
        parts=parts,
        hypotheses=hypotheses,
    )


#: What may be said of a printed form, from the best to the one that is shown first.
_PRINTS = (UNASKED, EXACT, MISPRINT, NOT_MET, INCONCLUSIVE, UNCERTAIN, REFUTED)


def _sentence(one: Sentence, first: bool, parts: Sequence[Part], repaired: Mapping[str, str]) -> Found:
    mine = [part for part in parts if part.sentence == one.id or (first and not part.sentence)]
    substance = [part for part in mine if part.role == "part"]
    decider = max(substance, key=_severity) if substance else None
    verdicts = {part.id: part.verdict for part in parts}
    prints = [_printed(part, verdicts.get(repaired[part.id], "")) for part in mine if part.role == "print"]
    word = max(prints, key=_PRINTS.index) if prints else ""
    return Found(
        id=one.id,
        text=one.text,
        passage=one.passage,
        verdict=decider.verdict if decider else UNASKED,
        print=UNCERTAIN if one.uncertain and word not in ("", EXACT) else word,
        part=decider.id if decider else "",
    )


def _printed(part: Part, repaired: str) -> str:
    """The printed form: exact, a misprint where its repaired form holds, else as its number says."""
    if part.verdict == SUPPORTED:
        return EXACT
    return MISPRINT if part.verdict == REFUTED and repaired == SUPPORTED else part.verdict


def _severity(part: Part) -> tuple[int, float, float]:
    number = math.nan if part.number is None else part.number
    error = math.nan if part.error is None else part.error
    _, excess = compare(part.relation, number, error, part.tolerance, part.target)
    far = {"<=": number, ">=": -number, "==": abs(number - part.target)}[part.relation] + error
    scale = abs(part.tolerance) if part.tolerance else 1.0
    return DECIDING_ORDER.index(part.verdict), excess / scale, far if math.isfinite(far) else math.inf


def _values(dataset: xr.Dataset, name: str, default: np.ndarray | None = None) -> np.ndarray:
    if name not in dataset:
        if default is None:
            known = ", ".join(sorted(map(str, dataset.data_vars)))
            raise ValueError(f"the dataset has no variable {name!r} to judge; it has: {known}")
        return default
    values = dataset[name].values
    if values.dtype != np.float64 or dataset[name].dims != ("case",):
        raise ValueError(
            f"{name!r} has dtype {values.dtype} and dims {dataset[name].dims}; a judge takes float64 over "
            "('case',): measure in float64"
        )
    return values


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
