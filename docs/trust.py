"""The table of wrong worlds in docs/trust.md.

uv run --group dev python docs/trust.py
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import worlds  # noqa: E402

BEGIN, END = "<!-- wrong worlds: made by docs/trust.py -->", "<!-- end of wrong worlds -->"


def rows() -> tuple[list[str], dict[str, int]]:
    """One line a claim and world, and how many of each answer there were."""
    lines, counts = [], dict.fromkeys(("refuted", "inconclusive", "supported", "noisy refuted", "noisy"), 0)
    for topic in sorted(one.name for one in pkgutil.iter_modules(worlds.__path__)):
        for claim, given in importlib.import_module(f"worlds.{topic}").WORLDS.items():
            for world in given:
                down = worlds.fallen(claim, world)
                if world.noisy:
                    counts["noisy"] += 1
                    counts["noisy refuted"] += bool(down)
                    said = f"**refuted** ({', '.join(down)})" if down else "not refuted"
                else:
                    said = worlds.verdict(claim, world).verdict
                    counts["refuted" if down else "supported" if said == "supported" else "inconclusive"] += 1
                    said = f"refuted ({', '.join(down)})" if down else f"**{said}**"
                lines.append(f"| {claim} | {world.name} | {said} |\n")
    return lines, counts


if __name__ == "__main__":
    lines, counts = rows()
    wrong = counts["refuted"] + counts["inconclusive"] + counts["supported"]
    head = (
        f"{wrong} wrong worlds: {counts['refuted']} refuted, {counts['inconclusive']} inconclusive, "
        f"{counts['supported']} supported. {counts['noisy']} true but noisy worlds: "
        f"{counts['noisy refuted']} refuted.\n\n"
        "| claim | world | answer (and the parts that fell) |\n|---|---|---|\n"
    )
    page = HERE / "trust.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{head}{''.join(lines)}\n{END}{after}", encoding="utf-8")
    print(head.splitlines()[0])
