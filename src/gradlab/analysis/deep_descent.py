"""Gradient descent on deep linear nets under ½‖W_N⋯W_1 − Φ‖_F²: what is guaranteed beforehand, and the iteration.

The square loss on whitened data, (1/m) Σ x xᵀ = I, is that up to a factor and a constant; Φ (C, d) is the target.
Source: Arora, Cohen, Golowich, Hu (ICLR 2019), Definition 2 and Theorem 1. Layers are (W_1, …, W_N), first layer first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gradlab.analysis.linear_nets import balancedness, end_to_end
from gradlab.problem.precision import float64


def deficiency_margin(W: Float[np.ndarray, "C d"], target: Float[np.ndarray, "C d"]) -> float:
    """The largest c with ‖W − Φ‖_F ≤ σ_min(Φ) − c: what is nearer to Φ than W has no singular value below c.

    Of either sign; σ_min is the least of min(C, d) singular values (Definition 2).

    Examples
    --------
    >>> import numpy as np
    >>> from gradlab.analysis.deep_descent import deficiency_margin
    >>> deficiency_margin(np.array([[0.75]]), np.array([[1.0]]))
    0.75
    """
    least = float(np.linalg.svd(np.asarray(target), compute_uv=False)[-1])
    return least - float(np.linalg.norm(np.asarray(W) - np.asarray(target)))


class Allowed(NamedTuple):
    """What Theorem 1 allows and promises: δ, the longest step η, and the rate r of ℓ(t) ≤ ℓ(0) e^{−ηrt}."""

    defect: float
    step: float
    rate: float


def allowed(margin: float, depth: int, size: float) -> Allowed:
    """δ = c²/(256 N³ ‖Φ‖_F^{2(N−1)/N}), η = c^{(4N−2)/N}/(6144 N³ ‖Φ‖_F^{(6N−4)/N}) and c^{2(N−1)/N}; 0 for Φ = 0.

    Parameters
    ----------
    margin : c ≥ 0. depth : N ≥ 1. size : ‖Φ‖_F.

    Examples
    --------
    >>> from gradlab.analysis.deep_descent import allowed
    >>> allowed(0.5, 2, 1.0).rate
    0.5
    """
    N, c = depth, margin
    if not size > 0.0:
        return Allowed(0.0, 0.0, 0.0)
    return Allowed(
        c**2 / (256 * N**3 * size ** (2 * (N - 1) / N)),
        c ** ((4 * N - 2) / N) / (6144 * N**3 * size ** ((6 * N - 4) / N)),
        c ** (2 * (N - 1) / N),
    )


@dataclass(frozen=True)
class Guarantee:
    """A Guarantee is what Theorem 1 says of gradient descent from one start, before any step.

    Attributes
    ----------
    margin : c > 0. defect : the largest ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖_F of the start.
    allowed, step, rate : of :func:`allowed`: what ``defect`` must not exceed; the longest step; ½‖W − Φ‖² falls at
        least like e^{−η·rate·t} in t iterations.

    Examples
    --------
    >>> import numpy as np
    >>> from gradlab.analysis.deep_descent import guarantee
    >>> given = guarantee((np.array([[1.0]]), np.array([[0.75]])), np.array([[1.0]]))
    >>> given.margin, given.holds, given.allowed
    (0.75, False, 0.000274658203125)
    """

    margin: float
    defect: float
    allowed: float
    step: float
    rate: float

    @property
    def holds(self) -> bool:
        """Whether the start meets the hypotheses."""
        return self.margin > 0.0 and self.defect <= self.allowed

    def iterations(self, ratio: float) -> int:
        """The least T of which it is said that ½‖W − Φ‖² is ``ratio`` < 1 times what it was."""
        return math.ceil(math.log(1.0 / ratio) / (self.step * self.rate))


def guarantee(weights: Sequence[Any], target: Float[np.ndarray, "C d"]) -> Guarantee:
    """The guarantee of a start (W_1, …, W_N), N ≥ 2; step and rate are NaN without a margin.

    Raises
    ------
    ValueError
        If there are fewer than two layers.

    Examples
    --------
    >>> import numpy as np
    >>> from gradlab.analysis.deep_descent import guarantee
    >>> guarantee((np.eye(2), np.eye(2)), np.eye(2)).rate
    1.0
    """
    layers = [np.asarray(layer, dtype=np.float64) for layer in weights]
    N = len(layers)
    if N < 2:
        raise ValueError(f"{N} layer was given; Theorem 1 speaks of two layers or more")
    size = float(np.linalg.norm(target))
    c = deficiency_margin(np.asarray(end_to_end(layers)), target)
    defect = max(float(np.linalg.norm(gap)) for gap in balancedness(layers))
    if c <= 0.0:
        return Guarantee(c, defect, 0.0, math.nan, math.nan)
    given = allowed(c, N, size)
    return Guarantee(c, defect, given.defect, given.step, given.rate)


def descended(layers: Sequence[Any], target: Any, step: Any) -> tuple[Any, ...]:
    """One iteration W_j ← W_j − η (W_N⋯W_{j+1})ᵀ (W − Φ) (W_{j−1}⋯W_1)ᵀ, with batch dimensions in front if any."""
    below: list[Any] = [None]
    for layer in layers:
        below.append(layer if below[-1] is None else layer @ below[-1])
    rest = below.pop() - target
    moved, above = [], None
    for layer, before in zip(reversed(layers), reversed(below), strict=True):
        slope = rest if above is None else above.mT @ rest
        slope = slope if before is None else slope @ before.mT
        moved.append(layer - step * slope)
        above = layer if above is None else above @ layer
    return tuple(moved[::-1])


@partial(jax.jit, static_argnames="length")
def _walk(layers: Any, target: Any, step: Any, counts: Any, length: int) -> Any:
    def record(state: Any, count: Any) -> Any:
        moved = jax.lax.fori_loop(0, count, lambda _, one: descended(one, target, step), state)
        return moved, moved

    return jax.lax.scan(record, layers, counts, length=length)[1]


@float64
def iterates(
    weights: Sequence[Any], target: Any, step: Any, iterations: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, ...]:
    """Gradient descent of a batch of starts, each on its own target and step, as one compiled loop.

    Parameters
    ----------
    weights : layers (batch, d_j, d_{j−1}). target : (batch, C, d). step : (batch,).
    iterations : ascending counts at which layers are kept, the same of all.

    Returns
    -------
    tuple
        Of every layer (records, batch, d_j, d_{j−1}); what overflows is infinite or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from gradlab.analysis.deep_descent import iterates
    >>> half = np.full((1, 1, 1), 0.5)
    >>> ends = iterates((half, half), np.ones((1, 1, 1)), np.array([0.1]), (0, 200))
    >>> round(float((ends[0] * ends[1])[1, 0, 0, 0]), 6)
    1.0
    """
    counts = np.diff(np.asarray(iterations, dtype=np.int64), prepend=0)
    layers = tuple(jnp.asarray(layer, dtype=jnp.float64) for layer in weights)
    sizes = jnp.asarray(step, dtype=jnp.float64)[:, None, None]
    kept = _walk(
        layers, jnp.asarray(target, dtype=jnp.float64), sizes, jnp.asarray(counts), length=len(counts)
    )
    return tuple(np.asarray(layer) for layer in kept)
