"""Gradient descent and SGD: iterations w ← w − η ∇L(w), the unit-step Euler method of their own field."""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradlab.dynamics import tree
from gradlab.dynamics.flow import Flow, descent_direction
from gradlab.modules import Module
from gradlab.problem.fused import in_parts, in_precision
from gradlab.problem.precision import number
from gradlab.problem.problem import Problem


class Schedule(Module):
    """A step size η(k), k = 0, 1, … ."""

    @abc.abstractmethod
    def __call__(self, k: Any) -> Float[Array, ""]:
        """η at iteration k."""


class Constant(Schedule):
    """A constant schedule has η(k) = step.

    Examples
    --------
    >>> import gradlab as gl
    >>> float(gl.schedules.Constant(0.5)(7))
    0.5
    """

    step: Float[Array, "..."] | float = eqx.field(converter=number)

    def __call__(self, k: Any) -> Float[Array, ""]:
        return jnp.asarray(self.step)


class PowerLaw(Schedule):
    """A power law has η(k) = step/(1 + k/delay)^exponent.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> flow = gl.GradientDescent(problem, gl.schedules.PowerLaw(0.5, 1.0))
    >>> gl.run(flow, (np.zeros((1, 1)),), [1, 2]).t.values.round(6).tolist()  # ½, and ½ + ¼
    [0.0, 0.5, 0.75]
    """

    step: Float[Array, "..."] | float = eqx.field(converter=number)
    exponent: Float[Array, "..."] | float = eqx.field(converter=number)
    delay: Float[Array, "..."] | float = eqx.field(converter=number, default=1.0)

    def __call__(self, k: Any) -> Float[Array, ""]:
        return self.step * (1.0 + k / self.delay) ** (-self.exponent)


class Geometric(Schedule):
    """A geometric schedule has η(k) = step · factor^⌊k/every⌋, the staircase of training recipes.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> flow = gl.GradientDescent(problem, gl.schedules.Geometric(0.5, 0.5, every=2))
    >>> gl.run(flow, (np.zeros((1, 1)),), [1, 2, 3]).t.values.round(6).tolist()  # ½, ½ + ½, ½ + ½ + ¼
    [0.0, 0.5, 1.0, 1.25]
    """

    step: Float[Array, "..."] | float = eqx.field(converter=number)
    factor: Float[Array, "..."] | float = eqx.field(converter=number)
    every: int = eqx.field(static=True, default=1)

    def __call__(self, k: Any) -> Float[Array, ""]:
        return self.step * self.factor ** jnp.floor_divide(k, self.every)


class LossScaled(Module):
    """A loss-scaled schedule has η(k) = step/L(w): Euler in log-loss time, w ← w − step ∇log L(w).

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Exponential(), gl.Data([[1.0]], [1]))
    >>> flow = gl.GradientDescent(problem, gl.schedules.LossScaled(0.5))
    >>> round(float(gl.run(flow, (np.zeros((1, 1)),), [4]).final_weights[0]), 6)  # w ← w + ½
    2.0
    """

    step: Float[Array, "..."] | float = eqx.field(converter=number)


def _as_schedule(step: Any) -> Schedule | LossScaled:
    if isinstance(step, (Schedule, LossScaled)):
        return step
    if isinstance(step, (int, float)) and step <= 0:
        raise ValueError(f"a step size is positive; {step} was given")
    return Constant(step)


