"""Results that outlive the process: kept in a directory, sealed, and compared with what was published."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from gradlab.claims import catalogue
from gradlab.claims.claim import Claim, Measure
from gradlab.claims.judging import Verdict
from gradlab.claims.studies import Study
from gradlab.store import foreign, netcdf
from gradlab.store.disk import Disk, in_words

ERROR = "error"

#: What the record of a kept result is called, after the claim's id, and the number of its form.
SUFFIX = ".result.json"
FORMAT = 2


@dataclass(frozen=True)
class Result:
    """What came of one study: a verdict with its dataset, or the text of the error that it raised.

    ``claim``, ``measures`` and ``settings`` are the study's, as they were when it was run. ``seconds`` is the wall time
    of the study; time spent on shared cases is divided among those sharing. Pickling keeps the study as its origin
    and id and loads it again; a study without origin is refused.
    """

    study: Study | None
    claim: Claim
    measures: tuple[Measure, ...]
    settings: str
    verdict: Verdict | None
    dataset: xr.Dataset | None
    seconds: float
    error: str | None
    seed: int
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def seal(self) -> str:
        """A digest of what was asked; see :func:`seal`."""
        return seal(self)

    def figure(self) -> Any:
        """The study's figure, or every case's number against its tolerance."""
        from gradlab.claims import plots

        if self.dataset is None or self.verdict is None:
            raise ValueError(f"{self.claim.id} has no numbers to draw")
        if self.study is not None and self.study.figure is not None:
            return self.study.figure(self.dataset, self.verdict)
        return plots.numbers(self.measures, self.dataset, self.verdict)

    def record(self) -> dict[str, Any]:
        """Plain values for JSON, None for what is not a finite number.

        ``verdict`` is about the substance, ``print`` about the printed form. ``hypotheses`` lists what the passage
        assumes in words (``checked`` false), then what was measured.
        """
        claim, verdict = self.claim, self.verdict
        hypotheses: list[dict[str, Any]] = [
            {"statement": words, "checked": False} for words in claim.hypotheses
        ]
        if verdict is not None:
            hypotheses += [{**asdict(part), "checked": True} for part in verdict.hypotheses]
        found = verdict.as_dict() if verdict is not None else {}
        return {
            "id": claim.id,
            "source": claim.source,
            "statement": claim.statement,
            "verdict": ERROR if verdict is None else verdict.verdict,
            "print": found.get("print", ""),
            "repair": found.get("repair"),
            "headline": "" if verdict is None else verdict.headline,
            "part": found.get("part"),
            "number": found.get("number"),
            "error": found.get("error"),
            "tolerance": found.get("tolerance"),
            "asked": found.get("asked", 0),
            "sentences": found.get("sentences", ()),
            "hypotheses": hypotheses,
            "parts": found.get("parts", ()),
            "seal": self.seal,
            "seed": self.seed,
            "seconds": self.seconds,
        }

    def __getstate__(self) -> dict[str, Any]:
        study = None if self.study is None else (origin(self.study), self.claim.id)
        return {**vars(self), "study": study}

    def __setstate__(self, state: dict[str, Any]) -> None:
        study = (
            None if state["study"] is None else catalogue.resolve(state["study"][0], [state["study"][1]])[0]
        )
        vars(self).update({**state, "study": study})


def seal(asked: Result | Study) -> str:
    """A digest of what is asked: claim, measures, tolerances and settings; no number that was found enters it."""
    measures = [asdict(one) for one in asked.measures]
    return _digest({"claim": asdict(asked.claim), "measures": measures, "settings": asked.settings})[:16]


def origin(study: Study) -> str:
    """The module or file that a study was loaded from."""
    if not study.origin:
        raise ValueError(
            f"study {study.claim.id!r} was built in place and cannot go to another process; load it with "
            "catalogue.load or catalogue.load_file, or use jobs=1"
        )
    return study.origin


def compare_with(results: Sequence[Result], expected: Sequence[Mapping[str, Any]]) -> list[str]:
    """How verdicts differ from a stored set of records: a sentence each, none where they agree.

    Compared are the claims that were run: verdict, print, the verdict of each part that both have, and whether
    what was asked has been changed since. Numbers differ between machines and are not compared.

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
        before = stored.get(now["id"])
        if before is None:
            differences.append(f"{now['id']} is {now['verdict']}; it is not among the expected")
            continue
        if before.get("seal", now["seal"]) != now["seal"]:
            differences.append(
                f"{now['id']} asks something else than it did: statement, tolerance or settings changed"
            )
        if before["verdict"] != now["verdict"]:
            differences.append(f"{now['id']} is {now['verdict']}; expected was {before['verdict']}")
        else:
            differences += _parts_differ(now, before)
        if before.get("print", now["print"]) != now["print"]:
            differences.append(
                f"{now['id']}: the print is {now['print']!r}; expected was {before['print']!r}"
            )
    return differences


