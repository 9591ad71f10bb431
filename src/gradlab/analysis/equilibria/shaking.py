"""Rounding of every entry of a computed array: the computation itself, every operation shaken.

The traced program is run once more with a coarser rounding: the result of every operation that rounds, and every term
of a sum, is multiplied by 1 + ε r, r pseudo-random of mean square 1 and ε = 2⁻³⁶ in place of 2⁻⁵³ (Monte Carlo
arithmetic; Parker 1997). What an entry moves by, over ε, is to first order what rounding does to it, whatever the
others are: 1 − tanh² of a saturated unit is off by eps though it is 0, and x² of a feature in units of 1e-8 by eps
times 1e-16. Entries that no shake moves are exact: products with exact zeros.

Limits. Loops (``scan``, ``while``, ``cond``) are shaken at their ends only. Underflow is not seen:
:mod:`~gradlab.analysis.equilibria.underflow` asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from gradlab.analysis.equilibria.rounding import EPS, operations
from gradlab.problem.compiling import compiled
from gradlab.problem.problem import Problem

#: The size of a shake.
SHAKE = 2.0**-36
#: Shakes drawn. The mean of 6 squares is below a hundredth of its expectation with probability 1e-6 at worst.
DRAWS = 6
#: Random numbers of a draw, a prime, and how far the k-th array begins from the one before: no two of the first POOL
#: arrays of a program begin at one place, so that a difference of two of one shape keeps the rounding of both.
POOL, STRIDE = 2**17 - 1, 81_007

#: Operations whose result is exact, or chosen among operands.
_EXACT = frozenset({
    "neg", "abs", "sign", "reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims",
    "concatenate", "pad", "slice", "dynamic_slice", "rev", "dynamic_update_slice", "gather", "scatter",
    "select_n", "convert_element_type", "reduce_max", "reduce_min", "max", "min", "copy", "copy_p",
    "stop_gradient", "clamp", "iota", "split", "argmax", "argmin", "sort", "real", "imag", "device_put",
    "reduce_precision", "floor", "ceil", "round", "optimization_barrier", "is_finite",
})  # fmt: skip
#: Sums of many terms, of which each rounds.
_SUMS = frozenset(
    ["dot_general", "reduce_sum", "conv_general_dilated", "cumsum", "reduce_window_sum", "scatter-add"]
)
#: Operations that hold a program, and where.
_CALLS = frozenset(
    ["jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call"]
)
_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")


class _Shaker:
    """Multiplies arrays by numbers of a pool, 1 + ε r, of which every call takes others."""

    def __init__(self, pool: Any) -> None:
        self.pools, self.calls = {1: pool}, 0

    def __call__(self, x: Any) -> Any:
        dtype = jnp.result_type(x)
        if not jnp.issubdtype(dtype, jnp.floating):
            return x
        # few operations of lax itself, since a program shakes some thousand arrays
        return jax.lax.mul(x, jax.lax.convert_element_type(self._next(jnp.shape(x)), dtype))

    def _next(self, shape: tuple[int, ...]) -> Any:
        count, length = math.prod(shape), self.pools[1].size
        self.calls += 1
        begin = self.calls * STRIDE % length
        turns = max(1, -(-(begin + count) // length))
        if turns not in self.pools:
            self.pools[turns] = jnp.tile(self.pools[1], turns)
        return jax.lax.reshape(jax.lax.slice(self.pools[turns], (begin,), (begin + count,)), shape)


def interpreted(
    jaxpr: Any, consts: Any, arguments: Any, operation: Callable[[Any, list[Any]], list[Any]]
) -> list[Any]:
    """The outputs of a jaxpr, every equation carried out by ``operation``; those that hold a program are entered."""
    env: dict[Any, Any] = {}

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else env[variable]

    env.update(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        if equation.primitive.name in _CALLS:
            inner = next(equation.params[key] for key in _INSIDE if key in equation.params)
            held, constants = (inner.jaxpr, inner.consts) if hasattr(inner, "jaxpr") else (inner, ())
            outputs = interpreted(held, constants, inputs, operation)
        else:
            outputs = operation(equation, inputs)
        env.update(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def carried_out(equation: Any, inputs: list[Any]) -> list[Any]:
    """The outputs of one equation."""
    found = equation.primitive.bind(*inputs, **equation.primitive.get_bind_params(equation.params))
    return list(found) if equation.primitive.multiple_results else [found]


def _shaking(shake: _Shaker) -> Callable[[Any, list[Any]], list[Any]]:
    def operation(equation: Any, inputs: list[Any]) -> list[Any]:
        name = equation.primitive.name
        outputs = carried_out(equation, [shake(x) for x in inputs] if name in _SUMS else inputs)
        return outputs if name in _EXACT else [shake(x) for x in outputs]

    return operation


@compiled
def _shaken(problem: Problem, others: Any, function: Callable[..., Array], pool: Any) -> Array:
    arrays, static = eqx.partition((problem, *others), eqx.is_array)
    flat, tree = jax.tree.flatten(arrays)

    def of(*leaves: Any) -> Array:
        return function(*eqx.combine(jax.tree.unflatten(tree, leaves), static))

    program = jax.make_jaxpr(of)(*flat)
    return interpreted(program.jaxpr, program.consts, flat, _shaking(_Shaker(pool)))[0]


def entrywise(
    function: Callable[..., Array], problem: Problem, *others: Any, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray]:
    """An array-valued function, and the root mean square over draws of what one rounding moves each entry by.

    ``function`` is one that can be hashed, such as a function of a module; its arguments may hold anything else.
    """
    random = np.random.default_rng(4)
    here = np.asarray(_shaken(problem, others, function, np.ones(POOL)))
    total = np.zeros(here.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(draws):
            # √3 times a uniform number of [−1, 1] has mean square 1
            pool = 1.0 + SHAKE * np.sqrt(3.0) * random.uniform(-1.0, 1.0, POOL)
            moved = np.asarray(_shaken(problem, others, function, pool))
            # scaled first: squares of what moves in units of 1e-160 would be 0
            total = np.hypot(total, (moved - here) / SHAKE)
    return here, EPS * total / np.sqrt(draws)


def _flat_hessian(problem: Problem, flat: Any, unravel: Any) -> Array:
    return jax.jacfwd(jax.grad(lambda v: problem.potential(unravel(v))))(flat)


def _flat_gradient(problem: Problem, flat: Any, unravel: Any) -> Array:
    return jax.grad(lambda v: problem.potential(unravel(v)))(flat)


def _hessian(problem: Problem, weights: Any) -> Array:
    return _flat_hessian(problem, *ravel_pytree(weights))


def _gradient(problem: Problem, weights: Any) -> Array:
    return _flat_gradient(problem, *ravel_pytree(weights))


def gradient_entries(
    problem: Problem, weights: Any
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """∇L and a bound of the rounding of each of its entries."""
    gradient, moves = entrywise(_gradient, problem, weights)
    return gradient, operations(problem, weights) * moves


def hessian_entries(
    problem: Problem, weights: Any
) -> tuple[Float[np.ndarray, "P P"], Float[np.ndarray, "P P"]]:
    """∇²L and a bound of the rounding of each of its entries."""
    H, moves = entrywise(_hessian, problem, weights)
    moves = np.maximum(moves, moves.T)
    return 0.5 * (H + H.T), operations(problem, weights) * moves
