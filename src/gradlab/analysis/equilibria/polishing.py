"""Polish a point to a true equilibrium: a root of ∇L, saddles kept, singular Hessians allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.analysis.equilibria.rounding import EPS, Rounding, gradient_rounding
from gradlab.analysis.equilibria.scaling import equilibrated
from gradlab.analysis.equilibria.shaking import gradient_entries
from gradlab.observe.spectrum.operators import NOT_FINITE
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Up to so many weights a step takes the eigen-decomposition of the dense Hessian; beyond, MINRES on its products (four
#: times faster at 600 weights and a condition number of 1e5).
DENSE = 500
#: Steps at most. Quadratic convergence takes about ten, degenerate equilibria some dozens.
STEPS = 100
#: Weights below this part of the largest ‖W‖ on the way are tried at 0.
_SMALL = 1e-8
#: Steps in scaled weights at most, taken where the scales are so far apart.
_AT_MOST, _APART = 8, 1e3
#: Products of one matrix-free step at most.
PRODUCTS = 4000
#: The part of ‖∇L‖ that a matrix-free step may leave, 10 ‖∇L‖/(‖H‖‖W‖), is kept within these. Smaller would resolve
#: directions along the manifold of equilibria, whose λ and ∇L·q are of the sizes ‖∇L‖ and ‖∇L‖² away from it.
FORCING = (1e-8, 0.1)


@dataclass(frozen=True)
class Polished:
    """A point moved to an equilibrium, or as near to one as it could be.

    Attributes
    ----------
    weights : of the structure that was given, float64.
    gradient : ‖∇L‖₂ there. rounding : a bound of the rounding error of that number.
    moved : ‖W − start‖₂. steps : steps taken.
    converged : whether gradient ≤ rounding: what is left of ∇L means nothing in float64. At an equilibrium with a
        singular Hessian this says little of the distance, which may be as large as rounding^{1/p}.
    why : one sentence.
    """

    weights: Any
    gradient: float
    rounding: float
    moved: float
    steps: int
    converged: bool
    why: str


@float64
def polish(problem: Problem, weights: Any, *, steps: int = STEPS, dense: bool | None = None) -> Polished:
    """This finds the equilibrium near a point, by Levenberg–Marquardt steps on ∇L(W) = 0.

        d = −(H² + μ)⁻¹ H ∇L,   μ = κ² (‖∇L‖/(R + ‖∇L‖/‖H‖))²,

    with R the largest ‖W‖ so far and κ adapted to how well the linear model predicted ‖∇L‖. A step is Newton's where
    |λ| ≫ √μ and nothing where |λ| ≪ √μ: saddles stay saddles, nothing moves along a kernel, and in the limit the step
    is Newton's of least norm, −H⁺∇L. Eigenvalues within rounding of ‖H‖ are cut. Convergence is quadratic where ‖∇L‖
    grows like the distance to the set of equilibria (Yamashita and Fukushima 2001), i.e. where the kernel of H is
    tangent to a manifold of equilibria. Elsewhere it is linear; steps that shrink at a steady rate q are then
    extrapolated by their geometric series, and weights that go to 0 are set to 0, both where ‖∇L‖ gets smaller by it.

    Runs on the host: eigen-decompositions up to ``DENSE`` weights. Beyond, d = −H⁺∇L up to a tolerance by MINRES on
    Hessian products, halved until ‖∇L‖ falls (Newton-MR): it may drift along a manifold of equilibria by a part of
    the way to it. Hypothesis: L is twice
    differentiable along the way (unchecked; where it is not, the iteration stalls and says so).

    Parameters
    ----------
    steps : at most. dense : which of the two roads; by size where None.

    Raises
    ------
    ValueError
        For weights of another structure, float32 ones, or ones that are not finite, and where derivatives are not
        finite at finite weights.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> near = (np.array([[1.7]]), np.array([[1.7]]))
    >>> found = gl.equilibria.polish(problem, near)
    >>> round(float(found.weights[0][0, 0] * found.weights[1][0, 0]), 6), found.converged
    (3.0, True)
    """
    problem, weights = checked(problem, weights)
    vector, unravel = ravel_pytree(weights)
    flat = np.array(vector)
    _refuse_what_is_not_finite(problem, weights)
    point = _Point.at(problem, unravel, flat)
    road: _Dense | _Krylov = _Dense() if (len(flat) <= DENSE if dense is None else dense) else _Krylov()
    start, kappa, taken, last = point.flat, 1.0, 0, None
    reach = float(np.linalg.norm(start))
    why = f"{steps} steps were not enough"
    while taken < steps:
        if point.norm <= point.rounding.noise:
            break
        found = _step(problem, unravel, point, road, kappa, reach)
        if found is None:
            why = "no step makes the gradient smaller: a kink, a least ‖∇L‖ that is not 0, or rounding"
            break
        trial, kappa = found
        taken += 1
        reach = max(reach, float(np.linalg.norm(trial.flat)))
        trial, last = _extrapolated(problem, unravel, point, trial, last)
        trial = _cleared(problem, unravel, trial, reach)
        slow, point = trial.norm > 0.5 * point.norm, trial
        if slow and point.norm <= point.rounding.bound:
            break
    if len(flat) <= DENSE:
        point, more = _scaled(problem, unravel, point)
        taken += more
    converged = point.norm <= point.rounding.bound
    if converged and _underflowed(problem, point):
        converged, why = False, "it only underflows: ∇ log L is not 0, and the weights run to infinity"
        why = f"‖∇L‖ = {point.norm:.1e}, but {why}"
    elif converged:
        why = f"‖∇L‖ = {point.norm:.1e} is rounding (bound {point.rounding.bound:.1e})"
    else:
        why = f"‖∇L‖ = {point.norm:.1e} is above its rounding {point.rounding.bound:.1e}: {why}"
    moved = float(np.linalg.norm(point.flat - start))
    return Polished(point.weights, point.norm, point.rounding.bound, moved, taken, converged, why)


def _refuse_what_is_not_finite(problem: Problem, weights: Any) -> None:
    """A gradient and a product with a vector without zeros: NaN and infinity anywhere in H show in it."""
    size = len(ravel_pytree(weights)[0])
    ones = jnp.asarray(np.random.default_rng(6).choice((-1.0, 1.0), size))
    seen = (_gradient(problem, weights), _product(problem, weights, ones))
    if not all(np.isfinite(np.asarray(part)).all() for part in seen):
        raise ValueError(NOT_FINITE)


def checked(problem: Problem, weights: Any) -> tuple[Problem, Any]:
    """The problem, knowing the shapes of its weights, and the weights as float64 arrays of the network's structure.

    Raises
    ------
    ValueError
        For weights that do not fit, float32 ones, or ones that are not finite.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        name = f"weights{jax.tree_util.keystr(path)}"
        array = np.asarray(leaf)
        if array.dtype != np.float64:
            raise ValueError(
                f"{name} is {array.dtype}, whose rounding hides kernels: give float64 arrays (of NumPy, or of JAX "
                "with x64 enabled), integrated in float64 too"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name} contains NaN or infinity; give weights of a run that did not diverge")
    problem = problem.knowing(weights)
    problem.network.check(weights)
    return problem, jax.tree.map(jnp.asarray, weights)


