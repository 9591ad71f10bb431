"""A folder of checkpoints: what is read, in which order, and one sentence for everything that is not."""

from __future__ import annotations

import functools
import json
import pickle
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.store import checkpoints, foreign
from gradlab.store.checkpoints import read_folder, unwrapped
from gradlab.store.foreign import Unreadable
from gradlab.store.safetensors import tensors
from gradlab.store.torch_files import of_torch


def npz(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def safe(path: Path, header: Any, body: bytes, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def told(shape: list[int], kind: str = "F64", begin: int = 0, end: int | None = None) -> dict[str, Any]:
    return {
        "dtype": kind,
        "shape": shape,
        "data_offsets": [begin, 8 * int(np.prod(shape)) if end is None else end],
    }


def refusal(folder: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        read_folder(folder)
    said = str(caught.value)
    assert said.isprintable()
    assert said.replace("e.g. ", "").count(". ") == 0
    return said


def test_steps_come_from_names_and_are_in_order(tmp_path: Path) -> None:
    for name in ("epoch2_step_100", "epoch1_step_9", "epoch0_step_0"):
        npz(tmp_path / f"{name}.npz", w=np.ones(2), scale=np.float64(3.0))
    found = read_folder(tmp_path)
    assert [one.step for one in found.checkpoints] == [0, 9, 100]
    assert found.unit == "step"
    assert found.checkpoints[0].arrays["scale"] == 3.0
    assert found.manifest == {}


@pytest.mark.parametrize(
    ("names", "steps", "unit"),
    [
        (("w10", "w9"), [9, 10], "step"),
        (("epoch_3", "epoch_12"), [3, 12], "epoch"),
        (("run7-iter=5", "run7-iter=40"), [5, 40], "step"),
        (("2024-ckpt-2", "2024-ckpt-1"), [1, 2], "step"),
    ],
)
def test_of_several_numbers_the_step_is_taken(
    tmp_path: Path, names: tuple[str, ...], steps: list[int], unit: str
) -> None:
    for name in names:
        npz(tmp_path / f"{name}.npz", w=np.ones(2))
    found = read_folder(tmp_path)
    assert ([one.step for one in found.checkpoints], found.unit) == (steps, unit)


def test_numbered_folders_hold_one_file_each(tmp_path: Path) -> None:
    for step in (500, 20):
        (tmp_path / f"checkpoint-{step}").mkdir()
        safe(tmp_path / f"checkpoint-{step}" / "model.safetensors", {"w": told([2])}, np.ones(2).tobytes())
        (tmp_path / f"checkpoint-{step}" / "training_args.bin").write_bytes(b"\x80\x04.")
    assert [one.step for one in read_folder(tmp_path).checkpoints] == [20, 500]


def test_safetensors_of_every_kind(tmp_path: Path) -> None:
    half, wide, whole = np.float16([1.5, 2]), np.float32([[0.1, 3]]), np.int64([7])
    brain = (np.float32([0.5, -3.0, 1e20]).view(np.uint32) >> 16).astype(np.uint16)
    parts = {"h": half, "f": wide, "n": whole, "b": brain}
    kinds, header, at = (
        {"h": "F16", "f": "F32", "n": "I64", "b": "BF16"},
        {"__metadata__": {"format": "pt"}},
        0,
    )
    for name, part in parts.items():
        header[name] = {
            "dtype": kinds[name],
            "shape": list(part.shape),
            "data_offsets": [at, at + part.nbytes],
        }  # type: ignore[assignment]
        at += part.nbytes
    path = safe(tmp_path / "step1.safetensors", header, b"".join(part.tobytes() for part in parts.values()))
    found = tensors(path)
    assert {name: kind for name, (_, kind) in found.items()} == kinds
    for name in "hfn":
        assert np.array_equal(found[name][0], parts[name])
    assert np.allclose(found["b"][0], [0.5, -3.0, 1e20], rtol=4e-3)
    assert read_folder(tmp_path).checkpoints[0].formats["b"] == "bfloat16"


@pytest.mark.parametrize(
    ("header", "body", "length", "word"),
    [
        ({"w": told([2])}, bytes(16), 1 << 40, "claims a header"),
        ({"w": told([2])}, bytes(16), 3, "safetensors"),
        ({"w": told([2])}, bytes(15), None, "gap or overlap"),
        ({"w": told([2])}, bytes(17), None, "after its last array"),
        ({"w": told([3], end=16)}, bytes(16), None, "gap or overlap"),
        ({"w": told([2]), "v": told([2])}, bytes(16), None, "gap or overlap"),
        ({"w": told([2], begin=8, end=24)}, bytes(24), None, "gap or overlap"),
        ({"w": told([2], "F128")}, bytes(16), None, "dtype 'F128'"),
        ({"w": told([2]) | {"shape": [2.0]}}, bytes(16), None, "shape"),
        ({"w": told([2]) | {"shape": [1 << 60]}}, bytes(16), None, "shape"),
        ({"w": told([2]) | {"data_offsets": [-8, 8]}}, bytes(16), None, "data_offsets"),
        ({"w": {"dtype": "F64"}}, bytes(16), None, "is not told by"),
        ({"w": 3}, bytes(16), None, "is not told by"),
        (["w"], bytes(16), None, "no JSON object"),
        (b'{"w": 1, "w": 2}', b"", None, "twice"),
        (b"\xff\xfe", b"", None, "safetensors"),
        (b"{" * 5000, b"", None, "safetensors"),
    ],
)
def test_a_malformed_safetensors_file_is_one_sentence(
    tmp_path: Path, header: Any, body: bytes, length: int | None, word: str
) -> None:
    safe(tmp_path / "step_1.safetensors", header, body, length)
    assert word in refusal(tmp_path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = {
        ".safetensors": safe(
            tmp_path / "a1.safetensors", {"w": told([4])}, np.arange(4.0).tobytes()
        ).read_bytes(),
        ".npz": npz(tmp_path / "a1.npz", w=np.arange(4.0)).read_bytes(),
    }
    for suffix, content in whole.items():
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        for cut in range(0, len(content), 7):
            (folder / f"step_1{suffix}").write_bytes(content[:cut])
            refusal(folder)


def test_folders_that_will_not_do(tmp_path: Path) -> None:
    assert "there is no folder" in refusal(tmp_path / "none")
    assert "no checkpoint" in refusal(tmp_path)
    assert "is no folder" in refusal(npz(tmp_path / "a" / "step_1.npz", w=np.ones(2)))
    npz(tmp_path / "b" / "step_1.npz", w=np.ones(2))
    npz(tmp_path / "b" / "step_01.npz", w=np.ones(2))
    assert "both of step 1" in refusal(tmp_path / "b")
    npz(tmp_path / "c" / "final.npz", w=np.ones(2))
    assert "no step number" in refusal(tmp_path / "c")
    npz(tmp_path / "d" / "step_1.npz", w=np.ones(2))
    npz(tmp_path / "d" / "step_2.npz", w=np.ones(3))
    assert "has shape (2,)" in refusal(tmp_path / "d")
    npz(tmp_path / "e" / "step_1.npz", w=np.ones(2))
    npz(tmp_path / "e" / "epoch_2.npz", w=np.ones(2))
    assert "others epochs" in refusal(tmp_path / "e")
    npz(tmp_path / "f" / "step_1.npz", w=np.array([1.0, np.nan]))
    assert "NaN" in refusal(tmp_path / "f")
    npz(tmp_path / "g" / f"step_{'9' * 40}.npz", w=np.ones(2))
    assert "too long" in refusal(tmp_path / "g")
    npz(tmp_path / "h" / "step_1.npz", w=np.array([object()]))
    assert "unpickling" in refusal(tmp_path / "h")
    npz(tmp_path / "i" / "step_1.npz")
    assert "no arrays" in refusal(tmp_path / "i")


def test_what_is_over_the_budget_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(5):
        npz(tmp_path / f"step_{step}.npz", w=np.ones(100))
    monkeypatch.setattr(foreign, "BUDGET", 8 * 450)
    assert "with fewer of them" in refusal(tmp_path)


def test_a_manifest_that_is_none(tmp_path: Path) -> None:
    npz(tmp_path / "step_1.npz", w=np.ones(2))
    (tmp_path / checkpoints.MANIFEST).write_text("[1]")
    assert "no JSON object" in refusal(tmp_path)
    (tmp_path / checkpoints.MANIFEST).write_text("{")
    assert "manifest" in refusal(tmp_path)


class Tensor(SimpleNamespace):
    """What a torch tensor offers here; torch itself is not needed to test how its dictionaries are unwrapped."""

    def __init__(self, values: Any, dtype: str = "torch.float32") -> None:
        super().__init__(values=np.asarray(values, np.float32), dtype=dtype)

    def detach(self) -> Tensor:
        return self

    cpu = float = detach

    def numpy(self) -> np.ndarray:
        return self.values


def through(path: Path, content: Any) -> dict[str, np.ndarray]:
    def load(given: Path, *, map_location: str, weights_only: bool) -> Any:
        assert (given, map_location, weights_only) == (path, "cpu", True)
        return content

    path.write_bytes(b"not looked at")
    return unwrapped(of_torch(path, load)[0], path)


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda table: table,
        lambda table: {"state_dict": table, "epoch": 3},
        lambda table: {"model": {"module." + name: one for name, one in table.items()}, "optimizer": {}},
        lambda table: {"_orig_mod.module." + name: one for name, one in table.items()},
        lambda table: {"model_state_dict": {"_orig_mod." + name: one for name, one in table.items()}},
    ],
)
def test_what_trainers_wrap_weights_in_is_taken_off(tmp_path: Path, wrapped: Any) -> None:
    table = {"a.weight": Tensor([[1.0, 2.0]]), "a.bias": Tensor([0.5], "torch.bfloat16")}
    found = through(tmp_path / "step_1.pt", wrapped(table))
    assert list(found) == ["a.weight", "a.bias"]
    assert found["a.weight"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("content", [[Tensor([1.0])], {"lr": 0.1}, {}, {"model": {"w": 3}}])
def test_a_torch_file_without_tensors_is_one_sentence(tmp_path: Path, content: Any) -> None:
    with pytest.raises(Unreadable, match="no dictionary of tensors"):
        through(tmp_path / "step_1.pt", content)


def test_what_torch_will_not_load_is_one_sentence_without_its_advice_to_unpickle(tmp_path: Path) -> None:
    def load(given: Path, error: type[Exception] = pickle.UnpicklingError, **options: Any) -> Any:
        raise error("Weights only load failed: set weights_only=False")

    (tmp_path / "step_1.pt").write_bytes(b"x")
    for told, loading in (
        (r"holds more than tensors, a whole model perhaps; write torch\.save", load),
        (r"is damaged \(RuntimeError: cut short\?\)", functools.partial(load, error=RuntimeError)),
    ):
        with pytest.raises(Unreadable, match=told) as caught:
            of_torch(tmp_path / "step_1.pt", loading)
        assert "weights_only" not in str(caught.value)


def test_a_torch_file_without_torch_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "step_1.pt").write_bytes(b"x")
    assert "torch is not installed" in refusal(tmp_path)


def test_names_that_become_one_are_refused() -> None:
    with pytest.raises(Unreadable, match="alike"):
        unwrapped({"module.": 1, "module._orig_mod.": 2}, Path("step_1.pt"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    (tmp_path / "x").mkdir()
    os.mkfifo(tmp_path / "x" / "step_1.npz")
    assert "no checkpoint" in refusal(tmp_path / "x")


def test_names_are_read_without_opening_a_file(tmp_path: Path) -> None:
    (tmp_path / "step_3.npz").write_bytes(b"")
    assert checkpoints.steps(tmp_path) == [3]
    assert checkpoints.steps(tmp_path / "none") == []
