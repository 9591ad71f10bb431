"""Sharpness: the largest eigenvalue of the Hessian, or of a layer's block, along a run, with a bound."""

# No postponed annotations here: equinox would take the string "eqx.AbstractVar[…]" for a field.

from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.observe.observables import Observable
from gradlab.problem.problem import Problem

_EPS = float(np.finfo(np.float64).eps)
#: Weights up to which the matrix is formed. Beyond, Lanczos: a record costs its products.
DENSE = 200
#: Rows of a Krylov space, spaces at most, and the residual relative to |λ| at which they end.
_ROWS, _SPACES, _TOLERANCE = 32, 20, 1e-9


def largest(
    gradient: Callable[[Any], Any], flat: Float[Array, " P"], dense: int = DENSE
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(λ_max of the derivative of a gradient, a bound): an eigenvalue lies within the bound of the number given.

    The bound is the residual ‖H v − λ v‖ of the vector found, and P eps |λ| for the rounding of H. Up to ``dense``
    weights all eigenvalues are computed, and none is larger. Beyond, Lanczos from one fixed vector, its rows
    orthogonalised twice, restarted at the vector found; the number is then a lower bound of λ_max up to rounding, and
    one in whose eigenvector the fixed vector has no part is missed.
    """
    size = len(flat)
    product = jax.linearize(gradient, flat)[1]
    if size <= dense:
        matrix = jax.vmap(product)(jnp.eye(size))
        matrix = 0.5 * (matrix + matrix.T)
        values, vectors = jnp.linalg.eigh(matrix)
        top, v, norm = values[-1], vectors[:, -1], jnp.max(jnp.abs(values))
        return top, jnp.linalg.norm(matrix @ v - top * v) + size * _EPS * norm
    start = jnp.asarray(np.random.default_rng(0).standard_normal(size))
    top, residual, norm = _lanczos(product, start / jnp.linalg.norm(start), min(_ROWS, size))
    return top, residual + size * _EPS * norm


def _lanczos(product: Callable[[Any], Any], start: Any, rows: int) -> tuple[Any, Any, Any]:
    def space(v: Any) -> tuple[Any, Any, Any, Any]:
        def step(k: Any, carry: Any) -> Any:
            Q, image = carry
            w = product(Q[k])
            image = image.at[k].set(w)
            for _ in range(2):
                w = w - Q.T @ (Q @ w)
            length = jnp.linalg.norm(w)
            # nothing is left of an invariant space: rows of zeros add zeros
            w = jnp.where(
                length > 1e-12 * jnp.linalg.norm(image[k]), w / jnp.where(length > 0, length, 1.0), 0.0
            )
            return Q.at[k + 1].set(w), image

        Q = jnp.zeros((rows + 1, len(v))).at[0].set(v)
        Q, image = jax.lax.fori_loop(0, rows, step, (Q, jnp.zeros((rows, len(v)))))
        Q = Q[:rows]
        small = Q @ image.T
        there = jnp.sum(Q**2, axis=1) > 0.5
        # rows of zeros are no eigenvectors of the value 0
        far = 2.0 * jnp.max(jnp.abs(small)) + 1.0
        small = 0.5 * (small + small.T) - jnp.diag(jnp.where(there, 0.0, far))
        values, s = jnp.linalg.eigh(small)
        top, v = values[-1], s[:, -1] @ Q
        residual = jnp.linalg.norm(s[:, -1] @ image - top * v)
        return (
            v / jnp.linalg.norm(v),
            top,
            residual,
            jnp.max(jnp.abs(jnp.where(values > -0.9 * far, values, 0.0))),
        )

    def more(state: Any) -> Any:
        _, top, residual, _, spaces = state
        return (spaces < _SPACES) & (residual > _TOLERANCE * jnp.abs(top))

    def again(state: Any) -> Any:
        return (*space(state[0]), state[4] + 1)

    _, top, residual, norm, _ = jax.lax.while_loop(more, again, (*space(start), jnp.asarray(1)))
    return top, residual, norm


def _of_all(problem: Problem, weights: Any) -> tuple[Any, Any]:
    flat, unravel = ravel_pytree(weights)
    return largest(jax.grad(lambda v: problem.potential(unravel(v))), flat)


def _of_layers(problem: Problem, weights: Any) -> tuple[Any, Any]:
    layers = list(problem.network.layers(weights))
    pairs = []
    for k, layer in enumerate(layers):
        flat, unravel = ravel_pytree(layer)

        def potential(v: Any, k: int = k, unravel: Any = unravel) -> Any:
            changed = [*layers[:k], unravel(v), *layers[k + 1 :]]
            return problem.potential(problem.network.rebuild(changed))

        pairs.append(largest(jax.grad(potential), flat))
    tops, bounds = zip(*pairs, strict=True)
    return jnp.stack(tops), jnp.stack(bounds)


class Sharpness(Observable):
    """λ_max of ∇²L; its bound is recorded beside it as ``sharpness_bound``, see :func:`largest`."""

    name: str = eqx.field(static=True, default="sharpness")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return _of_all(problem, weights)[0]


class SharpnessBound(Observable):
    """A bound of the error of ``sharpness``."""

    name: str = eqx.field(static=True, default="sharpness_bound")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return _of_all(problem, weights)[1]


class LayerSharpness(Observable):
    """λ_max of every layer's own block of ∇²L; bounds beside it as ``layer_sharpness_bound``."""

    name: str = eqx.field(static=True, default="layer_sharpness")
    dims: ClassVar[tuple[str, ...]] = ("layer",)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return _of_layers(problem, weights)[0]


class LayerSharpnessBound(Observable):
    """Bounds of the errors of ``layer_sharpness``."""

    name: str = eqx.field(static=True, default="layer_sharpness_bound")
    dims: ClassVar[tuple[str, ...]] = ("layer",)

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return _of_layers(problem, weights)[1]


SHARPNESS: tuple[type[Observable], ...] = (Sharpness, SharpnessBound, LayerSharpness, LayerSharpnessBound)