class GradientDescent(Flow):
    """Gradient descent iterates w ← w − η_k ∇L(w), *per iteration* the field −η_k ∇L(w); t = Σ η_k is physical time.

    step : a positive number, a :class:`Schedule`, or :class:`LossScaled`.
    precision : of the gradients, "float64" or "float32"; weights and observables are float64 in either. In float32
        convolutions take a half to a quarter of the time, and the run is one of gradients off by some 1e-7.

    Raises
    ------
    ValueError
        For a step that is not positive, one that the loss does not have, and another precision.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> flow = gl.GradientDescent(problem, 0.5)
    >>> round(float(gl.run(flow, (np.zeros((1, 1)),), [3]).final_weights[0]), 6)  # 3 (1 − 2⁻³)
    2.625
    """

    problem: Problem
    step: Any = eqx.field(converter=_as_schedule)
    precision: Literal["float64", "float32"] = eqx.field(static=True, default="float64")
    discrete: ClassVar[bool] = True

    def __check_init__(self) -> None:
        refuse_precision(self.precision)
        if not isinstance(self.step, LossScaled):
            return
        if not self.problem.has_log:
            raise ValueError(
                f"a loss-scaled step needs a loss with a log-risk; {type(self.problem.loss).__name__} has "
                "none: use a constant step, or give the CustomLoss a log_value"
            )
        if self.precision != "float64":
            raise ValueError("a loss-scaled step is of losses far below float32: leave precision at float64")

    @property
    def observed(self) -> Problem:
        return self.problem

    def encode(self, weights: Any) -> Any:
        return weights

    def decode(self, y: Any) -> Any:
        return y

    def update(self, k: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        """(−η_k ∇L(w), log η_k): the increment of iteration k and the log of the time it takes."""
        if isinstance(self.step, LossScaled):
            direction, log_scale = descent_direction(self.problem, y)
            return tree.scale(self.step.step, direction), jnp.log(self.step.step) - log_scale
        eta = self.step(k)
        return tree.scale(-eta, in_precision(self.problem, self.precision).gradient(y)), jnp.log(eta)

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        """Per iteration, at iteration ``t``: the increment itself, with log_scale 0."""
        increment, _ = self.update(t, y)
        return increment, jnp.zeros(())


def refuse_precision(precision: str) -> None:
    """ValueError for a precision of gradients that is not known."""
    if precision not in ("float64", "float32"):
        raise ValueError(f"precision is 'float64' or 'float32', that of the gradients; not {precision!r}")


def refuse_batch(batch: int, sampling: str) -> None:
    """ValueError for a minibatch that is none, and for a way to draw it that is not known."""
    if batch < 1:
        raise ValueError(f"a minibatch has at least one example; batch={batch} was given")
    if sampling not in ("replacement", "epoch"):
        raise ValueError(f"sampling is 'replacement' or 'epoch', not {sampling!r}")


def draw(key: Any, k: Any, count: int, batch: int, sampling: str) -> Int[Array, " batch"]:
    """The minibatch of iteration k among ``count`` examples: a pure function of (key, k)."""
    if sampling == "replacement":
        return jax.random.randint(jax.random.fold_in(key, k), (batch,), 0, count)
    batches = _batches(count, batch)
    order = key.order if isinstance(key, Epoch) else _order(key, k // batches, count)
    return jax.lax.dynamic_slice_in_dim(order, (k % batches) * batch, batch)


def _batches(count: int, batch: int) -> int:
    """Minibatches an epoch."""
    return max(count // batch, 1)


def _order(key: Any, epoch: Any, count: int) -> Int[Array, " count"]:
    """The order of all examples in an epoch."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), count)


class Epoch(Module):
    """A key that knows the order of examples of one epoch: to draw it is to sort them, too much for an iteration."""

    key: Array
    order: Int[Array, " count"]


def of_epoch(flow: Any, k: Any) -> tuple[Any, Any]:
    """The flow for what is left of the epoch of iteration k, and how many iterations that is: it draws as before.

    Infinitely many, of the flow as it is, where it draws with replacement or takes all examples.
    """
    batch = getattr(flow, "batch", None)
    if batch is None or flow.sampling != "epoch":
        return flow, jnp.inf
    count = flow.problem.data.inputs.shape[0]
    batches = _batches(count, batch)
    known = Epoch(flow.key, _order(flow.key, k // batches, count))
    return eqx.tree_at(lambda flow: flow.key, flow, known), batches - k % batches


def drawn_problem(
    problem: Problem, key: Any, k: Any, batch: int | None, sampling: str, precision: str = "float64"
) -> Problem:
    """The problem of iteration k: its minibatch, what dropout leaves of the network, and gradients in that precision.

    Those of convolutions are computed block by block; of other networks they are the same bits as the problem's own.
    """
    count = problem.data.inputs.shape[0]
    if problem.network.random:
        drops = jax.random.fold_in(key.key if isinstance(key, Epoch) else key, _DROPOUT)
        problem = problem.thinned(jax.random.fold_in(drops, k))
    if batch is not None:
        problem = problem.minibatch(draw(key, k, count, batch, sampling))
    return in_precision(in_parts(problem), precision)


#: What parts the keys of dropout from those of minibatches, which are the numbers of iterations or epochs.
_DROPOUT = 2**31 - 1


class StochasticGradientDescent(Flow):
    """SGD iterates w ← w − η_k ∇L_B(w) on a minibatch B drawn by a pure function of (key, k).

    ``sampling="replacement"`` draws i.i.d. examples; ``"epoch"`` goes through a fresh permutation of the data
    every ⌊N/batch⌋ iterations. The minibatch risk keeps the reduction of the loss: a mean over the batch,
    or N/batch times the sum, so that its expectation is the risk. ``precision`` as for :class:`GradientDescent`.

    Examples
    --------
    >>> import jax
    >>> import numpy as np
    >>> import gradlab as gl
    >>> data = gl.Data([[1.0], [1.0]], [[3.0], [3.0]])
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square("mean", half=True), data)
    >>> flow = gl.StochasticGradientDescent(problem, 0.5, batch=1, key=jax.random.key(0))
    >>> round(float(gl.run(flow, (np.zeros((1, 1)),), [3]).final_weights[0]), 6)  # both examples say the same
    2.625
    """

    problem: Problem
    step: Any = eqx.field(converter=_as_schedule)
    batch: int = eqx.field(static=True)
    key: Array
    sampling: Literal["replacement", "epoch"] = eqx.field(static=True, default="replacement")
    precision: Literal["float64", "float32"] = eqx.field(static=True, default="float64")
    discrete: ClassVar[bool] = True

    def __check_init__(self) -> None:
        refuse_precision(self.precision)
        if isinstance(self.step, LossScaled):
            raise ValueError(
                "SGD takes a number or a Schedule as step; the loss-scaled step is for full batches"
            )
        refuse_batch(self.batch, self.sampling)

    @property
    def observed(self) -> Problem:
        return self.problem

    def encode(self, weights: Any) -> Any:
        return weights

    def decode(self, y: Any) -> Any:
        return y

    def indices(self, k: Any) -> Int[Array, " batch"]:
        """The examples of iteration k."""
        return draw(self.key, k, self.problem.data.inputs.shape[0], self.batch, self.sampling)

    def update(self, k: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        """(−η_k ∇L_B(w), log η_k)."""
        eta = self.step(k)
        problem = drawn_problem(self.problem, self.key, k, self.batch, self.sampling, self.precision)
        return tree.scale(-eta, problem.gradient(y)), jnp.log(eta)

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        increment, _ = self.update(t, y)
        return increment, jnp.zeros(())
