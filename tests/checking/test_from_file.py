"""``--model net.py:NAME``: a class, a maker with what its call needs, a function; anything else is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradlab as gl
from gradlab.checking import doors
from gradlab.checking.models.from_file import model_of
from gradlab.store.checkpoints import Checkpoint, Folder

SIBLING = "WIDTH = 2\n"
EQUINOX = """
import equinox as eqx
import jax
from beside_net import WIDTH

class Plain(eqx.Module):
    layer: eqx.nn.Linear
    drop: eqx.nn.Dropout

    def __init__(self, key):
        self.layer, self.drop = eqx.nn.Linear(3, WIDTH, key=key), eqx.nn.Dropout(0.5)

    def __call__(self, x, key):
        return self.layer(self.drop(x, key=jax.random.split(key)[0]))

class Random(Plain):
    def __call__(self, x, key):
        return self.layer(x + jax.random.normal(key, x.shape))

class Stateful(eqx.Module):
    norm: eqx.nn.BatchNorm
    layer: eqx.nn.Linear

    def __init__(self, key):
        self.norm = eqx.nn.BatchNorm(3, axis_name="batch", mode="batch")
        self.layer = eqx.nn.Linear(3, 2, key=key)

    def __call__(self, x, *, state):
        x, state = self.norm(x, state)
        return self.layer(x), state

class Wide(Plain):
    def __init__(self, width, depth=2, *, key):
        super().__init__(key)

def wide():
    return Wide(3, key=jax.random.key(0))

def with_state():
    return eqx.nn.make_with_state(Stateful)(jax.random.key(0))

def without_state():
    return with_state()[0]

def odd():
    return wide(), 3

weights = {"w": 1.0}

def three(a, b, c):
    return a
"""
LINEN = """
import flax.linen as nn
import jax
import jax.numpy as jnp

class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.Dense(2)(nn.BatchNorm(use_running_average=not train)(x))

def net():
    return Net(), {"call": {"train": True}}

def drawn():
    return nn.Dense(2), nn.Dense(2).init(jax.random.key(0), jnp.ones((1, 3)))
"""
X = np.random.default_rng(0).standard_normal((4, 3))
DATA = gl.Data(X, np.arange(4) % 2)
FOLDER = Folder((Checkpoint(0, Path("step_0.npz"), {"w": np.ones((2, 3))}, {}),))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("models")
    (room / "beside_net.py").write_text(SIBLING)
    (room / "equinox_net.py").write_text(EQUINOX)
    (room / "linen_net.py").write_text(LINEN)
    return room


def made(room: Path, name: str, library: str = "equinox") -> Any:
    return model_of(f"{room / f'{library}_net.py'}:{name}", FOLDER, DATA)


@pytest.mark.parametrize("name", ["Plain", "wide"])
def test_a_class_or_a_maker_is_a_network_and_its_key_is_given(room: Path, name: str) -> None:
    network = made(room, name)
    assert list(network.shapes()) == ["layer.weight", "layer.bias"]
    assert network.told.random == (("drop", 0.5),)


@pytest.mark.parametrize("name", ["Stateful", "with_state"])
def test_a_model_of_equinox_comes_with_its_state(room: Path, name: str) -> None:
    network = made(room, name)
    assert "layer.weight" in network.shapes()
    problem = gl.Problem(network, gl.CrossEntropy(), DATA)
    assert np.isfinite(problem.risk(network.init(None)))


@pytest.mark.parametrize(("name", "layers"), [("net", 2), ("drawn", 1)])
def test_a_module_of_linen_comes_with_what_its_call_needs_or_its_variables(
    room: Path, name: str, layers: int
) -> None:
    assert len(made(room, name, "linen").shapes()) == 2 * layers


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Wide", r"Wide must be given width; write a function def make\(\): return Wide\(width=…\)"),
        ("Random", "random numbers beside dropout"),
        ("without_state", r"a function that returns \(model, state\)"),
        ("odd", r"odd gave \(Wide, int\); return the model"),
        ("weights", "those come from the checkpoints"),
        ("three", r"three takes \(a, b, c\); a function of \(weights, x\) is expected"),
        ("Plan", "did you mean 'Plain'"),
    ],
)
def test_what_is_none_is_one_sentence(room: Path, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(room, name)


def test_a_call_that_wants_more_is_told_how_it_is_given(room: Path) -> None:
    with pytest.raises(ValueError, match=r'inputs and train; give call=\{"train": …\}'):
        made(room, "Net", "linen")
    with pytest.raises(ValueError, match=r"name the Python file with its ending, equinox_net\.py:Plain"):
        model_of("equinox_net:Plain", FOLDER, DATA)


def test_names_of_losses_that_libraries_have() -> None:
    for words, loss in (("CrossEntropyLoss", "CrossEntropy"), ("cross entropy", "CrossEntropy"),
                        ("BCEWithLogitsLoss", "Logistic"), ("least squares sum", "Square")):  # fmt: skip
        assert type(doors.loss_of(words)).__name__ == loss
    assert doors.loss_of("least squares sum").reduction == "sum"
    with pytest.raises(ValueError, match="write square, the mean over examples"):
        doors.loss_of("mse")


def test_data_of_a_csv_file_and_of_none(tmp_path: Path) -> None:
    path = tmp_path / "iris.csv"
    path.write_text("a,b,species\n1.5,2,cat\n3,4.5,dog\n5,6,cat\n7,8.5,dog\n")
    data = doors.data_of(path, gl.CrossEntropy())
    assert np.asarray(data.inputs).tolist() == [[1.5, 2], [3, 4.5], [5, 6], [7, 8.5]]
    assert np.asarray(data.targets).tolist() == [0, 1, 0, 1]
    (tmp_path / "data.pt").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"no \.npz or CSV file; write numpy\.savez"):
        doors.data_of(tmp_path / "data.pt", gl.CrossEntropy())
    np.savez(tmp_path / "text.npz", x=X, y=np.array(list("abab")))
    with pytest.raises(ValueError, match=r"of text write numpy\.unique"):
        doors.data_of(tmp_path / "text.npz", gl.CrossEntropy())
