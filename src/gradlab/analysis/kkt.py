"""How far given weights are from a KKT point of the L2 max-margin problem, with the best multipliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
from jaxtyping import Float

from gradlab.problem.homogeneity import degree, refusal
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class KKT:
    """The KKT residual of min ½‖w‖² subject to m_n(w) ≥ 1 at w = W/(min_n m_n(W))^{1/K}.

    Attributes
    ----------
    stationarity : ‖w − Σ λ_n ∇m_n(w)‖/‖w‖.
    slackness : max_n λ_n (m_n(w) − 1)/‖w‖².
    residual : (stationarity² + Σ (λ_n (m_n(w) − 1)/‖w‖²)²)^{1/2}, what λ ≥ 0 minimises.
    multipliers : λ, (N,) for labels ±1, (N, C) for classes (0 at the own class).
    margin : γ = min_n m_n(W)/‖W‖ᴷ.
    rounding : a bound for the rounding error of ``residual``: nothing below it means anything.
    """

    stationarity: float
    slackness: float
    residual: float
    multipliers: Float[np.ndarray, "..."]
    margin: float
    rounding: float


@float64
def kkt_residual(problem: Problem, weights: Any) -> KKT:
    """The least KKT residual over all multipliers λ ≥ 0, by non-negative least squares.

    On the sphere, with V = W/‖W‖, γ = min m_n(V) and μ_n = λ_n γ^{−(K−2)/K}, both parts have no scale:
    ‖V − Σ μ_n ∇m_n(V)‖ and μ_n (m_n(V) − γ). They are minimised together,

        min_{μ ≥ 0} ‖V − Σ μ_n ∇m_n(V)‖² + Σ (μ_n (m_n(V) − γ))²,

    since stationarity alone can be bought with constraints that are not active. With classes the constraints are
    f_y − f_c ≥ 1 for all c ≠ y. Zero exactly at KKT points (Lyu and Li 2020, (ε, δ)-KKT points, here
    relative to ‖w‖ and ‖w‖²). Runs on the host; needs the dense Jacobian of the outputs.

    Hypotheses: homogeneous in every layer, a margin loss, no decay, separated data (checked); outputs that are
    differentiable at W (unchecked: at a kink another element of the subdifferential may do better).

    Raises
    ------
    ValueError
        Where a checked hypothesis fails.
    """
    reason = refusal(problem)
    if reason is not None:
        raise ValueError(f"no KKT residual: {reason}")
    flat = np.asarray(problem.ravel(weights))
    V = flat / np.linalg.norm(flat)
    directions = problem.unravel(V)
    outputs, jacobian = (
        np.asarray(problem.outputs(directions)),
        np.asarray(problem.output_jacobian(directions)),
    )
    targets = np.asarray(problem.data.targets)
    if problem.loss.labels == "sign":
        margins, rows = targets * outputs[:, 0], targets[:, None] * jacobian[:, 0]
        kept = np.ones(margins.shape, dtype=bool)
    else:
        own = np.arange(len(targets))
        margins = outputs[own, targets][:, None] - outputs
        rows = jacobian[own, targets][:, None] - jacobian
        kept = np.arange(outputs.shape[1]) != targets[:, None]
    least = float(margins[kept].min())
    if not least > 0.0:
        raise ValueError(
            f"the least margin is {least:.3g}: max-margin KKT points belong to weights that separate the data; "
            "give weights from later in the flow"
        )
    active, slack = rows[kept], margins[kept] - least
    mu, _ = scipy.optimize.nnls(
        np.vstack([active.T, np.diag(slack)]),
        np.append(V, np.zeros(len(slack))),
        maxiter=30 * len(slack) + 300,
    )
    unmet, slackness = V - active.T @ mu, mu * slack
    K = degree(problem)
    multipliers = np.zeros(margins.shape)
    multipliers[kept] = mu * least ** ((K - 2) / K)
    sizes = np.linalg.norm(active, axis=1)
    return KKT(
        stationarity=float(np.linalg.norm(unmet)),
        slackness=float(slackness.max()),
        residual=float(np.hypot(np.linalg.norm(unmet), np.linalg.norm(slackness))),
        multipliers=multipliers,
        margin=least,
        rounding=float(len(V) * _EPS * (1.0 + mu @ sizes)),
    )
