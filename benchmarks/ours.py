"""gradlab's own solvers on a task, through the public ``gradlab.run``."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import gradlab
from benchmarks.peers import Outcome, Peer
from benchmarks.task import Limit, Task

#: Names tried; those that this version does not have are skipped with its own sentence.
NAMES = ("bosh3", "tsit5", "dopri8", "kvaerno5", "rkc2", "rkc3", "mrkc3", "mrkc5", "rock4", "bdf", "auto")
IMPLICIT = ("kvaerno5", "bdf")


def solver(name: str, tolerance: float) -> Any:
    """The solver of that name.

    Raises
    ------
    ValueError
        If this version of gradlab has none.
    """
    if name == "auto":
        return gradlab.solvers.Auto(tolerance, 1e-5 * tolerance)
    return gradlab.Adaptive(name, tolerance, 1e-5 * tolerance)


def missing(name: str) -> str | None:
    """A sentence if this version has no solver of that name, else None."""
    try:
        solver(name, 1e-6)
    except ValueError as error:
        return f"skipped: {error}"
    return None


def _run(name: str, task: Task, tolerance: float, limit: Limit) -> Outcome:
    # A solve cannot be interrupted, so its steps are limited: no method takes fewer than two evaluations a step.
    most = int(limit.gradients // 2)
    begun = time.perf_counter()
    try:
        seen = gradlab.run(
            gradlab.GradientFlow(task.problem),
            task.weights,
            [task.T],
            solver=solver(name, tolerance),
            refine=False,
            observables=(),
            stop=gradlab.Stop(steps=most),
        )
    except ValueError as error:
        return Outcome(None, np.nan, 0, time.perf_counter() - begun, str(error))
    taken = time.perf_counter() - begun
    vector, result = seen["final_weights"].values, str(seen.attrs["result"])
    evaluations = float(seen["evaluations"].values[-1])
    jacobians = int(seen["jacobians"].values[-1]) if "jacobians" in seen else 0
    # A method whose evaluations are not counted says 0: no cost can be given, only an error and a wall time.
    evaluations = evaluations if evaluations > 0 else np.nan
    if result != "reached the last record" or not np.isfinite(vector).all():
        return Outcome(None, evaluations, jacobians, taken, result)
    return Outcome(vector, evaluations, jacobians, taken)


def _skip(name: str, task: Task, limit: Limit) -> str | None:
    if (absent := missing(name)) is not None:
        return absent
    if name == "kvaerno5":
        return "skipped: gradlab does not count this method's evaluations"
    if name in IMPLICIT:
        from benchmarks.peers import dense

        return dense(task, limit)
    return None


def _peer(name: str) -> Peer:
    return Peer(
        f"gradlab-{name}",
        "gradlab",
        lambda task, tolerance, limit: _run(name, task, tolerance, limit),
        lambda task, limit: _skip(name, task, limit),
        quick=True,
    )


OURS: dict[str, Peer] = {f"gradlab-{name}": _peer(name) for name in NAMES}
