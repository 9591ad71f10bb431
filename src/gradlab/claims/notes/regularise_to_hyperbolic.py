"""notes.regularise-to-hyperbolic: weight decay *can* turn a degenerate minimum of a deep net into a hyperbolic one.

What is judged. The statement is of possibility ("can", "can be pos. def.", "may happen when residuals are small"):
that there are deep nets whose zero-loss minimum is degenerate and whose regularised minimum, residuals small, is
hyperbolic. Asked of nets without continuous symmetry: smooth non-linear units, and linear nets of one hidden unit a
layer, over λ = 1e-5 to 0.1 as far as residuals are below a fifth. Linear nets with more hidden units, where
rotations keep zeros for every λ, are in the study as what "can" does not cover, and the study asks of them that
zeros stay.

The two points of a case: the zero of the loss that a teacher is, and the minimum reached from it with decay,
polished until ∇L is rounding. (Where no zero is given, Gauss–Newton steps look for one from the minimum.) The
passage's formula for H has −λ and is judged under notes.deep-hessian.

Counts are decided by a factor of a thousand, see counting.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria import counting, minimising
from gradlab.claims import regularised, teachers
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import generator
from gradlab.observe.local import outputs
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="notes.regularise-to-hyperbolic",
    source="notes",
    statement="Under the square loss weight decay can turn a degenerate minimum of a deep net into a hyperbolic "
    "one, when "
    "all residuals are small.",
    formula=r"E_n\approx\varepsilon\ \forall n:\qquad H=\sum_n\frac{\partial f}{\partial W}\frac{\partial f}"
    r"{\partial W'}-E_n\frac{\partial^2f}{\partial W\partial W'}+\lambda I\quad\text{can be positive definite}",
    passage="“Extension to deep nets via H.G for square loss”",
    hypotheses=("square loss", "λ > 0", "residuals small", "L twice differentiable"),
    convention="½ Σ ‖y − f‖² + λ/2 ‖W‖²; H with the sign of λ corrected.",
)
SMALL = 0.2
MEASURES = (
    teachers.SQUARE,
    regularised.DECAYED,
    regularised.REST,
    teachers.TWICE,
    Measure(
        "residual",
        "‖y − f‖/‖y‖ at the regularised minimum: small",
        "<=",
        SMALL,
        "a fifth: E² is below 4 % of the data",
        role="hypothesis",
    ),
    Measure(
        "fitted",
        "‖y − f‖/‖f‖ at the zero of the loss",
        "<=",
        teachers.ZERO,
        "rounding of outputs",
        role="hypothesis",
    ),
    Measure(
        "before", "zero eigenvalues at the zero of the loss, λ = 0: degenerate", ">=", 0.5, regularised.COUNT
    ),
    Measure(
        "after",
        "eigenvalues that are not positive at the regularised minimum (0 for linear nets of two hidden units or "
        "more)",
        "<=",
        0.5,
        regularised.COUNT,
    ),
    Measure(
        "kept",
        "1 where a linear net of two hidden units or more loses its zeros by λ (0 for all others)",
        "<=",
        0.5,
        "rotations of hidden units change neither f nor a norm; " + regularised.COUNT,
    ),
)


@float64
def plain(problem: Problem) -> Problem:
    """The problem without decay."""
    return eqx.tree_at(lambda p: p.decay, problem, jnp.zeros_like(problem.decay))


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The eigenvalues at the regularised minimum and at the zero of the loss beside it."""
    if not isinstance(problem.loss, Square) or not np.all(np.asarray(problem.decay)):
        unknown = {measure.id: np.nan for measure in MEASURES}
        return teachers.scalars(
            unknown
            | {"square": float(isinstance(problem.loss, Square)), "decayed": float(np.min(problem.decay))}
        )
    vector, bare = teachers.end(trajectory), plain(problem)
    after = counting.eigenvalues(problem, vector, equilibrium=True)
    zero = trajectory["zero"].values if "zero" in trajectory else minimising.interpolant(bare, vector)
    before = counting.eigenvalues(bare, zero)
    zeros, negative = (count(after.values, after.bound) for count in (counting.kernel, counting.below_zero))
    network = problem.network
    turns = isinstance(network, Dense) and network.linear and max(network.widths[1:-1], default=1) > 1
    targets = np.asarray(problem.data.targets)
    numbers = {
        "square": 1.0,
        **regularised.numbers(problem, after),
        "residual": float(np.linalg.norm(targets - after.here.f) / np.linalg.norm(targets)),
        "fitted": teachers.residual(bare, before.here),
        **teachers.counted("before", counting.kernel_at_zero(bare, before.vector)),
        "after": 0.0 if turns else zeros.number + negative.number,
        "after_error": 0.0 if turns else zeros.error + negative.error,
        **teachers.counted("kept", zeros.short_of(float(turns))),
    }
    return teachers.scalars(numbers)


