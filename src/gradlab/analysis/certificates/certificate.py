"""Certificates of equilibria: what is proved about a point, or why nothing is."""

from __future__ import annotations

import decimal
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.analysis.certificates.balls import Refusal, arithmetic, middles, norm, vector
from gradlab.analysis.certificates.enclosure import Enclosure, enclosure
from gradlab.analysis.certificates.existence import Bordered, Interpolation, radii
from gradlab.analysis.certificates.generators import Gauge, gauge
from gradlab.analysis.certificates.signature import Enclosed, enclosed_eigenvalues, signs
from gradlab.analysis.equilibria.scaling import equilibrated
from gradlab.problem.losses import Square
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem


@dataclass(frozen=True)
class Certificate:
    """A proof in ball arithmetic, or an honest refusal. All radii are in the maximum norm over weights.

    Attributes
    ----------
    proved : whether ``statement`` is proved; if not, ``statement`` is empty and ``why`` says why and what to do.
    kind : ``"minimum"``, ``"saddle"``, ``"maximum"``, followed by ``" modulo symmetry"`` or by
        ``" of a manifold of zero loss"``; ``""`` if refused.
    radius : r, an equilibrium exists within r of the given weights.
    uniqueness : R ≥ r, it is the only one within R (modulo symmetry: in the slice through the point that is
        orthogonal to the symmetry; of a manifold of zero loss: 0, nothing is claimed).
    index, kernel, positive : the exact inertia of the Hessian at the equilibrium; −1 if refused.
    symmetry : dimensions that each kind of symmetry spans at the point (they may overlap).
    gap : a proved lower bound of the smallest non-zero |eigenvalue| there; 0 where none is proved.
    eigenvalues : proved lower and upper bounds of all eigenvalues there, ascending; None if refused.
    residual, nonsingularity, contraction : Y, Z(0), Z(r) of Newton–Kantorovich, as far as it came.
    size, bits : number of weights; precision of the balls.
    """

    proved: bool
    statement: str
    why: str
    size: int
    bits: int
    kind: str = ""
    radius: float = np.inf
    uniqueness: float = 0.0
    index: int = -1
    kernel: int = -1
    positive: int = -1
    symmetry: dict[str, int] = field(default_factory=dict)
    gap: float = 0.0
    eigenvalues: Enclosed | None = field(default=None, repr=False)
    residual: float = np.nan
    nonsingularity: float = np.nan
    contraction: float = np.nan


def rounded(value: float, direction: str) -> str:
    """Two digits of a number, rounded ``"up"`` or ``"down"``, so that what is printed is proved too."""
    way = decimal.ROUND_CEILING if direction == "up" else decimal.ROUND_FLOOR
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    context = decimal.Context(prec=2, rounding=way)
    return f"{context.create_decimal(decimal.Decimal(value)):.1e}"


@float64
def certify(
    problem: Problem,
    weights: Any,
    *,
    within: float | None = None,
    index: int | None = None,
    precision: int = 128,
) -> Certificate:
    """This proves that an equilibrium exists close to ``weights``, with its exact inertia, or refuses.

    Newton–Kantorovich in ball arithmetic for ∇L = 0: existence within r, uniqueness within R, and, as the Hessian is
    nonsingular on the whole box, its inertia at the equilibrium from that at the point. Where the exact symmetries of
    the network move the point (linear layers, rescalings, shifts), k gauge conditions are added, and the orbit is
    proved to be a normally hyperbolic manifold of equilibria of dimension exactly k. Where that fails and L is a
    square loss without decay, a manifold of zero loss is tried. Nothing is assumed beyond the formula of the network;
    the data count as the float64 numbers that they are. Give polished weights: the proof is about exactly these.

    Parameters
    ----------
    problem : a :class:`~gradlab.problem.dense.Dense` network with a smooth, polynomial or (away from its kinks)
        piecewise activation, and Square, even Lp, Exponential, Logistic or CrossEntropy loss.
    weights : the point, a pytree of the network.
    within : a proof with a larger r is refused.
    index : the number of negative eigenvalues that is to be proved; another number is refused.
    precision : bits of the balls. 53 would serve most points; more cost little.

    Raises
    ------
    ValueError : weights of another network, ``within`` not positive, ``precision`` below 53.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> origin = (np.zeros((1, 1)), np.zeros((1, 1)))
    >>> proof = gl.equilibria.certify(problem, origin)
    >>> proof.proved, proof.kind, proof.index
    (True, 'saddle', 1)
    """
    if precision < 53:
        raise ValueError(f"precision was {precision} bits; give 53 or more")
    if within is not None and not within > 0:
        raise ValueError(f"within was {within}; give the largest radius that is of use, > 0, or None")
    problem.network.check(weights)
    point = np.asarray(problem.ravel(weights), dtype=np.float64)
    refused: dict[str, Any] = {"size": problem.size, "bits": precision}
    if not np.isfinite(point).all():
        return Certificate(False, "", "the weights are not all finite; give a finite point", **refused)
    with arithmetic(precision):
        try:
            form = enclosure(problem)
            answer = _certified(form, point, precision)
        except Refusal as refusal:
            return Certificate(False, "", str(refusal), **refused)
    return _demanded(answer, within, index)


