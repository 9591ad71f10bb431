"""Layers as norms and directions, W_k = ρ_k V_k: norms along a trajectory, how they move, rounding of an output."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gradlab.claims.looks.flows import FlowRecords
from gradlab.observe.layers import layer_norms, layer_of
from gradlab.problem.compiling import compiled
from gradlab.problem.networks import Network
from gradlab.problem.problem import Problem


class LayerRecords(FlowRecords):
    """A trajectory or points, layer by layer."""

    @cached_property
    def layer(self) -> np.ndarray:
        """The layer of every weight, (P,)."""
        return layer_of(self.problem.network)

    @cached_property
    def lengths(self) -> np.ndarray:
        """ρ_k at every record, (records, K)."""
        return layer_norms(self.layer, self.weights)


def additions(network: Network) -> int:
    """Additions behind one output, about: what multiplies eps in its rounding error."""
    return 2 * sum(sum(leaf.shape) for leaf in jax.tree.leaves(network.shapes()))


def relative(gaps: Any, scales: Any) -> float:
    """The largest gap/scale; an entry that is zero over zero counts as zero."""
    gaps, scales = np.broadcast_arrays(
        np.asarray(gaps, dtype=np.float64), np.asarray(scales, dtype=np.float64)
    )
    none = np.where(gaps > 0.0, np.inf, np.abs(gaps))
    return float(np.max(np.divide(gaps, scales, out=none, where=scales > 0.0)))


def _in_chart(problem: Problem, vector: Any) -> dict[str, Any]:
    layer = layer_of(problem.network)
    masks = jnp.asarray(np.arange(layer.max() + 1)[:, None] == layer, dtype=jnp.float64)

    def chart(vector: Any) -> tuple[Any, Any, Any]:
        rho = jnp.sqrt(masks @ vector**2)
        return rho, vector / rho[layer], jnp.prod(rho)

    def loss(vector: Any, factor: Any) -> Any:
        residuals = problem.outputs(problem.unravel(vector)) - problem.data.targets
        return factor * jnp.sum(residuals**2)

    factors = jnp.array([1.0, 1.0 / len(problem.data.targets)])
    of_sum, of_mean = -jax.vmap(jax.grad(loss), (None, 0))(vector, factors)
    (rho, v, _), (rho_dot, v_dot, product_dot) = jax.jvp(chart, (vector,), (of_sum,))
    f, pullback = jax.vjp(lambda v: problem.outputs(problem.unravel(v))[:, 0], v)
    (jacobian,) = jax.vmap(pullback)(jnp.eye(f.size))
    seen = {"rho": rho, "v": v, "f": f, "jacobian": jacobian, "w_dot": of_mean}
    return seen | {"rho_dot": rho_dot, "v_dot": v_dot, "product_dot": product_dot}


_in_charts = compiled(eqx.filter_vmap(_in_chart, in_axes=(None, 0)))


def in_chart(problem: Problem, vectors: np.ndarray) -> dict[str, np.ndarray]:
    """f_n and ∂f_n/∂V at V, and by forward derivatives along −∇L the motion of ρ_k, V_k and ρ, for vectors (m, P).

    L is Σ(g − y)², of the mean for ``w_dot``; one output.
    """
    return {name: np.asarray(value) for name, value in _in_charts(problem, vectors).items()}
