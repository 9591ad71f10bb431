"""Gradients written out by hand where automatic differentiation is slower: linear chains and large dense networks.

They are the same gradients up to rounding. Measured on CPU: XLA runs a product with a transposed left factor at half
speed, so such factors are stored transposed first; and it starts a library call for each small product, so the
products of tiny matrices are written as sums, which become plain loops.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.problem.dense import Dense
from gradlab.problem.ensembles import unchecked
from gradlab.problem.losses import Square
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Multiplications up to which a product is written as a sum: 0.1 µs against 0.4 µs in a call at 10³ to 12³; from
#: 16³ on XLA hands such sums to a library, at ten times the price of the product.
_TINY = 2048
#: Multiplications in a layer from which transposing δ first is worth its copy.
_LARGE = 1_000_000


class Fused(Problem):
    """A problem whose :meth:`gradient` is written out; everything else is inherited. Made by :func:`fused`."""

    @float64
    def gradient(self, weights: Any) -> Any:
        """∇L, a pytree like the weights, equal to the differentiated one up to rounding."""
        if _is_chain(self):
            return _chain_gradient(self, weights)
        return _dense_gradient(self, weights)


def fused(problem: Problem) -> Problem:
    """The same problem with a gradient written out by hand where that is faster, else the problem itself.

    Faster are linear chains under the square loss whose products of weights are cheaper than passing N examples
    through (for ``condensed`` data always), and dense networks with a layer of 10⁶ multiplications or more.
    Gradients of the others stay the same bits.
    """
    if isinstance(problem, Fused) or not (_is_chain(problem) or _is_large(problem)):
        return problem
    return unchecked(Fused, problem)


def _is_chain(problem: Problem) -> bool:
    network, count = problem.network, problem.data.inputs.shape[0]
    if not isinstance(network, Dense) or not network.linear or not isinstance(problem.loss, Square):
        return False
    widths = network.widths
    sizes = [before * after for before, after in pairwise(widths)]
    ends, first = min(widths[0], widths[-1]), (sizes[0] if widths[0] <= widths[-1] else sizes[-1])
    ours = 3 * ends * (sum(sizes) - first) + 2 * count * widths[0] * widths[-1]
    return ours <= count * (3 * sum(sizes) - sizes[0])


def _is_large(problem: Problem) -> bool:
    network = problem.network
    if not isinstance(network, Dense) or len(network.widths) == 2:
        return False
    widths, count = network.widths, problem.data.inputs.shape[0]
    return max(a * b for a, b in pairwise(widths)) * count >= _LARGE


# Products --------------------------------------------------------------------------------------------------


@jax.custom_batching.custom_vmap
def _small(a: Float[Array, "m k"], b: Float[Array, "k n"]) -> Float[Array, "m n"]:
    return jnp.sum(a[:, :, None] * b[None, :, :], axis=1)


@jax.custom_batching.custom_vmap
def _small_across(a: Float[Array, "m k"], b: Float[Array, "n k"]) -> Float[Array, "m n"]:
    # Loops over a stored bᵀ are vectors: 0.13 µs with the copy, 0.28 µs without, at 10³.
    return _small(a, jax.lax.optimization_barrier(b.T))


def _called(a: Float[Array, "... m k"], b: Float[Array, "... k n"]) -> Float[Array, "... m n"]:
    # The barrier makes XLA store a left factor that is a transpose, instead of reading it the other way round.
    return jnp.matmul(jax.lax.optimization_barrier(a), b)


# Of many members at once the library's batched product is the fastest: 0.08 µs a member at 10³.


@_small.def_vmap
def _small_members(axis_size: int, in_batched: Any, a: Any, b: Any) -> Any:
    return _called(a, b), True


@_small_across.def_vmap
def _small_across_members(axis_size: int, in_batched: Any, a: Any, b: Any) -> Any:
    # A stored bᵀ here too: 1.7 µs a step of four 10 × 10 layers instead of 2.2.
    return _called(a, jax.lax.optimization_barrier(jnp.swapaxes(b, -1, -2))), True


def _product(a: Float[Array, "m k"], b: Float[Array, "k n"]) -> Float[Array, "m n"]:
    """a b."""
    tiny = a.shape[0] * a.shape[1] * b.shape[1] <= _TINY
    return _small(a, b) if tiny else _called(a, b)


def _across(a: Float[Array, "m k"], b: Float[Array, "n k"]) -> Float[Array, "m n"]:
    """a bᵀ."""
    tiny = a.shape[0] * a.shape[1] * b.shape[0] <= _TINY
    return _small_across(a, b) if tiny else _called(a, b.T)


# Gradients -------------------------------------------------------------------------------------------------


def _decay_of(problem: Problem) -> Any:
    """λ of each layer."""
    return jnp.broadcast_to(problem.decay, (len(problem.network.layers(problem.network.shapes())),))


def _chain_gradient(problem: Problem, weights: Any) -> Any:
    """∇ of a‖W_K⋯W_1 Xᵀ − Yᵀ‖² + ½ Σ λ_k ‖W_k‖²: 2a S_kᵀ (W Xᵀ − Yᵀ) X P_kᵀ, P_k, S_k the factors before, after k."""
    problem.network.check(weights)
    inputs = problem.data.inputs.reshape(problem.data.inputs.shape[0], -1)
    count = inputs.shape[0]
    loss: Any = problem.loss
    scale = (1.0 if loss.half else 2.0) * problem.factor / (count if loss.reduction == "mean" else 1)

    def pull(whole: Float[Array, "C d"]) -> Float[Array, "C d"]:
        residuals = _across(whole, inputs) - problem.data.targets.T
        return scale * _product(residuals, inputs)

    layers = problem.network.layers(weights)
    by_inputs = inputs.shape[1] <= problem.network.outputs
    gradients = (_from_inputs if by_inputs else _from_outputs)(layers, pull)
    decay = _decay_of(problem)
    return problem.network.rebuild([g + decay[k] * layers[k] for k, g in enumerate(gradients)])


def _from_inputs(layers: Any, pull: Any) -> list[Any]:
    """By prefix products P_k = W_k ⋯ W_1, of as many columns as there are inputs."""
    prefixes = [layers[0]]
    for layer in layers[1:]:
        prefixes.append(_product(layer, prefixes[-1]))
    back = pull(prefixes[-1])
    gradients = []
    for k in range(len(layers) - 1, 0, -1):
        gradients.append(_across(back, prefixes[k - 1]))
        back = _product(layers[k].T, back)
    return [back, *reversed(gradients)]


def _from_outputs(layers: Any, pull: Any) -> list[Any]:
    """By suffix products S_k = W_K ⋯ W_{k+1}, of as many rows as there are outputs."""
    suffixes = [layers[-1]]
    for layer in layers[-2::-1]:
        suffixes.append(_product(suffixes[-1], layer))
    suffixes.reverse()
    forth = pull(suffixes[0])
    gradients = []
    for k, layer in enumerate(layers[:-1]):
        gradients.append(_product(suffixes[k + 1].T, forth))
        forth = _across(forth, layer)
    return [*gradients, forth]


def _dense_gradient(problem: Problem, weights: Any) -> Any:
    """Back-propagation through a dense network, every weight gradient as δᵀ h with δᵀ stored."""
    network: Any = problem.network
    data = problem.data
    network.check(weights)
    layers = network.layers(weights)
    matrices = [layer["weight"] if network.bias else layer for layer in layers]
    h = data.inputs.reshape(data.inputs.shape[0], -1)
    hidden, backs = [h], []
    for k, (layer, matrix) in enumerate(zip(layers, matrices, strict=True)):
        if k:
            h, back = jax.vjp(network.activation, h)
            hidden.append(h)
            backs.append(back)
        h = h @ matrix.T + layer["bias"] if network.bias else h @ matrix.T
    delta = jax.grad(lambda outputs: problem.factor * problem.loss.risk(outputs, data.targets))(h)
    decay, gradients = _decay_of(problem), []
    for k in range(len(layers) - 1, -1, -1):
        gradient = _called(delta.T, hidden[k]) + decay[k] * matrices[k]
        if network.bias:
            slope = jnp.sum(delta, axis=0) + decay[k] * layers[k]["bias"]
            gradients.append({"weight": gradient, "bias": slope})
        else:
            gradients.append(gradient)
        if k:
            (delta,) = backs[k - 1](delta @ matrices[k])
    return network.rebuild(gradients[::-1])
