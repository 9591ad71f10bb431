"""Balancedness: what gradient flow conserves between layers, descent up to η² a step, and decay makes shrink."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from gradlab.checking.assumed import Assumed
from gradlab.checking.hypotheses import Assumption, short
from gradlab.checking.theorem import Measured, Theorem

#: Balanced: ‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖ below this part of ‖W‖².
BALANCED = 0.01
#: The layers' growth may differ by this part of itself; what shrinks must be this much above what steps add.
RATES, ABOVE = 0.01, 3.0


def matrices(assumed: Assumed) -> np.ndarray:
    """(T, ·), W_{j+1}ᵀW_{j+1} − W_jW_jᵀ of all neighbours, of a chain."""
    rows = []
    for vector in assumed.run.flat:
        layers = assumed.probed.matrices(vector)
        rows.append(np.concatenate([(b.T @ b - a @ a.T).ravel() for a, b in itertools.pairwise(layers)]))
    return np.stack(rows)


def norms(assumed: Assumed) -> np.ndarray:
    """(T, K), ‖W_k‖²/d_k of the layers that have a degree."""
    return np.stack([
        np.sum(np.where(mask, assumed.run.flat, 0.0) ** 2, axis=1) / one.degree
        for mask, one in zip(assumed.run.masks, assumed.probed.layers, strict=True) if assumed.has_degree(one)
    ], axis=1)  # fmt: skip


def differences(assumed: Assumed) -> np.ndarray:
    return np.diff(norms(assumed), axis=1)


def added_by_steps(assumed: Assumed, within: np.ndarray) -> np.ndarray:
    """Σ η²‖∇L‖² from the interval's first checkpoint to each, or more.

    Of a single step it is what was measured. Between checkpoints further apart it is the larger of two: η²‖∇L‖² at the
    end where it is larger, times the steps; and η (L − L')/(1 − ηβ/2), since a step of descent lowers L by
    η(1 − ηβ/2)‖∇L‖² at least, β the largest sharpness seen.
    """
    share = float(np.max(assumed.small_step.values[within]))
    gaps = np.diff(assumed.run.steps[within])
    squares = assumed.rate**2 * np.sum(assumed.full_gradients[within] ** 2, axis=1)
    fallen = assumed.rate * np.maximum(-np.diff(assumed.potential[within]), 0.0) / (1.0 - share)
    ends = gaps * np.maximum(squares[:-1], squares[1:])
    return np.append(0.0, np.cumsum(np.where(gaps == 1, squares[:-1], np.maximum(ends, fallen))))


def rounding_of_squares(assumed: Assumed, within: np.ndarray) -> np.ndarray:
    """What rounding of every step can move ‖W‖² by: like a random walk, three times."""
    steps = (assumed.run.steps[within] - assumed.run.steps[within[0]]).astype(float)
    sizes = np.sum(assumed.run.flat[within] ** 2, axis=1)
    return assumed.run.precision[1] * np.maximum.accumulate(sizes) * (4.0 + 3.0 * np.sqrt(steps))


def _told_at(number: np.ndarray, bar: np.ndarray, most: np.ndarray, worst: int) -> int:
    """The end, where all is as it should be throughout; else the worst place."""
    return len(number) - 1 if np.all(number[1:] + bar[1:] <= most[1:]) else worst


def _kept(assumed: Assumed, within: np.ndarray, values: np.ndarray, what: str) -> Measured:
    drift = np.linalg.norm(values[within] - values[within[0]], axis=1)
    most, bar = added_by_steps(assumed, within), rounding_of_squares(assumed, within)
    worst = 1 + int(np.argmax((drift[1:] - most[1:]) / np.maximum(most[1:] + bar[1:], 1e-300)))
    size = float(np.sum(assumed.run.flat[within[0]] ** 2)) or 1.0
    worst = _told_at(drift, bar, most, worst)
    return Measured(
        f"{what} is conserved by the flow; steps of η = {short(assumed.rate)} move it by at most {short(most[worst])}",
        f"moved by {short(drift[worst])} by step {assumed.run.steps[within[worst]]} "
        f"({short(drift[worst] / size)} of ‖W‖² at the start)",
        float(drift[worst]), float(bar[worst]), float(most[worst]),
    )  # fmt: skip


def _conserved_matrices(assumed: Assumed, within: np.ndarray) -> Measured:
    return _kept(assumed, within, matrices(assumed), "W_{j+1}ᵀW_{j+1} − W_jW_jᵀ")


def _conserved_norms(assumed: Assumed, within: np.ndarray) -> Measured:
    return _kept(assumed, within, differences(assumed), "‖W_k‖²/d_k − ‖W_j‖²/d_j")


def _stays(assumed: Assumed, within: np.ndarray) -> Measured:
    defect = np.linalg.norm(matrices(assumed)[within], axis=1)
    most, bar = defect[0] + added_by_steps(assumed, within), rounding_of_squares(assumed, within)
    worst = 1 + int(np.argmax((defect[1:] - most[1:]) / np.maximum(bar[1:] + most[1:], 1e-300)))
    worst = _told_at(defect, bar, most, worst)
    return Measured(
        f"balanced weights stay balanced: a defect of {short(most[worst])} at most",
        f"defect {short(defect[worst])} at step {assumed.run.steps[within[worst]]}, {short(defect[0])} at the start",
        float(defect[worst]), float(bar[worst]), float(most[worst]),
    )  # fmt: skip


def _shrinks(assumed: Assumed, within: np.ndarray) -> Measured:
    chain = assumed.chain.status[0] == 1
    values = matrices(assumed) if chain else differences(assumed)
    steps = assumed.run.steps[within] - assumed.run.steps[within[0]]
    factor = (1.0 - assumed.rate * assumed.decay) ** (2.0 * steps)
    off = np.linalg.norm(values[within] - factor[:, None] * values[within[0]], axis=1)
    most = added_by_steps(assumed, within)
    bar = rounding_of_squares(assumed, within)
    start = float(np.linalg.norm(values[within[0]]))
    power = (1.0 - factor) * start - ABOVE * (most + bar)
    at = 1 + int(np.argmax(power[1:]))
    why = "" if power[at] > 0 else "what decay takes away is less than what steps may add: it cannot be told"
    worst = 1 + int(np.argmax((off[1:] - most[1:]) / np.maximum(most[1:] + bar[1:], 1e-300)))
    seen = float(np.linalg.norm(values[within[at]])) / max(start, 1e-300)
    return Measured(
        f"the differences shrink like (1 − ηλ)^2t ≈ e^(−2λt): to {short(factor[at])} by step "
        f"{assumed.run.steps[within[at]]}, up to {short(most[worst])}",
        f"shrunk to {short(seen)}; off by {short(off[worst])} at most",
        float(off[worst]), float(bar[worst]), float(most[worst]), why,
    )  # fmt: skip


def _same_rate(assumed: Assumed, within: np.ndarray) -> Measured:
    """(1/d_k)(‖W_k‖² grown − η²‖∂L/∂W_k‖²) = −2η Σ ℓ'_n f_n in every layer, for each measured step."""
    run, looks, eta = assumed.run, assumed.looks, assumed.rate
    pairs = [i for i in run.pairs if i in within and i + 1 in within]
    if not pairs:
        return Measured(
            "layers grow at the same rate", "no two checkpoints are one step apart", np.nan, 0.0, RATES
        )
    grown = norms(assumed)
    off = size = bar = 0.0
    for i in pairs:
        each = []
        for k, (mask, one) in enumerate(
            (m, d) for m, d in zip(run.masks, assumed.probed.layers, strict=True) if assumed.has_degree(d)
        ):
            square = float(np.sum(looks.gradients[i][mask] ** 2)) / one.degree
            each.append(grown[i + 1, k] - grown[i, k] - eta**2 * square)
        wanted = -2.0 * eta * float(np.sum(looks.slopes[i] * looks.outputs[i]))
        off += max(abs(value - wanted) for value in each)
        size += abs(wanted)
        bar += 8.0 * run.precision[1] * float(np.max(grown[i])) + 300.0 * run.precision[1] * abs(wanted)
    return Measured(
        "(1/d_k) d‖W_k‖²/dt = −2 Σ ℓ'_n f_n in every layer",
        f"over {len(pairs)} steps the layers' rates differ from it by {short(off / max(size, 1e-300))} of it",
        off / max(size, 1e-300), bar / max(size, 1e-300), RATES,
    )  # fmt: skip


def near_balance(assumed: Assumed) -> Assumption:
    """‖W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖ against ‖W‖², at each checkpoint."""
    values = np.full(assumed.count, np.nan)
    if assumed.chain.status[0] == 1:
        size = np.maximum(np.sum(assumed.run.flat**2, axis=1), 1e-300)
        values = np.linalg.norm(matrices(assumed), axis=1) / size
    return Assumption(
        "balanced", values, "<=", np.full(assumed.count, BALANCED), lambda v, b: f"balanced to {short(v)}",
        "a balanced start: gl.init.Balanced, or a very small one", "balancedness is asked of deep linear nets only",
    )  # fmt: skip


def _layers(assumed: Assumed) -> Sequence[Assumption]:
    return [assumed.homogeneous(), assumed.alone]


def _decaying(assumed: Assumed) -> Sequence[Assumption]:
    return [*_layers(assumed), assumed.descent, assumed.no_momentum, assumed.some_decay, *assumed.steady]


THEOREMS = (
    Theorem(
        "chitour.invariants", "matrices", "balancedness is conserved",
        lambda a: [a.chain, a.untied, *a.plain], _conserved_matrices,
    ),
    Theorem(
        "cohen.balanced-preserved", "preserved", "balanced weights stay balanced",
        lambda a: [a.chain, a.untied, near_balance(a), *a.plain], _stays,
    ),
    Theorem(
        "memo112.lemma1-corrected", "conserved", "differences of squared norms are conserved",
        lambda a: [*_layers(a), *a.plain], _conserved_norms,
    ),
    Theorem(
        "memo112.lemma1-corrected", "rate", "layers grow at the same rate",
        lambda a: [*_layers(a), *a.plain], _same_rate,
    ),
    Theorem(
        "chitour.invariants", "norms", "under decay imbalance shrinks like e^(−2λt) (corollary)", _decaying, _shrinks,
    ),
)  # fmt: skip
