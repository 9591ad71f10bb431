"""Families of solutions: ridge over all decays, exponential losses with decay, the local pseudoinverse.

Data are rows X (N, d). NumPy in float64 on the host, but for the Jacobian of a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.linalg
from jax import Array
from jaxtyping import Float, Num
from scipy.special import log_expit

from gradlab.analysis.solutions import _regression, _signed_rows, _svd
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

_EPS = float(np.finfo(np.float64).eps)
#: Newton steps at one decay after which the road from strong decay is given up.
_STEPS = 100

#: Relative error of w above which a solution does not count as found.
_DIGITS = 1e-6

Tail = Literal["exponential", "logistic"]


# Ridge ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RidgePath:
    """Ridge regression at K decays: all from one singular value decomposition X = U s Vᵀ.

    Attributes
    ----------
    decays : λ, (K,), as given.
    solutions : (K, C, d), the minimisers of ``factor`` Σ‖W x_n − y_n‖² + λ/2 ‖W‖²; of least norm at λ = 0.
    norm : ‖W‖, (K,), falling in λ.
    residual : ‖X Wᵀ − Y‖, (K,), rising in λ; summed from its parts, so that small ones are right too.
    freedom : effective degrees of freedom tr X(XᵀX + λ/2a)⁻¹Xᵀ = Σ s²/(s² + λ/2a), (K,), from rank X to 0.
    singular : s, (r,), those that count as non-zero.
    """

    decays: Float[np.ndarray, " K"]
    solutions: Float[np.ndarray, "K C d"]
    norm: Float[np.ndarray, " K"]
    residual: Float[np.ndarray, " K"]
    freedom: Float[np.ndarray, " K"]
    singular: Float[np.ndarray, " r"]


def ridge_path(
    X: Num[Array | np.ndarray, "N d"],
    Y: Num[Array | np.ndarray, "N C"],
    decays: Iterable[float],
    factor: float = 1.0,
    rcond: float | None = None,
) -> RidgePath:
    """This gives the ridge solutions at every decay, W(λ) = Σ_i s_i/(s_i² + λ/2a) (Yᵀu_i) v_iᵀ, a the ``factor``.

    Singular values below ``rcond`` (max(N, d)·eps) times the largest are zeros of rounding and left out, so that
    the path ends in :func:`~gradlab.analysis.solutions.minimum_norm` however small λ is. Relative error of W:
    of the order of eps s_1/s_r at λ = 0, less at larger λ.

    Raises
    ------
    ValueError : a negative decay, ``factor <= 0``, or shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> gl.solutions.ridge_path(np.array([[1.0]]), np.array([[3.0]]), [0.0, 1.0]).norm.round(6).tolist()
    [3.0, 2.0]
    """
    given = np.atleast_1d(np.asarray(list(decays), dtype=np.float64))
    if not (given.size and (given >= 0.0).all() and np.isfinite(given).all()):
        raise ValueError(f"decays were {given}; expected finite numbers ≥ 0, at least one")
    if not (factor > 0 and np.isfinite(factor)):
        raise ValueError(f"factor is {factor}; expected > 0: 1 for Σ, 1/2 for ½Σ, 1/N for the mean")
    rows, targets = _regression(X, Y)
    left, values, right = _svd(rows, rcond)
    seen = left.T @ targets
    beside = float(np.linalg.norm(targets - left @ seen))
    weights, shift = np.linalg.norm(seen, axis=1), given[:, None] / (2.0 * factor)
    filtered = values / (values**2 + shift)
    missed = shift / (values**2 + shift)
    solutions = np.einsum("kr,rc,rd->kcd", filtered, seen, right)
    return RidgePath(
        decays=given,
        solutions=solutions,
        norm=np.linalg.norm(filtered * weights, axis=1),
        residual=np.hypot(np.linalg.norm(missed * weights, axis=1), beside),
        freedom=np.sum(filtered * values, axis=1),
        singular=values,
    )


# Exponential losses with decay ------------------------------------------------------------------------------


@dataclass(frozen=True)
class RegularisedExponential:
    """The minimiser w of Σ ℓ(y_n x_n·w) + λ/2 ‖w‖², ℓ(m) = e^{−m} or log(1 + e^{−m}), with its dual.

    Attributes
    ----------
    weights : w (d,).
    log_decay : log λ; λ itself may be below the smallest float.
    log_dual : log μ_n, (N,), with μ_n = −ℓ'(m_n)/λ > 0 and w = Σ μ_n y_n x_n. The log is right where μ_n underflows.
    margins : m_n = y_n x_n·w, (N,).
    curvature : eigenvalues of ∇²L/λ = 1 + Σ c_n x_n x_nᵀ, (d,), ascending, to eps of each and eps² of the largest;
        c_n = ℓ''(m_n)/λ. Infinite where they overflow.
    stationarity : ‖w − Σ μ_n y_n x_n‖ over ‖w‖ + Σ μ_n ‖x_n‖ as evaluated; of the order of eps |log λ|, by rounding.
    error : ‖w − exact‖: twice the last Newton step plus ``rounding``.
    rounding : what rounding in margins, exponents and w does to the solution, through the inverse Hessian.
    steps : Newton steps on the whole way from strong decay.
    converged : whether the last Newton step is at the level of rounding, and ``error`` leaves six digits of w.
    """

    weights: Float[np.ndarray, " d"]
    log_decay: float
    log_dual: Float[np.ndarray, " N"]
    margins: Float[np.ndarray, " N"]
    curvature: Float[np.ndarray, " d"]
    stationarity: float
    error: float
    rounding: float
    steps: int
    converged: bool

    @property
    def decay(self) -> float:
        """λ, 0 where it underflows."""
        return float(np.exp(self.log_decay))

    @property
    def norm(self) -> float:
        """‖w‖."""
        return float(np.linalg.norm(self.weights))

    @property
    def margin(self) -> float:
        """min_n y_n x_n·w/‖w‖, which tends to that of the hard margin as λ → 0; NaN at w = 0."""
        return float(self.margins.min() / self.norm) if self.norm > 0.0 else float("nan")

    @property
    def inertia(self) -> tuple[int, int, int]:
        """Numbers of negative, zero and positive eigenvalues of the Hessian, all of which are ≥ λ in theory.

        Those of ∇²L/λ are 1 + s², s a singular value, and rounding of s² cannot make them less than 1.
        """
        return (
            int(np.sum(self.curvature < 0.0)),
            int(np.sum(self.curvature == 0.0)),
            int(np.sum(self.curvature > 0.0)),
        )


class _Newton:
    """Newton's method for φ(w) = ½‖w‖² + Σ ℓ(a_n·w)/λ, a_n = y_n x_n, at one λ after the other."""

    def __init__(self, rows: np.ndarray, loss: Tail) -> None:
        self.rows, self.loss = rows, loss
        self.size = rows.shape[1]
        self.steps = 0

    def logs(self, w: np.ndarray, log_decay: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(margins, log μ, log c): c_n = ℓ''/λ is μ_n for the exponential, μ_n σ(m_n) for the logistic loss."""
        margins = self.rows @ w
        if self.loss == "exponential":
            dual = -margins - log_decay
            return margins, dual, dual
        dual = log_expit(-margins) - log_decay
        return margins, dual, dual + log_expit(margins)

    def at(self, w: np.ndarray, log_decay: float, bounded: bool) -> tuple[np.ndarray, np.ndarray, float]:
        """(Newton step, dw/d(−log λ), bound of the rounding in the step; NaN unless asked for).

        The step is the least-squares solution of √c_n (a_n·δ − μ_n/c_n) = 0, δ + w = 0, with matrix B = [√c A; 1]: its
        rows differ by hundreds of decades, and :func:`_graded` solves it. B has full rank.
        """
        _, dual, curvature = self.logs(w, log_decay)
        scale = max(0.0, float(curvature.max()))
        weights, one = np.exp((curvature - scale) / 2.0), np.exp(-scale / 2.0)
        matrix = np.vstack([weights[:, None] * self.rows, one * np.eye(self.size)])
        ratio = weights * np.exp(dual - curvature)
        right = np.array([np.append(ratio, -one * w), np.append(ratio, np.zeros(self.size))]).T
        if not bounded:
            step, tangent = _graded(matrix, right).T
            return step, tangent, np.nan
        solved = _graded(matrix, np.hstack([right, np.eye(len(matrix))]))
        step, tangent, inverse = solved[:, 0], solved[:, 1], np.abs(solved[:, 2:])
        # rounding of exponents acts along the rows, rounding of the sum of all pulls anywhere
        products = np.abs(self.rows) @ np.abs(w)
        exponents = _EPS * (abs(log_decay) + (self.size + 1) * products + 4.0)
        pulls = np.exp(dual - scale) @ np.abs(self.rows)
        along = inverse @ np.append(ratio * exponents, 4.0 * _EPS * one * np.abs(w))
        with np.errstate(over="ignore"):
            anywhere = 2.0 * _EPS * (inverse @ (inverse.T @ pulls))
        return step, tangent, float(np.linalg.norm(along + anywhere))

    def solve(
        self, w: np.ndarray, log_decay: float, loose: bool
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """(w, tangent, last step, rounding): damped until the steps are small, plain Newton after that.

        |ℓ'''| ≤ ℓ'', so with k = max_n |a_n·δ| the damping log(1 + k)/k decreases φ at every step (generalised
        self-concordance: Bach 2010; Sun and Tran-Dinh 2019, Thm 2): no line search, no differences of φ.
        """
        last = np.inf
        for _ in range(_STEPS):
            step, tangent, rounding = self.at(w, log_decay, not loose)
            self.steps += 1
            largest, length = float(np.abs(self.rows @ step).max()), float(np.linalg.norm(step))
            if not np.isfinite(length) or (loose and largest <= 0.1):
                break
            # at the level of rounding steps no longer shrink
            if largest <= 0.1 and (length <= 0.5 * rounding or length >= 0.5 * last):
                break
            w = w + step * (np.log1p(largest) / largest if largest > 1e-2 else 1.0)
            last = length
        return w, tangent, length, rounding


def _graded(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Least-squares solutions of matrix (M, n), whose rows may differ by any factor; NaN without full column rank.

    Householder QR with rows and columns pivoted, reflections applied to the right-hand sides: backward stable row
    by row (Powell and Reid 1969; Cox and Higham 1998, Thm 4.1), where normal equations, the SVD and LAPACK's QR,
    whose pivot row may be a heavy one, are not.
    """
    n = matrix.shape[1]
    A, columns = np.hstack([matrix, right]), np.arange(n)
    for k in range(n):
        j = k + int(np.argmax(np.linalg.norm(A[k:, k:n], axis=0)))
        A[:, [k, j]], columns[[k, j]] = A[:, [j, k]], columns[[j, k]]
        i = k + int(np.argmax(np.abs(A[k:, k])))
        A[[k, i]] = A[[i, k]]
        # v_0 = 1: nothing is squared that could underflow
        length = np.copysign(float(np.linalg.norm(A[k:, k])), A[k, k])
        if length == 0.0:  # the decay itself underflowed beside the curvature
            return np.full((n, right.shape[1]), np.nan)
        v = A[k:, k] / (A[k, k] + length)
        v[0] = 1.0
        A[k:, k:] -= np.outer(v, (2.0 / (v @ v)) * (v @ A[k:, k:]))
    solved = np.zeros((n, right.shape[1]))
    solved[columns] = scipy.linalg.solve_triangular(A[:n, :n], A[:n, n:])
    return solved


def _checked_log(decay: float | None, log_decay: float | None) -> float:
    if (decay is None) == (log_decay is None):
        raise ValueError("give either decay or log_decay, e.g. decay=1e-6 or log_decay=-1e4")
    if decay is not None:
        if not (decay > 0.0 and np.isfinite(decay)):
            raise ValueError(f"decay was {decay}; expected a finite number > 0: below 1e-300 write log_decay")
        return float(np.log(decay))
    if log_decay is None or not np.isfinite(log_decay):
        raise ValueError(f"log_decay was {log_decay}; expected a finite number, the natural log of λ")
    return float(log_decay)


def regularised_exponential(
    X: Num[Array | np.ndarray, "N d"],
    y: Num[Array | np.ndarray, " N"],
    decay: float | None = None,
    *,
    log_decay: float | None = None,
    loss: Tail = "exponential",
) -> RegularisedExponential:
    """This is the minimiser of Σ e^{−y_n x_n·w} + λ/2 ‖w‖² (or Σ log(1 + e^{−y_n x_n·w}) + …), for any λ > 0.

    It is the only equilibrium, λ w = Σ y_n x_n e^{−y_n x_n·w}, and hyperbolic: ∇²L ≥ λ. See :func:`regularised_path`,
    of which this is one point. Any N, d, rank; labels ±1; data separable or not. For the mean over examples write
    decay=N λ.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> w = gl.solutions.regularised_exponential(np.array([[1.0]]), np.array([1.0]), decay=0.5).weights[0]
    >>> bool(abs(np.exp(-w) - 0.5 * w) < 1e-12)  # λ w = e^{−w}
    True
    """
    return regularised_path(X, y, [_checked_log(decay, log_decay)], loss)[0]


def regularised_path(
    X: Num[Array | np.ndarray, "N d"],
    y: Num[Array | np.ndarray, " N"],
    log_decays: Iterable[float],
    loss: Tail = "exponential",
) -> tuple[RegularisedExponential, ...]:
    """The minimisers of Σ ℓ(y_n x_n·w) + λ/2 ‖w‖² at every log λ given, in the order given.

    With a_n = y_n x_n and μ_n = −ℓ'(a_n·w)/λ the equation is w = Σ μ_n a_n, log μ_n = −a_n·w − log λ (exponential):
    only the logarithm of λ enters, and nothing of the size of λ is formed. Newton's method follows the solution from
    decay so strong that w ≈ 0, with tangents dw/d(−log λ) as predictors; about 100 steps to log λ = −10⁶. On separable
    data w(λ) = ŵ log(1/(λ γ)) + P w̃ + o(1), ŵ, P w̃ those of ``soudry_constants``, γ = min_n a_n·w.

    On data that are separable in part the pulls of the other part cancel to a fraction λ, which rounding of X
    alone can spoil when λ ≲ eps (not where that part has exact zeros elsewhere): ``error`` says so, and such solutions
    come back with ``converged`` False; so do those with log λ ≲ −1400, where 1/λ overflows. Separable data, and data
    no part of which is separable, have no such limits.

    Raises
    ------
    ValueError : labels other than ±1, an unknown loss, log decays that are not finite.
    """
    if loss not in ("exponential", "logistic"):
        raise ValueError(f"loss is {loss!r}; write 'exponential' or 'logistic'")
    logs = [_checked_log(None, float(value)) for value in log_decays]
    rows = _signed_rows(X, y)
    newton = _Newton(rows, loss)
    square = float(np.linalg.norm(rows, 2) ** 2)
    # Above this decay every margin is below about one: Newton from 0 needs a few steps.
    strong = np.log(square) if square > 0.0 else 0.0
    w, present, tangent, stride = np.zeros(rows.shape[1]), np.inf, np.zeros(rows.shape[1]), 1.0
    found: dict[float, RegularisedExponential] = {}
    lost = False
    for log_decay in sorted(set(logs), reverse=True):
        while present > log_decay and not lost:
            # from strong decay on, at most one stride at a time
            following = max(log_decay, min(strong, present - stride))
            moved = present - following if np.isfinite(present) else 0.0
            before = newton.steps
            w, tangent, length, _ = newton.solve(w + moved * tangent, following, loose=True)
            present, used = following, newton.steps - before
            lost = not np.isfinite(length) or used >= _STEPS
            stride *= 3.0 if used <= 4 else 0.5 if used > 12 else 1.0
        length, rounding = np.inf, np.inf
        if not lost:
            w, tangent, length, rounding = newton.solve(w, log_decay, loose=False)
        found[log_decay] = _solution(newton, w, log_decay, length, rounding)
    return tuple(found[log_decay] for log_decay in logs)


def _solution(
    newton: _Newton, w: np.ndarray, log_decay: float, length: float, rounding: float
) -> RegularisedExponential:
    rows = newton.rows
    margins, dual, curvature = newton.logs(w, log_decay)
    scale = max(0.0, float(curvature.max()))
    values = np.zeros(rows.shape[1])
    singular = scipy.linalg.svdvals(np.exp((curvature - scale) / 2.0)[:, None] * rows)
    values[: len(singular)] = singular
    with np.errstate(over="ignore", divide="ignore"):
        stretched = np.exp(2.0 * np.log(values) + scale)
    size, shift = float(np.linalg.norm(w)), max(0.0, float(dual.max()))
    own, pulls = np.exp(-shift) * w, np.exp(dual - shift)
    gap = float(np.linalg.norm(own - rows.T @ pulls))
    total = float(np.linalg.norm(own) + pulls @ np.linalg.norm(rows, axis=1))
    return RegularisedExponential(
        weights=w,
        log_decay=log_decay,
        log_dual=dual,
        margins=margins,
        curvature=np.sort(1.0 + stretched),
        stationarity=gap / total if total > 0.0 else 0.0,
        error=2.0 * length + rounding if np.isfinite(length) else np.inf,
        rounding=rounding,
        steps=newton.steps,
        converged=bool(length <= rounding and 2.0 * length + rounding <= _DIGITS * size),
    )


# The local pseudoinverse ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LocalPseudoinverse:
    """The least-norm solution of the linearised problem J (W − W0) = Y − f(W0), J = ∂f/∂W at W0.

    Attributes
    ----------
    weights : W0 + J⁺(Y − f(W0)), weights of the problem.
    start : W0 as a vector (P,).
    step : J⁺(Y − f(W0)), (P,).
    rank : the number of singular values of J that count as non-zero.
    gap : the smallest singular value kept over the largest left out (infinite if none is): a rank with
        gap ≲ 10 is not decided.
    singular : all singular values of J, (min(N·C, P),).
    residual : ‖J step − (Y − f(W0))‖, what the linearised problem cannot fit.
    condition : largest over smallest singular value kept: the step has relative error of the order of eps × this.
    basis : (rank, P), orthonormal rows that span the row space of J.
    """

    weights: Any
    start: Float[np.ndarray, " P"]
    step: Float[np.ndarray, " P"]
    rank: int
    gap: float
    singular: Float[np.ndarray, " s"]
    residual: float
    condition: float
    basis: Float[np.ndarray, "rank P"]


@dataclass(frozen=True)
class JacobianDistance:
    """W − W_pinv in the Jacobian sense: ``row``, what the linearised outputs at W0 see of it; ``null``, the rest.

    A gradient flow of the linearised problem from W0 ends with both zero; ``null`` is in a nonlinear one the drift
    out of W0 + range Jᵀ, ``row`` the miss inside it. ``total``² = ``row``² + ``null``²; all are norms of weights.
    ``relative`` : total over ‖W − W0‖ (NaN at W0).
    """

    row: float
    null: float
    total: float
    relative: float


@float64
def local_pseudoinverse(problem: Problem, weights0: Any, rcond: float | None = None) -> LocalPseudoinverse:
    """This is the solution of least ‖W − W0‖ of the problem linearised at W0: W0 + J⁺(Y − f(W0)).

    J (N·C, P) is the dense Jacobian of all outputs, by its singular value decomposition; values below ``rcond``
    (max(N·C, P)·eps) times the largest count as zero. For a one-layer linear net it is the least-squares solution
    nearest to W0, the limit of gradient flow from there. Y: the targets of a loss of residuals, or labels ±1 as
    numbers.

    Raises
    ------
    ValueError : for targets that are classes; write a loss of residuals with one-hot rows.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> float(gl.solutions.local_pseudoinverse(problem, (np.array([[1.0]]),)).weights[0][0, 0])
    3.0
    """
    targets = np.asarray(problem.data.targets, dtype=np.float64)
    if problem.loss.labels == "class":
        raise ValueError(
            "classes are no outputs to be fitted by linearisation: use Square with one-hot rows, np.eye(C)[targets]"
        )
    outputs = np.asarray(problem.outputs(weights0))
    missing = (targets.reshape(outputs.shape) - outputs).reshape(-1)
    jacobian = np.asarray(problem.output_jacobian(weights0)).reshape(missing.size, -1)
    # gesvd, as in solutions: accurate for graded matrices
    left, values, right = scipy.linalg.svd(jacobian, full_matrices=False, lapack_driver="gesvd")
    cut = (max(jacobian.shape) * _EPS if rcond is None else rcond) * values[0]
    rank = int(np.sum(values > cut))
    kept, rest = values[:rank], values[rank:]
    step = right[:rank].T @ ((left[:, :rank].T @ missing) / kept)
    start = np.asarray(problem.ravel(weights0))
    dropped = float(rest.max(initial=0.0))
    return LocalPseudoinverse(
        weights=problem.unravel(start + step),
        start=start,
        step=step,
        rank=rank,
        gap=float(kept[-1] / dropped) if rank and dropped > 0.0 else float("inf"),
        singular=values,
        residual=float(np.linalg.norm(jacobian @ step - missing)),
        condition=float(kept[0] / kept[-1]) if rank else float("nan"),
        basis=right[:rank],
    )


@float64
def jacobian_distance(problem: Problem, weights: Any, local: LocalPseudoinverse) -> JacobianDistance:
    """How far weights are from a local pseudoinverse, in and beside the row space of its Jacobian."""
    vector = np.asarray(problem.ravel(weights)) - local.start
    gap, moved = vector - local.step, float(np.linalg.norm(vector))
    inside = local.basis @ gap
    row, null = float(np.linalg.norm(inside)), float(np.linalg.norm(gap - local.basis.T @ inside))
    total = float(np.hypot(row, null))
    return JacobianDistance(row, null, total, total / moved if moved > 0.0 else float("nan"))
