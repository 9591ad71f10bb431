"""cohen.end-to-end: balanced layers move their product W_{1:N} as −P_W[∇ℓ(W)] does, unbalanced ones do not.

Settings. Depth 3, widths (5, 4, 4, 3), m = 14, ℓ(W) = (1/m) Σ‖Wx_i − y_i‖²; depth 2, widths (6, 4, 2), m = 10, ℓ_4
loss (1/m) Σ‖Wx_i − y_i‖_4⁴; in the full budget depth 4 and depth 2 and 3 with the other loss. General, repeated
and rank-deficient data; products of full rank and of rank 1, sizes 0.05, 0.4 and 1, and the zero matrix; balanced
layers in random bases. Beside each runs a control with the same product and unbalanced layers: the first tripled,
the last divided by 3 (for the zero product the last layer zero, the others not). Targets are scaled to make
‖∇ℓ(0)‖₂ = 1, the rate of everything that grows, and the flows run to t = 2.

Tolerances. The layers are solved with 1e-9 relative to their norm an accepted step and a few hundred steps, 1e-7 of
error: their rank is kept by any Runge–Kutta method, since units without weights form a linear invariant subspace.
The matrices of deficient rank do not, and the solver of the end-to-end flow leaves them by its error ε. At N = 2
the zero singular value then grows like e^{2‖∇ℓ‖t}, 55-fold at t = 2 and ‖∇ℓ‖ = 1, 3e3-fold at 2: it is solved with
1e-12 a step. For N ≥ 3 it does not grow, but P_W is only Hölder continuous, of exponent 2/N, and ε enters the field
as ε^{2/N}: with 1e-10 a step (less would cost thousands of steps) 2e-7 at N = 3, 1e-5 at N = 4. 1e-5 relative to the
largest ‖W‖ is asked; the differences to coarser solves are the error bars. The velocity is an identity
at the start (rounding 1e-13 by 1e2 of conditioning); later the drift of the layers, 1e-9, enters as (1e-9)^{2/N},
3e-5 at N = 4: it is measured at the start and the full orbit judges the rest. Control: tripling a layer changes
its share of the velocity ninefold, so O(1) of the motion; 1e-2 is visible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import Matrices, apply_preconditioner, end_to_end
from gradlab.claims import deep_linear
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import HYPOTHESES, ratio
from gradlab.dynamics.end_to_end import EndToEndFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from gradlab.observe.local import values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import Lp, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

RECORDS = np.linspace(0.0, 2.0, 9)
#: Relative error a step of the end-to-end flow, at depth 2 and beyond.
PRODUCT_TOLERANCES = (1e-12, 1e-10)

CLAIM = Claim(
    id="cohen.end-to-end",
    source="cohen",
    statement="If W_1, …, W_N are balanced at the start, their product W under gradient flow of the layers follows "
    "dW/dt = −Σ_j (WWᵀ)^{(N−j)/N} ∇ℓ(W) (WᵀW)^{(j−1)/N}: a preconditioned gradient flow of ℓ.",
    formula=r"\frac{d}{dt}\operatorname{vec}[W_{1:N}]=-P_{W_{1:N}}\operatorname{vec}[\nabla\ell(W_{1:N})],\qquad "
    r"P_W=\sum_{j=1}^{N}(W^\top W)^{\frac{j-1}{N}}\otimes(WW^\top)^{\frac{N-j}{N}}",
    passage="“Implicit Preconditioning”, Theorem; P_W from Arora, Cohen, Hazan (2018), Theorem 1 and Claim 1",
    hypotheses=(
        "linear layers without bias, no weight decay",
        "gradient flow",
        "balanced weights at the start",
    ),
    convention="vec stacks columns, vec(AGB) = (Bᵀ ⊗ A) vec(G); with rows stacked the factors of ⊗ change places. "
    "Any differentiable ℓ of W; the source's ℓ_2 and ℓ_p losses are means over examples.",
)

BALANCED = Measure(
    "balanced",
    "‖(W_{j+1}ᵀW_{j+1} − W_jW_jᵀ)_j‖ at the start, relative to Σ‖W_j‖²",
    "<=",
    1e-12,
    "balanced layers are made to rounding",
    role="hypothesis",
)
MEASURES = (
    *HYPOTHESES,
    BALANCED,
    Measure(
        "velocity",
        "at the start: ‖dW/dt + P_W[∇ℓ(W)]‖ relative to ‖P_W[∇ℓ(W)]‖ + ‖dW/dt‖, both by automatic differentiation",
        "<=",
        1e-10,
        "an identity of exactly balanced layers: rounding, conditioning of the powers allowed for",
    ),
    Measure(
        "orbit",
        "max_t ‖W_N⋯W_1 − W‖_F, W solved by the end-to-end flow, relative to the largest ‖W‖",
        "<=",
        1e-5,
        "the global errors of both solves, see the module's docstring",
    ),
    Measure(
        "control",
        "control: the same distance for unbalanced layers with the same product",
        ">=",
        1e-2,
        "the unbalanced velocity differs by O(1), see the module's docstring",
    ),
)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The product along a trajectory against the end-to-end flow from the same start."""
    network = linear_nets.matrix_chain(problem)
    kept = deep_linear.orbit(trajectory)
    if network is None or len(network.widths) < 3 or kept is None:
        return deep_linear.nothing(MEASURES)
    vectors, errors = kept
    points = [linear_nets.layers(network, vector) for vector in vectors]
    numbers = deep_linear.setting(problem, network, trajectory)
    start = float(np.linalg.norm(linear_nets.conserved(points[0])))
    numbers["balanced"] = ratio(start, linear_nets.square_norm(points[0]))
    if numbers["balanced"] > BALANCED.tolerance or not network.linear:
        return deep_linear.nothing(MEASURES).assign(numbers)
    if "end_to_end" not in trajectory:
        trajectory = trajectory.assign(_beside(problem, network, points[0], trajectory["t"].values))
    deep = np.stack([end_to_end(point) for point in points])
    reference = trajectory["end_to_end"].values.reshape(deep.shape)
    other = trajectory["unbalanced"].values.reshape(deep.shape)
    scale = float(max(np.linalg.norm(paths, axis=(1, 2)).max() for paths in (deep, reference, other)))
    gap, away = (np.linalg.norm(paths - reference, axis=(1, 2)) for paths in (deep, other))
    bar = np.linalg.norm(trajectory["end_to_end_error"].values, axis=-1)
    own = [_product_error(point, error) for point, error in zip(points, errors, strict=True)]
    return xr.Dataset(
        {
            **numbers,
            "velocity": _velocity_gap(problem, network, vectors[:1]),
            "orbit": ratio(float(gap.max()), scale),
            "orbit_error": ratio(float(np.max(bar + own)), scale),
            "control": ratio(float(away.max()), scale),
            "control_error": ratio(float(np.max(bar + trajectory["unbalanced_error"].values)), scale),
            "t": ("record", trajectory["t"].values.astype(np.float64)),
            "gap": ("record", gap / (scale or 1.0)),
            "away": ("record", away / (scale or 1.0)),
            "sizes": (("path", "record"), np.linalg.norm(np.stack([deep, reference, other]), axis=(2, 3))),
        }
    )


