"""memo90.theorem4: enough width makes the Hessian singular at every zero of the square loss.

As printed: h_1 = W_1 X, h_k = W_k σ(h_{k−1}), the output h_{H+1} linear, H ≥ 1 hidden layers, no biases, L =
½‖h_{H+1} − Y‖². (Section 3 of the memo puts σ on the output too; the theorem does not.) The condition is N_k N_{k−1}
> n min(N_k, …, N_{H+1}) for one k; it is sufficient, so nothing is asked where it fails. What its proof gives
besides, a kernel of at least N_k N_{k−1} − n min(N_k, …) within one layer, is asked too
(docs/notes/memo90.theorem4.md). That a count of zeros can say none is seen on the other side of the border, on tanh
nets with no more weights than residuals: the control. Linear and ReLU nets have zeros there as well, from rotations
and rescalings: the condition is not necessary.

Settings, before any run. A grid of widths on both sides of the border, H = 1, 2, 3, one to four outputs, six
activations; targets are the network's own outputs at random weights, which are the zero. Derivatives in NumPy
(counting.py; no program is compiled for a shape), against automatic differentiation in the tests.

Counts. At zero loss ∇²L = JᵀJ, and its zeros are counted as P − rank J from singular values, which tell a zero from
a small number at 1e-13 where eigenvalues do at 1e-7; decided by a factor of a thousand, see counting.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria import counting
from gradlab.claims import teachers
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="memo90.theorem4",
    source="memo90",
    statement="At a twice differentiable zero of the square loss of an H-hidden-layer network the Hessian has a zero "
    "eigenvalue, if N_k N_{k−1} > n min(N_k, …, N_{H+1}) for some layer k.",
    formula=r"\exists k:\ N_kN_{k-1}>n\,\min(N_k,\dots,N_{H+1})\ \Rightarrow\ 0\in\operatorname{spec}\nabla^2L(w^*)",
    passage="Section 12.1, Theorem 4 (attributed to Takeuchi)",
    hypotheses=(
        "chain of matrices, no biases, H ≥ 1",
        "zero loss",
        "L twice differentiable at w*",
        "no decay",
    ),
    convention="½‖Ŷ − Y‖²; the factor changes no count. The output is linear, as printed in the theorem.",
)

_COUNT = "a whole number; its error are eigenvalues that are neither rounding nor clear of it"
MEASURES = (
    teachers.SQUARE,
    teachers.PLAIN,
    teachers.ZERO_LOSS,
    teachers.TWICE,
    Measure(
        "chain",
        "one for a chain of two matrices or more, without biases",
        ">=",
        0.5,
        "the network says it",
        role="hypothesis",
    ),
    Measure(
        "missing",
        "1 where a layer is wide enough and no eigenvalue is zero (0 where no layer is)",
        "<=",
        0.5,
        _COUNT,
    ),
    Measure(
        "short",
        "zero eigenvalues short of the largest N_k N_{k−1} − n min(N_k, …), which the proof gives",
        "<=",
        0.5,
        _COUNT,
    ),
    Measure(
        "control",
        "zero eigenvalues of a tanh net with no more weights than residuals, below the border (0 for any other)",
        "<=",
        0.5,
        "generic ∂f of that shape has full rank; a count that always finds zeros would say nothing",
    ),
)


def border(widths: tuple[int, ...], examples: int) -> int:
    """The largest N_k N_{k−1} − n min(N_k, …, N_{H+1}): the condition is that it is positive."""
    layers = enumerate(pairwise(widths), start=1)
    return max(after * before - examples * min(widths[k:]) for k, (before, after) in layers)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The condition, and the eigenvalues that are zero."""
    network = problem.network
    if not isinstance(network, Dense) or network.bias or len(network.widths) < 3:
        return teachers.scalars({measure.id: np.nan for measure in MEASURES} | {"chain": 0.0})
    found = counting.eigenvalues(problem, teachers.end(trajectory))
    examples = problem.data.inputs.shape[0]
    width = border(network.widths, examples)
    count = counting.kernel_at_zero(problem, found.vector)
    residuals = examples * network.outputs
    injective = network.activation.name == "tanh" and problem.size <= residuals and width <= 0
    numbers = {
        **teachers.zero_loss(problem, found),
        "chain": 1.0,
        **teachers.counted("missing", count.short_of(float(width > 0))),
        **teachers.counted("short", count.short_of(max(width, 0))),
        "control": count.number if injective else 0.0,
        "control_error": count.error if injective else 0.0,
        "zeros": count.number,
        "width": width,
        "slack": problem.size - residuals,
        "linear": float(network.linear),
        "smooth": float(network.activation.name not in ("identity", "relu", "leaky_relu")),
    }
    return teachers.scalars(numbers)


