"""cohen.preconditioner: the matrix P_W of the end-to-end dynamics is positive semidefinite, definite where W has
full rank, and its eigenvalues favour the directions that W already has.

Settings. W square, wide, tall, one row, one column; depth 1 to 4, hidden widths unequal; full rank, ranks below,
W = 0, all singular values equal, and singular values down to 1e-3. The weights are balanced layers of W, in random
bases, hence W is their product with its rounding. No dynamics.

Tolerances. P_W is formed densely (at most 25 × 25) in two ways: from its definition, by powers of WWᵀ and WᵀW, and
as JJᵀ, J the derivative of the product in its layers, which is what gradient flow does and uses no power. A zero
singular value carries rounding, 1e-16, and enters as (1e-16)^{2/N} ≤ 1e-8 at N = 4 where it is not cut off; the
library cuts it off. Compared with JJᵀ, whose entries are products of layers, all is rounding: 1e-16 × 25 × 10,
with three decades allowed, 1e-10 of the largest eigenvalue.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from gradlab import figures
from gradlab.analysis import linear_nets
from gradlab.analysis.linear_nets import Matrices, end_to_end, preconditioner, preconditioner_spectrum
from gradlab.claims import deep_linear
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import EPS, LINEAR, ratio
from gradlab.laboratory import at
from gradlab.problem.losses import Square

ROUNDING = 1e-10
ROUNDING_WHY = "rounding of dense products and of one eigendecomposition, see the module's docstring"

CLAIM = Claim(
    id="cohen.preconditioner",
    source="cohen",
    statement="The preconditioner P_W of the end-to-end dynamics is positive semidefinite, and positive definite "
    "where W has full rank; it reinforces W: it promotes movement in directions already taken.",
    formula=r"P_W\succeq 0,\qquad \operatorname{rank}W=\min(k,d)\Rightarrow P_W\succ 0,\qquad "
    r"P_W\operatorname{vec}(u_r v_c^\top)=\Bigl(\sum_{j=1}^{N}\sigma_r^{2\frac{N-j}{N}}\sigma_c^{2\frac{j-1}{N}}"
    r"\Bigr)\operatorname{vec}(u_r v_c^\top)",
    passage="“Implicit Preconditioning”, Theorem and what follows; the spectrum is Claim 1 of Arora, Cohen, Hazan "
    "(2018)",
    hypotheses=("linear layers without bias", "balanced weights W_1, …, W_N with product W (k, d)"),
    convention="Full rank is min(k, d), square or not: for k ≠ d the smallest eigenvalue is σ_min^{2(N−1)/N}, for "
    "k = d it is N times that. Movement is promoted relative to other directions: against the one-layer net it is "
    "slowed where N σ_1^{2(N−1)/N} < 1.",
)

MEASURES = (
    LINEAR,
    Measure(
        "balanced",
        "‖(W_{j+1}ᵀW_{j+1} − W_jW_jᵀ)_j‖ relative to Σ‖W_j‖²",
        "<=",
        1e-12,
        "balanced layers are made to rounding",
        role="hypothesis",
    ),
    Measure(
        "formula",
        "‖P_W − JJᵀ‖ relative to its largest eigenvalue, J = ∂vec(W_N⋯W_1)/∂(W_1, …, W_N)",
        "<=",
        ROUNDING,
        ROUNDING_WHY,
    ),
    Measure("semidefinite", "λ_min(JJᵀ)/λ_max(JJᵀ)", ">=", -ROUNDING, ROUNDING_WHY),
    Measure(
        "definite",
        "(λ_min(JJᵀ) − σ_min(W)^{2(N−1)/N})/λ_max, σ_min the least of min(k, d): a bound below that is positive at "
        "full rank",
        ">=",
        -ROUNDING,
        ROUNDING_WHY,
    ),
    Measure(
        "kernel",
        "the dimension of the kernel of JJᵀ is (k − r)(d − r), r = rank W (zero at depth 1)",
        "==",
        0.5,
        "a whole number",
    ),
    Measure(
        "eigenvalues", "eigenvalues of JJᵀ against the closed form, over λ_max", "<=", ROUNDING, ROUNDING_WHY
    ),
    Measure(
        "eigenvectors",
        "‖JJᵀ vec(u_r v_cᵀ) − λ_rc vec(u_r v_cᵀ)‖ over λ_max, the worst pair",
        "<=",
        ROUNDING,
        ROUNDING_WHY,
    ),
    Measure(
        "monotone",
        "the least increase of ⟨u_r v_cᵀ, P_W[u_r v_cᵀ]⟩ to the next larger σ_r or σ_c, over λ_max",
        ">=",
        -ROUNDING,
        ROUNDING_WHY,
    ),
    Measure(
        "reinforced",
        "the gain along W, ⟨W, P_W[W]⟩/‖W‖², over the mean gain tr P_W/(k d)",
        ">=",
        1.0 - ROUNDING,
        "Chebyshev's sum inequality: one where all singular values are equal, k = d, or N = 1, else more",
    ),
)


def jacobian_gram(layers: Matrices) -> np.ndarray:
    """JJᵀ (kd, kd), J the derivative of vec(W_N⋯W_1), columns stacked, in the entries of all layers."""
    total: Any = 0.0
    for j, layer in enumerate(layers):
        above = end_to_end(layers[j + 1 :]) if j + 1 < len(layers) else np.eye(layer.shape[0])
        below = end_to_end(layers[:j]) if j else np.eye(layer.shape[1])
        derivative = np.kron(below.T, above)
        total = total + derivative @ derivative.T
    return total


def observe(problem: Any, trajectory: xr.Dataset) -> xr.Dataset:
    """The spectrum of P_W at every recorded point; the worst point."""
    network = linear_nets.matrix_chain(problem)
    if network is None:
        return deep_linear.nothing(MEASURES)
    vectors = deep_linear.points(trajectory)
    found = [_spectrum(linear_nets.layers(network, vector)) for vector in vectors]
    numbers = {}
    for measure in MEASURES[1:]:
        values = [one[measure.id] for one in found]
        numbers[measure.id] = min(values) if measure.relation == ">=" else max(values, key=abs)
    k, d = network.widths[-1], network.widths[0]
    bars = {
        f"{name}_error": 4.0 * k * d * EPS for name in ("semidefinite", "definite", "monotone", "reinforced")
    }
    doubtful = {"kernel_error": max(one["doubtful"] for one in found)}
    return xr.Dataset(
        {
            "linear": float(network.linear),
            **numbers,
            **bars,
            **doubtful,
            **_shown(found[-1], len(network.widths) - 1),
        }
    )


def _spectrum(layers: Matrices) -> dict[str, Any]:
    """Every number of one point, and its eigenvalues by pairs (k, d) for the figure."""
    W, depth = end_to_end(layers), len(layers)
    k, d = W.shape
    gram = jacobian_gram(layers)
    dense = np.linalg.eigvalsh(gram)
    values, vectors = preconditioner_spectrum(W, depth)
    top = float(dense[-1])
    singular = np.linalg.svd(W, compute_uv=False)
    rank = int(np.sum(singular > max(W.shape) * EPS * singular[0]))
    smallest = float(singular[-1] if rank == min(k, d) else 0.0) ** (2.0 * (depth - 1) / depth)
    expected = (k - rank) * (d - rank) if depth > 1 else 0
    gains = np.einsum("ip,ij,jp->p", vectors, gram, vectors).reshape(d, k).T
    # Singular values descend, so gains must not increase along either index.
    steps = np.concatenate([-np.diff(gains, axis=0).ravel(), -np.diff(gains, axis=1).ravel(), [top]])
    along = W.ravel(order="F")
    gain = ratio(float(along @ gram @ along), float(along @ along))
    mean = float(np.trace(gram)) / (k * d)
    return {
        "balanced": ratio(float(np.linalg.norm(_conserved(layers))), linear_nets.square_norm(layers)),
        "formula": ratio(float(np.linalg.norm(preconditioner(W, depth) - gram, 2)), top),
        "semidefinite": ratio(float(dense[0]), top),
        "definite": ratio(float(dense[0]) - smallest, top),
        "kernel": float(np.sum(dense <= ROUNDING * top) - expected),
        "doubtful": float(np.sum((dense > 1e-3 * ROUNDING * top) & (dense < 1e3 * ROUNDING * top))),
        "eigenvalues": ratio(float(np.max(np.abs(np.sort(values) - dense))), top),
        "eigenvectors": ratio(float(np.max(np.linalg.norm(gram @ vectors - vectors * values, axis=0))), top),
        "monotone": ratio(float(np.min(steps)), top),
        "reinforced": gain / mean if mean > 0.0 and np.any(W) else 1.0,
        "singular": singular,
        "gains": np.diag(gains),
    }


def _conserved(layers: Matrices) -> np.ndarray:
    return linear_nets.conserved(layers) if len(layers) > 1 else np.zeros(1)


def _shown(found: dict[str, Any], depth: int) -> dict[str, Any]:
    """For the figure: σ_r and the gain of u_r v_rᵀ, both over the largest."""
    scales = [max(float(found[name][0]), 1e-300) for name in ("singular", "gains")]
    return {
        "depth": float(depth),
        "sigma": ("pair", found["singular"] / scales[0]),
        "gain": ("pair", found["gains"] / scales[1]),
    }


#: Widths from the inputs to the outputs, depth 1 to 4: square, wide, tall, one row, one column.
WIDTHS = (
    (4, 4),
    (4, 5, 4),
    (5, 3, 3),
    (2, 4, 5),
    (5, 4, 4, 3),
    (4, 4, 4, 4),
    (2, 3, 4, 5),
    (6, 2, 1),
    (1, 2, 3, 5),
    (3, 4, 5, 3, 3),
    (4, 4, 4, 4, 4),
)


def _matrix(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> np.ndarray:
    full = min(shape)
    left, right = deep_linear.rotation(rng, shape[0])[:, :full], deep_linear.rotation(rng, shape[1])[:, :full]
    values = {
        "full rank": rng.uniform(0.3, 2.0, full),
        "graded": np.geomspace(1.0, 1e-3, full) if full > 1 else np.ones(1),
        "equal": np.full(full, 0.7),
        "deficient": np.where(np.arange(full) < full // 2, 1.3, 0.0),
    }
    return (left * np.sort(values[kind])[::-1]) @ right.T


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    rng = deep_linear.generator(key)
    for number in range(1 if budget == "quick" else 10):
        for widths in WIDTHS:
            problem = deep_linear.regression(rng, widths, Square("mean"), 6)
            for kind in ("full rank", "graded", "equal", "deficient"):
                W = _matrix(rng, (widths[-1], widths[0]), kind)
                layers = deep_linear.balanced(rng, W, widths) if len(widths) > 2 else (W,)
                yield Case(f"{widths}, {kind}, {number}", problem, at(problem, [layers], ()))


def draw(dataset: xr.Dataset) -> Any:
    """The gain of u_r v_rᵀ against σ_r, one group a depth, and how much W itself is reinforced."""
    figure, (left, right) = figures.panels(2, height=3.3)
    depth = dataset["depth"].values
    chosen = {f"N = {n:g}": depth == n for n in np.unique(depth)}
    sigma, gain = dataset["sigma"].values, dataset["gain"].values
    figures.scatter(
        {label: np.where(sigma > 1e-8, sigma, np.nan)[mask].ravel() for label, mask in chosen.items()},
        {label: gain[mask].ravel() for label, mask in chosen.items()},
        r"$\sigma_r$ over the largest",
        r"gain of $u_r v_r^T$ over the largest",
        log="xy",
        axes=left,
    )
    names = np.array([str(label).split(", ")[-2] for label in dataset["case"].values])
    kinds = [kind for kind in ("equal", "full rank", "graded", "deficient") if (names == kind).any()]
    figures.scatter(
        {kind: depth[names == kind] + 0.12 * (i - 1.5) for i, kind in enumerate(kinds)},
        {kind: dataset["reinforced"].values[names == kind] for kind in kinds},
        "depth N",
        "gain along W over the mean gain",
        reference={"no preference": 1.0},
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Gains of P_W. Left: a direction u_r v_rᵀ is amplified like σ_r^{2(N−1)/N}. Right: movement along W itself "
        "gains more than the average direction, unless all singular values of a square W are equal.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="W square, wide, tall, one row, one column; depth 1 to 4; singular values random, graded to 1e-3, equal, "
    "and half of them zero; balanced layers in random bases",
)