def _product_error(layers: Matrices, error: np.ndarray) -> float:
    """What an error of the layers can do to their product, first order."""
    norms = [float(np.linalg.norm(layer, 2)) for layer in layers]
    others = [np.prod(norms[:j] + norms[j + 1 :]) for j in range(len(norms))]
    return float(np.linalg.norm(error) * np.sum(others))


def _velocity_gap(problem: Problem, network: Dense, vectors: np.ndarray) -> float:
    """‖dW/dt + P_W[∇ℓ]‖/(‖dW/dt‖ + ‖P_W[∇ℓ]‖) at one point, both gradients by automatic differentiation."""
    layers = linear_nets.layers(network, vectors[0])
    _, gradient = values_and_gradients(problem, vectors)
    motion = linear_nets.layers(network, -gradient[0])
    moved = sum(end_to_end((*layers[:j], motion[j], *layers[j + 1 :])) for j in range(len(layers)))
    W = np.asarray(end_to_end(layers))
    _, flat = values_and_gradients(shallow(problem, network), W.reshape(1, -1))
    predicted = -apply_preconditioner(W, flat.reshape(W.shape), len(layers))
    sizes = float(np.linalg.norm(moved) + np.linalg.norm(predicted))
    return ratio(float(np.linalg.norm(moved - predicted)), sizes)


