"""Where the runs of a sweep are kept, and which are there.

    OUT/runs/POINT/BLOCK/    run directories: POINT is a combination of values, BLOCK some of its seeds
    OUT/cube.nc, OUT/page.html

Both names are digests of what decides the bits, so that what is there is found by asking for its name, whatever else
was asked for before.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradlab
from gradlab.specification import Specification
from gradlab.specification.design import with_fields
from gradlab.specification.files import existing
from gradlab.store import foreign
from gradlab.store.disk import Disk
from gradlab.store.identity import COMPUTING, Identity, code_digest, environment
from gradlab.store.run import Run

RUNS = "runs"
#: Seeds of a block at most, as many as the laboratory puts into one program.
BLOCK = 32


@functools.cache
def _computing() -> dict[str, Any]:
    return {"code": code_digest(Path(gradlab.__file__).parent, COMPUTING), **environment()}


def surroundings(code: str | None = None) -> dict[str, Any]:
    """What decides the bits of a run and is not in its specification: versions, machine, code, one's own code.

    code : the file given with ``--code``, whose bytes count (what it imports does not).
    """
    if code is None:
        return _computing()
    own = foreign.whole_file(existing(Path(code), "--code"), foreign.LARGEST, "Python")
    return _computing() | {"own code": hashlib.sha256(own).hexdigest()}


@dataclass(frozen=True)
class Point:
    """One combination of values: all of its runs differ in their seed only.

    Attributes
    ----------
    index : where it stands in the design.
    content : what decides the bits of its runs, fields of seeds at 0.
    specification : plain values, with the title.
    """

    index: tuple[int, ...]
    content: Mapping[str, Any]
    specification: Mapping[str, Any]

    @functools.cached_property
    def name(self) -> str:
        """The name of its folder."""
        return Identity(dict(self.content)).name

    def block(self, seeded: Sequence[str], seeds: Sequence[int]) -> Identity:
        """The identity of the runs of some seeds, computed together; of one, its specification is that of the run."""
        content = {**self.content, "seeds": list(seeds)}
        if len(seeds) == 1:
            own = with_fields(self.content["specification"], dict.fromkeys(seeded, seeds[0]))
            content["specification"] = own
        return Identity(content)


def at_point(
    index: tuple[int, ...],
    specification: Specification,
    seeded: Sequence[str],
    here: Mapping[str, Any],
    base: Path,
) -> Point:
    """The point of a specification; ``base`` is what paths in it are relative to."""
    plain = specification.canonical()
    content = {
        "specification": with_fields(plain, dict.fromkeys(seeded, 0)),
        "seeded": list(seeded),
        "data": _data(specification, base),
        **here,
    }
    return Point(index, content, plain | {"title": specification.title})


def _data(specification: Specification, base: Path) -> str:
    """The digest of one's own files of data; all other data follow from the specification."""
    data = specification.data
    if data.kind not in ("csv", "npz"):
        return "as the specification says"
    paths = [data.path, getattr(data, "test_path", None)]
    return " ".join(_digest(base / path) for path in paths if path is not None)


@functools.lru_cache(maxsize=64)
def _digest(path: Path) -> str:
    return hashlib.sha256(
        foreign.whole_file(existing(path, "in [data]"), foreign.LARGEST, "data")
    ).hexdigest()


def finished(folder: Path, disk: Disk | None = None) -> dict[int, tuple[Path, int | None]]:
    """Seed to run directory, and to the member of it, of what is finished in a point's folder; every byte is checked.

    Raises
    ------
    StoreError
        For a damaged run: which file, and what to do.
    """
    disk, found = disk or Disk(), {}
    for name in disk.listdir(folder) if disk.exists(folder) else ():
        if name.startswith("."):
            continue
        with Run.open(folder / name, disk) as kept:
            if kept.finished is None:
                continue
            seeds = kept.identity.content["seeds"]
            for member, seed in enumerate(seeds):
                found[int(seed)] = (kept.path, member if len(seeds) > 1 else None)
    return found
