"""Modes of a two-layer piecewise linear net: on which side of every kink, or on which kinks, a neuron is."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.modules import Module
from gradlab.problem.ensembles import unchecked
from gradlab.problem.network import Network, batch, count, drawn
from gradlab.problem.problem import Problem

#: Two inputs belong to one surface where their directions differ by less (rounding of a unit vector is 1e-16 √d).
COLLINEAR = 1e-12


class Surfaces(Module):
    """The hyperplanes {w : w·x_n = 0}: parallel inputs share one, an input 0 has none.

    normals : unit normals u_g (G, d). owner : the surface of an example, −1 for none. orientation : ±1 with
    x_n = orientation ‖x_n‖ u_g. first : an example that owns a surface with orientation +1. lengths : ‖x_n‖.
    """

    normals: np.ndarray
    owner: np.ndarray
    orientation: np.ndarray
    first: np.ndarray
    lengths: np.ndarray

    def of_examples(self, signs: np.ndarray) -> np.ndarray:
        """Signs (m, N) of the examples from the signs (m, G) of the surfaces; −1 for an input 0."""
        # owner −1 picks the appended column
        padded = np.concatenate([signs, np.zeros((len(signs), 1), np.int8)], axis=1)
        return np.where(self.owner >= 0, padded[:, self.owner] * self.orientation, -1).astype(np.int8)

    def of_surfaces(self, signs: np.ndarray) -> np.ndarray:
        """Signs (m, G) of the surfaces from those (m, N) of the examples."""
        return np.asarray(signs[:, self.first], dtype=np.int8)


def surfaces(inputs: np.ndarray) -> Surfaces:
    """The surfaces of inputs (N, d)."""
    N = len(inputs)
    lengths = np.linalg.norm(inputs, axis=1)
    owner, orientation = np.full(N, -1), np.ones(N, dtype=np.int8)
    normals: list[np.ndarray] = []
    first: list[int] = []
    for n in np.flatnonzero(lengths > 0.0):
        unit = inputs[n] / lengths[n]
        for sign in (1, -1):
            near = np.linalg.norm(np.array(normals).reshape(-1, inputs.shape[1]) - sign * unit, axis=1)
            if near.size and near.min() < COLLINEAR:
                owner[n], orientation[n] = int(near.argmin()), sign
                break
        else:
            owner[n] = len(normals)
            normals.append(unit)
            first.append(int(n))
    stacked = np.array(normals).reshape(-1, inputs.shape[1])
    return Surfaces(stacked, owner, orientation, np.array(first, dtype=int), lengths)


class Masked(Network):
    """f_c(x_n) = Σ_j a_cj q_jn w_j·x_n on the training inputs: the net of one mode, of slopes q (m, N)."""

    slopes: Float[Array, "m N"]
    input_shape: tuple[int, ...] = eqx.field(static=True)
    outputs: int = eqx.field(static=True)
    degrees: tuple[int | None, ...] | None = eqx.field(static=True)
    smooth: bool = eqx.field(static=True)

    def __init__(self, slopes: Any, input_shape: tuple[int, ...], outputs: int) -> None:
        self.slopes, self.input_shape, self.outputs = slopes, input_shape, outputs
        self.degrees, self.smooth = (1, 1), True

    def __call__(self, weights: Any, x: Float[Array, "N ..."]) -> Float[Array, "N C"]:
        first, second = weights
        return ((batch(self, x) @ first.T) * self.slopes.T) @ second.T

    def layers(self, weights: Any) -> tuple[Any, ...]:
        return tuple(weights)

    def rebuild(self, layers: Sequence[Any]) -> tuple[Any, ...]:
        return count(self, layers, 2)

    def shapes(self) -> Any:
        m, d = self.slopes.shape[0], self.input_shape[0]
        return (jax.ShapeDtypeStruct((m, d), np.float64), jax.ShapeDtypeStruct((self.outputs, m), np.float64))

    def init(self, key: Any, scheme: Any) -> Any:
        return drawn(self, key, scheme)


class Mode(Module):
    """One smooth piece: gradient flow of a masked net on the subspace ⟨w_j, u_g⟩ = 0 of its sliding pairs.

    problem : the problem with the masked network; slopes of sliding pairs are 0 (their z is). projectors : of
    every neuron onto its subspace. below : slopes with those of sliding pairs taken on the side u_g·w < 0.
    inverse : pseudoinverse (m, G, d) of the sliding normals. jumps : (1 − α)‖x_n‖ at the owner, (N, G).
    reference : θ the multipliers are closest to where they are not unique, else 0: any other would be added and taken
    away again, and drown the multipliers of examples with small p_n. sliding, parked : masks.
    """

    problem: Problem
    projectors: Any
    below: Any
    inverse: Any
    jumps: Any
    normals: Any
    reference: Any
    sliding: Any
    parked: Any


def slopes(alpha: float, signs: np.ndarray) -> np.ndarray:
    """q (m, N) from signs of examples: 1 above, α below, 0 for sliding pairs."""
    return np.where(signs > 0, 1.0, np.where(signs < 0, alpha, 0.0))


def jumps(alpha: float, kinks: Surfaces) -> np.ndarray:
    """(1 − α)‖x_n‖ at (n, its surface): Σ_n r_jn of it is R_jg, the jump of u_g·ẇ_j from below to above."""
    matrix = np.zeros((len(kinks.owner), len(kinks.normals)))
    owned = np.flatnonzero(kinks.owner >= 0)
    matrix[owned, kinks.owner[owned]] = (1.0 - alpha) * kinks.lengths[owned]
    return matrix


def mode(problem: Problem, alpha: float, kinks: Surfaces, signs: np.ndarray, parked: np.ndarray) -> Mode:
    """The mode of signs (m, G) ∈ {−1, 0, 1} at the surfaces; 0 slides."""
    m, (G, d) = len(signs), kinks.normals.shape
    sliding = signs == 0
    projectors, inverse = np.tile(np.eye(d), (m, 1, 1)), np.zeros((m, G, d))
    for j in np.flatnonzero(sliding.any(axis=1)):
        chosen = kinks.normals[sliding[j]]
        # ranks are decided by an SVD (QR can be silently wrong); unit rows, so the cut is absolute
        _, sizes, right = np.linalg.svd(chosen, full_matrices=False)
        basis = right[sizes > 1e-10]
        projectors[j] -= basis.T @ basis
        inverse[j, sliding[j]] = np.linalg.pinv(chosen.T, rcond=1e-10)
    below = slopes(alpha, kinks.of_examples(np.where(sliding, -1, signs).astype(np.int8)))
    network = Masked(
        jnp.asarray(slopes(alpha, kinks.of_examples(signs))),
        problem.network.input_shape,
        problem.network.outputs,
    )
    masked = unchecked(Problem, problem, network=network)
    arrays = (
        projectors,
        below,
        inverse,
        jumps(alpha, kinks),
        kinks.normals,
        np.zeros((m, G)),
        sliding,
        parked,
    )
    return Mode(masked, *map(jnp.asarray, arrays))


# Compiled programs, one for all modes of a shape ------------------------------------------------------------


def _velocity(problem: Problem, projectors: Any, u: Any, y: Any) -> Any:
    weights = problem.unravel(y)
    if problem.has_log:
        value, gradient = problem.log_value_and_gradient(weights)
        rate = jnp.exp(u + value)
    else:
        gradient, rate = problem.gradient(weights), jnp.exp(u)
    if projectors is not None:
        first, second = gradient
        gradient = (jnp.einsum("jab,jb->ja", projectors, first), second)
    return -rate * problem.ravel(gradient)


def pulls(problem: Problem, y: Any) -> Float[Array, "m N"]:
    """r_jn = −⟨a_j, ∂ log risk/∂f_n⟩ (of the risk itself where there is no log): dw_j ∝ Σ_n r_jn q_jn x_n."""
    weights = problem.unravel(y)
    risk = problem.loss.log_risk if problem.has_log else problem.loss.risk
    push = -jax.grad(lambda outputs: risk(outputs, problem.data.targets))(problem.outputs(weights))
    return weights[1].T @ push.T


def multipliers(mode: Mode, y: Any) -> tuple[Any, Any]:
    """φ_jg = θ_jg R_jg holding the sliding pairs, and the jumps R_jg, as a mode's pulls give them."""
    r = pulls(mode.problem, y)
    force = (r * mode.below) @ mode.problem.data.inputs.reshape(r.shape[1], -1)
    jump = r @ mode.jumps
    held = jnp.where(mode.sliding, mode.reference * jump, 0.0)
    rest = force + held @ mode.normals
    return held - jnp.einsum("jgd,jd->jg", mode.inverse, rest), jump


