"""The JSON schema of a specification, with a sentence for every key, and the reference page made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gradlab.specification.fields import field
from gradlab.specification.schema import Specification

_HEAD = """# Every key of a specification

What may stand in the file that `gradlab run FILE.toml` takes. A key that is not here is refused, with the nearest that
is. `gradlab schema` prints the same as a JSON schema, for editors that check TOML. This page is made from it by
`python docs/specification.py`. A default that is written out makes no other run.

## An example that runs

```toml
{example}```

## The tables
"""
_ORDER = (
    "network",
    "activation",
    "init",
    "loss",
    "data",
    "flow",
    "step",
    "kicks",
    "clock",
    "solver",
    "records",
    "stop",
)


def schema() -> dict[str, Any]:
    """The JSON schema of a specification: pydantic's, with description and unit of every key."""
    made = Specification.model_json_schema()
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    for name, table in [("Specification", made), *made["$defs"].items()]:
        for key, value in table["properties"].items():
            value.pop("title", None)
            value["description"], value["x-unit"] = field(name, key)
    return made


def schema_text() -> str:
    """:func:`schema` as text."""
    return json.dumps(schema(), indent=2, ensure_ascii=False)


def page(example: str) -> str:
    """The reference in Markdown, with an example of a specification."""
    made = schema()
    parts = [
        _HEAD.format(example=example),
        "### At the top of the file\n",
        _table("Specification", made, made),
    ]
    for name in _ORDER:
        for table in _tables(made, name):
            kinds = " or ".join(f"`{kind}`" for kind in _kinds(made["$defs"][table]) if name != "clock")
            parts.append(f"### `{_where(name)}`" + (f", kind {kinds}" if kinds else "") + "\n")
            about = made["$defs"][table].get("description", "")
            parts += (
                [" ".join(about.replace("``", "`").split()) + "\n"] if about and "\n\n" not in about else []
            )
            parts.append(_table(table, made["$defs"][table], made))
    return "\n".join(parts)


def _where(name: str) -> str:
    inner = {"activation": "network", "init": "network", "step": "flow", "kicks": "flow"}
    return f"[{inner[name]}.{name}]" if name in inner else f"[{name}]"


def _tables(made: Mapping[str, Any], name: str) -> Iterator[str]:
    """Names of the tables that may stand under a key, each once."""
    seen: list[str] = []
    of = [made, *(table for key, table in made["$defs"].items() if not key.startswith("Teacher"))]
    for table in of:
        if name in table["properties"]:
            seen += [one for one in _references(table["properties"][name]) if one not in seen]
    yield from seen


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "$ref":
                yield str(inner).rsplit("/", 1)[-1]
            elif key not in ("default", "discriminator"):
                yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _kinds(table: Mapping[str, Any]) -> list[str]:
    kind = table["properties"].get("kind", {})
    return [str(kind["const"])] if "const" in kind else [str(one) for one in kind.get("enum", [])]


def _table(name: str, table: Mapping[str, Any], made: Mapping[str, Any]) -> str:
    lines = ["| key | type and range | default | unit | what it is |", "|---|---|---|---|---|"]
    for key, value in table["properties"].items():
        if key == "kind" and "default" not in value:
            continue
        sentence, unit = field(name, key)
        default = "required" if key in table.get("required", []) else _default(value)
        kinds = "name or table" if key == "activation" else _type(value)
        lines.append(f"| `{key}` | {kinds} | {default} | {unit} | {sentence} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "No further key.\n"


def _default(value: Mapping[str, Any]) -> str:
    default = value.get("default")
    if isinstance(default, dict):
        return f"`{default['kind']}`" if default.get("kind") else "as below"
    if default is None:
        return "—"
    if default == "":
        return "empty"
    return f"`{json.dumps(default)}`"


def _type(value: Mapping[str, Any]) -> str:
    """The type of a value in words, with its range."""
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{json.dumps(one)}`" for one in value["enum"])
    if "anyOf" in value or "oneOf" in value:
        some = [_type(one) for one in value.get("anyOf", value.get("oneOf", [])) if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(some))
    if "$ref" in value:
        return "table"
    kind = value.get("type")
    if kind == "array":
        least, most = value.get("minItems"), value.get("maxItems")
        size = f"{least}" if least == most and least else f"{least} or more" if least else ""
        return f"list of {size}{' ' * bool(size)}({_type(value['items'])})"
    if kind in ("number", "integer"):
        limits = [
            f"{sign} {value[name]:g}"
            for name, sign in (
                ("exclusiveMinimum", ">"),
                ("minimum", "≥"),
                ("exclusiveMaximum", "<"),
                ("maximum", "≤"),
            )
            if name in value and value[name] not in (2**31, 2**32)
        ]
        return " ".join(["whole number" if kind == "integer" else "number", ", ".join(limits)]).strip()
    words = {"string": "text", "boolean": "`true` or `false`", "object": "table"}
    return words.get(str(kind), "text")
