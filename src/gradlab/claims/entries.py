"""The catalogue as data: what the sources say, claim by claim and figure by figure, read from TOML.

``sources/<source>.toml`` holds every claim and figure of a source, in its order, whether a study of it
exists or not; that one exists is seen from its file. Nothing here imports more than the standard library.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from gradlab.claims.claim import MENDED, MISPRINTS, Claim, Repair, Sentence

KINDS = ("claim", "figure")

CORRECTED = "-corrected"

_ROOM = Path(__file__).parent
_ID = re.compile(r"[a-z][a-z0-9]*\.[a-z0-9][a-z0-9-]*")
_SENTENCE_ID = re.compile(r"[a-z][a-z0-9_]*")
_MOST_SENTENCES = 5


class UnknownClaim(ValueError):
    """There is no such claim or source; the message names the nearest."""


def built(claim: Claim) -> bool:
    """Whether a study of it exists, that is, its file."""
    return (_ROOM / claim.source / f"{claim.file}.py").is_file()


def status(claim: Claim) -> str:
    """``built`` or ``open``."""
    return "built" if built(claim) else "open"


def entries(source: str | None = None) -> tuple[Claim, ...]:
    """Every claim and figure of a source, or of all, in the order of the sources.

    Raises
    ------
    UnknownClaim
        If there is no such source.
    """
    if source is None:
        return tuple(one for each in _catalogue().values() for one in each)
    if source not in SOURCES:
        raise UnknownClaim(f"there is no source {source!r}; {nearest(source, SOURCES)}")
    return _catalogue()[source]


def entry(claim_id: str) -> Claim:
    """The claim or figure of an id.

    Raises
    ------
    UnknownClaim
        If there is none.
    """
    known = _by_id()
    if claim_id not in known:
        raise UnknownClaim(f"there is no claim {claim_id!r}; {nearest(claim_id, known)}")
    return known[claim_id]


def nearest(given: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown id or source: what may have been meant, or what there is."""
    names = list(known)
    close = get_close_matches(given.lower().replace("_", "-"), names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    source = given.partition(".")[0]
    nearby = [name for name in names if name.startswith(f"{source}.")] or list(SOURCES)
    return f"there are: {', '.join(nearby)}"


def read(path: Path) -> tuple[str, int, tuple[Claim, ...]]:
    """Title, place among the sources and entries of a source's file, which bears the source's name.

    Raises
    ------
    ValueError
        If it is no TOML, or a key is missing, unknown or holds the wrong thing; file and key are named.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name} is not TOML: {error}") from error
    whole = _Table(path.name, table)
    title, order = whole.string("title"), whole.whole_number("order")
    found = [_entry(path.stem, one) for one in whole.tables("entry")]
    whole.close()
    ids = [one.id for one in found]
    twice = [one for one in ids if ids.count(one) > 1]
    if twice:
        raise ValueError(f"{path.name}: the id {twice[0]!r} stands twice; give each entry its own")
    for one in found:
        if one.corrects is not None and one.corrects not in ids:
            raise ValueError(
                f"{path.name}: {one.id}: 'corrects' was {one.corrects!r}; {nearest(one.corrects, ids)}"
            )
    return title, order, tuple(found)


class _Table:
    """A TOML table whose keys are taken one by one; ``close`` refuses what is left."""

    def __init__(self, where: str, table: Mapping[str, Any]) -> None:
        self.where = where
        self._left = dict(table)
        self._taken: list[str] = []

    def string(self, key: str, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, value, "a string")
        if default is None and not value.strip():
            raise self.wrong(key, value, "a string that is not empty")
        return value

    def one_of(self, key: str, words: tuple[str, ...]) -> Any:
        value = self.string(key)
        if value not in words:
            raise self.wrong(key, value, "one of " + ", ".join(repr(word) for word in words))
        return value

    def matching(self, key: str, form: re.Pattern[str], example: str) -> str:
        value = self.string(key)
        if not form.fullmatch(value):
            raise self.wrong(key, value, f"one like {example!r}")
        return value

    def truth(self, key: str) -> bool:
        value = self._take(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def whole_number(self, key: str) -> int:
        value = self._take(key, None)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(key, value, "a whole number")
        return value

    def strings(self, key: str) -> tuple[str, ...]:
        value = self._take(key, None)
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(key, value, "an array of strings")
        return tuple(value)

    def tables(self, key: str) -> list[_Table]:
        value = self._take(key, None)
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.wrong(key, value, f"tables, each under [[{key}]]")
        return [
            _Table(f"{self.where}: {one.get('id', f'{key} {i + 1}')}", one) for i, one in enumerate(value)
        ]

    def table(self, key: str) -> _Table | None:
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, value, "a table")
        return _Table(f"{self.where}: {key}", value) if value else None

    def close(self) -> None:
        if self._left:
            key = next(iter(self._left))
            raise ValueError(f"{self.where}: there is no key {key!r}; the keys are {', '.join(self._taken)}")

    def wrong(self, key: str, value: Any, wanted: str) -> ValueError:
        return ValueError(f"{self.where}: {key!r} was {value!r}; write {wanted}")

    def _take(self, key: str, default: Any) -> Any:
        self._taken.append(key)
        if key not in self._left and default is None:
            raise ValueError(f"{self.where}: the key {key!r} is missing")
        return self._left.pop(key, default)


def _entry(source: str, table: _Table) -> Claim:
    claim_id = table.matching("id", _ID, f"{source}.name")
    if claim_id.partition(".")[0] != source:
        raise table.wrong("id", claim_id, f"one like '{source}.name', as the file is {source}.toml")
    kind = table.one_of("kind", KINDS)
    corrects = table.string("corrects", "") or None
    if (corrects is not None) != claim_id.endswith(CORRECTED):
        raise table.wrong(
            "corrects", corrects, f"it in claims whose id ends in {CORRECTED!r}, and only there"
        )
    stem = claim_id.removesuffix(CORRECTED).partition(".")[2].replace("-", "_")
    found = Claim(
        id=claim_id,
        source=source,
        kind=kind,
        statement=table.string("statement"),
        formula=table.string("formula", ""),
        passage=table.string("passage"),
        hypotheses=table.strings("hypotheses"),
        convention=table.string("convention", ""),
        sentences=_sentences(table),
        repair=_repair(table.table("repair")),
        corrects=corrects,
        file=table.string("file", "") or stem,
    )
    table.close()
    return found


def _sentences(table: _Table) -> tuple[Sentence, ...]:
    found = []
    for one in table.tables("sentence"):
        name = one.matching("id", _SENTENCE_ID, "null_motion")
        text, passage = one.string("text"), one.string("passage", "")
        found.append(Sentence(name, text, passage, one.truth("uncertain")))
        one.close()
    ids = [sentence.id for sentence in found]
    if not 1 <= len(ids) <= _MOST_SENTENCES:
        raise table.wrong("sentence", ids, f"one to {_MOST_SENTENCES} sentences")
    if len(set(ids)) < len(ids):
        raise table.wrong("sentence", ids, "an id of its own for each sentence")
    return tuple(found)


def _repair(table: _Table | None) -> Repair | None:
    if table is None:
        return None
    found = Repair(table.one_of("kind", (*MISPRINTS, *MENDED)), table.string("text"))
    table.close()
    return found


@cache
def _files() -> dict[str, tuple[str, int, tuple[Claim, ...]]]:
    """What each source's file holds, by source, in their order."""
    found = {path.stem: read(path) for path in (_ROOM / "sources").glob("*.toml")}
    return dict(sorted(found.items(), key=lambda one: one[1][1]))


def _catalogue() -> dict[str, tuple[Claim, ...]]:
    return {source: found for source, (_, _, found) in _files().items()}


@cache
def _by_id() -> dict[str, Claim]:
    return {one.id: one for one in entries()}


#: The title of every source by its code, in the order in which their claims are listed.
SOURCES: dict[str, str] = {source: title for source, (title, _, _) in _files().items()}
