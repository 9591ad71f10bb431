"""Worlds of the studies of memo 90 on growth, margins and late times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gradlab.claims.cases import Case
from gradlab.observe.layers import layer_of
from worlds import World, cut_short, drift, moved_ends, noisy, orbit, seen, told
from worlds.exponential import capped


def grown(power: float) -> World:
    """Weights that grow by a power of log t too many."""

    def changed(case: Case) -> Case:
        logs = np.maximum(case.trajectory["log_t"].values, 1.0)[:, None]
        world = orbit("", lambda rows, _: rows * logs**power)
        assert world.case is not None
        return world.case(case)

    return World(f"weights (log t)^{power:g} times as large", changed)


def other_time(factor: float = 1.2) -> World:
    """The clock that is told runs at another speed: log t is off by a constant."""

    def changed(case: Case) -> Case:
        return replace(
            case,
            trajectory=case.trajectory.assign(log_t=case.trajectory["log_t"] + np.log(factor)),
        )

    return World(f"time {factor:g} times as fast", changed)


def one_layer_faster(factor: float = 1.01) -> World:
    """The last weight grows faster than the others."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows = rows.copy()
        rows[1:, -1] *= factor
        return rows

    return orbit(f"the last weight {factor:g} times as large", change)


def other_inputs(factor: float = 1.1) -> World:
    """The inputs that are told are larger than those that ran."""
    return told(
        f"inputs {factor:g} times as large",
        lambda problem: eqx.tree_at(lambda p: p.data.inputs, problem, factor * problem.data.inputs),
    )


def stopped(log_t: float = 0.0) -> World:
    """The end is that of an earlier moment."""

    def changed(case: Case) -> Case:
        if "log_t" not in case.trajectory:  # a point, which no run ended at
            return case
        early = int(np.argmin(np.abs(case.trajectory["log_t"].values - log_t)))

        def change(rows: np.ndarray, case: Case) -> np.ndarray:
            rows = rows.copy()
            rows[early:] = rows[early]
            return rows

        world = orbit("", change)
        assert world.case is not None
        return world.case(case)

    return World(f"a run that stopped at log t = {log_t:g}", changed)


def turned_inputs(by: float = 0.4) -> World:
    """The inputs that are told are turned in the plane of their first two coordinates."""

    def change(problem: Any) -> Any:
        X = np.array(problem.data.inputs)
        c, s = np.cos(by), np.sin(by)
        X[:, :2] = X[:, :2] @ np.array([[c, s], [-s, c]])
        return eqx.tree_at(lambda p: p.data.inputs, problem, jnp.asarray(X))

    return told(f"inputs turned by {by:g}", change)


def turning() -> World:
    """Weights whose direction turns with log log t, without end."""

    def changed(case: Case) -> Case:
        angles = 0.5 * np.log(np.maximum(case.trajectory["log_t"].values, 1.0))

        def change(rows: np.ndarray, case: Case) -> np.ndarray:
            aside = np.random.default_rng(13).standard_normal(rows.shape[1])
            sizes = np.linalg.norm(rows, axis=1, keepdims=True) / np.linalg.norm(aside)
            return np.cos(angles)[:, None] * rows + np.sin(angles)[:, None] * sizes * aside

        world = orbit("", change)
        assert world.case is not None
        return world.case(case)

    return World("directions that turn without end", changed)


def remembering(share: float = 0.5) -> World:
    """The start's part of the weights grows with the square root of log t."""

    def changed(case: Case) -> Case:
        logs = np.sqrt(np.maximum(case.trajectory["log_t"].values, 0.0))[:, None]
        world = orbit("", lambda rows, _: rows + share * logs * rows[0])
        assert world.case is not None
        return world.case(case)

    return World("starts that grow with the weights", changed)


def kept_angle(since: float = 300.0) -> World:
    """Directions that stay at what they were at some log t."""

    def changed(case: Case) -> Case:
        if "log_t" not in case.trajectory:  # a point, which no run ended at
            return case
        early = int(np.argmin(np.abs(case.trajectory["log_t"].values - since)))

        def change(rows: np.ndarray, case: Case) -> np.ndarray:
            rows, unit = rows.copy(), rows[early] / np.linalg.norm(rows[early])
            rows[early:] = np.linalg.norm(rows[early:], axis=1)[:, None] * unit
            return rows

        world = orbit("", change)
        assert world.case is not None
        return world.case(case)

    return World(f"directions that stay from log t = {since:g} on", changed)


