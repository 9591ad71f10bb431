"""References: w(T) by two different methods, whose disagreement says how far errors can be trusted.

Small problems: SciPy's Radau with the exact Hessian against diffrax's Dopri8. Larger ones: Dopri8 against Tsit5.
The first of each pair is the reference. Both come from peers, so gradlab is not judged by itself.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.peers import PEERS, Peer, scipy
from benchmarks.task import Limit, Task

CACHE = Path(__file__).resolve().parent / ".cache"
#: Up to so many weights, an implicit method with dense Hessians is one of the two. Beyond, complex LU is too slow.
SMALL = 700


@dataclass(frozen=True)
class Reference:
    """w(T), the relative disagreement of the two methods, and their names with tolerances."""

    vector: np.ndarray
    disagreement: float
    methods: str

    def resolves(self, error: float) -> bool:
        """Whether an achieved error of that size can be measured: the disagreement is at most a third of it."""
        return self.disagreement <= error / 3.0


def _pair(task: Task) -> list[tuple[Peer, float]]:
    if task.size <= SMALL:
        return [
            (PEERS["diffrax-dopri8-tuned"], 1e-11),
            (Peer("scipy-radau-hessian", "", scipy("Radau", True)), 1e-9),
        ]
    return [(PEERS["diffrax-dopri8-tuned"], 1e-11), (PEERS["diffrax-tsit5-tuned"], 1e-9)]


#: Beyond that a problem has no reference.
LIMIT = Limit(5e6, 1800.0)


def reference(task: Task, limit: Limit = LIMIT) -> Reference:
    """The reference, from ``benchmarks/.cache`` if it is there and its digest is the task's.

    Raises
    ------
    ValueError
        If one of the two methods did not reach T.
    """
    pair = _pair(task)
    methods = " and ".join(f"{peer.name} at {tolerance:g}" for peer, tolerance in pair)
    key = hashlib.sha256(f"{task.digest} {methods}".encode()).hexdigest()[:20]
    path = CACHE / f"{task.name}-{key}.npz"
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as kept:
                return Reference(kept["vector"], float(kept["disagreement"]), methods)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            path.unlink()
    found = []
    for peer, tolerance in pair:
        outcome = peer.run(task, tolerance, limit)
        if outcome.vector is None:
            raise ValueError(f"{task.name} has no reference: {peer.name} at {tolerance:g} {outcome.why}")
        found.append(outcome.vector)
    made = Reference(found[0], task.error(found[1], found[0]), methods)
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, vector=made.vector, disagreement=made.disagreement)
    temporary.replace(path)
    return made
