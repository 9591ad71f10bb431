"""A small specification and its variations, as the tests of this room write them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from gradlab import specification
from gradlab.specification import SpecificationError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

BASE = """
[network]
kind = "dense"
widths = [2, 8, 1]
[loss]
kind = "exponential"
[data]
kind = "separable"
examples = 10
inputs = 2
[records]
until = 1.0
"""


def parsed(old: str = "", new: str = "", text: str = BASE) -> specification.Specification:
    assert old in text
    return specification.parse(tomllib.loads(text.replace(old, new, 1) if old else new + text))


def refusal(old: str = "", new: str = "", folder: Path = EXAMPLES) -> str:
    """The message of the error that the changed specification raises, in reading or in building."""
    with pytest.raises(SpecificationError) as caught:
        specification.build(parsed(old, new), folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def built(old: str = "", new: str = "", folder: Path = EXAMPLES, text: str = BASE) -> Any:
    return specification.build(parsed(old, new, text), folder)
