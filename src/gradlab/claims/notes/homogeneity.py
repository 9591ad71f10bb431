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

from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.claims.cases import case, generator
from gradlab.claims.looks import Look
from gradlab.claims.measured import EPS, NOT_ASKED, Number, at_least, at_most
from gradlab.claims.plots import Figure, Panel
from gradlab.claims.studies import section, study
from gradlab.laboratory import at
from gradlab.observe.layers import layer_of
from gradlab.problem.activations import leaky_relu, polynomial
from gradlab.problem.data import Data
from gradlab.problem.losses import Square
from gradlab.problem.networks import Convolutional, Dense, Function, Network, Residual
from gradlab.problem.problem import Problem

#: Records of one case that are looked at, at most, evenly spaced.
LOOKED_AT = 16
#: Factors on the first layer of the control, and arguments at which σ itself is looked at.
FACTORS = np.geomspace(1.0, 1e8, 9)
ARGUMENTS = np.linspace(-4.0, 4.0, 33)
#: Where the terms of f cancel to less than this part of F, F counts.
CANCELLED = 1e-3


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


def _worst(gap: Any) -> np.ndarray:
    """The largest |gap| over examples and outputs: over the last two axes."""
    return np.max(np.abs(gap), axis=(-2, -1))


class Homogeneity(Look):
    """A net at weights that were kept: f, what its layers' degrees say of it, and the same net with tanh."""

    setting = "a network of which some layer has a degree of homogeneity"

    @classmethod
    def speaks_of(cls, problem: Problem) -> bool:
        """Whether some layer has one: a bias, or tanh in every layer, leaves none."""
        return any(degree is not None for degree in problem.network.degrees or ())

    @cached_property
    def degrees(self) -> dict[int, int]:
        """The degree d_k of every layer k that has one."""
        return {k: degree for k, degree in enumerate(self.problem.network.degrees) if degree is not None}

    @cached_property
    def vectors(self) -> np.ndarray:
        """The weights that are looked at, (points, P)."""
        return self.weights[np.unique(np.linspace(0, len(self.weights) - 1, LOOKED_AT).astype(int))]

    @cached_property
    def seen(self) -> dict[str, np.ndarray]:
        """f, Π ρ^d f̃ and F = f(|W|, |x|) (points, N, C), ⟨W_k, ∂f/∂W_k⟩ (points, K, N, C)."""
        network, vectors, x = self.problem.network, self.vectors, np.asarray(self.problem.data.inputs)
        layer = layer_of(network)
        masks = [layer == k for k in range(len(network.degrees))]
        product, directions = np.ones(len(vectors)), vectors.copy()
        for k, degree in self.degrees.items():
            norms = np.linalg.norm(vectors[:, masks[k]], axis=1)
            norms[norms == 0.0] = 1.0
            product *= norms**degree
            directions[:, masks[k]] /= norms[:, None]
        weights = np.concatenate([*[vectors] * len(masks), directions, np.abs(vectors)])
        motion = np.concatenate([*[vectors * mask for mask in masks], *[np.zeros_like(vectors)] * 2])
        inputs = np.stack([x] * (len(weights) - len(vectors)) + [np.abs(x)] * len(vectors))
        values, changes = (np.asarray(part) for part in _sweep(self.problem, inputs, weights, motion))
        *_, normalised, size = np.split(values, len(masks) + 2)
        euler = np.stack(np.split(changes, len(masks) + 2)[: len(masks)], axis=1)
        product = product[:, None, None] * normalised
        return {"f": values[: len(vectors)], "product": product, "euler": euler, "size": size}

    @cached_property
    def with_tanh(self) -> np.ndarray | None:
        """(points, factors): |⟨W_1, ∂f/∂W_1⟩ − f| of the net with tanh, relative to max |f|, W_1 times a factor."""
        network = _with_tanh(self.problem.network)
        if network is None:
            return None
        other = Problem(network, self.problem.loss, self.problem.data)
        first, x = layer_of(network) == 0, np.asarray(self.problem.data.inputs)
        weights = np.repeat(self.vectors, FACTORS.size, axis=0)
        weights[:, first] *= np.tile(FACTORS, len(self.vectors))[:, None]
        inputs = np.broadcast_to(x, (len(weights), *x.shape))
        values, changes = (np.asarray(part) for part in _sweep(other, inputs, weights, weights * first))
        size, gap = _worst(values), _worst(changes - values)
        return np.divide(gap, size, out=np.zeros_like(gap), where=size > 0.0).reshape(len(self.vectors), -1)

    @cached_property
    def scale(self) -> np.ndarray:
        """max |f| of every point, or F/1000 where the terms cancel to less; one where all is zero."""
        scale = np.maximum(_worst(self.seen["f"]), CANCELLED * _worst(self.seen["size"]))
        return np.where(scale > 0.0, scale, 1.0)

    @property
    def rounding(self) -> float:
        """Some tens of operations a sum, each off by eps F, relative to the scale."""
        widest = max(max(leaf.shape) for leaf in jax.tree.leaves(self.problem.network.shapes()))
        count = sum(self.degrees.values()) * (widest + 4)
        return float(np.max(count * EPS * _worst(self.seen["size"]) / self.scale))

    def unlike(self, layers: list[int]) -> Number | None:
        """The least over layers of the largest over points of |⟨W_k, ∂f/∂W_k⟩ − f| relative to max |f|."""
        f = self.seen["f"]
        live = _worst(f) > 0.0
        if not layers or not live.any():
            return NOT_ASKED
        plain = _worst(self.seen["euler"] - f[:, None])[live] / _worst(f)[live, None]
        return Number(float(np.min(np.max(plain[:, layers], axis=0))), self.rounding)

    @at_most(1e-13, sentence="activation")
    def activation(self) -> Number | None:
        """max |p σ(z) − σ'(z) z| over −4 ≤ z ≤ 4, zero included, relative to max |σ|.

        Two evaluations of a power: a few eps = 2e-16, two decades allowed.
        """
        sigma = getattr(self.problem.network, "activation", None)
        if sigma is None or sigma.degree is None:
            return NOT_ASKED
        values, products = jax.jvp(sigma, (jnp.asarray(ARGUMENTS),), (jnp.asarray(ARGUMENTS),))
        gap = np.max(np.abs(sigma.degree * values - products)) / np.max(np.abs(values))
        return Number(float(gap), 4.0 * EPS)

    @at_most(1e-9, sentence="product")
    def product(self) -> Number:
        """max_n |f − Π ρ_k^{d_k} f̃| relative to max_n |f|.

        Rounding, see the module's docstring; a power of ρ_k missed or too many gives O(1).
        """
        gap = _worst(self.seen["f"] - self.seen["product"])
        return Number(float(np.max(gap / self.scale)), self.rounding)

    @at_most(1e-9, sentence="euler")
    def euler(self) -> Number:
        """max over layers and n of |⟨W_k, ∂f/∂W_k⟩ − d_k f| relative to d_k max_n |f|.

        Rounding, see the module's docstring.
        """
        gaps = [_worst(self.seen["euler"][:, k] - d * self.seen["f"]) / d for k, d in self.degrees.items()]
        return Number(float(np.max(np.stack(gaps) / self.scale)), self.rounding)

    @at_least(1e-2, sentence="euler", role="control")
    def tanh(self) -> Number | None:
        """The same for the first layer of the same net with tanh, at its most visible scale of the weights.

        1 in the limit for a chain, some tenths for a residual net; nothing is asked without hidden units.
        """
        live = _worst(self.seen["f"]) > 0.0
        if self.with_tanh is None or not live.any():
            return NOT_ASKED
        return Number(float(np.max(self.with_tanh[live])), self.rounding)

    @at_least(0.5, sentence="euler", role="control")
    def unweighted(self) -> Number | None:
        """|⟨W_k, ∂f/∂W_k⟩ − f| relative to max |f|, at the layer with d_k ≠ 1 where it is least.

        It is |d_k − 1| ≥ 1, of which half is asked; nothing where all degrees are one.
        """
        return self.unlike([k for k, degree in self.degrees.items() if degree != 1])

    @at_least(1e-2, sentence="euler", role="control")
    def blocks(self) -> Number | None:
        """The same at the layers without a degree (blocks of a residual net).

        f keeps what the skipping connections carry, O(1) of it; nothing is asked where every layer has a degree.
        """
        return self.unlike([k for k, degree in enumerate(self.problem.network.degrees) if degree is None])

    def shown(self):
        f = self.seen["f"][0]
        place = np.unravel_index(np.argmax(np.abs(f)), f.shape)
        ratios = [self.seen["euler"][0, k][place] / f[place] if f[place] else np.nan for k in self.degrees]
        numbers = {"layer_degree": ("layer", np.asarray([*self.degrees.values()], dtype=np.float64))}
        numbers["layer_ratio"] = ("layer", np.asarray(ratios))
        if self.with_tanh is not None:
            numbers |= {"defect": ("factor", self.with_tanh[0]), "factors": ("factor", FACTORS)}
        return numbers


