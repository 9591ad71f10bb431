"""memo90.one-layer-nonlinear: one unit f(wᵀx) under the exponential loss, one layer of a deep net, and N eigenvalues.

Judged as printed: (1) eq. 44, ∂²f = f'' x xᵀ; (2) that the Hessian has at most N distinct eigenvalues, “just like in
the linear case”, also for a deep net of which one layer is optimised, the activation smooth; (3) the mapping,
x'_n e^{−½ y_n w'ᵀx'_n} = x_n √(f'(wᵀx_n)² − f''(wᵀx_n)) e^{−½ y_n wᵀx_n}, and that it maps the Hessian exactly.

What counts as a layer: its block of the Hessian of the risk, the other layers fixed. Distinct eigenvalues are counted
with zero (as printed), and non-zero ones by themselves, since with more weights than examples zero comes for free.

Settings, before any run. Minima (decay 0.02, which the counts leave out) of one unit (tanh, smooth ReLU, a cubic; in
the full budget sigmoid and the identity, the linear case, too) on N = 5 points in d = 6, with the labels of a teacher
and with two of them flipped, and of two-layer nets with three tanh or ReLU units on N = 3 points in d = 5.

Tolerances. Eigenvalues closer than 1e3 P eps‖H‖ are one; rounding of eigh and of the sums is about P eps‖H‖, so that
what lies between 30 and 1e3 of it is undecided, and is the error of a count. What lies above is certainly not zero.
The two sides of a mapping differ by rounding: 1e-8, where another radicand or exponent is O(1) off. The printed
equation is solved for x'_n = c_n x_n by Lambert's function, with w' = w, or 0 where there is no solution (w' is free).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis.equilibria.minimising import descend
from gradlab.analysis.linearisation import one_layer_mapping, scales, slopes, unit
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import EPS, generator
from gradlab.claims.teachers import resting
from gradlab.observe.layers import layer_of
from gradlab.problem.activations import Activation, Standard, polynomial, smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense, Function
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

SAME, FINER = 1e3, 0.03
EXACT, MAPPED = 1e-10, 1e-8

CLAIM = Claim(
    id="memo90.one-layer-nonlinear",
    source="memo90",
    statement="For one layer with a smooth activation, also one layer of a deep net, the Hessian under exponential "
    "loss has at most N distinct eigenvalues; one unit maps to a linear net with x'_n e^{−½ y_n w'ᵀx'_n} = "
    "x_n √(f'² − f'') e^{−½ y_n wᵀx_n}, which has the same Hessian.",
    formula=r"\frac{\partial^2 f}{\partial w_i\partial w_j}=x^i x^j f'',\qquad x'_n e^{-\frac12 y_n w'^{\top}x'_n}="
    r"x_n\sqrt{f'(w^{\top}x_n)^2-f''(w^{\top}x_n)}\;e^{-\frac12 y_n w^{\top}x_n}",
    passage="Section 12.3.2, case 1, eq. 44 and the mapping after it",
    hypotheses=(
        "exponential loss, one output",
        "the activation is smooth",
        "a minimum of the regularised loss",
    ),
    convention="Eigenvalues of the Hessian of the risk, without decay; f in the exponent of the loss is f(wᵀx_n).",
)
CORRECTED = Claim(
    id="memo90.one-layer-nonlinear-corrected",
    source="memo90",
    statement="One unit has at most N non-zero eigenvalues; a layer of h units below a smooth activation up to N h, "
    "the last layer, and every layer of a piecewise-linear net, N. The mapping holds with √(f'² − y_n f'') and "
    "e^{−½ y_n f(wᵀx_n)} on its right side, where the root is real.",
    formula=r"\mathrm{rank}\,H_k\le N h_k,\qquad x'_n e^{-\frac12 y_n w'^{\top}x'_n}="
    r"x_n\sqrt{f'(w^{\top}x_n)^2-y_nf''(w^{\top}x_n)}\;e^{-\frac12 y_n f(w^{\top}x_n)}",
    passage="docs/notes/memo90.one-layer-nonlinear.md; the passage as in memo90.one-layer-nonlinear",
    hypotheses=("exponential loss, one output", "the second derivatives exist at the minimum"),
    convention="Eigenvalues of the Hessian of the risk, without decay.",
    corrects="memo90.one-layer-nonlinear",
)

SETTING = Measure(
    "setting",
    "one for one unit, or a chain of matrices with one output, under Exponential",
    ">=",
    0.5,
    "the problem says so",
    role="hypothesis",
)
SMOOTH = Measure(
    "smooth", "one where the activation is smooth", ">=", 0.5, "the network says so", role="hypothesis"
)
FORMULA = Measure(
    "formula",
    "‖∂²f − f'' x xᵀ‖/(‖f'' x xᵀ‖ + ‖∂f ∂fᵀ‖) of one unit, the worst example; 0 for deep nets",
    "<=",
    EXACT,
    "rounding of a second derivative",
)
MEASURES = (
    SETTING,
    SMOOTH,
    FORMULA,
    Measure(
        "distinct",
        "distinct eigenvalues of a layer's Hessian, zero among them, less N; the worst layer",
        "<=",
        0.0,
        "a count; its error is the number of undecided eigenvalues",
    ),
    Measure(
        "nonzero", "non-zero eigenvalues of a layer's Hessian less N; the worst layer", "<=", 0.0, "a count"
    ),
    Measure(
        "real",
        "one unit: the smallest (f'² − f'')/(f'² + |f''|) of all examples, the root's radicand; 1 for deep nets",
        ">=",
        0.0,
        "a real root has none below zero",
    ),
    Measure(
        "mapping",
        "one unit: ‖H' − H‖/‖H‖, H' of the linear net on the printed x'_n; 0 where the printed root is not real, and "
        "for deep nets",
        "<=",
        MAPPED,
        "rounding; a wrong factor of the data is O(1)",
    ),
)
CORRECTED_MEASURES = (
    SETTING,
    FORMULA,
    Measure(
        "rank",
        "non-zero eigenvalues of a layer's Hessian less N h, h its number of units below a smooth activation, else 1; "
        "the worst layer",
        "<=",
        0.0,
        "a count",
    ),
    Measure(
        "mapped",
        "one unit: ‖H' − H‖/‖H‖, H' of the linear net on the corrected x'_n; 0 where the root is not real, and for "
        "deep nets",
        "<=",
        MAPPED,
        "rounding; a wrong factor of the data is O(1)",
    ),
)


def _counts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distinct, non-zero) eigenvalues, and how many are undecided."""
    ordered, size = np.sort(values), float(np.max(np.abs(values)))
    found = []
    for factor in (1.0, FINER):
        same = factor * SAME * values.size * EPS * size
        found.append((1 + np.sum(np.diff(ordered) > same), np.sum(np.abs(ordered) > same)))
    counted, finer = np.asarray(found, dtype=np.float64)
    return counted, np.abs(counted - finer)


