"""cohen.non-strict-saddle: with three or more layers W = 0 is a saddle whose Hessian is zero; with two it is
strict.

Near W = 0 the outputs are W_N ⋯ W_1 X times φ'(0)^{N−1} (layers without bias, φ(0) = 0), of order N in the
weights. With G = Σ_n ∇ℓ(0, y_n) x_nᵀ, ∇ℓ by the outputs, the risk is L(0) + φ'(0)^{N−1} ⟨G, W_N ⋯ W_1⟩ and
higher orders. Hence for N = 2 the Hessian has the eigenvalues ± φ'(0) σ_i(G), each d_1 times, and zeros; for N
≥ 3 it is zero. If G ≠ 0 the risk falls and rises along W_N ⋯ W_1 = ∓ s u vᵀ, (u, v) the first singular pair of G.

Settings, before any run. N = 2, 3, 4 layers; linear nets under Σ‖·‖², half of it and its mean, logistic loss
on linear nets, and tanh; random data. Gradient and Hessian by automatic differentiation at W = 0, where every
product is a product with exact zeros: for N ≥ 3 nothing is rounded. The walk: W_k = t times unit vectors, with
t^N = s at a tenth of the least of the quadratic along it (its curvature from the outputs by automatic
differentiation), where the linear term keeps 95 % of its worth; for tanh at t‖x‖ ≤ 0.2 as well, where tanh z/z
is above 0.98.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis import linear_nets
from gradlab.claims import deep_linear
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import EPS
from gradlab.observe.local import values_and_gradients
from gradlab.problem.data import Data
from gradlab.problem.losses import Logistic, Loss, Square
from gradlab.problem.networks import Dense
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

CLAIM = Claim(
    id="cohen.non-strict-saddle",
    source="cohen",
    statement="For models of depth ≥ 3 not all saddle points are strict: all weights = 0 is a saddle where the "
    "Hessian has no negative eigenvalue. With two layers it is a strict one.",
    formula=r"N \ge 3:\ \nabla L(0) = 0,\ \nabla^2 L(0) = 0,\ 0 \text{ no extremum};\qquad N = 2:\ "
    r"\lambda_{\min}(\nabla^2 L(0)) = -\sigma_1(G) < 0",
    passage="“Approach: Convergence via Critical Points”, “Limitations”: “(2) is violated — ∃ non-strict "
    "saddles, e.g. when all weights = 0”",
    hypotheses=("layers without bias, φ(0) = 0, no weight decay", "Σ ∇ℓ(0, y_n) x_nᵀ ≠ 0"),
    convention="any loss and its factor; eigenvalues in units of σ_1(G). Without the second hypothesis W = 0 "
    "may be a minimum (Y = 0); with weight decay it is one.",
)
_EXACT = "products with exact zeros; for N = 2 rounding of G and of the eigenvalues, P eps ≈ 1e-14"
MEASURES = (
    Measure(
        "model",
        "one for two or more layers without bias, a smooth φ with φ(0) = 0 and φ'(0) ≠ 0",
        ">=",
        0.5,
        "the network says it",
        role="hypothesis",
    ),
    Measure("decay", "the weight decay", "<=", 0.0, "the source has none", role="hypothesis"),
    Measure(
        "slope",
        "‖G‖ over Σ‖∇ℓ_n‖‖x_n‖",
        ">=",
        1e-6,
        "rounding leaves 1e-15 of a sum that vanishes",
        role="hypothesis",
    ),
    Measure("gradient", "‖∇L(0)‖/σ_1(G)", "<=", 1e-12, "products with exact zeros"),
    Measure(
        "spectrum",
        "the largest distance of an eigenvalue of ∇²L(0) from ± φ'(0)σ_i(G) and 0 (N = 2) or 0 (N ≥ 3), over "
        "σ_1(G)",
        "<=",
        1e-10,
        _EXACT,
    ),
    Measure(
        "strict",
        "λ_min/(φ'(0)σ_1(G)) with two layers (−1 for more, of which nothing is asked)",
        "<=",
        -0.5,
        "−1 in theory, 0 for a saddle that is not strict",
    ),
    Measure(
        "non_strict",
        "λ_min/(φ'(0)σ_1(G)) with three layers or more (0 for two, of which nothing is asked)",
        ">=",
        -1e-10,
        "0 in theory, −1 for two layers",
    ),
    Measure(
        "falls",
        "how far L falls along W_N⋯W_1 = −s u vᵀ, over its linear term",
        ">=",
        0.5,
        "0.95 or (tanh) 0.9 in theory, negative at a minimum",
    ),
    Measure(
        "rises", "how far L rises along W_N⋯W_1 = s u vᵀ, over its linear term", ">=", 0.5, "as for falls"
    ),
)


@float64
def _slopes(network: Dense) -> tuple[float, float]:
    """φ(0) and φ'(0)."""
    value, slope = jax.jvp(network.activation, (jnp.zeros(()),), (jnp.ones(()),))
    return float(value), float(slope)


