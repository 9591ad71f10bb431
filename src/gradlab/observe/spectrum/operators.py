"""Symmetric operators that count their products: Hessians of problems, whole or per layer, and matrices."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.problem.dataset import Data
from gradlab.problem.ensembles import unchecked
from gradlab.problem.fused import fused
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Told of what is under way: (what, done, of how many).
Progress = Callable[[str, float, float], None]
#: Chunks of a data set: a sequence, or a function that starts a new pass over them.
Chunks = Sequence[Data] | Callable[[], Iterable[Data]]

#: Vectors multiplied at once. Of 50 890 weights and 1 000 examples a product takes 3.5, 2.8 and 2.5 ms in blocks of
#: 1, 4 and 8, and 3.5 ms in blocks of 16. Each width is one compiled program, so others are padded; and compiling is
#: most of the time of small problems, which are given one width only.
_WIDTHS = (1, 4, 8)
_WIDEST = _WIDTHS[-1]
_SMALL = 4000


class Operator(abc.ABC):
    """A symmetric linear map of ℝ^P, applied to blocks of row vectors.

    Attributes
    ----------
    size : P.
    products : matrix-vector products so far; padding does not count.
    """

    size: int
    products: int = 0

    @abc.abstractmethod
    def apply(self, block: Float[np.ndarray, "b P"]) -> Float[np.ndarray, "b P"]:
        """A v for every row v, in a new array."""

    def __call__(self, block: Float[np.ndarray, "b P"]) -> Float[np.ndarray, "b P"]:
        self.products += len(block)
        return self.apply(block)

    def dense(self, progress: Progress | None = None) -> Float[np.ndarray, "P P"]:
        """All P products; symmetric up to rounding, and left so, for its asymmetry measures that rounding."""
        matrix = np.empty((self.size, self.size))
        for start in range(0, self.size, _WIDEST):
            stop = min(start + _WIDEST, self.size)
            unit = np.zeros((stop - start, self.size))
            unit[np.arange(stop - start), np.arange(start, stop)] = 1.0
            matrix[start:stop] = self(unit)
            if progress is not None:
                progress("Hessian", stop, self.size)
        return matrix


class Matrix(Operator):
    """A symmetric matrix, or a function of blocks (b, P), as an operator.

    Raises
    ------
    ValueError
        For a matrix that is not square, or a function without its size.
    """

    def __init__(
        self,
        given: Float[np.ndarray, "P P"] | Callable[[np.ndarray], np.ndarray],
        size: int | None = None,
    ) -> None:
        if callable(given):
            if size is None:
                raise ValueError("a function of blocks was given without its size: write Matrix(f, size=P)")
            self.size, self._apply = size, given
            return
        matrix = np.asarray(given, np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"a matrix of shape {matrix.shape} was given; a symmetric one is (P, P)")
        self.size, self._apply = len(matrix), lambda block: block @ matrix

    def apply(self, block: Float[np.ndarray, "b P"]) -> Float[np.ndarray, "b P"]:
        return np.array(self._apply(block), np.float64)


class Scaled(Operator):
    """2^−e A, e such that products with unit vectors are of size one: squares of their entries neither under- nor
    overflow where A's would, and results are the same bits.

    The Hessian of an exponential loss is 10⁻²⁰⁰ before long.
    """

    def __init__(self, operator: Operator, generator: np.random.Generator) -> None:
        self.operator, self.size = operator, operator.size
        vector = generator.standard_normal((1, operator.size))
        largest = float(np.max(np.abs(operator(vector / np.max(np.abs(vector))))))
        self.exponent = int(np.frexp(largest)[1]) if np.isfinite(largest) and largest > 0.0 else 0
        self.products = 1

    def apply(self, block: Float[np.ndarray, "b P"]) -> Float[np.ndarray, "b P"]:
        return np.ldexp(self.operator(block), -self.exponent)


# Hessians --------------------------------------------------------------------------------------------------


def _gradient(problem: Problem, weights: Any, layer: int | None) -> tuple[Any, Any]:
    """(∇ of the potential by one vector of weights, the vector itself)."""
    if layer is None:
        flat, unravel = ravel_pytree(weights)
        # Written-out gradients of linear chains have batching rules of their own, which linearising cannot use.
        linear = getattr(problem.network, "linear", False)
        written = problem if linear else fused(problem)
        return lambda vector: ravel_pytree(written.gradient(unravel(vector)))[0], flat
    layers = list(problem.network.layers(weights))
    flat, unravel = ravel_pytree(layers[layer])

    def potential(vector: Any) -> Any:
        changed = [*layers[:layer], unravel(vector), *layers[layer + 1 :]]
        return problem.potential(problem.network.rebuild(changed))

    return jax.grad(potential), flat


@eqx.filter_jit
def _linearised(problem: Problem, weights: Any, layer: int | None) -> Any:
    gradient, flat = _gradient(problem, weights, layer)
    return jax.linearize(gradient, flat)[1]


@eqx.filter_jit
def _by_linearisation(linear: Any, block: Float[Array, "b P"]) -> Float[Array, "b P"]:
    return jax.vmap(linear)(block)


@eqx.filter_jit
def _afresh(problem: Problem, weights: Any, layer: int | None, block: Any) -> Float[Array, "b P"]:
    gradient, flat = _gradient(problem, weights, layer)
    return jax.vmap(lambda vector: jax.jvp(gradient, (flat,), (vector,))[1])(block)


#: What is said wherever weights are finite and derivatives there are not.
NOT_FINITE = (
    "the derivatives of the potential are not finite at these weights, though the weights are: a norm or a root at 0, "
    "or an overflow; neither gradient nor Hessian exists there: move the weights off that point, or write the network "
    "so that its derivatives exist (jnp.where around the argument of the root)"
)


class Hessian(Operator):
    """∇²L(W) of a problem, or its block of the rows and columns of one layer.

    The gradient is linearised once and the linear map applied to a block of vectors at a time, for 0.8–0.9 gradients
    a product where blocks are full. With ``chunk`` or ``data`` nothing is kept between products: each passes over
    the examples a chunk at a time, H = Σ_c (N_c/N) H_c for a mean (Σ_c H_c for a sum) plus the decay, and no more
    than one chunk with its activations is in memory; both are refused where examples interact.

    Parameters
    ----------
    weights : of the problem's network, finite, in double precision.
    layer : k, for the block of layer k (from 0; negative from the end) in the order of ``network.layers``.
    chunk : examples at a time, of the problem's own data.
    data : chunks of a data set that replaces the problem's own: a sequence of Data, or a function that starts a new
        pass over them (each product makes one).

    Raises
    ------
    ValueError
        For weights of single precision, not finite or of other shapes; for a layer that there is not; for both
        ``chunk`` and ``data``, or one of them where examples interact; at the first product, where derivatives are
        not finite at finite weights.
    """

    @float64
    def __init__(
        self,
        problem: Problem,
        weights: Any,
        *,
        layer: int | None = None,
        chunk: int | None = None,
        data: Chunks | None = None,
    ) -> None:
        if not isinstance(problem, Problem):
            raise ValueError(f"a Problem was expected, not {problem!r}: write Problem(network, loss, data)")
        problem = problem.knowing(weights)
        self.problem, self.weights = problem, _checked(problem, weights)
        self.layer = _layer(problem, self.weights, layer)
        self._chunks = _chunks(problem, chunk, data)
        if self._chunks is not None:
            problem.inspected(self.weights).refuse_single_examples("Hessians by chunks")
        self._linear: Any = None
        layers = problem.network.layers(self.weights)
        part = self.weights if self.layer is None else layers[self.layer]
        self.size = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(part))

    @float64
    def apply(self, block: Float[np.ndarray, "b P"]) -> Float[np.ndarray, "b P"]:
        product, out, start = self._product(), np.empty(block.shape), 0
        widths = _WIDTHS if self.size > _SMALL else (_WIDEST,)
        while start < len(block):
            count = min(_WIDEST, len(block) - start)
            width = min(w for w in widths if w >= count)
            piece = np.zeros((width, self.size))
            piece[:count] = block[start : start + count]
            out[start : start + count] = np.asarray(product(jnp.asarray(piece)))[:count]
            start += count
        if not np.isfinite(out).all() and np.isfinite(block).all():
            raise ValueError(NOT_FINITE)
        return out

    def _product(self) -> Callable[[Any], Any]:
        if self._chunks is not None:
            return self._by_chunks
        if self._linear is None:
            self._linear = _linearised(self.problem, self.weights, self.layer)
        return lambda block: _by_linearisation(self._linear, block)

    def _by_chunks(self, block: Float[Array, "b P"]) -> Float[np.ndarray, "b P"]:
        assert self._chunks is not None
        total, count, mean = np.zeros(block.shape), 0, self.problem.loss.reduction == "mean"
        bare = eqx.tree_at(lambda problem: problem.decay, self.problem, jnp.zeros(()))
        for data in self._chunks():
            here = unchecked(Problem, bare, data=data)
            examples = data.inputs.shape[0]
            part = np.asarray(_afresh(here, self.weights, self.layer, block))
            total += examples * part if mean else part
            count += examples
        if count == 0:
            raise ValueError("the data gave no chunk: give a sequence, or a function that starts a new pass")
        return total / (count if mean else 1) + self._decay() * np.asarray(block)

    def _decay(self) -> Float[np.ndarray, " P"]:
        """λ of every weight: the gradient of ½ Σ λ_k ‖W_k‖² at weights 1."""
        ones = jax.tree.map(jnp.ones_like, self.weights)
        slopes = jax.grad(self.problem.penalty)(ones)
        part = slopes if self.layer is None else self.problem.network.layers(slopes)[self.layer]
        return np.asarray(ravel_pytree(part)[0])


def _checked(problem: Problem, weights: Any) -> Any:
    """``weights`` as float64 arrays.

    Raises
    ------
    ValueError
        For weights in single precision, not finite, or of other shapes.
    """
    for leaf in jax.tree.leaves(weights):
        kind = np.dtype(getattr(leaf, "dtype", np.float64))
        if kind not in (np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.int32)):
            raise ValueError(
                f"the weights are {kind}; eigenvalues are told from 0 in float64 only: give weights computed in "
                "float64 (converting these, by numpy.asarray(leaf, float), keeps their error of 1e-7)"
            )
    weights = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), weights)
    problem.network.check(weights)
    count = sum(int(np.sum(~np.isfinite(np.asarray(leaf)))) for leaf in jax.tree.leaves(weights))
    if count:
        raise ValueError(
            f"{count} of the weights are not finite: there is no Hessian at such weights; give finite ones"
        )
    return weights


def _layer(problem: Problem, weights: Any, layer: int | None) -> int | None:
    if layer is None:
        return None
    count = len(problem.network.layers(weights))
    if isinstance(layer, bool) or not isinstance(layer, int | np.integer) or not -count <= layer < count:
        raise ValueError(f"layer was {layer!r}; the network has {count} layers: give 0 to {count - 1}")
    return int(layer) % count


def _chunks(problem: Problem, chunk: int | None, data: Chunks | None) -> Callable[[], Iterable[Data]] | None:
    if data is not None:
        if chunk is not None:
            raise ValueError("chunk and data were both given: data come in chunks already, leave out chunk")
        return data if callable(data) else lambda: data
    if chunk is None:
        return None
    if isinstance(chunk, bool) or not isinstance(chunk, int | np.integer) or chunk < 1:
        raise ValueError(f"chunk was {chunk!r}; give a number of examples ≥ 1")
    inputs, targets = problem.data.inputs, problem.data.targets
    starts = range(0, inputs.shape[0], int(chunk))
    bare = unchecked(Data, problem.data, test_inputs=None, test_targets=None)
    return lambda: (
        unchecked(Data, bare, inputs=inputs[k : k + chunk], targets=targets[k : k + chunk]) for k in starts
    )
