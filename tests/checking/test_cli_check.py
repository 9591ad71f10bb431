"""``gradlab check``: a table, JSON, a page, four exit codes, and one sentence for what will not do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gradlab.cli import app
from gradlab.report import checked

LINEAR = """
def net(weights, x):
    return x @ weights["layer.weight"].T

def normed(weights, x):
    z = x @ weights["layer.weight"].T
    return (z - z.mean(0)) / (z.var(0) + 1e-6) ** 0.5

def infinite(weights, x):
    return net(weights, x) / (weights["layer.weight"] ** 2).sum() ** 0.5

class Model:
    def __call__(self, weights, x):
        return net(weights, x)

number = 3

def wide(weights, x):
    return x[:, :, None]
"""


def invoke(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["check", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.stdout + result.stderr
    return result


def refused(*arguments: Any) -> str:
    result = invoke(*arguments, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Least squares from zero, 300 steps: checkpoints, data and a model, as another framework would leave them."""
    room = tmp_path_factory.mktemp("run")
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((5, 8)), generator.standard_normal(5)
    np.savez(room / "data.npz", x=x, y=y)
    (room / "net.py").write_text(LINEAR)
    (room / "run").mkdir()
    w = np.zeros((1, 8))
    for step in range(2001):
        if step < 6 or step % 200 == 0:
            np.savez(
                room / "run" / f"ckpt-{step}.npz",
                **{"module.layer.weight": w, "module.layer.running_mean": w[0]},
            )
        w = w - 0.05 * 2.0 / 5.0 * ((x @ w[0] - y) @ x)[None]
    return room


def line(folder: Path, model: str = "net", *more: str, loss: str = "square") -> list[Any]:
    model = f"{folder / 'net.py'}:{model}"
    return [folder / "run", "--model", model, "--data", folder / "data.npz", "--loss", loss, *more]


def test_a_run_is_checked_and_told_in_a_table(folder: Path) -> None:
    shown = invoke(*line(folder, "net", "--optimizer", "gd lr=0.05")).stdout
    flat = " ".join(shown.split())
    assert "measured: η = 0.05, momentum 0, decay 0" in flat
    assert re.search(r"17 theorems: \d holds, \d+ not applicable", flat)
    assert "1 arrays are no trained weights: layer.running_mean" in flat


def test_json_alone_is_on_standard_output_and_the_page_is_one_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages" / "mine.html"
    result = invoke(*line(folder, "Model", "--optimiser", "gd lr=0.05", "--json", "--out", str(out)))
    told = json.loads(result.stdout)
    by_claim = {(one["claim"], one["sentence"]): one for one in told["theorems"]}
    assert by_claim["notes.min-norm", "limit"]["verdict"] == "holds"
    assert by_claim["notes.min-norm", "limit"]["source"].startswith("T. Poggio")
    assert "mine.html" in result.stderr
    page = out.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert "<script" not in page
    assert page.count('<article class="theorem">') == len(told["theorems"])
    assert "The limit is the solution of least norm" in page


def test_a_theorem_that_is_refuted_leaves_with_1(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "run").iterdir():
        arrays = dict(np.load(path))
        step = int(path.stem.partition("-")[2])
        if step % 200 == 0:  # pairs are left out, and what no example sees has grown
            arrays["module.layer.weight"] = arrays["module.layer.weight"] + 0.1 * step / 2000 * np.arange(8)
            np.savez(tmp_path / path.name, **arrays)
    words = line(folder, "net", "--optimizer", "gd lr=0.05")
    assert "refuted" in invoke(tmp_path, *words[1:], code=1).stdout


def test_where_no_theorem_applies_it_leaves_with_3(folder: Path) -> None:
    told = json.loads(invoke(*line(folder, "normed", "--optimizer", "adam lr=0.05", "--json"), code=3).stdout)
    assert told["code"] == 3
    assert {one["verdict"] for one in told["theorems"]} <= {"not applicable", "unknown"}
    assert any(one["name"] == "batch" for one in told["found"])


