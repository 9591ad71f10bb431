"""``gradlab export``: the trajectory of a run directory in the formats of other programs."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.cli.errors import say

if TYPE_CHECKING:
    import xarray as xr

ENDINGS = {"csv": ".csv", "netcdf": ".nc", "zarr": ".zarr", "tensorboard": "-tensorboard"}


def export(directory: Path, to: str, out: Path | None) -> None:
    """Write a run's trajectory beside its directory, or to ``out``; the path goes to standard output."""
    from gradlab.store.run import Run

    if to not in ENDINGS:
        raise ValueError(f"--to {to}: formats are {', '.join(ENDINGS)}")
    with Run.open(directory) as kept:
        if not kept.segments:
            raise ValueError(f"{directory} has recorded nothing yet; go on with: gradlab resume {directory}")
        dataset, name = kept.dataset(), kept.path.name
        dataset.attrs["result"] = kept.finished or "cut short"
    path = out or directory.resolve().with_name(name + ENDINGS[to])
    if path.exists():
        raise ValueError(f"{path} is there already; name another with --out, or move it away")
    _WRITERS[to](dataset, path)
    print(path)


def columns(dataset: xr.Dataset) -> Iterator[tuple[str, Any]]:
    """(name, value at every record) of all that is recorded, an entry each: ``layer_norms[layer=2]``."""
    for name in map(str, [*dataset.coords, *dataset.data_vars]):
        variable = dataset[name]
        if "record" not in variable.dims or "weight" in variable.dims:
            continue
        variable = variable.transpose("record", ...)
        for index in np.ndindex(variable.shape[1:]):
            labels = [
                f"{dim}={dataset[dim].values[k] if dim in dataset.coords else k}"
                for dim, k in zip(variable.dims[1:], index, strict=True)
            ]
            yield f"{name}[{','.join(labels)}]" if labels else name, variable.values[(slice(None), *index)]


def _left_out(dataset: xr.Dataset) -> None:
    left = [str(name) for name in dataset.data_vars if "weight" in dataset[name].dims]
    if left:
        say(f"Left out: {', '.join(left)} (vectors of weights; --to netcdf keeps them).")


def _write(path: Path, content: bytes) -> None:
    from gradlab.store.disk import Disk

    disk = Disk()
    disk.mkdir(path.parent)
    disk.write_bytes_atomically(path, content)


def _csv(dataset: xr.Dataset, path: Path) -> None:
    """A row for every record, numbers with all their digits."""
    named = dict(columns(dataset))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(named)
    writer.writerows(zip(*(values.tolist() for values in named.values()), strict=True))
    _left_out(dataset)
    _write(path, text.getvalue().encode())


def _netcdf(dataset: xr.Dataset, path: Path) -> None:
    _write(path, bytes(dataset.to_netcdf(engine="h5netcdf")))


def _zarr(dataset: xr.Dataset, path: Path) -> None:
    _needed("zarr", "zarr")
    dataset.to_zarr(path, mode="w-", consolidated=False)


def _tensorboard(dataset: xr.Dataset, path: Path) -> None:
    """A scalar at every record, at the step of an iteration, else at the number of the record."""
    writers = _needed("tensorboard.summary.writer.event_file_writer", "tensorboard")
    events = _needed("tensorboard.compat.proto.event_pb2", "tensorboard")
    summaries = _needed("tensorboard.compat.proto.summary_pb2", "tensorboard")
    tau = np.asarray(dataset["tau"].values, dtype=float)
    whole = tau.ndim == 1 and bool(np.all(tau == np.round(tau)))
    steps = tau.astype(int) if whole else np.arange(dataset.sizes["record"])
    writer = writers.EventFileWriter(str(path))
    for name, values in columns(dataset):
        if np.asarray(values).dtype.kind not in "fiub":
            continue
        for step, value in zip(steps.tolist(), np.asarray(values, dtype=float).tolist(), strict=True):
            scalar = summaries.Summary.Value(tag=name.replace("[", "/").rstrip("]"), simple_value=value)
            writer.add_event(
                events.Event(wall_time=0.0, step=step, summary=summaries.Summary(value=[scalar]))
            )
    writer.close()
    say(
        "Numbers are in single precision there, as the format has it; steps are "
        + ("iterations." if whole else "records.")
    )
    _left_out(dataset)


def _needed(module: str, extra: str) -> Any:
    """An optional package, or a sentence that says how to have it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"--to {extra} needs the package {extra}, which is not installed: pip install 'gradlab[{extra}]'"
        ) from error


_WRITERS = {"csv": _csv, "netcdf": _netcdf, "zarr": _zarr, "tensorboard": _tensorboard}
