"""cohen.balanced-preserved: W_{j+1}ᵀW_{j+1} = W_jW_jᵀ stays true along gradient flow, and which starts have it.

Settings. ℓ(W) = (1/m) Σ‖Wx_i − y_i‖². Widths (5, 4, 4, 3), m = 14, general, repeated and rank-deficient data:
balanced layers, in random bases, of products of every rank from 1 to 3 and of sizes 0.1, 0.5, 1.
Widths (4, 4, 4), m = 14: the identity in every layer, and Gaussian entries of scale 1e-3. To t = 6, by when the
near-zero starts have left zero (they grow like e^{2σt}, σ ≈ 1 the largest singular value of Σ y xᵀ/m). At
initialisation alone: Gaussian entries of scales 0.1 to 1e-4, 128 independent draws each.

Tolerances. Errors of the flow: 1e-9 relative to ‖W‖ an accepted step, a few hundred steps, without amplification:
1e-7, one decade allowed; 1e-6 of max‖W‖². Orders in the scale are exact in distribution; with 128 draws
a scale, four scales a decade apart and a spread of 0.4 in the logarithm (1.5 for layers of width one), the fitted
slope has standard error 0.4/√128/(√5 ln 10) ≈ 0.007 (0.026); the error bar is three of those as measured. 0.15, as
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import Matrices, balancedness
from gradlab.claims import deep_linear
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import HYPOTHESES, ratio
from gradlab.problem.losses import Square
from gradlab.problem.problem import Problem

SCALES = np.array([1e-1, 1e-2, 1e-3, 1e-4])
DRAWS = 128
NEAR_ZERO = 1e-3
RECORDS = np.linspace(0.0, 6.0, 13)

CLAIM = Claim(
    id="cohen.balanced-preserved",
    source="cohen",
    statement="Gradient flow over a linear network preserves balancedness, W_{j+1}ᵀW_{j+1} = W_jW_jᵀ for all j; it "
    "holds approximately under near-zero initialisation and exactly under residual (identity) initialisation.",
    formula=r"W_{j+1}^\top W_{j+1}=W_jW_j^\top\ \text{at}\ t=0\ \Longrightarrow\ "
    r"W_{j+1}(t)^\top W_{j+1}(t)=W_j(t)W_j(t)^\top\ \ \forall t\ge 0",
    passage="“Trajectories of Gradient Descent for Deep Linear Neural Networks”: Definition (balanced), Claim",
    hypotheses=(
        "linear layers without bias, no weight decay",
        "gradient flow",
        "balanced weights at the start",
    ),
    convention="“Approximately” is absolute, as in the source's own δ-balanced: at scale s the defect is O(s²), "
    "and not small relative to ‖W‖² before the weights have grown. Residual means square layers; a padded identity "
    "is balanced only where every layer has the same rank min(d_j, d_{j−1}).",
)

MEASURES = (
    *HYPOTHESES,
    Measure(
        "start",
        "δ = max_j ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖_F at the start",
        "<=",
        1e-3,
        "zero up to rounding, or approximately, as near-zero weights of scale 1e-3 have it with room to spare",
        role="hypothesis",
    ),
    Measure(
        "preserved",
        "what max_j ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖_F gains along the flow, relative to max_t Σ‖W_j‖²",
        "<=",
        1e-6,
        "the global error of the flow, see the module's docstring",
    ),
    Measure(
        "near_zero",
        "the order in the scale s of the defect of Gaussian weights N(0, s²)",
        "==",
        0.15,
        "the defect is quadratic in the weights",
        target=2.0,
    ),
    Measure(
        "near_zero_relative",
        "the order in s of the defect relative to Σ‖W_j‖²: it does not become small",
        "==",
        0.15,
        "both are quadratic in the weights",
        target=0.0,
    ),
    Measure(
        "identity",
        "the defect of identity layers, square, as many as the network has",
        "<=",
        0.0,
        "IᵀI = IIᵀ, without rounding",
    ),
)


def defect(layers: Matrices) -> float:
    """max_j ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖_F."""
    return max(float(np.linalg.norm(gap)) for gap in balancedness(layers))


@cache
def _near_zero(widths: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The defect, absolute and relative to Σ‖W‖², of independent Gaussian draws: two arrays (SCALES, DRAWS)."""
    rng = np.random.default_rng(0)
    draws = [[deep_linear.gaussian(rng, widths, scale) for _ in range(DRAWS)] for scale in SCALES]
    absolute = np.array([[defect(layers) for layers in row] for row in draws])
    sizes = np.array([[linear_nets.square_norm(layers) for layers in row] for row in draws])
    return absolute, absolute / sizes


def identity(widths: tuple[int, ...]) -> Matrices:
    """The identity in every layer, padded with zeros where it is not square."""
    return tuple(np.eye(after, before) for before, after in pairwise(widths))