def _slack(mode: Mode, y: Any) -> Float[Array, "m G"]:
    """What is left of sliding: the least of θ/(1 + θ), (1 − θ)/(1 + θ) and −R_jg/Σ_i |R_ig|; ∞ without sliding.

    θ is held in [0, 1] by sliding and R < 0 attracts (asked of no neuron at rest in the origin). In terms of φ and
    R, so that it is right where R underflows: any φ ≠ 0 then lies outside.
    """
    phi, jump = multipliers(mode, y)
    size = jnp.abs(jump)
    along = jnp.where(jump == 0.0, -jnp.abs(phi), phi * jnp.sign(jump))
    inner = _share(jnp.minimum(along, size - along), jnp.abs(phi) + size)
    attracts = -_share(jump, jnp.sum(size, axis=0))
    inner = jnp.where(mode.parked[:, None], inner, jnp.minimum(inner, attracts))
    return jnp.where(mode.sliding, inner, jnp.inf)


def _share(part: Any, total: Any) -> Any:
    return jnp.where(total > 0.0, part / jnp.where(total > 0.0, total, 1.0), 0.0)


@functools.lru_cache(maxsize=128)
def _program(structure: Any, name: str) -> Callable[..., Any]:
    def velocity(leaves: Any, u: Any, y: Any) -> Any:
        problem, projectors = jax.tree.unflatten(structure, leaves)
        return _velocity(problem, projectors, u, y)

    def jacobian(leaves: Any, u: Any, y: Any) -> Any:
        return jax.jacfwd(lambda y: velocity(leaves, u, y))(y)

    def slack(leaves: Any, ys: Any) -> Any:
        return jax.vmap(lambda y: _slack(jax.tree.unflatten(structure, leaves), y))(ys)

    def forces(leaves: Any, y: Any) -> Any:
        return pulls(jax.tree.unflatten(structure, leaves), y)

    def held(leaves: Any, y: Any) -> Any:
        return jnp.stack(multipliers(jax.tree.unflatten(structure, leaves), y))

    functions: dict[str, Any] = {
        "velocity": velocity,
        "jacobian": jacobian,
        "slack": slack,
        "forces": forces,
        "multipliers": held,
    }
    return jax.jit(functions[name])


def program(name: str, *tree: Any) -> Callable[..., np.ndarray]:
    """A compiled function of numpy arrays, with this tree of arrays bound to it.

    ``velocity`` and ``jacobian`` of (u, y): dy/du, u = log(1 + t), for (problem, projectors or None); ``slack``
    of ys (k, P) for a mode; ``forces`` of y for a problem: :func:`pulls`; ``multipliers`` of y for a mode.
    """
    bound = tree if len(tree) > 1 else tree[0]
    leaves, structure = jax.tree.flatten(bound)
    function = _program(structure, name)
    return lambda *arrays: np.array(function(leaves, *arrays))