@float64
def _expansion(problem: Problem) -> tuple[np.ndarray, Any]:
    """∂risk/∂outputs at outputs 0 (N, C), and the curvature of the risk along a change of the outputs."""
    targets = problem.data.targets
    zero = jnp.zeros((len(problem.data.inputs), problem.network.outputs))

    def risk(outputs: Any) -> Any:
        return problem.factor * problem.loss.risk(outputs, targets)

    def curvature(change: np.ndarray) -> float:
        with jax.enable_x64(True):
            along = jnp.asarray(change)
            return float(jnp.vdot(along, jax.jvp(jax.grad(risk), (zero,), (along,))[1]))

    return np.asarray(jax.grad(risk)(zero)), curvature


def _walk(
    problem: Problem, network: Dense, moment: np.ndarray, curvature: Any, slope: float
) -> tuple[float, float, float]:
    """How far L falls and rises along ∓ s u vᵀ over s|φ'|^{N−1}σ_1(G), and the rounding of both."""
    rows, widths = deep_linear.rows(problem), network.widths
    depth = len(widths) - 1
    left, values, right = np.linalg.svd(moment)
    u, v, factor = left[:, 0], right[0], slope ** (depth - 1)
    change = np.outer(rows @ v, u) * factor
    worth = abs(factor) * float(values[0])
    bend = curvature(change)
    s = 0.1 * worth / bend if bend > 0.0 else 1.0
    if not network.linear:
        s = min(s, (0.2 / float(np.max(np.abs(rows @ v)))) ** depth)
    t = s ** (1.0 / depth)
    layers = [np.zeros((after, before)) for before, after in itertools.pairwise(widths)]
    layers[0][0], layers[-1][:, 0] = t * v, t * u
    for layer in layers[1:-1]:
        layer[0, 0] = t
    flipped = [*layers[:-1], -layers[-1]]
    points = np.stack(
        [np.zeros(problem.size), linear_nets.flat(tuple(layers)), linear_nets.flat(tuple(flipped))]
    )
    (rest, one, other), _ = values_and_gradients(problem, points)
    down, up = (other, one) if factor > 0.0 else (one, other)
    rounding = 4.0 * len(rows) * EPS * abs(float(rest))
    return float(rest - down) / (s * worth), float(up - rest) / (s * worth), rounding / (s * worth)


