"""Worlds of the studies of single points: other Hessians, other fields, other weights."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gradlab.analysis.equilibria import minimising
from gradlab.claims.cases import Case
from gradlab.claims.looks.field_points import FieldPoint
from gradlab.observe.layers import layer_of
from gradlab.observe.local import local, outputs
from gradlab.problem.data import Data
from gradlab.problem.problem import Problem
from worlds import World, noisy, orbit, seen

# Hessians ---------------------------------------------------------------------------------------------------


def other_hessian(name: str, change: Callable[[np.ndarray, Any], np.ndarray], *, true: bool = False) -> World:
    """Another Hessian, ``change(H, look)``, wherever the study sees one."""

    def changed(kind: Any) -> type:
        def eigen(look: Any) -> Any:
            found = kind.eigen.func(look)
            return found._replace(values=np.linalg.eigvalsh(change(found.here.hessian, look)))

        def hessian(look: Any) -> np.ndarray:
            return change(kind.hessian.func(look), look)

        body = {"eigen": cached_property(eigen), "hessian": cached_property(hessian)}
        return type(kind.__name__, (kind,), body | {"__module__": f"{kind.__module__}, {name}"})

    return World(name, look=changed, noisy=true)


def shifted(size: float = 1e-3) -> World:
    """Hessian + size · ‖H‖₂ I."""
    return other_hessian(
        f"Hessian + {size:g} I", lambda H, _: H + size * np.linalg.norm(H, 2) * np.eye(len(H))
    )


def across_dropped() -> World:
    """Without derivatives across layers."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        layer = layer_of(look.problem.network)
        return np.where(layer[:, None] == layer[None, :], H, 0.0)

    return other_hessian("no derivatives across layers", change)


def bent_down(size: float = 1e-2) -> World:
    """One random direction along which the potential falls."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        v = np.random.default_rng(4).standard_normal(len(H))
        v /= np.linalg.norm(v)
        return H - (v @ H @ v + size * np.linalg.norm(H, 2)) * np.outer(v, v)

    return other_hessian("one direction bent down", change)


def flattened() -> World:
    """The steepest direction flat: one zero eigenvalue more."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        values, vectors = np.linalg.eigh(H)
        return H - values[-1] * np.outer(vectors[:, -1], vectors[:, -1])

    return other_hessian("the steepest direction flat", change)


def lifted_kernel(keep: int, size: float = 1e-3) -> World:
    """The kernel bent upwards, but for so many directions."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        values, vectors = np.linalg.eigh(H)
        low = vectors[:, np.abs(values) < 1e-9 * np.abs(values).max(initial=0.0)][:, keep:]
        return H + size * np.linalg.norm(H, 2) * low @ low.T

    return other_hessian(f"a kernel of {keep}", change)


def without_residuals() -> World:
    """Σ ∂f ℓ'' ∂fᵀ + λ only."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        here = local(look.problem, look.end)
        return here.squares + np.diag(here.decay)

    return other_hessian("no second derivatives of f", change)


