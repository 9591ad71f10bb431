"""notes.min-norm: from W(0) ≈ 0 descent tends to the pseudoinverse solution; its printed form needs N ≥ d.

The passage prints "W = Y Xᵀ(X Xᵀ)⁻¹ = Y X⁺, which is the minimum norm solution", in the situation N < d that it
supposes. X Xᵀ is a d × d matrix of rank at most N: there the inverse does not exist. Where it does (the x_n span
Rᵈ), the least-squares solution is unique, "minimum norm" chooses nothing, and W(0) does not matter. The statement
of the limit is one thing, the printed formula another; docs/notes/notes.min-norm.md, and notes.min-norm-corrected.

Settings, before any run. Inputs have singular values in [1, 3] (√2 times that for repeated points), loss ½Σ, no
decay: at T = 40, or 500 steps of descent at η = 1/λ_max, e^{−λ_min T} < 1e-17. Starts are standard normal times a
scale of 0, 1e-6 … 10. A limit's error is the way that is left, from the gradient, and the difference against a ten
times coarser solve. dopri8 at 1e-10 a step leaves 1e-9 of ‖W‖, so 1e-8 is asked.

X Xᵀ counts as invertible if λ_min/λ_max ≥ 1e-12: rounding leaves eps max(N, d) ≈ 2e-15 of a singular one (its
error), the data have 1/9 or more of a regular one. The pseudoinverse cuts at the same place.

The distance of the ridge solution is at most λ/(λ + 2a s²)‖Y X⁺‖, s the least non-zero singular value: each component
is s/(s² + λ/2a) against 1/s. Every problem is run once more with a decay, 1e-2 … 1e-8, from W = 0 (500 steps): a ratio
above 1.001 would be another limit, or one slower than linear. Rounding is 1e-13 against 1e-9 at the smallest λ. A run
that comes without one has its ridge solutions computed by the formula that notes.ridge checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.one_layer import OneLayer, one_layer
from gradlab.claims import one_layer as one
from gradlab.claims.claim import Budget, Claim, Measure, Study
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

_HYPOTHESES = ("one layer, linear, square loss", "no weight decay", "W(0) ≈ 0")
_CONVENTION = "any: minimisers of a Σ‖W x_n − y_n‖² do not depend on a; λ is measured as λ/(2a)"

CLAIM = Claim(
    id="notes.min-norm",
    source="notes",
    statement="For the square loss and one-layer linear nets, descent from W(0) ≈ 0 converges to the limit λ → 0 of "
    "regularisation, the pseudoinverse solution W = YXᵀ(XXᵀ)⁻¹ = YX⁺ of minimum norm; the distance to it is the "
    "part of W(0) in the null space of the data.",
    formula=r"W(\infty) = Y X^{\top} (X X^{\top})^{-1} = Y X^{+} = "
    r"\lim_{\lambda \to 0} Y X^{\top} (X X^{\top} + \lambda I)^{-1}",
    passage="“Implicit regularization”",
    hypotheses=_HYPOTHESES,
    convention=_CONVENTION,
)
CORRECTED = Claim(
    id="notes.min-norm-corrected",
    source="notes",
    statement="For the square loss and one-layer linear nets, flow and descent from any W(0) converge to "
    "YX⁺ + W(0)(I − XX⁺), hence for W(0) → 0 to YX⁺ = YXᵀ(XXᵀ)⁺, the least-squares solution of minimum norm and the "
    "limit λ → 0 of regularisation. YX⁺ = YXᵀ(XXᵀ)⁻¹ if the x_n span ℝᵈ (never if N < d), and "
    "Y(XᵀX)⁻¹Xᵀ if they are independent.",
    formula=r"W(\infty) = Y X^{+} + W(0)\left(I - X X^{+}\right), \qquad Y X^{+} = Y X^{\top} (X X^{\top})^{+} = "
    r"\lim_{\lambda \to 0} Y X^{\top} (X X^{\top} + \lambda I)^{-1}",
    passage="“Implicit regularization”",
    hypotheses=_HYPOTHESES[:2],
    convention=_CONVENTION,
    corrects="notes.min-norm",
)

_SHARED = (
    one.ONE_LAYER,
    one.NO_DECAY,
    Measure(
        "limit",
        "‖W(∞) − YX⁺ − W(0)Q‖/(‖YX⁺‖ + ‖W(0)‖), Q the null projector: as a matrix, what W(0) leaves",
        "<=",
        1e-8,
        "0 in exact arithmetic; dopri8 at 1e-10 a step leaves 1e-9",
    ),
    Measure(
        "distance",
        "‖W(∞) − YX⁺‖ less ‖W(0)Q‖, over ‖YX⁺‖ + ‖W(0)‖",
        "==",
        1e-8,
        "0 in exact arithmetic; dopri8 at 1e-10 a step leaves 1e-9",
    ),
    Measure(
        "ridge",
        "‖W_λ − YX⁺‖/‖YX⁺‖ over λ/(λ + 2a s²), W_λ the limit with a decay from 1e-2 … 1e-8",
        "<=",
        1.001,
        "1 is the bound of a linear approach to YX⁺; rounding is 1e-4 at λ = 1e-8",
    ),
)
INVERSE = Measure(
    "inverse",
    "λ_min/λ_max of XXᵀ, whose inverse the printed formula takes",
    ">=",
    1e-12,
    "rounding leaves eps max(N, d) ≈ 2e-15 of a singular matrix; the data have 1/9 or more of a regular one",
)
_INVERTED = "0 in exact arithmetic; the condition of X is at most 3: rounding leaves 1e-14"
GRAM = (
    Measure(
        "pseudoinverse",
        "‖YXᵀ(XXᵀ)⁺ − YX⁺‖/‖YX⁺‖: the printed inverse as a pseudoinverse",
        "<=",
        1e-9,
        _INVERTED,
    ),
    Measure(
        "gram",
        "the same for YXᵀ(XXᵀ)⁻¹ if the x_n span, for Y(XᵀX)⁻¹Xᵀ if they are independent (0 if neither)",
        "<=",
        1e-9,
        _INVERTED,
    ),
)

SHAPES = ((6, 10, 2), (14, 5, 2), (8, 20, 3), (20, 8, 1), (9, 9, 2))
SCALES = (0.0, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
DECADES = 10.0 ** np.arange(-2.0, -9.0, -1.0)


def cases(budget: Budget, key: Any) -> Iterator[Any]:
    """Flow and descent where N < d, descent where N > d; at the full budget both everywhere, and more shapes."""
    full = budget == "full"
    for i, (N, d, C) in enumerate(SHAPES if full else SHAPES[:2]):
        random = one.generator(jax.random.fold_in(key, i))
        labels, problems, starts = [], [], []
        for j in range(48 if full else 24):
            kind, scale = one.KINDS[j % 3], SCALES[j // 3 % len(SCALES)]
            X, Y = one.draw(random, kind, N, d, C)
            problems.append(Problem(Dense((d, C)), Square(half=True), Data(X, Y)))
            starts.append(scale * random.standard_normal((C, d)))
            labels.append(f"{N} × {d}, {kind} {j // 3 + 1}, W(0) of scale {scale:g}")
        descent = partial(GradientDescent, step=one.stable_steps(problems))
        ridges = _ridges(problems, [float(DECADES[j % len(DECADES)]) for j in range(len(problems))])
        named = [f"descent, {label}" for label in labels]
        runs = [one.ensemble(named, problems, starts, descent, (500,))]
        if full or d > N:
            named = [f"flow, {label}" for label in labels]
            solver = Adaptive("dopri8", 1e-10)
            runs.append(one.ensemble(named, problems, starts, GradientFlow, (40.0,), solver=solver))
        for run in runs:
            for case, ridge in zip(run, ridges, strict=True):
                yield replace(case, trajectory=case.trajectory.assign(ridge))


def _ridges(problems: list[Problem], decays: list[float]) -> list[dict[str, Any]]:
    """The limit of descent from W = 0 with a decay, as variables of a trajectory."""
    decayed = [one.under(p, p.loss, decay) for p, decay in zip(problems, decays, strict=True)]
    rest = [np.zeros((p.network.outputs, p.network.input_shape[0])) for p in problems]
    descent = partial(GradientDescent, step=one.stable_steps(decayed))
    runs = one.ensemble([""] * len(problems), decayed, rest, descent, (500,))
    return [
        {"ridge_decay": ((), decay), "ridge_weights": ("weight", one.end(run.trajectory))}
        for run, decay in zip(runs, decays, strict=True)
    ]


def _printed(net: OneLayer, least: np.ndarray) -> dict[str, float]:
    """What becomes of the printed formula: whether its inverse exists, and what may stand for it."""
    size = float(np.linalg.norm(least))
    moment, gram, cross = net.X.T @ net.X, net.X @ net.X.T, net.Y.T @ net.X
    values = np.linalg.eigvalsh(moment)
    ratio = float(values[0] / values[-1])
    regular = ratio >= INVERSE.tolerance
    by_pseudoinverse = cross @ np.linalg.pinv(moment, rcond=INVERSE.tolerance, hermitian=True)
    if regular:
        by_gram = np.linalg.solve(moment, cross.T).T
    elif net.rank == len(net.X):
        by_gram = net.Y.T @ np.linalg.solve(gram, net.X)
    else:
        by_gram = least
    rounding = one.EPS * net.size * float(net.singular[0] / net.singular[-1]) ** 2
    return {
        "inverse": ratio,
        "inverse_error": one.EPS * net.size,
        "pseudoinverse": float(np.linalg.norm(by_pseudoinverse - least)) / size,
        "pseudoinverse_error": rounding,
        "gram": float(np.linalg.norm(by_gram - least)) / size,
        "gram_error": rounding,
    }


def _approach(problem: Any, net: OneLayer, trajectory: xr.Dataset) -> tuple[float, float]:
    """The largest ‖W_λ − YX⁺‖ over its linear bound, and its error."""
    least = net.minimum_norm()
    size, square = float(np.linalg.norm(least)), float(net.singular[-1]) ** 2
    decays = DECADES * 2.0 * net.factor
    limits = [(float(decay), net.ridge(decay, net.factor), 0.0) for decay in decays]
    if "ridge_weights" in trajectory:
        decay, W = float(trajectory["ridge_decay"]), net.matrix(trajectory["ridge_weights"].values)
        decayed = replace(net, decay=decay)
        left = decayed.rest(W, one.gradient(one.under(problem, problem.loss, decay), W))
        limits = [(decay, W, left / size)]
    ratios = []
    for decay, W, left in limits:
        bound = decay / (decay + 2.0 * net.factor * square)
        ratio = float(np.linalg.norm(W - least)) / size / bound
        ratios.append((ratio, (left + one.EPS * net.size) / bound))
    return max(ratios)


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """Where the run ended against YX⁺ and the null-space part of its start; the printed formula."""
    net = one_layer(problem)
    measures = (*_SHARED, INVERSE, *GRAM)
    if net is None:
        return one.scalars({"one_layer": 0.0} | {measure.id: np.nan for measure in measures[1:]})
    least = net.minimum_norm()
    weights = one.history(trajectory)
    start = np.full_like(least, np.nan) if weights is None else net.matrix(weights[0])
    last = one.end(trajectory)
    W, scale = net.matrix(last), float(np.linalg.norm(least) + np.linalg.norm(start))
    left = net.rest(W, one.gradient(problem, W))
    if "final_weights_error" in trajectory:
        left += float(np.linalg.norm(trajectory["final_weights_error"].values))
    rounding = one.EPS * net.size + left / scale
    beside, away = net.beside(start), float(np.linalg.norm(W - least))
    approach, approach_error = _approach(problem, net, trajectory)
    numbers = {
        "one_layer": 1.0,
        "decay": net.decay,
        "limit": float(np.linalg.norm(W - least - beside)) / scale,
        "limit_error": rounding,
        "distance": (away - float(np.linalg.norm(beside))) / scale,
        "distance_error": rounding,
        "ridge": approach,
        "ridge_error": approach_error,
        "wide": float(len(net.X) < net.X.shape[1]),
        "away": away,
        "beside": float(np.linalg.norm(beside)),
    }
    return one.scalars(numbers | _printed(net, least))


def drawing(dataset: xr.Dataset) -> Any:
    """The distance to YX⁺ against the null-space part of W(0), and the condition of XXᵀ."""
    figure, (left, right) = figures.panels(2, height=3.2)
    beside, away = dataset["beside"].values, dataset["away"].values
    ratio, wide = np.maximum(dataset["inverse"].values, 1e-17), dataset["wide"].values == 1.0
    groups = {"N < d": wide, "N ≥ d": ~wide}
    figures.scatter(
        {name: beside[which & (beside > 1e-12)] for name, which in groups.items()},
        {name: away[which & (beside > 1e-12)] for name, which in groups.items()},
        r"null-space part of the start, $\|W(0)\,Q\|$",
        r"distance at the end, $\|W - YX^{+}\|$",
        log="xy",
        diagonal=True,
        axes=left,
    )
    figures.scatter(
        {name: 1 + np.flatnonzero(which) for name, which in groups.items()},
        {name: ratio[which] for name, which in groups.items()},
        "problem",
        r"$\lambda_{\min}/\lambda_{\max}$ of $XX^{\top}$",
        log="y",
        reference={"invertible above": INVERSE.tolerance},
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: runs end at YX⁺ plus the null-space part of their start (problems that have one). Right: the matrix "
        "that the printed formula inverts is singular wherever N < d, and where the points have deficient rank.",
    )


_SETTINGS = (
    "72 runs: N, d, C = 6, 10, 2 (flow, dopri8 at 1e-10, T = 40; 500 steps of descent at η = 1/λ_max) and 14, 5, 2 "
    "(descent); full rank, deficient rank, repeated points; starts normal times 0, 1e-6, 1e-4, 1e-3, 0.01, 0.1, 1, 10"
)
STUDIES = (
    Study(CLAIM, (*_SHARED, INVERSE), cases, observe, drawing, settings=_SETTINGS),
    Study(CORRECTED, (*_SHARED, *GRAM), cases, observe, drawing, settings=_SETTINGS),
)
