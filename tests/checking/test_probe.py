"""A Probe keeps log-spaced weights, changes no bit of training, and survives a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradlab as gl
from gradlab.checking.naming import arrays_of, nested
from gradlab.checking.optimiser import StatedOptimiser, parsed
from gradlab.checking.probe import due
from gradlab.store import checkpoints
from gradlab.store.disk import Disk, StoreError


def train(steps: int, probe: Any = None) -> Any:
    generator, key = np.random.default_rng(3), jax.random.key(1)
    weights = {"a": jnp.asarray(generator.standard_normal((3, 2))), "b": (jnp.ones(3, jnp.bfloat16),)}
    for step in range(steps):
        if probe is not None:
            probe(weights)
        noise = generator.standard_normal((3, 2)) + jax.random.normal(jax.random.fold_in(key, step), (3, 2))
        weights = {"a": weights["a"] * 0.99 + 0.01 * noise, "b": (weights["b"][0] * jnp.bfloat16(0.9),)}
    return weights


def bits(weights: Any) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(weights)]


def test_training_has_the_same_bits_with_and_without(tmp_path: Path) -> None:
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr, index]  # noqa: NPY002
    assert bits(train(60, gl.Probe(tmp_path))) == bits(train(60))
    assert np.array_equal(state, np.random.get_state()[1])  # type: ignore[arg-type, index]  # noqa: NPY002


def test_what_is_kept_are_the_weights_of_that_step(tmp_path: Path) -> None:
    train(30, gl.Probe(tmp_path, optimiser="sgd lr=0.1", loss="square"))
    found = checkpoints.read_folder(tmp_path)
    assert [one.step for one in found.checkpoints] == [step for step in range(30) if due(step)]
    for one in found.checkpoints:
        wanted = arrays_of(train(one.step))
        assert list(one.arrays) == ["a", "b.0"]
        assert all(np.array_equal(one.arrays[name], wanted[name]) for name in wanted)
    assert found.manifest["optimiser"] == "sgd lr=0.1 momentum=0 decay=0"
    assert (found.manifest["learning_rate"], found.manifest["loss"]) == (0.1, "square")


def test_a_copy_is_kept_where_weights_change_in_place(tmp_path: Path) -> None:
    weights = {"w": np.zeros(2)}
    probe = gl.Probe(tmp_path, weights)
    for _ in range(4):
        probe()
        weights["w"] += 1.0
    assert [one.arrays["w"][0] for one in checkpoints.read_folder(tmp_path).checkpoints] == [
        0.0,
        1.0,
        2.0,
        3.0,
    ]


def test_steps_are_log_spaced_in_threes() -> None:
    kept = [step for step in range(100_001) if due(step)]
    assert kept[:9] == list(range(9))
    assert len(kept) < 9 + 12 * 5
    assert {1000, 1001, 1002} <= set(kept)
    assert due(10**6)
    assert not due(10**6 - 1)


def test_after_a_resume_the_step_is_asked_for_and_nothing_is_written_twice(tmp_path: Path) -> None:
    probe = gl.Probe(tmp_path, {"w": np.zeros(1)})
    for _ in range(7):
        probe()
    assert probe.kept == list(range(7))  # all are written
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = gl.Probe(tmp_path, {"w": np.ones(1)})
    with pytest.raises(ValueError, match="up to step 6"):
        again()
    again(step=5)
    again()
    again()
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    assert again.kept == list(range(8))
    assert checkpoints.read_folder(tmp_path).checkpoints[7].arrays["w"] == 1.0


def test_another_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    gl.Probe(tmp_path, optimiser="sgd lr=0.1")
    with pytest.raises(ValueError, match=r"whose optimiser is 'sgd lr=0\.1"):
        gl.Probe(tmp_path, optimiser="sgd lr=0.2")


KILLED = """
import os, sys, numpy as np
from gradlab.checking.probe import Probe
from gradlab.store.disk import Disk

