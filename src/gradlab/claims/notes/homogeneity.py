"""notes.homogeneity: σ(z) = σ'(z) z, f = Π ρ_k f̃ and ⟨W_k, ∂f/∂W_k⟩ = f, layer by layer.

What is judged. The sources state the three for ReLU, that is for σ of degree one, without biases (memo90 eq. 1
under "for RELU activations"). A layer of degree d_k, f(…, aW_k, …) = a^{d_k} f, has ⟨W_k, ∂f/∂W_k⟩ = d_k f by Euler,
so f = Π ρ_k^{d_k} f̃; for σ of degree p, pσ(z) = σ'(z) z and a chain has d_k = p^{K−k}. All parts are judged in this
form, which is the printed one where d_k = 1. The "polynomial activation" that memo90 also lists (section 3) has the
printed form in its last layer only: a control, as are the same net with tanh and the blocks of a residual net,
which have no degree. Only layers that have one are judged.

Settings, before any run. Thirteen architectures (dense, convolutional and residual; linear, ReLU, leaky, squared
ReLU, z², z³; σ on the output too), each on random data, on repeated points and on data of rank one with the zero
input among them, a point of ReLU's kink; unequal widths, one to four outputs, more points than inputs and fewer.
Each case looks at four weights, layers scaled by up to 100^{±1/K}; in one a layer is zero. The full budget draws ten
of each.

Tolerances. Both sides are the same polynomial (piecewise) in different order, so they differ by rounding:
some tens of operations a sum, each off by eps of at most F = f(|W|, |x|), the net on absolute values, which bounds all
partial sums. That is the error bar, in units of max |f| like the numbers (of F/1000 where the terms cancel to less):
at most 1e-10 for nets of this size, a decade below 1e-9. In the control f → W_K⋯tanh(W_2 sign(W_1 x)) as the first
layer of a chain grows, while ⟨W_1, ∂f/∂W_1⟩ → 0: the defect tends to 1. A residual net keeps its linear part, and
reaches what tanh z − z tanh' z contributes to it (0.7 at z = 2): a hundredth is asked, ten million tolerances.
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
from gradlab.claims.claim import Budget, Case, Claim, Measure, Study
from gradlab.claims.deep_linear import EPS, generator, points, ratio
from gradlab.laboratory import at
from gradlab.observe.layers import layer_of
from gradlab.problem.activations import leaky_relu, polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense, Function, Network, Residual
from gradlab.problem.problem import Problem

TOLERANCE = 1e-9
#: Records of one case that are looked at, at most, evenly spaced.
LOOKED_AT = 16
#: Factors on the first layer of the control, and arguments at which σ itself is looked at.
FACTORS = np.geomspace(1.0, 1e8, 9)
ARGUMENTS = np.linspace(-4.0, 4.0, 33)
#: Where the terms of f cancel to less than this part of F, F counts.
CANCELLED = 1e-3

CLAIM = Claim(
    id="notes.homogeneity",
    source="notes",
    statement="ReLU has σ(z) = σ'(z) z, so that f(W; x) = Π ρ_k f̃(W/ρ; x) with ρ_k = ‖W_k‖, and ⟨W_k, ∂f/∂W_k⟩ = f for "
    "each layer k; with d_k for the degree of a layer, ρ_k^{d_k} and d_k f for activations of any degree.",
    formula=r"\sigma(z)=\sigma'(z)\,z,\qquad f(W;x)=\prod_{k=1}^{K}\rho_k\,\tilde f(\tilde W;x),\qquad "
    r"\left\langle W_k,\frac{\partial f}{\partial W_k}\right\rangle=f\quad\forall k",
    passage="Lecture notes, “ReLU and homogeneity properties of DNNs”; memo90 section 3 and eq. 1 (degrees d_k ≠ 1, of "
    "polynomial activations, are in neither: they are tested in the form that Euler's theorem gives)",
    hypotheses=("σ of degree one (of some degree p, for the weighted form)", "no biases"),
    convention="No loss enters. Layers without a degree, such as the blocks of a residual net, are not judged.",
)

MEASURES = (
    Measure(
        "degree",
        "some layer has a degree of homogeneity (1 if so)",
        ">=",
        0.5,
        "the number is 0 or 1; a bias, or tanh in every layer, leaves none",
        role="hypothesis",
    ),
    Measure(
        "activation",
        "max |p σ(z) − σ'(z) z| over −4 ≤ z ≤ 4, zero included, relative to max |σ|; 0 where no σ is known",
        "<=",
        1e-13,
        "two evaluations of a power: a few eps = 2e-16, two decades allowed",
    ),
    Measure(
        "product",
        "max_n |f − Π ρ_k^{d_k} f̃| relative to max_n |f|",
        "<=",
        TOLERANCE,
        "rounding, see the module's docstring; a power of ρ_k missed or too many gives O(1)",
    ),
    Measure(
        "euler",
        "max over layers and n of |⟨W_k, ∂f/∂W_k⟩ − d_k f| relative to d_k max_n |f|",
        "<=",
        TOLERANCE,
        "rounding, see the module's docstring",
    ),
    Measure(
        "tanh",
        "control: the same for the first layer of the same net with tanh, at its most visible scale of the weights",
        ">=",
        1e-2,
        "1 in the limit for a chain, some tenths for a residual net; nothing is asked without hidden units",
    ),
    Measure(
        "unweighted",
        "control: |⟨W_k, ∂f/∂W_k⟩ − f| relative to max |f|, at the layer with d_k ≠ 1 where it is least",
        ">=",
        0.5,
        "it is |d_k − 1| ≥ 1, of which half is asked; nothing where all degrees are one",
    ),
    Measure(
        "blocks",
        "control: the same at the layers without a degree (blocks of a residual net)",
        ">=",
        1e-2,
        "f keeps what the skipping connections carry, O(1) of it; nothing is asked where every layer has a degree",
    ),
)


def _with_tanh(network: Network) -> Network | None:
    """The same architecture with tanh; None where no hidden unit could show it."""
    if isinstance(network, Dense) and len(network.widths) > 2:
        return Dense(network.widths, "tanh", network.bias)
    if isinstance(network, Convolutional):
        sizes = (network.input_shape, network.channels, network.kernel, network.stride, network.outputs)
        return Convolutional(*sizes, "tanh")
    if isinstance(network, Residual):
        return Residual(network.inputs, network.width, network.blocks, network.outputs, "tanh")
    return None


def _forward(problem: Problem, x: Any, vector: Any, tangent: Any) -> Any:
    """f(W; x) and its derivative along a change of W."""
    return jax.jvp(lambda v: problem.outputs(problem.unravel(v), x), (vector,), (tangent,))


_sweep = eqx.filter_jit(eqx.filter_vmap(_forward, in_axes=(None, 0, 0, 0)))


def _evaluate(problem: Problem, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """f, Π ρ^d f̃ and F = f(|W|, |x|) (points, N, C), ⟨W_k, ∂f/∂W_k⟩ (points, K, N, C) at weight vectors."""
    network, layer, x = problem.network, layer_of(problem.network), np.asarray(problem.data.inputs)
    degrees = network.degrees or ()
    masks = [layer == k for k in range(len(degrees))]
    product, directions = np.ones(len(vectors)), vectors.copy()
    for mask, degree in zip(masks, degrees, strict=True):
        norms = np.linalg.norm(vectors[:, mask], axis=1)
        if degree is not None:
            norms[norms == 0.0] = 1.0
            product *= norms**degree
            directions[:, mask] /= norms[:, None]
    weights = np.concatenate([*[vectors] * len(masks), directions, np.abs(vectors)])
    motion = np.concatenate([*[vectors * mask for mask in masks], *[np.zeros_like(vectors)] * 2])
    inputs = np.stack([x] * (len(weights) - len(vectors)) + [np.abs(x)] * len(vectors))
    values, changes = (np.asarray(part) for part in _sweep(problem, inputs, weights, motion))
    *_, normalised, size = np.split(values, len(masks) + 2)
    return {
        "f": values[: len(vectors)],
        "product": product[:, None, None] * normalised,
        "euler": np.stack(np.split(changes, len(masks) + 2)[: len(masks)], axis=1),
        "size": size,
    }


def _control(problem: Problem, vectors: np.ndarray) -> np.ndarray | None:
    """(points, factors): |⟨W_1, ∂f/∂W_1⟩ − f| of the net with tanh, relative to max |f|, W_1 times a factor."""
    network = _with_tanh(problem.network)
    if network is None:
        return None
    other = Problem(network, problem.loss, problem.data)
    first, x = layer_of(network) == 0, np.asarray(problem.data.inputs)
    weights = np.repeat(vectors, FACTORS.size, axis=0)
    weights[:, first] *= np.tile(FACTORS, len(vectors))[:, None]
    inputs = np.broadcast_to(x, (len(weights), *x.shape))
    values, changes = (np.asarray(part) for part in _sweep(other, inputs, weights, weights * first))
    size, gap = _worst(values), _worst(changes - values)
    return np.divide(gap, size, out=np.zeros_like(gap), where=size > 0.0).reshape(len(vectors), -1)


def _sigma(network: Network) -> float:
    """max |p σ(z) − σ'(z) z|/max |σ|, zero for a network whose σ is not known or of no degree."""
    sigma = getattr(network, "activation", None)
    if sigma is None or sigma.degree is None:
        return 0.0
    values, products = jax.jvp(sigma, (jnp.asarray(ARGUMENTS),), (jnp.asarray(ARGUMENTS),))
    return float(np.max(np.abs(sigma.degree * values - products)) / np.max(np.abs(values)))


