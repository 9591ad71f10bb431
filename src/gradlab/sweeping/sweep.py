"""``sweep``: a design's runs that are not there yet are computed, and all of them come back as one cube."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from gradlab import specification
from gradlab.executing import Died, Done, Executor, Lost, executor
from gradlab.laboratory import Progress
from gradlab.specification import Design
from gradlab.store import segment
from gradlab.store.disk import Disk, StoreError, in_words
from gradlab.sweeping.block import Block, Report, compute
from gradlab.sweeping.cube import Place, cube
from gradlab.sweeping.kept import BLOCK, RUNS, Point, at_point, finished, surroundings
from gradlab.wording import brief

CUBE = "cube.nc"


def sweep(
    given: str | os.PathLike[str] | Mapping[str, Any],
    *,
    grid: Mapping[str, Any] | None = None,
    random: Mapping[str, Any] | None = None,
    samples: int | None = None,
    seeds: int | Sequence[int] | None = None,
    limit: int | None = None,
    out: str | os.PathLike[str] = "sweep",
    jobs: int = 1,
    cluster: str | None = None,
    code: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """``sweep`` runs a specification at every combination of values and seeds, and gives one cube of what came out.

    A run that is in ``out`` is not computed again: a call that was interrupted goes on where it was, and a value that
    is added costs its own runs only. Runs that differ in their seed only are computed together, vmapped, 32 at most;
    in which block a run was is part of its bits, and kept.

    Parameters
    ----------
    given : a TOML file, whose table ``[sweep]`` is the design, or such tables as a dictionary.
    grid : field to values, ``{"network.init.scale": [0.1, 1.0]}``; this and the rest replace those of ``[sweep]``.
    random : field to ``{"low": …, "high": …, "spacing": "log"}`` or to choices, drawn ``samples`` times.
    seeds : how many, 0, 1, …, or which.
    limit : more runs than this are refused; 1000 unless said.
    out : folder of the run directories and of ``cube.nc``.
    jobs : spawned processes at a time.
    cluster : in place of those, ``local``, ``slurm`` or the address of a Dask scheduler.
    code : a Python file with one's own network or loss; it is executed.
    progress : hears how many runs are done.

    Returns
    -------
    Dataset over each field that varies (by its dotted name) and ``seed``: every number at its last record, with
    ``<name>_error`` as :func:`gradlab.run` gives it, ``status``, ``run`` (its directory) and ``member``. See
    ``docs/sweeps.md``.

    Raises
    ------
    ValueError
        For a field that does not exist, more runs than ``limit``, a cluster that does not answer or has gone, a full
        disk, a damaged run. What a single run is refused for, is its ``status``.

    Examples
    --------
    >>> import tempfile
    >>> import gradlab as gl
    >>> tables = {
    ...     "network": {"kind": "dense", "widths": [1, 1], "init": {"kind": "gaussian", "scale": 1.0}},
    ...     "loss": {"kind": "square", "half": True},
    ...     "data": {"kind": "linear regression", "examples": 3, "inputs": 1},
    ...     "flow": {"kind": "gradient descent", "step": 0.1},
    ...     "records": {"until": 5, "count": 2},
    ...     "observables": ["loss"],
    ... }
    >>> with tempfile.TemporaryDirectory() as out:
    ...     cube = gl.sweep(tables, grid={"flow.step": [0.01, 0.1]}, seeds=2, out=out)
    >>> dict(cube.loss.sizes)
    {'flow.step': 2, 'seed': 2}
    >>> cube.status.values.ravel().tolist()[0]
    'reached the last record'
    """
    base, tables = _tables(given)
    replaced = {"grid": grid, "random": random, "samples": samples, "seeds": seeds}
    chosen = {name: _plain(value) for name, value in replaced.items() if value is not None}
    if chosen:
        tables = {**tables, "sweep": {**tables.get("sweep", {}), **chosen}}
    work = Sweep(specification.design(tables, limit), base, Path(out), None if code is None else str(code))
    work.run(jobs, cluster, progress)
    return work.collect()


def _tables(given: Any) -> tuple[Path, dict[str, Any]]:
    """The folder that paths are relative to, and the tables."""
    if isinstance(given, Mapping):
        return Path.cwd(), dict(given)
    if not isinstance(given, str | os.PathLike):
        raise ValueError(
            f"a specification was {brief(repr(given))}; give a TOML file or a dictionary of its tables"
        )
    path = Path(given)
    return path.resolve().parent, specification.tables(path)


def _plain(value: Any) -> Any:
    """Mappings, lists and numbers as a TOML file has them, whether arrays, ranges or tuples were given."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple | range):
        return [_plain(one) for one in value]
    return value.tolist() if hasattr(value, "tolist") else value


