"""A sweep computes what is not there, once, and says of every run how it ended."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradlab as gl
from gradlab import specification
from gradlab.store.disk import Disk, StoreError
from gradlab.sweeping.sweep import Sweep

GRID = {"network.init.scale": [0.5, 1.0], "flow.step": [0.01, 0.02]}


def work(tables: dict[str, Any], out: Path, **table: Any) -> Sweep:
    return Sweep(specification.design({**tables, "sweep": table}), Path.cwd(), out)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


def test_every_run_is_the_run_of_its_specification_alone(tables: dict[str, Any], out: Path) -> None:
    cube = gl.sweep(tables, grid=GRID, seeds=2, out=out)
    assert dict(cube.loss.sizes) == {"network.init.scale": 2, "flow.step": 2, "seed": 2}
    assert cube.layer_norms.dims == ("network.init.scale", "flow.step", "seed", "layer")
    one = specification.design({**tables, "sweep": {"seeds": [1], "grid": {"network.init.scale": [0.5]}}})
    ((_, spec),) = one.points()
    made = specification.build(spec, Path.cwd())
    alone = gl.run(made.flow, made.weights, made.records, observables=["loss", "layer_norms"])
    chosen = cube.sel({"network.init.scale": 0.5, "flow.step": 0.01, "seed": 1})
    assert float(chosen.loss) == pytest.approx(float(alone.loss[-1]), rel=1e-13)
    assert chosen.layer_norms.values == pytest.approx(alone.layer_norms.values[-1], rel=1e-13)
    assert set(cube.status.values.ravel()) == {"reached the last record"}
    assert len(np.unique(cube.loss)) == 8


def test_what_is_there_is_not_computed_again(tables: dict[str, Any], out: Path) -> None:
    again = work(tables, out, grid=GRID, seeds=2)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.nc") if path.name != "cube.nc"}
    again.run()
    assert again.computed == 0
    assert len(before) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert again.collect().loss.notnull().all()


def test_a_value_and_a_seed_that_are_added_cost_themselves(tables: dict[str, Any], out: Path) -> None:
    more = work(tables, out, grid=GRID | {"network.init.scale": [0.5, 0.7, 1.0]}, seeds=2)
    more.run()
    assert more.computed == 4
    seeds = work(tables, out, grid=GRID, seeds=3)
    seeds.run()
    assert seeds.computed == 4
    cube = seeds.collect()
    assert cube.member.values[0, 0].tolist() == [0, 1, -1]  # the third was computed alone
    assert cube.loss.notnull().all()


def test_what_a_run_is_refused_for_is_its_status(tables: dict[str, Any], tmp_path: Path) -> None:
    widths = {"network.widths": [[1, 1], [1, 2]]}
    cube = gl.sweep(tables, grid=widths, out=tmp_path)
    first, second = cube.status.values.ravel()
    assert first == "reached the last record"
    assert second.startswith("not computed: in [network]: widths end with 2")
    assert np.isnan(cube.loss.values.ravel()).tolist() == [False, True]
    assert cube.coords["network.widths"].values.tolist() == ["[1, 1]", "[1, 2]"]


def test_the_first_run_that_cannot_be_is_told_before_anything_is_made(
    tables: dict[str, Any], tmp_path: Path
) -> None:
    tables["network"]["widths"] = [1, 2]
    with pytest.raises(ValueError, match="widths end with 2"):
        gl.sweep(tables, seeds=2, out=tmp_path / "out", jobs=2)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence_and_the_same_call_goes_on(
    tables: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, real = [], Disk.write

    def write(self: Disk, descriptor: int, data: bytes) -> None:
        written.append(len(data))
        if len(written) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, descriptor, data)

    monkeypatch.setattr(Disk, "write", write)
    first = work(tables, tmp_path, grid={"flow.step": [0.01, 0.02, 0.03]})
    with pytest.raises(StoreError, match="No space left on device") as caught:
        first.run()
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    again = work(tables, tmp_path, grid={"flow.step": [0.01, 0.02, 0.03]})
    again.run()
    assert 0 < again.computed < 3
    assert again.done == 3


def test_a_damaged_run_is_named(tables: dict[str, Any], tmp_path: Path) -> None:
    gl.sweep(tables, out=tmp_path)
    (file,) = tmp_path.rglob("segment-00000.nc")
    file.write_bytes(file.read_bytes()[:-1] + b"\0\0")
    with pytest.raises(StoreError, match="segment-00000"):
        gl.sweep(tables, out=tmp_path)


def test_a_cube_of_records_holds_them_all_and_ends_as_the_other(
    tables: dict[str, Any], tmp_path: Path
) -> None:
    tables["stop"] = {"steps": 5}
    ends = gl.sweep(tables, grid={"records.count": [3, 6]}, out=tmp_path)
    tables["sweep"] = {"cube": "records"}
    cube = gl.sweep(tables, grid={"records.count": [3, 6]}, out=tmp_path)
    assert cube.loss.dims == ("records.count", "seed", "record")
    last = [row[np.isfinite(row)][-1] for row in cube.loss.values[:, 0]]
    assert last == ends.loss.values[:, 0].tolist()
