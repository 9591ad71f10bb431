"""Equilibria on kinks of (leaky) ReLU nets: the subgradient of least norm, and sliding along the kink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Bool, Float, Int
from scipy.optimize import lsq_linear

from gradlab.analysis.equilibria.rounding import EPS, gradient_rounding, hessian_rounding, operations
from gradlab.dynamics.filippov.advance import slope, supports
from gradlab.dynamics.filippov.modes import Masked, surfaces
from gradlab.problem.ensembles import unchecked
from gradlab.problem.networks import Convolutional, Dense, Residual
from gradlab.problem.problem import Problem

#: Activations with a kink, in the first or (squared_relu) in the second derivative.
PIECEWISE = ("relu", "leaky_relu", "squared_relu")
#: Newton steps along a kink at most.
STEPS = 50


@dataclass(frozen=True)
class Kink:
    """A point on kinks, against 0 ∈ ∂L.

    Attributes
    ----------
    pairs : (neuron, example), one a kink (K, 2); an example stands for all parallel to it.
    slopes : the share θ ∈ [0, 1] of the upper side at each kink, of the subgradient of least norm.
    residual : its norm. rounding : a bound of the rounding error of that. stationary : residual ≤ rounding.
    interior : kinks with α + rounding < slope < 1 − rounding, which hold the neuron (strict complementarity).
    weights : the point, moved onto the kinks. moved : how far.
    reduced : the Hessian along the kinks (their tangent space), dense. reduced_bound : of its eigenvalues, rounding.
    why : one sentence.
    """

    pairs: Int[np.ndarray, "K 2"]
    slopes: Float[np.ndarray, " K"]
    residual: float
    rounding: float
    stationary: bool
    interior: Bool[np.ndarray, " K"]
    weights: Any
    moved: float
    reduced: Float[np.ndarray, "k k"]
    reduced_bound: float
    why: str


class _Recorder:
    """An activation that remembers what it was given."""

    def __init__(self, activation: Any) -> None:
        self.activation, self.seen = activation, []  # type: tuple[Any, list[np.ndarray]]

    def __call__(self, z: Any) -> Any:
        self.seen.append(np.asarray(z))
        return self.activation(z)


def nearest_kink(problem: Problem, weights: Any) -> tuple[float, float] | None:
    """The least |pre-activation| relative to its own terms Σ|w||h|, and what rounding makes of 0 there.

    None where no activation has kinks (or the network is a Function, whose kinks are not known). Units
    whose inputs are all zero have no kink, as long as the layers before are strictly off.
    """
    network = problem.network
    if not isinstance(network, Dense | Convolutional | Residual) or network.activation.name not in PIECEWISE:
        return None
    seen = _Recorder(network.activation)
    eqx.tree_at(lambda n: n.activation, network, seen)(weights, problem.data.inputs)
    if not seen.seen:
        return None
    sizes = _Recorder(lambda z: jnp.abs(network.activation(z)))
    ones = _Recorder(lambda z: jnp.abs(network.activation(z)))
    absolute = jax.tree.map(jnp.abs, weights)
    eqx.tree_at(lambda n: n.activation, network, sizes)(absolute, jnp.abs(problem.data.inputs))
    eqx.tree_at(lambda n: n.activation, network, ones)(
        jax.tree.map(jnp.ones_like, weights), jnp.abs(problem.data.inputs)
    )
    least = np.inf
    for z, size, reachable in zip(seen.seen, sizes.seen, ones.seen, strict=True):
        some = reachable > 0.0
        relative = np.where(size > 0.0, np.abs(z) / np.where(size > 0.0, size, 1.0), 0.0)
        least = min(least, float(np.min(relative[some], initial=np.inf)))
    return least, operations(problem, weights) * EPS


def on_kinks(problem: Problem, weights: Any, tolerance: float) -> Kink | str:
    """Generalised stationarity on the kinks with |w_j·x_n| ≤ tolerance ‖w_j‖‖x_n‖, or why it is not available.

    The weights are projected onto those kinks and polished along them (Newton on the smooth net of the mode, in the
    subspace); then 0 ∈ ∂L asks for θ ∈ [0, 1] with

        ∇L(θ) = ∇L(0) + Σ_k θ_k R_k u_k = 0,

    and the θ of least ‖∇L(θ)‖ is found by bounded least squares. The set is ∂L itself where the normals of a neuron's
    kinks are independent (chain rule with equality), and may be larger otherwise: the condition is necessary there.
    """
    if refusal := supports(problem):
        return f"generalised stationarity is for two-layer (leaky) ReLU nets: {refusal}"
    alpha = slope(problem)
    inputs = np.asarray(problem.data.inputs).reshape(problem.data.inputs.shape[0], -1)
    first, second = (np.asarray(layer) for layer in weights)
    kinks = surfaces(inputs)
    lengths = np.linalg.norm(first, axis=1)
    distances = first @ kinks.normals.T  # (m, G)
    on = np.abs(distances) <= tolerance * lengths[:, None]
    if not on.any():
        return "no pre-activation is zero within the tolerance"
    sides = np.where(on, 0, np.where(distances > 0.0, 1, -1)).astype(np.int8)
    basis = _tangent(first.shape, second.size, kinks.normals, on)
    below = _masked(problem, alpha, kinks.of_examples(np.where(on, -1, sides).astype(np.int8)))
    flat = np.concatenate([first.ravel(), second.ravel()])
    reached = _along(below, flat, basis)
    weights = (reached[: first.size].reshape(first.shape), reached[first.size :].reshape(second.shape))
    gradient = np.asarray(ravel_pytree(below.gradient(weights))[0])
    jumps = _jumps(below, weights, alpha, kinks)
    pairs = np.argwhere(on)
    columns = np.zeros((len(flat), len(pairs)))
    for k, (j, g) in enumerate(pairs):
        columns[j * inputs.shape[1] : (j + 1) * inputs.shape[1], k] = jumps[j, g] * kinks.normals[g]
    theta = _least(columns, -gradient)
    residual = float(np.linalg.norm(gradient + columns @ theta))
    bound = gradient_rounding(below, weights).bound + operations(problem, weights) * EPS * float(
        np.linalg.norm(columns)
    )
    sizes = np.linalg.norm(columns, axis=0)
    slack = np.where(sizes > 0.0, bound / np.where(sizes > 0.0, sizes, 1.0), np.inf)
    inside = (theta > 1e3 * slack) & (theta < 1.0 - 1e3 * slack)
    hessian = basis.T @ np.asarray(below.hessian(weights)) @ basis
    return Kink(
        pairs=np.stack([pairs[:, 0], kinks.first[pairs[:, 1]]], axis=1),
        slopes=theta,
        residual=residual,
        rounding=bound,
        stationary=residual <= bound,
        interior=inside,
        weights=jax.tree.map(jnp.asarray, weights),
        moved=float(np.linalg.norm(reached - flat)),
        reduced=0.5 * (hessian + hessian.T),
        reduced_bound=hessian_rounding(below, weights).bound
        + len(hessian) * EPS * float(np.linalg.norm(hessian)),
        why=f"{len(pairs)} kinks; the subgradient of least norm has norm {residual:.1e} (rounding {bound:.1e})",
    )


def _masked(problem: Problem, alpha: float, signs: np.ndarray) -> Problem:
    slopes = jnp.asarray(np.where(signs > 0, 1.0, alpha))
    network = Masked(slopes, (int(np.prod(problem.network.input_shape)),), problem.network.outputs)
    return unchecked(Problem, problem, network=network)


def _tangent(shape: tuple[int, ...], others: int, normals: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Orthonormal basis of {W : w_j·u_g = 0 on the kinks}."""
    m, d = shape
    blocks = []
    for j in range(m):
        chosen = normals[on[j]]
        # unit rows: the cut is absolute
        _, sizes, right = (
            np.linalg.svd(chosen, full_matrices=True) if len(chosen) else (None, np.zeros(0), np.eye(d))
        )
        blocks.append(right[int(np.sum(sizes > 1e-10)) :].T)
    columns = sum(block.shape[1] for block in blocks) + others
    basis = np.zeros((m * d + others, columns))
    at = 0
    for j, block in enumerate(blocks):
        basis[j * d : (j + 1) * d, at : at + block.shape[1]] = block
        at += block.shape[1]
    basis[m * d :, at:] = np.eye(others)
    return basis


