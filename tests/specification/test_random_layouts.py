"""Tables written in layouts drawn at random are read back exactly, or refused; none with a row or a number changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlab.specification import schema
from gradlab.specification.files import own_data


def written(random: np.random.Generator) -> tuple[bytes, np.ndarray, np.ndarray, dict[str, Any]]:
    """A file, its inputs and labels, and what is told of it."""
    count, width = int(random.integers(5, 30)), int(random.integers(2, 6))
    kind = random.choice(["floats", "wholes", "mixed"])
    inputs = random.standard_normal((count, width)).round(int(random.integers(1, 6)))
    if kind != "floats":
        inputs[:, 0] = random.integers(-50, 50, count)
    if kind == "wholes":
        inputs = random.integers(-500, 500, (count, width)).astype(float)
    labels = random.choice([["no", "yes"], ["0", "1"], ["-1", "1"], ["cat", "dog"]])
    signs = random.integers(0, 2, count)
    signs[:2] = 0, 1
    delimiter = str(random.choice([",", ";", "\t", "|", " "]))
    comma = bool(random.random() < 0.4) and delimiter != ","
    header, index = bool(random.random() < 0.7), bool(random.random() < 0.4)
    rows = [
        [repr(float(x)) if x != round(x) or random.random() < 0.5 else f"{x:.0f}" for x in row]
        for row in inputs
    ]
    rows = [
        [cell.replace(".", ",") if comma else cell for cell in row] + [labels[k]]
        for row, k in zip(rows, signs, strict=True)
    ]
    names = [*(f"x{k}" for k in range(width)), "y"]
    if index:
        start = int(random.integers(0, 2))
        rows, names = [[str(k + start), *row] for k, row in enumerate(rows)], ["", *names]
    table = [names, *rows] if header else rows
    quote = random.random() < 0.3 and delimiter != " "
    lines = [delimiter.join(f'"{cell}"' if quote else cell or '""' for cell in row) for row in table]
    if random.random() < 0.2 and delimiter != " ":
        lines = [line + delimiter for line in lines]
    if random.random() < 0.3:
        lines = ["# made at random", *lines]
    if random.random() < 0.3:
        lines.insert(int(random.integers(1, len(lines))), "")
    text = str(random.choice(["\n", "\r\n", "\r"])).join(lines) + ("\n" if random.random() < 0.7 else "")
    told: dict[str, Any] = {"targets": ["y"] if header else [width + index]}
    return text.encode(str(random.choice(["utf-8", "utf-8-sig"]))), inputs, 2.0 * signs - 1.0, told


def outcome(folder: Path, seed: int) -> str:
    """``read``, ``refused: …`` or ``wrong: …``."""
    content, inputs, signs, told = written(np.random.default_rng(seed))
    (folder / "d.csv").write_bytes(content)
    section = schema.CsvFile.model_validate({"kind": "csv", "path": "d.csv", **told})
    try:
        data = own_data(section, "sign", folder)
    except ValueError as error:
        return f"refused: {error}"
    same = np.array_equal(data.inputs, inputs) and np.array_equal(data.targets, signs)
    return "read" if same else f"wrong: {data.provenance}: {content!r}"


def test_no_table_is_read_wrong(tmp_path: Path) -> None:
    seen = [outcome(tmp_path, seed) for seed in range(200)]
    assert [one for one in seen if one.startswith("wrong")] == []
    assert seen.count("read") > 150
    assert all("write " in one for one in seen if one != "read")


@pytest.mark.parametrize(
    ("content", "told", "shape"),
    [
        ("1.5,1\n2.5,-1\n3.5,1\n", {"targets": [1], "header": True}, (2, 1)),
        (",a,y\n0,1.5,1\n1,2.5,-1\n", {"targets": ["y"], "index": []}, (2, 2)),
    ],
)
def test_what_is_told_is_done(
    tmp_path: Path, content: str, told: dict[str, Any], shape: tuple[int, int]
) -> None:
    (tmp_path / "d.csv").write_text(content)
    section = schema.CsvFile.model_validate({"kind": "csv", "path": "d.csv", **told})
    assert own_data(section, "sign", tmp_path).inputs.shape == shape
