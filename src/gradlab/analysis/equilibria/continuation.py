"""Branches of equilibria in the decay λ: predicted by the tangent, corrected by polishing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradlab.analysis.equilibria.classification import assessed
from gradlab.analysis.equilibria.inertia import Inertia
from gradlab.analysis.equilibria.polishing import Polished, checked, polish
from gradlab.analysis.equilibria.rounding import EPS
from gradlab.analysis.equilibria.signature import Signature, signature
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem

#: Where predictor and corrector, or the secant and the tangent at its end, differ by more than this part of themselves,
#: the corrector may have left the branch. (Where a branch ends in another at a pitchfork they differ by their whole.)
TRUST = 0.5
#: Halvings of one interval of λ at most.
HALVINGS = 8


@dataclass(frozen=True)
class Station:
    """An equilibrium on a branch: its decay, the polished point, inertia, the least non-zero |λ_i| and the tangent.

    least : the least |eigenvalue| counted non-zero. speed : ‖dW/dλ‖ of least norm, ∞ where the equation for the tangent
    has no solution: the branch folds or ends there.
    """

    decay: float
    polished: Polished
    inertia: Inertia
    least: float
    speed: float


@dataclass(frozen=True)
class Branch:
    """A branch of equilibria.

    Attributes
    ----------
    stations : one for every λ asked for, as far as the branch was followed.
    changes : (λ before, λ after, a sentence) wherever the inertia changed between two stations.
    complete : whether all λ were reached. why : one sentence.
    """

    stations: tuple[Station, ...]
    changes: tuple[tuple[float, float, str], ...]
    complete: bool
    why: str


@float64
def follow(problem: Problem, weights: Any, decays: Sequence[float]) -> Branch:
    """This follows the equilibrium near ``weights`` through the decays λ given, in their order.

    Differentiating ∇risk(W) + λ W = 0 (one λ for all layers) gives the tangent of least norm

        dW/dλ = −H⁺ W,

    the predictor is W + Δλ dW/dλ, the corrector :func:`polish`. Where the corrector moves further than the predictor
    explains, the tangent at the end does not fit the secant, or nothing converges, the interval is halved, at most
    ``HALVINGS`` times; then the branch ends. Between two stations whose inertia differs an eigenvalue crossed zero: a
    bifurcation or the birth of a kernel (λ → 0). What branches off there is not followed. A change back and forth
    between two stations is not seen.

    Hypotheses: L twice differentiable along the branch (unchecked); a few thousand weights, the Hessian is dense.

    Raises
    ------
    ValueError
        For no or negative decays, and weights that do not fit, are float32, or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1)), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]), 0.5)
    >>> branch = gl.equilibria.follow(problem, (np.array([[2.0]]),), [0.5, 0.2])
    >>> [round(float(station.polished.weights[0][0, 0]), 6) for station in branch.stations]  # 3/(1 + λ)
    [2.0, 2.5]
    """
    problem, weights = checked(problem, weights)
    lambdas = np.asarray(decays, dtype=np.float64)
    if lambdas.ndim != 1 or not lambdas.size or not (np.isfinite(lambdas).all() and (lambdas >= 0.0).all()):
        raise ValueError(
            f"decays was {decays!r}; give numbers λ ≥ 0 in the order of the branch, e.g. (0.1, 0.05, 0.02)"
        )
    first = polish(_with(problem, lambdas[0]), weights)
    if not first.converged:
        return Branch((), (), False, f"no equilibrium at λ = {lambdas[0]:g}: {first.why}")
    stations = [_station(problem, float(lambdas[0]), first)]
    for target in lambdas[1:]:
        reached = _advance(problem, stations[-1], float(target))
        if isinstance(reached, str):
            return Branch(tuple(stations), _changes(stations), False, reached)
        stations.append(reached)
    return Branch(tuple(stations), _changes(stations), True, f"followed through {len(stations)} values of λ")


def _with(problem: Problem, decay: float) -> Problem:
    return eqx.tree_at(lambda p: p.decay, problem, jnp.asarray(decay, jnp.float64))


def _advance(problem: Problem, start: Station, target: float) -> Station | str:
    """The station at λ = target, by steps that halve where the corrector says so."""
    here, step, halvings = start, target - start.decay, 0
    while here.decay != target:
        to = target if abs(target - here.decay) <= abs(step) * (1.0 + 1e-12) else here.decay + step
        found = _corrected(problem, here, to)
        if found is not None:
            here = found
            continue
        halvings += 1
        if halvings > HALVINGS:
            return f"the branch ends or turns between λ = {here.decay:g} and {to:g}: no equilibrium near the prediction"
        step = (to - here.decay) / 2.0
    return here


def _corrected(problem: Problem, here: Station, to: float) -> Station | None:
    flat, unravel = ravel_pytree(here.polished.weights)
    tangent, speed = _tangent(_with(problem, here.decay), here)
    if not np.isfinite(speed):
        tangent = np.zeros_like(tangent)
    move = (to - here.decay) * tangent
    found = polish(_with(problem, to), unravel(flat + jnp.asarray(move)))
    size = max(float(np.linalg.norm(flat)), float(np.linalg.norm(move)))
    rounding = 1e3 * EPS * size
    if not found.converged or found.moved > TRUST * float(np.linalg.norm(move)) + rounding:
        return None
    station = _station(problem, to, found)
    secant = np.asarray(ravel_pytree(found.weights)[0]) - np.asarray(flat)
    ahead, speed = _tangent(_with(problem, to), station)
    apart = float(np.linalg.norm(secant - (to - here.decay) * ahead))
    if np.isfinite(speed) and apart > TRUST * float(np.linalg.norm(secant)) + rounding:
        return None
    return station


def _station(problem: Problem, decay: float, found: Polished) -> Station:
    at = _with(problem, decay)
    signs, count, _ = assessed(at, found)
    least = float(np.abs(signs.values[signs.kept]).min(initial=np.inf))
    station = Station(decay, found, count, least, 0.0)
    return Station(decay, found, count, least, _tangent(at, station, signs)[1])


def _tangent(
    problem: Problem, station: Station, signs: Signature | None = None
) -> tuple[Float[np.ndarray, " P"], float]:
    """dW/dλ = −H⁺ ∂∇L/∂λ, and its norm; ∞ where ∂∇L/∂λ is not in the range of H."""
    signs = signs or signature(problem, station.polished)
    values, vectors, bounds, kept = signs.values, signs.vectors, signs.bounds, signs.kept
    weights = station.polished.weights
    push = np.asarray(ravel_pytree(jax.tree.map(jnp.asarray, weights))[0])  # ∂∇L/∂λ = W
    along = vectors.T @ push
    outside = float(np.linalg.norm(along[~kept]))
    tangent = -vectors[:, kept] @ (along[kept] / values[kept])
    size = float(np.linalg.norm(push))
    # a kernel vector is known up to the angle bound/gap
    angle = float(bounds.max(initial=0.0)) / station.least if np.isfinite(station.least) else 0.0
    if outside > 1e3 * (angle + len(push) * EPS) * size + 1e-300:
        return tangent, np.inf
    return tangent, float(np.linalg.norm(tangent))


def _changes(stations: list[Station]) -> tuple[tuple[float, float, str], ...]:
    changes = []
    for before, after in pairwise(stations):
        a, b = before.inertia, after.inertia
        if not (a.decided and b.decided):
            changes.append((before.decay, after.decay, "the inertia is undecided at one of the two"))
        elif (a.negative, a.zero, a.positive) != (b.negative, b.zero, b.positive):
            what = "the kernel changes" if a.zero != b.zero else "eigenvalues cross zero"
            changes.append(
                (
                    before.decay,
                    after.decay,
                    f"{what}: inertia ({a.negative}, {a.zero}, {a.positive}) becomes "
                    f"({b.negative}, {b.zero}, {b.positive})",
                )
            )
    return tuple(changes)
