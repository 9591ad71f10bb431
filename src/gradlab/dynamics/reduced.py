r"""Gradient flows of deep linear nets in fewer variables, exactly: inside subspaces that never turn, or mode by mode.

The gradient of layer j is S_jᵀ E P_jᵀ, S_j = W_N ⋯ W_{j+1}, P_j = W_{j−1} ⋯ W_1, E = ∇ℓ(W_N ⋯ W_1). If subspaces H_j of
the hidden spaces (H_0 that of the inputs, H_N all outputs) satisfy W_j H_{j−1} ⊂ H_j and W_{j+1}ᵀ H_{j+1} ⊂ H_j at the
start, every gradient maps H_{j−1} into H_j and nothing else, and they do so for ever. With orthonormal bases Q_j,

    W_j(t) = W_j(0) + Q_j (V_j(t) − V_j(0)) Q_{j−1}ᵀ,    V_j(0) = Q_jᵀ W_j(0) Q_{j−1},

where V is the gradient flow of a narrower net on the inputs X Q_0: the same loss, whatever it is, and all layers back.
"""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradlab.dynamics.flow import Flow, descent_direction
from gradlab.problem.problem import Problem


class Reduced(Flow):
    """Abstract: what both reductions share. ``start`` : all weights at t = 0; ``origin`` : chart variables there."""

    problem: Problem
    start: Any
    origin: Any
    chart_is_identity: ClassVar[bool] = False
    symmetric: ClassVar[bool] = True
    dissipates: ClassVar[bool] = True

    @property
    def observed(self) -> Problem:
        return self.problem

    @property
    def unknowns(self) -> int:
        return sum(leaf.size for leaf in self.origin)


class SubspaceFlow(Reduced):
    """The gradient flow of a deep linear net inside constant subspaces; made by ``dynamics.reducing``.

    small : the problem of the narrower net. bases : Q_0, …, Q_N. kept : dim H_1, …, dim H_{N−1}, without the spare
    unit that each hidden layer has where there is room, through which rounding leaves the subspaces as it does in the
    whole net.
    """

    small: Problem
    bases: tuple[Float[Array, "_ _"], ...]
    kept: tuple[int, ...] = eqx.field(static=True)

    @property
    def reduction(self) -> str:
        widths = self.problem.network.widths  # type: ignore[attr-defined]  # of a Dense
        parts = [f"{k} of {n}" for k, n in zip(self.kept, widths[1:-1], strict=True)]
        words = f"invariant subspaces: hidden layers move in {', '.join(parts)} dimensions"
        rank, inputs = self.bases[0].shape[1], self.bases[0].shape[0]
        if rank < inputs:
            words += f", inputs in {rank} of {inputs}"
        return words + _examples(self.problem, self.small)

    def encode(self, weights: Any) -> Any:
        # At the start, the origin to the last bit.
        before, after = self.bases[:-1], self.bases[1:]
        parts = zip(weights, self.start, self.origin, before, after, strict=True)
        return tuple(v + q.T @ (w - w0) @ p for w, w0, v, p, q in parts)

    def decode(self, y: Any) -> Any:
        before, after = self.bases[:-1], self.bases[1:]
        parts = zip(y, self.start, self.origin, before, after, strict=True)
        return tuple(w0 + q @ (v - v0) @ p.T for v, w0, v0, p, q in parts)

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        return descent_direction(self.small, y)


class ModeFlow(Reduced):
    r"""The square-loss flow of a net whose layers and data have common singular vectors: numbers in place of matrices.

    W_j = Σ_α d_{jα} u_{jα} u_{j−1,α}ᵀ, with XᵀX u_{0α} = a_α² u_{0α} and YᵀX = Σ_α a_α τ_α u_{Nα} u_{0α}ᵀ: then
    ḋ_{jα} = −c a_α (a_α Π_i d_{iα} − τ_α) Π_{i≠j} d_{iα} − λ_j d_{jα}, c from the loss (Saxe, McClelland and Ganguli
    2014; for equal d_{jα} = s_α^{1/N} and no decay ṡ_α = c N s_α^{2−2/N} a_α (τ_α − a_α s_α)). Made by
    ``dynamics.reducing``.

    frames : u_0, …, u_N, a mode a column. gain, aim : a and τ. scale : c. decay : λ_j.
    """

    frames: tuple[Float[Array, "_ r"], ...]
    gain: Float[Array, " r"]
    aim: Float[Array, " r"]
    scale: Float[Array, ""]
    decay: Float[Array, " N"]

    @property
    def reduction(self) -> str:
        count, depth = self.gain.size, len(self.origin)
        return (
            f"singular modes: {count} modes of {depth} numbers each, in place of {self.problem.size} weights"
        )

    def encode(self, weights: Any) -> Any:
        before, after = self.frames[:-1], self.frames[1:]
        parts = zip(weights, self.start, self.origin, before, after, strict=True)
        return tuple(d + jnp.sum(q * ((w - w0) @ p), axis=0) for w, w0, d, p, q in parts)

    def decode(self, y: Any) -> Any:
        before, after = self.frames[:-1], self.frames[1:]
        parts = zip(y, self.start, self.origin, before, after, strict=True)
        return tuple(w0 + (q * (d - d0)) @ p.T for d, w0, d0, p, q in parts)

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        depth, one = len(y), jnp.ones_like(y[0])
        below, above = [one], [one]
        for j in range(depth - 1):
            below.append(below[-1] * y[j])
            above.append(above[-1] * y[depth - 1 - j])
        above.reverse()
        residual = self.gain * (below[-1] * y[-1]) - self.aim
        pull = -self.scale * self.gain * residual
        moves = tuple(pull * below[j] * above[j] - self.decay[j] * y[j] for j in range(depth))
        return moves, jnp.zeros(())


def _examples(whole: Problem, stepped: Problem) -> str:
    """How many examples are stepped in place of all, in words; nothing where it is all."""
    few, all_of_them = len(stepped.data.inputs), len(whole.data.inputs)
    return f"; {few} virtual examples in place of {all_of_them}" if few != all_of_them else ""
