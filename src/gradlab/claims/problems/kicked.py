"""Runs of gradient flow with kicks, and the kicks beside the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import numpy as np

from gradlab.claims.cases import Case, case, ensemble
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.kicks import Kicked
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.problem import stack

#: The kick with a number that a flow makes of weights, compiled once a shape.
_kick = eqx.filter_jit(lambda flow, number, weights: flow.kick(number, weights))


def struck(
    drawn: Sequence[tuple[Any, Any, Any]], keys: Any, sigma: float, every: float, count: int
) -> Iterator[Case]:
    """Runs with ``count`` kicks of norm ``sigma``, ``every`` apart, the kicks beside the weights."""
    flows = [
        Kicked(GradientFlow(problem), sigma, every, key, count * every, "norm")
        for (problem, *_), key in zip(drawn, keys, strict=True)
    ]
    records = every * np.arange(1.0, count + 2.0)
    runs = ensemble(lambda _: stack(flows), drawn, records, solver=Adaptive("dopri8", 1e-10))
    for flow, one in zip(flows, runs, strict=True):
        # record 0 is the start; record j is seen before kick j, for j = 1 … count
        vectors = one.trajectory["weights"].values
        kicks = np.zeros_like(vectors)
        for j in range(1, count + 1):
            after = _kick(flow, np.asarray(j), one.problem.unravel(vectors[j]))
            kicks[j] = np.asarray(one.problem.ravel(after)) - vectors[j]
        yield case(
            one.problem, one.trajectory.assign(kick=(one.trajectory["weights"].dims, kicks)), **one.facts
        )
