"""Continuous symmetries of an architecture, and the dimension of the orbit they draw through given weights.

A generator is a vector field T(W) linear in the weights (but for *mixing*), along which the network on all inputs, or
the potential, does not change. Between two layers (out of k, into k + 1), with A any matrix of the hidden width:

* linear layers: (A W_k, A b_k, −W_{k+1} A), A ∈ gl(d_k): *rotation* for skew A, *stretching* for symmetric A;
* linear layers with biases: (b_k + c, b_{k+1} − W_{k+1} c), *translation*;
* activations of degree p: A diagonal, and −p W_{k+1} A: *rescaling* of a neuron or channel. A residual net's one
  hidden space is rescaled (degree 1) or changed (linear) in all layers together: W_b → A W_b A⁻¹;
* z² with one output: w_i → w_i + ε a_j w_j, w_j → w_j − ε a_i w_i keeps Σ a_i (w_i·x)²: *mixing*;
* cross-entropy: a common shift of all outputs, W_K → W_K + 1 vᵀ, changes f and not L: *shift*.

* (leaky) ReLU: units that are on for the same examples are linear ones there: they rotate among themselves, which
  leaves f on the data, near W, and every norm. Taken where decay holds the weights; elsewhere data explain more.

Decay leaves L only the rotations (‖A W‖_F is the same for orthogonal A), and the others where the layers concerned
have none. Permutations and signs are discrete: they add no dimension. Of a Function no symmetry is known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradlab.analysis.equilibria.polishing import checked
from gradlab.analysis.equilibria.rank import rank
from gradlab.analysis.equilibria.rounding import EPS
from gradlab.observe.local import Forward
from gradlab.problem.activations import Activation, LeakyReLU, Polynomial
from gradlab.problem.losses import CrossEntropy
from gradlab.problem.networks import Convolutional, Dense, Residual
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: More columns than this are not formed: at 64 000 entries each they would be gigabytes.
COLUMNS = 6000

Layers = list[tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Orbit:
    """The orbit of the symmetries through given weights, to first order.

    Attributes
    ----------
    dimension : rank of the generators there. decided : whether a gap of singular values says so. why : one sentence.
    parts : dimension added by each family, in the order rotation, rescaling, stretching, translation, mixing, shift.
    tangent : orthonormal columns (P, dimension).
    of : ``"potential"`` or ``"network"``, what is left unchanged. angle : a bound of the error of the tangent.
    """

    dimension: int
    parts: dict[str, int]
    tangent: Float[np.ndarray, "P dimension"]
    decided: bool
    why: str
    of: str
    angle: float = 0.0


@float64
def symmetry_orbit(
    problem: Problem,
    weights: Any,
    of: Literal["potential", "network"] = "potential",
    *,
    within: float | None = None,
) -> Orbit:
    """This gives the orbit of the continuous symmetries of L, or of f alone, through these weights.

    Parameters
    ----------
    of : ``"potential"`` takes loss and decay into account, ``"network"`` does not.
    within : how far (2-norm) the weights may be from those that are meant; eps·‖W‖ if not given. A generator may
        have that much length and still be zero.

    Raises
    ------
    ValueError
        For weights that do not fit, float32 ones, ones that are not finite, or more than ``COLUMNS`` generators.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> gl.equilibria.symmetry_orbit(problem, (np.array([[1.0]]), np.array([[3.0]]))).dimension
    1
    """
    if of not in ("potential", "network"):
        raise ValueError(f"of was {of!r}; write 'potential' or 'network'")
    problem, weights = checked(problem, weights)
    flat = np.asarray(ravel_pytree(weights)[0])
    families = _generators(problem, weights, of)
    count = sum(len(columns) for columns in families.values())
    if count > COLUMNS:
        raise ValueError(
            f"the symmetries of this network have {count} generators; at most {COLUMNS} are formed: "
            "narrow the hidden layers, or classify without explaining the kernel"
        )
    # generators are linear in W with coefficients of size up to the degree
    reach = within if within is not None else EPS * float(np.linalg.norm(flat))
    basis = np.zeros((len(flat), 0))
    parts: dict[str, int] = {}
    decided, why, angle = True, "no continuous symmetry of this architecture is known", 0.0
    stacked = np.zeros((len(flat), 0))
    for name, columns in families.items():
        stacked = np.concatenate([stacked, np.array(columns).reshape(-1, len(flat)).T], axis=1)
        found = rank(stacked, _slope(problem) * reach * np.sqrt(stacked.shape[1]))
        parts[name] = found.rank - basis.shape[1]
        basis, decided, why, angle = found.range, found.decided, found.why, found.angle
    return Orbit(basis.shape[1], parts, basis, decided, why, of, angle)


def _slope(problem: Problem) -> float:
    activation = getattr(problem.network, "activation", None)
    return 2.0 * max(getattr(activation, "degree", None) or 1, 1)


# Generators ------------------------------------------------------------------------------------------------


def _generators(problem: Problem, weights: Any, of: str) -> dict[str, list[np.ndarray]]:
    """Tangent vectors (P,) by family, in the order that :class:`Orbit` names."""
    network = problem.network
    if not isinstance(network, Dense | Convolutional | Residual):
        return {}
    layers = _layers(network, weights)
    free = np.broadcast_to(np.asarray(problem.decay) == 0.0, len(layers)) | (of == "network")
    families: dict[str, list[np.ndarray]] = {}
    changes = (
        _residual(network, layers, free)
        if isinstance(network, Residual)
        else _sequential(network, layers, free)
    )
    for name, change in changes:
        families.setdefault(name, []).append(_flat(network, weights, change))
    if of == "potential" and not np.all(free) and not _is_linear_dense(network):
        for row in rotations(problem, np.asarray(ravel_pytree(weights)[0])):
            families.setdefault("rotation", []).append(row)
    if of == "potential" and isinstance(problem.loss, CrossEntropy) and free[-1]:
        for change in _shifts(layers):
            families.setdefault("shift", []).append(_flat(network, weights, change))
    order = ("rotation", "rescaling", "stretching", "translation", "mixing", "shift")
    return {name: families[name] for name in order if name in families}


def _layers(network: Any, weights: Any) -> Layers:
    """(weight, bias or None) a layer; kernels as (out, in, rest), and the last layer of a convolution likewise."""
    layers: Layers = []
    for layer in network.layers(weights):
        if isinstance(layer, dict):
            layers.append((np.asarray(layer["weight"])[:, :, None], np.asarray(layer["bias"])))
        else:
            array = np.asarray(layer)
            layers.append((array.reshape(*array.shape[:2], -1), None))
    if isinstance(network, Convolutional):
        last = layers[-1][0]
        layers[-1] = (last.reshape(last.shape[0], network.channels[-1], -1), None)
    return layers


def _flat(network: Any, weights: Any, change: Layers) -> np.ndarray:
    """A change of layers as a vector in the order of ``ravel``."""
    shaped: list[Any] = []
    for layer, (matrix, bias) in zip(network.layers(weights), change, strict=True):
        if isinstance(layer, dict):
            shaped.append({"weight": matrix.reshape(layer["weight"].shape), "bias": bias})
        else:
            shaped.append(matrix.reshape(np.shape(layer)))
    return np.asarray(ravel_pytree(network.rebuild(shaped))[0])


def _nothing(layers: Layers) -> Layers:
    return [(np.zeros_like(m), None if b is None else np.zeros_like(b)) for m, b in layers]


def _is_linear(activation: Activation) -> bool:
    if activation.name == "identity" or (isinstance(activation, LeakyReLU) and activation.slope == 1.0):
        return True
    return isinstance(activation, Polynomial) and activation.degree == 1


def _is_linear_dense(network: Any) -> bool:
    return isinstance(network, Dense) and _is_linear(network.activation)


def _units(size: int, kind: str) -> Iterator[np.ndarray]:
    """A basis of the skew, the symmetric or the diagonal matrices."""
    for i in range(size):
        for j in range(i + 1):
            matrix = np.zeros((size, size))
            if i == j and kind in ("symmetric", "diagonal"):
                matrix[i, i] = 1.0
            elif i > j and kind in ("symmetric", "skew"):
                matrix[i, j], matrix[j, i] = 1.0, 1.0 if kind == "symmetric" else -1.0
            else:
                continue
            yield matrix


def _groups(activation: Activation, free: bool) -> list[tuple[str, str]]:
    """(family, matrices) between two layers, ``free`` of decay or not."""
    if _is_linear(activation):
        return [("rotation", "skew")] + ([("stretching", "symmetric")] if free else [])
    return [("rescaling", "diagonal")] if activation.degree is not None and free else []


def _sequential(network: Dense | Convolutional, layers: Layers, free: Any) -> Iterator[tuple[str, Layers]]:
    activation = network.activation
    p = 1 if _is_linear(activation) else (activation.degree or 0)
    for k in range(len(layers) - 1):
        (first, bias), (second, second_bias) = layers[k], layers[k + 1]
        unbound = bool(free[k] and free[k + 1])
        for name, kind in _groups(activation, unbound):
            for A in _units(first.shape[0], kind):
                change = _nothing(layers)
                change[k] = (np.einsum("ij,jab->iab", A, first), None if bias is None else A @ bias)
                change[k + 1] = (-p * np.einsum("oja,ji->oia", second, A), change[k + 1][1])
                yield name, change
        if unbound and bias is not None and second_bias is not None and _is_linear(activation):
            for c in np.eye(len(bias)):
                change = _nothing(layers)
                change[k] = (change[k][0], c)
                change[k + 1] = (change[k + 1][0], -second[:, :, 0] @ c)
                yield "translation", change
        if (
            unbound
            and _is_square(activation)
            and second.shape[0] == second.shape[2] == 1
            and k + 2 == len(layers)
        ):
            yield from (("mixing", change) for change in _mixing(layers, k))


def _is_square(activation: Activation) -> bool:
    return isinstance(activation, Polynomial) and activation.degree == 2


def _mixing(layers: Layers, k: int) -> Iterator[Layers]:
    (first, bias), a = layers[k], layers[k + 1][0][0, :, 0]
    for i in range(len(a)):
        for j in range(i):
            change = _nothing(layers)
            change[k][0][i], change[k][0][j] = a[j] * first[j], -a[i] * first[i]
            if bias is not None:
                moved = np.zeros_like(bias)
                moved[i], moved[j] = a[j] * bias[j], -a[i] * bias[i]
                change[k] = (change[k][0], moved)
            yield change


def _residual(network: Residual, layers: Layers, free: Any) -> Iterator[tuple[str, Layers]]:
    if not _is_linear(network.activation) and network.activation.degree != 1:
        return
    for name, kind in _groups(network.activation, bool(np.all(free))):
        for A in _units(network.width, kind):
            change: Layers = []
            for k, (matrix, _) in enumerate(layers):
                moved = np.zeros(matrix.shape[:2])
                if k < len(layers) - 1:
                    moved += A @ matrix[:, :, 0]
                if k:
                    moved -= matrix[:, :, 0] @ A
                change.append((moved[:, :, None], None))
            yield name, change


def _shifts(layers: Layers) -> Iterator[Layers]:
    matrix, bias = layers[-1]
    for index in np.ndindex(matrix.shape[1:]):
        change = _nothing(layers)
        change[-1][0][(slice(None), *index)] = 1.0
        yield change
    if bias is not None:
        change = _nothing(layers)
        change[-1] = (change[-1][0], np.ones_like(bias))
        yield change


def rotations(problem: Problem, vector: np.ndarray) -> Float[np.ndarray, "k P"]:
    """Tangents of the rotations of hidden units that leave f on the data and every norm as they are.

    W_k ↦ A W_k, W_{k+1} ↦ W_{k+1} Aᵀ, A orthogonal among units of one layer that the activation treats alike on
    every example: all of them in a linear net, those with one pattern of signs under (leaky) ReLU (near W, away
    from kinks). No rows for other activations, with biases, or for units of which there is one.
    """
    network, size = problem.network, len(vector)
    name = network.activation.name if isinstance(network, Dense) else ""
    if not isinstance(network, Dense) or network.bias or name not in ("identity", "relu", "leaky_relu"):
        return np.zeros((0, size))
    x = np.asarray(problem.data.inputs)
    net, rows = Forward(network, vector, x.reshape(len(x), -1)), []
    for k in range(len(net.weights) - 1):
        signs = np.sign(net.pre[k][0]).T if name != "identity" else np.ones((len(net.weights[k]), 1))
        for i in range(len(signs)):
            for j in range(i):
                if not np.array_equal(signs[i], signs[j]):
                    continue
                row = np.zeros(size)
                row[net.places[k][i]], row[net.places[k][j]] = net.weights[k][j], -net.weights[k][i]
                above = net.weights[k + 1]
                row[net.places[k + 1][:, i]], row[net.places[k + 1][:, j]] = above[:, j], -above[:, i]
                rows.append(row)
    return np.stack(rows) if rows else np.zeros((0, size))
