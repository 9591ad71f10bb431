"""What kind of equilibrium a point is: polished, its inertia decided or not, its kernel explained or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.analysis.equilibria import polishing
from gradlab.analysis.equilibria.inertia import GAP, Inertia, inertia
from gradlab.analysis.equilibria.kernel import Kernel, explain
from gradlab.analysis.equilibria.kinks import Kink, nearest_kink, on_kinks
from gradlab.analysis.equilibria.polishing import Polished, checked, polish
from gradlab.analysis.equilibria.probing import probe
from gradlab.analysis.equilibria.rounding import (
    EPS,
    SAMPLES,
    gradient_rounding,
    hessian_rounding,
    operations,
    signs,
)
from gradlab.observe.spectrum import spectrum
from gradlab.observe.spectrum.operators import Progress
from gradlab.problem.losses import Lp, Square
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Dense Hessians up to so many weights; beyond, the ends of the spectrum only, and an inertia that stays undecided.
DENSE = 3000
#: Eigenvalues taken at each end beyond DENSE.
ENDS = 10


@dataclass(frozen=True)
class Equilibrium:
    """An equilibrium and what can be said of it.

    Attributes
    ----------
    kind : ``"minimum"`` (isolated or along a manifold of minima; also a zero of a loss ≥ 0), ``"maximum"``,
        ``"strict saddle"`` (eigenvalues of both signs), ``"non-strict saddle"`` (no negative eigenvalue, but a higher
        derivative goes down), ``"degenerate"`` (semidefinite with an unexplained kernel, descent not decided),
        ``"on a kink"``, ``"undecided"``.
    hyperbolic : whether no eigenvalue is zero. normally_hyperbolic : whether the kernel is the tangent of a known
        manifold of equilibria (hyperbolic ones included). None where undecided.
    inertia, kernel : see there; None on a kink or where there is no equilibrium.
    values : eigenvalues of ∇²L ascending. bounds : of each, rounding and the uncertainty of the point together. On a
        kink both are of the Hessian along the kinks, and the bounds rounding alone.
    vectors : eigenvectors (P, len(values)), or None.
    complete : whether these are all eigenvalues.
    polished : how the point was found. kink : on a kink, the generalised stationarity.
    position : ‖W − exact equilibrium‖ across the kernel: rounding of ∇L over the least non-zero |λ|.
    why : one sentence.
    """

    kind: str
    hyperbolic: bool | None
    normally_hyperbolic: bool | None
    inertia: Inertia | None
    kernel: Kernel | None
    values: Float[np.ndarray, " k"]
    bounds: Float[np.ndarray, " k"]
    vectors: Float[np.ndarray, "P k"] | None
    complete: bool
    polished: Polished
    kink: Kink | None
    position: float
    why: str

    @property
    def weights(self) -> Any:
        """The equilibrium."""
        return self.polished.weights if self.kink is None else self.kink.weights


@float64
def classify(
    problem: Problem,
    weights: Any,
    *,
    polished: bool = False,
    kink: float | None = None,
    progress: Progress | None = None,
) -> Equilibrium:
    """This classifies the equilibrium near a point.

    The point is polished first. Bounds of the eigenvalues are the rounding of the Hessian plus its change over the
    distance to the exact equilibrium, (rounding of ∇L)/|λ|: an eigenvalue that is only there because the point is off
    the equilibrium is inside its bound. The inertia is decided by :func:`inertia`; a kernel is explained by
    :func:`explain`; a semidefinite equilibrium with an unexplained kernel is probed by higher derivatives. A minimum
    along a manifold is one by the Morse–Bott lemma. What none of this decides is *undecided*.

    Parameters
    ----------
    polished : True to take the point as it is. kink : a pre-activation within this part of ‖w‖‖x‖ counts as zero;
        rounding if not given. Give e.g. 1e-6 for points that a solver left near a kink.
    progress : called with (what, done, of how many) while the eigenvalues of a large network are computed.

    Raises
    ------
    ValueError
        For float32 weights, weights that are not finite or do not fit, and, with ``polished=True``, for a point that
        is no equilibrium.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> origin = (np.zeros((1, 1)), np.zeros((1, 1)))
    >>> found = gl.classify(problem, origin)
    >>> found.kind, found.hyperbolic, str(found.inertia)[:9]
    ('strict saddle', True, '(1, 0, 1)')
    """
    weights = checked(problem, weights)
    if (found := _kink(problem, weights, kink)) is not None:
        return found
    point = _taken(problem, weights) if polished else polish(problem, weights)
    if not polished and (found := _kink(problem, point.weights, kink)) is not None:
        return found
    if not point.converged:
        return _undecided(point, f"no equilibrium: {point.why}{_kink_remark(problem, point.weights)}")
    if reason := _rough(problem, point.weights):
        return _undecided(point, reason)
    if len(ravel_pytree(point.weights)[0]) > DENSE:
        return _ends(problem, point, progress)
    return _dense(problem, point)


# The dense road --------------------------------------------------------------------------------------------


def _dense(problem: Problem, point: Polished) -> Equilibrium:
    values, vectors = np.linalg.eigh(np.asarray(problem.hessian(point.weights)))
    noise = hessian_rounding(problem, point.weights).bound
    noise += len(values) * EPS * float(np.abs(values).max(initial=0.0))
    bounds, shift = position_bounds(problem, point, values, vectors, noise)
    count = inertia(values, bounds)
    zero = np.abs(values) <= bounds
    position = float(np.linalg.norm(shift))
    kernel = explain(problem, point.weights, vectors[:, zero], position + EPS * _size(point.weights))
    kind, why = _kind(problem, point, values, vectors, bounds, count, kernel, shift)
    hyperbolic = (count.zero == 0) if count.decided else None
    normal = (count.zero == kernel.manifold) if count.decided and (kernel.decided or not count.zero) else None
    if normal is False and kernel.manifold > count.zero:
        normal = None
    return Equilibrium(
        kind, hyperbolic, normal, count, kernel, values, bounds, vectors, True, point, None, position, why
    )


def _kind(
    problem: Problem,
    point: Polished,
    values: np.ndarray,
    vectors: np.ndarray,
    bounds: np.ndarray,
    count: Inertia,
    kernel: Kernel,
    shift: np.ndarray,
) -> tuple[str, str]:
    # a sign is certain by itself, whatever the kernel is
    below, above = (bool((sign * values >= GAP * bounds)[sign * values > 0.0].any()) for sign in (-1.0, 1.0))
    if below and above:
        return "strict saddle", f"eigenvalues of both signs far above their bounds; {count.why}"
    if zero_risk(problem, point.weights):
        return "minimum", f"the loss is zero within rounding, its least value; {count.why}"
    if not count.decided:
        return "undecided", count.why
    if not count.zero or (kernel.decided and kernel.unexplained == 0):
        along = f"along a manifold of dimension {count.zero}" if count.zero else "isolated"
        if count.negative == 0 and (count.positive or count.zero == len(values)):
            return "minimum", f"no negative eigenvalue, {along}; {count.why}"
        return "maximum", f"no positive eigenvalue, {along}; {count.why}"
    if not kernel.decided:
        return "undecided", kernel.why
    if count.negative:
        return (
            "undecided",
            f"negative eigenvalues and an unexplained kernel: a maximum or a saddle; {kernel.why}",
        )
    kept = np.abs(values) > bounds
    found = probe(problem, point.weights, kernel.rest, values[kept], vectors[:, kept], shift)
    if found.descent:
        return "non-strict saddle", f"no negative eigenvalue, and {found.why}"
    return (
        "degenerate",
        f"a kernel of dimension {count.zero}, {kernel.unexplained} of it unexplained; {found.why}",
    )


def position_bounds(
    problem: Problem, point: Polished, values: np.ndarray, vectors: np.ndarray, noise: float
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Bounds of the eigenvalues at the exact equilibrium, and a shift of the size of the distance to it.

    The exact equilibrium is W − Σ (e·q_i)/λ_i q_i for some e of norm at most ‖∇L‖ + rounding. First each λ_i above the
    noise is asked whether it survives its own shift, ±‖e‖/|λ_i| along q_i (capped at the size of the weights):
    ‖ΔH q_i‖ is added to its bound. Then the Hessian is evaluated at random shifts with all those that survived.
    """
    flat, unravel = ravel_pytree(point.weights)
    P = len(values)
    bounds, length = own_bounds(problem, point, values, vectors, np.full(P, noise))
    alive = np.abs(values) > bounds
    generator = np.random.default_rng(0)
    base = np.asarray(problem.hessian(point.weights))
    shift = np.zeros(P)
    worst = np.zeros(P)
    for _ in range(2):
        signs = np.where(alive, generator.choice((-1.0, 1.0), P), 0.0)
        shift = vectors @ (signs * length / np.sqrt(P))
        change = np.asarray(problem.hessian(unravel(flat + jnp.asarray(shift)))) - base
        worst = np.maximum(worst, np.linalg.norm(change @ vectors, axis=0))
    return bounds + worst, shift


