"""Solutions that theory predicts: minimum norm, ridge, hard margin, and the constants of its approach.

Data are rows, X (N, d) and Y (N, C); a linear network is f(x) = W x with W (C, d). Everything here runs on
the host in float64 NumPy. Where data come in single precision ranks are told at that precision, with a warning where
it makes them smaller. Least squares go through the singular value decomposition and nothing else:
QR and LU can be silently wrong when the rank is deficient.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
import scipy.optimize
from jax import Array
from jaxtyping import Bool, Float, Num

from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense
from gradlab.problem.precision import rounding_unit
from gradlab.problem.problem import Problem

_EPS = float(np.finfo(np.float64).eps)
#: Margins within this of 1 are on the margin. Far above rounding, far below any margin gap of interest.
_TIGHT = 1e-9
#: A dual weight below this fraction of the largest one counts as zero.
_ZERO_DUAL = 1e-10
#: A relative KKT residual above this means that the active set was not found.
_KKT_FAILED = 1e-6


def _rows(X: object, name: str = "X") -> np.ndarray:
    rows = np.asarray(X, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            f"{name} has shape {rows.shape}; expected non-empty rows (N, d): write {name}[:, None]"
        )
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} contains NaN or infinity; give finite numbers")
    return rows


def _regression(X: object, Y: object) -> tuple[np.ndarray, np.ndarray]:
    rows, targets = _rows(X), _rows(Y, "Y")
    if len(rows) != len(targets):
        raise ValueError(f"X has {len(rows)} rows and Y has {len(targets)}; give one row of Y per row of X")
    return rows, targets


def _svd(
    rows: np.ndarray, rcond: float | None, unit: float = _EPS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thin singular value decomposition cut at rcond (max(N, d)·unit) times the largest singular value."""
    # gesvd, the slower driver: gesdd loses accuracy in the small singular vectors of graded matrices
    left, values, right = scipy.linalg.svd(rows, full_matrices=False, lapack_driver="gesvd")
    cut = (max(rows.shape) * unit if rcond is None else rcond) * values[0]
    kept = int(np.sum(values > cut))
    if (
        rcond is None
        and unit > _EPS
        and (numbers := int(np.sum(values > max(rows.shape) * _EPS * values[0]))) > kept
    ):
        warnings.warn(
            f"the data come in single precision and have rank {kept} at that precision, {numbers} as the numbers that "
            f"they are: {kept} was taken; give data computed in float64, or rcond",
            stacklevel=4,
        )
    return left[:, :kept], values[:kept], right[:kept]


def rank(X: Num[Array | np.ndarray, "N d"], rcond: float | None = None) -> int:
    """Numerical rank: the number of singular values above ``rcond`` (max(N, d)·eps) times the largest.

    eps is that of the precision in which X comes, here and in all of this module.
    """
    return len(_svd(_rows(X), rcond, rounding_unit(X))[1])


def span_projector(X: Num[Array | np.ndarray, "N d"], rcond: float | None = None) -> Float[np.ndarray, "d d"]:
    """Orthogonal projector onto the span of the rows, X⁺X (d, d)."""
    right = _svd(_rows(X), rcond, rounding_unit(X))[2]
    return right.T @ right


def null_projector(X: Num[Array | np.ndarray, "N d"], rcond: float | None = None) -> Float[np.ndarray, "d d"]:
    """Orthogonal projector onto what no row sees, I − X⁺X (d, d); X @ null_projector(X) = 0."""
    rows = _rows(X)
    return np.eye(rows.shape[1]) - span_projector(rows, rcond)


def minimum_norm(
    X: Num[Array | np.ndarray, "N d"], Y: Num[Array | np.ndarray, "N C"], rcond: float | None = None
) -> Float[np.ndarray, "C d"]:
    """This is the least-squares solution of least Frobenius norm, W = (X⁺Y)ᵀ (C, d).

    With data as columns this is Y Xᵀ(X Xᵀ)⁺ = Y X⁺. Any N, d, C and any rank; singular values below ``rcond``
    (max(N, d)·eps) times the largest count as zero.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> gl.solutions.minimum_norm(np.array([[1.0, 1.0]]), np.array([[2.0]])).round(6).tolist()
    [[1.0, 1.0]]
    """
    rows, targets = _regression(X, Y)
    left, values, right = _svd(rows, rcond, rounding_unit(X))
    return (right.T @ ((left.T @ targets) / values[:, None])).T


