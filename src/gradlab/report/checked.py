"""The page of a run that was checked: what was found, which theorems hold, and when their hypotheses did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from gradlab.report import page

#: Verdicts in their order, with the kind whose colour and mark they have, and what they mean.
VERDICTS = {
    "refuted": ("refuted", "its hypotheses held, and what it says did not happen"),
    "holds": ("supported", "its hypotheses held, and so did what it says"),
    "undecided": ("inconclusive", "its hypotheses held; the error bar reaches over what it allows"),
    "unknown": ("pending", "a hypothesis could not be measured and was not said"),
    "not applicable": ("unmet", "a hypothesis was measured not to hold"),
}
_STATUS = {1: "supported", 0: "refuted", -1: "pending"}
_WORDS = {"holds": "supported", "broken": "refuted", "unknown": "pending"}


@dataclass(frozen=True)
class Strip:
    """A hypothesis along the run: its name, and (kind, checkpoints) of each stretch; ``told`` says it in words."""

    name: str
    stretches: tuple[tuple[str, int], ...]
    told: str


def strips(timeline: Mapping[str, Sequence[int]], steps: Sequence[int]) -> list[Strip]:
    """The hypotheses that change along a run, as stretches of checkpoints."""
    found = []
    for name, status in timeline.items():
        stretches, told, at = [], [], 0
        for value, group in groupby(status):
            length = len(list(group))
            word = {1: "holds", 0: "broken", -1: "unknown"}[value]
            told.append(f"{word} from step {steps[at]} to {steps[at + length - 1]}")
            stretches.append((_STATUS[value], length))
            at += length
        found.append(Strip(name, tuple(stretches), "; ".join(told)))
    return found


def render_table(told: Mapping[str, Any], provenance: Mapping[str, Any] | None = None) -> str:
    """The page of what ``Checked.record()`` gives.

    Raises
    ------
    KeyError
        If it is of another format.
    """
    rows = [
        {
            **row,
            "kind": VERDICTS[row["verdict"]][0],
            "strips": strips(row["timeline"], told["steps"]),
            # what held a part of the time is shown at once
            "partly": row["verdict"] == "refuted" or bool(row["measured"] and row["why"]),
        }
        for row in told["theorems"]
    ]
    counts = {word: sum(row["verdict"] == word for row in rows) for word in VERDICTS}
    groups = [(word, *VERDICTS[word], [row for row in rows if row["verdict"] == word]) for word in VERDICTS]
    return page.fill(
        "checked.html.jinja",
        title="Which theorems apply to this run",
        counts=[(word, VERDICTS[word][0], count) for word, count in counts.items() if count],
        groups=[group for group in groups if group[3]],
        words=_WORDS,
        told=told,
        provenance=page.facts(provenance),
    )