def _demanded(answer: Certificate, within: float | None, index: int | None) -> Certificate:
    """The certificate if it says what was asked for, else a refusal."""
    if not answer.proved:
        return answer
    why = ""
    if within is not None and answer.radius > within:
        why = (
            f"an equilibrium is proved only within {rounded(answer.radius, 'up')} of this point, not within "
            f"{within:g}: polish the weights, or ask for less"
        )
    elif index is not None and answer.index != index:
        why = f"the index is {answer.index}, proved, and not {index}"
    if not why:
        return answer
    return Certificate(
        False,
        "",
        why,
        answer.size,
        answer.bits,
        residual=answer.residual,
        nonsingularity=answer.nonsingularity,
        contraction=answer.contraction,
    )


def _certified(form: Enclosure, point: Float[np.ndarray, " P"], bits: int) -> Certificate:
    fixed = gauge(form, point)
    system = Bordered(form, point, fixed)
    answer = _by_newton(system, fixed, bits)
    if not answer.proved and isinstance(form.problem.loss, Square) and not form.decay.any():
        other = _by_interpolation(form, point, bits)
        if other is not None:
            return other
    return answer


def _by_newton(system: Bordered, fixed: Gauge, bits: int) -> Certificate:
    size, k = system.form.size, fixed.dimension
    hessian = middles(system.at_point)[:size, :size]
    common: dict[str, Any] = {"size": size, "bits": bits}
    if not system.invertible:
        return Certificate(False, "", _singular(hessian, fixed), **common)
    Y, Z0 = system.residual(), system.contraction(0.0)
    found = radii(Y, Z0, system.contraction)
    common |= {"residual": Y, "nonsingularity": Z0, "contraction": found.contraction}
    if found.existence is None:
        if found.why == "singular":
            return Certificate(False, "", _singular(hessian, fixed), **common)
        return Certificate(False, "", _far(Y), **common)
    r = found.existence
    if not system.multipliers_vanish(r):
        why = "the symmetry's directions are not independent on the box around this point; polish the weights"
        return Certificate(False, "", why, **common)
    counted = signs(system.at_point)
    if counted.undecided:
        why = (
            f"{counted.undecided} eigenvalues of the Hessian are too close to 0 for their signs to be proved in "
            "float64 eigenvectors; rescale the problem"
        )
        return Certificate(False, "", why, **common)
    index, positive = counted.negative - k, counted.positive - k
    spectrum = enclosed_eigenvalues(system.form.hessian(vector(system.point, r)))
    apart = np.concatenate([-spectrum.upper[:index], spectrum.lower[index + k :]])
    common |= {
        "radius": r,
        "uniqueness": found.uniqueness,
        "index": index,
        "kernel": k,
        "positive": positive,
        "symmetry": fixed.parts,
        "gap": float(max(0.0, apart.min(initial=np.inf))) if len(apart) else 0.0,
        "eigenvalues": spectrum,
    }
    kind = "minimum" if index == 0 else "saddle" if positive else "maximum"
    if not k:
        return Certificate(True, _isolated(kind, size, index, r, found.uniqueness), "", kind=kind, **common)
    statement = _orbit(size, index, k, r, found.uniqueness)
    return Certificate(True, statement, "", kind=f"{kind} modulo symmetry", **common)


