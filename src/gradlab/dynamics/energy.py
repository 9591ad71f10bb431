r"""The energy balance of a flow that lowers a potential: L(0) − L(t) against what its field dissipates, ∫ ‖∇L‖² dt.

E(t) = ∫ ‖∇L‖² dt comes from the field as it is stepped, L from the potential: two programs that only a right
gradient ties together. E is one more component of every step, of the method's own order, that no step size, no
Jacobian and no spectral radius looks at.

A method errs by e in one step: L is then off by ⟨∇L, e⟩ and E by its own estimate. Nothing grows on the way, since
the balance asks of every point of the orbit only what the step to it has done. The sum of both is ``doubt``.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.flow import Flow
from gradlab.dynamics.tree import Anywhere
from gradlab.modules import Module

EPS = float(np.finfo(np.float64).eps)
#: Units of eps by which a potential may be off, relative to what is summed in it, and E in every step.
ROUNDED = 8.0
#: The doubt is right to first order. Over 936 numbers of loose and tight solves of 18 drawn nets (square, logistic,
#: exponential, from 1e5 down) the balance was off by up to one doubt where that was 1e-5 of E, four at 1e-4, eleven at
#: 1e-3, twenty at 1e-2: by less than 0.4 (1 + BEYOND √(doubt/E)) of them, and 0.7 over as many others.
BEYOND = 300.0


class Energy(Module):
    """What is kept of the balance along an orbit.

    first : L(0). grain : by how much one rounding of the outputs there may move it. spent : E. doubt : the sum of what
    the steps may have erred by.
    """

    first: Float[Anywhere, "..."]
    grain: Float[Anywhere, "..."]
    spent: Float[Anywhere, "..."]
    doubt: Float[Anywhere, "..."]

    def after(self, before: Any, after: Any, error: Any, left: Any = 0.0) -> Energy:
        """After an accepted step from (y, u, E) to (y, u, E) with this estimated error.

        left : the part of what the step adds that an iteration may leave, which no estimate sees.
        Without an estimate (Euler's method), None, all that the step has added is in doubt.
        """
        (y0, _, e0), (y1, _, e1) = before, after
        if error is None:
            return Energy(self.first, self.grain, e1, self.doubt + jnp.abs(e1 - e0))
        way, off = tree.norm(jax.tree.map(jnp.subtract, y1, y0)), tree.norm(error[0])
        # E has grown by at least the mean ‖∇L‖ times the way.
        slope = jnp.abs(e1 - e0) / tree.select(way > 0.0, way, 1.0)
        own = jnp.abs(error[2]) + left * jnp.abs(e1 - e0)
        return Energy(self.first, self.grain, e1, self.doubt + slope * off + own)


def keeps(flow: Flow) -> bool:
    """Whether a flow has a balance: not one that lowers no potential, nor networks with kinks.

    Along a kink a step's field is not the velocity: what slides moves by a mean of two gradients.
    """
    return flow.dissipates and flow.observed.network.smooth


def first_balance(flow: Flow, y: Any) -> Any:
    """The balance at the start; nothing, (), for flows without one."""
    return Energy(*level(flow, y), jnp.zeros(()), jnp.zeros(())) if keeps(flow) else ()


def rate(flow: Flow, y: Any, direction: Any, log_scale: Any, log_rate: Any) -> Float[Array, ""]:
    """dE/dτ in a clock of this rate; what it depends on is not told to derivatives."""
    value, logarithm = flow.dissipation(y, direction, log_scale)
    return jax.lax.stop_gradient(value * jnp.exp(logarithm - log_rate))


def level(flow: Flow, y: Any) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(L, by how much one rounding of the outputs may move it)."""
    problem, weights = flow.observed, flow.decode(y)
    outputs = problem.outputs(weights)
    # Once, where it would be traced again for the potential.
    risk, slopes = jax.value_and_grad(
        lambda f: jnp.asarray(problem.loss.risk(f, problem.data.targets), jnp.float64)
    )(outputs)
    # Σ |∂L/∂f · f| over outputs f: where large outputs meet large targets, their rounding is most of L's.
    grain = problem.factor * jnp.sum(jnp.abs(slopes * outputs)).astype(jnp.float64)
    if type(flow).potential is not Flow.potential:
        return flow.potential(y), grain
    return problem.factor * risk + problem.penalty(weights), grain


def balanced(energy: Energy, steps: Any, now: Any, grain: Any) -> dict[str, Any]:
    """``dissipated``, E; ``balance``, L(0) − L − E; ``balance_doubt``, what steps and rounding may account for.

    now, grain : the :func:`level` at present. ``loss_grain`` : by how much L moves if all outputs do, relatively.
    """
    size = abs(energy.first) + abs(now) + abs(energy.spent)
    root = tree.library(steps).sqrt(1.0 + steps)
    rounding = ROUNDED * EPS * (size * root + energy.grain + grain)
    spent = abs(energy.spent)
    beyond = BEYOND * tree.library(spent).sqrt(energy.doubt / tree.where(spent > 0.0, spent, np.inf))
    return {
        "dissipated": energy.spent,
        "balance": energy.first - now - energy.spent,
        "balance_doubt": energy.doubt * (1.0 + beyond) + rounding,
        "loss_grain": grain,
    }
