"""Sufficient statistics: square-loss linear networks on as many virtual examples as the inputs have directions."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from gradlab.problem.dense import Dense
from gradlab.problem.ensembles import unchecked
from gradlab.problem.losses import Square
from gradlab.problem.precision import float64
from gradlab.problem.problem import Problem


def condensable(problem: Problem) -> str | None:
    """Why the examples cannot be condensed, in a sentence, or None where they can."""
    network, loss = problem.network, problem.loss
    if not isinstance(network, Dense) or not network.linear:
        return (
            f"examples are condensed for linear networks without biases only; this is {network!r}: write "
            "Dense.deep_linear(widths), or keep the problem as it is"
        )
    if not isinstance(loss, Square):
        return (
            f"examples are condensed under the square loss only; {type(loss).__name__} was given: use Square(), "
            "or keep the problem as it is"
        )
    return None


def break_even(inputs: int) -> int:
    """The number of examples from which condensing d-dimensional inputs is worth while: 4 d.

    Measured at depth 4, all widths d = 5, 10, 20, 40, on iterations with the written-out gradient: a step on the
    condensed problem is never slower; at N = 2 d it is as fast within the noise, at 4 d 1.1 to 1.7 times faster, at
    64 d 4 to 12 times. Condensing itself took some 20 ms, so that it pays for runs of 10⁴ iterations and more.
    """
    return 4 * inputs


@float64
def condensed(problem: Problem) -> Problem:
    """This gives the same potential on at most rank + 1 virtual examples: its cost does not depend on N.

    With X = U S Vᵀ (examples as rows, r = rank X), the virtual inputs are S Vᵀ and their targets Uᵀ Y; one more
    example, of input 0, carries what no network can fit, ‖Y − U Uᵀ Y‖_F. For every end-to-end matrix W

        ‖X Wᵀ − Y‖² = ‖S Vᵀ Wᵀ − Uᵀ Y‖² + ‖Y − U Uᵀ Y‖²,

    hence the potential, its gradient and its Hessian are the same functions of the weights. Nothing is squared:
    condition numbers stay what they are. A mean is brought to its N by ``Problem.factor``.

    For stepping only: examples, labels, margins and minibatches are no longer those of the data (a test split is
    kept). Runs on the host, outside ``jit`` and ``vmap``.

    Errors: X is perturbed by a few eps · s₁ (singular values below eps · max(N, d) · s₁ count as 0).

    Raises
    ------
    ValueError
        Where :func:`condensable` says why.

    Examples
    --------
    >>> import jax
    >>> import gradlab as gl
    >>> data = gl.data.linear_regression(jax.random.key(0), N=100, d=2, noise=0.1)
    >>> small = gl.data.condensed(gl.Problem(gl.Dense((2, 1)), gl.Square(), data))
    >>> small.data.inputs.shape
    (3, 2)
    """
    reason = condensable(problem)
    if reason is not None:
        raise ValueError(reason)
    inputs, targets = np.asarray(problem.data.inputs), np.asarray(problem.data.targets)
    count = len(inputs)
    inputs = inputs.reshape(count, -1)
    left, values, right = np.linalg.svd(inputs, full_matrices=False)
    rank = int(np.sum(values > np.finfo(np.float64).eps * max(inputs.shape) * values[0]))
    if rank + 1 >= count:
        return problem
    left = left[:, :rank]
    inner = left.T @ targets
    rest = np.zeros((1, targets.shape[1]))
    rest[0, 0] = np.linalg.norm(targets - left @ inner)
    rows = np.concatenate([values[:rank, None] * right[:rank], np.zeros((1, inputs.shape[1]))])
    data = eqx.tree_at(
        lambda data: (data.inputs, data.targets),
        problem.data,
        (jnp.asarray(rows), jnp.asarray(np.concatenate([inner, rest]))),
    )
    factor = problem.factor * ((rank + 1) / count if problem.loss.reduction == "mean" else 1.0)
    return unchecked(Problem, problem, data=data, factor=factor)
