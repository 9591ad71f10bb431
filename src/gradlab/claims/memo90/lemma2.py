"""memo90.lemma2: whether weight decay, however small, makes the linearised dynamics of a deep network hyperbolic.

What is judged. At regularised minima of deep nets, followed from a zero minimiser (square loss; exponential loss:
separating weights), polished until ∇L is rounding: zero eigenvalues (hyperbolic: none), negative ones (eqs. 29, 36:
definite), and "their minimum norm solution" in the limit: whether another regularised minimum of the same problem,
reached from another start, has a smaller potential; as λ → 0 under the square loss potential/λ is half the norm. Not
judged here: that flows are conjugate where the equilibrium is hyperbolic, which is the Hartman–Grobman theorem.

ReLU. Regularised minima of ReLU nets often lie on kinks, where the linearised dynamics does not exist; such points
do not meet the hypotheses. The cases are minima off the kinks (drawn until they are), with positive inputs.

Corrected (docs/notes/memo90.lemma2.md). The zero eigenvectors are the rotations among hidden units that the
activation treats alike: all of a layer in a linear net, those with one activation pattern in a ReLU net. The
equilibrium is hyperbolic where that orbit is a point, for linear nets with one hidden unit a layer and for smooth
non-linear nets; elsewhere for no λ. And an equilibrium is a stationary point of ½Σ λ_k‖W_k‖² at fixed outputs, not
the least one.

Settings, before any run. λ = 0.1, 0.01, 0.001 as far as data are fitted; width 1 to more weights than examples;
three other starts a case.

Tolerances. Counts: decided by a factor of a thousand, see counting.py. Potentials of one minimum reached twice agree
to rounding, 1e-13 relative; different minima are told at 1e-6. Stationarity: ‖∇L‖ at its rounding over λ‖W‖, 1e-9 at
most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims import regularised, teachers
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator
from gradlab.observe.local import Local, local
from gradlab.problem.activations import leaky_relu, polynomial, smooth_relu
from gradlab.problem.losses import Exponential, Logistic, Loss, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="memo90.lemma2",
    source="memo90",
    statement="Terms λ_k‖W_k‖² ensure hyperbolicity of the linearised dynamics around a zero minimiser for any "
    "λ_k > 0, "
    "for deep networks under both losses; nonlinear and linearised flows then converge to their minimum norm "
    "solution "
    "as λ_k → 0.",
    formula=r"J_{kk'}=-\frac{\partial^2L}{\partial W_k\partial W_{k'}}-\lambda_k\delta_{kk'}I\prec 0\quad"
    r"\text{for every }\lambda_k>0",
    passage="Section 5.2, Lemma 2; section 12.1, eq. 29; section 12.2, eq. 36",
    hypotheses=(
        "square or exponential loss",
        "λ_k > 0",
        "an equilibrium of the regularised flow near a zero minimiser (E small, or the data separated)",
        "L twice differentiable there",
    ),
    convention="½ λ_k ‖W_k‖² in the potential: the field has −λ_k W_k, as eqs. 8 and 33 print.",
)
CORRECTED = Claim(
    id="memo90.lemma2-corrected",
    source="memo90",
    statement="At a regularised minimum the Hessian is semidefinite, and its kernel is the tangent of the "
    "rotations among "
    "hidden units that the activation treats alike: hyperbolic where there are none, never for a linear net with two "
    "hidden units or more. The equilibrium is stationary for Σ λ_k‖W_k‖² at fixed outputs.",
    formula=r"\dim\ker\nabla^2L=\dim\{(A_kW_k-W_kA_{k-1})_k\},\qquad "
    r"\Lambda W=-\sum_n\ell'_n\nabla f_n\in\operatorname{im}J^\top",
    passage=CLAIM.passage,
    hypotheses=CLAIM.hypotheses,
    convention=CLAIM.convention,
    corrects=CLAIM.id,
)

#: Share of the potential by which two minima are told apart.
LOWER = 1e-6
#: Residuals, or the least margin, of what counts as near a zero minimiser.
NEAR = 0.9
_SHARED = (
    Measure(
        "tail",
        "one under the square loss or one with an exponential tail",
        ">=",
        0.5,
        "the loss",
        role="hypothesis",
    ),
    regularised.DECAYED,
    regularised.REST,
    teachers.TWICE,
    Measure(
        "near",
        "‖y − f‖/‖y‖, or under a loss of margins 1 less the least y f over the largest: near a zero minimiser",
        "<=",
        NEAR,
        "fitted or separated: at 1 nothing is fitted, or a point is on the wrong side",
        role="hypothesis",
    ),
)
MEASURES = (
    *_SHARED,
    Measure("zeros", "zero eigenvalues", "<=", 0.5, regularised.COUNT),
    Measure("negative", "negative eigenvalues", "<=", 0.5, regularised.COUNT),
    Measure(
        "lower",
        "1 where another regularised minimum of the problem has a potential lower by a millionth or more",
        "<=",
        0.5,
        "0 or 1; one minimum reached twice agrees to 1e-13",
    ),
)
CORRECTED_MEASURES = (
    *_SHARED,
    Measure("unexplained", "zero eigenvalues less the dimension of rotations", "==", 0.5, regularised.COUNT),
    Measure("negative", "negative eigenvalues", "<=", 0.5, regularised.COUNT),
    Measure(
        "stationary",
        "part of ΛW outside the span of ∂f(x_n)/∂W, relative",
        "<=",
        1e-6,
        "0 at an equilibrium; ‖∇L‖/‖ΛW‖ ≤ 1e-9 is left of it",
    ),
)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The eigenvalues at the equilibrium, and whether another one (``rivals`` of the trajectory) is lower."""
    tail = isinstance(problem.loss, Square | Exponential | Logistic)
    if not tail or not np.all(np.asarray(problem.decay)):
        unknown = {measure.id: np.nan for measure in (*MEASURES, *CORRECTED_MEASURES)}
        return teachers.scalars(unknown | {"tail": float(tail), "decayed": float(np.min(problem.decay))})
    found = counting.eigenvalues(problem, teachers.end(trajectory), equilibrium=True)
    here, own = found.here, minimising.potential(problem, found.vector)
    rivals = trajectory["rivals"].values if "rivals" in trajectory else found.vector[None]
    lowest = min(own, *(minimising.potential(problem, rival) for rival in rivals))
    pulled = here.decay * found.vector
    size = float(np.linalg.norm(pulled)) or 1.0
    apart = pulled - here.rows.T @ np.linalg.lstsq(here.rows.T, pulled, rcond=None)[0]
    numbers = {
        "tail": 1.0,
        **regularised.numbers(problem, found),
        "near": _near(problem, here),
        "lower": float(1.0 - lowest / own > LOWER),
        "excess": 1.0 - lowest / own,
        "stationary": float(np.linalg.norm(apart)) / size,
        "stationary_error": found.noise / size,
        "exponential": float(problem.loss.kind == "margin"),
    }
    numbers["unexplained"] = numbers["zeros"] - numbers["rotations"]
    numbers["unexplained_error"] = numbers["zeros_error"]
    return teachers.scalars(numbers)


