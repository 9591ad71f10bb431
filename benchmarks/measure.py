"""Work and precision: sweeps over tolerances, and what a method costs at equal achieved error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from benchmarks.peers import Peer
from benchmarks.references import Reference
from benchmarks.task import Limit, Task

#: Achieved errors at which methods are compared.
TARGETS = (1e-4, 1e-7)


@dataclass(frozen=True)
class Point:
    """One solve. cost : evaluations + Jacobians at their measured cost. seconds : wall, compiled; cold : first call.

    error is NaN where T was not reached.
    """

    tolerance: float
    error: float
    evaluations: float
    jacobians: int
    cost: float
    seconds: float
    cold: float
    why: str = ""


@dataclass(frozen=True)
class Sweep:
    """One method on one task: its points by falling tolerance, or the sentence why there are none."""

    method: str
    family: str
    points: tuple[Point, ...]
    skipped: str = ""

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Bench:
    """All methods on one task."""

    name: str
    settings: str
    size: int
    T: float
    gradient_seconds: float
    jacobian_cost: float | None
    disagreement: float
    methods: str
    sweeps: tuple[Sweep, ...]

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Bench:
        """The inverse of :meth:`record`."""
        sweeps = tuple(
            Sweep(**{**one, "points": tuple(Point(**point) for point in one["points"])})
            for one in record["sweeps"]
        )
        return cls(**{**record, "sweeps": sweeps})

    def joined(self, other: Bench) -> Bench:
        """The sweeps of both; where both have a method, those of ``other``.

        Raises
        ------
        ValueError
            If the two are not of the same problem.
        """
        if (self.name, self.settings, self.size, self.T) != (other.name, other.settings, other.size, other.T):
            raise ValueError(f"{self.name} ({self.settings}) and {other.name} ({other.settings}) differ")
        new = {sweep.method for sweep in other.sweeps}
        sweeps = (*(sweep for sweep in self.sweeps if sweep.method not in new), *other.sweeps)
        cost = self.jacobian_cost if other.jacobian_cost is None else other.jacobian_cost
        return replace(self, jacobian_cost=cost, sweeps=sweeps)


#: Seconds up to which a solve is made twice, and thrice: at another tolerance a method may compile another program.
TWICE, THRICE = 30.0, 0.3


def solve(peer: Peer, task: Task, reference: Reference, tolerance: float, limit: Limit, first: bool) -> Point:
    """One point. Calls that may hold compilation are made again, and the least wall time is kept."""
    outcome = peer.run(task, tolerance, limit)
    cold = outcome.seconds
    if outcome.vector is not None and (first or cold < TWICE):
        again = [peer.run(task, tolerance, limit) for _ in range(1 if cold > THRICE else 2)]
        outcome = min(again, key=lambda one: one.seconds)
    jacobian = outcome.jacobians * task.jacobian_cost if outcome.jacobians else 0.0
    error = math.nan if outcome.vector is None else task.error(outcome.vector, reference.vector)
    return Point(
        tolerance, error, outcome.evaluations, outcome.jacobians, outcome.evaluations + jacobian,
        outcome.seconds, cold, outcome.why,
    )  # fmt: skip


def sweep(peer: Peer, task: Task, reference: Reference, tolerances: Iterable[float], limit: Limit) -> Sweep:
    """Points by falling tolerance, until two in a row fail or all targets are far behind."""
    why = peer.skip(task, limit)
    if why is not None:
        return Sweep(peer.name, peer.family, (), why)
    points: list[Point] = []
    for tolerance in sorted(tolerances, reverse=True):
        point = solve(peer, task, reference, tolerance, limit, not points)
        points.append(point)
        # A loose tolerance may fail where tighter ones do not: the orbit strays to where it is stiffer.
        if len(points) > 1 and not any(math.isfinite(one.error) for one in points[-2:]):
            break
        if point.error < 0.3 * min(TARGETS):
            break
    return Sweep(peer.name, peer.family, tuple(points))


def at_error(points: Sequence[Point], error: float, what: str = "cost") -> float | None:
    """``cost`` (or ``seconds``, …) at an achieved error, log–log between neighbouring tolerances.

    The least over all neighbours that bracket the error and all points at least as accurate. Nothing is
    extrapolated: None where no point is as accurate.
    """
    solved = [(p.error, getattr(p, what)) for p in sorted(points, key=lambda p: -p.tolerance)]
    good = [(e, c) for e, c in solved if math.isfinite(e) and math.isfinite(c) and c > 0.0]
    found = [c for e, c in good if e <= error]
    for (e0, c0), (e1, c1) in itertools.pairwise(good):
        if e0 > error >= e1 > 0.0:
            share = math.log(e0 / error) / math.log(e0 / e1)
            found.append(math.exp((1.0 - share) * math.log(c0) + share * math.log(c1)))
    return min(found) if found else None


def best(sweeps: Iterable[Sweep], error: float, family: Callable[[str], bool], what: str = "cost") -> Any:
    """(method, cost) of the cheapest method of those families at that error; (None, None) if none gets there."""
    costs = {s.method: at_error(s.points, error, what) for s in sweeps if family(s.family)}
    known = {method: cost for method, cost in costs.items() if cost is not None}
    if not known:
        return None, None
    method = min(known, key=lambda name: known[name])
    return method, known[method]


def is_ours(family: str) -> bool:
    """Whether a family is gradlab's."""
    return family == "gradlab"


def is_peer(family: str) -> bool:
    """Whether a family is a peer's."""
    return family != "gradlab"


def ratio(bench: Bench, method: str, error: float, what: str = "cost") -> float | None:
    """How many times more the best peer costs than ``method`` at equal achieved error; None if unknown."""
    mine = next((at_error(s.points, error, what) for s in bench.sweeps if s.method == method), None)
    _, theirs = best(bench.sweeps, error, is_peer, what)
    return None if mine is None or theirs is None else theirs / mine


def geometric_mean(values: Iterable[float | None]) -> float | None:
    """exp mean log over what is known; None over nothing."""
    known = [value for value in values if value is not None and value > 0.0]
    return float(np.exp(np.mean(np.log(known)))) if known else None


def exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """(slope, standard error) of log y against log x by least squares; NaN where there are too few points."""
    pairs = [
        (a, b) for a, b in zip(x, y, strict=True) if a > 0 and b > 0 and np.isfinite(a) and np.isfinite(b)
    ]
    if len(pairs) < 3:
        return math.nan, math.nan
    u, v = np.log(np.array(pairs)).T
    u = u - u.mean()
    slope = float(u @ v / (u @ u))
    rest = v - v.mean() - slope * u
    return slope, float(np.sqrt(rest @ rest / (len(pairs) - 2) / (u @ u)))
