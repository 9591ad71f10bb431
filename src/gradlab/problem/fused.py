"""Gradients written out by hand where automatic differentiation is slower: chains, large dense networks, convolutions.

They are the same gradients up to rounding; :class:`Single` computes them in float32. Measured on CPU: XLA runs a
product with a transposed left factor at half speed, so such factors are stored transposed first; and it starts a
library call for each small product, so the products of tiny matrices are written as sums, which become plain loops.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.problem import guard
from gradlab.problem.convolutional import Convolutional
from gradlab.problem.dense import Dense
from gradlab.problem.ensembles import unchecked
from gradlab.problem.losses import Square
from gradlab.problem.pooled import Pooled
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
        written = _written(self) or _differentiated
        return _with_decay(self, weights, written(self, weights))

    @float64
    def value_and_gradient(self, weights: Any) -> tuple[Float[Array, ""], Any]:
        """(L, ∇L)."""
        return self.potential(weights), self.gradient(weights)


class Single(Problem):
    """A problem whose :meth:`gradient` is computed in float32, from the weights rounded to it; all else is inherited.

    The decay's part is float64. Made by :func:`in_precision`; for the increments of iterations, whose weights and
    observables stay float64, as practice trains: half the memory, and two to four times as fast on convolutions.
    """

    @float64
    def gradient(self, weights: Any) -> Any:
        """∇L, a pytree like the weights, in float64, right to some 1e-7 of its terms."""
        data = jax.tree.map(_narrow, self.data)
        narrow: Problem = unchecked(Problem, self, data=data)
        written = _written(narrow) or _differentiated
        gradient = jax.tree.map(
            lambda one: one.astype(jnp.float64), written(narrow, jax.tree.map(_narrow, weights))
        )
        return _with_decay(self, weights, gradient)

    @float64
    def value_and_gradient(self, weights: Any) -> tuple[Float[Array, ""], Any]:
        """(L, ∇L); L is the float64 one."""
        return self.potential(weights), self.gradient(weights)


def _narrow(leaf: Any) -> Any:
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def in_precision(problem: Problem, precision: str) -> Problem:
    """The same problem with a gradient in that precision: itself for "float64"."""
    return problem if precision == "float64" else unchecked(Single, problem)


def fused(problem: Problem) -> Problem:
    """The same problem with a gradient written out by hand where that is faster, else the problem itself.

    Faster are linear chains under the square loss whose products of weights are cheaper than passing N examples
    through (for ``condensed`` data always), dense networks with a layer of 10⁶ multiplications or more, and
    convolutions whose patches are too many for a cache. Gradients of the others stay the same bits.
    """
    if isinstance(problem, (Fused, Single)) or _written(problem) is None:
        return problem
    return unchecked(Fused, problem)


def in_parts(problem: Problem) -> Problem:
    """The same problem; the gradient of convolutions whose patches are many is computed in blocks of examples."""
    return unchecked(Fused, problem) if _blocks_of(problem) > 1 else problem


def _written(problem: Problem) -> Callable[[Problem, Any], Any] | None:
    """What computes the gradient of the risk, where it is written by hand."""
    if _is_chain(problem):
        return _chain_gradient
    if _is_large(problem):
        return _dense_gradient
    return _block_gradient if _blocks_of(problem) > 1 else None


def _differentiated(problem: Problem, weights: Any) -> Any:
    """The gradient of the risk, by automatic differentiation, in the precision of weights and data."""

    def risk(weights: Any) -> Float[Array, ""]:
        outputs = problem.network(weights, problem.data.inputs)
        return problem.factor * problem.loss.risk(outputs, problem.data.targets)

    return jax.grad(risk)(weights)


def _with_decay(problem: Problem, weights: Any, gradient: Any) -> Any:
    """The gradient of the potential, from that of the risk."""
    if isinstance(problem.decay, float) and problem.decay == 0.0:
        return gradient
    network = problem.network
    layers, parts = network.layers(weights), network.layers(gradient)
    decay = jnp.broadcast_to(problem.decay, (len(layers),))
    return network.rebuild(
        [
            jax.tree.map(lambda g, w, k=k: g + decay[k] * w, part, layer)
            for k, (part, layer) in enumerate(zip(parts, layers, strict=True))
        ]
    )


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


def _chain_gradient(problem: Problem, weights: Any) -> Any:
    """∇ of a‖W_K⋯W_1 Xᵀ − Yᵀ‖²: 2a S_kᵀ (W Xᵀ − Yᵀ) X P_kᵀ, P_k, S_k the factors before, after k."""
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
    return problem.network.rebuild((_from_inputs if by_inputs else _from_outputs)(layers, pull))


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
    gradients: list[Any] = []
    for k in range(len(layers) - 1, -1, -1):
        gradient = _called(delta.T, hidden[k])
        if network.bias:
            gradients.append({"weight": gradient, "bias": jnp.sum(delta, axis=0)})
        else:
            gradients.append(gradient)
        if k:
            (delta,) = backs[k - 1](delta @ matrices[k])
    return network.rebuild(gradients[::-1])


#: Bytes of the inner values of a block of examples, patches above all, and the fewest examples of one. On 3×32×32
#: images with 16 to 128 channels blocks of 1 to 12 MB take a quarter less time than all 100 or 200 examples at once.
_CACHED, _FEWEST = 2**23, 8


def _blocks_of(problem: Problem) -> int:
    """In how many blocks of examples the gradient is computed: one, but of convolutions."""
    network = problem.network
    if not isinstance(network, (Convolutional, Pooled)) or guard.own_loss(problem.loss):
        return 1
    if getattr(network, "key", None) is not None:  # dropout draws for all examples at once
        return 1
    count = problem.data.inputs.shape[0]
    size = max(_FEWEST, int(_CACHED // (8 * network.inner)))
    return max(1, -(-count // size))


def _block_gradient(problem: Problem, weights: Any) -> Any:
    """The sum of the gradients of the examples' losses, block by block."""
    inputs, targets = problem.data.inputs, problem.data.targets
    count, blocks = inputs.shape[0], _blocks_of(problem)
    share = problem.factor / (count if problem.loss.reduction == "mean" else 1)
    size = -(-count // blocks)
    whole = count // size * size

    def of(x: Any, y: Any) -> Any:
        return jax.grad(lambda w: share * jnp.sum(problem.loss.per_example(problem.network(w, x), y)))(
            weights
        )

    def add(total: Any, block: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of(*block)), None

    parts = tuple(one[:whole].reshape(-1, size, *one.shape[1:]) for one in (inputs, targets))
    total, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, weights), parts)
    return total if whole == count else jax.tree.map(jnp.add, total, of(inputs[whole:], targets[whole:]))
