"""The second of two solves: what is kept of it, and the twin of what has no coarser version.

A flow is solved twice, the second time coarser: its local errors are about ten times those of the first, whether the
tolerance sets the steps or the records do, and its weights are shaken by rounding at every record, so that what the
flow makes of rounding shows. An iteration, and a point without dynamics, are taken a second time with their data shaken
by rounding. What is measured on both, by the same method, differs by what the first is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab.dynamics import local_errors
from gradlab.dynamics.clocks import Clock
from gradlab.observe.observables import Observable, Weights
from gradlab.problem.losses import Loss
from gradlab.problem.precision import put
from gradlab.problem.problem import Problem

#: The end of the names of what the second solve gave, beside what the first did: ``weights`` and ``weights_coarse``.
COARSE = "_coarse"


def second(trajectory: xr.Dataset) -> xr.Dataset | None:
    """The trajectory as the second solve gave it: each ``<name>_coarse`` in place of ``<name>``; None without one."""
    names = [str(name) for name in trajectory.data_vars]
    given = {name.removesuffix(COARSE): trajectory[name] for name in names if name.endswith(COARSE)}
    if not given:
        return None
    return trajectory.drop_vars([f"{name}{COARSE}" for name in given]).assign(given)


def shaken(tree: Any, seed: int = 0) -> Any:
    """Every float64 number x of a tree as x (1 ± 2⁻⁵²), signs drawn from a seed: the same thing, rounded otherwise."""
    random = np.random.default_rng(seed)

    def shake(leaf: Any) -> Any:
        if not hasattr(leaf, "dtype") or jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        values = np.asarray(leaf)
        if values.dtype != np.float64:
            return leaf
        signs = random.integers(0, 2, size=values.shape) * 2.0 - 1.0
        moved = values * (1.0 + np.finfo(np.float64).eps * signs)
        return moved if isinstance(leaf, np.ndarray) else put(moved)

    return jax.tree.map(shake, tree)


EPS = float(np.finfo(np.float64).eps)
#: Rounding errors of one step, in units of eps relative to the chart variables; of an output at its target.
ROUNDED, MET = 2.0, 4.0
#: Bars are this multiple of the distance of the two solves where nothing is known but that their local errors are ten
#: times apart: the coarse one may err by less than two thirds of what the fine one does, or by anything above 4/3 of
#: it, before a bar is too small.
FACTOR = 3.0
#: That multiple where the bar of the record before is kept (``KEPT``): the second solve would have to be as near twice.
AGAIN = 1.5
#: Where steps estimate their errors, and those of the second solve are q times those of the first, bars are
#: SURE/(q − 1) times the distance, q − 1 being LEAST at least: SURE times too long, if errors are as far apart as
#: estimates. They are FACTOR (AGAIN) distances at least, as where nothing is estimated, since the second solve may err
#: by little more than the first by chance; where q − 1 is above PLAIN, that of tolerances and a little, the less likely
#: the larger it is, fewer by its root.
SURE, LEAST, PLAIN = 6.0, 0.3, 12.0
#: The bar of one weight is no less than this part of the root mean square of all: the error need not point where the
#: two solves differ, so that they may agree in a weight and both be off. (Of 53 000 weights of random nets 0.40 % were
#: out, 14 of them by more than ten bars; so 0.08 % and none, and bars are 4 % longer.)
ASIDE = 0.1
#: A distance below so many times what rounding makes may be rounding, which is no smaller in the first solve.
NOISY = 30.0
#: The second solve is shaken by this part of what rounding may do: what steps round by is seldom more.
SHAKEN = 0.25
#: What is kept of a bar at the next record, where nothing slows down.
KEPT = 0.7
#: What moves as far as the outputs' rounding moves the loss.
LOSSES = ("loss", "risk")
#: What a record of either solve holds of its error estimates (``local_errors``): for the bars, and dropped then.
ERRED = "erred"


def rounding(steps: Any) -> np.ndarray:
    """What rounding does to the chart variables in so many steps, relatively: a walk of ROUNDED eps a step."""
    return ROUNDED * EPS * np.sqrt(1.0 + np.asarray(steps))


def shaking(made: Any, moved: Any) -> np.ndarray:
    """By how much the second solve is shaken at a record after so many steps, of what has moved."""
    return np.where(moved, SHAKEN * rounding(made), 0.0)


@dataclass(frozen=True)
class Noise:
    """How far rounding may have moved the chart variables on the way to a record, relatively, and its number."""

    amount: np.ndarray
    number: int

    def none(self) -> Noise:
        """Nothing."""
        return replace(self, amount=np.zeros_like(self.amount))


def gap(ours: Any, theirs: Any) -> np.ndarray:
    """|ours − theirs|, 0 where both are the same infinity (a KKT residual before the data are separated)."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    same = ours == theirs
    return np.abs(np.where(same, 0.0, ours) - np.where(same, 0.0, theirs))


