"""Homogeneous networks under losses with an exponential tail, in the chart (W/‖W‖, log ‖W‖), to any log t."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.flow import Flow
from gradlab.problem.homogeneity import degree, pull, refusal
from gradlab.problem.problem import Problem


class Radial(NamedTuple):
    """W = e^s V: ``directions`` V (a pytree like the weights), ``log_norm`` s, and ``separated``.

    ``separated`` is 0 while some margin is not positive, and then V = W, s = 0; it is 1 afterwards, and then
    ‖V‖ = 1. It is a float because every chart variable is one; nothing moves it but :meth:`~HomogeneousFlow.settle`.
    """

    directions: Any
    log_norm: Float[Array, ""]
    separated: Float[Array, ""]


class HomogeneousFlow(Flow):
    """This is the gradient flow of an exponential-type loss in the chart W = e^s V once the data are separated.

    There ‖V‖ = 1. With K the total degree, G of :func:`~gradlab.problem.homogeneity.pull` and
    a = ⟨G, V⟩/⟨V, V⟩ (= K p·m for the exponential loss, by Euler's identity),

        dV/dt = L e^{(K−2)s} (G − a V),    ds/dt = L e^{(K−2)s} a,

    which is dW/dt = −∇L(W) exactly, for any ‖V‖ (derivation and errors in docs/notes/any-time.md; for the polar
    form see Lyu and Li 2020). The factor L e^{(K−2)s} is given as its logarithm. Before the data are separated
    a = 0 and s = 0: the plain flow of W, in the same compiled program. :meth:`settle` hands over.

    Assumed and checked: a margin loss with a log-risk, a network homogeneous in every layer, no decay.
    Errors of rounding: e^{Ks} f has relative error eps (K s + depth), so log p and log L have absolute errors of
    about eps·log t: 10⁻¹⁰ at log t = 10⁶. Implicit methods find V and s to eps all the same, these exponents being
    what they are solved for; the margin and log t keep their relative accuracy.

    Raises
    ------
    ValueError
        For other problems.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Exponential(), gl.Data([[1.0]], [1]))
    >>> start = (np.array([[1.0]]),)
    >>> trajectory = gl.run(gl.flows.HomogeneousFlow(problem), start, [1.0], solver="dopri5", refine=False)
    >>> round(float(trajectory.final_weights[0]), 6)  # log(e + 1)
    1.313262
    """

    problem: Problem
    chart_is_identity: ClassVar[bool] = False
    dissipates: ClassVar[bool] = True

    def __check_init__(self) -> None:
        reason = refusal(self.problem)
        if reason is not None:
            raise ValueError(reason)

    @property
    def observed(self) -> Problem:
        return self.problem

    def encode(self, weights: Any) -> Radial:
        """The plain chart, or at once the radial one where the weights already separate the data."""
        zero = jnp.zeros((), jnp.float64)
        return self.settle(Radial(weights, zero, zero))

    def decode(self, y: Radial) -> Any:
        return tree.scale(jnp.exp(y.log_norm), y.directions)

    def velocity(self, t: Any, y: Radial) -> tuple[Radial, Float[Array, ""]]:
        K = degree(self.problem)
        # Constant between hand-overs: implicit methods need no column for it.
        radial = jax.lax.stop_gradient(y.separated) > 0.5
        log_risk, pulled, _, _ = pull(self.problem, y.directions, jnp.exp(K * y.log_norm))
        size = jnp.where(radial, tree.inner(y.directions, y.directions), 1.0)
        along = jnp.where(radial, tree.inner(pulled, y.directions) / size, 0.0)
        across = tree.add(pulled, tree.scale(-along, y.directions))
        return Radial(across, along, jnp.zeros(())), log_risk + (K - 2) * y.log_norm

    def dissipation(self, y: Radial, direction: Radial, log_scale: Any) -> tuple[Any, Any]:
        """‖dW/dt‖², W moving by e^s (V̇ + ṡ V)."""
        moved = tree.add(direction.directions, tree.scale(direction.log_norm, y.directions))
        return tree.inner(moved, moved), 2.0 * (y.log_norm + log_scale)

    def settle(self, y: Radial) -> Radial:
        """The radial chart where all margins are positive or it is in use already, ‖V‖ = 1; W is unchanged."""
        margins = self.problem.margins(y.directions)
        radial = (y.separated > 0.5) | jnp.all(margins > 0.0)
        size = jnp.where(radial, tree.norm(y.directions), 1.0)
        return Radial(
            tree.scale(1.0 / size, y.directions),
            y.log_norm + jnp.log(size),
            jnp.where(radial, 1.0, 0.0),
        )

    def chart(self, y: Radial) -> dict[str, Array]:
        """``polar`` (1 once handed over), ``log_norm`` = log ‖W‖, ``directions_norm`` = ‖V‖."""
        size = tree.norm(y.directions)
        return {"polar": y.separated, "log_norm": y.log_norm + jnp.log(size), "directions_norm": size}
