"""Running studies: one key a claim, shared cases once, failures as results, and results that outlive it."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import re
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import xarray as xr

from gradlab.claims import catalogue
from gradlab.claims.claim import Budget, Case, Claim, Measure, Part, Study, Verdict, collect
from gradlab.laboratory import PROGRESS, Progress
from gradlab.store.disk import Disk, in_words
from gradlab.store.identity import environment

ERROR = "error"

#: What the record of a kept result is called, after the claim's id, and the number of its form.
SUFFIX = ".result.json"
FORMAT = 1


@dataclass(frozen=True)
class Result:
    """What came of one study: a verdict with its dataset, or the text of the error that it raised.

    ``seconds`` is the wall time of the study; time spent on shared cases is divided among those sharing.
    Pickling keeps the study as its origin and id and loads it again; a study without origin is refused.
    """

    study: Study
    verdict: Verdict | None
    dataset: xr.Dataset | None
    seconds: float
    error: str | None
    seed: int
    provenance: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON, None for what is not a finite number.

        ``hypotheses`` lists what the passage assumes in words (``checked`` false), then what was measured.
        """
        claim, verdict = self.study.claim, self.verdict
        hypotheses: list[dict[str, Any]] = [
            {"statement": words, "checked": False} for words in claim.hypotheses
        ]
        if verdict is not None:
            hypotheses += [{**asdict(part), "checked": True} for part in verdict.hypotheses]
        return {
            "id": claim.id,
            "source": claim.source,
            "statement": claim.statement,
            "verdict": ERROR if verdict is None else verdict.verdict,
            "part": None if verdict is None else verdict.part,
            "number": None if verdict is None else verdict.number,
            "tolerance": None if verdict is None else verdict.tolerance,
            "hypotheses": hypotheses,
            "parts": [] if verdict is None else [asdict(part) for part in verdict.parts],
            "seconds": self.seconds,
        }

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "study": (_origin(self.study), self.study.claim.id)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        origin, claim_id = state["study"]
        vars(self).update({**state, "study": catalogue.resolve(origin, [claim_id])[0]})


def key(claim_id: str, seed: int) -> jax.Array:
    """A claim's own random key, the same for its corrected form and whatever else is run."""
    digest = hashlib.sha256(catalogue.base(claim_id).encode()).digest()
    return jax.random.fold_in(jax.random.key(seed), int.from_bytes(digest[:4], "big"))


