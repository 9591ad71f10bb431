"""Every file from outside, however damaged, is read or refused in one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import fuzz
from variations import BASE, built, refusal

from gradlab import specification
from gradlab.specification import SpecificationError

CSV = BASE.replace(
    'kind = "separable"\nexamples = 10\ninputs = 2', 'kind = "csv"\npath = "d.csv"\ntargets = ["y"]'
)


def said(tmp_path: Path, content: bytes | None = None, text: str = CSV) -> str:
    if content is not None:
        (tmp_path / "d.csv").write_bytes(content)
    with pytest.raises(SpecificationError) as caught:
        built(text=text, folder=tmp_path)
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_mutated_files_end_in_a_sentence() -> None:
    rows = fuzz.rows(400, lambda what: None, limited=False)
    assert {row["kind"]: row["examples"] for row in rows} == dict.fromkeys(fuzz.KINDS)
    assert all(row["sentences"] for row in rows)
    assert sum(row["read"] for row in rows) > 40  # else valid files are not what is mutated


def test_the_fuzzing_sees_a_fault() -> None:
    def library() -> None:
        np.zeros(3).reshape(2)

    assert fuzz.outcome(library)[0] == "fault"
    assert fuzz.outcome(lambda: [][1])[0] == "fault"
    assert fuzz.outcome(lambda: specification.read(Path("none.toml")))[0] == "sentence"
    assert fuzz.outcome(lambda: None)[0] == "read"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"a,b,y\n1_000,2,1\n", ("line 2, column 'a'", "'1_000' is not a number; write '1000'")),
        (b"a,b,y\n9007199254740993,2,1\n", ("line 2, column 'a'", "beyond 2^53", "9007199254740992")),
        (b"a,b,y\n" + b"1" * 5000 + b",2,1\n", ("line 2", "not a finite number")),
        ("a,b,y\n１,2,1\n".encode(), ("line 2", "not a number")),
        (b"a,b,y\n1,\x00,1\n", ("line 2 holds a NUL byte",)),
        ("a,b,y\n1,2,1\n".encode("utf-16"), ("UTF-16",)),
        (b"a,b,y\n1,\xff,1\n", ("cannot be read as CSV",)),
        (b"a,b,y\n" + b"1," * 3_000_000 + b"\n", ("line 2", "one example a line")),
        (b'a,b,y\n1,"' + b"2" * 200_000 + b'",1\n', ("d.csv", "field larger")),
        (b"a,\x1b[31m,\x1b[31m,y\n1,2,3,1\n", ("two columns named '\\x1b[31m'",)),
    ],
)
def test_what_is_no_table_of_numbers_is_named(tmp_path: Path, content: bytes, parts: tuple[str, ...]) -> None:
    message = said(tmp_path, content)
    assert all(part in message for part in parts), message


def test_whole_numbers_that_float64_holds_are_taken(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b,y\n9007199254740994,1e300,1\n-9007199254740992,-1e17,-1\n")
    assert float(built(text=CSV, folder=tmp_path).problem.data.inputs[0, 0]) == 9007199254740994.0


def test_a_header_of_numbers_is_seen_unless_its_names_are_used(tmp_path: Path) -> None:
    message = said(tmp_path, b"1,2,0\n3,4,1\n5,6,0\n", CSV.replace('["y"]', "[2]"))
    assert "begins with a row of numbers" in message
    assert "header = false" in message
    # a negative number is no name
    (tmp_path / "d.csv").write_bytes(b"1,2,-1\n3,4,1\n5,6,-1\n")
    assert built(text=CSV.replace('["y"]', "[2]"), folder=tmp_path).problem.data.inputs.shape == (3, 2)
    (tmp_path / "d.csv").write_bytes(b"2019,2020,2021\n3,4,1\n5,6,-1\n")
    assert built(text=CSV.replace('["y"]', '["2021"]'), folder=tmp_path).problem.data.inputs.shape == (2, 2)


@pytest.mark.parametrize(
    ("new", "part"),
    [
        ('["y", "y"]', "targets names column 'y' twice"),
        ('["y", 2]', "a column by its name and its number"),
        ('["y"]\ninputs = ["a", "a"]', "inputs names column 'a' twice"),
        ('["y"]\ndelimiter = "\\""', "separator"),
        ('["y"]\ndelimiter = "\\n"', "separator"),
        ('["y"]\ndelimiter = "1"', "separator"),
        ("[1.5]", "a column's name in quotes, or its number from 0"),
        ("[true]", "a column's name in quotes, or its number from 0"),
        ("[99]", "columns 0 to 2"),
    ],
)
def test_columns_are_named_once_and_separators_are_none_of_a_number(
    tmp_path: Path, new: str, part: str
) -> None:
    assert part in said(tmp_path, b"a,b,y\n1,2,1\n3,4,-1\n", CSV.replace('["y"]', new))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink(path, path)])
def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "d.csv")
    assert "d.csv" in said(tmp_path)
    make(tmp_path / "spec.toml")
    with pytest.raises(SpecificationError, match=r"spec\.toml"):
        specification.read(tmp_path / "spec.toml")


@pytest.mark.parametrize("name", ["/dev/zero", "a\\u0000b", "a" * 900, "d.csv/d.csv"])
def test_names_that_no_file_has_are_refused(tmp_path: Path, name: str) -> None:
    assert "in [data]" in said(tmp_path, b"a,b,y\n1,2,1\n", CSV.replace("d.csv", name))


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"network." * 2000 + b"kind = 1\n", "more than 8 dotted parts"),
        (b"[" + b".".join([b'"a"'] * 500) + b"]\n", "more than 8 dotted parts"),
        (b"a = { " + b"b . " * 30 + b"c = 1 }\n", "more than 8 dotted parts"),
        (b"seed = " + b"9" * 5000 + b"\n", "digits"),
        (b'"\\u001b[31m" = 1\n', "'\\x1b[31m'"),
        (b'title = "' + b"a." * 5000 + b'"\n', "is missing"),  # dots in a string are none of a key
    ],
)
def test_keys_and_numbers_are_bounded(tmp_path: Path, content: bytes, part: str) -> None:
    (tmp_path / "spec.toml").write_bytes(content)
    with pytest.raises(SpecificationError) as caught:
        specification.read(tmp_path / "spec.toml")
    assert part in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 800


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        (
            '"dense"\nwidths = [2, 8, 1]',
            '"residual"\ninputs = 2\nwidth = 3\nblocks = 1000000000\noutputs = 1',
            "blocks",
        ),
        (
            '"dense"\nwidths = [2, 8, 1]',
            '"residual"\ninputs = 2\nwidth = 9000\nblocks = 9\noutputs = 1',
            "the weights",
        ),
        ("[2, 8, 1]", "[2, 1000000000, 1]", "the weights would take 32 GB"),
        ("[2, 8, 1]", "[2, 100000000000, 1]", "must be less than 2147483648"),
        ("examples = 10", "examples = 1000000000", "the data would take 24 GB"),
        (
            '"separable"\nexamples = 10\ninputs = 2',
            '"chebyshev"\nexamples = 9\ndegree = 1000000000',
            "degree",
        ),
        (
            "until = 1.0",
            'until = 1.0\ncount = 100000\nkeep = "all"\n[flow]\nkind="end-to-end"\ndepth = 1001',
            "depth",
        ),
        ("until = 1.0", "until = 1.0\n[solver]\ntolerance = 1", "tolerance is 1; it must be less than 1"),
        (
            "[loss]",
            'activation = "polynomial"\n[loss]',
            "activation = 'polynomial' needs 'coefficients'; write its table",
        ),
        (
            "[loss]",
            'init = "gaussian"\n[loss]',
            "init is 'gaussian'; it must be a table; write init = { kind = \"gaussian\", … }",
        ),
    ],
)
def test_what_would_not_fit_is_told_before_it_is_built(old: str, new: str, part: str) -> None:
    assert part in refusal(old, new)


def test_units_times_examples_are_weighed(tmp_path: Path) -> None:
    text = BASE.replace("[2, 8, 1]", "[2, 1000, 1]").replace("examples = 10", "examples = 1000000")
    assert "the values of all units on all examples would take 8.02 GB" in said(tmp_path, text=text)
