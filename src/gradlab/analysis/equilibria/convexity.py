"""What convexity decides: outputs affine in the weights under a convex loss have minima and nothing else.

L(W) = Σ ℓ_n(A_n W + b_n) + ½ Σ λ ‖W‖² is convex: every equilibrium is a global minimum, ∇²L ⪰ 0, and where ℓ'' is
positive the kernel is that of the A_n (for cross-entropy: up to a common shift of an example's outputs) among the
weights without decay. Along it L is constant.

Under an exponential tail and no decay the infimum is attained unless some W has A_n W on the right side of 0 for all
examples, on no side not for all (Rockafellar 1970, Theorem 27.1: a direction of recession along which L is not
constant). That is a linear programme.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradlab.analysis.equilibria.kernel import decay_roots
from gradlab.analysis.equilibria.polishing import Polished, gradient_norm
from gradlab.analysis.equilibria.rank import rank
from gradlab.analysis.equilibria.rounding import EPS, gradient_rounding
from gradlab.problem.losses import CrossEntropy, Exponential, Logistic, Lp, Square
from gradlab.problem.networks import Convolutional, Dense, Residual
from gradlab.problem.precision import rounding_unit
from gradlab.problem.problem import Problem

_CONVEX = (Square, Lp, Exponential, Logistic, CrossEntropy)
_TAILED = (Exponential, Logistic, CrossEntropy)
#: Entries of the Jacobian of the outputs beyond which nothing is asked of it.
ENTRIES = 2e6
#: A prime below 2³¹, for ranks of the data as the rational numbers that they are.
PRIME = 2147483629


def affine(problem: Problem, weights: Any) -> Float[np.ndarray, "N C P"] | None:
    """The Jacobian of outputs that are affine in the weights, or None where they are not (or it would be too large).

    A dense network of one layer is; others are asked: the Jacobian is the same, up to rounding, at three random points
    (for an analytic f a coincidence has probability 0).
    """
    size = problem.size
    if problem.data.inputs.shape[0] * problem.network.outputs * size > ENTRIES:
        return None
    if problem.inspected(weights).interacts:
        return None
    here = np.asarray(problem.output_jacobian(weights))
    network = problem.network
    if isinstance(network, Dense) and len(network.widths) == 2:
        return here
    if isinstance(network, Dense | Convolutional | Residual):
        return None  # of two layers or more: products of weights
    unravel = ravel_pytree(weights)[1]
    generator = np.random.default_rng(5)
    for scale in (1.0, 1.0, 10.0):
        other = np.asarray(
            problem.output_jacobian(unravel(jnp.asarray(scale * generator.standard_normal(size))))
        )
        if not np.isfinite(other).all() or (np.abs(other - here) > 64.0 * EPS * np.abs(here)).any():
            return None
    return here


def is_convex(problem: Problem, weights: Any) -> bool:
    """Whether L is convex: a convex loss of the library, and outputs affine in the weights."""
    return isinstance(problem.loss, _CONVEX) and affine(problem, weights) is not None


def by_least_squares(problem: Problem, point: Polished, steps: int = 12) -> Polished:
    """Newton steps of a convex L through its square root, for a point that polishing did not bring to rest.

    With ℓ'' = QΛQᵀ a step solves min ‖Λ^½Qᵀ A δ + Λ^−½Qᵀℓ'‖² + λ‖W + δ‖² by singular values of a matrix that has only
    the root of the Hessian's condition number. Steps are taken while ‖∇L‖ falls.
    """
    jacobian = affine(problem, point.weights)
    if jacobian is None or not isinstance(problem.loss, _CONVEX):
        return point
    flat, unravel = ravel_pytree(point.weights)
    roots, targets = decay_roots(problem, point.weights), np.asarray(problem.data.targets)
    w, best = np.asarray(flat), point
    for taken in range(1, steps + 1):
        first, second = problem.loss.slopes(np.asarray(problem.outputs(unravel(jnp.asarray(w)))), targets)
        values, vectors = np.linalg.eigh(second)
        kept = values > 16.0 * EPS * values.max(axis=1, keepdims=True)
        root = np.sqrt(np.where(kept, values, 1.0))
        rows = np.where(kept, root, 0.0)[:, :, None] * np.einsum("nck,ncp->nkp", vectors, jacobian)
        right = np.where(kept, np.einsum("nck,nc->nk", vectors, first) / root, 0.0).ravel()
        matrix = np.concatenate([rows.reshape(len(right), -1), np.diag(roots)[roots > 0.0]])
        sizes = np.abs(matrix).max(axis=0)
        sizes = np.where(sizes > 0.0, sizes, 1.0)
        right = np.concatenate([right, (roots * w)[roots > 0.0]])
        if not (np.isfinite(matrix).all() and np.isfinite(right).all()):
            break
        w = w - np.linalg.lstsq(matrix / sizes, right, rcond=None)[0] / sizes
        weights = unravel(jnp.asarray(w))
        norm, rounding = gradient_norm(problem, weights), gradient_rounding(problem, weights).bound
        if not (norm < best.gradient or norm <= rounding):
            break
        moved = point.moved + float(np.linalg.norm(w - np.asarray(flat)))
        why = f"‖∇L‖ = {norm:.1e}, its rounding {rounding:.1e}, by least squares"
        best = Polished(weights, norm, rounding, moved, point.steps + taken, norm <= rounding, why)
        if best.converged:
            break
    return best


def infimum_at_infinity(problem: Problem, weights: Any) -> str | None:
    """Why L has no minimum to speak of near these weights, in a sentence; None where it may have one.

    Affine outputs: a direction that separates the data, by a linear programme. Deeper networks whose last layer is
    linear and without decay: where every margin is positive, L falls along the last layer for ever, and no such point
    is an equilibrium.
    """
    if not isinstance(problem.loss, _TAILED):
        return None
    free = decay_roots(problem, weights) == 0.0
    if not free.any():
        return None
    jacobian = affine(problem, weights)
    if jacobian is not None:
        return _separated(problem, jacobian[:, :, free])
    network, layers = problem.network, problem.network.layers(weights)
    if not isinstance(network, Dense | Convolutional | Residual):
        return None
    if np.broadcast_to(np.asarray(problem.decay), len(layers))[-1] != 0.0:
        return None
    if float(np.min(np.asarray(problem.margins(weights)))) > 0.0:
        return (
            "all examples are on the right side, and the loss falls for ever along the last layer: "
            "the infimum is at infinity"
        )
    return None


def _separated(problem: Problem, jacobian: Float[np.ndarray, "N C P"]) -> str | None:
    rows = _margin_rows(problem, jacobian)
    size = np.abs(rows).max(axis=0)
    rows = rows[:, size > 0.0] / size[size > 0.0]
    # feature by feature and example by example of one size: neither changes who is separated
    rows = rows / np.where((high := np.abs(rows).max(axis=1, keepdims=True)) > 0.0, high, 1.0)
    if not rows.size:
        return None
    found = scipy.optimize.linprog(
        -rows.sum(axis=0), A_ub=np.vstack([-rows, rows]),
        b_ub=np.concatenate([np.zeros(len(rows)), np.ones(len(rows))]), bounds=(None, None), method="highs",
    )  # fmt: skip
    if found.status == 0 and -found.fun > 1e-6:
        seen = rows @ found.x
        if seen.min() >= -1e-12 * np.abs(rows @ np.diag(found.x)).sum(axis=1).max():
            which = (
                "all examples" if seen.min() > 1e-7 else f"{int((seen > 1e-7).sum())} of {len(seen)} margins"
            )
            return f"the data are separable ({which} gain along one direction): the infimum is at infinity"
    return None


def _margin_rows(problem: Problem, jacobian: Float[np.ndarray, "N C P"]) -> Float[np.ndarray, "M P"]:
    targets = np.asarray(problem.data.targets)
    if not isinstance(problem.loss, CrossEntropy):
        return targets[:, None] * jacobian[:, 0, :]
    own = jacobian[np.arange(len(targets)), targets]
    others = np.arange(jacobian.shape[1]) != targets[:, None]
    return (own[:, None, :] - jacobian)[others]


def convex_kernel(problem: Problem, weights: Any) -> tuple[int, bool, str] | None:
    """(dimension of the kernel of ∇²L, whether decided, why) of a convex L; None where L is not known to be convex."""
    if not isinstance(problem.loss, _CONVEX) or (jacobian := affine(problem, weights)) is None:
        return None
    if isinstance(problem.loss, Lp) and problem.loss.p != 2:
        return 0, False, f"|r|^{problem.loss.p:g} may be flat at a residual of zero"
    free = decay_roots(problem, weights) == 0.0
    if not free.any():
        return 0, True, "every weight has decay"
    if isinstance(problem.loss, CrossEntropy):
        jacobian = jacobian - jacobian.mean(axis=1, keepdims=True)
    matrix = jacobian[:, :, free].reshape(-1, int(free.sum()))
    unit = rounding_unit(problem.data.inputs)
    return _nullity(matrix, not isinstance(problem.loss, CrossEntropy), unit)


def _nullity(matrix: np.ndarray, exact: bool, unit: float) -> tuple[int, bool, str]:
    """Columns less the rank, both of their own size; decided if the exact rank of the numbers is the same."""
    matrix = matrix[np.abs(matrix).max(axis=1, initial=0.0) > 0.0]
    columns = matrix.shape[1]
    sizes = np.abs(matrix).max(axis=0, initial=0.0)
    matrix = matrix / np.where(sizes > 0.0, 2.0 ** np.ceil(np.log2(np.where(sizes > 0.0, sizes, 1.0))), 1.0)
    found = rank(matrix, 4.0 * EPS * float(np.linalg.norm(matrix)))
    if not found.decided:
        return columns - found.rank, False, f"the rank of the data is undecided: {found.why}"
    if unit > EPS and (coarse := rank(matrix, 4.0 * unit * float(np.linalg.norm(matrix)))).rank < found.rank:
        return (
            columns - found.rank,
            False,
            f"the data come in single precision, at which their rank is {coarse.rank}; as numbers it is {found.rank}",
        )
    if (
        exact
        and found.rank < min(matrix.shape)
        and (true := exact_rank(matrix)) is not None
        and true > found.rank
    ):
        return (
            columns - found.rank,
            False,
            f"the data have rank {found.rank} within their rounding and {true} as the numbers that they are",
        )
    return columns - found.rank, True, f"the outputs on all examples see {found.rank} of {columns} directions"


def exact_rank(matrix: Float[np.ndarray, "M P"]) -> int | None:
    """The rank over the rationals of a matrix of doubles, modulo a prime (too small with probability some 1e-9).

    None where the matrix is too large, or its entries span more than 2^±900.
    """
    mantissas, exponents = np.frexp(matrix)
    whole = np.ldexp(mantissas, 53).astype(np.int64)
    low = int(exponents[whole != 0].min(initial=0))
    powers = exponents - low
    if matrix.size * min(matrix.shape) > 2e8 or powers.max(initial=0, where=whole != 0) > 900:
        return None
    two = np.array([pow(2, k, PRIME) for k in range(901)], dtype=np.int64)
    left = whole % PRIME * two[np.where(whole != 0, powers, 0)] % PRIME
    found = 0
    for column in range(left.shape[1]):
        pivots = np.flatnonzero(left[found:, column])
        if not pivots.size:
            continue
        pivot = found + int(pivots[0])
        left[[found, pivot]] = left[[pivot, found]]
        left[found] = left[found] * pow(int(left[found, column]), -1, PRIME) % PRIME
        below = left[found + 1 :]
        below -= below[:, column, None] * left[found] % PRIME
        below %= PRIME
        found += 1
        if found == len(left):
            break
    return found
