"""chitour.gradient: the gradient of F = ‖Y − WX‖² in the layers of W = W_{H+1} ⋯ W_1.

Settings. H = 1, 2, 3 with unequal widths and one net with equal ones, X = I and Y standard normal, of the
reduced form (D_Y 0), and of rank one; besides general X with more points than dimensions and fewer, repeated
points, deficient rank. Four points each: Gaussian weights of scale 1 and 0.3, layers of half the full rank, one
layer zero. No dynamics: the formula is compared with automatic differentiation.

Tolerances. Products of at most six matrices of size at most 14: rounding is below n·eps·S, n the sum of all inner
sizes (γ_n, Higham 2002, §3.5) and S the product of the Frobenius norms, which makes the error bar. Relative to the
gradient S is about 1e3 at random weights, so 1e-9 leaves a decade and more above the bar (40 · 2e-16 · 1e3 ≈
1e-11), and nine below a wrong factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import Matrices, end_to_end
from gradlab.claims import deep_linear
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import EPS, ratio
from gradlab.laboratory import at
from gradlab.observe.local import values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

TOLERANCE = 1e-9
#: Entries of the gradient that a case keeps for the figure.
SHOWN = 24

CLAIM = Claim(
    id="chitour.gradient",
    source="chitour",
    statement="The gradient descent dW/dt = −∇F of F(W) = ‖Y − W_{H+1}⋯W_1 X‖² is, with X = I, "
    "dW_j/dt = (ΠW)_{j+1}^{H+1} M (ΠW)_1^{j−1}, transposes of both products understood.",
    formula=r"\frac{dW_j}{dt}=(\Pi W)_{j+1}^{H+1}\,M\,(\Pi W)_1^{j-1},\qquad M=Y-(\Pi W)_1^{H+1}",
    passage="“Gradient Descent for Linear Neural Networks - First reductions”, (GD)_{D_Y}; F is defined on the "
    "slide “On LINEAR Deep Nonlinear Neural Networks”",
    hypotheses=("linear layers without bias", "F = ‖Y − WX‖², summed over examples, as printed"),
    convention="F as printed, without ½. M stands for (Y − WX)Xᵀ, which is the printed M at X = I.",
)

CORRECTED = Claim(
    id="chitour.gradient-corrected",
    source="chitour",
    statement="For F(W) = ‖Y − WX‖² and any X, −∂F/∂W_j = 2 ((ΠW)_{j+1}^{H+1})ᵀ M ((ΠW)_1^{j−1})ᵀ with "
    "M = (Y − WX)Xᵀ: the printed field, with its transposes, is −∇F/2, the gradient descent of ½‖Y − WX‖².",
    formula=r"-\frac{\partial F}{\partial W_j}=2\,\bigl((\Pi W)_{j+1}^{H+1}\bigr)^\top M\,"
    r"\bigl((\Pi W)_1^{j-1}\bigr)^\top,\qquad M=(Y-WX)X^\top",
    passage="docs/notes/chitour.gradient.md; the passage as in chitour.gradient",
    hypotheses=("linear layers without bias", "F = ‖Y − WX‖², summed over examples"),
    convention="F without ½; with ½ the factor 2 is gone, and the critical values are the half sums of squares "
    "that the source's next proposition has.",
    corrects="chitour.gradient",
)

LOSS = Measure(
    "loss",
    "the potential is ‖Y − WX‖² with W the product of the layers, relative to (‖Y‖ + Π‖W_j‖ ‖X‖)²",
    "<=",
    1e-12,
    "rounding of one evaluation, n·eps ≈ 1e-14, two decades allowed",
    role="hypothesis",
)
DIRECTION = Measure(
    "direction",
    "the printed field is parallel to −∇F: what is left of it across −∇F, relative to its norm",
    "<=",
    TOLERANCE,
    "rounding, see the module's docstring",
)
TRANSPOSES = Measure(
    "transposes",
    "control: without transposes the products are not parallel to −∇F (what is left across; 1 where they have no "
    "common shape)",
    ">=",
    0.1,
    "the two readings of a random square product are unrelated, so O(1) is left; nothing is asked where all "
    "products are symmetric and the readings are one",
)
MEASURES = (
    LOSS,
    Measure(
        "printed",
        "‖printed field + ∇F‖/‖∇F‖, F without ½, over all layers",
        "<=",
        TOLERANCE,
        "rounding, see the module's docstring; a factor of two would give ½",
    ),
    DIRECTION,
    TRANSPOSES,
)
CORRECTED_MEASURES = (
    LOSS,
    Measure(
        "doubled",
        "‖2 × printed field + ∇F‖/‖∇F‖, F without ½, over all layers",
        "<=",
        TOLERANCE,
        "rounding, see the module's docstring",
    ),
    DIRECTION,
    TRANSPOSES,
)


def _fields(matrices: Matrices, moment: np.ndarray) -> tuple[Matrices, Matrices | None, bool]:
    """The printed field with transposes, without them (None where the shapes do not fit), and whether they
    can differ: whether some product is not symmetric.
    """
    size = len(matrices)
    transposed: list[Any] = []
    literal: list[Any] = []
    differ = False
    for j, layer in enumerate(matrices):
        above = end_to_end(matrices[j + 1 :]) if j + 1 < size else np.eye(layer.shape[0])
        below = end_to_end(matrices[:j]) if j else np.eye(layer.shape[1])
        transposed.append(above.T @ moment @ below.T)
        if above.shape[0] == above.shape[1] and below.shape[0] == below.shape[1]:
            literal.append(above @ moment @ below)
            differ |= not (np.allclose(above, above.T) and np.allclose(below, below.T))
        else:
            differ = True
    return tuple(transposed), tuple(literal) if len(literal) == size else None, differ


def _across(field: np.ndarray, descent: np.ndarray) -> float:
    """‖field − its projection on descent‖/‖field‖; zero where the field is zero."""
    along = ratio(float(field @ descent), float(descent @ descent))
    return ratio(float(np.linalg.norm(field - along * descent)), float(np.linalg.norm(field)))


def _at_point(
    matrices: Matrices, inputs: np.ndarray, targets: np.ndarray, value: float, gradient: np.ndarray
) -> dict[str, Any]:
    """Every number of one point, its fields, and the rounding error of all of them."""
    residual = targets - inputs @ end_to_end(matrices).T
    transposed, literal, differ = _fields(matrices, residual.T @ inputs)
    printed, descent = linear_nets.flat(transposed), -gradient
    norms = [float(np.linalg.norm(matrix)) for matrix in matrices]
    size = float(np.linalg.norm(targets) + np.prod(norms) * np.linalg.norm(inputs))
    others = np.linalg.norm([np.prod(norms[:j] + norms[j + 1 :]) for j in range(len(norms))])
    operations = inputs.size + sum(sum(matrix.shape) for matrix in matrices)
    rounding = operations * EPS * 2.0 * float(others * size * np.linalg.norm(inputs))
    length = float(np.linalg.norm(gradient))
    return {
        "loss": ratio(float(abs(value - np.sum(residual**2))), size**2),
        "printed": ratio(float(np.linalg.norm(printed - descent)), length),
        "doubled": ratio(float(np.linalg.norm(2.0 * printed - descent)), length),
        "direction": _across(printed, descent),
        "transposes": 1.0 if literal is None else _across(linear_nets.flat(literal), descent),
        "rounding": ratio(rounding, length),
        "differ": differ,
        "fields": (descent, printed, literal),
    }


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The printed field at every recorded point against −∇F by automatic differentiation; the worst point.

    Points so near a critical one that rounding hides the gradient are left out, if any others remain.
    """
    network = linear_nets.matrix_chain(problem)
    if network is None or problem.loss.labels != "real":
        return deep_linear.nothing((*MEASURES, *CORRECTED_MEASURES))
    vectors = deep_linear.points(trajectory)
    data = deep_linear.rows(problem), np.asarray(problem.data.targets)
    seen = [
        _at_point(linear_nets.layers(network, vector), *data, value, gradient)
        for vector, value, gradient in zip(vectors, *values_and_gradients(problem, vectors), strict=True)
    ]
    resolved = [point for point in seen if point["rounding"] <= 0.1 * TOLERANCE] or seen
    rounding = max(point["rounding"] for point in resolved)
    numbers = {name: max(point[name] for point in resolved) for name in ("printed", "doubled", "direction")}
    numbers["transposes"] = max(point["transposes"] for point in resolved)
    bars = {f"{name}_error": rounding for name in numbers}
    asking = TRANSPOSES.tolerance if any(point["differ"] for point in resolved) else -1.0
    numbers |= {"loss": max(point["loss"] for point in seen), "transposes_tolerance": asking}
    shown = {name: ("entry", values) for name, values in _shown(*resolved[0]["fields"]).items()}
    return xr.Dataset({**numbers, **bars, **shown})


