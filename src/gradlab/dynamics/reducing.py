"""Whether a deep linear net moves in fewer variables, from its data and start: found on the host, decided by gaps.

What would be a rank that rounding decides is no reduction: a singular value counts as zero below some roundings of its
layer, and otherwise has to be a million times that.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.reduced import ModeFlow, SubspaceFlow
from gradlab.problem.dense import Dense
from gradlab.problem.ensembles import unchecked
from gradlab.problem.losses import Square
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem
from gradlab.problem.statistics import break_even, condensed

EPS = float(np.finfo(np.float64).eps)
#: Singular values of a layer's part up to NOISE roundings of it are zero, from SEEN on not; between, undecided.
NOISE, SEEN = 64.0, 64e6
#: By how much layers and data may miss common singular vectors, relative to their weakest mode: what is off grows with
#: the modes, and would end as so much of them.
OFF = 1e-11
#: Matrices whose commutator is so large, relatively, have no common eigenvectors: nothing else is tried.
APART = 1e-10


def reducible(problem: Problem) -> str | None:
    """Why a problem's flow has no reduction, whatever the start, in a sentence; None where it may."""
    network = problem.network
    if not isinstance(network, Dense) or not network.linear or len(network.widths) < 3:
        return (
            f"only deep linear nets are reduced; this is {network!r}: write Dense.deep_linear(widths), or leave out "
            "reduce=True"
        )
    if not problem.loss.smooth:
        return f"{type(problem.loss).__name__} has kinks: leave out reduce=True"
    return None


@float64
def by_subspaces(problem: Problem, weights: Any) -> tuple[SubspaceFlow | None, str]:
    """The flow inside the least invariant subspaces that hold the start; or None and why, in a clause.

    Cost: a few singular value decompositions a layer.
    """
    layers = [np.asarray(layer, np.float64) for layer in weights]
    spaces, why = _spaces(problem, layers)
    if spaces is None:
        return None, why
    bases = [spaces[0], *_with_spares(layers, spaces), spaces[-1]]
    if why := _left_to_decay(problem, layers, bases):
        return None, why
    small = _narrower(problem, bases)
    origin = _inside(layers, bases)
    kept = tuple(space.shape[1] for space in spaces[1:-1])
    return SubspaceFlow(problem, _put(layers), _put(origin), small=small, bases=_put(bases), kept=kept), ""


@float64
def by_modes(problem: Problem, weights: Any) -> tuple[ModeFlow | None, str]:
    """The flow mode by mode, where layers and data have common singular vectors; or None and why, in a clause."""
    if not isinstance(problem.loss, Square):
        return None, f"{type(problem.loss).__name__} couples the modes"
    layers = [np.asarray(layer, np.float64) for layer in weights]
    inputs = np.asarray(problem.data.inputs).reshape(len(problem.data.inputs), -1)
    targets = np.asarray(problem.data.targets)
    frames, strengths, off = _frames(layers, inputs, targets)
    if not frames or off > OFF:
        return None, "layers and data have no common singular vectors"
    if why := _left_to_decay(problem, layers, frames):
        return None, why
    images = inputs @ frames[0]
    gain = np.linalg.norm(images, axis=0)
    aim = np.sum((images / gain) * (targets @ frames[-1]), axis=0)
    loss = problem.loss
    scale = (1.0 if loss.half else 2.0) * problem.factor / (len(inputs) if loss.reduction == "mean" else 1)
    decay = np.broadcast_to(np.asarray(problem.decay, np.float64), (len(layers),))
    return ModeFlow(
        problem,
        _put(layers),
        _put(strengths),
        frames=_put(frames),
        gain=jnp.asarray(gain),
        aim=jnp.asarray(aim),
        scale=jnp.asarray(scale),
        decay=jnp.asarray(decay),
    ), ""


def by_statistics(problem: Problem) -> GradientFlow:
    """The flow of all weights on virtual examples (``problem.statistics``)."""
    return GradientFlow(problem, condensed(problem))


def _put(arrays: Any) -> tuple[Any, ...]:
    return tuple(jnp.asarray(np.ascontiguousarray(array)) for array in arrays)


