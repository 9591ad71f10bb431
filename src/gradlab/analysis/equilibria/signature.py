"""The signs of the Hessian's eigenvalues at an equilibrium, each with a bound that knows its own scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from gradlab.analysis.equilibria.inertia import Inertia, inertia
from gradlab.analysis.equilibria.polishing import Polished
from gradlab.analysis.equilibria.rounding import EPS, hessian_rounding
from gradlab.analysis.equilibria.scaling import equilibrated
from gradlab.analysis.equilibria.shaking import gradient_entries, hessian_entries
from gradlab.problem.compiling import compiled
from gradlab.problem.problem import Problem

#: Weights up to which every entry of H has its own bound; beyond, one bound of ‖H‖ and no scaling.
ENTRYWISE = 600


@dataclass(frozen=True)
class Signature:
    """Eigenvalues of ∇²L and of A = D ∇²L D, which has the same signs.

    Attributes
    ----------
    values, bounds, vectors : of ∇²L, ascending; the bounds hold rounding and the uncertainty of the point.
    scaled, margins, frame : the same of A. A direction q of A is D q in the weights.
    scale : the diagonal of D.
    inertia : from ``scaled`` and ``margins``.
    shift : (P,) a random shift of the weights of the size of the distance to the exact equilibrium.
    exact : weights whose row of the Hessian holds zeros that are exact.
    """

    values: Float[np.ndarray, " P"]
    bounds: Float[np.ndarray, " P"]
    vectors: Float[np.ndarray, "P P"]
    scaled: Float[np.ndarray, " P"]
    margins: Float[np.ndarray, " P"]
    frame: Float[np.ndarray, "P P"]
    scale: Float[np.ndarray, " P"]
    inertia: Inertia
    shift: Float[np.ndarray, " P"]
    exact: Bool[np.ndarray, " P"]

    @property
    def zero(self) -> Bool[np.ndarray, " P"]:
        """Which of ``scaled`` count as zero."""
        return np.abs(self.scaled) <= self.margins

    @property
    def kept(self) -> Bool[np.ndarray, " P"]:
        """Which of ``values`` are not zero: by the count where it is decided, else by their own bounds."""
        if not self.inertia.decided:
            return np.abs(self.values) > self.bounds
        order = np.arange(len(self.values))
        below = self.inertia.negative
        return (order < below) | (order >= below + self.inertia.zero)

    def directions(self, which: Any) -> Float[np.ndarray, "P k"]:
        """Directions of A as unit vectors of weights."""
        moved = self.scale[:, None] * self.frame[:, which]
        return moved / np.where((norms := np.linalg.norm(moved, axis=0)) > 0.0, norms, 1.0)


def signature(problem: Problem, point: Polished, *, scaling: bool = True) -> Signature:
    """Signs at the exact equilibrium that a polished point stands for; D = 1 without ``scaling``.

    Rounding: with |F_ij| at most the bound of entry ij, ‖F q‖ ≤ ‖|F||q|‖ for each eigenvector q of A, plus P eps ‖A‖
    for the eigensolver. The point: the exact equilibrium is W − Σ_i (q_i·e)/α_i D q_i with |e| at most the gradient and
    its rounding, entry by entry, times D. Each direction above the rounding is asked whether it survives its own
    shift; then A is evaluated at random shifts with all that survived.
    """
    weights = point.weights
    size = len(ravel_pytree(weights)[0])
    if size > ENTRYWISE:
        H = np.asarray(problem.hessian(weights))
        error: Any = None
        d = np.ones(size)
        e = np.full(size, (point.gradient + point.rounding) / np.sqrt(size))
    else:
        H, error = hessian_entries(problem, weights)
        d = equilibrated(H, error) if scaling else np.ones(size)
        gradient, rounding = gradient_entries(problem, weights)
        e = np.abs(gradient) + rounding
    A = H * d[:, None] * d
    scaled, frame = np.linalg.eigh(A)
    noise = _noise(problem, weights, scaled, frame, error, d)
    margins, shift, change = _at_equilibrium(problem, weights, scaled, frame, noise, d, e)
    count = inertia(scaled, margins)
    values, vectors = np.linalg.eigh(H)
    bounds = _noise(problem, weights, values, vectors, error, np.ones(size))
    bounds = bounds + np.linalg.norm((change / d[:, None] / d) @ vectors, axis=0)
    values, bounds = _relative(H, values, bounds, count, scaled, margins)
    exact = np.zeros(size, bool) if error is None else ~((H != 0.0) | (error > 0.0)).any(axis=1)
    return Signature(values, bounds, vectors, scaled, margins, frame, d, count, shift, exact)


def _noise(
    problem: Problem, weights: Any, values: np.ndarray, vectors: np.ndarray, error: Any, d: np.ndarray
) -> Float[np.ndarray, " P"]:
    solver = len(values) * EPS * float(np.abs(values).max(initial=0.0))
    if error is None:
        return np.full(len(values), hessian_rounding(problem, weights).bound + solver)
    return np.linalg.norm((error * d[:, None] * d) @ np.abs(vectors), axis=0) + solver


def _at_equilibrium(
    problem: Problem,
    weights: Any,
    scaled: np.ndarray,
    frame: np.ndarray,
    noise: np.ndarray,
    d: np.ndarray,
    e: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bounds at the exact equilibrium, a shift of the size of the distance to it, and by how much A changes there."""
    flat, unravel = ravel_pytree(weights)
    P, margins, length = len(scaled), noise.copy(), np.zeros(len(scaled))
    tried = np.abs(scaled) > noise
    # weights below 1e-100 are zero for this purpose: there the size sets no scale
    cap = max(float(np.linalg.norm(np.asarray(flat) / d)), 1e-100)
    length[tried] = np.minimum((np.abs(frame).T @ (d * e))[tried] / np.abs(scaled[tried]), cap)
    if tried.any():
        directions = (d[:, None] * frame)[:, tried]
        moved = _changes(problem, weights, jnp.asarray((directions * length[tried]).T), jnp.asarray(directions.T),
                         jnp.asarray(d))  # fmt: skip
        margins[tried] += np.asarray(moved)
        # where the shift is as long as the weights themselves nothing is known of the eigenvalue
        margins[tried] += np.where(length[tried] >= cap, np.abs(scaled[tried]), 0.0)
    alive = np.abs(scaled) > margins
    generator = np.random.default_rng(0)
    base = np.asarray(problem.hessian(weights))
    shift, worst, change = np.zeros(P), np.zeros(P), np.zeros((P, P))
    for _ in range(2):
        signs = np.where(alive, generator.choice((-1.0, 1.0), P), 0.0)
        shift = d * (frame @ (signs * length))
        moved = np.asarray(problem.hessian(unravel(flat + jnp.asarray(shift)))) - base
        change = np.maximum(change, np.abs(moved * d[:, None] * d))
        worst = np.maximum(worst, np.linalg.norm((moved * d[:, None] * d) @ frame, axis=0))
    return margins + worst, shift, change


