"""A segment: labelled arrays and the state they end in, as the bytes of one netCDF file.

The bytes are a function of the arrays, names and attributes alone: nothing of the clock or the machine
enters. NaN is a value and never means missing. Nothing is pickled.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np
import xarray as xr

RECORD = "record"
_STATE = "state_"
#: How netCDF marks what is a dim and nothing else.
_NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable"

State = dict[str, np.ndarray]
Recorded = xr.Dataset | Mapping[str, Any]


def encode(recorded: Recorded, state: Mapping[str, Any]) -> bytes:
    """The bytes of a segment.

    Parameters
    ----------
    recorded : a dataset, or arrays by name whose first axis is ``record``.
    state : arrays of any shape by name: what the next segment starts from.

    Raises
    ------
    ValueError : a name, type or attribute that a netCDF file cannot keep exactly.
    """
    dataset = as_dataset(recorded)
    variables: dict[str, xr.Variable] = {}
    for name, variable in dataset.variables.items():
        _check_name(name, "a recorded variable")
        variables[str(name)] = _variable(str(name), variable.dims, variable.values, variable.attrs)
    for dim in dataset.dims:
        _check_name(dim, "a dimension")
    for name, value in state.items():
        _check_name(name, "a state array")
        array = _array(name, value)
        dims = tuple(f"{_STATE}{name}_{axis}" for axis in range(array.ndim))
        variables[_STATE + name] = _variable(_STATE + name, dims, array, {})
    coordinates = [name for name in variables if name in dataset.coords]
    whole = xr.Dataset(variables, attrs=dataset.attrs).set_coords(coordinates)
    try:
        return bytes(whole.to_netcdf(engine="h5netcdf"))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"a segment cannot be written ({error}); attributes are strings, numbers or lists of numbers"
        ) from error


def decode(data: bytes) -> tuple[xr.Dataset, State]:
    """The dataset and the state of a segment."""
    opened = xr.open_dataset(
        io.BytesIO(data), engine="h5netcdf", mask_and_scale=False, decode_times=False, decode_timedelta=False
    )
    with opened:
        whole = opened.load()
    names = [str(name) for name in whole.variables if str(name).startswith(_STATE)]
    state = {name.removeprefix(_STATE): np.array(whole.variables[name].values) for name in names}
    dataset = whole.drop_vars(names)
    for variable in dataset.variables.values():
        variable.encoding = {}
    dataset.encoding = {}
    return dataset, state


def numbers(data: bytes) -> tuple[dict[str, tuple[tuple[str, ...], np.ndarray]], dict[str, Any]]:
    """Dims and values of all that is a number in a segment, and its attributes.

    What :func:`decode` gives, without xarray, for readers of many thousands of segments.
    """
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    with h5py.File(io.BytesIO(data), "r") as file:
        for name, variable in file.items():
            if variable.dtype.kind not in "biuf" or name.startswith(_STATE):
                continue
            if str(variable.attrs.get("NAME", b"")).find(_NO_VARIABLE) >= 0:
                continue
            scales = variable.attrs.get("DIMENSION_LIST", ())
            dims = tuple(str(file[scale[0]].name).lstrip("/") for scale in scales)
            found[name] = (dims or (name,) * variable.ndim), variable[()]
        attributes = {name: value for name, value in file.attrs.items() if not name.startswith("_")}
    return found, attributes


def layout(dataset: xr.Dataset) -> dict[str, list[Any]]:
    """What the segments of one run share: dims, sizes and type of each variable over ``record``."""
    return {
        str(name): [
            [dim, None if dim == RECORD else int(size)]
            for dim, size in zip(variable.dims, variable.shape, strict=True)
        ]
        + [_kind(variable.dtype)]
        for name, variable in dataset.variables.items()
        if RECORD in variable.dims
    }


def check_layout(first: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Check that a segment continues the first one: NaN never means missing, so nothing may be absent.

    Raises
    ------
    ValueError : the first variable that is absent, new or of another shape or type.
    """
    for name in sorted(first.keys() | new.keys()):
        if first.get(name) != new.get(name):
            raise ValueError(
                f"record variable {name!r} was {_said(new.get(name))} in this segment and "
                f"{_said(first.get(name))} in the first; every segment of a run records the same variables"
            )


def concatenate(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """One dataset of all segments: record variables joined along ``record``, of all else the last word."""
    joined: dict[str, xr.Variable] = {}
    attributes: dict[Any, Any] = {}
    coordinates: set[str] = set()
    for part in parts:
        attributes |= part.attrs
        coordinates |= {str(name) for name in part.coords}
        for name, variable in part.variables.items():
            joined[str(name)] = variable
    for name, variable in joined.items():
        if RECORD in variable.dims:
            pieces = [part.variables[name].to_base_variable() for part in parts]
            joined[name] = xr.Variable.concat(pieces, dim=RECORD)
    return xr.Dataset(joined, attrs=attributes).set_coords([name for name in joined if name in coordinates])


def as_dataset(recorded: Recorded) -> xr.Dataset:
    """What was recorded as a dataset; of plain arrays the first axis is ``record``."""
    if isinstance(recorded, xr.Dataset):
        return recorded
    variables = {}
    for name, value in recorded.items():
        array = _array(name, value)
        if array.ndim == 0:
            raise ValueError(f"{name!r} was a number; recorded arrays have a first axis 'record'")
        variables[name] = ((RECORD, *(f"{name}_{axis}" for axis in range(1, array.ndim))), array)
    return xr.Dataset(variables)


def _array(name: object, value: Any) -> np.ndarray:
    """The value as an array in C order and native bytes, of a type that a file keeps exactly."""
    array = np.asarray(value)
    if array.dtype.kind in "SU" or (array.dtype.kind in "biuf" and array.dtype.itemsize <= 8):
        return np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    raise ValueError(
        f"{name!r} has type {array.dtype}, which a segment does not keep; "
        "write booleans, integers, floats up to 64 bits or fixed-width strings"
    )


def _variable(name: str, dims: Sequence[Any], value: Any, attrs: Mapping[Any, Any]) -> xr.Variable:
    return xr.Variable(tuple(dims), _array(name, value), dict(attrs), {"_FillValue": None})


def _check_name(name: object, what: str) -> None:
    if not isinstance(name, str) or not name or "/" in name or name.startswith((_STATE, ".")):
        raise ValueError(
            f"{what} was called {name!r}; names are strings without '/' "
            f"that do not begin with '.' or {_STATE!r}"
        )


def _kind(dtype: np.dtype) -> str:
    """The type, widths of strings left out: they may differ from segment to segment."""
    return dtype.kind if dtype.kind in "SU" else dtype.name


def _said(entry: Any) -> str:
    return "absent" if entry is None else f"{entry[-1]} over {[tuple(pair) for pair in entry[:-1]]}"
