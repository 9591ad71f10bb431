"""What a run is about: the values that theory gives for it, and in words where it ended."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from gradlab.analysis import solutions
from gradlab.dynamics.descent import Constant, GradientDescent
from gradlab.dynamics.flow import Flow
from gradlab.observe.local import Local, local
from gradlab.problem.networks import Dense
from gradlab.problem.precision import put
from gradlab.problem.problem import Problem
from gradlab.report import numbers

#: Weights up to which the Hessian at the end is formed, to say whether it is a saddle.
_DENSE = 400
#: A curvature counts where it is more than this part of the largest.
_FLAT = 1e-6
#: Newton's steps go in directions curved more than this part of the largest, and rest below this part of the weights.
_CURVED, _REST, _NEWTON = 1e-3, 1e-10, 20
#: Near: less than this part of the weights away, or of the loss.
_NEAR = 0.01
#: A pause: over this part of the run, or while t grows by this factor, the loss falls by less than the third part, and
#: by the fourth in as much time again. Below the last part of where it began it counts as zero.
_LONG, _LONGER, _STILL, _GOES_ON, _ZERO = 0.08, 1.3, 0.1, 0.2, 1e-9


@dataclass(frozen=True)
class Reference:
    """A value that theory gives for an observable, with what it is known to."""

    label: str
    value: float
    error: float = 0.0


@dataclass(frozen=True)
class Subject:
    """The observable a page shows first, references by observable, and sentences on how the run ended."""

    first: str = "loss"
    references: Mapping[str, tuple[Reference, ...]] = field(default_factory=dict)
    said: tuple[str, ...] = ()

    def dumps(self) -> bytes:
        """As JSON, to be kept with the run."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def loads(cls, content: bytes) -> Subject:
        """What :meth:`dumps` wrote."""
        raw = json.loads(content)
        references = {
            name: tuple(Reference(**one) for one in some) for name, some in raw["references"].items()
        }
        return cls(raw["first"], references, tuple(raw["said"]))


def subject(flow: Flow, dataset: xr.Dataset) -> Subject:
    """What the run of a flow is about."""
    problem = flow.observed
    if not dataset.sizes.get("record"):
        return Subject()
    references = {name: one for name, one in _references(flow, dataset).items() if name in dataset}
    order = ["sharpness", "normalised_margin", "distance_to_minimum_norm", "product_singular_values"]
    first = next((name for name in order if name in references), "")
    first = first or next((name for name in order[1:] if name in dataset), "loss")
    if "member" in dataset.sizes:
        return Subject(first, references)
    said = [*_margin(dataset, references), *_distance(dataset), *_point(problem, dataset), *_pauses(dataset)]
    return Subject(first, references, tuple(said))


def _references(flow: Flow, dataset: xr.Dataset) -> dict[str, tuple[Reference, ...]]:
    problem = flow.observed
    found: dict[str, tuple[Reference, ...]] = {}
    network, decays = problem.network, bool(np.any(np.asarray(problem.decay)))
    if isinstance(flow, GradientDescent) and isinstance(flow.step, Constant) and np.ndim(flow.step.step) == 0:
        found["sharpness"] = (Reference(r"$2/\eta$", 2.0 / float(flow.step.step)),)
    if not (isinstance(network, Dense) and network.linear) or decays:
        return found
    rows = np.asarray(problem.data.inputs).reshape(len(problem.data.inputs), -1)
    if problem.loss.kind == "margin" and problem.loss.labels == "sign":
        try:
            most = solutions.max_margin(rows, np.asarray(problem.data.targets))
        except ValueError:  # not separable: there is none
            return found
        found["normalised_margin"] = (Reference("largest margin", most.margin, abs(most.gap) * most.margin),)
    least = solutions.minimum_norm_of(problem)
    if least is None:
        return found
    floor = float(problem.loss.risk(rows @ least.T, problem.data.targets))
    if "loss" in dataset and floor > 1e-9 * float(np.nanmax(dataset["loss"].values)):
        found["loss"] = (_exactly("least squares", floor),)
    values = np.linalg.svd(least, compute_uv=False)
    found["product_singular_values"] = tuple(
        _exactly("" if k else "least squares", float(value)) for k, value in enumerate(values[:4])
    )
    if len(network.widths) == 2:
        found["layer_norms"] = (_exactly("least norm", float(np.linalg.norm(least))),)
        found["distance_to_minimum_norm"] = ()
    return found


def _exactly(label: str, value: float) -> Reference:
    return Reference(label, value, 1e-12 * abs(value))


def _last(dataset: xr.Dataset, name: str) -> tuple[float, float]:
    value = float(dataset[name].values[-1])
    return value, float(dataset[f"{name}_error"].values[-1]) if f"{name}_error" in dataset else math.nan


def _measured(value: float, bar: float) -> str:
    """A number with its bar; an iteration that was not repeated has rounding errors only, which are not known."""
    return f"{numbers.plain(value)} (but for rounding)" if math.isnan(bar) else numbers.measured(value, bar)


def _margin(dataset: xr.Dataset, references: Mapping[str, tuple[Reference, ...]]) -> list[str]:
    known = references.get("normalised_margin")
    if not known:
        return []
    (most,) = known
    value, bar = _last(dataset, "normalised_margin")
    if not value > 0.0:
        return [f"not yet separated: the smallest normalised margin is {_measured(value, bar)}"]
    start = float(dataset["normalised_margin"].values[0])
    share = f"{100.0 * value / most.value:.3g} %"
    return [
        f"on the way to the largest margin: the smallest normalised margin went from {numbers.plain(start)} to "
        f"{_measured(value, bar)}, {share} of {numbers.measured(most.value, most.error)}"
    ]


