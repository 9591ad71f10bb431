"""A network and its potential at one point, to second order: outputs, Jacobian, gradient, Hessian and its parts.

For dense networks :func:`local` is NumPy, by the chain rule written out, so that a grid of architectures costs no
compilation; other networks go through automatic differentiation, and tests compare the two. Where several functions
of the weights are compared, :func:`differentials` gives all their derivatives from one program, since compiling is
what costs in small problems.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gradlab.modules import Module
from gradlab.observe.layers import layer_of
from gradlab.problem.compiling import compiled
from gradlab.problem.losses import Loss
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

#: Relative change of data times random signs, whose effect on a derivative is differenced for its rounding.
SHAKEN = 1e-6


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
    if isinstance(network, Dense):
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
    first, second = problem.loss.slopes(f, targets)
    return shaken(problem.factor * first), shaken(problem.factor * np.asarray(second))


def _squares(jacobian: np.ndarray, second: np.ndarray) -> np.ndarray:
    weighted = np.einsum("ncd,ndp->ncp", second, jacobian)
    size = jacobian.shape[2]
    return jacobian.reshape(-1, size).T @ weighted.reshape(-1, size)


def automatic_hessian(problem: Problem, vector: Any) -> Float[np.ndarray, "P P"]:
    """∇²L by automatic differentiation."""
    return np.asarray(problem.hessian(problem.unravel(vector)))


def outputs(problem: Problem, vector: Any) -> Float[np.ndarray, "N C"]:
    """f (N, C), of dense networks in NumPy."""
    network, h = problem.network, np.asarray(problem.data.inputs)
    if not isinstance(network, Dense):
        return np.asarray(problem.outputs(problem.unravel(vector)))
    ends, h = 0, h.reshape(len(h), -1)
    for k, (before, after) in enumerate(pairwise(network.widths)):
        h = network.activation.derivative(h, 0) if k else h
        bias = vector[ends : ends + after] if network.bias else 0.0
        ends += after if network.bias else 0
        h = h @ vector[ends : ends + after * before].reshape(after, before).T + bias
        ends += after * before
    return h


class Forward:
    """A dense network at W: hidden units, their first derivatives, and adjoints for the second ones."""

    def __init__(self, network: Dense, vector: np.ndarray, x: np.ndarray) -> None:
        size, ends = len(vector), 0
        self.weights, self.places = [], []
        h, dh = x, np.zeros((*x.shape, size))
        self.units, self.moves, self.pre = [], [], []
        sigma = self.sigma = network.activation
        for k, (before, after) in enumerate(pairwise(network.widths)):
            if k:
                h, dh = sigma.derivative(h, 0), sigma.derivative(h, 1)[:, :, None] * dh
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
                bent = (below * self.sigma.derivative(z, 2)).reshape(-1)
                flat = dz.reshape(-1, size)
                total += flat.T @ (bent[:, None] * flat)
                adjoint = below * self.sigma.derivative(z, 1)
        return total


# Automatic differentiation, one program for many points -------------------------------------------------------


class Scalars(Module):
    """Functions of the weights that are differentiated beside the outputs: ``log L`` or risks of several losses.

    losses, targets : one risk each, without decay; where there are none, the problem's own log-potential.
    """

    losses: tuple[Loss, ...] = ()
    targets: tuple[Any, ...] = ()

    def __call__(self, problem: Problem, weights: Any, outputs: Float[Array, "N C"]) -> Float[Array, " M"]:
        if not self.losses:
            return problem.log_potential(weights)[None]
        pairs = zip(self.losses, self.targets, strict=True)
        return jnp.stack([loss.risk(outputs, targets) for loss, targets in pairs])


class Differentials(NamedTuple):
    """At every pair: values (pairs, R), gradients (pairs, R, P), their change along the direction (pairs, R, P).

    The R rows are f_0(x_1), f_1(x_1), …, f_C(x_N), then the scalars.
    """

    values: Float[np.ndarray, "pairs R"]
    gradients: Float[np.ndarray, "pairs R P"]
    changes: Float[np.ndarray, "pairs R P"]


def _pair(problem: Problem, scalars: Scalars, vector: Any, direction: Any) -> tuple[Any, Any, Any]:
    def rows(vector: Any) -> Any:
        weights = problem.unravel(vector)
        outputs = problem.outputs(weights)
        values = jnp.concatenate([outputs.reshape(-1), scalars(problem, weights, outputs)])
        return values, values

    gradients, changes, values = jax.jvp(
        jax.jacrev(rows, has_aux=True), (vector,), (direction,), has_aux=True
    )
    return values, gradients, changes


_pairs = compiled(eqx.filter_vmap(_pair, in_axes=(None, None, 0, 0)))


def differentials(problem: Problem, scalars: Scalars, points: Any, directions: Any) -> Differentials:
    """Derivatives by automatic differentiation at weight vectors (pairs, P) along directions (pairs, P)."""
    found = _pairs(problem, scalars, np.asarray(points, np.float64), np.asarray(directions, np.float64))
    return Differentials(*(np.asarray(part) for part in found))


def coordinates(problem: Problem, most: int) -> Int[np.ndarray, " m"]:
    """At most so many coordinates of the weights, evenly spaced; fewer where their derivatives would fill memory."""
    size, outputs = problem.size, problem.data.inputs.shape[0] * problem.network.outputs
    # five pairs a coordinate, two arrays of eight bytes: a third of a GiB
    fitting = max(2, int(4e6 / (size * (outputs + 6))))
    return np.unique(np.linspace(0, size - 1, min(most, fitting)).astype(int))


def _values_and_gradients(problem: Problem, vectors: Any) -> tuple[Any, Any]:
    def one(vector: Any) -> tuple[Any, Any]:
        value, gradient = problem.value_and_gradient(problem.unravel(vector))
        return value, problem.ravel(gradient)

    return jax.vmap(one)(vectors)


_at_all = compiled(_values_and_gradients)


def values_and_gradients(
    problem: Problem, vectors: Float[np.ndarray, "points P"], rows: int | None = None
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, "points P"]]:
    """L and ∇L at weight vectors, by automatic differentiation.

    ``rows`` : evaluate so many points at a time, so that one program serves all numbers of points.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if rows is None:
        values, gradients = _at_all(problem, vectors)
        return np.asarray(values), np.asarray(gradients)
    rounds = -(-len(vectors) // rows)
    padded = np.resize(vectors, (rounds * rows, vectors.shape[1]))
    parts = [values_and_gradients(problem, part) for part in np.split(padded, rounds)]
    values, gradients = (np.concatenate(column)[: len(vectors)] for column in zip(*parts, strict=True))
    return values, gradients
