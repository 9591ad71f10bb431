"""What a run is: the content that decides its bits, and the name that follows from it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradlab.machine import cores
from gradlab.store.disk import Disk, Foreign

#: The packages whose version can change the bits of a run.
PACKAGES = ("gradlab", "jax", "jaxlib", "numpy", "diffrax", "equinox", "optax")

#: The keys of an identity that say where a run was computed, not what it computes.
PLACE = ("versions", "cores", "instruction_set", "code")

#: The parts of the package whose sources decide the bits of a run.
COMPUTING = ("problem", "observe", "dynamics", "laboratory", "specification")

_VECTOR_FLAGS = ("avx", "amx", "fma", "f16c", "sse4", "asimd", "sve", "sme", "bf16", "i8mm")


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: keys sorted, no spaces, ASCII, one line.

    Raises
    ------
    ValueError : something JSON has no exact form for (NaN, infinity, arrays, keys that are not strings).
    """
    _check_keys(value)
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"an identity or manifest entry holds something that JSON cannot say exactly ({error}); "
            "write finite numbers, strings, booleans, None, lists and dictionaries"
        ) from error
    return text.encode("ascii")


def _check_keys(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"a key of an identity was {key!r}; keys are strings, as in {str(key)!r}")
            _check_keys(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check_keys(inner)


@dataclass(frozen=True)
class Identity:
    """The content that decides the bits of a run.

    Attributes
    ----------
    content : specification, data digest, versions, cores, instruction set, code digest; JSON values only.
        Kept as its canonical JSON reads back (tuples become lists).
    """

    content: dict[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.content, Mapping):
            raise ValueError(f"an identity was {self.content!r}; give a dictionary of JSON values")
        object.__setattr__(self, "content", json.loads(canonical(dict(self.content))))

    @property
    def text(self) -> bytes:
        """The canonical JSON, as in `specification.json`."""
        return canonical(self.content)

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.text).hexdigest()

    @property
    def name(self) -> str:
        """The name of the run directory: the first 20 digits of the digest."""
        return self.digest[:20]

    @classmethod
    def from_bytes(cls, data: bytes) -> Identity:
        """The identity whose canonical JSON this is; `ValueError` where it is not canonical."""
        identity = cls(json.loads(data.decode("ascii")))
        if identity.text != data:
            raise ValueError("the text of an identity is not canonical JSON; write Identity(...).text")
        return identity

    def child_of(self, parent: Mapping[str, Any]) -> Identity:
        """The identity of a run that continues another one elsewhere: its bits depend on the parent's."""
        return Identity({**self.content, "parent": dict(parent)})

    def require(self, here: Identity, directory: Path) -> None:
        """Check that a run of this identity, in `directory`, may be continued as `here`.

        The parent of a child run is no part of the comparison.

        Raises
        ------
        Foreign : the first difference, in words, and what to do.
        """
        there = {key: value for key, value in self.content.items() if key != "parent"}
        mine = {key: value for key, value in here.content.items() if key != "parent"}
        for key in sorted(there.keys() | mine.keys(), key=lambda name: (name in PLACE, name)):
            if canonical(there.get(key)) == canonical(mine.get(key)):
                continue
            if key not in PLACE:
                raise Foreign(
                    f"{directory} holds another run: its {key} differs from the one given; "
                    "give that run's own specification and data, or start a new run"
                )
            difference = _difference(key, there.get(key), mine.get(key))
            raise Foreign(
                f"the run in {directory} was computed with {difference}, "
                "so its bits cannot be continued here; resume it where it was begun, or start a child run "
                f"with `gradlab resume {directory} --rebind`"
            )


def _difference(key: str, there: Any, here: Any) -> str:
    """The difference of two values in words, of the first differing entry for dictionaries."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for inner in sorted(there.keys() | here.keys()):
            if there.get(inner) != here.get(inner):
                return f"{inner} {there.get(inner)} and here is {here.get(inner)}"
    words = {
        "cores": "a number of cores of",
        "instruction_set": "the instruction set",
        "code": "code of digest",
    }
    return f"{words.get(key, key)} {there!s:.120} and here is {here!s:.120}"


def environment(disk: Disk | None = None) -> dict[str, Any]:
    """Where the bits are computed: package versions, number of usable cores, instruction set.

    Returns
    -------
    ``{"versions": {package: version}, "cores": int, "instruction_set": str}``; an absent package has
    version ``"absent"``.
    """
    return {
        "versions": {package: _version(package) for package in PACKAGES},
        "cores": cores(),
        "instruction_set": _own_instruction_set() if disk is None else _instruction_set(disk),
    }


#: How the line begins that says a package's version.
_VERSION = "Version: "


@functools.cache
def _version(package: str) -> str:
    try:
        text = importlib.metadata.distribution(package).read_text("METADATA") or ""
    except importlib.metadata.PackageNotFoundError:
        return "absent"
    # ``importlib.metadata.version`` reads all of it as a message first: 3 ms for seven, of a first answer's 160.
    said = (line.removeprefix(_VERSION) for line in text.splitlines() if line.startswith(_VERSION))
    return next(said, None) or importlib.metadata.version(package)


@functools.cache
def _own_instruction_set() -> str:
    return _instruction_set(Disk())


def _instruction_set(disk: Disk) -> str:
    """The machine and its vector extensions, sorted; the machine alone where the system does not say."""
    try:
        lines = disk.read_bytes(Path("/proc/cpuinfo")).decode("ascii", "replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            flags = sorted({flag for flag in value.split() if flag.startswith(_VECTOR_FLAGS)})
            return " ".join([platform.machine(), *flags])
    return platform.machine()


def code_digest(package: Path, parts: Sequence[str] = ("",), disk: Disk | None = None) -> str:
    """sha256 of the Python sources of a package, or of some of its parts.

    Parameters
    ----------
    package : directory of the package.
    parts : sub-directories or files of it, as ``("problem", "laboratory.py")``; all of it by default.
    """
    disk = disk or Disk()
    digest = hashlib.sha256()
    for part in sorted(set(parts)):
        for path in _sources(package / part, disk):
            data = disk.read_bytes(path)
            digest.update(f"{path.relative_to(package).as_posix()}\0{len(data)}\0".encode())
            digest.update(data)
    return digest.hexdigest()


def _sources(path: Path, disk: Disk) -> list[Path]:
    if path.suffix == ".py":
        return [path]
    found: list[Path] = []
    for name in disk.listdir(path):
        if name.endswith(".py") or ("." not in name and name != "__pycache__"):
            found.extend(_sources(path / name, disk))
    return found
