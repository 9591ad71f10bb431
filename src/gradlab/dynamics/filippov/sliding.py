"""What happens at a kink: the sliding velocity as the element of least norm, per neuron, and the sides taken."""

from __future__ import annotations

import numpy as np

#: More than any |φ| in units of the force, unless normals are nearer than this to dependent.
REACH = 1e8


def least_norm(force: np.ndarray, jumps: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """θ ∈ [0, 1]ᵏ of least ‖force + Σ_g θ_g R_g u_g‖: the sliding velocity is what stays.

    Its optimality conditions with v = force + Σ θ_g R_g u_g and R_g < 0 are u_g·v > 0 ⇒ θ_g = 1 (leaves upwards),
    u_g·v < 0 ⇒ θ_g = 0, and 0 < θ_g < 1 ⇒ u_g·v = 0: Filippov's convention. v is unique, θ is where the u_g are
    independent.

    Parameters
    ----------
    force : (d,), every θ_g = 0. jumps : R_g (k,), not 0. normals : u_g (k, d).
    """
    if not len(jumps):
        return np.zeros(0)
    # the largest entry, not the norm: squares of 1e-200 underflow
    scale = float(np.abs(force).max())
    if scale == 0.0:
        return np.where(jumps == 0.0, 0.5, 0.0)
    # In φ = θ R the columns are unit vectors. In units of the force no φ beyond REACH is ever taken; the jumps are
    # of all sizes (those of an example with p_n ≈ 1 beside others of 1e-16) and must not set the scale.
    with np.errstate(over="ignore"):
        jumps = jumps / scale
    near = np.clip(jumps, -REACH, REACH)
    theta = _bounded(force / scale, near, normals)
    return np.where(np.abs(jumps) > REACH, theta * (near / np.where(jumps == 0.0, 1.0, jumps)), theta)


def _bounded(force: np.ndarray, jumps: np.ndarray, normals: np.ndarray) -> np.ndarray:
    if len(jumps) == 1:
        return np.clip(-(normals @ force) / jumps, 0.0, 1.0)
    lower, upper = np.minimum(jumps, 0.0), np.maximum(jumps, 0.0)
    narrow = upper - lower < 1e-300
    theta = np.full(len(jumps), 0.5)
    if narrow.any():
        if not narrow.all():
            theta[~narrow] = _bounded(force, jumps[~narrow], normals[~narrow])
        rest = force + (theta * jumps)[~narrow] @ normals[~narrow]
        theta[narrow] = normals[narrow] @ rest > 0.0
        return theta
    from scipy.optimize import lsq_linear

    found = lsq_linear(normals.T, -force, bounds=(lower, upper), method="bvls", tol=1e-15)
    return np.clip(found.x / jumps, 0.0, 1.0)


def interior(force: np.ndarray, jumps: np.ndarray, normals: np.ndarray) -> np.ndarray | None:
    """θ that hold every pair, as far inside [0, 1] as a few tries find; None where nothing holds them all.

    Wanted where normals are dependent (three inputs in a plane, a neuron at the origin) and θ is not unique.
    """
    scale = float(np.linalg.norm(force)) + float(np.abs(jumps).max(initial=0.0))
    if scale == 0.0:
        return np.full(len(jumps), 0.5)
    for edge in (0.25, 0.1, 0.02, 0.0):
        inner = least_norm(force + edge * jumps @ normals, (1.0 - 2.0 * edge) * jumps, normals)
        theta = edge + (1.0 - 2.0 * edge) * inner
        if np.abs(normals @ (force + (theta * jumps) @ normals)).max(initial=0.0) <= 1e-10 * scale:
            return theta
    return None


def resolve(
    signs: np.ndarray,
    kinks: np.ndarray,
    forced: np.ndarray,
    force: np.ndarray,
    jumps: np.ndarray,
    normals: np.ndarray,
    drift: np.ndarray,
    edge: float,
    weak: np.ndarray,
) -> np.ndarray:
    """The signs of one neuron after an event.

    Parameters
    ----------
    signs : (G,) before. kinks : mask of the surfaces the neuron is on. forced : mask of those it just reached or
        cannot stay on. force : (d,), with every kink taken from below. jumps : R (G,). drift : change of θ (G,)
        over the last step. edge : θ within this of an end leaves there (pairs that slid before). weak : mask of
        the surfaces where R has just changed its sign, up to the accuracy of the event.
    """
    after, slid = signs.copy(), signs == 0
    free = np.zeros_like(kinks)
    for g in np.flatnonzero(kinks):
        if jumps[g] < 0.0:
            free[g] = True
        elif forced[g] and not slid[g]:
            after[g] = -signs[g]
        elif slid[g] and jumps[g] > 0.0:
            after[g] = _repelled(drift[g])
    up = kinks & ~free & (after > 0)
    force = force + (jumps * up) @ normals
    chosen = np.flatnonzero(free)
    theta = least_norm(force, jumps[chosen], normals[chosen])
    for g, share in zip(chosen, theta, strict=True):
        room = edge if slid[g] and forced[g] else 0.0
        after[g] = 1 if share >= 1.0 - room else (-1 if share <= room else 0)
        if after[g] == 0 and slid[g] and forced[g] and weak[g]:
            after[g] = _repelled(drift[g])
    # Where R underflowed nothing holds the pair: the velocity carries it across.
    velocity = force + (theta * jumps[chosen]) @ normals[chosen]
    for g in np.flatnonzero(kinks & slid & forced & (jumps == 0.0)):
        after[g] = 1 if normals[g] @ velocity > 0.0 else -1
    return after


def _repelled(drift: float) -> int:
    # R changed its sign: sliding now repels. A smooth activation leaves opposite to the motion of θ.
    return -1 if drift > 0.0 else 1