def _risk_hessian(problem: Problem, vector: np.ndarray) -> np.ndarray:
    decay = float(np.max(np.asarray(problem.decay)))
    return np.asarray(problem.hessian(problem.unravel(jnp.asarray(vector)))) - decay * np.eye(vector.size)


@float64
def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Counts of eigenvalues layer by layer, and for one unit eq. 44 and both mappings, at the last weights."""
    apply = getattr(problem.network, "apply", None)
    activation = getattr(apply, "activation", None) if isinstance(problem.network, Function) else None
    chain = isinstance(problem.network, Dense) and not problem.network.bias and problem.network.outputs == 1
    if not isinstance(problem.loss, Exponential) or not (chain or isinstance(activation, Activation)):
        return xr.Dataset({measure.id: np.nan for measure in (*MEASURES, *CORRECTED_MEASURES)})
    if np.ndim(problem.decay):
        return xr.Dataset({measure.id: np.nan for measure in (*MEASURES, *CORRECTED_MEASURES)})
    vector = trajectory["final_weights"].values
    hessian = _risk_hessian(problem, vector)
    numbers: dict[str, Any] = {"setting": 1.0, "smooth": float(problem.network.smooth)}
    numbers |= _by_layer(problem, hessian)
    numbers |= {"formula": 0.0, "real": 1.0, "mapping": 0.0, "mapped": 0.0}
    numbers |= {f"{name}_error": 0.0 for name in ("formula", "real", "mapping", "mapped")}
    if activation is not None:
        numbers |= _one_unit(problem, vector, hessian, activation)
    values = np.linalg.eigvalsh(hessian)
    drawn = {"values": ("eigenvalue", np.sort(np.abs(values))[::-1] / np.max(np.abs(values)))}
    return xr.Dataset({name: np.float64(number) for name, number in numbers.items()}).assign(drawn)


def _by_layer(problem: Problem, hessian: np.ndarray) -> dict[str, float]:
    network, examples = problem.network, problem.data.inputs.shape[0]
    layers = layer_of(network)
    found = []
    for k in range(int(layers.max()) + 1):
        mine = layers == k
        count, change = _counts(np.linalg.eigvalsh(hessian[np.ix_(mine, mine)]))
        below = isinstance(network, Dense) and k < layers.max() and network.smooth
        units = network.widths[k + 1] if isinstance(network, Dense) and below else 1
        found.append((*(count - examples), count[1] - examples * units, *change))
    distinct, nonzero, rank, change, change_nonzero = np.max(np.asarray(found), axis=0)
    return {
        "distinct": distinct,
        "distinct_error": change,
        "nonzero": nonzero,
        "nonzero_error": change_nonzero,
        "rank": rank,
        "rank_error": change_nonzero,
        "examples": float(examples),
        "layers": float(layers.max() + 1),
    }


def _one_unit(
    problem: Problem, w: np.ndarray, hessian: np.ndarray, activation: Activation
) -> dict[str, float]:
    x, y = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    _, first, second = slopes(activation, x @ w)
    curved = np.asarray(_curvatures(activation, jnp.asarray(w), jnp.asarray(x)))
    outer = x[:, :, None] * x[:, None, :]
    lengths = np.linalg.norm(outer, axis=(1, 2))
    sizes = (np.abs(second) + first**2) * lengths
    gaps = np.linalg.norm(curved - second[:, None, None] * outer, axis=(1, 2))
    # f'' of a saturated unit is a difference of numbers of size one
    rounding = 64.0 * EPS * lengths / sizes
    resolved = rounding <= 0.1 * EXACT
    resolved = resolved if resolved.any() else np.full_like(resolved, True)
    radicand = (first**2 - second) / (first**2 + np.abs(second))
    numbers = {
        "formula": float(np.max((gaps / sizes)[resolved])),
        "formula_error": float(np.max(rounding[resolved])),
        "real": float(np.min(radicand)),
        "real_error": 64.0 * EPS,
        "roots": float(np.mean(first**2 - y * second >= 0.0)),
    }
    size = float(np.linalg.norm(hessian))
    if (radicand >= 0.0).all():
        numbers["mapping"] = _printed(x, y, w, np.sqrt(first**2 - second), hessian) / size
        numbers["mapping_error"] = 1e-13 * w.size
    found = one_layer_mapping(problem, w)
    if found.problem is None:
        found = one_layer_mapping(problem, w, np.zeros_like(w))
    if found.problem is not None:
        linear = _linear_hessian(found.factors[:, None] * x, y, found.weights)
        numbers |= {"mapped": float(np.linalg.norm(linear - hessian)) / size, "mapped_error": 1e-13 * w.size}
    return numbers


@eqx.filter_jit
def _curvatures(activation: Activation, w: Any, x: Any) -> Any:
    """∂²f(wᵀx_n)/∂w∂w for every example, by automatic differentiation in w."""
    return jax.vmap(jax.hessian(lambda v, row: activation(row @ v)), (None, 0))(w, x)


def _linear_hessian(virtual: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Σ e^{−y w·x'} x' x'ᵀ, the Hessian of a linear net under the exponential loss."""
    return np.asarray((virtual.T * np.exp(-y * (virtual @ w))) @ virtual)


