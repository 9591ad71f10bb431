"""``gradlab verify``."""

from __future__ import annotations

import json as json_module
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gradlab.cli import screen
from gradlab.cli.computing import begin
from gradlab.cli.errors import Interrupted, say
from gradlab.machine import cores
from gradlab.store import foreign

if TYPE_CHECKING:
    from gradlab.claims.keeping import Result
    from gradlab.claims.studies import Budget, Study

#: Seconds between two pages of a quick verification: on each stand all results that are in, and one takes a tenth.
_PAGE = 1.0
#: A stored set of verdicts of every claim is some hundred kilobytes.
_LARGEST = 64 << 20


def _print_json(records: Sequence[dict[str, Any]]) -> None:
    """An array of objects on standard output; a NaN would be a bug and raises."""
    sys.stdout.write(json_module.dumps(list(records), allow_nan=False, indent=1) + "\n")


def _studies(what: Sequence[str], source: str | None) -> list[Study]:
    """The studies asked for: ids and files in the order given, else those of a source, else all."""
    from gradlab.claims import catalogue

    if what and source is not None:
        raise ValueError("give either claims or --source, not both")
    if not what:
        return list(catalogue.load(source=source))
    studies: list[Study] = []
    for name in what:
        found = catalogue.load_file(Path(name)) if name.endswith(".py") else catalogue.load([name])
        studies += [study for study in found if all(study.claim.id != other.claim.id for other in studies)]
    return studies


def verify(
    what: Sequence[str],
    *,
    source: str | None,
    budget: Budget,
    out: Path,
    json: bool,
    jobs: int | None,
    seed: int,
    expect: Path | None,
    resume: bool,
    cluster: str | None = None,
) -> None:
    """Run the studies, keep the report readable throughout, print the verdicts."""
    from gradlab.claims import keeping

    expected = None if expect is None else _stored(expect)
    out.mkdir(parents=True, exist_ok=True)
    # The usual run is many small programs, each used a few times.
    begin(quickly=budget == "quick")
    studies = _studies(what, source)
    at_once = jobs or cores()
    results = _run(studies, budget=budget, out=out, jobs=at_once, cluster=cluster, seed=seed, resume=resume)
    records = [result.record() for result in results]
    console = screen.console(stderr=json)
    console.print()
    console.print(screen.verdicts(records))
    console.print()
    console.print(screen.tally(records))
    console.print(screen.Text(f"The report is {(out / 'index.html').resolve()}"), soft_wrap=True)
    if json:
        _print_json(records)
    failed = [result for result in results if result.error is not None]
    for result in failed:
        say(f"\n{result.claim.id} raised:\n{result.error}")
    differences = [] if expected is None else keeping.compare_with(results, expected)
    if differences:
        say(f"\nThe verdicts differ from {expect}:")
        for line in differences:
            say(f"  {line}")
    if failed or differences:
        raise typer.Exit(1)


def _run(
    studies: Sequence[Study],
    *,
    budget: Budget,
    out: Path,
    jobs: int,
    cluster: str | None,
    seed: int,
    resume: bool,
) -> list[Result]:
    """Run them, or those not kept already; every result is kept and shown as it comes, and soon on the page."""
    from gradlab.claims import catalogue, keeping, underway, verification
    from gradlab.report import page
    from gradlab.store.run import environment

    provenance = {"budget": budget, "seed": seed, **environment()}
    finished: dict[str, Result] = {}
    made = verification.provenance(budget)
    for study in studies if resume else ():
        found = keeping.kept(out, study, made, seed)
        if found is not None:
            finished[study.claim.id] = found
    left = [study for study in studies if study.claim.id not in finished]
    for study in () if resume else left:
        underway.forget(out, study.claim.id)
    drawn: dict[str, Any] = {}
    written, standing = 0.0, -1

    def write() -> None:
        nonlocal written, standing
        shown = [finished[study.claim.id] for study in studies if study.claim.id in finished]
        pending = [study for study in studies if study.claim.id not in finished]
        page.write(out / "index.html", shown, provenance=provenance, pending=pending, drawn=drawn)
        written, standing = time.monotonic(), len(finished)

    if finished:
        say(f"{len(finished)} of {len(studies)} claims are taken from {out}, as they were kept there")
    with screen.Bar("claims", len(left)) as bar:

        def on_result(result: Result) -> None:
            finished[result.claim.id] = result
            keeping.save(out, result)
            base = catalogue.base(result.claim.id)
            both = [study.claim.id for study in left if catalogue.base(study.claim.id) == base]
            if all(one in finished and finished[one].error is None for one in both):
                underway.forget(out, base)
            bar.advance()
            bar.print(screen.result_line(result.record()))
            if budget == "full" or time.monotonic() - written >= _PAGE:
                write()

        write()
        try:
            verification.verify(
                left,
                budget=budget,
                seed=seed,
                jobs=jobs,
                cluster=cluster,
                on_result=on_result,
                progress=bar,
                out=out if budget == "full" else None,
            )
        except KeyboardInterrupt:
            raise Interrupted(
                f"{len(finished)} of {len(studies)} claims are in {out / 'index.html'}; the same command "
                "with --resume runs the others"
            ) from None
        finally:
            if standing < len(finished):
                write()
    return [finished[study.claim.id] for study in studies]


def _stored(path: Path) -> list[dict[str, Any]]:
    """The verdicts that ``--json`` once printed.

    Raises
    ------
    ValueError
        If the file is missing, too large, or no such array.
    """
    if not path.exists():
        raise ValueError(f"--expect: there is no file {path}")
    with foreign.reading(path, "JSON (store what --json prints)"):
        stored = json_module.loads(foreign.whole_file(path, _LARGEST, "a set of verdicts"))
    if not (
        isinstance(stored, list)
        and all(
            isinstance(one, dict) and isinstance(one.get("id"), str) and "verdict" in one for one in stored
        )
    ):
        raise ValueError(
            f"--expect: {path} is not an array of verdicts with 'id' and 'verdict'; store what --json prints"
        )
    return stored
