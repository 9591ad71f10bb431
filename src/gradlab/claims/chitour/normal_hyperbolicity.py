"""chitour.normal-hyperbolicity: for H = 1 the critical points are manifolds whose tangent is the kernel of the
Hessian.

The passage names normal hyperbolicity (Fenichel) as what its proof for H = 1 relies on. For a gradient flow it
means, at an equilibrium: the equilibria near it form a manifold, and the Hessian is non-degenerate across it,
i.e. the nullity is the dimension of the manifold.

Settings, before any run. H = 1, X = 1 and general of full row rank, Y with distinct singular values, d_x = d_y and
d_x > d_y, hidden widths from d_y − 1 to d_y + 2; in every stratum the trivial pattern and random points.
Controls, where the statement is not made and must fail at some point: H = 2 (at saddles without negative
eigenvalue) and H = 1 with singular Y (where the manifolds cross).

What is measured. Nullity: eigenvalues of the exact Hessian within the bound of their rounding, the next a
thousand times that. Dimension, twice: the closed form 2 r d_1 − r² + (d_1 − r)(d_x − d_y); and, without
theory, the number of directions in which polished random neighbours at relative distance 1e-5 lie: singular
values of their displacements are of order 1 along the manifold and 1e-5 across it, cut at 3e-3. Both are whole
numbers with a gap, and no number without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria.inertia import inertia
from gradlab.analysis.landscape import (
    Landscape,
    critical_to_rounding,
    hessian_values,
    local_dimension,
    of_problem,
    pattern_of,
    seen_dimension,
    shallow_dimension,
)
from gradlab.analysis.landscape.potential import Layers
from gradlab.claims import deep_linear
from gradlab.claims.chitour import _critical as critical
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="chitour.normal-hyperbolicity",
    source="chitour",
    statement="For H = 1 the critical set of F is normally hyperbolic: near every critical point it is a "
    "manifold, of the dimension of the kernel of the Hessian, so that all eigenvalues across it are non-zero.",
    formula=r"H = 1:\qquad \dim \ker \nabla^2 F(\mathbf W) = \dim_{\mathbf W} \mathrm{Crit}(F) = "
    r"2 r d_1 - r^2 + (d_1 - r)(d_x - d_y)",
    passage="“Reformulation of Conjecture (OP)”: “Argument relies on concept of Normal Hyperbolicity (due to "
    "Fenichel 1972)”",
    hypotheses=("H = 1", "X and Y of full rank, distinct singular values, d_y ≤ d_x"),
    convention="the passage names the concept and gives no formula; the closed dimension is derived in "
    "docs/notes/chitour.landscape.md. Fenichel's theorem is about compact manifolds: these are not, and across "
    "them the least |λ| tends to 0 where one layer tends to 0 and the other to infinity, which conserved "
    "quantities forbid on an orbit.",
)

_WHOLE = "a whole number, from ranks with gaps"
MEASURES = (
    critical.LANDSCAPE,
    Measure(
        "setting",
        "one for H = 1, X and YX⁺X of full rank, d_y ≤ d_x, or for a case marked as a control",
        ">=",
        0.5,
        "seen in the problem",
        role="hypothesis",
    ),
    critical.DISTINCT,
    Measure(
        "points", "how many points given are critical to rounding", ">=", 0.5, "a count", role="hypothesis"
    ),
    Measure("nullity", "|nullity − closed dimension|, the largest over points", "<=", 0.0, _WHOLE),
    Measure(
        "seen",
        "|nullity − directions in which polished neighbours lie| at every other point, the largest",
        "<=",
        0.0,
        _WHOLE,
    ),
    Measure(
        "control",
        "nullity less dimension of the critical set, the largest over points, for H = 2 or singular Y (nothing "
        "is asked otherwise)",
        ">=",
        1.0,
        _WHOLE,
    ),
)


def _nullity(landscape: Landscape, layers: Layers) -> float:
    values, bound = hessian_values(landscape, layers)
    signs = inertia(values, bound)
    return float(signs.zero) if signs.decided else np.nan


def _shallow(
    landscape: Landscape, layers: Layers, rng: np.random.Generator | None
) -> tuple[float, float, float]:
    """Nullity, closed and seen dimension (the nullity again without rng); NaN for what has no gap."""
    nullity = _nullity(landscape, layers)
    try:
        closed = float(shallow_dimension(landscape, pattern_of(landscape, layers)[0]))
    except ValueError:
        closed = np.nan
    if rng is None:
        return nullity, closed, nullity
    seen = seen_dimension(landscape, layers, rng)
    return nullity, closed, float(seen.value) if seen.decided else np.nan


def _deep(landscape: Landscape, layers: Layers) -> tuple[float, float, float]:
    """Nullity and the exact dimension of the critical set."""
    return (
        _nullity(landscape, layers),
        float(local_dimension(landscape, *pattern_of(landscape, layers))),
        np.nan,
    )


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Nullity and dimensions at all recorded points that are critical to rounding."""
    landscape = of_problem(problem)
    if landscape is None or not len(landscape.singular_values):
        return deep_linear.nothing(MEASURES).assign(linear=0.0)
    assumed = critical.assumed(landscape)
    regular = landscape.depth == 2 and assumed["full_rank"] > 0.0
    control = "control" in trajectory
    vectors, _, _ = critical_to_rounding(landscape, problem, np.atleast_2d(deep_linear.points(trajectory)))
    numbers = {
        "linear": 1.0,
        "setting": float(regular or control),
        "distinct": assumed["distinct"],
        "points": float(len(vectors)),
    }
    if not len(vectors) or not (regular or control):
        return deep_linear.nothing(MEASURES).assign({k: np.float64(v) for k, v in numbers.items()})
    rng = np.random.default_rng(0)
    every = [landscape.layers(vector) for vector in vectors]
    found = np.array(
        [
            _deep(landscape, layers) if control else _shallow(landscape, layers, None if i % 2 else rng)
            for i, layers in enumerate(every)
        ]
    )
    nullity, closed, seen = found.T
    numbers |= {
        "nullity": 0.0 if control else float(np.max(np.abs(nullity - closed))),
        "seen": 0.0 if control else float(np.max(np.abs(nullity - seen))),
        "control": float(np.max(nullity - closed)),
        "control_tolerance": 1.0 if control else -1.0,
    }
    shown = {
        "null": ("point", nullity),
        "closed": ("point", closed),
        "is_control": np.float64(control),
        "depth": np.float64(landscape.depth),
    }
    return xr.Dataset({name: np.float64(number) for name, number in numbers.items()} | shown)


