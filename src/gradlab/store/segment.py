"""A segment: labelled arrays and the state they end in, as the bytes of one netCDF file.

The bytes are a function of the arrays, names and attributes alone (see `netcdf`); no clock and no machine enters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from gradlab.store import netcdf

RECORD = "record"
_STATE = netcdf.BESIDE

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
    for name in dataset.variables:
        _check_name(name, "a recorded variable")
    for dim in dataset.dims:
        _check_name(dim, "a dimension")
    for name in state:
        _check_name(name, "a state array")
    return netcdf.to_bytes(dataset, {name: np.asarray(value) for name, value in state.items()})


def decode(data: bytes) -> tuple[xr.Dataset, State]:
    """The dataset and the state of a segment; in the first segments ever written each state array is a variable."""
    dataset, state = netcdf.from_bytes(data)
    names = [str(name) for name in dataset.variables if str(name).startswith(_STATE)]
    state |= {name.removeprefix(_STATE): np.array(dataset.variables[name].values) for name in names}
    return dataset.drop_vars(names), state


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
        array = np.asarray(value)
        if array.ndim == 0:
            raise ValueError(f"{name!r} was a number; recorded arrays have a first axis 'record'")
        variables[name] = ((RECORD, *(f"{name}_{axis}" for axis in range(1, array.ndim))), array)
    return xr.Dataset(variables)


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