def _along(problem: Problem, flat: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Newton's method of least norm for Bᵀ∇L = 0 in the subspace, halved until ‖Bᵀ∇L‖ falls."""
    c = basis.T @ flat
    unravel = problem.unravel

    def slope_at(c: np.ndarray) -> np.ndarray:
        return basis.T @ np.asarray(ravel_pytree(problem.gradient(unravel(jnp.asarray(basis @ c))))[0])

    gradient = slope_at(c)
    for _ in range(STEPS):
        hessian = basis.T @ np.asarray(problem.hessian(unravel(jnp.asarray(basis @ c)))) @ basis
        step = -np.linalg.pinv(hessian, rcond=len(c) * EPS, hermitian=True) @ gradient
        length = 1.0
        while length > 1e-6:
            trial = slope_at(c + length * step)
            if np.linalg.norm(trial) < np.linalg.norm(gradient) * (1.0 - 1e-4 * length):
                break
            length /= 2.0
        else:
            break
        c, gradient = c + length * step, trial
    return basis @ c


def _jumps(problem: Problem, weights: Any, alpha: float, kinks: Any) -> np.ndarray:
    """R (m, G): the jump of ∇_{w_j} L along u_g from below to above."""
    outputs = problem.outputs(weights)
    push = jax.grad(lambda f: problem.loss.risk(f, problem.data.targets))(outputs) * problem.factor
    pulls = np.asarray(weights[1]).T @ np.asarray(push).T  # (m, N)
    jumps = np.zeros((len(pulls), len(kinks.normals)))
    for n in np.flatnonzero(kinks.owner >= 0):
        jumps[:, kinks.owner[n]] += (1.0 - alpha) * kinks.lengths[n] * pulls[:, n]
    return jumps


def _least(columns: np.ndarray, right: np.ndarray) -> np.ndarray:
    """θ ∈ [0, 1] of least ‖columns θ − right‖; columns of length 0 get ½."""
    sizes = np.linalg.norm(columns, axis=0)
    theta = np.full(len(sizes), 0.5)
    some = sizes > 0.0
    if some.any():
        # unit columns, so that one tolerance serves all
        found = lsq_linear(
            columns[:, some] / sizes[some],
            right,
            bounds=(np.zeros(some.sum()), sizes[some]),
            method="bvls",
            tol=1e-15,
        )
        theta[some] = np.clip(found.x / sizes[some], 0.0, 1.0)
    return theta