def multiples(ours: Any, theirs: Any, least: float = FACTOR) -> np.ndarray:
    """By what a distance of the two solves is multiplied, of y and of log(1 + t): by the sums of their estimates."""
    return _multiple(local_errors.ratios(ours, theirs), least)


def _multiple(ratio: np.ndarray, least: float) -> np.ndarray:
    apart = np.maximum(ratio - 1.0, LEAST)
    held = np.maximum(SURE / apart, least * np.sqrt(np.minimum(PLAIN / apart, 1.0)))
    return np.where(np.isnan(ratio), least, held)


def met(problem: Problem) -> float:
    """The risk of outputs that meet their targets but for rounding; 0 of margins, and where no closed form says it."""
    loss, targets = problem.loss, np.asarray(problem.data.targets)
    if loss.kind != "residual" or type(loss).derivative is Loss.derivative:
        return 0.0
    values = loss.derivative(targets * (1.0 + MET * EPS), targets, 0)
    return problem.factor * float(np.sum(values) if loss.reduction == "sum" else np.mean(values))


def _spread(of: Any, like: np.ndarray) -> np.ndarray:
    """An array of the leading axes, to be multiplied with one that has more."""
    of = np.asarray(of)
    return of.reshape(of.shape + (1,) * (like.ndim - of.ndim))