def _slope(values: np.ndarray) -> tuple[float, float]:
    """The fitted order in SCALES of values (SCALES, DRAWS), and three standard errors of it."""
    x, y = np.log(SCALES), np.log(values)
    centred = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    error = np.sqrt(np.sum(centred**2 * np.var(y, axis=1, ddof=1) / values.shape[1]))
    return float(centred @ y.mean(axis=1)), 3.0 * float(error)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The defect along a trajectory, and that of near-zero and identity weights of the same network."""
    network = linear_nets.matrix_chain(problem)
    if network is None or len(network.widths) < 3:
        return deep_linear.nothing(MEASURES)
    kept = deep_linear.orbit(trajectory)
    if kept is None:
        return deep_linear.nothing(MEASURES)
    vectors, errors = kept
    points = [linear_nets.layers(network, vector) for vector in vectors]
    sizes = np.array([linear_nets.square_norm(point) for point in points])
    defects = np.array([defect(point) for point in points])
    bars = 2.0 * np.linalg.norm(vectors, axis=1) * np.linalg.norm(errors, axis=1)
    widths = network.widths
    absolute, relative = _near_zero(widths)
    slopes = _slope(absolute), _slope(relative)
    scale = float(sizes.max())
    return xr.Dataset(
        {
            **deep_linear.setting(problem, network, trajectory),
            "start": defects[0],
            "preserved": ratio(float(defects.max() - defects[0]), scale),
            "preserved_error": ratio(float(bars.max()), scale),
            "near_zero": slopes[0][0],
            "near_zero_error": slopes[0][1],
            "near_zero_relative": slopes[1][0],
            "near_zero_relative_error": slopes[1][1],
            "identity": defect(identity((widths[1],) * len(widths))),
            "padded_identity": defect(identity(widths)),
            "t": ("record", trajectory["t"].values.astype(np.float64)),
            "defect": ("record", defects),
            "relative_defect": ("record", defects / np.where(sizes > 0.0, sizes, 1.0)),
            "scale_defect": ("scale", absolute.mean(axis=1)),
            "scale_relative": ("scale", relative.mean(axis=1)),
        }
    )


def starts(rng: np.random.Generator, widths: tuple[int, ...], kind: str, index: int) -> Matrices:
    """Balanced layers of a product whose rank and size go round with ``index``; identity; near-zero weights."""
    if kind == "identity":
        return identity(widths)
    if kind == "near zero":
        return deep_linear.gaussian(rng, widths, NEAR_ZERO)
    full = min(widths[0], widths[-1])
    product = deep_linear.low_rank(rng, (widths[-1], widths[0]), 1 + index % full, (0.1, 0.5, 1.0)[index % 3])
    return deep_linear.balanced(rng, product, widths)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    rng = deep_linear.generator(key)
    plans: list[tuple[tuple[int, ...], list[str]]] = [
        ((5, 4, 4, 3), ["balanced"] * 24),
        ((4, 4, 4), ["identity", "near zero"] * 6),
    ]
    if budget == "full":
        plans += [((6, 3, 5, 2), ["balanced"] * 48), ((4, 4, 4, 4, 4), ["identity", "balanced"] * 12)]
    for widths, kinds in plans:
        data = [("random", "repeated", "deficient")[i // 2 % 3] for i in range(len(kinds))]
        problems = [deep_linear.regression(rng, widths, Square("mean"), 14, x) for x in data]
        weights = [starts(rng, widths, kind, i // 2) for i, kind in enumerate(kinds)]
        seen = deep_linear.flow_of_layers(problems, weights, RECORDS, f"flow of {widths}")
        for i, kind in enumerate(kinds):
            yield Case(f"{kind} start, {widths}, X {data[i]}, {i}", problems[i], seen.isel(member=i))


def draw(dataset: xr.Dataset) -> Any:
    """The defect of Gaussian weights against their scale, and along the flow from three kinds of start."""
    figure, (left, right) = figures.panels(2, height=3.3)
    lines = {
        "absolute: order 2": np.nanmax(dataset["scale_defect"].values, axis=0),
        "relative: order 0": np.nanmax(dataset["scale_relative"].values, axis=0),
    }
    figures.curves(
        SCALES, lines, "scale s of Gaussian weights", "defect at the start", log="xy", markers=True, axes=left
    )
    labels = [str(label) for label in dataset["case"].values]
    chosen = {
        kind: np.array([label.startswith(kind) for label in labels])
        for kind in ("balanced", "identity", "near zero")
    }
    moving = {
        kind: np.nanmax(dataset["relative_defect"].values[mask], axis=0)
        for kind, mask in chosen.items()
        if mask.any()
    }
    t = dataset["t"].values[0]
    figures.curves(
        t,
        {f"{kind} start": line for kind, line in moving.items()},
        "t",
        "defect / Σ‖W‖²",
        log="y",
        axes=right,
    )
    return figures.with_caption(
        figure,
        "The largest ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖. Near-zero weights are balanced in absolute terms only (left); "
        "the flow keeps the absolute defect, so they become balanced relative to their size as they grow (right).",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="widths (5, 4, 4, 3) with balanced starts of rank 1 to 3, (4, 4, 4) with identity and near-zero "
    "starts; general, repeated and rank-deficient data; flow to t = 6 at 1e-9",
)