def _worst(gap: Any) -> np.ndarray:
    """The largest |gap| over examples and outputs: over the last two axes."""
    return np.max(np.abs(gap), axis=(-2, -1))


def observe(problem: Problem, trajectory: xr.Dataset) -> xr.Dataset:
    """The identities at every recorded point; the worst point of each."""
    degrees = problem.network.degrees
    if degrees is None or all(degree is None for degree in degrees):
        return xr.Dataset({measure.id: np.float64(np.nan) for measure in MEASURES}).assign(degree=0.0)
    vectors = points(trajectory)
    vectors = vectors[np.unique(np.linspace(0, len(vectors) - 1, LOOKED_AT).astype(int))]
    seen, control = _evaluate(problem, vectors), _control(problem, vectors)
    unit, bound = _worst(seen["f"]), _worst(seen["size"])
    live = unit > 0.0
    scale = np.maximum(unit, CANCELLED * bound)
    scale = np.where(scale > 0.0, scale, 1.0)
    weighted = [(k, degree) for k, degree in enumerate(degrees) if degree is not None]
    gaps = np.stack([_worst(seen["euler"][:, k] - d * seen["f"]) / d for k, d in weighted])
    plain = _worst(seen["euler"] - seen["f"][:, None])[live] / unit[live, None]
    other = [k for k, degree in weighted if degree != 1]
    free = [k for k, degree in enumerate(degrees) if degree is None]
    widest = max(max(leaf.shape) for leaf in jax.tree.leaves(problem.network.shapes()))
    operations = sum(degree for _, degree in weighted) * (widest + 4)
    rounding = float(np.max(operations * EPS * bound / scale))
    numbers = {
        "degree": 1.0,
        "activation": _sigma(problem.network),
        "product": float(np.max(_worst(seen["f"] - seen["product"]) / scale)),
        "euler": float(np.max(gaps / scale)),
        "product_error": rounding,
        "euler_error": rounding,
        **_asked("unweighted", plain[:, other] if other else None, 0.5),
        **_asked("blocks", plain[:, free] if free else None, 1e-2),
        **_asked("tanh", None if control is None else np.max(control, axis=1)[live][:, None], 1e-2),
    }
    drawn = {
        "layer_degree": (
            "layer",
            np.asarray([np.nan if d is None else d for d in degrees], dtype=np.float64),
        ),
        "layer_ratio": ("layer", _ratios(seen)),
        "control_defect": ("factor", np.full(FACTORS.size, np.nan) if control is None else control[0]),
    }
    return xr.Dataset({**numbers, **drawn})


