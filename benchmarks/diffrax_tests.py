"""diffrax's own tests on gradlab's methods: ``python -m benchmarks.diffrax_tests FOLDER``.

FOLDER holds diffrax's ``test`` package and ``pyproject.toml``, at the version that is installed; nothing of it is
kept here. In the tests the method takes the place of diffrax's adaptive explicit pairs and of the lists of solvers;
diffrax's settings stay (float64 on, strict promotion, no rank promotion, types checked at run time). Tests that name
no replaced solver are not run, and those in ``diffrax_tests.toml`` are left out for the reason that stands there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.diffrax_plugin import FOLDER, LEFT, METHOD, OUT

METHODS = ("RKC2", "RKC3", "MRKC3", "MRKC5", "ROCK4")
#: diffrax's types are checked as its settings say.
CHECKED = "beartype.beartype(conf=beartype.BeartypeConf(strategy=beartype.BeartypeStrategy.On))"
OPTIONS = (
    "-p", "benchmarks.diffrax_plugin", "-q", "--no-header", "--tb=no", "--continue-on-collection-errors",
    "-p", "no:cacheprovider", "-o", f"addopts=--jaxtyping-packages=diffrax,{CHECKED}", "-o", "filterwarnings=default",
)  # fmt: skip


def left_out(method: str) -> list[dict[str, Any]]:
    """The tests that do not apply to a method: pattern and reason."""
    rules = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["left_out"]
    return [rule for rule in rules if method in rule.get("methods", METHODS)]


def run(folder: Path, method: str, which: str = "") -> dict[str, Any]:
    """Outcomes by test, and what was left out, of one method; ``which`` as pytest's ``-k``."""
    with tempfile.TemporaryDirectory() as place:
        rules, out = Path(place) / "left_out.json", Path(place) / "outcome.json"
        rules.write_text(json.dumps(left_out(method)), encoding="utf-8")
        surroundings = {**os.environ, METHOD: method, FOLDER: str(folder), LEFT: str(rules), OUT: str(out)}
        chosen = ["-k", which] if which else []
        command = [sys.executable, "-m", "pytest", str(folder / "test"), "-c", str(folder / "pyproject.toml")]
        done = subprocess.run([*command, *OPTIONS, *chosen], env=surroundings, capture_output=True)
        if not out.exists():
            raise typer.BadParameter(f"pytest did not run: {done.stdout.decode()[-2000:]}")
        return json.loads(out.read_text(encoding="utf-8"))


def counts(found: dict[str, Any]) -> dict[str, int]:
    """How many tests passed and failed among those that came to the method, and how many were left out or never did."""
    met = {name: one for name, one in found["outcomes"].items() if one["met"] or one["outcome"] == "failed"}
    return {
        "passed": sum(one["outcome"] == "passed" for one in met.values()),
        "failed": sum(one["outcome"] == "failed" for one in met.values()),
        "left out": len(found["left_out"]),
        "never stepped": len(found["outcomes"]) - len(met),
    }


def main(
    folder: Annotated[Path, typer.Argument(help="Where diffrax's test package and pyproject.toml are.")],
    method: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(METHODS)}; repeats.")] = None,
    which: Annotated[str, typer.Option("-k", help="Only tests that match, as pytest's -k.")] = "",
    out: Annotated[Path | None, typer.Option("--json", help="Write every outcome there.")] = None,
) -> None:
    """Run diffrax's own tests on gradlab's methods, and say which pass."""
    if not (folder / "test" / "helpers.py").exists():
        raise typer.BadParameter(
            f"{folder} does not hold diffrax's tests: {folder}/test/helpers.py is not there"
        )
    if wrong := [name for name in method or () if name not in METHODS]:
        raise typer.BadParameter(f"there is no method {wrong[0]!r}; known are {', '.join(METHODS)}")
    every: dict[str, Any] = {}
    for name in method or METHODS:
        every[name] = run(folder.resolve(), name, which)
        typer.echo(
            f"{name}: " + ", ".join(f"{number} {what}" for what, number in counts(every[name]).items())
        )
        for test, one in sorted(every[name]["outcomes"].items()):
            if one["outcome"] == "failed":
                typer.echo(f"    {test}: {one['why'].splitlines()[0] if one['why'] else ''}")
        if out is not None:
            out.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")
    if any(counts(found)["failed"] for found in every.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
