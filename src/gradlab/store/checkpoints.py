"""A folder of checkpoints as named arrays with step numbers: npz, safetensors, Equinox's, Orbax's and ``torch.save``.

Nothing is unpickled and no code is taken from data: files of torch are opened by its own ``weights_only`` reader.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.store import behind, equinox_files, foreign, orbax_folders
from gradlab.store.foreign import Unreadable
from gradlab.store.safetensors import tensors
from gradlab.store.torch_files import of_torch
from gradlab.wording import brief, quoted

#: What a Probe leaves beside its checkpoints.
MANIFEST = "probe.json"
_TORCH = (".pt", ".pth", ".ckpt", ".bin")
_EQUINOX = ".eqx"
SUFFIXES = (".npz", ".safetensors", _EQUINOX, *_TORCH)
#: Checkpoints of a folder, and bytes of a manifest.
_MOST, _MANIFEST = 2000, 1 << 20
#: What wrappers put before a name.
_PREFIXES = ("module.", "_orig_mod.")
_STEP = re.compile(r"(?:step|iteration|iter|it|update|checkpoint|ckpt)s?[-_=. ]?(\d+)", re.IGNORECASE)
_EPOCH = re.compile(r"epochs?[-_=. ]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Checkpoint:
    """The arrays of one file.

    Attributes
    ----------
    step : its number, from the file's name.
    path : the file. arrays : by name, numbers of any type; bfloat16 widened to float32.
    formats : the type in which a file keeps an array, by name, e.g. ``float32`` or ``bfloat16``.
    """

    step: int
    path: Path
    arrays: dict[str, np.ndarray]
    formats: dict[str, str]


@dataclass(frozen=True)
class Folder:
    """Checkpoints in ascending order of their steps.

    Attributes
    ----------
    checkpoints : of ``read_folder``. unit : ``step``, or ``epoch`` where the names count epochs only.
    manifest : what a Probe wrote beside them; empty where there is none.
    """

    checkpoints: tuple[Checkpoint, ...]
    unit: str = "step"
    manifest: Mapping[str, Any] = field(default_factory=dict)


def read_folder(folder: str | Path) -> Folder:
    """Every checkpoint of a folder: files in it, or one file in each of its numbered folders.

    Raises
    ------
    Unreadable
        Where there is none, one has no number or that of another, one is damaged or too large, or two hold other names
        or shapes; the sentence says what to write instead.
    """
    folder = Path(folder)
    files, unit = _numbered(folder)
    found: list[Checkpoint] = []
    budget = foreign.BUDGET
    for step, path in files:
        arrays, formats = _arrays(path)
        budget -= sum(8 * array.size for array in arrays.values())
        if budget < 0:
            raise Unreadable(
                f"the checkpoints in {brief(str(folder))} take more than {foreign.megabytes(foreign.BUDGET)} as "
                "float64; give a folder with fewer of them"
            )
        found.append(Checkpoint(step, path, arrays, formats))
        _same(found[0], found[-1])
    return Folder(tuple(found), unit, manifest(folder))


def steps(folder: str | Path) -> list[int]:
    """The step numbers of a folder's checkpoints, none of them opened; empty where there is no folder."""
    return [step for step, _ in _numbered(Path(folder))[0]] if _files(Path(folder)) else []


