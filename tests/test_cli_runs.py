"""``gradlab run`` and ``resume``: a directory with figures and a page, the same bits however often it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from command_line import invoke, refused
from gradlab.cli import errors, screen
from gradlab.store import run as store
from gradlab.store.run import Run

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SPEC = """
title = "A small run [/w]"
observables = ["loss", "layer_norms"]
[network]
kind = "dense"
widths = [2, 3, 1]
activation = "tanh"
[loss]
kind = "square"
[data]
kind = "csv"
path = "points.csv"
targets = ["y"]
[flow]
kind = "sgd"
step = 0.05
batch = 2
[records]
until = 64
count = 33
keep = "all"
"""
POINTS = "a,b,y\n1,0,1\n0,1,-1\n1,1,0.5\n-1,2,0.25\n"


@pytest.fixture
def spec() -> Path:
    Path("points.csv").write_text(POINTS)
    Path("spec.toml").write_text(SPEC)
    return Path("spec.toml")


def directory(root: str = "runs") -> Path:
    (found,) = [path for path in Path(root).iterdir() if not path.name.startswith(".")]
    return found


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def interrupted(*arguments: str | Path, after: int) -> str:
    """Give a command and press Ctrl-C after so many segments; what was said."""
    append = Run.append

    def stop(self: Run, *given: Any, **options: Any) -> str:
        if self.segments == after:
            raise KeyboardInterrupt
        return append(self, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "append", stop)
        return str(invoke(*arguments, code=errors.INTERRUPTED).stderr)


@pytest.fixture
def cut_short(spec: Path) -> Path:
    """A run that Ctrl-C ended after its third segment."""
    message = interrupted("run", spec, after=3)
    assert f"3 segments are kept; go on with: gradlab resume {directory()}" in message
    return directory()


def test_a_run_makes_a_directory_with_figures_and_a_page(spec: Path) -> None:
    out = invoke("run", spec).stdout
    assert out == f"reached the last record: {(directory() / 'page.html').resolve()}\n"
    names = set(contents(directory()))
    assert names >= {"page.html", "loss.svg", "layer_norms.svg", "specification.json", "segment-00000.nc"}
    page = (directory() / "page.html").read_text()
    assert "A small run [/w]" in page
    with Run.open(directory()) as kept:
        assert kept.finished == "reached the last record"
        assert kept.dataset().sizes["record"] == 33


def test_iterations_on_little_have_bars_unless_they_are_not_wanted(spec: Path) -> None:
    invoke("run", spec)
    with Run.open(directory()) as kept:
        seen = kept.dataset()
    assert bool((seen["loss_error"][1:] > 0.0).all())
    assert float(seen["loss_error"][-1]) < 1e-12
    spec.write_text(SPEC + "[solver]\nrefine = false\n")
    invoke("run", spec, "--out", "other")
    with Run.open(directory("other")) as kept:
        assert "loss_error" not in kept.dataset()


def test_a_run_that_failed_says_why_and_leaves_with_another_exit_code(spec: Path) -> None:
    spec.write_text(SPEC.replace("step = 0.05", "step = 1e9").replace('"tanh"', '"identity"'))
    said = invoke("run", spec, code=errors.FAILED).stdout
    assert said.startswith("failed: the field is not finite at t = ")
    assert "take a smaller step" in said
    assert "Nothing was computed" in invoke("run", spec, code=errors.FAILED).stdout


def test_a_run_that_is_piped_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = screen.still("digits, t = 3.2", 12.4, 40.0, 120.0)
    assert line == "digits, t = 3.2: 12.4 of 40 after 2 min, about 4 min more"
    with screen.Bar(every=0.0) as bar:
        bar.update("mine, t = 1", 1.0, 2.0)
        while "mine, t = 1: 1.0 of 2 after 0 min" not in capsys.readouterr().err:
            pass


def test_repeating_a_run_says_so_and_computes_nothing(spec: Path) -> None:
    invoke("run", spec)
    before = contents(directory())
    Path("spec.toml").write_text(SPEC.replace("[/w]", "under another name") + "\n[stop]\n")
    assert "Nothing was computed" in invoke("run", spec).stdout
    assert "Nothing was computed" in invoke("resume", directory()).stdout
    assert contents(directory()) == before


def test_other_data_are_another_run(spec: Path) -> None:
    invoke("run", spec)
    Path("points.csv").write_text(POINTS.replace("0.25", "0.26"))
    invoke("run", spec)
    assert len(list(Path("runs").iterdir())) == 2


@pytest.mark.parametrize("command", ["resume", "run"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(cut_short: Path, command: str) -> None:
    if command == "resume":
        Path("points.csv").unlink()
    invoke("resume", cut_short) if command == "resume" else invoke("run", "spec.toml")
    Path("points.csv").write_text(POINTS)
    invoke("run", "spec.toml", "--out", "whole")
    with Run.open(cut_short) as resumed, Run.open(directory("whole")) as whole:
        xr.testing.assert_identical(resumed.dataset(), whole.dataset())
        assert resumed.finished == whole.finished
        for index in range(whole.segments):
            name = f"segment-{index:05d}.nc"
            assert resumed.read(name) == whole.read(name)
        assert resumed.read("loss.svg") == whole.read("loss.svg")


def elsewhere(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    here = store.environment()
    monkeypatch.setattr(store, "environment", lambda: {**here, **changes})


@pytest.mark.parametrize("changes", [{"cores": 64}, {"instruction_set": "abacus"}])
def test_resuming_elsewhere_is_refused_and_a_child_run_goes_on(
    cut_short: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    elsewhere(monkeypatch, **changes)
    before = contents(cut_short)
    message = refused("resume", cut_short)
    assert str(*changes.values()) in message
    assert f"gradlab resume {cut_short} --rebind" in message
    invoke("resume", cut_short, "--rebind")
    assert contents(cut_short) == before
    (child,) = [path for path in Path("runs").iterdir() if path.name != cut_short.name]
    with Run.open(child) as kept, Run.open(cut_short) as parent:
        assert kept.parent is not None
        assert kept.parent["identity"] == parent.identity.digest
        assert kept.finished == "reached the last record"
        first = kept.dataset().isel(record=slice(parent.dataset().sizes["record"]))
        assert np.array_equal(first["weights"], parent.dataset()["weights"])


def test_rebinding_where_nothing_differs_makes_no_child(cut_short: Path) -> None:
    assert "no child is needed" in invoke("resume", cut_short, "--rebind").stderr
    assert len(list(Path("runs").iterdir())) == 1


def test_a_damaged_run_directory_names_the_file(cut_short: Path) -> None:
    data = bytearray((cut_short / "segment-00001.nc").read_bytes())
    data[len(data) // 2] ^= 1
    (cut_short / "segment-00001.nc").write_bytes(data)
    assert "segment-00001.nc" in refused("resume", cut_short)
    assert "segment-00001.nc" in refused("report", cut_short)


def test_a_run_cut_short_is_drawn_as_far_as_it_came(cut_short: Path) -> None:
    assert invoke("report", cut_short).stdout.strip() == str(cut_short / "page.html")
    assert "cut short" in (cut_short / "page.html").read_text()
    invoke("resume", cut_short)
    assert "cut short" not in (cut_short / "page.html").read_text()


def test_a_run_of_ones_own_code_resumes_with_that_code_only() -> None:
    folder = EXAMPLES / "own"
    text = (folder / "network.toml").read_text()
    Path("network.toml").write_text(text.replace("until = 20.0\ncount = 41", "until = 0.2\ncount = 3"))
    own = Path("network.py")
    own.write_text((folder / "network.py").read_text())
    interrupted("run", "network.toml", "--code", own, after=1)
    assert "--code" in refused("resume", directory())
    changed = own.read_text().replace("jnp.cos", "jnp.tanh")
    Path("changed.py").write_text(changed)
    assert "own code differs" in refused("resume", directory(), "--code", "changed.py")
    invoke("resume", directory(), "--code", own)
    with Run.open(directory()) as kept:
        assert kept.finished is not None


@pytest.mark.parametrize("name", ["exponential", "digits", "deep_linear", "minimum_norm"])
def test_the_examples_run_as_they_stand(name: str) -> None:
    invoke("run", EXAMPLES / f"{name}.toml")
    with Run.open(directory()) as kept:
        last = kept.dataset().isel(record=-1)
        assert kept.finished is not None
        page = kept.read("page.html").decode()
    if name == "exponential":
        assert kept.finished == "stopped: log t reached"
        assert 0.499 < float(last["normalised_margin"]) < 0.5
    elif name == "digits":
        assert float(last["error"]) < 0.02
    elif name == "minimum_norm":
        assert float(last["distance_to_minimum_norm"]) < 1e-10
        assert "from the solution of least norm" in page
        assert "near a minimum, to second order" in page
    else:
        assert kept.finished == "stopped: gradient norm reached"


def test_a_faulty_specification_leaves_nothing_behind() -> None:
    Path("spec.toml").write_text(SPEC.replace("widths", "widhts"))
    assert "spec.toml: in [network]: there is no key 'widhts'; did you mean 'widths'?" in refused(
        "run", "spec.toml"
    )
    assert not Path("runs").exists()
