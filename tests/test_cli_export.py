"""`gradlab export` writes what a run recorded, with all its digits, or says what is missing."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from command_line import invoke, refused
from gradlab.store.run import Run

SPEC = """
observables = ["loss", "layer_norms"]
[network]
kind = "dense"
widths = [2, 2, 1]
activation = "identity"
[loss]
kind = "square"
[data]
kind = "linear regression"
examples = 5
inputs = 2
[flow]
kind = "gradient descent"
step = 0.01
[records]
until = 4
count = 5
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "spec.toml").write_text(SPEC)
    invoke("run", folder / "spec.toml", "--out", folder / "runs")
    (found,) = (folder / "runs").iterdir()
    return found


def test_a_table_has_every_record_and_every_entry(directory: Path, tmp_path: Path) -> None:
    done = invoke("export", directory, "--to", "csv", "--out", tmp_path / "run.csv")
    assert "final_weights" in done.stderr
    with open(tmp_path / "run.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with Run.open(directory) as kept:
        dataset = kept.dataset()
    assert len(rows) == dataset.sizes["record"]
    assert [float(row["loss"]) for row in rows] == dataset.loss.values.tolist()
    assert [float(row["layer_norms[layer=2]"]) for row in rows] == dataset.layer_norms.sel(
        layer=2
    ).values.tolist()
    assert [float(row["tau"]) for row in rows] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_netcdf_gives_the_dataset_back(directory: Path, tmp_path: Path) -> None:
    invoke("export", directory, "--to", "netcdf", "--out", tmp_path / "run.nc")
    with xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as back, Run.open(directory) as kept:
        dataset = kept.dataset()
        assert all(np.array_equal(back[name], dataset[name]) for name in dataset.variables)
        assert back.loss.attrs["units"] == "loss"
        assert back.attrs["result"] == "reached the last record"


def test_zarr_gives_the_dataset_back(directory: Path, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    invoke("export", directory, "--to", "zarr", "--out", tmp_path / "run.zarr")
    back = xr.open_zarr(tmp_path / "run.zarr", consolidated=False)
    with Run.open(directory) as kept:
        assert np.array_equal(back["loss"], kept.dataset()["loss"])


def test_tensorboard_gets_a_scalar_at_every_iteration(directory: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    loader = importlib.import_module("tensorboard.backend.event_processing.event_file_loader")
    invoke("export", directory, "--to", "tensorboard", "--out", tmp_path / "board")
    (file,) = (tmp_path / "board").iterdir()
    events: list[Any] = [
        (event.step, value)
        for event in loader.LegacyEventFileLoader(str(file)).Load()
        for value in event.summary.value
    ]
    losses = [(step, value.simple_value) for step, value in events if value.tag == "loss"]
    with Run.open(directory) as kept:
        assert np.allclose([value for _, value in losses], kept.dataset()["loss"], rtol=1e-6)
    assert [step for step, _ in losses] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("extra", ["zarr", "tensorboard"])
def test_a_package_that_is_not_there_is_named(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    def absent(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("gradlab.cli.export.importlib.import_module", absent)
    message = refused("export", directory, "--to", extra, "--out", tmp_path / "out")
    assert f"pip install 'gradlab[{extra}]'" in message
    assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten_and_formats_are_named(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    assert "is there already" in refused("export", directory, "--to", "csv", "--out", tmp_path / "there.csv")
    assert "csv, netcdf, zarr, tensorboard" in refused("export", directory, "--to", "excel")
    with Run.open(directory) as kept:
        assert "reached the last record" in kept._repr_html_()
