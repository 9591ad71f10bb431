"""docs/verdicts.json and the table docs/verdicts.md, from what `gradlab verify --json` printed over several seeds.

for seed in 0 1 2 3 4; do uv run gradlab verify --budget quick --seed $seed --json > seed$seed.json; done
uv run python docs/verdicts.py quick seed*.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from gradlab.report.numbers import measured, required, seconds

HERE = Path(__file__).resolve().parent

HEAD = """# Verdicts

Made with `gradlab verify --budget {budget} --json` for {seeds} seeds, and `python docs/verdicts.py`; compare your own
with `gradlab verify --expect docs/verdicts.json`, which also says where a statement, tolerance or setting was changed
since. The verdict is about the substance; a misprint is said beside it. The number is the deciding one at seed 0: the
worst of all cases asked, or the one that comes closest to its tolerance. What is not the same for all seeds says so.
Times are of one two-core machine with other work on it.

| claim | verdict | what holds | deciding part | measured | required | asked | time |
|---|---|---|---|---|---|---|---|
"""


def merged(budget: str, runs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The records of the first seed, each with the verdicts of all of them and the budget."""
    said: dict[str, dict[str, str]] = {}
    for run in runs:
        for record in run:
            words = f"{record['verdict']} / {record['print']}" if record["print"] else record["verdict"]
            said.setdefault(record["id"], {})[str(record["seed"])] = words
    return [record | {"budget": budget, "seeds": said[record["id"]]} for record in runs[0]]


def words(record: dict[str, Any]) -> str:
    """The verdict, the print, and where seeds differ."""
    word = record["verdict"] if record["verdict"] == "supported" else f"**{record['verdict']}**"
    if record["print"] not in ("", "exact"):
        word += f", {record['print']}"
    others = Counter(record["seeds"].values())
    if len(others) > 1:
        word += (
            " ("
            + ", ".join(f"{count} of {others.total()}: {said}" for said, count in others.most_common())
            + ")"
        )
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
        seconds(record["seconds"]),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


if __name__ == "__main__":
    if sys.argv[1:]:
        runs = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[2:]]
        text = json.dumps(merged(sys.argv[1], runs), indent=1, ensure_ascii=False, allow_nan=False)
        (HERE / "verdicts.json").write_text(text + "\n", encoding="utf-8")
    records = json.loads((HERE / "verdicts.json").read_text(encoding="utf-8"))
    seeds = max(len(record["seeds"]) for record in records)
    (HERE / "verdicts.md").write_text(
        HEAD.format(seeds=seeds, budget=records[0]["budget"]) + "".join(map(row, records)), encoding="utf-8"
    )
