"""Layers as norms and directions, W_k = ρ_k V_k: norms along a trajectory, and the rounding of an output."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
import numpy as np

from gradlab.claims.looks.flows import FlowRecords
from gradlab.observe.layers import layer_norms, layer_of
from gradlab.problem.networks import Network


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