def test_the_demo_trains_and_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradlab.checking import demo

    monkeypatch.setattr(demo, "STEPS", 180)
    told = json.loads(invoke("--demo", "--json").stdout)
    held = {one["claim"] for one in told["theorems"] if one["verdict"] == "holds"}
    assert {"memo112.lemma1-corrected", "notes.homogeneity", "notes.learning-rate"} <= held
    assert told["found"] == []


def test_help_says_what_exit_codes_mean() -> None:
    shown = " ".join(invoke("--help").stdout.split())
    assert "0 all applicable theorems hold, 1 one is refuted, 2 bad input, 3 no theorem applies" in shown


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nett", "did you mean 'net'"),
        ("number", "number is int; write a function"),
        ("infinite", "of the network is not finite at step 0"),
        ("wide", "return one row of outputs an example"),
    ],
)
def test_a_model_that_is_none_is_one_sentence(folder: Path, model: str, said: str) -> None:
    assert said in refused(*line(folder, model))


def test_misuse_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    words = line(folder)
    assert "no folder was given" in refused()
    assert "--demo brings its own run" in refused("--demo", *words)
    assert "--model net.py:Net is missing" in refused(folder / "run", "--data", folder / "data.npz")
    assert "there is no folder" in refused(tmp_path / "none", *words[1:])
    assert "did you mean 'square'" in refused(*line(folder, loss="sqare"))
    assert "--loss is missing" in refused(*words[:5])
    assert "did you mean 'sgd'" in refused(*words, "--optimizer", "sg lr=1")
    assert "write the Python file and the name in it" in refused(*words[:2], "net.py", *words[3:])
    assert "there is no file" in refused(*words[:2], "nothere.py:net", *words[3:])
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    assert "holds a; name its arrays" in refused(*words[:4], tmp_path / "other.npz", *words[5:])
    (tmp_path / "net.py").write_text("import nowhere_at_all\n")
    refused(*words[:2], f"{tmp_path / 'net.py'}:Net", *words[3:])


def test_weights_of_another_network_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import gradlab as gl\nnet = gl.Dense((8, 3, 1))\n")
    said = refused(folder / "run", "--model", f"{tmp_path / 'net.py'}:net", *line(folder)[3:])
    assert "Dense takes 2 arrays (0 (3, 8), 1 (1, 3))" in said


def test_stretches_of_a_hypothesis_are_told_in_words() -> None:
    (strip,) = checked.strips({"arrived": [0, 0, 1, -1]}, [0, 10, 20, 30])
    assert strip.stretches == (("refuted", 2), ("supported", 1), ("pending", 1))
    assert strip.told == "broken from step 0 to 10; holds from step 20 to 20; unknown from step 30 to 30"


EQUINOX = """
import equinox as eqx
import jax

def net():
    return eqx.nn.MLP(3, 1, 4, 1, key=jax.random.key(0))
"""


def test_a_function_that_makes_a_model_and_files_of_equinox(tmp_path: Path) -> None:
    import equinox as eqx
    import jax

    (tmp_path / "net.py").write_text(EQUINOX)
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=generator.standard_normal((5, 3)), y=generator.standard_normal(5))
    (tmp_path / "run").mkdir()
    for step in range(3):
        model = eqx.nn.MLP(3, 1, 4, 1, key=jax.random.key(step))
        eqx.tree_serialise_leaves(tmp_path / "run" / f"step_{step}.eqx", model)
    words = ("--data", tmp_path / "data.npz", "--loss", "square", "--json")
    told = json.loads(
        invoke(tmp_path / "run", "--model", f"{tmp_path / 'net.py'}:net", *words, code=3).stdout
    )
    assert {"name": "layers", "words": "layers.0, layers.1"} in told["facts"]
    assert len(told["suggestions"]) == 4
    assert "bias" in {one["name"] for one in told["found"]}
