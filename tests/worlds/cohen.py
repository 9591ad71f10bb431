"""Worlds of the studies of Cohen's slides: deep linear nets, their product, and the origin."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from gradlab.claims.cases import Case
from gradlab.claims.cohen.balanced_preserved import SCALES
from worlds import (
    World,
    cut_short,
    drift,
    moved_ends,
    noisy,
    orbit,
    other_targets,
    seen,
    shifted_hessian,
    uneven_layers,
)


def descent(step: float = 0.02) -> World:
    """Gradient descent of a large step under the name of a flow, from the same starts; bars of its rounding."""

    def changed(case: Case) -> Case:
        problem, given = case.problem, case.trajectory
        w = np.asarray(given["weights"].values[0])
        found = [w]
        for before, after in pairwise(given["t"].values):
            for _ in range(round((after - before) / step)):
                w = w - step * np.asarray(problem.ravel(problem.gradient(problem.unravel(w))))
            found.append(w)
        orbits = {"weights": np.stack(found), "weights_coarse": np.stack(found) * (1.0 + 1e-12)}
        return replace(
            case, trajectory=given.assign({name: (given[name].dims, w) for name, w in orbits.items()})
        )

    return World(f"descent of step {step:g} called a flow", changed)


def linear_defects() -> World:
    """Gaussian weights whose defect is of the first order in their scale."""
    return seen("defects of first order", drawn=lambda found, look: tuple(np.sqrt(one) for one in found))


def skewed(share: float = 1e-4) -> World:
    """One weight of every start a share larger than it is."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows = rows.copy()
        rows[0, 0] *= 1.0 + share
        return rows

    return orbit(f"one weight of the start off by {share:g}", change)


def missing_term() -> World:
    """P_W without its first term, (WWᵀ)^{(N−1)/N} ⊗ 1."""

    def change(P: np.ndarray, look: Any) -> np.ndarray:
        W = look.W
        values, left = np.linalg.eigh(W @ W.T)
        power = (left * np.maximum(values, 0.0) ** ((look.depth - 1) / look.depth)) @ left.T
        return P - np.kron(np.eye(W.shape[1]), power)

    return seen("P_W without its first term", P=change)


def transposed() -> World:
    """P_W with the two factors of ⊗ exchanged, as with rows stacked."""

    def change(P: np.ndarray, look: Any) -> np.ndarray:
        k, d = look.W.shape
        return P.reshape(d, k, d, k).transpose(1, 0, 3, 2).reshape(k * d, k * d)

    return seen("the factors of ⊗ exchanged", P=change)


def uniform_gains() -> World:
    """A preconditioner that favours the directions of small singular values."""

    def change(gram: np.ndarray, look: Any) -> np.ndarray:
        return np.linalg.norm(gram, 2) * np.eye(len(gram)) - gram

    return seen("small directions favoured", gram=change)


def moved_reference(share: float = 1e-3) -> World:
    """The end-to-end flow of another ℓ: its motion a share too large."""
    return seen(
        f"the end-to-end flow faster by {share:g}",
        reference=lambda W, look: W[0] + (1.0 + share) * (W - W[0]),
    )


def off_origin(size: float = 0.01) -> World:
    """Another point under the name of the origin."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        return rows + size * np.random.default_rng(4).standard_normal(rows.shape)

    return orbit(f"a point {size:g} off the origin", change)


def a_minimum() -> World:
    """A loss that rises both ways."""
    return seen("a minimum", walk=lambda found, look: (-found[0], found[1], found[2]))


def sunken_hessian() -> World:
    """Hessian − 1e-3 σ_1(G) I: the origin a strict saddle at every depth."""
    return seen("Hessian − 1e-3 I", hessian=lambda H, look: H - 1e-3 * look.unit * np.eye(len(H)))


def slower_rule() -> World:
    """The discrete rule goes 1 % too far."""

    def moved(W: np.ndarray, look: Any) -> np.ndarray:
        return W * 1.001

    return seen("a rule that stretches W by a thousandth", moved=moved)


DISCRETE = (
    slower_rule(),
    seen("a gradient a hundredth too long", slope=lambda slope, look: 1.01 * slope),
    seen("descent that leaks", descended=lambda vector, look: vector + 1e-6),
    noisy(1e-12),
)

ROUTE = (
    seen("a saddle that is a minimum", saddles=lambda values, look: np.abs(values)),
    seen("a strict saddle at depth 3", values_at_zero=lambda values, look: values - 1e-3),
    seen("steps of one length", slope=lambda slope, look: np.sign(slope)),
    noisy(1e-12),
)
CORRECTED_ROUTE = (
    seen("descent that stands still", descended=lambda rows, look: np.repeat(rows[:1], len(rows), axis=0)),
    seen("descent that always arrives", losses=lambda values, look: np.zeros_like(values)),
    *ROUTE,
)

BARTLETT = (
    seen("descent at half its pace", descended=lambda rows, look: np.repeat(rows, 2, axis=0)[: len(rows)]),
    seen("weights known to 1e-6", descended=lambda rows, look: rows + 1e-6),
    seen("a loss that falls like 1 over t", left=lambda left, look: 1.0 / (1.0 + np.arange(len(left)))),
    seen("a certificate thirty times too large", certificate=lambda c, look: 30.0 * c),
    noisy(1e-13),
)


def still() -> World:
    """Descent that does not move."""
    return seen("nothing moves", fallen=lambda fallen, look: 0.0 * fallen)


def arrived() -> World:
    """Every end at the minimum, whatever the step."""
    return seen(
        "every end at the minimum",
        losses=lambda both, look: (both[0], 1e-9 * both[0]),
        fallen=lambda fallen, look: 0.0 * fallen - 9.0,
    )


def leaking(size: float = 0.1) -> World:
    """Weights that leak into what no layer has."""
    return orbit(f"a leak of {size:g} into every weight", lambda rows, case: rows + size)


def retold(name: str, change: Any) -> World:
    """Random starts whose products are others."""
    return seen(name, drawn=lambda drawn, look: change(drawn, look.target))


def towards(drawn: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Three starts in four turned to the target's side."""
    side = np.sign(drawn @ target.T)
    side[::4] = 1.0
    return drawn * side


