"""Weight vectors (P,), in the order of ``Problem.ravel``, layer by layer: which entry lies where, ⟨A_k, B_k⟩, ρ_k."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from gradlab.problem.networks import Network


def layer_of(network: Network) -> Int[np.ndarray, " P"]:
    """The layer (0, 1, …) of every entry of the weight vector, whatever the architecture."""
    numbered = [
        jax.tree.map(lambda leaf, k=k: np.full(leaf.shape, k), layer)
        for k, layer in enumerate(network.layers(network.shapes()))
    ]
    leaves = jax.tree.leaves(network.rebuild(numbered))
    return np.concatenate([leaf.reshape(-1) for leaf in leaves])


def layer_inner(layer: Int[np.ndarray, " P"], a: Any, b: Any) -> Float[np.ndarray, "... K"]:
    """⟨A_k, B_k⟩ of every layer, for vectors (..., P)."""
    products = np.asarray(a) * np.asarray(b)
    return np.stack(
        [np.sum(products[..., layer == k], axis=-1) for k in range(int(layer.max()) + 1)], axis=-1
    )


def layer_norms(layer: Int[np.ndarray, " P"], vectors: Any) -> Float[np.ndarray, "... K"]:
    """ρ_k = ‖W_k‖ of every layer, for weight vectors (..., P)."""
    return np.sqrt(layer_inner(layer, vectors, vectors))


def spread(rho: Any) -> Float[np.ndarray, "..."]:
    """max_k ρ_k/min_k ρ_k − 1 along the last axis: zero where the layers have one norm."""
    rho = np.asarray(rho)
    least = np.min(rho, axis=-1)
    ratio = np.divide(np.max(rho, axis=-1), least, out=np.full(least.shape, np.inf), where=least > 0.0)
    return np.asarray(ratio - 1.0)
