"""The table of wrong worlds in docs/trust.md.

uv run --group dev python docs/trust.py          # of all claims, some 15 minutes
uv run --group dev python docs/trust.py ID ID    # of some, and of those whose worlds are others; the rest is kept
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


def rows(wanted: list[str], before: list[str]) -> tuple[list[str], list[str]]:
    """One line a claim and world, of ``wanted`` (all, if none) anew, and the parts that fell in no world."""
    standing: list[str] = []
    lines = []
    for topic in sorted(one.name for one in pkgutil.iter_modules(worlds.__path__)):
        for claim, given in importlib.import_module(f"worlds.{topic}").WORLDS.items():
            kept = [line for line in before if line.startswith(f"| {claim} |")]
            if wanted and claim not in wanted and len(kept) == len(given):
                lines += kept
                continue
            held = worlds.standing(claim)
            for world in given:
                try:
                    verdict = worlds.verdict(claim, world)
                    down, said = worlds.fallen_of(claim, verdict), verdict.verdict
                except Exception:
                    if world.noisy:  # a true world has every number
                        raise
                    down, said = worlds.fallen_one_by_one(claim, world), "raised"
                held -= set(down)
                if world.noisy:
                    said = f"**refuted** ({', '.join(down)})" if down else "not refuted"
                else:
                    said = f"refuted ({', '.join(down)})" if down else f"**{said}**"
                lines.append(f"| {claim} | {world.name} | {said} |\n")
            print("".join(lines[-len(given) :]), end="", flush=True)
            standing += [f"{claim}: {part}" for part in sorted(held)]
    return lines, standing


def counted(lines: list[str]) -> str:
    """How many of each answer there are."""
    said = [line.rpartition(" | ")[2] for line in lines]
    noisy = [one for one in said if one.startswith(("not refuted", "**refuted**"))]
    wrong = len(said) - len(noisy)
    refuted = sum(one.startswith("refuted") for one in said)
    supported = sum(one.startswith("**supported**") for one in said)
    return (
        f"{wrong} wrong worlds: {refuted} refuted, {wrong - refuted - supported} inconclusive, {supported} supported. "
        f"{len(noisy)} true but noisy worlds: {sum(one.startswith('**') for one in noisy)} refuted."
    )


if __name__ == "__main__":
    by_default_quickly()
    jax.config.update("jax_enable_x64", True)
    page = HERE / "trust.md"
    text, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    lines, standing = rows(sys.argv[1:], inside.splitlines(keepends=True))
    head = f"{counted(lines)}\n\n| claim | world | answer (and the parts that fell) |\n|---|---|---|\n"
    page.write_text(f"{text}{BEGIN}\n\n{head}{''.join(lines)}\n{END}{after}", encoding="utf-8")
    print(head.splitlines()[0])
    print("Parts that hold and fell in no world:", *(standing or ["none"]), sep="\n  ")