def _distance(dataset: xr.Dataset) -> list[str]:
    if "distance_to_minimum_norm" not in dataset:
        return []
    value, bar = _last(dataset, "distance_to_minimum_norm")
    start = float(dataset["distance_to_minimum_norm"].values[0])
    return [
        f"the weights are {_measured(value, bar)} from the solution of least norm; at the start it was "
        f"{numbers.plain(start)}"
    ]


def _point(problem: Problem, dataset: xr.Dataset) -> list[str]:
    """Whether the end is near a point where the gradient vanishes, and of which kind, where that can be said."""
    if "final_weights" not in dataset or problem.loss.kind == "margin" or not problem.network.smooth:
        return []
    vector = np.asarray(dataset["final_weights"].values, dtype=np.float64)
    if vector.ndim != 1 or vector.size > _DENSE or not np.isfinite(vector).all():
        return []
    here, there = local(problem, vector), _stationary(problem, vector)
    if there is None:
        return [f"still moving: the gradient's norm is {_gradient(here, vector)}"]
    point, seen = there
    values = np.linalg.eigvalsh(seen.hessian)
    largest, bound = (
        float(np.abs(values).max()),
        len(values) * np.finfo(np.float64).eps * float(np.abs(values).max()),
    )
    loss, height = (float(problem.potential(problem.unravel(put(w)))) for w in (vector, point))
    away, size = float(np.linalg.norm(point - vector)), float(np.linalg.norm(vector))
    if not (away <= _NEAR * size or abs(loss - height) <= _NEAR * abs(loss)):
        return [f"still moving: the gradient's norm is {_gradient(here, vector)}"]
    where = f"{numbers.plain(away, 1)} away (the weights' norm is {numbers.plain(size)})"
    least = (
        f"zero to {numbers.plain(bound, 1)}"
        if abs(values[0]) <= bound
        else numbers.measured(float(values[0]), bound)
    )
    down, flat = int((values < -_FLAT * largest).sum()), int((np.abs(values) <= _FLAT * largest).sum())
    if down:
        ways = "one direction" if down == 1 else f"{down} directions"
        rounded = numbers.measured(height, np.finfo(np.float64).eps * len(seen.f) * abs(height))
        return [
            f"near a saddle: it is {where}, at a loss of {rounded}, which falls from there in {ways}; the smallest "
            f"curvature there is {least}"
        ]
    beside = f"; {flat} of {len(values)} directions are flat" if flat else ""
    return [
        f"near a minimum, to second order: it is {where}, and the smallest curvature there is {least}{beside}"
    ]


def _stationary(problem: Problem, vector: np.ndarray) -> tuple[np.ndarray, Local] | None:
    """Where Newton's method in the curved directions comes to rest, with the problem there; None if it does not."""
    point = vector
    for _ in range(_NEWTON):
        seen = local(problem, point)
        values, vectors = np.linalg.eigh(seen.hessian)
        largest = float(np.max(np.abs(values), initial=0.0))
        if not (largest > 0.0 and np.isfinite(largest)):
            return None
        curved = np.abs(values) > _CURVED * largest
        step = vectors[:, curved] @ ((vectors.T @ seen.gradient)[curved] / values[curved])
        if np.linalg.norm(step) <= _REST * np.linalg.norm(vector):
            rest = np.linalg.norm(seen.gradient) <= _FLAT * largest * np.linalg.norm(vector)
            return (point - step, seen) if rest else None
        point = point - step
    return None


def _gradient(seen: Local, vector: np.ndarray) -> str:
    """The norm of the gradient, with what rounding makes of its terms."""
    terms = np.einsum("nc,ncp->p", np.abs(seen.first), np.abs(seen.jacobian)) + np.abs(seen.decay * vector)
    grain = np.finfo(np.float64).eps * len(seen.f) * float(np.linalg.norm(terms))
    return numbers.measured(float(np.linalg.norm(seen.gradient)), grain)


def pauses(t: Any, loss: Any) -> list[tuple[float, float, float]]:
    """(from, to, loss) of every pause: a stretch of the run over which the loss hardly falls, and does afterwards."""
    t, loss = np.asarray(t, dtype=float), np.asarray(loss, dtype=float)
    found, i = [], 0
    while i < len(t) - 1:
        j = i
        while j + 1 < len(t) and loss[i] - loss[j + 1] < _STILL * abs(loss[i]):
            j += 1
        long = t[j] - t[i] >= _LONG * (t[-1] - t[0]) or (t[j] >= _LONGER * t[i] > 0.0 and j > i + 1)
        after = float(np.interp(2.0 * t[j] - t[i], t, loss))
        if long and loss[j] - after > _GOES_ON * abs(loss[j]) and abs(loss[j]) > _ZERO * abs(loss[0]):
            found.append((float(t[i]), float(t[j]), float(loss[(i + j) // 2])))
            i = j
        i += 1
    return found


def _pauses(dataset: xr.Dataset) -> list[str]:
    if "loss" not in dataset or "t" not in dataset or not np.isfinite(dataset["t"].values).all():
        return []
    found = pauses(dataset["t"].values, dataset["loss"].values)
    if not found:
        return []
    where = "; ".join(
        f"at {numbers.plain(loss)} from t\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{numbers.plain(a)} to {numbers.plain(b)}"
        for a, b, loss in found
    )
    times = "once" if len(found) == 1 else f"{len(found)} times"
    return [f"the loss paused {times} on the way: {where}"]
