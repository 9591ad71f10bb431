"""The reference page and the JSON schema are those of the tables that are read."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import invoke
from gradlab.specification import reference
from gradlab.specification.fields import FIELDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    example = (ROOT / "examples" / "minimum_norm.toml").read_text(encoding="utf-8")
    written = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
    assert written == reference.page(example), "run python docs/specification.py"


def test_every_key_has_its_sentence_and_no_sentence_is_left_over() -> None:
    made = reference.schema()
    keys = {(name, key) for name, table in made["$defs"].items() for key in table["properties"]}
    keys |= {("Specification", key) for key in made["properties"]}
    used = {f"{name}.{key}" if f"{name}.{key}" in FIELDS else key for name, key in keys}
    assert used == set(FIELDS)
    assert all(sentence.endswith(".") or sentence.endswith("…") for sentence, _ in FIELDS.values())


def test_every_table_is_on_the_page() -> None:
    made = reference.schema()
    listed = {table for name in reference._ORDER for table in reference._tables(made, name)}
    assert listed | {"TeacherNetwork"} == set(made["$defs"])


def test_the_schema_is_printed_as_json() -> None:
    printed = json.loads(invoke("schema").stdout)
    assert printed == reference.schema()
    assert printed["properties"]["records"]
    solver = printed["$defs"]["SolverTable"]["properties"]["tolerance"]
    assert solver["description"].startswith("Local error")
