"""States and records as a run directory keeps them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import jax
import numpy as np
import xarray as xr

from gradlab.dynamics import stops
from gradlab.dynamics.state import State
from gradlab.laboratory.second import COARSE
from gradlab.observe.observables import Observable
from gradlab.problem.precision import put
from gradlab.store.described import variable


class Store(Protocol):
    """What the laboratory asks of a run directory (``gradlab.store.run.Run``)."""

    @property
    def segments(self) -> int: ...
    def append(self, recorded: xr.Dataset, state: dict[str, np.ndarray], seconds: float) -> Any: ...
    def dataset(self) -> xr.Dataset: ...
    def state(self) -> dict[str, np.ndarray] | None: ...


def strong(tree: Any) -> Any:
    """Arrays without JAX's weak types, which would compile the same program twice."""

    return jax.tree.map(
        lambda leaf: put(np.asarray(leaf)) if getattr(leaf, "weak_type", False) else leaf, tree
    )


def pack(states: Sequence[State]) -> dict[str, np.ndarray]:
    packed = {}
    for name, state in zip(("fine", "coarse"), states, strict=False):
        for i, leaf in enumerate(jax.tree.leaves(replace(state, scratch=()))):
            packed[f"{name}_{i:03d}"] = np.asarray(leaf)
    return packed


def unpack(packed: dict[str, np.ndarray], like: Sequence[State]) -> list[State]:
    states = []
    for name, state in zip(("fine", "coarse"), like, strict=False):
        leaves, structure = jax.tree.flatten(replace(state, scratch=()))
        stored = [put(packed[f"{name}_{i:03d}"]) for i in range(len(leaves))]
        states.append(replace(jax.tree.unflatten(structure, stored), scratch=state.scratch))
    return states


def check_kept(
    observables: Sequence[Observable],
    kept: xr.Dataset,
    packed: dict[str, np.ndarray] | None,
    like: Sequence[State],
    moments: np.ndarray,
) -> None:
    """What the store holds is the beginning of this run: records, observables and shapes are the same.

    Raises
    ------
    ValueError
        Where it is not. (Another problem of the same shapes is for the store's identity to notice.)
    """
    remedy = "give this run a store of its own, whose identity says what is different"
    tau, status = kept["tau"].values, kept["status"].values
    first = moments[: len(tau)].reshape(-1, *(1,) * (tau.ndim - 1))
    # of an ensemble there is a clock value for every member
    if len(tau) > len(moments) or np.any((status == stops.RUNNING) & (tau != first)):
        raise ValueError(f"the store holds records at other clock values than those given: {remedy}")
    missing = [item.name for item in observables if item.name not in kept]
    if missing:
        raise ValueError(f"the store holds records without {', '.join(missing)}: {remedy}")
    expected = {key: value.shape for key, value in pack(like).items()}
    if packed is not None and {key: np.shape(value) for key, value in packed.items()} != expected:
        raise ValueError(f"the store holds states of other shapes than this run's: {remedy}")


def frame(
    rows: list[dict[str, Any]],
    observables: Sequence[Observable],
    members: int | None,
    finals: dict[str, Any] | None = None,
) -> dict[str, xr.Variable]:
    """Records as variables with named dims, and with what belongs to their end."""
    inner = {item.name: item.dims for item in observables}
    lead = ("record",) if members is None else ("record", "member")
    variables: dict[str, Any] = {}
    for name in rows[0]:
        values = np.stack([np.asarray(row[name]) for row in rows])
        base = name
        for end in ("_error", COARSE):
            base = one if base not in inner and (one := name.removesuffix(end)) in inner else base
        dims = inner.get(base)
        if dims is None:
            dims = () if values.ndim == len(lead) else ("layer",)
        variables[name] = ((*lead, *dims), values)
    return {name: variable(*pair) for name, pair in (variables | (finals or {})).items()}


def segment_length(records: int) -> int:
    """Records a segment: sixteen segments a run. Part of a run's identity, since solvers restart there."""
    return max(1, -(-records // 16))


def one_record_axis(parts: list[xr.Dataset]) -> xr.Dataset:
    """Segments along ``record``; what has no such dim is taken from the last."""
    if len(parts) == 1:
        return parts[0]
    timeless = [name for name in parts[-1].data_vars if "record" not in parts[-1][name].dims]
    together = xr.concat(
        [part.drop_vars(timeless, errors="ignore") for part in parts], dim="record", data_vars="all"
    )
    return together.assign({name: parts[-1][name] for name in timeless})
