"""memo90.jacobian: the flow's Jacobian is minus the Hessian of L, and the printed sums over examples are it.

What is judged. Eq. 5 (with H_ij = −∂²L/∂W_i∂W_j, symmetric), eqs. 6 and 31 (the field), eqs. 7 and 32 (its Jacobian)
under the exponential loss; for the square loss eqs. 27 and 28, the latter before E_n = 0 is used. For the losses that
the memo's section 4 also names (and ℓ_p, which the library has) the same sums with their own ℓ' and ℓ'' for −y e^{−yf}
and e^{−yf}. Not judged: signs of eigenvalues, and eqs. 15, 18, 25, 36, where a factor of two is dropped.

How. Sums are assembled in NumPy from closed forms of ℓ', ℓ'' and from ∂f, ∂²f; −∇²L is a forward derivative of the
gradient of the risk, not of the sum. Independently of second derivatives, the field is differenced: (F(W + hq) −
F(W − hq))/2h for coordinates q (some, in a large net), h = 1e-4 of the size of a weight, improved with h/2. Eq. 5 as
dynamics: where the field rests (Σ(y − f)² = 0, targets made by the net itself) the flow from W ± hq is followed to
t = 2/‖H‖ beside δẆ = Hδ, H the printed sum, both by the same Runge–Kutta steps, so that nothing but the nonlinearity
parts them.

Settings, before any run. Eight architectures, dense with and without biases, convolutional, residual; with one output
(square, half its mean, ℓ₄, exponential, logistic) or several (square, ℓ₃, cross-entropy); random, repeated and rank-one
inputs, fewer than weights; weights of He's size, three points each. The full budget has 22 architectures, every
activation with both kinds of output, and four draws of everything. Points whose two stencils differ by more than 1e-5
have a kink inside (ReLU) and are passed over; away from kinks the stencils differ by h² ∂³F/8.

Tolerances. Units are the norms of the two sums (∂f∂fᵀ and ∂²f) added, so that no cancellation inflates a number.
Sums and automatic differentiation differ by rounding: 1e-10. Differences err by a third of the stencils' change and
eps‖F‖/h ≈ 1e-12: 1e-5, the threshold of a kink.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import EPS, generator, inputs, points, ratio
from gradlab.claims.memo90._losses import family_of
from gradlab.laboratory import at
from gradlab.observe.local import Scalars, coordinates, differentials
from gradlab.problem.activations import polynomial, smooth_relu
from gradlab.problem.data import Data
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Loss, Lp, Square
from gradlab.problem.networks import Convolutional, Dense, Network, Residual
from gradlab.problem.problem import Problem

EXACT, DIFFERENCED = 1e-10, 1e-5
#: Records of a case that are looked at, coordinates along which the field is differenced, at most.
LOOKED_AT, COORDINATES = 4, 48
STEP, RUNGE_KUTTA_STEPS = 1e-4, 8

CLAIM = Claim(
    id="memo90.jacobian",
    source="memo90",
    statement="A perturbation of the gradient flow moves with δẆ = H δW, H = −∂²L/∂W∂W symmetric; for the exponential "
    "and the square loss it is the printed sum over examples of first and second derivatives of the network.",
    formula=r"J_{kk'}=-\sum_n e^{-y_n f_n}\Bigl(\frac{\partial f_n}{\partial W_k}\frac{\partial f_n}"
    r"{\partial W_{k'}}-y_n\frac{\partial^2 f_n}{\partial W_k\partial W_{k'}}\Bigr)"
    r"=-\frac{\partial^2 L}{\partial W_k\partial W_{k'}}",
    passage="Section 5.1, eqs. 5–7; section 12.2, eqs. 31–32; for the square loss section 12.1, eqs. 27 and 28 (first "
    "line)",
    hypotheses=("no weight decay", "the gradient is differentiable at W"),
    convention="L = Σ_n ℓ_n, square loss without ½; with the mean, or with ½, everything has that factor.",
)

_SUM = "the same sum in another order: rounding, see the module's docstring"
MEASURES = (
    Measure(
        "plain",
        "no weight decay (1 if so)",
        ">=",
        0.5,
        "eqs. 7 and 32 have none; the number is 0 or 1",
        role="hypothesis",
    ),
    Measure(
        "differentiable",
        "looked-at points without a kink within the stencil",
        ">=",
        0.5,
        "one point at least; a kink shows as stencils that differ, see the module's docstring",
        role="hypothesis",
    ),
    Measure("velocity", "‖Σ ℓ'∂f + F‖: eqs. 6, 27, 31 are F = −∇L", "<=", EXACT, _SUM),
    Measure("formula", "‖sum of eqs. 7, 28, 32 + ∇²L‖ (automatic differentiation)", "<=", EXACT, _SUM),
    Measure("symmetric", "‖H − Hᵀ‖, derivatives taken in the two orders", "<=", EXACT, _SUM),
    Measure(
        "differences",
        "‖∂F/∂W − sum of eqs. 7, 28, 32‖, the field F differenced",
        "<=",
        DIFFERENCED,
        "truncation and rounding of the stencil, see the module's docstring; a factor of two would be O(1)",
    ),
    Measure(
        "perturbation",
        "eq. 5 at rest: distance of the flow's (W⁺ − W⁻)/2h from δ, δẆ = Hδ, relative to ‖δ(0)‖; 0 where nothing "
        f"rests or the net has more than {COORDINATES} weights",
        "<=",
        DIFFERENCED,
        "h² ∂³F, less by Richardson's rule; a factor of two in H would be O(1) at t = 2/‖H‖",
    ),
)


class _Point:
    """The field and its derivatives at W, and the field at W ± hq and W ± hq/2 for coordinates q, in one call."""

    def __init__(self, problem: Problem, vector: np.ndarray) -> None:
        """Differentiate at ``vector`` and assemble the printed sums."""
        self.base, self.family = family_of(problem)
        self.vector = vector
        self.chosen = coordinates(problem, COORDINATES)
        q = np.eye(vector.size)[self.chosen]
        self.h = STEP * (float(np.linalg.norm(vector)) / np.sqrt(vector.size) or 1.0)
        self.start = vector + self.h * np.concatenate([q, -q, 0.5 * q, -0.5 * q])
        values, gradients, changes = self._look(self.start, q)
        examples, count, size = problem.data.inputs.shape[0], len(q), vector.size
        outputs, own = examples * problem.network.outputs, self.own
        self.f = values[0, :outputs].reshape(examples, -1)
        self.df = gradients[0, :outputs].reshape(examples, -1, size)
        d2f = changes[:count, :outputs].reshape(count, examples, -1, size)
        self.field, self.around = -gradients[0, own], -gradients[count:, own]
        self.jacobian = -changes[:count, own]
        first, second = problem.loss.slopes(self.f, np.asarray(problem.data.targets))
        terms = first[:, :, None] * self.df
        self.field_sum, self.field_unit = -terms.sum(axis=(0, 1)), float(np.linalg.norm(terms, axis=2).sum())
        self.squares = -np.einsum(
            "ncp,ncd,ndj->jp", self.df, second, self.df[:, :, self.chosen], optimize=True
        )
        curved = -np.einsum("nc,jncp->jp", first, d2f)
        self.sum, self.unit = self.squares + curved, _norm(self.squares) + _norm(curved)

    @property
    def own(self) -> int:
        """The row of the problem's own risk."""
        return self.base.data.inputs.shape[0] * self.base.network.outputs + self.family.own

    def _look(self, points: np.ndarray, directions: np.ndarray) -> Any:
        """Derivatives at W along ``directions`` and at ``points``, in a program of one shape for all calls."""
        still = np.zeros((len(points), self.vector.size))
        pairs = np.tile(self.vector, (len(directions), 1)), directions
        scalars = Scalars(self.family.losses, self.family.targets)
        return differentials(
            self.base, scalars, np.concatenate([pairs[0], points]), np.concatenate([pairs[1], still])
        )

    def differenced(self) -> tuple[np.ndarray, float]:
        """∂F/∂W q by Richardson's rule, a row for each q, and its error (a third of the stencils' change)."""
        plus, minus, near, far = np.split(self.around, 4)
        wide, narrow = (plus - minus) / (2.0 * self.h), (near - far) / self.h
        return narrow + (narrow - wide) / 3.0, _norm(narrow - wide) / 3.0

    def numbers(self) -> dict[str, float]:
        """What the measures ask for at this point, and the errors of the numbers."""
        differences, change = self.differenced()
        square = self.jacobian[:, self.chosen]
        rounding = EPS * (self.vector.size + 4.0 * self.f.size + 4.0 * float(np.max(np.abs(self.f))))
        return {
            "velocity": ratio(_norm(self.field_sum - self.field), self.field_unit),
            "formula": _norm(self.sum - self.jacobian) / self.unit,
            "symmetric": _norm(square - square.T) / self.unit,
            "differences": _norm(differences - self.sum) / self.unit,
            "without": _norm(differences - self.squares) / self.unit,
            "change": 3.0 * change / self.unit,
            "differences_error": change / self.unit + rounding * self.field_unit / (self.h * self.unit),
            "rounding": rounding,
        }

    def at_rest(self) -> bool:
        """Whether the flow stands still here, and every weight is looked at."""
        return len(self.chosen) == self.vector.size and _norm(self.field) <= 1e-12 * self.unit * _norm(
            self.vector
        )

    def perturbed(self) -> tuple[float, float]:
        """The flow from W ± hq against δẆ = Jδ from q, J the printed sum, to t = 2/‖J‖: largest distance, error."""
        step = 2.0 / RUNGE_KUTTA_STEPS / float(np.linalg.norm(self.sum, 2))
        q, state = np.eye(self.vector.size)[self.chosen], self.start

        def speed(state: np.ndarray) -> np.ndarray:
            _, gradients, _ = self._look(state, q)
            return -gradients[len(q) :, self.own]

        for _ in range(RUNGE_KUTTA_STEPS):
            one = speed(state)
            two = speed(state + 0.5 * step * one)
            three = speed(state + 0.5 * step * two)
            four = speed(state + step * three)
            state = state + step / 6.0 * (one + 2.0 * two + 2.0 * three + four)
        # the same steps of the linear system, in closed form
        z = step * self.sum
        one_step = q + z @ (q + z @ (q + z @ (q + z / 4.0) / 3.0) / 2.0)
        linear = np.linalg.matrix_power(one_step, RUNGE_KUTTA_STEPS)
        plus, minus, near, far = np.split(state, 4)
        wide, narrow = (plus - minus) / (2.0 * self.h), (near - far) / self.h
        gap = narrow + (narrow - wide) / 3.0 - linear
        return _largest(gap), _largest(narrow - wide) / 3.0