def shrinking() -> World:
    """A first layer that shrinks a little from log t = 1e3 on."""

    def changed(case: Case) -> Case:
        late = case.trajectory["log_t"].values > 2e3
        factor = np.where(late, 0.1, 1.0)[:, None]
        world = orbit("", lambda rows, _: rows * factor)
        assert world.case is not None
        return world.case(case)

    return World("weights that shrink at late times", changed)


def shrinking_norms() -> World:
    """Norms ρ that shrink at the end of a run in a chart (ρ, V)."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows, K = rows.copy(), len(case.problem.network.widths) - 1
        rows[-40:, :K] *= np.linspace(1.0, 0.01, min(40, len(rows)))[:, None]
        return rows

    return orbit("norms that shrink at the end", change)


def one_flow() -> World:
    """Three flows that are one and the same."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        return np.tile(rows[:, : rows.shape[1] // 3], 3)

    return orbit("three flows that are one", change)


def third_turned(by: float) -> World:
    """The last third of a row, a flow's (ρ, V), moved at the end by a share of its size."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows, cut = rows.copy(), 2 * rows.shape[1] // 3
        aside = np.random.default_rng(17).standard_normal(rows.shape[1] - cut)
        late_rows = rows[-30:, cut + 1 :]
        late_rows += (
            by * aside[1:] * np.linalg.norm(late_rows, axis=1, keepdims=True) / np.linalg.norm(aside[1:])
        )
        return rows

    return orbit(f"the third flow's end moved by {by:g} of its size", change)


def cut_early(share: float = 0.4) -> World:
    """The last records are those of an earlier moment."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows, until = rows.copy(), int(share * len(rows))
        rows[until:] = rows[until]
        return rows

    return orbit(f"a run that ended at {share:g} of its records", change)


def rows_seen(name: str, change: Callable[[np.ndarray], np.ndarray]) -> World:
    """Gradients of the margins that are seen otherwise."""
    return seen(name, here=lambda pair, look: (pair[0], change(pair[1])))


HINGE = (
    rows_seen("gradients 1.01 times as large", lambda rows: 1.01 * rows),
    rows_seen("no gradients", lambda rows: 0.0 * rows),
    rows_seen("gradients without their first entry", lambda rows: rows * (np.arange(rows.shape[1]) > 0)),
    noisy(1e-12),
)


def grown_late(factor: float) -> World:
    """Weights of the last records that are larger."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows = rows.copy()
        rows[-3:] *= factor
        return rows

    return orbit(f"the last records {factor:g} times as large", change)


def shifted_spectrum(by: float) -> World:
    """Eigenvalues of the Hessian, over λ, shifted."""
    return seen(f"the spectrum shifted by {by:g}", spectrum=lambda pair, look: (pair[0] + by, pair[1]))


def noised_jacobian(size: float = 1e-3) -> World:
    """Derivatives of the outputs by the weights off by a share of their size, which is not told."""

    def change(here: Any, look: Any) -> Any:
        noise = np.random.default_rng(19).standard_normal(here.jacobian.shape)
        return here._replace(jacobian=here.jacobian + size * np.abs(here.jacobian).max() * noise)

    return seen(f"derivatives off by {size:g}", here=change)


def noised_hessian(size: float = 1e-3) -> World:
    """A curvature of the network that is off by a share of its size."""

    def change(here: Any, look: Any) -> Any:
        noise = np.random.default_rng(20).standard_normal(here.curved.shape)
        return here._replace(curved=here.curved + size * np.abs(here.squares).max() * (noise + noise.T))

    return seen(f"curvature off by {size:g}", here=change)


def other_gradient(factor: float = 1.001) -> World:
    """A gradient that is larger than that of the loss."""
    return seen(
        f"a gradient {factor:g} times as large",
        here=lambda here, look: here._replace(gradient=factor * here.gradient),
    )


def few_values(kept: int = 1) -> World:
    """Eigenvalues of the Hessian that take so few values."""

    def change(values: np.ndarray, look: Any) -> np.ndarray:
        return np.sort(values[-1 - np.arange(len(values)) % kept])

    return seen(f"a spectrum of {kept} values", values=change)


def mixed_jacobian() -> World:
    """Derivatives of the outputs by the weights in another order."""
    return seen(
        "derivatives in another order",
        here=lambda here, look: here._replace(jacobian=here.jacobian[:, :, ::-1]),
    )


def never_returned() -> World:
    """Weights that stay where the kicks have put them."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        kicks = case.trajectory["kicks"].values[:-1]
        return rows[0] + np.concatenate([np.zeros_like(rows[:1]), np.cumsum(kicks, axis=0)])

    return orbit("kicks from which nothing returns", change)