def _printed(x: np.ndarray, y: np.ndarray, w: np.ndarray, root: np.ndarray, hessian: np.ndarray) -> float:
    """‖H' − H‖ for the x'_n of the printed equation, at w' = w or, without a solution, at w' = 0."""
    size = root * np.exp(-0.5 * y * (x @ w))
    for image in (w, np.zeros_like(w)):
        factors = scales(0.5 * y * (x @ image), size)
        if np.isfinite(factors).all():
            linear = _linear_hessian(factors[:, None] * x, y, image)
            return float(np.linalg.norm(linear - hessian))
    return float("nan")


DECAY = 0.02
CUBIC = polynomial((0.0, 1.0, 0.0, 0.2))


def _unit_problem(random: np.random.Generator, activation: Activation, flipped: bool) -> Problem:
    examples, size = 5, 6
    x = random.standard_normal((examples, size))
    y = np.where(x @ random.standard_normal(size) > 0.0, 1.0, -1.0)
    if flipped:
        y[:2] *= -1.0
    return Problem(unit(activation, size), Exponential(), Data(x, y), DECAY)


def _deep_problem(random: np.random.Generator, activation: str) -> Problem:
    x = random.standard_normal((3, 5))
    y = np.where(random.standard_normal(3) > 0.0, 1.0, -1.0)
    return Problem(Dense((5, 3, 1), activation), Exponential(), Data(x, y), DECAY)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    random = generator(key)
    rounds = 2 if budget == "quick" else 10
    units = {
        "tanh": Standard("tanh"),
        "smooth ReLU": smooth_relu(0.5),
        "z + z³/5": CUBIC,
        "linear": Standard("identity"),
    }
    for number in range(1, rounds + 1):
        for name, activation in units.items():
            for flipped in (False, True):
                problem = _unit_problem(random, activation, flipped)
                end = descend(problem, 0.5 * random.standard_normal(problem.size))
                labels = "flipped" if flipped else "a teacher's"
                yield Case(f"one unit, {name}, labels {labels}, {number}", problem, resting(end))
        for name in ("tanh", "relu"):
            problem = _deep_problem(random, name)
            end = descend(problem, random.standard_normal(problem.size))
            yield Case(f"two layers, {name}, {number}", problem, resting(end))


