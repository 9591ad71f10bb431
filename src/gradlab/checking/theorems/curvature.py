"""Curvature: zeros of the Hessian where the loss is zero, steps against 2/sharpness, and a rate that is guaranteed."""

from __future__ import annotations

import numpy as np

from gradlab.analysis.certificates import arora_certificate
from gradlab.analysis.certificates.rates import RateCertificate
from gradlab.checking.assumed import Assumed
from gradlab.checking.evaluating import DENSE
from gradlab.checking.hypotheses import Assumption, always, short
from gradlab.checking.theorem import Measured, Theorem
from gradlab.problem.data import Data
from gradlab.problem.dense import Dense
from gradlab.problem.problem import Problem

#: Zero loss: residuals below this part of the targets. A zero of the Hessian: below so many residuals of its largest.
ZERO, FLAT = 1e-3, 10.0


def _residuals(assumed: Assumed) -> np.ndarray:
    """(T,), ‖f − y‖/‖y‖; NaN under a loss of margins."""
    if assumed.run.problem.loss.kind != "residual":
        return np.full(assumed.count, np.nan)
    targets = assumed.looks.targets.reshape(assumed.looks.outputs[0].shape)
    off = np.linalg.norm((assumed.looks.outputs - targets).reshape(assumed.count, -1), axis=1)
    return off / max(float(np.linalg.norm(targets)), 1e-300)


def zero_loss(assumed: Assumed) -> Assumption:
    return Assumption(
        "zero loss", _residuals(assumed), "<=", np.full(assumed.count, ZERO),
        lambda v, b: f"residuals are {short(v)} of the targets", "training on until the data are fitted",
        "asked under the square loss only", momentary=True,
    )  # fmt: skip


def formed(assumed: Assumed) -> Assumption:
    size = assumed.run.flat.shape[1]
    return always(
        assumed.count, "size", size if size <= DENSE else np.nan, "<=", DENSE,
        lambda v, b: f"{size} weights, the Hessian is formed", "fewer weights",
        f"{size} weights: eigenvalues are counted up to {DENSE}",
    )  # fmt: skip


def _values(assumed: Assumed) -> np.ndarray:
    return np.linalg.eigvalsh(assumed.looks.hessian(assumed.count - 1))


def _counted(assumed: Assumed, least: int, told: str) -> Measured:
    values = np.abs(assumed.once(_values))
    residual = float(_residuals(assumed)[-1])
    cut = max(FLAT * residual, 1e-9) * float(np.max(values))
    zeros = int(np.sum(values <= cut))
    near = int(np.sum((values > 0.5 * cut) & (values <= 2.0 * cut)))
    return Measured(
        f"at least {least} of {len(values)} eigenvalues of the Hessian are zero ({told})",
        f"{zeros} are below {short(cut)}, the largest is {short(float(np.max(values)))}",
        float(least - zeros), float(near), 0.0,
    )  # fmt: skip


def _zeros(assumed: Assumed, within: np.ndarray) -> Measured:
    size = assumed.run.flat.shape[1]
    return _counted(
        assumed, size - assumed.looks.examples, f"{size} weights − {assumed.looks.examples} numbers fitted"
    )


def layer_zeros(assumed: Assumed) -> tuple[int, str]:
    """The largest N_k N_{k−1} − n min(N_k, …, N_{H+1}) of a layer, and which one."""
    if any(len(layer) != 1 or len(assumed.run.places[layer[0]][1]) != 2 for layer in assumed.run.leaves):
        return 0, ""
    matrices = assumed.probed.matrices(assumed.run.flat[-1])
    widths = [len(matrix) for matrix in matrices]
    found = [
        (m.size - len(assumed.looks.inputs) * min(widths[k:]), assumed.run.layers[k])
        for k, m in enumerate(matrices)
    ]
    return max(found)


def wide_layer(assumed: Assumed) -> Assumption:
    least, name = layer_zeros(assumed)
    return always(
        assumed.count, "a wide layer", float(least), ">=", 1.0,
        lambda v, b: f"layer {name} has {least} weights more than n min(N_k, …)" if least > 0 else (
            f"no layer has N_k N_(k−1) > n min(N_k, …): {least} at best"
        ),
        "a wider layer, or fewer examples",
    )  # fmt: skip


def _layer(assumed: Assumed, within: np.ndarray) -> Measured:
    least, name = layer_zeros(assumed)
    return _counted(assumed, least, f"layer {name}")