def _predicted(problem: Problem, network: Dense, moment: np.ndarray, slope: float) -> np.ndarray:
    """All eigenvalues of ∇²L(0), ascending."""
    values = np.zeros(problem.size)
    widths = network.widths
    if len(widths) == 3:
        sigma = slope * np.linalg.svd(moment, compute_uv=False)
        signed = np.repeat(np.concatenate([sigma, -sigma]), widths[1])
        values[: len(signed)] = signed
    return np.sort(values)


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """Gradient, spectrum and a walk away from W = 0; the trajectory is not looked at."""
    network = problem.network
    if not isinstance(network, Dense) or network.bias or len(network.widths) < 3 or not network.smooth:
        return deep_linear.nothing(MEASURES).assign(model=0.0)
    value, slope = _slopes(network)
    if value != 0.0 or slope == 0.0:
        return deep_linear.nothing(MEASURES).assign(model=0.0)
    given, curvature = _expansion(problem)
    rows = deep_linear.rows(problem)
    moment = given.T @ rows
    size = float(np.linalg.norm(moment, 2))
    parts = float(np.sum(np.linalg.norm(given, axis=1) * np.linalg.norm(rows, axis=1)))
    numbers = {
        "model": 1.0,
        "decay": float(np.max(np.asarray(problem.decay))),
        "slope": size / parts if parts > 0.0 else 0.0,
    }
    if not numbers["slope"] > MEASURES[2].tolerance:
        unknown = deep_linear.nothing(MEASURES)
        return unknown.assign({name: np.float64(number) for name, number in numbers.items()})
    origin = problem.unravel(jnp.zeros(problem.size))
    values = np.linalg.eigvalsh(np.asarray(problem.hessian(origin)))
    predicted = _predicted(problem, network, moment, slope)
    _, gradients = values_and_gradients(problem, np.zeros((3, problem.size)))
    falls, rises, rounding = _walk(problem, network, moment, curvature, slope)
    shallow = len(network.widths) == 3
    least = float(values[0]) / (abs(slope) * size)
    error = problem.size * EPS * float(np.abs(values).max()) / (abs(slope) * size)
    numbers |= {
        "gradient": float(np.linalg.norm(gradients[0])) / size,
        "spectrum": float(np.max(np.abs(values - predicted))) / size,
        "spectrum_error": error,
        "strict": least if shallow else -1.0,
        "strict_error": error,
        "non_strict": 0.0 if shallow else least,
        "non_strict_error": 0.0 if shallow else error,
        "falls": falls,
        "falls_error": rounding,
        "rises": rises,
        "rises_error": rounding,
        "layers": float(len(network.widths) - 1),
    }
    shown = {"values": ("weight", values / size), "predicted": ("weight", predicted / size)}
    return xr.Dataset({name: np.float64(number) for name, number in numbers.items()} | shown)


def _problem(rng: np.random.Generator, widths: tuple[int, ...], activation: str, loss: Loss) -> Problem:
    x = deep_linear.inputs(rng, 8, widths[0])
    y: Any = rng.standard_normal((8, widths[-1]))
    if isinstance(loss, Logistic):
        y = np.where(rng.random(8) < 0.5, -1, 1)
    return Problem(Dense(widths, activation), loss, Data(x, y))


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    """Four random problems of five kinds; 20 in the full budget, which has all losses at all depths."""
    rng = deep_linear.generator(key)
    kinds: list[tuple[str, str, Loss, int]] = [
        ("Σ", "identity", Square(), 2),
        ("½Σ", "identity", Square(half=True), 2),
        ("mean", "identity", Square("mean"), 2),
        ("logistic", "identity", Logistic(), 1),
        ("Σ", "tanh", Square(), 2),
    ]
    shapes = ((4, 3), (4, 3, 3), (3, 4, 3, 2))
    plans = [(widths, kind) for widths in shapes for kind in kinds]
    if budget == "quick":
        plans = [plans[i] for i in (2, 4, 5, 8, 10)]
    for number in range(4 if budget == "quick" else 20):
        for widths, (name, activation, loss, outputs) in plans:
            whole = (*widths, outputs)
            problem = _problem(rng, whole, activation, loss)
            at_rest = xr.Dataset({"final_weights": ("weight", np.zeros(problem.size))})
            yield Case(f"{len(whole) - 1} layers, {activation}, {name}, {whole}, {number}", problem, at_rest)


def drawing(dataset: xr.Dataset) -> Any:
    """Eigenvalues at W = 0 against prediction for two layers, and the fall along the walk by depth."""
    figure, (left, right) = figures.panels(2, height=3.2)
    depth = dataset["layers"].values
    groups = {"two layers": depth == 2, "three and four": depth > 2}
    figures.scatter(
        {name: dataset["predicted"].values[which].ravel() for name, which in groups.items() if which.any()},
        {name: dataset["values"].values[which].ravel() for name, which in groups.items() if which.any()},
        r"predicted, over $\sigma_1(G)$",
        r"eigenvalue of $\nabla^2L(0)$, over $\sigma_1(G)$",
        diagonal=True,
        axes=left,
    )
    figures.scatter(
        depth,
        {"falls": dataset["falls"].values, "rises": dataset["rises"].values},
        "layers",
        "change of L over its linear term",
        reference={"tolerance": 0.5},
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: eigenvalues of the Hessian at W = 0; with three layers and more all are zero. Right: along "
        "W_N⋯W_1 = ∓ s u vᵀ the loss falls and rises at every depth: W = 0 is a saddle.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    drawing,
    settings="2, 3 and 4 layers; linear nets under Σ, ½Σ, mean and logistic loss, tanh nets; 20 random problems",
)
