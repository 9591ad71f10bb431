"""Observables of the margin on the sphere ‖W‖ = 1, and of how far the direction is from a KKT point."""

# No postponed annotations here: equinox would take the string "eqx.AbstractVar[…]" for a field.

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradlab.observe.observables import Observable
from gradlab.problem.homogeneity import degree, paired, pull, refusal
from gradlab.problem.problem import Problem


def _refused(name: str, problem: Problem) -> str | None:
    reason = refusal(problem)
    return None if reason is None else f"{name} has no meaning here ({reason}): leave it out"


def _sphere(problem: Problem, weights: Any) -> tuple[Float[Array, ""], Any]:
    """(‖W‖, W/‖W‖), over all weights."""
    flat = problem.ravel(weights)
    size = jnp.linalg.norm(flat)
    return size, problem.unravel(flat / size)


class RadialMargin(Observable):
    """min_n m_n(W)/‖W‖ᴷ, K the total degree: the margin that Lyu and Li (2020) normalise.

    Another scale than ``normalised_margin``, which divides by Π ‖W_k‖^{d_k}. Rounding: a few eps.
    """

    name: str = eqx.field(static=True, default="radial_margin")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        return jnp.min(problem.margins(_sphere(problem, weights)[1]))

    def refuse(self, problem: Problem) -> str | None:
        return _refused(self.name, problem)


class SmoothedMargin(Observable):
    """γ̃ = φ(L)/‖W‖ᴷ with L the *sum* over examples, which the flow never decreases once L < ℓ(0).

    φ(L) = −log L for the exponential loss and −log(e^L − 1) for the logistic loss and cross-entropy, formed from
    log L. γ̃ ≤ min_n m_n/‖W‖ᴷ ≤ γ̃ + (log(N (C − 1)) + O(L))/‖W‖ᴷ (C = 2 for labels ±1; O(L) = 0 for the
    exponential loss). Rounding: eps relative, where −log L is large. The smoothed normalised margin of Lyu and Li
    2020; other losses with a log-risk are treated as exponential.
    """

    name: str = eqx.field(static=True, default="smoothed_margin")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        size, _ = _sphere(problem, weights)
        outputs = problem.outputs(weights)
        log_sum = problem.loss.log_risk(outputs, problem.data.targets)
        if problem.loss.reduction == "mean":
            log_sum = log_sum + np.log(outputs.shape[0])
        level = -log_sum
        if type(problem.loss).__name__ in ("Logistic", "CrossEntropy"):
            # log(e^L − 1) = log L + log((e^L − 1)/L), and the second term is L/2 + O(L²).
            total = jnp.exp(log_sum)
            small = total < 1e-8
            ratio = jnp.where(small, 0.5 * total, jnp.log(jnp.expm1(total) / jnp.where(small, 1.0, total)))
            level = level - ratio
        return level / size ** degree(problem)

    def refuse(self, problem: Problem) -> str | None:
        return _refused(self.name, problem)


class KKTStationarity(Observable):
    """‖w − Σ λ_n ∇m_n(w)‖/‖w‖ of min ½‖w‖² subject to m_n(w) ≥ 1, at w = W scaled to margin one.

    λ is proportional to the flow's own weights −∂log L/∂m_n, with ‖Σ λ_n ∇m_n‖ = ‖w‖, as Lyu and Li (2020) choose
    it: the value is ‖V − G/‖G‖‖, the ε of their (ε, δ)-KKT points over ‖w‖. A bound from above of what the
    best λ gives (``analysis.kkt.kkt_residual``). Infinite where the data are not separated. Assumes, unchecked,
    outputs that are differentiable at W. Rounding: eps·(1 + log t), that of the exponents in λ.
    """

    name: str = eqx.field(static=True, default="kkt_stationarity")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        size, directions = _sphere(problem, weights)
        _, pulled, outputs, slope = pull(problem, directions, size ** degree(problem))
        force = problem.ravel(pulled)
        gap = problem.ravel(directions) - force / jnp.linalg.norm(force)
        margins, _ = paired(problem, outputs, slope)
        return jnp.where(jnp.min(margins) > 0.0, jnp.linalg.norm(gap), jnp.inf)

    def refuse(self, problem: Problem) -> str | None:
        return _refused(self.name, problem)


class KKTSlackness(Observable):
    """max_n λ_n (m_n(w) − 1)/‖w‖² with w and λ as for ``kkt_stationarity``: the δ of (ε, δ)-KKT points over ‖w‖².

    It is max_n p_n (m_n(V) − γ)/‖G‖ on the sphere, γ the least margin. With classes the constraints are
    f_y − f_c ≥ 1 for all c. Infinite where the data are not separated. Rounding: eps.
    """

    name: str = eqx.field(static=True, default="kkt_slackness")

    def __call__(self, problem: Problem, weights: Any, y: Any, t: Any) -> Array:
        size, directions = _sphere(problem, weights)
        _, pulled, outputs, slope = pull(problem, directions, size ** degree(problem))
        margins, multipliers = paired(problem, outputs, slope)
        least = jnp.min(margins)
        excess = jnp.where(jnp.isfinite(margins), margins - least, 0.0)
        value = jnp.max(multipliers * excess) / jnp.linalg.norm(problem.ravel(pulled))
        return jnp.where(least > 0.0, value, jnp.inf)

    def refuse(self, problem: Problem) -> str | None:
        return _refused(self.name, problem)


#: What :mod:`gradlab.observe.observables` knows by name.
MARGINS: tuple[type[Observable], ...] = (RadialMargin, SmoothedMargin, KKTStationarity, KKTSlackness)
