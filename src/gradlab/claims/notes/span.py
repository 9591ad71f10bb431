"""notes.span: only the components of w in the span of the data move, and the rest is flat.

Settings, before any run. Inputs have singular values in [1, 3] (√2 times that where points are repeated), so
that at T = 40 (500 steps of descent at η = 1/λ_max) e^{−λ_min T} < 1e-17: the whole motion is seen. Starts are
standard normal, so that the components beside the span are as large as those in it.

The number for "do not change" is the share of the motion that lies beside the span, max_t ‖ΔW(t) Q‖/‖ΔW(t)‖,
Q the null projector of X: it is 1 for a motion across the span, √(1 − rank/d) for one that ignores it, and 0
for the claim. Every step rounds W by eps ‖W‖ in any direction, so k steps leave at most k eps ‖W‖/‖ΔW‖: its
error; at k ≤ 10⁴ that is 2e-12, and the tolerance 1e-9 stands far above it and far below 1.

An eigenvalue of ΣxxT counts as zero below eps max(N, d) σ_max², the rounding of the sum; the count's error is
the number of eigenvalues within a factor of four of that. The Hessian is the one that automatic differentiation
gives, over all C d weights, C copies of that of one output.

Constants. The passage prints the loss Σ(y − w·x)², the velocity 2 Σ E_n x_n and the Hessian Σ x xᵀ: the first two
belong together, the third belongs to ½Σ (under Σ it is 2 Σ x xᵀ). Neither the span nor the zeros depend on it.
"At least" d − N is d − rank X in truth. That the flow fits the data (E_n = 0) if N < d needs independent x_n: it
fails for repeated points with different targets, as in a third of the cases here, and is no part of this claim.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab import figures
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
    id="notes.span",
    source="notes",
    statement="For a one-layer linear net under the square loss, gradient flow changes only the components of w "
    "in the span of the x_n, and the Hessian Σ x_n x_nᵀ has at least d − N zero eigenvalues if N < d.",
    formula=r"\dot w \in \mathrm{span}\{x_n\}, \qquad H = \sum_n x_n x_n^{\top}, \qquad "
    r"\dim \ker H \geq d - N",
    passage="Linear one-layer networks (square loss, overparametrization N < d)",
    hypotheses=("one layer, linear, square loss", "no weight decay"),
    convention="span and zeros hold under every convention; the printed Hessian Σ x xᵀ belongs to the loss "
    "½ Σ (y − w·x)², the printed velocity 2 Σ E_n x_n to the loss Σ (y − w·x)²",
)

_EXACT = "a quadratic potential and sums of N products: rounding leaves N eps ≈ 1e-14, relative"
MEASURES = (
    one.ONE_LAYER,
    one.NO_DECAY,
    Measure(
        "null_motion",
        "share of the motion that lies beside the span of the data",
        "<=",
        1e-9,
        "0 in exact arithmetic; k steps leave k eps ‖W‖/‖ΔW‖ ≈ 2e-12 at k = 10⁴ (its error)",
    ),
    Measure(
        "zeros_beyond",
        "zero eigenvalues of the Hessian beyond the C(d − N) asserted (beyond 0 if N ≥ d)",
        ">=",
        0.0,
        "an integer; zero means below eps max(N, d) σ_max², the rounding of Σ x xᵀ",
    ),
    Measure(
        "zeros_otherwise",
        "zero eigenvalues less C(d − rank X): none elsewhere, none missing",
        "==",
        0.0,
        "an integer; the kernel of Σ x xᵀ is what no x_n sees",
    ),
    Measure(
        "semidefinite",
        "least eigenvalue of the Hessian over the largest: no direction is unstable",
        ">=",
        -1e-12,
        "each x xᵀ is semidefinite; eigenvalues are rounded at Cd eps ≈ 1e-14 of the largest",
    ),
    Measure("hessian_half", "‖∇²L − Σ x xᵀ‖/‖Σ x xᵀ‖ under ½Σ: the printed constant", "<=", 1e-12, _EXACT),
    Measure(
        "hessian_sum",
        "the same under Σ, where the printed Hessian lacks a factor of two (a control)",
        ">=",
        0.5,
        "2 Σ x xᵀ − Σ x xᵀ is 1 of Σ x xᵀ; half of it parts 1 from 0",
    ),
    Measure(
        "velocity_sum",
        "‖−∇L − 2 Σ E_n x_nᵀ‖ under Σ, over 2‖X‖(‖Y‖ + ‖X‖‖W‖): the printed velocity",
        "<=",
        1e-12,
        _EXACT,
    ),
)

SHAPES = ((6, 10, 2), (14, 5, 2), (8, 20, 3), (20, 8, 1), (9, 9, 2))
RECORDS, STEPS = (0.1, 1.0, 10.0, 40.0), (1, 10, 100, 500)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """The flow where N < d and descent where N > d; at the full budget both, and more shapes."""
    full = budget == "full"
    for i, (N, d, C) in enumerate(SHAPES if full else SHAPES[:2]):
        random = one.generator(jax.random.fold_in(key, i))
        labels, problems, starts = [], [], []
        for j in range(48 if full else 24):
            kind = one.KINDS[j % 3]
            X, Y = one.draw(random, kind, N, d, C)
            problems.append(Problem.make(Dense((d, C)), Square(half=True), Data.make(X, Y)))
            starts.append(random.standard_normal((C, d)))
            labels.append(f"{N} × {d}, {kind} {j // 3 + 1}")
        steps = one.stable_steps(problems)
        if full or i == 0:
            named = [f"flow, {label}" for label in labels]
            solver = Adaptive("dopri8", 1e-10)
            yield from one.ensemble(named, problems, starts, GradientFlow, RECORDS, solver=solver)
        if full or i == 1:
            named = [f"descent, {label}" for label in labels]
            yield from one.ensemble(named, problems, starts, partial(GradientDescent, step=steps), STEPS)


def _moved(net: one.OneLayer, trajectory: xr.Dataset) -> tuple[np.ndarray, np.ndarray, float, float]:
    """‖ΔW‖ and ‖ΔW Q‖ at every record after the start, the worst share, and the error of that share."""
    weights = one.history(trajectory)
    if weights is None or len(weights) < 2:
        return np.zeros(0), np.zeros(0), np.nan, np.nan
    matrices = [one.matrix(net, vector) for vector in weights]
    steps = [matrix - matrices[0] for matrix in matrices[1:]]
    moved = np.asarray([np.linalg.norm(step) for step in steps])
    beside = np.asarray([np.linalg.norm(net.beside(step)) for step in steps])
    count = float(np.max(trajectory["step"].values)) if "step" in trajectory else len(weights)
    rounding = one.EPS * (count + net.size) * max(np.linalg.norm(matrix) for matrix in matrices)
    seen = moved > 0.0
    if not seen.any():
        return moved, beside, np.nan, np.nan
    return moved, beside, float(np.max(beside[seen] / moved[seen])), float(rounding / moved[seen].min())


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """The share of the motion beside the span, the Hessian's zeros, and the printed constants."""
    net = one.one_layer(problem)
    if net is None:
        unknown = {measure.id: np.nan for measure in MEASURES[1:]}
        return one.scalars({"one_layer": 0.0, **unknown})
    moved, beside, share, rounding = _moved(net, trajectory)
    weights = one.history(trajectory)
    W = one.matrix(net, one.end(trajectory) if weights is None else weights[0])
    (N, d), C = net.X.shape, net.Y.shape[1]
    printed = np.kron(np.eye(C), net.X.T @ net.X)
    values = np.linalg.eigvalsh(np.asarray(problem.hessian((W,)))) / (2.0 * net.factor)
    threshold = one.EPS * net.size * net.singular[0] ** 2
    zeros = float(np.sum(values <= threshold))
    doubtful = float(np.sum((values > threshold / 4.0) & (values < 4.0 * threshold)))
    residuals = net.Y - net.X @ W.T
    hessians = [one.under(problem, Square(half=half)).hessian((W,)) for half in (True, False)]
    away = [float(np.linalg.norm(np.asarray(h) - printed) / np.linalg.norm(printed)) for h in hessians]
    velocity = -one.gradient(one.under(problem, Square()), W)
    size = np.linalg.norm(net.X)
    scale = 2.0 * size * (np.linalg.norm(net.Y) + size * np.linalg.norm(W))
    numbers = {
        "one_layer": 1.0,
        "decay": net.decay,
        "null_motion": share,
        "null_motion_error": rounding,
        "zeros_beyond": zeros - C * max(d - N, 0),
        "zeros_beyond_error": doubtful,
        "zeros_otherwise": zeros - C * (d - net.rank),
        "zeros_otherwise_error": doubtful,
        "semidefinite": values[0] / values[-1],
        "semidefinite_error": one.EPS * len(values),
        "hessian_half": away[0],
        "hessian_sum": away[1],
        "velocity_sum": np.linalg.norm(velocity - 2.0 * residuals.T @ net.X) / scale,
    }
    kept = {"moved": ("after", moved), "beside": ("after", beside), "eigenvalues": ("eigenvalue", values)}
    return one.scalars(numbers).assign({**kept, "asserted": ((), np.float64(C * max(d - N, 0)))})


