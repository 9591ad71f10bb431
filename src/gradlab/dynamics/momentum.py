"""Descent with momentum (heavy ball), by a schedule of steps, on all examples or on minibatches."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.descent import LossScaled, _as_schedule, drawn_problem, refuse_batch, refuse_precision
from gradlab.dynamics.flow import Flow
from gradlab.problem.precision import number
from gradlab.problem.problem import Problem


class _Velocity(NamedTuple):
    """What makes the memory of a run at its start, as an optimiser of optax would say it."""

    init: Any


#: v = 0; one function for all flows, so that ensembles and second runs compile nothing anew.
_STILL = _Velocity(lambda weights: tree.scale(0.0, weights))


class HeavyBall(Flow):
    """Descent with momentum iterates v ← β v + ∇L_B(w), w ← w − η_k v (Polyak 1964); t = Σ η_k.

    Step and β are numbers of the flow, not of a program: an ensemble may have its own for every member, which
    optax's transformations cannot. A network with dropout is thinned anew at every iteration.

    Parameters
    ----------
    step : a positive number or a Schedule. momentum : β in [0, 1).
    batch, key, sampling : as for :class:`StochasticGradientDescent`; without ``batch`` all examples (a key is then
        needed for dropout only).
    precision : of the gradients, as for :class:`GradientDescent`.

    Raises
    ------
    ValueError
        For a loss-scaled step, β outside [0, 1), a batch or dropout without a key, and another precision.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> flow = gl.flows.HeavyBall(problem, 0.5, 0.5)
    >>> gl.run(flow, (np.zeros((1, 1)),), [1, 2], keep="all").weights.values.tolist()  # 3/2 + ½ 3/2 + ½ 3/2
    [[0.0], [1.5], [3.0]]
    """

    problem: Problem
    step: Any = eqx.field(converter=_as_schedule)
    momentum: Float[Array, "..."] | float = eqx.field(converter=number, default=0.9)
    batch: int | None = eqx.field(static=True, default=None)
    key: Array | None = None
    sampling: Literal["replacement", "epoch"] = eqx.field(static=True, default="epoch")
    precision: Literal["float64", "float32"] = eqx.field(static=True, default="float64")
    discrete: ClassVar[bool] = True

    def __check_init__(self) -> None:
        refuse_precision(self.precision)
        if isinstance(self.step, LossScaled):
            raise ValueError(
                "momentum takes a number or a Schedule as step; the loss-scaled step has no past"
            )
        if not isinstance(self.momentum, jax.core.Tracer):
            past = np.asarray(self.momentum)
            if not np.all((past >= 0.0) & (past < 1.0)):
                raise ValueError(f"momentum is a number in [0, 1); {past} was given")
        if self.batch is not None:
            refuse_batch(self.batch, self.sampling)
        if self.key is None and (self.batch is not None or self.problem.network.random):
            raise ValueError(
                "minibatches and dropout are drawn by a key: write HeavyBall(..., key=jax.random.key(0))"
            )

    @property
    def observed(self) -> Problem:
        return self.problem

    @property
    def transformation(self) -> Any:
        """What makes the memory at a start: v = 0."""
        return _STILL

    def encode(self, weights: Any) -> Any:
        return weights

    def decode(self, y: Any) -> Any:
        return y

    def update(self, k: Any, y: Any, memory: Any) -> tuple[Any, Float[Array, ""], Any]:
        """(−η_k v', log η_k, v'): the increment of iteration k, the log of the time it takes, and v after it."""
        drawn = drawn_problem(self.problem, self.key, k, self.batch, self.sampling, self.precision)
        gradient = drawn.gradient(y)
        velocity = tree.add(tree.scale(self.momentum, memory), gradient)
        eta = self.step(k)
        return tree.scale(-eta, velocity), jnp.log(eta), velocity

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        """Per iteration: what is done first, with no past."""
        increment, _, _ = self.update(t, y, tree.scale(0.0, y))
        return increment, jnp.zeros(())
