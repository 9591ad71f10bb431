"""A design: one specification with some of its fields varied, on a grid, at random, and over seeds."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from gradlab.specification.reading import parse
from gradlab.specification.schema import Specification
from gradlab.specification.section import Count, Name, Section, Seed
from gradlab.specification.sentences import SpecificationError, did_you_mean, sentence
from gradlab.wording import brief, quoted

#: Dims of a cube, and what it says of a run: no axis is called so.
TAKEN = frozenset({"seed", "sample", "record", "member", "layer", "pair", "status", "run"})


class SweepTable(Section):
    """The table ``[sweep]`` of a specification."""

    grid: dict[str, Any] = Field(default_factory=dict)
    random: dict[str, Any] = Field(default_factory=dict)
    samples: Count | None = None
    draw: Seed = 0
    seeds: Annotated[int, Field(ge=1, le=1_000_000)] | Annotated[list[Seed], Field(min_length=1)] | None = (
        None
    )
    seeded: Annotated[list[Name], Field(min_length=1)] = Field(default_factory=lambda: ["seed"])
    limit: Count = 1000
    cube: Literal["end", "records"] = "end"


class Spaced(Section):
    """``count`` values from ``low`` to ``high``, both included."""

    low: float
    high: float
    count: Annotated[int, Field(ge=2, le=100_000)]
    spacing: Literal["linear", "log"] = "linear"


class Drawn(Section):
    """Values drawn between ``low`` and ``high``, evenly in the value or in its logarithm."""

    low: float
    high: float
    spacing: Literal["linear", "log"] = "linear"
    whole: bool = False


@dataclass(frozen=True)
class Axis:
    """One dim of a cube: what it is called, its coordinate, and what each value sets.

    Attributes
    ----------
    settings : field to value, one mapping a value.
    """

    name: str
    labels: tuple[Any, ...]
    settings: tuple[Mapping[str, Any], ...]

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """The axis itself, and each field that it sets, along it."""
        fields = list(self.settings[0])
        own = {self.name: coordinate(self.labels)}
        further = {field: coordinate([one[field] for one in self.settings]) for field in fields}
        return further | own


@dataclass(frozen=True)
class Design:
    """What is to be run: axes, whose values are combined in every way, and seeds at each.

    Attributes
    ----------
    base : the specification as it was given, without ``[sweep]``.
    seeded : fields that a seed is written into.
    limit : runs that are asked for at most.
    cube : ``"end"`` or ``"records"``: what of a run is collected.
    """

    base: Mapping[str, Any]
    axes: tuple[Axis, ...]
    seeds: tuple[int, ...]
    seeded: tuple[str, ...]
    limit: int
    cube: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Values along each axis."""
        return tuple(len(axis.labels) for axis in self.axes)

    @property
    def runs(self) -> int:
        """How many runs that are."""
        return math.prod(self.shape) * len(self.seeds)

    def points(self) -> Iterator[tuple[tuple[int, ...], Specification]]:
        """Each combination of values: where it stands, and its specification with the first seed.

        Raises
        ------
        SpecificationError
            For the first combination that is no specification, naming it.
        """
        for index in itertools.product(*(range(count) for count in self.shape)):
            chosen = [axis.settings[i] for axis, i in zip(self.axes, index, strict=True)]
            settings = {field: value for one in chosen for field, value in one.items()}
            try:
                yield index, parse(with_fields(self.base, settings | self.of_seed(self.seeds[0])))
            except SpecificationError as error:
                where = ", ".join(f"{field} = {brief(str(value), 60)}" for field, value in settings.items())
                raise SpecificationError(f"[sweep] at {where}: {error}" if where else str(error)) from error

    def of_seed(self, seed: int) -> dict[str, Any]:
        """What a seed sets."""
        return dict.fromkeys(self.seeded, seed)


