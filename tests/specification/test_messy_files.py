"""Messy CSV files: each is read right, with an account of every row and column, or a sentence names the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlab.problem.data import Data
from gradlab.specification import schema
from gradlab.specification.files import own_data

Rows = list[list[float]]


def given(tmp_path: Path, content: str | bytes, labels: str, table: dict[str, Any]) -> Data:
    raw = content.encode() if isinstance(content, str) else content
    (tmp_path / "d.csv").write_bytes(raw)
    section = schema.CsvFile.model_validate({"kind": "csv", "path": "d.csv", "targets": ["y"], **table})
    return own_data(section, labels, tmp_path)


X: Rows = [[1.0, 2.5], [3.0, 4.0], [5.0, -6.0]]
Y = [1.0, -1.0, 1.0]
PLAIN = "a,b,y\n1,2.5,1\n3,4,-1\n5,-6,1\n"
SEMI = "a;b;y\n1;2,5;1\n3;4,0;-1\n5;-6,0;1\n"

#: name: content, loss's labels, what the table says, inputs, targets, words of the account.
READ: dict[str, tuple[str | bytes, str, dict[str, Any], Rows, list[Any], tuple[str, ...]]] = {
    "plain": (PLAIN, "sign", {}, X, Y, ("3 rows of 3 columns", "the first row is the header", "inputs a, b, target y")),
    "byte order mark": (b"\xef\xbb\xbf" + PLAIN.encode(), "sign", {}, X, Y, ("inputs a, b",)),
    "CRLF": (PLAIN.replace("\n", "\r\n"), "sign", {}, X, Y, ("3 rows",)),
    "CR alone": (PLAIN.replace("\n", "\r"), "sign", {}, X, Y, ("3 rows",)),
    "no newline at the end, blank lines": ("\n\na,b,y\n\n1,2.5,1\n3,4,-1\n  \n5,-6,1", "sign", {}, X, Y, ("3 rows",)),
    "quoted": ('"a","b","y"\n"1","2.5","1"\n"3","4","-1"\n"5","-6","1"\n', "sign", {}, X, Y, ("inputs a, b",)),
    "blanks around": ('a, b, "y"\n 1, 2.5, 1\n 3 ,4, -1\n5, "-6",1 \n', "sign", {}, X, Y, ("inputs a, b",)),
    "a name with a comma": (
        '"a, of two","b ""x""",y\n1,2.5,1\n3,4,-1\n5,-6,1\n', "sign", {}, X, Y, ('inputs a, of two, b "x"',)
    ),
    "no header": (
        "1,2.5,1\n3,4,-1\n5,-6,1\n", "sign", {"targets": 2}, X, Y, ("no header, columns are numbered from 0",)
    ),
    "no header, text labels": (
        "1,2.5,yes\n3,4,no\n5,-6,yes\n", "sign", {"targets": 2}, X, Y, ("no header", "label no is -1, yes is +1")
    ),
    "a header of numbers, named": ("10,20,30\n" + PLAIN[6:], "sign", {"targets": "30"}, X, Y, ("inputs 10, 20",)),
    "a header told": ("1,2,3\n" + PLAIN[6:], "sign", {"targets": 2, "header": True}, X, Y, ("inputs 1, 2, target 3",)),
    "pandas' index": (
        ",a,b,y\n0,1,2.5,1\n1,3,4,-1\n2,5,-6,1\n", "sign", {}, X, Y, ("4 columns", "row label (no name) left out")
    ),
    "pandas' index, read and written again": (
        "Unnamed: 0,index,a,b,y\n0,7,1,2.5,1\n1,9,3,4,-1\n2,8,5,-6,1\n", "sign", {}, X, Y,
        ("row labels Unnamed: 0, index left out",),
    ),
    "pandas' array": (",0,1,2\n0,1,2.5,1\n1,3,4,-1\n2,5,-6,1\n", "sign", {"targets": "2"}, X, Y, ("row label",)),
    "R's row names": ("a,b,y\nx1,1,2.5,1\nx2,3,4,-1\nx3,5,-6,1\n", "sign", {}, X, Y, ("4 columns", "row label")),
    "huge ids": (
        "id,a,b,y\n9007199254740993,1,2.5,1\n9007199254740995,3,4,-1\n9007199254740997,5,-6,1\n",
        "sign", {}, X, Y, ("row label id left out",),
    ),
    "an index named": (
        "a,when,b,y\n1,2020-01-01,2.5,1\n3,2020-01-02,4,-1\n5,2020-01-02,-6,1\n",
        "sign", {"index": "when"}, X, Y, ("row label when left out",),
    ),
    "semicolons and decimal commas": (SEMI, "sign", {}, X, Y, ("separated by semicolons, decimal commas",)),
    "decimal commas in quotes": (
        'a,b,y\n"1,0","2,5","1"\n"3,0","4,0","-1"\n"5,0","-6,0","1"\n', "sign", {}, X, Y, ("decimal commas",)
    ),
    "tabs": (PLAIN.replace(",", "\t"), "sign", {}, X, Y, ("separated by tabs",)),
    "bars": (PLAIN.replace(",", "|"), "sign", {}, X, Y, ("separated by bars",)),
    "aligned by blanks": (" a    b   y\n 1   2.5  1\n 3   4   -1\n 5  -6    1\n", "sign", {}, X, Y, ("by spaces",)),
    "Excel's first line": ("sep=;\n" + SEMI, "sign", {}, X, Y, ("1 line above the table skipped",)),
    "comments": (
        "# measured, 2020\n# in mm\n" + PLAIN + "# end\n", "sign", {}, X, Y, ("2 lines above", "1 comment line skipped")
    ),
    "NumPy's header": ("# a b y\n1 2.5 1\n3 4 -1\n5 -6 1\n", "sign", {}, X, Y, ("from the comment above",)),
    "trailing separators": ("a,b,y,\n1,2.5,1,\n3,4,-1,\n5,-6,1,\n", "sign", {}, X, Y, ("rows end in a separator",)),
    "trailing separators, none in the header": (
        "a,b,y\n1,2.5,1,\n3,4,-1,\n5,-6,1,\n", "sign", {}, X, Y, ("3 columns", "rows end in a separator")
    ),
    "missing, dropped": (
        "a,b,y\n1,2.5,1\nNA,4,1\n3,4,-1\n5,,1\n5,-6,\n5,-6,1\n", "sign", {"missing": "drop"}, X, Y,
        ("6 rows of", "3 rows without a value left out, the first is row 2"),
    ),
    "missing, filled": (
        "a,b,y\n1,2.5,1\n?,4,-1\n5,-6,1\n5,-6,nan\n", "sign", {"missing": "mean"}, X, Y,
        ("1 row without a target left out", "1 missing value became the mean"),
    ),
    "0 and 1": ("a,b,y\n1,2.5,1\n3,4,0\n5,-6,1\n", "sign", {}, X, Y, ("label 0 is -1, 1 is +1",)),
    "true and false": ("a,b,y\n1,2.5,True\n3,4,False\n5,-6,True\n", "sign", {}, X, Y, ("label False is -1",)),
    "text classes": (
        "a,b,y\n1,2.5,cat\n3,4,ant\n5,-6,cat\n", "class", {}, X, [1, 0, 1], ("labels ant → 0, cat → 1",)
    ),
    "text classes in order": (
        "a,b,y\n1,2.5,cat\n3,4,ant\n9,9,bee\n5,-6,cat\n", "class", {"classes": ["cat", "ant"]}, X, [0, 1, 0],
        ("1 row of other classes left out", "labels cat → 0, ant → 1"),
    ),
    "text classes for residuals": (
        "a,b,y\n1,2.5,cat\n3,4,ant\n5,-6,cat\n", "real", {}, X, [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], ("unit vectors",)
    ),
    "classes with a gap": ("a,b,y\n1,2.5,8\n3,4,3\n5,-6,8\n", "class", {}, X, [1, 0, 1], ("labels 3 → 0, 8 → 1",)),
    "a label that looks missing": (
        "a,b,y\n1,2.5,EU\n3,4,NA\n5,-6,EU\n", "sign", {"classes": ["NA", "EU"]}, X, Y, ("label NA is -1",)
    ),
    "mixed labels, named": (
        "a,b,y\n1,2.5,x\n3,4,7\n5,-6,x\n", "sign", {"classes": ["7", "x"]}, X, Y, ("label 7 is -1, x is +1",)
    ),
    "constant": (
        "a,b,c,y\n1,2.5,3,1\n3,4,3,-1\n5,-6,3,1\n", "sign", {}, [[*row, 3.0] for row in X], Y, ("input c is constant",)
    ),
    "text that is left out": (
        "a,colour,b,y\n1,red,2.5,1\n3,blue,4,-1\n5,red,-6,1\n", "sign", {"inputs": ["a", "b"]}, X, Y,
        ("column colour left out",),
    ),
    "doubled names, given by number": ("a,b,y,c\n1,2.5,1,9\n3,4,-1,9\n5,-6,1,9\n", "sign", {"inputs": [0, 1]}, X, Y,
        ("column c left out",)),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_messy_file_is_read_right_and_accounted_for(tmp_path: Path, name: str) -> None:
    content, labels, table, inputs, targets, words = READ[name]
    data = given(tmp_path, content, labels, table)
    assert np.array_equal(data.inputs, inputs)
    assert np.array_equal(data.targets, targets)
    assert all(word in data.provenance for word in words), data.provenance