# One point, one step ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Point:
    flat: np.ndarray
    weights: Any
    gradient: np.ndarray
    norm: float
    rounding: Rounding

    @classmethod
    def at(cls, problem: Problem, unravel: Any, flat: Any) -> _Point:
        weights = unravel(jnp.asarray(flat))
        gradient = np.asarray(_gradient(problem, weights))
        norm = _norm(gradient)
        return cls(flat, weights, gradient, norm, gradient_rounding(problem, weights))


#: Below this the sum behind a gradient may have lost summands to underflow (the least normal number is 2e-308).
_TINY = 1e-290


def _underflowed(problem: Problem, point: _Point) -> bool:
    """Whether a gradient is 0 only because an exponential tail underflows."""
    if not problem.has_log or np.any(np.asarray(problem.decay) != 0.0) or point.norm > _TINY:
        return False
    relative = _norm(np.asarray(ravel_pytree(problem.log_gradient(point.weights))[0]))
    return relative * max(1.0, float(np.linalg.norm(point.flat))) > 1e-8


def _norm(vector: np.ndarray) -> float:
    """The 2-norm, right where squares underflow."""
    size = float(np.abs(vector).max(initial=0.0))
    return size * float(np.linalg.norm(vector / size)) if 0.0 < size < np.inf else size


def gradient_norm(problem: Problem, weights: Any) -> float:
    """‖∇L‖₂."""
    return _norm(np.asarray(_gradient(problem, weights)))


