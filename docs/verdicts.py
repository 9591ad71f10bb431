"""docs/verdicts.json and the table docs/verdicts.md, from what `gradlab verify --json` printed over several seeds.

for budget in quick full; do for seed in 0 1 2 3 4; do
    uv run gradlab verify --budget $budget --seed $seed --json > $budget$seed.json
done; done
uv run python docs/verdicts.py quick*.json --full full*.json

A docs/verdicts.json of before, given last, stands for what was not run again at the quick budget.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gradlab.claims import catalogue
from gradlab.report.numbers import measured, required, seconds

HERE = Path(__file__).resolve().parent

HEAD = """# Verdicts

Made with `gradlab verify --json`, {runs}, and `python docs/verdicts.py`; compare your own with
`gradlab verify --expect docs/verdicts.json`, which also says where a statement, tolerance or setting was changed since.
The verdict is about the substance; a misprint is said beside it. The number is the deciding one at seed 0 of the quick
budget: the worst of all cases asked, or the one that comes closest to its tolerance. What is not the same for all seeds
and both budgets says so.

Why words differ. Comparisons of test errors (memo112.controlled-norm, memo112.early-stopping, memo90.smooth-relu,
cohen.mnist) ask on which side of a margin a mean lies, by an interval over some dozens of pairs: another draw moves the
interval across the margin. Such a word is about that draw; *supported* at one seed and *refuted* at another is *not
resolved* for the two together. notes.hartman-grobman at the full budget: in one to three of 55 cases, deep linear
nets of three layers above all, the second look moves images by as much as the ball is large: nothing is decided there.
Studies on images at the full budget speak of other nets and images than the quick one: words of theirs differ where
MNIST and CIFAR-10 differ from digits ([real data](real-data.md)).
memo112.lemma1 (full, seed 3) and memo112.second-phase (quick, seed 3): one bar reaches its tolerance, and one
eigenvalue is neither rounding nor clear of it. True statements that other seeds or the full budget had refuted (six at
seeds 2 and 4, five of memo 90 at the full budget) are asked otherwise since, as their studies say under "changed".

Times are of one core of a machine with other work on it, of both budgets. With an empty
compile cache and two cores of their own the sources take at the quick budget: notes 72 s, memo112 89 s, memo90 160 s,
chitour 43 s, cohen 59 s (a slower machine took 2.4 times as long). A full budget is cut short and taken up with
`--resume`.

| claim | verdict | what holds | deciding part | measured | required | asked | time |
|---|---|---|---|---|---|---|---|
"""


def said(runs: list[list[dict[str, Any]]]) -> dict[str, dict[str, str]]:
    """What each claim's verdict was, substance and print, by seed; of records that were published, by all of theirs.

    What was published under another seal is not taken.
    """
    found: dict[str, dict[str, str]] = {}
    seals: dict[str, str] = {}
    for record in (record for run in runs for record in run):
        words = f"{record['verdict']} / {record['print']}" if record["print"] else record["verdict"]
        if seals.setdefault(record["id"], record["seal"]) == record["seal"]:
            there = found.setdefault(record["id"], {})
            found[record["id"]] = record.get("seeds", {str(record["seed"]): words}) | there
    return found


def merged(quick: list[list[dict[str, Any]]], full: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The records of the first quick seed of each claim, with the verdicts of all seeds at both budgets."""
    seeds, long = said(quick), said(full)
    took = {record["id"]: record["seconds"] for run in reversed(full) for record in run}
    first: dict[str, dict[str, Any]] = {}
    for record in (record for run in quick for record in run):
        one = first.setdefault(record["id"], {"full": {}, "full_seconds": None} | record)
        if record.get("full") and record["seal"] == one["seal"]:
            one |= {name: record[name] for name in ("full", "full_seconds")}
    again = {claim: {"full": long[claim], "full_seconds": took[claim]} for claim in long}
    return [
        first[claim] | {"budget": "quick", "seeds": seeds[claim]} | again.get(claim, {})
        for claim in catalogue.ids()
        if claim in first
    ]


def ran(records: list[dict[str, Any]], budget: str) -> str:
    """At which seeds the claims were run at a budget, and how many of them at each set."""
    sets = Counter(", ".join(sorted(record["seeds" if budget == "quick" else "full"])) for record in records)
    told = [
        f"seed{'s' * (',' in seeds)} {seeds} ({count} claims)" for seeds, count in sets.most_common() if seeds
    ]
    return f"at the {budget} budget, {' or '.join(told)}" if told else ""


def words(record: dict[str, Any]) -> str:
    """The verdict, the print, and where seeds or budgets differ."""
    word = record["verdict"] if record["verdict"] == "supported" else f"**{record['verdict']}**"
    if record["print"] not in ("", "exact"):
        word += f", {record['print']}"
    others = Counter([*record["seeds"].values(), *record["full"].values()])
    if len(others) > 1:
        counts = ", ".join(f"{count} of {others.total()}: {said}" for said, count in others.most_common())
        word += f" ({counts})"
    return word


def row(record: dict[str, Any]) -> str:
    """One claim."""
    everything = [*record["parts"], *(one for one in record["hypotheses"] if one["checked"])]
    part = next(part for part in everything if part["id"] == record["part"])
    note = HERE / "notes" / f"{record['id'].removesuffix('-corrected')}.md"
    proof = HERE / "proofs" / f"{record['id']}.py"
    cells = (
        (f"[{record['id']}](notes/{note.name})" if note.is_file() else record["id"])
        + (f" ([proof](proofs/{proof.name}))" if proof.is_file() else ""),
        words(record),
        record["headline"],
        part["statement"],
        measured(part["number"], part["error"]),
        required(part["relation"], part["tolerance"], part["target"]),
        f"{part['held']} of {part['asked']}" + (f" ({part['outside']} outside)" if part["outside"] else ""),
        seconds(record["seconds"]) + (f", full {seconds(record['full_seconds'])}" if record["full"] else ""),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    if sys.argv[1:]:
        names, _, long = " ".join(sys.argv[1:]).partition("--full")
        quick, full = (
            [json.loads(Path(name).read_text(encoding="utf-8")) for name in given.split()]
            for given in (names, long)
        )
        text = json.dumps(merged(quick, full), indent=1, ensure_ascii=False, allow_nan=False)
        (HERE / "verdicts.json").write_text(text + "\n", encoding="utf-8")
    records = json.loads((HERE / "verdicts.json").read_text(encoding="utf-8"))
    head = HEAD.format(
        runs=" and ".join(filter(None, (ran(records, budget) for budget in ("quick", "full"))))
    )
    (HERE / "verdicts.md").write_text(head + "".join(map(row, records)), encoding="utf-8")
