"""Eigenvalues of Hessians with one bound of their errors, and counts of them that say what they do not know.

Bounds. A computed Hessian is the exact one of data whose every number (weights, inputs, targets, slopes of the loss)
is changed by a few units of rounding. The change is taken as a derivative along random signs: the Hessian at data
times 1 ± 1e-6, differenced. The bound is eps times that, times √m operations a link of the chain (m the longest
inner product, four a layer and four for the loss; √m is the probabilistic form of γ_m, Higham and Mary 2019), plus P
eps ‖H‖ for the eigensolver. At an equilibrium it also has how far H moves in the next Newton step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gradlab.analysis.equilibria.inertia import GAP, Inertia, inertia
from gradlab.analysis.equilibria.rounding import EPS
from gradlab.observe.local import SHAKEN, Forward, Local, local
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: Samples of random signs.
_SAMPLES = 3


class Eigenvalues(NamedTuple):
    """A point with its Hessian's eigenvalues, ascending, and one bound of all their errors.

    ``noise`` bounds the rounding of ‖∇L‖; ``kink`` is 1 where L is not twice differentiable near W, see
    :func:`near_kink`.
    """

    here: Local
    vector: Float[np.ndarray, " P"]
    values: Float[np.ndarray, " P"]
    bound: float
    noise: float
    kink: float

    @property
    def inertia(self) -> Inertia:
        """How many eigenvalues are negative, zero, positive."""
        return inertia(self.values, self.bound)

    @property
    def bound_at_zero(self) -> float:
        """The bound with what residuals put into H: of the zero of the square loss that W stands for."""
        return self.bound + float(np.linalg.norm(self.here.curved))

    @property
    def at_rest(self) -> float:
        """‖∇L‖ over the bound of its rounding: an equilibrium where 1 or less."""
        size = float(np.linalg.norm(self.here.gradient))
        return size / self.noise if self.noise > 0.0 else (math.inf if size > 0.0 else 0.0)


def eigenvalues(problem: Problem, vector: Any, *, equilibrium: bool = False) -> Eigenvalues:
    """Eigenvalues of ∇²L at W and their bound; ``equilibrium``: of the true equilibrium that W stands for."""
    vector = np.asarray(vector, dtype=np.float64)
    here, random = local(problem, vector), np.random.default_rng(0)
    H = here.hessian
    values, vectors = np.linalg.eigh(0.5 * (H + H.T))
    moved = [local(problem, vector, random) for _ in range(_SAMPLES)]
    many = _operations(problem) * EPS / SHAKEN
    bound = many * max(float(np.linalg.norm(one.hessian - H)) for one in moved)
    bound += len(vector) * EPS * float(np.abs(values).max(initial=0.0))
    noise = many * max(float(np.linalg.norm(one.gradient - here.gradient)) for one in moved)
    if equilibrium:
        along = vectors.T @ here.gradient
        kept = np.abs(values) > bound
        step = -vectors[:, kept] @ (along[kept] / values[kept])
        bound += float(np.linalg.norm(local(problem, vector + step).hessian - H))
    return Eigenvalues(here, vector, values, bound, noise, near_kink(problem, vector))


def _operations(problem: Problem) -> float:
    leaves = problem.network.layers(problem.network.shapes())
    longest = max(4, problem.data.inputs.shape[0], math.prod(problem.data.inputs.shape[1:]), *_fans(problem))
    return math.sqrt(longest) * (4 * len(leaves) + 4)


def _fans(problem: Problem) -> Sequence[int]:
    network = problem.network
    return network.widths if isinstance(network, Dense) else (math.isqrt(problem.size),)


#: Activations that are not twice differentiable at 0, and those that are so everywhere.
_KINKED = ("relu", "leaky_relu", "squared_relu")
_SMOOTH = ("identity", "tanh", "sigmoid", "gelu", "polynomial", "smooth_relu")


def near_kink(problem: Problem, vector: Any) -> float:
    """One where L has a kink (of σ or σ') near W, zero where it has none.

    A dense network of the library's activations: where some unit has |W_k h| ≤ 1e-6 ‖W‖ ‖h‖, h ≠ 0 the units below
    on one example. Others that are not all smooth: where the change of H across W, in a random direction, shrinks by
    less than ten when the step shrinks from 1e-5 to 1e-7; for a smooth L it shrinks a hundredfold.
    """
    network, vector = problem.network, np.asarray(vector, dtype=np.float64)
    if isinstance(network, Dense) and (len(network.widths) == 2 or network.activation.name in _SMOOTH):
        return 0.0
    if isinstance(network, Dense) and network.activation.name in _KINKED:
        x = np.asarray(problem.data.inputs)
        net, size = Forward(network, vector, x.reshape(len(x), -1)), float(np.linalg.norm(vector))
        near = False
        for (z, _), h in zip(net.pre[:-1], net.units, strict=False):
            below = np.linalg.norm(h, axis=1, keepdims=True)
            near |= bool(np.any((np.abs(z) <= SHAKEN * size * below) & (below > 0.0)))
        return float(near)
    step = (float(np.linalg.norm(vector)) or 1.0) / math.sqrt(len(vector))
    aside = step * np.random.default_rng(1).standard_normal(len(vector))
    far, close = (
        float(
            np.linalg.norm(
                local(problem, vector + h * aside).hessian - local(problem, vector - h * aside).hessian
            )
        )
        for h in (1e-5, 1e-7)
    )
    return float(close > 0.1 * far)


class Count(NamedTuple):
    """A count known between bounds: ``number`` ± ``error``."""

    number: float
    error: float

    def short_of(self, wanted: float) -> Count:
        """How many are missing at ``wanted``."""
        least = max(0.0, wanted - self.number - self.error)
        most = max(0.0, wanted - self.number + self.error)
        return Count(0.5 * (least + most), 0.5 * (most - least))


def distinct(values: np.ndarray, bound: float, *, nonzero: bool = False) -> Count:
    """How many distinct eigenvalues there are, zero among them or not.

    Neighbours are equal if within twice the bound, different if beyond ``GAP`` times that, undecided between.
    """
    values = np.sort(np.asarray(values, dtype=np.float64))
    if nonzero:
        surely = distinct(values[np.abs(values) > GAP * bound], bound)
        perhaps = distinct(values[np.abs(values) > bound], bound)
        low, high = surely.number - surely.error, perhaps.number + perhaps.error
        return Count(0.5 * (low + high), 0.5 * (high - low))
    if not len(values):
        return Count(0.0, 0.0)
    gaps = np.diff(values)
    low, high = 1 + int(np.sum(gaps > GAP * 2.0 * bound)), 1 + int(np.sum(gaps > 2.0 * bound))
    return Count(0.5 * (low + high), 0.5 * (high - low))


def kernel(values: np.ndarray, bound: float) -> Count:
    """How many eigenvalues are zero: those within the bound, and perhaps those within ``GAP`` times it.

    Without the latter the count is what :func:`inertia` calls decided, and the error is zero. With the bound 0 (H = 0,
    whatever the rounding) it is decided.
    """
    size = np.abs(np.asarray(values, dtype=np.float64))
    low, high = int(np.sum(size <= bound)), int(np.sum((size <= bound) | (size < GAP * bound)))
    return Count(0.5 * (low + high), 0.5 * (high - low))


def kernel_at_zero(problem: Problem, vector: Any) -> Count:
    """How many eigenvalues of ∇²L are zero at a zero of the square loss, where it is c JᵀJ: P − rank J.

    From the singular values of J, which show a zero at eps where eigenvalues, their squares, show it at √eps.
    """
    vector, random = np.asarray(vector, dtype=np.float64), np.random.default_rng(2)
    J = local(problem, vector).rows
    # the rank does not change with the size of a row, and outputs of different sizes would blur it
    sizes = np.linalg.norm(J, axis=1, keepdims=True)
    unit = np.where(sizes > 0.0, sizes, 1.0)
    moved = max(
        float(np.linalg.norm((local(problem, vector, random).rows - J) / unit)) for _ in range(_SAMPLES)
    )
    singular = np.linalg.svd(J / unit, compute_uv=False)
    bound = _operations(problem) * EPS / SHAKEN * moved + max(J.shape) * EPS * float(
        singular.max(initial=0.0)
    )
    count = kernel(singular, bound)
    return Count(count.number + J.shape[1] - len(singular), count.error)


def below_zero(values: np.ndarray, bound: float) -> Count:
    """How many eigenvalues are negative: those beyond ``GAP`` times the bound, and perhaps those beyond it."""
    values = np.asarray(values, dtype=np.float64)
    low, high = int(np.sum((values < -bound) & (values <= -GAP * bound))), int(np.sum(values < -bound))
    return Count(0.5 * (low + high), 0.5 * (high - low))


def decided_rank(matrix: np.ndarray, rounding: float = 0.0) -> float:
    """The rank of a matrix known up to rounding of its entries and ``rounding`` (2-norm), NaN where no gap shows it."""
    if not matrix.size:
        return 0.0
    singular = np.linalg.svd(matrix, compute_uv=False)
    found = inertia(singular, max(matrix.shape) * EPS * singular[0] * 10.0 + rounding)
    return float(found.positive) if found.decided else math.nan
