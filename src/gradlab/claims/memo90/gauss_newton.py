"""memo90.gauss-newton: at zero square loss the Hessian is 2 Σ ∇f∇fᵀ, and how many eigenvalues it has.

What is counted. Eq. 28 is followed (section 12.3) by "at most N distinct eigenvalues", for networks with more
weights than examples. An eigenvalue is an eigenvalue, zero too: as printed zero is counted. Then a sum of N outer
products in D > N dimensions has up to N + 1, and one example refutes the count: 2 ∇f∇fᵀ has two. The corrected claim
counts the eigenvalues that are not zero, with multiplicity (the rank), against N C for C outputs, whose sum over n
is one over n and c; and says that zero is there, D − N C times at least (docs/notes/memo90.gauss-newton.md).

Settings, before any run. Zero loss is exact: targets are the network's own outputs at random weights, which are the
point. Dense, convolutional and residual networks, D > N C; ReLU off its kinks. ∇²L by automatic differentiation of
the risk, ∇f of the network.

Tolerances. The sum and ∇²L differ by rounding, and by y − f ~ 1e-16 times ∂²f: 1e-10 in units of ‖H‖ leaves four
decades above it. Counts are known between bounds (hessians.py), zero and distinct decided by a factor of a thousand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.claims import hessians, teachers
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense, Network, Residual
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="memo90.gauss-newton",
    source="memo90",
    statement="At a point of zero square loss the Hessian of an overparametrised deep network is 2 Σ_n ∇f_n ∇f_nᵀ, "
    "positive semidefinite, with at most N distinct eigenvalues.",
    formula=r"J_{kk'}=2\sum_n\bigl(-\nabla_{W_k}f_n\nabla_{W_{k'}}f_n+E_n\nabla^2_{W_kW_{k'}}f_n\bigr)"
    r"=-2\sum_n\nabla_{W_k}f_n\nabla_{W_{k'}}f_n",
    passage="Section 12.1, eq. 28; section 12.3, “Interestingly, for the square loss at w* …”",
    hypotheses=("square loss, no decay", "zero loss", "L twice differentiable at W", "more weights than N"),
    convention="L = Σ_n (y_n − f_n)²; with ½ or the mean all has that factor. Zero is counted as an eigenvalue.",
)
CORRECTED = Claim(
    id="memo90.gauss-newton-corrected",
    source="memo90",
    statement="At a point of zero square loss the Hessian is 2 Σ_n Σ_c ∇f_nc ∇f_ncᵀ: at most N C eigenvalues are not "
    "zero (N for one output), and at least D − N C are.",
    formula=r"\nabla^2L=2J^\top J,\qquad \operatorname{rank}\nabla^2L=\operatorname{rank}J\le\min(D,NC)",
    passage=CLAIM.passage,
    hypotheses=CLAIM.hypotheses,
    convention="Σ_n ‖y_n − f_n‖²; eigenvalues that are not zero counted with multiplicity, hence distinct ones too.",
    corrects=CLAIM.id,
)

_COUNT = "a whole number; its error are eigenvalues or gaps that are neither rounding nor clear of it"
_SHARED = (
    teachers.SQUARE,
    teachers.PLAIN,
    teachers.ZERO_LOSS,
    teachers.TWICE,
    Measure(
        "over", "weights less examples: overparametrised", ">=", 0.5, "a whole number", role="hypothesis"
    ),
    Measure(
        "formula",
        "‖∇²L − 2 Σ ∇f∇fᵀ‖/‖∇²L‖ (all outputs, the loss's own factor)",
        "<=",
        1e-10,
        "rounding and residuals of 1e-16, see the module's docstring; a dropped term would be O(1)",
    ),
    Measure("negative", "negative eigenvalues", "<=", 0.5, _COUNT),
)
MEASURES = (
    *_SHARED,
    Measure(
        "beyond",
        "distinct eigenvalues, zero counted, less N (one output; with several the passage names no number)",
        "<=",
        0.5,
        _COUNT,
    ),
)
CORRECTED_MEASURES = (
    *_SHARED,
    Measure("rank", "eigenvalues that are not zero, less N C", "<=", 0.5, _COUNT),
    Measure("distinct_rank", "distinct eigenvalues that are not zero, less N C", "<=", 0.5, _COUNT),
    Measure("kernel", "zero eigenvalues, less D − N C", ">=", -0.5, _COUNT),
)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The Hessian by automatic differentiation against the sum, and its eigenvalues counted."""
    vector = teachers.end(trajectory)
    found = hessians.point(problem, vector)
    here, examples = found.here, problem.data.inputs.shape[0]
    outer, size = examples * problem.network.outputs, problem.size
    H = hessians.automatic(problem, vector)
    gap, scale = float(np.linalg.norm(H - here.squares)), float(np.linalg.norm(H)) or 1.0
    values, bound = np.linalg.eigvalsh(H), found.bound_at_zero
    every, some = (hessians.distinct(values, bound, nonzero=nonzero) for nonzero in (False, True))
    null, negative = hessians.kernel(values, bound), hessians.below_zero(values, bound)
    numbers = {
        **teachers.zero_loss(problem, found),
        "over": size - examples,
        "formula": gap / scale,
        "formula_error": found.bound / scale,
        **teachers.counted("negative", negative),
        **teachers.counted("beyond", every, examples),
        **teachers.counted("rank", hessians.Count(size - null.number, null.error), outer),
        **teachers.counted("distinct_rank", some, outer),
        **teachers.counted("kernel", null, max(size - outer, 0)),
        # with several outputs nothing is asked
        "beyond_tolerance": 0.5 if problem.network.outputs == 1 else float(size),
    }
    shown = {"outer": outer, "all_distinct": every.number, "some_distinct": some.number, "examples": examples}
    return teachers.scalars(numbers | shown)


