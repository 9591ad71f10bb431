"""Are errors within their bars, and by how much do bars exceed errors? Flows with known answers, every method."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flint import arb

import gradlab as gl
from benchmarks.closed_forms import Closed, closed_forms, random_forms
from benchmarks.digits import random_nets

TOLERANCES = tuple(10.0**-k for k in range(3, 11))
#: Records a run: four spacings, from one step in many to a step or two between two records.
COUNTS = (5, 25, 100, 400)
METHODS = (
    "auto", "bosh3", "tsit5", "dopri5", "dopri8", "heun", "kvaerno3", "kvaerno5", "bdf",
    "rkc2", "rkc3", "mrkc3", "mrkc5", "rock4", "fixed heun", "exact",
)  # fmt: skip
STABILISED = ("rkc2", "rkc3", "mrkc3", "mrkc5", "rock4")
CLOCKS = {
    "Time": gl.Time, "LogTime": gl.LogTime, "LogLoss": gl.LogLoss, "ArcLength": gl.clocks.ArcLength,
    "LogNorm": gl.clocks.LogNorm,
}  # fmt: skip
#: What ``Adaptive`` says a run may cost here.
STEPS = 60_000


@dataclass(frozen=True)
class Row:
    """One run. numbers : compared, the start apart; missed, by more than ten times (far); unknown : bars that are NaN.

    zero : bars of exactly 0. excess : log₁₀ of bar over error, where there is one. result : how a run ended that
    did not reach the last record; what it recorded until then counts.
    """

    problem: str
    method: str
    clock: str
    tolerance: float
    records: int
    numbers: int
    missed: int
    far: int
    unknown: int
    zero: int
    excess: tuple[float, ...]
    evaluations: int
    result: str = ""


def _clocks(closed: Closed) -> dict[str, Callable[[arb], arb]]:
    return {"Time": lambda t: t, "LogTime": lambda t: t.log1p(), **closed.clocks}


def serves(closed: Closed, method: str, clock: str) -> bool:
    """Whether the method is for that flow in that clock."""
    if clock not in _clocks(closed):
        return False
    if method in STABILISED:
        return clock != "LogNorm"
    if method == "exact":
        return closed.name.startswith("linear") and clock in ("Time", "LogTime")
    return method != "fixed heun" or not closed.geometric


def _solver(method: str, tolerance: float, closed: Closed, first: float) -> Any:
    if method == "auto":
        return gl.solvers.Auto(tolerance)
    if method == "exact":
        return gl.solvers.Exact()
    if method == "fixed heun":
        return gl.solvers.Fixed("heun", first * tolerance**0.25)
    return gl.Adaptive(method, tolerance)


def cover(closed: Closed, method: str, clock: str, tolerance: float, count: int) -> Row:
    """One run against the known answer."""
    times = [arb(float(t)) for t in closed.times(count)]
    tau = np.array([float(_clocks(closed)[clock](t)) for t in times])
    # A clock whose values rounding has made equal says nothing any more.
    keep = np.concatenate([[True], np.diff(tau) > 1e-9 * tau[-1]])
    times, tau = [t for t, kept in zip(times, keep, strict=True) if kept], tau[keep]
    solver = _solver(method, tolerance, closed, float(tau[-1]) / 20.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = gl.run(
            gl.GradientFlow(closed.problem), closed.start, tau, clock=CLOCKS[clock](), solver=solver,
            observables=["loss"], keep="all", stop=gl.Stop(steps=STEPS),
        )  # fmt: skip
    errors, bars = [], []
    for i in range(1, run.sizes["record"]):
        if int(run["status"][i]) != 0:
            break
        weights, loss = closed.truth(times[i - 1])
        ours = [*run["weights"].values[i], float(run["loss"][i])]
        errors += [float(abs(arb(float(a)) - b)) for a, b in zip(ours, [*weights, loss], strict=True)]
        bars += [*run["weights_error"].values[i], float(run["loss_error"][i])]
        if clock not in ("Time", "LogTime"):
            errors.append(float(abs(arb(float(run["log_t"][i])) - times[i - 1].log())))
            bars.append(float(run["log_t_error"][i]))
    error, bar = np.array(errors), np.array(bars)
    known = np.isfinite(bar)
    some = known & (error > 0.0) & (bar > 0.0)
    result = "" if run.result.startswith("reached the last record") else run.result
    return Row(
        closed.name, method, clock, tolerance, count, len(error), int(np.sum(known & (error > bar))),
        int(np.sum(known & (error > 10.0 * bar))), int(np.sum(~known)), int(np.sum(bar == 0.0)),
        tuple(np.round(np.log10(bar[some] / error[some]), 3).tolist()), int(run["evaluations"][-1]),
        result,
    )  # fmt: skip


def grid(methods: Sequence[str] = METHODS) -> list[tuple[Closed, str, str]]:
    """Flow, method and clock of every kind of run, in an order drawn once, so that the first are a sample of all."""
    every = [
        (closed, method, clock)
        for closed in closed_forms()
        for method in methods
        for clock in _clocks(closed)
        if serves(closed, method, clock)
    ]
    return [every[i] for i in np.random.default_rng(0).permutation(len(every))]


def rows(kinds: Sequence[tuple[Closed, str, str]], each: int | None = None) -> Iterator[Row]:
    """Run after run: every tolerance and spacing, or ``each`` of them, drawn."""
    random = np.random.default_rng(1)
    for closed, method, clock in kinds:
        # The tolerance of exact steps is none.
        tolerances = TOLERANCES[:1] if method == "exact" else TOLERANCES
        pairs = [(tolerance, count) for tolerance in tolerances for count in COUNTS]
        if each is not None:
            pairs = [pairs[i] for i in sorted(random.permutation(len(pairs))[:each])]
        for tolerance, count in pairs:
            yield cover(closed, method, clock, tolerance, count)


#: Runs of the sample of the flows with given starts.
SAMPLE = 97
#: Flows drawn: with closed forms, and nets in digits.
DRAWN = (84, 36)


def drawn(counts: tuple[int, int] = DRAWN, each: int = 4) -> Iterator[Row]:
    """Flows drawn, each by some methods in turn, in a clock, at a tolerance and a spacing that are drawn."""
    random, turn = np.random.default_rng(2), 0
    for closed in [*random_forms(counts[0]), *random_nets(counts[1])]:
        for _ in range(each):
            while not (
                clocks := [c for c in _clocks(closed) if serves(closed, METHODS[turn % len(METHODS)], c)]
            ):
                turn += 1
            clock, tolerance = str(random.choice(clocks)), float(random.choice(TOLERANCES))
            yield cover(closed, METHODS[turn % len(METHODS)], clock, tolerance, int(random.choice(COUNTS)))
            turn += 1


def summary(found: Sequence[Row], key: Callable[[Row], Any]) -> list[list[Any]]:
    """Per key: runs, numbers, shares within the bar, unknown, bars of 0, and the excess's quartiles."""
    table = []
    for value in sorted(set(map(key, found)), key=_order):
        mine = [row for row in found if key(row) == value]
        numbers = sum(row.numbers for row in mine)
        excess = np.concatenate([np.asarray(row.excess) for row in mine]) if mine else np.zeros(0)
        quartiles = 10.0 ** np.percentile(excess, [10, 50, 90]) if excess.size else np.full(3, np.nan)
        missed = sum(row.missed for row in mine)
        table.append([
            value, len(mine), numbers, f"{100.0 * (1.0 - missed / max(numbers, 1)):.2f} %",
            sum(row.far for row in mine), sum(row.unknown for row in mine), sum(row.zero for row in mine),
            *(f"{q:.2g}" for q in quartiles), sum(bool(row.result) for row in mine),
        ])  # fmt: skip
    return table


