"""How far the gradient and the Hessian, as computed, may be from the true ones by rounding.

A computed derivative is the exact derivative of data in which every operand was changed by a few units of rounding
(each product and sum is right up to eps of its result; Higham 2002, ch. 3). Let ε_p be independent relative changes of
size eps of every weight, input, target and of every example's share in the sum. To first order the derivative D
moves by Σ_p ε_p θ_p ∂D/∂θ_p, a directional derivative that autodiff gives without noise; random signs
ε_p = ±eps make its mean square eps² Σ_p ‖θ_p ∂D/∂θ_p‖². This is the *noise*: no weights of float64 can be expected to
make the gradient smaller, since the weights themselves are rounded.

The *bound* multiplies the noise by √m times the number of operations in a chain, 4 a layer and 4 for the loss: an inner
product of length m collects √m roundings (the probabilistic form of γ_m, Higham and Mary 2019), forward and
backward. Assumed, unchecked: the network is evaluated stably, i.e. a Function has no cancellation inside that its
weights and inputs do not show.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.problem.compiling import compiled
from gradlab.problem.problem import Problem

EPS = float(np.finfo(np.float64).eps)
#: Random signs drawn. The mean of 8 squares is below a hundredth of its expectation with probability 1e-7 at worst
#: (chi-square with 8 degrees of freedom), and the bound has room for a factor of ten.
SAMPLES = 8


class Rounding(NamedTuple):
    """noise : what rounding does at least. bound : what it does at most. Both in the 2-norm."""

    noise: float
    bound: float


def gradient_rounding(problem: Problem, weights: Any) -> Rounding:
    """Rounding of ‖∇L‖₂ at these weights; one Hessian product a sample."""
    generator = np.random.default_rng(0)
    squares = [
        float(_gradient_move(problem, weights, signs(problem, weights, generator))) for _ in range(SAMPLES)
    ]
    return _rounding(problem, weights, squares)


def hessian_rounding(problem: Problem, weights: Any) -> Rounding:
    """Rounding of ∇²L in the Frobenius norm; one derivative of a Hessian product a sample.

    With random signs v the mean of ‖M v‖² is ‖M‖_F²: the matrix is not formed.
    """
    generator = np.random.default_rng(1)
    squares = []
    for _ in range(SAMPLES):
        changes = signs(problem, weights, generator)
        squares.append(float(_hessian_move(problem, weights, changes, _drawn(weights, generator))))
    return _rounding(problem, weights, squares)


def _rounding(problem: Problem, weights: Any, squares: list[float]) -> Rounding:
    noise = EPS * float(np.sqrt(np.mean(squares)))
    return Rounding(noise, operations(problem, weights) * noise)


def operations(problem: Problem, weights: Any) -> float:
    """√m times the operations in a chain: the factor from one rounding to all of them."""
    leaves = jax.tree.leaves(weights)
    fan = max((math.prod(np.shape(leaf)[1:]) for leaf in leaves), default=1)
    inputs = problem.data.inputs
    spatial = math.prod(inputs.shape[2:]) if inputs.ndim > 2 else 1
    longest = max(fan, inputs.shape[0] * spatial, 4)
    return math.sqrt(longest) * (4 * max(len(leaves), 1) + 4)


def _potential(problem: Problem, weights: Any, inputs: Any, targets: Any, shares: Any) -> Any:
    """L with every example's share in the risk an argument."""
    values = shares * problem.loss.per_example(problem.network(weights, inputs), targets)
    risk = jnp.sum(values) if problem.loss.reduction == "sum" else jnp.mean(values)
    return problem.factor * risk + problem.penalty(weights)


def signs(problem: Problem, weights: Any, generator: np.random.Generator) -> Any:
    """A random sign for every weight, input, example's share and (if they are real) target, as one byte each."""
    data = problem.data
    drawn = [_drawn(part, generator) for part in (weights, data.inputs, np.zeros(data.inputs.shape[0]))]
    return (*drawn, _drawn(data.targets, generator)) if _real(problem) else tuple(drawn)


def _drawn(tree: Any, generator: np.random.Generator) -> Any:
    return jax.tree.map(lambda leaf: generator.choice(np.array([-1, 1], np.int8), np.shape(leaf)), tree)


def _real(problem: Problem) -> bool:
    return bool(jnp.issubdtype(problem.data.targets.dtype, jnp.floating))


def moved_data(problem: Problem, weights: Any, changes: Any, derivative: Any) -> Any:
    """d/dε of derivative(potential) at data whose every entry is multiplied by 1 ± ε; ``changes`` are the signs."""
    inputs, targets = problem.data.inputs, problem.data.targets
    shares = jnp.ones(inputs.shape[0])
    flat, unravel = ravel_pytree(weights)

    def at(vector: Any, inputs: Any, shares: Any, *given: Any) -> Any:
        y = given[0] if given else targets
        return derivative(lambda v: _potential(problem, unravel(v), inputs, y, shares))(vector)

    point = (flat, inputs, shares, targets) if _real(problem) else (flat, inputs, shares)
    directions = (ravel_pytree(changes[0])[0], *changes[1:])
    moves = tuple(leaf * jnp.asarray(sign, jnp.float64) for leaf, sign in zip(point, directions, strict=True))
    return jax.jvp(at, point, moves)[1]


@compiled
def _gradient_move(problem: Problem, weights: Any, changes: Any) -> Float[Array, ""]:
    return jnp.sum(moved_data(problem, weights, changes, jax.grad) ** 2)


@compiled
def _hessian_move(problem: Problem, weights: Any, changes: Any, along: Any) -> Float[Array, ""]:
    v = jnp.asarray(ravel_pytree(along)[0], jnp.float64)
    product = moved_data(problem, weights, changes, lambda f: lambda x: jax.jvp(jax.grad(f), (x,), (v,))[1])
    return jnp.sum(product**2)