@compiled
def _changes(
    problem: Problem,
    weights: Any,
    steps: Float[Array, "k P"],
    vectors: Float[Array, "k P"],
    d: Float[Array, " P"],
) -> Float[Array, " k"]:
    """max over both signs of ‖D (H(W ± s) − H(W)) v‖."""
    flat, unravel = ravel_pytree(weights)

    def gradient(v: Any) -> Any:
        return ravel_pytree(problem.gradient(unravel(v)))[0]

    def one(pair: Any) -> Any:
        s, v = pair
        here, up, down = (jax.jvp(gradient, (flat + c * s,), (v,))[1] for c in (0.0, 1.0, -1.0))
        return jnp.maximum(jnp.linalg.norm(d * (up - here)), jnp.linalg.norm(d * (down - here)))

    return jax.lax.map(one, (steps, vectors))


def own_bounds(
    problem: Problem, point: Polished, values: np.ndarray, vectors: np.ndarray, noise: np.ndarray
) -> Float[np.ndarray, " k"]:
    """Bounds of some eigenvalues of ∇²L, each shifted along its own eigenvector only."""
    size = float(np.linalg.norm(ravel_pytree(point.weights)[0]))
    bounds, cap = noise.copy(), max(size, 1e-100)
    tried = np.abs(values) > noise
    length = np.minimum((point.gradient + point.rounding) / np.abs(values[tried]), cap)
    if tried.any():
        steps, along = jnp.asarray((vectors[:, tried] * length).T), jnp.asarray(vectors[:, tried].T)
        bounds[tried] += np.asarray(_changes(problem, point.weights, steps, along, jnp.ones(len(vectors))))
        bounds[tried] += np.where(length >= cap, np.abs(values[tried]), 0.0)
    return bounds


def _relative(
    H: np.ndarray,
    values: np.ndarray,
    bounds: np.ndarray,
    count: Inertia,
    scaled: np.ndarray,
    margins: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues of a positive definite H with small *relative* errors, where that is better.

    |δλ/λ| ≤ ‖δA‖/α_min for every eigenvalue (Demmel and Veselić 1992); one-sided Jacobi on the Cholesky factor
    computes them so.
    """
    if not (count.decided and count.positive == len(values)):
        return values, bounds
    relative = float(margins.max() / scaled.min()) + len(values) * EPS / float(scaled.min())
    try:
        factor = np.linalg.cholesky(H)
    except np.linalg.LinAlgError:
        return values, bounds
    found, _, _, work, _, info = scipy.linalg.lapack.dgejsv(factor, joba=0, jobu=3, jobv=3)
    if info != 0 or not relative < 1.0:
        return values, bounds
    values = np.sort((found * work[0] / work[1]) ** 2)
    return values, np.minimum(bounds, 2.0 * relative * values)