#: name: content, loss's labels, what the table says, words of the sentence.
REFUSED: dict[str, tuple[str | bytes, str, dict[str, Any], tuple[str, ...]]] = {
    "missing": (PLAIN + "7,,1\n", "sign", {}, ("line 5, column 'b'", "missing = 'drop'", "missing = 'mean'")),
    "a missing label": ("a,b,y\n1,2,yes\n3,4,no\n7,8,\n", "sign", {}, ("line 4, column 'y'", "reads as missing")),
    "an empty column": ("a,b,y\n1,,1\n3,,-1\n", "sign", {"missing": "drop"}, ("every row", "inputs = [")),
    "a column without a name": (",a,y\n0.5,1,1\n0.7,3,-1\n0.7,5,1\n", "sign", {}, ("index = 0", "index = []")),
    "rows numbered, no header": (
        "0,1.5,1\n1,3.5,-1\n2,5.5,1\n3,5,1\n", "sign", {"targets": 2}, ("numbers the rows", "index = 0", "index = []")
    ),
    "names or numbers": ("1,2,3\n4,5,6\n", "real", {"targets": 2}, ("header = true", "header = false")),
    "half a header": ("a,2.5,y\n1,2.5,1\n3,4,-1\n", "sign", {"targets": 2}, ("header = true", "header = false")),
    "text only": ("a,b\nx,u\ny,v\n", "sign", {"targets": 1}, ("header = true", "header = false")),
    "names that are not there": ("1,2.5,1\n3,4,-1\n", "sign", {}, ("by name", "header = false")),
    "thousands": ("a;y\n1,234;1\n5,678;-1\n", "sign", {}, ("1234", "1.234", "decimal = ','")),
    "two decimal signs": ("a;b;y\n1.5;2,5;1\n3.5;4,5;-1\n", "sign", {}, ("'2,5' is not a number", "decimal = ','")),
    "a column of text": (
        "a,colour,b,y\n1,red,2,1\n3,blue,4,-1\n", "sign", {}, ("'red'", "holds text", "inputs = ['a', 'b']")
    ),
    "a typing error": ("a,b,y\n1,2,1\n3,4,-1\n5,6o,1\n", "sign", {}, ("line 4, column 'b'", "'6o'", "mend it")),
    "doubled names": ("a,a,y\n1,2,1\n3,4,-1\n", "sign", {}, ("two columns named 'a'", "rename")),
    "a short row": ("a,b,y\n1,2,1\n3,4\n5,6,1\n", "sign", {}, ("line 3 has 2 columns", "3")),
    "a long row": ("a,b,y\n1,2,1\n3,4,1,9\n5,6,1\n", "sign", {}, ("line 3 has 4 columns", "3")),
    "a nameless cell at the end": ("a,b,y,\n" + "1,2,1,\n" * 300 + "3,4,1,9\n", "sign", {}, ("line 302", "'9'")),
    "a row behind #": ("a,b,y\n1,2,1\n#3,4,1\n5,6,-1\n", "sign", {}, ("line 3 begins with #", "delete the line")),
    "three labels for two": (
        "a,y\n1,x\n2,y\n3,z\n", "sign", {}, ("two labels", "3 ('x', 'y', 'z')", "classes", "cross-entropy")
    ),
    "labels that differ in capitals": ("a,y\n1,yes\n2,Yes\n3,no\n", "class", {}, ("'Yes' and 'yes'", "classes")),
    "a class that is not there": ("a,y\n1,cat\n2,ant\n", "sign", {"classes": ["cat", "aunt"]}, ("'aunt'", "'ant'")),
    "mixed labels": ("a,y\n1,x\n2,7\n3,x\n", "class", {}, ("line 2, column 'y'", "'x' is not a number", "classes = [")),
    "numbers for classes": ("a,y\n1,0.5\n2,0.7\n", "class", {}, ("classes 0, 1, 2", "0.5", "kind = 'square'")),
    "a huge id that is an input": (
        "a,id,y\n9007199254740993,5,1\n2,5,-1\n", "sign", {}, ("beyond 2^53", "index = 'a'", "identifier")
    ),
    "another separator": ("a;b;y\n1;2;1\n", "sign", {"delimiter": ","}, ("no column 'y'", "one column", "','")),
    "not UTF-8": ("größe,y\n1,1\n".encode("latin-1"), "sign", {}, ("not UTF-8", "save it as UTF-8")),
    "an empty split": (PLAIN, "sign", {"test_fraction": 0.1}, ("test_fraction = 0.1", "3 rows")),
    "two test splits": (PLAIN, "sign", {"test_fraction": 0.5, "test_path": "d.csv"}, ("give one of them",)),
    "an index that is a target": (PLAIN, "sign", {"index": "y"}, ("'y' is named both as index and as target",)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_names_the_way(tmp_path: Path, name: str) -> None:
    content, labels, table, words = REFUSED[name]
    with pytest.raises(ValueError, match=r"\w") as caught:
        given(tmp_path, content, labels, table)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_every_row_is_in_one_split_and_scaled_by_the_training_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((40, 3)).round(3)
    values[:, 1] = 7.0
    rows = "\n".join(",".join(map(str, row)) for row in values)
    table = {"test_fraction": 0.25, "seed": 3}
    plain = given(tmp_path, "a,c,y\n" + rows, "real", table)
    scaled = given(tmp_path, "a,c,y\n" + rows, "real", {**table, "standardise": True})
    assert plain.test_inputs is not None
    assert scaled.test_inputs is not None
    both = np.concatenate([np.c_[plain.inputs, plain.targets], np.c_[plain.test_inputs, plain.test_targets]])
    assert sorted(map(tuple, both)) == sorted(map(tuple, values))
    train = np.asarray(plain.inputs)
    assert np.allclose(
        scaled.inputs[:, 0], (train[:, 0] - train[:, 0].mean()) / train[:, 0].std(), atol=1e-14
    )
    expected = (plain.test_inputs[:, 0] - train[:, 0].mean()) / train[:, 0].std()
    assert np.allclose(scaled.test_inputs[:, 0], expected, atol=1e-14)
    assert not np.any(scaled.inputs[:, 1])
    for words in (
        "30 rows for training, 10 drawn for testing",
        "input c is constant and become 0",
        "variance 1",
    ):
        assert words in scaled.provenance, scaled.provenance


def test_a_test_file_has_the_columns_of_the_training_file_by_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("y,b,extra,a\nno,20,9,10\n")
    content = "a,b,y\n1,2,yes\n3,4,no\n"
    data = given(tmp_path, content, "sign", {"test_path": "t.csv"})
    assert np.array_equal(data.test_inputs, [[10.0, 20.0]])
    assert np.array_equal(data.test_targets, [-1.0])
    assert "column extra left out" in data.provenance


def test_arrays_are_accounted_for(tmp_path: Path) -> None:
    x = np.array([[1.0, np.nan], [3.0, 4.0], [5.0, 6.0]])
    np.savez(tmp_path / "d.npz", inputs=x, targets=np.array([0, 3, 8]), more=x)
    section = schema.NpzFile(kind="npz", path="d.npz", missing="drop")
    data = own_data(section, "sign", tmp_path)
    assert np.array_equal(data.inputs, x[1:])
    assert np.array_equal(data.targets, [-1.0, 1.0])
    for words in ("array more left out", "1 row without a value", "label 3 is -1, 8 is +1"):
        assert words in data.provenance