#: widths, activation, examples.
QUICK: tuple[tuple[tuple[int, ...], Any, int], ...] = (
    ((3, 1, 1), "identity", 2),
    ((3, 3, 1), "identity", 2),
    ((3, 3, 1), "tanh", 4),
    ((2, 3, 3, 1), "tanh", 3),
    ((3, 3, 1), smooth_relu(0.5), 4),
    ((3, 3, 1), polynomial((0.0, 1.0, 0.5, 0.25)), 4),
)
FULL: tuple[tuple[tuple[int, ...], Any, int], ...] = (
    ((3, 1, 1, 1), "identity", 2),
    ((3, 4, 2), "identity", 3),
    ((3, 3, 3, 1), "identity", 2),
    ((3, 8, 1), "tanh", 4),
    ((3, 4, 2), "tanh", 3),
    ((3, 3, 1), "gelu", 4),
    ((3, 3, 1), "sigmoid", 4),
)
LAMBDAS = 10.0 ** np.arange(-5.0, 0.0)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Regularised minima over λ, of problems fitted by a teacher, as far as residuals are small."""
    rng = generator(key)
    plans, rounds = (QUICK, 1) if budget == "quick" else (QUICK + FULL, 4)
    for widths, activation, examples in plans:
        network = Dense(widths, activation)
        for i in range(rounds):
            zero, drawn = regularised.drawn(rng, network, Square(half=True), examples, LAMBDAS)
            for size, (problem, vector) in zip(LAMBDAS, drawn, strict=True):
                targets = np.asarray(problem.data.targets)
                gap = np.linalg.norm(targets - outputs(problem, vector))
                if gap > SMALL * np.linalg.norm(targets):
                    continue
                label = f"{network.activation.name} {widths}, N = {examples}, λ = {size:.0e}, {i + 1}"
                yield Case(label, problem, teachers.resting(vector, zero=("weight", zero)))


def draw(dataset: xr.Dataset) -> Any:
    """The least eigenvalue against λ."""
    names = dataset["case"].values.astype(str)
    linear, rotations = np.char.startswith(names, "identity"), dataset["rotations"].values > 0
    kinds = {
        "non-linear": ~linear,
        "linear, one hidden unit a layer": linear & ~rotations,
        "linear, more": linear & rotations,
    }
    figure, (axes,) = figures.panels(1, height=3.4, width=4.8)
    decay = dataset["lambda"].values
    least = np.maximum(np.abs(dataset["least"].values * decay), 1e-19)
    figures.scatter(
        {name: decay[rows] for name, rows in kinds.items() if rows.any()},
        {name: least[rows] for name, rows in kinds.items() if rows.any()},
        r"decay $\lambda$",
        "|least eigenvalue| of the Hessian",
        log="xy",
        axes=axes,
    )
    return figures.with_caption(
        figure,
        "The least eigenvalue at the regularised minimum, by size. It is of the order of λ, and the minimum "
        "hyperbolic, but "
        "for linear nets of two hidden units or more, where it is rounding.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="6 networks (quick) or 13, λ = 1e-5 to 0.1 as far as residuals are below a fifth, polished to rounding",
)
