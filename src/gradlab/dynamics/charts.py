"""Flows in polar charts: normalised weights (ρ, V), weight normalisation, the unit-norm penalty, controlled norms."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.flow import Flow, descent_direction
from gradlab.problem.precision import number
from gradlab.problem.problem import Problem


class Polar(NamedTuple):
    """ρ_k = ‖W_k‖_F, one a layer, and the directions V_k = W_k/ρ_k as a tuple of layers."""

    rho: Float[Array, " layer"]
    directions: tuple[Any, ...]


def _polar(problem: Problem, weights: Any) -> Polar:
    layers = problem.network.layers(weights)
    rho = jnp.stack([tree.norm(layer) for layer in layers])
    return Polar(rho, tuple(tree.scale(1.0 / rho[k], layer) for k, layer in enumerate(layers)))


def _weights(problem: Problem, rho: Any, directions: tuple[Any, ...]) -> Any:
    return problem.network.rebuild(tuple(tree.scale(rho[k], v) for k, v in enumerate(directions)))


def _layer_direction(problem: Problem, weights: Any) -> tuple[tuple[Any, ...], Float[Array, ""]]:
    direction, log_scale = descent_direction(problem, weights)
    return problem.network.layers(direction), log_scale


class _InPolarChart(Flow):
    """A flow of norms and directions of the layers, W_k = ρ_k V_k unless ``decode`` says otherwise."""

    problem: Problem
    chart_is_identity: ClassVar[bool] = False

    @property
    def observed(self) -> Problem:
        return self.problem

    def encode(self, weights: Any) -> Polar:
        return _polar(self.problem, weights)

    def decode(self, y: Polar) -> Any:
        return _weights(self.problem, y.rho, y.directions)

    def chart(self, y: Polar) -> dict[str, Array]:
        return {"rho": y.rho, "direction_norms": jnp.stack([tree.norm(v) for v in y.directions])}


class NormalisedFlow(_InPolarChart):
    """This is the gradient flow in the chart W_k = ρ_k V_k, ‖V_k‖ = 1 (memo90 eqs. 39–40, memo112 eqs. 3–4).

    ρ̇_k = ⟨V_k, Ẇ_k⟩ and V̇_k = S_k Ẇ_k with S_k = (I − V_k V_kᵀ)/ρ_k: another chart of the same orbit. No
    homogeneity is assumed. A layer of zero norm has no direction and is refused by ``encode``.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> start = (np.array([[1.0]]),)
    >>> trajectory = gl.run(gl.flows.NormalisedFlow(problem), start, [1.0], solver="dopri5", refine=False)
    >>> trajectory.chart_rho.values.round(6).ravel().tolist()  # |w| = 3 − 2/e
    [1.0, 2.264241]
    """

    dissipates: ClassVar[bool] = True

    def dissipation(self, y: Polar, direction: Polar, log_scale: Any) -> tuple[Any, Any]:
        """‖dW/dt‖², W_k moving by ρ̇_k V_k + ρ_k V̇_k."""
        moved = [
            tree.add(tree.scale(direction.rho[k], v), tree.scale(y.rho[k], w))
            for k, (v, w) in enumerate(zip(y.directions, direction.directions, strict=True))
        ]
        return tree.inner(moved, moved), 2.0 * log_scale

    def velocity(self, t: Any, y: Polar) -> tuple[Polar, Float[Array, ""]]:
        motion, log_scale = _layer_direction(self.problem, self.decode(y))
        radial, tangent = [], []
        for k, (v, w) in enumerate(zip(y.directions, motion, strict=True)):
            # V is renormalised here only in the projection, so that a drift of ‖V‖ stays visible.
            along = tree.inner(v, w)
            radial.append(along)
            tangent.append(tree.scale(1.0 / y.rho[k], tree.add(w, tree.scale(-along / tree.inner(v, v), v))))
        return Polar(jnp.stack(radial), tuple(tangent)), log_scale


class WeightNormalisation(_InPolarChart):
    """This is the gradient flow of L over (g, v) with W_k = g_k v_k/‖v_k‖ (Salimans and Kingma 2016).

    ġ_k = ⟨v_k/‖v_k‖, Ẇ_k⟩, v̇_k = (g_k/‖v_k‖)(I − v_k v_kᵀ/‖v_k‖²) Ẇ_k; ‖v_k‖ is conserved. The start is
    ‖v_k‖ = 1, g_k = ‖W_k‖.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> start = (np.array([[1.0]]),)
    >>> trajectory = gl.run(gl.flows.WeightNormalisation(problem), start, [1.0], solver="dopri5", refine=False)
    >>> round(float(trajectory.final_weights[0]), 6)  # with one weight, that of the plain flow: 3 − 2/e
    2.264241
    """

    dissipates: ClassVar[bool] = True

    def decode(self, y: Polar) -> Any:
        lengths = jnp.stack([tree.norm(v) for v in y.directions])
        return _weights(self.problem, y.rho / lengths, y.directions)

    def velocity(self, t: Any, y: Polar) -> tuple[Polar, Float[Array, ""]]:
        motion, log_scale = _layer_direction(self.problem, self.decode(y))
        radial, tangent = [], []
        for k, (v, w) in enumerate(zip(y.directions, motion, strict=True)):
            length = tree.norm(v)
            along = tree.inner(v, w) / length
            radial.append(along)
            free = tree.add(w, tree.scale(-along / length, v))
            tangent.append(tree.scale(y.rho[k] / length, free))
        return Polar(jnp.stack(radial), tuple(tangent)), log_scale


class UnitNormPenalty(_InPolarChart):
    """This is the gradient flow of risk(ρ_k V_k) + Σ λ_k (‖V_k‖² − 1) over (ρ, V): memo90 eqs. 48–49.

    ρ̇_k = −⟨V_k, ∂risk/∂W_k⟩ and V̇_k = −ρ_k ∂risk/∂W_k − 2 λ_k V_k. For a network of degree one in every
    layer these are the printed equations, f(ρV) being (Π ρ_i) f̃(V); ‖V_k‖ is *not* held at one.

    ``penalties`` : λ_k, a scalar or one a layer.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> start = (np.array([[1.0]]),)
    >>> trajectory = gl.run(gl.flows.UnitNormPenalty(problem, 0.0), start, [1.0], solver="dopri5", refine=False)
    >>> bool(trajectory.loss[-1] < trajectory.loss[0])
    True
    """

    penalties: Float[Array, "..."] | float = eqx.field(converter=number)
    dissipates: ClassVar[bool] = True

    def potential(self, y: Polar) -> Float[Array, ""]:
        """The risk with its penalty."""
        penalties = jnp.broadcast_to(self.penalties, y.rho.shape)
        squares = jnp.stack([tree.inner(v, v) for v in y.directions])
        return super().potential(y) + jnp.sum(penalties * (squares - 1.0))

    def velocity(self, t: Any, y: Polar) -> tuple[Polar, Float[Array, ""]]:
        weights = self.decode(y)
        motion = self.problem.network.layers(tree.scale(-1.0, self.problem.gradient(weights)))
        penalties = jnp.broadcast_to(self.penalties, y.rho.shape)
        radial, tangent = [], []
        for k, (v, w) in enumerate(zip(y.directions, motion, strict=True)):
            radial.append(tree.inner(v, w))
            tangent.append(tree.add(tree.scale(y.rho[k], w), tree.scale(-2.0 * penalties[k], v)))
        return Polar(jnp.stack(radial), tuple(tangent)), jnp.zeros(())


class ControlledNorm(_InPolarChart):
    """This is the flow of the directions with norms of their own: ρ̇_k = rate (target_k − ρ_k), V̇_k = S_k Ẇ_k.

    S_k = (I − V_k V_kᵀ)/ρ_k and Ẇ_k = −∂L/∂W_k as in eq. 4 of memo112, whose last question controls ρ_k
    "independently of V_k and of equation 5": ρ_k(t) = target_k + (ρ_k(0) − target_k) e^{−rate·t}, whatever V does.
    With rate 0 the norms stay those of the start. The loss may rise: nothing is dissipated along it.

    ``target`` : of ρ_k, a scalar or one a layer, > 0. ``rate`` : ≥ 0, in units of 1/t.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[7.0]]))
    >>> flow = gl.flows.ControlledNorm(problem, target=3.0, rate=1.0)
    >>> trajectory = gl.run(flow, (np.array([[1.0]]),), [1.0], solver="dopri5", refine=False)
    >>> trajectory.chart_rho.values.round(6).ravel().tolist()  # 3 − 2/e, wherever the minimum is
    [1.0, 2.264241]
    """

    target: Float[Array, "..."] | float = eqx.field(converter=number)
    rate: Float[Array, "..."] | float = eqx.field(converter=number, default=0.0)

    def decode(self, y: Polar) -> Any:
        # ‖V_k‖ drifts with the steps (a Euler step adds its square); ρ_k is the norm all the same
        return _weights(self.problem, y.rho / jnp.stack([tree.norm(v) for v in y.directions]), y.directions)

    def velocity(self, t: Any, y: Polar) -> tuple[Polar, Float[Array, ""]]:
        motion = self.problem.network.layers(tree.scale(-1.0, self.problem.gradient(self.decode(y))))
        tangent = []
        for k, (v, w) in enumerate(zip(y.directions, motion, strict=True)):
            along = tree.inner(v, w) / tree.inner(v, v)
            tangent.append(tree.scale(tree.norm(v) / y.rho[k], tree.add(w, tree.scale(-along, v))))
        return Polar(self.rate * (self.target - y.rho), tuple(tangent)), jnp.zeros(())