def _norm(values: Any) -> float:
    return float(np.linalg.norm(values))


def _largest(rows: np.ndarray) -> float:
    return float(np.max(np.linalg.norm(rows, axis=1)))


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The printed sums at a few points of the trajectory against two other ways to the same derivatives."""
    if np.asarray(problem.decay).any() or problem.factor != 1.0:
        return xr.Dataset({measure.id: np.nan for measure in MEASURES}).assign(plain=0.0)
    vectors = points(trajectory)
    found, rested = [], (0.0, 0.0)
    shown: dict[str, Any] = {}
    for i in np.unique(np.linspace(0, len(vectors) - 1, LOOKED_AT).astype(int)):
        point = _Point(problem, vectors[i])
        numbers = point.numbers() if point.unit > 0.0 else {"change": np.inf}
        if not numbers["change"] <= DIFFERENCED:
            continue
        if rested == (0.0, 0.0) and point.at_rest():
            rested = point.perturbed()
        found.append(numbers)
        shown = _shown(point)
    if not found:
        unknown = {measure.id: np.nan for measure in MEASURES[2:]}
        return xr.Dataset({"plain": 1.0, "differentiable": 0.0, **unknown})
    worst = {name: max(one[name] for one in found) for name in found[0] if name not in ("rounding", "change")}
    rounding = max(one["rounding"] for one in found)
    worst |= {f"{name}_error": rounding for name in ("velocity", "formula", "symmetric")}
    worst |= {"perturbation": rested[0], "perturbation_error": rested[1]}
    return xr.Dataset({"plain": 1.0, "differentiable": float(len(found)), **worst, **shown})


#: Entries of the Jacobian that a case keeps for the figure.
SHOWN = 16


def _shown(point: _Point) -> dict[str, Any]:
    """The largest entries of the differenced Jacobian with those of the sum and of its first part, in one unit."""
    differences, _ = point.differenced()
    chosen = np.argsort(-np.abs(differences), axis=None)[:: max(1, differences.size // SHOWN)][:SHOWN]
    unit = float(np.max(np.abs(differences))) or 1.0
    entries = {"field_entries": differences, "sum_entries": point.sum, "squares_entries": point.squares}
    return {name: ("entry", values.ravel()[chosen] / unit) for name, values in entries.items()}


_CUBIC = polynomial((0.0, 1.0, 0.5, 0.25))
#: name, network; with one output or more, as the quick budget has them.
ARCHITECTURES: tuple[tuple[str, Network], ...] = (
    ("linear, 1 layer", Dense((10, 1), "identity")),
    ("deep linear", Dense((5, 3, 2), "identity")),
    ("tanh", Dense((5, 4, 1), "tanh")),
    ("sigmoid, biases", Dense((4, 3, 3), "sigmoid", bias=True)),
    ("polynomial", Dense((5, 4, 1), _CUBIC)),
    ("ReLU", Dense((4, 4, 3, 1), "relu")),
    ("convolutional tanh", Convolutional((1, 4, 4), (2,), outputs=1, activation="tanh")),
    ("residual smooth ReLU", Residual(4, 3, 1, 3, smooth_relu(0.5))),
)
#: The same with the other number of outputs, and what the library has besides (full budget).
OTHERS: tuple[tuple[str, Network], ...] = (
    ("linear, 1 layer, 3 outputs", Dense((10, 3), "identity")),
    ("deep linear, 1 output", Dense((5, 3, 1), "identity")),
    ("tanh, 3 outputs", Dense((4, 3, 2, 3), "tanh")),
    ("sigmoid, biases, 1 output", Dense((4, 3, 1), "sigmoid", bias=True)),
    ("GELU", Dense((5, 4, 1), "gelu")),
    ("GELU, 3 outputs", Dense((5, 4, 3), "gelu")),
    ("polynomial, 3 outputs", Dense((5, 4, 3), _CUBIC)),
    ("ReLU, 3 outputs", Dense((4, 4, 3, 3), "relu")),
    ("leaky ReLU", Dense((5, 3, 3), "leaky_relu")),
    ("leaky ReLU, 1 output", Dense((5, 3, 1), "leaky_relu")),
    ("convolutional ReLU, 3 outputs", Convolutional((1, 4, 4), (2,), outputs=3)),
    ("residual ReLU, 1 output", Residual(4, 3, 1, 1)),
    ("squared ReLU", Dense((5, 4, 1), "squared_relu")),
    ("squared ReLU, 3 outputs", Dense((5, 4, 3), "squared_relu")),
)
ONE = (Square(), Square("mean", half=True), Lp(4), Exponential(), Logistic())
SEVERAL = (Square(), Lp(3), CrossEntropy())
KINDS = ("random", "repeated", "rank one")


def _weights(rng: np.random.Generator, network: Network) -> Any:
    """Entries of variance 2/fan-in, biases of variance one."""

    def one(leaf: Any) -> np.ndarray:
        spread = np.sqrt(2.0 / np.prod(leaf.shape[1:])) if len(leaf.shape) > 1 else 1.0
        return spread * rng.standard_normal(leaf.shape)

    return jax.tree.map(one, network.shapes())


def _inputs(rng: np.random.Generator, count: int, size: int, kind: str) -> np.ndarray:
    if kind == "rank one":
        return np.outer(rng.standard_normal(count), rng.standard_normal(size))
    return inputs(rng, count, size, kind)


def _targets(rng: np.random.Generator, loss: Loss, outputs: np.ndarray) -> Any:
    """Those of the net itself under a square loss, so that it rests; random ones otherwise."""
    count, size = outputs.shape
    if loss.labels == "real":
        return outputs if isinstance(loss, Square) else rng.standard_normal((count, size))
    return (
        np.where(rng.standard_normal(count) > 0.0, 1.0, -1.0) if size == 1 else rng.integers(size, size=count)
    )


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Every loss of its kind on every architecture; the first point is the one at which square losses rest."""
    rng = generator(key)
    plans, draws = (ARCHITECTURES, 1) if budget == "quick" else ((*ARCHITECTURES, *OTHERS), 4)
    for i, (name, network) in enumerate(plans * draws):
        for j, loss in enumerate(ONE if network.outputs == 1 else SEVERAL):
            kind = KINDS[(i + j) % 3]
            x = _inputs(rng, 6, int(np.prod(network.input_shape)), kind)
            looked_at = [_weights(rng, network) for _ in range(3)]
            # the teacher's outputs, by the program that is needed anyway
            blank = Problem(network, Square(), Data(x, np.zeros((6, network.outputs))))
            outputs = _Point(
                blank, np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(looked_at[0])])
            ).f
            problem = Problem(network, loss, Data(x, _targets(rng, loss, outputs)))
            half = ", half" if isinstance(loss, Square) and loss.half else ""
            label = f"{name}, {type(loss).__name__} ({loss.reduction}{half}), {kind} {i // len(plans) + 1}"
            yield Case(label, problem, at(problem, looked_at, ()))


