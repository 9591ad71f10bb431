"""What a benchmark found, as JSON: kept while it runs, and several runs joined into one."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from benchmarks.measure import Bench
from benchmarks.ours import NAMES, missing


class Results:
    """What was found so far, written after every method so that an interrupted run keeps what it has."""

    def __init__(self, path: Path | None, budget: str) -> None:
        self.path = path
        self.found: dict[str, Any] = {
            "budget": budget,
            "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "load": os.getloadavg()},
            "skipped": {f"gradlab-{name}": why for name in NAMES if (why := missing(name)) is not None},
        }

    def keep(self, **parts: Any) -> None:
        """Add parts and write."""
        self.found |= parts
        if self.path is not None:
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps(self.found, indent=1, default=float) + "\n", encoding="utf-8")
            temporary.replace(self.path)


def benches(found: dict[str, Any]) -> list[Bench]:
    """The problems in results."""
    return [Bench.of(record) for record in found.get("problems", [])]


def join(paths: Sequence[Path]) -> dict[str, Any]:
    """Results of several runs as one: of methods on the same problem the union, the later file deciding.

    Raises
    ------
    typer.BadParameter
        For a file that is not there or holds no results, and for problems of one name that differ.
    """
    joined: dict[str, Any] = {}
    problems: dict[str, Bench] = {}
    for path in paths:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            for bench in benches(found):
                known = problems.get(bench.name)
                problems[bench.name] = bench if known is None else known.joined(bench)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise typer.BadParameter(f"{path} does not hold results that can be used: {error}") from None
        joined |= found
    return joined | {"problems": [bench.record() for bench in problems.values()]}