@eqx.filter_jit
def _gradient(problem: Problem, weights: Any) -> Float[Array, " P"]:
    return ravel_pytree(problem.gradient(weights))[0]


@eqx.filter_jit
def _product(problem: Problem, weights: Any, vector: Any) -> Float[Array, " P"]:
    flat, unravel = ravel_pytree(weights)
    return jax.jvp(lambda v: ravel_pytree(problem.gradient(unravel(v)))[0], (flat,), (vector,))[1]


class _Dense:
    """Steps from the eigen-decomposition of the Hessian."""

    def prepare(self, problem: Problem, point: _Point) -> None:
        H = np.asarray(problem.hessian(point.weights))
        if not np.isfinite(H).all():
            self.size = 0.0
            return
        self.values, self.vectors = np.linalg.eigh(H)
        self.size = float(np.abs(self.values).max(initial=0.0))
        self.kept = np.abs(self.values) > len(self.values) * EPS * self.size
        self.along = self.vectors.T @ point.gradient

    def step(self, root_mu: float) -> tuple[np.ndarray, float]:
        """d and what the linear model leaves of ‖∇L‖."""
        # scaled by the larger of the two, so that squares neither over- nor underflow
        scale = max(self.size, root_mu)
        values, mu = self.values / scale, (root_mu / scale) ** 2
        kept = self.kept & (values != 0.0)
        share = np.zeros(len(values))
        share[kept] = values[kept] ** 2 / (values[kept] ** 2 + mu)
        length = np.zeros(len(values))
        length[kept] = share[kept] * self.along[kept] / self.values[kept]
        return -self.vectors @ length, _norm((1.0 - share) * self.along)


class _Krylov:
    """Steps from MINRES on Hessian products, halved until ‖∇L‖ falls (Newton-MR; Roosta, Liu, Xu, Mahoney 2022)."""

    def prepare(self, problem: Problem, point: _Point) -> None:
        def product(vector: np.ndarray) -> np.ndarray:
            return np.asarray(_product(problem, point.weights, jnp.asarray(vector)))

        # of length 1: nothing underflows
        unit, self.norm, self.length = point.gradient / point.norm, point.norm, 2.0
        # a lower bound of ‖H‖, within a few tens of it, at one product
        self.size = _norm(product(unit))
        reach = max(_norm(point.flat), EPS)
        leave = float(np.clip(10.0 * point.norm / (self.size * reach), *FORCING)) if self.size > 0.0 else 1.0
        self.direction, self.size = minres(product, -unit, leave, PRODUCTS)
        self.unit, self.image = unit, product(self.direction)

    def step(self, root_mu: float) -> tuple[np.ndarray, float]:
        """Half the last step, and what the linear model leaves of ‖∇L‖; ``root_mu`` is the dense road's."""
        self.length /= 2.0
        left = self.norm * _norm(self.unit + self.length * self.image)
        return self.norm * self.length * self.direction, left


def minres(
    product: Callable[[np.ndarray], np.ndarray], right: np.ndarray, tolerance: float, limit: int
) -> tuple[np.ndarray, float]:
    """x of least ‖A x − b‖ over Krylov spaces of a symmetric A, and an estimate of ‖A‖.

    Paige and Saunders 1975 in the form of Elman, Silvester, Wathen 2014, Algorithm 4.1. Ends where ‖A x − b‖ ≤
    tolerance·‖b‖, where the residual is in the kernel, ‖A r‖ ≤ 1e-10 ‖A‖‖r‖, or after ``limit`` products. For b in the
    range of A the limit is the solution of least norm.
    """
    beta = float(np.linalg.norm(right))
    x, v_old, v, w_old, w = (np.zeros_like(right) for _ in range(5))
    eta, first = beta, beta
    c_old = c = 1.0
    s_old = s = 0.0
    v = right / beta
    # a size to compare with, since b itself may lie in the kernel
    random = np.random.default_rng(0).standard_normal(len(right))
    size = float(np.linalg.norm(product(random / np.linalg.norm(random))))
    for _ in range(limit):
        p = product(v)
        alpha = float(v @ p)
        p = p - alpha * v - beta * v_old
        ahead = float(np.linalg.norm(p))
        size = max(size, float(np.hypot(alpha, ahead)))
        delta = c * alpha - c_old * s * beta
        if not size > 0.0 or np.hypot(delta, c * ahead) <= 1e-10 * size:
            break
        rho = float(np.hypot(delta, ahead))
        w_old, w = w, (v - s_old * beta * w_old - (s * alpha + c_old * c * beta) * w) / rho
        c_old, c, s_old, s = c, delta / rho, s, ahead / rho
        x = x + c * eta * w
        eta = -s * eta
        if abs(eta) <= tolerance * first or ahead <= EPS * size:
            break
        v_old, v, beta = v, p / ahead, ahead
    return x, size


