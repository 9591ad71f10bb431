"""The end-to-end flow of a deep linear net: a preconditioned field on the depth-one problem."""

from __future__ import annotations

from typing import Any, ClassVar

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from gradlab.dynamics import tree
from gradlab.dynamics.flow import Flow, descent_direction
from gradlab.problem.initialisation import Factorised
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem

Matrix = Float[Array | np.ndarray, "outputs inputs"]


def precondition(matrix: Matrix, gradient: Matrix, depth: int) -> Matrix:
    """Σ_{j=1}^{N} (WWᵀ)^{(N−j)/N} G (WᵀW)^{(j−1)/N}, the action of P_W on G (cohen; Arora et al. 2018, Thm 1).

    The fractional powers come from one SVD of W; the power zero is the identity, also on the kernel of W. Takes
    NumPy or JAX arrays and answers in kind.
    """
    xp: Any = matrix.__array_namespace__()
    left, singular, right = xp.linalg.svd(matrix, full_matrices=False)
    # A singular value of rounding size would enter as eps^{2/N}, by no means small: it is taken as the zero
    # that a rank-deficient W has.
    noise = max(matrix.shape) * xp.finfo(singular.dtype).eps * singular[0]
    singular = xp.where(singular > noise, singular, 0.0)
    total = xp.zeros_like(matrix)
    for j in range(1, depth + 1):
        term = gradient
        if depth - j > 0:
            power = singular ** (2.0 * (depth - j) / depth)
            term = left @ (power[:, None] * (left.T @ term))
        if j - 1 > 0:
            power = singular ** (2.0 * (j - 1) / depth)
            term = ((term @ right.T) * power) @ right
        total = total + term
    return total


class EndToEndFlow(Flow):
    """dW/dt = −Σ_j (WWᵀ)^{(N−j)/N} ∇ℓ(W) (WᵀW)^{(j−1)/N} is what W = W_N ⋯ W_1 does if the factors are balanced.

    Parameters
    ----------
    problem : a depth-one linear problem, ``Dense((inputs, outputs), "identity")``.
    depth : N, the number of layers that W stands for. N = 1 is the gradient flow.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab as gl
    >>> problem = gl.Problem(gl.Dense((1, 1), "identity"), gl.Square(half=True), gl.Data([[1.0]], [[3.0]]))
    >>> start = (np.array([[1.0]]),)
    >>> trajectory = gl.run(gl.flows.EndToEndFlow(problem, depth=2), start, [1.0], solver="dopri5", refine=False)
    >>> round(float(trajectory.final_weights[0]), 6)  # of dw/dt = 2 w (3 − w): 3/(1 + 2 e⁻⁶)
    2.985201
    """

    problem: Problem
    depth: int = eqx.field(static=True)
    dissipates: ClassVar[bool] = True

    def __check_init__(self) -> None:
        network = self.problem.network
        if not (isinstance(network, Dense) and len(network.widths) == 2):
            raise ValueError(
                "an end-to-end flow lives on the depth-one problem: give a Problem whose network is "
                f"Dense((inputs, outputs), 'identity'), not {type(network).__name__}"
            )
        if self.depth < 1:
            raise ValueError(f"depth must be at least 1; {self.depth} was given")

    @property
    def observed(self) -> Problem:
        return self.problem

    def encode(self, weights: Any) -> Any:
        return weights

    def decode(self, y: Any) -> Any:
        return y

    def velocity(self, t: Any, y: Any) -> tuple[Any, Float[Array, ""]]:
        (direction,), log_scale = descent_direction(self.problem, y)
        return (precondition(y[0], direction, self.depth),), log_scale

    def dissipation(self, y: Any, direction: Any, log_scale: Any) -> tuple[Any, Any]:
        """⟨−∇ℓ, dW/dt⟩: the metric is that of the factors."""
        downhill, logarithm = descent_direction(self.problem, y)
        return tree.inner(downhill, direction), logarithm + log_scale

    def lift(self, weights: Any, hidden: tuple[int, ...]) -> Any:
        """Balanced factors W_1, …, W_N of the matrix W, with the given hidden widths."""
        matrix = weights[0]
        if len(hidden) != self.depth - 1:
            raise ValueError(
                f"depth {self.depth} has {self.depth - 1} hidden widths; {len(hidden)} were given"
            )
        deep = Dense((matrix.shape[1], *hidden, matrix.shape[0]), "identity")
        return deep.init(None, Factorised(matrix))


def product(weights: Any) -> Any:
    """W_{1:N} = W_N ⋯ W_1 as the one weight matrix of the depth-one net."""
    matrix = weights[0]
    for factor in weights[1:]:
        matrix = factor @ matrix
    return matrix
