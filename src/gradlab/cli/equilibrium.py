"""``gradlab equilibrium``: polish where a run ended, classify it, explain it, and draw it."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab.cli import runs, screen
from gradlab.cli.computing import begin
from gradlab.cli.errors import say

if TYPE_CHECKING:
    from types import ModuleType

    from gradlab.store.run import Run

PAGE, RECORD = "equilibrium.html", "equilibrium.json"


def equilibrium(
    where: Path, *, code: Path | None, out: Path, json: bool, certify: bool, kink: float | None
) -> None:
    """From a run directory, or from a specification that is run first."""
    from gradlab import specification
    from gradlab.store.run import Run

    if kink is not None and not 0.0 < kink < 1.0:
        raise ValueError(f"--kink was {kink}; give a number between 0 and 1, e.g. 1e-6")
    begin()
    module = None if code is None else specification.load_code(code)
    directory = where
    if where.is_file():
        directory, how = runs.carried_out(where, module, out)
        say(how)
    with Run.open(directory, write=True) as kept:
        told = _told(kept, module, certify, kink)
        page = _publish(kept, told)
    from gradlab.report import equilibrium as report

    if json:
        print(jsonlib.dumps(told, indent=1, ensure_ascii=False, allow_nan=False))
        return
    for line in report.lines(told):
        print(line)
    print(page)


def _told(kept: Run, module: ModuleType | None, certify: bool, kink: float | None) -> dict[str, Any]:
    from gradlab.analysis.equilibria.classification import classify
    from gradlab.report import equilibrium as report

    problem, weights = runs.end(kept, module)
    with screen.Bar() as bar:
        bar.update("polishing and classifying", 0.0, 1.0)
        found = classify(problem, weights, kink=kink, progress=bar.update)
        if found.kink is None and not found.polished.converged:
            raise ValueError(
                f"where the run ended there is {found.why}; let it go on longer (records.until), or give the "
                "problem a decay, with which there is an equilibrium"
            )
        proof = None
        if certify:
            from gradlab.analysis.certificates.certificate import certify as prove

            bar.update("proving", 0.5, 1.0)
            proof = prove(problem, found.weights)
    return report.record(found, proof)


def _publish(kept: Run, told: dict[str, Any]) -> Path:
    from gradlab import figures
    from gradlab.report import equilibrium as report

    kept.attach(RECORD, jsonlib.dumps(told, indent=1, ensure_ascii=False, allow_nan=False).encode())
    if told["eigenvalues"]:
        kept.attach("spectrum.svg", figures.svg(report.figure(told)).encode())
    content = kept.identity.content
    provenance = {
        "run": kept.path.name,
        "data": content["data"],
        **{k: content[k] for k in ("versions", "cores")},
    }
    title = runs.title(kept)
    kept.attach(
        PAGE,
        report.render(
            told, provenance, title=f"{title}: the equilibrium" if title else "An equilibrium"
        ).encode(),
    )
    return (kept.path / PAGE).resolve()
