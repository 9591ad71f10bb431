"""One's own CSV and npz files are read as written, or refused by line and column, and never unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from variations import BASE, built

from gradlab.specification import SpecificationError

CSV = BASE.replace(
    'kind = "separable"\nexamples = 10\ninputs = 2', 'kind = "csv"\npath = "d.csv"\ntargets = ["y"]'
)


def csv_refusal(tmp_path: Path, content: str, text: str = CSV) -> str:
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(SpecificationError) as caught:
        built(text=text, folder=tmp_path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("a,b,y\n1,2,1\n3,nan,-1\n", ("line 3", "column 'b'", "nan")),
        ("a,b,y\n1,2,1\n\n3,,-1\n", ("line 4", "column 'b'", "empty")),
        ("a,b,y\n1,2,1\n3,x,-1\n", ("line 3", "column 'b'", "'x'")),
        ("a,b,y\n1,2,1\n3,4\n", ("line 3", "2 columns")),
        ("a,b,y\n1,2,1\n3,4,0.5\n", ("labels -1 and +1", "example 1", "0.5")),
        ("a,b,y\n1,2,1\n3,4,0\n5,6,2\n", ("takes two labels, or -1 and +1", "3 ('0', '1', '2')")),
        ("a,b,z\n1,2,1\n3,4,-1\n", ("no column 'y'",)),
        ("a,b,b\n1,2,1\n", ("two columns named 'b'",)),
        ("a,b,y\n", ("no rows",)),
        ("", ("no rows",)),
        ("y\n1\n", ("no column left",)),
        ("a,y\n1,1\n", ("widths begin with 2", "1 input", "[1, 8, 1]")),
    ],
)
def test_a_bad_csv_file_names_line_and_column(tmp_path: Path, content: str, parts: tuple[str, ...]) -> None:
    message = csv_refusal(tmp_path, content)
    assert all(part in message for part in parts), message


def test_a_missing_data_file_names_the_nearest(tmp_path: Path) -> None:
    message = csv_refusal(tmp_path, "", CSV.replace('"d.csv"', '"dd.csv"'))
    assert "did you mean 'd.csv'?" in message


def test_a_csv_file_is_read_as_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((5, 3))
    values[:, 1] = np.sign(values[:, 1])
    rows = "\n".join(",".join(repr(float(v)) for v in row) for row in values)
    (tmp_path / "d.csv").write_text('a,"y",b\n' + rows + "\n", encoding="utf-8-sig")
    data = built(text=CSV, folder=tmp_path).problem.data
    assert np.array_equal(data.inputs, values[:, [0, 2]])
    assert np.array_equal(data.targets, values[:, 1])


def test_columns_without_a_header_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("1;1;2\n-1;3;4\n")
    text = CSV.replace('targets = ["y"]', 'targets = [0]\nheader = false\ndelimiter = ";"')
    data = built(text=text, folder=tmp_path).problem.data
    assert np.array_equal(data.inputs, [[1.0, 2.0], [3.0, 4.0]])
    assert np.array_equal(data.targets, [1.0, -1.0])


NPZ = CSV.replace('kind = "csv"\npath = "d.csv"\ntargets = ["y"]', 'kind = "npz"\npath = "d.npz"')


def test_an_npz_file_is_read_as_written(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).standard_normal((6, 2)), np.array([1, -1, 1, -1, 1, -1])
    np.savez(tmp_path / "d.npz", inputs=x, targets=y, more=x[:2], labels=y[:2])
    text = NPZ.replace('"d.npz"', '"d.npz"\ntest_inputs = "more"\ntest_targets = "labels"')
    data = built(text=text, folder=tmp_path).problem.data
    assert np.array_equal(data.inputs, x)
    assert np.array_equal(data.targets, y)
    assert np.array_equal(data.test_targets, [1.0, -1.0])


class Trap:
    """Unpickling it leaves a mark."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"inputs": np.ones((2, 2))}, "no array 'targets'"),
        ({"inputs": np.array([[1.0, np.nan]]), "targets": np.ones(1)}, "index [0, 1]"),
        ({"inputs": np.array([Trap()]), "targets": np.ones(1)}, "without unpickling"),
        ({"inputs": np.array(["a"]), "targets": np.ones(1)}, "dtype"),
        ({"inputs": np.ones((3, 2)), "targets": np.ones(2)}, "3 inputs"),
    ],
)
def test_a_bad_npz_file_is_refused_and_never_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, Any], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", **arrays)
    with pytest.raises(SpecificationError) as caught:
        built(text=NPZ, folder=tmp_path)
    assert part in str(caught.value)
    assert not Path("unpickled").exists()


def test_a_single_array_is_no_npz_file(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.ones((4, 2)))
    with pytest.raises(SpecificationError, match="single array"):
        built(text=NPZ.replace("d.npz", "d.npy"), folder=tmp_path)


def test_a_damaged_npz_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", inputs=np.ones((4, 2)), targets=np.ones(4))
    whole = (tmp_path / "d.npz").read_bytes()
    for content in (b"", b"PK\x03\x04", whole[:-40], whole.replace(b"\xf0?", b"\xf1?", 1)):
        (tmp_path / "d.npz").write_bytes(content)
        with pytest.raises(SpecificationError):
            built(text=NPZ, folder=tmp_path)