def _descends(assumed: Assumed, within: np.ndarray) -> Measured:
    values = assumed.potential[within]
    size = np.maximum(np.abs(values[:-1]), 1e-300)
    rise, unit = np.diff(values) / size, assumed.wobble[within[:-1]] / size
    worst = int(np.argmax(rise - 2.0 * unit))
    share = float(np.max(assumed.small_step.values[within]))
    return Measured(
        f"with η below 2/sharpness ({short(share)} of it at most) the loss falls at every step",
        f"largest change between checkpoints {short(100 * float(rise[worst]))} %, from step "
        f"{assumed.run.steps[within[worst]]}",
        float(rise[worst]), float(unit[worst]), 2.0 * float(unit[worst]),
    )  # fmt: skip


def certificate(assumed: Assumed) -> RateCertificate | None:
    """That of Arora et al. at the first checkpoint, of the chain as a Dense network; None where it is none."""
    if assumed.chain.status[0] != 1 or assumed.square.status[0] != 1 or not assumed.rate > 0:
        return None
    matrices = assumed.probed.matrices(assumed.run.flat[0])
    widths = (matrices[0].shape[1], *(len(matrix) for matrix in matrices))
    data = assumed.run.problem.data
    flat = Data(np.asarray(data.inputs).reshape(len(data.inputs), -1), data.targets)
    problem = Problem(Dense.deep_linear(widths), assumed.run.problem.loss, flat)
    return arora_certificate(problem, tuple(matrices), step=assumed.rate)


def certified(assumed: Assumed) -> list[Assumption]:
    found = assumed.once(certificate)
    if found is None:
        return [
            always(
                assumed.count,
                "certificate",
                np.nan,
                ">=",
                1.0,
                lambda v, b: "",
                "",
                "asked of deep linear nets only",
            )
        ]
    return [
        always(
            assumed.count, one.name, one.number, "<=" if one.relation == "≤" else ">=", one.bound,
            lambda v, b, one=one: f"{one.name}: {short(v)} {one.relation} {short(b)}" if one.holds else (  # type: ignore[misc]  # a default binds it
                f"{one.name}: {short(v)}, asked {one.relation} {short(b)}"
            ),
            f"{one.name} {one.relation} {short(one.bound)}",
        )
        for one in found.hypotheses
    ]  # fmt: skip


def _rate(assumed: Assumed, within: np.ndarray) -> Measured:
    found = assumed.once(certificate)
    assert found is not None
    if not found.holds:
        return Measured("a linear rate is guaranteed", found.why, np.nan, 0.0, 1.0)
    steps = assumed.run.steps[within] - assumed.run.steps[0]
    bounds = np.array([found.bound(float(step)) for step in steps])
    excess = assumed.looks.risk[within] - found.minimum
    worst = int(np.argmax(excess / bounds))
    return Measured(
        f"loss − least loss ≤ {short(found.excess)} e^(−{short(found.rate)} t): {short(bounds[worst])} at "
        f"step {steps[worst]}",
        f"{short(float(excess[worst]))} there", float(excess[worst]), 1e3 * assumed.run.precision[1] * found.excess,
        float(bounds[worst]) * (1 + 1e-9) + 2e3 * assumed.run.precision[1] * found.excess,
    )  # fmt: skip


THEOREMS = (
    Theorem(
        "memo90.gauss-newton-corrected", "rank", "zeros of the Hessian at zero square loss",
        lambda a: [a.square, a.overparametrised, zero_loss(a), a.no_decay, formed(a)], _zeros, least=1, at_end=True,
    ),
    Theorem(
        "memo90.theorem4", "layer", "a wide layer's zeros of the Hessian",
        lambda a: [a.square, a.stacked, a.untied, a.alone, wide_layer(a), zero_loss(a), a.no_decay, formed(a)],
        _layer, least=1, at_end=True,
    ),
    Theorem(
        "notes.learning-rate", "robustness", "below 2/sharpness the loss falls",
        lambda a: [a.alone, a.descent, a.no_momentum, *a.steady], _descends,
    ),
    Theorem(
        "cohen.gd-rate", "rate", "a linear rate is guaranteed",
        lambda a: [a.chain, a.untied, a.square, *a.plain, *certified(a)], _rate,
    ),
)  # fmt: skip