def draw(dataset: xr.Dataset) -> Any:
    """Entries of the differenced Jacobian against the printed sum, and against its first part alone."""
    figure, (left, right) = figures.panels(2, height=3.2)
    labels = dataset["case"].values.astype(str)
    kinds = {
        "square": np.char.find(labels, " Square") >= 0,
        "exponential": np.char.find(labels, " Exponential") >= 0,
    }
    kinds["others"] = ~(kinds["square"] | kinds["exponential"])
    for axes, name, title in (
        (left, "sum_entries", "both terms, as printed"),
        (right, "squares_entries", "without second derivatives of f"),
    ):
        figures.scatter(
            {
                kind: dataset["field_entries"].values[rows].ravel()
                for kind, rows in kinds.items()
                if rows.any()
            },
            {kind: dataset[name].values[rows].ravel() for kind, rows in kinds.items() if rows.any()},
            "entry of ∂F/∂W, differenced",
            "entry of the sum over examples",
            title=title,
            diagonal=True,
            axes=axes,
        )
    return figures.with_caption(
        figure,
        "Entries of the Jacobian of the flow by differences of the field against eqs. 7, 28 and 32, each problem in "
        "units of its largest entry; the line is equality. Right: the first term alone, which misses the rest.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="8 architectures (dense, convolutional, residual; linear, tanh, sigmoid with biases, polynomial, ReLU and "
    "smooth ReLU) with 3 or 5 losses each; random, repeated and rank-one inputs, N = 6; three points each",
)
