"""The runs of a design as one labelled cube."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from gradlab.specification import Design
from gradlab.store.run import Run

#: Dims of what stays in the run directories: as many numbers as weights or examples.
_LARGE = frozenset({"weight", "weights", "example"})
#: Dims and values.
_Number = tuple[tuple[str, ...], np.ndarray]
#: Where a run is: its directory, and the member of it.
Place = tuple[Path, int | None]


def cube(
    design: Design,
    found: Mapping[tuple[int, ...], Mapping[int, Place]],
    errors: Mapping[tuple[int, ...], Mapping[int, str]],
    root: Path,
) -> xr.Dataset:
    """Every number that was recorded, over the axes of a design and ``seed``.

    Parameters
    ----------
    found : of each point, where the run of a seed is.
    errors : of each point, why there is no run of a seed.

    Returns
    -------
    Dataset over the axes, ``seed`` and what a number has dims of its own for (``layer``, say; shorter ones are filled
    up with NaN): the last record of each run, or, where the design says ``records``, all of them over ``record``.
    ``status`` is how a run ended, or why there is none, ``run`` its directory below ``root``, ``member`` its number
    there (−1 where it is alone). All numbers are float64; NaN where there is no run.
    """
    seeds = {seed: i for i, seed in enumerate(design.seeds)}
    shape = (*design.shape, len(seeds))
    status: Any = np.full(shape, "not computed", dtype=object)
    run: Any = np.full(shape, "", dtype=object)
    member: Any = np.full(shape, -1, dtype=np.int64)
    pieces: dict[str, list[_Piece]] = {}
    for index, places in found.items():
        for path in dict.fromkeys(path for path, _ in places.values()):
            # seeds of the design that are in this directory, and where in it
            here = [(seed, number) for seed, (one, number) in places.items() if one == path and seed in seeds]
            if not here:
                continue
            with Run.open(path) as kept:
                recorded, attributes = kept.numbers()
            at: tuple[Any, ...] = (*index, [seeds[seed] for seed, _ in here])
            members: list[Any] = [number for _, number in here]
            run[at] = path.relative_to(root).as_posix()
            member[at] = [-1 if number is None else number for number in members]
            status[at] = _words(str(attributes["result"]), members)
            for name, (dims, values) in _numbers(
                recorded, design.cube, len(kept.identity.content["seeds"])
            ).items():
                chosen = values[None] if members == [None] else values[members]
                pieces.setdefault(name, []).append(_Piece(at, dims, chosen))
    for index, why in errors.items():
        for seed, text in why.items():
            status[(*index, seeds[seed])] = f"not computed: {text}"
    dims = (*(axis.name for axis in design.axes), "seed")
    variables: dict[str, Any] = {
        "status": (dims, status.astype(str)),
        "run": (dims, run.astype(str)),
        "member": (dims, member),
    }
    for name, parts in sorted(pieces.items()):
        if name not in dims:  # an axis keeps its name
            variables[name] = _joined(parts, shape, dims)
    coordinates: dict[str, Any] = {"seed": ("seed", np.asarray(design.seeds, dtype=np.int64))}
    for axis in design.axes:
        coordinates |= {name: (axis.name, values) for name, values in axis.coordinates.items()}
    attributes = {"specification": json.dumps(design.base, default=str), "cube": design.cube}
    return xr.Dataset(variables, coordinates, attributes)


@dataclass(frozen=True)
class _Piece:
    """What one run directory holds of a number: where it belongs, its own dims, values with the seeds first."""

    at: tuple[Any, ...]
    dims: tuple[str, ...]
    values: np.ndarray


def _words(result: str, members: list[Any]) -> list[str]:
    """How runs ended."""
    return [result] if members == [None] else [str(json.loads(result)[number]) for number in members]


def _numbers(recorded: Mapping[str, _Number], what: str, members: int) -> dict[str, _Number]:
    """Dims and values of each number, at the last record or at all; members first, where there are several."""
    found = {}
    for name, (dims, values) in recorded.items():
        if "record" not in dims or _LARGE & set(dims) or name == "status":
            continue
        values = np.asarray(values, dtype=np.float64)
        if what == "end":
            values, dims = values[-1], dims[1:]
        if "member" in dims:
            values = np.moveaxis(values, dims.index("member"), 0)
        elif members > 1:  # what all of them share
            values = np.broadcast_to(values, (members, *values.shape))
        found[name] = tuple(dim for dim in dims if dim != "member"), values
    return found


def _joined(
    parts: list[_Piece], shape: tuple[int, ...], dims: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray]:
    """All runs' values of one number, NaN where there are none."""
    own = parts[0].dims
    sizes = tuple(max(part.values.shape[axis] for part in parts) for axis in range(1, len(own) + 1))
    whole: Any = np.full((*shape, *sizes), np.nan)
    for part in parts:
        *index, seeds = part.at
        point = whole[tuple(index)]
        point[(seeds, *(slice(0, size) for size in part.values.shape[1:]))] = part.values
    return (*dims, *own), whole