def _inside(layers: Any, bases: Any) -> list[np.ndarray]:
    """Q_jᵀ W_j Q_{j−1}."""
    return [q.T @ w @ p for w, p, q in zip(layers, bases[:-1], bases[1:], strict=True)]


# Subspaces -------------------------------------------------------------------------------------------------


def _spaces(problem: Problem, layers: list[np.ndarray]) -> tuple[list[np.ndarray] | None, str]:
    """H_0, …, H_N as orthonormal columns, the least there are; or None and why."""
    depth, widths = len(layers), [layers[0].shape[1], *(len(layer) for layer in layers)]
    spaces = [_of_inputs(problem, layers[0])]
    spaces += [np.zeros((width, 0)) for width in widths[1:-1]] + [np.eye(widths[-1])]
    most = sum(a * b for a, b in pairwise(widths))
    moved = True
    while moved:
        moved = False
        for j in range(1, depth):
            for image in (layers[j - 1] @ spaces[j - 1], layers[j].T @ spaces[j + 1]):
                grown = _grown(spaces[j], image)
                if grown is None:
                    return None, "rounding would decide how many directions of the start there are"
                moved |= grown.shape[1] > spaces[j].shape[1]
                spaces[j] = grown
        dims = [space.shape[1] for space in spaces]
        if 2 * sum(a * b for a, b in pairwise(dims)) > most:
            return None, "the start reaches more than half of what there is"
    for j in range(1, depth):
        # Units without weights are left out as they are, not by a rotation: they stay 0 to the last bit.
        used = np.any(layers[j - 1] != 0.0, axis=1) | np.any(layers[j] != 0.0, axis=0)
        if np.sum(used) == spaces[j].shape[1]:
            spaces[j] = np.eye(widths[j])[:, used]
    return spaces, ""


def _of_inputs(problem: Problem, first: np.ndarray) -> np.ndarray:
    """The directions that the inputs have; all, where that is nearly all or decay moves the others."""
    inputs = np.asarray(problem.data.inputs, np.float64)
    inputs = inputs.reshape(len(inputs), -1)
    _, values, right = np.linalg.svd(inputs, full_matrices=False)
    rank = max(1, int(np.sum(values > EPS * max(inputs.shape) * values[0])))
    space = right[:rank].T
    decays = float(np.ravel(np.asarray(problem.decay))[0]) != 0.0
    outside = decays and np.linalg.norm(first - first @ space @ space.T) > NOISE * EPS * np.linalg.norm(first)
    return np.eye(inputs.shape[1]) if rank == inputs.shape[1] or outside else space


def _grown(space: np.ndarray, image: np.ndarray) -> np.ndarray | None:
    """The space with what of an image lies outside; None where rounding would decide."""
    if space.shape[0] == space.shape[1] or not image.size:
        return space
    rest = image
    for _ in range(2):
        rest = rest - space @ (space.T @ rest)
    left, values, _ = np.linalg.svd(rest, full_matrices=False)
    noise = NOISE * EPS * np.linalg.norm(image)
    if np.any((values > noise) & (values < SEEN / NOISE * noise)):
        return None
    both = np.concatenate([space, left[:, values > noise]], axis=1)
    return both if both.shape[1] < 2 else np.linalg.qr(both)[0]


def _with_spares(layers: list[np.ndarray], spaces: list[np.ndarray]) -> list[np.ndarray]:
    """The hidden spaces, each with one direction more: the one through which rounding at the start leads out of it."""
    made = []
    for j in range(1, len(layers)):
        space = spaces[j]
        width, kept = space.shape
        if kept == width:
            made.append(space)
            continue
        leads = np.concatenate([layers[j - 1] @ spaces[j - 1], layers[j].T @ spaces[j + 1]], axis=1)
        leads = leads - space @ (space.T @ leads)
        spare = np.linalg.svd(leads, full_matrices=False)[0][:, 0] if np.any(leads) else np.zeros(width)
        if not np.any(leads):
            spare[np.argmin(np.sum(space**2, axis=1))] = 1.0
        for _ in range(2):
            spare = spare - space @ (space.T @ spare)
        made.append(np.concatenate([space, (spare / np.linalg.norm(spare))[:, None]], axis=1))
    return made