def own_bounds(
    problem: Problem, point: Polished, values: np.ndarray, vectors: np.ndarray, noise: np.ndarray
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Bounds of eigenvalues, each shifted along its own eigenvector only, and the lengths of these shifts."""
    bounds, length = noise.copy(), np.zeros(len(values))
    tried = np.abs(values) > noise
    # weights below 1e-100 are zero for this purpose: there the size sets no scale
    cap = max(_size(point.weights), 1e-100)
    length[tried] = np.minimum((point.gradient + point.rounding) / np.abs(values[tried]), cap)
    if tried.any():
        steps = jnp.asarray((vectors * length)[:, tried].T)
        bounds[tried] += np.asarray(_changes(problem, point.weights, steps, jnp.asarray(vectors[:, tried].T)))
        # where the shift is as long as the weights themselves nothing is known of λ
        bounds[tried] += np.where(length[tried] >= cap, np.abs(values[tried]), 0.0)
    return bounds, length


@eqx.filter_jit
def _changes(
    problem: Problem, weights: Any, steps: Float[Array, "k P"], vectors: Float[Array, "k P"]
) -> Float[Array, " k"]:
    """max over both signs of ‖(H(W ± s) − H(W)) q‖."""
    flat, unravel = ravel_pytree(weights)

    def gradient(v: Any) -> Any:
        return ravel_pytree(problem.gradient(unravel(v)))[0]

    def one(pair: Any) -> Any:
        s, q = pair
        here, up, down = (jax.jvp(gradient, (flat + c * s,), (q,))[1] for c in (0.0, 1.0, -1.0))
        return jnp.maximum(jnp.linalg.norm(up - here), jnp.linalg.norm(down - here))

    return jax.lax.map(one, (steps, vectors))


def zero_risk(problem: Problem, weights: Any) -> bool:
    """Whether L is 0 within rounding and cannot be less: a loss of residuals, without decay."""
    if not isinstance(problem.loss, Square | Lp) or np.any(np.asarray(problem.decay) != 0.0):
        return False
    residual, moves = residuals(problem, weights)
    bound = operations(problem, weights) * EPS * float(np.sqrt(np.mean(np.sum(moves**2, axis=(1, 2)))))
    return float(np.linalg.norm(residual)) <= bound


def residuals(
    problem: Problem, weights: Any
) -> tuple[Float[np.ndarray, "N C"], Float[np.ndarray, "samples N C"]]:
    """f − y, and its derivative by random relative changes of weights, inputs and targets (``SAMPLES`` draws)."""
    generator = np.random.default_rng(3)
    pairs = [_residuals(problem, weights, signs(problem, weights, generator)) for _ in range(SAMPLES)]
    return np.asarray(pairs[0][0]), np.stack([np.asarray(move) for _, move in pairs])


@eqx.filter_jit
def _residuals(problem: Problem, weights: Any, changes: Any) -> Any:
    flat, unravel = ravel_pytree(weights)
    point = (flat, problem.data.inputs, problem.data.targets)
    drawn = (ravel_pytree(changes[0])[0], changes[1], changes[3])

    def residual(flat: Any, inputs: Any, targets: Any) -> Any:
        return problem.network(unravel(flat), inputs) - targets

    moves = tuple(leaf * jnp.asarray(sign, jnp.float64) for leaf, sign in zip(point, drawn, strict=True))
    return jax.jvp(residual, point, moves)


# The other roads -------------------------------------------------------------------------------------------


def _ends(problem: Problem, point: Polished, progress: Progress | None) -> Equilibrium:
    """Beyond DENSE: both ends of the spectrum. Signs there are certain; a kernel cannot be counted."""
    seen = spectrum(problem, point.weights, count=ENDS, which="both", vectors=True)
    values, vectors = np.asarray(seen.values), np.asarray(seen.vectors)
    bounds = own_bounds(problem, point, values, vectors, np.asarray(seen.bounds))[0]
    guess = inertia(values, bounds)
    reason = f"only {len(values)} of {seen.size} eigenvalues were computed, and the others may be zero"
    count = Inertia(guess.negative, guess.zero, guess.positive, False, guess.threshold, guess.gap, reason)
    below, above = (bool((sign * values >= GAP * bounds)[sign * values > 0.0].any()) for sign in (-1.0, 1.0))
    kind = "strict saddle" if below and above else "undecided"
    if kind == "undecided" and zero_risk(problem, point.weights):
        kind, reason = "minimum", f"the loss is zero within rounding, its least value; {reason}"
    return Equilibrium(
        kind, None, None, count, None, values, bounds, vectors, False, point, None, np.nan, reason
    )


def _kink(problem: Problem, weights: Any, tolerance: float | None) -> Equilibrium | None:
    """The verdict on a point with a pre-activation that is zero; None where none is."""
    near = nearest_kink(problem, weights)
    if near is None or near[0] > (near[1] if tolerance is None else max(tolerance, near[1])):
        return None
    norm = polishing.gradient_norm(problem, weights)
    point = Polished(
        weights, norm, gradient_rounding(problem, weights).bound, 0.0, 0, False, "on a kink: not polished"
    )
    if problem.network.smooth:
        return _undecided(
            point, "a pre-activation is zero, where the second derivative of the activation jumps"
        )
    found = on_kinks(problem, weights, near[1] if tolerance is None else tolerance)
    if isinstance(found, str):
        return _undecided(point, f"a pre-activation is zero, where L is not differentiable; {found}")
    if not found.stationary:
        return _undecided(point, f"on a kink, and no equilibrium: {found.why}")
    values = np.linalg.eigvalsh(found.reduced) if found.reduced.size else np.zeros(0)
    bounds = np.full(len(values), found.reduced_bound)
    point = Polished(
        found.weights, found.residual, found.rounding, found.moved, 0, True, f"along its kinks: {found.why}"
    )
    return Equilibrium(
        "on a kink", None, None, None, None, values, bounds, None, False, point, found, np.nan, found.why
    )


def _kink_remark(problem: Problem, weights: Any) -> str:
    near = nearest_kink(problem, weights)
    if near is None or problem.network.smooth:
        return ""
    return f"; the nearest kink is at {near[0]:.1e} of a pre-activation's terms: if it is meant, give kink= above that"


def _rough(problem: Problem, weights: Any) -> str | None:
    """Why the Hessian is not the second derivative of L, or None."""
    if isinstance(problem.loss, Lp) and problem.loss.p < 2:
        residual, moves = residuals(problem, weights)
        bound = operations(problem, weights) * EPS * np.sqrt(np.mean(moves**2, axis=0))
        if (np.abs(residual) <= bound).any():
            return f"a residual is zero, where |r|^{problem.loss.p:g} has no second derivative"
    return None


def _taken(problem: Problem, weights: Any) -> Polished:
    found = polish(problem, weights, steps=0)
    if not found.converged:
        raise ValueError(
            f"no equilibrium: ‖∇L‖ = {found.gradient:.1e} is above its rounding {found.rounding:.1e}; "
            "leave out polished=True, or give the weights of polish(problem, weights)"
        )
    return found


def _undecided(point: Polished, why: str) -> Equilibrium:
    empty = np.zeros(0)
    return Equilibrium(
        "undecided", None, None, None, None, empty, empty, None, False, point, None, np.nan, why
    )


def _size(weights: Any) -> float:
    return float(np.linalg.norm(ravel_pytree(weights)[0]))