def rounded(size: float = 1e-15) -> World:
    """True but rounded otherwise: symmetric noise of that share, another one in the second look."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        noise = np.random.default_rng(zlib.crc32(H.tobytes())).standard_normal(H.shape)
        return H + size * np.linalg.norm(H, 2) * (noise + noise.T) / np.sqrt(len(H))

    return other_hessian(f"Hessian rounded at {size:g}", change, true=True)


def two_values() -> World:
    """Eigenvalues of two values only, half of them 0."""

    def change(H: np.ndarray, look: Any) -> np.ndarray:
        values, vectors = np.linalg.eigh(H)
        top = values[-1] * (np.arange(len(values)) >= len(values) // 2)
        return (vectors * top) @ vectors.T

    return other_hessian("a Hessian of two values", change)


DOUBLED = other_hessian("Hessian doubled", lambda H, _: 2.0 * H)
TURNED = other_hessian("Hessian of −L", lambda H, _: -H)
SADDLE = other_hessian("the steepest direction turned round", lambda H, look: _mirrored(H))


def _mirrored(H: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(H)
    return H - 2.0 * values[-1] * np.outer(vectors[:, -1], vectors[:, -1])


def an_example_unseen() -> World:
    """∂f/∂W of all examples but the first."""

    def change(eigen: Any, look: Any) -> Any:
        jacobian = eigen.here.jacobian.copy()
        jacobian[0] = 0.0
        return eigen._replace(here=eigen.here._replace(jacobian=jacobian))

    return seen("∂f of an example missing", eigen=change)


def origin_without_layers() -> World:
    """At W = 0 the layers do not act on one another: the Hessian there is the decay alone."""

    def change(here: Any, look: Any) -> Any:
        return here._replace(squares=0.0 * here.squares, curved=0.0 * here.curved)

    return seen("no coupling of layers at W = 0", at_origin=change)


# Weights ----------------------------------------------------------------------------------------------------


def tied_units() -> World:
    """Weights at which every hidden unit is the same, their labels the signs of what the net then says."""

    def changed(case: Case) -> Case:
        problem, vector = case.problem, np.asarray(case.trajectory["final_weights"].values)
        network = problem.network
        if len(network.widths) != 3:
            return case
        d, h, _ = network.widths
        tied = np.concatenate([np.tile(vector[:d], h), np.full(h, vector[h * d])])
        labels = jnp.asarray(np.where(outputs(problem, tied)[:, 0] > 0.0, 1.0, -1.0))
        told = eqx.tree_at(lambda p: p.data.targets, problem, labels)
        return replace(case, problem=told, trajectory=case.trajectory.assign(final_weights=("weight", tied)))

    return World("hidden units tied", changed)


def leak_of_one_layer() -> World:
    """The one-layer flow moved into the null space of its data, by twice the size of its start."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        if len(rows) < 2 or len(case.problem.network.widths) != 2:
            return rows
        x, rows = np.asarray(case.problem.data.inputs), rows.copy()
        aside = np.random.default_rng(3).standard_normal(x.shape[1])
        aside -= np.linalg.pinv(x) @ (x @ aside)
        rows[-1] += 2.0 * np.linalg.norm(rows[0]) * aside / np.linalg.norm(aside)
        return rows

    return orbit("a leak into the null space", change)


def told_of_more() -> World:
    """Many more examples than weights, which the same weights fit: the Hessian has no kernel there."""

    def changed(case: Case) -> Case:
        problem = case.problem
        x = np.random.default_rng(4).standard_normal((3 * problem.size, *problem.network.input_shape))
        bare = Problem(problem.network, problem.loss, Data(x, np.zeros((len(x), problem.network.outputs))))
        y = outputs(bare, np.asarray(case.trajectory["weights"].values[-1]))
        return replace(case, problem=Problem(problem.network, problem.loss, Data(x, y)))

    return World("more examples than weights", changed)


def starts_beside() -> World:
    """Starts that have the part of the end in the kernel of ∂f/∂W there: nothing moves in it."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        rows, end = rows.copy(), rows[-1]
        J = local(case.problem, end).rows
        kernel = np.linalg.svd(J)[2][np.linalg.matrix_rank(J) :]
        rows[0] += kernel.T @ (kernel @ (end - rows[0]))
        return rows

    return orbit("starts that have the end's part in the kernel", change)


def rests_at_end() -> World:
    """Orbits that were at their end, to a millionth, all the time."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        return np.concatenate([rows[-1] + 1e-9 * (rows[:-1] - rows[-1]), rows[-1:]])

    return orbit("orbits that rest at their end", change)


def ends_of_least_norm() -> World:
    """Flows that end where the weights are orthogonal to the kernel of ∂f/∂W."""

    def change(rows: np.ndarray, case: Case) -> np.ndarray:
        if len(rows) < 2:
            return rows
        rows, end = rows.copy(), rows[-1]
        for _ in range(200):
            J = local(case.problem, end).rows
            inside = J.T @ np.linalg.lstsq(J.T, end, rcond=None)[0]
            end = minimising.interpolant(case.problem, 0.5 * (end + inside))
        rows[-1] = end
        return rows

    return orbit("ends of least norm", change)


def faster_gradient(factor: float = 1.001) -> World:
    """A gradient that is larger than that of L."""
    return seen(f"gradient times {factor:g}", gradient=lambda value, look: factor * value)


def gradient_beside() -> World:
    """A gradient with a thousandth beside its true direction."""

    def change(value: np.ndarray, look: Any) -> np.ndarray:
        aside = np.random.default_rng(3).standard_normal(value.shape)
        return value + 1e-3 * np.linalg.norm(value) * aside / np.linalg.norm(aside)

    return seen("a gradient turned by 1e-3", gradient=change)


