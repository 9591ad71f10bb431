"""Probe: one line in a training loop that leaves checkpoints where theorems want to look, and does nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from gradlab.checking.naming import arrays_of
from gradlab.checking.optimiser import parsed
from gradlab.store import checkpoints
from gradlab.store.archive_writer import npz_pieces
from gradlab.store.behind import Behind
from gradlab.store.disk import Disk, in_words
from gradlab.wording import brief

#: Steps from the start on of which every one is kept.
FIRST = 8


def due(step: int, per_decade: int = 4) -> bool:
    """Whether a step is kept: 0 … 8, and three in a row from each of ``per_decade`` places a decade on.

    Two in a row are a step, whose rule can be measured; three tell momentum from other things.
    """
    return step <= FIRST or any(_place(k, per_decade) for k in (step, step - 1, step - 2))


def _place(step: int, per_decade: int) -> bool:
    return step > 0 and round(10 ** (round(per_decade * math.log10(step)) / per_decade)) == step


def next_kept(step: int, per_decade: int = 4) -> int:
    """The first step after this one that is kept."""
    if step < FIRST or due(step + 1, per_decade):
        return step + 1
    place = math.ceil(per_decade * math.log10(step)) if step else 0
    while (found := round(10 ** (place / per_decade))) <= step:
        place += 1
    return found


class Probe:
    """A Probe writes log-spaced checkpoints of a run into a folder, each whole or not at all, for ``gl.check``.

    It copies weights and touches neither them nor a random generator, so that training has the same bits with and
    without it. Files are written by a thread of their own while the loop goes on; ``kept`` and :func:`gradlab.check`
    wait for it, and so does the end of the program. Calls count steps from 0, the start; after a resume say ``step=``.
    Steps that are there already are not written again.

    Parameters
    ----------
    folder : made if need be. model : the weights (any pytree of arrays, JAX or NumPy), or a model with
        ``state_dict()``; where they are new arrays at every step, pass them with each call.
    optimiser : words such as ``"sgd lr=0.1 momentum=0.9"``, or a torch optimiser.
    loss : its name, e.g. ``"cross-entropy"``. per_decade : places a decade; three steps are kept at each.

    Raises
    ------
    ValueError
        Where the folder holds another run, or a call after a resume does not say its step.
    StoreError
        Where a file cannot be written: by the next call that keeps a step, or by ``kept``.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import gradlab as gl
    >>> weights = {"w": np.ones(2)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     probe = gl.Probe(folder, weights, "gd lr=0.1", loss="square")
    ...     for step in range(100):
    ...         probe()
    ...         weights["w"] -= 0.1 * weights["w"]
    ...     probe.kept
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 18, 19, 20, 32, 33, 34, 56, 57, 58]
    """

    def __init__(
        self,
        folder: str | Path,
        model: Any = None,
        optimiser: Any = "",
        *,
        loss: str = "",
        per_decade: int = 4,
        disk: Disk | None = None,
    ) -> None:
        if isinstance(per_decade, bool) or not isinstance(per_decade, int) or not 1 <= per_decade <= 100:
            raise ValueError(f"per_decade was {per_decade!r}; give a whole number from 1 to 100")
        self.folder, self.model, self.per_decade = Path(folder), model, per_decade
        self._disk, self._behind = disk or Disk(), Behind()
        said = parsed(optimiser)
        self._told = {
            "format": 1,
            "loss": str(loss),
            "optimiser": "" if said == parsed("") else str(said),
            "learning_rate": said.lr,
            "per_decade": per_decade,
            "first": FIRST,
        }
        with in_words("making a folder of checkpoints", self.folder, "give a folder that can be written"):
            self._disk.mkdir(self.folder)
            there = checkpoints.manifest(self.folder)
            if there and there != self._told:
                changed = next(key for key in (*there, *self._told) if there.get(key) != self._told.get(key))
                raise ValueError(
                    f"{brief(str(self.folder))} holds a run whose {changed} is {brief(repr(there.get(changed)))}, not "
                    f"{brief(repr(self._told.get(changed)))}; give this run a folder of its own"
                )
            self._there = set(checkpoints.steps(self.folder))
            if not there:
                content = json.dumps(self._told, indent=1).encode()
                self._disk.write_bytes_atomically(self.folder / checkpoints.MANIFEST, content)
        self._idle = range(0)  # steps that are known not to be kept
        self._resumed = max(self._there, default=None)
        self._next: int | None = 0 if self._resumed is None else None

    @property
    def kept(self) -> list[int]:
        """The steps whose weights are in the folder, once all are written."""
        self._behind.settle()
        return sorted(self._there)

    def __call__(self, weights: Any = None, step: int | None = None, *, last: bool = False) -> None:
        """Keep the weights of this step, if it is one of those kept; ``last`` keeps them in any case, and waits.

        Raises
        ------
        ValueError
            For a step that is no whole number ≥ 0; in a folder that held checkpoints, for a first call without it.
        """
        if step is None:
            if self._next is None:
                raise ValueError(
                    f"{brief(str(self.folder))} holds checkpoints up to step {self._resumed}; say which step this is: "
                    "probe(weights, step=…)"
                )
            step = self._next
        elif isinstance(step, bool) or not isinstance(step, int | np.integer) or step < 0:
            raise ValueError(f"step was {step!r}; give a whole number ≥ 0")
        step = int(step)
        self._next = step + 1
        if not last and step in self._idle:
            return
        if step in self._there or not (last or due(step, self.per_decade)):
            self._idle = range(step, next_kept(step, self.per_decade))
            return
        given = self.model if weights is None else weights
        if given is None:
            raise ValueError("the probe was given no weights; write probe(weights), or Probe(folder, model)")
        arrays = arrays_of(given)  # copies, since the loop goes on while they are written
        self._behind.do(lambda: self._write(arrays, step))
        self._there.add(step)
        if last:
            self._behind.settle()

    def _write(self, arrays: dict[str, np.ndarray], step: int) -> None:
        path = self.folder / f"step_{step:09d}.npz"
        with in_words("writing a checkpoint", path, "make room, and resume"):
            self._disk.write_bytes_atomically(path, npz_pieces(arrays), durable=False)