class Dying(Disk):
    left = int(sys.argv[2])
    def __getattribute__(self, name):
        if name in Disk.PRIMITIVES:
            type(self).left -= 1
            if type(self).left < 0:
                os._exit(9)
        return object.__getattribute__(self, name)
    def write(self, descriptor, data):
        os.write(descriptor, data[: len(data) // 2])
        super().write(descriptor, data[len(data) // 2 :]) if self.left > 0 else os._exit(9)

probe = Probe(sys.argv[1], {"w": np.arange(50.0)}, disk=Dying())
for step in range(3):
    probe(step=step)
"""


@pytest.mark.parametrize("left", [9, 13])
def test_killed_at_any_operation_every_checkpoint_is_whole(tmp_path: Path, left: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(left)], check=False, env=os.environ
    )
    assert done.returncode == 9
    probe = gl.Probe(tmp_path, {"w": np.arange(50.0)})
    for step in range(3):
        probe(step=step)
    found = checkpoints.read_folder(tmp_path)
    assert [one.step for one in found.checkpoints] == [0, 1, 2]
    assert all(np.array_equal(one.arrays["w"], np.arange(50.0)) for one in found.checkpoints)


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    class Full(Disk):
        full = False

        def write(self, descriptor: int, data: bytes) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            super().write(descriptor, data)

    disk = Full()
    probe = gl.Probe(tmp_path, {"w": np.ones(2)}, disk=disk)
    disk.full = True
    probe()
    with pytest.raises(StoreError, match=r"step_000000000\.npz \(No space left"):
        probe.kept  # noqa: B018
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoints.MANIFEST]


def test_misuse_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="per_decade"):
        gl.Probe(tmp_path, per_decade=0)
    with pytest.raises(ValueError, match="no weights"):
        gl.Probe(tmp_path)()
    with pytest.raises(ValueError, match="hold no arrays"):
        gl.Probe(tmp_path)({"f": "relu"}, 0)
    with pytest.raises(ValueError, match="step was -1"):
        gl.Probe(tmp_path)(np.ones(2), -1)


def test_a_model_of_torch_is_asked_for_its_state(tmp_path: Path) -> None:
    # a stand-in with torch's interface; torch itself is not installed where this runs
    class Tensor:
        dtype, shape = "torch.float32", (2,)

        def detach(self) -> Tensor:
            return self

        cpu = detach

        def numpy(self) -> np.ndarray:
            return np.ones(2, np.float32)

    model = SimpleNamespace(state_dict=lambda: {"0.weight": Tensor()})
    groups = [{"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False}]
    optimiser = type("SGD", (), {"param_groups": groups})()
    gl.Probe(tmp_path, model, optimiser)()
    assert checkpoints.read_folder(tmp_path).checkpoints[0].arrays["0.weight"].tolist() == [1.0, 1.0]
    assert (
        json.loads((tmp_path / checkpoints.MANIFEST).read_text())["optimiser"]
        == "sgd lr=0.1 momentum=0.9 decay=0"
    )


@pytest.mark.parametrize(
    "tree",
    [
        (np.ones(2), {"weight": np.ones((2, 2)), "bias": np.ones(2)}),
        {"layers": (np.ones(1), np.ones(2)), "head": {"kernel": np.ones(3)}},
        np.ones(3),
        {"a": np.float64(2.0)},
    ],
)
def test_names_give_the_containers_again(tree: Any) -> None:
    again = nested(arrays_of(tree))
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    assert all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(tree), strict=True)
    )


def test_words_of_an_optimiser() -> None:
    assert parsed("sgd lr=0.1, momentum=0.9 nesterov") == StatedOptimiser("sgd", 0.1, 0.9, 0.0, nesterov=True)
    assert parsed("SGD(lr=0.1, momentum=0.9, nesterov=True)") == parsed("sgd lr = 0.1 momentum=0.9 nesterov")
    assert parsed("sgd learning-rate=1e-3 wd=0.1") == StatedOptimiser("sgd", 1e-3, 0.0, 0.1)
    assert parsed("adamw lr=1e-3 weight_decay=0.1").momentum is None
    assert parsed("").decay is None
    assert str(parsed("gd lr=0.5 batch=32")) == "gd lr=0.5 momentum=0 decay=0 batch=32"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sdg lr=1", "did you mean 'sgd'"),
        ("sgd lr=x", "write a number > 0"),
        ("sgd lr=0", "write a number > 0"),
        ("sgd lr=1 learning_rate=2", "twice"),
        ("sgd momntum=0.9", "did you mean 'momentum'"),
        ("sgd lr=0,05", "write lr=0.05"),
        ("sgd 0.05", "write lr=0.05"),
        ("sgd lr 0.1", "write lr="),
        (3, "write words such as"),
    ],
)
def test_words_that_are_none(words: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed(words)