def _shown(descent: np.ndarray, printed: np.ndarray, literal: Matrices | None) -> dict[str, np.ndarray]:
    """A few entries for the figure, in units of the largest."""
    chosen = np.unique(np.linspace(0, descent.size - 1, SHOWN).astype(int))
    unit = float(np.max(np.abs(descent))) or 1.0
    other = np.full(descent.size, np.nan) if literal is None else linear_nets.flat(literal)
    entries = {"autodiff": descent, "with_transposes": printed, "without_transposes": other}
    return {name: values[chosen] / unit for name, values in entries.items()}


def _points(rng: np.random.Generator, widths: tuple[int, ...]) -> list[Matrices]:
    """Gaussian weights of two scales, layers of half the full rank, and one layer zero."""
    full, small, holed = (deep_linear.gaussian(rng, widths, scale) for scale in (1.0, 0.3, 1.0))
    singular = tuple(deep_linear.low_rank(rng, layer.shape, -(-min(layer.shape) // 2), 1.5) for layer in full)
    hole = int(rng.integers(len(full)))
    return [full, small, singular, tuple(np.zeros_like(w) if j == hole else w for j, w in enumerate(holed))]


def _targets(rng: np.random.Generator, count: int, outputs: int, kind: str) -> np.ndarray:
    """Y as rows (N, C): standard normal, Yᵀ = (D_Y 0) with D_Y > 0 diagonal, or of rank one."""
    if kind == "(D_Y 0)":
        return np.eye(count, outputs) * rng.uniform(0.5, 3.0, outputs)
    if kind == "rank one":
        return np.outer(rng.standard_normal(count), rng.standard_normal(outputs))
    return rng.standard_normal((count, outputs))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    rng = deep_linear.generator(key)
    rounds = 1 if budget == "quick" else 8
    reduced = [(6, 4, 2), (5, 4, 4, 3), (6, 3, 5, 2), (5, 4, 6, 3, 3), (4, 4, 4)]
    plans = [
        (widths, widths[0], "identity", y)
        for widths in reduced
        for y in ("normal", "normal", "(D_Y 0)", "rank one")
    ]
    plans += [
        (widths, count, x, "normal")
        for widths, count in (((5, 4, 4, 3), 14), ((6, 3, 5, 2), 4))
        for x in ("random", "repeated", "deficient")
    ]
    for number in range(rounds):
        for index, (widths, count, x, y) in enumerate(plans):
            inputs = deep_linear.inputs(rng, count, widths[0], x)
            data = Data(inputs, _targets(rng, count, widths[-1], y))
            problem = Problem(Dense.deep_linear(widths), Square(), data)
            points = _points(rng, widths)
            if index % 4 == 3:
                points.append(tuple(np.zeros_like(layer) for layer in points[0]))
            label = f"H = {len(widths) - 2}, {widths}, X {x} ({count} points), Y {y}, {index + number * len(plans)}"
            yield Case(label, problem, at(problem, points, ()))


def draw(dataset: xr.Dataset) -> Any:
    """Entries of the printed field, with and without transposes, against those of −∇F."""
    figure, (left, right) = figures.panels(2, height=3.3)
    flat = {
        name: dataset[name].values.ravel() for name in ("autodiff", "with_transposes", "without_transposes")
    }
    for axes, name, title in (
        (left, "with_transposes", "with transposes: half of −∇F"),
        (right, "without_transposes", "without (equal widths only)"),
    ):
        figures.scatter(
            flat["autodiff"],
            {"": flat[name]},
            "entry of −∇F by automatic differentiation",
            "entry of the printed formula",
            title=title,
            diagonal=True,
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "Entries of the printed gradient against automatic differentiation of F = ‖Y − WX‖², each problem in "
        "units of its largest entry; the grey line is equality.",
    )


_SETTINGS = (
    "H = 1, 2, 3; X = I with Y normal, (D_Y 0) and of rank one; general X with repeated points and deficient rank; "
    "Gaussian, singular and zero layers"
)
STUDIES = (
    Study(CLAIM, MEASURES, cases, observe, draw, settings=_SETTINGS),
    Study(CORRECTED, CORRECTED_MEASURES, cases, observe, draw, settings=_SETTINGS),
)
