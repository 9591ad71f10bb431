"""Counter-data made from the measures of a study alone: a judge must tell it apart with nothing run.

The unit of a measure is its |tolerance|, or 1 where that is zero. ``good`` lies half a unit inside the
tolerance (on the target for ``==``), ``missing`` lies a number of units beyond it, and ``straddling`` lies
on it with an error bar of half a unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import xarray as xr

from gradlab.claims.claim import Claim, Measure, Study, judge

CASES = 20

Number = tuple[float, float]


def unit(measure: Measure) -> float:
    """What a miss is counted in."""
    return abs(measure.tolerance) if measure.tolerance != 0.0 else 1.0


def good(measure: Measure) -> Number:
    """A number well inside the tolerance, whose error bar is inside as well."""
    if measure.relation == "==":
        return measure.target, measure.tolerance / 10
    inwards = -0.5 if measure.relation == "<=" else 0.5
    return measure.tolerance + inwards * unit(measure), unit(measure) / 10


def missing(measure: Measure, units: float = 2.0) -> Number:
    """A number that misses the tolerance by so many units, with a bar of a tenth of one."""
    if measure.relation == "==":
        return measure.target + measure.tolerance + units * unit(measure), unit(measure) / 10
    outwards = units if measure.relation == "<=" else -units
    return measure.tolerance + outwards * unit(measure), unit(measure) / 10


def halved(measure: Measure) -> Number:
    """Twice what ``<=`` or ``==`` allow, half of what ``>=`` asks: one unit off, half a unit for ``>=``."""
    return missing(measure, 0.5 if measure.relation == ">=" else 1.0)


def straddling(measure: Measure) -> Number:
    """A number on the tolerance, with a bar on either side."""
    at = measure.target + measure.tolerance if measure.relation == "==" else measure.tolerance
    return at, unit(measure) / 2


def dataset(
    measures: Sequence[Measure], changed: Mapping[str, Mapping[int, Number]] | None = None
) -> xr.Dataset:
    """Twenty good cases, but for the numbers given as ``{measure id: {case: (number, error)}}``."""
    changed = changed or {}
    variables = {}
    for measure in measures:
        pairs = [changed.get(measure.id, {}).get(i, good(measure)) for i in range(CASES)]
        numbers, errors = np.asarray(pairs, dtype=np.float64).T
        variables[measure.id] = ("case", numbers)
        variables[f"{measure.id}_error"] = ("case", errors)
    labels = np.asarray([f"case {i}" for i in range(CASES)])
    return xr.Dataset(variables).assign_coords(case=("case", labels))


def parts(study: Study) -> list[Measure]:
    """The measures that decide."""
    return [measure for measure in study.measures if measure.role == "part"]


def hypotheses(study: Study) -> list[Measure]:
    """The measures that say whether a case counts."""
    return [measure for measure in study.measures if measure.role == "hypothesis"]


def own_judge(study: Study) -> str:
    """Why the study is not judged by its measures alone; empty where it is."""
    if type(study) is not Study:
        return f"it is a {type(study).__name__}"
    if "judge" in vars(study) or "measure" in vars(study) or "observed" in vars(study):
        return "it replaces a method"
    numbers = dataset(study.measures)
    for changed in (numbers, dataset(study.measures, {parts(study)[0].id: {0: missing(parts(study)[0])}})):
        if study.judge(changed) != judge(study.measures, changed):
            return "its judge says something else than its measures"
    return ""


def unexplained(study: Study) -> list[str]:
    """The measures without a statement or a reason for their tolerance."""
    return [m.id for m in study.measures if not (m.statement.strip() and m.why.strip())]


def study(measures: Iterable[Measure], claim_id: str = "mine.example") -> Study:
    """A study that has measures and runs nothing."""

    def nothing(*_: object) -> xr.Dataset:
        raise AssertionError("a judge runs nothing")

    return Study(Claim(claim_id, "mine", "An example.", "x", "none"), tuple(measures), nothing, nothing)


#: A file of claims without dynamics: two share their cases, one has its own, and three fail.
FILE = """
import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab.claims.claim import Case, Claim, Measure, Study
from gradlab.laboratory import report_progress

CALLS = Path(__file__).with_suffix(".calls")


def cases(budget, key):
    with CALLS.open("a") as file:
        file.write("x")
    report_progress("drawing", 1.0, 2.0)
    for i in range(3 if budget == "quick" else 6):
        draws = jax.random.uniform(jax.random.fold_in(key, i), (4,))
        assert draws.dtype == jnp.float64
        yield Case(f"case {i}", None, xr.Dataset({"draws": ("record", np.asarray(draws))}))


def largest(problem, trajectory):
    worst = trajectory["draws"].max()
    return xr.Dataset({"worst": worst, "met": 1.0, "draws": trajectory["draws"]})


def raises(problem, trajectory):
    raise ArithmeticError("no such number")


def failing(budget, key):
    yield from cases(budget, key)
    raise OSError("the data are gone")


def leaving(budget, key):
    raise SystemExit(3)
    yield


def dying(budget, key):
    os._exit(7)
    yield


def interrupted(budget, key):
    raise KeyboardInterrupt
    yield


def slow(budget, key):
    time.sleep(0.2)
    yield from cases(budget, key)


def sleeping(budget, key):
    Path(__file__).with_suffix(".pid").write_text(str(os.getpid()))
    time.sleep(600)
    yield


def make(name, cases=cases, observe=largest, tolerance=2.0):
    claim = Claim(f"mine.{name}", "mine", f"{name} is true", "x", "none", ("x is real",))
    measures = (
        Measure("worst", "the largest draw", "<=", tolerance, "draws lie in [0, 1)"),
        Measure("met", "it counts", ">=", 0.5, "always", role="hypothesis"),
    )
    return Study(claim, measures, cases, observe, settings="three draws")


STUDIES = [make("a"), make("a-corrected", tolerance=-1.0), make("b")]
FAILING = [make("raises", observe=raises), make("fails", cases=failing), make("leaves", cases=leaving)]
"""
