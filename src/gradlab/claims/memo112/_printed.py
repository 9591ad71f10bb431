"""The system that memo112 prints for (ρ_k, V_k), eqs. 2–5 and 7: as a flow, and point by point."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gradlab.claims import polar
from gradlab.claims.polar import relative
from gradlab.dynamics.flow import Flow
from gradlab.observe.layers import layer_inner, layer_norms, layer_of, spread
from gradlab.observe.observables import Observable
from gradlab.problem.problem import Problem


class Chart(NamedTuple):
    """ρ_k, one a layer, and all V_k as one vector in the order of ``Problem.ravel``: few arrays compile sooner."""

    rho: Float[Array, " K"]
    v: Float[Array, " P"]


def _chart(problem: Problem, vector: Float[Array, " P"]) -> Chart:
    layer = layer_of(problem.network)
    masks = jnp.asarray(layer == np.arange(layer.max() + 1)[:, None], dtype=jnp.float64)
    rho = jnp.sqrt(masks @ vector**2)
    return Chart(rho, vector / rho[layer])


class Printed(Flow):
    """Eqs. 3 and 7 where ``equal``, with ρ_k^L for ρ as printed; elsewhere ρ̇_k = V_kᵀẆ_k and eq. 4.

    ``pace`` : multiplies the velocity; other than 1 where the plain flow is not that of the sum of squares.
    """

    problem: Problem
    equal: Bool[Array, "..."]
    pace: Float[Array, "..."]
    chart_is_identity: ClassVar[bool] = False

    @property
    def observed(self) -> Problem:
        return self.problem

    # Compiled as one: the laboratory encodes an ensemble's start operation by operation.
    @eqx.filter_jit
    def encode(self, weights: Any) -> Chart:
        return _chart(self.problem, self.problem.ravel(weights))

    def vector(self, y: Chart) -> Float[Array, " P"]:
        """ρ_kV_k."""
        return y.rho[layer_of(self.problem.network)] * y.v

    def decode(self, y: Chart) -> Any:
        return self.problem.unravel(self.vector(y))

    def velocity(self, t: Any, y: Chart) -> tuple[Chart, Float[Array, ""]]:
        labels, layer = self.problem.data.targets[:, 0], layer_of(self.problem.network)
        f, pullback = jax.vjp(lambda v: self.problem.outputs(self.problem.unravel(v))[:, 0], y.v)
        rho, depth = jnp.prod(y.rho), y.rho.size
        residuals = rho * f - labels
        (slope,), along = pullback(residuals), jnp.sum(residuals * f)
        eq3 = -2.0 * y.rho ** (depth - 1) * (y.rho**depth * jnp.sum(f**2) - jnp.sum(f * labels))
        radial = jnp.where(self.equal, eq3, -2.0 * rho / y.rho * along)
        eq7 = -2.0 * rho ** ((depth - 2) / depth)
        factor = jnp.where(self.equal, eq7, -2.0 * rho / y.rho**2)
        return Chart(radial, factor[layer] * (slope - along * y.v)), jnp.log(self.pace)

    def chart(self, y: Chart) -> dict[str, Array]:
        return {"rho": y.rho}


class Both(Flow):
    """The plain flow of the sum of squares and :class:`Printed` side by side, in the same steps."""

    printed: Printed
    chart_is_identity: ClassVar[bool] = False

    @property
    def observed(self) -> Problem:
        return self.printed.problem

    @eqx.filter_jit
    def encode(self, weights: Any) -> tuple[Float[Array, " P"], Chart]:
        return self.observed.ravel(weights), self.printed.encode(weights)

    def decode(self, y: tuple[Float[Array, " P"], Chart]) -> Any:
        return self.observed.unravel(y[0])

    def velocity(self, t: Any, y: tuple[Any, Chart]) -> tuple[Any, Float[Array, ""]]:
        motion, log_scale = self.printed.velocity(t, y[1])
        return (-self.observed.ravel(self.observed.gradient(self.decode(y))), motion), log_scale

    def chart(self, y: tuple[Any, Chart]) -> dict[str, Array]:
        return self.printed.chart(y[1])


class Distance(Observable):
    """‖W − ρ_kV_k‖ between the two orbits of :class:`Both`."""

    name: str = eqx.field(static=True, default="distance")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        vector, (rho, v) = y
        return jnp.sqrt(jnp.sum((vector - rho[layer_of(problem.network)] * v) ** 2))


class Unit(Observable):
    """max_k |‖V_k‖ − 1| of the printed system."""

    name: str = eqx.field(static=True, default="unit")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        chart = y if isinstance(y, Chart) else y[1]
        layer = layer_of(problem.network)
        masks = jnp.asarray(layer == np.arange(layer.max() + 1)[:, None], dtype=jnp.float64)
        return jnp.max(jnp.abs(jnp.sqrt(masks @ chart.v**2) - 1.0))


# Automatic differentiation ----------------------------------------------------------------------------------


def _at_one(problem: Problem, vector: Any) -> dict[str, Any]:
    """f_n and ∂f_n/∂V at V, and by forward derivatives along −∇L the motion of ρ_k, V_k and ρ, L the sum."""

    def chart(vector: Any) -> tuple[Any, Any, Any]:
        y = _chart(problem, vector)
        return y.rho, y.v, jnp.prod(y.rho)

    def printed_loss(vector: Any, factor: Any) -> Any:
        residuals = problem.outputs(problem.unravel(vector)) - problem.data.targets
        return factor * jnp.sum(residuals**2)

    factors = jnp.array([1.0, 1.0 / len(problem.data.targets)])
    of_sum, of_mean = -jax.vmap(jax.grad(printed_loss), (None, 0))(vector, factors)
    (rho, v, _), (rho_dot, v_dot, product_dot) = jax.jvp(chart, (vector,), (of_sum,))
    f, pullback = jax.vjp(lambda v: problem.outputs(problem.unravel(v))[:, 0], v)
    (jacobian,) = jax.vmap(pullback)(jnp.eye(f.size))
    seen = {"rho": rho, "v": v, "f": f, "jacobian": jacobian, "w_dot": of_mean}
    return seen | {"rho_dot": rho_dot, "v_dot": v_dot, "product_dot": product_dot}


_at_all = eqx.filter_jit(eqx.filter_vmap(_at_one, in_axes=(None, 0)))


class Point:
    """The five right-hand sides at one point, as printed, and how far the motion is from each."""

    def __init__(self, problem: Problem, layer: np.ndarray, seen: dict[str, np.ndarray]) -> None:
        self.seen, self.layer = seen, layer
        self.rho, self.f, self.jacobian = seen["rho"], seen["f"], seen["jacobian"]
        self.y = np.asarray(problem.data.targets)[:, 0]
        self.depth, self.product = self.rho.size, float(np.prod(self.rho))
        self.residual = self.product * self.f - self.y
        self.slopes = np.sqrt(layer_inner(layer, self.jacobian, self.jacobian))
        #: max ρ_k/min ρ_k − 1.
        self.unequal = float(spread(self.rho))
        # Sizes of the terms ρf_n and y_n of the residuals, in Σ_n (…) ∂f_n/∂V_k (one a layer) and Σ_n (…) f_n; they
        # do not vanish where the data are interpolated.
        sizes = self.product * np.abs(self.f) + np.abs(self.y)
        self.terms, self.terms_of_f = sizes @ self.slopes, float(sizes @ np.abs(self.f))
        # Rounding of ρf_n − y_n, of some eps (ρ‖x_n‖ + |y_n|).
        lengths = np.linalg.norm(np.asarray(problem.data.inputs).reshape(len(self.f), -1), axis=1)
        self.lost = polar.operations(problem.network) * polar.EPS * (self.product * lengths + np.abs(self.y))

    @cached_property
    def gaps(self) -> dict[str, tuple[Any, Any, Any]]:
        """Of each equation |lhs − rhs|, |lhs| and the sizes of its terms; vectors by their norm in each layer."""
        L, rho, rho_k, f, y = self.depth, self.product, self.rho, self.f, self.y
        seen, of, r = self.seen, self.layer, rho * self.f - self.y
        pull = r @ self.jacobian
        turn = pull - seen["v"] * (r @ f)
        eq2 = -(2.0 / f.size) * (rho / rho_k)[of] * pull
        eq3 = -2.0 * rho_k ** (L - 1) * (rho_k**L * (f @ f) - f @ y)
        eq4 = -2.0 * (rho / rho_k**2)[of] * turn
        eq5 = 2.0 * L * rho ** ((2 * L - 2) / L) * (-rho * (f @ f) + f @ y)
        eq7 = -2.0 * rho ** ((L - 2) / L) * turn
        radial, tangent = 2.0 * rho / rho_k, 2.0 * rho / rho_k**2 * self.terms
        total = 2.0 * float(np.sum((rho / rho_k) ** 2)) * self.terms_of_f

        def sides(left: Any, right: Any, size: Any) -> tuple[Any, Any, Any]:
            return np.abs(left - right), np.abs(left), size

        def layers(left: Any, right: Any, size: Any) -> tuple[Any, Any, Any]:
            return layer_norms(of, left - right), layer_norms(of, left), size

        return {
            "eq2": layers(seen["w_dot"], eq2, radial / f.size * self.terms),
            "eq3": sides(seen["rho_dot"], eq3, radial * self.terms_of_f),
            "eq4": layers(seen["v_dot"], eq4, tangent),
            "eq5": sides(seen["product_dot"], eq5, total),
            "eq7": layers(seen["v_dot"], eq7, tangent),
        }

    @cached_property
    def defects(self) -> dict[str, float]:
        """Each equation's |lhs − rhs| over the sizes of its terms."""
        return {name: relative(gap, size) for name, (gap, _, size) in self.gaps.items()}

    def miss(self) -> float:
        """The least |lhs − rhs|/|lhs| of eqs. 3, 5 and 7; a lhs below 1e-6 of its terms counts as 1e-6 of them."""
        equal = (self.gaps[name] for name in ("eq3", "eq5", "eq7"))
        return min(relative(gap, np.maximum(left, 1e-6 * size)) for gap, left, size in equal)

    @cached_property
    def bars(self) -> dict[str, float]:
        """Rounding of each defect."""
        rounding = relative(self.lost @ self.slopes, self.terms)
        radial = relative(np.max(self.lost @ self.slopes), self.terms_of_f)
        return {"eq2": rounding, "eq3": radial, "eq4": rounding, "eq5": radial, "eq7": rounding}

    def euler(self) -> float:
        """max |⟨V_k, ∂f_n/∂V_k⟩ − f_n| relative to the largest ‖∂f_n/∂V_k‖."""
        gap = layer_inner(self.layer, self.jacobian, self.seen["v"]) - self.f[:, None]
        return relative(np.max(np.abs(gap)), np.max(self.slopes))


def points_of(problem: Problem, vectors: np.ndarray) -> list[Point]:
    """Every weight vector of (records, P) as a :class:`Point`."""
    layer = layer_of(problem.network)
    seen = {name: np.asarray(value) for name, value in _at_all(problem, vectors).items()}
    return [
        Point(problem, layer, {name: value[i] for name, value in seen.items()}) for i in range(len(vectors))
    ]