_CUBIC = polynomial((0.0, 1.0, 0.5, 0.25))
#: name, network, examples.
QUICK: tuple[tuple[str, Network, int], ...] = (
    ("deep linear", Dense((5, 3, 1), "identity"), 4),
    ("deep linear, 2 outputs", Dense((5, 4, 2), "identity"), 4),
    ("tanh", Dense((4, 4, 1), "tanh"), 6),
    ("tanh, 3 layers", Dense((4, 3, 3, 1), "tanh"), 6),
    ("tanh, 2 outputs, biases", Dense((4, 4, 2), "tanh", bias=True), 6),
    ("ReLU", Dense((4, 4, 3, 1), "relu"), 6),
    ("residual smooth ReLU", Residual(4, 3, 1, 1, smooth_relu(0.5)), 6),
)
FULL: tuple[tuple[str, Network, int], ...] = (
    ("one example", Dense((4, 4, 1), "tanh"), 1),
    ("deep linear, 4 layers", Dense((5, 4, 4, 3, 1), "identity"), 4),
    ("more examples than inputs", Dense((2, 8, 1), "identity"), 8),
    ("GELU, 3 outputs", Dense((5, 6, 3), "gelu"), 5),
    ("sigmoid", Dense((6, 6, 1), "sigmoid"), 12),
    ("polynomial", Dense((4, 4, 1), _CUBIC), 6),
    ("leaky ReLU", Dense((4, 5, 1), "leaky_relu"), 8),
    ("ReLU, 3 outputs", Dense((4, 8, 3), "relu"), 6),
    ("convolutional tanh", Convolutional((1, 4, 4), (3,), outputs=1, activation="tanh"), 6),
    ("convolutional ReLU, 2 outputs", Convolutional((1, 4, 4), (3,), outputs=2), 4),
    ("residual ReLU, 2 outputs", Residual(4, 4, 2, 2), 5),
)
LOSSES = (Square(), Square("mean", half=True))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Networks at the weights that made their targets."""
    rng = generator(key)
    plans, rounds = (QUICK, 3) if budget == "quick" else ((*QUICK, *FULL), 6)
    for name, network, examples in plans:
        for i in range(rounds):
            # another loss is another program: one of them only
            loss = LOSSES[1] if i == rounds - 1 and name == "tanh" else LOSSES[0]
            problem, vector = teachers.teacher(rng, network, loss, examples)
            yield Case(
                f"{name}, N = {examples}, {problem.size} weights, {i + 1}", problem, teachers.resting(vector)
            )


def draw(dataset: xr.Dataset) -> Any:
    """Distinct eigenvalues against the number of outer products, zero counted and not."""
    outer, names = dataset["outer"].values, {"with zero": "all_distinct", "without": "some_distinct"}
    figure, (axes,) = figures.panels(1, height=3.4, width=4.6)
    figures.scatter(
        dict.fromkeys(names, outer),
        {label: dataset[name].values for label, name in names.items()},
        "N C, the outer products summed",
        "distinct eigenvalues",
        diagonal=True,
        axes=axes,
    )
    return figures.with_caption(
        figure,
        "Distinct eigenvalues of the Hessian at zero square loss; the line is N C. With zero it is one more.",
    )


_SETTINGS = (
    "7 networks (quick) or 18, targets of their own at random weights, N from 1 to 12, 3 or 6 draws each"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
