"""Hessians as several claims count them: their parts, their eigenvalues with bounds, zeros and distinct values.

For dense networks everything is NumPy, by the chain rule written out, so that a grid of architectures costs no
compilation; other networks go through automatic differentiation. tests/claims/test_hessians.py compares the two.

Bounds. A computed Hessian is the exact one of data whose every number (weights, inputs, targets, slopes of the loss)
is changed by a few units of rounding. The change is taken as a derivative along random signs: the Hessian at data
times 1 ± 1e-6, differenced. The bound is eps times that, times √m operations a link of the chain (m the longest
inner product, four a layer and four for the loss; √m is the probabilistic form of γ_m, Higham and Mary 2019), plus P
eps ‖H‖ for the eigensolver. At an equilibrium it also has how far H moves in the next Newton step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from gradlab.analysis.equilibria.inertia import GAP, Inertia, inertia
from gradlab.claims.derivatives import layer_of
from gradlab.claims.memo90._losses import slopes
from gradlab.claims.sigma import derivatives_of
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

EPS = float(np.finfo(np.float64).eps)
#: Relative change of the data, whose effect is differenced; and the samples of random signs.
SHAKEN, SAMPLES = 1e-6, 3


class Local(NamedTuple):
    """Outputs and potential at W, to second order; all in the order of ``Problem.ravel``.

    ``squares`` is Σ ∂f ℓ'' ∂fᵀ, ``curved`` is Σ ℓ' ∂²f, ``decay`` is λ of every weight.
    """

    f: Float[np.ndarray, "N C"]
    jacobian: Float[np.ndarray, "N C P"]
    first: Float[np.ndarray, "N C"]
    gradient: Float[np.ndarray, " P"]
    squares: Float[np.ndarray, "P P"]
    curved: Float[np.ndarray, "P P"]
    decay: Float[np.ndarray, " P"]

    @property
    def hessian(self) -> Float[np.ndarray, "P P"]:
        """∇²L."""
        return self.squares + self.curved + np.diag(self.decay)

    @property
    def rows(self) -> Float[np.ndarray, "NC P"]:
        """∂f_c(x_n)/∂W as rows."""
        return self.jacobian.reshape(-1, self.jacobian.shape[2])


def local(problem: Problem, vector: Any, random: np.random.Generator | None = None) -> Local:
    """The network and the potential at a weight vector; with ``random``, of data changed by ± :data:`SHAKEN`."""
    vector = np.asarray(vector, dtype=np.float64)
    network, targets = problem.network, np.asarray(problem.data.targets)
    x = np.asarray(problem.data.inputs)
    decay = decays(problem)

    def shaken(values: np.ndarray) -> np.ndarray:
        if random is None or values.dtype.kind != "f":
            return values
        return values * (1.0 + SHAKEN * random.choice((-1.0, 1.0), values.shape))

    vector = shaken(vector)
    if problem.loss.labels == "real":
        targets = shaken(targets)
    if isinstance(network, Dense) and derivatives_of(network.activation) is not None:
        forward = Forward(network, vector, shaken(x.reshape(len(x), -1)))
        f, jacobian = forward.f, forward.jacobian
        first, second = _slopes(problem, f, targets, shaken)
        curved = forward.curved(first)
    else:
        weights = problem.unravel(vector)
        f, jacobian = np.asarray(problem.outputs(weights)), np.asarray(problem.output_jacobian(weights))
        first, second = _slopes(problem, f, np.asarray(problem.data.targets), shaken)
        curved = np.asarray(problem.hessian(weights)) - np.diag(decay) - _squares(jacobian, second)
    gradient = np.einsum("nc,ncp->p", first, jacobian) + shaken(decay) * vector
    return Local(f, jacobian, first, gradient, _squares(jacobian, second), curved, decay)


def decays(problem: Problem) -> Float[np.ndarray, " P"]:
    """λ of every weight."""
    decay = np.asarray(problem.decay, dtype=np.float64)
    return np.full(problem.size, float(decay)) if decay.ndim == 0 else decay[layer_of(problem.network)]


def _slopes(
    problem: Problem, f: np.ndarray, targets: np.ndarray, shaken: Any
) -> tuple[np.ndarray, np.ndarray]:
    first, second = slopes(problem.loss, f, targets)
    return shaken(problem.factor * first), shaken(problem.factor * np.asarray(second))


def _squares(jacobian: np.ndarray, second: np.ndarray) -> np.ndarray:
    weighted = np.einsum("ncd,ndp->ncp", second, jacobian)
    size = jacobian.shape[2]
    return jacobian.reshape(-1, size).T @ weighted.reshape(-1, size)


def automatic(problem: Problem, vector: Any) -> Float[np.ndarray, "P P"]:
    """∇²L by automatic differentiation."""
    return np.asarray(problem.hessian(problem.unravel(vector)))


def outputs(problem: Problem, vector: Any) -> Float[np.ndarray, "N C"]:
    """f (N, C), of dense networks in NumPy."""
    network, h = problem.network, np.asarray(problem.data.inputs)
    sigma = derivatives_of(network.activation) if isinstance(network, Dense) else None
    if not isinstance(network, Dense) or sigma is None:
        return np.asarray(problem.outputs(problem.unravel(vector)))
    ends, h = 0, h.reshape(len(h), -1)
    for k, (before, after) in enumerate(pairwise(network.widths)):
        h = sigma[0](h) if k else h
        bias = vector[ends : ends + after] if network.bias else 0.0
        ends += after if network.bias else 0
        h = h @ vector[ends : ends + after * before].reshape(after, before).T + bias
        ends += after * before
    return h


class Forward:
    """A dense network at W: hidden units, their first derivatives, and adjoints for the second ones."""

    def __init__(self, network: Dense, vector: np.ndarray, x: np.ndarray) -> None:
        sigma = derivatives_of(network.activation)
        assert sigma is not None
        size, ends = len(vector), 0
        self.weights, self.places = [], []
        h, dh = x, np.zeros((*x.shape, size))
        self.units, self.moves, self.pre, self.sigma = [], [], [], sigma
        for k, (before, after) in enumerate(pairwise(network.widths)):
            if k:
                h, dh = sigma[0](h), sigma[1](h)[:, :, None] * dh
            bias = slice(ends, ends + (after if network.bias else 0))
            place = np.arange(bias.stop, bias.stop + after * before).reshape(after, before)
            ends = bias.stop + after * before
            W = vector[place]
            self.units.append(h)
            self.moves.append(dh)
            self.weights.append(W)
            self.places.append(place)
            z, dz = h @ W.T, np.einsum("ij,njp->nip", W, dh, optimize=True)
            for i in range(after):
                dz[:, i, place[i]] += h
            if network.bias:
                z = z + vector[bias]
                dz[:, np.arange(after), np.arange(bias.start, bias.stop)] += 1.0
            h, dh = z, dz
            self.pre.append((z, dz))
        self.f, self.jacobian = h, dh

    def curved(self, adjoint: np.ndarray) -> np.ndarray:
        """Σ_nc adjoint_nc ∂²f_c(x_n): what bends is W_k times the units below, and σ."""
        size = self.jacobian.shape[2]
        total = np.zeros((size, size))
        for k in reversed(range(len(self.weights))):
            # z = W h: ∂W ∂h, twice
            product = np.einsum("ni,njp->ijp", adjoint, self.moves[k], optimize=True)
            block = self.places[k].reshape(-1)
            total[block] += product.reshape(len(block), size)
            total[:, block] += product.reshape(len(block), size).T
            if k:
                z, dz = self.pre[k - 1]
                below = adjoint @ self.weights[k]
                bent = (below * self.sigma[2](z)).reshape(-1)
                flat = dz.reshape(-1, size)
                total += flat.T @ (bent[:, None] * flat)
                adjoint = below * self.sigma[1](z)
        return total


# Eigenvalues with bounds ----------------------------------------------------------------------------------


class Point(NamedTuple):
    """A point with its Hessian's eigenvalues, ascending, and one bound of all their errors.

    ``noise`` bounds the rounding of ‖∇L‖; ``kink`` is 1 where L is not twice differentiable near W, see :func:`kink`.
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