# Running --------------------------------------------------------------------------------------------------


def shallow(problem: Problem, network: Dense) -> Problem:
    """The depth-one problem of the same loss and data: ℓ as a function of the product."""
    ends = Dense.deep_linear((network.widths[0], network.widths[-1]))
    return Problem(ends, problem.loss, problem.data, problem.decay)


def unbalanced(layers: Matrices) -> Matrices:
    """Matrices of the same product: the first tripled, the last divided by 3; for the product 0, ones at rest only
    in their last layer.
    """
    if not np.any(end_to_end(layers)):
        return (*(np.eye(*layer.shape) for layer in layers[:-1]), np.zeros_like(layers[-1]))
    return (3.0 * layers[0], *layers[1:-1], layers[-1] / 3.0)


def _products(
    problems: Sequence[Problem], network: Dense, layers: Sequence[Matrices], records: np.ndarray
) -> xr.Dataset:
    """The end-to-end flow from every product, as one program."""
    depth = len(network.widths) - 1
    flow = EndToEndFlow(stack([shallow(problem, network) for problem in problems]), depth)
    weights = (np.stack([end_to_end(one) for one in layers]),)
    options: dict[str, Any] = {"observables": (), "keep": "all", "members": len(problems)}
    solver = Adaptive("dopri8", PRODUCT_TOLERANCES[depth > 2])
    name = f"end-to-end flow, depth {depth}"
    return run(flow, weights, records, solver=solver, name=name, **options)


def _companions(network: Dense, product: xr.Dataset, control: xr.Dataset) -> dict[str, Any]:
    """What a case carries beside its own flow: the end-to-end flow and the unbalanced product."""
    points = [linear_nets.layers(network, vector) for vector in control["weights"].values]
    errors = np.linalg.norm(control["weights_error"].values, axis=-1)
    return {
        "end_to_end": (("record", "entry"), product["weights"].values),
        "end_to_end_error": (("record", "entry"), product["weights_error"].values),
        "unbalanced": (("record", "entry"), np.stack([end_to_end(point).ravel() for point in points])),
        "unbalanced_error": (
            "record",
            np.array([_product_error(point, error) for point, error in zip(points, errors, strict=True)]),
        ),
    }


def _beside(problem: Problem, network: Dense, start: Matrices, t: np.ndarray) -> dict[str, Any]:
    """The companions of a run that brings none."""
    control = deep_linear.flow_of_layers([problem], [unbalanced(start)], t, "unbalanced layers")
    product = _products([problem], network, [start], t)
    return _companions(network, product.isel(member=0), control.isel(member=0))


def _problem(
    rng: np.random.Generator, widths: tuple[int, ...], loss: Square | Lp, count: int, x: str
) -> Problem:
    """A regression whose targets are scaled to give ∇ℓ at W = 0, −(p/m) Σ y^{p−1} xᵀ, the spectral norm 1."""
    drawn = deep_linear.regression(rng, widths, loss, count, x)
    inputs, targets = deep_linear.rows(drawn), np.asarray(drawn.data.targets)
    power = loss.p - 1.0 if isinstance(loss, Lp) else 1.0
    slope = (power + 1.0) / count * (np.sign(targets) * np.abs(targets) ** power).T @ inputs
    scaled = targets / np.linalg.norm(slope, 2) ** (1.0 / power)
    return Problem(drawn.network, loss, Data(inputs, scaled))


