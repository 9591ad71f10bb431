"""chitour.invariants: W_{j+1}ᵀW_{j+1} − W_jW_jᵀ along the flow, along gradient descent, and in a tanh net.

Settings. F = ‖Y − WX‖² summed over examples. Widths (5, 4, 4, 3) with five points, X = I and Y = (D_Y 0) (the
reduced problem of the passage), general, repeated and rank-deficient X; widths (6, 4, 2) with ten points. Gaussian
starts of scale 0.6, balanced starts, singular starts. The flow runs to t = 1 by the eighth-order pair at 1e-9.
Gradient descent starts where the flow does, with η = 0.05/λ (λ the largest curvature at the start) and four
halvings, to the same time 0.8/λ each. The control has tanh between the same layers, the first of them scaled so
that the largest preactivation is 2: a tanh net at small weights is a linear one.

Tolerances. Errors of the flow: 1e-9 relative to ‖W‖ an accepted step, a few hundred steps, without amplification
(gradient flow of small residual contracts): 1e-7, one decade allowed. A step of descent changes the matrices by
η²(G_{j+1}ᵀG_{j+1} − G_jG_jᵀ) exactly; what is left is the rounding of W², 1e-16‖W‖²/(η²‖G‖²) ≈ 1e-12, kept as
error bar. The order in η of one step is 2 exactly, over a fixed time 1 + O(η), with 0.15 as everywhere in gradlab.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.linear_nets import balanced_factors
from gradlab.claims import deep_linear
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import EPS, Layers, ratio
from gradlab.dynamics.descent import GradientDescent
from gradlab.dynamics.flow import GradientFlow
from gradlab.laboratory import run
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

#: Step sizes η = COARSEST/λ · 2^{−i} and the steps to the common time of the coarsest.
COARSEST, SWEEP, STEPS = 0.05, 5, 16
RECORDS = np.linspace(0.0, 1.0, 6)

CLAIM = Claim(
    id="chitour.invariants",
    source="chitour",
    statement="Along dW/dt = −∇F of a deep linear net the matrices W_{j+1}ᵀW_{j+1} − W_jW_jᵀ, 1 ≤ j ≤ H, are "
    "conserved, hence ‖W_j(t)‖² = ‖W_{H+1}(t)‖² + C_j. Gradient descent conserves them only up to O(η²) a step.",
    formula=r"W_{j+1}^\top W_{j+1}-W_jW_j^\top=\bigl(W_{j+1}^\top W_{j+1}-W_jW_j^\top\bigr)\Big|_{t=0}"
    r"\ \Longrightarrow\ \lVert W_j(t)\rVert_F^2=\lVert W_{H+1}(t)\rVert_F^2+C_j",
    passage="“Gradient Descent for Linear Neural Networks - Convergence”, Proposition (Invariants)",
    hypotheses=("linear layers without bias, no weight decay", "the gradient flow, in continuous time"),
    convention="Any loss of WX and any constant in front of F: the conservation does not see them.",
)

FLOW_WHY = "the global error of the flow, see the module's docstring"
MEASURES = (
    Measure(
        "linear",
        "one where the network is a product of matrices",
        ">=",
        0.5,
        "the network says it",
        role="hypothesis",
    ),
    Measure("decay", "the weight decay", "<=", 0.0, "the passage has none", role="hypothesis"),
    Measure(
        "flow",
        "one where the trajectory is a gradient flow's",
        ">=",
        0.5,
        "the trajectory says it",
        role="hypothesis",
    ),
    Measure(
        "drift",
        "max over j and t of ‖Q_j(t) − Q_j(0)‖/Σ‖W‖², Q_j = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ",
        "<=",
        1e-6,
        FLOW_WHY,
    ),
    Measure("norms", "max over j and t of |‖W_j‖² − ‖W_{H+1}‖² − C_j|/Σ‖W‖²", "<=", 1e-6, FLOW_WHY),
    Measure(
        "rate",
        "dQ_j/dt from the gradient at every record, relative to 2‖W‖‖∇F‖ (the largest of the run)",
        "<=",
        1e-11,
        "an identity: rounding n·eps·S of the gradient, S/‖∇F‖ ≈ 1e3 as in chitour.gradient",
    ),
    Measure(
        "step",
        "one step of descent: ‖ΔQ − η²(G_{j+1}ᵀG_{j+1} − G_jG_jᵀ)‖ relative to the prediction, worst η",
        "<=",
        1e-6,
        "an identity: rounding of W² against η²G², in the error bar",
    ),
    Measure(
        "step_order",
        "the order in η of the change in one step of descent",
        "==",
        0.01,
        "two by the identity, no remainder",
        target=2.0,
    ),
    Measure(
        "time_order",
        "the order in η of the change over a fixed time of descent",
        "==",
        0.15,
        "η² a step, 1/η steps; next order O(η), with η λ ≤ 0.05",
        target=1.0,
    ),
    Measure(
        "control",
        "control: dQ_j/dt of the net with tanh between the layers, on the same scale",
        ">=",
        1e-3,
        "tanh(2)/2 = 0.48 and tanh'(2) = 0.07 differ by O(1) at the largest preactivation",
    ),
)


# Measuring ------------------------------------------------------------------------------------------------


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Drift of the matrices along the trajectory, and along descent from its start."""
    if deep_linear.foreign(problem) or len(problem.network.widths) < 3:
        return deep_linear.nothing(MEASURES)
    vectors, errors = deep_linear.orbit(trajectory)
    _, gradients = deep_linear.evaluate(problem, vectors)
    points = [deep_linear.layers(problem, vector) for vector in vectors]
    motion = [deep_linear.layers(problem, -gradient) for gradient in gradients]
    scale = max(deep_linear.square_norm(point) for point in points)
    start = deep_linear.conserved(points[0])
    drifts = [float(np.linalg.norm(deep_linear.conserved(point) - start)) for point in points]
    bar = max(
        2.0 * np.linalg.norm(vector) * np.linalg.norm(error)
        for vector, error in zip(vectors, errors, strict=True)
    )
    numbers: dict[str, Any] = {
        "linear": float(problem.network.linear),
        "decay": float(np.max(np.asarray(problem.decay))),
        "flow": deep_linear.follows_gradient(trajectory),
        "drift": ratio(max(drifts), scale),
        "norms": ratio(max(_norm_drift(point, points[0]) for point in points), scale),
        "rate": _rate(points, motion),
        "control": _control(problem, vectors),
    }
    numbers |= dict.fromkeys(("drift_error", "norms_error"), ratio(float(bar), scale))
    return xr.Dataset({**numbers, **_descent(problem, trajectory, vectors[0], gradients[0])})