def _order(value: Any) -> tuple[float, str]:
    """Numbers by size, names as methods are listed or by the alphabet."""
    if isinstance(value, str):
        return (METHODS.index(value) if value in METHODS else 0.0), value
    return float(value), ""


HEAD = (
    "", "runs", "numbers", "within", "by more than 10 × out", "unknown", "bars of 0",
    "bar / error, 10 %", "median", "90 %", "ended early",
)  # fmt: skip


#: What the page's tables are by.
BY: dict[str, Callable[[Row], Any]] = {
    "all": lambda row: "all",
    "method": lambda row: row.method,
    "clock": lambda row: row.clock,
    "tolerance": lambda row: np.inf if row.method == "exact" else row.tolerance,
    "records": lambda row: row.records,
    "flow": lambda row: row.problem,
    "family": lambda row: row.problem.split(" at ")[0].split(", condition")[0],
}


def markdown(found: Sequence[Row], random: Sequence[Row]) -> str:
    """The page: found, runs of the flows with given starts; random, of flows drawn."""
    flows = f"{DRAWN[0]} with closed forms, {DRAWN[1]} nets in 30 digits"
    lines = [
        "# Are errors within their bars?", "",
        "Flows with known answers, solved by every method in every clock in which the answer is known:",
        "closed forms (`benchmarks/closed_forms.py`, in ball arithmetic) and small nets without one, by Taylor",
        "series (`benchmarks/digits.py`). Every weight, the loss and, where the clock does not say it, log t, at",
        "every record after the first, is one number. *Within*: the error is not above the bar; *unknown*: NaN.",
        "Where high orders meet near records both solves err by rounding alone, and bars are what rounding may do:",
        "their excess is not a fault of a method but of float64.",
        "`python -m benchmarks --part coverage --docs docs/benchmarks` writes this page.", "",
        f"## Flows drawn ({flows}): {len(random)} runs", "",
        "Starts, data, targets and sizes are drawn from a seed: generic ones, exactly symmetric ones (balanced layers,",
        "units that are all alike, an orbit into a saddle) and starts as near as 1e-10 to a saddle; then tolerance,",
        "spacing of records and clock.", "", *_tables(random, "flow"),
        f"## Twelve flows with given starts: {len(found)} runs", "",
        "A sample of flows, methods, clocks, tolerances and spacings; `--budget full` runs them all (a night).",
        "", *_tables(found, "family"),
    ]  # fmt: skip
    return "\n".join(lines)


def _tables(found: Sequence[Row], without: str) -> Iterator[str]:
    for name, key in BY.items():
        if name == without:
            continue
        yield "| " + " | ".join((name, *HEAD[1:])) + " |"
        yield "|---" * len(HEAD) + "|"
        for value, *rest in summary(found, key):
            said = "none" if value == np.inf else f"{value:.0e}" if isinstance(value, float) else value
            yield "| " + " | ".join(map(str, (said, *rest))) + " |"
        yield ""