def design(raw: Mapping[str, Any], limit: int | None = None) -> Design:
    """The design in the tables of a specification with ``[sweep]``.

    limit : in place of the table's own.

    Raises
    ------
    SpecificationError
        One sentence: what is wrong in ``[sweep]``, a field that does not exist, or more runs than ``limit``.
    """
    base = {name: value for name, value in raw.items() if name != "sweep"}
    table = _table(raw.get("sweep", {}))
    limit = table.limit if limit is None else limit
    axes = [_axis(name, given) for name, given in _leaves(table.grid, "grid")]
    if table.random or table.samples is not None:
        axes.append(_sampled(table))
    seeds = table.seeds if table.seeds is not None else [int(base.get("seed", 0))]
    found = Design(
        base=base,
        axes=tuple(axes),
        seeds=tuple(range(seeds) if isinstance(seeds, int) else seeds),
        seeded=tuple(table.seeded),
        limit=limit,
        cube=table.cube,
    )
    _check(found)
    return found


def _table(given: Any) -> SweepTable:
    try:
        return SweepTable.model_validate(given)
    except ValidationError as error:
        said = sentence(error, given if isinstance(given, dict) else {})
        raise SpecificationError("in [sweep]" + said.removeprefix("at the top")) from error


def _check(found: Design) -> None:
    """No axis twice, no name that the cube needs, no field twice, not more runs than asked for."""
    if len(set(found.seeds)) < len(found.seeds):
        raise SpecificationError("in [sweep]: seeds names a seed twice; name each once")
    fields = [field for axis in found.axes for field in axis.settings[0]] + list(found.seeded)
    for field in fields:
        if fields.count(field) > 1:
            told = "; seeds are given with seeds = 8, or seeds = [0, 1]" if field in found.seeded else ""
            raise SpecificationError(f"in [sweep]: {field} is set twice; leave one of them out{told}")
    if found.runs > found.limit:
        sizes = " × ".join(str(n) for n in (*found.shape, len(found.seeds)))
        raise SpecificationError(
            f"in [sweep]: these are {found.runs} runs ({sizes}), and the limit is {found.limit}: write limit = "
            f"{found.runs}, or fewer values"
        )


# --- axes --------------------------------------------------------------------------------------------


