"""Homogeneous networks: Euler's identity, and norms and margins once the data are separated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradlab.checking.assumed import Assumed
from gradlab.checking.hypotheses import Assumption, always, short
from gradlab.checking.theorem import Measured, Theorem
from gradlab.problem.losses import Exponential

#: Relative defect of Euler's identity that float64 gradients may have.
EULER = 1e-6


def _euler(assumed: Assumed, within: np.ndarray) -> Measured:
    """⟨W_k, ∂L/∂W_k⟩ = d_k Σ ℓ'_n f_n, which is Euler's identity seen through the loss, at each checkpoint."""
    run, looks = assumed.run, assumed.looks
    worst = 0.0
    for i in within:
        terms = looks.slopes[i] * looks.outputs[i]
        size = max(float(np.sum(np.abs(terms))), 1e-300)
        for mask, one in zip(run.masks, assumed.probed.layers, strict=True):
            inner = float(run.flat[i][mask] @ looks.gradients[i][mask])
            worst = max(worst, abs(inner / one.degree - float(np.sum(terms))) / size)
    return Measured(
        "⟨W_k, ∂f/∂W_k⟩ = d_k f in every layer", f"off by {short(worst)} of Σ|ℓ'_n f_n|",
        worst, 300.0 * max(assumed.probed.findings.unit, 2.0**-53), max(EULER, 1e3 * assumed.probed.findings.unit),
    )  # fmt: skip


def _grows(assumed: Assumed, within: np.ndarray) -> Measured:
    squares = np.sum(assumed.run.flat[within] ** 2, axis=1)
    growth = np.diff(squares) / squares[:-1]
    least = float(np.min(growth))
    return Measured(
        "once f separates the data ‖W‖ grows", f"‖W‖² grows by {short(least)} of itself at least between checkpoints",
        -least, 4.0 * assumed.run.precision[1], 0.0,
    )  # fmt: skip


def inverse_loss(assumed: Assumed) -> np.ndarray:
    """(T,), ℓ⁻¹(L) of the summed loss: −log L, or −log(e^L − 1) under logistic tails; the smoothed margin."""
    total = assumed.looks.sum_risk
    with np.errstate(all="ignore"):
        return (
            -np.log(total) if isinstance(assumed.run.problem.loss, Exponential) else -np.log(np.expm1(total))
        )


def below(assumed: Assumed) -> Assumption:
    """Σ ℓ_n below its value at one undecided example, so that all are separated and stay so."""
    most = 1.0 if isinstance(assumed.run.problem.loss, Exponential) else float(np.log(2.0))
    values = (
        assumed.looks.sum_risk
        if assumed.run.problem.loss.kind == "margin"
        else np.full(assumed.count, np.nan)
    )
    return Assumption(
        "small loss", values, "<=", np.full(assumed.count, most * (1.0 - 1e-12)),
        lambda v, b: f"Σ ℓ_n = {short(v)} {'<' if v <= b else '≥'} {short(most)}",
        "training on until Σ ℓ_n is below it",
        "a loss of residuals has no margins",
    )  # fmt: skip


def jointly(assumed: Assumed) -> Assumption:
    one = assumed.probed.joint
    value = one.defect if one.degree > 0 and np.isfinite(one.defect) else 1.0
    return always(
        assumed.count, "homogeneous network", value, "<=", assumed.probed.exact,
        lambda v, b: f"f(aW) = a^{one.degree:g} f(W) to {short(v)}" if v <= b else (
            f"f(aW) is no power of a times f(W): defect {short(v)}"
        ),
        "no biases but in the first layer, and activations of a degree",
    )  # fmt: skip


def _margin(assumed: Assumed, within: np.ndarray) -> Measured:
    """log(ℓ⁻¹(L)/‖W‖^K) falls by second-order terms of steps at most.

    A step of descent moves it by what the flow would, which is not negative, less (ηβ/2) of the growth of log ℓ⁻¹(L)
    and (K/2) η²‖∇L‖²/‖W‖².
    """
    degree, eta = assumed.probed.joint.degree, assumed.rate
    share = float(np.max(assumed.small_step.values[within]))
    heights = np.log(inverse_loss(assumed)[within])
    squares = np.sum(assumed.run.flat[within] ** 2, axis=1)
    smooth = heights - 0.5 * degree * np.log(squares)
    fallen = np.maximum(-np.diff(assumed.looks.risk[within]), 0.0) * eta / (1.0 - share)
    most = share / (1.0 - share) * np.maximum(np.diff(heights), 0.0) + 0.5 * degree * fallen / squares[:-1]
    fall = -np.diff(smooth)
    unit = assumed.run.precision[1]
    bar = 1e3 * unit * (1.0 + 1.0 / np.maximum(np.exp(heights[1:]), 1e-300))
    worst = int(np.argmax((fall - most) / (most + bar)))
    first, last = np.exp(smooth[[0, -1]])
    return Measured(
        f"the smoothed normalised margin ℓ⁻¹(L)/‖W‖^{degree:g} does not fall; steps may lower its logarithm by "
        f"{short(most[worst])}",
        f"from {short(first)} to {short(last)}; largest fall of its logarithm {short(max(float(np.max(fall)), 0.0))}",
        float(fall[worst]), float(bar[worst]), float(most[worst]),
    )  # fmt: skip


def _separating(assumed: Assumed) -> Sequence[Assumption]:
    return [assumed.exponential_tail, jointly(assumed), assumed.alone, assumed.separated]


THEOREMS = (
    Theorem(
        "notes.homogeneity", "euler", "Euler's identity in every layer",
        lambda a: [a.homogeneous(1), a.alone], _euler, least=1,
    ),
    Theorem(
        "memo90.norm-growth", "grows", "weights grow once the data are separated",
        lambda a: [*_separating(a), *a.plain], _grows,
    ),
    Theorem(
        "memo90.theorem3-corrected", "minimum_norm", "the normalised margin does not fall once the data are separated",
        lambda a: [*_separating(a), below(a), *a.plain], _margin,
    ),
)  # fmt: skip
