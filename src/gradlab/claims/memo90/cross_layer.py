"""memo90.cross-layer: derivatives across layers break the bound of N distinct eigenvalues under the exponential loss.

What is judged. Eqs. 45 and 46: ∂²f of W_2 σ(W_1 x) and the Hessian of the two-layer linear net, indices supplied
(δ_{1k} W_2 stands for ∂f/∂W_1 = W_2ᵀσ' x, and so on), against automatic differentiation; and that "this bound is
generically broken": more than N distinct eigenvalues, zero counted, at random weights that separate the data (labels
are the signs of the net itself), for overparametrised nets, D > N, "deep linear nets too". Not judged: "simple outer
products", and that λ does not change the number of distinct eigenvalues at one point, which is plain.

Corrected. The second term of eq. 46 has eigenvalues ±‖u‖, u = Σ y_n e^{−y_n f_n} x_n, each as often as there are
hidden units, and the first lives in r = rank X dimensions. So a two-layer linear net with h hidden units has exactly
2 min(r, h) + r − 1 + 2 [h > r] distinct eigenvalues besides zero at generic weights, however many weights or
examples there are (docs/notes/memo90.cross-layer.md): the bound N is broken if r = N, and kept if N > 3r + 1 and h >
r. With a smooth σ, σ'' ≠ 0, there are h (r + 1), all that weights in the span of the data can give.

Settings, before any run. Two and three layers; linear, tanh, smooth ReLU; N up to and beyond the dimension of the
inputs. ReLU nets, where units switch off, are drawn until every example activates a unit.

Tolerances. Formulas differ by rounding: 1e-10. Two eigenvalues are equal within twice their bound and distinct
beyond a thousand times that (counting.py); what lies between is the error of the count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria import counting
from gradlab.claims import teachers
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator
from gradlab.observe.local import automatic_hessian, outputs
from gradlab.problem.activations import smooth_relu
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="memo90.cross-layer",
    source="memo90",
    statement="With two layers or more under the exponential loss, derivatives across layers give the Hessian "
    "more than N "
    "distinct eigenvalues: the bound N of one layer is generically broken, for deep linear nets too.",
    formula=r"H_{lin}=\sum_n\bigl[(\delta_{k1}W_2+\delta_{k2}W_1)(\delta_{k'1}W_2+\delta_{k'2}W_1)x_nx_n^\top"
    r"-y_n(\delta_{k1}\delta_{k'2}+\delta_{k'1}\delta_{k2})x_n\bigr]e^{-y_nW_2W_1x_n}",
    passage="Section 12.3.2, case 2, eqs. 45 and 46",
    hypotheses=(
        "exponential loss, no decay",
        "two layers or more",
        "more weights than N",
        "the data are separated",
    ),
    convention="Σ_n e^{−y_n f_n}; distinct eigenvalues with zero among them, which is generous to “more than N”.",
)
CORRECTED = Claim(
    id="memo90.cross-layer-corrected",
    source="memo90",
    statement="The bound N is broken where the inputs are linearly independent. A two-layer linear net with h "
    "hidden units "
    "and inputs of rank r has 2 min(r, h) + r − 1 + 2 [h > r] distinct eigenvalues besides zero at generic "
    "weights, at "
    "most 3r + 1 whatever N; with smooth non-linear units there are h (r + 1).",
    formula=r"\#\{\mu\ne 0\}=2\min(r,h)+r-1+2\,[h>r]",
    passage=CLAIM.passage,
    hypotheses=CLAIM.hypotheses,
    convention=CLAIM.convention,
    corrects=CLAIM.id,
)

_SHARED = (
    Measure(
        "exponential", "one under the exponential loss", ">=", 0.5, "the loss says it", role="hypothesis"
    ),
    teachers.PLAIN,
    teachers.TWICE,
    Measure(
        "layers",
        "layers of a network of matrices without biases",
        ">=",
        1.5,
        "two at least",
        role="hypothesis",
    ),
    Measure("over", "weights less examples", ">=", 0.5, "a whole number", role="hypothesis"),
    Measure(
        "margin",
        "least y f over the largest: separated",
        ">=",
        1e-6,
        "a sign; outputs are rounded at 1e-15 of the largest",
        role="hypothesis",
    ),
    Measure(
        "formula",
        "‖eq. 45 or 46 − ∇²L‖/‖∇²L‖ (two layers; 0 where there are more)",
        "<=",
        1e-10,
        "the same sum in another order: rounding, 1e-13; a missing term would be O(1)",
    ),
)
_COUNT = "a count of clusters, whose error are the gaps that are neither rounding nor clear"
MEASURES = (*_SHARED, Measure("broken", "distinct eigenvalues less N", ">=", 0.5, _COUNT))
CORRECTED_MEASURES = (
    *_SHARED,
    Measure(
        "independent",
        "distinct eigenvalues less N, where the inputs are independent and no unit is off (nothing asked elsewhere)",
        ">=",
        0.5,
        _COUNT,
    ),
    Measure(
        "law",
        "distinct eigenvalues besides zero, less 2 min(r, h) + r − 1 + 2 [h > r] (linear) or h (r + 1) (smooth); "
        "0 for "
        "three layers or more and ReLU, of which the law says nothing",
        "==",
        0.5,
        _COUNT,
    ),
)


def printed(problem: Problem, network: Dense, vector: np.ndarray) -> np.ndarray:
    """Eqs. 45 and 46 with their indices: Σ e^{−yf} (∂f∂fᵀ − y ∂²f) of W_2 σ(W_1 x), block by block."""
    sigma = network.activation.derivative
    x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    d, h, _ = network.widths
    W1, W2 = vector[: h * d].reshape(h, d), vector[h * d :]
    total = np.zeros((len(vector), len(vector)))
    for xn, yn in zip(x, y, strict=True):
        z = W1 @ xn
        below, above = np.outer(W2 * sigma(z, 1), xn).ravel(), sigma(z, 0)
        first = np.concatenate([below, above])
        same = np.kron(np.diag(W2 * sigma(z, 2)), np.outer(xn, xn))
        across = np.kron(np.diag(sigma(z, 1)), xn[:, None])
        second = np.block([[same, across], [across.T, np.zeros((h, h))]])
        total += np.exp(-yn * (W2 @ above)) * (np.outer(first, first) - yn * second)
    return total


def law(rank: int, hidden: int) -> int:
    """Distinct eigenvalues besides zero of a two-layer linear net, at generic weights."""
    return 2 * min(rank, hidden) + rank - 1 + 2 * (hidden > rank)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Eqs. 45 and 46 against automatic differentiation, and the distinct eigenvalues counted."""
    network = problem.network
    if not isinstance(network, Dense) or network.bias or not isinstance(problem.loss, Exponential):
        unknown = {measure.id: np.nan for measure in (*MEASURES, *CORRECTED_MEASURES)}
        return teachers.scalars(
            unknown | {"exponential": float(isinstance(problem.loss, Exponential)), "layers": 0.0}
        )
    vector = teachers.end(trajectory)
    found = counting.eigenvalues(problem, vector)
    examples, size, layers = problem.data.inputs.shape[0], problem.size, len(network.widths) - 1
    H = automatic_hessian(problem, vector)
    scale, values = float(np.linalg.norm(H)) or 1.0, np.linalg.eigvalsh(H)
    factor = problem.factor / (examples if problem.loss.reduction == "mean" else 1.0)
    gap = float(np.linalg.norm(factor * printed(problem, network, vector) - H)) if layers == 2 else 0.0
    every, some = (counting.distinct(values, found.bound, nonzero=nonzero) for nonzero in (False, True))
    margins = np.asarray(problem.data.targets) * found.here.f[:, 0]
    rank = counting.decided_rank(np.asarray(problem.data.inputs).reshape(examples, -1))
    numbers = {
        "exponential": 1.0,
        "plain": float(np.max(np.asarray(problem.decay))),
        "kink": found.kink,
        "layers": layers,
        "over": size - examples,
        "margin": float(margins.min() / np.abs(margins).max()),
        "formula": gap / scale,
        "formula_error": found.bound / scale if layers == 2 else 0.0,
        **teachers.counted("broken", every, examples),
        **teachers.counted("independent", every, examples),
        **_law(network, rank, some),
        "examples": examples,
        "distinct": every.number,
        "rank": rank,
        "linear": float(network.linear),
    }
    rectified = network.activation.name in ("relu", "leaky_relu")
    numbers["independent_tolerance"] = 0.5 if rank == examples and not rectified else -float(examples)
    return teachers.scalars(numbers)


