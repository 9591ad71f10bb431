"""Initial weights: Gaussian, He, balanced, identity, and exact balanced factors of a given matrix."""

from __future__ import annotations

import abc
import math
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.modules import Module
from gradlab.problem.compiling import normals
from gradlab.problem.dense import Dense
from gradlab.problem.network import Network
from gradlab.problem.precision import float64, put


class Scheme(Module):
    """A way to draw initial weights: ``network.init(key, scheme)``."""

    @abc.abstractmethod
    def draw(self, key: Any, network: Network) -> Any:
        """Weights of ``network``, in float64."""


class Gaussian(Scheme):
    """This scheme draws independent entries N(0, scale²), the same scale in every layer; biases are zero.

    Parameters
    ----------
    scale : standard deviation, ≥ 0.

    Raises
    ------
    ValueError
        If the scale is negative or not finite.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> gl.Dense((2, 1)).init(jax.random.key(0), gl.Gaussian(0.0))[0].shape
    (1, 2)
    >>> gl.Gaussian(-1.0)
    Traceback (most recent call last):
        ...
    ValueError: the scale of Gaussian was -1.0; give a standard deviation ≥ 0
    """

    scale: float

    def __check_init__(self) -> None:
        _check_scale("Gaussian", self.scale)

    @float64
    def draw(self, key: Any, network: Network) -> Any:
        return _independent(key, network, "Gaussian", lambda shape: self.scale)


class He(Scheme):
    """This scheme draws independent entries N(0, 2/fan-in) (He et al. 2015); biases are zero.

    Fan-in is the number of inputs of one unit.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> [w.shape for w in gl.Dense((2, 3, 1)).init(jax.random.key(0), gl.init.He())]
    [(3, 2), (1, 3)]
    """

    @float64
    def draw(self, key: Any, network: Network) -> Any:
        return _independent(key, network, "He", lambda shape: math.sqrt(2 / math.prod(shape[1:])))


class Identity(Scheme):
    """This scheme sets every matrix W_k to the identity, cut or padded with zeros to (d_k, d_{k−1}); biases zero.

    No key is needed.

    Raises
    ------
    ValueError
        By ``draw``, if a layer is no matrix (a convolution).

    Examples
    --------
    >>> import gradlab as gl
    >>> gl.Dense((2, 3)).init(None, gl.init.Identity())[0].tolist()
    [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """

    @float64
    def draw(self, key: Any, network: Network) -> Any:
        def eye(struct: Any) -> Array:
            if len(struct.shape) > 2:
                raise ValueError(
                    f"Identity needs matrices, and {type(network).__name__} has an array {struct.shape}: "
                    "give He() or Gaussian(scale)"
                )
            return jnp.eye(*struct.shape) if len(struct.shape) == 2 else jnp.zeros(struct.shape)

        return jax.tree.map(eye, network.shapes())


class Balanced(Scheme):
    """This scheme draws balanced factors of a Gaussian matrix: Procedure 1 of Arora, Cohen, Golowich, Hu (2019).

    A ~ N(0, scale²) of shape (d_N, d_0), A = U Σ Vᵀ, and W_N = U Σ^{1/N}, W_k = Σ^{1/N}, W_1 = Σ^{1/N} Vᵀ,
    padded with zeros. Then W_N ⋯ W_1 = A and W_{k+1}ᵀ W_{k+1} = W_k W_kᵀ. The procedure allows any
    distribution of A; here it is Gaussian.

    Parameters
    ----------
    scale : standard deviation of the entries of A, ≥ 0.

    Raises
    ------
    ValueError
        If the scale is negative or not finite; by ``draw``, if the network is not Dense without bias, or a
        hidden width is below min(d_0, d_N).

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import gradlab as gl
    >>> network = gl.Dense.deep_linear((2, 3, 1))
    >>> first, second = map(np.asarray, network.init(jax.random.key(0), gl.init.Balanced(1.0)))
    >>> bool(np.allclose(second.T @ second, first @ first.T))
    True
    """

    scale: float

    def __check_init__(self) -> None:
        _check_scale("Balanced", self.scale)

    @float64
    def draw(self, key: Any, network: Network) -> Any:
        widths = _chain(network, "Balanced")
        if min(widths) < (rank := min(widths[0], widths[-1])):
            raise ValueError(
                f"Balanced draws a matrix of rank {rank}, which does not pass through the widths {widths}; "
                f"give hidden widths ≥ {rank}"
            )
        matrix = self.scale * jax.random.normal(_check_key(key, "Balanced"), (widths[-1], widths[0]))
        return _factors(matrix, widths)


