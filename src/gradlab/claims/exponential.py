"""One-layer linear nets under the exponential loss with decay, as several claims see them: hypotheses, data and runs.

The closed forms are in ``analysis.one_layer``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from gradlab.analysis.one_layer import LinearExponential, linear_exponential
from gradlab.analysis.solutions import max_margin, soudry_constants
from gradlab.claims.claim import Case, Measure
from gradlab.dynamics.flow import GradientFlow
from gradlab.dynamics.solvers.methods import Adaptive
from gradlab.laboratory import run
from gradlab.problem.data import Data
from gradlab.problem.losses import Exponential
from gradlab.problem.networks import Dense
from gradlab.problem.problem import Problem, stack

EPS = float(np.finfo(np.float64).eps)

SETTING = Measure(
    "linear",
    "the net is linear with one layer and one output, the loss exponential (1 if so)",
    ">=",
    0.5,
    "the claim speaks of nothing else; the number is 0 or 1",
    role="hypothesis",
)
DECAY = Measure("decay", "λ > 0 (1 if so)", ">=", 0.5, "the number is 0 or 1", role="hypothesis")
LIMIT = Measure(
    "limit",
    "distance of the run's limit from the solution of λw = Σ x_n e^{−w·x_n} by Newton's method, over ‖w‖",
    "<=",
    1e-6,
    "the rest of the way, from the gradient of the potential itself, is the error bar; runs of 40/λ at "
    "1e-10 leave "
    "about 1e-9",
)
POSITIVE = Measure(
    "positive",
    "least eigenvalue of ∇²L at the end over λ: hyperbolic",
    ">=",
    0.5,
    "1 or more in theory, 0 for a degenerate Hessian: half parts them; rounding is eps d λ_max, 1e-12 λ here",
)


def at_limit(problem: Any, net: LinearExponential, w: Float[np.ndarray, " d"]) -> dict[str, float]:
    """``limit`` and ``positive`` with their errors, from the problem's own gradient and Hessian."""
    solution = net.equilibrium
    gradient = np.asarray(problem.gradient((w[None],))[0]).ravel()
    left = float(np.linalg.norm(np.linalg.solve(net.curvature(w), gradient / net.decay)))
    values = np.linalg.eigvalsh(np.asarray(problem.hessian((w[None],))) / net.decay)
    # twice the step: what is left is the step and terms of second order in it
    return {
        "limit": float(np.linalg.norm(w - solution.weights)) / solution.norm,
        "limit_error": (2.0 * left + solution.error) / solution.norm,
        "positive": float(values[0]),
        "positive_error": EPS * len(w) * float(values[-1]),
    }


# Data and runs ----------------------------------------------------------------------------------------------

#: Data are drawn again until the rate of ``soudry_constants`` and ‖ŵ‖ are in these bounds.
SLOWEST, LONGEST = 0.05, 3.0
KINDS = ("N > d", "repeated points", "deficient rank", "N < d")


def separable(random: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and labels separated by a random direction, with support vectors that all carry weight.

    (12, 4), with three points repeated, or of rank 2; or (6, 10).
    """
    N, d, rank = {"N < d": (6, 10, 6), "deficient rank": (12, 4, 2)}.get(kind, (12, 4, 4))
    while True:
        basis = np.linalg.qr(random.standard_normal((d, rank)))[0]
        inputs = random.standard_normal((N, rank)) @ basis.T
        direction = basis @ random.standard_normal(rank)
        direction /= np.linalg.norm(direction)
        labels = np.where(inputs @ direction >= 0.0, 1.0, -1.0)
        inputs += np.outer(labels * random.uniform(0.2, 1.0), direction)
        if kind == "repeated points":
            inputs[-3:], labels[-3:] = inputs[:3], labels[:3]
        svm = max_margin(inputs, labels)
        if 1.0 / svm.margin > LONGEST:
            continue
        try:
            rate = soudry_constants(inputs, labels, svm).rate
        except ValueError:  # an idle support vector
            continue
        if rate >= SLOWEST:
            return inputs, labels


def make(inputs: np.ndarray, labels: np.ndarray, decay: float, reduction: str = "sum") -> Problem:
    """The linear problem under the exponential loss."""
    network = Dense((inputs.shape[1], 1), "identity")
    return Problem(network, Exponential(reduction), Data(inputs, labels), decay)


def flows(
    labels: Sequence[str],
    problems: Sequence[Problem],
    starts: Sequence[np.ndarray],
    records: Any,
    flow: Callable[[Problem], Any] = GradientFlow,
    **options: Any,
) -> Iterator[Case]:
    """Runs of problems of one shape as one ensemble, the weights kept at every record, as one case a problem."""
    weights = (np.stack(starts)[:, None, :],)
    trajectory = run(
        flow(stack(list(problems))),
        weights,
        records,
        solver=Adaptive("dopri8", 1e-10),
        observables=(),
        keep="all",
        refine=False,  # errors are the rest of the way, from the gradient where the run ends
        members=len(problems),
        **options,
    )
    for i, (label, problem) in enumerate(zip(labels, problems, strict=True)):
        yield Case(label, problem, trajectory.isel(member=i))


def resting(label: str, problem: Problem) -> Case:
    """The equilibrium by Newton's method as a case without dynamics."""
    net = linear_exponential(problem)
    if net is None:
        raise ValueError("a one-layer linear net under Exponential was expected: use make")
    point = xr.Dataset({"final_weights": ("weight", net.equilibrium.weights)})
    return Case(label, problem, point)
