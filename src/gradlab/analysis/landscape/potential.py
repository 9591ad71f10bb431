"""Landscape: a deep linear net under the square loss, with exact derivatives, reduced by singular values.

    L(W_1, …, W_N) = a ‖W X − Y‖_F²,   W = W_N ⋯ W_1,   W_j of shape (d_j, d_{j−1}),

a = 1 for ``Square()``, ½ for ``Square(half=True)``, divided by the number of examples for the mean. NumPy on the
host: nothing is compiled, so that thousands of small nets of different shapes cost nothing but arithmetic.

Reduction. With X = U S Vᵀ of rank ρ (thin), L = a ‖Ŵ − Ŷ‖² + a ‖Y − YX⁺X‖², where Ŵ = W U S and Ŷ = Y V (C, ρ):
a linear change of the first layer, Ŵ_1 = W_1 U S, and what W_1 does beside the span of the inputs is free. Ŷ
has the singular values of YX⁺X. Critical points, their values, inertia and dimensions carry over; spectra and
flows do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.problem.losses import Square
from gradlab.problem.networks import Dense

EPS = float(np.finfo(np.float64).eps)

Matrix = Float[np.ndarray, "_ _"]
Layers = tuple[Matrix, ...]


def numerical_rank(values: np.ndarray, shape: tuple[int, ...]) -> int:
    """How many singular values are above max(shape)·eps·s_max, the rounding of a rank-deficient matrix."""
    return int(np.sum(values > max(shape) * EPS * values.max(initial=0.0)))


@dataclass(frozen=True, eq=False)
class Landscape:
    """L = a ‖W_N ⋯ W_1 X − Y‖² and its derivatives in the layers.

    Parameters
    ----------
    widths : (d_0, …, d_N), N ≥ 2.
    inputs : X (d_0, n), examples as columns.
    targets : Y (d_N, n).
    factor : a > 0.

    Raises
    ------
    ValueError
        For shapes that do not fit, fewer than two layers, or numbers that are not finite.
    """

    widths: tuple[int, ...]
    inputs: Matrix
    targets: Matrix
    factor: float = 1.0

    def __post_init__(self) -> None:
        widths = tuple(int(width) for width in self.widths)
        if len(widths) < 3 or min(widths) < 1:
            raise ValueError(f"widths are {self.widths}; a deep net has at least (d_0, d_1, d_2), all ≥ 1")
        shapes = np.shape(self.inputs), np.shape(self.targets)
        if (
            len(shapes[0]) != 2
            or len(shapes[1]) != 2
            or (shapes[0][0], shapes[1][0]) != (widths[0], widths[-1])
        ):
            raise ValueError(
                f"inputs have shape {shapes[0]} and targets {shapes[1]}; with widths {widths} expected are "
                f"({widths[0]}, n) and ({widths[-1]}, n): examples are columns"
            )
        if shapes[0][1] != shapes[1][1] or not shapes[0][1]:
            raise ValueError(
                f"there are {shapes[0][1]} inputs and {shapes[1][1]} targets; give as many of each"
            )
        if not (np.isfinite(self.inputs).all() and np.isfinite(self.targets).all() and self.factor > 0.0):
            raise ValueError("inputs or targets are not finite, or factor is not positive")
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "inputs", np.asarray(self.inputs, dtype=np.float64))
        object.__setattr__(self, "targets", np.asarray(self.targets, dtype=np.float64))

    # Shapes ------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """N, the number of layers (H + 1 for H hidden ones)."""
        return len(self.widths) - 1

    @property
    def size(self) -> int:
        """P, the number of weights."""
        return sum(before * after for before, after in pairwise(self.widths))

    def layers(self, vector: Any) -> Layers:
        """(W_1, …, W_N) of a weight vector in the order of ``Problem.ravel``."""
        flat = np.asarray(vector, dtype=np.float64)
        if flat.shape != (self.size,):
            raise ValueError(f"the weight vector has shape {flat.shape}; expected ({self.size},)")
        sizes = [(after, before) for before, after in pairwise(self.widths)]
        ends = np.cumsum([rows * columns for rows, columns in sizes])[:-1]
        return tuple(p.reshape(size) for p, size in zip(np.split(flat, ends), sizes, strict=True))

    @staticmethod
    def flat(layers: Sequence[Matrix]) -> Float[np.ndarray, " P"]:
        """The weight vector of layers."""
        return np.concatenate([layer.ravel() for layer in layers])

    def path(self, layers: Sequence[Matrix], first: int, last: int) -> Matrix:
        """W_last ⋯ W_{first+1} (d_last, d_first), the identity where first = last."""
        return reduce(lambda product, layer: layer @ product, layers[first:last], np.eye(self.widths[first]))

    # Potential and derivatives -----------------------------------------------------------------------------

    @cached_property
    def _moments(self) -> tuple[Matrix, Matrix]:
        return self.inputs @ self.inputs.T, self.targets @ self.inputs.T

    def value(self, layers: Sequence[Matrix]) -> float:
        """L."""
        return float(
            self.factor * np.sum((self.path(layers, 0, self.depth) @ self.inputs - self.targets) ** 2)
        )

    def residual(self, layers: Sequence[Matrix]) -> Matrix:
        """M = (Y − WX)Xᵀ (d_N, d_0)."""
        second, cross = self._moments
        return cross - self.path(layers, 0, self.depth) @ second

    def _products(self, layers: Sequence[Matrix]) -> tuple[list[Matrix], list[Matrix]]:
        """A_j = W_N ⋯ W_{j+1} and B_j = W_{j−1} ⋯ W_1, j = 1, …, N."""
        below = [np.eye(self.widths[0])]
        for layer in layers[:-1]:
            below.append(layer @ below[-1])
        above = [np.eye(self.widths[-1])]
        for layer in reversed(layers[1:]):
            above.append(above[-1] @ layer)
        return above[::-1], below

    def gradient(self, layers: Sequence[Matrix]) -> Float[np.ndarray, " P"]:
        """∂L/∂W_j = −2a A_jᵀ M B_jᵀ with A_j = W_N ⋯ W_{j+1}, B_j = W_{j−1} ⋯ W_1, as one vector."""
        above, below = self._products(layers)
        moment = -2.0 * self.factor * self.residual(layers)
        return self.flat([A.T @ moment @ B.T for A, B in zip(above, below, strict=True)])

    def hessian(self, layers: Sequence[Matrix]) -> Float[np.ndarray, "P P"]:
        r"""∇²L, dense and exactly symmetric, by its blocks (row-major layers).

            H_{ij} V_j = 2a [A_iᵀ A_j V_j B_j XXᵀ B_iᵀ − A_iᵀ M B_jᵀ V_jᵀ Z_{ij}ᵀ],   Z_{ij} = W_{i−1} ⋯
            W_{j+1}, i > j,

        and the first term alone for i = j: the second-order part of L at W + V is
        a ‖Σ_j A_j V_j B_j X‖² − 2a ⟨M, Σ_{i>j} A_i V_i Z_{ij} V_j B_j⟩.
        """
        above, below = self._products(layers)
        moment, second = self.residual(layers), self._moments[0]
        sizes = [layer.size for layer in layers]
        ends = np.concatenate([[0], np.cumsum(sizes)])
        whole = np.zeros((self.size, self.size))
        for i in range(self.depth):
            for j in range(i + 1):
                block = np.einsum("ps,qt->pqst", above[i].T @ above[j], below[i] @ second @ below[j].T)
                if i > j:
                    between = self.path(layers, j + 1, i)
                    block = block - np.einsum("pt,qs->pqst", above[i].T @ moment @ below[j].T, between)
                flat = 2.0 * self.factor * block.reshape(sizes[i], sizes[j])
                whole[ends[i] : ends[i + 1], ends[j] : ends[j + 1]] = flat
                whole[ends[j] : ends[j + 1], ends[i] : ends[i + 1]] = flat.T
        return 0.5 * (whole + whole.T)

    # Rounding ----------------------------------------------------------------------------------------------

    @property
    def _operations(self) -> int:
        return sum(self.widths) + self.inputs.shape[1] + 4

    def _norms(self, layers: Sequence[Matrix]) -> list[float]:
        return [float(np.linalg.norm(layer)) for layer in layers]

    def value_rounding(self, layers: Sequence[Matrix]) -> float:
        """A bound of the rounding of L: γ_n of its products of norms (Higham 2002, §3.5), n the inner sizes."""
        inputs, targets = float(np.linalg.norm(self.inputs)), float(np.linalg.norm(self.targets))
        reach = float(np.prod(self._norms(layers))) * inputs + targets
        error = float(np.linalg.norm(self.path(layers, 0, self.depth) @ self.inputs - self.targets))
        slack = self._operations * EPS * reach
        return self.factor * (2.0 * error * slack + slack**2 + self._operations * EPS * error**2)

    def gradient_rounding(self, layers: Sequence[Matrix]) -> float:
        """A bound of the rounding of ‖∇L‖: γ_n of its products of norms."""
        norms = self._norms(layers)
        inputs, targets = float(np.linalg.norm(self.inputs)), float(np.linalg.norm(self.targets))
        others = float(np.linalg.norm([np.prod(norms[:j] + norms[j + 1 :]) for j in range(len(norms))]))
        reach = inputs * (float(np.prod(norms)) * inputs + targets)
        return 2.0 * self.factor * self._operations * EPS * others * reach

    def hessian_rounding(self, layers: Sequence[Matrix]) -> float:
        """A bound of the rounding of every eigenvalue of ∇²L: of its entries (γ_n) and of the decomposition."""
        norms = self._norms(layers)
        inputs, targets = float(np.linalg.norm(self.inputs)), float(np.linalg.norm(self.targets))
        reach = inputs * (float(np.prod(norms)) * inputs + targets)
        total = 0.0
        for i in range(len(norms)):
            for j in range(len(norms)):
                one = float(np.prod([n for k, n in enumerate(norms) if k != i]))
                other = float(np.prod([n for k, n in enumerate(norms) if k != j]))
                both = float(np.prod([n for k, n in enumerate(norms) if k not in (i, j)]))
                total += (one * other * inputs**2 + (both * reach if i != j else 0.0)) ** 2
        return 2.0 * self.factor * (self._operations + self.size) * EPS * float(np.sqrt(total))

    # Reduction ---------------------------------------------------------------------------------------------

    @cached_property
    def _data(self) -> tuple[Matrix, np.ndarray, Matrix, Matrix]:
        """U (d_0, ρ), S (ρ,) and V (n, ρ) of X, and Ŷ = Y V (d_N, ρ)."""
        left, values, right = np.linalg.svd(self.inputs, full_matrices=False)
        rank = numerical_rank(values, self.inputs.shape)
        return left[:, :rank], values[:rank], right[:rank].T, self.targets @ right[:rank].T

    @cached_property
    def _svd(self) -> tuple[Matrix, np.ndarray, Matrix]:
        reduced = self._data[3]
        left, values, right = np.linalg.svd(reduced, full_matrices=True)
        scale = float(np.linalg.norm(self.targets))
        # Ŷ is a projection of Y: what is below the rounding of Y is no singular value, even if all are.
        kept = int(np.sum(values > max(self.targets.shape) * EPS * scale))
        return left, values[:kept], right.T

    @property
    def rank(self) -> int:
        """ρ, the rank of X."""
        return len(self._data[1])

    @property
    def singular_values(self) -> Float[np.ndarray, " k"]:
        """The non-zero singular values σ_1 ≥ … ≥ σ_k of YX⁺X."""
        return self._svd[1]

    @property
    def left(self) -> Matrix:
        """Left singular vectors of Ŷ, a basis of the outputs (d_N, d_N)."""
        return self._svd[0]

    @property
    def right(self) -> Matrix:
        """Right singular vectors of Ŷ, a basis of the reduced inputs (ρ, ρ)."""
        return self._svd[2]

    @cached_property
    def floor(self) -> float:
        """‖Y − YX⁺X‖²: what no matrix W can fit."""
        _, _, right, reduced = self._data
        return float(np.sum((self.targets - reduced @ right.T) ** 2))

    def reduced(self, first: Matrix) -> Matrix:
        """Ŵ_1 = W_1 U S (d_1, ρ)."""
        left, values, *_ = self._data
        return (first @ left) * values

    def original(self, first: Matrix, free: Matrix | None = None) -> Matrix:
        """W_1 (d_1, d_0) of Ŵ_1, plus ``free`` (d_1, d_0) beside the span of the inputs."""
        left, values, *_ = self._data
        lifted = (first / values) @ left.T
        if free is None or self.rank == self.widths[0]:
            return lifted
        return lifted + free - (free @ left) @ left.T


def of_problem(problem: Any) -> Landscape | None:
    """The landscape of a ``Problem``; None for other than ``Square`` on a deep linear net, no biases or decay."""
    network, loss = problem.network, problem.loss
    linear = isinstance(network, Dense) and network.linear and len(network.widths) > 2
    if not (linear and isinstance(loss, Square)) or np.any(np.asarray(problem.decay) != 0.0):
        return None
    inputs = np.asarray(problem.data.inputs, dtype=np.float64)
    inputs = inputs.reshape(len(inputs), -1)
    factor = (0.5 if loss.half else 1.0) * problem.factor
    if loss.reduction == "mean":
        factor /= len(inputs)
    return Landscape(network.widths, inputs.T, np.asarray(problem.data.targets, dtype=np.float64).T, factor)
