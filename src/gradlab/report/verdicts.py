"""What a page says of one claim: its verdict in words, the numbers that decided it, where it came from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gradlab.claims.judging import (
    EXACT,
    INCONCLUSIVE,
    MISPRINT,
    NOT_MET,
    REFUTED,
    SUPPORTED,
    UNASKED,
    UNCERTAIN,
)
from gradlab.report import mathematics, numbers
from gradlab.report.drawing import Drawing, drawing

ERROR = "error"
PENDING = "to come"

#: Every word a claim can have, in the order of the summary, with the name of its colour and mark.
KINDS: Mapping[str, str] = {
    SUPPORTED: "supported",
    REFUTED: "refuted",
    INCONCLUSIVE: "inconclusive",
    NOT_MET: "unmet",
    ERROR: "error",
    PENDING: "pending",
}

#: The verdict on a measured hypothesis, in words of its own.
_HYPOTHESIS: Mapping[str, tuple[str, str]] = {
    SUPPORTED: ("met", "supported"),
    REFUTED: ("not met", "unmet"),
    INCONCLUSIVE: ("undecided", "inconclusive"),
}

#: What is said of a part that no case asks, and of printed forms.
_BESIDE: Mapping[str, tuple[str, str]] = {
    UNASKED: ("not asked", "unmet"),
    EXACT: ("print exact", "supported"),
    MISPRINT: ("misprint", "misprint"),
    UNCERTAIN: ("text uncertain", "unmet"),
    REFUTED: ("print refuted", "refuted"),
    INCONCLUSIVE: ("print undecided", "inconclusive"),
    NOT_MET: ("print not asked", "unmet"),
}

#: What a number is for, where it is no part of the substance.
_ROLES: Mapping[str, str] = {"print": "as printed", "control": "control"}

MEANINGS: Mapping[str, str] = {
    SUPPORTED: "every number asked of the substance, with its whole error bar, satisfies its relation",
    REFUTED: "some number violates its relation by more than its error: the statement is false as it stands",
    INCONCLUSIVE: "some error bar straddles its tolerance, a number could not be had, or a control failed",
    NOT_MET: "no case meets the hypotheses, so nothing could be asked",
    ERROR: "the study itself failed; nothing is said about the claim",
    PENDING: "not run yet",
}


@dataclass(frozen=True)
class Row:
    """One measured part, or one measured hypothesis."""

    id: str
    statement: Markup
    word: str
    kind: str
    number: Markup
    needed: Markup
    case: str
    count: str
    why: Markup
    role: str = ""
    changed: str = ""


@dataclass(frozen=True)
class Said:
    """One sentence of the source: what came of it, and of its printed form."""

    text: Markup
    passage: Markup | None
    word: str
    kind: str
    print_word: str
    print_kind: str
    parts: list[Row]


@dataclass
class Entry:
    """Everything the page shows of one claim."""

    anchor: str
    id: str
    source: str
    statement: Markup
    word: str
    kind: str
    formula: Markup | None = None
    passage: Markup | None = None
    convention: Markup | None = None
    hypotheses: list[Markup] = field(default_factory=list)
    corrects: str | None = None
    corrected_by: list[str] = field(default_factory=list)
    deciding: Row | None = None
    sentence: str = ""
    headline: str = ""
    print_word: str = ""
    print_kind: str = ""
    repair: Markup | None = None
    repair_kind: str = ""
    proof: str = ""
    proof_name: str = ""
    said: list[Said] = field(default_factory=list)
    controls: list[Row] = field(default_factory=list)
    measured: list[Row] = field(default_factory=list)
    drawing: Drawing | None = None
    seconds: str = ""
    settings: Markup | None = None
    provenance: str = ""
    error: str = ""
    failure: str = ""


def anchor(identifier: str) -> str:
    """The id of a claim's section."""
    return "claim-" + (re.sub(r"[^A-Za-z0-9.-]+", "-", identifier).strip("-") or "unnamed")


def waiting(study: Any, sources: Mapping[str, str]) -> Entry:
    """A claim that has not been run yet; `study` may also be its id."""
    if isinstance(study, str):
        return _described(None, study, sources, PENDING)
    return _described(study.claim, study.claim.id, sources, PENDING)


def entry(result: Any, sources: Mapping[str, str], drawn: dict[str, Drawing]) -> Entry:
    """A claim with its result; the figure is taken from `drawn` or drawn and put there."""
    claim, verdict = result.claim, result.verdict
    word = verdict.verdict if verdict is not None else ERROR
    made = _described(claim, claim.id, sources, word)
    made.seconds = numbers.seconds(result.seconds)
    made.settings = mathematics.prose(result.settings) if result.settings else None
    made.provenance = _short_provenance(result)
    if verdict is None:
        made.error = str(result.error or "no verdict and no message").strip()
        made.failure = made.error.splitlines()[-1]
        return made
    made.measured = [_row(part, _HYPOTHESIS) for part in verdict.hypotheses]
    made.said = [_said(one, verdict, claim) for one in verdict.sentences]
    made.controls = [_row(part) for part in verdict.parts if part.role == "control"]
    made.headline = verdict.headline
    made.print_word, made.print_kind = _BESIDE[verdict.print] if verdict.print else ("", "")
    if verdict.repair is not None:
        made.repair, made.repair_kind = mathematics.prose(verdict.repair.text), verdict.repair.kind
    if verdict.verdict == REFUTED or verdict.print == MISPRINT:
        made.proof_name, made.proof = _proof(claim.id)
    made.deciding, made.sentence = _row(verdict.deciding), _sentence(verdict.deciding, word)
    if claim.id not in drawn:
        drawn[claim.id] = _figure(result, made.anchor)
    made.drawing = drawn[claim.id]
    return made


