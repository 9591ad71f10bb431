"""What kind of equilibrium a point is: polished, its inertia decided or not, its kernel explained or not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradlab.analysis.equilibria import polishing
from gradlab.analysis.equilibria.convexity import (
    by_least_squares,
    convex_kernel,
    infimum_at_infinity,
    is_convex,
)
from gradlab.analysis.equilibria.inertia import GAP, Inertia, inertia
from gradlab.analysis.equilibria.kernel import Kernel, explain
from gradlab.analysis.equilibria.kinks import Kink, nearest_kink, on_kinks
from gradlab.analysis.equilibria.polishing import Polished, checked, polish
from gradlab.analysis.equilibria.probing import probe
from gradlab.analysis.equilibria.rounding import EPS, SAMPLES, gradient_rounding, operations, signs
from gradlab.analysis.equilibria.signature import Signature, own_bounds, signature
from gradlab.analysis.equilibria.underflow import lost
from gradlab.analysis.equilibria.witness import Witness, lower
from gradlab.analysis.landscape.second_order import known_inertia
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
        kink both are of the Hessian along the kinks, and the bounds rounding alone. The inertia is that of D ∇²L D,
        D diagonal: it may know a sign where a bound here is larger than its value.
    vectors : eigenvectors (P, len(values)), or None.
    complete : whether these are all eigenvalues.
    polished : how the point was found. kink : on a kink, the generalised stationarity.
    position : ‖W − exact equilibrium‖ across the kernel: rounding of ∇L over the least non-zero |λ|.
    why : one sentence.
    witness : a point that lies lower by more than rounding of L; given with every saddle, and with nothing else.
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
    witness: Witness | None = None

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

    The point is polished first. Signs are those of D ∇²L D, D diagonal such that its rows are of one size. Their
    bounds are the rounding of every entry plus its change over the distance to the exact equilibrium, (rounding of
    ∇L)/|λ|: an eigenvalue that is only there because the point is off the equilibrium is inside its bound. The inertia
    is decided by :func:`inertia`, and only if the kernel is explained: by :func:`explain`, by convexity (outputs affine
    in the weights under a convex loss, where every equilibrium is a minimum), or by rows of zeros that are exact. In
    the last case higher derivatives are looked at. A saddle is called one only with a point that lies lower by more
    than rounding of L, the ``witness``. A minimum along a manifold is one by the Morse–Bott lemma. Where the infimum is
    at infinity there is no equilibrium. What none of this decides is *undecided*.

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
    problem, weights = checked(problem, weights)
    if (found := _kink(problem, weights, kink)) is not None:
        return found
    point = _taken(problem, weights) if polished else polish(problem, weights)
    if not polished and (found := _kink(problem, point.weights, kink)) is not None:
        return found
    if reason := infimum_at_infinity(problem, point.weights):
        point = replace(point, converged=False, why=reason)
    elif not (point.converged or polished):
        point = by_least_squares(problem, point)
    if not point.converged:
        return _undecided(point, f"no equilibrium: {point.why}{_kink_remark(problem, point.weights)}")
    if reason := _rough(problem, point.weights):
        return _undecided(point, reason)
    if len(ravel_pytree(point.weights)[0]) > DENSE:
        return _ends(problem, point, progress)
    return _dense(problem, point)


# The dense road --------------------------------------------------------------------------------------------

#: Directions along which a lower point is looked for.
_TRIED = 3
#: The share of an unexplained direction that may lie outside the rows of zeros, where it is taken for exact.
_OUTSIDE = 1e-8


def assessed(problem: Problem, point: Polished) -> tuple[Signature, Inertia, Kernel]:
    """Signs, their count and the kernel's explanation, in one: what classifying and following a branch go by.

    A zero is counted only if something says why: a symmetry, the data, convexity, the closed form of a deep linear net,
    or rows of the Hessian whose zeros are exact. Anything else within its bound may be a small eigenvalue, and the
    count is undecided.
    """
    first = _assessed(problem, point, signature(problem, point))
    if first[1].decided or not (first[0].scale != 1.0).any():
        return first
    # where weights are zero but for the last digits of the point, scaling would take these for numbers
    plain = _assessed(problem, point, signature(problem, point, scaling=False))
    sure = [int(part.sum()) for part in _certain(first[0].scaled, first[0].margins)]
    count = plain[1]
    agree = count.decided and count.zero and sure[0] <= count.negative and sure[1] <= count.positive
    return plain if agree else first


def _assessed(problem: Problem, point: Polished, found: Signature) -> tuple[Signature, Inertia, Kernel]:
    zero, count = found.zero, found.inertia
    position = float(np.linalg.norm(found.shift))
    within = position + EPS * _size(point.weights)
    kernel = explain(problem, point.weights, found.frame[:, zero], within, found.scale)
    known = convex_kernel(problem, point.weights)
    if known is not None:
        count, kernel = _by_convexity(found, kernel, *known)
    elif count.decided and count.zero:
        counts = (count.negative, count.zero, count.positive)
        explained = kernel.decided and not kernel.unexplained
        theory = not explained and known_inertia(problem, ravel_pytree(point.weights)[0]) == counts
        if not (explained or (kernel.decided and (theory or _exact(found, kernel)))):
            count = replace(count, decided=False, why=_unexplained(found, kernel))
        elif found.exact.any() and (why := lost(problem, point.weights)):
            count = replace(count, decided=False, why=f"rows of the Hessian are zero, but {why}")
    if narrow := problem.inspected(point.weights).narrow:
        why = f"the network or the loss computes in {narrow}, in which zero cannot be told"
        count = replace(count, decided=False, why=why)
    return found, count, kernel


def _by_convexity(
    found: Signature, kernel: Kernel, nullity: int, decided: bool, why: str
) -> tuple[Inertia, Kernel]:
    size, count = len(found.scaled), found.inertia
    if not decided:
        return replace(count, decided=False, why=f"L is convex, and {why}"), replace(
            kernel, decided=False, why=why
        )
    if not (count.decided and count.zero == nullity and count.negative == 0):
        least = float(found.scaled[nullity]) if nullity < size else np.inf
        level = float(found.margins[:nullity].max(initial=0.0))
        why = f"L is convex: no eigenvalue is negative, and {nullity} are zero, for {why}"
        count = Inertia(0, nullity, size - nullity, True, level, GAP if nullity < size else np.inf, why)
        if not np.isfinite(least):
            count = replace(count, gap=np.inf)
    symmetry = min(kernel.symmetry, nullity)
    return count, Kernel(
        nullity, symmetry, nullity - symmetry, 0, nullity, True,
        "the potential is convex and constant along its kernel", np.zeros((size, 0)),
    )  # fmt: skip


def _exact(found: Signature, kernel: Kernel) -> bool:
    """Whether the unexplained kernel lies in rows of the Hessian that are exactly zero."""
    return bool(np.linalg.norm(kernel.rest[~found.exact]) <= _OUTSIDE)


def _unexplained(found: Signature, kernel: Kernel) -> str:
    within = float(found.margins[found.zero].max(initial=0.0))
    what = kernel.why if not kernel.decided else "neither symmetry nor data explain them"
    left = kernel.unexplained if kernel.decided else int(found.zero.sum())
    return (
        f"{left} eigenvalue{'s' * (left != 1)} of the scaled Hessian {'are' if left != 1 else 'is'} within "
        f"{within:.1e} of zero, and small or zero cannot be told: {what}"
    )


def _dense(problem: Problem, point: Polished) -> Equilibrium:
    found, count, kernel = assessed(problem, point)
    kind, why, witness = _kind(problem, point, found, count, kernel)
    hyperbolic = (count.zero == 0) if count.decided else None
    normal = (count.zero == kernel.manifold) if count.decided and (kernel.decided or not count.zero) else None
    if normal is False and kernel.manifold > count.zero:
        normal = None
    return Equilibrium(
        kind, hyperbolic, normal, count, kernel, found.values, found.bounds, found.vectors, True, point, None,
        float(np.linalg.norm(found.shift)), why, witness,
    )  # fmt: skip


def _kind(
    problem: Problem, point: Polished, found: Signature, count: Inertia, kernel: Kernel
) -> tuple[str, str, Witness | None]:
    if is_convex(problem, point.weights):
        return "minimum", f"L is convex in the weights: an equilibrium is a global minimum; {count.why}", None
    # a sign is certain by itself, whatever the kernel is
    negative, positive = _certain(found.scaled, found.margins)
    if negative.any() and positive.any():
        return _saddle(problem, point, found.directions(np.flatnonzero(negative)[:_TRIED]), count)
    if zero_risk(problem, point.weights):
        return "minimum", f"the loss is zero within rounding, its least value; {count.why}", None
    if not count.decided:
        return "undecided", count.why, None
    if not count.zero or (kernel.decided and kernel.unexplained == 0):
        along = f"along a manifold of dimension {count.zero}" if count.zero else "isolated"
        if count.negative == 0 and (count.positive or count.zero == len(found.scaled)):
            return "minimum", f"no negative eigenvalue, {along}; {count.why}", None
        return "maximum", f"no positive eigenvalue, {along}; {count.why}", None
    if count.negative:
        why = f"negative eigenvalues and an unexplained kernel: a maximum or a saddle; {kernel.why}"
        return "undecided", why, None
    return _degenerate(problem, point, found, count, kernel)


def _certain(values: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which eigenvalues are certainly negative, which positive."""
    far = (np.abs(values) >= GAP * bounds) & (values != 0.0)
    return far & (values < 0.0), far & (values > 0.0)


