"""Optimisers of optax as iterations: momentum, Adam and their like, with their state carried beside the weights."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gradlab.dynamics.descent import Constant, drawn_problem, refuse_batch, refuse_precision
from gradlab.dynamics.flow import Flow
from gradlab.problem.problem import Problem


class Optimiser(Flow):
    """An optimiser iterates (w, s) ← (w + u, s'), where (u, s') = transformation.update(∇L(w), s, w) is optax's.

    Every ``optax.GradientTransformation`` runs: ``optax.sgd(0.1, momentum=0.9, nesterov=True)``, ``optax.adam(1e-3)``,
    chains, schedules, and those that ask for the value (line searches, L-BFGS). Its state s begins as
    ``transformation.init(w)`` and is part of the run's state: a resumed run has the bits of an uninterrupted one.
    As step sizes are its own affair, ``t`` counts iterations.

    Parameters
    ----------
    transformation : of optax. What it computes in is what the weights are, float64.
    batch, key, sampling : as for :class:`StochasticGradientDescent`, the gradient of a minibatch; without ``batch``
        the gradient of all examples.
    precision : of the gradients, as for :class:`GradientDescent`.

    A run ends, ``failed: the field is not finite``, where weights, or an array of s that was finite, are not finite
    any more: squares of gradients beyond 10¹⁵⁴ would else stop Adam unseen. ``evaluations`` counts one gradient an
    iteration, not what a line search evaluates.

    Raises
    ------
    ValueError
        For what is no transformation of optax, a batch without a key, and another precision.

    Examples
    --------
    >>> import numpy as np
    >>> import optax
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> flow = gl.Optimiser(problem, optax.sgd(0.5, momentum=0.5))
    >>> gl.run(flow, (np.zeros((1, 1)),), [1, 2], keep="all").weights.values.tolist()  # 3/2 + ½ 3/2 + ½ 3/2
    [[0.0], [1.5], [3.0]]
    """

    problem: Problem
    transformation: Any
    batch: int | None = eqx.field(static=True, default=None)
    key: Array | None = None
    sampling: Literal["replacement", "epoch"] = eqx.field(static=True, default="replacement")
    precision: Literal["float64", "float32"] = eqx.field(static=True, default="float64")
    discrete: ClassVar[bool] = True

    def __check_init__(self) -> None:
        refuse_precision(self.precision)
        made = self.transformation
        if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
            raise ValueError(
                f"an optimiser is an optax.GradientTransformation, not {made!r}: write optax.adam(1e-3), say"
            )
        if self.batch is not None:
            refuse_batch(self.batch, self.sampling)
        if self.key is None and (self.batch is not None or self.problem.network.random):
            raise ValueError(
                "minibatches and dropout are drawn by a key: write Optimiser(..., batch=8, key=jax.random.key(0))"
            )

    @property
    def observed(self) -> Problem:
        return self.problem

    @property
    def step(self) -> Constant:
        """What t grows by in an iteration: 1."""
        return Constant(1.0)

    def encode(self, weights: Any) -> Any:
        return weights

    def decode(self, y: Any) -> Any:
        return y

    def update(self, k: Any, y: Any, memory: Any) -> tuple[Any, Float[Array, ""], Any]:
        """(u, 0, s'): the increment of iteration k, the log of the time it takes, and the state after it."""
        problem = drawn_problem(self.problem, self.key, k, self.batch, self.sampling, self.precision)
        value, gradient = problem.value_and_gradient(y)
        update = optax.with_extra_args_support(self.transformation).update
        state = _opened(memory, self.transformation, y)
        # Those that take no value do not see it, and it is not computed.
        extra = {"value": value, "grad": gradient, "value_fn": problem.potential}
        increment, state = update(gradient, state, y, **extra)
        return increment, jnp.zeros(()), closed(state)

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        """Per iteration: what the transformation does first, with no past."""
        increment, _, _ = self.update(t, y, closed(self.transformation.init(y)))
        return increment, jnp.zeros(())


def closed(state: Any) -> Any:
    """An optimiser's state as arrays of numbers, random keys too: what a run stores."""

    def close(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        return jax.random.key_data(leaf) if _is_key(leaf) else leaf

    return jax.tree.map(close, state)


def _opened(memory: Any, transformation: Any, y: Any) -> Any:
    """The state that was closed; its kinds of keys as at a start, of which nothing else is computed."""
    like = transformation.init(y)

    def unlock(leaf: Any, of: Any) -> Any:
        return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(of)) if _is_key(of) else leaf

    return jax.tree.map(unlock, memory, like)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