def point(problem: Problem, vector: Any, *, equilibrium: bool = False) -> Point:
    """Eigenvalues of ∇²L at W and their bound; ``equilibrium``: of the true equilibrium that W stands for."""
    vector = np.asarray(vector, dtype=np.float64)
    here, random = local(problem, vector), np.random.default_rng(0)
    H = here.hessian
    values, vectors = np.linalg.eigh(0.5 * (H + H.T))
    moved = [local(problem, vector, random) for _ in range(SAMPLES)]
    many = _operations(problem) * EPS / SHAKEN
    bound = many * max(float(np.linalg.norm(one.hessian - H)) for one in moved)
    bound += len(vector) * EPS * float(np.abs(values).max(initial=0.0))
    noise = many * max(float(np.linalg.norm(one.gradient - here.gradient)) for one in moved)
    if equilibrium:
        along = vectors.T @ here.gradient
        kept = np.abs(values) > bound
        step = -vectors[:, kept] @ (along[kept] / values[kept])
        bound += float(np.linalg.norm(local(problem, vector + step).hessian - H))
    return Point(here, vector, values, bound, noise, kink(problem, vector))


def _operations(problem: Problem) -> float:
    leaves = problem.network.layers(problem.network.shapes())
    longest = max(4, problem.data.inputs.shape[0], math.prod(problem.data.inputs.shape[1:]), *_fans(problem))
    return math.sqrt(longest) * (4 * len(leaves) + 4)


