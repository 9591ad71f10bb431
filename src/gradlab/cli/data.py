"""``gradlab data``: which data sets there are, fetching them, and what is taken of a file of one's own."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradlab.cli import screen
from gradlab.cli.errors import plain, say

if TYPE_CHECKING:
    from gradlab.problem.data import Data

BUNDLED = (
    ("digits", "scikit-learn's 8×8 handwritten digits, 1 797 images, 10 classes"),
    ("breast_cancer", "scikit-learn's Wisconsin diagnoses, 569 rows of 30 features, 2 classes"),
    ("diabetes", "scikit-learn's diabetes progression, 442 rows of 10 features"),
)


def list_data() -> None:
    """A table of the data sets on standard output."""
    from gradlab import loaders

    rows = [(name, "bundled", "", what) for name, what in BUNDLED]
    for row in loaders.describe():
        rows.append((row["name"], "here" if row["present"] else "to fetch", row["size"], row["what"]))
    screen.console(stderr=False).print(screen.plain_table(("name", "status", "size", "what"), rows))


def fetch(name: str) -> None:
    """Fetch and verify one data set; bundled ones need no fetching."""
    from gradlab import loaders

    if name in dict(BUNDLED):
        say(f"{name} is bundled with scikit-learn; there is nothing to fetch.")
        return
    names = [*dict(BUNDLED), *loaders.names()]
    if name not in names:
        close = get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
        raise ValueError(f"there is no data set {name!r}; {hint}")
    for path in loaders.fetch(name):
        print(path)


def show(path: Path, targets: list[str], options: dict[str, Any]) -> None:
    """What is taken of a CSV or npz file, or of the data of a specification, and the tables to write for it."""
    from gradlab import specification
    from gradlab.specification import networks, sources

    if path.suffix.lower() == ".toml":
        read = specification.read(path)
        own = read.loss.kind == "function"
        # of the losses of a specification only a function says its labels
        labels = read.loss.labels if own else networks.loss(read.loss, None).labels  # type: ignore[union-attr]  # own
        print(plain(_told(sources.data(read.data, labels, path.resolve().parent))))
        return
    data, table, loss = sources.as_taken(path, targets, options)
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in table.items()]
    print(plain("\n".join([_told(data), "", "[loss]", f'kind = "{loss}"', "", "[data]", *lines])))


def _told(data: Data) -> str:
    """Everything that was said of data, a line each, and their shapes."""
    name, _, said = data.provenance.partition(": ")
    shapes = f"inputs {data.inputs.shape}, targets {data.targets.shape}"
    if data.test_inputs is not None and data.test_targets is not None:
        shapes += f", for testing {data.test_inputs.shape} and {data.test_targets.shape}"
    return "\n".join([name, *(f"  {one}" for one in said.split("; ") if one), f"  {shapes}"])