def _near(problem: Problem, here: Local) -> float:
    targets = np.asarray(problem.data.targets)
    if problem.loss.kind == "residual":
        return float(np.linalg.norm(targets - here.f) / np.linalg.norm(targets))
    margins = targets * here.f[:, 0]
    return float(1.0 - margins.min() / np.abs(margins).max())


#: name, widths, activation, examples, inputs positive, losses.
BOTH = (Square(half=True), Exponential())
QUICK: tuple[tuple[tuple[int, ...], Any, int, bool, tuple[Loss, ...]], ...] = (
    ((3, 1, 1), "identity", 2, False, BOTH),
    ((3, 3, 1), "identity", 2, False, BOTH),
    ((3, 3, 3, 1), "identity", 2, False, BOTH),
    ((2, 3, 1), "tanh", 3, False, BOTH),
    ((3, 2, 1), "relu", 2, True, BOTH[:1]),
    ((2, 3, 1), smooth_relu(0.5), 3, False, BOTH),
)
FULL: tuple[tuple[tuple[int, ...], Any, int, bool, tuple[Loss, ...]], ...] = (
    ((3, 1, 1, 1), "identity", 2, False, BOTH),
    ((3, 6, 1), "identity", 3, False, (*BOTH, Logistic())),
    ((3, 4, 2), "identity", 3, False, BOTH[:1]),
    ((3, 2, 3, 2, 1), "identity", 2, False, BOTH),
    ((2, 1, 1), "tanh", 1, False, BOTH),
    ((3, 4, 1), "tanh", 5, False, (*BOTH, Logistic())),
    ((2, 3, 3, 1), "tanh", 3, False, BOTH),
    ((2, 3, 1), "sigmoid", 3, False, BOTH),
    ((2, 3, 1), polynomial((0.0, 1.0, 0.5, 0.25)), 3, False, BOTH[:1]),
    ((3, 1, 1), "relu", 2, True, BOTH),
    ((3, 2, 1), leaky_relu(0.3), 2, True, BOTH),
)
LAMBDAS = (1e-1, 1e-2, 1e-3)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Regularised minima from the teacher's weights over λ, each with those from three other starts."""
    rng = generator(key)
    plans, rounds = (QUICK, 1) if budget == "quick" else (QUICK + FULL, 3)
    for widths, activation, examples, positive, losses in plans:
        network = Dense(widths, activation)
        for loss in losses:
            for i in range(rounds):
                _, drawn = regularised.drawn(rng, network, loss, examples, LAMBDAS, positive)
                starts = [teachers.weights(rng, network) for _ in range(3)]
                for size, (problem, vector) in zip(LAMBDAS, drawn, strict=True):
                    if _near(problem, local(problem, vector)) > NEAR:
                        continue
                    rivals = np.stack([minimising.minimum(problem, start) for start in starts])
                    name = f"{network.activation.name} {widths}, {type(loss).__name__}"
                    label = f"{name}, N = {examples}, λ = {size:.0e}, {i + 1}"
                    more = {"rivals": (("start", "weight"), rivals)}
                    yield Case(label, problem, teachers.resting(vector, **more))