def _parts_differ(now: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    stored = {part["id"]: part["verdict"] for part in before.get("parts", ())}
    for part in now["parts"]:
        was = stored.get(part["id"], part["verdict"])
        if was != part["verdict"]:
            yield f"{now['id']}, part {part['id']}, is {part['verdict']}; expected was {was}"


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
    claim_id, stored = result.claim.id, None
    if result.dataset is not None:
        content = netcdf.to_bytes(result.dataset)
        digest = hashlib.sha256(content).hexdigest()
        stored = {"file": f"{claim_id}-{digest[:16]}.nc", "sha256": digest}
        disk.write_bytes_atomically(directory / stored["file"], content)
    body = {
        "claim": asdict(result.claim),
        "measures": [asdict(measure) for measure in result.measures],
        "settings": result.settings,
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


def kept(
    directory: str | Path, study: Study, provenance: Mapping[str, Any], seed: int, disk: Disk | None = None
) -> Result | None:
    """The result of a study that a directory holds of the same question, code, machine, budget and seed; else None.

    ``provenance`` is what :func:`gradlab.claims.verification.provenance` says of a budget here; its code is the
    library's, so that studies of a user's own file are never taken. A result that raised, or whose files are not what
    was written, is none.
    """
    disk, directory = disk or Disk(), Path(directory)
    name, here = f"{study.claim.id}{SUFFIX}", json.loads(json.dumps(dict(provenance)))
    if study.origin.endswith(".py") or not disk.exists(directory / name):
        return None
    with suppress(ValueError), in_words("reading the results", directory, "make it readable"):
        found = _read(directory, name, {study.claim.id: study}, disk)
        same = found.seal == seal(study) and found.seed == seed and found.provenance == here
        return found if same and found.error is None else None
    return None


def load_results(
    directory: str | Path, studies: Iterable[Study] = (), disk: Disk | None = None
) -> list[Result]:
    """The results kept in a directory, in the catalogue's order, then others by id.

    No file that a record names is executed: a study, which draws the figure, is one of ``studies``, else the
    catalogue's, else none, and the figure the generic one. Claim, measures and settings are those of the record.

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
        return order.get(catalogue.base(result.claim.id), len(order)), result.claim.id

    return sorted(results, key=place)


def _read(directory: Path, name: str, known: Mapping[str, Study], disk: Disk) -> Result:
    path = directory / name
    again = "run gradlab verify again for this claim"
    try:
        record = json.loads(disk.read_bytes(path))
        body = record["result"]
        if record["format"] != FORMAT or record["sha256"] != _digest(body):
            raise ValueError("its digest does not agree with its content")
        claim = Claim.of(body["claim"])
        measures = tuple(Measure(**measure) for measure in body["measures"])
        if name != f"{claim.id}{SUFFIX}":
            raise ValueError(f"it is the record of {claim.id}")
        verdict = None if body["verdict"] is None else Verdict.of(body["verdict"])
        beside = None if body["dataset"] is None else directory / Path(body["dataset"]["file"]).name
        rest = {one: body[one] for one in ("seconds", "error", "seed", "provenance", "settings")}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no result as gradlab wrote it ({error}); {again}") from error
    dataset = None
    if beside is not None:
        if not disk.exists(beside):
            raise ValueError(f"{beside} is missing, which {name} names; {again}")
        content = disk.read_bytes(beside)
        if hashlib.sha256(content).hexdigest() != body["dataset"]["sha256"]:
            raise ValueError(f"{beside} is not what was written, its sha256 differs; {again}")
        with foreign.reading(beside, "netCDF"):
            dataset, _ = netcdf.from_bytes(content)
    study = known.get(claim.id)
    if study is None:
        with suppress(catalogue.UnknownClaim):
            study = catalogue.load([claim.id])[0]
    return Result(study=study, claim=claim, measures=measures, verdict=verdict, dataset=dataset, **rest)


def _digest(body: Any) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
