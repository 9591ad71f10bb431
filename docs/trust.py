"""The table of wrong worlds in docs/trust.md.

uv run --group dev python docs/trust.py               # what the page does not have: worlds that are new
uv run --group dev python docs/trust.py ID ID         # these claims in all their worlds, and what is new
uv run --group dev python docs/trust.py all           # everything, some 15 minutes
uv run --group dev python docs/trust.py --parts [ID]  # which parts fell in no world of the page; writes nothing
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import jax  # noqa: E402

import worlds  # noqa: E402
from gradlab.cli.computing import by_default_quickly  # noqa: E402

BEGIN, END = "<!-- wrong worlds: made by docs/trust.py -->", "<!-- end of wrong worlds -->"


def every() -> Iterator[tuple[str, tuple[worlds.World, ...]]]:
    """Every claim with its worlds."""
    for topic in sorted(one.name for one in pkgutil.iter_modules(worlds.__path__)):
        yield from importlib.import_module(f"worlds.{topic}").WORLDS.items()


def row(claim: str, world: worlds.World) -> str:
    """What a claim says in a world."""
    try:
        verdict = worlds.verdict(claim, world)
        down, said = worlds.fallen_of(claim, verdict), verdict.verdict
    except Exception:
        if world.noisy:  # a true world has every number
            raise
        down, said = worlds.fallen_one_by_one(claim, world), "raised"
    if world.noisy:
        said = f"**refuted** ({', '.join(down)})" if down else "not refuted"
    else:
        said = f"refuted ({', '.join(down)})" if down else f"**{said}**"
    return f"| {claim} | {world.name} | {said} |\n"


def rows(wanted: list[str], before: list[str]) -> list[str]:
    """One line a claim and world: of ``wanted`` anew (``all``: of every claim), else kept where the page has it."""
    lines = []
    for claim, given in every():
        for world in given:
            kept = [line for line in before if line.startswith(f"| {claim} | {world.name} | ")]
            if claim in wanted or "all" in wanted or not kept:
                kept = [row(claim, world)]
                print(kept[0], end="", flush=True)
            lines += kept
    return lines


def never(wanted: list[str]) -> list[str]:
    """The parts that hold and fell in no world of the page."""
    fell: dict[str, set[str]] = {}
    for (claim, _), parts in worlds.published().items():
        fell.setdefault(claim, set()).update(parts)
    return [
        f"{claim}: {part}"
        for claim, _ in every()
        if not wanted or claim in wanted
        for part in sorted(worlds.standing(claim) - fell.get(claim, set()))
    ]


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
    if sys.argv[1:2] == ["--parts"]:
        print("Parts that hold and fell in no world:", *(never(sys.argv[2:]) or ["none"]), sep="\n  ")
        sys.exit()
    page = HERE / "trust.md"
    text, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    lines = rows(sys.argv[1:], inside.splitlines(keepends=True))
    head = f"{counted(lines)}\n\n| claim | world | answer (and parts that fell) |\n|---|---|---|\n"
    page.write_text(f"{text}{BEGIN}\n\n{head}{''.join(lines)}\n{END}{after}", encoding="utf-8")
    print(head.splitlines()[0])