def _fans(problem: Problem) -> Sequence[int]:
    network = problem.network
    return network.widths if isinstance(network, Dense) else (math.isqrt(problem.size),)


#: Activations that are not twice differentiable at 0.
_KINKED = ("relu", "leaky_relu", "squared_relu")


def kink(problem: Problem, vector: Any) -> float:
    """One where L has a kink (of σ or σ') near W, zero where it has none.

    A dense network: where some unit has |W_k h| ≤ 1e-6 ‖W‖ ‖h‖, h ≠ 0 the units below on one example. Others that are
    not all smooth: where the change of H across W, in a random direction, shrinks by less than ten when the step
    shrinks from 1e-5 to 1e-7; for a smooth L it shrinks a hundredfold.
    """
    network, vector = problem.network, np.asarray(vector, dtype=np.float64)
    if isinstance(network, Dense) and derivatives_of(network.activation) is not None:
        if len(network.widths) == 2 or network.activation.name not in _KINKED:
            return 0.0
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

    Without the latter the count is what :func:`inertia` calls decided, and the error is zero.
    """
    size = np.abs(np.asarray(values, dtype=np.float64))
    low, high = int(np.sum(size <= bound)), int(np.sum(size < GAP * bound))
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
        float(np.linalg.norm((local(problem, vector, random).rows - J) / unit)) for _ in range(SAMPLES)
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
    low, high = int(np.sum(values <= -GAP * bound)), int(np.sum(values < -bound))
    return Count(0.5 * (low + high), 0.5 * (high - low))


def rank(matrix: np.ndarray, rounding: float = 0.0) -> float:
    """The rank of a matrix known up to rounding of its entries and ``rounding`` (2-norm), or NaN where no gap "
    "shows it."""
    if not matrix.size:
        return 0.0
    singular = np.linalg.svd(matrix, compute_uv=False)
    found = inertia(singular, max(matrix.shape) * EPS * singular[0] * 10.0 + rounding)
    return float(found.positive) if found.decided else math.nan