def _on_the_output(weights: Any, x: Any) -> Any:
    """memo90 section 3 as printed: σ(W_3 σ(W_2 σ(W_1 x))) with ReLU."""
    for layer in weights:
        x = jax.nn.relu(x @ layer.T)
    return x


def _three_layers(key: Any) -> Any:
    sizes = ((4, 5), (4, 4), (3, 4))
    return tuple(jax.random.normal(k, size) for k, size in zip(jax.random.split(key, 3), sizes, strict=True))


Z2 = polynomial((0, 0, 1))
#: Network and number of points.
ARCHITECTURES: dict[str, tuple[Network, int]] = {
    "linear, 1 layer": (Dense((10, 2), "identity"), 6),
    "linear, 3 layers": (Dense((5, 4, 4, 3), "identity"), 4),
    "ReLU, 3 layers": (Dense((6, 3, 5, 2), "relu"), 14),
    "ReLU, 5 layers": (Dense((5, 6, 4, 7, 3, 1), "relu"), 14),
    "leaky ReLU": (Dense((5, 4, 4, 3), leaky_relu(0.2)), 4),
    "squared ReLU": (Dense((6, 3, 5, 2), "squared_relu"), 14),
    "z²": (Dense((6, 3, 5, 2), Z2), 14),
    "z³/2": (Dense((5, 4, 4, 3), polynomial((0, 0, 0, 0.5))), 4),
    "convolutional ReLU": (Convolutional((2, 5, 4), (2, 3), outputs=4), 6),
    "convolutional z²": (Convolutional((2, 5, 4), (2, 3), outputs=4, activation=Z2), 6),
    "residual ReLU": (Residual(5, 4, 2, 3), 6),
    "residual linear": (Residual(5, 4, 2, 3, "identity"), 6),
    "ReLU on the output": (
        Function(_on_the_output, _three_layers, input_shape=5, outputs=3, degrees=(1, 1, 1)),
        4,
    ),
}


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