def _start(rng: np.random.Generator, widths: tuple[int, ...], index: int) -> tuple[str, Matrices]:
    """Balanced layers of a product: full rank twice, rank one, full rank of another size, …, zero at last."""
    shape = (widths[-1], widths[0])
    size = (0.4, 1.0, 0.05)[index % 3]
    rank = 0 if index % 12 == 11 else 1 if index % 4 == 2 else min(shape)
    layers = deep_linear.balanced(rng, deep_linear.low_rank(rng, shape, rank, size), widths)
    return f"W(0) of rank {rank}" + (f" and norm {size}" if rank else ""), layers


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    rng = deep_linear.generator(key)
    plans: list[tuple[tuple[int, ...], int, Square | Lp]] = [
        ((5, 4, 4, 3), 14, Square("mean")),
        ((6, 4, 2), 10, Lp(4.0, "mean")),
    ]
    if budget == "full":
        plans += [((6, 3, 5, 2), 4, Lp(4.0, "mean")), ((6, 4, 2), 10, Square("mean"))]
        plans += [((5, 3, 4, 4, 3), 14, Square("mean")), ((5, 6, 4, 4, 3), 14, Lp(4.0, "mean"))]
    for widths, count, loss in plans:
        data = [("random", "random", "repeated", "deficient")[i // 3] for i in range(12)]
        problems = [_problem(rng, widths, loss, count, x) for x in data]
        words, starts = zip(*(_start(rng, widths, i) for i in range(len(problems))), strict=True)
        network = Dense.deep_linear(widths)
        both = [*starts, *(unbalanced(start) for start in starts)]
        seen = deep_linear.flow_of_layers([*problems, *problems], both, RECORDS, f"flow of {widths}")
        products = _products(problems, network, starts, RECORDS)
        for i, problem in enumerate(problems):
            control = seen.isel(member=len(problems) + i)
            beside = _companions(network, products.isel(member=i), control)
            label = f"depth {len(widths) - 1}, {type(loss).__name__}, X {data[i]}, {words[i]}, {i}"
            yield Case(label, problem, seen.isel(member=i).assign(beside))


def draw(dataset: xr.Dataset) -> Any:
    """The norm of the product in one case, and the distance to the end-to-end flow in all."""
    figure, (left, right) = figures.panels(2, height=3.3)
    t = dataset["t"].values[0]
    deep, reference, other = dataset["sizes"].values[0]
    lines = {"balanced layers": deep, "end-to-end flow": reference, "unbalanced layers": other}
    figures.curves(t, lines, "t", "‖W‖ of the first case", markers=True, axes=left)
    # An exact zero (the product 0 stays there) is drawn at rounding size.
    gaps = {
        label: np.maximum(dataset[name].values[:, 1:], 1e-16)
        for label, name in (("unbalanced", "away"), ("balanced", "gap"))
    }
    figures.curves(
        t[1:],
        {label: np.median(values, axis=0) for label, values in gaps.items()},
        "t",
        "distance to the end-to-end flow",
        bands={label: (values.min(axis=0), values.max(axis=0)) for label, values in gaps.items()},
        log="y",
        markers=True,
        axes=right,
    )
    return figures.with_caption(
        figure,
        "The product of the layers against dW/dt = −P_W[∇ℓ(W)]: balanced layers follow it, unbalanced ones of the "
        "same product do not (median and range over all cases, relative to the largest ‖W‖).",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="depth 3 with the ℓ2 loss, depth 2 with the ℓ4 loss (full: depth 4 too); general, repeated, "
    "rank-deficient data; W(0) of full rank, rank one, near zero and zero; to t = 2, layers at 1e-9, product at "
    "1e-12 (depth 2) or 1e-10",
)
