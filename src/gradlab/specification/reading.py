"""From a TOML file to a checked specification, or one sentence on what is wrong with it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradlab.specification.schema import Specification
from gradlab.specification.sentences import SpecificationError, sentence
from gradlab.store import foreign

#: A specification is a page of text; the parser is not asked to read more.
LARGEST = 1 << 18
#: Parts of a dotted key: the deepest table has three names. The parser's time is quadratic in them.
PARTS = 8

_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|'''
    + r"'''.*?'''"
    + r"""|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[\w+-]+|\.|[ \t]+|\#[^\n]*|.""",
    re.DOTALL,
)


def read(path: Path) -> Specification:
    """The specification in a TOML file.

    Raises
    ------
    SpecificationError
        One sentence: a missing, too large or unreadable file, or the first thing wrong in it.
    """
    raw = tables(path)
    if "sweep" in raw:
        raise SpecificationError(f"{path} has a table [sweep], of many runs: give it to gradlab sweep")
    try:
        return parse(raw)
    except SpecificationError as error:
        raise SpecificationError(f"{path}: {error}") from error


def tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file as they stand there, nothing in them checked.

    Raises
    ------
    SpecificationError
        One sentence: a missing, too large or unreadable file.
    """
    path = Path(path)
    try:
        missing = not path.exists() or path.is_dir()
    except (OSError, ValueError):  # a loop of links, a NUL in the name
        missing = True
    if missing:
        raise SpecificationError(f"there is no specification file {path}")
    try:
        return _parsed(path, foreign.whole_file(path, LARGEST, "a specification"))
    except foreign.Unreadable as error:
        raise SpecificationError(str(error)) from error


def _parsed(path: Path, content: bytes) -> dict[str, Any]:
    with foreign.reading(path, "a specification in TOML"):
        text = content.decode("utf-8")
        _check_keys(path, text)
        try:
            return tomllib.loads(text)
        except RecursionError as error:
            raise foreign.Unreadable(
                f"{path} is not a specification: its brackets are nested too deep"
            ) from error


def _check_keys(path: Path, text: str) -> None:
    """Refuse a key of many dotted parts before it is parsed."""
    dots = 0
    for token in _TOKEN.finditer(text):
        first = token.group()[0]
        if first == ".":
            dots += 1
            if dots >= PARTS:
                line = text.count("\n", 0, token.start()) + 1
                raise foreign.Unreadable(
                    f"{path} line {line}: a key has more than {PARTS} dotted parts; the tables of a specification are "
                    "at most three deep"
                )
        elif first not in " \t\"'" and not (first.isalnum() or first in "_+-"):
            dots = 0


def parse(raw: dict[str, Any]) -> Specification:
    """The specification in parsed TOML (or in a run's stored dictionary)."""
    try:
        return Specification.model_validate(raw)
    except ValidationError as error:
        raise SpecificationError(sentence(error, raw)) from error