def _asked(name: str, numbers: np.ndarray | None, tolerance: float) -> dict[str, float]:
    """The least number over layers of the largest over points; nothing is asked (−1) where there is none."""
    if numbers is None or numbers.size == 0:
        return {name: 0.0, f"{name}_tolerance": -1.0}
    return {name: float(np.min(np.max(numbers, axis=0))), f"{name}_tolerance": tolerance}


def _ratios(seen: dict[str, Any]) -> np.ndarray:
    """⟨W_k, ∂f/∂W_k⟩/f of each layer where |f| is largest, at the first point."""
    f = seen["f"][0]
    place = np.unravel_index(np.argmax(np.abs(f)), f.shape)
    return np.asarray([ratio(float(layer[place]), float(f[place])) for layer in seen["euler"][0]])


def _on_the_output(weights: Any, x: Any) -> Any:
    """memo90 section 3 as printed: σ(W_3 σ(W_2 σ(W_1 x))) with ReLU."""
    for layer in weights:
        x = jax.nn.relu(x @ layer.T)
    return x


def _three_layers(key: Any) -> Any:
    sizes = ((4, 5), (4, 4), (3, 4))
    return tuple(jax.random.normal(k, size) for k, size in zip(jax.random.split(key, 3), sizes, strict=True))


#: name, network, number of points.
ARCHITECTURES: tuple[tuple[str, Network, int], ...] = (
    ("linear, 1 layer", Dense((10, 2), "identity"), 6),
    ("linear, 3 layers", Dense((5, 4, 4, 3), "identity"), 4),
    ("ReLU, 3 layers", Dense((6, 3, 5, 2), "relu"), 14),
    ("ReLU, 5 layers", Dense((5, 6, 4, 7, 3, 1), "relu"), 14),
    ("leaky ReLU", Dense((5, 4, 4, 3), leaky_relu(0.2)), 4),
    ("squared ReLU", Dense((6, 3, 5, 2), "squared_relu"), 14),
    ("z²", Dense((6, 3, 5, 2), polynomial((0, 0, 1))), 14),
    ("z³/2", Dense((5, 4, 4, 3), polynomial((0, 0, 0, 0.5))), 4),
    ("convolutional ReLU", Convolutional((2, 5, 4), (2, 3), outputs=4), 6),
    ("convolutional z²", Convolutional((2, 5, 4), (2, 3), outputs=4, activation=polynomial((0, 0, 1))), 6),
    ("residual ReLU", Residual(5, 4, 2, 3), 6),
    ("residual linear", Residual(5, 4, 2, 3, "identity"), 6),
    (
        "ReLU on the output",
        Function(_on_the_output, _three_layers, input_shape=5, outputs=3, degrees=(1, 1, 1)),
        4,
    ),
)
KINDS = ("random", "repeated points", "rank one and zero")


