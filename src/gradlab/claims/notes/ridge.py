"""notes.ridge: weight decay moves the equilibrium to W = Y Xᵀ(X Xᵀ + λ)⁻¹ and makes the Hessian definite.

Constants. The passage prints the loss Σ(y − w·x)² + λ/2 ‖W‖² and then drops the factor 2 of its derivative: for
a Σ(y − w·x)² + λ/2 ‖W‖² the equilibrium is Y Xᵀ(X Xᵀ + λ/(2a))⁻¹ and the Hessian 2a Σ x xᵀ + λ (docs/notes/
notes.ridge.md). Both printed constants are right for a = ½ and for no other a. Up to what λ is called this
changes nothing, so the claim is judged in the convention ½Σ, as the statement of a formula, and Σ and the mean
are controls that must miss it. (The passage's line "W = Σ E x + λ W" has the wrong sign as a velocity −∇L; the
equations after it have the right one.)

Settings, before any run. Inputs have singular values in [1, 3] (√2 times that for repeated points). Distances are
given in units of what a factor two in λ does to the formula, ‖W_{λ/2} − W_λ‖, so that they say by how much the
constant λ is missed, at λ = 1e-8 as at λ = 100: 1 is a factor two, and the tolerance 1e-2 is a per cent. The
error of a limit is the way that is left (from the gradient of the potential itself, by automatic differentiation)
and rounding, eps max(N, d) (‖X‖²‖W‖ + ‖X‖‖Y‖)/(s_min² + λ/2a), at worst 1e-3 of the unit at λ = 1e-8.

Runs last 40/λ_min(∇²L) at least. Where X has no full column rank λ_min is λ itself, and an explicit solver needs
time like 1/λ: from arbitrary starts the flow has λ ≥ 0.1 and descent λ ≥ 0.02 there; smaller λ start at W = 0, whose
components beside the span are already at their limit. The full budget takes BDF to λ = 1e-4 from arbitrary starts
(Runge–Kutta stages solved by a chord iteration take rounding for divergence once such a flow has arrived).

Definiteness is asked of λ_min(∇²L)/λ, which is 1 or more in theory and 0 without decay:
½ parts them, and eigenvalues are rounded at eps C d λ_max, 1e-5 of λ = 1e-8.
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
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="notes.ridge",
    source="notes",
    statement="With weight decay λ/2 ‖W‖² the equilibrium of a one-layer linear net under the square loss is "
    "W = YXᵀ(XXᵀ + λI)⁻¹, and the Hessian Σ x xᵀ + λI is positive definite for every λ > 0.",
    formula=r"W = Y X^{\top} \left(X X^{\top} + \lambda I\right)^{-1}, \qquad "
    r"H = \sum_n x_n x_n^{\top} + \lambda I \succ 0",
    passage="Linear one-layer networks, “Regularization”",
    hypotheses=("one layer, linear, square loss", "λ > 0"),
    convention="½ Σ ‖W x_n − y_n‖² + λ/2 ‖W‖². For the printed Σ read λ/2 for λ in the equilibrium and 2 Σ x xᵀ + λ "
    "as Hessian; for the mean Nλ/2 and (2/N) Σ x xᵀ + λ",
)

LOSSES = {"half": Square(half=True), "sum": Square(), "mean": Square("mean")}
_PER_CENT = "in units of a factor two in λ: 0 for the right constant; 1e-2 is one per cent in λ"
_HALF_WAY = "half of what the formula with λ/(2a) for λ predicts: half way between the two constants"
_EXACT = "a quadratic potential and sums of N products: rounding leaves N eps ≈ 1e-14, relative"
MEASURES = (
    one.ONE_LAYER,
    Measure("decay", "λ > 0 (1 if so)", ">=", 0.5, "the number is 0 or 1", role="hypothesis"),
    Measure(
        "limit",
        "distance of the run's limit from YXᵀ(XXᵀ + λ/(2a))⁻¹, a the factor of its own loss",
        "<=",
        1e-2,
        _PER_CENT,
    ),
    Measure("half", "distance of the equilibrium under ½Σ from the printed formula", "<=", 1e-2, _PER_CENT),
    Measure("sum", "the same under Σ, where it is another (a control)", ">=", 0.5, _HALF_WAY),
    Measure(
        "mean",
        "the same under the mean (a control; nothing is asked of it if N = 2, where it is ½Σ)",
        ">=",
        0.5,
        _HALF_WAY,
    ),
    Measure("hessian_half", "‖∇²L − Σ x xᵀ − λ‖/‖Σ x xᵀ‖ under ½Σ: the printed Hessian", "<=", 1e-12, _EXACT),
    Measure(
        "hessian_sum", "the same under Σ (a control)", ">=", 0.5, "2 − 1 is 1; half of it parts 1 from 0"
    ),
    Measure(
        "hessian_mean",
        "the same under the mean (a control)",
        ">=",
        0.1,
        "|2/N − 1|, of which half is asked in each case",
    ),
    Measure(
        "gain",
        "‖∇²L − ∇²L without decay − λ‖/λ: the Hessian gains λ, under the run's own loss",
        "<=",
        1e-2,
        "0 in exact arithmetic; eigenvalues are rounded at eps C d λ_max, 1e-5 of λ = 1e-8 (its error)",
    ),
    Measure(
        "positive",
        "least eigenvalue of the Hessian over λ",
        ">=",
        0.5,
        "1 or more in theory, 0 for a degenerate Hessian: half parts them",
    ),
)

SHAPES = ((6, 10, 2), (14, 5, 2))
DECADES = 10.0 ** np.asarray([-8, -7, -6, -5, -4, -2, 0, 2])
#: name, loss, shape, members, time or steps, starts at W = 0, then the decays: at full column rank, and otherwise.
#: Steps are 40/λ_min of 1/λ_max: from 0 nothing is slower than the data, and more steps would gather rounding.
ENSEMBLES = (
    ("½Σ, flow", "half", 0, 24, 400.0, False, DECADES, np.geomspace(0.1, 10.0, 8)),
    ("½Σ, descent", "half", 1, 24, 20_000, False, DECADES, np.geomspace(2e-2, 1e2, 8)),
    ("Σ, descent from 0", "sum", 0, 24, 1_000, True, DECADES, DECADES),
    ("mean, descent", "mean", 1, 12, 4_000, False, DECADES[::2], np.geomspace(2e-2, 1e2, 4)),
)
IMPLICIT = ("½Σ, implicit flow", "half", 0, 24, 4e5, False, DECADES, np.geomspace(1e-4, 1e2, 8))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Ensembles under ½Σ, Σ and the mean, with λ over decades; the full budget repeats them and adds one."""
    rounds = 3 if budget == "full" else 1
    for i in range(rounds * len(ENSEMBLES)):
        random = one.generator(jax.random.fold_in(key, i))
        mark = f"{i // len(ENSEMBLES) + 1}." if rounds > 1 else ""
        yield from _ensemble(random, ENSEMBLES[i % len(ENSEMBLES)], mark)
    if budget == "full":
        yield from _ensemble(one.generator(jax.random.fold_in(key, 1000)), IMPLICIT, "")


