"""What a deep linear net computes, W = W_K ⋯ W_1, as theory speaks of it: its singular values."""

# No postponed annotations here: equinox would take the string "eqx.AbstractVar[…]" for a field.

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from gradlab.observe.observables import Observable
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem


class ProductSingularValues(Observable):
    """The singular values of W_K ⋯ W_1, min(d_0, d_K) of them, largest first (rank + 1st on: 0 but for rounding)."""

    name: str = eqx.field(static=True, default="product_singular_values")
    dims: ClassVar[tuple[str, ...]] = ("mode",)
    jointly: ClassVar[bool] = True

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        first, *others = problem.network.layers(weights)
        # From the narrow end, so that no product is wider than the net's.
        if problem.network.outputs < first.shape[1]:
            layers = [layer.T for layer in (first, *others)][::-1]
            first, *others = layers
        whole = first
        for layer in others:
            whole = layer @ whole
        return jnp.linalg.svd(whole, compute_uv=False)

    def refuse(self, problem: Problem) -> str | None:
        network = problem.network
        if isinstance(network, Dense) and network.linear:
            return None
        return (
            f"{self.name} are those of W_K ⋯ W_1, and this network is no dense linear one: write "
            "Dense.deep_linear(widths), or leave it out"
        )


PRODUCT: tuple[type[Observable], ...] = (ProductSingularValues,)
