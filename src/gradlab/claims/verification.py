"""Running studies: one key a claim, shared cases once, failures as results."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import xarray as xr

from gradlab.claims import catalogue, underway
from gradlab.claims.cases import Case, collect
from gradlab.claims.judging import Verdict
from gradlab.claims.keeping import Result, origin
from gradlab.claims.studies import Budget, Study
from gradlab.executing import Died, Done, Executor, executor
from gradlab.executing.maps import let_go
from gradlab.laboratory import PROGRESS, Progress, report_progress
from gradlab.store.identity import environment


def key(claim_id: str, seed: int) -> jax.Array:
    """A claim's own random key, the same for its corrected form and whatever else is run."""
    digest = hashlib.sha256(catalogue.base(claim_id).encode()).digest()
    return jax.random.fold_in(jax.random.key(seed), int.from_bytes(digest[:4], "big"))


def provenance(budget: str) -> dict[str, Any]:
    """What decides the numbers of a result beside its study and seed: versions, machine, code, and the budget."""
    return {**environment(), "budget": budget}


def verify(
    studies: Iterable[Study],
    budget: Budget = "quick",
    seed: int = 0,
    jobs: int = 1,
    cluster: str | None = None,
    on_result: Callable[[Result], None] | None = None,
    progress: Progress | None = None,
    out: Path | None = None,
) -> list[Result]:
    """``verify`` runs studies in float64 and judges them.

    A claim and its corrected form whose ``cases`` are the same function run them once.

    Parameters
    ----------
    jobs : above 1, studies run in that many spawned processes, which the studies reach by their origin.
    cluster : in place of those, ``local``, ``slurm`` or the address of a Dask scheduler, with ``jobs`` workers.
    on_result : called in this process with each result as it comes in.
    progress : told what is running; with ``jobs`` above 1 or a cluster, of studies begun and done only.
    out : a folder of results, in which long trainings of the catalogue's studies are kept, and gone on with where
        they are there (:mod:`gradlab.claims.underway`); not with a cluster.

    Returns
    -------
    One result a study, in the order given. A study that raises gives a result with ``error``.

    Raises
    ------
    ValueError
        For an unknown budget, a negative seed, fewer than one job, two studies of one id, with more
        than one job or a cluster a study that was not loaded from a file, or a cluster that does not answer.

    Examples
    --------
    >>> import gradlab as gl
    >>> class Mine(gl.claims.Look):
    ...     @gl.claims.at_most(4.0)
    ...     def growth(self):
    ...         '''Largest weight.
    ...
    ...         The source says that it stays below 4.
    ...         '''
    ...         return gl.claims.Number(float(self.end.max()), error=1e-9)
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> claim = gl.claims.Claim("mine.growth", "No weight exceeds 4.")
    >>> study = gl.claims.study(claim, Mine, lambda key: [gl.claims.point(problem, [5.0], draw=0)])
    >>> (result,) = gl.verify([study])
    >>> result.verdict.verdict, result.verdict.number
    ('refuted', 5.0)
    """
    studies = list(studies)
    _check([study.claim.id for study in studies], budget, seed, jobs)
    groups = _groups(studies)
    made = provenance(budget)
    finished: dict[str, Result] = {}
    with closing(_outcomes(groups, budget, seed, jobs, cluster, progress, out)) as outcomes:
        for study, outcome in outcomes:
            result = Result(
                study,
                study.claim,
                study.measures,
                study.settings,
                outcome.verdict,
                outcome.dataset,
                outcome.seconds,
                outcome.error,
                seed,
                made,
            )
            finished[study.claim.id] = result
            if on_result is not None:
                on_result(result)
    return [finished[study.claim.id] for study in studies]


def _check(ids: Sequence[str], budget: str, seed: int, jobs: int) -> None:
    if budget not in get_args(Budget):
        raise ValueError(f"budget was {budget!r}; write 'quick' or 'full'")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"seed was {seed!r}; write a whole number from 0 to 2⁶³ − 1")
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs was {jobs!r}; write a whole number of processes, at least 1")
    twice = [one for one in ids if ids.count(one) > 1]
    if twice:
        raise ValueError(
            f"two studies are called {twice[0]!r}; give each its own id, or verify one at a time"
        )


def _groups(studies: Sequence[Study]) -> list[list[Study]]:
    groups: dict[tuple[str, int], list[Study]] = {}
    for study in studies:
        groups.setdefault((catalogue.base(study.claim.id), id(study.cases)), []).append(study)
    return list(groups.values())


@dataclass
class _Outcome:
    """The part of a result that travels between processes."""

    verdict: Verdict | None = None
    dataset: xr.Dataset | None = None
    seconds: float = 0.0
    error: str | None = None


