"""``gradlab equilibrium``: from a specification or a run to a kind, a kernel and a page; misuse in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gradlab.cli import app

#: A quadratic whose third column the data never see, and (twice) two equal factors of a linear net.
SPEC = """
title = "A valley"
decay = 0.0
[network]
kind = "dense"
widths = [3, 1]
activation = "identity"
[loss]
kind = "square"
half = true
[data]
kind = "csv"
path = "points.csv"
targets = ["y"]
[flow]
kind = "gradient descent"
step = 0.4
[records]
until = {until}
count = 2
"""
POINTS = "a,b,c,y\n1,0,0,1\n0,1,0,-1\n"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("points.csv").write_text(POINTS)
    Path("spec.toml").write_text(SPEC.format(until=60))


def invoke(*arguments: str | Path, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stdout + result.stderr
    return result


def test_a_specification_is_run_polished_and_explained_and_its_run_is_kept() -> None:
    said = invoke("equilibrium", "spec.toml").stdout
    assert said.startswith("minimum: ")
    assert "kernel: 1 = 0 symmetry, 1 deficiency, 0 unexplained" in said
    page = Path(said.splitlines()[-1])
    assert page.name == "equilibrium.html"
    assert "A valley: the equilibrium" in page.read_text()
    assert "src=" not in page.read_text()

    told = json.loads(invoke("equilibrium", page.parent, "--json", "--certify").stdout)
    assert told == json.loads((page.parent / "equilibrium.json").read_text())
    assert (told["kind"], told["hyperbolic"], told["normally_hyperbolic"]) == ("minimum", False, True)
    inertia = told["inertia"]
    assert (inertia["negative"], inertia["zero"], inertia["positive"]) == (0, 1, 2)
    assert told["eigenvalues"][1:] == pytest.approx([1.0, 1.0], abs=1e-14)
    assert len(told["bounds"]) == 3
    assert told["certificate"]["proved"] == bool(told["certificate"]["statement"])


def test_the_command_of_the_readme_explains_the_kernel_that_it_says() -> None:
    root = Path(__file__).resolve().parents[1]
    assert "uv run gradlab equilibrium examples/deep_linear.toml" in (root / "README.md").read_text()
    said = invoke("equilibrium", root / "examples" / "deep_linear.toml").stdout
    assert "kernel: 18 = 16 symmetry, 2 deficiency, 0 unexplained" in said
    # rounding over a curvature that is rounding would be a step along the kernel, of any length
    assert "need not be the equilibrium" not in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "nowhere"),
        (["spec.toml", "--kink", "2"], "give a number between 0 and 1"),
        (["points.csv"], "points.csv"),
    ],
)
def test_misuse_is_one_sentence(arguments: list[str], sentence: str) -> None:
    result = invoke("equilibrium", *arguments, code=2)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert sentence in result.stderr


def test_where_there_is_no_equilibrium_it_says_so_and_keeps_the_run() -> None:
    text = SPEC.format(until=3).replace('kind = "square"\nhalf = true', 'kind = "exponential"')
    Path("spec.toml").write_text(text)
    result = invoke("equilibrium", "spec.toml", code=2)
    assert "no equilibrium" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert len(list(Path("runs").glob("*/page.html"))) == 1
