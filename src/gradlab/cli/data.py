"""``gradlab data``: which data sets there are, and fetching them."""

from __future__ import annotations

from difflib import get_close_matches

from gradlab.cli import screen
from gradlab.cli.errors import say

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
