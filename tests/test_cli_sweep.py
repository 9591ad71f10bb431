"""``gradlab sweep``: what it prints, where it leaves things, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from command_line import invoke
from gradlab import specification
from gradlab.cli import errors
from gradlab.sweeping.sweep import Sweep

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

SPEC = """
title = "Few <runs>"
observables = ["loss"]
[network]
kind = "dense"
widths = [1, 1]
[network.init]
kind = "gaussian"
scale = 1.0
[loss]
kind = "square"
[data]
kind = "linear regression"
examples = 3
inputs = 1
[flow]
kind = "gradient descent"
step = 0.01
[records]
until = 3
count = 2
[sweep.grid]
"flow.step" = [0.01, 0.02]
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "few.toml").write_text(SPEC)
    return tmp_path / "few.toml"


def test_a_sweep_leaves_a_cube_and_a_page_and_repeated_computes_nothing(spec: Path) -> None:
    first = invoke("sweep", spec, "--jobs", "1")
    assert "2 runs: 2 computed now, 0 were there" in first.stderr
    assert "       2  reached the last record" in first.stdout
    with xr.open_dataset(spec.parent / "sweeps" / "few" / "cube.nc", engine="h5netcdf") as cube:
        assert cube.loss.dims == ("flow.step", "seed")
        assert cube.loss.notnull().all()
    page = (spec.parent / "sweeps" / "few" / "page.html").read_text()
    assert "Few &lt;runs&gt;" in page
    assert "2 runs: 0 computed now, 2 were there" in invoke("sweep", spec, "--jobs", "1").stderr


def test_a_run_that_cannot_be_computed_is_exit_code_1(spec: Path) -> None:
    spec.write_text(SPEC.replace('"flow.step" = [0.01, 0.02]', '"network.widths" = [[1, 1], [1, 2]]'))
    result = invoke("sweep", spec, "--jobs", "1", code=1)
    assert "1  not computed: in [network]: widths end with 2" in result.stdout


@pytest.mark.parametrize(
    ("old", "new", "options", "said"),
    [
        ('"flow.step"', '"flow.stpe"', [], "there is no key 'stpe'; did you mean 'step'"),
        (
            "[sweep.grid]",
            "[sweep]\nseeds = 600\n[sweep.grid]",
            [],
            "1200 runs (2 × 600), and the limit is 1000",
        ),
        ("", "", ["--limit", "1"], "2 runs (2 × 1), and the limit is 1"),
        ("", "", ["--cluster", "tcp://127.0.0.1:9"], "no Dask scheduler answers at tcp://127.0.0.1:9"),
    ],
)
def test_bad_input_is_one_sentence(spec: Path, old: str, new: str, options: list[str], said: str) -> None:
    if "--cluster" in options:
        pytest.importorskip("distributed")
    spec.write_text(SPEC.replace(old, new))
    message = invoke("sweep", spec, *options, code=errors.MISUSE).stderr
    assert said in message
    assert message.startswith("Error: ")
    assert message.count("\n") == 1


def test_interrupted_it_says_how_to_go_on(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sweep, "run", stop)
    message = invoke("sweep", spec, code=errors.INTERRUPTED).stderr
    assert "0 of 2 runs are kept in sweeps/few; the same command goes on with the others" in message


@pytest.mark.parametrize("name", ["sweep_transients", "sweep_balancedness"])
def test_the_examples_are_designs_whose_every_point_can_be_built(name: str) -> None:
    path = EXAMPLES / f"{name}.toml"
    tables = specification.tables(path)
    design = specification.design(tables)
    told = next(line for line in path.read_text().splitlines() if " runs" in line)
    assert f"= {design.runs} runs" in told
    *_, (_, last) = design.points()
    specification.build(last, EXAMPLES)
