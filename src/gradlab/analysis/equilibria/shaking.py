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
from gradlab.problem.problem import Problem

#: The size of a shake.
SHAKE = 2.0**-36
#: Shakes drawn. The mean of 6 squares is below a hundredth of its expectation with probability 1e-6 at worst.
DRAWS = 6

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
    """Multiplies arrays by 1 + size · r; every call draws other numbers."""

    def __init__(self, size: Any, seed: Any) -> None:
        self.size, self.seed, self.calls = size, seed, 0

    def __call__(self, x: Any) -> Any:
        if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
            return x
        self.calls += 1
        count = int(np.prod(jnp.shape(x), dtype=np.int64))
        place = jnp.arange(count, dtype=jnp.float64).reshape(jnp.shape(x))
        # a hash that is a few operations long; √3 times a uniform number of [−1, 1] has mean square 1
        mixed = 43758.5453123 * jnp.sin(12.9898 * place + 0.7548776662 * self.calls + self.seed)
        r = np.sqrt(3.0) * (2.0 * (mixed - jnp.floor(mixed)) - 1.0)
        return x * (1.0 + self.size * r).astype(jnp.result_type(x))


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


@eqx.filter_jit
def _shaken(function: Callable[..., Array], arguments: Any, size: Any, seed: Any) -> Array:
    arrays, static = eqx.partition(arguments, eqx.is_array)
    flat, tree = jax.tree.flatten(arrays)

    def of(*leaves: Any) -> Array:
        return function(*eqx.combine(jax.tree.unflatten(tree, leaves), static))

    program = jax.make_jaxpr(of)(*flat)
    return interpreted(program.jaxpr, program.consts, flat, _shaking(_Shaker(size, seed)))[0]


def entrywise(
    function: Callable[..., Array], *arguments: Any, draws: int = DRAWS
) -> tuple[np.ndarray, np.ndarray]:
    """An array-valued function of arrays, and the root mean square over draws of what one rounding moves each entry by.

    ``function`` is one that can be hashed, such as a function of a module; its arguments may hold anything else.
    """
    here = np.asarray(_shaken(function, arguments, jnp.zeros(()), jnp.zeros(())))
    seeds = np.random.default_rng(4).uniform(0.0, 2.0 * np.pi, draws)
    total = np.zeros(here.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        for seed in seeds:
            moved = np.asarray(_shaken(function, arguments, jnp.asarray(SHAKE), jnp.asarray(seed)))
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