def verify(
    studies: Iterable[Study],
    budget: Budget = "quick",
    seed: int = 0,
    jobs: int = 1,
    on_result: Callable[[Result], None] | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Run studies in float64 and judge them.

    A claim and its corrected form whose ``cases`` are the same function run them once.

    Parameters
    ----------
    jobs : above 1, studies run in that many spawned processes, which the studies reach by their origin.
    on_result : called in this process with each result as it comes in.
    progress : told what is running; with ``jobs`` above 1, of studies begun and done only.

    Returns
    -------
    One result a study, in the order given. A study that raises gives a result with ``error``.

    Raises
    ------
    ValueError
        For an unknown budget, a negative seed, fewer than one job, two studies of one id, or, with more
        than one job, a study that was not loaded from a file.
    """
    studies = list(studies)
    _check([study.claim.id for study in studies], budget, seed, jobs)
    groups = _groups(studies)
    provenance = {**environment(), "budget": budget}
    finished: dict[str, Result] = {}
    with closing(_outcomes(groups, budget, seed, jobs, progress)) as outcomes:
        for study, outcome in outcomes:
            result = Result(study, **vars(outcome), seed=seed, provenance=provenance)
            finished[study.claim.id] = result
            if on_result is not None:
                on_result(result)
    return [finished[study.claim.id] for study in studies]


def compare_with(results: Sequence[Result], expected: Sequence[Mapping[str, Any]]) -> list[str]:
    """How verdicts differ from a stored set of records: a sentence each, none where they agree.

    Compared are the claims present, each verdict, and the verdict of each part that both have; numbers
    differ between machines and are not compared.

    Raises
    ------
    ValueError
        If the stored set is no list of records with ``id`` and ``verdict``.
    """
    stored: dict[str, Mapping[str, Any]] = {}
    for record in expected:
        if not (isinstance(record, Mapping) and isinstance(record.get("id"), str) and "verdict" in record):
            raise ValueError(
                f"the expected verdicts hold {record!r:.80}; expected is what --json prints: records with "
                "'id' and 'verdict'"
            )
        stored[record["id"]] = record
    differences = []
    for result in results:
        now = result.record()
        before = stored.pop(now["id"], None)
        if before is None:
            differences.append(f"{now['id']} is {now['verdict']}; it is not among the expected")
        elif before["verdict"] != now["verdict"]:
            differences.append(f"{now['id']} is {now['verdict']}; expected was {before['verdict']}")
        else:
            differences += _parts_differ(now, before)
    missing = [f"{one} was not run; expected was {record['verdict']}" for one, record in stored.items()]
    return differences + missing


def _parts_differ(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    stored = {part["id"]: part["verdict"] for part in before.get("parts", ())}
    for part in now["parts"]:
        was = stored.get(part["id"], part["verdict"])
        if was != part["verdict"]:
            yield f"{now['id']}, part {part['id']}, is {part['verdict']}; expected was {was}"


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
    groups: Sequence[Sequence[Study]], budget: Budget, seed: int, jobs: int, progress: Progress | None
) -> Generator[tuple[Study, _Outcome], None, None]:
    if jobs > 1 and len(groups) > 1:
        yield from _side_by_side(groups, budget, seed, min(jobs, len(groups)), progress)
        return
    for group in groups:
        with _heard(group[0].claim.id, progress):
            outcomes = _run(group, budget, seed)
        yield from zip(group, outcomes, strict=True)


def _run(group: Sequence[Study], budget: Budget, seed: int) -> list[_Outcome]:
    """Run the cases of a group once; every study observes each case, and judges when all are in."""
    outcomes = [_Outcome() for _ in group]
    seen: list[list[tuple[str, xr.Dataset]]] = [[] for _ in group]
    each = list(zip(group, outcomes, seen, strict=True))
    begun = time.perf_counter()
    with jax.enable_x64(True):
        try:
            for case in group[0].cases(budget, key(group[0].claim.id, seed)):
                for study, outcome, mine in each:
                    _attempt(outcome, partial(_see, study, mine, case))
                if all(outcome.error is not None for outcome in outcomes):
                    break
        except (Exception, SystemExit):
            for outcome in outcomes:
                outcome.error = outcome.error or traceback.format_exc()
        for study, outcome, mine in each:
            _attempt(outcome, partial(_judge, study, outcome, mine))
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
        self.listener.update(f"{self.name}: {description}", completed, total)


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


def _side_by_side(
    groups: Sequence[Sequence[Study]], budget: Budget, seed: int, jobs: int, progress: Progress | None
) -> Generator[tuple[Study, _Outcome], None, None]:
    tasks = [(_references(group), budget, seed) for group in groups]
    names = [group[0].claim.id for group in groups]
    left = list(range(len(groups)))

    def tell() -> None:
        if progress is not None and left:
            progress.update(", ".join(names[i] for i in left[:jobs]), len(groups) - len(left), len(groups))

    with _pool(jobs) as pool:
        futures = {pool.submit(_remote, *task): i for i, task in enumerate(tasks)}
        tell()
        for future in as_completed(futures):
            i = futures[future]
            if isinstance(future.exception(), BrokenProcessPool):
                continue
            left.remove(i)
            tell()
            yield from zip(groups[i], _arrived(future, len(groups[i])), strict=True)
    # A process that dies takes the pool along, and those that only shared it are not to blame:
    # each of those left gets a process of its own.
    for i in tuple(left):
        with _pool(1) as pool:
            tell()
            future = pool.submit(_remote, *tasks[i])
            wait([future])
            left.remove(i)
            yield from zip(groups[i], _arrived(future, len(groups[i])), strict=True)


def _arrived(future: Future[list[_Outcome]], count: int) -> list[_Outcome]:
    error = future.exception()
    if error is None:
        return future.result()
    text = "".join(traceback.format_exception(error))
    if isinstance(error, BrokenProcessPool):
        text = "the process that ran the study died: out of memory, killed, or a crash below Python\n" + text
    return [_Outcome(error=text) for _ in range(count)]


@contextmanager
def _pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes (a fork after JAX has started deadlocks) that end with the block, however it ends."""
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_interrupts)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    pool.shutdown()


