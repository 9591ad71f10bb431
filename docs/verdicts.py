"""docs/verdicts.json, as `gradlab verify --budget full --json` prints it, as the table docs/verdicts.md.

uv run gradlab verify --budget full --json > docs/verdicts.json && uv run python docs/verdicts.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gradlab.report.numbers import measured, required, seconds

HERE = Path(__file__).resolve().parent

HEAD = """# Verdicts at the full budget

Made with `gradlab verify --budget full` (seed 0), a few claims a call, and `python docs/verdicts.py`; compare your own
with `gradlab verify --expect docs/verdicts.json`. The deciding number is the worst of all cases, or
the one that comes closest to its tolerance. Times are of one two-core machine with other work on it.

| claim | verdict | deciding part | measured | required | cases | time |
|---|---|---|---|---|---|---|
"""


def row(record: dict[str, Any]) -> str:
    """One claim."""
    part = next(part for part in record["parts"] if part["id"] == record["part"])
    note = HERE / "notes" / f"{record['id'].removesuffix('-corrected')}.md"
    claim = f"[{record['id']}](notes/{note.name})" if note.is_file() else record["id"]
    cells = (
        claim,
        f"**{record['verdict']}**" if record["verdict"] != "supported" else "supported",
        part["statement"].replace("|", "\\|"),
        measured(part["number"], part["error"]),
        required(part["relation"], part["tolerance"], part["target"]),
        str(part["cases"]),
        seconds(record["seconds"]),
    )
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    records = json.loads((HERE / "verdicts.json").read_text(encoding="utf-8"))
    (HERE / "verdicts.md").write_text(HEAD + "".join(map(row, records)), encoding="utf-8")