def drawing(dataset: xr.Dataset) -> Any:
    """The motion in and beside the span, and the Hessian's spectra."""
    figure, (upper, lower) = figures.panels(2, columns=1, height=2.6)
    moved, beside = dataset["moved"].values, dataset["beside"].values
    figures.scatter(
        np.sqrt(np.maximum(moved**2 - beside**2, 0.0)).ravel(),
        {"": np.maximum(beside, 1e-18).ravel()},
        r"motion in the span, $\|\Delta W P\|$",
        r"motion beside it, $\|\Delta W Q\|$",
        log="xy",
        reference={"tolerance, for a unit motion": 1e-9},
        axes=upper,
    )
    values = np.maximum(dataset["eigenvalues"].values, 1e-17)
    shown: dict[str, np.ndarray] = {}
    for label, spectrum in zip(dataset["case"].values, values, strict=True):
        kind = str(label).partition(", ")[2].rstrip("0123456789 ")
        if "deficient" not in kind:  # drawn like repeated points: both have half the rank
            shown.setdefault(kind or str(label), spectrum)
    figures.curves(
        np.arange(1, values.shape[1] + 1),
        dict(list(shown.items())[:3]),
        "eigenvalue, in order",
        r"eigenvalue of $\sum x x^{\top}$",
        markers=True,
        log="y",
        axes=lower,
    )
    return figures.with_caption(
        figure,
        "Above: how far the weights of each problem moved in the span of the data and beside it, at each record. "
        "Below: spectra of the Hessian over all C d weights, one problem of a kind; zeros are drawn at 1e-17.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    drawing,
    settings="48 problems: N, d, C = 6, 10, 2 (flow, dopri8 at 1e-10, T = 40) and 14, 5, 2 (500 steps of descent at "
    "η = 1/λ_max); full rank, deficient rank, repeated points; starts standard normal",
)