def _outcomes(
    groups: Sequence[Sequence[Study]],
    budget: Budget,
    seed: int,
    jobs: int,
    cluster: str | None,
    progress: Progress | None,
    out: Path | None,
) -> Generator[tuple[Study, _Outcome], None, None]:
    if not groups:
        return
    at_once = min(jobs, len(groups))
    if at_once > 1 or cluster is not None:
        # before a process is started for them
        references = [_references(group) for group in groups]
    with executor(at_once, cluster) as running:
        for i, group in enumerate(groups):
            if running.here:
                running.submit(_followed, group, budget, seed, out, progress)
            else:
                running.submit(_remote, references[i], budget, seed, None if cluster else out)
        left = list(range(len(groups)))
        _tell(groups, left, running, progress)
        for done in running.as_completed():
            left.remove(done.number)
            _tell(groups, left, running, progress)
            group = groups[done.number]
            yield from zip(group, _arrived(done, len(group)), strict=True)


def _tell(
    groups: Sequence[Sequence[Study]], left: list[int], running: Executor, progress: Progress | None
) -> None:
    """Which studies run in other processes; in this one they say so themselves."""
    if progress is None or running.here or not left:
        return
    names = ", ".join(groups[i][0].claim.id for i in left[: running.jobs])
    progress.update(names, running.progress.done, running.progress.total)


def _arrived(done: Done, count: int) -> list[_Outcome]:
    if done.error is None:
        return list(done.value)
    died = f"the process that ran the study died: {done.error}\n" if isinstance(done.error, Died) else ""
    return [_Outcome(error=died + "".join(traceback.format_exception(done.error))) for _ in range(count)]


def _followed(
    group: Sequence[Study], budget: Budget, seed: int, out: Path | None, progress: Progress | None
) -> list[_Outcome]:
    with _heard(group[0].claim.id, progress):
        return _run(group, budget, seed, out)


def _run(group: Sequence[Study], budget: Budget, seed: int, out: Path | None) -> list[_Outcome]:
    """Run the cases of a group once; every study observes each case, and judges when all are in."""
    outcomes = [_Outcome() for _ in group]
    seen: list[list[tuple[str, xr.Dataset]]] = [[] for _ in group]
    each = list(zip(group, outcomes, seen, strict=True))
    begun = time.perf_counter()
    first = group[0].claim.id
    # what a user's own file runs does not follow from the library's code
    folder = None if group[0].origin.endswith(".py") else out
    with jax.enable_x64(True), underway.kept_in(folder, first, budget, seed):
        try:
            for case in group[0].run(budget, key(first, seed)):
                for study, outcome, mine in each:
                    _attempt(outcome, partial(_see, study, mine, case))
                if all(outcome.error is not None for outcome in outcomes):
                    break
        except (Exception, SystemExit):
            for outcome in outcomes:
                outcome.error = outcome.error or traceback.format_exc()
        for study, outcome, mine in each:
            _attempt(outcome, partial(_judge, study, outcome, mine))
    let_go()
    shared = time.perf_counter() - begun - sum(outcome.seconds for outcome in outcomes)
    for outcome in outcomes:
        outcome.seconds += shared / len(outcomes)
    return outcomes


def _attempt(outcome: _Outcome, step: Callable[[], None]) -> None:
    """One step of a study, unless it has raised before: its time, and what it raises."""
    if outcome.error is not None:
        return
    begun = time.perf_counter()
    try:
        step()
    except (Exception, SystemExit):
        outcome.error = traceback.format_exc()
    outcome.seconds += time.perf_counter() - begun


def _see(study: Study, seen: list[tuple[str, xr.Dataset]], case: Case) -> None:
    # how many there will be, nobody knows
    report_progress(f"case {len(seen) + 1}, {case.label}", 0.0, 0.0)
    seen.append((case.label, study.observed(case)))


def _judge(study: Study, outcome: _Outcome, seen: list[tuple[str, xr.Dataset]]) -> None:
    dataset = collect(seen)
    outcome.verdict, outcome.dataset = study.judge(dataset), dataset


@dataclass
class _Prefixed:
    """The laboratory's progress, with the claim that it belongs to."""

    name: str
    listener: Progress

    def update(self, description: str, completed: float, total: float) -> None:
        self.listener.update(": ".join(filter(None, (self.name, description))), completed, total)


@contextmanager
def _heard(name: str, progress: Progress | None) -> Iterator[None]:
    if progress is None:
        yield
        return
    listener = _Prefixed(name, progress)
    listener.update("preparing", 0.0, 1.0)
    token = PROGRESS.set(listener)
    try:
        yield
    finally:
        PROGRESS.reset(token)


def _references(group: Sequence[Study]) -> tuple[str, list[str]]:
    origins = {origin(study) for study in group}
    if len(origins) > 1:
        raise ValueError(f"studies that share their cases came from several files: {sorted(origins)}")
    return origins.pop(), [study.claim.id for study in group]


def _remote(reference: tuple[str, list[str]], budget: Budget, seed: int, out: Path | None) -> list[_Outcome]:
    return _run(catalogue.resolve(*reference), budget, seed, out)