def bar(
    ours: Any, theirs: Any, steps: Any, item: Observable, exact: bool = False, multiple: Any = FACTOR
) -> np.ndarray:
    """The error bar of an observable after so many steps: a multiple of the distance of the two solves, and rounding.

    Rounding is relative to the value itself; to the largest, of weights and singular values (``jointly``). Where
    nothing is left, the value being 0 in both solves, the error is unknown: NaN. (But what takes few values only may
    agree, and an iteration, ``exact``, be at 0.)
    """
    ours = np.asarray(ours)
    distance = gap(ours, theirs)
    if item.stepwise or ours.dtype.kind != "f":
        return distance
    size = np.abs(ours)
    if item.jointly:
        size = np.max(size, axis=-1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        floor = _spread(rounding(steps), ours) * size
        doubted = FACTOR * np.minimum(distance, NOISY * floor)
        error = np.maximum(_spread(multiple, ours) * distance, doubted) + floor
        if isinstance(item, Weights):
            error = np.maximum(error, ASIDE * np.sqrt(np.mean(error**2, axis=-1, keepdims=True)))
    return error if exact else np.where(error > 0.0, error, np.nan)


def unseconded(error: Any, lost: Any) -> np.ndarray:
    """The bars, NaN of the members that are lost."""
    error = np.asarray(error)
    where = _spread(lost, error)
    return np.where(where, np.nan, error) if np.any(lost) and error.dtype.kind == "f" else error


def unknown_where(errors: dict[str, Any], lost: Any) -> dict[str, Any]:
    """A record's bars, and what stands among them, with NaN for the bars of the members that are lost."""
    return {
        key: unseconded(value, lost) if key.endswith("_error") else value for key, value in errors.items()
    }


def remembered(
    alone: np.ndarray, again: np.ndarray, values: np.ndarray, tau: np.ndarray, before: Any
) -> np.ndarray:
    """Bars that do not close where the two solves only cross: a part of the one before, as far as things move on.

    alone, again : of successive records, with the multiple of a record by itself, and of one after another. values,
    tau : there and at the (at most two) records before, whose last had the bar ``before``. The bar before counts KEPT
    times, and less as the observable's rate of change has fallen since: errors of a flow that comes to rest fall with
    its speed; the less it counts, the nearer the bar is to that of a record by itself. Where the clock stands, since a
    member has stopped, the bar is the one before.
    """
    if before is None or not len(alone):
        return alone
    spans = _spread(np.diff(tau, axis=0), values)
    with np.errstate(all="ignore"):
        rate = gap(values[1:], values[:-1]) / spans
        moving = np.nan_to_num(np.minimum(rate[1:] / rate[:-1], 1.0), nan=0.0)
    stands = spans[-len(alone) :] == 0.0
    known, found, before = len(alone) - len(moving), np.empty_like(alone), np.asarray(before)
    still = bool(np.any(stands))
    for i, own in enumerate(alone):
        if i >= known:
            # nothing is kept of a bar of 0, that of the start
            kept = np.where(before > 0.0, moving[i - known], 0.0)
            with np.errstate(invalid="ignore"):  # of an infinite bar nothing may be kept
                part = np.where(np.isfinite(own), kept * (again[i] - own), 0.0)
                own = np.fmax(own + part, KEPT * kept * before)
            own = np.where(own > 0.0, own, np.nan)
        before = found[i] = np.where(stands[i], before, own) if still else own
    return found


def bars(
    rows: Sequence[dict[str, Any]],
    others: Sequence[dict[str, Any]],
    before: Sequence[dict[str, Any]],
    observables: Sequence[Observable],
    exact: bool,
    clock: Clock,
    least: dict[str, float] | None = None,
) -> list[dict[str, Any]]:
    """``<name>_error`` of observables, ``t`` and ``log_t`` at some records; ``<name>_coarse`` beside weights.

    rows, others : the records as the two solves have them, and at most two before them; the first of all is given and
    has no errors. exact : an iteration, which errs by rounding alone. clock : of the records.
    least : by which some observables are off at least.
    """

    def stacked(name: str, records: Sequence[dict[str, Any]]) -> np.ndarray:
        return np.stack([np.asarray(record[name]) for record in records])

    def earlier(name: str) -> Any:
        return before[-1].get(f"{name}_error") if before else None

    known = clock.follows or exact
    steps, tau = stacked("step", rows), stacked("tau", [*before, *rows])
    of_y, of_u = (np.full(steps.shape, FACTOR) for _ in range(2))
    more_y, more_u = (np.full(steps.shape, AGAIN) for _ in range(2))
    if ERRED in rows[0]:
        erred = stacked(ERRED, rows), stacked(ERRED, others)
        ratio = local_errors.ratios(*erred)
        both, again = _multiple(ratio, FACTOR), _multiple(ratio, AGAIN)
        of_y, more_y, of_u, more_u = (
            both[..., 0],
            again[..., 0],
            np.max(both, axis=-1),
            np.max(again, axis=-1),
        )
    first = 0 if before else 1
    found: dict[str, np.ndarray] = {}
    for item in observables:
        name, values = item.name, stacked(item.name, [*before, *rows])
        ours = values[len(before) :]
        theirs = stacked(name, others)
        error = bar(ours, theirs, steps, item, exact, of_y)
        if not (exact or item.stepwise or error.dtype.kind != "f"):
            again = bar(ours, theirs, steps, item, exact, more_y)
            error, again = (np.fmax(one, (least or {}).get(name, np.nan)) for one in (error, again))
            if name in LOSSES and "loss_grain" in rows[0]:
                grain = rounding(steps) * stacked("loss_grain", rows)
                error, again = error + grain, again + grain
            begun = earlier(name) if before else 0.0
            error[first:] = remembered(error[first:], again[first:], values, tau, begun)
        found[f"{name}_error"] = error
    weighed = any(item.name == "weights" for item in observables)
    for name in ("t", "log_t"):
        values, theirs = stacked(name, [*before, *rows]), stacked(name, others)
        ours, begun = values[len(before) :], earlier(name)
        error = _of_time(name, ours, theirs, steps, tau, begun, known, of_u)
        if clock.may_rest and weighed:
            along, off = stacked("weights", [*before, *rows]), found["weights_error"][first:]
            error[first:] = np.fmax(error[first:], lateness(along, off, values))
        if not known:
            again = _of_time(name, ours, theirs, steps, tau, begun, known, more_u)
            kept = remembered(error[first:], again[first:], values, tau, begun if before else 0.0)
            # t = ∞ is so in both, and its bar 0; log t says the rest
            error[first:] = np.where(np.isfinite(ours[first:]), kept, error[first:])
        found[f"{name}_error"] = error
    if not before:
        for error in found.values():
            error[0] = 0
    if weighed:
        names = [item.name for item in observables] + [name for name in ("log_t", "t") if name in others[0]]
        found |= {f"{name}{COARSE}": stacked(name, others) for name in names}
    return [{name: values[i] for name, values in found.items()} for i in range(len(rows))]


def lateness(weights: np.ndarray, off: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The time (or its logarithm) in which an orbit goes as far as its weights are off, NaN where none is known.

    weights, times : at successive records, with one before ``off`` at least. A clock that asks where an orbit is does
    not tell when, near where it comes to rest, and two solves that are off by the same say the same wrong time: where
    the pace falls (three records show it) like e^{−λt}, way/(e^{λΔt} − 1) is left of the way after a record, and where
    the weights are off by that the time is unknown, ∞.
    """
    count = len(off)
    with np.errstate(all="ignore"):
        spans = np.abs(np.diff(times, axis=0))
        ways = np.linalg.norm(np.diff(weights, axis=0), axis=-1)
        paces, size = ways / spans, np.linalg.norm(off, axis=-1)
        pace = paces[len(paces) - count :]
        found = np.where(np.isfinite(pace) & (pace > 0.0), size / pace, np.nan)
        rates = np.log(paces[:-1] / paces[1:]) / (0.5 * (spans[:-1] + spans[1:]))
        seen = min(count, len(rates))
        if seen:
            rate, span, way = (some[len(some) - seen :] for some in (rates, spans, ways))
            share = size[count - seen :] * np.expm1(rate * span) / way
            longer = np.where(share < 1.0, -np.log1p(-share) / rate, np.inf)
            falls = np.isfinite(rate) & (rate > 0.0) & ~np.isnan(share)
            found[count - seen :] = np.where(falls, longer, found[count - seen :])
    return found


def _of_time(
    name: str, ours: Any, theirs: Any, steps: Any, tau: Any, before: Any, known: bool, multiple: Any
) -> np.ndarray:
    """The bars of ``t`` or ``log_t`` at successive records; of a member that has stopped, that of when it did."""
    # log t is −∞ at the start, in both.
    finite, same = np.isfinite(ours) & np.isfinite(theirs), ours == theirs
    ours, theirs = np.where(finite, ours, 0.0), np.where(finite, theirs, 0.0)
    floor = 0.0 if known else rounding(steps) * np.maximum(np.abs(ours), name == "log_t")
    off = multiple * np.abs(ours - theirs) + floor
    error = np.where(finite | same, off, np.inf)
    stands = np.diff(tau, axis=0)[-len(error) :] == 0.0
    if np.any(stands):
        shift = len(error) - len(stands)
        for i in range(shift, len(error)):
            earlier = error[i - 1] if i else before
            if earlier is not None:
                error[i] = np.where(stands[i - shift], earlier, error[i])
    return error
