"""What every table of a specification is, and the types of its numbers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from gradlab.specification.sentences import did_you_mean
from gradlab.wording import quoted

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
CountOrZero = Annotated[int, Field(ge=0, lt=2**31)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Reduction = Literal["sum", "mean"]


class Section(BaseModel):
    """A table that knows its keys: a misspelt one is an error that names the nearest."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for key in given:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "there is no key {key}; {hint}",
                        {"key": quoted(key), "hint": did_you_mean(str(key), cls.model_fields)},
                    )
        return given


def number_or(table: str) -> Discriminator:
    """Tell a number from a table (or list) by looking at it, so that only one reading reports errors."""
    return Discriminator(lambda value: table if isinstance(value, dict | list | Section) else "number")


PerLayer = Annotated[
    Annotated[NonNegative, Tag("number")] | Annotated[list[NonNegative], Tag("list")], number_or("list")
]
