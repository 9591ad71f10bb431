"""What is wrong with a specification, in one sentence that names the place and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from gradlab.wording import brief, quoted

#: Kinds of errors that explain others: a misspelt key also makes the right one "missing".
_FIRST = ("unknown_key", "union_tag_invalid")

_LIMITS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

_TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "a string in quotes",
    "bool_type": "true or false",
    "list_type": "a list in square brackets",
    "finite_number": "a finite number",
    "model_type": "a table",
    "dict_type": "a table",
}


#: Characters of a message: what a file holds may be in it, and no file makes a page of it.
_LONGEST = 800


class SpecificationError(ValueError):
    """A specification that cannot be run; the message is one sentence, printable and bounded."""

    def __init__(self, message: str) -> None:
        super().__init__(brief(message, _LONGEST))


@contextmanager
def within(table: str) -> Iterator[None]:
    """Give the errors of a block the place that the reader can put right."""
    try:
        yield
    except SpecificationError:
        raise
    except ValueError as error:
        raise SpecificationError(f"in [{table}]: {' '.join(str(error).split())}") from error


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """``did you mean 'relu'?``, or the whole choice where nothing is close; a few of it where it is long."""
    names = sorted(brief(name, 60) for name in set(known))
    close = get_close_matches(given[:60].lower(), names[:1000], n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"it is one of: {', '.join(names[:30])}" + (", …" if len(names) > 30 else "")


def sentence(error: ValidationError, raw: dict[str, Any]) -> str:
    """The first thing wrong, as one sentence: where, what was given, what is expected.

    ``raw`` is the parsed TOML, against which pydantic's locations (with tags of unions in them) are read.
    """
    errors = error.errors(include_url=False)
    found = min(errors, key=lambda one: one["type"] not in _FIRST)
    path = _path(found["loc"], raw, found["type"])
    above = _value(path[:-1], raw)
    if found["type"] == "missing" and isinstance(above, str):  # a name where its table is needed
        where, key = _split(path[:-1])
        table = f'{{ kind = "{brief(above, 40)}", {path[-1]} = … }}'
        return f"{where}: {key} = {quoted(above)} needs {path[-1]!r}; write its table, {key} = {table}"
    return _describe(dict(found), path, _value(path, raw))


def _path(loc: Sequence[str | int], raw: Any, kind: str) -> list[str | int]:
    """The location without the tags of unions: what can be followed in the parsed file."""
    path: list[str | int] = []
    node, told = raw, None
    for i, part in enumerate(loc):
        # The kind "momentum" of a flow has a field of that name: the tag comes first.
        if isinstance(node, dict) and node is not told and node.get("kind") == part and i + 1 < len(loc):
            told = node
            continue
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        )
        if inside:
            node = node[part]
            path.append(part)
        elif kind == "missing" and i == len(loc) - 1:
            path.append(part)
    return path


def _value(path: Sequence[str | int], raw: Any) -> Any:
    for part in path:
        if isinstance(raw, dict):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
        else:
            return None
    return raw


def place(path: Sequence[str | int]) -> str:
    """``in [network.init]``, or ``at the top`` for keys outside every table."""
    return f"in [{'.'.join(brief(str(part), 40) for part in path)}]" if path else "at the top"


def _split(path: list[str | int]) -> tuple[str, str]:
    """The table and the key in it; entries of a list are written ``widths[2]``."""
    end = len(path)
    while end and isinstance(path[end - 1], int):
        end -= 1
    if not end:
        return place([]), ""
    key = brief(str(path[end - 1]), 40) + "".join(f"[{i}]" for i in path[end:])
    return place(path[: end - 1]), key


def _describe(found: dict[str, Any], path: list[str | int], value: Any) -> str:
    kind, context = found["type"], found.get("ctx", {})
    if kind in ("unknown_key", "whole"):
        return f"{place(path)}: {found['msg']}"
    where, key = _split(path)
    if kind == "union_tag_invalid":
        known = [tag.strip().strip("'") for tag in context["expected_tags"].split("', '")]
        what = (
            f"kind = {quoted(context['tag'])}"
            if isinstance(value, dict)
            else f"{key} = {quoted(context['tag'])}"
        )
        where = place(path) if isinstance(value, dict) else where
        return f"{where}: {what} is not known; {did_you_mean(str(context['tag']), known)}"
    if kind == "union_tag_not_found":
        return f"{place(path)}: 'kind' is missing; write kind = \"…\""
    if kind == "missing":
        if not where.startswith("in") and key in ("network", "loss", "data", "records", "flow"):
            return f"the table [{key}] is missing"
        return f"{where}: {key!r} is missing"
    if kind == "model_attributes_type":  # a table of several kinds
        told = "a name in quotes, or a table" if key == "activation" else "a table"
        hint = f'; write {key} = {{ kind = "{brief(value, 40)}", … }}' if isinstance(value, str) else ""
        return f"{where}: {key} is {show(value)}; it must be {told}{hint}"
    return f"{where}: {key} {_expectation(kind, context, value, found['msg'])}"


def _expectation(kind: str, context: dict[str, Any], value: Any, message: str) -> str:
    """What the value is and what it must be."""
    if kind in _LIMITS:
        word, name = _LIMITS[kind]
        limit = context[name]
        shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
        return f"is {show(value)}; it must be {word} {shown}"
    if kind == "float_type" and isinstance(value, int) and not isinstance(value, bool):
        return "is too large a number"
    if kind in _TYPES:
        return f"is {show(value)}; it must be {_TYPES[kind]}"
    if kind == "literal_error":
        known = [word.strip("' ") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return f"= {quoted(value)} is not known; {did_you_mean(str(value), known)}"
    if kind == "too_short":
        return f"has length {context['actual_length']}; it must be at least {context['min_length']}"
    if kind == "too_long":
        return f"has length {context['actual_length']}; it may be at most {context['max_length']}"
    return f"is {show(value)}: {message}"


def show(value: Any) -> str:
    """A value as the reader wrote it, cut short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    return quoted(value)
