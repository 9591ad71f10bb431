"""What the laboratory's functions are given, checked before anything is computed: one sentence for misuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np

from gradlab.dynamics.clocks import Clock
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.solvers.solver import Solver
from gradlab.dynamics.stops import Stop
from gradlab.problem.network import whole
from gradlab.problem.problem import Problem


def kinds(flow: Any, clock: Any, solver: Any, stop: Any, store: Any) -> None:
    """Each argument of :func:`gradlab.run` is of its kind.

    Raises
    ------
    ValueError
        For the first that is not, saying what to write instead.
    """
    for name, given, kind, hint in (
        ("flow", flow, Flow, "GradientFlow(problem)"),
        ("clock", clock, Clock, "Time()"),
        ("solver", solver, Solver | str, "'auto' or Adaptive('tsit5', 1e-8)"),
        ("stop", stop, Stop, "Stop(gradient_norm=1e-6)"),
    ):
        if not isinstance(given, kind):
            raise ValueError(f"{name} was {_said(given)}; write e.g. {hint}")
    if any(np.ndim(level) for level in jax.tree.leaves(stop)):
        raise ValueError("a stop holds one number a condition, the same for all members; an array was given")
    if store is not None and not hasattr(store, "append"):
        raise ValueError(
            f"store was {_said(store)}; give a run directory open for writing, e.g. Run.create(root, identity)"
        )


def problem(given: Any) -> None:
    """A Problem, not something made from one."""
    if not isinstance(given, Problem):
        raise ValueError(f"problem was {_said(given)}; write e.g. Problem(network, loss, data)")


def _said(given: Any) -> str:
    if isinstance(given, type):
        return f"the class {given.__name__} itself"
    text = repr(given) if isinstance(given, str | int | float | None) else ""
    return text or f"a {type(given).__name__}"


def moments(records: Any, iteration: bool) -> np.ndarray:
    """The clock values of the records, 0 in front; whole numbers, each once, for iterations.

    Raises
    ------
    ValueError
        For what is no increasing list of finite numbers from 0 on.
    """
    hint = "records is a list of clock values, e.g. np.linspace(0, 10, 50)"
    try:
        values = np.asarray(records, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{hint}, not {_said(records)}") from error
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"{hint}; its shape is {values.shape}")
    if not np.all(np.isfinite(values)):
        raise ValueError("records holds a value that is not finite: give finite clock values")
    if np.any(values < 0):
        raise ValueError(f"records begin at clock value 0; {values.min()} was given")
    values = values if values[0] == 0.0 else np.concatenate([[0.0], values])
    rises = np.diff(values)
    # Of iterations, rounding may have made two equal.
    if np.any(rises < 0) or (not iteration and np.any(rises == 0)):
        raise ValueError("records must increase strictly: sort them and drop repeated values")
    return np.unique(np.round(values)) if iteration else values


def finite(weights: Any) -> None:
    """Numbers, all of them finite."""
    for leaf in jax.tree.leaves(weights):
        values = np.asarray(leaf)
        if values.dtype.kind not in "biuf":
            raise ValueError(f"the initial weights hold {values.dtype} and not real numbers: give floats")
        if not np.all(np.isfinite(values)):
            raise ValueError("the initial weights hold NaN or infinity: give finite weights")


def ensemble(members: Any, **parts: Any) -> int | None:
    """The number of members, if all arrays of the parts (flow, weights, …) carry an axis of that length.

    Raises
    ------
    ValueError
        For the first part that does not.
    """
    if members is None:
        return None
    members = whole("members", members)
    for name, part in parts.items():
        for leaf in jax.tree.leaves(eqx.filter(part, eqx.is_array)):
            if leaf.ndim == 0 or leaf.shape[0] != members:
                raise ValueError(
                    f"with members={members} all arrays of {name} have a first axis of {members}, and one has "
                    f"shape {leaf.shape}: write stack([...]) of the members' own"
                )
    return members


def points(weights: Any) -> Sequence[Any]:
    """A list of weights, at least one."""
    if not isinstance(weights, list | tuple):
        raise ValueError(f"at() takes a list of weights, not {_said(weights)}: write [weights]")
    if not weights:
        raise ValueError("at() needs at least one set of weights; an empty list was given")
    return weights
