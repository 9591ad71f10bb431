"""A task of a sweep: the runs of some seeds at one point, vmapped where they can be, kept as one run directory."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import xarray as xr

from gradlab import laboratory, specification
from gradlab.laboratory.choosing import checked
from gradlab.problem.ensembles import stack
from gradlab.specification import Experiment
from gradlab.specification.design import with_fields
from gradlab.specification.experiment import with_seed
from gradlab.store.disk import Locked
from gradlab.store.run import Run
from gradlab.sweeping.kept import Point, surroundings

#: Seconds that a task waits for another process that computes the same runs, and between two looks.
PATIENCE, PAUSE = 3600.0, 0.5


@dataclass(frozen=True)
class Block:
    """What a worker is told: plain values only."""

    point: Point
    seeds: tuple[int, ...]
    seeded: tuple[str, ...]
    root: str
    base: str
    code: str | None = None


@dataclass
class Report:
    """What a worker tells: runs computed, run directories found done, and seconds of wall and processor."""

    computed: int = 0
    found: int = 0
    wall: float = 0.0
    processor: float = 0.0
    directories: list[str] = field(default_factory=list)


def compute(block: Block) -> Report:
    """Run a block and keep it; what is there already is not run again.

    Raises
    ------
    ValueError
        Where this process has other versions, code or instructions than the sweep, or what a run is refused for.
    StoreError
        Where the disk refuses; nothing that was kept before is lost.
    """
    begun, used = time.perf_counter(), time.process_time()
    _same(block.point.content, surroundings(block.code))
    report = Report()
    with jax.enable_x64(True):
        experiments = _built(block)
        together = len(experiments) == 1 or _together(experiments[0])
        parts = [range(len(experiments))] if together else [[i] for i in range(len(experiments))]
        for part in parts:
            _keep(block, [block.seeds[i] for i in part], [experiments[i] for i in part], report)
    report.wall, report.processor = time.perf_counter() - begun, time.process_time() - used
    return report


def _same(content: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    for name, value in here.items():
        if content.get(name) != value:
            raise ValueError(
                f"a worker has other {name.replace('_', ' ')} than the first one, so that bits would differ: start all "
                "workers with the same installation, on one kind of machine"
            )


def _built(block: Block) -> list[Experiment]:
    """The experiment of each seed; where seeds draw weights and noise only, the problem is made once."""
    module = None if block.code is None else _module(block.code)

    def built(seed: int) -> Experiment:
        raw = with_fields(block.point.specification, dict.fromkeys(block.seeded, seed))
        return specification.build(specification.parse(raw), Path(block.base), module)

    if block.seeded != ("seed",):
        return [built(seed) for seed in block.seeds]
    first = built(block.seeds[0])
    return [first, *(with_seed(first, seed) for seed in block.seeds[1:])]


@functools.lru_cache(maxsize=8)
def _module(code: str) -> ModuleType:
    return specification.load_code(Path(code))


def _together(experiment: Experiment) -> bool:
    """Whether the runs of several seeds can be one vmapped run."""
    if experiment.specification.solver.reduce:
        return False
    try:
        checked(experiment.flow, experiment.clock, experiment.solver, True)
    except ValueError:
        return False
    return True


def _keep(block: Block, seeds: Sequence[int], experiments: Sequence[Experiment], report: Report) -> None:
    identity = block.point.block(block.seeded, seeds)
    with _opened(Path(block.root) / block.point.name, identity) as kept:
        report.directories.append(str(kept.path))
        if kept.finished is not None:
            report.found += 1
            return
        if kept.segments:
            dataset = kept.dataset()
        else:
            begun = time.perf_counter()
            dataset = _run(experiments)
            kept.append(dataset, {}, time.perf_counter() - begun)
            report.computed += len(seeds)
        kept.finish(str(dataset.attrs["result"]))


def _opened(root: Path, identity: Any) -> Run:
    """The run directory, open for writing; waits for another process that is at work on the same runs."""
    begun = time.monotonic()
    while True:
        try:
            return Run.create(root, identity)
        except Locked:
            if time.monotonic() - begun > PATIENCE:
                raise
            time.sleep(PAUSE)


def _run(experiments: Sequence[Experiment]) -> xr.Dataset:
    first = experiments[0]
    spec, alone = first.specification, len(experiments) == 1
    return laboratory.run(
        first.flow if alone else stack([one.flow for one in experiments]),
        first.weights if alone else stack([one.weights for one in experiments]),
        first.records,
        clock=first.clock,
        solver=first.solver,
        stop=first.stops,
        observables=spec.observables,
        keep=spec.records.keep,
        refine=spec.solver.refine,
        reduce=spec.solver.reduce if alone else None,
        members=None if alone else len(experiments),
        name=spec.title,
        seed=spec.seed if alone else None,
    )