def _law(network: Dense, rank: float, some: counting.Count) -> dict[str, float]:
    if len(network.widths) != 3 or network.activation.name in ("relu", "leaky_relu"):
        return {"law": 0.0, "law_error": 0.0}
    if not np.isfinite(rank):
        return {"law": np.nan, "law_error": 0.0}
    hidden = network.widths[1]
    expected = law(int(rank), hidden) if network.linear else hidden * (int(rank) + 1)
    return teachers.counted("law", some, expected)


#: name, widths, activation, examples.
QUICK: tuple[tuple[str, tuple[int, ...], Any, int], ...] = (
    ("linear", (5, 3, 1), "identity", 4),
    ("linear, one hidden unit", (5, 1, 1), "identity", 4),
    ("linear, many examples", (2, 10, 1), "identity", 14),
    ("tanh", (4, 4, 1), "tanh", 4),
    ("tanh, many examples", (2, 6, 1), "tanh", 14),
    ("linear, 3 layers", (5, 3, 3, 1), "identity", 4),
    ("tanh, 3 layers", (4, 3, 3, 1), "tanh", 4),
)
FULL: tuple[tuple[str, tuple[int, ...], Any, int], ...] = (
    ("linear, one example", (4, 3, 1), "identity", 1),
    ("linear, one input", (1, 8, 1), "identity", 6),
    ("linear, wide", (4, 9, 1), "identity", 3),
    ("linear, 7 of 3", (3, 4, 1), "identity", 7),
    ("linear, 12 of 3", (3, 6, 1), "identity", 12),
    ("smooth ReLU", (4, 4, 1), smooth_relu(0.3), 4),
    ("sigmoid, 9 of 3", (3, 5, 1), "sigmoid", 9),
    ("linear, 4 layers", (5, 3, 3, 2, 1), "identity", 5),
    ("tanh, one example", (4, 3, 1), "tanh", 1),
)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Networks at random weights, labels the signs of their outputs."""
    rng = generator(key)
    plans, rounds = (QUICK, 3) if budget == "quick" else ((*QUICK, *FULL), 8)
    for name, widths, activation, examples in plans:
        for i in range(rounds):
            problem, vector = teachers.teacher(rng, Dense(widths, activation), Exponential(), examples)
            while _margin(problem, vector) < 1e-3:
                problem, vector = teachers.teacher(rng, Dense(widths, activation), Exponential(), examples)
            label = f"{name}, {widths}, N = {examples}, {i + 1}"
            yield Case(label, problem, teachers.resting(vector))


def _margin(problem: Problem, vector: np.ndarray) -> float:
    f = np.abs(outputs(problem, vector))
    return float(f.min() / f.max()) if f.any() else 0.0


def draw(dataset: xr.Dataset) -> Any:
    """Distinct eigenvalues against N, linear and not."""
    linear = dataset["linear"].values > 0
    kinds = {"linear": linear, "non-linear": ~linear}
    figure, (axes,) = figures.panels(1, height=3.4, width=4.6)
    figures.scatter(
        {kind: dataset["examples"].values[rows] for kind, rows in kinds.items()},
        {kind: dataset["distinct"].values[rows] for kind, rows in kinds.items()},
        "N, examples",
        "distinct eigenvalues",
        diagonal=True,
        axes=axes,
    )
    return figures.with_caption(
        figure,
        "Distinct eigenvalues of the Hessian under the exponential loss. Above the line the bound N is broken; a "
        "two-layer linear net stays below it where examples outnumber 3 d + 2.",
    )


_SETTINGS = "7 networks (quick) or 16 of two to four layers, at random separating weights, 3 or 8 draws each"
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
