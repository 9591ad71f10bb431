"""What a kernel of the Hessian is made of: symmetry, data that do not see a direction, or neither."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from gradlab.analysis.equilibria.rank import rank
from gradlab.analysis.equilibria.rounding import EPS, operations
from gradlab.analysis.equilibria.shaking import entrywise
from gradlab.analysis.equilibria.symmetry import symmetry_orbit
from gradlab.analysis.landscape import critical_dimension
from gradlab.problem.problem import Problem

#: Entries of the Jacobian of the constraints (N C + decayed weights, P) beyond which it is not formed (0.4 GB).
ENTRIES = 5e7
#: Entries of the Jacobian up to which their rounding is measured, and the part of a column at which it is rounding.
SHAKEN, BLURRED = 5e5, 1e-6
#: The neighbour at which the generic rank is measured, relative to ‖W‖: far above rounding, well within a manifold.
NEARBY = 1e-3
#: The sine of the angle by which an explained direction may leave the numerical kernel.
ANGLE = 1e-3


@dataclass(frozen=True)
class Kernel:
    """The kernel of the Hessian at an equilibrium, explained.

    Attributes
    ----------
    dimension : n₀. symmetry : dimension of the orbit of the symmetries of L.
    deficiency : further dimensions in which the outputs on all examples, and the weights that decay holds, stay the
        same along a manifold.
    unexplained : the rest: a degenerate equilibrium, or a symmetry that is not known.
    manifold : symmetry + deficiency, the dimension of the known manifold of equilibria through the point.
    decided : whether gaps of singular values say so. why : one sentence.
    rest : orthonormal basis (P, unexplained) of the unexplained part.
    """

    dimension: int
    symmetry: int
    deficiency: int
    unexplained: int
    manifold: int
    decided: bool
    why: str
    rest: Float[np.ndarray, "P unexplained"]


def explain(
    problem: Problem,
    weights: Any,
    kernel: Float[np.ndarray, "P n"],
    within: float,
    scale: Float[np.ndarray, " P"] | None = None,
) -> Kernel:
    """Explain the kernel with orthonormal basis ``kernel``, the weights known up to ``within`` (2-norm).

    With ``scale`` the kernel is that of D H D, D = diag(scale), and all tangents are taken in coordinates D⁻¹ W.

    *Symmetry* is the orbit of :func:`symmetry_orbit`. *Deficiency* comes from F(W) = (f(W; x_n))_n together with
    the weights that decay holds: where F has constant rank r near W, its fibre through W is a manifold of dimension
    P − r (the constant rank theorem), and L is a function of F alone. The rank is compared with that at a random
    neighbour, where the rank of an analytic F is generic: equal ranks mean constant rank. Where they differ (a
    critical point of F itself), directions with J v = 0 need not be flat, and stay unexplained unless a symmetry moves
    along them.

    At the saddles of a deep linear net they do, along manifolds on which the product stays what it is: where the
    dimension of the critical set is known in closed form and is that of the kernel, nothing is left (the set lies in a
    manifold of that dimension, and is analytic).
    """
    P, n = kernel.shape
    d = np.ones(P) if scale is None else scale
    orbit = symmetry_orbit(problem, weights, within=within)
    moved = np.linalg.qr(orbit.tangent / d[:, None])[0] if (d != d[0]).any() else orbit.tangent
    fibre, error, known, why = _fibre(problem, weights, within, d)
    tangents = np.concatenate([moved, fibre], axis=1)
    # both blocks are orthonormal, each up to the angle its own rank reports
    joint = rank(tangents, orbit.angle + error + P * EPS)
    if orbit.decided and joint.rank < n == critical_dimension(problem, ravel_pytree(weights)[0]):
        why = f"the critical points of the deep linear net form a manifold of dimension {n} here"
        return Kernel(n, orbit.dimension, n - orbit.dimension, 0, n, True, why, np.zeros((P, 0)))
    outside = joint.range - kernel @ (kernel.T @ joint.range)
    angle = float(np.linalg.norm(outside, 2)) if joint.range.size and n else float(joint.rank > 0)
    decided = orbit.decided and known and joint.decided and angle <= ANGLE
    left = kernel - joint.range @ (joint.range.T @ kernel)
    vectors, sizes, _ = (
        np.linalg.svd(left, full_matrices=False) if n else (np.zeros((P, 0)), np.zeros(0), None)
    )
    rest = vectors[:, sizes > 0.5]
    if (d != d[0]).any() and rest.size:
        rest = np.linalg.qr(rest * d[:, None])[0]
    if angle > ANGLE:
        why = (
            f"a direction of symmetry or of the data leaves the numerical kernel by an angle of {angle:.1e}: the "
            "point is not near enough to the equilibrium, or eigenvalues below the gap are not zero"
        )
    elif not orbit.decided:
        why = f"the orbit's dimension is undecided: {orbit.why}"
    elif not joint.decided:
        why = f"the angle between orbit and fibre is undecided: {joint.why}"
    return Kernel(
        dimension=n,
        symmetry=orbit.dimension,
        deficiency=joint.rank - orbit.dimension,
        unexplained=n - joint.rank,
        manifold=joint.rank,
        decided=decided,
        why=why,
        rest=rest,
    )


def _fibre(
    problem: Problem, weights: Any, within: float, d: Float[np.ndarray, " P"]
) -> tuple[np.ndarray, float, bool, str]:
    """Tangent of the fibre of F where its rank is constant, else nothing; its angle; whether decided; a sentence."""
    flat, unravel = ravel_pytree(weights)
    start = np.asarray(flat)
    none = np.zeros((len(flat), 0))
    if why := problem.inspected(weights).interacts:
        return none, 0.0, False, f"examples interact, and the data's part of the kernel is not asked: {why}"
    if count := _blurred(problem, weights):
        why = f"the outputs move with {count} of the weights by less than rounding (saturated units?)"
        return none, 0.0, False, why
    rows = problem.data.inputs.shape[0] * problem.network.outputs
    if rows * len(flat) > ENTRIES:
        return (
            none,
            0.0,
            False,
            f"the Jacobian of the outputs has {rows} × {len(flat)} entries and is not formed",
        )
    step = np.random.default_rng(0).standard_normal(len(flat))
    step /= np.linalg.norm(step)
    size = float(np.linalg.norm(flat)) or 1.0
    near = _constraints(problem, unravel(jnp.asarray(start + NEARBY * size * step))) * d
    here = _constraints(problem, weights) * d
    # a first-order bound of how the Jacobian changes within the uncertainty, from the change to the neighbour
    slope = float(np.linalg.norm(near - here)) / (NEARBY * size)
    noise = operations(problem, weights) * EPS * float(np.linalg.norm(here))
    at, by = rank(here, slope * within + noise), rank(near, noise)
    if not (at.decided and by.decided):
        return none, 0.0, False, f"the rank of the Jacobian is undecided: {(by if at.decided else at).why}"
    if at.rank == by.rank:
        return (
            at.kernel,
            at.angle,
            True,
            f"the Jacobian of the outputs (and decay) has constant rank {at.rank}",
        )
    return none, 0.0, True, f"the Jacobian of the outputs (and decay) has rank {at.rank}, near by {by.rank}"


def _blurred(problem: Problem, weights: Any) -> int:
    """How many weights have a column of the Jacobian that is rounding, and not exactly zero."""
    rows, size = problem.data.inputs.shape[0] * problem.network.outputs, problem.size
    if rows * size > SHAKEN:
        return 0
    jacobian, error = entrywise(_output_jacobian, problem, weights)
    seen, off = (np.linalg.norm(part.reshape(-1, size), axis=0) for part in (jacobian, error))
    return int(np.sum((off > BLURRED * seen) & (off > 0.0)))


def _output_jacobian(problem: Problem, weights: Any) -> Any:
    return problem.output_jacobian(weights)


def _constraints(problem: Problem, weights: Any) -> np.ndarray:
    """∂F/∂W (N C + decayed weights, P)."""
    size = len(ravel_pytree(weights)[0])
    jacobian = np.asarray(problem.output_jacobian(weights)).reshape(-1, size)
    roots = decay_roots(problem, weights)
    held = np.diag(roots)[roots > 0.0]
    scale = float(np.linalg.norm(jacobian, 2)) if jacobian.any() else 1.0
    # rows of one size: only their span matters
    return (
        np.concatenate([jacobian, scale * held / np.where(held > 0.0, held, 1.0)]) if len(held) else jacobian
    )


def decay_roots(problem: Problem, weights: Any) -> np.ndarray:
    """√λ of every weight, (P,)."""
    layers = problem.network.layers(weights)
    decays = np.sqrt(np.broadcast_to(np.asarray(problem.decay), len(layers)))
    filled = [_filled(layer, value) for layer, value in zip(layers, decays, strict=True)]
    return np.asarray(ravel_pytree(problem.network.rebuild(filled))[0])


def _filled(layer: Any, value: float) -> Any:
    flat, unravel = ravel_pytree(layer)
    return unravel(jnp.full_like(flat, value))
