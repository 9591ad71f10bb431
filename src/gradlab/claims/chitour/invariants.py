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
from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import Matrices, balanced_factors
from gradlab.claims import deep_linear
from gradlab.claims.chitour._descent import descended, sweep
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import HYPOTHESES, ratio
from gradlab.observe.local import values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

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
    *HYPOTHESES,
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
        1e-12,
        "an identity: rounding n·eps of the gradient, relative to the largest gradient of the run",
    ),
    Measure(
        "step",
        "one step of descent: ‖ΔQ − η²(G_{j+1}ᵀG_{j+1} − G_jG_jᵀ)‖ relative to the prediction, at the largest η",
        "<=",
        1e-6,
        "an identity: rounding of W² against η²G², in the error bar and least at the largest η",
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
        "control: max over j of ‖dQ_j/dt‖ over 2(‖W_j‖‖∇_jF‖ + ‖W_{j+1}‖‖∇_{j+1}F‖) with tanh between the layers",
        ">=",
        1e-2,
        "tanh(2)/2 = 0.48 and tanh'(2) = 0.07 differ by O(1) at the largest preactivation",
    ),
)


# Measuring ------------------------------------------------------------------------------------------------


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Drift of the matrices along the trajectory, and along descent from its start."""
    network = linear_nets.matrix_chain(problem)
    if network is None or len(network.widths) < 3:
        return deep_linear.nothing(MEASURES)
    numbers: dict[str, Any] = {**deep_linear.setting(problem, network, trajectory)}
    kept = deep_linear.orbit(trajectory)
    if kept is None or not network.linear:
        return deep_linear.nothing(MEASURES).assign(numbers)
    vectors, errors = kept
    _, gradients = values_and_gradients(problem, vectors)
    points = [linear_nets.layers(network, vector) for vector in vectors]
    motion = [linear_nets.layers(network, -gradient) for gradient in gradients]
    scale = max(linear_nets.square_norm(point) for point in points)
    start = linear_nets.conserved(points[0])
    drifts = [float(np.linalg.norm(linear_nets.conserved(point) - start)) for point in points]
    bar = max(
        2.0 * np.linalg.norm(vector) * np.linalg.norm(error)
        for vector, error in zip(vectors, errors, strict=True)
    )
    numbers |= {
        "drift": ratio(max(drifts), scale),
        "norms": ratio(max(_norm_drift(point, points[0]) for point in points), scale),
        "rate": _rate(points, motion),
        "control": _control(problem, network, vectors),
    }
    numbers |= dict.fromkeys(("drift_error", "norms_error"), ratio(float(bar), scale))
    return xr.Dataset({**numbers, **descended(problem, network, trajectory, vectors[0], gradients[0])})


def _norm_drift(point: Matrices, start: Matrices) -> float:
    squares, before = (np.array([np.sum(w**2) for w in layers]) for layers in (point, start))
    return float(np.max(np.abs((squares - squares[-1]) - (before - before[-1]))))


def _rate(points: Sequence[Matrices], motion: Sequence[Matrices]) -> float:
    """The largest ‖dQ/dt‖ over 2 max‖W‖ max‖Ẇ‖."""
    sizes = [max(linear_nets.square_norm(one) for one in many) for many in (points, motion)]
    rates = [linear_nets.conserved_rate(*pair) for pair in zip(points, motion, strict=True)]
    return ratio(
        float(max(np.linalg.norm(rate) for rate in rates)), 2.0 * float(np.sqrt(sizes[0] * sizes[1]))
    )


def _control(problem: Problem, network: Dense, vectors: np.ndarray) -> float:
    """The largest rate of the twin with tanh, at the recorded weights with their first layer scaled up."""
    twin = Problem(Dense(network.widths, "tanh"), problem.loss, problem.data, problem.decay)
    first = int(np.prod(network.widths[:2]))
    scaled = np.array(vectors)
    for vector in scaled:
        largest = np.max(np.abs(deep_linear.rows(problem) @ linear_nets.layers(network, vector)[0].T))
        vector[:first] *= 2.0 / largest if largest > 0.0 else 1.0
    _, gradients = values_and_gradients(twin, scaled)
    worst = 0.0
    for vector, gradient in zip(scaled, gradients, strict=True):
        point, motion = linear_nets.layers(network, vector), linear_nets.layers(network, gradient)
        for j in range(len(point) - 1):
            rate = np.linalg.norm(linear_nets.conserved_rate(point[j : j + 2], motion[j : j + 2]))
            size = sum(2.0 * np.linalg.norm(point[i]) * np.linalg.norm(motion[i]) for i in (j, j + 1))
            worst = max(worst, ratio(float(rate), float(size)))
    return worst


# Running --------------------------------------------------------------------------------------------------


def _problem(rng: np.random.Generator, widths: tuple[int, ...], count: int, kind: str) -> Problem:
    if kind != "reduced":
        return deep_linear.regression(rng, widths, Square(), count, kind)
    targets = np.eye(widths[0], widths[-1]) * rng.uniform(0.5, 3.0, widths[-1])
    data = Data(np.eye(widths[0]), targets)
    return Problem(Dense.deep_linear(widths), Square(), data)


def _start(rng: np.random.Generator, widths: tuple[int, ...], kind: str) -> Matrices:
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
    square, other = (
        ("reduced", "random", "repeated", "deficient"),
        ("random", "repeated", "deficient", "random"),
    )
    plans: list[tuple[tuple[int, ...], int, tuple[str, ...]]] = [
        ((5, 4, 4, 3), 5, square),
        ((6, 4, 2), 10, other),
    ]
    if budget == "full":
        plans += [((6, 3, 5, 2), 4, other), ((4, 5, 4, 6, 3), 4, square)]
    for widths, count, kinds in plans:
        chosen = [(x, w) for x in kinds for w in ("Gaussian", "balanced", "singular")] * rounds
        problems = [_problem(rng, widths, count, x) for x, _ in chosen]
        starts = [_start(rng, widths, w) for _, w in chosen]
        seen = deep_linear.flow_of_layers(problems, starts, RECORDS, f"flow of {widths}")
        sweeps = sweep(problems, np.stack([linear_nets.flat(start) for start in starts]))
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
