"""`gradlab data FILE` says what is taken of a file, and prints tables that read it so."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

from command_line import invoke, refused
from gradlab.specification import schema
from gradlab.specification.files import own_data


def test_the_printed_table_reads_the_file_as_it_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text("id;a;b;kind\n7;1,5;2;x\n8;;3;y\n9;2,5;4;y\n")
    told, tables = invoke("data", "d.csv", "--missing", "drop").stdout.split("[loss]")
    for words in (
        "3 rows of 4 columns",
        "row label id left out",
        "inputs a, b, target kind",
        "1 row without a value",
    ):
        assert words in told, told
    table = tomllib.loads("[loss]" + tables)
    assert table["loss"]["kind"] == "logistic"
    data = own_data(schema.CsvFile.model_validate(table["data"]), "sign", tmp_path)
    assert np.array_equal(data.inputs, [[1.5, 2.0], [2.5, 4.0]])
    assert np.array_equal(data.targets, [-1.0, 1.0])


def test_a_file_that_will_not_do_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b\n1,x\n2,\n")
    assert "write missing = 'drop'" in refused("data", tmp_path / "d.csv")