def _step(
    problem: Problem, unravel: Any, point: _Point, road: _Dense | _Krylov, kappa: float, reach: float
) -> tuple[_Point, float] | None:
    """The next point and κ, or None where ‖∇L‖ cannot be made smaller."""
    road.prepare(problem, point)
    if road.size == 0.0:
        return None
    reach = reach + point.norm / road.size
    for _ in range(30):
        step, predicted = road.step(kappa * point.norm / reach)
        if not np.abs(step).max() > 0.0:
            return None
        trial = _Point.at(problem, unravel, point.flat + step)
        gain, hoped = 1.0 - trial.norm / point.norm, 1.0 - predicted / point.norm
        if gain > 1e-4 * hoped and gain > 0.0:
            if gain > 0.75 * hoped:
                return trial, max(kappa / 4.0, 1e-3)
            return trial, kappa * (1.0 if gain > 0.25 * hoped else 4.0)
        if float(np.linalg.norm(step)) <= 4.0 * EPS * reach:
            return None
        kappa *= 8.0
    return None


def _scaled(problem: Problem, unravel: Any, point: _Point) -> tuple[_Point, int]:
    """Newton steps of least norm in weights scaled by D, where rows of H differ much in size, while ‖D ∇L‖ halves.

    In units of 1e-8 a weight's part of ∇L is beneath the rounding of the others long before it is at rest.
    """
    for taken in range(_AT_MOST):
        H = np.asarray(problem.hessian(point.weights))
        if not (np.isfinite(H).all() and H.any()):
            return point, taken
        d = equilibrated(H, np.zeros_like(H))
        if d.max() < _APART * d.min():
            return point, taken
        entries, rounding = gradient_entries(problem, point.weights)
        # rounding over a curvature that is rounding too would be a step along the kernel, of any length
        if np.all(np.abs(entries) <= rounding):
            return point, taken
        values, vectors = np.linalg.eigh(H * d[:, None] * d)
        kept = np.abs(values) > 1e2 * len(values) * EPS * np.abs(values).max()
        along = (vectors.T @ (d * point.gradient))[kept]
        trial = _Point.at(problem, unravel, point.flat - d * (vectors[:, kept] @ (along / values[kept])))
        if not _norm(d * trial.gradient) < 0.5 * _norm(d * point.gradient):
            return point, taken
        point = trial
    return point, _AT_MOST


def _cleared(problem: Problem, unravel: Any, point: _Point, reach: float) -> _Point:
    """The point with its smallest weights set to 0, where that makes ‖∇L‖ smaller: weights that converge to 0 only
    linearly would take a thousand steps to underflow, and their gradient is never rounding before."""
    small = (np.abs(point.flat) <= _SMALL * reach) & (point.flat != 0.0)
    if not small.any() or point.norm <= point.rounding.noise:
        return point
    trial = _Point.at(problem, unravel, np.where(small, 0.0, point.flat))
    return trial if trial.norm < point.norm else point


def _extrapolated(
    problem: Problem, unravel: Any, before: _Point, trial: _Point, last: np.ndarray | None
) -> tuple[_Point, np.ndarray | None]:
    """The limit of steps that shrink by a steady factor, where it is better; and the last step."""
    step = trial.flat - before.flat
    if last is None or not last.any() or not step.any() or trial.norm <= trial.rounding.noise:
        return trial, step
    # cosine and ratio of two steps, right where their squares underflow
    q = _norm(step) / _norm(last)
    cosine = float((step / _norm(step)) @ (last / _norm(last)))
    if not (0.1 < q < 0.98 and cosine > 0.95):
        return trial, step
    limit = _Point.at(problem, unravel, trial.flat + step * (q / (1.0 - q)))
    if limit.norm < 0.5 * trial.norm:
        return limit, None
    return trial, step
