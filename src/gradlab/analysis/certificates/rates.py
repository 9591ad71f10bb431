"""A rate of gradient descent guaranteed before the run: Theorem 1 of Arora, Cohen, Golowich, Hu (ICLR 2019).

The theorem is about ℓ(W) = ½‖W − Φ‖_F², W = W_N ⋯ W_1, to which a square loss on whitened data reduces. The
translation to gradlab's conventions is in docs/notes/certificates.md and below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.analysis.deep_descent import allowed
from gradlab.analysis.linear_nets import balancedness, end_to_end
from gradlab.problem.dense import Dense
from gradlab.problem.losses import Square
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Hypothesis:
    """``number`` ``relation`` ``bound``, what the theorem asks for; ``rounding`` bounds the error of the number.

    ``holds`` where it is true with the rounding against it.
    """

    name: str
    number: float
    relation: str
    bound: float
    rounding: float
    holds: bool


def _below(name: str, number: float, bound: float, rounding: float = 0.0) -> Hypothesis:
    return Hypothesis(name, number, "≤", bound, rounding, bool(number + rounding <= bound))


def _above(name: str, number: float, bound: float, rounding: float = 0.0) -> Hypothesis:
    return Hypothesis(name, number, ">", bound, rounding, bool(number - rounding > bound))


@dataclass(frozen=True)
class RateCertificate:
    """What gradient descent is guaranteed to do, if ``holds``.

    Attributes
    ----------
    hypotheses : each with its number, its bound and whether it holds.
    holds : whether all do. If not, nothing is promised and ``rate`` is 0.
    why : one sentence.
    depth, margin, target_norm : N; the deficiency margin c = σ_min(Φ) − ‖W − Φ‖_F less its rounding; ‖Φ‖_F.
    step : the step that is certified, of W ← W − step ∇L in the problem's own convention: the one that was given,
        or the largest that the theorem allows.
    largest_step : the largest that the theorem allows.
    rate : L(t) − L_min ≤ (L(0) − L_min) e^{−rate t} after t steps.
    flow_rate : the same for gradient flow, per unit of time: rate / step as step → 0.
    excess : L(0) − L_min. minimum : L_min.
    """

    hypotheses: tuple[Hypothesis, ...]
    holds: bool
    why: str
    depth: int
    margin: float
    target_norm: float
    step: float
    largest_step: float
    rate: float
    flow_rate: float
    excess: float
    minimum: float

    def bound(self, steps: float) -> float:
        """The guaranteed upper bound of L − L_min after so many steps; ∞ where nothing is promised."""
        return self.excess * math.exp(-self.rate * steps) if self.holds else math.inf

    def iterations(self, epsilon: float) -> float:
        """The least whole T with log(excess/ε) / rate ≤ T: from T on L − L_min ≤ ε. ∞ where nothing is promised.

        Raises ValueError unless ε > 0.
        """
        if not epsilon > 0:
            raise ValueError(f"epsilon was {epsilon}; give an excess loss > 0")
        if not self.holds:
            return math.inf
        return max(0.0, math.ceil(math.log(self.excess / epsilon) / self.rate)) if self.excess > 0 else 0.0


def _refused(why: str, name: str) -> RateCertificate:
    missing = Hypothesis(name, math.nan, "", math.nan, 0.0, False)
    nan = math.nan
    return RateCertificate((missing,), False, why, 0, nan, nan, nan, 0.0, 0.0, 0.0, nan, nan)


def _structure(problem: Problem) -> tuple[str, str]:
    """Why the theorem says nothing of this kind of problem at all, and which hypothesis fails; empty if it does."""
    network, loss = problem.network, problem.loss
    if not (isinstance(network, Dense) and network.linear):
        return (
            "the theorem is about deep linear nets without biases: write Dense.deep_linear(widths)",
            "linear net",
        )
    if not isinstance(loss, Square):
        return (
            f"the theorem is about the square loss, not {type(loss).__name__}: write Square()",
            "square loss",
        )
    if np.asarray(problem.decay).any():
        return "the theorem has no weight decay: write decay=0", "no weight decay"
    return "", ""


@float64
def arora_certificate(problem: Problem, weights: Any, step: float | None = None) -> RateCertificate:
    """This checks the hypotheses of the theorem at these initial weights, and gives the rate that it then guarantees.

    With X (N, d) the inputs and L = κ Σ_n ‖W x_n − y_n‖² (κ = 1, ½, 1/N or 1/(2N) as the loss says), *whitened* means
    XᵀX = s I. Then Φ = YᵀX/s, L − L_min = 2κs ℓ(W), ℓ = ½‖W − Φ‖_F², and a step on L is a step of 2κs times its size
    on ℓ. Theorem 1, for depth N ≥ 2: if

    * the margin c = σ_min(Φ) − ‖W − Φ‖_F is positive (Definition 2),
    * ‖W_{j+1}ᵀW_{j+1} − W_j W_jᵀ‖_F ≤ δ = c² / (256 N³ ‖Φ‖_F^{2(N−1)/N}) for all j (Definition 1),
    * η ≤ c^{(4N−2)/N} / (6144 N³ ‖Φ‖_F^{(6N−4)/N}),

    then ℓ ≤ ε after T ≥ log(ℓ(0)/ε) / (η c^{2(N−1)/N}) steps. All is checked, in float64: a hypothesis counts as
    holding only with the rounding of its number against it. Rounding during the run is not part of the theorem.

    Parameters
    ----------
    step : of the planned descent; the largest one allowed if not given.

    Raises
    ------
    ValueError : a step that is not positive, or weights of another network.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> data = gl.data.whitened_regression(0, N=4, d=2)
    >>> problem = gl.Problem(gl.Dense.deep_linear((2, 2, 1)), gl.Square("mean", half=True), data)
    >>> start = problem.network.init(jax.random.key(0), gl.init.Balanced(0.1))
    >>> gl.flows.arora_certificate(problem, start).holds
    True
    """
    if step is not None and not (step > 0 and math.isfinite(step)):
        raise ValueError(f"step was {step}; give a step > 0, or None for the largest that is allowed")
    why, missing = _structure(problem)
    if why:
        return _refused(why, missing)
    problem.network.check(weights)
    layers = [np.asarray(layer, dtype=np.float64) for layer in problem.network.layers(weights)]
    X = np.asarray(problem.data.inputs, dtype=np.float64).reshape(len(problem.data.inputs), -1)
    Y = np.asarray(problem.data.targets, dtype=np.float64)
    return _judged(layers, X, Y, _scale(problem), step)


def _scale(problem: Problem) -> float:
    """κ of L = κ Σ‖W x_n − y_n‖²."""
    loss = problem.loss
    kappa = 0.5 if isinstance(loss, Square) and loss.half else 1.0
    return problem.factor * kappa / (len(problem.data.inputs) if loss.reduction == "mean" else 1)


def _judged(
    layers: list[Float[np.ndarray, "_ _"]],
    X: Float[np.ndarray, "N d"],
    Y: Float[np.ndarray, "N C"],
    kappa: float,
    step: float | None,
) -> RateCertificate:
    count, d = X.shape
    depth = len(layers)
    gram = X.T @ X
    s = float(np.trace(gram)) / d
    crooked = float(np.linalg.norm(gram / s - np.eye(d))) if s > 0 else math.inf
    target = Y.T @ X / s if s > 0 else np.full((Y.shape[1], d), np.nan)
    W = np.asarray(end_to_end(layers))
    off, smallest = float(np.linalg.norm(W - target)), _smallest(target)
    size = float(np.linalg.norm(target))
    # Rounding of products and singular values, each first order: γ_n = n eps for inner products of length n.
    product = (
        depth
        * max(max(layer.shape) for layer in layers)
        * _EPS
        * math.prod(float(np.linalg.norm(layer)) for layer in layers)
    )
    spoken = (count + d) * _EPS * float(np.linalg.norm(X) * np.linalg.norm(Y)) / s if s > 0 else math.inf
    rounding = product + 2 * spoken + d * _EPS * size
    margin = smallest - off - rounding
    c = max(margin, 0.0)
    defects = [float(np.linalg.norm(defect)) for defect in balancedness(layers)]
    blur = 2 * max(max(layer.shape) * _EPS * float(np.linalg.norm(layer)) ** 2 for layer in layers)
    given, slope = allowed(c, depth, size), 2 * kappa * s
    largest = given.step / slope if slope > 0 else 0.0
    taken = largest if step is None else step
    hypotheses = (
        _above("depth", depth, 1),
        # data whitened in float64 have Gram matrices right to this: N eps for XᵀX, as much again for the whitening
        # by a singular value decomposition, both relative to ‖X‖_F² = s d
        _below("whitened: ‖XᵀX/s − I‖_F", crooked, 2 * (count + 2 * d) * d * _EPS),
        _above("deficiency margin: σ_min(Φ) − ‖W − Φ‖_F", smallest - off, 0.0, rounding),
        _below("balanced: max ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖_F", max(defects, default=0.0), given.defect, blur),
        _below("step", taken, largest),
    )
    failed = [hypothesis.name for hypothesis in hypotheses if not hypothesis.holds]
    holds = not failed and taken > 0
    speed = slope * given.rate
    residual = X @ target.T - Y
    why = (
        f"every hypothesis of Theorem 1 holds, with c = {c:.3g}"
        if holds
        else f"the theorem promises nothing here: {'; '.join(failed) or 'no step is allowed'} does not hold"
    )
    return RateCertificate(
        hypotheses,
        holds,
        why,
        depth,
        c,
        size,
        taken,
        largest,
        taken * speed if holds else 0.0,
        speed if holds else 0.0,
        0.5 * slope * off**2,
        kappa * float(np.sum(residual**2)),
    )


def _smallest(target: Float[np.ndarray, "C d"]) -> float:
    """σ_min, the min(C, d)-th singular value."""
    return float(np.linalg.svd(target, compute_uv=False)[-1]) if np.isfinite(target).all() else 0.0