def _ensemble(random: np.random.Generator, ensemble: tuple[Any, ...], mark: str) -> Iterator[Case]:
    name, loss, shape, members, duration, rest, full_rank, otherwise = ensemble
    N, d, C = SHAPES[shape]
    labels, problems, starts = [], [], []
    for j in range(members):
        kind = one.KINDS[j % 3]
        X, Y = one.draw(random, kind, N, d, C)
        decay = float((full_rank if d < N and kind != "deficient rank" else otherwise)[j // 3])
        problems.append(Problem(Dense((d, C)), LOSSES[loss], Data(X, Y), decay))
        starts.append(np.zeros((C, d)) if rest else random.standard_normal((C, d)))
        labels.append(f"{name}, {N} × {d}, {kind} {mark}{j // 3 + 1}, λ = {decay:.1e}")
    if isinstance(duration, int):
        steps = one.stable_steps(problems)
        flow = partial(GradientDescent, step=steps)
        yield from one.ensemble(labels, problems, starts, flow, (duration,))
    else:
        solver = Adaptive("bdf", 1e-9) if ensemble is IMPLICIT else Adaptive("dopri8", 1e-10)
        yield from one.ensemble(labels, problems, starts, GradientFlow, (duration,), solver=solver)


def _distances(problem: Any, net: OneLayer, W: np.ndarray) -> dict[str, float]:
    """Limit and equilibria against the formulas, in units of a factor two in λ."""
    decay, own = net.decay, net.decay / (2.0 * net.factor)
    sizes = np.linalg.norm(net.X), np.linalg.norm(net.Y)

    def unit(decay: float) -> tuple[np.ndarray, float, float]:
        formula = net.ridge(decay, 0.5)
        step = float(np.linalg.norm(net.ridge(decay / 2.0, 0.5) - formula))
        rounding = one.EPS * net.size * sizes[0] * (sizes[0] * np.linalg.norm(formula) + sizes[1])
        return formula, step, float(rounding / (net.singular[-1] ** 2 + decay))

    expected, step, rounding = unit(own)
    left = net.rest(W, one.gradient(problem, W))
    numbers = {
        "limit": float(np.linalg.norm(W - expected)) / step,
        "limit_error": (left + rounding) / step,
    }
    printed, step, rounding = unit(decay)
    numbers["to_printed"] = float(np.linalg.norm(W - printed)) / step
    for name, factor in (("half", 0.5), ("sum", 1.0), ("mean", 1.0 / len(net.X))):
        other = one.under(problem, LOSSES[name])
        away = replace(net, factor=factor).rest(printed, one.gradient(other, printed))
        predicted = float(np.linalg.norm(net.ridge(decay, factor) - printed))
        numbers |= {name: away / step, f"{name}_error": rounding / step}
        if name != "half":
            numbers[f"{name}_tolerance"] = 0.5 * predicted / step
    if len(net.X) == 2:  # the mean of two is half their sum: nothing is asked
        numbers["mean_tolerance"] = -1.0
    return numbers


def _curvature(problem: Any, net: OneLayer, W: np.ndarray) -> dict[str, float]:
    """The Hessian under each loss against the printed one; its least eigenvalue under its own."""
    size, moment = net.Y.shape[1], net.X.T @ net.X
    printed = np.kron(np.eye(size), moment + net.decay * np.eye(len(moment)))
    scale = float(np.linalg.norm(np.kron(np.eye(size), moment)))
    numbers = {}
    for name, loss in LOSSES.items():
        gap = np.asarray(one.under(problem, loss).hessian((W,))) - printed
        numbers[f"hessian_{name}"] = float(np.linalg.norm(gap)) / scale
    numbers["hessian_mean_tolerance"] = 0.5 * abs(2.0 / len(net.X) - 1.0)
    own = np.asarray(problem.hessian((W,)))
    bare = np.asarray(one.under(problem, problem.loss, 0.0).hessian((W,)))
    values = np.linalg.eigvalsh(own)
    rounding = one.EPS * len(values) * values[-1] / net.decay
    gained = np.linalg.norm(own - bare - net.decay * np.eye(len(own)), 2) / net.decay
    numbers |= {"gain": float(gained), "gain_error": rounding}
    return numbers | {"positive": values[0] / net.decay, "positive_error": rounding}


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """How far limit and equilibria are from the formulas, and the Hessian's constants."""
    net = one_layer(problem)
    if net is None or net.decay <= 0.0:
        unknown = {measure.id: np.nan for measure in MEASURES[2:]}
        return one.scalars({"one_layer": float(net is not None), "decay": 0.0, **unknown})
    W = net.matrix(one.end(trajectory))
    numbers = {"one_layer": 1.0, "decay": 1.0, **_distances(problem, net, W), **_curvature(problem, net, W)}
    mean = problem.loss.reduction == "mean"
    drawn = {
        "lambda": net.decay,
        "factor": net.factor * (len(net.X) if mean else 1.0),
        "is_mean": float(mean),
    }
    return one.scalars({**numbers, **drawn})


def drawing(dataset: xr.Dataset) -> Any:
    """Where limits lie under each convention, and the least eigenvalue against λ."""
    figure, (left, right) = figures.panels(2, height=3.2)
    decay, factor, mean = (dataset[name].values for name in ("lambda", "factor", "is_mean"))
    groups = {"½Σ": (factor == 0.5) & (mean == 0), "Σ": (factor == 1.0) & (mean == 0), "mean": mean == 1}
    shown = {name: which for name, which in groups.items() if which.any()}
    distance = np.maximum(dataset["to_printed"].values, 1e-16)
    figures.scatter(
        {name: decay[which] for name, which in shown.items()},
        {name: distance[which] for name, which in shown.items()},
        r"decay $\lambda$",
        "limit to printed formula,\n" + r"in units of a factor two in $\lambda$",
        log="xy",
        reference={"tolerance": 1e-2},
        axes=left,
    )
    figures.scatter(
        {name: decay[which] for name, which in shown.items()},
        {name: (dataset["positive"].values * decay)[which] for name, which in shown.items()},
        r"decay $\lambda$",
        "least eigenvalue of the Hessian",
        log="xy",
        diagonal=True,
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: limits of the runs reach the printed formula under ½Σ and miss it under Σ and the mean. Right: the "
        "least eigenvalue of the Hessian, never below λ (the line).",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    drawing,
    settings="84 problems, N, d, C = 6, 10, 2 and 14, 5, 2, λ from 1e-8 to 100: the flow (dopri8 at 1e-10, T = 400) "
    "and 20 000 steps of descent (η = 1/λ_max) under ½Σ, 4000 under the mean, 1000 from W = 0 under Σ; full rank, "
    "deficient rank, repeated points",
)