@dataclass
class Sweep:
    """A design with what is kept of it.

    Attributes
    ----------
    found : of each point, where the run of a seed is. errors : why there is none.
    computed, wall, processor : runs computed by this call, and the seconds that workers took for them.
    """

    design: Design
    base: Path
    out: Path
    code: str | None = None
    found: dict[tuple[int, ...], dict[int, Place]] = field(default_factory=dict)
    errors: dict[tuple[int, ...], dict[int, str]] = field(default_factory=dict)
    computed: int = 0
    wall: float = 0.0
    processor: float = 0.0

    @property
    def root(self) -> Path:
        """The folder of the points."""
        return self.out.resolve() / RUNS

    @property
    def done(self) -> int:
        """How many of the design's runs are kept."""
        return sum(seed in places for places in self.found.values() for seed in self.design.seeds)

    def run(self, jobs: int = 1, cluster: str | None = None, progress: Progress | None = None) -> None:
        """Compute what is not there."""
        specifications = list(self.design.points())
        if cluster not in (None, "local"):
            with executor(jobs, cluster) as running:
                blocks = self._blocks(specifications, self._asked(running))
                if blocks:
                    self._tried(blocks[0])
                    self._drive(running, blocks, progress)
            return
        blocks = self._blocks(specifications, surroundings(self.code))
        if blocks:
            self._tried(blocks[0])
            with executor(min(jobs, len(blocks)), cluster) as running:
                self._drive(running, blocks, progress)

    def _asked(self, running: Executor) -> dict[str, Any]:
        """The place of computation, as a worker sees it."""
        running.submit(surroundings, self.code)
        return next(iter(running.as_completed())).result()

    def _blocks(self, specifications: Any, here: Mapping[str, Any]) -> list[Block]:
        """What is to be computed; what is there is noted on the way."""
        seeded, blocks = self.design.seeded, []
        for index, spec in specifications:
            one = at_point(index, spec, seeded, here, self.base)
            self.found[index] = finished(self.root / one.name)
            missing = [seed for seed in self.design.seeds if seed not in self.found[index]]
            for low in range(0, len(missing), BLOCK):
                blocks.append(self._block(one, missing[low : low + BLOCK]))
        return blocks

    def _block(self, one: Point, seeds: Sequence[int]) -> Block:
        return Block(one, tuple(seeds), self.design.seeded, str(self.root), str(self.base), self.code)

    def _tried(self, block: Block) -> None:
        """What the first run would be refused for is said before a process is started."""
        module = None if self.code is None else specification.load_code(Path(self.code))
        specification.build(specification.parse(dict(block.point.specification)), self.base, module)

    def _drive(self, running: Executor, blocks: Sequence[Block], progress: Progress | None) -> None:
        first = running.progress.total
        for block in blocks:
            running.submit(compute, block)
        total, done = self.design.runs, self.done
        self._tell(progress, done, total, len(blocks))
        for ended in running.as_completed():
            block = blocks[ended.number - first]
            self._note(block, ended)
            done += len(block.seeds)
            left = running.progress.total - running.progress.done
            self._tell(progress, done, total, left)

    def _tell(self, progress: Progress | None, done: int, total: int, left: int) -> None:
        if progress is not None:
            progress.update(f"{done} of {total} runs, {left} blocks left", float(done), float(total))

    def _note(self, block: Block, ended: Done) -> None:
        index = block.point.index
        if isinstance(ended.error, StoreError | Lost):
            raise ended.error
        if ended.error is not None:
            self.errors.setdefault(index, {}).update(dict.fromkeys(block.seeds, _words(ended.error)))
            return
        report: Report = ended.value
        self.computed += report.computed
        self.wall += report.wall
        self.processor += report.processor
        if not all(Path(path).is_dir() for path in report.directories):
            raise ValueError(
                f"a worker kept its runs in {block.root}, which is not seen here: give --out a folder that all workers "
                "share"
            )
        self.found[index] |= finished(self.root / block.point.name)

    def collect(self) -> xr.Dataset:
        """The cube, also kept as ``cube.nc``."""
        made = cube(self.design, self.found, self.errors, self.root)
        data, disk = segment.encode(made, {}), Disk()
        with in_words("writing the cube", self.out, "put that right and give the same command again"):
            disk.mkdir(self.out)
            disk.write_bytes_atomically(self.out / CUBE, data)
        return made


def _words(error: BaseException) -> str:
    """Why a task gave nothing, in a line."""
    if isinstance(error, Died):
        return f"the process that ran it died: {error}"
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return kind + (brief(str(error), 300) or "no message")