def _norm_drift(point: Layers, start: Layers) -> float:
    squares, before = (np.array([np.sum(w**2) for w in layers]) for layers in (point, start))
    return float(np.max(np.abs((squares - squares[-1]) - (before - before[-1]))))


def _rate(points: Sequence[Layers], motion: Sequence[Layers]) -> float:
    """The largest ‖dQ/dt‖ over 2 max‖W‖ max‖Ẇ‖."""
    sizes = [max(deep_linear.square_norm(one) for one in many) for many in (points, motion)]
    rates = [deep_linear.conserved_rate(*pair) for pair in zip(points, motion, strict=True)]
    return ratio(
        float(max(np.linalg.norm(rate) for rate in rates)), 2.0 * float(np.sqrt(sizes[0] * sizes[1]))
    )


def _control(problem: Problem, vectors: np.ndarray) -> float:
    """The largest rate of the twin with tanh, at the recorded weights with their first layer scaled up."""
    twin = Problem(Dense(problem.network.widths, "tanh"), problem.loss, problem.data, problem.decay)
    first = int(np.prod(problem.network.widths[:2]))
    scaled = np.array(vectors)
    for vector in scaled:
        largest = np.max(np.abs(deep_linear.rows(problem) @ deep_linear.layers(problem, vector)[0].T))
        vector[:first] *= 2.0 / largest if largest > 0.0 else 1.0
    _, gradients = deep_linear.evaluate(twin, scaled)
    return _rate(*([deep_linear.layers(problem, one) for one in many] for many in (scaled, gradients)))


