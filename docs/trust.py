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

import jax  # noqa: E402

import worlds  # noqa: E402
from gradlab.cli.computing import by_default_quickly  # noqa: E402

BEGIN, END = "<!-- wrong worlds: made by docs/trust.py -->", "<!-- end of wrong worlds -->"


def rows() -> tuple[list[str], dict[str, int], list[str]]:
    """One line a claim and world, how many of each answer there were, and the parts that fell in no world."""
    standing: list[str] = []
    lines, counts = [], dict.fromkeys(("refuted", "inconclusive", "supported", "noisy refuted", "noisy"), 0)
    for topic in sorted(one.name for one in pkgutil.iter_modules(worlds.__path__)):
        for claim, given in importlib.import_module(f"worlds.{topic}").WORLDS.items():
            held = worlds.standing(claim)
            for world in given:
                down = worlds.fallen(claim, world)
                held -= set(down)
                if world.noisy:
                    counts["noisy"] += 1
                    counts["noisy refuted"] += bool(down)
                    said = f"**refuted** ({', '.join(down)})" if down else "not refuted"
                else:
                    said = worlds.verdict(claim, world).verdict
                    counts["refuted" if down else "supported" if said == "supported" else "inconclusive"] += 1
                    said = f"refuted ({', '.join(down)})" if down else f"**{said}**"
                lines.append(f"| {claim} | {world.name} | {said} |\n")
            standing += [f"{claim}: {part}" for part in sorted(held)]
    return lines, counts, standing


if __name__ == "__main__":
    by_default_quickly()
    jax.config.update("jax_enable_x64", True)
    lines, counts, standing = rows()
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
    print("Parts that hold and fell in no world:", *(standing or ["none"]), sep="\n  ")
