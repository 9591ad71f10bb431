"""One-layer linear nets under the square loss, as several claims see them: shared hypotheses, data and ensembles.

The closed forms are in ``analysis.one_layer``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from gradlab.analysis.one_layer import one_layer
from gradlab.claims.claim import Case, Measure
from gradlab.dynamics.flow import Flow
from gradlab.laboratory import run
from gradlab.problem.losses import Loss
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