def without_trace() -> World:
    """Weights that are at every record what they were at the first."""
    return orbit("kicks without a trace", lambda rows, case: np.tile(rows[:1], (len(rows), 1)))


def fitted() -> World:
    """Weights that fit the data whenever they are looked at."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        x, y = np.asarray(case.problem.data.inputs), np.asarray(case.problem.data.targets)[:, 0]
        runs = rows.reshape(len(rows), -1, x.shape[1])
        return (runs - (runs @ x.T - y) @ np.linalg.pinv(x).T).reshape(rows.shape)

    return orbit("descent that has always arrived", change)


NO_ZEROS = seen(
    "a Hessian of the squares without zeros",
    squares=lambda values, look: values + 1e-3 * np.abs(values).max(),
)
#: By Euler's identity and Cauchy's inequality no gradient of a net of degree one in each layer is so small.
HALF_GRADIENTS = seen(
    "gradients of the margins half as large", here=lambda here, look: (*here[:2], 0.5 * here[2])
)
FIRST_TOO_LARGE = seen(
    "the first layer's gradient 1e-6 too large",
    margins_at=lambda pair, look: (pair[0], pair[1] * (1.0 + 1e-6 * (layer_of(look.problem.network) == 0))),
)
SATURATED = seen("a net that saturates", margins_at=lambda pair, look: (np.tanh(pair[0]), pair[1]))
LEAKING = seen(
    "a leak of 1e-6 beside the data", fitted=lambda w, look: w + 1e-6 * np.linalg.norm(w) / len(w) ** 0.5
)
LEAST_NORM = seen(
    "two layers end at the least norm",
    squared=lambda w, look: w * (2.0 * look.beta) ** 0.5 / np.linalg.norm(w),
)
SHIFTED = seen("Hessian + 1e-6 I", curvature=lambda H, look: H + 1e-6 * np.linalg.norm(H, 2) * np.eye(len(H)))
STRONGER = seen("pulls a thousandth stronger", pieces=lambda found, look: (*found[:5], 1.001 * found[5]))

LIMITS = (stopped(), turned_inputs(), LEAST_NORM, moved_ends(0.5), turning(), noisy(1e-8))

GROWTH = (
    grown(0.1),
    grown(0.5),
    other_time(),
    one_layer_faster(),
    other_inputs(),
    seen("forces a millionth larger", forces=lambda forces, look: (1.0 + 1e-6) * forces),
    noisy(1e-8),
)

WORLDS = {
    "memo90.growth": GROWTH,
    "memo90.growth-corrected": GROWTH,
    "memo90.log-margin": (
        moved_ends(0.01),
        grown(-0.3),
        remembering(),
        kept_angle(),
        kept_angle(10.0),
        noisy(1e-9),
    ),
    "memo90.norm-growth": (grown(0.1), shrinking(), stopped(5.0), FIRST_TOO_LARGE, noisy(1e-8)),
    "memo90.early-stopping": (turning(), remembering(), kept_angle(), noisy(1e-9)),
    "memo90.early-stopping-corrected": (
        other_time(2.0),
        remembering(),
        turning(),
        HALF_GRADIENTS,
        noisy(1e-9),
    ),
    "memo90.separated-goes-to-zero-loss": (
        capped(3.0),
        stopped(3.0),
        turned_inputs(2.0),
        SATURATED,
        noisy(1e-8),
    ),
    "memo90.separated-goes-to-zero-loss-corrected": (
        stopped(3.0),
        capped(3.0),
        turned_inputs(2.0),
        SATURATED,
        seen("no point is lost", all_margins=lambda m, look: np.maximum(m, look.logs[:, None])),
        noisy(1e-8),
    ),
    "memo90.unit-norm-penalty": (cut_early(0.2), shrinking_norms(), cut_early(), STRONGER, noisy(1e-10)),
    "memo90.unit-norm-penalty-corrected": (
        cut_early(0.3),
        shrinking_norms(),
        cut_early(),
        STRONGER,
        noisy(1e-10),
    ),
    "memo90.three-normalisations": (one_flow(), third_turned(0.3), third_turned(0.5), noisy(1e-9)),
    "memo90.hinge-margin": HINGE,
    "memo90.hinge-margin-corrected": (
        *HINGE,
        seen("one margin for all", here=lambda pair, look: (np.full_like(pair[0], pair[0].max()), pair[1])),
        seen("outputs that do not vanish", here=lambda pair, look: (pair[0] + 2.0, pair[1])),
    ),
    "memo90.fig4": (moved_ends(0.1), cut_short(0.5), grown_late(1.2), noisy(1e-14)),
    "memo90.fig4-corrected": (moved_ends(0.1), cut_short(0.5), grown_late(1.2), fitted(), noisy(1e-14)),
    "memo90.perturb-square": (
        moved_ends(1e-3),
        cut_short(0.5),
        drift(1e-3),
        never_returned(),
        without_trace(),
        noisy(1e-13),
    ),
    "memo90.lemma1": (shifted_spectrum(-1e-3), noised_jacobian(), mixed_jacobian(), NO_ZEROS, noisy(1e-13)),
    "memo90.lemma1-corrected": (
        shifted_spectrum(1e-3),
        noised_jacobian(),
        mixed_jacobian(),
        NO_ZEROS,
        seen(
            "a direction that H does not see",
            spectrum=lambda pair, look: (pair[0] * (np.arange(len(pair[0])) > 0), pair[1]),
        ),
        noisy(1e-13),
    ),
    "memo90.linearises-to-deep-linear": (few_values(), few_values(2), few_values(3), noisy(1e-13)),
    "memo90.linearises-to-deep-linear-corrected": (
        noised_hessian(),
        noised_hessian(1e-6),
        few_values(),
        noisy(1e-13),
    ),
    "memo90.multiclass": (moved_ends(0.05), stopped(3.0), other_gradient(), noisy(1e-12)),
    "memo90.smooth-relu": (
        moved_ends(0.1),
        moved_ends(0.05),
        drift(0.1),
        seen("ε² a hundredth larger", missing=lambda gap, look: 1.01 * gap),
        noisy(1e-9),
    ),
    "memo90.theorem3": (stopped(), turned_inputs(), LEAST_NORM, LEAKING, noisy(1e-8)),
    "memo90.theorem3-corrected": (*LIMITS, LEAKING, HALF_GRADIENTS),
    "memo90.proposition5": (turning(), moved_ends(0.3), moved_ends(0.5), noisy(1e-8)),
    "memo90.proposition5-corrected": (turning(), turned_inputs(), moved_ends(0.5), noisy(1e-8)),
    "memo90.proposition6": (stopped(), turned_inputs(), moved_ends(0.5), noisy(1e-8)),
    "memo90.proposition6-corrected": (
        stopped(),
        turned_inputs(),
        moved_ends(0.5),
        SHIFTED,
        HALF_GRADIENTS,
        noisy(1e-8),
    ),
    "memo90.fig7": (grown(0.1), grown(0.5), grown(-0.2), other_time(), other_inputs(1.5), noisy(1e-8)),
    "memo90.fig7-corrected": (
        grown(0.1),
        grown(0.5),
        grown(-0.2),
        other_time(),
        other_inputs(1.5),
        noisy(1e-8),
    ),
}
