"""Linear nets of one layer in closed form, f(x) = W x on rows X, Y.

Under the square loss the potential is a Σ‖W x_n − y_n‖² + λ/2 ‖W‖², with a = 1 for a sum of squares, ½ for half of
it, 1/N for the mean; only λ/(2a) enters its equilibria. With g its gradient and X = U s Vᵀ, the limit of the flow (or
of descent below its stability bound) from W differs from W by g V (2a s² + λ)⁻¹ Vᵀ in the span of the data, and, if
λ > 0, by W(1 − VVᵀ) beside it: the rest of the way, which may count neither as solver error nor as law.

Under the exponential loss it is a Σ e^{−m_n} + λ/2 ‖w‖², m_n = y_n x_n·w, with a = 1 for a sum and 1/N for the mean;
only λ/a enters its equilibrium. With H its Hessian the limit of the flow from w differs from w by H⁻¹∇L, to first
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from gradlab.analysis.equilibria.rounding import EPS
from gradlab.analysis.paths import RegularisedExponential, regularised_exponential
from gradlab.analysis.solutions import HardMargin, max_margin, minimum_norm
from gradlab.problem.losses import Exponential, Square
from gradlab.problem.networks import Dense


@dataclass(frozen=True)
class OneLayer:
    """Rows X (N, d), targets Y (N, C), decay λ, factor a, and the singular value decomposition of X.

    Singular values below eps max(N, d) times the largest are what rounding made of zeros, and are left out:
    X = ``examples`` · ``singular`` · ``span``ᵀ, of shapes (N, r), (r,), (d, r).
    """

    X: Float[np.ndarray, "N d"]
    Y: Float[np.ndarray, "N C"]
    decay: float
    factor: float
    examples: Float[np.ndarray, "N r"]
    singular: Float[np.ndarray, " r"]
    span: Float[np.ndarray, "d r"]

    @property
    def rank(self) -> int:
        """The numerical rank of X."""
        return len(self.singular)

    @property
    def size(self) -> int:
        """max(N, d), by which rounding errors grow."""
        return max(self.X.shape)

    def beside(self, W: Float[np.ndarray, "C d"]) -> Float[np.ndarray, "C d"]:
        """W(1 − VVᵀ), the components of the rows of W that no example sees."""
        return W - (W @ self.span) @ self.span.T

    def minimum_norm(self) -> Float[np.ndarray, "C d"]:
        """Y X⁺ in the notation of columns."""
        return minimum_norm(self.X, self.Y)

    def ridge(self, decay: float, factor: float) -> Float[np.ndarray, "C d"]:
        """The minimiser of ``factor`` Σ‖W x_n − y_n‖² + ``decay``/2 ‖W‖², without the components of rounding.

        ``analysis.solutions.ridge`` keeps singular values of the size of rounding, which a decay below it
        inverts; here they are zero.
        """
        filtered = self.singular / (self.singular**2 + decay / (2.0 * factor))
        return ((self.Y.T @ self.examples) * filtered) @ self.span.T

    def rest(self, W: Float[np.ndarray, "C d"], gradient: Float[np.ndarray, "C d"]) -> float:
        """‖W − W(∞)‖, the way that is left from W to the limit, from the gradient of the potential at W."""
        curvature = 2.0 * self.factor * self.singular**2 + self.decay
        ahead = (gradient @ self.span) / curvature
        fading = self.beside(W) if self.decay > 0.0 else np.zeros(())
        return float(np.hypot(np.linalg.norm(ahead), np.linalg.norm(fading)))

    def matrix(self, vector: Any) -> Float[np.ndarray, "C d"]:
        """Weights (C, d) from the vector that a trajectory stores."""
        return np.asarray(vector, dtype=np.float64).reshape(self.Y.shape[1], self.X.shape[1])


def one_layer(problem: Any) -> OneLayer | None:
    """The problem's data and constants; None if it is no one-layer linear net under the square loss, or has no data.

    Inputs that are all zero are no data: nothing moves, and every statement about their span is void.
    """
    network, loss = problem.network, problem.loss
    plain = isinstance(network, Dense) and network.linear and len(network.widths) == 2
    if not (plain and isinstance(loss, Square)):
        return None
    X = np.asarray(problem.data.inputs, dtype=np.float64)
    X = X.reshape(len(X), -1)
    Y = np.asarray(problem.data.targets, dtype=np.float64)
    factor = problem.factor * (0.5 if loss.half else 1.0) / (len(X) if loss.reduction == "mean" else 1.0)
    left, values, right = np.linalg.svd(X, full_matrices=False)
    if values[0] == 0.0:
        return None
    kept = values > max(X.shape) * EPS * values[0]
    decay = float(np.sum(np.asarray(problem.decay)))
    return OneLayer(X, Y, decay, factor, left[:, kept], values[kept], right[kept].T)


@dataclass(frozen=True)
class LinearExponential:
    """Signed rows a_n = y_n x_n (N, d), decay λ, and the factor a of Σ e^{−a_n·w}."""

    rows: Float[np.ndarray, "N d"]
    decay: float
    factor: float

    @property
    def ratio(self) -> float:
        """λ/a, all that the equilibrium depends on."""
        return self.decay / self.factor

    @cached_property
    def equilibrium(self) -> RegularisedExponential:
        """The solution of λ w = a Σ a_n e^{−a_n·w}."""
        return regularised_exponential(self.rows, np.ones(len(self.rows)), self.ratio)

    @cached_property
    def svm(self) -> HardMargin | None:
        """The hard margin, None where the data are not separable."""
        try:
            return max_margin(self.rows, np.ones(len(self.rows)))
        except ValueError:
            return None

    def curvature(self, w: Float[np.ndarray, " d"]) -> Float[np.ndarray, "d d"]:
        """∇²L/λ = 1 + Σ μ_n a_n a_nᵀ, μ_n = e^{−a_n·w} a/λ."""
        dual = np.exp(-self.rows @ w - np.log(self.ratio))
        return np.eye(len(w)) + (self.rows.T * dual) @ self.rows


def linear_exponential(problem: Any) -> LinearExponential | None:
    """The problem's data and constants; None if it is no one-layer linear net under the exponential loss."""
    network, loss = problem.network, problem.loss
    plain = isinstance(network, Dense) and network.linear and len(network.widths) == 2
    if not (plain and isinstance(loss, Exponential)):
        return None
    X = np.asarray(problem.data.inputs, dtype=np.float64)
    rows = X.reshape(len(X), -1) * np.asarray(problem.data.targets, dtype=np.float64)[:, None]
    factor = float(problem.factor) / (len(X) if loss.reduction == "mean" else 1.0)
    return LinearExponential(rows, float(np.sum(np.asarray(problem.decay))), factor)