def _ignore_interrupts() -> None:
    """Ctrl-C reaches the whole process group; the parent alone answers, by ending its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _references(group: Sequence[Study]) -> tuple[str, list[str]]:
    origins = {_origin(study) for study in group}
    if len(origins) > 1:
        raise ValueError(f"studies that share their cases came from several files: {sorted(origins)}")
    return origins.pop(), [study.claim.id for study in group]


def _origin(study: Study) -> str:
    if not study.origin:
        raise ValueError(
            f"study {study.claim.id!r} was built in place and cannot go to another process; load it with "
            "catalogue.load or catalogue.load_file, or use jobs=1"
        )
    return study.origin


def _remote(reference: tuple[str, list[str]], budget: Budget, seed: int) -> list[_Outcome]:
    return _run(catalogue.resolve(*reference), budget, seed)


def save(directory: str | Path, result: Result, disk: Disk | None = None) -> Path:
    """Keep a result, so that its page can be drawn again without computing; the path of its record.

    The dataset goes to ``<id>-<digest>.nc``, then the record that names it to ``<id>.result.json``, each
    by rename: killed at any moment, the directory holds the old result or the new one.
    """
    directory = Path(directory)
    with in_words("keeping a result", directory, "make room there or name another directory"):
        return _write(directory, result, disk or Disk())


def _write(directory: Path, result: Result, disk: Disk) -> Path:
    disk.mkdir(directory)
    claim_id, stored = result.study.claim.id, None
    if result.dataset is not None:
        content = bytes(result.dataset.to_netcdf(None, engine="h5netcdf"))
        digest = hashlib.sha256(content).hexdigest()
        stored = {"file": f"{claim_id}-{digest[:16]}.nc", "sha256": digest}
        disk.write_bytes_atomically(directory / stored["file"], content)
    body = {
        "claim": asdict(result.study.claim),
        "measures": [asdict(measure) for measure in result.study.measures],
        "settings": result.study.settings,
        "verdict": None if result.verdict is None else result.verdict.as_dict(),
        "error": result.error,
        "seconds": result.seconds,
        "seed": result.seed,
        "provenance": result.provenance,
        "dataset": stored,
    }
    record = {"format": FORMAT, "sha256": _digest(body), "result": body}
    path = directory / f"{claim_id}{SUFFIX}"
    disk.write_bytes_atomically(path, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())
    earlier = re.compile(re.escape(claim_id) + r"-[0-9a-f]{16}\.nc")
    for name in disk.listdir(directory):
        if earlier.fullmatch(name) and (stored is None or name != stored["file"]):
            disk.remove(directory / name)
    return path


def load(directory: str | Path, studies: Iterable[Study] = (), disk: Disk | None = None) -> list[Result]:
    """The results kept in a directory, in the catalogue's order, then others by id.

    No file that a record names is executed: a study is one of ``studies``, else the catalogue's, else one
    rebuilt from the record, which can be shown, with the generic figure, and not run. Statement and
    measures are those of the record.

    Raises
    ------
    ValueError
        If there is no result, or a file is missing or not what was written; the message names it.
    """
    disk = disk or Disk()
    directory = Path(directory)
    known = {study.claim.id: study for study in studies}
    with in_words("reading the results", directory, "make it readable or run gradlab verify again"):
        names = disk.listdir(directory) if disk.exists(directory) else []
        results = [_read(directory, name, known, disk) for name in names if name.endswith(SUFFIX)]
    if not results:
        raise ValueError(f"{directory} holds no results; name the directory given to gradlab verify --out")
    order = {one: i for i, one in enumerate(catalogue.files())}

    def place(result: Result) -> tuple[int, str]:
        claim_id = result.study.claim.id
        return order.get(catalogue.base(claim_id), len(order)), claim_id

    return sorted(results, key=place)


def _read(directory: Path, name: str, known: Mapping[str, Study], disk: Disk) -> Result:
    path = directory / name
    again = "run gradlab verify again for this claim"
    try:
        record = json.loads(disk.read_bytes(path))
        body = record["result"]
        if record["format"] != FORMAT or record["sha256"] != _digest(body):
            raise ValueError("its digest does not agree with its content")
        claim = Claim(**{**body["claim"], "hypotheses": tuple(body["claim"]["hypotheses"])})
        measures = tuple(Measure(**measure) for measure in body["measures"])
        if name != f"{claim.id}{SUFFIX}":
            raise ValueError(f"it is the record of {claim.id}")
        verdict = None if body["verdict"] is None else _verdict(body["verdict"])
        beside = None if body["dataset"] is None else directory / Path(body["dataset"]["file"]).name
        rest = {one: body[one] for one in ("seconds", "error", "seed", "provenance")}
        shown = Study(claim, measures, _not_kept, _not_kept, settings=body["settings"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no result as gradlab wrote it ({error}); {again}") from error
    dataset = None
    if beside is not None:
        if not disk.exists(beside):
            raise ValueError(f"{beside} is missing, which {name} names; {again}")
        content = disk.read_bytes(beside)
        if hashlib.sha256(content).hexdigest() != body["dataset"]["sha256"]:
            raise ValueError(f"{beside} is not what was written, its sha256 differs; {again}")
        dataset = xr.load_dataset(io.BytesIO(content), engine="h5netcdf")
    return Result(study=_with_code(shown, known), verdict=verdict, dataset=dataset, **rest)


def _with_code(shown: Study, known: Mapping[str, Study]) -> Study:
    found = known.get(shown.claim.id)
    if found is None:
        with suppress(catalogue.UnknownClaim):
            found = catalogue.load([shown.claim.id])[0]
    if found is None:
        return shown
    return replace(found, claim=shown.claim, measures=shown.measures, settings=shown.settings)


def _verdict(content: Mapping[str, Any]) -> Verdict:
    lists = {one: tuple(Part(**part) for part in content[one]) for one in ("parts", "hypotheses")}
    return Verdict(**{**content, **lists})


def _not_kept(*_: Any) -> Any:
    raise ValueError("a study read from a report can be shown, not run; name its Python file to run it")


def _digest(body: Any) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
