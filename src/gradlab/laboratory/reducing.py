"""Which exact reduction a gradient flow takes, if any: decided by the problem, its start and counts, nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradlab.dynamics.clocks import Clock, LogTime, Time
from gradlab.dynamics.flow import Flow, GradientFlow
from gradlab.dynamics.reducing import by_modes, by_statistics, by_subspaces, reducible
from gradlab.problem.statistics import break_even, condensable

#: Weights times examples from which fewer unknowns are looked for unasked, and by what factor fewer they have to be.
#: Measured (docs/solvers.md): at 2 900 a run took as long as the whole net's, at 72 000 half as long.
LEAST, FEWER = 20_000, 2


def asked(flow: Flow, clock: Clock, weights: Any, ensemble: bool) -> Flow:
    """The flow in the fewest variables there are.

    Raises
    ------
    ValueError
        Where there is no reduction, with the reason.
    """
    if (reason := _refusal(flow, clock, ensemble)) is not None:
        raise ValueError(reason)
    problem: Any = flow.observed
    made, modes = by_modes(problem, weights)
    if made is not None:
        return made
    narrower, spaces = by_subspaces(problem, weights)
    if narrower is not None:
        return narrower
    if condensable(problem) is None and (fewer := by_statistics(problem)).reduction != "none":
        return fewer
    raise ValueError(f"this flow has no reduction ({modes}; {spaces}): leave out reduce=True")


def unasked(flow: GradientFlow, clock: Clock, weights: Any) -> Flow:
    """The flow as it is, or in fewer variables or on fewer examples where that pays."""
    problem: Any = flow.problem
    if problem.size * _examples(problem) >= LEAST and _refusal(flow, clock, False) is None:
        for find in (by_modes, by_subspaces):
            made, _ = find(problem, weights)
            if made is not None and FEWER * made.unknowns <= problem.size:
                return made
    count, *shape = np.shape(problem.data.inputs)
    many = flow.stepped is None and condensable(problem) is None and count >= break_even(math.prod(shape))
    return by_statistics(problem) if many else flow


def _examples(problem: Any) -> int:
    return int(np.shape(problem.data.inputs)[0])


def _refusal(flow: Flow, clock: Clock, ensemble: bool) -> str | None:
    """Why no reduction is looked for, in a sentence, or None."""
    if type(flow) is not GradientFlow or flow.stepped is not None:
        return f"only GradientFlow(problem) is reduced, not {type(flow).__name__}: leave out reduce=True"
    if ensemble:
        return "the members of an ensemble are not reduced: leave out reduce=True, or run them one by one"
    if not isinstance(clock, Time | LogTime):
        return (
            f"reduced flows keep physical time, and {type(clock).__name__} asks for all weights at every step: use "
            "Time() or LogTime(), or leave out reduce=True"
        )
    return reducible(flow.problem)
