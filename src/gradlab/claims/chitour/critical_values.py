"""chitour.critical-values: the critical values of F = ‖Y − WX‖² are sums, not half sums, of squares of
singular values.

Settings, before any run. H = 1, 2, 3; X = 1 with Y = (D_Y 0) and in random bases; for the corrected form also
general and deficient X, hidden widths below d_y, d_y > d_x, repeated singular values, and ½‖Y − WX‖². Critical
points of every subset by construction (trivial and random patterns of gradlab.analysis.landscape), and by
search: Levenberg–Marquardt on ∇F = 0 from Gaussian starts of three scales, which knows nothing of subsets. F
and ∇F at all of them by automatic differentiation.

Tolerances. Values relative to a‖Y‖², a the factor of the loss. Found points have ‖∇F‖ at its rounding, hence values
to about 1e-12, their error bar. A missing factor ½ moves the largest critical value, ‖Y‖², by ½ if ‖Y − YX⁺X‖ = 0.
1e-9 parts them by eight decades on one side and three on the other; subsets of at most three random singular
values lie about 1e-2 apart, so that a value in no list would not be near one by chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.landscape import Landscape, critical_to_rounding, critical_values, of_problem, search
from gradlab.claims import deep_linear
from gradlab.claims.chitour import _critical as critical
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

TOLERANCE = 1e-9
#: Singular values whose subsets are listed: 2^10 critical values, each constructed.
MOST = 10

CLAIM = Claim(
    id="chitour.critical-values",
    source="chitour",
    statement="If Y = (D_Y 0) has distinct singular values and X = 1, the critical values of F = ‖Y − "
    "W_{H+1}⋯W_1‖² are the half sums of squares of any subset of the singular values of Y.",
    formula=r"\mathrm{CrV}(F) = \left\{\tfrac12 \sum_{i \in S} \sigma_i^2 \;:\; S \subset \{1, \dots, d_y\}\right\}",
    passage="Proposition (Landscape of Deep Linear Networks), i); F is defined on the slide “On LINEAR Deep "
    "Nonlinear Neural Networks”",
    hypotheses=(
        "X = 1, Y = (D_Y 0) with distinct singular values",
        "min(d_i) = d_y",
        "F = ‖Y − WX‖², as printed",
    ),
    convention="F as printed, without ½.",
)
CORRECTED = Claim(
    id="chitour.critical-values-corrected",
    source="chitour",
    statement="For any X and Y, the critical values of a‖Y − W_{H+1}⋯W_1 X‖² are a(‖Y − YX⁺X‖² + Σ_{i∈S} σ_i²), "
    "σ_i the non-zero singular values of YX⁺X and S any subset whose complement is no larger than the least width: "
    "sums for F = ‖Y − WX‖², half sums for ½F.",
    formula=r"\mathrm{CrV} = \left\{ a \left(\|Y - YX^{+}X\|^2 + \sum_{i \in S} \sigma_i(YX^{+}X)^2\right) \;:\; "
    r"|S^{\mathrm c}| \le \min_j d_j \right\}",
    passage="docs/notes/chitour.critical-values.md; the passage as in chitour.critical-values",
    hypotheses=("linear layers without bias, square loss, no decay",),
    convention="a = 1 for F as printed, ½ with the half in front.",
    corrects="chitour.critical-values",
)

_EXACT = "rounding and the search leave 1e-12, a factor ½ moves values by 1e-1 and more; see the module's docstring"
MEASURES = (
    critical.LANDSCAPE,
    Measure(
        "factor",
        "a, the factor of ‖Y − WX‖²",
        "==",
        1e-12,
        "the printed F has 1",
        target=1.0,
        role="hypothesis",
    ),
    Measure(
        "reduced",
        "‖XXᵀ − 1‖ (only the bases of the inputs differ from X = 1)",
        "<=",
        1e-10,
        "X is the identity or a rotation, to rounding",
        role="hypothesis",
    ),
    critical.FULL_RANK,
    critical.WIDE,
    critical.DISTINCT,
    Measure(
        "half_listed",
        "distance of a critical value from the nearest half sum of squares, over a‖Y‖²; the worst",
        "<=",
        TOLERANCE,
        _EXACT,
    ),
    Measure(
        "half_attained",
        "distance of a half sum from the nearest critical value that was constructed or found; the worst",
        "<=",
        TOLERANCE,
        _EXACT,
    ),
)
CORRECTED_MEASURES = (
    critical.LANDSCAPE,
    Measure(
        "listed",
        "distance of a critical value from the nearest a(‖Y − YX⁺X‖² + Σσ²), over a‖Y‖²; the worst",
        "<=",
        TOLERANCE,
        _EXACT,
    ),
    Measure(
        "attained",
        "distance of a listed value from the nearest critical value constructed or found; the worst",
        "<=",
        TOLERANCE,
        _EXACT,
    ),
    Measure(
        "half",
        "control: distance of half the largest listed value from it, where a = 1 (nothing is asked otherwise)",
        ">=",
        0.1,
        "½ of what the largest value, ‖Y‖², is in this unit",
    ),
)


def _nearest(values: np.ndarray, listed: np.ndarray) -> np.ndarray:
    """For each value the number of the nearest listed one."""
    return np.argmin(np.abs(values[:, None] - listed[None, :]), axis=1)


def _distances(values: np.ndarray, errors: np.ndarray, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number, error) of the worst value from the list, and of the worst listed one from the values."""
    apart = np.abs(values - listed[_nearest(values, listed)])
    worst = int(np.argmax(apart))
    which = _nearest(listed, values)
    missed = np.abs(listed - values[which])
    missing = int(np.argmax(missed))
    return np.array([apart[worst], errors[worst]]), np.array([missed[missing], errors[which[missing]]])


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Critical values at constructed points and at those recorded that are critical, against both lists."""
    landscape = of_problem(problem)
    if landscape is None or len(landscape.singular_values) > MOST or not len(landscape.singular_values):
        return deep_linear.nothing((*MEASURES, *CORRECTED_MEASURES)).assign(linear=0.0)
    rng = np.random.default_rng(0)
    given = np.atleast_2d(deep_linear.points(trajectory))
    vectors = np.concatenate([critical.constructed(landscape, rng), given])
    _, values, errors = critical_to_rounding(landscape, problem, vectors)
    unit = landscape.factor * float(np.sum(landscape.targets**2))
    listed = critical_values(landscape) / unit
    printed = np.sort(_half_sums(landscape)) / unit
    values, errors = values / unit, errors / unit
    near, attained = _distances(values, errors, listed)
    half_near, half_attained = _distances(values, errors, printed)
    numbers = {
        "linear": 1.0,
        "factor": landscape.factor,
        "reduced": float(np.linalg.norm(landscape.inputs @ landscape.inputs.T - np.eye(landscape.widths[0]))),
        **critical.assumed(landscape),
        "half": 0.5 * float(values.max()) if landscape.factor == 1.0 else 0.0,
        "half_tolerance": 0.1 if landscape.factor == 1.0 else -1.0,
    }
    pairs = {"listed": near, "attained": attained, "half_listed": half_near, "half_attained": half_attained}
    for name, (number, error) in pairs.items():
        numbers |= {name: float(number), f"{name}_error": float(error)}
    shown = {
        "value": ("point", values),
        "near": ("point", listed[_nearest(values, listed)]),
        "near_half": ("point", printed[_nearest(values, printed)]),
    }
    return xr.Dataset({name: np.float64(number) for name, number in numbers.items()} | shown)


def _half_sums(landscape: Landscape) -> np.ndarray:
    """½ Σ_{i∈S} σ_i² for all subsets."""
    sums = np.zeros(1)
    for value in landscape.singular_values:
        sums = np.concatenate([sums, sums + 0.5 * value**2])
    return sums


def _problems(rng: np.random.Generator) -> Iterator[tuple[str, Problem]]:
    for widths in ((3, 3, 3), (4, 3, 2), (4, 3, 4, 3), (3, 3, 3, 2), (4, 3, 3, 3, 2)):
        for turned in (False, False, True, True):
            yield "rotated" if turned else "(D_Y 0)", critical.reduced(rng, widths, turned)
    yield "½F", critical.reduced(rng, (4, 3, 2), True, half=True)
    yield "narrow hidden layer", critical.reduced(rng, (4, 2, 3), True)
    yield "d_y > d_x", critical.reduced(rng, (2, 4, 3), True)
    yield "repeated singular values", critical.reduced(rng, (4, 3, 4, 3), True, np.array([2.0, 1.0, 1.0]))
    for kind, count in (("random", 9), ("deficient", 6)):
        x = deep_linear.inputs(rng, count, 4, kind)
        y = rng.standard_normal((count, 2))
        yield f"X {kind}", Problem(Dense.deep_linear((4, 3, 2)), Square(), Data(x, y))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Problems with what the search finds from 6 random starts each (24 in the full budget)."""
    rng = deep_linear.generator(key)
    starts, rounds = (6, 1) if budget == "quick" else (24, 3)
    for number in range(rounds):
        for index, (name, problem) in enumerate(_problems(rng)):
            landscape = of_problem(problem)
            assert landscape is not None
            found = [landscape.flat(one.layers) for one in search(landscape, rng, starts)]
            vectors = np.stack([*found, np.zeros(landscape.size)])
            label = (
                f"H = {landscape.depth - 1}, {landscape.widths}, {name}, {len(found)} of {starts} searches"
            )
            yield Case(f"{label}, {number}.{index}", problem, critical.dataset(vectors))