def manifest(folder: str | Path) -> dict[str, Any]:
    """What a Probe wrote beside its checkpoints; empty where there is nothing.

    Raises
    ------
    Unreadable
        If it is no JSON object.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        return {}
    with foreign.reading(path, "a manifest"):
        told = json.loads(foreign.whole_file(path, _MANIFEST, "a manifest"))
        if not isinstance(told, dict):
            raise Unreadable(f"{brief(str(path))} is no JSON object; remove it, or let a Probe write it")
        return told


# Which files -----------------------------------------------------------------------------------------------


def _files(folder: Path) -> list[tuple[str, Path]]:
    """(what bears the number, the file): files of the folder, else the one file of each numbered folder in it.

    Waited for is what this process is still writing.
    """
    behind.settle_all()
    if not folder.is_dir():
        return []
    entries = sorted(folder.iterdir())
    here = [(path.stem, path) for path in entries if path.suffix in SUFFIXES and path.is_file()]
    if here:
        return here
    deeper = []
    for inner in entries:
        if inner.is_dir() and re.search(r"\d", inner.name):
            inside = [
                p for p in sorted(inner.iterdir()) if p.suffix in (".safetensors", ".npz") and p.is_file()
            ]
            inside = inside or [p for p in sorted(inner.iterdir()) if p.name == "pytorch_model.bin"]
            inside = inside or orbax_folders.items(inner)
            if len(inside) > 1:
                raise Unreadable(
                    f"{brief(str(inner))} holds {len(inside)} files of arrays; put those of a step into one"
                )
            deeper += [(inner.name, path) for path in inside]
    return deeper


def _numbered(folder: Path) -> tuple[list[tuple[int, Path]], str]:
    if not folder.exists():
        raise Unreadable(f"there is no folder {brief(str(folder))}; name the folder of the checkpoints")
    if not folder.is_dir():
        raise Unreadable(f"{brief(str(folder))} is no folder; name the folder that holds the checkpoints")
    named = _files(folder)
    if not named:
        raise Unreadable(
            f"{brief(str(folder))} holds no checkpoint ({', '.join(SUFFIXES)}); write them with gl.Probe, or as "
            "numpy.savez('step_100.npz', **arrays)"
        )
    if len(named) > _MOST:
        raise Unreadable(
            f"{brief(str(folder))} holds {len(named)} checkpoints; at most {_MOST} are read: remove some"
        )
    by_step: dict[int, Path] = {}
    units = {_unit(name) for name, _ in named}
    if len(units) > 1:
        raise Unreadable(
            f"some names in {brief(str(folder))} count steps and others epochs; name all by step"
        )
    for name, path in named:
        step = _number(name, path)
        if step in by_step:
            raise Unreadable(
                f"{brief(str(by_step[step].name))} and {brief(path.name)} are both of step {step}; keep one of them"
            )
        by_step[step] = path
    return sorted(by_step.items()), units.pop()


def _unit(name: str) -> str:
    return "epoch" if _EPOCH.search(name) and not _STEP.search(name) else "step"


def _number(name: str, path: Path) -> int:
    """The number after ``step``, else after ``epoch``, else the only or last one in the name."""
    for form in (_STEP, _EPOCH):
        if found := form.search(name):
            return _whole(found[1], path)
    numbers = re.findall(r"\d+", name)
    if not numbers:
        raise Unreadable(
            f"{brief(str(path))} bears no step number; name it by its step, e.g. step_100{path.suffix}"
        )
    return _whole(numbers[-1], path)


def _whole(digits: str, path: Path) -> int:
    if len(digits) > 15:
        raise Unreadable(
            f"the number in {brief(str(path))} is too long for a step; write e.g. step_100{path.suffix}"
        )
    return int(digits)


# What is in them -------------------------------------------------------------------------------------------


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if path.suffix == ".npz":
        with foreign.opened(path, foreign.LARGEST, ".npz") as file:
            names = foreign.array_names(file, path)
            found = foreign.arrays(file, path, names, scalars=True)
        given: dict[str, Any] = {name: array for name, array in found.items() if array is not None}
        formats = {name: str(array.dtype) for name, array in given.items()}
    elif path.suffix == ".safetensors":
        told = tensors(path)
        given = {name: array for name, (array, _) in told.items()}
        formats = {
            name: "bfloat16" if kind == "BF16" else str(given[name].dtype) for name, (_, kind) in told.items()
        }
    elif path.suffix == _EQUINOX:
        read, formats = equinox_files.leaves(path)
        given = dict(read)
    elif path.is_dir():
        read, formats = orbax_folders.restored(path)
        given = dict(read)
    else:
        given, formats = of_torch(path)
    if not given:
        raise Unreadable(f"{brief(str(path))} holds no arrays; save the weights of the network in it")
    if path.suffix != _EQUINOX:  # without names a state that is not yet filled cannot be told from weights
        refuse_infinite(given, brief(str(path)))
    plain = unwrapped(given, path)
    return plain, dict(zip(plain, formats.values(), strict=True))


def refuse_infinite(arrays: Mapping[str, np.ndarray], where: str) -> None:
    """Raise :class:`Unreadable` for NaN or infinity in an array."""
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Unreadable(
                f"{where}: array {quoted(name)} contains NaN or infinity: the run had ended before; remove this "
                "checkpoint"
            )


def unwrapped(arrays: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The arrays under their own names: without ``module.`` and ``_orig_mod.`` where every name has it.

    Raises
    ------
    Unreadable
        Where two names would become one.
    """
    names = list(arrays)
    for _ in range(4):
        prefix = next((one for one in _PREFIXES if all(name.startswith(one) for name in names)), None)
        if prefix is None:
            break
        names = [name.removeprefix(prefix) for name in names]
    if len(set(names)) < len(names) or "" in names:
        raise Unreadable(
            f"{brief(str(path))}: names of arrays are alike without their prefixes; save them once"
        )
    return dict(zip(names, arrays.values(), strict=True))


def _same(first: Checkpoint, other: Checkpoint) -> None:
    """Refuse a checkpoint of another network."""
    for name in (*first.arrays, *other.arrays):
        one, two = (None if (a := c.arrays.get(name)) is None else a.shape for c in (first, other))
        if one != two:
            told = ["is not there" if shape is None else f"has shape {shape}" for shape in (one, two)]
            raise Unreadable(
                f"array {quoted(name)} {told[0]} in {brief(first.path.name)} and {told[1]} in "
                f"{brief(other.path.name)}; keep the checkpoints of one run in a folder"
            )