def _saddle(
    problem: Problem, point: Polished, directions: np.ndarray, count: Inertia
) -> tuple[str, str, Witness | None]:
    witness = lower(problem, point.weights, list(directions.T))
    if witness is None:
        return (
            "undecided",
            "eigenvalues of both signs, but along the negative ones no point is lower by more than rounding of the "
            f"potential; {count.why}",
            None,
        )
    return (
        "strict saddle",
        f"eigenvalues of both signs far above their bounds, {_told(witness)}; {count.why}",
        witness,
    )


def _told(witness: Witness) -> str:
    return (
        f"and L is lower by {-witness.difference:.1e} (rounding {witness.rounding:.0e}) at a distance of "
        f"{witness.length:.1e}"
    )


def _degenerate(
    problem: Problem, point: Polished, found: Signature, count: Inertia, kernel: Kernel
) -> tuple[str, str, Witness | None]:
    kept = ~found.zero
    values, vectors = np.linalg.eigh(np.asarray(problem.hessian(point.weights)))
    order = np.argsort(np.abs(values))[count.zero :] if kept.any() else np.zeros(0, int)
    seen = probe(problem, point.weights, kernel.rest, values[order], vectors[:, order], found.shift)
    kernel_told = f"a kernel of dimension {count.zero}, {kernel.unexplained} of it unexplained"
    if not seen.descent or seen.along is None or seen.bend is None:
        return "degenerate", f"{kernel_told}; {seen.why}", None
    witness = lower(problem, point.weights, [seen.along], [seen.bend])
    if witness is None:
        why = f"{kernel_told}; {seen.why}, but no point along it is lower by more than rounding of the potential"
        return "degenerate", why, None
    return "non-strict saddle", f"no negative eigenvalue, and {seen.why}, {_told(witness)}", witness


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
    bounds = own_bounds(problem, point, values, vectors, np.asarray(seen.bounds))
    guess = inertia(values, bounds)
    reason = f"only {len(values)} of {seen.size} eigenvalues were computed, and the others may be zero"
    count = Inertia(guess.negative, guess.zero, guess.positive, False, guess.threshold, guess.gap, reason)
    negative, positive = _certain(values, bounds)
    kind, witness = "undecided", None
    if is_convex(problem, point.weights):
        kind, reason = "minimum", f"L is convex in the weights: an equilibrium is a global minimum; {reason}"
    elif negative.any() and positive.any():
        kind, reason, witness = _saddle(problem, point, vectors[:, np.flatnonzero(negative)[:_TRIED]], count)
    elif zero_risk(problem, point.weights):
        kind, reason = "minimum", f"the loss is zero within rounding, its least value; {reason}"
    return Equilibrium(
        kind, None, None, count, None, values, bounds, vectors, False, point, None, np.nan, reason, witness
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
    if not problem.loss.smooth and problem.loss.kind == "residual":
        residual, moves = residuals(problem, weights)
        bound = operations(problem, weights) * EPS * np.sqrt(np.mean(moves**2, axis=0))
        if (np.abs(residual) <= bound).any():
            return f"a residual is zero, where {type(problem.loss).__name__} has no second derivative"
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