#: d, N_1, …, N_{H+1}; n. Condition met by the first, the second, the last layer, by several; on the border; not met.
QUICK: tuple[tuple[tuple[int, ...], int], ...] = (
    ((5, 3, 1), 4),
    ((3, 6, 1), 4),
    ((3, 6, 3, 1), 12),
    ((2, 4, 2), 3),
    ((4, 2, 2), 8),
    ((2, 3, 1), 6),
    ((2, 3, 1), 5),
    ((2, 2, 2), 9),
    ((2, 2, 2, 1), 16),
)
FULL: tuple[tuple[tuple[int, ...], int], ...] = (
    ((3, 5, 1), 15),
    ((3, 5, 1), 14),
    ((3, 4, 4, 1), 15),
    ((3, 4, 4, 1), 16),
    ((2, 5, 4, 2, 1), 7),
    ((2, 2, 5, 5, 2), 10),
    ((2, 2, 5, 5, 2), 13),
    ((4, 6, 3), 8),
    ((4, 6, 3), 20),
    ((3, 3, 2), 10),
    ((2, 10, 1), 30),
    ((6, 4, 4), 6),
    ((6, 4, 4), 5),
)
ACTIVATIONS = ("identity", "tanh", "relu", "sigmoid")
OTHERS = (polynomial((0.0, 1.0, 0.5, 0.25)), smooth_relu(0.3), "leaky_relu", "gelu")


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """The grid of widths with every activation."""
    rng = generator(key)
    grid, activations = (QUICK, ACTIVATIONS) if budget == "quick" else (QUICK + FULL, ACTIVATIONS + OTHERS)
    for widths, examples in grid:
        for activation in activations:
            network = Dense(widths, activation)
            for i in range(1 if budget == "quick" else 3):
                problem, vector = teachers.teacher(rng, network, Square(half=True), examples)
                while counting.near_kink(problem, vector):
                    problem, vector = teachers.teacher(rng, network, Square(half=True), examples)
                label = f"{widths}, n = {examples}, {network.activation.name}, {i + 1}"
                yield Case(label, problem, teachers.resting(vector))


def draw(dataset: xr.Dataset) -> Any:
    """Zero eigenvalues against the condition, and against the number of weights beyond residuals."""
    figure, (left, right) = figures.panels(2, height=3.2)
    linear, smooth = dataset["linear"].values > 0, dataset["smooth"].values > 0
    kinds = {"linear": linear, "(leaky) ReLU": ~linear & ~smooth, "others": smooth}
    for axes, name, label in (
        (left, "width", "largest N_k N_{k−1} − n min(N_k, …)"),
        (right, "slack", "weights − residuals"),
    ):
        figures.scatter(
            {kind: dataset[name].values[rows] for kind, rows in kinds.items() if rows.any()},
            {kind: dataset["zeros"].values[rows] for kind, rows in kinds.items() if rows.any()},
            label,
            "zero eigenvalues",
            diagonal=True,
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "Zero eigenvalues of the Hessian at a zero of the square loss. Right of 0 on the left the theorem's "
        "condition "
        "holds, and every count is on or above the line; left of 0 linear and ReLU nets keep zeros.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="9 shapes (quick) or 22, on both sides of the border, H = 1 to 3, 4 or 8 activations; zeros of the "
    "loss by "
    "the network's own outputs at random weights",
)