def shaken_draws(size: float = 1e-9) -> World:
    """Products off by a share of their size: true."""

    def changed(case: Case) -> Case:
        given = case.trajectory
        noise = np.random.default_rng(3).standard_normal(given["drawn"].shape)
        moved = given["drawn"].values * (1.0 + size * noise)
        return replace(case, trajectory=given.assign({"drawn": (given["drawn"].dims, moved)}))

    return World(f"products off by {size:g}", changed, noisy=True)


def other_values(share: float = 0.01) -> World:
    """Targets off by a share of their size where they are real; labels stay."""
    other = other_targets(share)

    def changed(case: Case) -> Case:
        assert other.case is not None
        return other.case(case) if case.problem.loss.labels == "real" else case

    return World(other.name, changed)


FLOWS = (
    moved_ends(),
    cut_short(),
    other_values(),
    seen(
        "a loss that rises by 1e-6",
        losses=lambda losses, look: losses + 1e-6 * losses[0] * np.arange(len(losses)),
    ),
    noisy(1e-10),
)
RATES = (
    cut_short(),
    moved_ends(0.3),
    drift(0.3),
    seen("iterations counted twentyfold", counts=lambda counts, look: 20.0 * counts),
    noisy(1e-9),
)

WORLDS = {
    "cohen.bartlett": BARTLETT,
    "cohen.critical-point-route": ROUTE,
    "cohen.critical-point-route-corrected": CORRECTED_ROUTE,
    "cohen.flow-global": FLOWS,
    "cohen.flow-global-corrected": FLOWS,
    "cohen.gd-rate": RATES,
    "cohen.necessity": (still(), arrived(), leaking(), noisy(1e-9)),
    "cohen.constant-probability": (
        retold("starts turned to the target", towards),
        seen("margins smaller by 0.02", margins=lambda margins, look: margins - 0.02),
        seen("layers off balance by 1e-3", defects=lambda defects, look: defects + 1e-3),
        shaken_draws(),
    ),
    "cohen.discrete-end-to-end": DISCRETE,
    "cohen.balanced-preserved": (
        drift(1e-3),
        uneven_layers(),
        descent(),
        linear_defects(),
        seen(
            "defects of third order", drawn=lambda found, look: tuple(one * SCALES[:, None] for one in found)
        ),
        skewed(),
        noisy(1e-10),
    ),
    "cohen.end-to-end": (
        uneven_layers(),
        drift(1e-3),
        moved_ends(),
        moved_reference(),
        seen(
            "the first layer's motion 1.001 times as fast",
            motion=lambda motion, look: [(1.001 * one[0], *one[1:]) for one in motion],
        ),
        descent(),
        noisy(1e-9),
    ),
    "cohen.non-strict-saddle": (
        off_origin(),
        sunken_hessian(),
        shifted_hessian(),
        seen("Hessian + 2 I", hessian=lambda H, look: H + 2.0 * look.unit * np.eye(len(H))),
        a_minimum(),
        seen("a maximum", walk=lambda found, look: (found[0], -found[1], found[2])),
        noisy(),
    ),
    "cohen.preconditioner": (
        missing_term(),
        transposed(),
        uniform_gains(),
        seen("−JJᵀ", gram=lambda gram, look: -gram),
        noisy(1e-15),
    ),
}
