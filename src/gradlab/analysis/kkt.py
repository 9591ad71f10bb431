"""How far weights are from a KKT point of the L2 max-margin problem, with the best multipliers, kinks included."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int

from gradlab.dynamics.filippov.advance import slope, supports
from gradlab.dynamics.filippov.modes import slopes
from gradlab.problem.homogeneity import degree, refusal
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

_EPS = float(np.finfo(np.float64).eps)
#: Weight of the equations that tie multipliers of kinks to those of their examples. What it leaves is repaired.
_TIED = 1e4


@dataclass(frozen=True)
class KKT:
    """The KKT residual of min ½‖w‖² subject to m_n(w) ≥ 1 at w = W/(min_n m_n(W))^{1/K}.

    Attributes
    ----------
    stationarity : ‖w − Σ λ_n h_n‖/‖w‖, h_n = ∇m_n(w), or a generalised gradient where w is on a kink.
    slackness : max_n λ_n (m_n(w) − 1)/‖w‖².
    residual : (stationarity² + Σ (λ_n (m_n(w) − 1)/‖w‖²)²)^{1/2}, what λ ≥ 0 (and h_n) minimise.
    multipliers : λ, (N,) for labels ±1, (N, C) for classes (0 at the own class).
    margin : γ = min_n m_n(W)/‖W‖ᴷ.
    rounding : a bound for the rounding error of ``residual``: nothing below it means anything.
    angle : between w and Σ λ_n h_n, radians.
    kinks : pairs (neuron, example) that count as on a kink, (k, 2); empty for smooth nets.
    """

    stationarity: float
    slackness: float
    residual: float
    multipliers: Float[np.ndarray, "..."]
    margin: float
    rounding: float
    angle: float
    kinks: Int[np.ndarray, "k 2"]


@dataclass(frozen=True)
class _Constraints:
    """On the sphere: margins m, the gradients of all m as rows, and what each kink can add to one of them.

    kept : which of (N,) or (N, C) are constraints; margins (M,) and rows (M, P) are those. At a kink of slope
    q ∈ [α, 1] a gradient is row + (q − α)·add: ``adds`` (k, P) of constraint ``of`` (k,), rows being taken at q = α.
    """

    kept: np.ndarray
    margins: np.ndarray
    rows: np.ndarray
    adds: np.ndarray
    of: np.ndarray
    alpha: float
    kinks: np.ndarray


@float64
def kkt_residual(problem: Problem, weights: Any, signs: np.ndarray | None = None) -> KKT:
    """This is the least KKT residual over all multipliers λ ≥ 0, by non-negative least squares.

    On the sphere, with V = W/‖W‖, γ = min m_n(V) and μ_n = λ_n γ^{−(K−2)/K}, both parts have no scale:
    ‖V − Σ μ_n h_n(V)‖ and μ_n (m_n(V) − γ). They are minimised together,

        min_{μ ≥ 0} ‖V − Σ μ_n h_n(V)‖² + Σ (μ_n (m_n(V) − γ))²,

    since stationarity alone can be bought with constraints that are not active. With classes the constraints are
    f_y − f_c ≥ 1 for all c ≠ y. Zero exactly at KKT points of (P) in Lyu and Li (2020); their (ε, δ)-KKT points,
    relative to ‖w‖ and ‖w‖². Runs on the host; needs the dense Jacobian of the outputs.

    A two-layer (leaky) ReLU net without biases has h_n in Clarke's subdifferential of m_n: on a kink, w_j·x_n = 0,
    the product μ_n q_jn of multiplier and slope is an unknown of its own between α μ_n and μ_n, and the problem stays
    one of least squares. What rounding leaves of these intervals is repaired before the residual is taken: there it
    is an upper bound (docs/notes/filippov.md).

    Parameters
    ----------
    signs : for such nets, sides (m, N) ∈ {−1, 0, 1} of every neuron and example, 0 on a kink, as in the memory of a
        Filippov outcome. Without, |w_j·x_n| ≤ its own rounding counts as on the kink.

    Hypotheses: homogeneous in every layer, a margin loss, no decay, separated data (checked); other nets with kinks
    (deeper ones) have no kink among the weights' pre-activations (unchecked: one element of the subdifferential is
    taken, and another may do better).

    Raises
    ------
    ValueError
        Where a checked hypothesis fails, or signs are given for a net without these kinks.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((2, 1)), gl.Exponential(), gl.Data([[2.0, 0.0]], [1]))
    >>> bool(gl.solutions.kkt_residual(problem, (np.array([[1.0, 0.0]]),)).residual < 1e-12)
    True
    """
    reason = refusal(problem)
    if reason is not None:
        raise ValueError(f"no KKT residual: {reason}")
    flat = np.asarray(problem.ravel(weights))
    V = flat / np.linalg.norm(flat)
    piecewise = supports(problem) is None
    if signs is not None and not piecewise:
        raise ValueError(f"signs are sides of kinks: leave them out ({supports(problem)})")
    given = (
        _of_kinks(problem, problem.unravel(V), signs) if piecewise else _smooth(problem, problem.unravel(V))
    )
    least = float(given.margins.min())
    if not least > 0.0:
        raise ValueError(
            f"the least margin is {least:.3g}: max-margin KKT points belong to weights that separate the data; "
            "give weights from later in the flow"
        )
    mu, up = _least_squares(given, V, given.margins - least)
    reached = given.rows.T @ mu + given.adds.T @ up
    unmet, slackness = V - reached, mu * (given.margins - least)
    K = degree(problem)
    multipliers = np.zeros(given.kept.shape)
    multipliers[given.kept] = mu * least ** ((K - 2) / K)
    sizes, steps = np.linalg.norm(given.rows, axis=1), np.linalg.norm(given.adds, axis=1)
    return KKT(
        stationarity=float(np.linalg.norm(unmet)),
        slackness=float(slackness.max()),
        residual=float(np.hypot(np.linalg.norm(unmet), np.linalg.norm(slackness))),
        multipliers=multipliers,
        margin=least,
        # the ties multiply rounding in what kinks add
        rounding=float(len(V) * _EPS * (1.0 + mu @ sizes + _TIED * (up @ steps))),
        angle=_angle(V, reached),
        kinks=given.kinks,
    )


def _smooth(problem: Problem, directions: Any) -> _Constraints:
    """Margins and their gradients by automatic differentiation."""
    outputs = np.asarray(problem.outputs(directions))
    jacobian = np.asarray(problem.output_jacobian(directions))
    kept, readout = _readouts(problem, len(outputs), outputs.shape[1])
    margins, rows = (
        np.einsum("nkc,nc->nk", readout, outputs),
        np.einsum("nkc,ncp->nkp", readout, jacobian),
    )
    chosen = kept.reshape(margins.shape)
    none = np.zeros((0, jacobian.shape[2]))
    return _Constraints(
        kept, margins[chosen], rows[chosen], none, np.zeros(0, int), 0.0, np.zeros((0, 2), int)
    )


def _readouts(problem: Problem, N: int, C: int) -> tuple[np.ndarray, np.ndarray]:
    """(which are constraints, b (N, k, C)): margin k of example n is b_nk·f(x_n); k = 1, or C for classes."""
    targets = np.asarray(problem.data.targets)
    if problem.loss.labels == "sign":
        return np.ones(N, dtype=bool), targets[:, None, None].astype(np.float64)
    own = np.eye(C)[targets]
    return own == 0.0, own[:, None, :] - np.eye(C)


def _of_kinks(problem: Problem, directions: Any, signs: np.ndarray | None) -> _Constraints:
    """Margins, gradients with slope α at kinks, and the rest of the subdifferential, of a two-layer net."""
    alpha = slope(problem)
    first, second = (np.asarray(layer) for layer in directions)
    inputs = np.asarray(problem.data.inputs).reshape(problem.data.inputs.shape[0], -1)
    (m, d), N = first.shape, len(inputs)
    z = first @ inputs.T
    if signs is None:
        # γ_d of the dot product and the rounding of V = W/‖W‖
        rounding = (d + 2) * _EPS * (np.abs(first) @ np.abs(inputs).T)
        signs = np.where(np.abs(z) <= rounding, 0, np.where(z > 0.0, 1, -1))
    elif np.shape(signs) != (m, N) or not np.isin(signs, (-1, 0, 1)).all():
        raise ValueError(f"signs have shape {np.shape(signs)}; expected ({m}, {N}), of −1, 0 and 1")
    # an input 0 has no kink: it moves nothing
    signs = np.where(np.any(inputs != 0.0, axis=1), signs, 1)
    on = signs == 0
    q = np.where(on, alpha, slopes(alpha, signs))
    hidden = np.where(on, 0.0, q * z)
    kept, readout = _readouts(problem, N, len(second))
    chosen = np.argwhere(kept.reshape(N, -1))
    b = readout[chosen[:, 0], chosen[:, 1]]
    inner = b @ second
    n = chosen[:, 0]
    rows = np.concatenate(
        [
            np.einsum("kj,kd->kjd", inner * q[:, n].T, inputs[n]).reshape(len(n), -1),
            np.einsum("kc,kj->kcj", b, hidden[:, n].T).reshape(len(n), -1),
        ],
        axis=1,
    )
    adds, of = [np.zeros((0, rows.shape[1]))], []
    for k, example in enumerate(n):
        for j in np.flatnonzero(on[:, example]):
            add = np.zeros((1, rows.shape[1]))
            add[0, j * d : (j + 1) * d] = inner[k, j] * inputs[example]
            adds.append(add)
            of.append(k)
    margins = np.einsum("kj,jk->k", inner, hidden[:, n])
    return _Constraints(kept, margins, rows, np.concatenate(adds), np.array(of, int), alpha, np.argwhere(on))


def _least_squares(given: _Constraints, V: np.ndarray, slack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(μ, up): μ ≥ 0, and at kinks μ q = α μ + up with 0 ≤ up ≤ (1 − α) μ, as up + down = (1 − α) μ."""
    M, K = len(slack), len(given.of)
    columns = np.vstack([given.rows, given.adds]).T
    system = np.zeros((len(V) + M + K, M + 2 * K))
    system[: len(V), : M + K] = columns
    system[len(V) + np.arange(M), np.arange(M)] = slack
    weight = _TIED * np.abs(columns).max()
    ties, kinks = len(V) + M + np.arange(K), M + np.arange(K)
    system[ties, given.of] = (given.alpha - 1.0) * weight
    system[ties, kinks] = system[ties, kinks + K] = weight
    right = np.concatenate([V, np.zeros(M + K)])
    found, _ = scipy.optimize.nnls(system, right, maxiter=100 * system.shape[1] + 300)
    mu = found[:M]
    # what the finite weight left: put the products back into their intervals
    return mu, np.minimum(found[M : M + K], (1.0 - given.alpha) * mu[given.of])


def _angle(V: np.ndarray, reached: np.ndarray) -> float:
    length = float(np.linalg.norm(reached))
    # 2 arctan of the half-angle is exact for small angles, where arccos is not
    unit = reached / length if length > 0.0 else reached
    return 2.0 * math.atan2(float(np.linalg.norm(V - unit)), float(np.linalg.norm(V + unit)))