def _by_interpolation(form: Enclosure, point: Float[np.ndarray, " P"], bits: int) -> Certificate | None:
    """A manifold of zero loss near the point, or None where it cannot be proved."""
    jacobian = middles(form.jacobian(vector(point)))
    rank, size = jacobian.shape
    if rank > size or not np.isfinite(jacobian).all():
        return None
    system = Interpolation(form, point, np.linalg.pinv(jacobian))
    Y, Z0 = system.residual(), system.contraction(0.0)
    found = radii(Y, Z0, system.contraction)
    if found.existence is None:
        return None
    box = system.box(found.existence)
    r = norm([entry - middle for entry, middle in zip(box, vector(point), strict=True)])
    spectrum = enclosed_eigenvalues(form.hessian(box))
    kernel = size - rank
    statement = (
        f"A point of zero loss exists within {rounded(r, 'up')} (every weight) of this one. The points of zero loss "
        f"around it are a manifold of dimension exactly {kernel} of {size}, all of them global minima, and it is "
        f"normally hyperbolic: the Hessian there has exactly {rank} positive and {kernel} zero eigenvalues."
    )
    return Certificate(
        True,
        statement,
        "",
        size,
        bits,
        "minimum of a manifold of zero loss",
        r,
        0.0,
        0,
        kernel,
        rank,
        {},
        float(max(0.0, spectrum.lower[kernel])),
        spectrum,
        Y,
        Z0,
        found.contraction,
    )


# Sentences -------------------------------------------------------------------------------------------------


def _where(r: float) -> str:
    if r == 0:
        return "This point is an equilibrium, exactly"
    return f"An equilibrium exists within {rounded(r, 'up')} (every weight) of this point"


def _isolated(kind: str, size: int, index: int, r: float, R: float) -> str:
    what = "a strict local minimum" if index == 0 else f"a {kind}"
    definite = (
        "positive definite (index exactly 0)" if index == 0 else f"nonsingular of index exactly {index}"
    )
    return (
        f"{_where(r)}, it is the only one within {rounded(R, 'down')}, and its Hessian ({size} × {size}) is "
        f"{definite}: {what}, hyperbolic."
    )


def _orbit(size: int, index: int, k: int, r: float, R: float) -> str:
    what = "minima" if index == 0 else "equilibria"
    return (
        f"{_where(r)}. By the network's symmetries it lies on a manifold of {what} of dimension exactly {k}, normally "
        f"hyperbolic: the Hessian there has exactly {index} negative, {k} zero and {size - index - k} positive "
        "eigenvalues. In the slice through this point orthogonal to the symmetries it is the only equilibrium within "
        f"{rounded(R, 'down')}."
    )


def _singular(hessian: Float[np.ndarray, "P P"], fixed: Gauge) -> str:
    values = np.zeros(0)
    if np.isfinite(hessian).all():
        # scaled to rows of one size: a small eigenvalue in a unit of its own is no zero
        d = equilibrated(hessian, np.zeros_like(hessian))
        values = np.abs(np.linalg.eigvalsh(hessian * d[:, None] * d))
    # a rounding-level count for the sentence only: P·eps·‖H‖ is the error of a computed eigenvalue
    zeros = int(np.sum(values <= 8 * len(values) * np.finfo(np.float64).eps * values.max(initial=0.0)))
    if zeros <= fixed.dimension:
        return (
            "the Hessian at this point is too ill-conditioned for an inverse in float64 to prove anything "
            f"(its symmetries, of dimension {fixed.dimension}, taken out): rescale the problem, or add weight decay"
        )
    return (
        f"the Hessian is singular to rounding at this point ({zeros} of {len(hessian)} eigenvalues, of which the "
        f"symmetries that are known exactly explain {fixed.dimension}), so no isolated equilibrium or orbit can be "
        "proved there: add weight decay, or move to another equilibrium"
    )


def _far(residual: float) -> str:
    return (
        f"Newton's step from this point ({residual:.1e}) is too long for the curvature (or the kinks) around it: no "
        "equilibrium can be proved close by; polish the weights first"
    )