def draw(dataset: xr.Dataset) -> Any:
    """Zero eigenvalues against rotations; the least eigenvalue in units of λ against λ."""
    figure, (left, right) = figures.panels(2, height=3.2)
    names = dataset["case"].values.astype(str)
    linear, relu = np.char.startswith(names, "identity"), np.char.find(names, "relu (") >= 0
    relu &= ~np.char.startswith(names, "smooth")
    kinds = {"linear": linear, "(leaky) ReLU": relu, "smooth": ~linear & ~relu}
    kinds = {kind: rows for kind, rows in kinds.items() if rows.any()}
    figures.scatter(
        {kind: dataset["rotations"].values[rows] for kind, rows in kinds.items()},
        {kind: dataset["zeros"].values[rows] for kind, rows in kinds.items()},
        "dimension of the orbit of rotations",
        "zero eigenvalues",
        diagonal=True,
        axes=left,
    )
    figures.scatter(
        {kind: dataset["lambda"].values[rows] for kind, rows in kinds.items()},
        {kind: np.maximum(np.abs(dataset["least"].values[rows]), 1e-17) for kind, rows in kinds.items()},
        r"$\lambda$",
        "|least eigenvalue| / λ",
        log="xy",
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Hessians at regularised minima. Left: zero eigenvalues are those of rotations (the line). Right: where "
        "there "
        "are rotations the least eigenvalue is rounding for every λ; elsewhere it is of the order of λ.",
    )


_SETTINGS = "6 networks (quick) or 17, square and exponential loss, λ = 0.1 to 0.001, polished to rounding"
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