def cases(key, *, nets, kinds, draws):
    """Every net on every kind of inputs, at four weights."""
    rng = generator(key)
    for draw in range(draws):
        for name in nets:
            network, count = ARCHITECTURES[name]
            for kind in kinds:
                inputs = _inputs(rng, count, int(np.prod(network.input_shape)), kind)
                data = Data(inputs, rng.standard_normal((count, network.outputs)))
                problem = Problem(network, Square(), data)
                looked_at = [_weights(rng, network, number) for number in range(4)]
                yield case(problem, at(problem, looked_at, ()), net=name, inputs=kind, draw=draw + 1)


STUDY = study(
    "notes.homogeneity",
    Homogeneity,
    cases,
    quick={
        "nets": tuple(ARCHITECTURES),
        "kinds": ("random", "repeated points", "rank one and zero"),
        "draws": 1,
    },
    full={"draws": 10},
    few={"nets": ("ReLU, 3 layers", "z²", "residual ReLU"), "kinds": ("random", "rank one and zero")},
    settings=section(__doc__, "Settings"),
    figure=Figure(
        Panel(
            "layer_ratio",
            "layer_degree",
            r"$\langle W_k, \partial f/\partial W_k\rangle\,/\,f$",
            r"degree $d_k$ of the layer",
            diagonal=True,
        ),
        Panel(
            "defect",
            "factors",
            r"$|\langle W_1, \partial f/\partial W_1\rangle - f|\,/\,\max |f|$, tanh",
            "factor on the first layer",
            by=("net",),
            log="xy",
            floor=1e-17,
            reference={"asked of the control": 1e-2},
            most=4,
        ),
        caption="Left: Euler's identity, one point a layer and problem; the line is d_k. Right: the same nets with "
        "tanh for their activation, the first four, break it by more than rounding at every scale.",
    ),
)
