"""memo90.regularised-square: weight decay and the Hessian of the square loss, at the equilibrium that decay makes.

What is judged. Eq. 29 keeps the sum of squares of eq. 28, valid at zero residuals, and adds λ_k. With decay the
equilibrium has residuals y − f of the order of λ, so that the dropped term 2 Σ E ∂²f is of the order of λ too, as
large as the term that is to make H definite. Judged at the regularised minimum: the printed sum against ∇²L, in
units of λ; and the number of zero eigenvalues. (The term λ_k ‖W_k‖² has the second derivative 2λ_k and eq. 29 prints
λ_k; λ_k is read as that second derivative here, so that this factor refutes nothing.)

Corrected (docs/notes/memo90.regularised-square.md). With the term kept the formula is ∇²L. Rotations of hidden units
W_k ↦ AW_k, W_{k+1} ↦ W_{k+1}Aᵀ change neither f nor any ‖W_k‖ in a linear net, so that their tangents are zero
eigenvectors for every λ; at a regularised minimum these are all, and where there are none (one hidden unit, or a
smooth non-linear σ) H is definite. W = 0 is an equilibrium for every λ where σ(0) = 0; with two layers its least
eigenvalue is the lesser root of (λ_1 − μ)(λ_2 − μ) = (2σ'(0)‖YᵀX‖)², negative for small λ, with more layers it is
min λ_k.

Settings, before any run. Data fitted by a teacher of the same architecture, λ_k of three sizes, different in every
layer; the minimum by Newton steps from the teacher until ‖∇L‖ is rounding. Problems are drawn until it is.

Tolerances. Formulas: rounding, 1e-10 of ‖H‖; the printed one in units of λ 1e-3, far above rounding/λ ~ 1e-10 and
far below the 1 that a term of order λ has. The origin: rounding of eigenvalues, 1e-10 of ‖H‖.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria import counting
from gradlab.analysis.equilibria.rounding import EPS
from gradlab.claims import regularised, teachers
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator
from gradlab.observe.local import automatic_hessian, local
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="memo90.regularised-square",
    source="memo90",
    statement="With terms λ_k‖W_k‖² the Hessian of the square loss is 2 Σ_n ∇f_n∇f_nᵀ + λ_k, definite for every λ "
    "> 0.",
    formula=r"J_{kk'}=-2\sum_n(\nabla_{W_k}f_n)(\nabla_{W_{k'}}f_n)-\lambda_k\delta_{kk'}I\prec 0",
    passage="Section 12.1, eq. 29",
    hypotheses=(
        "square loss",
        "λ_k > 0",
        "an equilibrium of the regularised flow",
        "L twice differentiable there",
    ),
    convention="Σ_n (y_n − f_n)²; λ_k is the second derivative of the penalty (the printed term gives 2λ_k).",
)
CORRECTED = Claim(
    id="memo90.regularised-square-corrected",
    source="memo90",
    statement="At the regularised minimum the Hessian is 2 Σ ∇f∇fᵀ − 2 Σ E ∂²f + λ_k. It is semidefinite; its "
    "kernel is "
    "spanned by rotations among hidden units that the activation treats alike, for every λ: a linear net with two "
    "hidden units or more is never definite, smooth non-linear nets are.",
    formula=r"\nabla^2L=2\sum_n\nabla f_n\nabla f_n^\top-2\sum_nE_n\nabla^2f_n+\Lambda,\qquad"
    r"\ker\nabla^2L=\{(A_kW_k-W_kA_{k-1})_k:\ A_k^\top=-A_k\}",
    passage=CLAIM.passage,
    hypotheses=CLAIM.hypotheses,
    convention=CLAIM.convention,
    corrects=CLAIM.id,
)

_SHARED = (teachers.SQUARE, regularised.DECAYED, regularised.REST, teachers.TWICE)
MEASURES = (
    *_SHARED,
    Measure(
        "formula",
        "‖∇²L − 2 Σ ∇f∇fᵀ − λ_k‖ in units of the least λ_k",
        "<=",
        1e-3,
        "0 if the sum is the Hessian; a term of the order of λ is 1, rounding 1e-10",
    ),
    Measure("zeros", "zero eigenvalues", "<=", 0.5, regularised.COUNT),
    Measure("negative", "negative eigenvalues", "<=", 0.5, regularised.COUNT),
)
CORRECTED_MEASURES = (
    *_SHARED,
    Measure("whole", "‖∇²L − (2 Σ ∇f∇fᵀ − 2 Σ E ∂²f + λ_k)‖/‖∇²L‖", "<=", 1e-10, "rounding, 1e-13"),
    Measure("unexplained", "zero eigenvalues less the dimension of rotations", "==", 0.5, regularised.COUNT),
    Measure("negative", "negative eigenvalues", "<=", 0.5, regularised.COUNT),
    Measure(
        "origin",
        "least eigenvalue at W = 0 against the closed form, in units of ‖H(0)‖ (0 where σ(0) ≠ 0)",
        "<=",
        1e-10,
        "rounding of a symmetric eigenvalue problem, P eps ‖H‖",
    ),
)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The printed and the whole formula against automatic differentiation, and the eigenvalues counted."""
    if not isinstance(problem.loss, Square) or not np.all(np.asarray(problem.decay)):
        unknown = {measure.id: np.nan for measure in (*MEASURES, *CORRECTED_MEASURES)}
        return teachers.scalars(
            unknown
            | {"square": float(isinstance(problem.loss, Square)), "decayed": float(np.min(problem.decay))}
        )
    vector = teachers.end(trajectory)
    found = counting.eigenvalues(problem, vector, equilibrium=True)
    here, H = found.here, automatic_hessian(problem, vector)
    unit, scale = float(np.min(here.decay)), float(np.linalg.norm(H))
    gap = np.linalg.norm(H - here.squares - np.diag(here.decay), 2)
    numbers = {
        "square": 1.0,
        **regularised.numbers(problem, found),
        "formula": float(gap) / unit,
        "formula_error": found.bound / unit,
        "whole": float(np.linalg.norm(H - here.hessian)) / scale,
        "whole_error": found.bound / scale,
        **_origin(problem),
        "residual": teachers.residual(problem, here),
    }
    numbers["unexplained"] = numbers["zeros"] - numbers["rotations"]
    numbers["unexplained_error"] = numbers["zeros_error"]
    return teachers.scalars(numbers)