def draw(dataset: xr.Dataset) -> Any:
    """Critical values against the nearest half sum, and against the nearest sum."""
    figure, (left, right) = figures.panels(2, height=3.3)
    values = dataset["value"].values
    first = dataset["factor"].values == 1.0
    groups = {r"$\|Y-WX\|^2$": first, r"$\frac{1}{2}\|Y-WX\|^2$": ~first}
    for axes, name, title in (
        (left, "near_half", "half sums of squares"),
        (right, "near", "sums of squares, times a"),
    ):
        figures.scatter(
            {label: dataset[name].values[which].ravel() for label, which in groups.items() if which.any()},
            {label: values[which].ravel() for label, which in groups.items() if which.any()},
            r"nearest listed value, over $a\|Y\|^2$",
            r"critical value, over $a\|Y\|^2$",
            title=title,
            diagonal=True,
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "Critical values, constructed and found by search, against the nearest value of the printed list "
        "(left) and of the corrected one (right); the grey line is equality. With ½ in front of the loss both "
        "lists are one.",
    )


_SETTINGS = (
    "H = 1, 2, 3, widths 2 to 4; X = 1, Y = (D_Y 0) and rotated; every subset by construction, and 6 searches "
    "for ∇F = 0 a problem; corrected also for general X, narrow layers, d_y > d_x, repeated singular values, ½F"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