def _leaves(given: Mapping[str, Any], table: str, above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names, whether written in quotes or as tables in tables, with the list or table of each."""
    for key, value in given.items():
        name = f"{above}.{key}" if above else str(key)
        if isinstance(value, list) or (
            isinstance(value, Mapping) and {"low", "values", "choices"} & set(value)
        ):
            yield name, value
        elif isinstance(value, Mapping) and value:
            yield from _leaves(value, table, name)
        else:
            raise SpecificationError(
                f"in [sweep.{table}]: {name} is {quoted(value)}; write a list of values, or "
                "{ low = 0.01, high = 1.0, "
                + ("count = 5, " if table == "grid" else "")
                + 'spacing = "log" }'
            )


def _axis(name: str, given: Any) -> Axis:
    """A field over its values, or, where there are ``values``, an axis that sets several fields at once."""
    if isinstance(given, list):
        return _single(name, given)
    if "values" in given:
        return _several(name, given)
    spaced = _section(Spaced, given, name, "grid")
    return _single(name, _between(spaced, np.linspace(0.0, 1.0, spaced.count), name, "grid"))


def _single(name: str, values: Sequence[Any]) -> Axis:
    _distinct(name, values)
    return Axis(name, tuple(values), tuple({name: value} for value in values))


def _several(name: str, given: Mapping[str, Any]) -> Axis:
    if name in TAKEN or "." in name:
        raise SpecificationError(
            f"in [sweep.grid]: an axis cannot be called {quoted(name)}, as a part of every cube is; call it otherwise"
        )
    labels = given["values"]
    if not isinstance(labels, list):
        raise SpecificationError(f"in [sweep.grid]: {name}.values is {quoted(labels)}; write a list")
    _distinct(name, labels)
    rest = {key: value for key, value in given.items() if key != "values"}
    columns = dict(_leaves(rest, "grid"))
    if not columns:
        raise SpecificationError(
            f'in [sweep.grid]: {name} sets no field; beside values write e.g. "network.widths" = [[…], …]'
        )
    for field, values in columns.items():
        if not isinstance(values, list) or len(values) != len(labels):
            raise SpecificationError(
                f"in [sweep.grid]: {name} has {len(labels)} values, and {field} is not a list of as many"
            )
    rows = ({field: values[i] for field, values in columns.items()} for i in range(len(labels)))
    return Axis(name, tuple(labels), tuple(rows))


def _distinct(name: str, values: Sequence[Any]) -> None:
    if not values:
        raise SpecificationError(f"in [sweep.grid]: {name} has no values; write at least one")
    texts = [json.dumps(value, default=str) for value in values]
    twice = [text for text in texts if texts.count(text) > 1]
    if twice:
        raise SpecificationError(f"in [sweep.grid]: {name} has the value {brief(twice[0], 60)} twice")


def _sampled(table: SweepTable) -> Axis:
    """The random design: along ``sample``, every field drawn on its own, so that more samples keep those before."""
    if not table.random or table.samples is None:
        raise SpecificationError(
            "in [sweep]: a random design needs both: samples = 100 and a table [sweep.random] of fields"
        )
    columns = {name: _draws(name, given, table) for name, given in _leaves(table.random, "random")}
    rows = tuple({name: values[i] for name, values in columns.items()} for i in range(table.samples))
    return Axis("sample", tuple(range(table.samples)), rows)


def _draws(name: str, given: Any, table: SweepTable) -> list[Any]:
    stream = np.random.default_rng([table.draw, *name.encode()])
    count = table.samples or 0
    choices = given if isinstance(given, list) else given.get("choices")
    if choices is not None:
        if not isinstance(choices, list) or not choices:
            raise SpecificationError(f"in [sweep.random]: {name} has no choices; write a list of values")
        return [choices[int(len(choices) * u)] for u in stream.random(count)]
    drawn = _section(Drawn, given, name, "random")
    values = _between(drawn, stream.random(count), name, "random")
    return [round(value) for value in values] if drawn.whole else values


def _between(section: Spaced | Drawn, parts: np.ndarray, name: str, table: str) -> list[float]:
    low, high, log = section.low, section.high, section.spacing == "log"
    if not low < high or (log and low <= 0.0):
        more = ", and low above 0 where spacing is log" if log else ""
        raise SpecificationError(
            f"in [sweep.{table}]: {name} goes from {low:g} to {high:g}; write low below high{more}"
        )
    values = low * (high / low) ** parts if log else low + parts * (high - low)
    # twelve digits, so that the ends and round numbers are what was written
    return [float(f"{value:.12g}") for value in values]


def _section(kind: Any, given: Any, name: str, table: str) -> Any:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        said = sentence(error, given if isinstance(given, dict) else {})
        raise SpecificationError(
            f"in [sweep.{table}], in {name}: {said.removeprefix('at the top: ')}"
        ) from error


# --- fields ------------------------------------------------------------------------------------------


def with_fields(raw: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a specification with these fields, by their dotted names, set.

    Raises
    ------
    SpecificationError
        Where a field would lie inside what is no table, or its table has no such name.
    """
    changed = copy.deepcopy(dict(raw))
    for field, value in settings.items():
        *tables, key = field.split(".")
        node: Any = changed
        if tables and tables[0] not in Specification.model_fields:
            raise SpecificationError(
                f"in [sweep]: there is no field {quoted(field)}; {did_you_mean(tables[0], Specification.model_fields)}"
            )
        for depth, table in enumerate(tables):
            node = node.setdefault(table, {})
            if not isinstance(node, dict):
                where = ".".join(tables[: depth + 1])
                raise SpecificationError(
                    f"in [sweep]: {where} is {quoted(node)} and no table, so that there is no {field}"
                )
        node[key] = copy.deepcopy(value)
    return changed


def coordinate(values: Sequence[Any]) -> np.ndarray:
    """Values as a coordinate: whole numbers, numbers, or their text."""
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return np.asarray(values, dtype=np.int64)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return np.asarray(values, dtype=np.float64)
    return np.asarray(
        [value if isinstance(value, str) else json.dumps(value, default=str) for value in values]
    )
