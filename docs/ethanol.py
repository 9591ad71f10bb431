"""The table of ethanol regressions in docs/notes/ethanol.md, from a full run of cohen.uci (four minutes of one core).

GRADLAB_DATA=<folder> uv run --group dev python docs/ethanol.py
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gradlab.claims import catalogue
from gradlab.claims.looks.tuned import Compared
from gradlab.claims.verification import key
from gradlab.cli.computing import by_default_quickly

PAGE = Path(__file__).resolve().parent / "notes" / "ethanol.md"
BEGIN, END = "<!-- made by docs/ethanol.py -->", "<!-- end of what docs/ethanol.py made -->"


def cell(count: float, step: float) -> str:
    """A count with its step."""
    return f"{count:.0f} ({step:.2g})" if np.isfinite(count) else "—"


def table(one: Any) -> str:
    """One regression: a line a rule, a column a share."""
    look = one.look(Compared)
    shares = one.trajectory["shares"].values
    lines = [
        f"### p = {one.facts['p']:g}, features {one.facts['features']}\n",
        "| rule | grid of η | " + " | ".join(f"{share:g}" for share in shares) + " |",
        "|---|---|" + "---|" * len(shares),
    ]
    for i, name in enumerate(look.names):
        at = look.counts[i].argmin(axis=1)
        steps = look.grids[i][np.isfinite(look.grids[i])]
        cells = [cell(look.counts[i, j, k], look.grids[i, k]) for j, k in enumerate(at)]
        lines.append(f"| {name} | {steps[0]:.2g} to {steps[-1]:.2g} | " + " | ".join(cells) + " |")
    hit = int(one.trajectory["edges"].values)
    said = "No best step lies at an edge of its grid." if not hit else f"{hit} rules have theirs at an edge."
    return "\n".join(lines) + f"\n\n{said}\n"


if __name__ == "__main__":
    by_default_quickly()
    jax.config.update("jax_enable_x64", True)
    (study,) = catalogue.load(["cohen.uci"])
    begun, parts = time.process_time(), []
    for one in study.run("full", key("cohen.uci", 0)):
        parts.append(table(one))
        print(parts[-1], flush=True)
    minutes = (time.process_time() - begun) / 60.0
    settings = study.budgets["full"]
    said = (
        f"Seed 0, {settings['fine']} steps a decade, {settings['most']} iterations at most; {minutes:.0f} minutes of "
        "one core. A cell holds the iterations until\nℓ − ℓ* is that share of what it was at the start, and kept, with "
        "the best step in brackets; — where no step\nreached it. N = 1 … 4 are balanced layers of any width; layers of "
        "8 and 32 begin with independent entries, their\nproduct as small.\n\n"
    )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{said}{chr(10).join(parts)}\n{END}{after}", encoding="utf-8")