def _left_to_decay(problem: Problem, layers: Any, bases: Any) -> str:
    """Why decay forbids a reduction: it moves what the data leave alone; nothing where it does not."""
    decay = np.broadcast_to(np.asarray(problem.decay, np.float64), (len(layers),))
    for w, v, p, q, rate in zip(layers, _inside(layers, bases), bases[:-1], bases[1:], decay, strict=True):
        if rate and np.linalg.norm(w - q @ v @ p.T) > NOISE * EPS * np.linalg.norm(w):
            return "weight decay moves what the data leave alone"
    return ""


def _narrower(problem: Problem, bases: list[np.ndarray]) -> Problem:
    """The problem of the narrower net, on fewer examples where the loss allows it."""
    inputs = np.asarray(problem.data.inputs, np.float64)
    inputs = inputs.reshape(len(inputs), -1)
    data = eqx.tree_at(
        lambda data: (data.inputs, data.test_inputs, data.test_targets),
        problem.data,
        (jnp.asarray(inputs @ bases[0]), None, None),
        is_leaf=lambda leaf: leaf is None,
    )
    network = Dense([base.shape[1] for base in bases], "identity")
    small = unchecked(Problem, problem, network=network, data=data)
    fewer = isinstance(problem.loss, Square) and len(inputs) >= break_even(bases[0].shape[1])
    return condensed(small) if fewer else small


# Modes -----------------------------------------------------------------------------------------------------


def _frames(
    layers: list[np.ndarray], inputs: np.ndarray, targets: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    """(u_0, …, u_N; d_1, …, d_N; by how much they miss, relative to the weakest mode); empty where there are none.

    u_0 are eigenvectors of one combination of all the matrices that have to commute: XᵀX, (YᵀX)ᵀ YᵀX and P_jᵀ P_j of
    the products P_j of layers, with incommensurable factors.
    """
    none: tuple[list[np.ndarray], list[np.ndarray], float] = ([], [], np.inf)
    gram, cross = inputs.T @ inputs, targets.T @ inputs
    total, whole = gram / np.linalg.norm(gram), np.eye(gram.shape[0])
    squares = [cross.T @ cross]
    for layer in layers:
        whole = layer @ whole
        squares.append(whole.T @ whole)
    for k, square in enumerate(squares):
        size = np.linalg.norm(square)
        if np.linalg.norm(gram @ square - square @ gram) > APART * np.linalg.norm(gram) * size:
            return none
        total = total + (np.sqrt(2.0 + k) * square / size if size > 0.0 else 0.0)
    _, vectors = np.linalg.eigh(total)
    sizes = np.linalg.norm(whole @ vectors, axis=0)
    noise = NOISE * EPS * np.max(sizes)
    if not noise > 0.0 or np.any((sizes > noise) & (sizes < SEEN / NOISE * noise)):
        return none
    frames, strengths = [vectors[:, sizes > noise]], []
    for layer in layers:
        image = layer @ frames[-1]
        strengths.append(np.linalg.norm(image, axis=0))
        if not np.all(strengths[-1] > 0.0):
            return none
        frames.append(image / strengths[-1])
    first, last = frames[0], frames[-1]
    # Data that reach another direction than the modes would grow there: none may.
    through = np.sum((targets @ last) * (inputs @ first), axis=0)
    reach = float(np.linalg.norm(cross))
    missed: list[Any] = [
        float(np.linalg.norm(cross - (last * through) @ first.T)) / (reach if reach > 0.0 else 1.0)
    ]
    seen = np.sum(first * (gram @ first), axis=0)
    held = first * seen
    missed.append(np.linalg.norm(gram @ first - held) / np.linalg.norm(gram))
    for layer, d, p, q in zip(layers, strengths, frames[:-1], frames[1:], strict=True):
        missed.append(np.linalg.norm(q.T @ q - np.eye(len(d))))
        # What a layer does beside the modes is constant where it meets none of them, from either side.
        rest = layer - (q * d) @ p.T
        missed.append((np.linalg.norm(rest @ p) + np.linalg.norm(q.T @ rest)) / np.linalg.norm(d))
    weakest = _evenness(seen) * min(map(_evenness, strengths))
    return frames, strengths, max(map(float, missed)) / weakest


def _evenness(values: np.ndarray) -> float:
    """The least over the largest."""
    return float(np.min(values) / np.max(values))
