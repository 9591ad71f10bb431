"""One-layer linear nets under the square loss, as several claims see them: f(x) = W x on rows X, Y.

The potential is a Σ‖W x_n − y_n‖² + λ/2 ‖W‖², with a = 1 for a sum of squares, ½ for half of it, 1/N for the
mean; only λ/(2a) enters its equilibria. With g its gradient and X = U s Vᵀ, the limit of the flow (or of
descent below its stability bound) from W differs from W by g V (2a s² + λ)⁻¹ Vᵀ in the span of the data, and,
if λ > 0, by W(1 − VVᵀ) beside it: the rest of the way, which no study may count as solver error or as law.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from gradlab.analysis.solutions import minimum_norm
from gradlab.claims.claim import Case, Measure
from gradlab.dynamics.flow import Flow
from gradlab.laboratory import run
from gradlab.problem.losses import Loss, Square
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

EPS = float(np.finfo(np.float64).eps)

#: Hypotheses that claims about one layer share, as measures.
ONE_LAYER = Measure(
    "one_layer",
    "the net is linear with one layer, the loss square, the inputs not all zero (1 if so)",
    ">=",
    0.5,
    "the claim speaks of nothing else; the number is 0 or 1",
    role="hypothesis",
)
NO_DECAY = Measure(
    "decay",
    "λ: no weight decay, which would move every component",
    "<=",
    0.0,
    "with λ > 0 components beside the span shrink like e^{−λt}, and the limit is that of notes.ridge",
    role="hypothesis",
)


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


def matrix(net: OneLayer, vector: Any) -> Float[np.ndarray, "C d"]:
    """Weights (C, d) from the vector that a trajectory stores."""
    return np.asarray(vector, dtype=np.float64).reshape(net.Y.shape[1], net.X.shape[1])


def gradient(problem: Any, W: Float[np.ndarray, "C d"]) -> Float[np.ndarray, "C d"]:
    """∇L(W) by automatic differentiation of the problem's own potential."""
    return np.asarray(problem.gradient((W,))[0])


def history(trajectory: xr.Dataset) -> Float[np.ndarray, "record weight"] | None:
    """The weights at every record, the start first; None for a run that kept its end only."""
    return None if "weights" not in trajectory else np.asarray(trajectory["weights"].values)


def end(trajectory: xr.Dataset) -> Float[np.ndarray, " weight"]:
    """The last weights of a run, or of records without dynamics."""
    kept = trajectory["final_weights"] if "final_weights" in trajectory else trajectory["weights"][-1]
    return np.asarray(kept.values)


def under(problem: Any, loss: Loss, decay: float | None = None) -> Problem:
    """The same network and data under another loss and, where given, another decay."""
    kept = problem.decay if decay is None else jnp.full(jnp.shape(problem.decay), decay)
    return Problem(problem.network, loss, problem.data, kept)


def ensemble(
    labels: Sequence[str],
    problems: Sequence[Problem],
    starts: Sequence[Float[np.ndarray, "C d"]],
    flow: Callable[[Any], Flow],
    records: Any,
    **options: Any,
) -> Iterator[Case]:
    """One run of problems of one shape, its weights kept at every record, as one case a problem."""
    weights = (np.stack(starts),)
    seen: dict[str, Any] = {"keep": "all", "observables": (), "members": len(problems)}
    trajectory = run(flow(stack(problems)), weights, records, **seen, **options)
    for i, (label, problem) in enumerate(zip(labels, problems, strict=True)):
        yield Case(label, problem, trajectory.isel(member=i))


def stable_steps(problems: Sequence[Problem]) -> Float[np.ndarray, " member"]:
    """The step 1/λ_max(∇²L) of each problem, half of descent's stability bound."""
    return np.asarray([_stable_step(problem) for problem in problems])


def _stable_step(problem: Problem) -> float:
    net = one_layer(problem)
    if net is None:
        raise ValueError(f"a one-layer linear net under Square was expected, not {problem.network}")
    return 1.0 / (2.0 * net.factor * float(net.singular[0]) ** 2 + net.decay)


def scalars(numbers: dict[str, float]) -> xr.Dataset:
    """A Dataset of float64 scalars."""
    return xr.Dataset({name: ((), np.float64(value)) for name, value in numbers.items()})


def generator(key: Any) -> np.random.Generator:
    """NumPy's generator seeded by the bits of a jax key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).reshape(-1).tolist())


#: The kinds of data that :func:`draw` makes, in the order in which an ensemble goes through them.
KINDS = ("full rank", "deficient rank", "repeated points")


def draw(
    random: np.random.Generator, kind: str, N: int, d: int, C: int
) -> tuple[Float[np.ndarray, "N d"], Float[np.ndarray, "N C"]]:
    """Inputs with non-zero singular values in [1, 3] (times √2 for repeated points) and normal targets.

    ``full rank`` is min(N, d), ``deficient rank`` half of that; ``repeated points`` come twice each, with targets
    that differ. The bound on the singular values makes λ_max/λ_min ≤ 9, so that e^{−λ_min T}
    is below rounding at a T that an explicit solver reaches cheaply; it is no hypothesis of any claim.
    """
    distinct = N - N // 2 if kind == "repeated points" else N
    rank = min(distinct, d)
    rank = max(1, rank // 2) if kind == "deficient rank" else rank
    left = np.linalg.qr(random.standard_normal((distinct, rank)))[0]
    right = np.linalg.qr(random.standard_normal((d, rank)))[0]
    X = (left * 3.0 ** random.uniform(size=rank)) @ right.T
    return np.resize(X, (N, d)), random.standard_normal((N, C))