# Fields -----------------------------------------------------------------------------------------------------


def other_field(name: str, **methods: Callable[..., Any]) -> World:
    """Points at which the study's field, or what it is told of the loss, is another one."""

    def changed(kind: Any) -> type:
        body = {"point": type("Other", (FieldPoint,), methods)}
        return type(kind.__name__, (kind,), body | {"__module__": f"{kind.__module__}, {name}"})

    return World(name, look=changed)


def _fast(point: FieldPoint, points: np.ndarray) -> Any:
    found = FieldPoint.derivatives(point, points)
    for part in (found.gradients, found.changes):
        part[:, -1] *= 1.001
    return found


def _turning(point: FieldPoint, points: np.ndarray) -> Any:
    """∇L + S W, S skew: no gradient field."""
    found, size = FieldPoint.derivatives(point, points), point.vector.size
    S = np.random.default_rng(2).standard_normal((size, size))
    S = 1e-3 * (S - S.T) * np.linalg.norm(found.gradients[0, -1]) / size
    at = np.concatenate([np.tile(point.vector, (len(point.q), 1)), points])
    found.gradients[:, -1] += at @ S.T
    found.changes[: len(point.q), -1] += point.q @ S.T
    return found


def _stiff(point: FieldPoint, points: np.ndarray) -> Any:
    """A field that bends otherwise than the second derivatives say: 1e-3 of a cubic in the distance from W."""
    found = FieldPoint.derivatives(point, points)
    away = points - point.vector
    found.gradients[len(point.q) :, -1] += 1e-3 * np.linalg.norm(found.changes[: len(point.q), -1]) * away
    return found


def _straight(point: FieldPoint, points: np.ndarray) -> Any:
    """f without second derivatives."""
    found = FieldPoint.derivatives(point, points)
    found.changes[: len(point.q), :-1] = 0.0
    return found


FIELDS = (
    other_field("a flow 1.001 times as fast", derivatives=_fast),
    other_field("a field that turns", derivatives=_turning),
    other_field("another field beside W", derivatives=_stiff),
    other_field("f without second derivatives", derivatives=_straight),
)

SQUARES = (shifted(), across_dropped(), DOUBLED, bent_down(), noisy(1e-15))
CROSS = (shifted(), across_dropped(), DOUBLED, without_residuals(), noisy(1e-6))
DEEP = (
    shifted(),
    without_residuals(),
    faster_gradient(),
    leak_of_one_layer(),
    ends_of_least_norm(),
    noisy(1e-11),
)
ISOLATED = (
    lifted_kernel(0),
    gradient_beside(),
    seen("no other zero of the loss", walk=lambda distance, look: 0.0),
    rounded(),
)
MINIMA = (bent_down(), TURNED, SADDLE, rounded())

WORLDS = {
    "memo90.gauss-newton": SQUARES,
    "memo90.gauss-newton-corrected": (*SQUARES, lifted_kernel(0)),
    "memo90.cross-layer": CROSS,
    "memo90.cross-layer-corrected": (*CROSS, tied_units(), two_values()),
    "memo90.theorem4": (shifted(), lifted_kernel(0), lifted_kernel(1), noisy(1e-15)),
    "memo90.jacobian": (*FIELDS, noisy(1e-6), noisy(1e-15)),
    "notes.deep-hessian": DEEP,
    "notes.degenerate-during": (
        starts_beside(),
        rests_at_end(),
        ends_of_least_norm(),
        told_of_more(),
        seen("one zero of the loss, wherever it is sought", other=lambda other, look: look.limit),
        noisy(1e-13),
    ),
    "notes.no-equilibrium": ISOLATED,
    "notes.no-equilibrium-corrected": (*ISOLATED, flattened()),
    "notes.deep-hessian-corrected": DEEP,
    "memo90.lemma2": MINIMA,
    "memo90.lemma2-corrected": (*MINIMA, shifted(), flattened(), lifted_kernel(0), an_example_unseen()),
    "memo90.regularised-square": MINIMA,
    "memo90.regularised-square-corrected": (
        *MINIMA,
        origin_without_layers(),
        shifted(),
        flattened(),
        lifted_kernel(0),
        without_residuals(),
    ),
}