def _proof(claim_id: str) -> tuple[str, str]:
    """The name and text of the claim's proof in exact arithmetic, where this is a checkout that has one."""
    path = Path(__file__).resolve().parents[3] / "docs" / "proofs" / f"{claim_id}.py"
    return (f"docs/proofs/{path.name}", path.read_text(encoding="utf-8")) if path.is_file() else ("", "")


def _said(one: Any, verdict: Any, claim: Any) -> Said:
    first = claim.sentences[0].id
    parts = [part for part in verdict.parts if part.role != "control" and (part.sentence or first) == one.id]
    beside = _BESIDE[one.print] if one.print else ("", "")
    word = one.verdict if any(part.role == "part" for part in parts) else ""
    return Said(
        text=mathematics.prose(one.text),
        passage=mathematics.prose(one.passage) if one.passage else None,
        word=word or "not tested",
        kind=KINDS.get(word, "unmet"),
        print_word=beside[0],
        print_kind=beside[1],
        parts=[_row(part) for part in parts],
    )


def _described(claim: Any, identifier: str, sources: Mapping[str, str], word: str) -> Entry:
    code = claim.source if claim is not None else identifier.split(".")[0]
    made = Entry(
        anchor=anchor(identifier),
        id=identifier,
        source=sources.get(code, code),
        statement=mathematics.prose(claim.statement if claim is not None else identifier),
        word=word,
        kind=KINDS.get(word, "inconclusive"),
    )
    if claim is not None:
        made.formula = mathematics.block(claim.formula) if claim.formula.strip() else None
        made.passage = mathematics.prose(claim.passage) if claim.passage else None
        made.convention = mathematics.prose(claim.convention) if claim.convention else None
        made.hypotheses = [mathematics.prose(hypothesis) for hypothesis in claim.hypotheses]
        made.corrects = claim.corrects
    return made


def _figure(result: Any, name: str) -> Drawing:
    try:
        drawn = drawing(result.figure(), f"figure-{name}")
        # a link to a claim is to its section, not to a part of the drawing
        linked = re.sub(
            rf'href="#figure-{re.escape(name)}-(claim-[^"]+)" target="_blank"', r'href="#\1"', str(drawn.svg)
        )
        return replace(drawn, svg=Markup(linked))
    except Exception as error:  # a study's own drawing must not cost the reader the page
        return Drawing(Markup(""), f"The figure could not be drawn: {type(error).__name__}: {error}")


def _row(part: Any, words: Mapping[str, tuple[str, str]] | None = None) -> Row:
    resolution = 0.0
    if part.number is not None:
        edges = (part.tolerance,) if part.relation != "==" else (part.target, part.target + part.tolerance)
        resolution = min((abs(part.number - edge) for edge in edges if part.number != edge), default=0.0)
    word, kind = (words or {}).get(part.verdict, (part.verdict, KINDS.get(part.verdict, "inconclusive")))
    return Row(
        id=part.id,
        statement=mathematics.prose(part.statement),
        word=word,
        kind=kind,
        number=mathematics.superscripts(numbers.measured(part.number, part.error, resolution)),
        needed=mathematics.superscripts(numbers.required(part.relation, part.tolerance, part.target)),
        case=part.case,
        count=part.count,
        why=mathematics.prose(part.why.rstrip(". ")),
        role=_ROLES.get(part.role, ""),
        changed=part.changed,
    )


def _sentence(part: Any, word: str) -> str:
    """Why the verdict is `word`, in one sentence about the part that decided it."""
    case = f"“{part.case}”" if part.case else "The deciding case"
    if part.role == "control":
        return (
            f"A control failed in {case}: the study could not have seen a violation, so nothing is supported."
        )
    if word == SUPPORTED:
        beside = f", {part.outside} outside the hypotheses" if part.outside else ""
        every = (
            f"In all {part.asked} cases asked{beside},"
            if part.asked > 1
            else f"In the one case asked{beside}"
        )
        return f"{every} the whole error bar satisfies the relation; {case} comes closest{_room(part)}."
    if word == REFUTED:
        return f"{case} violates the relation by more than its error{_room(part)}."
    if word == NOT_MET:
        return f"No case meets the hypotheses; {case} does not certainly meet this one, so nothing could be asked."
    if part.number is None or part.error is None:
        return f"{case} gave no finite number or no finite error, so nothing can be said."
    return f"The error bar of {case} reaches across the tolerance."


def _room(part: Any) -> str:
    """How far inside or outside the tolerance, as a factor, where a factor means something."""
    if part.number is None:
        return ""
    distance = abs(part.number - part.target) if part.relation == "==" else part.number
    if not (distance > 0.0 and part.tolerance > 0.0 and math.isfinite(distance)):
        return ""
    inside = part.tolerance / distance if part.relation != ">=" else distance / part.tolerance
    factor = inside if part.verdict == SUPPORTED else 1.0 / inside
    if not 1.5 <= factor < math.inf:
        return ""
    where = "inside" if part.verdict == SUPPORTED else "outside"
    return f", a factor {numbers.plain(factor, 2)} {where} the tolerance"


def _short_provenance(result: Any) -> str:
    known = result.provenance or {}
    versions = known.get("versions")
    facts = [f"seed {result.seed}"]
    facts += [f"{known['budget']} budget"] if known.get("budget") else []
    if cores := known.get("cores"):
        facts.append(f"{cores} core{'s' if cores != 1 else ''}")
    facts.append(numbers.seconds(result.seconds))
    if isinstance(versions, Mapping):
        facts.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    return " · ".join(facts)