def _descent(
    problem: Problem, trajectory: xr.Dataset, start: np.ndarray, gradient: np.ndarray
) -> dict[str, Any]:
    """The identity of one step and both orders in η, from a sweep that the case brings or that is run here."""
    if "sweep_eta" not in trajectory:
        trajectory = sweep([problem], start[None])[0]
    etas = trajectory["sweep_eta"].values
    before = deep_linear.conserved(deep_linear.layers(problem, start))
    per_eta = _quadratic(deep_linear.layers(problem, gradient))
    rounding = 8.0 * EPS * float(start @ start)
    once, later, gaps, bars = [], [], [], []
    for i, eta in enumerate(etas):
        once.append(
            deep_linear.conserved(deep_linear.layers(problem, trajectory["sweep_once"].values[i])) - before
        )
        later.append(
            deep_linear.conserved(deep_linear.layers(problem, trajectory["sweep_end"].values[i])) - before
        )
        predicted = eta**2 * np.linalg.norm(per_eta)
        gaps.append(ratio(float(np.linalg.norm(once[-1] - eta**2 * per_eta)), float(predicted)))
        bars.append(ratio(rounding, float(predicted)))
    step_order, step_bar = _order(once, rounding)
    time_order, time_bar = _order(later, rounding * STEPS * 2.0 ** np.arange(len(etas)))
    return {
        "step": max(gaps),
        "step_error": max(bars),
        "step_order": step_order,
        "step_order_error": step_bar,
        "time_order": time_order,
        "time_order_error": time_bar,
        "sweep": ("eta", etas / etas[0]),
        "once": ("eta", _normed(once)),
        "later": ("eta", _normed(later)),
    }


def _quadratic(gradient: Layers) -> np.ndarray:
    """G_{j+1}ᵀG_{j+1} − G_jG_jᵀ: what a step W − ηG adds to the matrices is η² times this."""
    return deep_linear.conserved(gradient)


def _normed(changes: Sequence[np.ndarray]) -> np.ndarray:
    sizes = np.array([np.linalg.norm(change) for change in changes])
    return sizes / sizes[0] if sizes[0] > 0.0 else sizes


def _order(changes: Sequence[np.ndarray], rounding: Any) -> tuple[float, float]:
    """log₂ of successive quotients at halved η, extrapolated; its error from the last two and from rounding."""
    sizes = np.array([np.linalg.norm(change) for change in changes])
    if not np.all(sizes > 0.0):
        return np.nan, np.nan
    local = np.log2(sizes[:-1] / sizes[1:])
    noise = float(np.max(2.0 * rounding / sizes) / np.log(2.0))
    return float(2.0 * local[-1] - local[-2]), float(abs(local[-1] - local[-2])) + 3.0 * noise


# Running --------------------------------------------------------------------------------------------------


def _curvature(problem: Problem, vector: np.ndarray) -> float:
    """The largest |eigenvalue| of the Hessian, by power iteration on differences of the gradient."""
    direction, size = np.cos(1.0 + np.arange(vector.size)), 1.0
    # As many rows as the trajectory has, which compiles nothing new.
    sides = np.resize([1.0, -1.0], len(RECORDS))[:, None]
    step = 1e-5 * (1.0 + float(np.linalg.norm(vector)))
    for _ in range(12):
        direction = direction / np.linalg.norm(direction)
        _, gradients = deep_linear.evaluate(problem, vector + step * sides * direction)
        direction = (gradients[0] - gradients[1]) / (2.0 * step)
        size = float(np.linalg.norm(direction))
    return size if size > 0.0 else 1.0


