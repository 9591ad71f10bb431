"""Cases: one problem and what was seen of it, with its facts; how they are made and laid side by side."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr

from gradlab.laboratory import run
from gradlab.laboratory.second import second, shaken
from gradlab.problem.problem import stack


@dataclass(frozen=True)
class Case:
    """A Case holds one problem, what was seen of it (a trajectory, or records without dynamics), and its facts.

    ``facts`` are text or numbers: they make the label, and are variables by which a figure groups.

    Examples
    --------
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> gl.claims.point(problem, [2.0]).look(gl.claims.Look).end  # a case as a look sees it
    array([2.])
    """

    label: str
    problem: Any
    trajectory: xr.Dataset
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def second(self) -> Case:
        """The case as the coarser solve gave it, its data shaken by rounding; where there was none, the weights too."""
        problem, coarse = _shaken(self.problem), second(self.trajectory)
        if coarse is not None:
            return replace(self, problem=problem, trajectory=coarse)
        moved = {
            name: (variable.dims, shaken(np.asarray(variable.values, dtype=np.float64), seed=1))
            for name, variable in self.trajectory.data_vars.items()
            if "weight" in variable.dims
        }
        return replace(self, problem=problem, trajectory=self.trajectory.assign(moved))

    @cached_property
    def _seen(self) -> dict[Any, dict[str, Any]]:
        return {}

    def look(self, kind: type) -> Any:
        """The case seen by a class of looks; what two classes of one file compute alike is computed once."""
        look = kind(self.problem, self.trajectory, self.facts)
        # a printed claim and its corrected form stand in one file and see the same things
        shared = self._seen.setdefault(kind if _overrides(kind) else kind.__module__, {})
        shared.update({name: value for name, value in vars(look).items() if name not in shared})
        look.__dict__ = shared
        return look


def _overrides(kind: type) -> bool:
    """Whether a class changes what a class above it defines: then what that computes is not the same."""
    own = {name for name in vars(kind) if not name.startswith("__")} - {"setting", "speaks_of", "shown"}
    return any(own & vars(above).keys() for above in kind.__mro__[1:])


def _shaken(problem: Any) -> Any:
    """The problem with its numbers rounded otherwise; labels are names, and stay."""
    moved = shaken(problem)
    if getattr(getattr(problem, "loss", None), "labels", "real") == "real":
        return moved
    return eqx.tree_at(lambda one: one.data.targets, moved, problem.data.targets)


def case(problem: Any, trajectory: xr.Dataset, **facts: Any) -> Case:
    """This makes a case that says its facts: they are its label, and variables by which a figure groups.

    Examples
    --------
    >>> import gradlab as gl
    >>> import xarray as xr
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> seen = xr.Dataset({"weights": (("record", "weight"), [[1.0], [2.0]])})
    >>> gl.claims.case(problem, seen, draw=3, data="one example").label
    'draw = 3, one example'
    """
    words = [
        value if isinstance(value, str) else f"{name} = {_short(value)}" for name, value in facts.items()
    ]
    return Case(", ".join(words), problem, trajectory, facts)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def point(problem: Any, vector: np.ndarray, **facts: Any) -> Case:
    """This makes a case without dynamics: one weight vector.

    Examples
    --------
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> gl.claims.point(problem, [2.0], draw=3).label
    'draw = 3'
    """
    return case(
        problem, xr.Dataset({"final_weights": ("weight", np.asarray(vector, dtype=np.float64))}), **facts
    )


def ensemble(
    flow: Callable[[Any], Any],
    drawn: Iterable[tuple[Any, Any, Mapping[str, Any]]],
    records: Any,
    **options: Any,
) -> Iterator[Case]:
    """An ensemble runs problems of one shape (and again coarser) as one program, and gives one case a problem.

    Parameters
    ----------
    flow : makes the flow of the stacked problem.
    drawn : triples of a problem, a start, and facts.
    options : of :func:`gradlab.run`.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(), gl.Data([[1.0]], [[3.0]]))
    >>> drawn = [(problem, (np.full((1, 1), start),), {"start": start}) for start in (0.0, 1.0)]
    >>> [case.label for case in gl.claims.ensemble(gl.GradientFlow, drawn, [1.0])]
    ['start = 0', 'start = 1']
    """
    problems, starts, facts = zip(*drawn, strict=True)
    weights = jax.tree.map(lambda *leaves: np.stack(leaves), *starts)
    usual: dict[str, Any] = {"keep": "all", "observables": (), "members": len(problems), "refine": True}
    seen = run(flow(stack(problems)), weights, records, **(usual | options))
    for i, problem in enumerate(problems):
        yield case(problem, seen.isel(member=i), **facts[i])


def generator(key: Any) -> np.random.Generator:
    """This is NumPy's generator seeded by the bits of a jax key: nothing is compiled for a new shape.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> gl.claims.generator(jax.random.key(0)).normal(size=(2, 3)).shape
    (2, 3)
    """
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).reshape(-1).tolist())


def collect(observed: Iterable[tuple[str, xr.Dataset]]) -> xr.Dataset:
    """Lay observed cases along ``case``; a variable that only some cases have is NaN elsewhere.

    Along a dim without coordinate values, shorter cases are padded at the end; along one with values the
    cases are aligned by them. Padding and absence are NaN, or the empty string for text; where they occur
    integers and booleans become float64. The judge treats NaN as inconclusive.
    """
    labels, datasets = [], []
    for label, dataset in observed:
        if "case" in dataset.variables or "case" in dataset.dims:
            raise ValueError(f"case {label!r} has a 'case' of its own; a look must give one case, without it")
        labels.append(label)
        datasets.append(dataset)
    if not datasets:
        raise ValueError("a study needs at least one case; its cases() yielded none")
    if any(dataset.indexes for dataset in datasets):
        datasets = list(xr.align(*datasets, join="outer"))
    lengths: dict[Hashable, int] = {}
    for dataset in datasets:
        for dim, length in dataset.sizes.items():
            lengths[dim] = max(length, lengths.get(dim, 0))
    index = {dim: datasets[0].indexes[dim] for dim in datasets[0].indexes}
    # of every name in the order in which the cases bring it
    names = dict.fromkeys(name for dataset in datasets for name in dataset.variables if name not in index)
    together = {name: _together(name, datasets, lengths) for name in names}
    return xr.Dataset(together, {"case": ("case", np.asarray(labels, dtype=str)), **index})


def _together(name: Hashable, datasets: Sequence[xr.Dataset], lengths: Mapping[Hashable, int]) -> Any:
    """One variable of all cases: dims, and values padded at the end; absent ones are NaN, or empty text."""
    given = [dataset.variables.get(name) for dataset in datasets]
    dims = next(one.dims for one in given if one is not None)
    values = [None if one is None else _plain(one.transpose(*dims).values) for one in given]
    shape = tuple(lengths[dim] for dim in dims)
    if all(one is not None and one.shape == shape for one in values):
        return ("case", *dims), np.stack([one for one in values if one is not None])
    widths = [one.dtype.itemsize // 4 for one in values if one is not None and one.dtype.kind == "U"]
    fill: Any = "" if widths else np.nan
    whole = np.full((len(values), *shape), fill, dtype=f"<U{max(widths)}" if widths else np.float64)
    for i, one in enumerate(values):
        if one is not None:
            there: Any = (i, *map(slice, one.shape))
            whole[there] = one
    return ("case", *dims), whole


def _plain(given: Any) -> np.ndarray:
    """Undo the object arrays that alignment makes of text and booleans: no file format takes them."""
    values = np.asarray(given)
    if values.dtype != object:
        return values
    texts = any(isinstance(one, str) for one in values.ravel())
    plain = [(one if isinstance(one, str) else "") if texts else float(one) for one in values.ravel()]
    return np.asarray(plain, dtype=str if texts else np.float64).reshape(values.shape)
