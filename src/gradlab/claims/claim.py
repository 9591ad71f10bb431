"""Claim, Sentence, Repair, Measure: what a source says, and what is asked of a number. Plain data, nothing heavy."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args

Relation = Literal["<=", ">=", "=="]
Role = Literal["part", "print", "hypothesis", "control"]

#: Repairs of a formula that is right up to one thing: the printed form is a misprint, the substance stands.
MISPRINTS = ("constant", "sign", "index", "transposition", "inverse")
#: Repairs of a statement that is false as it stands.
MENDED = ("added hypothesis", "other statement")

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Sentence:
    """A Sentence is a part of a claim that can hold or fail on its own, in the words of the source.

    ``passage`` where it differs from the claim's; ``uncertain`` where the text of the source is doubtful.

    Examples
    --------
    >>> import gradlab as gl
    >>> parts = gl.claims.Sentence("norm", "The norm grows."), gl.claims.Sentence("angle", "The angle shrinks.")
    >>> claim = gl.claims.Claim("mine.growth", "The norm grows and the angle shrinks.", sentences=parts)
    >>> [one.id for one in claim.sentences]
    ['norm', 'angle']
    """

    id: str
    text: str
    passage: str = ""
    uncertain: bool = False


@dataclass(frozen=True)
class Repair:
    """A Repair mends a claim that fails as printed: its kind (one of MISPRINTS or MENDED) and the mended text.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.claims.Repair("sign", "W' = −∇L").misprint
    True
    """

    kind: str
    text: str

    def __post_init__(self) -> None:
        if self.kind not in (*MISPRINTS, *MENDED):
            raise ValueError(
                f"a repair's kind was {self.kind!r}; write one of {', '.join((*MISPRINTS, *MENDED))}"
            )

    @property
    def misprint(self) -> bool:
        """Whether only the print fails."""
        return self.kind in MISPRINTS


@dataclass(frozen=True)
class Claim:
    """A Claim holds a statement of a source, with what it assumes.

    Attributes
    ----------
    id : ``source.name``, as in ``notes.span``.
    statement : the claim in words, as the source means it.
    formula : LaTeX, typeset as MathML in the report.
    passage : where in the source it stands (section, equation number).
    source : ``notes``, ``memo90``, …; what stands before the first dot of the id unless given.
    hypotheses : what the passage assumes, in words.
    convention : sum or mean, factors of two: under which reading the printed constants are tested.
    sentences : what can hold or fail on its own; the statement as one sentence unless given.
    repair : what mends it, where it fails as printed.
    corrects : the id of the claim that this one corrects, or None.
    kind : ``claim``, or ``figure`` for a figure whose caption is judged.
    file : the name of the study's file, where it is not the id's.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.claims.Claim("mine.growth", "The norm of the weights grows.").source
    'mine'
    """

    id: str
    statement: str
    formula: str = ""
    passage: str = ""
    source: str = ""
    hypotheses: tuple[str, ...] = ()
    convention: str = ""
    sentences: tuple[Sentence, ...] = ()
    repair: Repair | None = None
    corrects: str | None = None
    kind: str = "claim"
    file: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(
                f"a claim's id was {self.id!r}; write letters, digits, '-', '_' and '.', as in 'mine.growth'"
            )
        if not self.source:
            object.__setattr__(self, "source", self.id.partition(".")[0])
        if not self.sentences:
            object.__setattr__(self, "sentences", (Sentence("statement", self.statement),))

    @classmethod
    def of(cls, content: dict[str, Any]) -> Claim:
        """The claim whose ``dataclasses.asdict`` this is."""
        sentences = tuple(Sentence(**one) for one in content["sentences"])
        repair = None if content["repair"] is None else Repair(**content["repair"])
        plain = {"hypotheses": tuple(content["hypotheses"]), "sentences": sentences, "repair": repair}
        return cls(**{**content, **plain})


@dataclass(frozen=True)
class Measure:
    """A Measure asks for one number per case, in a relation to a tolerance, and says why that tolerance.

    ``<=``: number ≤ tolerance; ``>=``: number ≥ tolerance; ``==``: |number − target| ≤ tolerance.

    Attributes
    ----------
    role : ``part`` speaks of the substance of a sentence; ``print`` of a printed constant, sign, index, transposition
        or inverse; ``hypothesis`` decides whether a case counts at all; ``control`` is what a study must see in order
        to be able to refute: where it fails the study is blind, and nothing is supported.
    why : derives the tolerance from the source or from error analysis, before anything is run.
    sentence : id of the sentence that the number speaks of; the claim's first unless given.
    exact : the number has no error: it is read from what is given, or counted.
    repaired : of a ``print``, the measure that asks the same of the repaired formula.
    changed : what was changed after a first run, and why; shown in the report.

    Raises
    ------
    ValueError
        If relation or role is unknown, tolerance or target is not finite, or an ``==`` has a negative tolerance.

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.claims.Measure("loss", "L at the end", "<=", 1e-9, "rounding of one square").role
    'part'
    """

    id: str
    statement: str
    relation: Relation
    tolerance: float
    why: str
    target: float = 0.0
    role: Role = "part"
    sentence: str = ""
    exact: bool = False
    repaired: str = ""
    changed: str = ""

    def __post_init__(self) -> None:
        if not self.id or "/" in self.id:
            raise ValueError(f"a measure's id was {self.id!r}; write the name of a variable, without '/'")
        if self.relation not in get_args(Relation):
            raise ValueError(f"unknown relation {self.relation!r}: write '<=', '>=' or '=='")
        if self.role not in get_args(Role):
            words = ", ".join(repr(one) for one in get_args(Role))
            raise ValueError(f"measure {self.id!r} has role {self.role!r}; write one of {words}")
        if not (math.isfinite(self.tolerance) and math.isfinite(self.target)):
            raise ValueError(
                f"measure {self.id!r} has tolerance {self.tolerance} and target {self.target}; "
                "write finite numbers, and return NOT_ASKED where nothing is asked"
            )
        if self.relation == "==" and self.tolerance < 0.0:
            raise ValueError(
                f"measure {self.id!r} has relation '==' and tolerance {self.tolerance}, which no number "
                "meets; write a tolerance >= 0"
            )
        if self.repaired and self.role != "print":
            raise ValueError(f"measure {self.id!r} names a repaired form; only a role='print' has one")