def minimum_norm_of(problem: Problem) -> Float[np.ndarray, "C d"] | None:
    """The product W_K ⋯ W_1 of least norm among the least-squares solutions of a problem, or None.

    None where the network is no dense linear one, is narrower inside than at both ends, or the loss is not the square.
    """
    network, loss = problem.network, problem.loss
    if not (isinstance(network, Dense) and network.linear and isinstance(loss, Square)):
        return None
    if min(network.widths) < min(network.widths[0], network.widths[-1]):
        return None
    rows = np.asarray(problem.data.inputs)
    return minimum_norm(rows.reshape(len(rows), -1), np.asarray(problem.data.targets))


def ridge(
    X: Num[Array | np.ndarray, "N d"], Y: Num[Array | np.ndarray, "N C"], decay: float, factor: float = 1.0
) -> Float[np.ndarray, "C d"]:
    """This is the minimiser (C, d) of ``factor`` Σ‖W x_n − y_n‖² + ``decay``/2 ‖W‖².

    W = YᵀX (XᵀX + λ)⁻¹ with λ = decay / (2 factor), through the filter s/(s² + λ) on the singular values,
    which forms no normal matrix. ``factor`` is 1 for the sum of squares, 1/2 for half of it, 1/N for the
    mean. ``decay=0`` gives the limit, :func:`minimum_norm`. Raises ValueError if ``decay < 0`` or
    ``factor <= 0``.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> gl.solutions.ridge(np.array([[1.0]]), np.array([[3.0]]), decay=1.0).round(6).tolist()  # 3/(1 + ½)
    [[2.0]]
    """
    if not (decay >= 0 and np.isfinite(decay)):
        raise ValueError(f"decay is {decay}; expected a finite number ≥ 0")
    if not (factor > 0 and np.isfinite(factor)):
        raise ValueError(f"factor is {factor}; expected > 0: 1 for Σ, 1/2 for ½Σ, 1/N for the mean")
    rows, targets = _regression(X, Y)
    if decay == 0:
        return minimum_norm(rows, targets)
    left, values, right = _svd(rows, 0.0)
    filtered = values / (values**2 + decay / (2 * factor))
    return (right.T @ (filtered[:, None] * (left.T @ targets))).T


@dataclass(frozen=True)
class HardMargin:
    """The hard-margin solution through the origin with its dual.

    Attributes
    ----------
    direction : ŵ (d,), of least norm with y_n x_n·ŵ ≥ 1 for all n (not normalised).
    alpha : (N,), a dual solution: ŵ = Σ α_n y_n x_n, α ≥ 0, zero off the support. Sparse where not unique.
    support : (N,), the points on the margin, y_n x_n·ŵ = 1 to 1e-9, or to the rounding of the product if
        that is coarser (their α may be zero).
    margin : 1/‖ŵ‖, the distance of the nearest point to the hyperplane.
    next_margin : least y_n x_n·ŵ off the support (infinite if all points are on it); it sets the rate
        t^{1 − next_margin} at which the other points are forgotten.
    kkt_residual : the largest of the relative stationarity, feasibility and complementarity residuals; of
        the order of eps·max‖x_n‖/margin.
    gap : relative duality gap.
    unique_dual : False where several α serve, for instance with duplicate points on the margin.
    """

    direction: Float[np.ndarray, " d"]
    alpha: Float[np.ndarray, " N"]
    support: Bool[np.ndarray, " N"]
    margin: float
    next_margin: float
    kkt_residual: float
    gap: float
    unique_dual: bool


def _signed_rows(X: object, y: object) -> np.ndarray:
    rows, signs = _rows(X), np.asarray(y, dtype=np.float64)
    if signs.shape != (len(rows),):
        raise ValueError(f"y has shape {signs.shape}; expected ({len(rows)},), one label per row of X")
    if not np.isin(signs, (-1.0, 1.0)).all():
        raise ValueError("y holds labels other than −1 and +1; write 2*y - 1 for labels 0 and 1")
    return signs[:, None] * rows


