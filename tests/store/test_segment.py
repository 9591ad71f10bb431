"""A segment gives back what it was given, and the same arrays give the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from gradlab.store.segment import concatenate, decode, encode

SCRIPT = """
import hashlib, numpy as np, xarray as xr
from gradlab.store.segment import encode
data = xr.Dataset(
    {"loss": ("record", np.linspace(0, 1, 7)), "norm": (("record", "layer"), np.ones((7, 3)))},
    coords={"layer": [1, 2, 3]}, attrs={"result": "ended", "seed": 0},
)
state = {"y": np.arange(5.0), "step": np.int64(3), "key": np.array([1, 2], np.uint32)}
print(hashlib.sha256(encode(data, state)).hexdigest())
"""


def recorded() -> xr.Dataset:
    """Everything a segment may hold, NaN and infinities among it."""
    return xr.Dataset(
        {
            "loss": ("record", np.array([1.0, np.nan, -np.inf, 5e-324]), {"units": "s"}),
            "norm": (("record", "layer"), np.arange(8.0).reshape(4, 2)),
            "step": ("record", np.array([0, 1, 2**62, -1])),
            "still": ("record", np.array([True, False, True, True])),
            "said": ("record", np.array(["a", "λ", "", "long"])),
            "single": ("record", np.arange(4, dtype=np.float32)),
            "final": ("weight", np.arange(3.0)),
            "none": ("empty", np.zeros(0)),
            "number": ((), np.float64(0.1)),
        },
        coords={"layer": ["W1", "W2"], "t": ("record", np.arange(4.0))},
        attrs={"result": "reached t", "seed": 3, "scale": 0.1, "units": "days since 2000-01-01"},
    )


STATE: dict[str, Any] = {
    "y": np.array([[1.5, np.nan], [-0.0, 5e-324]]),
    "log_t": np.float64(-np.inf),
    "step": np.int64(2**62 + 1),
    "key": np.array([1, 2**32 - 1], dtype=np.uint32),
    "alive": np.array([True, False]),
    "none": np.zeros((0, 3)),
}


def test_a_segment_gives_back_every_value_type_and_attribute() -> None:
    dataset, state = decode(encode(recorded(), STATE))
    xr.testing.assert_identical(dataset, recorded())
    for name, variable in recorded().variables.items():
        assert dataset.variables[name].dtype == variable.dtype
    assert state.keys() == STATE.keys()
    for name, value in STATE.items():
        assert state[name].dtype == np.asarray(value).dtype
        assert state[name].shape == np.shape(value)
        assert state[name].tobytes() == np.asarray(value).tobytes()


def test_the_state_does_not_appear_among_what_was_recorded() -> None:
    dataset, _ = decode(encode(recorded(), STATE))
    assert set(dataset.variables) == set(recorded().variables)
    assert set(dataset.sizes) == set(recorded().sizes)


def test_the_same_arrays_give_the_same_bytes_in_another_process_and_another_memory() -> None:
    digests = set()
    for number in (1, 2):
        environment = {**os.environ, "PYTHONHASHSEED": str(number), "MALLOC_PERTURB_": str(80 * number)}
        command = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_layout_in_memory_does_not_change_the_bytes_and_a_value_does() -> None:
    matrix = np.arange(6.0).reshape(2, 3)
    plain = encode({"m": matrix}, {"y": matrix})
    assert encode({"m": np.asfortranarray(matrix)}, {"y": matrix.astype(">f8")}) == plain
    assert encode({"m": matrix}, {"y": np.nextafter(matrix, 9)}) != plain
    assert hashlib.sha256(encode({"m": matrix}, {"y": matrix})).digest() == hashlib.sha256(plain).digest()


def test_plain_arrays_are_recorded_along_their_first_axis() -> None:
    dataset, _ = decode(encode({"a": np.ones((4, 2, 3))}, {}))
    assert dataset["a"].dims == ("record", "a_1", "a_2")


@pytest.mark.parametrize(
    ("recorded", "state", "words"),
    [
        ({"a": np.array([object()])}, {}, "type object"),
        ({"a": np.array([None, 1.0])}, {}, "type object"),
        ({"a": np.ones(2, complex)}, {}, "complex128"),
        ({"a": np.ones(2)}, {"y": np.array([{}])}, "type object"),
        ({"a": np.ones(2)}, {"y": np.longdouble(1)}, "which a segment does not keep"),
        ({"a": np.array(["2000-01-01"], "M8[s]")}, {}, "datetime64"),
        ({"a": 1.0}, {}, "first axis 'record'"),
        ({"state_a": np.ones(2)}, {}, "begin with"),
        ({"a/b": np.ones(2)}, {}, "without '/'"),
        ({"a": np.ones(2)}, {"../y": np.ones(2)}, "without '/'"),
        (xr.Dataset({"a": ("state_0", np.ones(2))}), {}, "a dimension"),
        (xr.Dataset(attrs={"x": None}), {}, "attributes are"),
        (xr.Dataset(attrs={"x": {"y": 1}}), {}, "attributes are"),
    ],
)
def test_what_a_file_cannot_keep_exactly_is_refused(recorded: Any, state: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        encode(recorded, state)


def test_segments_join_along_record_and_the_last_word_holds_for_the_rest() -> None:
    first = xr.Dataset(
        {"loss": ("record", [3.0, np.nan]), "final": ("weight", [0.0])}, attrs={"result": "going", "seed": 1}
    )
    last = xr.Dataset({"loss": ("record", [1.0]), "final": ("weight", [2.0])}, attrs={"result": "ended"})
    expected = xr.Dataset(
        {"loss": ("record", [3.0, np.nan, 1.0]), "final": ("weight", [2.0])},
        attrs={"result": "ended", "seed": 1},
    )
    xr.testing.assert_identical(concatenate([first, last]), expected)
    assert concatenate([]).sizes == {}


def test_a_variable_may_be_called_like_one_of_its_dims(tmp_path: Path) -> None:
    given = xr.Dataset(
        {"moment": (("record", "moment"), np.arange(6.0).reshape(2, 3)), "x": ("moment", np.ones(3))}
    )
    xr.testing.assert_identical(decode(encode(given, {}))[0], given)
    (tmp_path / "x.nc").write_bytes(encode(given, {}))
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as read:
        xr.testing.assert_identical(read[["moment", "x"]].drop_attrs(), given)


def test_thousands_of_variables_refer_to_one_dim() -> None:
    """A list of what refers to a dim longer than 64 KiB; HDF5 keeps it in files of version 1.8 and later alone."""
    many = xr.Dataset({f"v{i}": ("record", np.array([float(i)])) for i in range(4200)})
    xr.testing.assert_identical(decode(encode(many, {}))[0], many)