class Factorised(Scheme):
    """This scheme gives exactly balanced factors W_N ⋯ W_1 = matrix, as :class:`Balanced` makes of its draw.

    No key is needed.

    Parameters
    ----------
    matrix : the end-to-end matrix (C, d).

    Raises
    ------
    ValueError
        If ``matrix`` is no finite matrix; by ``draw``, if the network is not Dense without bias, its ends are
        not (d, C), or a hidden width is below the rank (below min(d, C) if ``matrix`` is traced).

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> network = gl.Dense.deep_linear((2, 1, 1))
    >>> first, second = map(np.asarray, network.init(None, gl.init.Factorised([[3.0, 4.0]])))
    >>> (second @ first).round(6).tolist()
    [[3.0, 4.0]]
    """

    matrix: Float[Array | np.ndarray, "C d"]

    def __init__(self, matrix: Any) -> None:
        if not isinstance(matrix, jax.Array):
            matrix = _numbers(matrix)
        if matrix.ndim != 2 or 0 in matrix.shape:
            raise ValueError(
                f"Factorised was given an array of shape {matrix.shape}; give a matrix (outputs, inputs)"
            )
        if not isinstance(matrix, jax.core.Tracer) and not np.all(np.isfinite(matrix)):
            raise ValueError("Factorised was given a matrix with NaN or infinite entries; give finite ones")
        self.matrix = matrix

    @float64
    def draw(self, key: Any, network: Network) -> Any:
        widths = _chain(network, "Factorised")
        if self.matrix.shape != (widths[-1], widths[0]):
            raise ValueError(
                f"Factorised has a matrix of shape {self.matrix.shape}; widths {widths} need one of shape "
                f"{(widths[-1], widths[0])}"
            )
        rank = min(self.matrix.shape)
        if not isinstance(self.matrix, jax.core.Tracer):
            rank = int(np.linalg.matrix_rank(np.asarray(self.matrix)))
        if len(widths) > 2 and min(widths[1:-1]) < rank:
            raise ValueError(
                f"Factorised has a matrix of rank {rank}, which does not pass through the widths {widths}; "
                f"give hidden widths ≥ {rank}"
            )
        return _factors(jnp.asarray(self.matrix, jnp.float64), widths)


def _factors(matrix: Float[Array, "C d"], widths: tuple[int, ...]) -> tuple[Array, ...]:
    """Σ^{1/N} between U and Vᵀ, padded with zeros to the widths."""
    depth = len(widths) - 1
    if depth == 1:
        return (matrix,)
    left, singular, right = jnp.linalg.svd(matrix, full_matrices=False)
    kept = min(len(singular), *widths)
    # Rounding leaves 1e-16 where a singular value is 0, and its N-th root is no longer small.
    noise = max(matrix.shape) * jnp.finfo(jnp.float64).eps * singular[0]
    root = jnp.where(singular > noise, singular, 0.0)[:kept] ** (1 / depth)
    first = root[:, None] * right[:kept]
    last = left[:, :kept] * root
    hidden = [
        jnp.zeros((after, before)).at[:kept, :kept].set(jnp.diag(root))
        for before, after in pairwise(widths[1:-1])
    ]
    return (
        jnp.zeros((widths[1], widths[0])).at[:kept].set(first),
        *hidden,
        jnp.zeros((widths[-1], widths[-2])).at[:, :kept].set(last),
    )


def _independent(key: Any, network: Network, name: str, deviation: Any) -> Any:
    """One key per array; arrays of fewer than two dims are biases and start at zero."""
    structs, structure = jax.tree.flatten(network.shapes())
    drawn = normals(_check_key(key, name), tuple(struct.shape for struct in structs))

    def scaled(shape: tuple[int, ...], array: Any) -> Any:
        scale = deviation(shape) if len(shape) > 1 else 0.0
        if isinstance(array, jax.core.Tracer) or isinstance(scale, jax.core.Tracer):
            return scale * array
        return put(scale * np.asarray(array))

    return jax.tree.unflatten(
        structure, [scaled(struct.shape, array) for struct, array in zip(structs, drawn, strict=True)]
    )


def _chain(network: Network, name: str) -> tuple[int, ...]:
    """The widths of a network whose weights are matrices multiplied in turn."""
    if isinstance(network, Dense) and not network.bias:
        return network.widths
    what = "Dense with bias" if isinstance(network, Dense) else type(network).__name__
    raise ValueError(
        f"{name} factors one end-to-end matrix, which only Dense without bias has, not {what}; "
        "give He() or Gaussian(scale)"
    )


def _check_scale(name: str, scale: Any) -> None:
    if isinstance(scale, jax.core.Tracer):
        return
    if np.ndim(scale) or not (math.isfinite(scale) and scale >= 0):
        raise ValueError(f"the scale of {name} was {scale}; give a standard deviation ≥ 0")


def _check_key(key: Any, name: str) -> Any:
    if not isinstance(key, jax.Array):
        raise ValueError(f"{name} draws random numbers and was given key {key!r}; write jax.random.key(0)")
    return key


def _numbers(matrix: Any) -> np.ndarray:
    try:
        return np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("Factorised was given no matrix of numbers; give rows of equal length") from None