def _refined_solve(matrix: np.ndarray, right_side: np.ndarray) -> np.ndarray:
    """Least-norm solution with residuals in extended precision, where the platform has it."""
    left, values, right = _svd(matrix, None)
    wide, wide_right = matrix.astype(np.longdouble), right_side.astype(np.longdouble)
    solution = np.zeros(matrix.shape[1])
    for _ in range(3):
        residual = np.asarray(wide_right - wide @ solution.astype(np.longdouble), dtype=np.float64)
        solution = solution + right.T @ ((left.T @ residual) / values)
    return solution


def _on_active_set(A: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """w of least norm with A w = 1 on the active rows, and its multipliers (zero elsewhere)."""
    alpha = np.zeros(len(A))
    w = _refined_solve(A[active], np.ones(int(active.sum())))
    alpha[active] = _refined_solve(A[active].T, w)
    return w, alpha


def _active_set(A: np.ndarray, floor: float) -> np.ndarray:
    """Positive dual weights by least-distance programming (Lawson and Hanson 1974, ch. 23).

    min ‖w‖ with A w ≥ c has w = −r_{1..d}/r_{d+1}, r the residual of min ‖[Aᵀ; c1ᵀ]u − e_{d+1}‖, u ≥ 0. The
    active rows of [A, c] are linearly independent, so those of A are too, since A w = c on them.
    """
    target = np.append(np.zeros(A.shape[1]), 1.0)
    weights, _ = scipy.optimize.nnls(
        np.vstack([A.T, np.full(len(A), floor)]), target, maxiter=30 * sum(A.shape)
    )
    return weights > _ZERO_DUAL * weights.max()


def _repaired(A: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polish on the active set; exchange single points while the signs are not right."""
    w, alpha = _on_active_set(A, active)
    for _ in range(2 * len(A)):
        slack = A @ w - 1
        if alpha.min() < -_ZERO_DUAL * np.abs(alpha).max():
            active = active & (np.arange(len(A)) != alpha.argmin())
        elif slack.min() < -8 * _EPS * (1 + float(np.linalg.norm(w))) and not active[slack.argmin()]:
            trial = active | (np.arange(len(A)) == slack.argmin())
            if rank(A[trial]) < trial.sum():
                break
            active = trial
        else:
            break
        w, alpha = _on_active_set(A, active)
    return w, np.maximum(alpha, 0.0)


def _kkt(A: np.ndarray, w: np.ndarray, alpha: np.ndarray) -> tuple[float, float]:
    norm, slack, total = float(np.linalg.norm(w)), A @ w - 1, float(alpha.sum())
    if not (norm > 0 and total > 0):
        return np.inf, np.inf
    combined = A.T @ alpha
    parts = (
        np.linalg.norm(w - combined) / norm,
        max(0.0, -slack.min()),
        np.abs(alpha * slack).sum() / total,
    )
    dual = total - combined @ combined / 2
    return float(max(parts)), float(abs(norm**2 / 2 - dual) / (norm**2 / 2))


def _dual_is_unique(A: np.ndarray, alpha: np.ndarray, support: np.ndarray) -> bool:
    """Whether no dual solution puts weight on a point of the margin where this one has none."""
    rows = A[support]
    basic = alpha[support] > _ZERO_DUAL * alpha.max()
    if basic.all() or rank(rows) == len(rows):
        return True
    # max Σ_{idle} β over {Aᵀβ = Aᵀα, β ≥ 0}: zero exactly when every solution lives on the basic rows,
    # which are independent. Scaled so that Σα = 1.
    scaled = alpha[support] / alpha.sum()
    answer = scipy.optimize.linprog(
        -(~basic).astype(float), A_eq=rows.T, b_eq=rows.T @ scaled, method="highs"
    )
    return bool(answer.status == 0 and -answer.fun < 1e-6)


def max_margin(X: Num[Array | np.ndarray, "N d"], y: Num[Array | np.ndarray, " N"]) -> HardMargin:
    """This is the hard-margin support vector machine without bias: min ‖w‖ with y_n x_n·w ≥ 1.

    The active set comes from non-negative least squares on the dual (twice, the second time at the scale of
    the margin found), the numbers from a refined singular value decomposition on it. Any N, d and rank;
    duplicates and idle points on the margin are allowed and reported in ``unique_dual``.

    Raises
    ------
    ValueError : labels other than ±1, or data not linearly separable through the origin (to the precision
        of float64: relative margins below about 1e-8 are not resolved).

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> found = gl.solutions.max_margin(np.array([[2.0, 0.0], [-2.0, 1.0]]), np.array([1.0, -1.0]))
    >>> found.direction.round(6).tolist(), round(found.margin, 6)
    ([0.5, 0.0], 2.0)
    """
    signed = _signed_rows(X, y)
    sizes = np.linalg.norm(signed, axis=1)
    if sizes.min() == 0:
        raise ValueError(
            f"row {sizes.argmin()} of X is zero and has no margin; remove it or add a constant feature"
        )
    scale = float(sizes.max())
    A = signed / scale
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    floor = 1.0
    for _ in range(2):
        try:
            w, alpha = _repaired(A, _active_set(A, floor))
        except RuntimeError:  # nnls ran out of iterations
            break
        residual, gap = _kkt(A, w, alpha)
        if best is None or residual < best[0]:
            best = (residual, gap, w, alpha)
        floor = min(1.0, 1.0 / max(float(np.linalg.norm(w)), 1e-300))
    if best is None or best[0] > _KKT_FAILED:
        raise ValueError(
            f"the {len(A)} points are not linearly separable through the origin (KKT residual "
            f"{np.inf if best is None else best[0]:.1e}); give separable data, or add a constant feature"
        )
    residual, gap, w, alpha = best
    margins = A @ w
    # a row of norm 1 and ‖w‖ = 1/margin: the products A w are rounded at eps·‖w‖
    support = margins <= 1 + max(_TIGHT, 64 * _EPS * float(np.linalg.norm(w)))
    return HardMargin(
        direction=w / scale,
        alpha=alpha / scale**2,
        support=support,
        margin=scale / float(np.linalg.norm(w)),
        next_margin=float(np.min(margins[~support], initial=np.inf)),
        kkt_residual=residual,
        gap=gap,
        unique_dual=_dual_is_unique(A, alpha, support),
    )


@dataclass(frozen=True)
class LimitConstants:
    """What the dual alone determines of w(t) = ŵ log t + w̃ + o(1).

    Attributes
    ----------
    offset : (d,), P w̃, the projection of w̃ on the span of the support vectors.
    projector : (d, d), P.
    alpha : (N,), exp(−y_n x_n·w̃) on the support, zero elsewhere: the dual solution that the flow selects.
    rate : P(w − ŵ log t) reaches P w̃ like t^{−rate}: the lesser of ``next_margin`` − 1 and the least
        non-zero eigenvalue of Σ α_n x_n x_nᵀ (which is at most 1, the eigenvalue of ŵ).
    residual : ‖Σ α_n y_n x_n − ŵ‖ / ‖ŵ‖.
    """

    offset: Float[np.ndarray, " d"]
    projector: Float[np.ndarray, "d d"]
    alpha: Float[np.ndarray, " N"]
    rate: float
    residual: float


def _minimise_tail(rows: np.ndarray, w_hat: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Minimiser of Φ(v) = Σ e^{−a_n·v} + ŵ·v on the span of the rows a_n, by damped Newton."""
    basis = _svd(rows, None)[2].T
    B, linear, v = rows @ basis, basis.T @ w_hat, basis.T @ start

    def value(point: np.ndarray) -> float:
        with np.errstate(over="ignore"):
            return float(np.exp(-B @ point).sum() + linear @ point)

    for _ in range(200):
        weights = np.exp(-B @ v)
        gradient = linear - B.T @ weights
        if np.linalg.norm(gradient) <= 1e-15 * np.linalg.norm(linear):
            break
        move = -np.linalg.lstsq(B.T @ (weights[:, None] * B), gradient, rcond=None)[0]
        length = 1.0
        while length > 1e-8 and not value(v + length * move) <= value(v) + 1e-4 * length * (gradient @ move):
            length /= 2
        if length <= 1e-8:  # at rounding level Φ no longer resolves the step; one full Newton step remains
            v = v + move if np.linalg.norm(move) < 1e-6 else v
            break
        v = v + length * move
    return basis @ v


def soudry_constants(
    X: Num[Array | np.ndarray, "N d"],
    y: Num[Array | np.ndarray, " N"],
    hard_margin: HardMargin | None = None,
    reduction: Literal["sum", "mean"] = "sum",
) -> LimitConstants:
    """The constant of the exponential loss's approach to the hard margin, w(t) = ŵ log t + w̃ + o(1).

    With a_n = y_n x_n the flow is dw/dt = Σ a_n e^{−a_n·w}. Put w = ŵ log t + ρ and s = log t: on the support
    S, where a_n·ŵ = 1,

        dρ/ds = Σ_{n∈S} a_n e^{−a_n·ρ} − ŵ + O(t^{1 − next_margin}) = −∇Φ(ρ) + …,
        Φ(ρ) = Σ_{n∈S} e^{−a_n·ρ} + ŵ·ρ.

    Φ is strictly convex on span{a_n : n ∈ S}; its minimiser there is P w̃, and e^{−a_n·w̃} = α_n is a dual
    solution (the only one where the dual is unique, and then P w̃ is the least-norm solution of
    a_n·w̃ = −log α_n). The component of w̃ orthogonal to the support vectors keeps its initial value plus a
    convergent contribution of the other points: the dual says nothing of it, and it is not returned.
    For ``reduction="mean"`` time runs N times slower and w̃ becomes w̃ − ŵ log N. The logistic loss has the
    same constants, its tail differing from the exponential one by O(e^{−2m}).

    Hypothesis (checked): some dual solution is positive at *every* point on the margin, as generic data
    have it. Otherwise Φ has no minimiser, ρ drifts like log log t, and ValueError is raised.

    References
    ----------
    Soudry, Hoffer, Nacson, Gunasekar, Srebro, JMLR 19(70), 2018: Theorem 3 and the equations of w̃
    in Theorem 4, here with step size 1 as a flow; the convex Φ extends them to dependent support vectors.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is {reduction!r}; write 'sum' or 'mean'")
    A = _signed_rows(X, y)
    solution = max_margin(X, y) if hard_margin is None else hard_margin
    if solution.support.shape != (len(A),) or solution.direction.shape != (A.shape[1],):
        raise ValueError("hard_margin belongs to data of another shape; write max_margin(X, y)")
    rows, w_hat, dual = A[solution.support], solution.direction, solution.alpha[solution.support]
    if rank(rows) == len(rows):
        with np.errstate(divide="ignore"):
            logs = np.where(dual > 0, np.log(dual), -np.inf)
        weights = dual
        offset = _refined_solve(rows, -logs) if np.isfinite(logs).all() else np.zeros_like(w_hat)
    else:
        # the start makes every exponential the mean dual weight, because rows @ w_hat = 1
        offset = _minimise_tail(rows, w_hat, -np.log(dual.mean()) * w_hat)
        weights = np.exp(-rows @ offset)
    residual = float(np.linalg.norm(rows.T @ weights - w_hat) / np.linalg.norm(w_hat))
    if weights.min() <= _ZERO_DUAL * weights.max() or not residual < 1e-6:
        raise ValueError(
            "a point on the margin has dual weight zero in every dual solution: w(t) − ŵ log t has no limit; "
            "give data whose support vectors all carry weight (move or remove the idle point)"
        )
    alpha = np.zeros(len(A))
    alpha[solution.support] = weights
    shift = np.log(len(A)) if reduction == "mean" else 0.0
    slowest = float(_svd(np.sqrt(weights)[:, None] * rows, None)[1][-1] ** 2)
    rate = min(slowest, solution.next_margin - 1)
    return LimitConstants(offset - shift * w_hat, span_projector(rows), alpha, rate, residual)