def draw(dataset: xr.Dataset) -> Any:
    """Non-zero eigenvalues against N, and how far both mappings miss the Hessian."""
    figure, (left, right) = figures.panels(2, height=3.2)
    labels = dataset["case"].values.astype(str)
    deep = np.char.startswith(labels, "two layers")
    smooth = dataset["smooth"].values == 1.0
    groups = {"one unit": ~deep, "deep, tanh": deep & smooth, "deep, ReLU": deep & ~smooth}
    examples = dataset["examples"].values
    figures.scatter(
        {name: examples[rows] for name, rows in groups.items() if rows.any()},
        {name: (dataset["nonzero"].values + examples)[rows] for name, rows in groups.items() if rows.any()},
        "examples N",
        "non-zero eigenvalues\nof the worst layer's Hessian",
        diagonal=True,
        axes=left,
    )
    alone = ~deep
    figures.scatter(
        np.arange(alone.sum()),
        {
            "printed": np.where(
                dataset["real"].values >= 0.0, np.maximum(dataset["mapping"].values, 1e-17), np.nan
            )[alone],
            "corrected": np.maximum(dataset["mapped"].values, 1e-17)[alone],
        },
        "case (one unit)",
        r"$\|H'-H\|/\|H\|$",
        log="y",
        reference={"tolerance": MAPPED},
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: one layer of three smooth units below another has more than N non-zero eigenvalues (the line), one unit "
        "and piecewise-linear layers have not. Right: the Hessian of the linear net on the mapped data, by the printed "
        "equation where its root is real, and by the corrected one.",
    )


_SETTINGS = (
    "24 minima with decay 0.02: one unit (tanh, smooth ReLU, z + z³/5) on N = 5, d = 6 with the labels of a teacher "
    "and with two flipped; two-layer tanh and ReLU nets on N = 3"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
