"""chitour.landscape: rank-d_y critical points are minima, the others saddles; their dimension and Hessians.

Settings, before any run. H = 1, 2, 3, X = 1, Y = (D_Y 0) and rotated, d_x = d_y and d_x > d_y. In every
stratum (subset of singular values learnt) a balanced point and random points with r_Z = r and r_Z > r, where
the widths allow them. The Hessian is the exact block formula of gradlab.analysis.landscape, tested against
automatic differentiation; that the points are critical is seen by automatic differentiation.

What is measured. r and r_Z are numerical ranks. Minima: F and M at points of rank d_y; F ≥ 0 makes them
global. Saddles: F takes lower and higher values within 0.1 of the point (seen values: eigenvectors, then
saddle-free Newton steps among directions that leave alone what is learnt), both beyond a thousand times the
rounding of F: at the origin with H = 3, the flattest point, F falls like σ(0.1/2)⁴ ≈ 1e-5 against 1e-14. Where
neither is seen the number is unknown, unless the Hessian is definite across a manifold of critical points:
then there is none. Dimension: that of the largest family of critical points through the point, in closed form;
checked against the rank of the group action that moves the point (never larger) and the nullity of the Hessian
(never smaller), and no number if it fails either. Negative eigenvalues: against the bound of their rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria.inertia import Inertia, inertia
from gradlab.analysis.landscape import (
    Landscape,
    critical_to_rounding,
    extremes,
    hessian_values,
    is_strict,
    local_dimension,
    of_problem,
    orbit_dimension,
    pattern_of,
    ranks,
)
from gradlab.analysis.landscape.potential import Layers
from gradlab.claims import deep_linear
from gradlab.claims.chitour import _critical as critical
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.problem.problem import Problem

#: Radius of the ball in which lower and higher values are sought, and how far beyond rounding they must be.
RADIUS, MARGIN = 0.1, 1e3

CLAIM = Claim(
    id="chitour.landscape",
    source="chitour",
    statement="If Y = (D_Y 0) has distinct singular values: critical points with r = rank (ΠW)_2^{H+1} = d_y "
    "are the local minima, global ones, with M = 0 and F = 0. For r < d_y they form a variety Crit_r of "
    "dimension > 0 made of saddle points, and if r_Z = rank (ΠW)_2^H > r the Hessian has a negative eigenvalue.",
    formula=r"r = d_y \Leftrightarrow \text{local minimum} \Leftrightarrow F = 0;\quad r < d_y:\ \dim "
    r"\mathrm{Crit}_r > 0,\ \text{saddles};\quad r_Z > r \ge 0 \Rightarrow \lambda_{\min}(\nabla^2 F) < 0",
    passage="Proposition (Landscape of Deep Linear Networks), ii) and iii)",
    hypotheses=("X = 1, Y = (D_Y 0) with distinct singular values", "min(d_i) = d_y", "X, Y of full rank"),
    convention="signs, ranks and dimensions: any factor of the loss.",
)
CORRECTED = Claim(
    id="chitour.landscape-corrected",
    source="chitour",
    statement="As printed, but dim Crit_r > 0 for r < d_y except for H = 1, r = 0, d_x = d_y, where Crit_0 = "
    "{0} is one non-degenerate saddle. The Hessian has a negative eigenvalue if and only if a singular value "
    "that is not learnt exceeds one that is, or B_j Mᵀ A_i ≠ 0 and rank W_{i−1}⋯W_{j+1} > r for some i > j "
    "(A_i = W_{H+1}⋯W_{i+1}, B_j = W_{j−1}⋯W_1): always for H = 1, not at all saddles for H ≥ 2.",
    formula=r"\lambda_{\min} < 0 \iff \max_{i \notin S} \sigma_i > \min_{s \in S} \sigma_s \ \text{ or }\ "
    r"\exists\, i > j:\ B_j M^\top A_i \ne 0,\ \operatorname{rank} W_{i-1} \cdots W_{j+1} > r",
    passage="docs/notes/chitour.landscape.md; the passage as in chitour.landscape",
    hypotheses=("as in chitour.landscape",),
    convention="signs, ranks and dimensions: any factor of the loss.",
    corrects="chitour.landscape",
)

_COUNT = "a count"
_SHARED = (
    critical.LANDSCAPE,
    critical.FULL_RANK,
    critical.WIDE,
    critical.DISTINCT,
    Measure("points", "how many points given are critical to rounding", ">=", 0.5, _COUNT, role="hypothesis"),
    Measure(
        "minimum",
        "F/‖Y‖² and ‖M‖/‖YXᵀ‖ at points of rank d_y; the larger, at the worst (0 if there are none)",
        "<=",
        1e-10,
        "0 in exact arithmetic; points are exact to 1e-13",
    ),
    Measure(
        "lower",
        "how far F falls within 0.1 of a point of rank < d_y, in roundings of F; the least",
        ">=",
        MARGIN,
        "a saddle's F falls by 1e-5 or more, 1e8 roundings; a minimum's by none",
    ),
    Measure("higher", "the same for how far it rises", ">=", MARGIN, "as for lower, with a maximum"),
    Measure(
        "negative",
        "λ_min/max|λ| of the Hessian where r_Z > r; the largest (−1 if there are no such points)",
        "<=",
        0.0,
        "the sign is what is claimed; the error is the bound of rounding",
    ),
)
MEASURES = (
    *_SHARED,
    Measure(
        "dimension",
        "dimension of the critical set at points of rank < d_y; the least",
        ">=",
        1.0,
        "a whole number, from ranks with gaps",
    ),
)
CORRECTED_MEASURES = (
    *_SHARED,
    Measure(
        "exceptions",
        "points of rank < d_y where dimension > 0 fails, or holds against the exception",
        "<=",
        0.0,
        _COUNT,
    ),
    Measure(
        "criterion",
        "points where the Hessian has a negative eigenvalue and the criterion says none, or the other way",
        "<=",
        0.0,
        _COUNT,
    ),
    Measure(
        "nonstrict",
        "saddles without negative eigenvalue (asked for H ≥ 2; for H = 1 the criterion excludes them)",
        ">=",
        1.0,
        _COUNT,
    ),
)


class _Seen(NamedTuple):
    rank: int
    rank_z: int
    level: float
    lower: float
    higher: float
    least: float
    least_error: float
    signs: Inertia
    dimension: float
    strict: bool


def _dimension(landscape: Landscape, layers: Layers, signs: Inertia) -> float:
    """The dimension of the critical set at the point, NaN where its bounds do not agree with it."""
    orbit = orbit_dimension(landscape, layers)
    try:
        found = local_dimension(landscape, *pattern_of(landscape, layers))
    except ValueError:
        return np.nan
    sound = orbit.decided and signs.decided and orbit.value <= found <= signs.zero
    return float(found) if sound else np.nan


def _sides(lower: float, higher: float, signs: Inertia, dimension: float) -> tuple[float, float]:
    """What was seen on either side; what was not seen is none only where the Hessian across a manifold of critical
    points is definite, and unknown (NaN) otherwise.
    """
    definite = signs.decided and signs.zero == dimension
    if not lower >= MARGIN:
        lower = 0.0 if definite and not signs.negative else np.nan
    if not higher >= MARGIN:
        higher = 0.0 if definite and not signs.positive else np.nan
    return lower, higher


def _least(numbers: Sequence[float]) -> float:
    """The least number; NaN among them decides only if no other is below the margin."""
    known = [number for number in numbers if not np.isnan(number)]
    if len(known) == len(numbers) or any(number < MARGIN for number in known):
        return min(known, default=2.0 * MARGIN)
    return float(np.nan)


def _look(landscape: Landscape, layers: Layers, rng: np.random.Generator) -> _Seen:
    depth, value = landscape.depth, landscape.value(layers)
    values, bound = hessian_values(landscape, layers)
    signs = inertia(values, bound)
    size = float(np.abs(values).max(initial=0.0)) or 1.0
    cross = float(np.linalg.norm(landscape.targets @ landscape.inputs.T))
    rest = float(np.linalg.norm(landscape.residual(layers))) / cross
    rank = ranks(landscape, layers, 1, depth)
    lower = higher = dimension = np.nan
    if rank < landscape.widths[-1]:
        # the far values are rounded like values of weights that are longer by the radius
        far = [layer + RADIUS * np.eye(*layer.shape) for layer in layers]
        unit = landscape.value_rounding(layers) + landscape.value_rounding(far)
        low, high = extremes(landscape, layers, RADIUS, rng, 2.0 * MARGIN * unit)
        dimension = _dimension(landscape, layers, signs)
        lower, higher = _sides((value - low) / unit, (high - value) / unit, signs, dimension)
    return _Seen(
        rank,
        ranks(landscape, layers, 1, depth - 1),
        max(value / (landscape.factor * float(np.sum(landscape.targets**2))), rest),
        lower,
        higher,
        values[0] / size,
        bound / size,
        signs,
        dimension,
        is_strict(landscape, layers),
    )


def _summed(landscape: Landscape, seen: Sequence[_Seen]) -> dict[str, float]:
    """Every number of a problem from its points."""
    rank = landscape.widths[-1]
    saddles = [one for one in seen if one.rank < rank]
    odd = landscape.depth == 2 and landscape.widths[0] == rank
    steep = max((one for one in saddles if one.rank_z > one.rank), key=lambda one: one.least, default=None)
    known = all(one.signs.decided for one in seen)
    wrong = sum((one.dimension > 0) == (odd and one.rank == 0) for one in saddles)
    shallow = landscape.depth == 2
    return {
        "minimum": max((one.level for one in seen if one.rank == rank), default=0.0),
        "lower": _least([one.lower for one in saddles]),
        "higher": _least([one.higher for one in saddles]),
        "negative": steep.least if steep else -1.0,
        "negative_error": steep.least_error if steep else 0.0,
        "dimension": float(np.min([one.dimension for one in saddles])) if saddles else 1.0,
        "exceptions": np.nan if np.isnan([one.dimension for one in saddles]).any() else float(wrong),
        "criterion": float(sum((one.signs.negative > 0) != one.strict for one in seen)) if known else np.nan,
        "nonstrict": float(sum(one.signs.negative == 0 for one in saddles)) if known else np.nan,
        "nonstrict_tolerance": -1.0 if shallow or not saddles else 1.0,
    }


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Ranks, values, inertia and dimension at all recorded points that are critical to rounding."""
    landscape = of_problem(problem)
    if landscape is None or not len(landscape.singular_values):
        return deep_linear.nothing((*MEASURES, *CORRECTED_MEASURES)).assign(linear=0.0)
    vectors, _, _ = critical_to_rounding(landscape, problem, np.atleast_2d(deep_linear.points(trajectory)))
    assumed = {"linear": 1.0, "points": float(len(vectors)), **critical.assumed(landscape)}
    if not len(vectors):
        unknown = deep_linear.nothing((*MEASURES, *CORRECTED_MEASURES))
        return unknown.assign({name: np.float64(number) for name, number in assumed.items()})
    rng = np.random.default_rng(0)
    seen = [_look(landscape, landscape.layers(vector), rng) for vector in vectors]
    numbers = {**assumed, **_summed(landscape, seen)}
    shown = {
        "least": ("point", np.array([one.least for one in seen])),
        "rank": ("point", np.array([one.rank for one in seen], dtype=float)),
        "more": ("point", np.array([one.rank_z > one.rank for one in seen], dtype=float)),
        "saddle": ("point", np.array([one.rank < landscape.widths[-1] for one in seen], dtype=float)),
        "depth": np.float64(landscape.depth),
        "nullity": ("point", np.array([one.signs.zero for one in seen], dtype=float)),
        "local": ("point", np.array([one.dimension for one in seen])),
    }
    return xr.Dataset({name: np.float64(number) for name, number in numbers.items()} | shown)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Points of every stratum of random problems."""
    rng = deep_linear.generator(key)
    rounds = 1 if budget == "quick" else 8
    shapes = ((3, 3, 3), (4, 3, 2), (3, 3, 3, 3), (4, 3, 4, 2), (3, 3, 3, 3, 2))
    for number in range(rounds):
        for index, widths in enumerate(shapes):
            for turned in (False, False, True, True):
                problem = critical.reduced(rng, widths, turned)
                landscape = of_problem(problem)
                assert landscape is not None
                vectors = critical.constructed(landscape, rng)
                name = f"H = {len(widths) - 2}, {widths}, {'rotated' if turned else '(D_Y 0)'}"
                yield Case(
                    f"{name}, {len(vectors)} points, {number}.{index}", problem, critical.dataset(vectors)
                )


def draw(dataset: xr.Dataset) -> Any:
    """The least eigenvalue at every saddle by depth, and the dimension against the nullity."""
    figure, (left, right) = figures.panels(2, height=3.3)
    saddle = dataset["saddle"].values == 1.0
    depth = np.broadcast_to(dataset["depth"].values[:, None], saddle.shape) - 1.0
    least, more = dataset["least"].values, dataset["more"].values == 1.0
    jitter = 0.12 * np.sin(37.0 * np.arange(saddle.shape[1]))
    groups = {r"$r_Z > r$": saddle & more, r"$r_Z = r$": saddle & ~more}
    figures.scatter(
        {name: (depth + jitter)[which] for name, which in groups.items() if which.any()},
        {name: least[which] for name, which in groups.items() if which.any()},
        "hidden layers H",
        r"$\lambda_{\min}/\max|\lambda|$ at saddles",
        axes=left,
    )
    shown = {f"H = {int(h)}": saddle & (depth == h) for h in np.unique(depth)}
    figures.scatter(
        {name: dataset["nullity"].values[which] for name, which in shown.items()},
        {name: dataset["local"].values[which] for name, which in shown.items()},
        "nullity of the Hessian",
        "dimension of the critical set",
        diagonal=True,
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: the least eigenvalue of the Hessian at saddles; where r_Z > r it is negative, where r_Z = r it "
        "may be zero from H = 2 on. Right: the dimension of the critical set and the nullity, equal where the "
        "critical set is a manifold with the kernel as tangent space (the line); zero at the origin for H = 1 "
        "and d_x = d_y.",
    )


_SETTINGS = (
    "H = 1, 2, 3, widths 2 to 4, d_x = d_y and d_x > d_y, X = 1, Y = (D_Y 0) and rotated; balanced and random "
    "critical points of every stratum, with r_Z = r and r_Z > r"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