def sweep(problems: Sequence[Problem], starts: np.ndarray) -> list[xr.Dataset]:
    """Gradient descent from each start with η = 0.05/λ, halved again and again, to one time; one program.

    Each Dataset has ``sweep_eta`` and the weights ``sweep_once`` after one step, ``sweep_end`` at the end.
    """
    halvings = 2.0 ** -np.arange(SWEEP)
    etas = [COARSEST / _curvature(p, w) * halvings for p, w in zip(problems, starts, strict=True)]
    ensemble = stack([problem for problem in problems for _ in halvings])
    shapes = [shape.shape for shape in problems[0].network.shapes()]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    parts = np.split(np.repeat(starts, SWEEP, axis=0), ends, axis=1)
    weights = tuple(part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
    records = [1, *(STEPS * 2**i for i in range(SWEEP))]
    flow = GradientDescent(ensemble, np.concatenate(etas))
    seen = run(flow, weights, records, observables=(), keep="all", members=len(problems) * SWEEP)
    kept = seen["weights"].values.reshape(len(records) + 1, len(problems), SWEEP, -1)
    return [
        xr.Dataset(
            {
                "sweep_eta": ("eta", etas[i]),
                "sweep_once": (("eta", "weight"), kept[1, i]),
                "sweep_end": (("eta", "weight"), np.stack([kept[2 + k, i, k] for k in range(SWEEP)])),
            }
        )
        for i in range(len(problems))
    ]


def _problem(rng: np.random.Generator, widths: tuple[int, ...], count: int, kind: str) -> Problem:
    if kind != "reduced":
        return deep_linear.regression(rng, widths, Square(), count, kind)
    targets = np.eye(widths[0], widths[-1]) * rng.uniform(0.5, 3.0, widths[-1])
    data = Data.make(np.eye(widths[0]), targets)
    return Problem.make(Dense.deep_linear(widths), Square(), data)


def _start(rng: np.random.Generator, widths: tuple[int, ...], kind: str) -> Layers:
    if kind == "balanced":
        product = deep_linear.low_rank(rng, (widths[-1], widths[0]), widths[-1], 1.0)
        return balanced_factors(product, widths)
    layers = deep_linear.gaussian(rng, widths, 0.6)
    if kind == "singular":
        return tuple(deep_linear.low_rank(rng, layer.shape, 1, 1.0) for layer in layers)
    return layers


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    rng = deep_linear.generator(key)
    rounds = 1 if budget == "quick" else 6
    plans = [((5, 4, 4, 3), 5, ("reduced", "random", "repeated", "deficient"))]
    plans.append(((6, 4, 2), 10, ("random", "repeated", "deficient", "random")))
    if budget == "full":
        plans += [((6, 3, 5, 2), 4, plans[1][2]), ((4, 5, 4, 6, 3), 4, plans[0][2])]
    for widths, count, kinds in plans:
        chosen = [(x, w) for x in kinds for w in ("Gaussian", "balanced", "singular")] * rounds
        problems = [_problem(rng, widths, count, x) for x, _ in chosen]
        starts = [_start(rng, widths, w) for _, w in chosen]
        seen = run(
            GradientFlow(stack(problems)),
            tuple(np.stack(parts) for parts in zip(*starts, strict=True)),
            RECORDS,
            observables=(),
            keep="all",
            members=len(chosen),
            name=f"flow of {widths}",
        )
        sweeps = sweep(problems, np.stack([deep_linear.flat(start) for start in starts]))
        for i, (x, w) in enumerate(chosen):
            trajectory = seen.isel(member=i).assign(sweeps[i].data_vars)
            yield Case(f"{widths}, X {x}, start {w}, {i}", problems[i], trajectory)


def draw(dataset: xr.Dataset) -> Any:
    """Drift along the flow case by case, and along descent against η."""
    figure, (left, right) = figures.panels(2, height=3.3)
    ranks = np.arange(1, dataset.sizes["case"] + 1)
    lines = {
        "tanh net: rate": np.sort(dataset["control"].values),
        "linear net: drift": np.sort(dataset["drift"].values),
        "linear net: rate": np.sort(dataset["rate"].values),
    }
    figures.curves(ranks, lines, "cases, sorted", "relative change of Q", log="y", markers=True, axes=left)
    eta = dataset["sweep"].values[0]
    names = {"a fixed time (order 1)": "later", "one step (order 2)": "once"}
    middle = {label: np.nanmedian(dataset[name].values, axis=0) for label, name in names.items()}
    bands = {
        label: (np.nanmin(dataset[name].values, axis=0), np.nanmax(dataset[name].values, axis=0))
        for label, name in names.items()
    }
    figures.curves(
        eta,
        middle,
        "η over the largest",
        "change of Q by descent",
        bands=bands,
        log="xy",
        markers=True,
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Q = W_{j+1}ᵀW_{j+1} − W_jW_jᵀ. Left: conserved by the flow of every linear net, and not with tanh. "
        "Right: gradient descent changes it by order η² a step and order η over a fixed time (median and range).",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="widths (5, 4, 4, 3) and (6, 4, 2); reduced, general, repeated and rank-deficient data; Gaussian, "
    "balanced and singular starts; flow to t = 1 at 1e-9; descent with η = 0.05/λ and four halvings",
)