def _inputs(rng: np.random.Generator, count: int, size: int, kind: str) -> np.ndarray:
    x = rng.standard_normal((count, size))
    if kind == "repeated points":
        return x[np.arange(count) % (count // 2)]
    if kind == "rank one and zero":
        return np.outer(rng.standard_normal(count), x[0]) * (np.arange(count) > 0)[:, None]
    return x


def _weights(rng: np.random.Generator, network: Network, number: int) -> Any:
    """Entries of variance 2/fan-in, layers scaled by 10^u, |u| ≤ 2/K; in the last of four, a layer zero."""
    layers = network.layers(network.shapes())
    hole = int(rng.integers(len(layers))) if number == 3 else -1
    drawn = []
    for k, layer in enumerate(layers):
        factor = 0.0 if k == hole else 10.0 ** (rng.uniform(-2.0, 2.0) / len(layers))
        spread = factor * np.sqrt(2.0 / np.prod(layer.shape[1:]))
        drawn.append(spread * rng.standard_normal(layer.shape))
    return network.rebuild(drawn)


def cases(budget: Budget, key: Any) -> Iterator[Case]:
    rng = generator(key)
    for draw in range(1 if budget == "quick" else 10):
        for name, network, count in ARCHITECTURES:
            for kind in KINDS:
                inputs = _inputs(rng, count, int(np.prod(network.input_shape)), kind)
                data = Data(inputs, rng.standard_normal((count, network.outputs)))
                problem = Problem(network, Square(), data)
                looked_at = [_weights(rng, network, number) for number in range(4)]
                yield Case(f"{name}, {kind} {draw + 1}", problem, at(problem, looked_at, ()))


def draw(dataset: xr.Dataset) -> Any:
    """Euler's ratio of every layer against its degree; the control's defect as its first layer grows."""
    figure, (left, right) = figures.panels(2, height=3.2)
    degree, found = dataset["layer_degree"].values, dataset["layer_ratio"].values
    shown = np.isfinite(degree)
    figures.scatter(
        degree[shown],
        {"": found[shown]},
        r"degree $d_k$ of the layer",
        r"$\langle W_k, \partial f/\partial W_k\rangle\,/\,f$",
        diagonal=True,
        axes=left,
    )
    labels = [str(label).split(",")[0] for label in dataset["case"].values]
    lines = {}
    for name, short in (
        ("ReLU", "dense"),
        ("convolutional ReLU", "convolutional"),
        ("residual ReLU", "residual"),
    ):
        if name in labels:
            lines[short] = np.nanmedian(
                dataset["control_defect"].values[[label == name for label in labels]], axis=0
            )
    figures.curves(
        FACTORS,
        lines,
        "factor on the first layer",
        r"$|\langle W_1, \partial f/\partial W_1\rangle - f|\,/\,\max |f|$, tanh",
        log="xy",
        reference={"asked of the control": 1e-2},
        axes=right,
    )
    return figures.with_caption(
        figure,
        "Left: Euler's identity, one point a layer and problem; the line is d_k. Right: the same nets with tanh "
        "(medians) break it by more than rounding at every scale; a residual net keeps a linear part, which wins.",
    )


STUDY = Study(
    CLAIM,
    MEASURES,
    cases,
    observe,
    draw,
    settings="13 architectures on random data, repeated points and rank one with a zero input; four weights each, "
    "layers of norms decades apart, one of them zero",
)