def _general(rng: np.random.Generator, widths: tuple[int, ...], count: int) -> Problem:
    """X and Y random; X has full row rank and Y full rank with probability one."""
    x = deep_linear.inputs(rng, count, widths[0])
    y = x @ deep_linear.rotation(rng, widths[0])[:, : widths[-1]] * critical.singular_values(rng, widths[-1])
    return Problem(Dense.deep_linear(widths), Square(), Data(x, y))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Points of every stratum: 14 problems with H = 1 and 6 controls; eight times that in the full budget."""
    rng = deep_linear.generator(key)
    for number in range(1 if budget == "quick" else 8):
        plans: list[tuple[str, Problem]] = []
        for widths in ((3, 3, 3), (4, 3, 2), (4, 2, 3), (3, 4, 2)):
            for turned in (False, True, True):
                name = "rotated" if turned else "(D_Y 0)"
                plans.append((name, critical.reduced(rng, widths, turned)))
        plans += [("X random", _general(rng, (4, 3, 2), 9)) for _ in range(2)]
        controls: list[tuple[str, Problem]] = [
            ("control H = 2", critical.reduced(rng, (4, 3, 4, 2), turned)) for turned in (False, True, True)
        ]
        controls += [
            (
                "control, Y singular",
                critical.reduced(rng, (3, 3, 3), turned, critical.singular_values(rng, 2)),
            )
            for turned in (False, True, True)
        ]
        for index, (name, problem) in enumerate([*plans, *controls]):
            landscape = of_problem(problem)
            assert landscape is not None
            vectors = critical.constructed(landscape, rng)
            mark = {"control": 1.0} if name.startswith("control") else {}
            label = f"{name}, {landscape.widths}, {len(vectors)} points, {number}.{index}"
            yield Case(label, problem, critical.dataset(vectors, **mark))


def drawing(dataset: xr.Dataset) -> Any:
    """Dimension against nullity, where the statement is made and where it is not."""
    figure, (left, right) = figures.panels(2, height=3.3)
    null, closed = dataset["null"].values, dataset["closed"].values
    control, depth = dataset["is_control"].values == 1.0, dataset["depth"].values
    figures.scatter(
        {"": null[~control].ravel()},
        {"": closed[~control].ravel()},
        "nullity of the Hessian",
        "dimension of the critical set",
        title="H = 1, full rank",
        diagonal=True,
        axes=left,
    )
    groups = {"H = 2": control & (depth == 3), "H = 1, Y singular": control & (depth == 2)}
    figures.scatter(
        {name: null[which].ravel() for name, which in groups.items() if which.any()},
        {name: closed[which].ravel() for name, which in groups.items() if which.any()},
        "nullity of the Hessian",
        "dimension of the critical set",
        title="controls",
        diagonal=True,
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Dimension of the critical set against the nullity of the Hessian at critical points of every stratum; "
        "on the line the critical set is normally hyperbolic. Right: not everywhere with two hidden layers, "
        "nor where Y is singular.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    drawing,
    settings="H = 1, widths 2 to 4, X = 1 and general, every stratum, balanced and random points; controls "
    "with H = 2 and with singular Y",
)
