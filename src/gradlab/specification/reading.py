"""From a TOML file to a checked specification, or one sentence on what is wrong with it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gradlab.specification.schema import Specification
from gradlab.specification.sentences import SpecificationError, sentence

#: A specification is a page of text; the parser is not asked to read more.
LARGEST = 1 << 20


def read(path: Path) -> Specification:
    """The specification in a TOML file.

    Raises
    ------
    SpecificationError
        One sentence: a missing, too large or unreadable file, or the first thing wrong in it.
    """
    path = Path(path)
    if not path.is_file():
        raise SpecificationError(f"there is no specification file {path}")
    if path.stat().st_size > LARGEST:
        raise SpecificationError(
            f"{path} has {path.stat().st_size} bytes; a specification has at most {LARGEST}"
        )
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecificationError(f"{path} is not a TOML file: {error}") from error
    except RecursionError as error:
        raise SpecificationError(
            f"{path} is not a specification: its brackets are nested too deep"
        ) from error
    try:
        return parse(raw)
    except SpecificationError as error:
        raise SpecificationError(f"{path}: {error}") from error


def parse(raw: dict[str, Any]) -> Specification:
    """The specification in parsed TOML (or in a run's stored dictionary)."""
    try:
        return Specification.model_validate(raw)
    except ValidationError as error:
        raise SpecificationError(sentence(error, raw)) from error