def _origin(problem: Problem) -> dict[str, float]:
    """The least eigenvalue of ∇²L at W = 0 against its closed form."""
    network = problem.network
    nothing = {"origin": 0.0, "origin_error": 0.0, "origin_least": np.nan}
    if not isinstance(network, Dense) or network.bias or network.activation.name in ("relu", "leaky_relu"):
        return nothing
    sigma, zero = network.activation.derivative, np.zeros(1)
    if len(network.widths) < 3 or sigma(zero, 0)[0] != 0.0:
        return nothing
    here = local(problem, np.zeros(problem.size))
    values = np.linalg.eigvalsh(here.hessian)
    decay = np.broadcast_to(np.asarray(problem.decay), (len(network.widths) - 1,))
    expected = float(decay.min())
    if len(network.widths) == 3:
        x = np.asarray(problem.data.inputs).reshape(len(here.f), -1)
        across = float(sigma(zero, 1)[0] * np.linalg.norm(here.first.T @ x, 2))
        expected = float(decay.mean() - np.hypot(0.5 * (decay[0] - decay[1]), across))
    size = float(np.abs(values).max())
    return {
        "origin": abs(float(values[0]) - expected) / size,
        "origin_error": len(values) * EPS,
        "origin_least": float(values[0]),
    }


#: widths, activation, examples.
QUICK: tuple[tuple[tuple[int, ...], Any, int], ...] = (
    ((4, 3, 1), "identity", 3),
    ((4, 1, 1), "identity", 3),
    ((4, 3, 2), "identity", 3),
    ((3, 3, 2, 1), "identity", 3),
    ((3, 3, 1), "tanh", 4),
    ((3, 3, 3, 1), "tanh", 4),
    ((3, 3, 1), smooth_relu(0.5), 4),
)
FULL: tuple[tuple[tuple[int, ...], Any, int], ...] = (
    ((4, 6, 3), "identity", 6),
    ((3, 4, 4, 2), "identity", 5),
    ((3, 3, 3, 3, 1), "identity", 3),
    ((3, 1, 1, 1), "identity", 3),
    ((3, 6, 1), "tanh", 4),
    ((3, 4, 2), "tanh", 4),
    ((3, 3, 1), "sigmoid", 4),
    ((3, 3, 1), "gelu", 4),
    ((3, 3, 1), polynomial((0.0, 1.0, 0.5, 0.25)), 4),
)
LAMBDAS = (1e-1, 1e-2, 1e-3)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Regularised minima of networks over λ, every layer with its own."""
    rng = generator(key)
    plans, rounds = (QUICK, 1) if budget == "quick" else (QUICK + FULL, 3)
    for widths, activation, examples in plans:
        network = Dense(widths, activation)
        shares = np.linspace(1.0, 2.0, len(widths) - 1)
        for i in range(rounds):
            _, drawn = regularised.drawn(
                rng, network, Square(), examples, [size * shares for size in LAMBDAS]
            )
            for size, (problem, vector) in zip(LAMBDAS, drawn, strict=True):
                label = f"{network.activation.name} {widths}, N = {examples}, λ = {size:.0e}, {i + 1}"
                yield Case(label, problem, teachers.resting(vector))


def draw(dataset: xr.Dataset) -> Any:
    """What eq. 29 leaves out in units of λ, and zero eigenvalues against rotations."""
    figure, (left, right) = figures.panels(2, height=3.2)
    names = dataset["case"].values.astype(str)
    linear = np.char.startswith(names, "identity")
    kinds = {"linear": linear, "non-linear": ~linear}
    figures.scatter(
        {kind: dataset["lambda"].values[rows] for kind, rows in kinds.items()},
        {kind: dataset["formula"].values[rows] for kind, rows in kinds.items()},
        r"$\lambda$",
        r"$\|\nabla^2L$ − eq. 29$\|/\lambda$",
        log="xy",
        axes=left,
    )
    figures.scatter(
        {kind: dataset["rotations"].values[rows] for kind, rows in kinds.items()},
        {kind: dataset["zeros"].values[rows] for kind, rows in kinds.items()},
        "dimension of the orbit of rotations",
        "zero eigenvalues",
        diagonal=True,
        axes=right,
    )
    return figures.with_caption(
        figure,
        "At the regularised minimum. Left: what eq. 29 leaves out is as large as λ, however small λ is. Right: zero "
        "eigenvalues are those of rotations (the line), for every λ.",
    )


_SETTINGS = (
    "7 networks (quick) or 16, λ = 0.1, 0.01, 0.001 with another in every layer, minima polished to rounding"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
