"""Zeros that are none: whether a number was too small for float64 on the way to the Hessian.

exp(−800) is 0 in float64, and so is the row of the Hessian that it stands in; a unit that is off, or a weight that
nothing reads, has rows that are 0 exactly. A product of the Hessian is run once with every operation watched: one that
is never 0 at such operands, and was, is named. (Loops and branches are not looked into.)
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from gradlab.analysis.equilibria.shaking import carried_out, interpreted
from gradlab.problem.compiling import QUICKLY, on_cpu
from gradlab.problem.problem import Problem

#: These are 0 at finite operands by underflow alone; the others of them at operands other than 0.
_EVER = frozenset(["exp", "exp2", "logistic", "erfc"])
_NEVER_ZERO = _EVER | {"mul", "div", "integer_pow", "pow", "square"}
_TINY = float(np.finfo(np.float64).tiny)


def lost(problem: Problem, weights: Any) -> str:
    """What became 0 by underflow on the way to the Hessian at these weights, in words; empty where nothing did."""
    flat, unravel = ravel_pytree(weights)
    given = [np.abs(np.asarray(leaf, float)) for leaf in (flat, problem.data.inputs, problem.data.targets)]
    if any(((part > 0.0) & (part < _TINY)).any() for part in given):
        return "weights or data hold numbers below the least normal one of float64"

    def product(v: Any, u: Any) -> Any:
        return jax.jvp(jax.grad(lambda at: problem.potential(unravel(at))), (v,), (u,))[1]

    along = jnp.asarray(np.random.default_rng(7).uniform(0.5, 1.5, len(flat)))
    program, names = jax.make_jaxpr(product)(flat, along), list[str]()

    def watch(*arguments: Any) -> Any:
        flags: list[Any] = []

        def operation(equation: Any, inputs: list[Any]) -> list[Any]:
            outputs, name = carried_out(equation, inputs), equation.primitive.name
            if name in _NEVER_ZERO:
                gone = outputs[0] == 0
                for one in inputs:
                    gone = gone & jnp.isfinite(one) & ((one != 0) | (name in _EVER))
                names.append(name)
                flags.append(jnp.any(gone))
            return outputs

        interpreted(program.jaxpr, program.consts, arguments, operation)
        return jnp.stack(flags) if flags else jnp.zeros(0, bool)

    lowered = jax.jit(watch).lower(flat, along)
    seen = np.asarray(lowered.compile(compiler_options=QUICKLY if on_cpu() else None)(flat, along))
    return (
        f"a number in them is too small for float64 ({names[int(seen.argmax())]} gave 0)"
        if seen.any()
        else ""
    )
